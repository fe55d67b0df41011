"""Every trial of the compare phase by level: what each level's budget bought, and which trial was chosen."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from depthcheck.reports.compare.levels import best_trial, compare_trials, is_untrained, valid_score
from depthcheck.reports.compare.metric import Metric
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.compare.study_design import Factor
from depthcheck.reports.figures.style import (
    COLORS,
    GREY,
    LIGHT,
    LINES,
    MOST_SERIES,
    new_figure,
    score_label,
    share_scale,
)
from depthcheck.reports.text.context import Drawing
from depthcheck.reports.text.words import plural


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelTrials:
    """Scores of a level's judged trials; which of them are stuck or diverged; the place of the best."""

    level: str
    scores: NDArray[np.float64]
    stuck: NDArray[np.bool_]
    best: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrialsByLevel:
    """All levels of a factor, and the validation scores of references by name."""

    levels: tuple[LevelTrials, ...]
    references: tuple[tuple[str, float], ...] = ()


def compute_trials(factor: Factor, study: StudyData) -> TrialsByLevel | None:
    """Return the trials by level, or None where no trial of the compare phase was judged."""
    levels = []
    for level in factor.levels:
        trials = [r for r in compare_trials(study.records, factor, level) if r.state != "failed"]
        best = best_trial(trials, study.design)
        levels.append(
            LevelTrials(
                level=level,
                scores=np.array([valid_score(record, study.design) for record in trials]),
                stuck=np.array([r.state == "diverged" or is_untrained(r, study.design) for r in trials], dtype=bool),
                best=None if best is None else trials.index(best),
            )
        )
    if not any(len(of.scores) for of in levels):
        return None
    known = [(one.name, one.valid) for one in study.facts.references]
    references = tuple((name, score) for name, score in known if score is not None)[:MOST_SERIES]
    return TrialsByLevel(levels=tuple(levels), references=references)


def trials_by_level(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield a figure for each question of which a trial was judged."""
    for question in comparison.questions:
        factor = question.factor
        record = compute_trials(factor, study)
        if record is None:
            continue
        counts = [len(of.scores) for of in record.levels]
        each = plural(counts[0], "trial") + " a level" if len(set(counts)) == 1 else plural(sum(counts), "trial")
        n_stuck = sum(int(of.stuck.sum()) for of in record.levels)
        crosses = f" A cross is a trial that diverged or never beat the dummy baseline ({n_stuck} of them)."
        stuck = crosses if n_stuck else ""
        lines = " Upright lines: scikit-learn's models on the same split, untuned." if record.references else ""
        yield Drawing(
            name=f"trials-by-{factor.name}",
            alt=f"Every trial by {factor.name}",
            caption=f"Validation {study.design.metric.name} of every trial of the compare phase by {factor.name}: "
            f"{each}. The ringed trial is the best of its level.{stuck} The bar is the median.{lines}",
            draw=functools.partial(draw_trials, record, factor.name, study.design.metric),
        )


def draw_trials(record: TrialsByLevel, factor: str, metric: Metric) -> Figure:
    """Draw one row a level."""
    n_levels = len(record.levels)
    figure = new_figure(min(1.0 + 0.42 * min(n_levels, 8) + 0.2 * max(n_levels - 8, 0), 16.0))
    axes = figure.subplots()
    every, stuck = (np.concatenate([getattr(of, name) for of in record.levels]) for name in ("scores", "stuck"))
    judged = every if stuck.all() else every[~stuck]
    shown = [*judged.tolist(), *(score for _, score in record.references)]
    scale = share_scale(axes, shown, metric=metric, along="x", gutter=bool(stuck.any()))
    for at, of in enumerate(record.levels):
        if not len(of.scores):
            continue
        y, sound = at + 0.22 * _spread(len(of.scores)), ~of.stuck
        axes.plot(of.scores[sound], y[sound], "o", color=COLORS[0], markersize=4, alpha=0.75, markeredgewidth=0)
        if scale.gutter is not None:
            axes.plot([scale.gutter] * int(of.stuck.sum()), y[of.stuck], "x", color=GREY, markersize=5)
        median = max(float(np.median(of.scores)), axes.get_xlim()[0])
        axes.plot([median] * 2, [at - 0.32, at + 0.32], color=LIGHT, linewidth=2.5, zorder=1)
        if of.best is not None:
            place = of.scores[of.best] if sound[of.best] or scale.gutter is None else scale.gutter
            axes.plot([place], [y[of.best]], "o", color=COLORS[1], fillstyle="none", markersize=9, markeredgewidth=1.8)
    for at, (name, score) in enumerate(record.references):
        axes.axvline(score, color=COLORS[2 + at % 5], linestyle=LINES[1 + at % 6], linewidth=1.3, label=name, zorder=0)
    if record.references:
        figure.legend(loc="outside upper left", ncols=len(record.references), handlelength=3)
    axes.set_yticks(range(n_levels), [of.level for of in record.levels], fontsize=8 if n_levels <= 40 else 6)
    axes.set_ylim(n_levels - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(score_label("validation", metric, scale.is_log, along="x"))
    axes.set_ylabel(factor)
    return figure


def _spread(n: int) -> NDArray[np.float64]:
    """Return n places in -1 .. 1 in an order that keeps neighbours apart: the golden ratio's fractions."""
    return np.asarray(2 * ((np.arange(n) * 0.6180339887) % 1) - 1, dtype=np.float64)
