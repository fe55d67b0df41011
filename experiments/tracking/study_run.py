"""The parent run of a study: opened, described, and closed by the coordinator."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.environment import CodeVersion, code_version
from depthcheck.experiments.tracking.open_run import log_dataset
from depthcheck.experiments.tracking.runs import RunEnd, StoredRun, below, get, search
from depthcheck.experiments.tracking.store import client, log_batch, storage, store_directory, tracking_uri
from depthcheck.pipeline.config import ParamValue
from depthcheck.pipeline.records import Dataset

if TYPE_CHECKING:
    from mlflow import MlflowClient

Artifact = str | Mapping[str, object]
_STATES: Mapping[RunEnd, str] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRun:
    """Where a study is recorded. It can be pickled: this is all that a worker needs to write its trial.

    Attributes
    ----------
    tracking_uri
        Absolute address of the store.
    experiment_id, run_id
        The parent run, and the MLflow experiment that it and its children live in.
    study
        Name of the study, and of its run.
    session_run_id
        The run that ``mlflow run`` made when it continued this study, or None.
    continued
        Whether the parent run was there before.
    shared_tags
        Tags that the parent and every trial carry.
    """

    tracking_uri: str
    experiment_id: str
    run_id: str
    study: str
    session_run_id: str | None = None
    continued: bool = False
    shared_tags: Mapping[str, str] = field(default_factory=dict)

    def describe(self, markdown: str) -> None:
        """Replace the description at the top of the study's page."""
        self.set_tags({keys.NOTE: markdown})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the parent run."""
        with storage(f"cannot tag the run of study {self.study}"):
            log_batch(client(self.tracking_uri), self.run_id, tags=tags)

    def log_best(self, *, number: int, run_id: str, score: float, metric: str, trials_done: int) -> None:
        """Note the best trial so far; over ``trials_done`` this makes the study's own curve."""
        values = {keys.best(metric): score, keys.TRIALS_DONE: float(trials_done)}
        with storage(f"cannot note the best trial of study {self.study}"):
            log_batch(
                client(self.tracking_uri),
                self.run_id,
                metrics=[(key, value, trials_done) for key, value in values.items()],
                tags={keys.BEST_TRIAL: str(number), keys.BEST_RUN: run_id},
            )

    def log_artifacts(self, artifacts: Mapping[str, Artifact]) -> None:
        """Write texts as they are and mappings as JSON, under the artifact names that are their keys."""
        api = client(self.tracking_uri)
        with storage(f"cannot write artifacts of study {self.study}"):
            for name, content in artifacts.items():
                if isinstance(content, str):
                    api.log_text(self.run_id, content, name)
                else:
                    api.log_dict(self.run_id, dict(content), name)

    def log_dataset(self, dataset: Dataset) -> None:
        """Note which data the study is of.

        Done before the first trial: MLflow adds a data set that is new to its experiment without a lock, and of two
        workers that do so at once one would fail.
        """
        log_dataset(client(self.tracking_uri), self.run_id, dataset)

    def log_finalists(self, frozen: Mapping[str, Any]) -> None:
        """Write the frozen list of finalists, with its hash and the seeds, as an artifact and tags."""
        self.log_artifacts({keys.FINALISTS: frozen})
        seeds = ",".join(map(str, frozen["seeds"]))
        self.set_tags({keys.FINALISTS_SHA256: frozen["sha256"], keys.CONFIRM_SEEDS: seeds})

    def log_looks(self, looks: Sequence[int]) -> None:
        """Note at how many settings the study was judged, before its answers are read."""
        self.set_tags({keys.LOOKS: ",".join(map(str, looks))})

    def finish(self, status: RunEnd = "FINISHED") -> None:
        """End the parent run, and the session's run where there is one.

        The tag ``state`` says how: ``mlflow run`` (3.17) writes its own end over the status of the run that it made,
        FINISHED or FAILED by the exit code, even where KILLED stands there.
        """
        api = client(self.tracking_uri)
        with storage(f"cannot end the run of study {self.study}"):
            for run_id in filter(None, (self.run_id, self.session_run_id)):
                log_batch(api, run_id, tags={keys.STATE: _STATES[status]})
                api.set_terminated(run_id, status)


