"""Differences to the reference level: as a function of effort, or of chosen configurations seed by seed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from depthcheck.pipeline.verbatim import in_markdown
from depthcheck.reports.compare.results import Comparison, Difference, LevelCurve, Question, Search
from depthcheck.reports.compare.study_data import Factor, StudyData
from depthcheck.reports.figures.style import (
    COLORS,
    FAINT,
    GREY,
    LIGHT,
    LINES,
    MARKERS,
    MOST_SERIES,
    new_figure,
    score_label,
    share_scale,
)
from depthcheck.reports.text.answer import told
from depthcheck.reports.text.context import Drawing
from depthcheck.reports.text.words import at_level, plural

#: Of each level: its name, the difference, and the word of the verdict.
Rows = Sequence[tuple[str, Difference, str]]


def paired_differences(_study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield a figure for each question about chosen configurations; those of a search are drawn by effort."""
    metric = comparison.design.metric
    for question in () if comparison.search is not None else comparison.questions:
        rows = [(c.level, c.difference, told(c, question)) for c in question.contrasts if c.difference is not None]
        if not rows:
            continue
        factor, first = question.factor, rows[0][1]
        reference = in_markdown(at_level(factor.name, factor.reference), None)
        seeds = sorted({difference.n_seeds for _, difference, _ in rows})
        n_seeds = plural(seeds[0], first.again) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} {first.again}s"
        n_examples = max(difference.n_examples for _, difference, _ in rows)
        over = f"over seeds and {n_examples:,} {comparison.judged} {first.drawn}"
        if first.again == "repeat":
            n_seeds += f" of {comparison.design.folds}-fold cross-validation"
            over = f"over repeats and folds of {n_examples:,} rows (Nadeau and Bengio 2003)"
        if first.method == "seeds only":
            over = "over seeds alone"
        known = f" with its 95 % interval {over}" if any(one.low is not None for _, one, _ in rows) else ""
        yield Drawing(
            name=f"differences-by-{factor.name}",
            alt=f"Differences to {reference}, {first.again} by {first.again}",
            caption=f"Difference in {comparison.judged} {metric.name} to {reference}, paired by "
            f"{first.again}. Each circle is one of {n_seeds}; the diamond is their mean{known}. "
            f"Inside the grey band (±{metric.region(comparison.design.equivalence)}) a difference would not matter.",
            draw=functools.partial(draw_differences, factor, rows, comparison),
            answer=True,
        )


def draw_differences(factor: Factor, rows: Rows, comparison: Comparison) -> Figure:
    """Draw one row a level."""
    metric = comparison.design.metric
    n_levels, scale = len(rows), metric.scale
    figure = new_figure(min(1.1 + 0.42 * min(n_levels, 8) + 0.2 * max(n_levels - 8, 0), 16.0))
    axes = figure.subplots()
    band = scale * comparison.design.equivalence
    axes.axvspan(-band, band, color=FAINT, zorder=0, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=1)
    for at, (_, difference, word) in enumerate(rows):
        seeds = [scale * value for value in difference.by_seed]
        axes.plot(seeds, [at + 0.16] * len(seeds), "o", color=COLORS[0], fillstyle="none", markersize=5, zorder=3)
        if difference.low is not None and difference.high is not None:
            ends = [scale * difference.low, scale * difference.high]
            axes.plot(ends, [at - 0.12] * 2, color=COLORS[1], linewidth=2.4, solid_capstyle="butt", zorder=3)
            axes.plot(ends, [at - 0.12] * 2, "|", color=COLORS[1], markersize=9, markeredgewidth=1.6, zorder=3)
        axes.plot(scale * difference.estimate, at - 0.12, "D", color=COLORS[1], markersize=6, zorder=4)
        axes.annotate(
            word, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=8, annotation_clip=False
        )
    axes.set_yticks(range(n_levels), [level for level, _, _ in rows], fontsize=8 if n_levels <= 40 else 6)
    axes.set_ylim(n_levels - 0.45, -0.55)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.06)
    unit = " (percentage points)" if metric.unit else ""
    reference = at_level(factor.name, factor.reference)
    axes.set_xlabel(f"difference in {comparison.judged} {metric.name} to {reference}{unit}")
    axes.set_ylabel(factor.name)
    return figure


#: Labels along the number of settings.
_MARKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)


