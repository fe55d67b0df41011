"""The names of a table's columns; and the first part of a text file: its encoding, separator and columns."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import itertools
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd

from depthcheck.pipeline.config import InWords, require
from depthcheck.pipeline.data.cells import MISSING, MISSING_AMONG_VALUES, proves_comma

_N_SAMPLE, _N_MOST = 1 << 18, 1 << 24
_N_BLOCK = 1 << 20
_N_UNPACKED = 1 << 22
_SEPARATORS = (",", ";", "\t", "|")
_NUMBER_LIKE = re.compile(r"[+\-−]?[\d.,' \u00a0\u202f]+")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
#: Cells that say among numbers that there is no value, as they are usually written.
MISSING_WORDS = frozenset(
    form for word in MISSING | MISSING_AMONG_VALUES for form in (word, word.upper(), word.title())
)
#: Bytes that no character of Windows-1252 has.
_NOT_IN_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a text file is to be read.

    Attributes
    ----------
    encoding
        As Python calls it, of the part that was looked at: ascii and cp1252 may be more in what follows.
    separator
        Between cells.
    comma
        Whether numbers have a decimal comma, as far as the part that was looked at tells.
    names
        Of the columns, unique.
    nameless
        Those whose header was empty.
    has_row_names
        Whether rows begin with a cell more than there are headers.
    n_skip
        Lines up to the first row of data.
    quote
        Around cells: a double one, or a single one where the names all stand in those.
    n_line
        Bytes of the longest line of that part.
    """

    encoding: str
    separator: str
    comma: bool
    names: tuple[str, ...]
    nameless: frozenset[str]
    has_row_names: bool
    n_skip: int
    quote: str
    n_line: int


def sniff(path: Path, log: Callable[[str], None]) -> Layout:
    """Return how a text file is to be read, from its first 256 KB, or more where its names alone take these.

    Raises
    ------
    ValueError
        When it is empty, is no text, or has no line of names.
    """
    with open_bytes(path) as file:
        data = part = file.read(_N_SAMPLE)
        while len(part) == _N_SAMPLE and len(data) < _N_MOST and len(data.splitlines()) < 3:
            part = file.read(_N_SAMPLE)
            data += part
    is_whole = len(part) < _N_SAMPLE
    encoding = _encoding(data, is_whole, path.name)
    if encoding in ("cp1252", "latin-1"):
        log(f"{path.name}: is not UTF-8; read as {encoding}")
    text = codecs.getincrementaldecoder(encoding)().decode(data, final=False)
    if not text.strip():
        raise ValueError(f"{path.name} must have a line of names and rows below it, got an empty file")
    text, separator, n_before = _announced_separator(text)
    separator = separator or _separator(text, is_whole, path.name)
    quote = '"'
    if re.fullmatch(f"'[^']+'({re.escape(separator)}'[^']+')+", text.partition("\n")[0].strip()):
        quote = "'"
        log(f"{path.name}: its names stand in single quotes: these are read as quotes, there and around cells")
    rows, n_header = _rows(text, separator, is_whole, quote)
    header, rows = rows[0], [row for row in rows[1:] if row]
    require_header(header, path.name)
    given, header = header, _fitted(header, rows)
    names = unique_names(header, path.name, log)
    columns = ([row[position] for row in rows if position < len(row)] for position in range(len(names)))
    return Layout(
        encoding=encoding,
        separator=separator,
        comma=_has_decimal_comma(columns),
        names=names,
        nameless=frozenset(name for name, cell in zip(names, header, strict=True) if not cell.strip()),
        has_row_names=header == ["", *given],
        n_skip=n_before + n_header,
        quote=quote,
        n_line=max(map(len, data.splitlines())),
    )


def unique_names(cells: Sequence[str], file: str, log: Callable[[str], None]) -> tuple[str, ...]:
    """Return names without blanks around them, each once: ``x``, ``x.1``, and ``column_3`` for an empty third cell.

    ``log`` is told of what is not as it was.
    """
    names: dict[str, None] = {}
    taken = {cell.strip() for cell in cells}
    for position, cell in enumerate(cells, start=1):
        given = cell.strip()
        name = given or f"column_{position}"
        if name in (names if given else taken):
            name = next(free for n in itertools.count(1) if (free := f"{name}.{n}") not in taken)
        if name != given:
            trouble = "the name of an earlier one" if given else "no name"
            log(f"{file}: column {position} has {trouble}: it is called {name!r}")
        taken.add(name)
        names[name] = None
    return tuple(names)


