"""What a search finds for how many trials: pure functions of the scores of independent trials.

Fit for the compare phase alone, whose configurations are laid down beforehand. The trials of an adaptive sampler
depend on each other, and nothing here holds for them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln


def expected_best(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected best score of a search of 1, 2, … N trials.

    Dodge et al. (2019) plot this curve for the budget's sake; their estimator draws with replacement and is too low.
    Here is the mean over all subsets without replacement, unbiased (Tang et al. 2020).

    Parameters
    ----------
    scores
        ``(n_trials,)`` validation scores, diverged trials at the score of chance.

    Returns
    -------
    ndarray
        ``(n_trials,)``; entry *n - 1* is the expected best of *n* trials. The last one is the best score itself: the
        curve must not be carried on beyond it.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    if len(ordered) == 0:
        return ordered
    return np.array([_chance_to_be_best(len(ordered), n) @ ordered for n in range(1, len(ordered) + 1)])


def _chance_to_be_best(n_trials: int, n_drawn: int) -> NDArray[np.float64]:
    """Return for each rank, lowest first, the probability to be the best of ``n_drawn`` drawn without replacement."""
    below = np.arange(n_trials, dtype=np.float64)
    possible = below >= n_drawn - 1
    log_ways = _log_choose(np.where(possible, below, n_drawn - 1), n_drawn - 1)
    return np.where(possible, np.exp(log_ways - _log_choose(np.float64(n_trials), n_drawn)), 0.0)


def _log_choose(n: NDArray[np.float64] | np.float64, k: int) -> NDArray[np.float64]:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
