"""A data set by its name or path. Data are read in this folder and nowhere else.

What has a name is an entry of :data:`SOURCES`, what a user's own file or folder can be one of :data:`FORMATS`; nothing
else lists them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import WITH_NA, DataConfig, require, suggestion
from depthcheck.pipeline.data import cell_table, own_arrays, published
from depthcheck.pipeline.data.amount import ProgressLine, ReadingSize, drawing_columns, drawn_rows, require_room
from depthcheck.pipeline.data.arrays import OwnArrays, array_dataset
from depthcheck.pipeline.data.cells import cells_of, listed
from depthcheck.pipeline.data.columnar import ColumnarFile, columnar_size
from depthcheck.pipeline.data.delimited import DelimitedFile, delimited_size
from depthcheck.pipeline.data.fetch import DataNotFoundError, fetched, is_address
from depthcheck.pipeline.data.sniff import PACKED
from depthcheck.pipeline.data.tables import has_decimal_comma, require_columns, table_dataset, task_of
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.system import kind_of, reading, user_path
from depthcheck.pipeline.verbatim import one_line

if TYPE_CHECKING:
    import pandas as pd

Log = Callable[[str], None]
_Names = Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """Where data come from that have a name; one of ``arrays`` and ``table`` is given.

    Attributes
    ----------
    arrays
        Takes the configuration, the folder that the user names or None, the folder for what is fetched, and whom to
        tell of it, a line at a time; returns the data set.
    table
        Takes the same without the user's folder; returns the table, the configuration with its target in it, and the
        words for where it was.
    has_files
        Whether the data lie in files, whose folder a user can name.
    takes
        Which word of the configuration says what is read of it, if one does: ``query``.
    rest
        Of a name that ends in a colon: what stands behind it, in words.
    """

    arrays: Callable[[DataConfig, Path | None, Path, Log], Dataset] | None = None
    table: Callable[[DataConfig, Path, Log], tuple[pd.DataFrame, DataConfig, str]] | None = None
    has_files: bool = False
    takes: str | None = None
    rest: str = "<number or name>"


#: By the name of the data; a name that ends in a colon stands for every name that begins with it.
SOURCES = {
    "fashion-mnist": DataSource(arrays=published.load_fashion_mnist, has_files=True),
    **{name: DataSource(arrays=published.load_keras_file, has_files=True) for name in published.KERAS_FILES},
    "digits": DataSource(arrays=published.load_digits),
    **{name: DataSource(table=published.read_table) for name in published.TABLES},
    published.OPENML: DataSource(table=published.read_openml),
    cell_table.POSTGRESQL: DataSource(table=cell_table.read_postgresql, takes="query", rest="//user@host/database"),
}
#: What has a name: a view, to which a source that is added later belongs.
NAMES = SOURCES.keys()


class TableFile(Protocol):
    """A file that knows the names of its columns, and can be read, in whole or in part."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, unique."""

    def read(self, *, rows: NDArray[np.int64] | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return rows and columns, all unless named; cells are numbers, booleans, dates, or text, None where missing.

        ``rows`` are rising positions. What cannot be read, and a table without rows, is a ValueError in one line.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFormat:
    """A kind of file or folder that holds data: a table, or arrays; one of ``table`` and ``arrays`` is given.

    Attributes
    ----------
    name
        What a user is told that the data can be; of a folder, what it must have.
    size
        Tells what reading one takes, from a look at it.
    suffixes
        By which a file is known, in small letters with their point.
    in_folder
        Of a folder: whether one holds data of this kind.
    table
        Opens a table, reading no more than its columns' names need. Told, a line at a time, of every guess; and, as
        its third argument, what the word that it ``takes`` says.
    takes
        Which word of the configuration says what is read of such a file, if one does: ``sheet`` or ``query``.
    arrays
        Reads arrays; told of every guess as well.
    samples
        Of a file of arrays: reads those to predict, whose targets nobody knows.
    """

    name: str
    size: Callable[[Path], ReadingSize] = lambda path: ReadingSize(n_bytes=path.stat().st_size)
    suffixes: tuple[str, ...] = ()
    in_folder: Callable[[Path], bool] | None = None
    table: Callable[..., TableFile] | None = None
    takes: str | None = None
    arrays: Callable[[Path, Log], OwnArrays] | None = None
    samples: Callable[[Path], Any] | None = None

    def fits(self, path: Path) -> bool:
        """Tell whether a file or folder is of this format."""
        if path.is_dir():
            return self.in_folder is not None and self.in_folder(path)
        return path.name.lower().endswith(self.suffixes)


#: Fewer lines that are alike are told one by one; of the first of more, so much is repeated.
_MANY_LINES, _SHOWN = 3, 60
_QUOTED = re.compile("'[^']*'")
_DIFFERING = re.compile(r"'[^']*'|[\d.,]+")
_CSV = DataFormat(
    name="CSV, TSV",
    suffixes=(".csv", ".tsv", ".tab", ".txt", ".dat", ".data", *PACKED),
    table=DelimitedFile,
    size=delimited_size,
)
_COLUMNAR = (".parquet", ".pq", ".feather", ".arrow", ".ipc")
_JSON = tuple(name + packed for name in (".jsonl", ".ndjson", ".json") for packed in ("", *PACKED))
#: The first that fits is taken.
FORMATS = [
    DataFormat(name="JSON, JSON Lines", suffixes=_JSON, table=cell_table.JsonFile, size=cell_table.json_size),
    _CSV,
    DataFormat(name="Parquet, Feather", suffixes=_COLUMNAR, table=ColumnarFile, size=columnar_size),
    DataFormat(
        name="a spreadsheet", suffixes=(".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"), table=cell_table.SpreadsheetFile,
        takes="sheet", size=cell_table.objects_size,
    ),
    DataFormat(
        name="SQLite", suffixes=(".db", ".sqlite", ".sqlite3"), table=cell_table.SqliteFile, takes="query",
        size=cell_table.objects_size,
    ),
    DataFormat(
        name="an NPZ file", suffixes=(".npz",), arrays=own_arrays.read_npz, samples=own_arrays.read_x,
        size=own_arrays.npz_size,
    ),
    DataFormat(
        name="four IDX files", in_folder=lambda path: bool(own_arrays.find_idx_files(path)),
        arrays=own_arrays.read_idx_folder, size=own_arrays.idx_size,
    ),
    DataFormat(
        name="a subfolder of images for each class", in_folder=own_arrays.has_images,
        arrays=own_arrays.read_image_folder, size=own_arrays.image_size,
    ),
]  # fmt: skip


def load(
    config: DataConfig,
    *,
    folder: Path | None = None,
    cache: Path,
    log: Log = lambda _line: None,
    looks_at_size: bool = True,
) -> Dataset:
    """Return a data set as its source has it: nothing cut, nothing scaled.

    Parameters
    ----------
    config
        Its name is one of :data:`NAMES`, ``openml:`` and a number or name, or the path of a file or folder.
    folder
        Where the user keeps the files of a known data set; without it they are searched for, then fetched. A file or
        folder that is named by its path is looked for in here by its last name, wherever it lay before.
    cache
        Folder of this project, for what it fetches itself; made when needed.
    log
        Told, a line at a time, of whatever takes long, was guessed, or went wrong without ending the search.
    looks_at_size
        Whether the user's own data are held against the memory that is left, before they are read.

    Raises
    ------
    DataNotFoundError
        When no source has the data whole; names each place tried and the remedies.
    ValueError
        When no data set has this name, or it is not as it must be.
    """
    with similar_told_once(log) as tell:
        return _loaded(config, folder, cache, tell, looks_at_size=looks_at_size)


def _loaded(config: DataConfig, folder: Path | None, cache: Path, log: Log, *, looks_at_size: bool) -> Dataset:
    source = _source_of(config.name)
    own = folder if source is None else None
    if config.test_file is not None:
        config = replace(config, test_file=str(_placed(config.test_file, "test_file", own, cache, log)))
    if source is None:
        return _load_own(config, _placed(config.name, "data", own, cache, log), log, looks_at_size=looks_at_size)
    require(
        folder is None or source.has_files,
        "data_folder",
        f"left out: {config.name} is read from no folder",
        str(folder),
    )
    _refuse_parts(_parts(config), source.takes, config.name)
    if source.arrays is not None:
        _refuse_columns(config, config.name)
        return source.arrays(config, folder, cache, log)
    assert source.table is not None
    table, config, where = source.table(config, cache, log)
    require_columns(config, [*map(str, table.columns)], config.name)
    comma = has_decimal_comma(table)
    config, rows, where = _sampled(config, lambda names: table[names], config.name, where, log, comma=comma)
    if rows is not None:
        table = table.iloc[rows]
    test = _read_test(config, log)
    return table_dataset(table, config, name=config.name, source=where, test=test, rows=rows, comma=comma, log=log)


def own_files(config: DataConfig, folder: Path | None = None) -> list[Path]:
    """Return the files of the user's own that data are read from; known data have none but a test part.

    The parameters are those of :func:`load`.
    """
    is_known = _source_of(config.name) is not None
    own = None if is_known else folder
    named = [] if is_known else [(config.name, "data")]
    named += [] if config.test_file is None else [(config.test_file, "test_file")]
    places = [_own_place(text, what, own) for text, what in named if own is not None or not is_address(text)]
    # os.path tells, and complains of nothing: whoever reads them does.
    return [
        file
        for place in places
        for file in (sorted(place.rglob("*")) if os.path.isdir(place) else [place])  # noqa: PTH112
    ]


def read_samples(
    source: Path | str, *, sheet: str | None = None, query: str | None = None, log: Log = lambda _line: None
) -> tuple[Any, TableFile | None]:
    """Return samples without their targets being known: a table's rows and that table, or ``X`` of an NPZ file.

    Parameters
    ----------
    source
        A file, or the address of a PostgreSQL database.
    sheet, query
        The sheet of a spreadsheet; a table's name or a ``SELECT`` of a database.

    Raises
    ------
    ValueError
        When the file is not there, or cannot be read; or when its rows have a cell more than its first line has names:
        R writes the rows' names so, but whoever lost a name sends the same, and would get answers to shifted rows.
    """
    if isinstance(source, str):
        _refuse_parts({"sheet": sheet}, None, source)
        answer = cell_table.open_postgresql(source, query, log)
        return answer.read(), answer
    _require_file(source)
    with reading(source, "input"):
        read = next((known.samples for known in FORMATS if known.samples and known.fits(source)), None)
        if read is not None:
            _refuse_parts({"sheet": sheet, "query": query}, None, source.name)
            return read(source), None
        table = open_table(source, log, sheet=sheet, query=query)
        if isinstance(table, DelimitedFile) and table.layout.has_row_names:
            n_cells = len(table.names)
            raise ValueError(
                f"{source.name} must have as many cells in each row as names in its first line, which are "
                f"{n_cells - 1}, got {n_cells} in row 1"
            )
        # The model alone knows where NA is a name, and what a point in 1.234 is.
        _keep(table, na=table.names, points=table.names, zeros=table.names)
        return table.read(), table


def open_table(
    path: Path, log: Log = lambda _line: None, *, sheet: str | None = None, query: str | None = None
) -> TableFile:
    """Return a table's file, of which no more is read than its columns' names need.

    Its suffix tells the format; what no table's suffix is known of is taken for CSV. ``log`` is told of every guess,
    ``sheet`` is that of a spreadsheet, ``query`` what a database is asked.

    Raises
    ------
    DataNotFoundError
        When there is no such file.
    ValueError
        When it is damaged, empty or has no names of columns; or has no sheets, or takes no query.
    """
    _require_file(path)
    return _opened(_table_format(path), path, {"sheet": sheet, "query": query}, log)


def _opened(known: DataFormat, path: Path, parts: Mapping[str, str | None], log: Log) -> TableFile:
    assert known.table is not None
    _refuse_parts(parts, known.takes, path.name)
    return known.table(path, log) if known.takes is None else known.table(path, log, parts[known.takes])


def _keep(table: TableFile, *, na: _Names, words: _Names = (), points: _Names, zeros: _Names) -> None:
    """Have columns of a text file read as they are written where words, such points or zeros are in their numbers."""
    if isinstance(table, DelimitedFile):
        table.keeps_na, table.keeps_words, table.keeps_points, table.keeps_zeros = na, words, points, zeros


def _with_na(config: DataConfig) -> list[str]:
    return [name for name, kind in config.columns if kind == WITH_NA]


def _table_format(path: Path) -> DataFormat:
    return next((known for known in FORMATS if known.table and known.fits(path)), _CSV)


def _parts(config: DataConfig) -> dict[str, str | None]:
    """Return what the configuration says of the part of a file or database that is read, word by word."""
    return {"sheet": config.sheet, "query": config.query}


def _refuse_parts(parts: Mapping[str, str | None], takes: str | None, what: str) -> None:
    """Complain about a sheet of what has none, and of a query of what is no database."""
    for word, part in parts.items():
        if part is not None and word != takes:
            raise ValueError(f"{word} must be left out: {what} takes none, got {part!r}")


@contextmanager
def similar_told_once(log: Log) -> Iterator[Log]:
    """Yield whom to tell lines: each is one line, whatever a file or a column is called; of many alike, the first.

    Lines are alike where they differ in numbers and quoted names. At the end up to two others of a kind are told, of
    more how many there are.
    """
    kinds: dict[str, list[str]] = {}

    def tell(line: str) -> None:
        alike = [] if isinstance(line, ProgressLine) else kinds.setdefault(_DIFFERING.sub("", line), [])
        if not alike:
            log(one_line(line))
        alike.append(line)

    try:
        yield tell
    finally:
        for first, *others in kinds.values():
            names = [next((name for name in _QUOTED.findall(line) if name not in first), "…") for line in others]
            in_one = f"… and {len(others):,} more lines like “{one_line(first, _SHOWN)}”: {listed(names)}"
            for line in others if len(others) < _MANY_LINES else [in_one]:
                log(one_line(line))


def _source_of(name: str) -> DataSource | None:
    prefix, colon, _ = name.partition(":")
    return SOURCES.get(name) or SOURCES.get(prefix.partition("+")[0] + colon)


def _placed(text: str, what: str, folder: Path | None, cache: Path, log: Log) -> Path:
    """Return where a user's file or folder lies by now; what has an address is fetched unless a folder is named."""
    if folder is None and is_address(text):
        return fetched(text, cache, log)
    if "://" in text and not is_address(text):
        known = "http://, https://, postgresql:// or sqlite:///"
        raise DataNotFoundError(f"{what} must be a path or an address that begins with {known}, got {text!r}")
    return _own_place(text, what, folder)


def _own_place(text: str, what: str, folder: Path | None) -> Path:
    path = Path(urlsplit(text).path) if is_address(text) else user_path(text, what)
    return path if folder is None else folder / path.name


def _load_own(config: DataConfig, path: Path, log: Log, *, looks_at_size: bool) -> Dataset:
    if not kind_of(path, "data"):
        raise _unknown(path)
    with reading(path, "data"):
        known = _format_of(path)
        if looks_at_size and config.query is None:  # what a query gives is known to the database alone
            require_room(path, known.size(path), rows=config.rows, taken=_room_of_test(config))
        source = f"{'folder' if path.is_dir() else 'file'} {path}"
        if known.table is not None:
            return _table_of(config, _opened(known, path, _parts(config), log), path, source, log)
        assert known.arrays is not None
        _refuse_parts(_parts(config), None, path.name)
        _refuse_columns(config, path.name)
        return array_dataset(config, known.arrays(path, log), name=path.name, source=source, log=log)


def _room_of_test(config: DataConfig) -> float:
    """Return the bytes that the test file takes; that it is not there, whoever reads it says."""
    if config.test_file is None or not os.path.isfile(config.test_file):  # noqa: PTH113  # complains of nothing
        return 0
    path = Path(config.test_file)
    with reading(path, "test_file"):
        return require_room(path, _table_format(path).size(path))


def _table_of(config: DataConfig, table: TableFile, path: Path, source: str, log: Log) -> Dataset:
    names = [name for name, kind in config.columns if kind.startswith("categorical")]
    commas = [name for name, kind in config.columns if kind == "decimal comma"]
    _keep(table, na=_with_na(config), points=[*names, *commas], zeros=names)
    require_columns(config, table.names, path.name)
    test = _read_test(config, log)
    comma = isinstance(table, DelimitedFile) and table.layout.comma
    config, rows, source = _sampled(
        config, lambda names: table.read(columns=names), path.name, source, log, comma=comma
    )
    return table_dataset(
        table.read(rows=rows), config, name=path.name, source=source, test=test, rows=rows,
        comma=table.comma if isinstance(table, DelimitedFile) else None,  # which reading has told
        log=log,
    )  # fmt: skip


def _sampled(
    config: DataConfig, read: Callable[[list[str]], pd.DataFrame], name: str, where: str, log: Log, *, comma: bool
) -> tuple[DataConfig, NDArray[np.int64] | None, str]:
    """Return the configuration, the rows to be read (None: all), and where they are; what is drawn is said.

    All rows tell what is learned, not the sample alone. ``comma``: the table is known to write a decimal comma.
    """
    if config.rows is None:
        return config, None, where
    columns = read(drawing_columns(config))
    if not set(columns) >= set(drawing_columns(config)):
        return config, None, where  # one holds what is no cell: whoever reads all of them says so
    task = task_of(cells_of(columns[config.target]), config, comma=comma)
    drawn = drawn_rows(columns, config, task)
    if drawn is None:
        log(f"{name}: all {len(columns):,} rows are read")
        return config, None, where
    rows, words = drawn
    log(f"{name}: {words}")
    return replace(config, task=task), rows, f"{where}, {words}"


def _refuse_columns(config: DataConfig, what: str) -> None:
    """Complain about words that only tables understand, said of arrays."""
    for word in ("target", "group", "time", "weight", "test_file", "test_column", "columns"):
        got = getattr(config, word)
        if got:
            raise ValueError(f"{word} must be left out: {what} has no columns, got {got!r}")


def _read_test(config: DataConfig, log: Log) -> pd.DataFrame | None:
    """Return the rows of the second file, where one is named; that it has the target is told before they are read."""
    if config.test_file is None:
        return None
    path = Path(config.test_file)
    _require_file(path)
    known = _table_format(path)
    with reading(path, "test_file"):
        parts = {word: part for word, part in _parts(config).items() if word == known.takes}
        table = _opened(known, path, parts, log)
        if config.target not in table.names:
            raise ValueError(
                f"target must be a column of test_file {path.name} too: {listed(table.names)}; got {config.target!r}"
            )
        # How the training data are written tells what a point is, and whether none or unknown is a name.
        _keep(table, na=_with_na(config), words=table.names, points=table.names, zeros=table.names)
        return table.read()


def _format_of(path: Path) -> DataFormat:
    found = next((known for known in FORMATS if known.fits(path)), None)
    if found is not None:
        return found
    if path.is_dir():
        names = ", or ".join(known.name for known in FORMATS if known.in_folder is not None)
        there = ", ".join(sorted(child.name for child in path.iterdir())[:5]) or "nothing in it"
        raise ValueError(f"a folder of data must have {names}, got {path} with {there}")
    names = ", ".join(known.name for known in FORMATS if known.suffixes)
    raise ValueError(f"data must be {names} or a folder, got {path.name!r}")


def _require_file(path: Path) -> None:
    kind = kind_of(path, "a table")
    if kind == "folder":
        raise DataNotFoundError(f"a table must be a file, got the folder {path}")
    if not kind:
        raise DataNotFoundError(f"there is no file {path}{_instead_of(path)}")


def _instead_of(path: Path) -> str:
    """Return what to say of a path that is not there: that its folder is not either, or the name most like its own."""
    folder = path.parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    return suggestion(path.name, (child.name for child in folder.iterdir()) if os.access(folder, os.R_OK) else ())


def _unknown(path: Path) -> DataNotFoundError:
    """Return the complaint about what is neither a name nor there: as a name if it looks like one, else as a path."""
    name = str(path)
    if path.parent == Path() and not path.suffix:
        names = [known + source.rest if known.endswith(":") else known for known, source in SOURCES.items()]
        there = f"one of {', '.join(names)}, or the path of a file or folder"
        return DataNotFoundError(f"data must be {there}, got {name!r}{suggestion(name, NAMES)}")
    return DataNotFoundError(f"data must be a path that exists, got {name!r}{_instead_of(path)}")
