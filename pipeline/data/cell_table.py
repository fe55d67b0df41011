"""Tables whose cells come as Python objects: of JSON Lines, of a database, and (``excel``) of a spreadsheet.

A database, SQLite or PostgreSQL, is never written to.
"""

from __future__ import annotations

import datetime
import io
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig, shown, suggestion
from depthcheck.pipeline.data.amount import ReadingSize
from depthcheck.pipeline.data.cells import WHOLE_IN_FLOAT64, listed, narrow
from depthcheck.pipeline.data.sniff import open_bytes, unique_names, unpacked_bytes

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
        """Return rows (all unless named): numbers, booleans and dates as the cells have them, mixed columns as text.

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

    def as_written(self) -> pd.DataFrame:
        """Return all rows as text: whole numbers without a decimal mark, dates in ISO form, None for empty cells."""
        columns = {name: list(map(as_text, cells)) for name, cells in zip(self.names, self._columns, strict=True)}
        return pd.DataFrame(columns, dtype="str")


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
    return ".json" in path.suffixes[-2:]


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
    return pd.Series(list(map(as_text, cells)), dtype="str")


def _are_beyond_double(cells: Sequence[Any], kinds: set[type]) -> bool:
    """Whether whole numbers are so large that a float would make several of them one: identifiers, then."""
    return int in kinds and any(type(cell) is int and abs(cell) > WHOLE_IN_FLOAT64 for cell in cells)


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


def sqlite_size(path: Path) -> ReadingSize:
    """Return what reading a database may take: a query of all that it holds."""
    return ReadingSize(n_bytes=OBJECTS_PER_BYTE * path.stat().st_size)


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
