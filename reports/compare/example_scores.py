"""Scores of single examples whose mean is the score of the part, and of units of such as belong together. Pure.

An accuracy is the mean of right and wrong. R² and AUC are no means, but each is one up to terms of a smaller order: of
*pseudo-values*, one an example, whose mean is exactly the score and whose variance is that of its usual standard
error. So seeds and examples can be crossed for them in the same way.

Examples that belong together, whole groups or blocks of time, are the units that an interval draws: rows of one patient
are alike, and a thousand rows of twelve patients are twelve draws, not a thousand. A unit's value is the mean score
plus the sum of its examples' distances from it, times units over examples. So the mean over units is the score again,
and their spread that of cluster-robust standard errors (Liang and Zeger 1986), also for AUC (Obuchowski 1997).

A unit that has much of all rows draws the mean towards itself, so that its distance is too short, and the spread hangs
on few units. Both are mended as Bell and McCaffrey (2002) do, for units whose rows are wholly alike: distances are
lengthened to what they are expected to be, and the degrees of freedom are Satterthwaite's, fewer than units less one
where units differ in size. Without it intervals over few groups of very unequal size cover too seldom; with it
docs/search-simulations.md has a table (Rows that belong together).

A user's own metric is any function, and so is one of METRICS without a formula here: its pseudo-values are the
jackknife's, worked out where the network is judged (:func:`depthcheck.pipeline.metrics.left_out`). Of many examples
blocks are left out, and blocks are the units then.

Examples that weigh differently make the score a ratio of two sums, and are units of unequal size: an example's value is
the score plus its distance from it, times its weight over the mean weight (the ratio's linearization; Woodruff 1971).

Blocks of time that follow each other may still be alike. Their correlation is estimated, and they count as the smaller
number of independent ones that tell as much (Zwiers and von Storch 1995).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.records import Predictions
from depthcheck.pipeline.scores import are_equal
from depthcheck.reports.compare.difference import fold_shares, found, paired_difference
from depthcheck.reports.compare.results import FEWEST_UNITS, Difference, DifferenceMethod

#: What an interval draws.
Drawn = Literal["groups", "blocks of groups", "blocks of time", "examples"]
#: More correlation between neighbours than that cannot be told from a trend by so few blocks.
_MOST_ALIKE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExampleScores:
    """Scores of single examples, ``(n_examples,)``, whose mean is the score.

    With cross-validation ``fold`` says in which each row was held out, and the mean is that over folds: each fold is
    scored for itself, and all weigh the same, so that a row of a small fold counts for more. ``unit`` says which belong
    together, where any do, and ``weight`` what each weighs, where they differ. ``drawn`` is what such units are called
    that are no groups and no blocks of time.
    """

    scores: NDArray[np.generic]
    fold: NDArray[np.int64] | None = None
    unit: NDArray[np.int64] | None = None
    weight: NDArray[np.float64] | None = None
    drawn: Drawn | None = None


def judged_examples(metric: str, predictions: Predictions) -> ExampleScores | None:
    """Return the scores of a network's answers, or None where the metric is not defined on these examples."""
    units: dict[str, Any] = {"unit": predictions.unit, "weight": predictions.weight}
    if predictions.block is not None:
        drawn: Drawn = "examples" if predictions.unit is None else "blocks of groups"
        units = {"unit": predictions.block, "weight": predictions.weight, "drawn": drawn}
    if predictions.fold is None:
        scores = example_scores(metric, predictions)
        return None if scores is None else ExampleScores(scores=scores, **units)
    found = np.empty(len(predictions.y))
    for number in np.unique(predictions.fold):
        here = predictions.fold == number
        of_fold = example_scores(metric, _of_fold(predictions, here))
        if of_fold is None:
            return None
        found[here] = of_fold
    return ExampleScores(scores=found * fold_shares(predictions.fold), fold=predictions.fold, **units)


def example_scores(metric: str, predictions: Predictions) -> NDArray[np.generic] | None:
    """Return ``(n,)`` scores whose mean is the metric, or None where it is not defined on these examples.

    Parameters
    ----------
    metric
        ``accuracy`` (bool: right or wrong), ``auc`` or ``r2``; or another, whose scores come with the predictions.
    """
    weight = predictions.weight
    if metric == "accuracy":
        is_right = np.asarray(predictions.predicted == predictions.y)
        return is_right if weight is None else weighted_scores(is_right.astype(np.float64), weight)
    if metric == "r2":
        return r2_scores(predictions.y, predictions.predicted, weight)
    if metric == "auc":
        return None if predictions.positive is None else auc_scores(predictions.y, predictions.positive, weight)
    scores = predictions.scores
    return scores if scores is not None and bool(np.isfinite(scores).all()) else None


