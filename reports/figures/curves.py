"""Training and validation curves of the finalists: who still improves, who overfits, who never moved."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from depthcheck.pipeline.records import History
from depthcheck.reports.compare.metric import Metric
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.figures.style import (
    COLORS,
    label_of,
    name_rows,
    paired_panels,
    plain_log,
    score_label,
    share_scale,
    shown_finalists,
)
from depthcheck.reports.text.context import Drawing

_FIELDS = ("train_loss", "valid_loss", "train_score", "valid_score")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinalistCurves:
    """By finalist: label, number of runs, and each curve as ``(n_runs, n_epochs)``."""

    finalists: tuple[tuple[str, int, dict[str, NDArray[np.float64]]], ...]
    n_left_out: int


def compute_curves(study: StudyData, comparison: Comparison) -> FinalistCurves | None:
    """Return the curves of the finalists that have confirm runs, or None without any."""
    rows, n_left_out = shown_finalists(comparison)
    found = []
    for row in rows:
        histories = [run.history for run in study.confirm_runs(row.finalist.id) if run.history.n_epochs]
        if histories:
            found.append((label_of(row), len(histories), {name: _stacked(histories, name) for name in _FIELDS}))
    if not found:
        return None
    return FinalistCurves(finalists=tuple(found), n_left_out=n_left_out)


def _stacked(histories: list[History], name: str) -> NDArray[np.float64]:
    """Return the runs' curves as far as all go."""
    shortest = min(history.n_epochs for history in histories)
    rows = np.array([getattr(history, name)[:shortest] for history in histories], dtype=float)
    return np.where(np.isfinite(rows), rows, np.nan)


def training_curves(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield the figure, where there is something to draw."""
    record = compute_curves(study, comparison)
    if record is None:
        return
    counts = sorted({n_runs for _, n_runs, _ in record.finalists})
    runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    folds = f" (each the mean of {study.design.folds} folds)" if study.design.folds else ""
    left_out = f" The {record.n_left_out} other finalists are left out." if record.n_left_out else ""
    yield Drawing(
        name="curves",
        alt="Training and validation curves of the finalists",
        caption=f"Loss (log scale) and {study.design.metric.name} of the finalists by epoch: mean over {runs} fresh "
        f"{study.design.again}s each{folds}, with the range from the lowest to the highest run. Training values are "
        "means over the epoch while the weights moved (with dropout, where there is any); validation values are of its "
        f"end.{left_out}",
        draw=functools.partial(draw_curves, record, study.design.metric),
    )


def draw_curves(record: FinalistCurves, metric: Metric) -> Figure:
    """Draw two panels a finalist, loss above score."""
    figure, pairs = paired_panels(len(record.finalists), block_height=2.9)
    for (label, _, curves), (above, below) in zip(record.finalists, pairs, strict=True):
        for axes, kind in ((above, "loss"), (below, "score")):
            _band(axes, curves[f"train_{kind}"], COLORS[4], "--", "training")
            _band(axes, curves[f"valid_{kind}"], COLORS[0], "-", "validation")
        above.set_title(label, fontsize=7.5)
    plain_log(pairs[0][0])
    scores = [v for _, _, curves in record.finalists for name in _FIELDS[2:] for v in curves[name].ravel()]
    is_log = share_scale(pairs[0][1], scores, metric=metric).is_log
    for above, below in pairs[1:]:
        plain_log(above)
        share_scale(below, scores, metric=metric)
    name_rows(pairs, "loss", score_label("", metric, is_log))
    handles, labels = pairs[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _band(axes: Axes, runs: NDArray[np.float64], color: str, line: str, label: str) -> None:
    """Draw the mean over runs, and the range from the lowest to the highest; epochs that no run has are left out."""
    epochs = np.arange(1, runs.shape[1] + 1)
    known = np.isfinite(runs).any(axis=0)
    if not known.any():
        return
    sound = runs[:, known]
    low, high = np.nanmin(sound, axis=0), np.nanmax(sound, axis=0)
    axes.fill_between(epochs[known], low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(epochs[known], np.nanmean(sound, axis=0), color=color, linestyle=line, label=label)
