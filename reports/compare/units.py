"""Examples that belong together, whole groups or blocks of time, as the units that an interval draws.

Rows of one patient are alike, and a thousand rows of twelve patients are twelve draws, not a thousand. A unit's value
is the mean score plus the sum of its examples' distances from it, times units over examples. So the mean over units is
the score again, and their spread that of cluster-robust standard errors (Liang and Zeger 1986), also for AUC
(Obuchowski 1997).

A unit that has much of all rows draws the mean towards itself, so that its distance is too short, and the spread hangs
on few units. Both are mended as Bell and McCaffrey (2002) do, for units whose rows are wholly alike: distances are
lengthened to what they are expected to be, and the degrees of freedom are Satterthwaite's, fewer than units less one
where units differ in size. Without it intervals over 5 to 12 groups of very unequal size covered 83 to 90 %
(docs/search-simulations.md).

Blocks of time that follow each other may still be alike. Their correlation is estimated, and they count as the smaller
number of independent ones that tell as much (Zwiers and von Storch 1995). Pure functions of arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.reports.compare.difference import found, paired_difference
from depthcheck.reports.compare.example_scores import ExampleScores
from depthcheck.reports.compare.results import FEWEST_UNITS, Difference, DifferenceMethod

#: More correlation between neighbours than that cannot be told from a trend by so few blocks.
_MOST_ALIKE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """The unit of each example, ``(n_examples,)``, numbered from 0, how many there are, and what they are.

    Blocks are numbered in the order of time.
    """

    of_example: NDArray[np.int64]
    n: int
    are_blocks: bool = False

    @property
    def noun(self) -> str:
        """What they are called."""
        return "blocks of time" if self.are_blocks else "groups"

    def values(self, scores: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return ``(n_rows, n_units)`` for scores ``(n_rows, n_examples)``; the mean of each row stays."""
        scores = scores.astype(np.float64)
        means = scores.mean(axis=1, keepdims=True)
        sums = np.stack([np.bincount(self.of_example, weights=row, minlength=self.n) for row in scores - means])
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
        return np.bincount(self.of_example, minlength=self.n) / len(self.of_example)

    def _left(self) -> NDArray[np.float64]:
        """Return what is left of the variance of each unit's mean, ``(n_units,)``, in its distance from the score."""
        share = self._shares()
        return np.asarray(1 - 2 * share + share @ share)


def units_of(answers: Iterable[ExampleScores], split_method: str) -> Units | None:
    """Return the units of examples that all networks answered, where they are known: all have the same."""
    unit = next((of.unit for of in answers if of.unit is not None), None)
    if unit is None:
        return None
    names, numbers = np.unique(unit, return_inverse=True)
    return Units(of_example=numbers, n=len(names), are_blocks=split_method == "time")


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
    a, b = units.values(a), units.values(b)
    independent = _independent_share((a - b).mean(axis=0)) if units.are_blocks else 1.0
    difference = paired_difference(
        a,
        b,
        pseudo_observations=None,
        method=method,
        most_df_examples=independent * units.degrees_of_freedom,
        independent=independent,
        **how,
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
