"""A data set cut and prepared: once for a single split, or once a fold; and what the folds say put together."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.prepare.prepare import prepare
from depthcheck.pipeline.prepare.split import folds, split, units_of
from depthcheck.pipeline.records import Cut, Dataset, Predictions, Preparation, Split


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Which samples are where, the parts ready for training, and how their features were prepared."""

    cut: Cut
    split: Split
    preparation: Preparation


# One entry: a worker trains trial after trial on the same cut, and a large data set should not be held twice.
@functools.lru_cache(maxsize=1)
def prepared(dataset: Dataset, config: SplitConfig) -> tuple[Prepared, ...]:
    """Return the data cut and prepared, one entry for a single split, else one a fold; the last call's is kept.

    Each fold has a preparation of its own, fitted on what trains there. Folds have no test part.
    """
    if not config.folds:
        return (_prepare(dataset, split(dataset, config)),)
    return tuple(_prepare(_without_test(dataset), cut) for cut in folds(dataset, config))


@functools.lru_cache(maxsize=1)
def whole(dataset: Dataset, config: SplitConfig) -> Prepared:
    """Return the data with all samples in the training part and none in another; kept like :func:`prepared`."""
    rows = np.arange(len(dataset.y))
    return _prepare(_without_test(dataset), Cut(train=rows, valid=rows[:0], config=config))


def out_of_fold(each: Sequence[Predictions], cuts: Sequence[Cut], dataset: Dataset) -> Predictions:
    """Return predictions of all rows in their order, each by the fold that held it out."""

    def gathered(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
        column = np.empty(len(dataset.y), columns[0].dtype)
        for cut, values in zip(cuts, columns, strict=True):
            column[cut.valid] = values
        return column

    positive = [fold.positive for fold in each if fold.positive is not None]
    return Predictions(
        y=dataset.y,
        predicted=gathered([fold.predicted for fold in each]),
        probability=gathered([fold.probability for fold in each]),
        positive=gathered(positive) if positive else None,
        fold=gathered([np.full(len(cut.valid), number) for number, cut in enumerate(cuts)]),
        unit=units_of(dataset, np.arange(len(dataset.y)), cuts[0].config),
    )


def _prepare(dataset: Dataset, cut: Cut) -> Prepared:
    parts, preparation = prepare(dataset, cut)
    return Prepared(cut=cut, split=parts, preparation=preparation)


def _without_test(dataset: Dataset) -> Dataset:
    return dataset if dataset.X_test is None else replace(dataset, X_test=None, y_test=None)
