"""The finalists epoch by epoch: training and validation curves, and each layer's gradient norm and saturation.

Also a trial's curves and those of its repetitions, one above the other.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from depthcheck.pipeline.records import OUTPUTS, History
from depthcheck.pipeline.scores import ACCURACY, METRICS, Metric
from depthcheck.reports.compare.results import Comparison, FinalistRow
from depthcheck.reports.compare.study_data import Curves, StudyData
from depthcheck.reports.figures.style import (
    COLORS,
    GREY,
    LINES,
    MARKERS,
    legend_of,
    new_figure,
    picture,
    plain_log,
    score_label,
    share_scale,
    whole_numbers,
    wrapped,
)
from depthcheck.reports.text.context import Drawing
from depthcheck.reports.text.words import plural, short_configuration, with_unit

#: Values of a metric by epoch.
Curve = Mapping[int, float]
_FIELDS = ("train_loss", "valid_loss", "train_score", "valid_score")


#: More panels than this are a wallpaper.
_MOST_FINALISTS = 12


def _shown_finalists(comparison: Comparison) -> tuple[list[FinalistRow], str]:
    """Return the finalists to show, by depth, and what a caption says of those with the lowest validation means."""
    rows = sorted(comparison.finalists, key=lambda row: -(row.valid.mean if row.valid else 0.0))
    kept = sorted(rows[:_MOST_FINALISTS], key=lambda row: (row.finalist.config.model.depth, row.finalist.id))
    n_left_out = len(rows) - len(kept)
    return kept, f" The {n_left_out} other finalists are left out." if n_left_out else ""


def _label_of(row: FinalistRow) -> str:
    """Return a finalist's name and what tells it apart, on two lines."""
    return f"{row.finalist.id}\n{short_configuration(row.finalist.config)}"


def compute_curves(
    study: StudyData, rows: Sequence[FinalistRow]
) -> list[tuple[str, int, dict[str, NDArray[np.float64]]]]:
    """Return label, number of runs, and each curve as ``(n_runs, n_epochs)``, of finalists that have confirm runs."""
    found = []
    for row in rows:
        histories = [run.history for run in study.confirm_runs(row.finalist.id) if run.history.n_epochs]
        if histories:
            found.append((_label_of(row), len(histories), {name: _stacked(histories, name) for name in _FIELDS}))
    return found


def _stacked(histories: list[History], name: str) -> NDArray[np.float64]:
    """Return the runs' curves as far as all go."""
    shortest = min(history.n_epochs for history in histories)
    rows = np.array([getattr(history, name)[:shortest] for history in histories], dtype=float)
    return np.where(np.isfinite(rows), rows, np.nan)


