"""Any run as it was logged, number by number: what a reproduction is held against."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.files import own_model
from depthcheck.experiments.tracking.reading import logged_value, metric_points
from depthcheck.experiments.tracking.schema import require_readable
from depthcheck.experiments.tracking.store import TrackingError, client, storage

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: metric -> epoch (0 for a value of the whole trial) -> value
Points = Mapping[str, Mapping[int, float]]

_NO_SUCH_RUN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """A run as the store has it, a trial or not.

    Attributes
    ----------
    model_is_gone
        Whether it logged a model whose files can no longer be found.
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    is_deleted: bool
    model_is_gone: bool
    params: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def phase(self) -> str | None:
        """Which part of a study it is, or None where it belongs to none."""
        return self.tags.get(keys.PHASE)

    @property
    def study(self) -> str:
        """Name of the study that it belongs to."""
        return self.tags.get(keys.STUDY, "")


def logged_run(uri: str, run_id: str) -> LoggedRun | None:
    """Read a run, deleted ones included, or None where the store has no such run.

    Raises
    ------
    TrackingError
        When the store cannot be read.
    ValueError
        When a newer version wrote the run.
    """
    api = client(uri)
    with storage(f"cannot read run {run_id} from {uri}"):
        from mlflow.exceptions import MlflowException

        try:
            run = api.get_run(run_id)
        except MlflowException as error:
            if error.error_code in _NO_SUCH_RUN:
                return None
            raise
        require_readable(run.data.tags, f"run {run_id}")
        model_id = own_model(run)
        return LoggedRun(
            run_id=run_id,
            experiment_id=run.info.experiment_id,
            name=run.info.run_name or run_id,
            status=run.info.status,
            is_deleted=run.info.lifecycle_stage == "deleted",
            model_is_gone=model_id is not None and not _has_files(api, model_id),
            params=dict(run.data.params),
            tags=dict(run.data.tags),
        )


def logged_points(uri: str, run_id: str) -> dict[str, dict[int, float]]:
    """Read every number that a trial logged, epoch by epoch, but for how long it took."""
    api = client(uri)
    with storage(f"cannot read the curves of run {run_id} from {uri}"):
        return {
            key: {step: logged_value(value) for _, step, value in metric_points(api, [run_id], key)}
            for key in sorted(api.get_run(run_id).data.metrics)
            if key not in keys.TIMES
        }


def session_environments(uri: str, parent_run_id: str) -> list[dict[str, Any]]:
    """Read what the sessions of a study ran on, the latest first, each kind once.

    Empty where nothing was noted, and where it cannot be read: deleted, or on the disk of another machine.
    """
    api = client(uri)
    found: list[dict[str, Any]] = []
    try:
        with storage(f"cannot read the environments of run {parent_run_id}"), TemporaryDirectory() as folder:
            for path in _environment_paths(api, parent_run_id):
                content = json.loads(Path(api.download_artifacts(parent_run_id, path, folder)).read_text("utf-8"))
                found += [content] if content not in found else []
    except (TrackingError, ValueError):
        return found
    return found


def _environment_paths(api: MlflowClient, run_id: str) -> list[str]:
    def names(path: str | None = None) -> set[str]:
        return {item.path for item in api.list_artifacts(run_id, path)}

    top = names()
    sessions = sorted(names(keys.SESSIONS), reverse=True) if keys.SESSIONS in top else []
    paths = [
        f"{session}/{keys.ENVIRONMENT}" for session in sessions if f"{session}/{keys.ENVIRONMENT}" in names(session)
    ]
    return paths + ([keys.ENVIRONMENT] if keys.ENVIRONMENT in top else [])


def _has_files(api: MlflowClient, model_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(api.list_logged_model_artifacts(model_id))
    except (MlflowException, OSError):
        return False
