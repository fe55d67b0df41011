"""The trials of the search: by level, by learning rate, and by what they cost."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from depthcheck.pipeline.scores import Metric
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import (
    Factor,
    StudyData,
    StudyDesign,
    best_trial,
    compare_trials,
    is_untrained,
    record_level,
    valid_score,
)
from depthcheck.reports.figures.style import (
    COLORS,
    FAINT,
    GREY,
    LIGHT,
    LINES,
    MARKERS,
    MOST_SERIES,
    legend_of,
    new_figure,
    plain_log,
    score_label,
    share_scale,
    wrapped,
)
from depthcheck.reports.text.context import Drawing
from depthcheck.reports.text.words import enumeration, plural


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelTrials:
    """Scores of a level's judged trials; which of them are stuck or diverged; the place of the best."""

    level: str
    scores: NDArray[np.float64]
    stuck: NDArray[np.bool_]
    best: int | None


def compute_trials(factor: Factor, study: StudyData) -> list[LevelTrials]:
    """Return the trials of the compare phase by level, none where no trial was judged."""
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
    return levels if any(len(of.scores) for of in levels) else []


def trials_by_level(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield a figure for each question of which a trial was judged."""
    references = [(of.name, of.valid) for of in study.facts.references if of.valid is not None][:MOST_SERIES]
    for question in comparison.questions:
        factor = question.factor
        levels = compute_trials(factor, study)
        if not levels:
            continue
        counts = [len(of.scores) for of in levels]
        each = plural(counts[0], "trial") + " a level" if len(set(counts)) == 1 else plural(sum(counts), "trial")
        n_stuck = sum(int(of.stuck.sum()) for of in levels)
        crosses = f" A cross is a trial that diverged or never beat the dummy baseline ({n_stuck} of them)."
        stuck = crosses if n_stuck else ""
        lines = " Upright lines: scikit-learn's models on the same split, untuned." if references else ""
        yield Drawing(
            name=f"trials-by-{factor.name}",
            alt=f"Every trial by {factor.name}",
            caption=f"Validation {study.design.metric.name} of every trial of the compare phase by {factor.name}: "
            f"{each}. The ringed trial is the best of its level.{stuck} The bar is the median.{lines}",
            draw=functools.partial(draw_trials, levels, references, factor.name, study.design.metric),
        )


def draw_trials(
    levels: Sequence[LevelTrials], references: Sequence[tuple[str, float]], factor: str, metric: Metric
) -> Figure:
    """Draw one row a level, and an upright line a reference at its validation score."""
    n_levels = len(levels)
    figure = new_figure(min(1.0 + 0.42 * min(n_levels, 8) + 0.2 * max(n_levels - 8, 0), 16.0))
    axes = figure.subplots()
    every, stuck = (np.concatenate([getattr(of, name) for of in levels]) for name in ("scores", "stuck"))
    judged = every if stuck.all() else every[~stuck]
    shown = [*judged.tolist(), *(score for _, score in references)]
    scale = share_scale(axes, shown, metric=metric, along="x", gutter=bool(stuck.any()))
    for at, of in enumerate(levels):
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
    for at, (name, score) in enumerate(references):
        axes.axvline(score, color=COLORS[2 + at % 5], linestyle=LINES[1 + at % 6], linewidth=1.3, label=name, zorder=0)
    if references:
        figure.legend(loc="outside upper left", ncols=len(references), handlelength=3)
    axes.set_yticks(range(n_levels), [of.level for of in levels], fontsize=8 if n_levels <= 40 else 6)
    axes.set_ylim(n_levels - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(score_label("validation", metric, scale.is_log, along="x"))
    axes.set_ylabel(factor)
    return figure


def _spread(n: int) -> NDArray[np.float64]:
    """Return n places in -1 .. 1 in an order that keeps neighbours apart: the golden ratio's fractions."""
    return np.asarray(2 * ((np.arange(n) * 0.6180339887) % 1) - 1, dtype=np.float64)


#: Learning rate, score, whether it is stuck, and the level of a factor.
Point = tuple[float, float, bool, str]
#: An optimizer's name, its range (or None) and its trials.
OptimizerTrials = tuple[str, tuple[float, float] | None, Sequence[Point]]


def compute_learning_rates(study: StudyData, factor: Factor | None) -> list[OptimizerTrials]:
    """Return the trials by optimizer, none where the learning rate never varied; the factor tells their levels."""
    trials = [r for r in study.records if r.phase == "compare" and r.state != "failed"]
    by_optimizer: dict[str, list[Point]] = {}
    for record in trials:
        rate, score = record.config.optimizer.learning_rate, valid_score(record, study.design)
        level = (record_level(record, factor) or "") if factor else ""
        points = by_optimizer.setdefault(record.config.optimizer.name, [])
        points.append((rate, score, record.state == "diverged" or is_untrained(record, study.design), level))
    if sum(len({rate for rate, *_ in points}) for points in by_optimizer.values()) < 3:
        return []
    return [(name, _range_of(study, name), points) for name, points in by_optimizer.items()]


def _range_of(study: StudyData, optimizer: str) -> tuple[float, float] | None:
    for searched in study.design.ranges:
        applies = searched.when in (None, ("optimizer", optimizer)) and not searched.is_list
        if searched.parameter == "learning_rate" and applies:
            return searched.low, searched.high
    return None


def learning_rates(study: StudyData, _comparison: Comparison) -> Iterator[Drawing]:
    """Yield the figure, where there is something to draw."""
    others = [f for f in study.design.factors if f.name not in ("optimizer", "learning_rate")]
    factor = next((factor for factor in others if 1 < len(factor.levels) <= MOST_SERIES), None)
    optimizers = compute_learning_rates(study, factor)
    if not optimizers:
        return
    n_of = enumeration([f"{len(points)} of {name}" for name, _, points in optimizers])
    by = f" Markers tell the {factor.name}." if factor else ""
    stuck = any(point[2] for _, _, points in optimizers for point in points)
    has_range = any(searched for _, searched, _ in optimizers)
    yield Drawing(
        name="learning-rate",
        alt="Sensitivity to the learning rate by optimizer",
        caption=f"Validation {study.design.metric.name} of the compare phase's trials against their learning rate "
        f"({n_of}); all else differs too."
        + " The white area is the range that was searched for that optimizer." * has_range
        + f"{by}{' A grey cross diverged or never beat the dummy baseline.' * stuck}",
        draw=functools.partial(draw_learning_rates, optimizers, factor, study.design.metric),
    )


def draw_learning_rates(optimizers: Sequence[OptimizerTrials], factor: Factor | None, metric: Metric) -> Figure:
    """Draw a panel an optimizer, on one scale of scores; markers tell the factor's levels."""
    n_rows, n_columns = wrapped(len(optimizers), 3)
    levels = factor.levels if factor else ("",)
    figure = new_figure(0.5 + 2.5 * n_rows)
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    every = [point for _, _, points in optimizers for point in points]
    sound = [score for _, score, stuck, _ in every if not stuck]
    shown = sound or [score for _, score, _, _ in every]
    scale = share_scale(grid[0][0], shown, metric=metric, gutter=len(sound) < len(every))
    for at, axes in enumerate(grid.flat):
        if at >= len(optimizers):
            axes.set_visible(False)
            continue
        name, searched, points = optimizers[at]
        plain_log(axes, along="x")
        for level_at, level in enumerate(levels):
            here = [(x, y) for x, y, stuck, of in points if of == level and not stuck]
            if here:
                look = {"color": COLORS[level_at], "markersize": 4.5, "alpha": 0.85, "markeredgewidth": 0}
                axes.plot(*np.transpose(here), MARKERS[level_at], label=level, **look)
        stuck_at = [x for x, _, stuck, _ in points if stuck]
        if scale.gutter is not None:
            axes.plot(stuck_at, [scale.gutter] * len(stuck_at), "x", color=GREY, markersize=5)
        if searched:
            low, high = searched
            axes.set_xlim(low / (high / low) ** 0.1, high * (high / low) ** 0.1)
            for span in ((axes.get_xlim()[0], low), (high, axes.get_xlim()[1])):
                axes.axvspan(*span, color=FAINT, linewidth=0, zorder=0)
        axes.set_title(name)
        axes.set_xlabel("learning rate")
    for row in grid:
        row[0].set_ylabel(score_label("validation", metric, scale.is_log))
    if factor:
        named = legend_of(grid.flat, levels)
        figure.legend(*named, title=factor.name, loc="outside right center", markerscale=1.2)
    return figure


def front_of(trials: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return those of ``(seconds, score)`` that no faster one equals or beats, from fast to good."""
    front: list[tuple[float, float]] = []
    for cost, score in trials:
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def costs(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield seconds and scores of the finished trials of all phases but *confirm*, and of finalists, where known."""
    trials = sorted(
        (record.seconds, valid_score(record, study.design), is_untrained(record, study.design))
        for record in study.records
        if record.phase != "confirm" and record.state == "finished" and record.seconds
    )
    crosses = " A cross never beat the dummy baseline." if any(is_stuck for _, _, is_stuck in trials) else ""
    if not trials:
        return
    finalists = [
        (row.finalist.id, row.seconds, row.valid.mean)
        for row in comparison.finalists
        if row.seconds and row.valid is not None
    ]
    n_finalists = len(finalists)
    squares = plural(n_finalists, "square") + (" is a finalist" if n_finalists == 1 else " are the finalists")
    confirmed = f" The {squares}, mean over fresh {study.design.again}s." if n_finalists else ""
    yield Drawing(
        name="cost",
        alt="Score against training time",
        caption=f"Validation {study.design.metric.name} against the seconds of training, on one thread: "
        f"{plural(len(trials), 'trial')} of all phases but confirm.{confirmed}{crosses} No trial lies above and left "
        "of the line. Seconds, of two epochs or more, are without compiling, and with whatever else the machine did.",
        draw=functools.partial(draw_costs, trials, finalists, study.design),
    )


def draw_costs(
    trials: Sequence[tuple[float, float, bool]], finalists: Sequence[tuple[str, float, float]], design: StudyDesign
) -> Figure:
    """Draw trials, their front and finalists; of those that are stuck nothing but the time."""
    figure = new_figure(3.3)
    axes = figure.subplots()
    shown = [(cost, score) for cost, score, is_stuck in trials if not is_stuck]
    stuck = [cost for cost, _, is_stuck in trials if is_stuck]
    scores = [score for _, score in shown] + [score for _, _, score in finalists]
    scale = share_scale(axes, scores or [score for _, score, _ in trials], metric=design.metric, gutter=bool(stuck))
    plain_log(axes, along="x")
    if scale.gutter is not None:
        axes.plot(stuck, [scale.gutter] * len(stuck), "x", color=GREY, markersize=4)
    if shown:
        axes.plot(*np.transpose(shown), "o", color=LIGHT, markersize=4, markeredgewidth=0, label="trial")
    axes.step(
        *np.transpose(front_of([trial[:2] for trial in trials])),
        where="post",
        color=GREY,
        linewidth=1.1,
        label="no trial is faster and better",
    )
    if finalists:
        x, y = [cost for _, cost, _ in finalists], [score for _, _, score in finalists]
        axes.plot(x, y, "s", color=COLORS[1], markersize=6, label=f"finalist, mean over {design.again}s")
    if len(finalists) <= 12:
        _name(axes, finalists)
    axes.set_xlabel("seconds of training (log scale)")
    axes.set_ylabel(score_label("validation", design.metric, scale.is_log))
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def _name(axes: Axes, finalists: Sequence[tuple[str, float, float]]) -> None:
    """Name the finalists, from the left above and below in turn so that neighbours keep apart."""
    for at, (name, cost, score) in enumerate(sorted(finalists, key=lambda one: one[1])):
        above = at % 2 == 0
        look: dict[str, Any] = {"fontsize": 7, "ha": "center", "va": "bottom" if above else "top"}
        place = (0, 7 if above else -7)
        axes.annotate(name.removeprefix("trial-"), (cost, score), xytext=place, textcoords="offset points", **look)
