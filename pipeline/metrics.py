"""What a network learns and how it is scored: what its outputs are worth, and what guessing is worth.

A network's outputs are ``(n, n_classes)`` logits, or ``(n, 1)`` standardized numbers where the task is a regression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig, require
from depthcheck.pipeline.records import Evaluation, PartName, Split
from depthcheck.pipeline.scores import METRICS, SHIPPED_METRICS, Task, are_equal, metrics_of

Floats = NDArray[np.floating[Any]]
Weight = NDArray[np.float64] | None
#: Steps of that share of a target's spread are too small to be seen in any score.
_UNSEEN = 2.0**-12
#: Up to so many examples, or units of them, are left out one by one; of more, so many blocks of them are.
_MOST_LEFT_OUT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a network learns and how it is scored.

    The targets of a regression are standardized by the mean and the standard deviation of the training part, so that
    learning rates of one range suit any unit. Its loss is the mean squared error of the standardized targets: 1 is
    what the mean of the training part reaches there. Predictions, RMSE and MAE are in the target's own unit.

    Attributes
    ----------
    metric
        One of :data:`depthcheck.pipeline.scores.METRICS`.
    mean, sd
        Of the training part's targets; 0 and 1 for classes.
    task
        What is learned, where the metric does not say.
    is_served
        Whether outputs are a serving model's: probabilities, or numbers in the target's own unit (with 0 and 1).
    """

    metric: str = "accuracy"
    mean: float = 0.0
    sd: float = 1.0
    task: Task = "classification"
    is_served: bool = False

    @property
    def is_regression(self) -> bool:
        """Whether numbers are predicted rather than classes."""
        return (METRICS[self.metric].task or self.task) == "regression"

    @property
    def is_far(self) -> bool:
        """Whether numbers in the target's own unit are rounded visibly in float32: their mean lies too far from 0."""
        return bool(np.spacing(np.float32(abs(self.mean))) > self.sd * _UNSEEN)

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return what the loss takes: labels as they are, or standardized numbers ``(n, 1)`` float32."""
        if not self.is_regression:
            return y
        return ((y.astype(np.float64) - self.mean) / self.sd).astype(np.float32).reshape(-1, 1)

    def numbers(self, outputs: Floats) -> Floats:
        """Return predictions ``(n,)`` float64 in the target's own unit, of a regression's outputs."""
        return outputs[:, 0].astype(np.float64) * self.sd + self.mean

    def loss(self, y: NDArray[Any], outputs: Floats, weight: Weight = None) -> float:
        """Return the mean loss of a network's outputs: cross-entropy, or mean squared error of standardized numbers."""
        with np.errstate(over="ignore", invalid="ignore"):
            said = outputs.astype(np.float64)
            if self.is_regression:
                losses = (said - self.targets(y))[:, 0] ** 2
            else:
                from scipy.special import log_softmax  # who loads data alone need not wait for it

                losses = -log_softmax(said, axis=1)[np.arange(len(y)), y]
            return float(np.average(losses, weights=weight))

    @property
    def served(self) -> Objective:
        """The same for the outputs of a serving model, whose numbers are not standardized."""
        return replace(self, mean=0.0, sd=1.0, is_served=True)

    def said(self, outputs: Floats) -> Floats:
        """Return what the metric takes: numbers in the target's own unit, or of classes what tells most."""
        if self.is_regression:
            return self.numbers(outputs)
        if not METRICS[self.metric].of_probabilities or self.is_served:
            return outputs
        from scipy.special import softmax

        # As exact as the model that is served says them: what it cannot tell apart ties for every score alike.
        return np.asarray(softmax(outputs.astype(np.float64), axis=1), np.float32)

    def score(self, y: NDArray[Any], outputs: Floats, weight: Weight = None) -> float:
        """Return the score that decides, of outputs for samples with targets ``y`` that weigh ``weight``."""
        return METRICS[self.metric].score(y, self.said(outputs), weight)

    def evaluation(
        self, part: PartName, loss: float, y: NDArray[Any], outputs: Floats, weight: Weight = None
    ) -> Evaluation:
        """Return the loss and all scores of outputs for the samples of a part, whose targets are ``y``."""
        said, metric = self.said(outputs), METRICS[self.metric]
        secondary, score = metric.secondary(y, said, weight), metric.score(y, said, weight)
        return Evaluation(part=part, loss=loss, score=score, metric=self.metric, n_samples=len(y), secondary=secondary)


