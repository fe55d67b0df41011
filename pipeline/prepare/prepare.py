"""Prepare features: whatever is learnt of them is learnt from the training part alone, then done to every part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.config import require
from depthcheck.pipeline.prepare.preparation import TablePreparation, empty_features, inputs_of
from depthcheck.pipeline.records import Column, Cut, Dataset, Part, Preparation, Scaler, Split

#: Samples scaled at a time: what a step holds beside its result stays small, however many samples there are.
_N_BLOCK = 4_096


def fit_scaler(dataset: Dataset, train: NDArray[np.int64]) -> Scaler:
    """Return the scaler of a data set, learnt from the samples at the positions ``train``.

    Pixels need nothing learnt: their largest possible value becomes 1. Other features get mean 0 and standard
    deviation 1 over the training samples; one that is constant there is only moved to 0.
    """
    if dataset.pixel_max is not None:
        return Scaler(scale=float(np.float32(1 / dataset.pixel_max)), offset=0.0)
    from sklearn.preprocessing import StandardScaler

    standard = StandardScaler()
    for rows in _blocks(train):
        standard.partial_fit(dataset.X[rows].reshape(len(rows), -1).astype(np.float64))
    return Scaler(
        scale=(1 / standard.scale_).astype(np.float32),
        offset=(-standard.mean_ / standard.scale_).astype(np.float32),
    )


def _scaled(scaler: Scaler, X: NDArray[np.generic], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return some samples flat and in float32, exactly ``X.astype(float32) * scale + offset``; each is written once."""
    scaled = empty_features(len(rows), int(np.prod(X.shape[1:])))
    start = 0
    for block in _blocks(rows):
        window = scaled[start : start + len(block)]
        window[:] = X[block].reshape(window.shape)
        window *= scaler.scale
        window += scaler.offset
        start += len(block)
    return scaled


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _N_BLOCK):
        yield rows[start : start + _N_BLOCK]


#: A category has a feature of its own where so many training rows have it; all others share one.
_MIN_FREQUENCY = 5
_MAX_CATEGORIES = 32
#: Columns of one kind are fitted together as long as their training cells are no more than that: the median of a
#: masked array takes five times their memory.
_N_CELLS = 4_000_000
_MAX_TOGETHER = 128


def prepare(dataset: Dataset, cut: Cut) -> tuple[Split, Preparation]:
    """Return the parts ready for training, each written once, and the fitted preparation beside them.

    Parameters
    ----------
    dataset
        A table, or arrays of any shape and number type, which are only scaled; read, never changed.
    cut
        Which samples train: what is fitted sees those and no others.

    Raises
    ------
    ValueError
        When no column of a table has two different values in the training part.
    """
    preparation: TablePreparation | Scaler
    if dataset.is_table:
        preparation = fit_table(dataset, cut.train)
        features: Callable[[Any, NDArray[np.int64]], NDArray[np.float32]] = preparation.transform_rows
    else:
        preparation = fit_scaler(dataset, cut.train)
        features = partial(_scaled, preparation)

    def part(X: Any, y: NDArray[Any], rows: NDArray[np.int64]) -> Part:
        return Part(X=features(X, rows), y=y[rows])

    test = None
    if cut.test is not None:
        test = part(dataset.X, dataset.y, cut.test)
    elif dataset.y_test is not None:
        test = part(dataset.X_test, dataset.y_test, np.arange(len(dataset.y_test)))
    parts = Split(
        train=part(dataset.X, dataset.y, cut.train),
        valid=part(dataset.X, dataset.y, cut.valid),
        test=test,
        n_classes=dataset.n_classes,
        config=cut.config,
        task=dataset.task,
        metric=dataset.metric,
    )
    return parts, preparation


