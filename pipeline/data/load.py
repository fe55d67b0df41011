"""A data set by its name or path. Data are read in this folder and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcheck.pipeline.config import DataConfig, require
from depthcheck.pipeline.data import fashion_mnist, keras_files, openml, scikit_learn
from depthcheck.pipeline.data.arrays import digest, known_pictures
from depthcheck.pipeline.data.fetch import DataNotFoundError
from depthcheck.pipeline.data.guess import nearest, refuse_columns, require_columns
from depthcheck.pipeline.paths import user_path
from depthcheck.pipeline.records import Dataset

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NAMES", "DataNotFoundError", "digest", "load", "read_samples"]

#: Known pictures that lie in files: their folder can be named.
_PICTURE_FILES = ("fashion-mnist", *keras_files.FILES)
NAMES = (*_PICTURE_FILES, "digits", *scikit_learn.TABLES)

Log = Callable[[str], None]


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
    name = config.name
    if name in _PICTURE_FILES or name == "digits":
        return _load_pictures(config, folder, cache, log)
    if name in NAMES or name.startswith(openml.PREFIX):
        require(folder is None, f"folder of {name}", "left out: it is fetched or comes with scikit-learn", str(folder))
        read = scikit_learn.read_table if name in NAMES else openml.read_table
        return _load_table(*read(config, cache, log), log)
    path, test_file = _own_places(config, folder)
    config = replace(config, test_file=None if test_file is None else str(test_file))
    return _load_folder(config, path, log) if path.is_dir() else _load_file(config, path, log)


def own_files(config: DataConfig, folder: Path | None = None) -> list[Path]:
    """Return the files of the user's own that data are read from; known data have none but a test part.

    Parameters
    ----------
    config, folder
        As :func:`load` takes them.
    """
    is_known = config.name in NAMES or config.name.startswith(openml.PREFIX)
    path, test_file = _own_places(config, None if is_known else folder)
    places = [*([] if is_known else [path]), *([] if test_file is None else [test_file])]
    return [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]


def _own_places(config: DataConfig, folder: Path | None) -> tuple[Path, Path | None]:
    """Return where a user's data lie, and their test part where it has a file of its own."""
    path = user_path(config.name, "data")
    test_file = None if config.test_file is None else user_path(config.test_file, "test_file")
    if folder is None:
        return path, test_file
    return folder / path.name, None if test_file is None else folder / test_file.name


def read_samples(path: Path, *, log: Log = lambda _line: None) -> Any:
    """Return the samples of a file without their targets being known: a table's rows, or ``X`` of an NPZ file.

    Raises
    ------
    ValueError
        When the file is not there, or cannot be read; or when its rows have a cell more than its first line has names:
        R writes the rows' names so, but whoever lost a name sends the same, and would get answers to shifted rows.
    """
    from depthcheck.pipeline.data import delimited, npz, table_file

    if path.suffix.lower() == ".npz":
        return npz.read_x(path)
    table = table_file.open_table(path, log)
    if isinstance(table, delimited.DelimitedFile) and table.has_row_names:
        n_cells = len(table.names)
        raise ValueError(
            f"{path.name} must have as many cells in each row as names in its first line, which are {n_cells - 1}, got "
            f"{n_cells} in row 1"
        )
    return table.read()


def _load_pictures(config: DataConfig, folder: Path | None, cache: Path, log: Log) -> Dataset:
    refuse_columns(config, config.name)
    if config.name == "digits":
        require(folder is None, "folder of digits", "left out: scikit-learn brings them", str(folder))
        return scikit_learn.load_digits(config)
    if config.name in keras_files.FILES:
        return keras_files.load_keras_file(config, folder, cache, log)
    arrays, source = fashion_mnist.find_fashion_mnist(folder, cache, log)
    return known_pictures(config, source, arrays, class_names=fashion_mnist.CLASS_NAMES, pixel_max=255)


def _load_table(frame: pd.DataFrame, config: DataConfig, source: str, log: Log) -> Dataset:
    from depthcheck.pipeline.data.table_file import read_test
    from depthcheck.pipeline.data.tables import table_dataset

    test = read_test(config, log)
    return table_dataset(frame, config, name=config.name, source=source, test=test, log=log)


def _load_folder(config: DataConfig, path: Path, log: Log) -> Dataset:
    from depthcheck.pipeline.data import idx_folder, image_folder

    if idx_folder.find_idx_files(path):
        return idx_folder.load_idx_folder(config, path)
    if image_folder.has_images(path):
        return image_folder.load_image_folder(config, path, log)
    there = sorted(child.name for child in path.iterdir())[:5]
    raise ValueError(
        f"a folder of data must have four IDX files, or a subfolder of images for each class, got {path} with "
        f"{', '.join(there) or 'nothing in it'}"
    )


def _load_file(config: DataConfig, path: Path, log: Log) -> Dataset:
    from depthcheck.pipeline.data import npz, table_file

    if not path.exists():
        raise _unknown(str(path), path)
    if path.suffix.lower() == ".npz":
        return npz.load_npz(config, path)
    require(table_file.is_table_file(path), "data", f"{table_file.FORMATS}, an NPZ file or a folder", config.name)
    from depthcheck.pipeline.data.tables import table_dataset

    table = table_file.open_table(path, log)
    require_columns(config, table.names, path.name)
    test = table_file.read_test(config, log)
    return table_dataset(table.read(), config, name=path.name, source=f"file {path}", test=test, log=log)


def _unknown(name: str, path: Path) -> DataNotFoundError:
    """Return the complaint about what is neither a name nor there: as a name if it looks like one, else as a path."""
    if path.parent == Path() and not path.suffix:
        there = f"one of {', '.join(NAMES)}, openml:<number or name>, or the path of a file or folder"
        return DataNotFoundError(f"data must be {there}, got {name!r}{nearest(name, NAMES)}")
    folder = path.parent
    if not folder.is_dir():
        return DataNotFoundError(f"data must be a path that exists, got {name!r}: there is no folder {folder}")
    hint = nearest(path.name, (child.name for child in folder.iterdir()))
    return DataNotFoundError(f"data must be a path that exists, got {name!r}{hint}")
