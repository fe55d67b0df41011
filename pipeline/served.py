"""The champion as a product: original columns or raw pixels in, class names and probabilities (or a number) out.

This file travels inside the registered model, in a package of its own (:mod:`depthcheck.experiments.tracking.model`
puts it there), and is loaded by MLflow where this project may not be installed. So it imports nothing of the project
but what travels along, and that by relative names, which hold in both packages.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .data.cells import LARGEST, as_samples
from .own import OwnModel, settings_kept
from .prepare.preparation import load_preparation
from .records import Column

#: Rows a step: enough to make the overhead of a step vanish, few enough to bound memory.
_CHUNK = 4096


def load_keras(path: Path, own: OwnModel | None) -> Any:
    """Return the model of a ``.keras`` file, not compiled; what its layers are called by the user's file defines.

    The file of a user's own model may hold a function's code: it runs like the text that the model was made by.
    """
    import keras

    if own is None:
        return keras.models.load_model(path, compile=False)
    with settings_kept():
        defined = {name: of for name, of in own.namespace().items() if callable(of)}
        with keras.saving.custom_object_scope(defined):
            return keras.models.load_model(path, custom_objects=defined, compile=False, safe_mode=False)


def in_steps(model: Any, samples: Callable[[slice], NDArray[Any]], n_samples: int) -> NDArray[np.float32]:
    """Return what a model gives for all samples, ``(n_samples, n_outputs)``, some at a time."""
    chunks = [
        np.asarray(model(samples(slice(start, start + _CHUNK)), training=False))
        for start in range(0, n_samples, _CHUNK)
    ]
    return np.concatenate(chunks) if chunks else np.empty((0, model.output_shape[-1]), np.float32)


class ServedModel:
    """Answers for raw samples; what MLflow calls ``predict`` on.

    Parameters
    ----------
    folder
        Holds ``served.json``, ``model.keras`` and, for a table, ``preparation/``.
    """

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self.facts: dict[str, Any] = json.loads((folder / "served.json").read_text(encoding="utf-8"))
        own = self.facts.get("own")
        self._model = load_keras(folder / "model.keras", own and OwnModel(**own))
        self._preparation = load_preparation(folder / "preparation") if self.facts["is_table"] else None

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a row a sample, labelled as it is: ``prediction`` and, for classes, ``probability_<class>``.

        Parameters
        ----------
        model_input
            A table with the original columns, in any order, others beside them; or pixels or features as an array
            ``(n, *sample_shape)``, or flat.
        params
            None; MLflow's interface has it.

        Raises
        ------
        MlflowException
            When a column is missing, a cell cannot be understood, the shape is another, or the network's answer is no
            number. A server answers 400 then.
        """
        try:
            features = self._features(model_input)
            outputs = in_steps(self._model, features.__getitem__, len(features))
            answers = self._answers(_finite(outputs, "the network's answer to sample"))
        except ValueError as error:
            from mlflow.exceptions import MlflowException

            raise MlflowException.invalid_parameter_value(str(error)) from error
        return answers.set_axis(model_input.index) if isinstance(model_input, pd.DataFrame) else answers

    def _features(self, model_input: Any) -> NDArray[Any]:
        if self._preparation is not None:
            frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
            return np.asarray(self._preparation.transform(as_samples(frame, self._preparation.columns)))
        return _as_array(model_input, tuple(self.facts["sample_shape"]), self._model.inputs[0].dtype)

    def _answers(self, outputs: NDArray[np.float32]) -> pd.DataFrame:
        if self.facts["task"] == "regression":
            return pd.DataFrame({"prediction": outputs.reshape(-1)})
        names = np.array(self.facts["class_names"], dtype=object)
        columns = {f"probability_{name}": outputs[:, at] for at, name in enumerate(names)}
        return pd.DataFrame({"prediction": names[outputs.argmax(axis=1)], **columns})


