"""Cells of a table: how values are written in a column, and reading them as the values of a column that is known.

A form is found once, over the whole column, and kept with it. Training data and data to predict go through the same
:func:`typed`, so that they cannot be understood in two ways. What a column is in the first place is found in
``guess``. This file travels inside the served model, and imports no other of the project than those that do.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import WITH_NA, suggestion
from ..records import Column

#: Texts, in small letters, that stand for a missing value in any column.
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "<na>", "nat", "null", "?"})
#: Those that do where the others are numbers, dates or truth values; among names they may be names.
MISSING_AMONG_VALUES = frozenset({"-", "--", ".", "none", "missing", "unknown"})
#: How no and yes are written, in small letters.
TRUTHS = (
    ("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("nein", "ja"), ("n", "j"), ("falsch", "wahr"),
    ("non", "oui"), ("no", "si"), ("no", "sí"), ("off", "on"), ("0", "1"),
)  # fmt: skip
#: Numbers beyond are taken for infinite: float32 ends at 3.4e38, and what is fitted adds some up.
LARGEST = 1e37
#: Decimal mark and mark between thousands; the first that reads most of a column is taken.
_NUMBER_FORMS = ("", ".,", ",.", ", ", ". ", ".'", ",'")
DECIMAL_COMMA = ",."
#: Numbers whose comma cannot stand between thousands.
_BOTH_MARKS = r"[+-]?\d{1,3}(\.\d{3})+,\d+"
_SURELY_COMMA = rf"{_BOTH_MARKS}|[+-]?(\d*,(\d{{1,2}}|\d{{4,}})|(0?|\d{{4,}}),\d+)"
#: Numbers with a point that may stand between thousands.
_LIKE_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}\.\d{3}")
#: Times of day, 13:30 or 1:30 pm, which are numbers of hours.
CLOCK = "hh:mm"
_CLOCK = r"^(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?\s*(?:([AaPp])\.?[Mm]\.?)?$"
#: Numbers as texts have them that are no codes.
_PLAIN = r"[+-]?(?:0|[1-9]\d*)(?:\.\d+)?"
#: Up to here float32 holds every whole number.
_WHOLE_IN_FLOAT32 = 2**24
_DAYS = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%Y{0}%m{0}%d", "%d{0}%m{0}%y", "%m{0}%d{0}%y")
_MONTHS = ("%Y-%m", "%m/%Y", "%Y/%m", "%m-%Y")
#: Once weekdays, commas, points, hyphens and the ends of 1st and 2nd are gone, which people set as they like.
_NAMED_MONTHS = (
    "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%Y %b %d", "%Y %B %d", "%d %b %y", "%d%b%Y", "%d%b%y",
    "%b %Y", "%B %Y", "%Y %b",
)  # fmt: skip
#: As ``date`` and the Internet's protocols write moments, the weekday gone.
_MOMENTS = ("%b %d %H:%M:%S %Y", "%b %d %H:%M:%S %z %Y", "%d %b %Y %H:%M:%S %z")
_WEEKDAY = r"^(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\b[., ]*"
_BETWEEN = r"(?<=\d)(?:st|nd|rd|th)\b|[.,](?=\s|$)|(?<=[A-Za-z])[.,/-](?=\d)|(?<=\d)[.,/-](?=[A-Za-z])|,(?=\d{4}\b)"
#: Dates as 2016Q3, and as 2016.5 where the column's name speaks of time.
QUARTERS, YEARS = "quarters", "years"
_CURRENCY = r"(?:[€$£¥₹₽₩]|USD|EUR|GBP|CHF|JPY|INR)"
_SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}
_WITH_UNIT = r"^[^A-Za-z]*\d[.,]?\s*([A-Za-z\u00b5\u03bc\u00b0][^\d\s]{0,9}[\u00b2\u00b3]?)$"
#: Up to here float64 holds every whole number.
WHOLE_IN_FLOAT64 = 2**53
#: A part of the spread of numbers that no network can see: float32 itself has steps of 2**-23.
_UNSEEN = 2.0**-20
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_N_SAMPLE = 1_000
_N_BLOCK = 2**14
#: Share of the different texts of a column that have to be readable for it to be numbers or dates, and how many of
#: them may be something else: a few dirty cells make no column of names.
_READABLE = 0.95
_N_OTHERS = 20
_MICROSECONDS_A_DAY = 86_400_000_000
_N_SHOWN = 60
_N_LISTED = 20
_EXPECTED = {"numeric": "a number", "boolean": "no or yes", "date": "a date"}


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """Cells that the file itself has as numbers, ``(n,)``; NaN, and what is beyond :data:`LARGEST`, are missing."""

    values: NDArray[Any]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which cells have no value, ``(n,)``."""
        if self.values.dtype.kind != "f":
            return np.zeros(len(self.values), bool)
        return np.asarray(~(np.abs(self.values) <= LARGEST))

    def as_texts(self) -> Texts:
        """Return the numbers as they would be written, whole ones without a decimal mark.

        With the fewest digits that tell them apart in their own type: 1.3 in float32 is 1.2999999523162842 in float64.
        """
        codes, values = pd.factorize(np.where(self.missing, np.nan, self.values))
        written = [str(int(value)) if value == int(value) else str(value) for value in values]
        return Texts(pd.Series(written, dtype="str"), codes.astype(np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """Cells that the file itself has as dates: days since 1970, ``(n,)`` float64, NaN where missing."""

    values: NDArray[np.float64]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which cells have no value, ``(n,)``."""
        return np.isnan(self.values)

    def as_texts(self) -> Texts:
        """Return the dates in ISO form."""
        since = np.where(self.missing, np.nan, self.values) * _MICROSECONDS_A_DAY
        with np.errstate(invalid="ignore"):
            dates = np.datetime64(0, "us") + np.where(self.missing, np.timedelta64("NaT"), since.astype("m8[us]"))
        return _texts(pd.Series(np.datetime_as_string(dates, unit="D"), dtype="str"))


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Cells that are texts: the different ones, and of each cell the position of its own, int64, below 0 where missing.

    Attributes
    ----------
    stated
        ``boolean`` or ``categorical`` where the type of the column says so.
    taken
        Different texts that were taken for missing: a cell of the first has the code -2, of the second -3.
    numbers
        Different texts that came as numbers, with a point that in a text could stand between thousands.
    """

    different: pd.Series[str]
    codes: NDArray[np.int64]
    stated: str = ""
    taken: tuple[str, ...] = ()
    numbers: frozenset[str] = frozenset()

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which cells have no value, ``(n,)``."""
        return self.codes < 0

    @property
    def are_words(self) -> NDArray[np.bool_]:
        """Which different texts stand for a missing value where the others are numbers, dates or truth values."""
        return self.different.str.lower().isin(MISSING_AMONG_VALUES).to_numpy(dtype=bool)

    def as_texts(self) -> Texts:
        """Return the cells themselves."""
        return self

    def spread(self, values: NDArray[Any], missing: Any) -> NDArray[Any]:
        """Return for each cell the value of its text, of one value a different text."""
        return np.append(values, missing)[np.maximum(self.codes, -1)]

    def with_na(self) -> Texts:
        """Return the cells with those as texts again that were taken for missing for how they are written."""
        n = len(self.different)
        codes = np.where(self.codes < -1, n - 2 - self.codes, self.codes)
        return replace(self, different=pd.Series([*self.different, *self.taken], dtype="str"), codes=codes, taken=())

    def to_read(self) -> Texts:
        """Return the cells to be read as numbers: what came as 1.234 as 1.2340, whose point is surely a decimal one."""
        known = self.different.isin(self.numbers)
        return replace(self, different=self.different.where(~known, self.different + "0")) if self.numbers else self

    def without(self, dropped: NDArray[np.bool_]) -> Texts:
        """Return the cells with some of the different texts counted as missing."""
        if not dropped.any():
            return self
        taken = [str(text) for text in self.different[dropped] if text]
        positions = np.where(dropped, -1, np.cumsum(~dropped) - 1)
        positions[dropped & self.different.ne("").to_numpy(dtype=bool)] = -2 - np.arange(len(taken))
        kept = self.different[~dropped].reset_index(drop=True)
        return replace(self, different=kept, codes=self.spread(positions, -1), taken=tuple(taken))


class CellError(ValueError):
    """A cell that cannot be read, in words before and behind the number of its row.

    ``position``, from 0, counts the rows that were given; whoever left some out knows which row of the file it is.
    """

    def __init__(self, before: str, position: int, behind: str = "") -> None:
        super().__init__(before, position, behind)
        self.before, self.position, self.behind = before, position, behind

    def __str__(self) -> str:
        """Return the one line."""
        return f"{self.before}row {self.position + 1:,}{self.behind}"


_Reader: TypeAlias = "Callable[[pd.Series[str], str], NDArray[np.float64]]"
Cells: TypeAlias = Numbers | Days | Texts
Floats: TypeAlias = "NDArray[np.float32] | NDArray[np.float64]"
#: A typed column: float32 (float64 where the column needs it) with NaN where missing, or pandas categories of text.
Values: TypeAlias = "Floats | pd.Categorical"


def different(cells: Cells) -> tuple[NDArray[np.int64], Cells]:
    """Return the position of each cell among the different ones, -1 where missing, and those."""
    if isinstance(cells, Texts):
        return np.maximum(cells.codes, -1), replace(cells, codes=np.arange(len(cells.different)))
    codes, values = pd.factorize(np.where(cells.missing, np.nan, cells.values))
    return codes.astype(np.int64), type(cells)(values)


def cells_of(column: pd.Series[Any]) -> Cells:
    """Return the cells of a column of any type, nothing yet guessed: texts stripped, the missing ones marked."""
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()  # type: ignore[attr-defined]
    dtype = column.dtype
    if isinstance(dtype, (pd.CategoricalDtype, pd.ArrowDtype)):
        coded = _coded(column)
        if coded is not None:
            return coded
    if pd.api.types.is_bool_dtype(dtype):
        codes = np.asarray(column.astype("Int8").fillna(-1), dtype=np.int64)
        return Texts(pd.Series(["false", "true"], dtype="str"), codes, "boolean")
    if pd.api.types.is_integer_dtype(dtype) and _is_beyond_double(column):
        return _texts(column.astype(object))
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        is_plain = isinstance(dtype, np.dtype) and dtype != np.float16
        wide = np.float32 if getattr(dtype, "numpy_dtype", None) == np.float32 else np.float64
        return Numbers(column.to_numpy() if is_plain else column.to_numpy(dtype=wide, na_value=np.nan))
    if isinstance(dtype, pd.PeriodDtype) or pd.api.types.is_datetime64_any_dtype(dtype):
        dates = column.dt.to_timestamp() if isinstance(dtype, pd.PeriodDtype) else column
        return Days(_days(pd.to_datetime(dates, utc=True)))
    return _texts(column)


def typed(column: Column, cells: Cells) -> Values:
    """Return the cells of a column as it has them: floats with NaN where missing, or categories of text.

    Raises
    ------
    CellError
        When a cell cannot be read; names the column, the row (from 1) and the cell.
    """
    if column.kind == "text":
        return _categorical(cells.as_texts())
    if column.kind == "categorical":
        texts = cells.as_texts()
        texts = texts.with_na() if column.form == WITH_NA else texts.without(_words_among(texts, column.categories))
        return _categorical(_as_known(cells, texts, column.categories))
    if isinstance(cells, Texts):
        return _read(column, cells)
    if isinstance(cells, Days) and column.kind == "date":
        return _as_floats(column, cells.values)
    is_written = column.form if column.kind == "date" else column.kind == "boolean" and column.categories != ("0", "1")
    if isinstance(cells, Numbers) and is_written:
        return _read(column, cells.as_texts())
    wrong = ~cells.missing
    if isinstance(cells, Numbers) and column.kind != "date":
        wrong &= (column.kind == "boolean") & ~np.isin(cells.values, (0, 1))
    _complain(column, cells, wrong)
    return _as_floats(column, cells.values)


def _words_among(texts: Texts, categories: Sequence[str]) -> NDArray[np.bool_]:
    """Return which texts stand for a missing value where all categories are numbers, none of them one of those."""
    words = texts.are_words & ~texts.different.isin(categories).to_numpy(dtype=bool)
    if not words.any() or np.isfinite(read_numbers(pd.Series(categories, dtype="str"), "")).all():
        return words
    return np.zeros(len(words), bool)


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
    # As a file's are read: texts, in Parquet also those of a DataFrame without names, and no blanks around them.
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis=1)
    missing = [column.name for column in wanted if column.name not in frame.columns]
    if missing:
        absent = ", ".join(map(repr, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        there = list(frame.columns)
        raise ValueError(
            f"{where} must have the columns of the training data, {absent} missing{suggestion(missing[0], there)} "
            f"(columns: {listed(there)})"
        )
    twice = sorted(set(frame.columns[frame.columns.duplicated()]) & {column.name for column in wanted})
    if twice:
        raise ValueError(f"column {twice[0]!r} of {where} must be there once, got it twice")
    values: dict[str, Values] = {}
    for column in wanted:
        values[column.name] = typed(column, cells_of(frame[column.name]))
    return pd.DataFrame(values, index=range(len(frame)), copy=False)


def listed(names: Sequence[str]) -> str:
    """Return names with commas between them, at most twenty, then how many there are."""
    return ", ".join(names[:_N_LISTED]) + (f", … ({len(names):,} in all)" if len(names) > _N_LISTED else "")


def _by_block(read: _Reader) -> _Reader:
    """Read texts a block at a time: every step of it makes a copy, and a whole column's would be too many."""

    @functools.wraps(read)
    def read_blocks(texts: pd.Series[str], form: str) -> NDArray[np.float64]:
        starts = range(0, max(1, len(texts)), _N_BLOCK)
        return np.concatenate([read(texts.iloc[start : start + _N_BLOCK], form) for start in starts])

    return read_blocks


@_by_block
def read_numbers(texts: pd.Series[str], form: str) -> NDArray[np.float64]:
    """Return the numbers that texts hold, ``(n,)``, NaN where a text is none in that form."""
    if not form:
        return np.asarray(pd.to_numeric(texts, errors="coerce"), dtype=np.float64)
    if form == CLOCK:
        return _hours(texts)
    decimal, thousands = re.escape(form[0]), re.escape(form[1])
    plain, factors = _bare_of(texts, form[2:])
    # Between thousands stand three digits, or two as in India, and no number of thousands begins with a zero.
    whole = rf"[1-9]\d{{0,2}}({thousands}\d{{2,3}})*{thousands}\d{{3}}|\d+"
    fits = plain.str.fullmatch(rf"[+-]?({whole})?({decimal}\d*)?([eE][+-]?\d+)?")
    bare = plain.str.replace(form[1], "", regex=False).str.replace(form[0], ".", regex=False)
    return np.asarray(pd.to_numeric(bare.where(fits), errors="coerce"), dtype=np.float64) * factors


def _hours(texts: pd.Series[str]) -> NDArray[np.float64]:
    """Return the hours since midnight that times of day are, 13.5 for 13:30."""
    parts = texts.str.extract(_CLOCK)
    hours = parts[0].astype("float64")
    half = parts[3].str.lower()
    hours = hours.where(half.isna(), hours % 12 + 12 * half.eq("p"))
    hours += parts[1].astype("float64") / 60 + parts[2].astype("float64").fillna(0) / 3600
    return np.asarray(hours, dtype=np.float64)


def _bare_of(texts: pd.Series[str], unit: str) -> tuple[pd.Series[str], NDArray[np.float64]]:
    """Return numbers as they stand without blanks of print, currency, percent and unit, and what to multiply them by.

    ``(17.50)`` is how accountants write -17.50; ``1.5k`` is 1,500.
    """
    plain = texts.str.replace("[\u00a0\u202f\u2009]", " ", regex=True).str.replace("\u2212", "-", regex=False)
    plain = plain.str.replace(r"^\(([^-].*)\)$", r"-\1", regex=True)
    plain = plain.str.replace(rf"^([+-]?)\s*{_CURRENCY}\s*([+-]?)", r"\1\2", regex=True)
    plain = plain.str.replace(rf"\s*({_CURRENCY}|%)$", "", regex=True)
    if unit:
        plain = plain.str.removesuffix(unit).str.rstrip()
    scales = plain.str.extract(r"\d\s?([kKMB])$", expand=False)
    factors = np.asarray(scales.map(_SCALES).fillna(1.0), dtype=np.float64)
    return plain.where(scales.isna(), plain.str.replace(r"\s?[kKMB]$", "", regex=True)), factors


def _unit_of(texts: pd.Series[str]) -> str:
    """Return the unit that nearly all of some texts have behind their number, ``kg``; nothing where there is none."""
    units = texts.str.extract(_WITH_UNIT, expand=False)
    counted = units.value_counts()
    if counted.empty or counted.iloc[0] < _READABLE * len(texts):
        return ""
    unit = str(counted.index[0])
    return "" if unit in _SCALES or re.fullmatch(_CURRENCY, unit) else unit


@_by_block
def read_days(texts: pd.Series[str], form: str) -> NDArray[np.float64]:
    """Return the days since 1970 that texts hold, ``(n,)``, NaN where a text is no date of that form."""
    if form == QUARTERS:
        found = texts.str.extract(r"^(?:(\d{4})[ \-/]?Q([1-4])|Q([1-4])[ \-/]?(\d{4}))$", flags=re.IGNORECASE)
        months = found[1].fillna(found[2]).astype("float64") * 3 - 2
        firsts = found[0].fillna(found[3]).where(months.notna()) + "-" + months.map("{:02.0f}".format) + "-01"
        return _days(pd.to_datetime(firsts, format="%Y-%m-%d", errors="coerce", utc=True))
    if form == YEARS:
        years = read_numbers(texts, "")
        firsts = pd.Series(np.floor(years)).map("{:04.0f}-01-01".format)
        begun = pd.to_datetime(firsts, format="%Y-%m-%d", errors="coerce", utc=True)
        return _days(begun) + (years - np.floor(years)) * 365.25
    if "%b" in form or "%B" in form:
        bare = texts.str.replace(_WEEKDAY, "", regex=True, flags=re.IGNORECASE)
        texts = bare.str.replace(_BETWEEN, " ", regex=True).str.replace(r"\s+", " ", regex=True).str.strip()
    dates = pd.to_datetime(texts, format=form, errors="coerce", utc=True)
    if form == "ISO8601":  # which would take 2024 alone, or 20240131, as well
        dates = dates.where(texts.str.match(r"\d{4}-\d\d?-\d\d?"))
    return _days(dates)


def narrow(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as float32, if that keeps whole ones as they are and all of them apart, else as float64.

    Seconds since 1970, Julian days and coordinates in metres differ in digits that float32 does not have.
    """
    if numbers.dtype == np.float32:
        return numbers
    with np.errstate(invalid="ignore", over="ignore"):
        narrowed = numbers.astype(np.float32)
        moved = np.fmax.reduce(np.abs(numbers - narrowed), initial=0.0, where=np.abs(numbers) <= LARGEST)
    if moved == 0:
        return narrowed
    present = numbers[np.abs(numbers) <= LARGEST]
    is_double = merged(moved, present.min(), present.max())
    return numbers.astype(np.float64, copy=False) if is_double else narrowed


def merged(moved: Any, low: Any, high: Any) -> Any:
    """Whether float32 makes several of some numbers one that lie between ``low`` and ``high``, by its largest step."""
    is_large = np.maximum(np.abs(low), np.abs(high)) > _WHOLE_IN_FLOAT32
    return (moved > 0) & (is_large | (moved > _UNSEEN * (high - low)))


def needs_double(numbers: NDArray[Any]) -> bool:
    """Whether float32 would make several of some numbers one."""
    return bool(narrow(numbers).dtype == np.float64)


def number_form(texts: pd.Series[str], *, comma: bool) -> str | None:
    """Return the form in which different texts are numbers, or None; ``comma``: 1.234 is more than a thousand here."""
    return _if_readable(likeliest_form(texts, comma=comma), texts, read_numbers)


def _if_readable(form: str, texts: pd.Series[str], read: _Reader) -> str | None:
    """Return a form that reads nearly all texts, else None; where a sample tells, the others are not read."""
    n_others = int(np.isnan(read(texts.iloc[:_N_SAMPLE], form)).sum())
    return form if n_others <= _N_OTHERS and is_readable(read(texts, form)) else None


def likeliest_form(texts: pd.Series[str], *, comma: bool) -> str:
    """Return the form in which most of a column's different texts are numbers, be they many or few."""
    unit = _unit_of(texts.iloc[:_N_SAMPLE])
    known = (DECIMAL_COMMA, *_NUMBER_FORMS) if comma else _NUMBER_FORMS
    return _best_form([*(form + unit for form in known if form or not unit), CLOCK], texts, read_numbers)


def _best_form(forms: Sequence[str], texts: pd.Series[str], read: _Reader) -> str:
    """Return the form that reads most of some texts, the first of several.

    Looked for in a sample, and where that one does not read every text, in all of them: the only cell that tells may be
    the last one. Where no form reads enough of the sample, none is that of the texts, and the others need not be read.
    """
    sample = texts.iloc[:_N_SAMPLE]

    def n_read(form: str, some: pd.Series[str]) -> int:
        return int(np.isfinite(read(some, form)).sum())

    form = max(forms, key=lambda form: n_read(form, sample))
    if len(texts) == len(sample) or n_read(form, sample) < len(sample) - _N_OTHERS or n_read(form, texts) == len(texts):
        return form
    return max(forms, key=lambda form: n_read(form, texts))


def date_form(texts: pd.Series[str]) -> str | None:
    """Return the form in which different texts are dates, or None; the day before the month where both would do."""
    first = texts.iloc[:20]
    if not first.str.contains(r"\d", regex=True).mean() > 1 / 2:
        return None
    has_names, has_clock = first.str.contains("[A-Za-z]{3}").any(), first.str.contains(":").any()
    possible = [
        form
        for form in date_forms()
        if (has_names or not re.search("%[bB]", form)) and (has_clock or not re.search("%[HI]", form))
    ]
    likely = [form for form in possible if np.isfinite(read_days(first, form)).mean() > 1 / 2]
    if not likely:
        return None
    return _if_readable(_best_form(likely, texts, read_days), texts, read_days)


def other_order(form: str) -> str:
    """Return the form with day and month the other way round; empty where it spells the month or starts with a year."""
    if not re.match("%d[/.-]%m|%m[/.-]%d", form):
        return ""
    return form[3:5] + form[2] + form[:2] + form[5:]


def proves_comma(column: pd.Series[Any]) -> bool:
    """Whether a column of a table is texts of numbers with a decimal comma beyond doubt.

    Some of its cells tell whether it is numbers, and all of them what the comma is: the only one that tells may be the
    last, and all before it missing. Beside a unit only ``1.234,5 kg`` does: ``0,5 mg`` may be what a label says, beside
    numbers that a program wrote.
    """
    if not (isinstance(column.dtype, pd.ArrowDtype) or column.dtype in (object, "str")):
        return False
    first = [column.iloc[np.flatnonzero(column.notna())[:_N_SAMPLE]]] if len(column) > _N_SAMPLE else []
    for part in (*first, column):
        cells = cells_of(part)
        if not isinstance(cells, Texts):
            return False
        texts = cells.different[~cells.are_words]
        sample = texts.iloc[:_N_SAMPLE]
        unit = _unit_of(sample)
        with_comma = texts[texts.str.match(r"[^(]*,")]  # (1,2) may be a pair
        surely = _BOTH_MARKS if unit else _SURELY_COMMA
        tells = bool(_bare_of(with_comma, unit)[0].str.fullmatch(surely).any())
        is_needed = tells or part is not column  # to read them takes longest
        if is_needed and len(texts) and not is_readable(read_numbers(sample, DECIMAL_COMMA + unit)):
            return False
        if tells:
            return True
    return False


def is_readable(values: NDArray[np.float64]) -> bool:
    """Whether nearly all of a column's different texts could be read."""
    n_read = int(np.count_nonzero(~np.isnan(values)))
    return n_read > 0 and n_read >= _READABLE * len(values) and len(values) - n_read <= _N_OTHERS


def _read(column: Column, cells: Texts) -> Floats:
    """Return texts as a numeric, boolean or date column has them."""
    texts = cells.to_read().different
    lower = texts.str.lower()
    if column.kind == "boolean":
        values = _truths_of(lower, *column.categories)
    elif column.kind == "date":
        # Programs write 20160131 with .0 in a column that has gaps.
        texts = texts.str.replace(r"^(\d{8})\.0+$", r"\1", regex=True)
        values = read_days(texts, column.form or "ISO8601")
        if np.isnan(values).any():
            values = np.where(np.isnan(values), read_days(texts, "ISO8601"), values)
    else:
        values = read_numbers(texts, column.form)
    unread = np.isnan(values)
    if unread.any():
        means_missing = lower.isin(MISSING_AMONG_VALUES) | texts.isin(column.missing_texts)
        plain = read_numbers(texts, "")  # as where a number comes as a number
        is_plain = np.isfinite(plain) & ~means_missing.to_numpy(dtype=bool)
        if column.form == CLOCK:  # 13.30 is half past one in some places, and 13.3 hours in others
            is_plain &= ~texts.str.contains(".", regex=False).to_numpy(dtype=bool)
        if column.kind == "numeric" and (unread & is_plain).any():
            # 12.50 where commas are decimal can be read in one way only, and tells that 1.125 is no thousand either,
            # unless commas stand beside it.
            has_commas = bool(texts.str.contains(",", regex=False).any())
            values = np.where(is_plain & (unread | (not has_commas)), plain, values)
            unread = np.isnan(values)
        means_missing |= np.abs(plain) > LARGEST
        _complain(column, cells, cells.spread(unread & ~means_missing.to_numpy(dtype=bool), False))
    return _as_floats(column, cells.spread(values, np.nan))


def _truths_of(texts: pd.Series[str], no: str, yes: str) -> NDArray[np.float64]:
    """Return 0 and 1 for a column's own two words, and for false and true, 0 and 1, unless its own say otherwise."""
    values = np.full(len(texts), np.nan)
    if no not in ("1", "true") and yes not in ("0", "false"):
        numbers = read_numbers(texts, "")
        values[(texts == "false") | (numbers == 0)] = 0.0
        values[(texts == "true") | (numbers == 1)] = 1.0
    values[texts == no] = 0.0
    values[texts == yes] = 1.0
    return values


def _complain(column: Column, cells: Cells, wrong: NDArray[np.bool_]) -> None:
    if not wrong.any():
        return
    row = int(np.flatnonzero(wrong)[0])
    n_more = int(np.count_nonzero(wrong)) - 1
    texts = cells.as_texts()
    got = str(texts.different.iloc[int(texts.codes[row])])
    got = got if len(got) <= _N_SHOWN else f"{got[:_N_SHOWN]}…"
    more = f" (and {n_more:,} more such cells)" if n_more else ""
    raise CellError(
        "", row, f" of {column.kind} column {column.name!r} must be {_EXPECTED[column.kind]}, got {got!r}{more}"
    )


def _as_floats(column: Column, numbers: NDArray[Any]) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        values: Floats = numbers.astype(np.float64) if column.is_double else numbers.astype(np.float32)
        values[~(np.abs(values) <= LARGEST)] = np.nan
    return values


def _as_known(cells: Cells, written: Texts, categories: Sequence[str]) -> Texts:
    """Return cells as the known category is written that has their value as a number, where there is exactly one.

    Whoever reads rows by pandas has ``01234`` read as 1234, and ``1.50`` as 1.5, before they get here.
    Fractions are the same, too, where they are in float32: a file's may have been read as those, and lost digits. Of
    texts, which nobody has read as numbers, ``1.50`` alone may be such a category, and only where all are numbers.
    A truth value is written by each program in its own way: ``true`` of JSON is the category ``True`` of a CSV.
    """
    new = ~written.different.isin(categories).to_numpy(dtype=bool)
    if not new.any():  # as in the data that the categories are of
        return written
    known = written.different.tolist()
    truths = np.flatnonzero(new & written.different.str.lower().isin(TRUTHS[0]).to_numpy(dtype=bool))
    values = read_numbers(pd.Series(categories, dtype="str"), "")
    if not isinstance(cells, Numbers):
        new &= written.different.str.fullmatch(_PLAIN).to_numpy(dtype=bool) & bool(np.isfinite(values).all())
    by_value: dict[float | tuple[float], list[str]] = {}
    for category, value in zip(categories, values, strict=True):
        for key in _number_keys(value):
            by_value.setdefault(key, []).append(category)
    for position, value in zip(np.flatnonzero(new), read_numbers(written.different[new], ""), strict=True):
        found = [by_value[key] for key in _number_keys(value) if len(by_value.get(key, ())) == 1]
        known[position] = found[0][0] if found else known[position]
    for position in truths:
        alike = [category for category in categories if category.lower() == known[position].lower()]
        known[position] = alike[0] if len(alike) == 1 else known[position]
    # Several may have become one category.
    codes, different = pd.factorize(np.array(known, dtype=object))
    return Texts(pd.Series(different, dtype="str"), written.spread(codes, -1))


def _number_keys(value: float) -> Iterator[float | tuple[float]]:
    """Yield what a number is known by: its value; of a fraction also that in float32. Nothing for what is no number."""
    if np.isfinite(value):
        yield float(value)
    if np.isfinite(value) and value != np.floor(value):
        yield (float(np.float32(value)),)


def _categorical(cells: Texts) -> pd.Categorical:
    # By code point, as Python sorts, so that the order is the same on every machine.
    texts = [str(text) for text in cells.different]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    ranks = np.empty(len(texts), np.int64)
    ranks[order] = np.arange(len(texts))
    categories = pd.Index([texts[position] for position in order], dtype="str")
    return pd.Categorical.from_codes(cells.spread(ranks, -1), categories=categories)


def date_forms() -> Iterator[str]:
    """Yield the forms in which dates are looked for, the likeliest first."""
    yield "ISO8601"
    for day in (*(form.format(mark) for form in _DAYS for mark in "/.-"), *_MONTHS, *_NAMED_MONTHS):
        yield from (day + time for time in _TIMES)
    yield from _MOMENTS
    yield QUARTERS


def _texts(column: pd.Series[Any]) -> Texts:
    numbers: frozenset[str] = frozenset()
    if column.dtype == object:
        others = (str(cell) for cell in column if not isinstance(cell, str))
        numbers = frozenset(filter(_LIKE_THOUSANDS.fullmatch, others))
        column = column.map(str, na_action="ignore")
    codes, found = pd.factorize(column.astype("str").str.strip())
    return _marked(Texts(pd.Series(found, dtype="str"), codes.astype(np.int64), numbers=numbers))


def _is_beyond_double(column: pd.Series[Any]) -> bool:
    """Whether whole numbers are so large that a float would make several of them one: identifiers, then."""
    if column.dtype.itemsize < 8 or not len(column):  # type: ignore[union-attr]
        return False
    ends = (column.min(), column.max())
    return any(not pd.isna(end) and abs(int(end)) > WHOLE_IN_FLOAT64 for end in ends)


def _coded(column: pd.Series[Any]) -> Texts | None:
    """Return cells that are kept as positions among some values, without those that no cell has; None for others."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        values, positions, stated = column.cat.categories, column.cat.codes.to_numpy(), "categorical"
    elif str(column.dtype).startswith("dictionary"):
        packed = column.array.__arrow_array__().combine_chunks()
        values, positions, stated = packed.dictionary.to_pandas(), packed.indices.fill_null(-1).to_numpy(), ""
    else:
        return None
    known = cells_of(pd.Series(values)).as_texts().with_na()
    codes = np.append(known.codes, -1)[positions]
    used = np.unique(codes[codes >= 0])
    places = np.full(len(known.different) + 1, -1, np.int64)
    places[used] = np.arange(len(used))
    different = known.different.iloc[used].reset_index(drop=True)
    return _marked(replace(known, different=different, codes=places[codes], stated=stated))


def _marked(texts: Texts) -> Texts:
    """Return the cells with those marked as missing whose text says so in any column."""
    return texts.without(texts.different.str.lower().isin(MISSING).to_numpy(dtype=bool))


def _days(dates: pd.Series[Any]) -> NDArray[np.float64]:
    """Return days since 1970 of dates in UTC; in microseconds, which reach the year 9999."""
    since = dates.dt.tz_localize(None).to_numpy(dtype="datetime64[us]") - np.datetime64(0, "us")
    return np.asarray(since / np.timedelta64(1, "D"), dtype=np.float64)
