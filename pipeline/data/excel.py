"""Read a sheet of a spreadsheet: Excel (new, old, binary) and OpenDocument."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from depthcheck.pipeline.config import suggestion
from depthcheck.pipeline.data.amount import ReadingSize
from depthcheck.pipeline.data.cell_table import OBJECTS_PER_BYTE, CellTable, as_text
from depthcheck.pipeline.data.cells import listed
from depthcheck.pipeline.data.sniff import require_header

#: Beyond so many empty rows or columns a cell is not of the table: one in the last corner of a sheet would make
#: 17,179,869,184 cells of it.
_GAPS = {"row": 1_000, "column": 100}
#: A cell that is not empty, with its column and its row, in the XML of a sheet.
_CELL = re.compile(rb'<(?:\w+:)?c\s(?:[^>]*?\s)?r="([A-Z]{1,3})(\d{1,7})"(?:[^>]*[^>/])?>')
_WHOLE_CELL = re.compile(_CELL.pattern + rb".*?</(?:\w+:)?c>", re.DOTALL)
_SHEET = re.compile(r"xl/worksheets/[^/]+\.(xml|bin)")
_N_BLOCK = 1 << 20
#: Records of a binary sheet: the head of a row, and cells of whatever type that are not empty.
_ROW_HEAD, _BINARY_CELLS = 0, range(2, 12)

_Merged = Sequence[tuple[tuple[int, int], tuple[int, int]]]


def spreadsheet_size(path: Path) -> ReadingSize:
    """Return what reading a spreadsheet takes, of what it is unpacked."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return ReadingSize(n_bytes=OBJECTS_PER_BYTE * sum(member.file_size for member in archive.infolist()))
    return ReadingSize(n_bytes=OBJECTS_PER_BYTE * path.stat().st_size)


class SpreadsheetFile(CellTable):
    """A sheet; its names cannot be read alone, so that all is read at once.

    Merged cells hold their value in each of the rows that they span; above the data they are names of two levels,
    ``2019.Q1``.

    Parameters
    ----------
    sheet
        Which one; None: the first.
    """

    def __init__(self, path: Path, log: Callable[[str], None], sheet: str | None = None) -> None:
        from python_calamine import CalamineError, CalamineWorkbook

        try:
            workbook = CalamineWorkbook.from_object(_without_far_cells(path, log))
            name = _chosen(workbook.sheet_names, sheet, path.name, log)
            found = workbook.get_sheet_by_name(name)
            rows: list[list[Any]] = found.to_python(skip_empty_area=False)
        except (CalamineError, OSError, zipfile.BadZipFile) as trouble:
            raise ValueError(f"{path.name} is no whole spreadsheet: {trouble}") from None
        rows = [[None if cell == "" else cell for cell in row] for row in rows]
        header, body = _named(rows, found.merged_cell_ranges or (), path.name, log)
        columns = zip(header, zip(*body, strict=True), strict=True)
        kept = [(name, cells) for name, cells in columns if name or any(cell is not None for cell in cells)]
        super().__init__([name for name, _ in kept], [cells for _, cells in kept], path.name, log)


def _chosen(names: Sequence[str], sheet: str | None, file: str, log: Callable[[str], None]) -> str:
    """Return the name of the sheet to read; where it had to be guessed, the line names all of them."""
    there = listed([repr(name) for name in names])
    if sheet is not None and sheet not in names:
        raise ValueError(f"sheet must be one of those of {file}: {there}; got {sheet!r}{suggestion(sheet, names)}")
    if sheet is None and len(names) > 1:
        log(f"{file}: has {len(names)} sheets, {there}: the first is read (sheet, or --sheet, names another)")
    return names[0] if sheet is None else sheet


def _named(
    rows: list[list[Any]], merged: _Merged, file: str, log: Callable[[str], None]
) -> tuple[list[str], list[list[Any]]]:
    """Return the names of a sheet's columns, and the rows below them that are not empty."""
    first = next((at for at, row in enumerate(rows) if any(cell is not None for cell in row)), len(rows))
    title = [cell for cell in rows[first] if cell is not None] if first < len(rows) else []
    if len(title) == 1 and any(top == (first, rows[first].index(title[0])) and low[1] > top[1] for top, low in merged):
        log(f"{file}: row {first + 1} is one merged cell, {title[0]!r}: passed over as a title")
        first = next((at for at in range(first + 1, len(rows)) if any(rows[at])), len(rows))
    end = first + 1
    for top, low in sorted(merged):
        if first <= top[0] < end:  # a cell that spans columns has names below it
            end = max(end, low[0] + 1 + (low[1] > top[1]))
    n_filled = _spread(rows, merged, first, end)
    if n_filled:
        log(f"{file}: cells that are merged with the one above them have its value: {n_filled:,}")
    body = [row for row in rows[end:] if any(cell is not None for cell in row)]
    if not body:
        n_rows = sum(any(cell is not None for cell in row) for row in rows)
        raise ValueError(f"{file} must have a row of names and rows below it, got {n_rows} rows")
    levels = [[as_text(cell) or "" for cell in row] for row in rows[first:end]]
    header = [".".join(filter(None, dict.fromkeys(map(str.strip, parts)))) for parts in zip(*levels, strict=True)]
    if len(levels) > 1:
        log(f"{file}: the names stand in {len(levels)} rows, as merged cells tell: {listed(header)}")
    require_header(header, file)
    for column, name in enumerate(header):
        if not name and _is_named_below([row[column] for row in body]):
            found = body[0][column]
            raise ValueError(
                f"{file} must have its names in one row, or in merged cells, got {found!r} below the first"
            )
    return header, body


