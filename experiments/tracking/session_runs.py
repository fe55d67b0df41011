"""What is written to runs that have ended, or should have: closed, taken back, put right. Nothing is deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.reading import running_trials
from depthcheck.experiments.tracking.runs import RunEnd, below, get, search
from depthcheck.experiments.tracking.store import client, log_batch, storage
from depthcheck.experiments.tracking.study_run import StudyRun, open_parent


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
    stale = [run for run in running_trials(uri, parent_run_id) if number in (None, run.number)]
    for run in stale:
        end_run(uri, run.run_id, "KILLED", {keys.NOTE: note})
    return [run.run_id for run in stale]


def withdraw(uri: str, run_id: str, *, failure: str, note: str) -> None:
    """Turn a FAILED run into a KILLED one: an attempt that does not count as a trial.

    Raises
    ------
    TrackingError
        When the store cannot be written.
    """
    api = client(uri)
    with storage(f"cannot take the failure of run {run_id} back"):
        log_batch(api, run_id, tags={keys.FAILURE: failure, keys.NOTE: note})
        api.set_terminated(run_id, "KILLED", get(api, run_id).end_time)


def withdrawn(uri: str, parent_run_id: str) -> set[tuple[int, str]]:
    """Return trials, by number and reason, whose failure was taken back."""
    api = client(uri)
    condition = f"{below(parent_run_id)} and attributes.status = 'KILLED'"
    with storage(f"cannot read the runs of {parent_run_id} from {uri}"):
        runs = list(search(api, condition, [get(api, parent_run_id).experiment_id]))
    return {(run.number, run.tags[keys.FAILURE]) for run in runs if keys.FAILURE in run.tags}


def close_unborn(study: StudyRun) -> None:
    """Close the runs of starts that were killed before the study knew its run: of its name, RUNNING, without a trial.

    Raises
    ------
    TrackingError
        When the store cannot be read or written.
    """
    api = client(study.tracking_uri)
    with storage(f"cannot close runs that were left by killed starts of study {study.study}"):
        for run in search(api, "attributes.status = 'RUNNING'", [study.experiment_id]):
            run_id = run.run_id
            if run.name != study.study or run_id == study.run_id or keys.PARENT_RUN in run.tags:
                continue
            if not any(search(api, below(run_id), [study.experiment_id])):
                note = "Interrupted: its process ended before the first trial. The study has another run."
                log_batch(api, run_id, tags={keys.NOTE: note, keys.PHASE: keys.PHASE_SESSION})
                api.set_terminated(run_id, "KILLED")


#: Where a list that is replaced is kept.
REPLACED_FINALISTS = "finalists-replaced.json"


def restore_run(uri: str, run_id: str) -> None:
    """Take back the deletion of a run.

    Raises
    ------
    TrackingError
        When the store cannot be written; so for all functions here.
    """
    with storage(f"cannot restore run {run_id} in {uri}"):
        client(uri).restore_run(run_id)


def restore_experiment(uri: str, experiment_id: str) -> None:
    """Take back the deletion of an MLflow experiment, and of the runs that went with it."""
    with storage(f"cannot restore experiment {experiment_id} in {uri}"):
        client(uri).restore_experiment(experiment_id)


def end_run(uri: str, run_id: str, status: RunEnd, tags: Mapping[str, str]) -> None:
    """Give a run the status of one that has ended; one that had ended before keeps its time."""
    api = client(uri)
    with storage(f"cannot end run {run_id} in {uri}"):
        log_batch(api, run_id, tags=tags)
        api.set_terminated(run_id, status, get(api, run_id).end_time)


def put_right(uri: str, run_id: str, tags: Mapping[str, str], values: Mapping[str, float]) -> None:
    """Set tags of a run and values of the whole trial; MLflow keeps the values that stood there in their history."""
    with storage(f"cannot put run {run_id} in {uri} right"):
        log_batch(client(uri), run_id, metrics=[(key, value, 0) for key, value in values.items()], tags=tags)


def keep_and_log_finalists(study_run: StudyRun, frozen: Mapping[str, Any], replaced: Mapping[str, Any] | None) -> None:
    """Write the frozen list of finalists; the one that stood there goes into a file beside it."""
    if replaced:
        study_run.log_artifacts({REPLACED_FINALISTS: dict(replaced)})
    study_run.log_finalists(frozen)


def new_parent(uri: str, study: str, children: Iterable[str], experiment_id: str | None) -> StudyRun:
    """Open another parent run for a study whose own is gone, with the children that are left; it ends at once.

    Parameters
    ----------
    experiment_id
        The MLflow experiment that the children are in, or None without any.
    """
    opened = open_parent(study, uri=uri, environ={"MLFLOW_EXPERIMENT_ID": experiment_id} if experiment_id else {})
    for run_id in children:
        put_right(uri, run_id, {keys.PARENT_RUN: opened.run_id}, {})
    opened.finish("KILLED")
    return opened
