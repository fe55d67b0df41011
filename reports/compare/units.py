"""Intervals whose draws are units of dependent examples: whole groups, or blocks of time. Pure functions of arrays.

Rows of one patient are alike: a thousand rows of twelve patients are twelve draws, not a thousand. A unit's value is
the mean score plus the sum of its examples' distances from it, times units over examples. So the mean over units is
the score again, and their spread that of cluster-robust standard errors, also where units differ in size (the linear
part of a ratio; for AUC, Obuchowski 1997).
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

#: What the units of a split are called.
_NOUNS = {"group": "groups", "time": "blocks of time"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """The unit of each example, ``(n_examples,)``, numbered from 0, how many there are, and what they are called."""

    of_example: NDArray[np.int64]
    n: int
    noun: str

    def values(self, scores: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return ``(n_rows, n_units)`` for scores ``(n_rows, n_examples)``; the mean of each row stays."""
        mean = float(scores.mean())
        sums = [np.bincount(self.of_example, weights=row - mean, minlength=self.n) for row in scores.astype(np.float64)]
        return np.asarray(mean + np.stack(sums) * (self.n / len(self.of_example)), dtype=np.float64)


def units_of(answers: Iterable[ExampleScores], split_method: str) -> Units | None:
    """Return the units of examples that all networks answered, where they are known: all have the same."""
    unit = next((of.unit for of in answers if of.unit is not None), None)
    if unit is None:
        return None
    names, numbers = np.unique(unit, return_inverse=True)
    return Units(of_example=numbers, n=len(names), noun=_NOUNS.get(split_method, "groups"))


def difference_by_units(
    a: NDArray[Any],
    b: NDArray[Any],
    units: Units | None,
    *,
    method: DifferenceMethod = "seeds and examples",
    **how: Any,
) -> Difference:
    """Return what :func:`depthcheck.reports.compare.difference.paired_difference` does, with units for examples.

    Without units they are examples. Of fewer than five there is an estimate, and no interval.
    """
    if units is None or a.shape[1] != len(units.of_example):
        return paired_difference(a, b, method=method, **how)
    a, b = units.values(a), units.values(b)
    if units.n < FEWEST_UNITS:
        difference = found((a - b).mean(axis=1), (), n_examples=units.n, method=method)
    else:
        difference = paired_difference(a, b, method=method, **how)
    return replace(difference, drawn=units.noun)
