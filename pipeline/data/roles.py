"""Columns of a table that are no features: which rows belong together, when each was recorded, which are the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.config import require
from depthcheck.pipeline.data.cells import Cells, Days, Texts, cells_of
from depthcheck.pipeline.data.columns import typed
from depthcheck.pipeline.data.guess import guess, numbers_in


def marks_of(name: str, column: pd.Series[Any]) -> NDArray[np.bool_]:
    """Return which rows are the test part: true, yes or 1; or the word test beside train."""
    cells = cells_of(column)
    n_missing = int(np.count_nonzero(cells.missing))
    require(n_missing == 0, f"rows without a value in test_column {name!r}", "0", n_missing)
    if isinstance(cells, Texts) and set(cells.different.str.lower()) <= {"train", "training", "test"}:
        marks = cells.spread(cells.different.str.lower().eq("test").to_numpy(dtype=bool), False)
    else:
        marks = typed(guess(name, cells, kind="boolean"), cells) == 1
    n_marked = int(np.count_nonzero(marks))
    require(0 < n_marked < len(marks), f"rows that test_column {name!r} marks", "some, not all", n_marked)
    return np.asarray(marks, dtype=bool)


def groups_of(name: str, cells: Cells, log: Callable[[str], None]) -> NDArray[np.int64]:
    """Return the group of each row, numbered as they come; a row without one is a group of its own."""
    values = cells.codes if isinstance(cells, Texts) else cells.values
    groups = pd.factorize(values)[0].astype(np.int64)
    alone = np.flatnonzero(cells.missing)
    if len(alone):
        log(f"group {name!r} has no value in {len(alone):,} rows: each is a group of its own")
        groups[alone] = groups.max() + 1 + np.arange(len(alone))
    return groups


def times_of(name: str, cells: Cells, comma: bool) -> NDArray[np.float64]:
    """Return when each row was recorded: days since 1970, or the numbers that the column has."""
    values = cells.values if isinstance(cells, Days) else numbers_in(cells, comma=comma)
    times = np.asarray(typed(guess(name, cells, kind="date"), cells) if values is None else values, dtype=np.float64)
    unknown = np.flatnonzero(~np.isfinite(times))
    if len(unknown):
        raise ValueError(f"time column {name!r} must have a value in every row, got none in row {unknown[0] + 1}")
    return times
