"""Models as MLflow keeps them, written without its global state, and their files held against their hashes.

A trial's own model is Keras's. The product is for people who have the raw data and nothing of ours: it gets the
preparation of the raw columns and the class names, as MLflow's ``python_function`` with a loader module: JSON, skops
and Keras's format, nothing that unpickles.

A model is a program, and none runs that was not logged. The hashes stand in the tracking database, as a tag of the
logged model: whoever can write into the folder of models cannot change them there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np

from depthcheck import pipeline
from depthcheck.experiments.scratch import scratch
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.runs import NO_SUCH_ID, StoredRun, get
from depthcheck.experiments.tracking.store import client, launcher, storage
from depthcheck.pipeline.own import OwnModel
from depthcheck.pipeline.verbatim import command

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import Model, ModelSignature


#: How the source of a version in the registry begins that was made from a logged model.
LOGGED = "models:/m-"
#: What Python and MLflow leave in a model's folder when they load it there: no damage. A checked copy has none of it.
_LEFT_BY_LOADING = {"__pycache__", "registered_model_meta"}
_REQUIRED = ("tensorflow", "keras", "numpy")
_PRODUCT_REQUIRED = (*_REQUIRED, "pandas", "scikit-learn", "skops", "mlflow")
_CODE = Path(pipeline.__file__).parent
#: Where the text of a user's own model is kept, beside the model that was made by it.
_OWN = "own_model.json"
#: The package inside the model, named so that it hides no package of its user.
_PACKAGE = "depthcheck_model"
#: The modules in it: the served model's, and what it imports of this project, by relative names.
_TRAVELS = (
    "__init__.py", "served.py", "config.py", "own.py", "records.py", "scores.py",
    "data/__init__.py", "data/cells.py", "prepare/__init__.py", "prepare/preparation.py",
)  # fmt: skip


class ChangedModelError(ValueError):
    """A model's files are not those that were logged, or nobody can know whether they are; the text says which."""


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder, by its path from there; what loading leaves is left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if _LEFT_BY_LOADING & set(relative.parts) or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_file():
            with path.open("rb") as file:
                found[relative.as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            found[relative.as_posix()] = "no regular file"
    return found


def log_files(api: MlflowClient, model: LoggedModel, folder: Path) -> None:
    """Write a model's files to the artifact store, unless they lie there, and their hashes to the tracking database."""
    api.set_logged_model_tags(model.model_id, {keys.FILES: json.dumps(hashes(folder))})
    if folder != on_disk(model.artifact_location):
        api.log_model_artifacts(model.model_id, str(folder))


def noted_hashes(model: LoggedModel) -> dict[str, str] | None:
    """Return the hashes that were noted when a model was logged; None where none were."""
    try:
        noted = json.loads(model.tags.get(keys.FILES, "null"))
    except ValueError:
        return {}
    return {str(path): str(sha256) for path, sha256 in noted.items()} if isinstance(noted, dict) else None


def difference(noted: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """Say which file is not as it was logged, or return None."""
    if noted and not found:
        return "there are no files"
    named = [f"{path} is missing" for path in noted if path not in found]
    named += [
        f"{path} has another content (SHA-256 {found[path][:12]}…, logged {sha256[:12]}…)"
        for path, sha256 in noted.items()
        if found.get(path, sha256) != sha256
    ]
    named += [f"{path} was added" for path in found if path not in noted]
    if not named:
        return None
    return named[0] + (f", and {len(named) - 1} more differ" if len(named) > 1 else "")


@contextmanager
def checked_copy(what: str, uri: str, location: str, model: LoggedModel | None, *, trust: bool) -> Iterator[Path]:
    """Yield a private copy of a model's folder whose files are those that were logged, and no others.

    It is the copy that is checked and then loaded, so that nothing can be changed in between.

    Parameters
    ----------
    what
        What a complaint calls it.
    location
        Where its files are.
    model
        Whose hashes count; None where the model has no record in the tracking store.
    trust
        Whether a model without hashes is taken as it is. One with other files than were logged never is.

    Raises
    ------
    ChangedModelError
        When a file differs, or there are no hashes and ``trust`` is not given.
    """
    noted = None if model is None else noted_hashes(model)
    if noted is None and not trust:
        raise ChangedModelError(
            f"{what} must have hashes to be checked against, got none: it was logged elsewhere, or they were lost; a "
            "model is a program, and trust=true runs this one as it is"
        )
    # In the session's folder: a server may be killed, and the next session then removes its copy.
    with scratch() as session, TemporaryDirectory(dir=session, ignore_cleanup_errors=True) as folder:
        copy = _copied(uri, location, folder)
        if noted is None and not ((mlmodel := copy / "MLmodel").is_file() and mlmodel.stat().st_size):
            raise ChangedModelError(
                f"{what} must have an MLmodel file that says how to load it, got none or an empty one"
            )
        trouble = None if noted is None else difference(noted, hashes(copy))
        if trouble is not None:
            raise ChangedModelError(
                f"{what} must have the files that were logged, got others: {trouble}; "
                f"{command(launcher(), 'doctor', fix=True)} makes it again from its trial"
            )
        for name in _LEFT_BY_LOADING:
            for path in list(copy.rglob(name)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield copy


def model_is_gone(uri: str, run: StoredRun) -> bool:
    """Tell whether a run logged a model whose files can no longer be found."""
    from mlflow.exceptions import MlflowException

    try:
        return run.model_id is not None and not client(uri).list_logged_model_artifacts(run.model_id)
    except (MlflowException, OSError):
        return True


def files_trouble(uri: str, model_id: str) -> str | None:
    """Hold the files of a logged model against the hashes noted with it; say what is wrong, or return None."""
    from mlflow.exceptions import MlflowException

    with storage(f"cannot read model {model_id} from {uri}"):
        try:
            model = client(uri).get_logged_model(model_id)
        except MlflowException as error:
            if error.error_code in NO_SUCH_ID:
                return f"its model {model_id} was deleted in MLflow"
            raise
        noted = noted_hashes(model)
        if noted is None:
            return f"its model {model_id} has lost the hashes of its files"
        with TemporaryDirectory(prefix="depthcheck-model-") as folder:
            there = on_disk(model.artifact_location) or _copied(uri, model.artifact_location, folder)
            found = difference(noted, hashes(there))
    return found and f"its model is not as it was logged: {found} (in {model.artifact_location})"


def on_disk(location: str) -> Path | None:
    """Return where artifacts lie on this machine's disk, or None where a server has them."""
    address = urlparse(location)
    # MLflow takes a plain path for one of an address, too; a # in it is no part of an address.
    return Path(url2pathname(address.path if address.scheme else location)) if address.scheme in ("", "file") else None


def _copied(uri: str, location: str, folder: str) -> Path:
    from mlflow.artifacts import download_artifacts, list_artifacts

    there = on_disk(location)
    if not (there.exists() if there else list_artifacts(artifact_uri=location, tracking_uri=uri)):
        return Path(folder)  # an empty copy of what is gone
    path: Any = download_artifacts(artifact_uri=location, tracking_uri=uri, dst_path=folder)
    return Path(path)


def log_model(
    api: MlflowClient,
    experiment_id: str,
    run_id: str,
    model: Any,
    *,
    step: int,
    params: Mapping[str, object],
    preparation: Any = None,
    own: OwnModel | None = None,
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
    step
        Of a run's models the one with the highest step counts.
    params
        Shown on the model's page.
    preparation
        What makes the model's features of a table's columns, kept beside it in a folder of its own; None where the
        model takes raw samples.
    own
        The user's own model that it was made by, whose text is kept beside it.
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
    with TemporaryDirectory() as folder:
        # What is copied from somewhere else to this disk costs MLflow a question more, and a copy.
        path = on_disk(logged.artifact_location) or Path(folder) / keys.MODEL
        shape = ", ".join("n" if size is None else str(size) for size in model.input_shape)
        taken = f"raw samples as the data set has them, ({shape}), any numeric dtype"
        record = _record(logged, run_id, taken)
        with _known_to_fit():
            mlflow.tensorflow.save_model(
                model, path=str(path), mlflow_model=record, pip_requirements=_requirements(_REQUIRED)
            )
        outputs = TensorSpec(np.dtype(model.outputs[0].dtype), (-1, *model.output_shape[1:]))
        record.signature = ModelSignature(outputs=Schema([outputs]))
        record.save(str(path / "MLmodel"))
        if preparation is not None:
            preparation.save(path / keys.PREPARATION)
        if own is not None:
            (path / _OWN).write_text(json.dumps(own.as_json()), encoding="utf-8")
        log_files(api, logged, path)
    api.finalize_logged_model(logged.model_id, "READY")
    api.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=step)])
    return logged.model_id


def load_model(uri: str, run_id: str) -> Any:
    """Return the Keras model that the run logged.

    Raises
    ------
    TrackingError
        When the run has no model, or its files are not those that were logged.
    """
    api = client(uri)
    with storage(f"cannot load the model of run {run_id}", Exception):  # Keras meets damaged files with its own
        import mlflow.tensorflow

        model_id = get(api, run_id).model_id
        if model_id is None:
            raise OSError("it has none")
        model = api.get_logged_model(model_id)
        with checked_copy("it", uri, model.artifact_location, model, trust=False) as folder:
            if (own := _own(folder)) is not None:
                from depthcheck.pipeline.served import load_keras

                return load_keras(next(folder.rglob("*.keras")), own)
            return mlflow.tensorflow.load_model(str(folder))


def _own(folder: Path) -> OwnModel | None:
    """Return the user's own model whose text lies in a model's folder, or None."""
    file = folder / _OWN
    return OwnModel(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


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
        When the model's files are not those that were logged, or it has lost its hashes: nothing of them is passed on
        under new ones.
    """
    import mlflow.pyfunc

    api = client(uri)
    model_id = get(api, run_id).model_id
    if model_id is None:
        raise FileNotFoundError(f"run {run_id} has no model")
    trained = api.get_logged_model(model_id)
    if noted_hashes(trained) is None:
        raise ChangedModelError(
            f"the model of run {run_id} must have hashes to be checked against, got none: they were lost; "
            f"{command(launcher(), 'doctor', fix=True)} makes it again from its trial"
        )
    with (
        TemporaryDirectory() as scratch,
        checked_copy(f"the model of run {run_id}", uri, trained.artifact_location, trained, trust=False) as source,
    ):
        data, package = Path(scratch) / "data", Path(scratch) / _PACKAGE
        _write_data(source, data, facts)
        for name in _TRAVELS:
            (package / name).parent.mkdir(exist_ok=True)
            shutil.copy(_CODE / name, package / name)
        logged = api.create_logged_model(
            experiment_id, name=keys.CHAMPION, source_run_id=run_id, model_type=str(facts["task"])
        )
        path = Path(scratch) / "product"
        with warnings.catch_warnings(), _known_to_fit():
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
        log_files(api, logged, path)
    api.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)


def _write_data(source: Path, data: Path, facts: Mapping[str, Any]) -> None:
    keras_file = next(source.rglob("*.keras"), None)
    if keras_file is None:
        raise OSError(f"no .keras file in {source}")
    data.mkdir()
    shutil.copy(keras_file, data / "model.keras")
    if facts["is_table"]:
        shutil.copytree(source / keys.PREPARATION, data / "preparation")
    own = _own(source)
    known = {**facts, **({} if own is None else {"own": own.as_json()})}
    (data / "served.json").write_text(json.dumps(known), encoding="utf-8")


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


@contextmanager
def _known_to_fit() -> Iterator[None]:
    """Let MLflow not look whether the requirements of a model are met here: they name what is installed.

    For that it reads the list of files of every installed package, once in each process, which takes a second.
    """
    with mock.patch("mlflow.utils.environment.warn_dependency_requirement_mismatches", create=True):
        yield


def _requirements(packages: Sequence[str]) -> list[str]:
    return [f"{name}=={metadata.version(name)}" for name in packages]
