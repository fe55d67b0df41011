"""The champion as a product: original columns or raw pixels in, class names and probabilities (or a number) out.

This file travels inside the registered model, in a package of its own (:mod:`experiments.tracking.product` puts it
there), and is loaded by MLflow where this project may not be installed. So it imports nothing of the project but what
travels along.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.columns import as_samples
from pipeline.preparation import load_preparation

#: Rows a step: enough to make the overhead of a step vanish, few enough to bound memory.
_CHUNK = 4096


class ServedModel:
    """Answers for raw samples; what MLflow calls ``predict`` on.

    Parameters
    ----------
    folder
        Holds ``served.json``, ``model.keras`` and, for a table, ``preparation/``.
    """

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras

        self.facts: dict[str, Any] = json.loads((folder / "served.json").read_text(encoding="utf-8"))
        self._model = keras.models.load_model(folder / "model.keras", compile=False)
        self._preparation = load_preparation(folder / "preparation") if self.facts["is_table"] else None

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a row a sample: ``prediction`` and, for classes, ``probability_<class>``.

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
            When a column is missing, a cell cannot be understood, or the shape is another. A server answers 400 then.
        """
        try:
            features = self._features(model_input)
        except ValueError as error:
            from mlflow.exceptions import MlflowException

            raise MlflowException.invalid_parameter_value(str(error)) from error
        return self._answers(self._outputs(features))

    def _features(self, model_input: Any) -> NDArray[Any]:
        if self._preparation is not None:
            frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
            return np.asarray(self._preparation.transform(as_samples(frame, self._preparation.columns)))
        return _as_array(model_input, tuple(self.facts["sample_shape"]))

    def _outputs(self, features: NDArray[Any]) -> NDArray[np.float32]:
        chunks = [
            np.asarray(self._model(features[start : start + _CHUNK], training=False))
            for start in range(0, len(features), _CHUNK)
        ]
        return np.concatenate(chunks) if chunks else np.empty((0, self._model.output_shape[-1]), np.float32)

    def _answers(self, outputs: NDArray[np.float32]) -> pd.DataFrame:
        if self.facts["task"] == "regression":
            return pd.DataFrame({"prediction": outputs.reshape(-1)})
        names = np.array(self.facts["class_names"], dtype=object)
        columns = {f"probability_{name}": outputs[:, at] for at, name in enumerate(names)}
        return pd.DataFrame({"prediction": names[outputs.argmax(axis=1)], **columns})


def _as_array(samples: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return samples ``(n, *shape)`` as float32; flat rows, such as a table of pixels, are taken as well."""
    expected = f"(n, {', '.join(map(str, shape))}) or flat"
    try:
        array = np.asarray(samples, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"samples must be numbers of shape {expected}, got {error}") from error
    n_values = int(np.prod(shape))
    if array.ndim < 2 or array.shape[1:] not in (shape, (n_values,)):
        raise ValueError(f"samples must have shape {expected}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("samples must be finite numbers, got some that are not")
    return array.reshape(len(array), *shape)


def _load_pyfunc(data_path: str) -> ServedModel:
    """Return the model; the name is MLflow's."""
    return ServedModel(Path(data_path))
