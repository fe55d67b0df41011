"""Prepare features: whatever is learnt of them is learnt from the training part alone, then done to every part.

A data set is prepared once for a single split, or once a fold; what the folds say is put together here as well.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.config import ModelConfig, ParamValue, SplitConfig, require
from depthcheck.pipeline.data.cells import as_samples, cells_of, typed
from depthcheck.pipeline.dimensions import DIMENSIONS, fitted_standard
from depthcheck.pipeline.prepare.preparation import TablePreparation, by_block, inputs_of
from depthcheck.pipeline.prepare.split import cuts, units_of
from depthcheck.pipeline.records import Column, Cut, Dataset, Part, Predictions, Scaler, Split

#: Samples that a scaler is fitted on at a time: what a step holds stays small, however many samples there are.
_N_BLOCK = 4_096
#: A category has a feature of its own where so many training rows have it; all others share one.
_MIN_FREQUENCY = 5
_MAX_CATEGORIES = 32
#: Columns of one kind are fitted together as long as their training cells are no more than that: the median of a
#: masked array takes five times their memory.
_N_CELLS = 4_000_000
_MAX_TOGETHER = 128
#: Samples of one example.
_N_EXAMPLES = 3
#: Features that the words of a text column become at most, different words that count, and rows they are learnt from.
_TEXT_FEATURES, _MOST_WORDS, _MOST_TEXTS = 64, 20_000, 20_000
#: A direction of which texts have less than that share of what they have of the first one is taken for none.
_LEAST_DIRECTION = 1e-3
#: How raw samples become the features that a network gets; fitted on the training part alone.
Preparation = TablePreparation | Scaler
#: A column that is used, and the categories that its training part has.
_Used = tuple[Column, Sequence[str]]
#: Takes samples and positions of rows, returns these rows' features.
Features = Callable[[Any, NDArray[np.int64]], NDArray[Any]]
#: Names and values of the dimensions by which columns of a table become other features than they usually do.
Options = tuple[tuple[str, ParamValue], ...]


def options_of_features(model: ModelConfig) -> Options:
    """Return those of a model's options that act before the network, without such as change nothing."""
    return tuple(
        (name, value)
        for name, value in model.options
        if DIMENSIONS[name].prepare is not None and value != DIMENSIONS[name].off
    )


def prepare(dataset: Dataset, cut: Cut, options: Options = ()) -> tuple[Split, Preparation]:
    """Return the parts ready for training, each written once, and the fitted preparation beside them.

    Parameters
    ----------
    dataset
        A table, or arrays of any shape and number type, which are only scaled; read, never changed.
    cut
        Which samples train: what is fitted sees those and no others.
    options
        How a table's columns become other features than they usually do (:func:`options_of_features`).

    Raises
    ------
    ValueError
        When no column of a table has two different values in the training part.
    """
    preparation: Preparation
    scale = 1.0
    if dataset.is_table:
        preparation = _fit_table(dataset, cut.train, options)
        features: Features = preparation.transform_rows
    else:
        preparation = _fit_scaler(dataset, cut.train)
        features = functools.partial(_of_samples, preparation.transform, np.float32)
        if dataset.X.dtype == np.uint8 and isinstance(preparation.scale, float):
            flat = functools.partial(_of_samples, lambda some: some.reshape(len(some), -1), np.uint8)
            features, scale = flat, preparation.scale
    return parts_of(dataset, cut, features, scale), preparation


