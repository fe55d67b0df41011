"""Read a table or a query of a database, SQLite or PostgreSQL, which is never written to."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcheck.pipeline.config import DataConfig, suggestion
from depthcheck.pipeline.data.amount import ReadingSize
from depthcheck.pipeline.data.cell_table import OBJECTS_PER_BYTE, CellTable
from depthcheck.pipeline.data.cells import listed

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection, Engine

#: How addresses of PostgreSQL begin.
POSTGRESQL = "postgresql:"
_SILENCE_SECONDS = 20


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
    """Return a table or a query of PostgreSQL, the configuration, and the words for where it was.

    Raises
    ------
    ValueError
        When the address cannot be understood, nobody answers there, or the table or the query is none.
    """
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(config.name).set(drivername="postgresql+psycopg")
        limit = {"connect_timeout": _SILENCE_SECONDS}
        engine = create_engine(url, connect_args=limit, execution_options={"postgresql_readonly": True})
    except (ArgumentError, ValueError):
        raise ValueError(f"data must be an address like postgresql://user@host/database, got {config.name!r}") from None
    except ModuleNotFoundError:
        raise ValueError(f'{config.name} cannot be read without a driver: pip install "psycopg[binary]"') from None
    where = url.database or "the database"
    header, columns = _answer(engine, config.query, where, log)
    return CellTable(header, columns, where, log).read(), config, f"database {config.name}"


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
