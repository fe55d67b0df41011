"""MNIST and CIFAR: the files that Keras publishes, found or fetched, verified and read without Keras.

Sources of the data: LeCun, Cortes and Burges, MNIST, http://yann.lecun.com/exdb/mnist; Krizhevsky 2009, CIFAR-10 and
CIFAR-100, https://www.cs.toronto.edu/~kriz/cifar.html. Addresses and checksums are those of ``keras.datasets``.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig, require
from depthcheck.pipeline.data.arrays import known_pictures
from depthcheck.pipeline.data.fetch import DataNotFoundError, fetch_file, find, keras_home, require_published
from depthcheck.pipeline.records import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """One file: its address, its checksum, and the names that it has in Keras's cache or a user's folder."""

    url: str
    sha256: str
    names: tuple[str, ...]


FILES = {
    "mnist": PublishedFile(
        url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
        sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
        names=("mnist.npz",),
    ),
    "cifar10": PublishedFile(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        names=("cifar-10-python.tar.gz", "cifar-10-batches-py-target_archive", "cifar-10-batches-py.tar.gz"),
    ),
    "cifar100": PublishedFile(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        names=("cifar-100-python.tar.gz", "cifar-100-python-target_archive"),
    ),
}
_TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


def load_keras_file(
    config: DataConfig, folder: Path | None, cache: Path, log: Callable[[str], None] = lambda _line: None
) -> Dataset:
    """Return MNIST, CIFAR-10 or CIFAR-100 (fine classes).

    Parameters
    ----------
    config
        Its name is one of :data:`FILES`.
    folder
        Where the user says that the file is; then nowhere else is looked.
    cache
        Folder of this project, for what it fetches itself.
    log
        Told of damaged files and of downloads.

    Raises
    ------
    DataNotFoundError
        Naming each place, what was wrong there, and the remedies.
    """
    file = FILES[config.name]
    places = _places(config.name, cache, log)
    path, source = find(config.name, folder, places, partial(_in_folder, file), remedies=_remedies(file), log=log)
    if config.name == "mnist":
        with np.load(path, allow_pickle=False) as stored:
            arrays = tuple(stored[key] for key in ("x_train", "y_train", "x_test", "y_test"))
        class_names = tuple("0123456789")
    else:
        arrays, class_names = _read_cifar(path, config.name)
    return known_pictures(config, source, arrays, class_names=class_names, pixel_max=255)


def _places(
    name: str, cache: Path, log: Callable[[str], None]
) -> Iterator[tuple[str, Callable[[], None] | None, Path]]:
    file, in_cache = FILES[name], cache / name
    yield "Keras's cache", None, keras_home() / "datasets"
    yield "this project's cache", None, in_cache
    log(f"{name}: not on this machine; downloading {file.url}")
    check = partial(require_published, sha256=file.sha256)
    yield "download", partial(fetch_file, file.url, in_cache / file.names[0], check), in_cache


def _in_folder(file: PublishedFile, folder: Path) -> Path:
    """Return the first of the file's names that is there, if it is whole."""
    path = next((folder / name for name in file.names if (folder / name).is_file()), folder / file.names[0])
    require_published(path, file.sha256)
    return path


def _remedies(file: PublishedFile) -> str:
    return (
        "Either of these helps:\n  a network: then the next start downloads it\n"
        f"  the file {file.url}\n    in a folder of your own, named by -P data_folder=FOLDER"
    )


def _read_cifar(path: Path, name: str) -> tuple[tuple[NDArray[Any], ...], tuple[str, ...]]:
    """Read the batches inside CIFAR's archive, pictures as ``(n, 32, 32, 3)``, and the names of the classes."""
    train, test, key, meta, names = (
        (_TRAIN_BATCHES, ("test_batch",), b"labels", "batches.meta", b"label_names")
        if name == "cifar10"
        else (("train",), ("test",), b"fine_labels", "meta", b"fine_label_names")
    )
    wanted, parts = {*train, *test, meta}, {}
    # Members come in the order of the archive: going forward once spares unpacking it again for each.
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if Path(member.name).name in wanted and member.isfile() else None
            if file is not None:
                parts[Path(member.name).name] = unpickle_plain(file.read())
    missing = sorted(wanted - set(parts))
    require(not missing, f"members of {path.name}", f"{', '.join(sorted(wanted))}", f"none called {missing}")
    arrays = []
    for batches in (train, test):
        arrays.append(_pictures(np.concatenate([parts[batch][b"data"] for batch in batches])))
        arrays.append(np.concatenate([np.asarray(parts[batch][key]) for batch in batches]))
    return tuple(arrays), tuple(label.decode() for label in parts[meta][names])


def _pictures(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return rows of 1,024 red, green and blue values each as pictures, the colours of a pixel side by side."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


class _PlainUnpickler(pickle.Unpickler):
    """A pickle is a program; this runs one that makes numpy arrays and Python's own containers, and no other."""

    def find_class(self, module: str, name: str) -> Any:
        reconstruct = np.empty(0).__reduce__()[0]
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"a data file must hold arrays and containers alone, got {module}.{name}")
        return allowed[module, name]


def unpickle_plain(data: bytes) -> Any:
    """Return what a pickle of Python 2 or 3 holds, text of Python 2 as bytes.

    Raises
    ------
    DataNotFoundError
        When it wants anything but arrays, numbers, text and containers.
    """
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError) as trouble:
        raise DataNotFoundError(str(trouble)) from None
