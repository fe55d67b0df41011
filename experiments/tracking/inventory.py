"""All that a store holds of a study, as it stands there: what was deleted, is damaged or never ended included.

``read`` gives trials as records and passes over what does not count. Here nothing is passed over and little is
understood: whether it fits together is for others to say.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.champion import LOGGED
from depthcheck.experiments.tracking.files import at_hand, difference, hashes, noted_hashes, own_model, says_how
from depthcheck.experiments.tracking.reading import MAX_BULK_POINTS, MAX_BULK_RUNS, logged_value, metric_points, search
from depthcheck.experiments.tracking.registry import is_replaced
from depthcheck.experiments.tracking.store import client, storage
from depthcheck.pipeline.records import History

if TYPE_CHECKING:
    from mlflow.entities import Run

#: metric -> epoch -> value
Curves = Mapping[str, Mapping[int, float]]

_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as the store has it; ``model_id`` is that of its last logged model, or None."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    is_deleted: bool
    started: datetime
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    model_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """What is wrong with a logged model, in words, or None; and whether there were hashes to tell by."""

    trouble: str | None = None
    is_checked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """A version of a registered model."""

    version: str
    run_id: str
    description: str
    model: ModelState


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChampion:
    """The registered model of a study.

    Attributes
    ----------
    version, run_id
        Of what stands under the alias; None where the alias is not set, or leads to nothing.
    versions
        All that there are, but for those in whose place another was made.
    """

    version: str | None = None
    run_id: str | None = None
    versions: tuple[StoredVersion, ...] = ()


def study_runs(uri: str) -> list[StoredRun]:
    """Read the parent runs of all studies, deleted ones included, the latest first.

    Raises
    ------
    TrackingError
        When the store cannot be read.
    """
    return sorted(_everywhere(uri, f"tags.{keys.PHASE} = '{keys.PHASE_STUDY}'"), key=_started, reverse=True)


def runs_below(uri: str, parent_run_id: str) -> list[StoredRun]:
    """Read the runs below a run, deleted ones included, the earliest first; the run itself need not be there."""
    return sorted(_everywhere(uri, f"tags.`{keys.PARENT_RUN}` = '{parent_run_id}'"), key=_started)


def stored_run(uri: str, run_id: str) -> StoredRun | None:
    """Read one run, or return None where the store has none of that id."""
    from mlflow.exceptions import MlflowException

    with storage(f"cannot read run {run_id} from {uri}"):
        try:
            return _stored(client(uri).get_run(run_id))
        except MlflowException as error:
            if error.error_code in _MISSING:
                return None
            raise


def is_deleted_experiment(uri: str, experiment_id: str) -> bool:
    """Tell whether an MLflow experiment, and with it every run in it, was deleted."""
    with storage(f"cannot read experiment {experiment_id} from {uri}"):
        return bool(client(uri).get_experiment(experiment_id).lifecycle_stage == "deleted")


def stored_curves(uri: str, run_ids: Sequence[str], *, metric: str, epochs: int) -> dict[str, Curves]:
    """Read the points that there are of the curves that every trial has, by run."""
    names = [*History(metric=metric).curves(), keys.EPOCH_SECONDS]
    found: dict[str, dict[str, dict[int, float]]] = {run_id: {name: {} for name in names} for run_id in run_ids}
    size = max(1, min(MAX_BULK_RUNS, MAX_BULK_POINTS // max(epochs, 1)))
    with storage(f"cannot read curves from {uri}"):
        for start in range(0, len(run_ids), size):
            for name in names:
                for run_id, step, value in metric_points(client(uri), run_ids[start : start + size], name):
                    found[run_id][name][step] = logged_value(value)
    return {run_id: dict(curves) for run_id, curves in found.items()}


def model_state(uri: str, model_id: str) -> ModelState:
    """Hold the files of a logged model against the hashes that were noted with it.

    Where none were, it is only looked whether its files are there, and on this machine's disk its archive is opened.
    TensorFlow is not needed: a Keras model is a zip archive.
    """
    from mlflow.exceptions import MlflowException

    with storage(f"cannot read model {model_id} from {uri}"):
        try:
            model = client(uri).get_logged_model(model_id)
        except MlflowException as error:
            if error.error_code in _MISSING:
                return ModelState(trouble=f"its model {model_id} was deleted in MLflow")
            raise
        noted = noted_hashes(model)
        with at_hand(uri, model.artifact_location) as folder:
            if noted is None:
                return ModelState(trouble=_trouble_without_hashes(folder), is_checked=False)
            found = difference(noted, hashes(folder))
            if found is None:
                return ModelState()
            return ModelState(trouble=f"its model is not as it was logged: {found} (in {model.artifact_location})")


def example_of_run(uri: str, run: StoredRun) -> dict[str, Any] | None:
    """Read what a run's model said of a few samples; empty where it is not what was logged, None where nothing was."""
    noted = run.tags.get(keys.EXAMPLE_SHA256)
    if noted is None:
        return None
    text = _artifact(uri, run.run_id, keys.EXAMPLE)
    if text is None or hashlib.sha256(text).hexdigest() != noted:
        return {}
    content: dict[str, Any] = json.loads(text)
    return content


