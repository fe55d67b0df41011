"""The formats that a user's own data can be in: an entry of :data:`FORMATS` each, and nothing else lists them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from depthcheck.pipeline.data import idx, image_folder, npz
from depthcheck.pipeline.data.arrays import OwnArrays
from depthcheck.pipeline.data.columnar import ColumnarFile
from depthcheck.pipeline.data.columns import nearest
from depthcheck.pipeline.data.delimited import DelimitedFile
from depthcheck.pipeline.data.excel import SpreadsheetFile
from depthcheck.pipeline.data.fetch import DataNotFoundError
from depthcheck.pipeline.data.sniff import PACKED

if TYPE_CHECKING:
    import pandas as pd

Log = Callable[[str], None]


class TableFile(Protocol):
    """A file that knows the names of its columns, and can be read."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, unique."""

    def read(self) -> pd.DataFrame:
        """Return all rows; cells are numbers, booleans, dates, or text with None where missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFormat:
    """A kind of file or folder that holds data: a table, or arrays; one of ``table`` and ``arrays`` is given.

    Attributes
    ----------
    name
        What a user is told that the data can be; of a folder, what it must have.
    suffixes
        By which a file is known, in small letters with their point.
    in_folder
        Of a folder: whether one holds data of this kind.
    table
        Opens a table, reading no more than its columns' names need. Told, a line at a time, of every guess.
    arrays
        Reads arrays; told of every guess as well.
    samples
        Of a file of arrays: reads those to predict, whose targets nobody knows.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    in_folder: Callable[[Path], bool] | None = None
    table: Callable[[Path, Log], TableFile] | None = None
    arrays: Callable[[Path, Log], OwnArrays] | None = None
    samples: Callable[[Path], Any] | None = None

    def fits(self, path: Path) -> bool:
        """Tell whether a file or folder is of this format."""
        if path.is_dir():
            return self.in_folder is not None and self.in_folder(path)
        return path.suffix.lower() in self.suffixes


_TEXT = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", *PACKED)
#: The first that fits is taken.
FORMATS = [
    DataFormat(name="CSV, TSV", suffixes=_TEXT, table=DelimitedFile),
    DataFormat(name="Parquet, Feather", suffixes=(".parquet", ".pq", ".feather", ".arrow", ".ipc"), table=ColumnarFile),
    DataFormat(name="a spreadsheet", suffixes=(".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"), table=SpreadsheetFile),
    DataFormat(name="an NPZ file", suffixes=(".npz",), arrays=npz.read_npz, samples=npz.read_x),
    DataFormat(
        name="four IDX files", in_folder=lambda path: bool(idx.find_idx_files(path)), arrays=idx.read_idx_folder
    ),
    DataFormat(
        name="a subfolder of images for each class",
        in_folder=image_folder.has_images,
        arrays=image_folder.read_image_folder,
    ),
]


def format_of(path: Path) -> DataFormat:
    """Return the format of a file or folder.

    Raises
    ------
    ValueError
        When it is of none; names those that there are.
    """
    found = next((known for known in FORMATS if known.fits(path)), None)
    if found is not None:
        return found
    if path.is_dir():
        names = ", or ".join(known.name for known in FORMATS if known.in_folder is not None)
        there = ", ".join(sorted(child.name for child in path.iterdir())[:5]) or "nothing in it"
        raise ValueError(f"a folder of data must have {names}, got {path} with {there}")
    names = ", ".join(known.name for known in FORMATS if known.suffixes)
    raise ValueError(f"data must be {names} or a folder, got {path.name!r}")


def open_table(path: Path, log: Log = lambda _line: None) -> TableFile:
    """Return a table's file, of which no more is read than its columns' names need.

    Parameters
    ----------
    path
        Its suffix tells the format; what no table's suffix is known of is taken for CSV.
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
    return next((known.table for known in FORMATS if known.table and known.fits(path)), DelimitedFile)(path, log)


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
