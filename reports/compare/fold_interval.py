"""How much better A is than B where cross-validation takes the place of a test part. Pure functions of arrays.

The folds of one partition share most of their training rows, and each row is held out once in every repeat: their
scores are no independent draws, and a plain t test over them says *helps* far too often. Nadeau and Bengio (2003)
correct its variance by the share of rows held out; Bouckaert and Frank (2004) do so for repeats of k folds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from depthcheck.reports.compare.difference import FEWEST_PSEUDO_OBSERVATIONS, found
from depthcheck.reports.compare.metric import ACCURACY
from depthcheck.reports.compare.results import Difference


def fold_difference(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    n_examples: int,
    pseudo_observations: float = ACCURACY.pseudo_observations,
) -> Difference:
    """Estimate the expected score of A minus that of B over training sets of this size, seeds and fresh rows.

    With *J* differences of folds and their variance *s²*, the mean has the variance ``(1/J + 1/(k - 1)) s²``: with k
    folds, a fold holds out one row for each k - 1 that train. The interval is Student's with J - 1 degrees of freedom.

    Parameters
    ----------
    a, b
        ``(n_repeats, n_folds)`` score of each fold, row *r* of both on one partition; NaN where a fold has no score
        (a single class leaves none for AUC). Such folds are left out.
    n_examples
        Rows of all folds together.
    pseudo_observations
        As in :func:`depthcheck.reports.compare.difference.paired_difference`: agreement on few rows is no
        proof of agreement.

    Raises
    ------
    ValueError
        When the two differ in shape, are empty, or a repeat has no fold with a score.
    """
    if a.shape != b.shape or a.ndim != 2 or 0 in a.shape or a.shape[1] < 2:
        raise ValueError(f"scores must be two tables of one shape (n_repeats, n_folds >= 2), got {a.shape}, {b.shape}")
    d = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    known = d[np.isfinite(d)]
    if not np.isfinite(d).any(axis=1).all():
        raise ValueError("each repeat must have a fold with a score")
    by_repeat, n_folds = np.nanmean(d, axis=1), d.shape[1]
    if known.size < 2:
        return found(by_repeat, (), n_examples=n_examples, n_folds=n_folds, method="folds")
    variance, held_out = float(known.var(ddof=1)), 1 / (n_folds - 1)
    pseudo_observations = max(pseudo_observations, FEWEST_PSEUDO_OBSERVATIONS) if variance == 0 else pseudo_observations
    # What no number of repeats takes away: these rows are all there are.
    lasting = held_out * variance + pseudo_observations / (n_examples * max(n_examples - 1, 1))
    return found(
        by_repeat,
        [(variance / known.size + lasting, known.size - 1)],
        n_examples=n_examples,
        n_folds=n_folds,
        method="folds",
        seed_variance=variance / n_folds,
        example_variance=lasting * n_examples,
    )


def difference_of_repeats(a: NDArray[np.float64], b: NDArray[np.float64], *, n_examples: int) -> Difference:
    """Return the difference where only each repeat's mean is known: an estimate, and no interval.

    Every repeat holds out the same rows, so that the spread of the repeats says nothing of other rows, and no
    correction can bring back what the means have lost.

    Parameters
    ----------
    a, b
        ``(n_repeats,)``.
    """
    return found(np.asarray(a - b, dtype=np.float64), (), n_examples=n_examples, method="repeats only")
