"""Paired differences to the reference level: every seed, the mean, its interval, and what would not matter."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from depthcheck.reports.compare.results import Comparison, Difference
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.compare.study_design import Factor
from depthcheck.reports.figures.style import COLORS, FAINT, GREY, new_figure
from depthcheck.reports.text.context import Drawing
from depthcheck.reports.text.words import plural

#: Of each level: its name, the difference, and the word of the verdict.
Rows = Sequence[tuple[str, Difference, str]]


def paired_differences(_study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield a figure for each question about chosen configurations; those of a search are drawn by effort."""
    metric = comparison.design.metric
    for question in () if comparison.search is not None else comparison.questions:
        rows = [(c.level, c.difference, c.verdict.word) for c in question.contrasts if c.difference is not None]
        if not rows:
            continue
        factor, first = question.factor, rows[0][1]
        seeds = sorted({difference.n_seeds for _, difference, _ in rows})
        n_seeds = plural(seeds[0], first.again) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} {first.again}s"
        n_examples = max(difference.n_examples for _, difference, _ in rows)
        over = f"over seeds and {n_examples:,} {comparison.judged} {first.drawn}"
        if first.again == "repeat":
            n_seeds += f" of {comparison.design.folds}-fold cross-validation"
            over = f"over repeats and folds of {n_examples:,} rows (Nadeau and Bengio 2003)"
        yield Drawing(
            name=f"differences-by-{factor.name}",
            alt=f"Differences to {factor.name} {factor.reference}, {first.again} by {first.again}",
            caption=f"Difference in {comparison.judged} {metric.name} to {factor.name} {factor.reference}, paired by "
            f"{first.again}. Each circle is one of {n_seeds}; the diamond is their mean with its 95 % interval {over}. "
            f"Inside the grey band (±{metric.region(comparison.design.equivalence)}) a difference would not matter.",
            draw=functools.partial(draw_differences, factor, rows, comparison),
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
    axes.set_xlabel(f"difference in {comparison.judged} {metric.name} to {factor.name} {factor.reference}{unit}")
    axes.set_ylabel(factor.name)
    return figure
