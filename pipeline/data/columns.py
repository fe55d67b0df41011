"""Cells as the values of a known column, read the same way wherever they come from.

Training data and data to predict go through the same :func:`typed`, so that they cannot be understood in two ways. What
a column is in the first place is found in :mod:`depthcheck.pipeline.data.guess`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..records import Column
from .cells import (
    LARGEST,
    MISSING_AMONG_VALUES,
    Cells,
    Days,
    Numbers,
    Texts,
    cells_of,
    read_days,
    read_numbers,
)

#: A typed column: float32 with NaN where missing, or pandas categories of text.
Values: TypeAlias = "NDArray[np.float32] | pd.Categorical"

_N_SHOWN = 60
_N_LISTED = 20
_EXPECTED = {"numeric": "a number", "boolean": "no or yes", "date": "a date"}


def typed(column: Column, cells: Cells) -> Values:
    """Return the cells of a column as it has them: float32 with NaN where missing, or categories of text.

    Raises
    ------
    ValueError
        When a cell cannot be read; names the column, the row (from 1) and the cell.
    """
    if column.kind == "categorical":
        texts = cells.as_texts()
        return _categorical(_as_known(texts, column.categories) if isinstance(cells, Numbers) else texts)
    if isinstance(cells, Texts):
        return _read(column, cells)
    if isinstance(cells, Days) and column.kind == "date":
        return cells.values.astype(np.float32)
    wrong = ~cells.missing
    if isinstance(cells, Numbers) and column.kind != "date":
        wrong &= (column.kind == "boolean") & ~np.isin(cells.values, (0, 1))
    _complain(column, cells, wrong)
    return _float32(cells.values)


def as_samples(frame: pd.DataFrame, columns: Sequence[Column], *, where: str = "input") -> pd.DataFrame:
    """Return raw rows, of any types and with their columns in any order, as the typed table that was trained on.

    Parameters
    ----------
    frame
        The rows; columns that nobody asks for are left out, cells may be texts.
    columns
        What the training data have; ignored ones are not needed.
    where
        What a complaint calls the rows.

    Raises
    ------
    ValueError
        When a column is missing or twice there, or a cell cannot be read.
    """
    wanted = [column for column in columns if column.kind != "ignored"]
    missing = [column.name for column in wanted if column.name not in frame.columns]
    if missing:
        names = ", ".join(map(repr, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        there = [str(column) for column in frame.columns]
        raise ValueError(
            f"{where} must have the columns of the training data, {names} missing{nearest(missing[0], there)} "
            f"(columns: {listed(there)})"
        )
    twice = sorted(set(frame.columns[frame.columns.duplicated()]) & {column.name for column in wanted})
    if twice:
        raise ValueError(f"column {twice[0]!r} of {where} must be there once, got it twice")
    values: dict[str, Values] = {}
    for column in wanted:
        values[column.name] = typed(column, cells_of(frame[column.name]))
    return pd.DataFrame(values, index=range(len(frame)), copy=False)


def nearest(wanted: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the name that is most like the one wanted, or nothing."""
    folded = {name.casefold().strip(): name for name in reversed(list(known))}
    close = difflib.get_close_matches(wanted.casefold().strip(), folded, n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def listed(names: Sequence[str]) -> str:
    """Return names with commas between them, at most twenty, then how many there are."""
    return ", ".join(names[:_N_LISTED]) + (f", … ({len(names):,} in all)" if len(names) > _N_LISTED else "")


def _read(column: Column, cells: Texts) -> NDArray[np.float32]:
    """Return texts as a numeric, boolean or date column has them."""
    texts = cells.different
    lower = texts.str.lower()
    if column.kind == "boolean":
        no, yes = column.categories
        values = np.where(lower.isin({yes, "1", "true"}), 1.0, np.where(lower.isin({no, "0", "false"}), 0.0, np.nan))
    elif column.kind == "date":
        values = read_days(texts, column.form or "ISO8601")
        if np.isnan(values).any():
            values = np.where(np.isnan(values), read_days(texts, "ISO8601"), values)
    else:
        values = read_numbers(texts, column.form)
    unread = np.isnan(values)
    if unread.any():
        means_missing = lower.isin(MISSING_AMONG_VALUES) | texts.isin(column.missing_texts)
        means_missing |= np.abs(read_numbers(texts, "")) > LARGEST  # as where a number comes as a number
        _complain(column, cells, cells.spread(unread & ~means_missing.to_numpy(dtype=bool), False))
    return _float32(cells.spread(values, np.nan))


def _complain(column: Column, cells: Cells, wrong: NDArray[np.bool_]) -> None:
    if not wrong.any():
        return
    row = int(np.flatnonzero(wrong)[0])
    n_more = int(np.count_nonzero(wrong)) - 1
    texts = cells.as_texts()
    got = str(texts.different.iloc[int(texts.codes[row])])
    got = got if len(got) <= _N_SHOWN else f"{got[:_N_SHOWN]}…"
    more = f" (and {n_more:,} more such cells)" if n_more else ""
    raise ValueError(
        f"row {row + 1} of {column.kind} column {column.name!r} must be {_EXPECTED[column.kind]}, got {got!r}{more}"
    )


def _float32(numbers: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        values = numbers.astype(np.float32)
        values[~(np.abs(values) <= LARGEST)] = np.nan
    return values


def _as_known(written: Texts, categories: Sequence[str]) -> Texts:
    """Return numbers as the known category is written that has their value, where there is exactly one.

    Whoever sends rows as CSV to a server has ``01234`` read as 1234 before it gets here.
    """
    by_value: dict[float, list[str]] = {}
    for category in categories:
        if category.isdecimal():
            by_value.setdefault(float(category), []).append(category)
    known = [
        found[0] if text not in categories and len(found := by_value.get(float(text), [])) == 1 else str(text)
        for text in written.different
    ]
    return Texts(pd.Series(known, dtype="str"), written.codes)


def _categorical(cells: Texts) -> pd.Categorical:
    # By code point, as Python sorts, so that the order is the same on every machine.
    texts = [str(text) for text in cells.different]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    ranks = np.empty(len(texts), np.int64)
    ranks[order] = np.arange(len(texts))
    categories = pd.Index([texts[position] for position in order], dtype="str")
    return pd.Categorical.from_codes(cells.spread(ranks, -1), categories=categories)