def effort(_study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield a figure for each question whose levels were judged."""
    search, design = comparison.search, comparison.design
    if search is None:
        return
    drawn = [question for question in comparison.questions if question.curves and len(question.curves[0].subsets) >= 2]
    for question in drawn:
        name, hidden = question.factor.name, len(question.curves) - len(told_apart(question))
        reference = in_markdown(question.factor.reference, None)
        rest = f" Grey: the other {hidden} levels." if hidden else ""
        caption = (
            f"Above: expected {comparison.judged} {design.metric.name} of tuning each {name} with so many settings and "
            f"keeping the best by validation, the mean over all subsets of the {search.n_settings} settings tried. "
            f"Below: the difference to {name} {reference} at the same settings. Bands are 95 % "
            f"intervals, each for one point of its line; inside the grey strip (±"
            f"{design.metric.region(design.equivalence)}) a difference would not matter. The answer is read at the "
            f"upright line, {search.subset} settings."
        )
        if question is not drawn[0]:
            caption = f"As figure 1, by {name}; differences to {name} {reference}."
        yield Drawing(
            name=f"effort-by-{name}",
            alt=f"Tuned score and differences against the number of settings tried, by {name}",
            caption=f"{caption}{rest}",
            draw=functools.partial(draw_effort, question, comparison, search),
            answer=True,
        )


def told_apart(question: Question) -> list[str]:
    """Return the levels that get a colour: the reference, and the best at the largest effort."""
    factor = question.factor
    best = sorted(question.curves, key=lambda curve: -curve.scores[-1].estimate)
    kept = [curve.level for curve in best if curve.level != factor.reference][: MOST_SERIES - 1]
    return [level for level in factor.levels if level in kept or level == factor.reference]


def draw_effort(question: Question, comparison: Comparison, search: Search) -> Figure:
    """Draw scores above and differences below, on one axis of effort."""
    design, curves, levels = comparison.design, question.curves, told_apart(question)
    metric = design.metric
    figure = new_figure(5.0)
    scores, differences = figure.subplots(2, 1, sharex=True)
    _lines(scores, curves, levels, lambda curve: curve.scores, scale=1.0)
    every = [one.estimate for curve in curves for one in curve.scores]
    is_log = share_scale(scores, every, metric=metric).is_log
    scores.set_ylabel(score_label(f"expected\n{comparison.judged}", metric, is_log))
    band = metric.scale * design.equivalence
    differences.axhspan(-band, band, color=FAINT, zorder=0, linewidth=0)
    differences.axhline(0, color=GREY, linewidth=1, zorder=1)
    _lines(differences, curves, levels, lambda curve: curve.differences, scale=metric.scale)
    _limit(differences, curves, search.subset, scale=metric.scale, band=band)
    unit = " (points)" if metric.unit else ""
    differences.set_ylabel(f"difference to\n{question.factor.name} {question.factor.reference}{unit}")
    differences.set_xlabel("settings tried")
    for axes in (scores, differences):
        axes.axvline(search.subset, color=LIGHT, linewidth=1.2, zorder=0)
    differences.set_xscale("log")
    differences.xaxis.set_major_locator(FixedLocator([mark for mark in _MARKS if mark <= curves[0].subsets[-1]]))
    differences.xaxis.set_minor_locator(NullLocator())
    differences.xaxis.set_major_formatter(lambda value, _at: f"{value:g}")
    ends = {curve.level: curve.scores[-1].estimate for curve in curves}
    handles, labels = scores.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda at: -ends[labels[at]])
    handles, labels = [handles[at] for at in order], [labels[at] for at in order]
    figure.legend(handles, labels, title=question.factor.name, loc="outside right upper", handlelength=3.2)
    return figure


def _lines(
    axes: Axes,
    curves: Sequence[LevelCurve],
    levels: Sequence[str],
    of: Callable[[LevelCurve], Sequence[Difference]],
    *,
    scale: float,
) -> None:
    for curve in curves:
        points = of(curve)
        if not points:
            continue
        estimates = [scale * one.estimate for one in points]
        if curve.level not in levels:
            axes.plot(curve.subsets, estimates, color=LIGHT, linewidth=0.8, zorder=1)
            continue
        at = levels.index(curve.level)
        low, high = (scale * np.array([getattr(one, end) for one in points], dtype=float) for end in ("low", "high"))
        axes.fill_between(curve.subsets, low, high, color=COLORS[at], alpha=0.13, linewidth=0)
        look: dict[str, Any] = {"color": COLORS[at], "linestyle": LINES[at], "marker": MARKERS[at]}
        axes.plot(curve.subsets, estimates, markersize=3.5, label=curve.level, **look)


def _limit(axes: Axes, curves: Sequence[LevelCurve], subset: int, *, scale: float, band: float) -> None:
    """Keep the axis to the lines: a band of one setting may be as wide as everything."""
    every = [one.estimate for curve in curves for one in curve.differences]
    at = curves[0].subsets.index(subset)
    read = [one for curve in curves for one in curve.differences[at : at + 1]]
    shown = [scale * (value or 0.0) for value in (*every, *(end for one in read for end in (one.low, one.high)), 0.0)]
    low, high = min(shown), max(shown)
    margin = 0.08 * (high - low) or band
    axes.set_ylim(low - margin, high + margin)
