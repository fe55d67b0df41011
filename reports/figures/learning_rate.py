"""How sensitive each optimizer is to its learning rate, over the compare phase's trials."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from depthcheck.reports.compare.levels import is_untrained, level_of, valid_score
from depthcheck.reports.compare.metric import Metric
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.compare.study_design import Factor
from depthcheck.reports.figures.style import (
    COLORS,
    FAINT,
    GREY,
    MARKERS,
    MOST_SERIES,
    new_figure,
    score_label,
    share_scale,
    wrapped,
)
from depthcheck.reports.text.context import Drawing
from depthcheck.reports.text.words import enumeration

Point = tuple[float, float, bool, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRates:
    """By optimizer: its range (or None) and its trials as (learning rate, score, stuck, level of the factor)."""

    factor: Factor | None
    optimizers: tuple[tuple[str, tuple[float, float] | None, tuple[Point, ...]], ...]


def compute_learning_rates(study: StudyData) -> LearningRates | None:
    """Return the trials by learning rate, or None where it never varied."""
    trials = [r for r in study.records if r.phase == "compare" and r.state != "failed"]
    if len({(r.config.optimizer.name, r.config.optimizer.learning_rate) for r in trials}) < 3:
        return None
    factor = _marked_factor(study.design.factors)
    found = []
    for optimizer in dict.fromkeys(r.config.optimizer.name for r in trials):
        points = tuple(
            (
                r.config.optimizer.learning_rate,
                valid_score(r, study.design),
                r.state == "diverged" or is_untrained(r, study.design),
                (level_of(r.config, factor) or "none") if factor else "",
            )
            for r in trials
            if r.config.optimizer.name == optimizer
        )
        found.append((optimizer, _range_of(study, optimizer), points))
    return LearningRates(factor=factor, optimizers=tuple(found))


def _marked_factor(factors: tuple[Factor, ...]) -> Factor | None:
    fit = [f for f in factors if f.name not in ("optimizer", "learning_rate") and 1 < len(f.levels) <= MOST_SERIES]
    return fit[0] if fit else None


def _range_of(study: StudyData, optimizer: str) -> tuple[float, float] | None:
    for searched in study.design.ranges:
        applies = searched.when in (None, ("optimizer", optimizer)) and not searched.is_list
        if searched.parameter == "learning_rate" and applies:
            return searched.low, searched.high
    return None


def learning_rates(study: StudyData, _comparison: Comparison) -> Iterator[Drawing]:
    """Yield the figure, where there is something to draw."""
    record = compute_learning_rates(study)
    if record is None:
        return
    n_of = enumeration([f"{len(points)} of {name}" for name, _, points in record.optimizers])
    by = f" Markers tell the {record.factor.name}." if record.factor else ""
    stuck = any(point[2] for _, _, points in record.optimizers for point in points)
    yield Drawing(
        name="learning-rate",
        alt="Sensitivity to the learning rate by optimizer",
        caption=f"Validation {study.design.metric.name} of the compare phase's trials against their learning rate "
        f"({n_of}); all else differs too. The white area is the range that was searched for that optimizer.{by}"
        + (" A grey cross diverged or never beat the dummy baseline." if stuck else ""),
        draw=functools.partial(draw_learning_rates, record, study.design.metric),
    )


def draw_learning_rates(record: LearningRates, metric: Metric) -> Figure:
    """Draw a panel an optimizer, on one scale of scores."""
    n_rows, n_columns = wrapped(len(record.optimizers), 3)
    levels = record.factor.levels if record.factor else ("",)
    figure = new_figure(0.5 + 2.5 * n_rows)
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    every = [point for _, _, points in record.optimizers for point in points]
    sound = [score for _, score, stuck, _ in every if not stuck]
    scale = share_scale(
        grid[0][0],
        sound or [score for _, score, _, _ in every],
        metric=metric,
        gutter=len(sound) < len(every),
    )
    for at, axes in enumerate(grid.flat):
        if at >= len(record.optimizers):
            axes.set_visible(False)
            continue
        name, searched, points = record.optimizers[at]
        axes.set_xscale("log")
        for level_at, level in enumerate(levels):
            here = [(x, y) for x, y, stuck, of in points if of == level and not stuck]
            if here:
                axes.plot(
                    *np.transpose(here),
                    MARKERS[level_at],
                    color=COLORS[level_at],
                    markersize=4.5,
                    label=level,
                    alpha=0.85,
                    markeredgewidth=0,
                )
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
    named = {
        label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if record.factor:
        order = [level for level in levels if level in named]
        figure.legend(
            [named[level] for level in order],
            order,
            title=record.factor.name,
            loc="outside right center",
            markerscale=1.2,
        )
    return figure
