"""What a column of a table is: numbers, truth values, dates, names, or nothing to learn from.

Every guess says why, in words for the profile, so that a wrong one is seen and told otherwise. So does a column that
gives the answer away: row numbers of a file that is sorted by its target, identifiers given out class by class and sums
that contain the target make every model look perfect. Nothing is fitted that a network gets to see.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.config import STATED_FORMS, WITH_NA
from depthcheck.pipeline.data.cells import (
    CLOCK,
    DECIMAL_COMMA,
    QUARTERS,
    TRUTHS,
    YEARS,
    Cells,
    Days,
    Numbers,
    Texts,
    Values,
    date_form,
    date_forms,
    is_readable,
    likeliest_form,
    needs_double,
    number_form,
    other_order,
    read_days,
    read_numbers,
    typed,
)
from depthcheck.pipeline.records import Column
from depthcheck.pipeline.scores import r2

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
#: Years of two digits are read as those of 1969 to 2068, as POSIX says.
_CENTURY = 2000
_TIME_NAME = re.compile(r"date|time|year|jahr|zeit|epoch", re.IGNORECASE)
#: From that share of numbers among a column's different texts on, its words are asked about; looked for in so many.
_MOSTLY, _FIRST = 0.5, 1_000
#: Blanks of a text, on average, from which on it is taken for sentences.
_BLANKS = 3
#: A column without a name that another program wrote numbers the rows, whatever rows were left out since.
_ID_NAME = re.compile(
    r"(?i:(^|[_\-. ])(id|uuid|guid|rownames|index)$|^column_\d+(\.\d+)?$|^unnamed: ?\d+$)|[a-z]I[dD]$"
)
#: Fewer different identifiers than these are as likely codes of a few kinds.
_N_OWNERS = 20
#: Of leaks: with fewer rows two columns agree by luck; more than so many tell nothing new.
_FEWEST, _MOST = 50, 4_000
#: Numbers of which more are different are compared with so many neighbours, in place of equal ones.
_MANY, _NEIGHBOURS = 64, 3
#: Share of the classes (their mean recall), or of a target's spread (R²), on rows held out from which on it is said.
_NEARLY_ALL = 0.98
_FEWEST_OF_A_CLASS = 5


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
        return _stated(plain, cells, kind, comma)
    if n_missing == len(cells.missing):
        return replace(plain, why="no cell has a value")
    if isinstance(cells, Numbers):
        found = _of_numbers(plain, cells.values, "numbers")
        if comma and found.kind == "numeric" and not np.any(cells.values[~cells.missing] % 1):
            found = replace(found, form=DECIMAL_COMMA)  # which their later ones may tell: 1.250
    elif isinstance(cells, Days):
        found = _of_dates(plain, cells.values, "dates")
    else:
        found = _of_texts(plain, cells, comma)
    if found.n_distinct == 1 and found.n_missing == 0:
        return replace(found, kind="ignored", why=f"always {found.examples[0]}", asks=(), categories=())
    return found


def asking(column: Column, what: str, words: str) -> Column:
    """Return the column with more words that a user should see at once; as it is where there are none."""
    return replace(column, why=f"{column.why}; {words}", asks=(*column.asks, what)) if words else column


def owner_hint(column: Column, n_rows: int) -> str:
    """Return what to say of a column that is called an identifier while rows share it; usually nothing.

    Records of one person on both sides of a split make every model look better than it will be.
    """
    is_shared = _N_OWNERS < column.n_distinct < n_rows - column.n_missing
    words = "rows share it; if those belong together, name it as group"
    return words if is_shared and _ID_NAME.search(column.name) else ""


def numbers_in(cells: Cells, *, comma: bool = False) -> NDArray[Any] | None:
    """Return the cells as numbers, NaN where missing, or None where they are something else."""
    if isinstance(cells, Numbers):
        return cells.values
    if isinstance(cells, Days) or cells.stated or _are_codes(cells.different):
        return None
    texts = cells.to_read().different
    form = number_form(texts, comma=comma)
    return None if form is None else cells.spread(read_numbers(texts, form), np.nan)


def _of_numbers(column: Column, numbers: NDArray[Any], what: str) -> Column:
    missing = Numbers(numbers).missing
    present = np.sort(numbers[~missing])
    n_distinct = 1 + int(np.count_nonzero(present[1:] != present[:-1])) if len(present) else 0
    n_infinite = int(np.count_nonzero(missing & ~np.isnan(numbers)))
    is_double = needs_double(numbers)
    column = replace(column, n_distinct=n_distinct, n_missing=int(np.count_nonzero(missing)), is_double=is_double)
    said = what + (f"; infinite ones, or as good as that, count as missing: {n_infinite:,}" if n_infinite else "")
    if n_distinct == 2 and tuple(present[[0, -1]]) == (0, 1) and not column.form:
        return replace(column, kind="boolean", why="0 and 1", categories=("0", "1"), n_distinct=2)
    form = "" if column.kind == "numeric" else _date_number_form(column.name, present)  # unless you say numeric
    if form and (form != YEARS or not column.form):  # years are read with a decimal point alone
        return _written(column, Numbers(numbers).as_texts(), "date", form)
    lost = _lost_in_scaling(present, n_distinct) if is_double else ""
    if not (present == np.floor(present)).all():
        return asking(replace(column, kind="numeric", why=said), "digits", lost)
    if _counts_rows(column, numbers, present):
        return replace(column, why="whole numbers, another in every row: an identifier")
    said = f"whole {said}"
    if n_distinct <= _FEW:
        said += f"; only {n_distinct} different ones: say categorical if they are names"
    return asking(replace(column, kind="numeric", why=said), "digits", lost)


def _date_number_form(name: str, present: NDArray[Any]) -> str:
    """Return the form of numbers that are dates: 20160131, or 2016.5 where the name speaks of time; else nothing."""
    if not len(present):
        return ""
    is_whole = bool((present == np.floor(present)).all())
    if is_whole and _YEARS[0] * 10_000 < present[0] and present[-1] < _YEARS[1] * 10_000:
        different = pd.Series(np.unique(present).astype(np.int64)).astype("str")
        return "%Y%m%d" if len(different) > 1 and is_readable(read_days(different, "%Y%m%d")) else ""
    named = _TIME_NAME.search(name) is not None
    return YEARS if named and not is_whole and _YEARS[0] <= present[0] and present[-1] < _YEARS[1] else ""


def _lost_in_scaling(present: NDArray[Any], n_distinct: int) -> str:
    """Return what to say where even scaled numbers are fewer different ones than there were; usually nothing."""
    numbers = present.astype(np.float64)
    scaled = ((numbers - numbers.mean()) / (numbers.std() or 1.0)).astype(np.float32)
    n_left = 1 + int(np.count_nonzero(scaled[1:] != scaled[:-1]))
    return f"{n_left:,} of {n_distinct:,} different ones are left when they are scaled" if n_left < n_distinct else ""


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
    n_distinct = len(np.unique(days[np.isfinite(days)]))
    return replace(column, kind="date", why=what, n_distinct=n_distinct, is_double=needs_double(days))


def _of_texts(column: Column, cells: Texts, comma: bool) -> Column:
    column = replace(column, n_distinct=len(cells.different))
    if cells.stated == "categorical":
        return _of_names(column, cells, "categories")
    readable = cells.to_read()
    some = readable.different[~readable.are_words]
    truths = _truths(cells, some)
    if truths is not None:
        return _as_boolean(column, cells, truths)
    if _are_codes(some):
        which = "with leading zeros" if some.str.match(r"0\d").any() else "of so many digits"
        return _of_names(column, cells, f"whole numbers {which}: codes")
    form = number_form(some, comma=comma)
    if form is not None:
        return _written(column, readable, "numeric", form, comma=comma)
    form = date_form(some)
    if form is not None:
        return _written(column, readable, "date", form)
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
    """Whether texts are digits, some of which start with a zero or are more than a float tells apart: codes."""
    are_digits = bool(texts.str.fullmatch(r"[+-]?\d+").mean() > 0.95)
    return are_digits and bool(texts.str.match(r"0\d|[+-]?\d{16}").any())


def _as_boolean(column: Column, cells: Texts, truths: tuple[str, str]) -> Column:
    column = replace(column, categories=truths, form="")
    values = typed(replace(column, kind="boolean"), cells)
    present = np.unique(values[~np.isnan(values)])
    n_missing = int(np.isnan(values).sum())
    why = f"{truths[0]} and {truths[1]}" + _missing_words([*cells.taken, *cells.different[cells.are_words]])
    return replace(column, kind="boolean", why=why, n_distinct=len(present), n_missing=n_missing)


def _written(column: Column, cells: Texts, kind: str, form: str, *, comma: bool = False) -> Column:
    """Return a column of texts that are numbers or dates, with what else is in it counted as missing."""
    values = (read_numbers if kind == "numeric" else read_days)(cells.different, form)
    usual = cells.are_words
    others = (*column.missing_texts, *cells.different[np.isnan(values) & ~usual])  # those found among numbers first
    numbers = cells.spread(values, np.nan)
    words = [*cells.taken, *cells.different[np.isnan(values) & usual]]
    read = cells.different[~np.isnan(values)]
    if kind == "numeric":
        said, asks = _number_words(read, form, comma=comma)
    else:
        said, asks = _date_words(read, form, values[~np.isnan(values)])
    n_missing = int(np.isnan(numbers).sum())
    column = replace(column, form=form, missing_texts=others, n_missing=n_missing, asks=asks)
    found = (_of_numbers if kind == "numeric" else _of_dates)(column, numbers, said)
    is_said = kind == "numeric" and found.kind == "date"  # of numbers that are dates
    return replace(found, why=found.why + _missing_words(words) + ("" if is_said else _counted_as_missing(others)))


def _counted_as_missing(words: Sequence[str]) -> str:
    return f"; what is none counts as missing: {_some(words)}" if words else ""


def _some(words: Sequence[str]) -> str:
    """Return the first few words as a line shows them."""
    return ", ".join(repr(word[:_MAX_EXAMPLE]) for word in words[:3]) + (", …" if len(words) > 3 else "")


def _missing_words(words: Sequence[str]) -> str:
    return f"; missing: {', '.join(map(repr, words))}" if words else ""


def _number_words(texts: pd.Series[str], form: str, *, comma: bool) -> tuple[str, tuple[str, ...]]:
    """Return how numbers are written, and what that asks."""
    if not form:
        return "numbers", ()
    if form == CLOCK:
        return "times of day, as hours", ()
    decimal, thousands, unit = form[0], form[1], form[2:]
    of_unit = f" in {unit}" if unit else ""
    if not texts.str.contains(f"[{re.escape(form[:2])}]").any():
        return f"numbers{of_unit}", ()
    written = f"numbers{of_unit} written 1{thousands}234{decimal}5"
    # What settles it: a decimal mark, or two marks between thousands in one cell.
    settled = texts.str.contains(rf"{re.escape(decimal)}|{re.escape(thousands)}.*{re.escape(thousands)}").any()
    if settled or comma or thousands not in ".,":
        return written, ()
    mark = "comma" if thousands == "," else "point"
    return f"{written} (the {mark} could be a decimal one: no cell tells; say 'decimal {mark}' if it is)", ("form",)


def _date_words(texts: pd.Series[str], form: str, days: NDArray[np.float64]) -> tuple[str, tuple[str, ...]]:
    """Return how dates are written, and what that asks; ``days`` are what they were read as."""
    said, asks = _order_words(texts, form)
    if "%y" not in form or not len(days):
        return said, asks
    first, last = (int(str(day.astype("M8[Y]"))) for day in np.array([days.min(), days.max()]).astype("M8[D]"))
    said = f"{said}, years of two digits: {first} to {last}"
    # A birth in 52 is read as one in 2052.
    return (f"{said} (write four digits if that is wrong)", ("form",)) if first < _CENTURY <= last else (said, asks)


def _order_words(texts: pd.Series[str], form: str) -> tuple[str, tuple[str, ...]]:
    other = other_order(form)
    if other and is_readable(read_days(texts, other)):
        first = "month" if form.startswith("%d") else "day"
        or_so = f"({_spelt(other)} would do too: no cell tells; say '{first} first' if so)"
        return f"dates read as {_spelt(form)} {or_so}", ("form",)
    return f"dates written {_spelt(form)}", ()


def _spelt(form: str) -> str:
    known = {
        "ISO8601": "year-month-day", "%Y%m%d": "year, month and day in eight digits",
        QUARTERS: "year and quarter", YEARS: "years and parts of a year",
    }  # fmt: skip
    words = {
        "%d": "day", "%m": "month", "%Y": "year", "%y": "year", "%b": "month", "%B": "month",
        "%H": "hour", "%I": "hour", "%M": "minute", "%S": "second", "%f": "fraction", "%p": "am or pm",
        "%z": "offset",
    }  # fmt: skip
    return known.get(form) or re.sub("%[a-zA-Z]", lambda hit: words[hit[0]], form)


def _of_names(column: Column, cells: Texts, what: str) -> Column:
    n_present = len(cells.missing) - column.n_missing
    is_free = column.n_distinct > max(_FREE_TEXT, n_present / 2) and cells.stated != "categorical"
    is_prose = cells.different.head(_FIRST).str.count(r"\s+").mean() >= _BLANKS
    its_words = "say text to learn from its words" if is_prose else ""
    words = _words_among_numbers(cells) if is_free or column.n_distinct == n_present else ""
    if words:
        return replace(column, why=words, asks=("words",))
    if column.n_distinct == n_present > 1:
        which = "free text" if its_words else "an identifier or free text"
        return asking(replace(column, why=f"{what}, another in every row: {which}"), "text", its_words)
    if is_free:
        why = f"{what}, {column.n_distinct:,} different ones: too many to learn from"
        return asking(replace(column, why=why), "text", its_words)
    found = replace(column, kind="categorical", why=what, categories=tuple(sorted(cells.different)))
    return asking(found, "missing", taken_for_missing(cells).removeprefix("; "))


def taken_for_missing(cells: Cells) -> str:
    """Return what to say of texts that were taken for missing and may be names: NA is Namibia, too; usually nothing."""
    taken = cells.taken if isinstance(cells, Texts) else ()
    if not taken:
        return ""
    assert isinstance(cells, Texts)
    n_cells = int(np.count_nonzero(cells.codes < -1))
    words = ", ".join(map(repr, taken))
    return f"; {n_cells:,} cells count as missing for what they say: {words} (if that is a name, say '{WITH_NA}')"


def _words_among_numbers(cells: Texts) -> str:
    """Return what to ask where most of the different texts are numbers and too many others are not; else nothing."""
    texts = cells.different
    if _are_codes(texts):
        return ""
    form = likeliest_form(texts.head(_FIRST), comma=False)
    if np.isfinite(read_numbers(texts.head(_FIRST), form)).mean() < _MOSTLY / 2:  # to read all takes long
        return ""
    read = np.isfinite(read_numbers(texts, form))
    if read.mean() < _MOSTLY:
        return ""
    return (
        f"numbers in {np.count_nonzero(read):,} of {len(texts):,} different cells, and words: "
        f"{_some(texts[~read].tolist())}; left out. "
        "Say numeric if these count as missing, or categorical"
    )


def _stated(column: Column, cells: Cells, kind: str, comma: bool) -> Column:
    """Return a column of the kind that the user says."""
    if kind == WITH_NA:
        texts = cells.as_texts().with_na()
        n_missing, categories = int(np.count_nonzero(texts.missing)), tuple(sorted(texts.different))
        return replace(
            column, kind="categorical", why="as you say", form=WITH_NA, categories=categories, n_missing=n_missing,
            n_distinct=len(categories),
        )  # fmt: skip
    if kind in STATED_FORMS:
        kind, forms = STATED_FORMS[kind]
        if isinstance(cells, Texts):
            found = _stated_of_texts(replace(column, kind=kind), cells, False, forms)
        else:
            found = replace(_stated(column, cells, kind, False), why="as you say; the file has types of its own")
        return found
    column = replace(column, kind=kind, why="as you say")
    if kind == "text":
        texts = cells.as_texts()
        if not (isinstance(cells, Texts) and texts.different.str.contains(r"[^\W\d_]{2}").any()):
            raise ValueError(
                f"column {column.name!r} must have words to be text, got {', '.join(column.examples) or 'no value'}"
            )
        return asking(replace(column, n_distinct=len(texts.different)), "text", "its words become features")
    if kind == "categorical":
        categories = tuple(sorted(cells.as_texts().different))
        return replace(column, categories=categories, n_distinct=len(categories))
    found = guess(column.name, cells, comma=comma)
    if found.kind == kind:
        return replace(found, why=f"as you say; {found.why}")
    if isinstance(cells, Texts):
        column = _stated_of_texts(column, cells, comma)
    elif kind == "boolean":
        column = replace(column, categories=("0", "1"))
    values = typed(replace(column, is_double=True), cells)
    assert isinstance(values, np.ndarray)
    present = values[~np.isnan(values)]
    return replace(
        column, n_missing=len(values) - len(present), n_distinct=len(np.unique(present)), is_double=needs_double(values)
    )


def _stated_of_texts(column: Column, cells: Texts, comma: bool, forms: Sequence[str] = ()) -> Column:
    """Return a column whose kind the user says, and perhaps its decimal mark, or the order of day and month."""
    cells = cells.to_read()
    some = cells.different[~cells.are_words]
    form: str | None
    if forms:
        read = read_numbers if column.kind == "numeric" else read_days
        if column.kind == "date":
            forms = [form for form in date_forms() if form.startswith(tuple(forms))]
        form = max(forms, key=lambda form: int(np.isfinite(read(some, form)).sum()))
    elif column.kind == "boolean":
        words = sorted(set(some.str.lower()))
        if len(words) != 2:
            raise ValueError(f"column {column.name!r} must have two different values to be boolean, got {len(words)}")
        return replace(column, categories=tuple(words))
    else:
        form = number_form(some, comma=comma) if column.kind == "numeric" else date_form(some)
    if form is None and column.kind == "numeric" and _words_among_numbers(cells):  # which asked for this
        form = likeliest_form(some, comma=comma)
    if form is None:  # typed() will name the first cell that is none
        return replace(column, form="" if column.kind == "numeric" else "ISO8601")
    found = _written(column, cells, column.kind, form, comma=comma)
    return replace(found, kind=column.kind, why="as you say" + _counted_as_missing(found.missing_texts), asks=())


def _examples(cells: Cells) -> tuple[str, ...]:
    """Return the first few different values as text."""
    present = np.flatnonzero(~cells.missing)
    first = np.append(present[:200], present[200 :: max(1, len(present) // 200)])  # a sorted file begins with one value
    if isinstance(cells, Texts):
        found = [str(cells.different.iloc[code]) for code in dict.fromkeys(cells.codes[first].tolist())]
    elif isinstance(cells, Numbers):
        found = [
            f"{number:.{6 if abs(number) < 1e6 else 12}g}" for number in dict.fromkeys(cells.values[first].tolist())
        ]
    else:
        found = list(Days(cells.values[first]).as_texts().different)
    return tuple(text if len(text) <= _MAX_EXAMPLE else text[: _MAX_EXAMPLE - 1] + "…" for text in found[:_N_EXAMPLES])


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


def leaks_of(columns: Sequence[Column]) -> list[tuple[str, str, bool]]:
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
