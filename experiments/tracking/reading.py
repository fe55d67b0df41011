"""Reading back: trials as records, studies, and what a killed process left open."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.schema import require_readable
from depthcheck.experiments.tracking.store import client, log_batch, storage
from depthcheck.pipeline.config import TrialConfig
from depthcheck.pipeline.records import Evaluation, History, Phase, TrialRecord, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


_PAGE = 1000
_ENDPOINT = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
#: The most runs that a tracking server takes in one question, and the most points that it gives in one answer.
MAX_BULK_RUNS, MAX_BULK_POINTS = 100, 25_000


def search(
    api: MlflowClient, experiment_ids: Sequence[str], condition: str, *, deleted_too: bool = False
) -> Iterator[Run]:
    """Yield every run that fulfils the condition, page after page."""
    from mlflow.entities import ViewType

    view, token = ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY, None
    while True:
        page = api.search_runs(list(experiment_ids), condition, view, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def metric_points(api: MlflowClient, run_ids: Sequence[str], key: str) -> Iterator[tuple[str, int, float]]:
    """Yield (run id, step, value) of one metric of up to ``MAX_BULK_RUNS`` runs, as one question where possible.

    50 runs of 6 curves are 6 questions instead of 300. MLflow has the question for its own user interface: as a method
    of its SQL stores and as a route of its server, not of its client. Where neither is found, curves are read singly.
    """
    store: Any = api._tracking_client.store
    if hasattr(store, "get_metric_history_bulk"):
        for found in store.get_metric_history_bulk(list(run_ids), key, MAX_BULK_POINTS):
            yield found.run_id, found.step, found.value
        return
    points = _from_server(store, run_ids, key) if len(run_ids) > 1 and hasattr(store, "get_host_creds") else None
    if points is not None:
        yield from points
        return
    for run_id in run_ids:
        for metric in api.get_metric_history(run_id, key):
            yield run_id, metric.step, metric.value


def _from_server(store: Any, run_ids: Sequence[str], key: str) -> list[tuple[str, int, float]] | None:
    """Ask the route of the server's user interface; None where the server has none."""
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


Curves = dict[str, dict[int, float]]
#: Scores that stand beside the one that decides.
_BESIDE = ("accuracy", "rmse", "mae")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTrial:
    """A trial's run that has not ended: it trains, or its process was killed."""

    run_id: str
    number: int
    started: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """The parent run of a study; its ``state`` is running, finished, failed or interrupted.

    A study whose process was killed says running until it is continued.
    """

    run_id: str
    study: str
    experiment_id: str
    state: str
    started: datetime
    schema_version: str


def trials(uri: str, parent_run_id: str) -> list[TrialRecord]:
    """Read the trials of a study that have ended, in the order of their numbers.

    Interrupted attempts (KILLED) are no trials. Where a trial ended twice, since its process was killed before the
    study heard of the first end, the first one counts.

    Raises
    ------
    TrackingError
        When the store cannot be read.
    ValueError
        When a newer version wrote the study; so for all that is read here of one study or run.
    """
    return _records(uri, parent_run_id, "attributes.status != 'RUNNING'")


def finished_trial(uri: str, parent_run_id: str, number: int) -> TrialRecord | None:
    """Read the trial of that number if it has ended in MLflow, whether or not the study heard of it."""
    found = _records(uri, parent_run_id, f"tags.{keys.TRIAL_NUMBER} = '{number}'")
    return found[0] if found else None


def best_run(uri: str, run_id: str) -> str:
    """Return the run of a study's champion (or best trial, before there is one), or the run itself if it is no study.

    Raises
    ------
    TrackingError
        When there is no such run, or the store cannot be read.
    """
    with storage(f"cannot read run {run_id} from {uri}"):
        tags = client(uri).get_run(run_id).data.tags
    require_readable(tags, f"run {run_id}")
    return tags.get(keys.CHAMPION_RUN) or tags.get(keys.BEST_RUN) or run_id


