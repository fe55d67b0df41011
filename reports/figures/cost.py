"""What a score costs in training time: every trial, the finalists, and the line that nothing beats."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from depthcheck.reports.compare.levels import valid_score
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.compare.study_design import StudyDesign
from depthcheck.reports.figures.style import COLORS, GREY, LIGHT, new_figure, plain_log, score_label, share_scale
from depthcheck.reports.text.context import Drawing
from depthcheck.reports.text.words import plural


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Trials as (seconds, score); finalists as (name, mean seconds, mean score); the front from fast to good."""

    trials: tuple[tuple[float, float], ...]
    finalists: tuple[tuple[str, float, float], ...]
    front: tuple[tuple[float, float], ...]


def compute_costs(study: StudyData, comparison: Comparison) -> Costs | None:
    """Return seconds and scores of the finished trials of all phases but *confirm*, or None where none is known."""
    trials = sorted(
        (record.fit_seconds, valid_score(record, study.design))
        for record in study.records
        if record.phase != "confirm" and record.state == "finished" and record.fit_seconds
    )
    if not trials:
        return None
    front: list[tuple[float, float]] = []
    for cost, score in trials:
        if not front or score > front[-1][1]:
            front.append((cost, score))
    finalists = tuple(
        (row.finalist.id, row.fit_seconds, row.valid.mean)
        for row in comparison.finalists
        if row.fit_seconds and row.valid is not None
    )
    return Costs(trials=tuple(trials), finalists=finalists, front=tuple(front))


def costs(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield the figure, where there is something to draw."""
    record = compute_costs(study, comparison)
    if record is None:
        return
    n_finalists = len(record.finalists)
    squares = plural(n_finalists, "square") + (" is a finalist" if n_finalists == 1 else " are the finalists")
    confirmed = f" The {squares}, mean over fresh {study.design.again}s." if n_finalists else ""
    yield Drawing(
        name="cost",
        alt="Score against training time",
        caption=f"Validation {study.design.metric.name} against the seconds of training, on one thread: "
        f"{plural(len(record.trials), 'trial')} of all phases but confirm.{confirmed} A cross never beat the dummy "
        "baseline. No trial lies above and left of the line. Seconds include compiling, and whatever else the "
        "machine did.",
        draw=functools.partial(draw_costs, record, study.design),
    )


def draw_costs(record: Costs, design: StudyDesign) -> Figure:
    """Draw trials, front and finalists; at or below ``stuck_below`` nothing was learned."""
    figure = new_figure(3.3)
    axes = figure.subplots()
    sound = [score for _, score in record.trials if score > design.stuck_below]
    scores = [*sound, *(score for _, _, score in record.finalists)] or [score for _, score in record.trials]
    scale = share_scale(axes, scores, metric=design.metric, gutter=len(sound) < len(record.trials))
    plain_log(axes, along="x")
    stuck = [cost for cost, score in record.trials if score <= design.stuck_below]
    if scale.gutter is not None:
        axes.plot(stuck, [scale.gutter] * len(stuck), "x", color=GREY, markersize=4)
    shown = [trial for trial in record.trials if trial[1] > design.stuck_below]
    if shown:
        axes.plot(*np.transpose(shown), "o", color=LIGHT, markersize=4, markeredgewidth=0, label="trial")
    axes.step(
        *np.transpose(record.front), where="post", color=GREY, linewidth=1.1, label="no trial is faster and better"
    )
    if record.finalists:
        x, y = [cost for _, cost, _ in record.finalists], [score for _, _, score in record.finalists]
        axes.plot(x, y, "s", color=COLORS[1], markersize=6, label=f"finalist, mean over {design.again}s")
    if len(record.finalists) <= 12:
        _name(axes, record)
    axes.set_xlabel("seconds of training (log scale)")
    axes.set_ylabel(score_label("validation", design.metric, scale.is_log))
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def _name(axes: Axes, record: Costs) -> None:
    """Name the finalists, from the left above and below in turn so that neighbours keep apart."""
    for at, (name, cost, score) in enumerate(sorted(record.finalists, key=lambda one: one[1])):
        above = at % 2 == 0
        axes.annotate(
            name.removeprefix("trial-"),
            (cost, score),
            xytext=(0, 7 if above else -7),
            textcoords="offset points",
            fontsize=7,
            ha="center",
            va="bottom" if above else "top",
        )
