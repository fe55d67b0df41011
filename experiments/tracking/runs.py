"""A run as the project knows it: here alone are MLflow's own records of runs, and of their curves, understood.

Nothing is passed over: runs that were deleted, never ended or are no trials come as they stand in the store, and say
what they are.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.store import client, storage
from depthcheck.pipeline.dimensions import CONFIGURATION

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.store.entities.paged_list import PagedList

_T = TypeVar("_T")
RunEnd = Literal["FINISHED", "FAILED", "KILLED"]
#: metric -> epoch (0 for a value of the whole trial) -> value
Curves = Mapping[str, Mapping[int, float]]

_PAGE = 1000
_ENDPOINT = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
#: The most runs that a tracking server takes in one question, and the most points that it gives in one answer.
MAX_BULK_RUNS, MAX_BULK_POINTS = 100, 25_000
#: What MLflow says of an id that no run or model has.
NO_SUCH_ID = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as the store has it: of a trial, a study, a session or a reproduction, or somebody else's.

    Attributes
    ----------
    metrics
        The last value of each.
    model_id, model_step
        The model that it has logged last, which is the one that counts, or None; one that was made again has a higher
        step.
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    is_deleted: bool
    started: datetime
    end_time: int | None
    artifact_uri: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    model_id: str | None = None
    model_step: int = -1

    @property
    def phase(self) -> str | None:
        """Which part of a study it is, or None where it belongs to none."""
        return self.tags.get(keys.PHASE)

    @property
    def study(self) -> str:
        """Name of the study that it belongs to, or nothing."""
        return self.tags.get(keys.STUDY, "")

    @property
    def state(self) -> str:
        """How it ended; of a study: running, finished, failed or interrupted, running too where its process died."""
        return self.tags.get(keys.STATE, keys.RUNNING)

    @property
    def number(self) -> int:
        """The trial's number, or -1: one that a user wrote over is none, and its run no trial until it is repaired."""
        number = self.tags.get(keys.TRIAL_NUMBER, "")
        return int(number) if number.isdecimal() else -1

    @property
    def is_comparison(self) -> bool:
        """Whether it is a study's that searched nothing: its user chose the configurations."""
        return self.params.get(keys.COMPARED) == CONFIGURATION

    @property
    def is_new(self) -> bool:
        """Whether it runs and is nothing of a study yet, as one that ``mlflow run`` has just made."""
        return self.phase is None and self.status == "RUNNING" and not self.is_deleted

    @property
    def is_trial(self) -> bool:
        """Whether it is a trial's, by its tags."""
        return self.phase in keys.TRIAL_PHASES

    @property
    def counts(self) -> bool:
        """Whether it is a trial that has ended; interrupted attempts (KILLED) are no trials."""
        has_ended = not self.is_deleted and self.status in ("FINISHED", "FAILED") and keys.STATE in self.tags
        return has_ended and self.number >= 0

    @property
    def schema_version(self) -> str:
        """Of the version that wrote it."""
        return self.tags.get(keys.SCHEMA, "0")

    def require_readable(self, what: str = "") -> None:
        """Complain about a run that a newer version wrote.

        Parameters
        ----------
        what
            Names it in the message, ``study 'mine'``; by default its run.
        """
        found = self.schema_version
        if not found.isdecimal() or int(found) > int(keys.SCHEMA_VERSION):
            raise ValueError(
                f"{what or f'run {self.run_id}'} must have schema version {keys.SCHEMA_VERSION} or older, "
                f"got {found}: a newer version of the project wrote it"
            )


def get(api: MlflowClient, run_id: str) -> StoredRun:
    """Read one run, a deleted one too; MLflow's errors pass through."""
    return _stored(api.get_run(run_id))


def read_run(uri: str, run_id: str) -> StoredRun:
    """Read one run, a deleted one too."""
    with storage(f"cannot read run {run_id} from {uri}"):
        return get(client(uri), run_id)


def find_run(uri: str, run_id: str) -> StoredRun | None:
    """Read one run, a deleted one too, or return None where the store has none of that id."""
    from mlflow.exceptions import MlflowException

    with storage(f"cannot read run {run_id} from {uri}"):
        try:
            return get(client(uri), run_id)
        except MlflowException as error:
            if error.error_code in NO_SUCH_ID:
                return None
            raise


def search(
    api: MlflowClient, condition: str, experiment_ids: Sequence[str] | None = None, *, deleted_too: bool = False
) -> Iterator[StoredRun]:
    """Yield every run that fulfils the condition, in some MLflow experiments or (None) in all."""
    from mlflow.entities import ViewType

    view = ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY
    if experiment_ids is None:
        there = all_pages(lambda token: api.search_experiments(view, page_token=token))
        experiment_ids = [experiment.experiment_id for experiment in there]
    searched = list(experiment_ids)
    found = all_pages(lambda token: api.search_runs(searched, condition, view, max_results=_PAGE, page_token=token))
    yield from map(_stored, found)


