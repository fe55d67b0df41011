"""Read CSV and its kin, a block at a time: what is numbers for certain goes to float32 at once, the rest is text."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from depthcheck.pipeline.data.amount import ReadingProgress, ReadingSize
from depthcheck.pipeline.data.cells import MISSING, WHOLE_IN_FLOAT64, listed, narrow, proves_comma
from depthcheck.pipeline.data.columnar import PackedTexts, within
from depthcheck.pipeline.data.sniff import (
    MISSING_WORDS,
    PACKED,
    ends_in_quote,
    first_line_of_width,
    full_encoding,
    open_bytes,
    sniff,
    unpacked_bytes,
)

_N_BLOCK = 2 << 20
_N_LOOK = 1 << 18
#: Bytes that a cell takes at the peak, read into float32, which grows by a quarter at a time; of texts, their own.
_CELL_BYTES, _TEXT_SHARE = 8, 1.5
#: A number whose point may be a decimal one; with two of them it is none to begin with.
_THOUSANDS = r"^\s*[+-]?[1-9]\d{0,2}\.\d{3}\s*$"
#: 1.10 is 1.1 as a number, and another name; 1.0 is how programs write the 1 of a column with missing cells.
_LAST_ZERO = r"\.\d*[1-9]\d*0\s*$"
#: So few different numbers of a block may all be names.
_FEW = 1_000


def delimited_size(path: Path) -> ReadingSize:
    """Return what reading a file takes, from its first 256 KB."""
    with open_bytes(path) as file:
        look = file.read(_N_LOOK)
    n_lines = look.count(b"\n")
    n_cells = n_lines + max(look.count(separator) for separator in (b",", b";", b"\t", b"|"))
    times = unpacked_bytes(path) / max(1, len(look))
    return ReadingSize(n_bytes=max(_CELL_BYTES * n_cells, _TEXT_SHARE * len(look)) * times, n_rows=n_lines * times)


class DelimitedFile:
    """A text file of cells with separators between them; made, it knows its columns, and has read no more.

    Attributes
    ----------
    layout
        How it is read.
    names
        Of the columns, unique.
    keeps_na, keeps_words
        Columns of numbers that stay as they are written where words for missing are among them, which may be names: any
        of them, ``NA`` too, or such as only stand for missing where all others are numbers.
    keeps_points, keeps_zeros
        Columns of numbers that stay as they are written where each point in them may stand between thousands; or where
        a zero ends one and they may be names: how the training data are written tells, and this file alone may not.
    """

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        self.path, self._log = path, log
        self.layout = sniff(path, log)
        self.names = self.layout.names
        self.keeps_na: Collection[str] = ()
        self.keeps_words: Collection[str] = ()
        self.keeps_points: Collection[str] = ()
        self.keeps_zeros: Collection[str] = ()
        self._has_points = False

    @property
    def comma(self) -> bool | None:
        """Whether numbers have a decimal comma, as far as was read; None: no column of numbers tells."""
        return True if self.layout.comma else False if self._has_points else None

    @property
    def n_block(self) -> int:
        """Bytes that are read at a time, which no row may exceed."""
        return max(_N_BLOCK, 4 * self.layout.n_line)

    @functools.cached_property
    def _encoding(self) -> str:
        return full_encoding(self.path, self.layout, self._log)

    def read(self, *, rows: NDArray[np.int64] | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows: float32 or float64 where a column is numbers for certain, else text.

        Parameters
        ----------
        rows
            Positions, rising, of the rows that are wanted; None for all. The others are read and forgotten.
        columns
            Those that are wanted; None for all.

        Raises
        ------
        ValueError
            Naming the row that has another number of cells than the header.
        """
        found = {name: _Cells() for name in (self.names if columns is None else columns)}
        n_rows = self._fill(found, rows)
        late = {
            name: _Cells(is_text=True) for name, cells in found.items() if cells.is_late or self._stays(name, cells)
        }
        if late:  # a word after blocks of numbers: those are wanted as they were written
            self._fill(late, rows)
        if n_rows == 0:
            raise ValueError(f"{self.path.name} must have rows below its line of names, got none")
        in_doubt = [name for name, cells in found.items() if cells.points == "thousands?" and name not in late]
        decimal = next((name for name, cells in found.items() if cells.points == "decimal"), None)
        self._has_points = decimal is not None
        frame = pd.DataFrame(self._finished(found | late), copy=False)
        # Where all points stay as they are written, whoever gets them knows what they are.
        is_open = in_doubt or (decimal is not None and self.keeps_points != self.names)
        proof = next((name for name in frame if proves_comma(frame[name])), None) if is_open else None
        if proof is not None:
            # A cell behind the part that was looked at first tells that these points stand between thousands; but
            # beside decimal points it may be one cell's slip.
            beside = "" if decimal is None else f" and {decimal!r} decimal points"
            meant = "stand between thousands" if decimal is None else "count as decimal"
            self._log(f"column {proof!r} has decimal commas{beside}: points in {listed(in_doubt) or 'all'} {meant}")
        if proof is not None and decimal is None:
            pointed = {name: _Cells(is_text=True) for name in in_doubt}
            self._fill(pointed, rows)
            for name, values in self._finished(pointed).items():
                frame[name] = values
        pa.default_memory_pool().release_unused()
        return frame

    def as_written(self) -> pa.Table:
        """Return all rows as text, empty where a cell is."""
        texts = pa.Table.from_batches(self._batches(self.names))
        return pa.table({name: pc.fill_null(texts[name], "") for name in self.names})

    def _stays(self, name: str, cells: _Cells) -> bool:
        """Whether numbers are wanted as they are written."""
        of_all = name in self.keeps_words and any(word.lower() not in MISSING for word in cells.words)
        has_words = of_all or (bool(cells.words) and name in self.keeps_na)
        is_open = cells.points == "thousands?" and name in self.keeps_points
        has_zeros = cells.ends_in_zero is True and name in self.keeps_zeros
        return cells.numbers is not None and (has_words or is_open or has_zeros)

    def _fill(self, columns: dict[str, _Cells], rows: NDArray[np.int64] | None) -> int:
        n_rows = 0
        for batch in self._batches(tuple(columns)):
            wanted = batch if rows is None else batch.take(within(rows, n_rows, batch.num_rows))
            n_rows += batch.num_rows
            for name, cells in columns.items():
                cells.add(wanted.column(name), comma=self.layout.comma)
                if not self.layout.comma:  # else a point makes texts of them as it is
                    cells.look_at_points(wanted.column(name), zeros=name in self.keeps_zeros)
        return n_rows

    def _batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        wrong: list[Any] = []
        encoding, progress = self._encoding, ReadingProgress(self.path.name, unpacked_bytes(self.path), self._log)

        def note(row: Any) -> str:
            wrong.append(row)
            return "error"

        try:
            with _opened(self.path) as file:
                batches = csv.open_csv(
                    file,
                    read_options=csv.ReadOptions(
                        encoding=encoding.removesuffix("-sig"),
                        column_names=self.names,
                        skip_rows=self.layout.n_skip,
                        block_size=self.n_block,
                    ),
                    parse_options=csv.ParseOptions(
                        delimiter=self.layout.separator,
                        quote_char=self.layout.quote,
                        newlines_in_values=True,
                        invalid_row_handler=note,
                    ),
                    convert_options=csv.ConvertOptions(
                        column_types=dict.fromkeys(self.names, pa.string()),
                        include_columns=list(dict.fromkeys([*names, self.names[-1]])),
                        null_values=[""],
                        strings_can_be_null=True,
                    ),
                )
                last = None
                for batch in batches:
                    progress.reached(file.tell())
                    last = batch.column(self.names[-1])[-1].as_py() if batch.num_rows else last
                    yield batch
        except (pa.ArrowInvalid, UnicodeError) as trouble:
            raise ValueError(self._complaint(wrong, trouble, encoding)) from None
        # To Arrow an open cell ends with the file, and all rows below are in it.
        if last and "\n" in last.strip() and not ends_in_quote(self.path, self.layout.quote):
            raise ValueError(f"{self.path.name} must close every quote, got one open to the file's end: {last[:60]!r}")

    def _complaint(self, wrong: Sequence[Any], trouble: Exception, encoding: str) -> str:
        if not wrong and "straddling" in str(trouble):
            n_bytes = f"{self.n_block:,} bytes"
            return f"{self.path.name} must have rows of less than {n_bytes}, got a longer one: is a quote not closed?"
        if not wrong:
            return f"{self.path.name} cannot be read: {str(trouble).splitlines()[0]}"
        row = wrong[0]
        text = row.text if len(row.text) <= 60 else f"{row.text[:60]}…"
        line = first_line_of_width(self.path, encoding, self.layout, row.actual_columns)
        return (
            f"{self.path.name} must have {row.expected_columns} cells in each row, as its first line has, "
            f"got {row.actual_columns} in line {line:,}: {text!r}"
        )

    def _finished(self, columns: dict[str, _Cells]) -> dict[str, Any]:
        frame: dict[str, Any] = {}
        for name in list(columns):
            cells = columns.pop(name)
            values, words = cells.finish(), sorted(cells.words)
            if words and isinstance(values, np.ndarray):
                self._log(f"column {name!r}: missing among its numbers: {', '.join(map(repr, words))}")
            if name in self.layout.nameless and isinstance(values, np.ndarray) and np.isnan(values).all():
                self._log(f"{self.path.name}: {name!r} is empty and has no name: left out")
            else:
                frame[name] = values
        return frame


