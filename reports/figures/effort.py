"""The answer as a function of effort: what tuning each level with so many settings gives, and the differences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from depthcheck.reports.compare.metric import Metric
from depthcheck.reports.compare.results import Comparison, Difference, LevelCurve, Question
from depthcheck.reports.figures.style import (
    COLORS,
    FAINT,
    GREY,
    LIGHT,
    LINES,
    MARKERS,
    MOST_SERIES,
    Drawing,
    new_figure,
    score_label,
    share_scale,
)

#: Labels along the number of settings.
_MARKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)


@dataclass(frozen=True, slots=True, kw_only=True)
class EffortCurves:
    """All levels' curves; ``told_apart`` are those that get a colour, ``subset`` is where the answer is read."""

    factor: str
    reference: str
    metric: Metric
    judged: str
    equivalence: float
    subset: int
    n_settings: int
    curves: tuple[LevelCurve, ...]
    told_apart: tuple[str, ...]


def compute(question: Question, comparison: Comparison) -> EffortCurves | None:
    """Return the curves of a question, or None where its levels were not judged."""
    search = comparison.search
    if search is None or not question.curves or len(question.curves[0].subsets) < 2:
        return None
    factor = question.factor
    best = sorted(question.curves, key=lambda curve: -curve.scores[-1].estimate)
    told = [curve.level for curve in best if curve.level != factor.reference][: MOST_SERIES - 1]
    return EffortCurves(
        factor=factor.name,
        reference=factor.reference,
        metric=comparison.design.metric,
        judged=comparison.judged,
        equivalence=comparison.design.equivalence,
        subset=search.subset,
        n_settings=search.n_settings,
        curves=question.curves,
        told_apart=tuple(level for level in factor.levels if level in told or level == factor.reference),
    )


def drawing(question: Question, comparison: Comparison) -> Drawing | None:
    """Return the figure, or None where there is nothing to draw."""
    record = compute(question, comparison)
    if record is None:
        return None
    hidden = len(record.curves) - len(record.told_apart)
    rest = f" Grey: the other {hidden} levels." if hidden else ""
    return Drawing(
        name=f"effort-by-{record.factor}",
        alt=f"Tuned score and differences against the number of settings tried, by {record.factor}",
        caption=f"Above: expected {record.judged} {record.metric.name} of tuning each {record.factor} with so many "
        f"settings and keeping the best by validation, the mean over all subsets of the {record.n_settings} settings "
        f"tried. Below: the difference to {record.factor} {record.reference} at the same settings. Bands are 95 % "
        f"intervals, each for one point of its line; inside the grey strip (±"
        f"{record.metric.region(record.equivalence)}) a difference would not matter. The answer is read at the upright "
        f"line, {record.subset} settings.{rest}",
        draw=functools.partial(draw, record),
    )


def draw(record: EffortCurves) -> Figure:
    """Draw scores above and differences below, on one axis of effort."""
    figure = new_figure(5.0)
    scores, differences = figure.subplots(2, 1, sharex=True)
    _lines(scores, record, lambda curve: curve.scores, scale=1.0)
    every = [one.estimate for curve in record.curves for one in curve.scores]
    is_log = share_scale(scores, every, metric=record.metric).is_log
    scores.set_ylabel(score_label(f"expected\n{record.judged}", record.metric, is_log))
    band = record.metric.scale * record.equivalence
    differences.axhspan(-band, band, color=FAINT, zorder=0, linewidth=0)
    differences.axhline(0, color=GREY, linewidth=1, zorder=1)
    _lines(differences, record, lambda curve: curve.differences, scale=record.metric.scale)
    _limit(differences, record)
    unit = " (points)" if record.metric.unit else ""
    differences.set_ylabel(f"difference to\n{record.factor} {record.reference}{unit}")
    differences.set_xlabel("settings tried")
    for axes in (scores, differences):
        axes.axvline(record.subset, color=LIGHT, linewidth=1.2, zorder=0)
    sizes = record.curves[0].subsets
    differences.set_xscale("log")
    differences.xaxis.set_major_locator(FixedLocator([mark for mark in _MARKS if mark <= sizes[-1]]))
    differences.xaxis.set_minor_locator(NullLocator())
    differences.xaxis.set_major_formatter(lambda value, _at: f"{value:g}")
    ends = {curve.level: curve.scores[-1].estimate for curve in record.curves}
    handles, labels = scores.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda at: -ends[labels[at]])
    figure.legend(
        [handles[at] for at in order],
        [labels[at] for at in order],
        title=record.factor,
        loc="outside right upper",
        handlelength=3.2,
    )
    return figure


def _lines(axes: Axes, record: EffortCurves, of: Callable[[LevelCurve], Sequence[Difference]], *, scale: float) -> None:
    for curve in record.curves:
        points = of(curve)
        if not points:
            continue
        estimates = [scale * one.estimate for one in points]
        if curve.level not in record.told_apart:
            axes.plot(curve.subsets, estimates, color=LIGHT, linewidth=0.8, zorder=1)
            continue
        at = record.told_apart.index(curve.level)
        low, high = ([scale * (getattr(one, end) or 0.0) for one in points] for end in ("low", "high"))
        axes.fill_between(curve.subsets, low, high, color=COLORS[at], alpha=0.13, linewidth=0)
        axes.plot(
            curve.subsets,
            estimates,
            color=COLORS[at],
            linestyle=LINES[at],
            marker=MARKERS[at],
            markersize=3.5,
            label=curve.level,
        )


def _limit(axes: Axes, record: EffortCurves) -> None:
    """Keep the axis to the lines: a band of one setting may be as wide as everything."""
    every = [record.metric.scale * one.estimate for curve in record.curves for one in curve.differences]
    at = record.curves[0].subsets.index(record.subset)
    ends = [
        record.metric.scale * (end or 0.0)
        for curve in record.curves
        for one in curve.differences[at : at + 1]
        for end in (one.low, one.high)
    ]
    low, high = min([*every, *ends, 0.0]), max([*every, *ends, 0.0])
    margin = 0.08 * (high - low) or record.metric.scale * record.equivalence
    axes.set_ylim(low - margin, high + margin)
