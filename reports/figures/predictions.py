"""What the recommended model predicts: classes that it takes for others, or numbers and what they are off by."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from depthcheck.pipeline.records import TrialRecord
from depthcheck.pipeline.verbatim import one_line
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.figures.style import COLORS, GREY, new_figure
from depthcheck.reports.text.context import Drawing, confusion, over_runs
from depthcheck.reports.text.words import count

#: With more classes, cells are too small for numbers.
_MOST_NUMBERED, _MOST_NAMED = 15, 40
#: Longer names of classes and targets are cut.
_LONGEST_NAME = 24


def confusion_matrix(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield what the recommended model of a classification takes for what, where its predictions are known."""
    if comparison.recommendation is None or study.facts.data.task == "regression":
        return
    finalist = comparison.recommendation.recommended.finalist.id
    runs = study.confirm_runs(finalist)
    found = confusion(study, runs)
    if found is None:
        return
    table, names, n_runs = found
    n_examples = int(np.rint(table.sum(axis=1) / n_runs).sum())
    yield Drawing(
        name="confusion",
        alt="Confusion matrix of the recommended model",
        caption=f"What {finalist}, the recommended model, takes for what: percent of each true class's "
        f"{n_examples:,} {_held_out(comparison)} in all, {over_runs(study, runs)}. Shading "
        "shows errors only; the diagonal is what it gets right. Shares below half a percent are left blank.",
        draw=functools.partial(draw_confusion, table, names),
    )


def _held_out(comparison: Comparison) -> str:
    return "held-out rows" if comparison.design.folds else "test examples"


def draw_confusion(table: NDArray[np.float64], class_names: Sequence[str]) -> Figure:
    """Draw how often each true class (a row) was taken for each other as shares of it, errors shaded."""
    n_classes, counts = len(class_names), table.sum(axis=1, keepdims=True)
    shares = np.divide(table, counts, out=np.zeros_like(table), where=counts > 0)
    size = min(0.46 * n_classes + 1.6, 7.2)
    figure = new_figure(size, width=size + 0.6)
    axes = figure.subplots()
    errors = 100 * shares
    errors[np.diag_indices(n_classes)] = np.nan
    top = max(float(np.nanmax(errors)) if n_classes > 1 else 0.0, 1.0)
    image = axes.imshow(errors, cmap="Blues", vmin=0, vmax=1.15 * top)
    if n_classes <= _MOST_NUMBERED:
        for row, column in np.ndindex(n_classes, n_classes):
            value = 100 * shares[row, column]
            if row == column or value >= 0.5:
                dark = row != column and value > 0.6 * top
                axes.text(
                    column, row, f"{value:.0f}", ha="center", va="center", fontsize=7.5,
                    color="white" if dark else GREY if row == column else "black",
                )  # fmt: skip
    if n_classes <= _MOST_NAMED:
        names = [one_line(name, _LONGEST_NAME) for name in class_names]
        axes.set_xticks(range(n_classes), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(n_classes), names)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.set_label("percent of the true class, taken for another")
    bar.outline.set_visible(False)
    return figure


#: More points than this hide each other, and make a file of megabytes.
_MOST_POINTS = 1_500


def fit(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield what the recommended model of a regression says in its run of the middle score, where that is known."""
    if comparison.recommendation is None or study.facts.data.task != "regression":
        return
    finalist = comparison.recommendation.recommended.finalist.id
    runs = [r for r in study.confirm_runs(finalist) if r.state == "finished" and r.run_id in study.predictions]
    runs.sort(key=lambda run: (_score(run, comparison.part), run.number))
    if not runs:
        return
    of = study.predictions[runs[len(runs) // 2].run_id]
    y, predicted = np.asarray(of.y, dtype=np.float64), np.asarray(of.predicted, dtype=np.float64)
    if not np.isfinite(predicted).all():
        return
    shown = evenly(len(y))
    some = f", of which {count(len(shown))} are drawn" if len(shown) < len(y) else ""
    yield Drawing(
        name="regression",
        alt="Predicted against true, and what is left, for the recommended model",
        caption=f"{finalist}, the recommended model, in the run of the middle score: {count(len(y))} "
        f"{_held_out(comparison)}{some}. Left: predicted against true; on the line a prediction is right. Right: "
        "predicted minus true against predicted; a bend or a funnel is what the network missed, or what varies by "
        "itself.",
        draw=functools.partial(
            draw_fit, y[shown], predicted[shown], one_line(study.facts.data.target, _LONGEST_NAME) or "target"
        ),
    )


def evenly(n: int) -> NDArray[np.int64]:
    """Return the positions of the points to draw, spread evenly over n rows."""
    return np.unique(np.linspace(0, n - 1, min(n, _MOST_POINTS)).round().astype(np.int64))


def _score(run: TrialRecord, part: str | None) -> float:
    evaluation = run.evaluation(part or "test")
    return evaluation.score if evaluation is not None else float("-inf")


def draw_fit(y: NDArray[np.float64], predicted: NDArray[np.float64], target: str) -> Figure:
    """Draw predicted against true, and the residuals."""
    figure = new_figure(3.4)
    left, right = figure.subplots(1, 2)
    ends = [min(y.min(), predicted.min()), max(y.max(), predicted.max())]
    look = {"color": COLORS[0], "markersize": 3, "markeredgewidth": 0, "alpha": 0.45, "linestyle": ""}
    left.plot(ends, ends, color=GREY, linewidth=1)
    left.plot(y, predicted, marker="o", **look)
    left.set_xlabel(f"true {target}")
    left.set_ylabel(f"predicted {target}")
    right.axhline(0, color=GREY, linewidth=1)
    right.plot(predicted, predicted - y, marker="o", **look)
    right.set_xlabel(f"predicted {target}")
    right.set_ylabel("predicted minus true")
    return figure
