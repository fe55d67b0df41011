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

from depthcheck.pipeline.data.fetch import DataNotFoundError, fetch_debian_folder, fetch_with_keras, keras_home
from depthcheck.pipeline.data.idx import parse_idx

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
DEBIAN_PACKAGE = "dataset-fashion-mnist"

#: Pictures and labels of the training part, then of the test part.
Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def find_fashion_mnist(folder: Path | None, cache: Path, log: Callable[[str], None]) -> tuple[Arrays, str]:
    """Return the four arrays and the words for where they were.

    Parameters
    ----------
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
    if folder is not None:
        try:
            return read_folder(folder), f"folder {folder}"
        except (OSError, ValueError) as trouble:
            raise DataNotFoundError(f"fashion-mnist is not in the folder named, {folder}: {trouble}") from None
    troubles = []
    for place, fetch, where in _places(cache, log):
        try:
            fetch()
            return read_folder(where), f"{place}, {where}"
        except (OSError, ValueError) as trouble:
            troubles.append(f"  {place} ({where}): {trouble}")
            if any(where.glob("*-ubyte*")):
                log(f"fashion-mnist: {place}, {where}: {trouble}; trying the next place")
    raise DataNotFoundError("\n".join(["fashion-mnist was not found. Tried, in this order:", *troubles, _REMEDIES]))


def read_folder(folder: Path) -> Arrays:
    """Read and verify the four IDX files of a folder, plain or as ``.gz``.

    Raises
    ------
    DataNotFoundError
        Naming the first file that is missing or is not the published one.
    """
    if not folder.is_dir():
        raise DataNotFoundError("there is no such folder")
    train_images, train_labels, test_images, test_labels = (
        parse_idx(_read_verified(folder / name, sha256)) for name, sha256 in FILES.items()
    )
    return train_images, train_labels, test_images, test_labels


def _places(cache: Path, log: Callable[[str], None]) -> Iterator[tuple[str, Callable[[], None], Path]]:
    """Yield the places in order: a name, what has to be done first, and the folder to read then."""
    in_keras, in_cache = keras_home() / "datasets" / "fashion-mnist", cache / "fashion-mnist"
    yield "Keras's cache", _nothing, in_keras
    yield "the system's packages", _nothing, SYSTEM_FOLDER
    yield "this project's cache", _nothing, in_cache
    log("fashion-mnist: not on this machine; asking Keras to download it (30 MB)")
    yield "Keras's download", partial(fetch_with_keras, "fashion_mnist", "fashion-mnist", in_cache), in_cache
    log(f"fashion-mnist: Keras could not; fetching Debian's package {DEBIAN_PACKAGE} (30 MB)")
    yield "Debian's package", partial(fetch_debian_folder, DEBIAN_PACKAGE, f"{SYSTEM_FOLDER}"[1:], in_cache), in_cache


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
        raise DataNotFoundError(f"there is neither {path.name} nor {compressed.name}")
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        raise DataNotFoundError(f"{path.name} is not the published file: its SHA-256 must be {sha256}, got {got}")
    return data


def _nothing() -> None:
    """Stand for the places where files already lie."""


_REMEDIES = f"""Any one of these helps:
  a network: then the next start downloads it
  on Debian or Ubuntu: sudo apt-get install {DEBIAN_PACKAGE}
  the four files of https://github.com/zalandoresearch/fashion-mnist in a folder of your own, named by
    -P data_folder=FOLDER"""
