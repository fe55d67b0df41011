"""Reading back: trials as records, and studies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, cast

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.runs import (
    Curves,
    StoredRun,
    below,
    curves,
    get,
    read_run,
    search,
    started,
    study_runs,
)
from depthcheck.experiments.tracking.store import client, storage
from depthcheck.pipeline.config import TrialConfig
from depthcheck.pipeline.records import Evaluation, History, Phase, TrialRecord, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Scores that stand beside the one that decides.
_SECONDARY = ("accuracy", "rmse", "mae")


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
    run = read_run(uri, run_id)
    run.require_readable()
    return run.tags.get(keys.CHAMPION_RUN) or run.tags.get(keys.BEST_RUN) or run_id


def trial(uri: str, run_id: str) -> TrialRecord | None:
    """Read the trial of a run, or None where the run is no trial that has ended.

    Raises
    ------
    TrackingError
        When there is no such run, or the store cannot be read.
    """
    run = read_run(uri, run_id)
    run.require_readable()
    with storage(f"cannot read the curves of run {run_id} from {uri}"):
        return next(iter(_read(client(uri), [run])), None) if run.counts else None


def running_trials(uri: str, parent_run_id: str) -> list[StoredRun]:
    """List the runs of trials that have not ended: they train, or their process was killed."""
    with storage(f"cannot read the runs of {parent_run_id} from {uri}"):
        running = children(client(uri), parent_run_id, "attributes.status = 'RUNNING'")
        return [run for run in running if run.number >= 0]


def studies(uri: str, study: str | None = None) -> list[StoredRun]:
    """List the parent runs of the studies of a store, the latest first; only those named ``study`` where given."""
    # Not a part of the condition: MLflow's conditions know no escape, and a name may contain a quote.
    return [run for run in study_runs(uri, deleted_too=False) if study in (None, run.study)]


def logged_points(uri: str, run_id: str) -> dict[str, dict[int, float]]:
    """Read every number that a trial logged, epoch by epoch, but for how long it took."""
    api = client(uri)
    with storage(f"cannot read the curves of run {run_id} from {uri}"):
        names = sorted(set(get(api, run_id).metrics) - set(keys.TIMES))
        return curves(api, [run_id], names)[run_id]


def trial_curves(uri: str, run_ids: Sequence[str], *, metric: str, epochs: int) -> Mapping[str, Curves]:
    """Read the points that there are of the curves that every trial has, by run."""
    with storage(f"cannot read curves from {uri}"):
        return curves(client(uri), run_ids, list(_curve_keys(metric)), epochs=epochs)


def children(api: MlflowClient, parent_run_id: str, condition: str) -> Iterator[StoredRun]:
    """Yield the runs below a study's that fulfil the condition."""
    parent = get(api, parent_run_id)
    parent.require_readable(f"study {parent.study or parent_run_id!r}")
    yield from search(api, f"{below(parent_run_id)} and {condition}", [parent.experiment_id])


def _records(uri: str, parent_run_id: str, condition: str) -> list[TrialRecord]:
    api = client(uri)
    with storage(f"cannot read the trials of {parent_run_id} from {uri}"):
        first: dict[int, StoredRun] = {}
        for run in sorted(children(api, parent_run_id, condition), key=started):
            if run.counts:
                first.setdefault(run.number, run)
        return _read(api, [first[number] for number in sorted(first)])


def _read(api: MlflowClient, found: Sequence[StoredRun]) -> list[TrialRecord]:
    """Return the records of runs that count, with all of their curves."""
    names = sorted({key for run in found for key in _curve_keys(run.tags[keys.METRIC])})
    epochs = max((int(run.params["epochs"]) for run in found), default=1)
    points = curves(api, [run.run_id for run in found], names, epochs=epochs)
    return [_record(run, points[run.run_id]) for run in found]


def _curve_keys(metric: str) -> dict[str, str]:
    """Return the field of History that each logged curve fills."""
    fields = ("train_loss", "train_score", "valid_loss", "valid_score", "learning_rate")
    return {**dict(zip(History(metric=metric).curves(), fields, strict=True)), keys.EPOCH_SECONDS: "seconds"}


def _record(run: StoredRun, points: Curves) -> TrialRecord:
    tags, n_params = run.tags, run.metrics.get(keys.N_PARAMS)
    return TrialRecord(
        run_id=run.run_id,
        study=tags[keys.STUDY],
        number=run.number,
        phase=cast(Phase, tags[keys.PHASE]),
        state=cast(TrialState, tags[keys.STATE]),
        config=TrialConfig.from_params(run.params),
        history=_history(tags[keys.METRIC], points),
        evaluations=tuple(_evaluations(run)),
        n_params=None if n_params is None else int(n_params),
        fit_seconds=run.metrics.get(keys.FIT_SECONDS),
        failure=tags.get(keys.FAILURE),
        tags=dict(tags),
    )


def _history(metric: str, points: Curves) -> History:
    """Return the epochs for which every curve has a point: the last one of a failed trial may be incomplete."""
    columns = {field: points.get(key, {}) for key, field in _curve_keys(metric).items()}
    epochs = sorted(set.intersection(*(set(column) for column in columns.values())))
    values = {field: tuple(column[epoch] for epoch in epochs) for field, column in columns.items()}
    return History(metric=metric, **values)


def _evaluations(run: StoredRun) -> Iterator[Evaluation]:
    if keys.VALID_SAMPLES in run.tags:
        yield _evaluation(run, "valid", keys.final, keys.VALID_SAMPLES)
    if keys.TEST_SAMPLES in run.tags:
        yield _evaluation(run, "test", keys.test, keys.TEST_SAMPLES)


def _evaluation(run: StoredRun, part: Literal["valid", "test"], key: Callable[[str], str], samples: str) -> Evaluation:
    metric, metrics = run.tags[keys.METRIC], run.metrics
    return Evaluation(
        part=part,
        loss=metrics[key("loss")],
        score=metrics[key(metric)],
        metric=metric,
        n_samples=int(run.tags[samples]),
        secondary={name: metrics[key(name)] for name in _SECONDARY if name != metric and key(name) in metrics},
    )
