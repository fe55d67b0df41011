"""Paired differences to the reference level: every seed, the mean, its interval, and what would not matter."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from matplotlib.figure import Figure

from depthcheck.reports.compare.metric import Metric
from depthcheck.reports.compare.results import Comparison, Difference, Question
from depthcheck.reports.figures.style import COLORS, FAINT, GREY, Drawing, new_figure
from depthcheck.reports.text.words import plural


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """By level: the difference and the verdict's word; ``equivalence`` is half the region's width."""

    factor: str
    reference: str
    metric: Metric
    equivalence: float
    judged: str
    folds: int
    levels: tuple[tuple[str, Difference, str], ...]


def compute(question: Question, comparison: Comparison) -> Differences | None:
    """Return the differences of chosen configurations, or None without any; a search's are drawn by effort."""
    if comparison.search is not None:
        return None
    design = comparison.design
    levels = [(c.level, c.difference, c.verdict.word) for c in question.contrasts if c.difference is not None]
    if not levels:
        return None
    return Differences(
        factor=question.factor.name,
        reference=question.factor.reference,
        metric=design.metric,
        equivalence=design.equivalence,
        judged=comparison.judged,
        folds=design.folds,
        levels=tuple((level, difference, word) for level, difference, word in levels if difference is not None),
    )


def drawing(question: Question, comparison: Comparison) -> Drawing | None:
    """Return the figure, or None where there is nothing to draw."""
    record = compute(question, comparison)
    if record is None:
        return None
    seeds = sorted({difference.n_seeds for _, difference, _ in record.levels})
    again = record.levels[0][1].again
    n_seeds = plural(seeds[0], again) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} {again}s"
    n_examples = max(difference.n_examples for _, difference, _ in record.levels)
    over = f"over seeds and {n_examples:,} {record.judged} {record.levels[0][1].drawn}"
    if again == "repeat":
        n_seeds += f" of {record.folds}-fold cross-validation"
        over = f"over repeats and folds of {n_examples:,} rows (Nadeau and Bengio 2003)"
    return Drawing(
        name=f"differences-by-{record.factor}",
        alt=f"Differences to {record.factor} {record.reference}, {again} by {again}",
        caption=f"Difference in {record.judged} {record.metric.name} to {record.factor} {record.reference}, paired by "
        f"{again}. Each circle is one of {n_seeds}; the diamond is their mean with its 95 % interval {over}. Inside "
        f"the grey band (±{record.metric.region(record.equivalence)}) a difference would not matter.",
        draw=functools.partial(draw, record),
    )


def draw(record: Differences) -> Figure:
    """Draw one row a level."""
    n_levels, scale = len(record.levels), record.metric.scale
    figure = new_figure(min(1.1 + 0.42 * min(n_levels, 8) + 0.2 * max(n_levels - 8, 0), 16.0))
    axes = figure.subplots()
    axes.axvspan(-scale * record.equivalence, scale * record.equivalence, color=FAINT, zorder=0, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=1)
    for at, (_, difference, word) in enumerate(record.levels):
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
    axes.set_yticks(range(n_levels), [level for level, _, _ in record.levels], fontsize=8 if n_levels <= 40 else 6)
    axes.set_ylim(n_levels - 0.45, -0.55)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.06)
    unit = " (percentage points)" if record.metric.unit else ""
    what = f"{record.judged} {record.metric.name}"
    axes.set_xlabel(f"difference in {what} to {record.factor} {record.reference}{unit}")
    axes.set_ylabel(record.factor)
    return figure
