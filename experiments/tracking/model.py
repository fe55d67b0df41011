"""A trained Keras model as an MLflow model: written without MLflow's global state, and read back."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.files import checked_copy, log_files, next_step, own_model
from depthcheck.experiments.tracking.store import client, storage

if TYPE_CHECKING:
    from mlflow import MlflowClient

_REQUIRED = ("tensorflow", "keras", "numpy")


def log_model(
    api: MlflowClient,
    experiment_id: str,
    run_id: str,
    model: Any,
    *,
    params: Mapping[str, object],
    preparation: Any = None,
) -> str:
    """Write the model as the run's logged model; return its id.

    These are the steps of ``mlflow.tensorflow.log_model``, which would act on the process's global store and run.
    Requirements are given, since finding them out takes MLflow ten seconds. The signature names the output alone: an
    input signature holds exactly one dtype, and a user's pixels may be uint8, int64 or float
    (docs/decisions/tracking.md).

    Parameters
    ----------
    model
        A Keras model from raw samples (of a table: prepared features) to probabilities, or to a number.
    params
        Shown on the model's page.
    preparation
        What makes the model's features of a table's columns, kept beside it in a folder of its own; None where the
        model takes raw samples.
    """
    import mlflow.tensorflow
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    logged = api.create_logged_model(
        experiment_id,
        name=keys.MODEL,
        source_run_id=run_id,
        params={key: str(value) for key, value in params.items()},
        model_type="classifier",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / keys.MODEL
        record = Model(
            artifact_path=logged.artifact_location,
            model_uuid=logged.model_id,
            run_id=run_id,
            model_id=logged.model_id,
            metadata={"input": f"raw samples as the data set has them, {_shape(model.input_shape)}, any numeric dtype"},
        )
        mlflow.tensorflow.save_model(model, path=str(path), mlflow_model=record, pip_requirements=_requirements())
        outputs = TensorSpec(np.dtype(np.float32), (-1, *model.output_shape[1:]))
        record.signature = ModelSignature(outputs=Schema([outputs]))
        record.save(str(path / "MLmodel"))
        if preparation is not None:
            preparation.save(path / keys.PREPARATION)
        log_files(api, logged.model_id, path)
    api.finalize_logged_model(logged.model_id, "READY")
    api.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=next_step(api.get_run(run_id)))])
    return logged.model_id


def load_model(uri: str, run_id: str) -> Any:
    """Return the Keras model that the run logged.

    Raises
    ------
    TrackingError
        When the run has no model, or its files are not those that were logged (of an old one: that is not known), or
        the store or its artifacts cannot be read.
    """
    api = client(uri)
    with storage(f"cannot load the model of run {run_id}", Exception):  # Keras meets damaged files with its own
        import mlflow.tensorflow

        model_id = own_model(api.get_run(run_id))
        if model_id is None:
            raise OSError("it has none")
        model = api.get_logged_model(model_id)
        with checked_copy("it", uri, model.artifact_location, model, trust=False) as folder:
            return mlflow.tensorflow.load_model(str(folder))


def _requirements() -> list[str]:
    return [f"{name}=={metadata.version(name)}" for name in _REQUIRED]


def _shape(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"