def require_header(cells: Sequence[str], file: str) -> None:
    """Complain when the first line looks like data: a file's columns must have names.

    Names that are numbers are fine when they count or sort columns (``0``, ``1``, ``2``; ``2019``, ``2018``).

    Raises
    ------
    ValueError
        With the first cells, and what helps.
    """
    numbers = [cell.strip() for cell in cells if _NUMBER.fullmatch(cell.strip())]
    if len(numbers) * 4 < len(cells) or not numbers:
        return
    if all(number.isdigit() for number in numbers):
        values = [int(number) for number in numbers]
        if len(set(values)) == len(values) and values in (sorted(values), sorted(values, reverse=True)):
            return
    shown = ", ".join(repr(cell.strip()) for cell in cells[:4]) + (", …" if len(cells) > 4 else "")
    raise ValueError(
        f"the first line of {file} must be the names of its columns, got {shown}; add a line of names above the data"
    )


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for its uncompressed bytes.

    Raises
    ------
    ValueError
        When an archive is damaged or has not exactly one file.
    """
    try:
        unpack = PACKED.get(path.suffix.lower())
        with path.open("rb") if unpack is None else unpack(path) as file:
            yield file
    except (gzip.BadGzipFile, EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error) as trouble:
        raise ValueError(f"{path.name} is damaged: {trouble}") from None


def _only_member(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    members = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
    require(len(members) == 1, f"number of files in {path.name}", "1", len(members))
    return archive.open(members[0])


#: What unpacks a file, by its suffix.
PACKED: Mapping[str, Callable[[Any], Any]] = {
    ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zip": _only_member,
}  # fmt: skip


def unpacked_bytes(path: Path) -> float:
    """Return the length of a file's content, of a packed one as far as its beginning tells."""
    n_bytes, suffix = path.stat().st_size, path.suffix.lower()
    try:
        with path.open("rb") as file:  # by its beginning: a database may hold an archive, at its end for one
            is_archive = suffix == ".zip" or file.read(4) == b"PK\3\4"  # spreadsheets are archives, too
        if is_archive:
            with zipfile.ZipFile(path) as archive:
                return sum(member.file_size for member in archive.infolist())
        if suffix in PACKED:
            with path.open("rb") as packed, PACKED[suffix](packed) as file:
                n_read = len(file.read(_N_UNPACKED))
                return n_read if n_read < _N_UNPACKED else n_bytes * n_read / packed.tell()
    except (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error):
        pass  # whoever reads it says what is wrong
    return n_bytes


def full_encoding(path: Path, layout: Layout, log: Callable[[str], None]) -> str:
    """Return the encoding of the whole file, where its first part leaves that open."""
    if layout.encoding not in ("ascii", "cp1252"):
        return layout.encoding
    if layout.encoding == "ascii" and _is_utf8(path):
        return "utf-8"
    encoding = "latin-1" if any(_NOT_IN_CP1252 & set(block) for block in _blocks(path)) else "cp1252"
    if encoding != layout.encoding:
        log(f"{path.name}: is not UTF-8; read as {encoding}")
    return encoding


def first_line_of_width(path: Path, encoding: str, layout: Layout, width: int) -> int:
    """Return the number of the line, from 1, on which the first row with so many cells ends."""
    with open_bytes(path) as file, io.TextIOWrapper(file, encoding, errors="replace", newline="") as text:
        reader = csv.reader(text, delimiter=layout.separator, quotechar=layout.quote)
        return next((reader.line_num for row in reader if len(row) == width), 0)


def ends_in_quote(path: Path, quote: str) -> bool:
    """Whether a file ends in a quote, but for line breaks and blanks."""
    end = b""
    for block in _blocks(path):
        end = (end + block)[-_N_BLOCK:]
    return end.replace(b"\0", b"").rstrip().endswith(quote.encode())


