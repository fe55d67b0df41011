"""The champion packed as a product: a model that MLflow serves to people who have the raw data and nothing of ours.

A trial's own model is Keras's. Here it gets its preparation of the raw columns and its class names, as MLflow's
``python_function`` with a loader module: JSON, skops and Keras's format, nothing that unpickles.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcheck import pipeline
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.files import checked_copy, log_files, noted_hashes, own_model
from depthcheck.experiments.tracking.store import client

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

_CODE = Path(pipeline.__file__).parent
#: The package inside the model, named so that it hides no package of its user.
_PACKAGE = "depthcheck_model"
#: The modules in it. They import each other by relative names.
_TRAVELS = (
    "__init__.py", "served.py", "config.py", "records.py",
    "data/__init__.py", "data/cells.py", "data/columns.py", "prepare/__init__.py", "prepare/preparation.py",
)  # fmt: skip
_REQUIRED = ("tensorflow", "keras", "numpy", "pandas", "scikit-learn", "skops")


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
    from mlflow.models import Model

    api = client(uri)
    model_id = own_model(api.get_run(run_id))
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
        record = Model(
            artifact_path=logged.artifact_location,
            model_uuid=logged.model_id,
            run_id=run_id,
            model_id=logged.model_id,
            metadata={"input": _expected(facts)},
        )
        path = Path(scratch) / "product"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*An input example was not provided")  # there is no signature to check
            mlflow.pyfunc.save_model(
                str(path),
                loader_module=f"{_PACKAGE}.served",
                data_path=str(data),
                code_paths=[str(package)],
                mlflow_model=record,
                signature=_signature(facts),
                pip_requirements=[f"{name}=={metadata.version(name)}" for name in (*_REQUIRED, "mlflow")],
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
