"""The run that holds the repetition of a trial.

It lies below the run of the trial, not below the study: in the user interface the two pages then link to each other,
and no reader of a study's trials meets it. It has a phase of its own and no tag ``trial_number``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import datetime

import psutil  # type: ignore[import-untyped]

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.environment import code_version
from depthcheck.experiments.tracking.open_run import OpenRun
from depthcheck.experiments.tracking.runs import Curves, RunEnd, StoredRun, get, search
from depthcheck.experiments.tracking.store import client, log_batch, storage
from depthcheck.experiments.tracking.study_run import source_tags
from depthcheck.pipeline.config import ParamValue

#: What the trial's own curves are called beside those of its repetition: next to them in the same section of charts.
_ORIGINAL = "_original"


class ReproductionRun(OpenRun):
    """The run of a repetition while it trains; ends by exactly one call of :meth:`end`."""

    def __init__(self, uri: str, run_id: str, experiment_id: str) -> None:
        super().__init__(uri, run_id)
        self.experiment_id = experiment_id

    def log_original(self, points: Curves) -> None:
        """Add the trial's own numbers, beside those of the repetition."""
        self.log_points({key + _ORIGINAL: curve for key, curve in points.items()})

    def log_text(self, name: str, text: str) -> None:
        """Write a text as an artifact."""
        with storage(f"cannot write {name} of run {self.run_id}"):
            self._api.log_text(self.run_id, text, name)

    def log_json(self, name: str, content: Mapping[str, object]) -> None:
        """Write a mapping as an artifact."""
        with storage(f"cannot write {name} of run {self.run_id}"):
            self._api.log_dict(self.run_id, dict(content), name)

    def end(self, status: RunEnd, *, state: str, description: str, verdict: str | None = None) -> None:
        """Write what is left and end the run, FINISHED where the trial was reproduced."""
        tags = {keys.STATE: state, keys.NOTE: description, **({keys.REPRODUCTION: verdict} if verdict else {})}
        self._end(status, tags)


def start_reproduction(
    uri: str,
    original: StoredRun,
    *,
    params: Mapping[str, ParamValue],
    description: str,
    environ: Mapping[str, str] = os.environ,
) -> ReproductionRun:
    """Open the run of a repetition, below the run of the trial; it is the one that ``mlflow run`` made, if it did.

    Parameters
    ----------
    params
        The trial's. Those that ``mlflow run`` has noted under the same names are left as they are.
    environ
        Where MLflow's variables are read from.

    Raises
    ------
    TrackingError
        When the store cannot be written.
    """
    api = client(uri)
    name = f"reproduction of {original.name}"
    copied = (keys.STUDY, keys.DEPTH, keys.OPTIMIZER, keys.METRIC, keys.SCHEMA)
    tags = {
        **{key: original.tags[key] for key in copied if key in original.tags},
        **code_version().tags(),
        keys.PARENT_RUN: original.run_id,
        keys.REPRODUCED_RUN: original.run_id,
        keys.PHASE: keys.PHASE_REPRODUCTION,
        keys.STATE: keys.RUNNING,
        keys.PROCESS: _process(os.getpid()),
        keys.NOTE: description,
    }
    with storage(f"cannot open a run for the reproduction of {original.run_id}"):
        run_id = environ.get("MLFLOW_RUN_ID") or api.create_run(original.experiment_id, run_name=name).info.run_id
        api.update_run(run_id, status="RUNNING", name=name)
        run = get(api, run_id)
        new = {key: value for key, value in params.items() if key not in run.params}
        log_batch(api, run_id, params=new, tags={**source_tags(run.tags, environ), **tags})
    return ReproductionRun(uri, run_id, run.experiment_id)


def close_stale_reproductions(uri: str) -> list[str]:
    """Close as KILLED the reproductions whose process on this machine was killed; return their runs."""
    api, closed = client(uri), []
    condition = f"tags.{keys.PHASE} = '{keys.PHASE_REPRODUCTION}' and attributes.status = 'RUNNING'"
    with storage(f"cannot close interrupted reproductions in {uri}"):
        for run in list(search(api, condition)):
            if _is_dead(run.tags.get(keys.PROCESS, "")):
                note = f"Interrupted: its process ended. (Seen {datetime.now().astimezone():%Y-%m-%d %H:%M}.)"
                log_batch(api, run.run_id, tags={keys.STATE: "interrupted", keys.NOTE: note})
                api.set_terminated(run.run_id, "KILLED")
                closed.append(run.run_id)
    return closed


def _process(pid: int) -> str:
    """Return what tells a process from all others: machine, number, and when it began."""
    return f"{socket.gethostname()} {pid} {psutil.Process(pid).create_time():.0f}"


def _is_dead(process: str) -> bool:
    """Tell whether a process of this machine has ended; of another machine's nothing can be known."""
    words = process.split(" ")
    if len(words) != 3 or words[0] != socket.gethostname():
        return False
    try:
        return _process(int(words[1])) != process
    except (psutil.Error, ValueError):
        return True
