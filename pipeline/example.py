"""A few raw samples and what a trained model says of them: whether it still says so can be seen later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.data.cells import cells_of
from depthcheck.pipeline.data.columns import as_samples, typed
from depthcheck.pipeline.prepare.preparation import TablePreparation
from depthcheck.pipeline.records import Column, Dataset

#: Samples of one example.
_N_SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Raw samples, and the model's outputs for them.

    Attributes
    ----------
    samples
        Of a table a mapping a row, from columns to cells as text, None where missing; else nested lists of numbers.
    outputs
        A list a sample: probabilities of the classes, or one number.
    """

    samples: list[Any]
    outputs: list[list[float]]


def example_samples(preparation: object, dataset: Dataset) -> tuple[list[Any], NDArray[Any]]:
    """Return a few raw samples in JSON's types, and the same as a trained model takes them.

    The rows of a table are no rows of it: they are put together from the values of its columns that the saved
    preparation names anyhow, so that nobody's record is written down.

    Parameters
    ----------
    preparation
        As :class:`depthcheck.pipeline.trial.TrainedTrial` has it.
    """
    if dataset.is_table:
        assert isinstance(preparation, TablePreparation)
        rows = _rows(preparation)
        return rows, preparation.transform(as_samples(pd.DataFrame(rows), preparation.columns))
    features = np.asarray(dataset.X[:_N_SAMPLES])
    return features.tolist(), features


def _rows(preparation: TablePreparation) -> list[dict[str, str | None]]:
    cells = {column.name: _cells(column) for column in preparation.columns if column.kind != "ignored"}
    return [{name: values[at] for name, values in cells.items()} for at in range(_N_SAMPLES)]


def _cells(column: Column) -> list[str | None]:
    """Return a few values of a column as text, or missing ones where they cannot be read: long ones were cut."""
    cells = [*column.examples[:_N_SAMPLES], *[None] * _N_SAMPLES][:_N_SAMPLES]
    try:
        typed(column, cells_of(pd.Series(cells, dtype=object)))
    except ValueError:
        return [None] * _N_SAMPLES
    return cells