def _is_named_below(cells: Sequence[Any]) -> bool:
    """Whether the first of a column's cells is a text above numbers: a name."""
    others = {type(cell) for cell in cells[1:] if cell is not None}
    return isinstance(cells[0], str) and bool(others) and others <= {int, float}


def _spread(rows: list[list[Any]], merged: _Merged, first: int, end: int) -> int:
    """Give merged cells their value in every row, and among the names in every column; return how many below them."""
    n_filled = 0
    for (top, left), (low, right) in merged:
        is_name = top < end
        for row in range(max(top, first), min(low + 1, len(rows))):
            for column in range(left, min(right if is_name else left, len(rows[row]) - 1) + 1):
                if rows[row][column] is None and rows[top][left] is not None:
                    rows[row][column] = rows[top][left]
                    n_filled += not is_name
    return n_filled


def _without_far_cells(path: Path, log: Callable[[str], None]) -> Path | IO[bytes]:
    """Return a spreadsheet, or a copy in memory without the cells that lie far from all others, which it says."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        ends = {name: _ends(archive, name) for name in archive.namelist() if _SHEET.fullmatch(name)}
        if not any(ends.values()):
            return path
        kept, n_far = io.BytesIO(), 0
        with zipfile.ZipFile(kept, "w") as copy:
            for name in archive.namelist():
                data = archive.read(name)
                if ends.get(name):
                    data, n_cells = _cut(data, *ends[name], is_binary=name.endswith(".bin"))
                    n_far += n_cells
                copy.writestr(name, data)
    rule = " or ".join(f"{n:,} empty {what}s" for what, n in _GAPS.items())
    log(f"{path.name}: cells far from the table, behind {rule}, are left out: {n_far:,}")
    kept.seek(0)
    return kept


def _ends(archive: zipfile.ZipFile, name: str) -> tuple[float, float] | tuple[()]:
    """Return the row and the column at which cells begin that are not of the table, in a sheet that has such cells."""
    rows: set[bytes] = set()
    columns: set[bytes] = set()
    rest = b""
    if name.endswith(".bin"):
        places: tuple[set[int], set[int]] = set(), set()
        for row, column, _, _ in _binary_cells(archive.read(name)):
            places[0].add(row)
            places[1].add(column)
        return _first_far(*places)
    with archive.open(name) as file:
        while block := file.read(_N_BLOCK):
            whole, bracket, rest = (rest + block).rpartition(b"<")
            rest = bracket + rest
            found = _CELL.findall(whole)
            columns.update(column for column, _ in found)
            rows.update(row for _, row in found)
    return _first_far(map(int, rows), map(_number, columns))


def _first_far(rows: Iterable[int], columns: Iterable[int]) -> tuple[float, float] | tuple[()]:
    ends = _after_gap(rows, _GAPS["row"]), _after_gap(columns, _GAPS["column"])
    return () if ends == (math.inf, math.inf) else ends


def _binary_cells(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield row, column, start and end of each cell of a binary sheet: records of type, length and so many bytes."""
    at, row = 0, 0
    while at + 1 < len(data):
        start, numbers = at, [0, 0]
        for which in (0, 1):  # seven bits a byte, the lowest first; an eighth one says that more follow
            for shift in itertools.count(0, 7):
                byte = data[at] if at < len(data) else 0  # of one that is cut off, whoever reads it says so
                at += 1
                numbers[which] |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
        (kind, length), place = numbers, int.from_bytes(data[at : at + 4], "little")
        at += length
        if kind == _ROW_HEAD:
            row = place
        elif kind in _BINARY_CELLS:
            yield row, place, start, at


def _after_gap(places: Iterable[int], gap: int) -> float:
    pairs = itertools.pairwise(sorted(places))
    return next((there for here, there in pairs if there - here > gap), math.inf)


def _number(column: bytes) -> int:
    """Return the number of a column from 1: A is 1, Z is 26, AA is 27."""
    return functools.reduce(lambda number, letter: number * 26 + letter - 64, column, 0)


def _cut(data: bytes, first_row: float, first_column: float, *, is_binary: bool) -> tuple[bytes, int]:
    """Return a sheet without the cells from some row, or from some column, on, and their number."""
    if is_binary:
        cells = _binary_cells(data)
        far = [(start, end) for row, column, start, end in cells if row >= first_row or column >= first_column]
        starts, ends = [0, *(end for _, end in far)], [*(start for start, _ in far), len(data)]
        return b"".join(data[start:end] for start, end in zip(starts, ends, strict=True)), len(far)
    n_cut = 0

    def kept(cell: re.Match[bytes]) -> bytes:
        nonlocal n_cut
        is_far = int(cell[2]) >= first_row or _number(cell[1]) >= first_column
        n_cut += is_far
        return b"" if is_far else cell[0]

    return _WHOLE_CELL.sub(kept, data), n_cut