def trial(uri: str, run_id: str) -> TrialRecord | None:
    """Read the trial of a run, or None where the run is no trial that has ended.

    Raises
    ------
    TrackingError
        When there is no such run, or the store cannot be read.
    """
    api = client(uri)
    with storage(f"cannot read run {run_id} from {uri}"):
        run = api.get_run(run_id)
        require_readable(run.data.tags, f"run {run_id}")
        if not counts(run):
            return None
        curves = _curves(api, [run])
    return _record(run, int(run.data.tags[keys.TRIAL_NUMBER]), curves[run_id])


def running_trials(uri: str, parent_run_id: str) -> list[OpenTrial]:
    """List trials whose run has not ended."""
    with storage(f"cannot read the runs of {parent_run_id} from {uri}"):
        return [
            OpenTrial(run_id=run.info.run_id, number=int(run.data.tags[keys.TRIAL_NUMBER]), started=started_at(run))
            for run in children(client(uri), parent_run_id, "attributes.status = 'RUNNING'")
            if run.data.tags.get(keys.TRIAL_NUMBER, "").isdecimal()
        ]


def close_stale(
    uri: str, parent_run_id: str, number: int | None = None, note: str = "Interrupted: its process ended."
) -> list[str]:
    """Close as KILLED the trials' runs that a killed process left RUNNING.

    Parameters
    ----------
    number
        Only runs of this trial; by default of all.
    note
        Becomes the description of each.

    Returns
    -------
    list of str
        The runs that were closed.
    """
    stale = [trial for trial in running_trials(uri, parent_run_id) if number in (None, trial.number)]
    with storage(f"cannot close the runs of interrupted trials in {uri}"):
        for trial in stale:
            log_batch(client(uri), trial.run_id, tags={keys.NOTE: note})
            client(uri).set_terminated(trial.run_id, "KILLED")
    return [trial.run_id for trial in stale]


def studies(uri: str, study: str | None = None) -> list[StudySummary]:
    """List the studies of a store, the latest first; only those named ``study`` where it is given."""
    api = client(uri)
    condition = f"tags.{keys.PHASE} = '{keys.PHASE_STUDY}'"
    with storage(f"cannot read the studies in {uri}"):
        experiments = [experiment.experiment_id for experiment in api.search_experiments()]
        runs = list(search(api, experiments, condition))
    return [
        StudySummary(
            run_id=run.info.run_id,
            study=run.data.tags[keys.STUDY],
            experiment_id=run.info.experiment_id,
            state=run.data.tags.get(keys.STATE, keys.RUNNING),
            started=started_at(run),
            schema_version=run.data.tags.get(keys.SCHEMA, "0"),
        )
        for run in sorted(runs, key=started_at, reverse=True)
        # Not a part of the condition: MLflow's conditions know no escape, and a name may contain a quote.
        if study in (None, run.data.tags[keys.STUDY])
    ]


def _records(uri: str, parent_run_id: str, condition: str) -> list[TrialRecord]:
    api = client(uri)
    with storage(f"cannot read the trials of {parent_run_id} from {uri}"):
        first: dict[int, Run] = {}
        for run in sorted(children(api, parent_run_id, condition), key=started_at):
            if counts(run):
                first.setdefault(int(run.data.tags[keys.TRIAL_NUMBER]), run)
        curves = _curves(api, list(first.values()))
    return [_record(first[number], number, curves[first[number].info.run_id]) for number in sorted(first)]


def counts(run: Run) -> bool:
    """Tell whether a run is a trial that has ended."""
    # A number that a user wrote over is no number, and its run no trial until the doctor has seen it.
    tags = run.data.tags
    has_ended = run.info.status in ("FINISHED", "FAILED") and keys.STATE in tags
    return has_ended and tags.get(keys.TRIAL_NUMBER, "").isdecimal()


def children(api: MlflowClient, parent_run_id: str, condition: str) -> Iterator[Run]:
    """Yield the runs below a study's that meet a condition."""
    parent = api.get_run(parent_run_id)
    require_readable(parent.data.tags, f"study {parent.data.tags.get(keys.STUDY, parent_run_id)!r}")
    yield from search(api, [parent.info.experiment_id], f"tags.`{keys.PARENT_RUN}` = '{parent_run_id}' and {condition}")