def weighted_scores(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values whose plain mean is the weighted mean of these, and as far from it as their weights let them be."""
    score = np.average(values, weights=weight)
    return np.asarray(score + weight / weight.mean() * (values - score), dtype=np.float64)


def r2_scores(
    y: NDArray[np.generic], predicted: NDArray[np.generic], weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64] | None:
    """Return pseudo-values of R² = 1 - mean squared error / variance of y.

    With the plain ``1 - error² / variance`` the variance would count as known; it is that of these examples. The
    delta method's further term counts that in. It cancels where two models explain the same. Where all targets are
    equal each is 1 if all are hit, else 0, as the score itself (:func:`depthcheck.pipeline.scores.r2`).
    """
    y, predicted = (np.asarray(values, dtype=np.float64) for values in (y, predicted))
    if not len(y):
        return None
    squares = (y - np.average(y, weights=weight)) ** 2
    variance = float(np.average(squares, weights=weight))
    errors = (y - predicted) ** 2
    if variance == 0 or are_equal(y, weight):
        return np.full(len(y), float(np.average(errors, weights=weight) == 0))
    unexplained = float(np.average(errors, weights=weight)) / variance
    scores = np.asarray(1 - errors / variance + unexplained * (squares / variance - 1), dtype=np.float64)
    return scores if weight is None else weighted_scores(scores, weight)


def auc_scores(
    y: NDArray[np.generic], score: NDArray[np.generic], weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64] | None:
    """Return pseudo-values of AUC; the variance of their mean is DeLong, DeLong and Clarke-Pearson's (1988).

    For a positive, ``A + (n / n1) (share of the negatives ranked below it - A)``, and likewise for a negative. With
    weights, shares and *n1* are of weight, and the distance is times the example's own.

    Parameters
    ----------
    y
        ``(n,)`` 0 or 1.
    score
        ``(n,)`` by which examples are ranked; higher is more like class 1.
    """
    positive = np.asarray(y) == 1
    weight = np.ones(len(positive)) if weight is None else weight
    of_class = np.bincount(positive, weight, 2)
    if not of_class.all():
        return None
    _, place = np.unique(np.asarray(score, dtype=np.float64), return_inverse=True)
    at = np.stack([np.bincount(place, weight * (positive == side)) for side in (False, True)])
    # Of each class, the share of its weight that ranks below each score; ties count half.
    below = ((np.cumsum(at, axis=1) - at / 2) / of_class[:, None])[:, place]
    beaten = np.where(positive, below[0], 1 - below[1])
    area = np.average(beaten[positive], weights=weight[positive])
    return np.asarray(area + len(weight) * weight / of_class[positive.astype(int)] * (beaten - area))


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
    columns: dict[str, Any] = {column.name: getattr(predictions, column.name) for column in fields(predictions)}
    return Predictions(**{name: values[here] for name, values in columns.items() if values is not None})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """The unit of each example, ``(n_examples,)``, numbered from 0, how many there are, and what they are called.

    Blocks of time are numbered in its order. ``weight`` is what each example weighs, where they differ, and ``share``
    what its score is times, where folds differ in size (:func:`depthcheck.reports.compare.difference.fold_shares`).
    """

    of_example: NDArray[np.int64]
    n: int
    noun: Drawn = "groups"
    weight: NDArray[np.float64] | None = None
    share: NDArray[np.float64] | float = 1.0

    def values(self, scores: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return ``(n_rows, n_units)`` for scores ``(n_rows, n_examples)``; the mean of each row stays."""
        scores = scores.astype(np.float64)
        means = scores.mean(axis=1, keepdims=True)
        apart = scores - means * self.share
        sums = np.stack([np.bincount(self.of_example, weights=row, minlength=self.n) for row in apart])
        distances = sums * np.sqrt((1 - 1 / self.n) / self._left())
        distances -= distances.mean(axis=1, keepdims=True)
        return np.asarray(means + distances * (self.n / len(self.of_example)), dtype=np.float64)

    @property
    def degrees_of_freedom(self) -> float:
        """Those of the mean square of the values: units less one where all are of one size, else fewer."""
        share = self._shares()
        squares = float(share @ share)
        weight = share**2 / self._left()
        total, by_share, by_square = (float(weight @ share**power) for power in (0, 1, 2))
        # The sum over all pairs of units of (squares - share - share)² with both weights, then the pairs with itself.
        pairs = squares**2 * total**2 + 2 * by_square * total - 4 * squares * by_share * total + 2 * by_share**2
        own = float(weight**2 @ (self._left() ** 2 - (squares - 2 * share) ** 2))
        return squares**2 / (pairs + own)

    def _shares(self) -> NDArray[np.float64]:
        counts = np.ones(len(self.of_example)) if self.weight is None else self.weight
        sizes = np.bincount(self.of_example, counts * self.share, self.n)
        return np.asarray(sizes / sizes.sum())

    def _left(self) -> NDArray[np.float64]:
        """Return what is left of the variance of each unit's mean, ``(n_units,)``, in its distance from the score."""
        share = self._shares()
        return np.asarray(1 - 2 * share + share @ share)


def units_of(answers: Iterable[ExampleScores], split_method: str) -> Units | None:
    """Return the units of examples that all networks answered, where they are known: all have the same.

    Examples that weigh differently are units, each of its own, where nothing else is known.
    """
    any_of = next((of for of in answers if of.unit is not None or of.weight is not None), None)
    if any_of is None:
        return None
    share: NDArray[np.float64] | float = 1.0
    weight, fold = any_of.weight, any_of.fold
    if fold is not None:
        share = fold_shares(fold)
        if weight is not None:  # within its fold: each fold counts alike, whatever its rows weigh
            weight = weight / (np.bincount(fold, weight) / np.bincount(fold))[fold]
    if any_of.unit is None:
        n = len(any_of.scores)
        return Units(of_example=np.arange(n), n=n, noun="examples", weight=weight, share=share)
    names, numbers = np.unique(any_of.unit, return_inverse=True)
    noun: Drawn = any_of.drawn or ("blocks of time" if split_method == "time" else "groups")
    return Units(of_example=numbers, n=len(names), noun=noun, weight=weight, share=share)


def difference_by_units(
    a: NDArray[Any],
    b: NDArray[Any],
    units: Units | None,
    *,
    pseudo_observations: float | None,
    method: DifferenceMethod = "seeds and examples",
    **how: Any,
) -> Difference:
    """Return what :func:`depthcheck.reports.compare.difference.paired_difference` does, with units for examples.

    Without units they are examples. Of fewer than five there is an estimate, and no interval. Pseudo-observations
    count single examples, and are left out where units are drawn: two whole units would drown the others.
    """
    if units is None or a.shape[1] != len(units.of_example):
        return paired_difference(a, b, pseudo_observations=pseudo_observations, method=method, **how)
    if units.n < FEWEST_UNITS:
        by_row = np.subtract(a, b, dtype=np.float64).mean(axis=1)
        return replace(found(by_row, (), n_examples=units.n, method=method), drawn=units.noun)
    n_examples = a.shape[1]
    a, b = units.values(a), units.values(b)
    independent = _independent_share((a - b).mean(axis=0)) if units.noun == "blocks of time" else 1.0
    difference = paired_difference(
        a,
        b,
        pseudo_observations=None,
        method=method,
        most_df_examples=independent * units.degrees_of_freedom,
        independent=independent,
        **how,
    )
    if units.noun == "examples":  # in blocks, perhaps, which are no sample of anything
        size = n_examples / units.n
        difference = replace(
            difference,
            n_examples=n_examples,
            example_variance=size * difference.example_variance,
            rest_variance=size * difference.rest_variance,
        )
    return replace(difference, drawn=units.noun)


def _independent_share(values: NDArray[np.float64]) -> float:
    """Return how many independent values a series is worth, as a share of its own number.

    By the correlation of neighbours, whose estimate is one over the number of values too small.
    """
    centred = values - values.mean()
    squares = float(centred @ centred)
    alike = float(centred[1:] @ centred[:-1]) / squares + 1 / len(values) if squares > 0 else 0.0
    alike = min(max(alike, 0.0), _MOST_ALIKE)
    return (1 - alike) / (1 + alike)
