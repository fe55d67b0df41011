"""Columns that give the answer away: a copy of the target, and one that alone tells nearly all of it.

Row numbers of a file that is sorted by its target, identifiers given out class by class and sums that contain the
target make every model look perfect. Nothing is fitted that a network gets to see.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.data.cells import Values

COPY = "a copy of the target under another name: left out"
ALONE = "by itself it tells"
#: With fewer rows two columns agree by luck; more than so many tell nothing new.
_FEWEST, _MOST = 50, 4_000
#: Numbers of which more are different are compared with so many beside them, in place of equal ones.
_N_KEYS, _BESIDE = 64, 3
#: Share of the classes (their mean recall), or of a target's spread (R²), on rows held out from which on it is said.
_NEARLY_ALL = 0.98
_FEWEST_OF_A_CLASS = 5


def leak_of(values: Values, answers: NDArray[np.float64], task: str) -> str:
    """Return what to say of a column that gives the target away, or nothing.

    Parameters
    ----------
    values
        ``(n,)`` a typed column.
    answers
        ``(n,)`` the target: labels from 0 up, or numbers; none missing.
    task
        ``classification`` or ``regression``.
    """
    if len(answers) < _FEWEST:
        return ""
    if _is_copy(values, answers, task):
        return COPY
    rows = np.random.default_rng(0).permutation(len(answers))[:_MOST]
    half = len(rows) // 2
    score = _told_by(_said(values, answers, rows[:half], rows[half:], task), answers[rows[half:]], task)
    if score < _NEARLY_ALL:
        return ""
    of = "classes" if task == "classification" else "target's spread"
    return f"{ALONE} {score:.1%} of the {of} on rows held out: is it known before the target is?"


def _is_copy(values: Values, answers: NDArray[np.float64], task: str) -> bool:
    if task == "regression":
        if isinstance(values, pd.Categorical) or not np.isfinite(values).all() or np.ptp(values) == 0:
            return False
        numbers = np.asarray(values, np.float64)
        return bool(1 - abs(np.corrcoef(numbers, answers)[0, 1]) < 1e-12)
    codes = values.codes if isinstance(values, pd.Categorical) else pd.factorize(np.asarray(values))[0]
    if (codes < 0).any():
        return False
    pairs = len(np.unique(np.stack([codes, answers]), axis=1).T)
    return pairs == len(np.unique(codes)) == len(np.unique(answers))


def _said(
    values: Values, answers: NDArray[np.float64], known: NDArray[np.int64], asked: NDArray[np.int64], task: str
) -> NDArray[np.float64]:
    """Return what some rows say of others by this column: the commonest class, or the mean, of the likest ones."""
    if isinstance(values, pd.Categorical):
        keys = np.asarray(values.codes, np.float64)
    else:
        keys = np.where(np.isfinite(values), values, np.inf).astype(np.float64)
    if len(np.unique(keys[known])) > _N_KEYS:  # numbers: those beside it in order
        order = known[np.argsort(keys[known], kind="stable")]
        first = np.clip(np.searchsorted(keys[order], keys[asked]) - _BESIDE // 2, 0, len(order) - _BESIDE)
        beside = answers[order[first[:, None] + np.arange(_BESIDE)]]
        if task == "regression":
            return np.asarray(beside.mean(axis=1))
        votes = (beside[:, :, None] == np.unique(answers)).sum(axis=1)
        return np.asarray(np.unique(answers)[votes.argmax(axis=1)])
    by_key = pd.Series(answers[known]).groupby(keys[known])
    table = by_key.mean() if task == "regression" else by_key.agg(lambda of: of.value_counts().index[0])
    return np.asarray(pd.Series(keys[asked]).map(table).fillna(float(answers[known].mean())), np.float64)


def _told_by(said: NDArray[np.float64], y: NDArray[np.float64], task: str) -> float:
    """Return how well the answers were said: R², or the mean share of each class that was told."""
    if task == "regression":
        spread = float(((y - y.mean()) ** 2).sum())
        return 1 - float(((y - said) ** 2).sum()) / spread if spread > 0 else 0.0
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2 or counts.min() < _FEWEST_OF_A_CLASS:
        return 0.0
    return float(np.mean([(said[y == one] == one).mean() for one in classes]))