def _is_utf8(path: Path) -> bool:
    try:
        return all(text is not None for text in codecs.iterdecode(_blocks(path), "utf-8"))
    except UnicodeDecodeError:
        return False


def _blocks(path: Path) -> Iterator[bytes]:
    with open_bytes(path) as file:
        while block := file.read(_N_BLOCK):
            yield block


def _encoding(data: bytes, is_whole: bool, file: str) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    require(b"\0" not in data, file, "a text file", InWords("one with zero bytes"))
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=is_whole)
    except UnicodeDecodeError:
        return "latin-1" if _NOT_IN_CP1252 & set(data) else "cp1252"
    return "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "ascii" if data.isascii() else "utf-8"


def _announced_separator(text: str) -> tuple[str, str | None, int]:
    """Take off the line ``sep=;`` that spreadsheets write, and blank lines, before the names."""
    n_before, separator = 0, None
    while True:
        line, end, rest = text.partition("\n")
        announced = re.fullmatch(r"sep=(.)\r?", line)
        if not end or (line.strip() and not announced):
            return text, separator, n_before
        separator = announced[1] if announced else separator
        text, n_before = rest, n_before + 1


def _rows(text: str, separator: str, is_whole: bool, quote: str = '"') -> tuple[list[list[str]], int]:
    """Return the rows of a sample, without a last one that is cut, and the number of lines that the first one takes."""
    # A quote that is never closed makes one cell of all that follows, and a wrong separator one of all names.
    csv.field_size_limit(max(csv.field_size_limit(), _N_MOST))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quotechar=quote)
    rows: list[list[str]] = []
    n_header = 1
    for row in reader:
        n_header = n_header if rows else reader.line_num
        rows.append(row)
    return (rows if is_whole or len(rows) == 1 else rows[:-1]), n_header


def _separator(text: str, is_whole: bool, file: str) -> str:
    """Return the separator by which rows are of one length, and cells have no other separator inside.

    A blank is one only where nothing else is, and every row agrees.
    """
    scores = {separator: _score(text, separator, is_whole) for separator in _SEPARATORS}
    best = max(_SEPARATORS, key=lambda separator: scores[separator])
    if scores[best][0] > 0:
        return best
    rows = [[cell for cell in row if cell] for row in _rows(text, " ", is_whole)[0] if row]
    widths = {len(row) for row in rows[1:]}
    if len(rows[0]) == 1 or len(widths) != 1 or widths.pop() - len(rows[0]) not in (0, 1):
        return best
    if "  " not in text:
        return " "
    raise ValueError(
        f"cells of {file} must have a comma, semicolon, tab, | or one blank between them, got several blanks"
    )


def _score(text: str, separator: str, is_whole: bool) -> tuple[float, float, int]:
    """Return the share of rows as long as the first, that of cells without another separator, and the length."""
    rows = [row for row in _rows(text, separator, is_whole)[0] if row]
    width = len(rows[0])
    if width == 1:
        return 0.0, 0.0, 0
    others = set(_SEPARATORS) - {separator}
    even = sum(len(row) == width or len(row) == width + 1 for row in rows) / len(rows)
    cells = [cell for row in rows[1:] or rows for cell in row]  # names may hold anything
    whole = sum(_NUMBER_LIKE.fullmatch(cell) is not None or others.isdisjoint(cell) for cell in cells) / len(cells)
    return round(even, 2), round(whole, 2), width


def _has_decimal_comma(columns: Iterable[Sequence[str]]) -> bool:
    """Whether one of some columns is numbers with a decimal comma beyond doubt."""
    with_comma = (column for column in columns if any("," in cell for cell in column))  # the others take time alone
    return any(proves_comma(pd.Series(column, dtype="str")) for column in with_comma)


def _fitted(header: list[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Add an empty name where every row has one cell more: behind, or in front where R wrote the rows' names."""
    if not rows or any(len(row) != len(header) + 1 for row in rows):
        return header
    return [*header, ""] if all(not row[-1].strip() for row in rows) else ["", *header]
