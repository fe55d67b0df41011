"""Make a data set of arrays: labels of any type become classes, what is no number is refused, and all is hashed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig, require
from depthcheck.pipeline.metrics import metric_of
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.scores import Task

Samples = tuple[NDArray[Any], NDArray[Any]]
#: A user's own arrays: X and y; those of the test part, where there is one; the classes' names, where y are labels.
OwnArrays = tuple[Samples, Samples | None, tuple[str, ...] | None]
#: From here on, whole numbers of which most are different are rather numbers to predict than classes.
_N_MANY_CLASSES = 50
#: Whole numbers with so few different values are classes, if there are so many rows for each.
_MAX_WHOLE_CLASSES, _ROWS_A_CLASS = 20, 5


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


def known_pictures(
    config: DataConfig,
    source: str,
    arrays: tuple[NDArray[Any], ...],
    *,
    class_names: tuple[str, ...],
    pixel_max: float,
) -> Dataset:
    """Return one of the known data sets of pictures: X, y, X_test and y_test with labels as they are published."""
    require(config.task in (None, "classification"), f"task of {config.name}", "classification", config.task)
    X, y, X_test, y_test = arrays
    samples, test = (X, y.astype(np.int64)), (X_test, y_test.astype(np.int64))
    own = array_dataset(config, name=config.name, source=source, samples=samples, test=test, class_names=class_names)
    return replace(own, pixel_max=pixel_max)


def array_dataset(
    config: DataConfig,
    *,
    name: str,
    source: str,
    samples: Samples,
    test: Samples | None = None,
    class_names: tuple[str, ...] | None = None,
) -> Dataset:
    """Return the data set of a user's own arrays: text and whole numbers are classes, other numbers to be predicted.

    Parameters
    ----------
    samples, test
        X ``(n_samples, ...)`` and y ``(n_samples,)``. X of uint8 are pixels, 0 to 255; of other types features.
    class_names
        Where y are already labels in ``0 .. n_classes - 1``.

    Raises
    ------
    ValueError
        Saying which of the arrays is not as it must be, or that the test part has a class that the rest has not.
    """
    X, y = _features(samples[0], "X"), _column(samples[1], "y", len(samples[0]))
    X_test, y_test = None, None
    if test is not None:
        X_test, y_test = _features(test[0], "X_test"), _column(test[1], "y_test", len(test[0]))
        require(X_test.dtype == X.dtype, "type of X_test", f"that of X, {samples[0].dtype}", str(test[0].dtype))
    task: Task = config.task or ("regression" if y.dtype.kind == "f" and not are_classes(y) else "classification")
    if task == "regression":
        y, y_test, class_names = _finite(y, "y"), None if y_test is None else _finite(y_test, "y"), ()
    else:
        if class_names is None:
            class_names, y, y_test = _classes(y, y_test)
        require(len(class_names) >= 2, "number of classes in y", "at least 2", len(class_names))
    return Dataset(
        name=name,
        sha256=digest(*(array for array in (X, y, X_test, y_test) if array is not None)),
        source=source,
        X=X,
        y=y,
        X_test=X_test,
        y_test=y_test,
        class_names=class_names,
        pixel_max=255 if X.dtype == np.uint8 else None,
        task=task,
        metric=metric_of(config, task, len(class_names)),
    )


def are_classes(numbers: NDArray[Any]) -> bool:
    """Whether numbers are rather classes than something to predict: whole, and few for so many rows."""
    different = np.unique(numbers)
    is_whole = bool((np.isfinite(different) & (different == np.floor(different))).all())
    return is_whole and len(different) <= min(_MAX_WHOLE_CLASSES, max(2, len(numbers) / _ROWS_A_CLASS))


def _classes(y: NDArray[Any], y_test: NDArray[Any] | None) -> tuple[tuple[str, ...], NDArray[Any], NDArray[Any] | None]:
    if y.dtype.kind == "f":
        require(bool((y == np.floor(y)).all()), "y of a classification", "whole numbers or text", "fractions")
        y, y_test = y.astype(np.int64), None if y_test is None else y_test.astype(np.int64)
    classes, labels = np.unique(y, return_inverse=True)
    if y.dtype.kind in "iu" and len(classes) > max(_N_MANY_CLASSES, len(y) / 2):
        raise ValueError(
            f"y must hold classes, got {len(classes):,} different whole numbers in {len(y):,} samples "
            '(numbers to predict? then say task = "regression")'
        )
    test_labels = None
    if y_test is not None:
        unknown = np.setdiff1d(y_test, classes)
        require(len(unknown) == 0, "classes of y_test", "among those of y", unknown[:3].tolist())
        test_labels = np.searchsorted(classes, y_test).astype(np.int64)
    names = (label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label) for label in classes)
    return tuple(names), labels.astype(np.int64), test_labels


def _features(X: NDArray[Any], what: str) -> NDArray[Any]:
    require(X.dtype.kind in "biuf", f"type of {what}", "numbers", str(X.dtype))
    require(X.ndim >= 2, f"shape of {what}", "(samples, features) or (samples, height, width[, colours])", X.shape)
    require(X.size > 0, f"shape of {what}", "one without a 0", X.shape)
    return X if X.dtype == np.uint8 else _finite(X, what)


def _column(y: NDArray[Any], what: str, n_samples: int) -> NDArray[Any]:
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim == 2 and len(y) == n_samples:
        is_one_hot = y.dtype.kind in "biuf" and bool((y.sum(axis=1) == 1).all()) and bool(np.isin(y, (0, 1)).all())
        how = (
            "a class each? then write y.argmax(axis=1)" if is_one_hot else "write one of them, and run a study for each"
        )
        raise ValueError(f"{what} must have one target a sample, got {y.shape[1]} columns: {how}")
    require(y.shape == (n_samples,), f"shape of {what}", f"({n_samples},), one label a sample", y.shape)
    require(y.dtype.kind in "biufUS", f"type of {what}", "numbers or text", str(y.dtype))
    return y


def _finite(values: NDArray[Any], what: str) -> NDArray[np.float32]:
    require(values.dtype.kind in "biuf", f"{what} of a regression", "numbers", str(values.dtype))
    numbers = values.astype(np.float32)
    finite = np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(f"{what} must hold finite numbers of float32, got another in sample {first:,} (from 0)")
    return numbers
