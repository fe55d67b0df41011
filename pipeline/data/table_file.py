"""A table in a file, whatever its format: first its columns, then its rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.fetch import DataNotFoundError
from depthcheck.pipeline.data.guess import listed, nearest
from depthcheck.pipeline.paths import user_path

if TYPE_CHECKING:
    import pandas as pd

_TEXT = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data")
_PACKED = (".gz", ".bz2", ".xz", ".zip")
_PARQUET = (".parquet", ".pq")
_FEATHER = (".feather", ".arrow", ".ipc")
_SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
FORMATS = "CSV, TSV, Parquet, Feather or a spreadsheet"


class TableFile(Protocol):
    """A file that knows the names of its columns, and can be read."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, unique."""

    def read(self) -> pd.DataFrame:
        """Return all rows; cells are numbers, booleans, dates, or text with None where missing."""


def is_table_file(path: Path) -> bool:
    """Tell by its name whether a file holds a table."""
    return path.suffix.lower() in (*_TEXT, *_PARQUET, *_FEATHER, *_SPREADSHEETS, *_PACKED)


def open_table(path: Path, log: Callable[[str], None] = lambda _line: None) -> TableFile:
    """Return a table's file, of which no more is read than its columns' names need.

    Parameters
    ----------
    path
        Its suffix tells the format; what no suffix is known of is taken for CSV.
    log
        Told, a line at a time, of every guess: encodings, names that were made unique, commas in numbers.

    Raises
    ------
    DataNotFoundError
        When there is no such file.
    ValueError
        When it is damaged, empty or has no names of columns.
    """
    require_file(path)
    suffix = path.suffix.lower()
    if suffix in (*_PARQUET, *_FEATHER):
        from depthcheck.pipeline.data.columnar import ColumnarFile

        return ColumnarFile(path, log)
    if suffix in _SPREADSHEETS:
        from depthcheck.pipeline.data.excel import SpreadsheetFile

        return SpreadsheetFile(path, log)
    from depthcheck.pipeline.data.delimited import DelimitedFile

    return DelimitedFile(path, log)


def read_test(config: DataConfig, log: Callable[[str], None]) -> pd.DataFrame | None:
    """Return the rows of the second file, where one is named; that it has the target is told before they are read."""
    if config.test_file is None:
        return None
    path = user_path(config.test_file, "test_file")
    table = open_table(path, log)
    if config.target not in table.names:
        raise ValueError(
            f"target must be a column of test_file {path.name} too: {listed(table.names)}; got {config.target!r}"
        )
    return table.read()


def require_file(path: Path) -> None:
    """Complain about a file that is not there, with the nearest one that is.

    Raises
    ------
    DataNotFoundError
        In one line.
    """
    if path.is_file():
        return
    folder = path.parent
    if path.is_dir():
        raise DataNotFoundError(f"a table must be a file, got the folder {path}")
    if not folder.is_dir():
        raise DataNotFoundError(f"there is no file {path}: there is no folder {folder}")
    raise DataNotFoundError(f"there is no file {path}{nearest(path.name, (file.name for file in folder.iterdir()))}")