def stored_json(uri: str, run_id: str, name: str) -> dict[str, Any] | None:
    """Read a JSON artifact at the top of a run, empty where it cannot be understood, None where there is none."""
    text = _artifact(uri, run_id, name)
    if text is None:
        return None
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def study_designs(uri: str, run_id: str) -> list[dict[str, Any]]:
    """Read what each session of a study laid down, the first session's first; what cannot be understood is left out."""
    api = client(uri)
    with storage(f"cannot read the designs of run {run_id} from {uri}"):
        top = {item.path for item in api.list_artifacts(run_id)}
        sessions = (
            sorted(item.path for item in api.list_artifacts(run_id, keys.SESSIONS)) if keys.SESSIONS in top else []
        )
        held = {session: {item.path for item in api.list_artifacts(run_id, session)} for session in sessions}
    names = [f"{session}/{keys.DESIGN}" for session, paths in held.items() if f"{session}/{keys.DESIGN}" in paths]
    with storage(f"cannot read the designs of run {run_id} from {uri}"), TemporaryDirectory() as folder:
        texts = [
            Path(api.download_artifacts(run_id, name, folder)).read_bytes()
            for name in ([keys.DESIGN] if keys.DESIGN in top else []) + names
        ]
    return list(_understood(texts))


def stored_champion(uri: str, study: str) -> StoredChampion:
    """Read what is registered under the study's name; nothing of it where no model is."""
    from mlflow.exceptions import MlflowException

    api = client(uri)
    with storage(f"cannot read the registered model {study} from {uri}"):
        try:
            alias = api.get_registered_model(study).aliases.get(keys.CHAMPION)
        except MlflowException as error:
            if error.error_code in _MISSING:
                return StoredChampion()
            raise
        versions = api.search_model_versions(f"name = '{study}'")
    at = next((version for version in versions if str(version.version) == str(alias)), None)
    return StoredChampion(
        version=None if alias is None else str(alias),
        run_id=None if at is None else at.run_id,
        versions=tuple(
            StoredVersion(
                version=str(one.version), run_id=one.run_id or "", description=one.description or "",
                model=model_state(uri, str(one.source).removeprefix("models:/"))
                if str(one.source).startswith(LOGGED) else ModelState(is_checked=False),
            )
            for one in versions if not is_replaced(one)
        ),
    )  # fmt: skip


def _artifact(uri: str, run_id: str, name: str) -> bytes | None:
    """Read an artifact at the top of a run, or return None where there is none."""
    api = client(uri)
    with storage(f"cannot read {name} of run {run_id} from {uri}"), TemporaryDirectory() as folder:
        if name not in {item.path for item in api.list_artifacts(run_id)}:
            return None
        return Path(api.download_artifacts(run_id, name, folder)).read_bytes()


def _everywhere(uri: str, condition: str) -> Iterator[StoredRun]:
    api = client(uri)
    with storage(f"cannot read the runs in {uri}"):
        from mlflow.entities import ViewType

        experiments = [experiment.experiment_id for experiment in api.search_experiments(ViewType.ALL)]
        yield from [_stored(run) for run in search(api, experiments, condition, deleted_too=True)]


def _started(run: StoredRun) -> datetime:
    return run.started


def _stored(run: Run) -> StoredRun:
    return StoredRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=run.info.run_name or run.info.run_id,
        status=run.info.status,
        is_deleted=run.info.lifecycle_stage == "deleted",
        started=datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC),
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics={key: logged_value(value) for key, value in run.data.metrics.items()},
        model_id=own_model(run),
    )


def _trouble_without_hashes(folder: Path) -> str | None:
    archives = sorted(folder.rglob("*.keras"))
    if not says_how(folder) or not archives:
        return f"its model has no files in {folder}"
    for archive in archives:
        try:
            with zipfile.ZipFile(archive) as opened:
                damaged = opened.testzip()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            return f"its model cannot be opened: {archive} ({error})"
        if damaged is not None:
            return f"its model is damaged: {damaged} in {archive}"
    return None


def _understood(texts: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    for text in texts:
        try:
            content = json.loads(text)
        except ValueError:
            continue
        if isinstance(content, dict):
            yield content
