"""A trial's curves and those of its repetitions, one above the other.

Curves that are the same cover each other. So the trial's own are wide and pale, and the repetitions thin, dashed and
dark on top: where only one is seen, they are apart.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from depthcheck.pipeline.scores import ACCURACY, METRICS
from depthcheck.reports.figures.style import (
    COLORS,
    new_figure,
    picture,
    plain_log,
    score_label,
    share_scale,
    whole_numbers,
)

Curve = Mapping[int, float]


def _curves(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Curve]:
    """Undo what JSON does: epochs became text, and so did numbers that are not finite."""
    return {name: {int(epoch): float(value) for epoch, value in curve.items()} for name, curve in stored.items()}


def draw(content: Mapping[str, Any]) -> Figure:
    """Draw loss and score of a reproduction's JSON side by side."""
    original, stored = content["original"], content["curves"]
    runs = [_curves(one) for one in (stored["original"], *stored["repetitions"])]
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
    is_log = share_scale(scores, _values(runs, original["metric"])).is_log
    scores.set_ylabel(score_label("", METRICS.get(original["metric"], ACCURACY), is_log))
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


def as_svg(content: Mapping[str, Any]) -> str:
    """Return the figure of a reproduction as the text of an SVG."""
    return picture(functools.partial(draw, content)).decode()
