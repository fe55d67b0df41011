"""Scores, by numpy alone: what a network's outputs are worth, and what guessing is worth.

How a metric is worked out is one entry of :data:`SCORERS`; that there is one, and of which task, is said by
:data:`depthcheck.pipeline.config.METRICS`, which the launching process reads without numpy, and how a reader sees it by
:data:`depthcheck.reports.compare.metric.METRICS`.

A network's outputs are ``(n, n_classes)`` logits, or ``(n, 1)`` standardized numbers where the task is a regression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import METRICS, DataConfig, Task, require
from depthcheck.pipeline.records import Evaluation, PartName, Split

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a network learns and how it is scored.

    The targets of a regression are standardized by the mean and the standard deviation of the training part, so that
    learning rates of one range suit any unit. Its loss is the mean squared error of the standardized targets: 1 is
    what the mean of the training part reaches there. Predictions, RMSE and MAE are in the target's own unit.

    Attributes
    ----------
    metric
        One of :data:`depthcheck.pipeline.config.METRICS`.
    mean, sd
        Of the training part's targets; 0 and 1 for classes.
    """

    metric: str = "accuracy"
    mean: float = 0.0
    sd: float = 1.0

    @property
    def is_regression(self) -> bool:
        """Whether numbers are predicted rather than classes."""
        return METRICS[self.metric] == "regression"

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return what the loss takes: labels as they are, or standardized numbers ``(n, 1)`` float32."""
        if not self.is_regression:
            return y
        return ((y.astype(np.float64) - self.mean) / self.sd).astype(np.float32).reshape(-1, 1)

    def numbers(self, outputs: Floats) -> Floats:
        """Return predictions ``(n,)`` float64 in the target's own unit, of a regression's outputs."""
        return outputs[:, 0].astype(np.float64) * self.sd + self.mean

    def score(self, y: NDArray[Any], outputs: Floats) -> float:
        """Return the score that decides, of outputs for samples with targets ``y``."""
        return SCORERS[self.metric].score(y, self.numbers(outputs) if self.is_regression else outputs)

    def evaluation(self, part: PartName, loss: float, y: NDArray[Any], outputs: Floats) -> Evaluation:
        """Return the loss and all scores of outputs for the samples of a part, whose targets are ``y``."""
        secondary = SCORERS[self.metric].secondary(y, self.numbers(outputs) if self.is_regression else outputs)
        score = self.score(y, outputs)
        return Evaluation(part=part, loss=loss, score=score, metric=self.metric, n_samples=len(y), secondary=secondary)


def objective_of(split: Split) -> Objective:
    """Return the objective of a split; what it knows of the targets comes from the training part alone."""
    if split.task != "regression":
        return Objective(metric=split.metric)
    y = split.train.y.astype(np.float64)
    sd = float(y.std())
    # A constant target is only moved to 0.
    return Objective(metric=split.metric, mean=float(y.mean()), sd=sd if sd > 0 else 1.0)


def area_under_curve(y: NDArray[Any], score: Floats) -> float:
    """Return the area under the ROC curve: how often a sample of class 1 ranks above one of class 0; ties count half.

    By the ranks' sum (Mann and Whitney 1947). NaN where a score is NaN, or one class has no sample.
    """
    from scipy.stats import rankdata

    is_positive = y == 1
    n_positive = int(np.count_nonzero(is_positive))
    n_negative = len(y) - n_positive
    if not n_positive or not n_negative or bool(np.isnan(score).any()):
        return float("nan")
    above = rankdata(score)[is_positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def r2(y: NDArray[Any], predicted: Floats) -> float:
    """Return the coefficient of determination; NaN where a prediction is not finite.

    Where all targets are equal it is 1 if each is hit, else 0, as scikit-learn has it.
    """
    if not bool(np.isfinite(predicted).all()):
        return float("nan")
    y = y.astype(np.float64)
    left = float(np.sum((y - predicted) ** 2))
    total = float(np.sum((y - y.mean()) ** 2))
    return 1 - left / total if total > 0 else float(left == 0)


def errors(y: NDArray[Any], predicted: Floats) -> dict[str, float]:
    """Return root mean squared and mean absolute error, in the unit of ``y``."""
    error = predicted.astype(np.float64) - y.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return {"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))}


def accuracy(y: NDArray[Any], outputs: Floats) -> float:
    """Return the share of samples whose class has the largest output."""
    return int(np.count_nonzero(np.argmax(outputs, axis=1) == y)) / len(y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """How a metric is worked out; the larger, the better.

    Attributes
    ----------
    score
        Takes targets ``(n,)`` and what was said of them: logits or probabilities ``(n, n_classes)``, or of a regression
        numbers ``(n,)`` in the target's own unit.
    secondary
        Takes the same and returns further scores by name, which decide nothing.
    keeps
        What the compiled epoch keeps of its batches for the training score. ``outputs`` suits every score. Cheaper are
        ``hits``, for the share of samples whose class has the largest output, and ``loss``, for 1 minus the loss.
    """

    score: Callable[[NDArray[Any], Floats], float]
    secondary: Callable[[NDArray[Any], Floats], Mapping[str, float]] = lambda _y, _said: {}
    keeps: Literal["outputs", "hits", "loss"] = "outputs"


#: By the names in :data:`depthcheck.pipeline.config.METRICS`.
SCORERS = {
    "accuracy": Scorer(score=accuracy, keeps="hits"),
    "auc": Scorer(
        score=lambda y, said: area_under_curve(y, said[:, 1] - said[:, 0]),
        secondary=lambda y, said: {"accuracy": accuracy(y, said)},
    ),
    # The mean square of standardized targets is 1, or 0 where they are all equal.
    "r2": Scorer(score=r2, secondary=errors, keeps="loss"),
}


def metric_of(config: DataConfig, task: Task, n_classes: int) -> str:
    """Return the score that decides: the user's, or AUC for two classes, accuracy for more, R² for numbers.

    Raises
    ------
    ValueError
        When the user's is of another task, or AUC is to judge more than two classes.
    """
    metric = config.metric or ("r2" if task == "regression" else "auc" if n_classes == 2 else "accuracy")
    possible = [known for known, of in METRICS.items() if of == task and (known != "auc" or n_classes == 2)]
    words = "regression" if task == "regression" else f"{n_classes} classes"
    require(metric in possible, f"metric of {words}", f"one of {', '.join(possible)}", metric)
    return metric


def balanced_weights(y: NDArray[np.int64], n_classes: int) -> NDArray[np.float32]:
    """Return one weight a class with which every class of ``y`` weighs the same: ``n / (k n_c)``, 1 on average.

    ``k`` counts the classes that have a sample; the others weigh nothing.
    """
    counts = np.bincount(y, minlength=n_classes)
    present = int(np.count_nonzero(counts))
    return np.where(counts > 0, len(y) / (present * np.maximum(counts, 1)), 0).astype(np.float32)


def dummy_evaluation(split: Split, objective: Objective) -> Evaluation:
    """Return what guessing reaches on the validation part: the training part's commonest class, or its mean.

    The loss is that of the training part's frequencies. A diverged trial gets this evaluation: dropping it would
    flatter levels that are unstable.
    """
    y, n_train = split.valid.y, len(split.train)
    if objective.is_regression:
        guess: Floats = np.zeros(1)
        loss = float(np.mean(objective.targets(y).astype(np.float64) ** 2))
    else:
        guess = np.bincount(split.train.y, minlength=split.n_classes).astype(np.float64)
        loss = float(np.mean(-np.log((np.maximum(guess, 1) / n_train)[y])))
    return objective.evaluation("valid", loss, y, np.broadcast_to(guess, (len(y), len(guess))))


def mean_evaluation(folds: list[Evaluation]) -> Evaluation:
    """Return the mean over folds; ``n_samples`` is that of all of them. One fold's mean is itself, bit by bit."""
    n_folds = len(folds)
    return Evaluation(
        part=folds[0].part,
        loss=sum(fold.loss for fold in folds) / n_folds,
        score=sum(fold.score for fold in folds) / n_folds,
        metric=folds[0].metric,
        n_samples=sum(fold.n_samples for fold in folds),
        secondary={name: sum(fold.secondary[name] for fold in folds) / n_folds for name in folds[0].secondary},
    )
