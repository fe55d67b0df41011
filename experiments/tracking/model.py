"""Models as MLflow keeps them, written without its global state: a trial's own, and the champion as a product.

A trial's own model is Keras's. The product is for people who have the raw data and nothing of ours: it gets the
preparation of the raw columns and the class names, as MLflow's ``python_function`` with a loader module: JSON, skops
and Keras's format, nothing that unpickles.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from depthcheck import pipeline
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.files import checked_copy, log_files, noted_hashes
from depthcheck.experiments.tracking.runs import get
from depthcheck.experiments.tracking.store import client, storage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import Model, ModelSignature

_REQUIRED = ("tensorflow", "keras", "numpy")
_PRODUCT_REQUIRED = (*_REQUIRED, "pandas", "scikit-learn", "skops", "mlflow")
_CODE = Path(pipeline.__file__).parent
#: The package inside the model, named so that it hides no package of its user.
_PACKAGE = "depthcheck_model"
#: The modules in it. They import each other by relative names.
_TRAVELS = (
    "__init__.py", "served.py", "config.py", "records.py",
    "data/__init__.py", "data/cells.py", "prepare/__init__.py", "prepare/preparation.py",
)  # fmt: skip


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
    from mlflow.models import ModelSignature
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
        taken = f"raw samples as the data set has them, {_shape(model.input_shape)}, any numeric dtype"
        record = _record(logged, run_id, taken)
        mlflow.tensorflow.save_model(
            model, path=str(path), mlflow_model=record, pip_requirements=_requirements(_REQUIRED)
        )
        outputs = TensorSpec(np.dtype(np.float32), (-1, *model.output_shape[1:]))
        record.signature = ModelSignature(outputs=Schema([outputs]))
        record.save(str(path / "MLmodel"))
        if preparation is not None:
            preparation.save(path / keys.PREPARATION)
        log_files(api, logged.model_id, path)
    api.finalize_logged_model(logged.model_id, "READY")
    api.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=get(api, run_id).model_step + 1)])
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

        model_id = get(api, run_id).model_id
        if model_id is None:
            raise OSError("it has none")
        model = api.get_logged_model(model_id)
        with checked_copy("it", uri, model.artifact_location, model, trust=False) as folder:
            return mlflow.tensorflow.load_model(str(folder))


def log_product(uri: str, experiment_id: str, run_id: str, facts: Mapping[str, Any]) -> str:
    """Write the product made from the run's own model; return the id of the logged model.

    Parameters
    ----------
    facts
        ``is_table``, ``task``, ``class_names``, ``sample_shape``, and ``columns``, the (name, kind) pairs of a table.

    Raises
    ------
    OSError
        When the run has no model, or it lacks its preparation.
    ChangedModelError
        When the model's files are not those that were logged: nothing of them is passed on under new hashes.
    """
    import mlflow.pyfunc

    api = client(uri)
    model_id = get(api, run_id).model_id
    if model_id is None:
        raise OSError(f"run {run_id} has no model")
    trained = api.get_logged_model(model_id)
    with (
        tempfile.TemporaryDirectory() as scratch,
        checked_copy(f"the model of run {run_id}", uri, trained.artifact_location, trained, trust=True) as source,
    ):
        data = _data(source, _folder(scratch, "data"), facts)
        package = _package(_folder(scratch, _PACKAGE))
        logged = api.create_logged_model(
            experiment_id, name=keys.CHAMPION, source_run_id=run_id, model_type=str(facts["task"])
        )
        path = Path(scratch) / "product"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*An input example was not provided")  # there is no signature to check
            mlflow.pyfunc.save_model(
                str(path),
                loader_module=f"{_PACKAGE}.served",
                data_path=str(data),
                code_paths=[str(package)],
                mlflow_model=_record(logged, run_id, _expected(facts)),
                signature=_signature(facts),
                pip_requirements=_requirements(_PRODUCT_REQUIRED),
            )
        if noted_hashes(trained) is None:  # of what nobody can check, hashes would say that it was
            api.log_model_artifacts(logged.model_id, str(path))
        else:
            log_files(api, logged.model_id, path)
    api.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)


def _folder(scratch: str, name: str) -> Path:
    folder = Path(scratch) / name
    folder.mkdir()
    return folder


def _data(source: Path, data: Path, facts: Mapping[str, Any]) -> Path:
    keras_file = next(source.rglob("*.keras"), None)
    if keras_file is None:
        raise OSError(f"no .keras file in {source}")
    shutil.copy(keras_file, data / "model.keras")
    if facts["is_table"]:
        shutil.copytree(source / keys.PREPARATION, data / "preparation")
    (data / "served.json").write_text(json.dumps(dict(facts)), encoding="utf-8")
    return data


def _package(folder: Path) -> Path:
    """Copy the served model's module, and what it imports of this project, as a package of another name."""
    for name in _TRAVELS:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(_CODE / name, folder / name)
    return folder


def _signature(facts: Mapping[str, Any]) -> ModelSignature:
    """Return the columns of the answer.

    There is no input signature, since MLflow's fits neither kind of data: one of pixels holds exactly one dtype, and
    they may be uint8, int64 or float; one of columns refuses a boolean or a date with a missing cell, or else CSV. The
    model looks for itself, and says in one line what is wrong.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    answers: list[Any] = [ColSpec("double", "prediction")]
    if facts["task"] != "regression":
        answers = [ColSpec("string", "prediction")]
        answers += [ColSpec("double", f"probability_{name}") for name in facts["class_names"]]
    return ModelSignature(outputs=Schema(answers))


def _expected(facts: Mapping[str, Any]) -> str:
    """Return in words what the model takes, for its page."""
    if facts["is_table"]:
        return "the original columns: " + ", ".join(f"{name} ({kind})" for name, kind in facts["columns"])
    return f"raw samples of shape (n, {', '.join(map(str, facts['sample_shape']))}), or flat"


def _record(logged: LoggedModel, run_id: str, taken: str) -> Model:
    """Return MLflow's description of a logged model; ``taken`` says in words what it takes, for its page."""
    from mlflow.models import Model

    return Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        run_id=run_id,
        model_id=logged.model_id,
        metadata={"input": taken},
    )


def _requirements(packages: Sequence[str]) -> list[str]:
    return [f"{name}=={metadata.version(name)}" for name in packages]


def _shape(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"