def all_pages(ask: Callable[[str | None], PagedList[_T]]) -> Iterator[_T]:
    """Yield what a search finds, page after page."""
    page = ask(None)
    yield from page
    while page.token:
        page = ask(page.token)
        yield from page


def study_runs(uri: str, *, deleted_too: bool = True) -> list[StoredRun]:
    """Read the parent runs of all studies, the latest first."""
    condition = f"tags.{keys.PHASE} = '{keys.PHASE_STUDY}'"
    with storage(f"cannot read the studies in {uri}"):
        found = list(search(client(uri), condition, deleted_too=deleted_too))
    return sorted(found, key=lambda run: run.started, reverse=True)


def runs_below(uri: str, parent_run_id: str) -> list[StoredRun]:
    """Read the runs below a run, deleted ones included, the earliest first; the run itself need not be there."""
    with storage(f"cannot read the runs below {parent_run_id} in {uri}"):
        return sorted(search(client(uri), below(parent_run_id), deleted_too=True), key=lambda run: run.started)


def below(parent_run_id: str) -> str:
    """Return the condition of being below a run."""
    return f"tags.`{keys.PARENT_RUN}` = '{parent_run_id}'"


def is_deleted_experiment(uri: str, experiment_id: str) -> bool:
    """Tell whether an MLflow experiment, and with it every run in it, was deleted."""
    with storage(f"cannot read experiment {experiment_id} from {uri}"):
        return bool(client(uri).get_experiment(experiment_id).lifecycle_stage == "deleted")


def curves(api: MlflowClient, run_ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, dict[int, float]]]:
    """Read metrics of runs, by run.

    Returns
    -------
    dict
        Each run with each metric, empty where it has no points.
    """
    found: dict[str, dict[str, dict[int, float]]] = {run_id: defaultdict(dict) for run_id in run_ids}
    for start in range(0, len(run_ids), MAX_BULK_RUNS):
        for name in names:
            for run_id, epoch, value in _points(api, run_ids[start : start + MAX_BULK_RUNS], name):
                found[run_id][name][epoch] = _as_logged(value)
    return {run_id: {name: of[name] for name in names} for run_id, of in found.items()}


def _points(api: MlflowClient, run_ids: Sequence[str], key: str) -> Iterator[tuple[str, int, float]]:
    """Yield (run id, step, value) of one metric of up to ``MAX_BULK_RUNS`` runs, in as few questions as possible.

    An answer that is full, in which runs come by their ids, breaks off within its last run: that one and those without
    a point so far are asked for again. What fills an answer alone is read singly, page after page.
    """
    left = list(run_ids)
    while len(left) > 1 and (points := _in_bulk(api, left, key)) is not None:
        cut = points[-1][0] if len(points) >= MAX_BULK_POINTS else None
        whole = [point for point in points if point[0] != cut]
        yield from whole
        if cut is None:
            return
        if not whole:
            break
        had = {point[0] for point in whole}
        left = [run_id for run_id in left if run_id not in had]
    for run_id in left:
        for metric in api.get_metric_history(run_id, key):
            yield run_id, metric.step, metric.value


def _in_bulk(api: MlflowClient, run_ids: Sequence[str], key: str) -> list[tuple[str, int, float]] | None:
    """Ask for one metric of several runs at once; None where the store cannot be asked so.

    50 runs of 6 curves are 6 questions instead of 300. MLflow has the question for its own user interface: as a method
    of its SQL stores and as a route of its server, not of its client.
    """
    store: Any = api._tracking_client.store
    if hasattr(store, "get_metric_history_bulk"):
        found = store.get_metric_history_bulk(list(run_ids), key, MAX_BULK_POINTS)
        return [(metric.run_id, metric.step, metric.value) for metric in found]
    if not hasattr(store, "get_host_creds"):
        return None
    from mlflow.utils.rest_utils import http_request

    response = http_request(  # type: ignore[no-untyped-call]
        store.get_host_creds(),
        _ENDPOINT,
        "GET",
        params={"run_id": list(run_ids), "metric_key": key, "max_results": MAX_BULK_POINTS},
    )
    if response.status_code != 200:
        return None
    return [(point["run_id"], int(point["step"]), float(point["value"])) for point in response.json()["metrics"]]


def _as_logged(value: float) -> float:
    """Undo what SQL stores do to infinity, which they cannot hold."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def _stored(run: Run) -> StoredRun:
    outputs = run.outputs.model_outputs if run.outputs is not None else []
    last = max(outputs, key=lambda output: output.step, default=None)
    has_ended = run.info.status in ("FINISHED", "FAILED")  # where closing it was cut short, it is RUNNING yet
    return StoredRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=run.info.run_name or run.info.run_id,
        status="KILLED" if has_ended and run.data.tags.get(keys.CLOSED) == "true" else run.info.status,
        is_deleted=run.info.lifecycle_stage == "deleted",
        started=datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC),
        end_time=run.info.end_time,
        artifact_uri=str(run.info.artifact_uri),
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics={key: _as_logged(value) for key, value in run.data.metrics.items()},
        model_id=None if last is None else str(last.model_id),
        model_step=-1 if last is None else last.step,
    )
