"""Tables whose cells come as Python objects: of JSON Lines, of a database, and of a spreadsheet's sheet.

A database, SQLite or PostgreSQL, is never written to. Spreadsheets are Excel's (new, old, binary) and OpenDocument.
"""

from __future__ import annotations

import datetime
import functools
import io
import itertools
import json
import math
import re
import sqlite3
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig, shown, suggestion
from depthcheck.pipeline.data.amount import ReadingSize
from depthcheck.pipeline.data.cells import WHOLE_IN_FLOAT64, listed, narrow
from depthcheck.pipeline.data.sniff import open_bytes, require_header, unique_names, unpacked_bytes

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: Bytes of memory for each byte of a file whose cells become objects of Python's.
OBJECTS_PER_BYTE = 2
_WHOLE_PER_BYTE = 6
#: How addresses of PostgreSQL begin.
POSTGRESQL = "postgresql:"
_SILENCE_SECONDS = 20
_DAYS = {datetime.date, datetime.datetime}
#: What is no cell, and what it is called.
_NO_CELLS = {list: "lists", tuple: "lists", dict: "objects", bytes: "bytes", memoryview: "bytes"}
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


class CellTable:
    """A table that is in memory as it came; its ``names`` are unique.

    Parameters
    ----------
    header, columns
        The columns' names as they stand, and the cells of each; None where there is no value.
    file
        What lines and complaints call the table.
    """

    def __init__(
        self, header: Sequence[str], columns: Sequence[Sequence[Any]], file: str, log: Callable[[str], None]
    ) -> None:
        self._columns, self._file, self._log = columns, file, log
        self.names = unique_names(header, file, log)

    def read(self, *, rows: NDArray[np.int64] | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return rows (all unless named): numbers, booleans and dates as the cells have them, what is mixed as text.

        Raises
        ------
        ValueError
            When there are none.
        """
        found = {}
        for name, cells in zip(self.names, self._columns, strict=True):
            if columns is not None and name not in columns:
                continue
            kinds = set(map(type, cells)) - {type(None)}
            other = next((words for kind, words in _NO_CELLS.items() if kind in kinds), None)
            if other is None:
                found[name] = _column(cells, kinds)
            else:
                self._log(f"{self._file}: {name!r} holds {other}: left out")
        frame = pd.DataFrame(found, copy=False)
        if frame.empty:
            raise ValueError(f"{self._file} must have rows of numbers, text, booleans or dates, got none")
        return frame if rows is None else frame.iloc[rows].reset_index(drop=True)

    def as_written(self) -> pa.Table:
        """Return all rows as text: whole numbers without a decimal mark, dates in ISO form, None for empty cells."""
        columns = {name: list(map(as_text, cells)) for name, cells in zip(self.names, self._columns, strict=True)}
        return pa.Table.from_pandas(pd.DataFrame(columns, dtype="str"), preserve_index=False)


def json_size(path: Path) -> ReadingSize:
    """Return what reading JSON takes: every cell becomes an object of Python's, and those of a list all at once."""
    return ReadingSize(n_bytes=(_WHOLE_PER_BYTE if _is_whole(path) else OBJECTS_PER_BYTE) * unpacked_bytes(path))


class JsonFile(CellTable):
    """A file with a JSON object in each line, or in ``.json`` also in a list; one in another becomes ``place.lat``.

    One object of columns, each an object with an entry a row, is what pandas writes unless told otherwise.
    """

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        columns: dict[tuple[str, ...], list[Any]] = {}
        n_rows = 0
        for found in _objects_of(path):
            for name, cell in _members(found).items():
                cells = columns.setdefault(name, [])
                cells.extend([None] * (n_rows - len(cells)))
                cells.append(cell)
            n_rows += 1
        for cells in columns.values():
            cells.extend([None] * (n_rows - len(cells)))
        super().__init__([".".join(name) for name in columns], [*columns.values()], path.name, log)


def _is_whole(path: Path) -> bool:
    """Whether a file may be one JSON value over many lines."""
    return ".json" in map(str.lower, path.suffixes[-2:])


def _objects_of(path: Path) -> Iterator[dict[str, Any]]:
    with open_bytes(path) as file:
        whole = file.read() if _is_whole(path) else b""
        try:
            found = json.loads(whole) if whole else None
        except (ValueError, RecursionError) as trouble:
            if whole.lstrip()[:1] == b"[":
                raise ValueError(f"{path.name} must be a list of JSON objects: {_reason(trouble)}") from None
            found = None  # an object in each line
        if isinstance(found, dict) and found and all(isinstance(column, dict) for column in found.values()):
            rows = dict.fromkeys(row for column in found.values() for row in column)
            found = [{name: column.get(row) for name, column in found.items()} for row in rows]
        if isinstance(found, list):
            for number, entry in enumerate(found, start=1):
                if not isinstance(entry, dict):
                    raise ValueError(f"entry {number:,} of {path.name} must be a JSON object, got {shown(entry)}")
                yield entry
            return
        for number, line in enumerate(io.BytesIO(whole) if whole else file, start=1):
            if line.strip():
                yield _object_of(line, f"line {number:,} of {path.name}")


def _reason(trouble: ValueError | RecursionError) -> str:
    return "too many levels" if isinstance(trouble, RecursionError) else str(trouble)


def _object_of(line: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as trouble:
        reason = "too many levels" if isinstance(trouble, RecursionError) else getattr(trouble, "msg", trouble)
        text = line.decode(errors="replace").strip()
        raise ValueError(f"{where} must be a JSON object, got {shown(text)}: {reason}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{where} must be a JSON object, got {shown(found)}")
    return found


def _members(found: dict[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return what an object holds, that of the objects in it included, by the names that lead there."""
    members: dict[tuple[str, ...], Any] = {}
    for name, cell in found.items():
        members |= _members(cell, (*above, name)) if isinstance(cell, dict) and cell else {(*above, name): cell}
    return members


def _column(cells: Sequence[Any], kinds: set[type]) -> Any:
    if kinds == {bool}:
        return pd.array(cells, dtype="boolean")
    if kinds and kinds <= {int, float, bool, Decimal} and not _are_beyond_double(cells, kinds):
        return narrow(np.array([np.nan if cell is None else cell for cell in cells], np.float64))
    if kinds and kinds <= _DAYS:
        return pd.to_datetime(pd.Series(cells, dtype=object), utc=True).dt.tz_localize(None)
    if kinds == {datetime.timedelta}:  # in hours, as times of day are
        return narrow(np.array([np.nan if cell is None else cell.total_seconds() / 3600 for cell in cells]))
    # A fraction stays a number: as a text, 1.234 could be more than a thousand.
    mixed = [cell if isinstance(cell, float) and not cell.is_integer() else as_text(cell) for cell in cells]
    return pd.Series(mixed, dtype=object if float in map(type, mixed) else "str")


def _are_beyond_double(cells: Sequence[Any], kinds: set[type]) -> bool:
    """Whether whole numbers are so large that a float would make several of them one: identifiers, then."""

    def is_whole(cell: Any) -> bool:
        return type(cell) is int or (type(cell) is Decimal and cell.as_tuple().exponent == 0)

    return not kinds.isdisjoint((int, Decimal)) and any(abs(c) > WHOLE_IN_FLOAT64 for c in cells if is_whole(c))


def as_text(cell: Any) -> str | None:
    """Return a cell as it would be written: whole numbers without a decimal mark, dates in ISO form."""
    if cell is None:
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False)
    return str(cell)


def objects_size(path: Path) -> ReadingSize:
    """Return what reading a file may take whose cells become objects of Python's: of a database all that it holds."""
    return ReadingSize(n_bytes=OBJECTS_PER_BYTE * unpacked_bytes(path))


class SqliteFile(CellTable):
    """A table or a query of a SQLite database, which is read at once.

    Parameters
    ----------
    query
        A table's name, or a ``SELECT``; None where the database has one table.
    """

    def __init__(self, path: Path, log: Callable[[str], None], query: str | None = None) -> None:
        from sqlalchemy import create_engine

        def opened() -> sqlite3.Connection:
            return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)

        header, columns = _answer(create_engine("sqlite://", creator=opened), query, path.name, log)
        super().__init__(header, columns, path.name, log)


def read_postgresql(
    config: DataConfig, _cache: Path, log: Callable[[str], None]
) -> tuple[pd.DataFrame, DataConfig, str]:
    """Return a table or a query of PostgreSQL, the configuration, and the words for where it was."""
    return open_postgresql(config.name, config.query, log).read(), config, f"database {config.name}"


def open_postgresql(address: str, query: str | None, log: Callable[[str], None]) -> CellTable:
    """Return what PostgreSQL answers.

    Raises
    ------
    ValueError
        When the address cannot be understood, nobody answers there, or the table or the query is none.
    """
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address).set(drivername="postgresql+psycopg")
        limit = {"connect_timeout": _SILENCE_SECONDS}
        engine = create_engine(url, connect_args=limit, execution_options={"postgresql_readonly": True})
    except (ArgumentError, ValueError):
        raise ValueError(f"data must be an address like postgresql://user@host/database, got {address!r}") from None
    except ModuleNotFoundError:
        raise ValueError(f'{address} cannot be read without a driver: pip install "psycopg[binary]"') from None
    where = url.database or "the database"
    header, columns = _answer(engine, query, where, log)
    return CellTable(header, columns, where, log)


def _answer(
    engine: Engine, query: str | None, where: str, log: Callable[[str], None]
) -> tuple[list[str], list[Sequence[Any]]]:
    """Return the names and the cells of each column that a database answers with."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with engine.connect() as connection:
            text = _select(connection, query, where, log)
            if engine.dialect.name != "sqlite" and not re.search(r"\border\s+by\b", text, re.IGNORECASE):
                log(f"{where}: nothing says in which order rows come; in another one they are other data: use ORDER BY")
            # Without parameters a driver leaves % and : in the text alone.
            result = connection.execution_options(no_parameters=True).exec_driver_sql(text)
            header, rows = list(result.keys()), result.all()
    except SQLAlchemyError as trouble:
        reason = str(getattr(trouble, "orig", None) or trouble).strip().splitlines()[0]
        raise ValueError(f"{where} cannot be read: {reason}") from None
    finally:
        engine.dispose()
    return header, list(zip(*rows, strict=True)) if rows else [()] * len(header)


def _select(connection: Connection, query: str | None, where: str, log: Callable[[str], None]) -> str:
    """Return the query that is meant; a table is read in the order of its primary key."""
    from sqlalchemy import inspect

    inspector = inspect(connection)
    tables = sorted([*inspector.get_table_names(), *inspector.get_view_names()])
    if query is None and len(tables) == 1:
        query = tables[0]
        log(f"{where}: its one table, {query!r}, is read")
    if query is not None and query not in tables and len(query.split()) > 1:
        return query
    if query not in tables:
        raise ValueError(
            f"query must be a SELECT or a table of {where}: {listed(tables) or 'it has none'}; "
            f"got {'none' if query is None else repr(query)}{suggestion(query, tables)}"
        )
    quote = connection.dialect.identifier_preparer.quote_identifier
    key = inspector.get_pk_constraint(query)["constrained_columns"] if query in inspector.get_table_names() else []
    order = f" ORDER BY {', '.join(map(quote, key))}" if key else ""
    return f"SELECT * FROM {quote(query)}{order}"


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
    rows: set[int] = set()
    columns: set[int] = set()
    rest = b""
    with archive.open(name) as file:
        if name.endswith(".bin"):
            for row, column, _, _ in _binary_cells(file.read()):
                rows.add(row)
                columns.add(column)
        while block := file.read(_N_BLOCK):
            whole, bracket, rest = (rest + block).rpartition(b"<")
            rest = bracket + rest
            found = _CELL.findall(whole)
            columns.update(map(_number, {column for column, _ in found}))
            rows.update({int(row) for _, row in found})
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