def parts_of(dataset: Dataset, cut: Cut, features: Features | None = None, scale: float = 1.0) -> Split:
    """Return the parts; without ``features``, which make those of some rows, with their targets and weights alone."""

    def part(X: Any, y: NDArray[Any], rows: NDArray[np.int64], weights: NDArray[np.float64] | None) -> Part:
        made = np.empty((len(rows), 0), np.float32) if features is None else features(X, rows)
        return Part(X=made, y=y[rows], weight=None if weights is None else weights[rows], scale=scale)

    test = None
    if cut.test is not None:
        test = part(dataset.X, dataset.y, cut.test, dataset.weights)
    elif dataset.y_test is not None:
        test = part(dataset.X_test, dataset.y_test, np.arange(len(dataset.y_test)), dataset.weights_test)
    return Split(
        train=part(dataset.X, dataset.y, cut.train, dataset.weights),
        valid=part(dataset.X, dataset.y, cut.valid, dataset.weights),
        test=test,
        n_classes=dataset.n_classes,
        config=cut.config,
        task=dataset.task,
        metric=dataset.metric,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Which samples are where, the parts ready for training, and how their features were prepared."""

    cut: Cut
    split: Split
    preparation: Preparation


def require_features(dataset: Dataset, config: SplitConfig) -> None:
    """Complain where a training part of a table has nothing to learn from, before anything is fitted to it."""
    if dataset.is_table:
        for cut in cuts(dataset, config):
            others = [column.name for column in dataset.columns if column.kind not in ("text", "ignored")]
            if any(_varies(dataset.X[name].array, cut.train) for name in others):
                continue  # to find the categories takes long
            used = _used_of(dataset, cut.train)
            if all(column.kind == "text" for column, _ in used.values()):
                _require_words(next(_words(dataset.X, used, cut.train), None) is not None)


# One entry: a worker trains trial after trial on the same cut, and a large data set should not be held twice.
@functools.lru_cache(maxsize=1)
def prepared(dataset: Dataset, config: SplitConfig, options: Options = ()) -> tuple[Prepared, ...]:
    """Return the data cut and prepared, one entry for a single split, else one a fold; the last call's is kept.

    Each fold has a preparation of its own, fitted on what trains there. Folds have no test part.
    """
    own = _without_test(dataset) if config.folds else dataset
    return tuple(Prepared(cut, *prepare(own, cut, options)) for cut in cuts(dataset, config))


@functools.lru_cache(maxsize=1)
def whole(dataset: Dataset, config: SplitConfig, options: Options = ()) -> Prepared:
    """Return the data with all samples in the training part and none in another; kept like :func:`prepared`."""
    rows = np.arange(len(dataset.y))
    cut = Cut(train=rows, valid=rows[:0], config=config)
    return Prepared(cut, *prepare(_without_test(dataset), cut, options))


def out_of_fold(each: Sequence[Predictions], cuts: Sequence[Cut], dataset: Dataset) -> Predictions:
    """Return predictions of all rows in their order, each by the fold that held it out."""

    def gathered(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
        column = np.empty(len(dataset.y), columns[0].dtype)
        for cut, values in zip(cuts, columns, strict=True):
            column[cut.valid] = values
        return column

    def of_all(name: str) -> NDArray[Any] | None:
        columns = [getattr(fold, name) for fold in each]
        return None if any(column is None for column in columns) else gathered(columns)

    fold = gathered([np.full(len(cut.valid), number) for number, cut in enumerate(cuts)])
    block = None
    if any(of.block is not None for of in each):
        single = [np.arange(len(of.y)) if of.unit is None else of.unit for of in each]
        blocks = [alone if of.block is None else of.block for of, alone in zip(each, single, strict=True)]
        block = np.unique(np.stack([fold, gathered(blocks)]), axis=1, return_inverse=True)[1]
    return Predictions(
        y=dataset.y,
        predicted=gathered([of.predicted for of in each]),
        probability=gathered([of.probability for of in each]),
        positive=of_all("positive"),
        fold=fold,
        unit=units_of(dataset, np.arange(len(dataset.y)), cuts[0].config),
        weight=dataset.weights,
        scores=of_all("scores"),
        block=block,
    )


@functools.lru_cache(maxsize=1)
def example_samples(preparation: Preparation, dataset: Dataset) -> tuple[list[Any], NDArray[Any]]:
    """Return a few raw samples in JSON's types, and the same as a trained model takes them; kept like :func:`whole`.

    The rows of a table are no rows of it: they are put together from the values of its columns that the saved
    preparation names anyhow, so that nobody's record is written down.
    """
    if isinstance(preparation, TablePreparation):
        cells = {column.name: _example_cells(column) for column in preparation.columns if column.kind != "ignored"}
        rows = [{name: values[at] for name, values in cells.items()} for at in range(_N_EXAMPLES)]
        return rows, preparation.transform(as_samples(pd.DataFrame(rows), preparation.columns))
    features = np.asarray(dataset.X[:_N_EXAMPLES])
    return features.tolist(), features


def _fit_table(dataset: Dataset, train: NDArray[np.int64], options: Options) -> TablePreparation:
    """Return the preparation of a table, learnt from the rows at the positions ``train``.

    Missing numbers become the median, with a feature that says so; numbers and parts of dates get mean 0 and standard
    deviation 1; booleans stay 0 and 1; categories become one feature each, rare and unknown ones one together; texts
    become the main directions in which their words differ. ``options`` may say otherwise of numbers and categories.
    """
    from sklearn.compose import ColumnTransformer

    used = _used_of(dataset, train)
    fitted = [*_fitted(dataset.X, used, train, options), *_fitted_texts(dataset.X, used, train)]
    _require_words(bool(fitted))
    # Frozen transformers are fitted already, a few columns at a time; the rows only tell it the inputs' names.
    transformer = ColumnTransformer(
        [(str(number), fit, inputs) for number, (fit, inputs) in enumerate(fitted)], verbose_feature_names_out=False
    ).fit(inputs_of(dataset.X, used, train[:1]))
    return TablePreparation(
        columns=dataset.columns,
        used=tuple(column.name for column, _known in used.values()),
        categories=tuple(tuple(known) for _column, known in used.values()),
        transformer=transformer,
        feature_names=tuple(name for fit, inputs in fitted for name in _feature_names(fit, inputs, used)),
        task=dataset.task,
        target=dataset.target,
        class_names=dataset.class_names,
    )


def _used_of(dataset: Dataset, train: NDArray[np.int64]) -> dict[int, _Used]:
    """Return the columns that vary in the training part; complain where none does."""
    columns = [column for column in dataset.columns if column.kind != "ignored"]
    values = [(column, dataset.X[column.name].array) for column in columns]
    varying = [(column, _categories(column, cells, train)) for column, cells in values if _varies(cells, train)]
    require(bool(varying), "columns with two different values in the training part", "at least 1", 0)
    return dict(enumerate(varying))


def _require_words(has_some: bool) -> None:
    require(has_some, "columns with words that two rows of the training part share", "at least 1", 0)


def _fitted(
    X: pd.DataFrame, used: Mapping[int, _Used], train: NDArray[np.int64], options: Options
) -> Iterator[tuple[Any, list[str]]]:
    """Yield transformers fitted on a few columns of one kind each, and the names of their inputs."""
    from sklearn.frozen import FrozenEstimator

    together = min(_MAX_TOGETHER, max(1, _N_CELLS // len(train)))
    kinds = ("numeric", "date", "boolean", "categorical")
    for kind, is_double in itertools.product(kinds, (False, True)):  # one frame is of one type
        of_kind = [at for at, (column, _) in used.items() if (column.kind, column.is_double) == (kind, is_double)]
        width = together if kind != "date" else max(1, together // 5)
        for start in range(0, len(of_kind), width):
            some = {position: used[position] for position in of_kind[start : start + width]}
            inputs = inputs_of(X, some, train)
            names = [str(name) for name in inputs]
            own, parts = [name for name in names if " " not in name], [name for name in names if " " in name]
            yield FrozenEstimator(_own(kind, inputs[own], options) or _transformer(kind, inputs[own])), own
            if parts:
                yield FrozenEstimator(_transformer("part of a date", inputs[parts])), parts


def _fitted_texts(X: pd.DataFrame, used: Mapping[int, _Used], train: NDArray[np.int64]) -> Iterator[tuple[Any, str]]:
    """Yield a transformer for each column of texts, and the name of its input: TF-IDF, then its main directions.

    (Deerwester et al. 1990: latent semantic analysis.) A text without any word that counts becomes what the mean text
    is not far from.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    for name, words, counted in _words(X, used, train):
        directions, scaler = TruncatedSVD(min(_TEXT_FEATURES, *counted.shape), random_state=0), StandardScaler()
        with threadpool_limits(1):  # sums in one order, whatever the number of cores
            found = directions.fit_transform(counted)
        # Words that always come together leave a direction of rounding errors, which scaling would make a feature of.
        n_real = int(np.count_nonzero(directions.singular_values_ > _LEAST_DIRECTION * directions.singular_values_[0]))
        directions.components_ = directions.components_[:n_real]
        scaler.fit(found[:, :n_real])
        yield FrozenEstimator(make_pipeline(words, directions, scaler)), name


def _words(X: pd.DataFrame, used: Mapping[int, _Used], train: NDArray[np.int64]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name of a column of texts, what counts its words, and the training rows' counts.

    A word counts that two training rows have. A column whose rows share none has nothing to yield.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    some = train[np.linspace(0, len(train) - 1, min(len(train), _MOST_TEXTS)).astype(np.int64)]
    for position in [position for position, (column, _) in used.items() if column.kind == "text"]:
        words = TfidfVectorizer(
            strip_accents="unicode", sublinear_tf=True, min_df=2, max_features=_MOST_WORDS, dtype=np.float32
        )
        try:
            counted = words.fit_transform(inputs_of(X, {position: used[position]}, some)[str(position)])
        except ValueError:  # "empty vocabulary", or "no terms remain"
            continue
        yield str(position), words, counted


def _own(kind: str, inputs: pd.DataFrame, options: Options) -> Any | None:
    """Return what an option fits on columns of that kind, or None where none has to do with them."""
    makers = ((DIMENSIONS[name].prepare, value) for name, value in options)
    return next((own for make, value in makers if make and (own := make(value, kind, inputs)) is not None), None)


def _transformer(kind: str, inputs: pd.DataFrame) -> Any:
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
        ).fit(inputs)
    imputer = SimpleImputer(strategy="median", add_indicator=kind != "part of a date")
    fitted = fitted_standard(make_pipeline(imputer, StandardScaler()), inputs)
    if kind == "boolean":  # they stay 0 and 1 where they are not always the same
        fitted[-1].mean_[:], fitted[-1].scale_[np.isfinite(fitted[-1].scale_)] = 0, 1
    return fitted


def _varies(values: Any, train: NDArray[np.int64]) -> bool:
    """Whether a column has two different values in the training part, where missing is a value like others."""
    cells = values.codes[train] if isinstance(values, pd.Categorical) else np.asarray(values)[train]
    return bool(((cells != cells[0]) & ~((cells != cells) & (cells[0] != cells[0]))).any())  # noqa: PLR0124


def _categories(column: Column, values: Any, train: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the categories that the training part has, sorted as they are; of other columns none."""
    if column.kind != "categorical":
        return ()
    codes = np.unique(values.codes[train])
    return tuple(str(category) for category in values.categories[codes[codes >= 0]])


def _feature_names(fitted: Any, inputs: Sequence[str] | str, used: Mapping[int, _Used]) -> Iterator[str]:
    """Yield the features of a fitted transformer under the names of their columns and categories."""
    if isinstance(inputs, str):
        n_features = len(fitted.get_feature_names_out())
        yield from (f"{used[int(inputs)][0].name}, words {number}" for number in range(1, n_features + 1))
        return
    names = {}
    for name in inputs:
        number, _, part = name.partition(" ")
        names[name] = used[int(number)][0].name + (f" ({part})" if part else "")
    for full_name in fitted.get_feature_names_out():
        of, _, feature = full_name.rpartition("__")  # of several features that one column became
        bare = feature.removeprefix("missingindicator_")
        if feature in names:
            yield names[feature] + (f", {of}" if of else "")
        elif bare in names:
            yield f"{names[bare]} is missing"
        else:
            name, _, code = feature.partition("_")
            yield f"{names[name]} = {_category_name(code, used[int(name)][1])}"


def _category_name(code: str, categories: Sequence[str]) -> str:
    if code == "infrequent_sklearn":
        return "(rare)"
    return "(missing)" if int(code) < 0 else categories[int(code)]


def _fit_scaler(dataset: Dataset, train: NDArray[np.int64]) -> Scaler:
    """Return the scaler of a data set, learnt from the samples at the positions ``train``.

    Pixels need nothing learnt: their largest possible value becomes 1. Other features get mean 0 and standard
    deviation 1 over the training samples; one that is constant there is always 0.
    """
    if dataset.pixel_max is not None:
        return Scaler(scale=float(np.float32(1 / dataset.pixel_max)), offset=0.0)
    from sklearn.preprocessing import StandardScaler

    standard, varies = StandardScaler(), np.zeros(1, bool)  # what hardly varies, scikit-learn takes for constant
    for start in range(0, len(train), _N_BLOCK):
        rows = train[start : start + _N_BLOCK]
        block = dataset.X[rows].reshape(len(rows), -1).astype(np.float64)
        standard.partial_fit(block)
        varies = varies | (block != dataset.X[train[0]].ravel()).any(axis=0)
    sd = np.sqrt(standard.var_)
    scale = np.where(varies & (sd > 0), sd, np.inf)
    dtype = np.float64 if dataset.X.dtype == np.float64 else np.float32
    return Scaler(scale=(1 / scale).astype(dtype), offset=(-standard.mean_ / scale).astype(dtype))


def _of_samples(
    transform: Callable[[NDArray[Any]], NDArray[Any]],
    dtype: type[np.generic],
    X: NDArray[np.generic],
    rows: NDArray[np.int64],
) -> NDArray[Any]:
    return by_block(lambda some: transform(X[some]), rows, int(np.prod(X.shape[1:])), dtype)


def _without_test(dataset: Dataset) -> Dataset:
    if dataset.X_test is None:
        return dataset
    return replace(dataset, X_test=None, y_test=None, groups_test=None, times_test=None, weights_test=None)


def _example_cells(column: Column) -> list[str | None]:
    """Return a few values of a column as text, or missing ones where they cannot be read: long ones were cut."""
    cells = [*column.examples[:_N_EXAMPLES], *[None] * _N_EXAMPLES][:_N_EXAMPLES]
    try:
        typed(column, cells_of(pd.Series(cells, dtype=object)))
    except ValueError:
        return [None] * _N_EXAMPLES
    return cells
