"""What repairing a study writes: each puts something back, and none deletes anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.reading import search
from depthcheck.experiments.tracking.store import client, log_batch, storage
from depthcheck.experiments.tracking.study_run import RunEnd, StudyRun, open_parent


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
        api.set_terminated(run_id, "KILLED", api.get_run(run_id).info.end_time)


def withdrawn(uri: str, parent_run_id: str) -> set[tuple[int, str]]:
    """Return trials, by number and reason, whose failure was taken back."""
    api = client(uri)
    condition = f"tags.`{keys.PARENT_RUN}` = '{parent_run_id}' and attributes.status = 'KILLED'"
    with storage(f"cannot read the runs of {parent_run_id} from {uri}"):
        experiment_id = api.get_run(parent_run_id).info.experiment_id
        runs = [run.data.tags for run in search(api, [experiment_id], condition)]
    return {
        (int(tags[keys.TRIAL_NUMBER]), tags[keys.FAILURE])
        for tags in runs
        if {keys.TRIAL_NUMBER, keys.FAILURE} <= tags.keys()
    }


def close_unborn(study: StudyRun) -> None:
    """Close the runs of starts that were killed before the study knew its run: of its name, RUNNING, without a trial.

    Raises
    ------
    TrackingError
        When the store cannot be read or written.
    """
    api = client(study.tracking_uri)
    with storage(f"cannot close runs that were left by killed starts of study {study.study}"):
        for run in search(api, [study.experiment_id], "attributes.status = 'RUNNING'"):
            run_id = run.info.run_id
            if run.info.run_name != study.study or run_id == study.run_id or keys.PARENT_RUN in run.data.tags:
                continue
            if not any(search(api, [study.experiment_id], f"tags.`{keys.PARENT_RUN}` = '{run_id}'")):
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
        api.set_terminated(run_id, status, api.get_run(run_id).info.end_time)


def tag_run(uri: str, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run."""
    with storage(f"cannot tag run {run_id} in {uri}"):
        log_batch(client(uri), run_id, tags=tags)


def log_value(uri: str, run_id: str, key: str, value: float) -> None:
    """Write a value of the whole trial again; MLflow keeps the one that stood there in the metric's history."""
    with storage(f"cannot write {key} of run {run_id} in {uri}"):
        log_batch(client(uri), run_id, metrics=[(key, value, 0)])


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
        tag_run(uri, run_id, {keys.PARENT_RUN: opened.run_id})
    opened.finish("KILLED")
    return opened