def open_parent(
    study: str,
    *,
    uri: str | None = None,
    parent_run_id: str | None = None,
    description: str = "",
    params: Mapping[str, ParamValue] | None = None,
    artifacts: Mapping[str, Artifact] | None = None,
    code: CodeVersion | None = None,
    environ: Mapping[str, str] = os.environ,
) -> StudyRun:
    """Open the parent run of a new study, or of one that continues.

    The run that ``mlflow run`` has made (``MLFLOW_RUN_ID``) becomes the parent of a new study, and a child of the
    parent of a continued one. Without ``mlflow run`` a new study gets a run of its own.

    Parameters
    ----------
    study
        Name of the study.
    uri
        Address of the store; by default :func:`tracking_uri` of ``environ``.
    parent_run_id
        The parent's run where the study was begun before.
    description
        Markdown for the top of the run's page; an empty one leaves what is there.
    params
        Parameters of the study. Those that the run has already, from ``mlflow run``, are left as they are.
    artifacts
        Those of a continued study go into a folder ``sessions/<time>``.
    code
        By default the version of the checkout that this package is in.
    environ
        Where MLflow's variables are read from.

    Raises
    ------
    TrackingError
        When the store cannot be reached or has no run ``parent_run_id``.
    ValueError
        When a newer version wrote that run.
    """
    uri = uri or tracking_uri(environ)
    launched = environ.get("MLFLOW_RUN_ID")
    api = client(uri)
    stamp = datetime.now().astimezone()
    with storage(f"cannot open the run of study {study} in {uri}"):
        if parent_run_id is not None:
            get(api, parent_run_id).require_readable(f"study {study!r}")
        run_id = parent_run_id or launched or _create_run(api, study, uri, environ)
        api.update_run(run_id, status="RUNNING", name=study)
        run = get(api, run_id)
        shared = {
            keys.STUDY: study,
            **(code or code_version()).tags(),
            keys.SCHEMA: keys.SCHEMA_VERSION,
            **source_tags(run.tags, environ),
        }
        own = {
            keys.PHASE: keys.PHASE_STUDY,
            keys.STATE: keys.RUNNING,
            **({keys.NOTE: description} if description else {}),
        }
        new = {key: value for key, value in (params or {}).items() if key not in run.params}
        log_batch(api, run_id, params=new, tags={**shared, **own})
        session = launched if launched not in (None, run_id) else None
        _close_sessions(api, run, keep=session)
        if session is not None:
            _begin_session(api, session, run_id, shared, f"continued {stamp:%Y-%m-%d %H:%M}")
    opened = StudyRun(
        tracking_uri=uri,
        experiment_id=run.experiment_id,
        run_id=run_id,
        study=study,
        session_run_id=session,
        continued=parent_run_id is not None,
        shared_tags=shared,
    )
    folder = f"sessions/{stamp:%Y-%m-%dT%H-%M-%S}/" if parent_run_id else ""
    opened.log_artifacts({folder + name: content for name, content in (artifacts or {}).items()})
    return opened


def _begin_session(api: MlflowClient, run_id: str, parent_run_id: str, shared: Mapping[str, str], name: str) -> None:
    """Make the run that ``mlflow run`` has made for a study that continues a child of the study's."""
    api.update_run(run_id, name=name)
    own = {keys.PARENT_RUN: parent_run_id, keys.PHASE: keys.PHASE_SESSION, keys.STATE: keys.RUNNING}
    log_batch(api, run_id, tags={**shared, **own})


def _close_sessions(api: MlflowClient, parent: StoredRun, keep: str | None) -> None:
    """Close the sessions of this study that a kill of ``mlflow run`` left RUNNING."""
    phase = f"tags.{keys.PHASE} = '{keys.PHASE_SESSION}'"
    condition = f"{below(parent.run_id)} and {phase} and attributes.status = 'RUNNING'"
    for session in search(api, condition, [parent.experiment_id]):
        if session.run_id != keep:
            log_batch(api, session.run_id, tags={keys.STATE: _STATES["KILLED"]})
            api.set_terminated(session.run_id, "KILLED")


def _create_run(api: MlflowClient, study: str, uri: str, environ: Mapping[str, str]) -> str:
    experiment_id = environ.get("MLFLOW_EXPERIMENT_ID") or _experiment(
        api, environ.get("MLFLOW_EXPERIMENT_NAME") or keys.DEFAULT_EXPERIMENT, uri
    )
    run_id: str = api.create_run(experiment_id, run_name=study).info.run_id
    return run_id


def _experiment(api: MlflowClient, name: str, uri: str) -> str:
    found = api.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    # MLflow would put the artifacts below the working directory; they belong beside their database.
    folder = store_directory(uri)
    return api.create_experiment(name, None if folder is None else (folder / "mlruns" / name).as_uri())


def source_tags(tags: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the tags for MLflow's columns Source, User and Version, as far as ``mlflow run`` has set none."""
    try:
        user = environ.get("LOGNAME") or getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    defaults = {keys.USER: user, keys.SOURCE_NAME: "experiments", keys.SOURCE_TYPE: "PROJECT"}
    return {key: tags.get(key, value) for key, value in defaults.items()}
