"""What the champion of a regression says beside the truth, and what it is off by."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from depthcheck.pipeline.records import Predictions, TrialRecord
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.figures.style import COLORS, GREY, new_figure
from depthcheck.reports.text.context import Drawing
from depthcheck.reports.text.words import count

#: More points than this hide each other, and make a file of megabytes.
_MOST_POINTS = 1_500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """True and predicted numbers ``(n,)`` of one run, and how many of them are drawn."""

    finalist: str
    target: str
    y: NDArray[np.float64]
    predicted: NDArray[np.float64]
    examples: str

    @property
    def shown(self) -> NDArray[np.int64]:
        """Positions of the points to draw, spread evenly over the rows."""
        n = len(self.y)
        return np.unique(np.linspace(0, n - 1, min(n, _MOST_POINTS)).round().astype(np.int64))


def compute_fit(study: StudyData, comparison: Comparison) -> Fit | None:
    """Return what the recommended model's run of the middle score says, or None without its predictions."""
    if comparison.recommendation is None or study.facts.data.task != "regression":
        return None
    finalist = comparison.recommendation.recommended.finalist.id
    runs = [run for run in study.confirm_runs(finalist) if run.run_id in study.predictions]
    if not runs:
        return None
    runs.sort(key=lambda run: (_score(run, comparison.part), run.number))
    of: Predictions = study.predictions[runs[len(runs) // 2].run_id]
    return Fit(
        finalist=finalist,
        target=study.facts.data.target or "target",
        y=np.asarray(of.y, dtype=np.float64),
        predicted=np.asarray(of.predicted, dtype=np.float64),
        examples="held-out rows" if comparison.design.folds else "test examples",
    )


def _score(run: TrialRecord, part: str | None) -> float:
    evaluation = run.evaluation(part or "test")
    return evaluation.score if evaluation is not None else float("-inf")


def fit(study: StudyData, comparison: Comparison) -> Iterator[Drawing]:
    """Yield the figure, where there is something to draw."""
    record = compute_fit(study, comparison)
    if record is None or not np.isfinite(record.predicted).all():
        return
    n, n_shown = len(record.y), len(record.shown)
    some = f", of which {count(n_shown)} are drawn" if n_shown < n else ""
    yield Drawing(
        name="regression",
        alt="Predicted against true, and what is left, for the recommended model",
        caption=f"{record.finalist}, the recommended model, in the run of the middle score: {count(n)} "
        f"{record.examples}{some}. Left: predicted against true; on the line a prediction is right. Right: predicted "
        "minus true against predicted; a bend or a funnel is what the network missed, or what varies by itself.",
        draw=functools.partial(draw_fit, record),
    )


def draw_fit(record: Fit) -> Figure:
    """Draw predicted against true, and the residuals."""
    figure = new_figure(3.4)
    left, right = figure.subplots(1, 2)
    y, predicted = record.y[record.shown], record.predicted[record.shown]
    ends = [min(y.min(), predicted.min()), max(y.max(), predicted.max())]
    look = {"color": COLORS[0], "markersize": 3, "markeredgewidth": 0, "alpha": 0.45, "linestyle": ""}
    left.plot(ends, ends, color=GREY, linewidth=1)
    left.plot(y, predicted, marker="o", **look)
    left.set_xlabel(f"true {record.target}")
    left.set_ylabel(f"predicted {record.target}")
    right.axhline(0, color=GREY, linewidth=1)
    right.plot(predicted, predicted - y, marker="o", **look)
    right.set_xlabel(f"predicted {record.target}")
    right.set_ylabel("predicted minus true")
    return figure
