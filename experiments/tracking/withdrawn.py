"""What shall not count: failures that were not the trial's own, and starts that were killed before the first trial."""

from __future__ import annotations

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.bulk import search
from depthcheck.experiments.tracking.store import client, log_batch, storage
from depthcheck.experiments.tracking.study_run import StudyRun


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
