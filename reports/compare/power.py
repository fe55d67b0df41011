"""How many more seeds, or repeats, would show a difference that matters. Pure; a plan, not a promise."""

from __future__ import annotations

import numpy as np
from scipy import stats

from depthcheck.reports.compare.difference import CONFIDENCE
from depthcheck.reports.compare.results import Difference
from depthcheck.reports.compare.tuning import SEARCHED, degrees_of_freedom


def seeds_to_detect(
    difference: Difference, effect: float, *, power: float = 0.8, confidence: float = CONFIDENCE, most: int = 200
) -> int | None:
    """Return how many seeds would show an effect of this size, given the variances seen so far.

    Parameters
    ----------
    difference
        What the seeds so far gave.
    effect
        In the metric's scale.
    power
        The probability of showing it.

    Returns
    -------
    int or None
        None where no number of seeds up to ``most`` does: the test part is too small, or nothing is known of the
        spread.
    """
    if difference.low is None or effect <= 0:
        return None
    for n_seeds in range(2, most + 1):
        variance, df = _planned(difference, n_seeds)
        if variance == 0:
            return 2
        critical = stats.t.ppf((1 + confidence) / 2, df)
        if stats.nct.sf(critical, df, effect / np.sqrt(variance)) >= power:
            return n_seeds
    return None


def _planned(difference: Difference, n_seeds: int) -> tuple[float, float]:
    """Return the variance that so many seeds would leave, and its degrees of freedom."""
    over_seeds = (difference.seed_variance + difference.rest_variance / difference.n_examples) / n_seeds
    variance = over_seeds + difference.example_variance / difference.n_examples
    if difference.n_folds:
        return variance, n_seeds * difference.n_folds - 1
    df_rows = degrees_of_freedom(n_seeds, SEARCHED) if difference.again == "setting" else n_seeds - 1
    df = variance**2 * df_rows / max(over_seeds**2, 1e-300)
    return variance, min(df, 1e6)