class _Numbers:
    """Numbers of one column, growing in place: many small blocks would leave memory in pieces that nobody can use."""

    def __init__(self) -> None:
        self._values, self._n = np.empty(0, np.float32), 0

    def add(self, block: NDArray[Any]) -> None:
        """Put a block behind the others; one of float64 makes the whole column so."""
        if block.dtype != self._values.dtype and block.dtype == np.float64:
            self._values = self._values.astype(np.float64)
        end = self._n + len(block)
        if end > len(self._values):
            self._values.resize(end + end // 4, refcheck=False)
        self._values[self._n : end] = block
        self._n = end

    def finish(self) -> NDArray[Any]:
        """Return the whole column."""
        self._values.resize(self._n, refcheck=False)
        return self._values


class _Cells:
    """What was read of one column so far: numbers, or blocks of text; late where a word came after numbers.

    ``words`` are those among the numbers that were taken for missing; ``points`` says what points were: ``decimal``
    where one cannot stand between thousands, ``thousands?`` where each of them may; ``ends_in_zero`` whether one does
    that may be a name, None where none does.
    """

    def __init__(self, *, is_text: bool = False) -> None:
        self.is_text, self.is_late = is_text, False
        self.words: set[str] = set()
        self.points = ""
        self.ends_in_zero: bool | None = None
        self.numbers: _Numbers | None = None
        self.texts = PackedTexts()

    def add(self, block: pa.Array, *, comma: bool) -> None:
        """Put a block behind the others; one that is no numbers makes the whole column text."""
        if not self.is_text:
            values = _plain_numbers(block, self.words, comma=comma)
            if values is not None:
                self.numbers = self.numbers or _Numbers()
                self.numbers.add(values)
                return
            self.is_text, self.is_late, self.numbers = True, self.numbers is not None, None
        if not self.is_late:
            self.texts.add(block)

    def look_at_points(self, block: pa.Array, *, zeros: bool) -> None:
        """Find out whether the points of a block may stand between thousands, and (``zeros``) a zero ends a number."""
        if self.numbers is None or (self.points == "decimal" and (self.ends_in_zero is not None or not zeros)):
            return
        pointed = block.filter(pc.match_substring(block, "."))
        if zeros and self.ends_in_zero is None and pc.any(pc.match_substring_regex(pointed, _LAST_ZERO)).as_py():
            # What hardly repeats itself is measured and no name: read as text, it would take long, and much memory.
            self.ends_in_zero = pc.count_distinct(pointed).as_py() <= max(_FEW, len(pointed) / 2)
        if len(pointed) and self.points != "decimal":
            fits = pc.all(pc.match_substring_regex(pointed, _THOUSANDS)).as_py()
            self.points = "thousands?" if fits else "decimal"

    def finish(self) -> Any:
        """Return the whole column and forget its blocks."""
        return self.texts.finish() if self.numbers is None else self.numbers.finish()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if path.suffix.lower() not in PACKED:
        with pa.OSFile(str(path)) as file:
            yield file
    else:
        with open_bytes(path) as unpacked, pa.PythonFile(unpacked, mode="r") as file:
            yield file


def _plain_numbers(text: pa.Array, words: set[str], *, comma: bool) -> NDArray[Any] | None:
    """Return a block of cells as numbers, NaN where missing, if every one is written with a decimal point or none.

    A code such as 01234 is no number: what is written before the first other digit would be lost. Neither is one of so
    many digits that a float would make several of them one. In a file with decimal commas (``comma``) a point is none
    either: it may separate thousands. Words that are taken for missing are added to ``words``.
    """
    if comma and pc.any(pc.match_substring(text, ".")).as_py():
        return None
    numbers = _cast(text)
    if numbers is None:
        trimmed = pc.utf8_trim_whitespace(text)
        is_missing = pc.is_in(trimmed, value_set=pa.array(list(MISSING_WORDS)))
        text = pc.if_else(is_missing, pa.scalar(None, pa.string()), trimmed)
        numbers = _cast(text)
        if numbers is None:
            return None
        words |= {word for word in pc.unique(trimmed.filter(is_missing)).to_pylist() if word}
    # Only whole numbers can be codes; looking for those costs as much as reading the numbers.
    is_whole = bool((np.isnan(numbers) | (numbers == np.floor(numbers))).all())
    if is_whole and pc.any(pc.match_substring_regex(text, r"^0\d+$")).as_py():
        return None
    with np.errstate(invalid="ignore"):  # one more than the last whole number that a float holds is that number
        is_long = is_whole and bool((np.abs(numbers) >= WHOLE_IN_FLOAT64).any())
    if is_long and pc.any(pc.match_substring_regex(text, r"^[+-]?\d{16,}$")).as_py():
        return None
    return narrow(numbers)


def _cast(text: pa.Array) -> NDArray[Any] | None:
    try:
        return np.asarray(pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return None