def objective_of(split: Split) -> Objective:
    """Return the objective of a split; what it knows of the targets comes from the training part alone."""
    if split.task != "regression":
        return Objective(metric=split.metric)
    y = split.train.y.astype(np.float64)
    mean = np.average(y, weights=split.train.weight)
    sd = float(np.sqrt(np.average((y - mean) ** 2, weights=split.train.weight)))
    # A constant target is only moved to 0.
    sd = sd if sd > 0 and not are_equal(y, split.train.weight) else 1.0
    return Objective(metric=split.metric, mean=float(mean), sd=sd, task="regression")


def metric_of(config: DataConfig, task: Task, n_classes: int) -> str:
    """Return the score that decides: the user's, or AUC for two classes, accuracy for more, R² for numbers.

    Raises
    ------
    ValueError
        When the user's is of another task, or AUC is to judge more than two classes.
    """
    metric = config.metric or ("r2" if task == "regression" else "auc" if n_classes == 2 else "accuracy")
    known = [name for name in metrics_of(task) if name in SHIPPED_METRICS or config.own_metric is not None]
    possible = [name for name in known if name != "auc" or n_classes == 2]
    words = "regression" if task == "regression" else f"{n_classes} classes"
    require(metric in possible, f"metric of {words}", " or ".join(possible), metric)
    return metric


def balanced_weights(
    y: NDArray[np.int64], n_classes: int, weight: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Return one weight a class with which every class of ``y`` weighs the same: ``n / (k n_c)``, 1 on average.

    ``k`` counts the classes that have a sample; the others weigh nothing. With a ``weight`` of each sample, which are
    1 on average, *n_c* is what the samples of a class weigh.
    """
    counts = np.bincount(y, weight, n_classes)
    present = int(np.count_nonzero(counts))
    return np.where(counts > 0, len(y) / (present * np.where(counts > 0, counts, 1)), 0).astype(np.float32)


def training_weights(split: Split, *, is_balanced: bool) -> NDArray[np.float32] | None:
    """Return what each training sample weighs in the loss, ``(n,)`` and 1 on average; None where all weigh the same.

    Its own weight, times that of its class where classes are balanced.
    """
    weight, y = split.train.weight, split.train.y
    own = None if weight is None else weight / weight.mean()
    if not is_balanced:
        return None if own is None else own.astype(np.float32)
    of_class = np.asarray(balanced_weights(y, split.n_classes, own)[y])
    return of_class if own is None else (own * of_class).astype(np.float32)


def dummy_evaluation(split: Split, objective: Objective) -> Evaluation:
    """Return what guessing reaches on the validation part: the training part's commonest class, or its mean.

    The loss is that of the training part's frequencies. A diverged trial gets this evaluation: dropping it would
    flatter levels that are unstable.
    """
    y, weight, n_train = split.valid.y, split.valid.weight, len(split.train)
    if objective.is_regression:
        guess: Floats = np.zeros(1)
        loss = np.average(objective.targets(y)[:, 0].astype(np.float64) ** 2, weights=weight)
    else:
        own = training_weights(split, is_balanced=False)
        guess = np.bincount(split.train.y, own, split.n_classes).astype(np.float64)
        loss = np.average(-np.log((np.maximum(guess, 1) / n_train)[y]), weights=weight)
        objective, guess = objective.served, guess / guess.sum()
    return objective.evaluation("valid", float(loss), y, np.broadcast_to(guess, (len(y), len(guess))), weight)


def left_out(
    score: Callable[[NDArray[np.bool_]], float], n: int, unit: NDArray[np.int64] | None, weight: Weight
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """Return values of examples, ``(n,)``, whose mean is a score that is no mean, and the block that each lies in.

    The jackknife (Tukey 1958; of groups, Kott 2001; Shao and Tu 1995, chapter 2): examples, or whole units of them, are
    left out in turn, and an example's value is the score plus what leaving it out takes away, times how many are left.
    For a mean that gives the examples' own scores, for a weighted one their linearization. Of many examples random
    blocks are left out, the same for every network; an example has its block's value then, and blocks are what an
    interval draws.

    Parameters
    ----------
    score
        Of the examples that are marked.
    unit
        Which belong together, or None.
    """
    weights = np.ones(n) if weight is None else weight
    place = np.arange(n) if unit is None else np.unique(unit, return_inverse=True)[1]
    block = None
    if (n_units := int(place.max()) + 1) > _MOST_LEFT_OUT:
        block = np.random.default_rng(0).permutation(n_units)[place] % _MOST_LEFT_OUT
        place = block
    whole, weighs, sizes = score(np.ones(n, bool)), np.bincount(place, weights), np.bincount(place)
    without = np.array([score(place != number) for number in range(len(sizes))])
    distances = (weights.sum() - weighs) / (weights.mean() * sizes) * (whole - without)
    values = whole + distances[place]
    return values + (whole - values.mean()), block


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
