"""Make a data set of arrays: labels of any type become classes, what is no number is refused, and all is hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig, InWords, require
from depthcheck.pipeline.data.amount import in_shares, sample_words
from depthcheck.pipeline.data.cells import merged, narrow
from depthcheck.pipeline.metrics import metric_of
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.scores import Task

Samples = tuple[NDArray[Any], NDArray[Any]]
#: From here on, whole numbers of which most are different are rather numbers to predict than classes.
_N_MANY_CLASSES = 50
#: Whole numbers with so few different values are classes, if there are so many rows for each.
_MAX_WHOLE_CLASSES, _ROWS_A_CLASS = 20, 5
#: Samples that are looked at at a time.
_N_BLOCK = 4_096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnArrays:
    """A user's own arrays: X and y of each part that there is; the classes' names, where y are labels already."""

    samples: Samples
    valid: Samples | None = None
    test: Samples | None = None
    class_names: tuple[str, ...] | None = None


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
    log: Callable[[str], None],
) -> Dataset:
    """Return one of the known data sets of pictures: X, y, X_test and y_test with labels as they are published."""
    require(config.task in (None, "classification"), f"task of {config.name}", "classification", config.task)
    X, y, X_test, y_test = arrays
    samples, test = (X, y.astype(np.int64)), (X_test, y_test.astype(np.int64))
    own = OwnArrays(samples=samples, test=test, class_names=class_names)
    dataset = array_dataset(config, own, name=config.name, source=source, log=log)
    return replace(dataset, pixel_max=pixel_max, is_known=True)


def array_dataset(
    config: DataConfig, arrays: OwnArrays, *, name: str, source: str, log: Callable[[str], None] = lambda _line: None
) -> Dataset:
    """Return the data set of arrays: text and whole numbers are classes, other numbers to be predicted.

    Parameters
    ----------
    arrays
        X ``(n_samples, ...)`` and y ``(n_samples,)``. X of uint8 are pixels, 0 to 255; of other types features.
    log
        Told of the sample, where one is drawn.

    Raises
    ------
    ValueError
        Saying which of the arrays is not as it must be, or that the test part has a class that the rest has not.
    """
    class_names, (X, y), is_valid = arrays.class_names, _part(arrays.samples, ""), None
    if arrays.valid is not None:
        X_valid, y_valid = _part(arrays.valid, "_valid", like=X)
        is_valid = np.repeat([False, True], [len(X), len(X_valid)])
        X, y = np.concatenate([X, X_valid]), np.concatenate([y, y_valid])
    X_test, y_test = None, None
    if arrays.test is not None:
        X_test, y_test = _part(arrays.test, "_test", like=X)
    task: Task = config.task or ("regression" if y.dtype.kind == "f" and not are_classes(y) else "classification")
    if config.rows is not None and config.rows < len(y):
        strata = np.unique(y, return_inverse=True)[1] if task == "classification" else np.zeros(len(y), np.int64)
        strata = strata * 2 + (0 if is_valid is None else is_valid)
        rows = in_shares(strata, config.rows, np.random.default_rng(config.rows_seed))
        how = "each class in its share" if task == "classification" else "at random"
        words = sample_words(len(rows), len(y), how, config)
        X, y, is_valid, source = X[rows], y[rows], None if is_valid is None else is_valid[rows], f"{source}, {words}"
        log(f"{name}: {words}")
    if task == "regression":
        y, class_names = _numbers(y, "y"), ()
        y_test = None if y_test is None else _numbers(y_test, "y").astype(y.dtype)
    else:
        if class_names is None:
            class_names, y, y_test = _classes(y, y_test)
        require(len(class_names) >= 2, "number of classes in y", "at least 2", len(class_names))
    return Dataset(
        name=name,
        sha256=digest(*(array for array in (X, y, X_test, y_test, is_valid) if array is not None)),
        source=source,
        X=X,
        y=y,
        X_test=X_test,
        y_test=y_test,
        is_valid=is_valid,
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
        _require_finite(y, "y")
        require(bool((y == np.floor(y)).all()), "y of a classification", "whole numbers or text", InWords("fractions"))
        y = y.astype(np.int64)  # y_test stays as it is: a fraction there is no class of y
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


def _part(samples: Samples, suffix: str, *, like: NDArray[Any] | None = None) -> Samples:
    """Return X and y of a part, which both must be as they have to, and X as that of the training part."""
    what = f"X{suffix}"
    X = _features(samples[0], what)
    if like is not None:
        X = X.astype(like.dtype) if X.dtype != np.uint8 != like.dtype else X
        require(X.dtype == like.dtype, f"type of {what}", f"that of X, {like.dtype}", str(samples[0].dtype))
        require(X.shape[1:] == like.shape[1:], f"sample shape of {what}", str(like.shape[1:]), X.shape[1:])
    return X, _column(samples[1], f"y{suffix}", len(X))


def _features(X: NDArray[Any], what: str) -> NDArray[Any]:
    require(X.dtype.kind in "biuf", f"type of {what}", "numbers", str(X.dtype))
    require(X.ndim >= 2, f"shape of {what}", "(samples, features) or (samples, height, width[, colours])", X.shape)
    require(X.size > 0, f"shape of {what}", "one without a 0", X.shape)
    if X.dtype == np.uint8:
        return X
    _require_finite(X, what)
    return X.astype(np.float64 if _needs_double(X) else np.float32, copy=False)


def _needs_double(X: NDArray[Any]) -> bool:
    """Whether float32 would make several values of some feature one: they are scaled as float64 then."""
    if X.dtype.itemsize <= 2 or X.dtype == np.float32:
        return False
    flat = X.reshape(len(X), -1)
    moved, low, high = np.zeros(flat.shape[1]), np.full(flat.shape[1], np.inf), np.full(flat.shape[1], -np.inf)
    for start in range(0, len(flat), _N_BLOCK):
        block = flat[start : start + _N_BLOCK].astype(np.float64)
        np.maximum(moved, np.abs(block - block.astype(np.float32)).max(axis=0), out=moved)
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
    return bool(merged(moved, low, high).any())


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


def _numbers(y: NDArray[Any], what: str) -> NDArray[Any]:
    """Return what a regression predicts, float32 or, where that would make several of them one, float64."""
    require(y.dtype.kind in "biuf", f"{what} of a regression", "numbers", str(y.dtype))
    _require_finite(y, what)
    return narrow(y)


def _require_finite(values: NDArray[Any], what: str) -> None:
    for start in range(0, len(values), _N_BLOCK):
        block = values[start : start + _N_BLOCK]
        with np.errstate(over="ignore"):
            finite = np.isfinite(block.astype(np.float32, copy=False)).reshape(len(block), -1).all(axis=1)
        if not finite.all():
            first = start + int(np.argmin(finite))
            raise ValueError(f"{what} must hold finite numbers of float32, got another in sample {first:,} (from 0)")
