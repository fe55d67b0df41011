"""What tuning a level is worth: every searched setting speaks, not the winner alone. Pure functions of arrays.

A study tries *m* settings at each level. Whoever tunes that level with *n* settings keeps the best of them by
validation score; what its network reaches on the test part, on average over all subsets of *n* of the *m* settings, is
an unbiased estimate of what such tuning gives (Tang et al. 2020 have the estimator for the best validation score; here
the validation part chooses and the test part scores). The winner of all *m* would be a single draw, and which one it
is hangs on the luck of the search: intervals about winners contradicted each other from study to study.

How far the estimate hangs on the settings that were drawn is told by leaving each out in turn (the jackknife, exact for
means over subsets: Arvesen 1969). Its *pseudo-values*, one a setting and test example, have the estimate as their mean,
so that settings and examples are crossed like seeds and examples
(:func:`depthcheck.reports.compare.difference.paired_difference`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]
#: Settings of the tuning that a study speaks of, however many it tried: another study then answers the same question.
#: Of four, or of a quarter of the study's settings from 16 on, intervals would be wider (docs/search-simulations.md).
SEARCHED = 3


def subset_size(n_settings: int) -> int:
    """Return the number of settings of the tuning that a study of so many settings speaks of."""
    return max(1, min(SEARCHED, n_settings - 1))


def subset_weights(n_settings: int, subset: int) -> Floats:
    """Return the probability of each rank, best first, to be the best of a random subset; ``(n_settings,)``.

    Of *m* settings the one of rank *i* (from 0) is the best of *n* with probability C(m - 1 - i, n - 1) / C(m, n).

    Raises
    ------
    ValueError
        When the subset is empty or larger than the settings are many.
    """
    if not 1 <= subset <= n_settings:
        raise ValueError(f"subset must be of 1 to {n_settings} settings, got {subset}")
    below = np.arange(n_settings - 1, -1, -1, dtype=np.float64)
    possible = below >= subset - 1
    ways = _log_choose(np.where(possible, below, subset - 1), subset - 1)
    return np.where(possible, np.exp(ways - _log_choose(np.float64(n_settings), subset)), 0.0)


def pseudo_weights(n_settings: int, subset: int) -> Floats:
    """Return ``(n_settings, n_settings)``: row *r* weighs the ranks into the pseudo-value of the setting of rank *r*.

    That is *m* times the weights of all settings minus *m - 1* times those with it left out. The rows' mean are the
    weights themselves.

    Raises
    ------
    ValueError
        When the subset cannot be drawn with one setting left out.
    """
    all_of_them, without_one = subset_weights(n_settings, subset), subset_weights(n_settings - 1, subset)
    rank = np.arange(n_settings)
    moved = rank[None, :] - (rank[None, :] > rank[:, None])
    left_out = np.where(rank[None, :] == rank[:, None], 0.0, without_one[np.minimum(moved, n_settings - 2)])
    return np.asarray(n_settings * all_of_them - (n_settings - 1) * left_out)


def degrees_of_freedom(n_settings: int, subset: int) -> float:
    """Return those of the settings' part of the variance: two settings a search that they have room for, less one.

    Pseudo-values are not like draws from a normal: the more settings a search tries, the fewer of them decide, and the
    fewer the settings that the jackknife's variance hangs on. With m - 1 degrees of freedom, right for the mean of
    single settings and for searches of two, intervals about larger searches cover too seldom, the more so the larger n
    is beside m (docs/search-simulations.md has both, side by side).
    """
    return max(min(2 * n_settings / subset, n_settings) - 1, 1.0)


def tuned_scores(
    valid: Floats,
    scores: NDArray[Any],
    subset: int,
    fold: NDArray[np.integer[Any]] | None = None,
    *,
    n_failed: int = 0,
    failed_score: float = 0.0,
) -> NDArray[np.float64]:
    """Return the pseudo-values of a level's tuned score, a row a setting; their mean is the estimate.

    Parameters
    ----------
    valid
        ``(n_settings, n_networks)`` validation score of each network that was trained at the level with each setting:
        one a combination of the other factors' levels, the best of which is kept. With folds
        ``(n_settings, n_networks, n_folds)``, the score of each fold.
    scores
        ``(n_settings, n_networks, n_examples)`` score of each example: right or wrong, or pseudo-values of AUC or R².
    subset
        Number of settings that tuning would try; at least one fewer than there are.
    fold
        ``(n_examples,)`` the fold that each row was held out in. In each fold the network is then chosen on all other
        folds and scored on that one, in turn.
    n_failed, failed_score
        So many further settings are imagined, at which the level failed: they rank last, and have that score. How often
        a level fails is known badly from few settings, and best where it happened to fail seldom.

    Returns
    -------
    ndarray
        ``(n_settings + n_failed, n_examples)``.
    """
    weights = pseudo_weights(len(valid) + n_failed, subset)
    if fold is None:
        return _chosen(valid, scores, weights, failed_score)
    found = np.empty((len(weights), scores.shape[2]))
    for number in range(valid.shape[2]):
        here = fold == number
        by_others = np.delete(valid, number, axis=2).mean(axis=2)
        found[:, here] = _chosen(by_others, scores[:, :, here], weights, failed_score)
    return found


def _chosen(valid: Floats, scores: NDArray[Any], weights: Floats, failed_score: float) -> Floats:
    """Keep each setting's best network, rank the settings by it, and weigh what these networks answered."""
    kept = np.argmax(valid, axis=1)
    rows = np.arange(len(valid))
    order = np.append(np.argsort(-valid[rows, kept], kind="stable"), np.arange(len(valid), len(weights)))
    answers = np.full((len(weights), scores.shape[2]), failed_score)
    answers[: len(valid)] = scores[rows, kept][order[: len(valid)]]
    found = np.empty(answers.shape)
    found[order] = weights @ answers
    return found


def _log_choose(n: Floats | np.float64, k: int) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
