"""Published data by name: Fashion-MNIST, MNIST and CIFAR, what scikit-learn has or fetches, and tables of OpenML.

Files of pictures are held against the published checksum and read without Keras. Addresses and checksums are those of
``keras.datasets``; the data are of Xiao, Rasul and Vollgraf 2017, https://github.com/zalandoresearch/fashion-mnist, MIT
licence; LeCun, Cortes and Burges, MNIST, http://yann.lecun.com/exdb/mnist; and Krizhevsky 2009, CIFAR-10 and CIFAR-100,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import socket
import tarfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig, require
from depthcheck.pipeline.data.arrays import known_pictures
from depthcheck.pipeline.data.cells import listed
from depthcheck.pipeline.data.fetch import (
    DataNotFoundError,
    Places,
    fetch_debian_folder,
    fetch_file,
    find,
    keras_home,
    require_published,
)
from depthcheck.pipeline.data.own_arrays import parse_idx
from depthcheck.pipeline.data.sniff import open_bytes, unique_names
from depthcheck.pipeline.records import Dataset

if TYPE_CHECKING:
    import pandas as pd

CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
#: SHA-256 of the uncompressed files: pictures and labels of the training part, then of the test part.
FASHION_FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
#: Where Keras publishes them, each as ``.gz``.
FASHION_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
DEBIAN_PACKAGE = "dataset-fashion-mnist"
_FASHION_REMEDIES = f"""Any one of these helps:
  a network: then the next start downloads it
  on Debian or Ubuntu: sudo apt-get install {DEBIAN_PACKAGE}
  the four files of https://github.com/zalandoresearch/fashion-mnist in a folder of your own, named by
    data_folder=FOLDER"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """One file: its address, its checksum, and the names that it has in Keras's cache or a user's folder."""

    url: str
    sha256: str
    names: tuple[str, ...]


KERAS_FILES = {
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
#: Tables that scikit-learn has or fetches, and what stands before OpenML's number or name of one.
TABLES = ("iris", "wine", "breast-cancer", "diabetes", "california-housing")
OPENML = "openml:"
_SILENCE_SECONDS = 20
_TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


def load_fashion_mnist(config: DataConfig, folder: Path | None, cache: Path, log: Callable[[str], None]) -> Dataset:
    """Return Fashion-MNIST; the parameters are those of :attr:`depthcheck.pipeline.data.load.DataSource.arrays`.

    Raises
    ------
    DataNotFoundError
        Naming each place, what was wrong there, and the remedies.
    """
    places = _fashion_places(cache, log)
    arrays, source = find("fashion-mnist", folder, places, _read_fashion, remedies=_FASHION_REMEDIES, log=log)
    return known_pictures(config, source, arrays, class_names=CLASS_NAMES, pixel_max=255, log=log)


def load_keras_file(config: DataConfig, folder: Path | None, cache: Path, log: Callable[[str], None]) -> Dataset:
    """Return what :data:`KERAS_FILES` names: MNIST, CIFAR-10 or CIFAR-100 (fine classes); else like Fashion-MNIST.

    Raises
    ------
    DataNotFoundError
        Naming each place, what was wrong there, and the remedies.
    """
    file = KERAS_FILES[config.name]
    remedies = (
        "Either of these helps:\n  a network: then the next start downloads it\n"
        f"  the file {file.url}\n    in a folder of your own, named by data_folder=FOLDER"
    )
    places = _keras_places(config.name, cache, log)
    path, source = find(config.name, folder, places, partial(_in_folder, file), remedies=remedies, log=log)
    if config.name == "mnist":
        with np.load(path, allow_pickle=False) as stored:
            arrays = tuple(stored[key] for key in ("x_train", "y_train", "x_test", "y_test"))
        class_names = tuple("0123456789")
    else:
        arrays, class_names = _read_cifar(path, config.name)
    return known_pictures(config, source, arrays, class_names=class_names, pixel_max=255, log=log)


def _fashion_places(cache: Path, log: Callable[[str], None]) -> Places:
    in_cache = cache / "fashion-mnist"
    yield "Keras's cache", None, keras_home() / "datasets" / "fashion-mnist"
    yield "the system's packages", None, SYSTEM_FOLDER
    yield "this project's cache", None, in_cache
    log(f"fashion-mnist: not on this machine; downloading {FASHION_URL} (30 MB)")
    yield "download", partial(_download_fashion, in_cache), in_cache
    log(f"fashion-mnist: no download; fetching Debian's package {DEBIAN_PACKAGE} (30 MB)")
    yield "Debian's package", partial(fetch_debian_folder, DEBIAN_PACKAGE, f"{SYSTEM_FOLDER}"[1:], in_cache), in_cache


def _keras_places(name: str, cache: Path, log: Callable[[str], None]) -> Places:
    file, in_cache = KERAS_FILES[name], cache / name
    yield "Keras's cache", None, keras_home() / "datasets"
    yield "this project's cache", None, in_cache
    log(f"{name}: not on this machine; downloading {file.url}")
    check = partial(require_published, sha256=file.sha256)
    yield "download", partial(fetch_file, file.url, in_cache / file.names[0], check), in_cache


def _download_fashion(target: Path) -> None:
    for name, sha256 in FASHION_FILES.items():
        check = partial(_read_verified, sha256=sha256)
        fetch_file(f"{FASHION_URL}/{name}.gz", target / f"{name}.gz", check)


def _read_fashion(folder: Path) -> tuple[NDArray[np.uint8], ...]:
    """Read and verify the four IDX files of a folder, plain or as ``.gz``."""
    if not folder.is_dir():
        raise FileNotFoundError("there is no such folder")
    return tuple(parse_idx(_read_verified(folder / name, sha256)) for name, sha256 in FASHION_FILES.items())


def _read_verified(path: Path, sha256: str) -> bytes:
    """Return the content of a file, or of the packed one of its name, if it is what was published."""
    compressed = path.with_name(f"{path.name}.gz")
    found = next((file for file in (path, compressed) if file.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"there is neither {path.name} nor {compressed.name}")
    with open_bytes(found) as file:
        data = file.read()
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        name = path.name.removesuffix(".gz")
        raise DataNotFoundError(f"{name} is not the published file: its SHA-256 must be {sha256}, got {got}")
    return data


def _in_folder(file: PublishedFile, folder: Path) -> Path:
    """Return the first of the file's names that is there, if it is whole."""
    path = next((folder / name for name in file.names if (folder / name).is_file()), folder / file.names[0])
    require_published(path, file.sha256)
    return path


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
                parts[Path(member.name).name] = _unpickle_plain(file.read())
    missing = sorted(wanted - set(parts))
    require(not missing, f"members of {path.name}", f"{', '.join(sorted(wanted))}", f"none called {missing}")
    arrays = []
    for batches in (train, test):
        # A row has 1,024 red, then green, then blue values; in pictures the colours of a pixel are side by side.
        rows = np.concatenate([parts[batch][b"data"] for batch in batches])
        arrays.append(np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)))
        arrays.append(np.concatenate([np.asarray(parts[batch][key]) for batch in batches]))
    return tuple(arrays), tuple(label.decode() for label in parts[meta][names])


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