def started_at(run: Run) -> datetime:
    """Return when a run began."""
    return datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC)


def _curve_keys(metric: str) -> dict[str, str]:
    """Return the field of History that each logged curve fills."""
    fields = ("train_loss", "train_score", "valid_loss", "valid_score", "learning_rate")
    return {**dict(zip(History(metric=metric).curves(), fields, strict=True)), keys.EPOCH_SECONDS: "seconds"}


def _curves(api: MlflowClient, runs: Sequence[Run]) -> dict[str, Curves]:
    """Read all curves of all runs, a question for each key and hundred runs."""
    curves: dict[str, Curves] = defaultdict(lambda: defaultdict(dict))
    wanted = {key for run in runs for key in _curve_keys(run.data.tags[keys.METRIC])}
    for run_ids in _groups(runs):
        for key in sorted(wanted):
            for run_id, step, value in metric_points(api, run_ids, key):
                curves[run_id][key][step] = logged_value(value)
    return curves


def _groups(runs: Sequence[Run]) -> Iterator[list[str]]:
    """Group the runs so that the points of one curve of each stay within what one answer holds."""
    epochs = max((int(run.data.params["epochs"]) for run in runs), default=1)
    size = max(1, min(MAX_BULK_RUNS, MAX_BULK_POINTS // epochs))
    for start in range(0, len(runs), size):
        yield [run.info.run_id for run in runs[start : start + size]]


def logged_value(value: float) -> float:
    """Undo what SQL stores do to infinity, which they cannot hold."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def _record(run: Run, number: int, curves: Curves) -> TrialRecord:
    tags, metrics = run.data.tags, run.data.metrics
    n_params, fit_seconds = metrics.get(keys.N_PARAMS), metrics.get(keys.FIT_SECONDS)
    return TrialRecord(
        run_id=run.info.run_id,
        study=tags[keys.STUDY],
        number=number,
        phase=cast(Phase, tags[keys.PHASE]),
        state=cast(TrialState, tags[keys.STATE]),
        config=TrialConfig.from_params(run.data.params),
        history=_history(tags[keys.METRIC], curves),
        evaluations=tuple(_evaluations(run)),
        n_params=None if n_params is None else int(n_params),
        fit_seconds=fit_seconds,
        failure=tags.get(keys.FAILURE),
        tags=dict(tags),
    )


def _history(metric: str, curves: Curves) -> History:
    """Return the epochs for which every curve has a point: the last one of a failed trial may be incomplete."""
    columns = {field: curves.get(key, {}) for key, field in _curve_keys(metric).items()}
    epochs = sorted(set.intersection(*(set(column) for column in columns.values())))
    values = {field: tuple(column[epoch] for epoch in epochs) for field, column in columns.items()}
    return History(metric=metric, **values)


def _beside(key: Callable[[str], str], run: Run) -> dict[str, float]:
    """Return the scores that stand beside the one that decides, by name."""
    metrics, decides = run.data.metrics, run.data.tags[keys.METRIC]
    return {name: logged_value(metrics[key(name)]) for name in _BESIDE if name != decides and key(name) in metrics}


def _evaluations(run: Run) -> Iterator[Evaluation]:
    tags, metrics = run.data.tags, run.data.metrics
    metric = tags[keys.METRIC]
    if keys.VALID_SAMPLES in tags:
        yield Evaluation(
            part="valid",
            loss=logged_value(metrics[keys.final("loss")]),
            score=logged_value(metrics[keys.final(metric)]),
            metric=metric,
            n_samples=int(tags[keys.VALID_SAMPLES]),
            beside=_beside(keys.final, run),
        )
    if keys.TEST_SAMPLES in tags:
        yield Evaluation(
            part="test",
            loss=logged_value(metrics[keys.test("loss")]),
            score=logged_value(metrics[keys.test(metric)]),
            metric=metric,
            n_samples=int(tags[keys.TEST_SAMPLES]),
            beside=_beside(keys.test, run),
        )
