"""The expected best score of a search of so many trials, a line a level: which level pays at which budget."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reports.design import Factor
from reports.effort import expected_best
from reports.figures.style import (
    COLORS,
    LIGHT,
    LINES,
    MARKERS,
    MOST_SERIES,
    Drawing,
    new_figure,
    score_label,
    share_scale,
    whole_numbers,
)
from reports.levels import compare_trials, valid_score
from reports.metric import Metric
from reports.study import StudyData


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EffortCurves:
    """By level, the expected best of 1, 2, … trials; ``told_apart`` are the levels that get a colour of their own."""

    factor: str
    metric: Metric
    curves: tuple[tuple[str, NDArray[np.float64]], ...]
    told_apart: tuple[str, ...]


def compute(factor: Factor, study: StudyData) -> EffortCurves | None:
    """Return the curves of all levels with at least two judged trials, or None without any."""
    curves = []
    for level in factor.levels:
        trials = [r for r in compare_trials(study.records, factor, level) if r.state != "failed"]
        if len(trials) >= 2:
            scores = np.array([valid_score(record, study.design) for record in trials])
            curves.append((level, expected_best(scores)))
    if not curves:
        return None
    best = sorted(curves, key=lambda pair: -pair[1][-1])
    told = [level for level, _ in best if level != factor.reference][: MOST_SERIES - 1]
    return EffortCurves(
        factor=factor.name,
        metric=study.design.metric,
        curves=tuple(curves),
        told_apart=tuple(level for level in factor.levels if level in told or level == factor.reference),
    )


def drawing(factor: Factor, study: StudyData) -> Drawing | None:
    """Return the figure, or None where there is nothing to draw."""
    record = compute(factor, study)
    if record is None:
        return None
    hidden = len(record.curves) - sum(level in record.told_apart for level, _ in record.curves)
    rest = f" Grey: the other {hidden} levels." if hidden else ""
    return Drawing(
        name=f"effort-by-{factor.name}",
        alt=f"Expected best score against the number of trials, by {factor.name}",
        caption=f"Expected best validation {record.metric.name} of a random search of so many trials, by "
        f"{factor.name}: the mean over all subsets of the compare phase's trials (Tang et al. 2020). Where two lines "
        f"cross, the better level depends on the budget. A line ends at the trials that were run.{rest}",
        draw=functools.partial(draw, record),
    )


def draw(record: EffortCurves) -> Figure:
    """Draw one line a level, named in a legend in the order of the lines' ends."""
    figure = new_figure(3.1)
    axes = figure.subplots()
    for level, curve in record.curves:
        n_trials = np.arange(1, len(curve) + 1)
        if level not in record.told_apart:
            axes.plot(n_trials, curve, color=LIGHT, linewidth=0.8, zorder=1)
            continue
        at = record.told_apart.index(level)
        axes.plot(
            n_trials,
            curve,
            color=COLORS[at],
            linestyle=LINES[at],
            marker=MARKERS[at],
            markevery=max(1, len(curve) // 10),
            label=level,
        )
    every = np.concatenate([curve for _, curve in record.curves]).tolist()
    is_log = share_scale(axes, every, metric=record.metric).is_log
    axes.set_xlabel("trials of the level")
    axes.set_ylabel(score_label("expected best\nvalidation", record.metric, is_log))
    whole_numbers(axes)
    ends = {level: curve[-1] for level, curve in record.curves}
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda at: -ends[labels[at]])
    axes.legend(
        [handles[at] for at in order],
        [labels[at] for at in order],
        title=record.factor,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        handlelength=3.2,
    )
    return figure