def _unpickle_plain(data: bytes) -> Any:
    """Return what a pickle of Python 2 or 3 holds, text of Python 2 as bytes; refuse one that wants anything else."""
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError) as trouble:
        raise DataNotFoundError(str(trouble)) from None


def load_digits(config: DataConfig, _folder: Path | None, _cache: Path, log: Callable[[str], None]) -> Dataset:
    """Return scikit-learn's 1,797 digits of 8 x 8 pixels, 0 to 16.

    They have no official test part: a fifth is set aside here, stratified, by one fixed seed that no study can
    change, so that every study keeps its hands off the same samples.
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    digits = datasets.load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target
    X, X_test, y, y_test = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    class_names = tuple(str(label) for label in digits.target_names)
    arrays = X, y, X_test, y_test
    return known_pictures(config, "scikit-learn", arrays, class_names=class_names, pixel_max=16, log=log)


def read_table(config: DataConfig, cache: Path, log: Callable[[str], None]) -> tuple[pd.DataFrame, DataConfig, str]:
    """Return one of :data:`TABLES`, the configuration with its target in it, and the words for its source.

    Classes are written as their names; the target's column is called ``target``, of the houses ``MedHouseVal``.

    Raises
    ------
    DataNotFoundError
        When it would have to be fetched and cannot be.
    """
    from sklearn import datasets

    if config.name == "california-housing":
        frame, target = _california_housing(cache / "scikit-learn", log), "MedHouseVal"
        source = "scikit-learn's download"
    else:
        bunch = getattr(datasets, f"load_{config.name.replace('-', '_')}")(as_frame=True)
        frame, target, source = bunch.frame, "target", "scikit-learn"
        if "target_names" in bunch:
            frame = frame.assign(target=np.asarray(bunch.target_names).astype(str)[bunch.target])
    return frame, config if config.target is not None else replace(config, target=target), source


def read_openml(config: DataConfig, cache: Path, log: Callable[[str], None]) -> tuple[pd.DataFrame, DataConfig, str]:
    """Return a table of OpenML, the configuration with its target in it, and the words for its source.

    What was fetched once is kept below ``cache``, and read from there without a network. Files of tables are held
    against the MD5 that OpenML gives.

    Raises
    ------
    DataNotFoundError
        When OpenML cannot be asked.
    ValueError
        When OpenML does not know it, or it is no table with one target.
    """
    wanted = config.name.removeprefix(OPENML).strip()
    require(bool(wanted), "data", "openml:<number or name>", config.name)
    bunch = _fetch_openml(wanted, config.name, cache / "scikit-learn", log)
    details, targets = bunch.details, [name.strip() for name in bunch.target_names]
    frame = bunch.frame.set_axis(unique_names(list(map(str, bunch.frame.columns)), config.name, log), axis=1)
    if config.target is None:
        require(len(targets) == 1, "target", f"named: {config.name} has {len(targets)} of its own", listed(targets))
        config = replace(config, target=targets[0])
    return frame, config, f"OpenML {details['id']}, {details['name']} version {details['version']}"


def _california_housing(home: Path, log: Callable[[str], None]) -> pd.DataFrame:
    from sklearn.datasets import fetch_california_housing

    if not any(home.glob("cal_housing*")):
        log("california-housing: not on this machine; asking scikit-learn to download it (2 MB)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of scikit-learn's own attempts: their end tells
            frame: pd.DataFrame = fetch_california_housing(data_home=home, as_frame=True, n_retries=1).frame
    except OSError as trouble:
        raise DataNotFoundError(
            f"california-housing is not in {home}, and scikit-learn could not download it: {trouble}"
        ) from None
    return frame


def _fetch_openml(wanted: str, name: str, home: Path, log: Callable[[str], None]) -> Any:
    from sklearn.datasets import fetch_openml

    which: dict[str, Any] = {"data_id": int(wanted)} if wanted.isdigit() else {"name": wanted}
    try:
        with _bounded_silence(), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            fetch = partial(fetch_openml, **which, data_home=home, as_frame=True, n_retries=1)
            try:  # pandas makes numbers of names that are digits, unless something stands between thousands
                bunch = fetch(parser="pandas", read_csv_kwargs={"thousands": "\x1f"})
            except TypeError:  # of names that are true and false; the other way takes seven times as long
                bunch = fetch(parser="liac-arff")
    except HTTPError as trouble:
        raise DataNotFoundError(f"{name}: OpenML answered {trouble.code} {trouble.reason}") from None
    except OSError as trouble:
        raise DataNotFoundError(f"{name} is not in {home}, and OpenML could not be asked: {trouble}") from None
    except (ValueError, KeyError) as trouble:
        raise ValueError(f"data must be a table that OpenML knows, got {name!r}: {trouble}") from None
    said = (" ".join(str(warning.message).split()) for warning in told if issubclass(warning.category, UserWarning))
    for line in dict.fromkeys(said):
        log(f"{name}: {line}")
    return bunch


@contextmanager
def _bounded_silence() -> Iterator[None]:
    """Let a server that says nothing end the attempt: scikit-learn itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
