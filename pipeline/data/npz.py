"""Read a user's arrays from an NPZ file, without the pickles that such a file can hold."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.data.arrays import OwnArrays
from depthcheck.pipeline.data.columns import listed

#: The names of X, y, X_test and y_test; the second row is Keras's.
_NAMES = (("X", "y", "X_test", "y_test"), ("x_train", "y_train", "x_test", "y_test"))


def read_npz(path: Path, _log: Callable[[str], None]) -> OwnArrays:
    """Return the arrays ``X``, ``y`` and, where they are there, ``X_test`` and ``y_test`` of a file.

    X of uint8 are pixels, 0 to 255; X of other types are features. y of text or whole numbers are classes, y of
    fractions is to be predicted.

    Raises
    ------
    ValueError
        When an array is missing, or is not as it must be.
    """
    with _stored(path) as stored:
        arrays = [_array(stored, name, path) for name in _names(list(stored), path)]
    return (arrays[0], arrays[1]), (arrays[2], arrays[3]) if len(arrays) == 4 else None, None


def read_x(path: Path) -> NDArray[Any]:
    """Return the samples ``X`` alone.

    Raises
    ------
    ValueError
        When there are none, or they are no plain numbers.
    """
    with _stored(path) as stored:
        name = next((name for name in ("X", "x", "x_test") if name in stored), None)
        if name is None:
            raise ValueError(f"{path.name} must have an array X, got {listed(list(stored)) or 'none'}")
        return _array(stored, name, path)


@contextmanager
def _stored(path: Path) -> Iterator[Any]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            yield stored
    except (OSError, EOFError, zipfile.BadZipFile) as trouble:
        raise ValueError(f"{path.name} is no whole NPZ file: {trouble}") from None


def _names(there: list[str], path: Path) -> tuple[str, ...]:
    for X, y, X_test, y_test in _NAMES:
        if X in there and y in there:
            if (X_test in there) != (y_test in there):
                raise ValueError(f"{path.name} must have both {X_test} and {y_test} or neither, got {listed(there)}")
            return (X, y, X_test, y_test) if X_test in there else (X, y)
    raise ValueError(f"{path.name} must have arrays X and y (and X_test and y_test), got {listed(there) or 'none'}")


def _array(stored: Any, name: str, path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = stored[name]
    except ValueError as trouble:
        objects = "allow_pickle" in str(trouble)
        reason = "Python objects" if objects else str(trouble)
        raise ValueError(f"{name} in {path.name} must hold plain numbers or text, got {reason}") from None
    return array