def training_curves(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield the figure, where there is something to draw."""
    rows, left_out = _shown_finalists(comparison)
    finalists = compute_curves(study, rows)
    if not finalists:
        return
    counts = sorted({n_runs for _, n_runs, _ in finalists})
    again = f"fresh {study.design.again}"
    runs = plural(counts[0], again) if len(counts) == 1 else f"{counts[0]} to {counts[-1]} {again}s"
    folds = f" (each the mean of {study.design.folds} folds)" if study.design.folds else ""
    yield Drawing(
        name="curves",
        alt="Training and validation curves of the finalists",
        caption=f"Loss (log scale) and {study.design.metric.name} of the finalists by epoch: mean over {runs} "
        f"each{folds}, with the range from the lowest to the highest run. Training values are means over the epoch "
        "while the weights moved (with dropout, where there is any); validation values are of its end."
        f"{left_out}",
        draw=functools.partial(draw_curves, finalists, study.design.metric),
    )


def draw_curves(finalists: Sequence[tuple[str, int, dict[str, NDArray[np.float64]]]], metric: Metric) -> Figure:
    """Draw two panels a finalist, loss above score."""
    figure, pairs = _paired_panels(len(finalists), 2.9)
    for (label, _, curves), (above, below) in zip(finalists, pairs, strict=True):
        for axes, kind in ((above, "loss"), (below, "score")):
            _band(axes, curves[f"train_{kind}"], COLORS[4], "--", "training")
            _band(axes, curves[f"valid_{kind}"], COLORS[0], "-", "validation")
        above.set_title(label, fontsize=7.5)
    plain_log(pairs[0][0])
    scores = [v for _, _, curves in finalists for name in _FIELDS[2:] for v in curves[name].ravel()]
    is_log = share_scale(pairs[0][1], scores, metric=metric).is_log
    for above, below in pairs[1:]:
        plain_log(above)
        share_scale(below, scores, metric=metric)
    _name_rows(pairs, "loss", score_label("", metric, is_log))
    figure.legend(*pairs[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _paired_panels(n: int, block_height: float) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Return a figure with n pairs of panels, one above the other, on the same scales.

    Only the panels on the left name their y axis, only the lower ones their x axis, epochs.
    """
    n_rows, n_columns = wrapped(n, 4)
    figure = new_figure(0.45 + block_height * n_rows)
    grid = figure.subplots(2 * n_rows, n_columns, squeeze=False)
    pairs: list[tuple[Axes, Axes]] = []
    for at in range(n_rows * n_columns):
        above, below = grid[2 * (at // n_columns)][at % n_columns], grid[2 * (at // n_columns) + 1][at % n_columns]
        if at >= n:
            above.remove()
            below.remove()
            continue
        if pairs:
            above.sharey(pairs[0][0])
            below.sharey(pairs[0][1])
        below.sharex(above)
        above.tick_params(labelbottom=False, labelleft=at % n_columns == 0)
        below.tick_params(labelleft=at % n_columns == 0)
        below.set_xlabel("epoch")
        whole_numbers(below)
        pairs.append((above, below))
    return figure, pairs


def _name_rows(pairs: Sequence[tuple[Axes, Axes]], above: str, below: str) -> None:
    """Name the y axes of the panels on the left."""
    for upper, lower in pairs:
        if upper.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            upper.set_ylabel(above)
            lower.set_ylabel(below)


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


def compute_gradients(study: StudyData, rows: Sequence[FinalistRow]) -> list[FinalistLayers]:
    """Return the curves by layer of the finalists that have any."""
    found = []
    for row in rows:
        runs = [run for run in study.confirm_runs(row.finalist.id) if study.diagnostics.get(run.run_id)]
        if runs:
            curves = [study.diagnostics[run.run_id] for run in runs]
            last = [run.history.train_score[-1] for run in runs if run.history.n_epochs]
            found.append(
                FinalistLayers(
                    label=_label_of(row),
                    train_score=float(np.mean(last)) if last else float("nan"),
                    norms=_means(curves, _NORM),
                    saturation=_means(curves, _SATURATION),
                )
            )
    return found


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


def _order(layer: str) -> tuple[bool, int, str]:
    """Return the place of a layer; those of a user's own model are numbered by Keras: ``dense``, ``dense_1``."""
    return layer in OUTPUTS, int(layer[len(layer.rstrip("0123456789")) :] or 0), layer


def gradients(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield the figure, where there is something to draw."""
    rows, left_out = _shown_finalists(comparison)
    finalists = compute_gradients(study, rows)
    if not finalists:
        return
    known = "hidden layers from light (the first) to dark, the output black"
    if not any(layer in OUTPUTS for one in finalists for layer in one.norms):
        known = "layers from light to dark, by the number in their names"
    yield Drawing(
        name="gradients",
        alt="Gradient norm and saturation by layer",
        caption="Why a network learns or stands still. Above: norm of the loss's gradient by each layer's weights, "
        "geometric mean over the finalist's runs. Below: percent of the activations that are saturated. Both of one "
        f"batch after each epoch; {known}. Where the first layers' gradient is orders of magnitude below the output's, "
        f"they hardly move, whatever the last ones learn.{left_out}",
        draw=functools.partial(draw_gradients, finalists, study.design.metric),
    )


def draw_gradients(finalists: Sequence[FinalistLayers], metric: Metric) -> Figure:
    """Draw two panels a finalist, gradient norms above saturation; layers in order from input to output."""
    layers = sorted({layer for one in finalists for layer in (*one.norms, *one.saturation)}, key=_order)
    figure, pairs = _paired_panels(len(finalists), 3.0)
    for one, (above, below) in zip(finalists, pairs, strict=True):
        plain_log(above)
        _lines(above, one.norms, layers, 1.0)
        _lines(below, one.saturation, layers, 100.0)
        if not one.saturation:
            nothing = "no hidden layer" if set(one.norms) <= set(OUTPUTS) else "no activation to watch"
            below.text(0.5, 0.5, nothing, transform=below.transAxes, ha="center", fontsize=7.5, color=GREY)
        above.set_title(f"{one.label}\ntraining {metric.name} {_short(one.train_score, metric)}", fontsize=7.5)
    pairs[0][1].set_ylim(-4, 104)
    _name_rows(pairs, "gradient norm\n(log scale)", "saturated\nactivations (%)")
    lines, named = legend_of([axes for pair in pairs for axes in pair], layers)
    words = ["output" if layer in OUTPUTS else layer.replace("_", " ") for layer in named]
    figure.legend(lines, words, loc="outside lower center", ncols=6)
    return figure


def _short(value: float, metric: Metric) -> str:
    return with_unit(metric.alone(value, metric.most_decimals - 2), metric)


def _lines(axes: Axes, curves: Layers, layers: Sequence[str], scale: float) -> None:
    for layer in (layer for layer in layers if layer in curves):
        epochs, values = curves[layer]
        color, at = _look(layer, layers)
        axes.plot(
            epochs, [scale * value for value in values], color=color, linestyle=LINES[at % len(LINES)],
            marker=MARKERS[at % len(MARKERS)], markersize=3.2, markevery=max(1, len(epochs) // 6), linewidth=1.3,
            label=layer,
        )  # fmt: skip


def _look(layer: str, layers: Sequence[str]) -> tuple[object, int]:
    """Return colour and place: hidden layers light to dark, the output black."""
    hidden = [name for name in layers if name not in OUTPUTS]
    if layer not in hidden:
        return "black", len(hidden)
    at = hidden.index(layer)
    return colormaps["viridis_r"](0.12 + 0.75 * at / max(len(hidden) - 1, 1)), at


def _read_curves(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Curve]:
    """Undo what JSON does: epochs became text, and so did numbers that are not finite."""
    return {name: {int(epoch): float(value) for epoch, value in curve.items()} for name, curve in stored.items()}


def draw_overlay(content: Mapping[str, Any]) -> Figure:
    """Draw loss and score of a reproduction's JSON side by side.

    Curves that are the same cover each other. So the trial's own are wide and pale, and the repetitions thin, dashed
    and dark on top: where only one is seen, they are apart.
    """
    original, stored = content["original"], content["curves"]
    runs = [_read_curves(one) for one in (stored["original"], *stored["repetitions"])]
    figure = new_figure(3.4)
    losses, scores = figure.subplots(1, 2)
    for axes, kind in ((losses, "loss"), (scores, original["metric"])):
        _pair(axes, runs, f"train/{kind}", COLORS[4], "training")
        _pair(axes, runs, f"valid/{kind}", COLORS[0], "validation")
        axes.set_xlabel("epoch")
        whole_numbers(axes)
    losses.set_title(f"{original['name']}: {content['verdict']}")
    if all(value > 0 for value in _values(runs, "loss")):
        plain_log(losses)
    losses.set_ylabel("loss")
    metric = METRICS.get(original["metric"], ACCURACY)
    is_log = share_scale(scores, _values(runs, original["metric"]), metric=metric).is_log
    scores.set_ylabel(score_label("", metric, is_log))
    figure.legend(*losses.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _pair(axes: Axes, runs: Sequence[Mapping[str, Curve]], key: str, color: str, label: str) -> None:
    """Draw one metric: the trial, which comes first, wide and pale, each repetition on top of it."""
    for at, curves in enumerate(runs):
        epochs, values = _finite(curves.get(key, {}))
        style: dict[str, Any] = {"color": color, "linewidth": 5, "alpha": 0.35, "marker": "o", "markersize": 5}
        if at:
            style = {"color": "black", "linewidth": 1, "linestyle": "--" if key.startswith("train") else "-",
                     "marker": ".", "markersize": 3}  # fmt: skip
        name = f"{label}, as logged" if not at else f"{label}, again" if at == 1 else None
        axes.plot(epochs, values, label=name, **style)


def _finite(curve: Curve) -> tuple[list[int], list[float]]:
    points = [(epoch, value) for epoch, value in sorted(curve.items()) if epoch and math.isfinite(value)]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _values(runs: Sequence[Mapping[str, Curve]], kind: str) -> list[float]:
    curves = [one.get(f"{part}/{kind}", {}) for one in runs for part in ("train", "valid")]
    return [value for curve in curves for value in _finite(curve)[1]]


def overlay_as_svg(content: Mapping[str, Any]) -> str:
    """Return the figure of a reproduction as the text of an SVG."""
    return picture(functools.partial(draw_overlay, content)).decode()