def _as_array(samples: Any, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return samples ``(n, *shape)`` as the model takes them; flat rows, such as a table of pixels, will do as well."""
    expected = f"(n, {', '.join(map(str, shape))}) or flat"
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            array = np.asarray(samples, dtype=dtype)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"samples must be numbers of shape {expected}, got {error}") from error
    n_values = int(np.prod(shape))
    if array.ndim < 2 or array.shape[1:] not in (shape, (n_values,)):
        raise ValueError(f"samples must have shape {expected}, got {array.shape}")
    return _finite(array, "sample").reshape(len(array), *shape)


def _finite(rows: NDArray[Any], what: str) -> NDArray[Any]:
    """Return rows of numbers; complain about one that is none, or so large that a network cannot add it up."""
    wrong = np.flatnonzero(~(np.abs(rows) <= LARGEST).all(axis=tuple(range(1, rows.ndim))))
    if len(wrong):
        raise ValueError(f"{what} {wrong[0] + 1} must be of numbers up to {LARGEST:g}, got another")
    return rows


def _load_pyfunc(data_path: str) -> ServedModel:
    """Return the model; the name is MLflow's."""
    model = ServedModel(Path(data_path))
    server: Any = sys.modules.get("mlflow.pyfunc.scoring_server")  # there where it is what loads us
    columns = () if model._preparation is None else model._preparation.columns
    if server is not None:
        mlflows = getattr(server.invocations, "__wrapped__", server.invocations)
        server.invocations = _checked(mlflows, {column.name for column in columns if column.kind != "ignored"})
    if server is not None and columns:
        server.parse_csv_input = functools.partial(_as_written, columns)
    return model


def _as_written(columns: Sequence[Column], csv_input: io.StringIO, schema: object = None) -> pd.DataFrame:
    """Return CSV, in MLflow's stead, with texts in all columns but those of plain numbers, which pandas reads faster.

    Each column knows how to read its own: pandas alone takes the name ``None`` for missing, ``125.000`` for 125
    and names that are all ``True`` for truth values.
    """
    are_texts = {column.name for column in columns if column.kind != "numeric" or column.form}
    names = pd.read_csv(csv_input, nrows=0).columns  # perhaps with blanks around them
    csv_input.seek(0)
    texts = {name: str for name in names if name.strip() in are_texts}
    return pd.read_csv(csv_input, dtype=texts, keep_default_na=False, na_values=[""])


def _checked(answer: Callable[..., Any], names: Set[str]) -> Callable[..., Any]:
    """Return MLflow's function that answers a request, with the requests refused that it would misread or die of.

    It reads CSV by pandas, which takes the first cell of a row that has one too many for the row's name, and moves the
    others below the wrong columns; and the cells that a row lacks count as missing. Nothing in the table that we get
    tells. Nor does pandas find out what stands between cells.

    ``names``: of the columns that are wanted.
    """
    from mlflow.exceptions import MlflowException

    @functools.wraps(answer)
    def checked(data: Any, content_type: str | None, *more: Any, **named: Any) -> Any:
        try:
            if (content_type or "").partition(";")[0].strip() == "text/csv":
                data = _with_commas(data.decode("utf-8-sig") if isinstance(data, bytes) else str(data), names)
            return answer(data, content_type or "", *more, **named)
        except (ValueError, RecursionError, csv.Error) as error:  # of numbers and of lists that are too long for Python
            raise MlflowException.invalid_parameter_value(f"the request cannot be read: {error}") from error

    return checked


def _with_commas(text: str, names: Set[str]) -> str:
    """Return CSV, cut by whatever mark its line of names has most of some names by, with commas in that one's place.

    Raises
    ------
    ValueError
        Naming the first row with more or fewer cells than the line of names.
    """
    csv.field_size_limit(2**31 - 1)  # pandas has no such limit
    text = re.sub(r"\Asep=.\r?\n", "", text)  # as spreadsheets announce the mark

    def cut(mark: str) -> Iterator[list[str]]:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
        return (row for row in lines if any(cell.strip() for cell in row) or len(row) > 1)

    mark = max(",;\t|", key=lambda mark: len(names & {name.strip() for name in next(cut(mark), [])}))
    written = io.StringIO()
    writer, n_names = csv.writer(written), len(next(cut(mark), []))
    for number, row in enumerate(cut(mark)):
        if len(row) != n_names:
            raise ValueError(f"row {number:,} must have {n_names} cells, as the line of names has, got {len(row)}")
        if mark != ",":
            writer.writerow(row)
    return written.getvalue() or text
