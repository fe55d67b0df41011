"""What a column of a table is: numbers, truth values, dates, names, or nothing to learn from.

Every guess says why, in words for the profile, so that a wrong one is seen and told otherwise.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.data.cells import (
    MISSING_AMONG_VALUES,
    TRUTHS,
    Cells,
    Days,
    Numbers,
    Texts,
    date_form,
    is_readable,
    number_form,
    other_order,
    read_days,
    read_numbers,
    typed,
)
from depthcheck.pipeline.records import Column

_N_EXAMPLES = 3
_MAX_EXAMPLE = 24
#: Texts that differ in more than half of the cells, and so many of them, are free text.
_FREE_TEXT = 20
#: So few different whole numbers may be names: said, not decided.
_FEW = 10
#: Fewer rows than these could make a run of whole numbers by chance; a run of years is a feature.
_N_COUNTED = 10
#: Two truth values can be written in no more ways than that: yes, Yes, YES, ...
_N_FORMS = 16
_YEARS = (1500, 2200)
_ID_NAME = re.compile(r"(^|[_\-. ])(id|uuid|guid|rownames|index)$|[a-z]I[dD]$")


def guess(name: str, cells: Cells, *, kind: str | None = None, comma: bool = False) -> Column:
    """Return what a column is.

    Parameters
    ----------
    kind
        One of :data:`depthcheck.pipeline.config.COLUMN_KINDS` where the user says what it is; None: guessed.
    comma
        Whether the table is known to write a decimal comma: then 1.234 is more than a thousand.

    Raises
    ------
    ValueError
        When the cells cannot be of the kind that the user says.
    """
    n_missing = int(np.count_nonzero(cells.missing))
    plain = Column(name=name, kind="ignored", n_missing=n_missing, examples=_examples(cells))
    if kind == "ignored":
        return replace(plain, why="as you say")
    if kind is not None:
        return _told(plain, cells, kind, comma)
    if n_missing == len(cells.missing):
        return replace(plain, why="no cell has a value")
    if isinstance(cells, Numbers):
        found = _of_numbers(plain, cells.values, "numbers")
    elif isinstance(cells, Days):
        found = _of_dates(plain, cells.values, "dates")
    else:
        found = _of_texts(plain, cells, comma)
    if found.n_distinct == 1 and found.n_missing == 0:
        return replace(found, kind="ignored", why=f"always {found.examples[0]}", categories=())
    return found


def numbers_in(cells: Cells, *, comma: bool = False) -> NDArray[Any] | None:
    """Return the cells as numbers, NaN where missing, or None where they are something else."""
    if isinstance(cells, Numbers):
        return cells.values
    if isinstance(cells, Days) or cells.stated or _are_codes(cells.different):
        return None
    form = number_form(cells.different, comma=comma)
    return None if form is None else cells.spread(read_numbers(cells.different, form), np.nan)


def _of_numbers(column: Column, numbers: NDArray[Any], what: str) -> Column:
    missing = Numbers(numbers).missing
    present = np.sort(numbers[~missing])
    n_distinct = 1 + int(np.count_nonzero(present[1:] != present[:-1])) if len(present) else 0
    n_infinite = int(np.count_nonzero(missing & ~np.isnan(numbers)))
    column = replace(column, n_distinct=n_distinct, n_missing=int(np.count_nonzero(missing)))
    said = what + (f"; {n_infinite:,} infinite ones, or as good as, count as missing" if n_infinite else "")
    if n_distinct == 2 and tuple(present[[0, -1]]) == (0, 1):
        return replace(column, kind="boolean", why="0 and 1", categories=("0", "1"), n_distinct=2)
    if not (present == np.floor(present)).all():
        return replace(column, kind="numeric", why=said)
    if _counts_rows(column, numbers, present):
        return replace(column, why="whole numbers, another in every row: an identifier")
    said = f"whole {said}"
    if n_distinct <= _FEW:
        said += f"; only {n_distinct} different ones: say categorical if they are names"
    return replace(column, kind="numeric", why=said)


def _counts_rows(column: Column, numbers: NDArray[Any], present: NDArray[Any]) -> bool:
    """Whether whole numbers, another in every row, name the rows: a run, or one that rises row by row, or called an id.

    A run that rises may have gaps: rows were left out.
    """
    if column.n_distinct < max(len(present), _N_COUNTED) or column.n_missing:
        return False
    if _YEARS[0] <= present[0] and present[-1] <= _YEARS[1]:
        return False
    width = float(present[-1]) - float(present[0]) + 1
    rises = width < 1.5 * len(present) and bool((numbers[1:] > numbers[:-1]).all())
    return width == len(present) or rises or _ID_NAME.search(column.name) is not None


def _of_dates(column: Column, days: NDArray[np.float64], what: str) -> Column:
    return replace(column, kind="date", why=what, n_distinct=len(np.unique(days[np.isfinite(days)])))


def _of_texts(column: Column, cells: Texts, comma: bool) -> Column:
    column = replace(column, n_distinct=len(cells.different))
    if cells.stated == "categorical":
        return _of_names(column, cells, "categories")
    some = cells.different[~cells.different.str.lower().isin(MISSING_AMONG_VALUES)]
    truths = _truths(cells, some)
    if truths is not None:
        return _as_boolean(column, cells, truths)
    if _are_codes(some):
        return _of_names(column, cells, "whole numbers with leading zeros: codes")
    form = number_form(some, comma=comma)
    if form is not None:
        return _written(column, cells, "numeric", form, comma=comma)
    form = date_form(some)
    if form is not None:
        return _written(column, cells, "date", form)
    return _of_names(column, cells, "texts")


def _truths(cells: Texts, texts: pd.Series[str]) -> tuple[str, str] | None:
    """Return how a column writes no and yes, or None where it holds something else."""
    if cells.stated == "boolean":
        return TRUTHS[0]
    words = set(texts.iloc[:_N_FORMS].str.lower())
    if len(words) != 2 or len(texts) > _N_FORMS:
        return None
    return next((truths for truths in TRUTHS if words == set(truths)), None)


def _are_codes(texts: pd.Series[str]) -> bool:
    """Whether texts are digits of which some start with a zero: postal codes, numbers of articles."""
    return bool(texts.str.fullmatch(r"\d+").mean() > 0.95) and bool(texts.str.match(r"0\d").any())


def _as_boolean(column: Column, cells: Texts, truths: tuple[str, str]) -> Column:
    column = replace(column, categories=truths, form="")
    values = typed(replace(column, kind="boolean"), cells)
    present = np.unique(values[~np.isnan(values)])
    n_missing = int(np.isnan(values).sum())
    why = f"{truths[0]} and {truths[1]}"
    return replace(column, kind="boolean", why=why, n_distinct=len(present), n_missing=n_missing)


def _written(column: Column, cells: Texts, kind: str, form: str, *, comma: bool = False) -> Column:
    """Return a column of texts that are numbers or dates, with what else is in it counted as missing."""
    values = (read_numbers if kind == "numeric" else read_days)(cells.different, form)
    usual = cells.different.str.lower().isin(MISSING_AMONG_VALUES).to_numpy(dtype=bool)
    others = tuple(cells.different[np.isnan(values) & ~usual])
    numbers = cells.spread(values, np.nan)
    column = replace(column, form=form, missing_texts=others, n_missing=int(np.isnan(numbers).sum()))
    read = cells.different[~np.isnan(values)]
    if kind == "numeric":
        found = _of_numbers(column, numbers, _number_words(read, form, comma=comma))
    else:
        found = _of_dates(column, numbers, _date_words(read, form))
    if not others:
        return found
    listed = ", ".join(map(repr, others[:3])) + (", …" if len(others) > 3 else "")
    return replace(found, why=f"{found.why}; what is none counts as missing: {listed}")


def _number_words(texts: pd.Series[str], form: str, *, comma: bool) -> str:
    if not form or not texts.str.contains(f"[{re.escape(form)}]").any():
        return "numbers"
    decimal, thousands = form[0], form[1]
    written = f"numbers written 1{thousands}234{decimal}5"
    # What settles it: a decimal mark, or two marks between thousands in one cell.
    settled = texts.str.contains(rf"{re.escape(decimal)}|{re.escape(thousands)}.*{re.escape(thousands)}").any()
    if settled or comma or thousands not in ".,":
        return written
    return f"{written} (the {'comma' if thousands == ',' else 'point'} could be a decimal one: no cell tells)"


def _date_words(texts: pd.Series[str], form: str) -> str:
    def spelt(form: str) -> str:
        words = {"%d": "day", "%m": "month", "%Y": "year", "%y": "year", "%b": "month", "%B": "month"}
        return "year-month-day" if form == "ISO8601" else re.sub("%[dmYybB]", lambda hit: words[hit[0]], form)

    other = other_order(form)
    if other and is_readable(read_days(texts, other)):
        return f"dates read as {spelt(form)} ({spelt(other)} would do too: no cell tells)"
    return f"dates written {spelt(form)}"


def _of_names(column: Column, cells: Texts, what: str) -> Column:
    n_present = len(cells.missing) - column.n_missing
    if column.n_distinct == n_present > 1:
        return replace(column, why=f"{what}, another in every row: an identifier or free text")
    if column.n_distinct > max(_FREE_TEXT, n_present / 2) and cells.stated != "categorical":
        return replace(column, why=f"{what}, {column.n_distinct:,} different ones: too many to learn from")
    return replace(column, kind="categorical", why=what, categories=tuple(sorted(cells.different)))


def _told(column: Column, cells: Cells, kind: str, comma: bool) -> Column:
    """Return a column of the kind that the user says."""
    column = replace(column, kind=kind, why="as you say")
    if kind == "categorical":
        categories = tuple(sorted(cells.as_texts().different))
        return replace(column, categories=categories, n_distinct=len(categories))
    found = guess(column.name, cells, comma=comma)
    if found.kind == kind:
        return replace(found, why=f"as you say; {found.why}")
    if isinstance(cells, Texts):
        column = _told_of_texts(column, cells, comma)
    elif kind == "boolean":
        column = replace(column, categories=("0", "1"))
    values = typed(column, cells)
    assert isinstance(values, np.ndarray)
    present = values[~np.isnan(values)]
    return replace(column, n_missing=len(values) - len(present), n_distinct=len(np.unique(present)))


def _told_of_texts(column: Column, cells: Texts, comma: bool) -> Column:
    some = cells.different[~cells.different.str.lower().isin(MISSING_AMONG_VALUES)]
    if column.kind == "boolean":
        words = sorted(set(some.str.lower()))
        if len(words) != 2:
            raise ValueError(f"column {column.name!r} must have two different values to be boolean, got {len(words)}")
        return replace(column, categories=tuple(words))
    form = number_form(some, comma=comma) if column.kind == "numeric" else date_form(some)
    if form is None:  # typed() will name the first cell that is none
        return replace(column, form="" if column.kind == "numeric" else "ISO8601")
    return replace(_written(column, cells, column.kind, form, comma=comma), kind=column.kind, why=column.why)


def _examples(cells: Cells) -> tuple[str, ...]:
    """Return the first few different values as text."""
    first = np.flatnonzero(~cells.missing)[:200]
    if isinstance(cells, Texts):
        found = [str(cells.different.iloc[code]) for code in dict.fromkeys(cells.codes[first].tolist())]
    elif isinstance(cells, Numbers):
        found = [f"{number:.6g}" for number in dict.fromkeys(cells.values[first].tolist())]
    else:
        found = list(Days(cells.values[first]).as_texts().different)
    return tuple(text if len(text) <= _MAX_EXAMPLE else text[: _MAX_EXAMPLE - 1] + "…" for text in found[:_N_EXAMPLES])
