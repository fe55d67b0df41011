"""Scores of single examples whose mean is the score of the part, and scores of single folds. Pure.

An accuracy is the mean of right and wrong. R² and AUC are no means, but each is one up to terms of a smaller order: of
*pseudo-values*, one an example, whose mean is exactly the score and whose variance is that of its usual standard
error. So seeds and examples can be crossed for them in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from depthcheck.pipeline.records import Predictions

#: Largest distance between a logged score and the mean of its examples' scores; both went through float32, and
#: probabilities that float32 cannot tell apart tie where the network's own output did not.
TOLERANCES: Mapping[str, float] = {"accuracy": 1e-5, "auc": 1e-3, "r2": 1e-3}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExampleScores:
    """Scores of single examples, ``(n_examples,)``, whose mean is the score.

    With cross-validation ``fold`` says in which each row was held out, and the mean is that over folds: each fold is
    scored for itself, and all weigh the same. ``unit`` says which belong together, where any do.
    """

    scores: NDArray[np.generic]
    fold: NDArray[np.int64] | None = None
    unit: NDArray[np.int64] | None = None


def judged_examples(metric: str, predictions: Predictions) -> ExampleScores | None:
    """Return the scores of a network's answers, or None where the metric is not defined on these examples."""
    if predictions.fold is None:
        scores = example_scores(metric, predictions)
        return None if scores is None else ExampleScores(scores=scores, unit=predictions.unit)
    found, n_folds = np.empty(len(predictions.y)), int(predictions.fold.max()) + 1
    for number in range(n_folds):
        here = predictions.fold == number
        of_fold = example_scores(metric, _of_fold(predictions, here))
        if of_fold is None:
            return None
        found[here] = np.asarray(of_fold, dtype=np.float64) * len(found) / (n_folds * np.count_nonzero(here))
    return ExampleScores(scores=found, fold=predictions.fold, unit=predictions.unit)


def example_scores(metric: str, predictions: Predictions) -> NDArray[np.generic] | None:
    """Return ``(n,)`` scores whose mean is the metric, or None where it is not defined on these examples.

    Parameters
    ----------
    metric
        ``accuracy`` (bool: right or wrong), ``auc`` or ``r2``.
    """
    if metric == "accuracy":
        return np.asarray(predictions.predicted == predictions.y)
    if metric == "r2":
        return r2_scores(predictions.y, predictions.predicted)
    return None if predictions.positive is None else auc_scores(predictions.y, predictions.positive)


def r2_scores(y: NDArray[np.generic], predicted: NDArray[np.generic]) -> NDArray[np.float64] | None:
    """Return pseudo-values of R² = 1 - mean squared error / variance of y.

    With the plain ``1 - error² / variance`` the variance would count as known; it is that of these examples. The
    delta method's further term counts that in. It cancels where two models explain the same.
    """
    y, predicted = (np.asarray(values, dtype=np.float64) for values in (y, predicted))
    squares = (y - y.mean()) ** 2
    variance = float(squares.mean()) if len(y) else 0.0
    if variance == 0:
        return None
    errors = (y - predicted) ** 2
    unexplained = float(errors.mean()) / variance
    return np.asarray(1 - errors / variance + unexplained * (squares / variance - 1), dtype=np.float64)


def auc_scores(y: NDArray[np.generic], score: NDArray[np.generic]) -> NDArray[np.float64] | None:
    """Return pseudo-values of AUC; the variance of their mean is DeLong, DeLong and Clarke-Pearson's (1988).

    For a positive, ``A + (n / n1) (share of the negatives ranked below it - A)``, and likewise for a negative; the
    shares come from midranks, as Sun and Xu (2014) have it.

    Parameters
    ----------
    y
        ``(n,)`` 0 or 1.
    score
        ``(n,)`` by which examples are ranked; higher is more like class 1.
    """
    positive = np.asarray(y) == 1
    n, n_positive = len(positive), int(positive.sum())
    if n_positive in (0, n):
        return None
    score = np.asarray(score, dtype=np.float64)
    rank = rankdata(score)
    below = np.empty(n)
    below[positive] = (rank[positive] - rankdata(score[positive])) / (n - n_positive)
    below[~positive] = 1 - (rank[~positive] - rankdata(score[~positive])) / n_positive
    area = float(below[positive].mean())
    return np.asarray(area + np.where(positive, n / n_positive, n / (n - n_positive)) * (below - area))


def fold_scores(metric: str, predictions: Predictions) -> NDArray[np.float64] | None:
    """Return the score of each fold, ``(n_folds,)``, NaN where a fold has none; None without folds.

    Each fold is scored for itself: probabilities of two networks are not ranked together.
    """
    if predictions.fold is None:
        return None
    of_folds = [_of_fold(predictions, predictions.fold == fold) for fold in np.unique(predictions.fold)]
    each = [example_scores(metric, of_fold) for of_fold in of_folds]
    return np.array([np.nan if scores is None else scores.mean() for scores in each], dtype=np.float64)


def _of_fold(predictions: Predictions, here: NDArray[np.bool_]) -> Predictions:
    positive = predictions.positive
    return Predictions(
        y=predictions.y[here],
        predicted=predictions.predicted[here],
        probability=predictions.probability[here],
        positive=None if positive is None else positive[here],
    )
