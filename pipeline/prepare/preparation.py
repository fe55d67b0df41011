"""Rows of a table as the features that a network gets: fitted on training rows, saved, loaded, and used again.

It travels inside the served model: beside its own columns it imports numpy, pandas, scikit-learn and skops alone.
"""

from __future__ import annotations

import functools
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..records import Column

#: A feature that lies farther from its training mean than that many standard deviations is moved there: one wild cell
#: must not drown a row, nor a validation loss.
_FARTHEST = 10.0
#: What the transformer takes for a missing category; -1 is one that the training part does not have.
_MISSING = -2
#: Cells of features that one block holds, 4 bytes each, besides a few copies inside scikit-learn.
_N_CELLS = 2_000_000
_FEWEST = 256
_ALIGNMENT = 64
_WEEK, _YEAR = 7.0, 365.25
#: SimpleImputer keeps the dtype that it was fitted on; a NumPy dtype holds no code.
_TRUSTED = ["numpy.dtype"]
_PLAIN = ("used", "categories", "feature_names", "task", "target", "class_names")
_SCHEMA, _TRANSFORMER = "schema.json", "transformer.skops"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TablePreparation:
    """How the rows of a table become features.

    Attributes
    ----------
    columns
        All columns of the data set but its target, those that are ignored too.
    used
        Columns that have something to tell: at least two different values (missing is one) in the training part.
    categories
        Of each used column the categories that its training part has, sorted; empty where it is none of names.
    transformer
        A fitted ``ColumnTransformer``; its inputs are those of :func:`inputs_of`.
    feature_names
        One a feature, for people: ``age``, ``age is missing``, ``colour = red``, ``colour = (rare)``,
        ``review, words 1``.
    task, target, class_names
        What is predicted.
    """

    columns: tuple[Column, ...]
    used: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    transformer: Any
    feature_names: tuple[str, ...]
    task: str
    target: str
    class_names: tuple[str, ...]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.feature_names)

    def transform(self, samples: pd.DataFrame) -> NDArray[np.float32]:
        """Return ``(n, n_features)`` float32 for a typed table, as of a data set or of ``cells.as_samples``."""
        return self.transform_rows(samples, np.arange(len(samples)))

    def transform_rows(self, samples: pd.DataFrame, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features of some rows, in their order."""
        by_name = {column.name: column for column in self.columns}
        used = dict(enumerate(zip((by_name[name] for name in self.used), self.categories, strict=True)))
        transform = self.transformer.transform
        return by_block(
            lambda some: np.clip(transform(inputs_of(samples, used, some)), -_FARTHEST, _FARTHEST),
            rows,
            self.n_features,
        )

    def save(self, folder: Path) -> None:
        """Write what :func:`load_preparation` reads: the columns as JSON, the transformer as skops, without code."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _files_of(self).items():
            (folder / name).write_bytes(content)


@functools.lru_cache(maxsize=1)  # trial after trial saves the same one
def _files_of(preparation: TablePreparation) -> dict[str, bytes]:
    import skops.io

    schema = {field: getattr(preparation, field) for field in _PLAIN}
    schema["columns"] = [asdict(column) for column in preparation.columns]
    return {
        _SCHEMA: json.dumps(schema, indent=1, ensure_ascii=False).encode(),
        _TRANSFORMER: skops.io.dumps(preparation.transformer, compression=zipfile.ZIP_DEFLATED),
    }


def load_preparation(folder: Path) -> TablePreparation:
    """Return what was saved in a folder; nothing of it is run as code.

    Raises
    ------
    OSError
        When the folder holds no preparation.
    skops.io.exceptions.UntrustedTypesFoundException
        When the file holds a type that scikit-learn's own fitted transformers do not.
    """
    import skops.io

    schema = json.loads((folder / _SCHEMA).read_text(encoding="utf-8"))
    columns = tuple(Column(**_with_tuples(column)) for column in schema.pop("columns"))
    transformer = skops.io.load(folder / _TRANSFORMER, trusted=_TRUSTED)
    return TablePreparation(columns=columns, transformer=transformer, **_with_tuples(schema))


def by_block(
    features: Callable[[NDArray[np.int64]], NDArray[Any]],
    rows: NDArray[np.int64],
    n_features: int,
    dtype: type[np.generic] = np.float32,
) -> NDArray[Any]:
    """Return the features of rows, made a few rows at a time: each is written once, and no copy stands beside all.

    The array begins where TensorFlow likes it: such a one can be a tensor without being copied.
    """
    n_bytes = len(rows) * n_features * np.dtype(dtype).itemsize
    raw = np.empty(n_bytes + _ALIGNMENT, np.uint8)
    first = -raw.ctypes.data % _ALIGNMENT
    found = raw[first : first + n_bytes].view(dtype).reshape(len(rows), n_features)
    step = max(_FEWEST, _N_CELLS // max(1, n_features))
    for start in range(0, len(rows), step):
        found[start : start + step] = features(rows[start : start + step])
    return found


def inputs_of(
    samples: pd.DataFrame, used: Mapping[int, tuple[Column, Sequence[str]]], rows: NDArray[np.int64]
) -> pd.DataFrame:
    """Return what the transformer takes of some rows of a typed table.

    Numbers, booleans and texts stay as they are; a missing text is empty. A category becomes its position among its
    column's categories. A date becomes its days, and where it lies in the year and in the week as sine and cosine.
    Inputs are called by their column's number in ``used``, ``3`` or ``3 week sine``, so that no two names can be the
    same.
    """
    inputs: dict[str, NDArray[Any]] = {}
    for position, (column, known) in used.items():
        values = samples[column.name].array
        if column.kind == "text":
            texts = np.append(np.asarray(values.categories, dtype=object), "")
            inputs[str(position)] = texts[values.codes[rows]]
            continue
        if column.kind == "categorical":
            codes = pd.Index(list(known), dtype="str").get_indexer(values.categories)
            inputs[str(position)] = np.append(codes, _MISSING).astype(np.int32)[values.codes[rows]]
            continue
        numbers = np.asarray(values)[rows]
        inputs[str(position)] = numbers
        if column.kind == "date":
            for part, period in (("year", _YEAR), ("week", _WEEK)):
                angle = np.float32(2 * math.pi) * (numbers / np.float32(period) % 1)
                inputs[f"{position} {part} sine"], inputs[f"{position} {part} cosine"] = np.sin(angle), np.cos(angle)
    return pd.DataFrame(inputs, index=range(len(rows)), copy=False)


def _with_tuples(saved: Mapping[str, Any]) -> dict[str, Any]:
    def as_tuple(value: Any) -> Any:
        return tuple(map(as_tuple, value)) if isinstance(value, list) else value

    return {field: as_tuple(value) for field, value in saved.items()}
