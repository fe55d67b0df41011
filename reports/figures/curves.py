"""The finalists epoch by epoch: training and validation curves, and each layer's gradient norm and saturation."""

from __future__ import annotations

import functools
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from depthcheck.pipeline.records import History
from depthcheck.reports.compare.metric import Metric
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import Curves, StudyData
from depthcheck.reports.figures.style import (
    COLORS,
    GREY,
    LINES,
    MARKERS,
    label_of,
    legend_of,
    name_rows,
    paired_panels,
    plain_log,
    score_label,
    share_scale,
    shown_finalists,
)
from depthcheck.reports.text.context import Drawing
from depthcheck.reports.text.words import with_unit

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
    return FinalistCurves(finalists=tuple(found), n_left_out=n_left_out) if found else None


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
    figure, pairs = paired_panels(len(record.finalists), 2.9)
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
    figure.legend(*pairs[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
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


_NORM, _SATURATION = "gradient_norm/", "saturation/"
Layers = dict[str, tuple[tuple[int, ...], tuple[float, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalistLayers:
    """Epochs and means over runs, by layer; ``train_score`` is the mean training score of the last epoch."""

    label: str
    train_score: float
    norms: Layers
    saturation: Layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostics:
    """All finalists that have curves by layer, the layers in order from input to output."""

    layers: tuple[str, ...]
    finalists: tuple[FinalistLayers, ...]
    n_left_out: int


def compute_gradients(study: StudyData, comparison: Comparison) -> Diagnostics | None:
    """Return the curves by layer, or None where no run has any."""
    rows, n_left_out = shown_finalists(comparison)
    found = []
    for row in rows:
        runs = [run for run in study.confirm_runs(row.finalist.id) if study.diagnostics.get(run.run_id)]
        if runs:
            curves = [study.diagnostics[run.run_id] for run in runs]
            last = [run.history.train_score[-1] for run in runs if run.history.n_epochs]
            found.append(
                FinalistLayers(
                    label=label_of(row),
                    train_score=float(np.mean(last)) if last else float("nan"),
                    norms=_means(curves, _NORM),
                    saturation=_means(curves, _SATURATION),
                )
            )
    if not found:
        return None
    layers = sorted({layer for one in found for layer in one.norms}, key=_order)
    return Diagnostics(layers=tuple(layers), finalists=tuple(found), n_left_out=n_left_out)


def _means(curves: list[Curves], prefix: str) -> Layers:
    """Return the mean over runs of each layer's curve; of norms, which span decades, the geometric mean."""
    points: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for curve in curves:
        for key, values in curve.items():
            for epoch, value in values.items() if key.startswith(prefix) else ():
                if np.isfinite(value) and (prefix == _SATURATION or value > 0):
                    points[key.removeprefix(prefix)][epoch].append(value)
    mean = statistics.fmean if prefix == _SATURATION else statistics.geometric_mean
    return {layer: (tuple(sorted(of)), tuple(mean(of[epoch]) for epoch in sorted(of))) for layer, of in points.items()}


def _order(layer: str) -> tuple[int, int]:
    digits = "".join(filter(str.isdigit, layer))
    return (0, int(digits)) if digits else (1, 0)


def gradients(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield the figure, where there is something to draw."""
    record = compute_gradients(study, comparison)
    if record is None:
        return
    left_out = f" The {record.n_left_out} other finalists are left out." if record.n_left_out else ""
    yield Drawing(
        name="gradients",
        alt="Gradient norm and saturation by layer",
        caption="Why a network learns or stands still. Above: norm of the loss's gradient by each layer's weights, "
        "geometric mean over the finalist's runs. Below: percent of the activations that are saturated. Both of one "
        "batch after each epoch; hidden layers from light (the first) to dark, the output black. Where the first "
        "layers' gradient is orders of magnitude below the output's, they hardly move, whatever the last ones learn."
        f"{left_out}",
        draw=functools.partial(draw_gradients, record, study.design.metric),
    )


def draw_gradients(record: Diagnostics, metric: Metric) -> Figure:
    """Draw two panels a finalist, gradient norms above saturation."""
    figure, pairs = paired_panels(len(record.finalists), 3.0)
    for one, (above, below) in zip(record.finalists, pairs, strict=True):
        plain_log(above)
        _lines(above, one.norms, record.layers, 1.0)
        _lines(below, one.saturation, record.layers, 100.0)
        if not one.saturation:
            below.text(0.5, 0.5, "no hidden layer", transform=below.transAxes, ha="center", fontsize=7.5, color=GREY)
        above.set_title(f"{one.label}\ntraining {metric.name} {_short(one.train_score, metric)}", fontsize=7.5)
    pairs[0][1].set_ylim(-4, 104)
    name_rows(pairs, "gradient norm\n(log scale)", "saturated\nactivations (%)")
    lines, layers = legend_of([axes for pair in pairs for axes in pair], record.layers)
    words = [layer.replace("_", " ").replace("logits", "output") for layer in layers]
    figure.legend(lines, words, loc="outside lower center", ncols=6)
    return figure


def _short(value: float, metric: Metric) -> str:
    return with_unit(f"{metric.scale * value:.{metric.most_decimals - 2}f}", metric)


def _lines(axes: Axes, curves: Layers, layers: tuple[str, ...], scale: float) -> None:
    for layer in (layer for layer in layers if layer in curves):
        epochs, values = curves[layer]
        color, at = _look(layer, layers)
        axes.plot(
            epochs, [scale * value for value in values], color=color, linestyle=LINES[at % len(LINES)],
            marker=MARKERS[at % len(MARKERS)], markersize=3.2, markevery=max(1, len(epochs) // 6), linewidth=1.3,
            label=layer,
        )  # fmt: skip


def _look(layer: str, layers: tuple[str, ...]) -> tuple[object, int]:
    """Return colour and place: hidden layers light to dark, the output black."""
    hidden = [name for name in layers if _order(name)[0] == 0]
    if layer not in hidden:
        return "black", len(hidden)
    at = hidden.index(layer)
    return colormaps["viridis_r"](0.12 + 0.75 * at / max(len(hidden) - 1, 1)), at
