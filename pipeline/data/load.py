"""A data set by its name or path. Data are read in this folder and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcheck.pipeline.config import DataConfig, require
from depthcheck.pipeline.data import fashion_mnist, keras_files, openml, scikit_learn
from depthcheck.pipeline.data.arrays import array_dataset, digest
from depthcheck.pipeline.data.columns import listed, nearest
from depthcheck.pipeline.data.fetch import DataNotFoundError
from depthcheck.pipeline.data.guess import refuse_columns, require_columns
from depthcheck.pipeline.paths import user_path
from depthcheck.pipeline.records import Dataset

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NAMES", "SOURCES", "DataNotFoundError", "DataSource", "digest", "load", "read_samples"]

Log = Callable[[str], None]


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
    """

    arrays: Callable[[DataConfig, Path | None, Path, Log], Dataset] | None = None
    table: Callable[[DataConfig, Path, Log], tuple[pd.DataFrame, DataConfig, str]] | None = None
    has_files: bool = False


#: By the name of the data; a name that ends in a colon stands for every name that begins with it.
SOURCES = {
    "fashion-mnist": DataSource(arrays=fashion_mnist.load_fashion_mnist, has_files=True),
    **{name: DataSource(arrays=keras_files.load_keras_file, has_files=True) for name in keras_files.FILES},
    "digits": DataSource(arrays=scikit_learn.load_digits),
    **{name: DataSource(table=scikit_learn.read_table) for name in scikit_learn.TABLES},
    openml.PREFIX: DataSource(table=openml.read_table),
}
#: What has a name: a view, to which a source that is added later belongs.
NAMES = SOURCES.keys()


def load(config: DataConfig, *, folder: Path | None = None, cache: Path, log: Log = lambda _line: None) -> Dataset:
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

    Raises
    ------
    DataNotFoundError
        When no source has the data whole; names each place tried and the remedies.
    ValueError
        When no data set has this name, or it is not as it must be.
    """
    source = _source_of(config.name)
    if source is None:
        path, test_file = _own_places(config, folder)
        return _load_own(replace(config, test_file=None if test_file is None else str(test_file)), path, log)
    require(
        folder is None or source.has_files,
        f"folder of {config.name}",
        "left out: it is fetched or comes with scikit-learn",
        str(folder),
    )
    if source.arrays is not None:
        refuse_columns(config, config.name)
        return source.arrays(config, folder, cache, log)
    assert source.table is not None
    return _load_table(*source.table(config, cache, log), log)


def own_files(config: DataConfig, folder: Path | None = None) -> list[Path]:
    """Return the files of the user's own that data are read from; known data have none but a test part.

    Parameters
    ----------
    config, folder
        As :func:`load` takes them.
    """
    is_known = _source_of(config.name) is not None
    path, test_file = _own_places(config, None if is_known else folder)
    places = [*([] if is_known else [path]), *([] if test_file is None else [test_file])]
    return [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]


def read_samples(path: Path, *, log: Log = lambda _line: None) -> Any:
    """Return the samples of a file without their targets being known: a table's rows, or ``X`` of an NPZ file.

    Raises
    ------
    ValueError
        When the file is not there, or cannot be read; or when its rows have a cell more than its first line has names:
        R writes the rows' names so, but whoever lost a name sends the same, and would get answers to shifted rows.
    """
    from depthcheck.pipeline.data import delimited, formats

    formats.require_file(path)
    read = next((known.samples for known in formats.FORMATS if known.samples and known.fits(path)), None)
    if read is not None:
        return read(path)
    table = formats.open_table(path, log)
    if isinstance(table, delimited.DelimitedFile) and table.has_row_names:
        n_cells = len(table.names)
        raise ValueError(
            f"{path.name} must have as many cells in each row as names in its first line, which are {n_cells - 1}, got "
            f"{n_cells} in row 1"
        )
    return table.read()


def _source_of(name: str) -> DataSource | None:
    prefix, colon, _ = name.partition(":")
    return SOURCES.get(name) or SOURCES.get(prefix + colon)


def _own_places(config: DataConfig, folder: Path | None) -> tuple[Path, Path | None]:
    """Return where a user's data lie, and their test part where it has a file of its own."""
    path = user_path(config.name, "data")
    test_file = None if config.test_file is None else user_path(config.test_file, "test_file")
    if folder is None:
        return path, test_file
    return folder / path.name, None if test_file is None else folder / test_file.name


def _load_own(config: DataConfig, path: Path, log: Log) -> Dataset:
    from depthcheck.pipeline.data import formats
    from depthcheck.pipeline.data.tables import table_dataset

    if not path.exists():
        raise _unknown(str(path), path)
    known = formats.format_of(path)
    source = f"{'folder' if path.is_dir() else 'file'} {path}"
    if known.table is not None:
        table = known.table(path, log)
        require_columns(config, table.names, path.name)
        test = _read_test(config, log)
        return table_dataset(table.read(), config, name=path.name, source=source, test=test, log=log)
    assert known.arrays is not None
    refuse_columns(config, path.name)
    samples, own_test, class_names = known.arrays(path, log)
    return array_dataset(config, name=path.name, source=source, samples=samples, test=own_test, class_names=class_names)


def _load_table(frame: pd.DataFrame, config: DataConfig, source: str, log: Log) -> Dataset:
    from depthcheck.pipeline.data.tables import table_dataset

    return table_dataset(frame, config, name=config.name, source=source, test=_read_test(config, log), log=log)


def _read_test(config: DataConfig, log: Log) -> pd.DataFrame | None:
    """Return the rows of the second file, where one is named; that it has the target is told before they are read."""
    if config.test_file is None:
        return None
    from depthcheck.pipeline.data.formats import open_table

    path = user_path(config.test_file, "test_file")
    table = open_table(path, log)
    if config.target not in table.names:
        raise ValueError(
            f"target must be a column of test_file {path.name} too: {listed(table.names)}; got {config.target!r}"
        )
    return table.read()


def _unknown(name: str, path: Path) -> DataNotFoundError:
    """Return the complaint about what is neither a name nor there: as a name if it looks like one, else as a path."""
    if path.parent == Path() and not path.suffix:
        names = [f"{known}<number or name>" if known.endswith(":") else known for known in NAMES]
        there = f"one of {', '.join(names)}, or the path of a file or folder"
        return DataNotFoundError(f"data must be {there}, got {name!r}{nearest(name, NAMES)}")
    folder = path.parent
    if not folder.is_dir():
        return DataNotFoundError(f"data must be a path that exists, got {name!r}: there is no folder {folder}")
    hint = nearest(path.name, (child.name for child in folder.iterdir()))
    return DataNotFoundError(f"data must be a path that exists, got {name!r}{hint}")
