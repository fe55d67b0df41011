"""Reading back: trials as records, studies, and what a killed process left open."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from experiments.tracking import keys
from experiments.tracking.store import client, log_batch, storage
from experiments.tracking.study_run import StudyRun
from pipeline.config import TrialConfig
from pipeline.records import Evaluation, History, Phase, TrialRecord, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE = 1000
_BULK = 100  # the most runs that the server takes in one question
_MAX_POINTS = 25_000  # and the most points that it gives in one answer
Curves = dict[str, dict[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTrial:
    """A trial's run that has not ended: it trains, or its process was killed."""

    run_id: str
    number: int
    started: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """The parent run of a study."""

    run_id: str
    study: str
    experiment_id: str
    status: str
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
    """
    return _records(uri, parent_run_id, "attributes.status != 'RUNNING'")


def finished_trial(uri: str, parent_run_id: str, number: int) -> TrialRecord | None:
    """Read the trial of that number if it has ended in MLflow, whether or not the study heard of it."""
    found = _records(uri, parent_run_id, f"tags.{keys.TRIAL_NUMBER} = '{number}'")
    return found[0] if found else None


def running_trials(uri: str, parent_run_id: str) -> list[OpenTrial]:
    """List trials whose run has not ended."""
    with storage(f"cannot read the runs of {parent_run_id} from {uri}"):
        return [
            OpenTrial(run_id=run.info.run_id, number=int(run.data.tags[keys.TRIAL_NUMBER]), started=_started(run))
            for run in _children(client(uri), parent_run_id, "attributes.status = 'RUNNING'")
            if keys.TRIAL_NUMBER in run.data.tags
        ]


def close_stale(study: StudyRun, number: int | None = None, note: str = "Interrupted: its process ended.") -> list[str]:
    """Close as KILLED what a killed process left RUNNING below the study's run.

    Parameters
    ----------
    number
        Only runs of this trial; by default all but the session that is going on.
    note
        Becomes the description of each.

    Returns
    -------
    list of str
        The runs that were closed.
    """
    api = client(study.tracking_uri)
    condition = "attributes.status = 'RUNNING'"
    if number is not None:
        condition += f" and tags.{keys.TRIAL_NUMBER} = '{number}'"
    with storage(f"cannot close runs of study {study.study}"):
        stale = [run.info.run_id for run in _children(api, study.run_id, condition)]
        stale = [run_id for run_id in stale if run_id != study.session_run_id]
        for run_id in stale:
            log_batch(api, run_id, tags={keys.NOTE: note})
            api.set_terminated(run_id, "KILLED")
    return stale


def studies(uri: str, study: str | None = None) -> list[StudySummary]:
    """List the studies of a store, the latest first; only those named ``study`` where it is given."""
    api = client(uri)
    condition = f"tags.{keys.PHASE} = '{keys.PHASE_STUDY}'"
    if study is not None:
        condition += f" and tags.{keys.STUDY} = '{_quoted(study)}'"
    with storage(f"cannot read the studies in {uri}"):
        experiments = [experiment.experiment_id for experiment in api.search_experiments()]
        runs = list(_search(api, experiments, condition))
    return [
        StudySummary(
            run_id=run.info.run_id,
            study=run.data.tags[keys.STUDY],
            experiment_id=run.info.experiment_id,
            status=run.info.status,
            started=_started(run),
            schema_version=run.data.tags.get(keys.SCHEMA, "0"),
        )
        for run in sorted(runs, key=_started, reverse=True)
    ]


def _records(uri: str, parent_run_id: str, condition: str) -> list[TrialRecord]:
    api = client(uri)
    with storage(f"cannot read the trials of {parent_run_id} from {uri}"):
        first: dict[int, Run] = {}
        for run in sorted(_children(api, parent_run_id, condition), key=_started):
            if _counts(run):
                first.setdefault(int(run.data.tags[keys.TRIAL_NUMBER]), run)
        curves = _curves(api, uri, list(first.values()))
    return [_record(first[number], number, curves[first[number].info.run_id]) for number in sorted(first)]


def _counts(run: Run) -> bool:
    return run.info.status in ("FINISHED", "FAILED") and {keys.STATE, keys.TRIAL_NUMBER} <= run.data.tags.keys()


def _children(api: MlflowClient, parent_run_id: str, condition: str) -> Iterator[Run]:
    experiment_id = api.get_run(parent_run_id).info.experiment_id
    yield from _search(api, [experiment_id], f"tags.`{keys.PARENT_RUN}` = '{parent_run_id}' and {condition}")


def _search(api: MlflowClient, experiment_ids: Sequence[str], condition: str) -> Iterator[Run]:
    token = None
    while True:
        page = api.search_runs(list(experiment_ids), condition, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _quoted(text: str) -> str:
    return text.replace("'", "\\'")


def _started(run: Run) -> datetime:
    return datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC)


def _curve_keys(metric: str) -> dict[str, str]:
    """Return the field of History that each logged curve fills."""
    fields = ("train_loss", "train_score", "valid_loss", "valid_score", "learning_rate")
    return {**dict(zip(History(metric=metric).curves(), fields, strict=True)), keys.EPOCH_SECONDS: "seconds"}


def _curves(api: MlflowClient, uri: str, runs: Sequence[Run]) -> dict[str, Curves]:
    """Read all curves of all runs, a question for each key and hundred runs."""
    curves: dict[str, Curves] = defaultdict(lambda: defaultdict(dict))
    wanted = {key for run in runs for key in _curve_keys(run.data.tags[keys.METRIC])}
    run_ids = [run.info.run_id for run in runs]
    for start in range(0, len(run_ids), _BULK):
        some = run_ids[start : start + _BULK]
        for key in wanted:
            for run_id, step, value in _points(api, uri, some, key):
                curves[run_id][key][step] = value
    return curves


def _points(api: MlflowClient, uri: str, run_ids: Sequence[str], key: str) -> Iterator[tuple[str, int, float]]:
    # MlflowClient itself asks for one curve of one run at a time: 300 questions for 50 trials.
    store: Any = api._tracking_client.store
    if hasattr(store, "get_metric_history_bulk"):
        for found in store.get_metric_history_bulk(run_ids, key, sys.maxsize):
            yield found.run_id, found.step, _value(found.value)
        return
    for run_id in run_ids:
        for metric in api.get_metric_history(run_id, key):
            yield run_id, metric.step, _value(metric.value)


def _value(value: float) -> float:
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


def _evaluations(run: Run) -> Iterator[Evaluation]:
    tags, metrics = run.data.tags, run.data.metrics
    metric = tags[keys.METRIC]
    if keys.VALID_SAMPLES in tags:
        yield Evaluation(
            part="valid",
            loss=_value(metrics[keys.final("loss")]),
            score=_value(metrics[keys.final(metric)]),
            metric=metric,
            n_samples=int(tags[keys.VALID_SAMPLES]),
        )
    if keys.TEST_SAMPLES in tags:
        yield Evaluation(
            part="test",
            loss=_value(metrics[keys.test("loss")]),
            score=_value(metrics[keys.test(metric)]),
            metric=metric,
            n_samples=int(tags[keys.TEST_SAMPLES]),
        )
