"""A data set by its name. Data are read here and in the modules that this one calls, and nowhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import DataConfig, require
from pipeline.fashion_mnist import CLASS_NAMES, find_fashion_mnist
from pipeline.fetch import DataNotFoundError
from pipeline.records import Dataset

__all__ = ["NAMES", "DataNotFoundError", "digest", "load"]

NAMES = ("fashion-mnist", "digits")


def load(
    config: DataConfig, *, folder: Path | None = None, cache: Path, log: Callable[[str], None] = lambda _line: None
) -> Dataset:
    """Return a data set as its source has it: nothing cut, nothing scaled.

    Parameters
    ----------
    config
        Its name is one of :data:`NAMES`.
    folder
        Where the user keeps the files; without it they are searched for, then fetched.
    cache
        Folder of this project, for what it fetches itself; made when needed.
    log
        Told, a line at a time, of whatever takes long or went wrong without ending the search.

    Raises
    ------
    DataNotFoundError
        When no source has the data whole; names each place tried and the remedies.
    ValueError
        When no data set has this name.
    """
    name = config.name
    require(name in NAMES, "data", f"one of {', '.join(NAMES)}", name)
    if name == "digits":
        require(folder is None, "folder of digits", "left out: scikit-learn brings them", str(folder))
        return _digits()
    arrays, source = find_fashion_mnist(folder, cache, log)
    return _pictures(name, source, arrays, class_names=CLASS_NAMES, pixel_max=255)


def digest(*arrays: NDArray[np.generic]) -> str:
    """Return the SHA-256 over type, shape and bytes of arrays, in their order; the same on every machine.

    Raises
    ------
    ValueError
        For arrays of Python objects: their bytes are addresses.
    """
    sha256 = hashlib.sha256()
    for array in arrays:
        require(not array.dtype.hasobject, "dtype of an array to digest", "plain numbers or text", str(array.dtype))
        portable = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        sha256.update(f"{portable.dtype.str}{array.shape}".encode())
        sha256.update(portable.reshape(-1).view(np.uint8).data)
    return sha256.hexdigest()


def _digits() -> Dataset:
    """Scikit-learn's 1,797 digits of 8 x 8 pixels, 0 to 16.

    They have no official test part: a fifth is set aside here, stratified, by one fixed seed that no study can
    change, so that every study keeps its hands off the same samples.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target
    X, X_test, y, y_test = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    class_names = tuple(str(label) for label in digits.target_names)
    return _pictures("digits", "scikit-learn", (X, y, X_test, y_test), class_names=class_names, pixel_max=16)


def _pictures(
    name: str,
    source: str,
    arrays: tuple[NDArray[np.uint8], ...],
    *,
    class_names: tuple[str, ...],
    pixel_max: float,
) -> Dataset:
    X, labels, X_test, test_labels = arrays
    y, y_test = labels.astype(np.int64), test_labels.astype(np.int64)
    return Dataset(
        name=name,
        sha256=digest(X, y, X_test, y_test),
        source=source,
        X=X,
        y=y,
        X_test=X_test,
        y_test=y_test,
        class_names=class_names,
        pixel_max=pixel_max,
    )