def fit_table(dataset: Dataset, train: NDArray[np.int64]) -> TablePreparation:
    """Return the preparation of a table, learnt from the rows at the positions ``train``.

    Missing numbers become the median, with a feature that says so; numbers and parts of dates get mean 0 and standard
    deviation 1; booleans stay 0 and 1; categories become one feature each, rare and unknown ones one together.
    """
    from sklearn.compose import ColumnTransformer

    columns = [column for column in dataset.columns if column.kind != "ignored"]
    used = [column for column in columns if _varies(dataset.X[column.name].array, train)]
    require(bool(used), "columns with two different values in the training part", "at least 1", 0)
    categories = tuple(_categories(dataset.X[column.name].array, train) for column in used)
    fitted = list(_fitted(dataset.X, used, categories, train))
    # Frozen transformers are fitted already, a few columns at a time; the rows only tell it the inputs' names.
    transformer = ColumnTransformer(
        [(str(number), fit, inputs) for number, (fit, inputs) in enumerate(fitted)], verbose_feature_names_out=False
    ).fit(inputs_of(dataset.X, used, categories, train[:1]))
    return TablePreparation(
        columns=dataset.columns,
        used=tuple(column.name for column in used),
        categories=categories,
        transformer=transformer,
        feature_names=tuple(name for fit, inputs in fitted for name in _feature_names(fit, inputs, used, categories)),
        task=dataset.task,
        target=dataset.target,
        class_names=dataset.class_names,
    )


def _fitted(
    X: pd.DataFrame, used: Sequence[Column], categories: Sequence[Sequence[str]], train: NDArray[np.int64]
) -> Iterator[tuple[Any, list[str]]]:
    """Yield transformers fitted on a few columns of one kind each, and the names of their inputs."""
    from sklearn.frozen import FrozenEstimator

    together = min(_MAX_TOGETHER, max(1, _N_CELLS // len(train)))
    for kind in ("numeric", "date", "boolean", "categorical"):
        of_kind = [position for position, column in enumerate(used) if column.kind == kind]
        width = together if kind != "date" else max(1, together // 5)
        for start in range(0, len(of_kind), width):
            some = of_kind[start : start + width]
            inputs = inputs_of(
                X, [used[position] for position in some], [categories[position] for position in some], train
            )
            inputs.columns = pd.Index([_renumbered(str(name), some) for name in inputs.columns])
            names = [str(name) for name in inputs]
            own, parts = [name for name in names if " " not in name], [name for name in names if " " in name]
            yield FrozenEstimator(_transformer(kind).fit(inputs[own])), own
            if parts:
                yield FrozenEstimator(_transformer("part of a date").fit(inputs[parts])), parts


def _transformer(kind: str) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    if kind == "categorical":
        return OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=_MIN_FREQUENCY,
            max_categories=_MAX_CATEGORIES,
            sparse_output=False,
            dtype=np.float32,
        )
    imputer = SimpleImputer(strategy="median", add_indicator=kind != "part of a date")
    return imputer if kind == "boolean" else make_pipeline(imputer, StandardScaler())


def _varies(values: Any, train: NDArray[np.int64]) -> bool:
    """Whether a column has two different values in the training part, where missing is a value like others."""
    cells = values.codes[train] if isinstance(values, pd.Categorical) else np.asarray(values)[train]
    return bool(((cells != cells[0]) & ~((cells != cells) & (cells[0] != cells[0]))).any())  # noqa: PLR0124


def _categories(values: Any, train: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the categories that the training part has, sorted as they are; of other columns none."""
    if not isinstance(values, pd.Categorical):
        return ()
    codes = np.unique(values.codes[train])
    return tuple(str(category) for category in values.categories[codes[codes >= 0]])


def _renumbered(name: str, positions: Sequence[int]) -> str:
    number, space, part = name.partition(" ")
    return f"{positions[int(number)]}{space}{part}"


def _feature_names(
    fitted: Any, inputs: Sequence[str], used: Sequence[Column], categories: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Yield the features of a fitted transformer under the names of their columns and categories."""
    names = {name: _input_name(name, used) for name in inputs}
    for feature in fitted.get_feature_names_out():
        bare = feature.removeprefix("missingindicator_")
        if feature in names:
            yield names[feature]
        elif bare in names:
            yield f"{names[bare]} is missing"
        else:
            name, _, code = feature.partition("_")
            yield f"{names[name]} = {_category_name(code, categories[int(name)])}"


def _category_name(code: str, categories: Sequence[str]) -> str:
    if code == "infrequent_sklearn":
        return "(rare)"
    return "(missing)" if int(code) < 0 else categories[int(code)]


def _input_name(name: str, used: Sequence[Column]) -> str:
    number, _, part = name.partition(" ")
    return used[int(number)].name + (f" ({part})" if part else "")
