"""Find Fashion-MNIST: the places it may lie or come from, in order, each verified against the published checksums.

Source of the data: Xiao, Rasul and Vollgraf 2017, https://github.com/zalandoresearch/fashion-mnist, MIT licence.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.arrays import known_pictures
from depthcheck.pipeline.data.fetch import DataNotFoundError, fetch_debian_folder, fetch_file, find, keras_home
from depthcheck.pipeline.data.idx import parse_idx
from depthcheck.pipeline.records import Dataset

CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
#: SHA-256 of the uncompressed files, in the order of :data:`Arrays`.
FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
#: Where Keras publishes them, each as ``.gz``.
URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
DEBIAN_PACKAGE = "dataset-fashion-mnist"

#: Pictures and labels of the training part, then of the test part.
Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def load_fashion_mnist(config: DataConfig, folder: Path | None, cache: Path, log: Callable[[str], None]) -> Dataset:
    """Return Fashion-MNIST.

    Parameters
    ----------
    config
        Its task and metric, where they are said.
    folder
        Where the user says that the files are; then nowhere else is looked.
    cache
        Folder of this project, for what it fetches itself.
    log
        Told of damaged files and of downloads.

    Raises
    ------
    DataNotFoundError
        Naming each place, what was wrong there, and the remedies.
    """
    arrays, source = find("fashion-mnist", folder, _places(cache, log), read_folder, remedies=_REMEDIES, log=log)
    return known_pictures(config, source, arrays, class_names=CLASS_NAMES, pixel_max=255)


def read_folder(folder: Path) -> Arrays:
    """Read and verify the four IDX files of a folder, plain or as ``.gz``.

    Raises
    ------
    FileNotFoundError
        Naming the first file that is missing.
    DataNotFoundError
        Naming the first that is not the published one.
    """
    if not folder.is_dir():
        raise FileNotFoundError("there is no such folder")
    train_images, train_labels, test_images, test_labels = (
        parse_idx(_read_verified(folder / name, sha256)) for name, sha256 in FILES.items()
    )
    return train_images, train_labels, test_images, test_labels


def _places(cache: Path, log: Callable[[str], None]) -> Iterator[tuple[str, Callable[[], None] | None, Path]]:
    in_cache = cache / "fashion-mnist"
    yield "Keras's cache", None, keras_home() / "datasets" / "fashion-mnist"
    yield "the system's packages", None, SYSTEM_FOLDER
    yield "this project's cache", None, in_cache
    log(f"fashion-mnist: not on this machine; downloading {URL} (30 MB)")
    yield "download", partial(_download, in_cache), in_cache
    log(f"fashion-mnist: no download; fetching Debian's package {DEBIAN_PACKAGE} (30 MB)")
    yield "Debian's package", partial(fetch_debian_folder, DEBIAN_PACKAGE, f"{SYSTEM_FOLDER}"[1:], in_cache), in_cache


def _download(target: Path) -> None:
    for name, sha256 in FILES.items():
        fetch_file(f"{URL}/{name}.gz", target / f"{name}.gz", partial(_require_packed, sha256=sha256))


def _require_packed(file: Path, sha256: str) -> None:
    _read_verified(file.with_suffix(""), sha256)


def _read_verified(path: Path, sha256: str) -> bytes:
    compressed = path.with_name(path.name + ".gz")
    if path.is_file():
        data = path.read_bytes()
    elif compressed.is_file():
        try:
            data = gzip.decompress(compressed.read_bytes())
        except (EOFError, zlib.error, gzip.BadGzipFile) as trouble:
            raise DataNotFoundError(f"{compressed.name} is damaged: {trouble}") from None
    else:
        raise FileNotFoundError(f"there is neither {path.name} nor {compressed.name}")
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        raise DataNotFoundError(f"{path.name} is not the published file: its SHA-256 must be {sha256}, got {got}")
    return data


_REMEDIES = f"""Any one of these helps:
  a network: then the next start downloads it
  on Debian or Ubuntu: sudo apt-get install {DEBIAN_PACKAGE}
  the four files of https://github.com/zalandoresearch/fashion-mnist in a folder of your own, named by
    -P data_folder=FOLDER"""
