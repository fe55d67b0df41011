"""Columns that give the answer away: a copy of the target, and one that alone tells nearly all of it.

Row numbers of a file that is sorted by its target, identifiers given out class by class and sums that contain the
target make every model look perfect. Nothing is fitted that a network gets to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.data.cells import Values
from depthcheck.pipeline.data.guess import asking
from depthcheck.pipeline.records import Column
from depthcheck.pipeline.scores import r2

#: With fewer rows two columns agree by luck; more than so many tell nothing new.
_FEWEST, _MOST = 50, 4_000
#: Numbers of which more are different are compared with so many neighbours, in place of equal ones.
_MANY, _NEIGHBOURS = 64, 3
#: Share of the classes (their mean recall), or of a target's spread (R²), on rows held out from which on it is said.
_NEARLY_ALL = 0.98
_FEWEST_OF_A_CLASS = 5


def without_leak(column: Column, values: Values, answers: NDArray[np.float64], task: str) -> Column:
    """Return a column with what is to be said where it gives the target away; a copy of that is left out.

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
        return column
    rows = np.random.default_rng(0).choice(len(answers), min(len(answers), _MOST), replace=False)
    if _is_copy(values[rows], answers[rows], task) and _is_copy(values, answers, task):  # few columns get to the second
        return asking(replace(column, kind="ignored"), "copy", "a copy of the target under another name: left out")
    known, asked = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    predicted = _predicted(_keys(values[known]), answers[known], _keys(values[asked]), task)
    score = _score(predicted, answers[asked], task)
    if score < _NEARLY_ALL:
        return column
    of = "classes" if task == "classification" else "target's spread"
    asked_for = "is it known before the target is?"
    if column.kind == "date":  # it is known beforehand, and rows near each other tell of each other
        asked_for = "name it as time if later rows are to be predicted"
    return asking(column, "leak", f"by itself it tells {score:.1%} of the {of} on rows held out: {asked_for}")


def said_of(columns: Sequence[Column]) -> list[tuple[str, str, bool]]:
    """Return the name of each column of which that was said, what was said, and whether it was left out for it."""
    leaks = (column for column in columns if {"copy", "leak"} & {*column.asks})
    return [(column.name, column.why.rpartition("; ")[2], "copy" in column.asks) for column in leaks]


def _is_copy(values: Values, answers: NDArray[np.float64], task: str) -> bool:
    if task == "regression":
        if isinstance(values, pd.Categorical) or not np.isfinite(values).all() or np.ptp(values) == 0:
            return False
        numbers = np.asarray(values, np.float64)
        return bool(1 - abs(np.corrcoef(numbers, answers)[0, 1]) < 1e-12)
    codes = values.codes if isinstance(values, pd.Categorical) else pd.factorize(np.asarray(values))[0]
    pairs = pd.DataFrame({"code": codes, "answer": answers}).drop_duplicates()
    return bool((codes >= 0).all() and pairs["code"].is_unique and pairs["answer"].is_unique)


def _keys(values: Values) -> NDArray[np.float64]:
    """Return what rows are told apart by: the category, or the number, infinite where there is none."""
    if isinstance(values, pd.Categorical):
        return np.asarray(values.codes, np.float64)
    return np.where(np.isfinite(values), values, np.inf).astype(np.float64)


def _predicted(
    known: NDArray[np.float64], answers: NDArray[np.float64], asked: NDArray[np.float64], task: str
) -> NDArray[np.float64]:
    """Return the commonest class, or the mean, of the rows with the same key, or the nearest where keys are many."""
    if len(np.unique(known)) <= _MANY:
        by_key = pd.Series(answers).groupby(known)
        table = by_key.mean() if task == "regression" else by_key.agg(lambda of: of.value_counts().index[0])
        return np.asarray(pd.Series(asked).map(table).fillna(float(answers.mean())), np.float64)
    order = np.argsort(known, kind="stable")
    first = np.searchsorted(known[order], asked) - _NEIGHBOURS // 2
    near = answers[order[np.clip(first, 0, len(order) - _NEIGHBOURS)[:, None] + np.arange(_NEIGHBOURS)]]
    if task == "regression":
        return np.asarray(near.mean(axis=1))
    classes = np.unique(answers)
    return np.asarray(classes[(near[:, :, None] == classes).sum(axis=1).argmax(axis=1)])


def _score(predicted: NDArray[np.float64], y: NDArray[np.float64], task: str) -> float:
    """Return how good predictions are: R², or the mean recall of the classes; 0 where too few rows tell."""
    if task == "regression":
        return r2(y, predicted) if np.ptp(y) > 0 else 0.0
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2 or counts.min() < _FEWEST_OF_A_CLASS:
        return 0.0
    return float(np.mean([(predicted[y == one] == one).mean() for one in classes]))
