"""The run of a study: opened, described and closed by a session, put right by the doctor, given its answer by a report.

Nothing that was written is deleted.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from depthcheck.experiments.addresses import is_server, shown, without_login
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.open_run import Artifact, code_version, log_artifacts, log_dataset, source_tags
from depthcheck.experiments.tracking.reading import running_trials
from depthcheck.experiments.tracking.runs import RunEnd, StoredRun, below, find_run, get, read_run, search
from depthcheck.experiments.tracking.store import (
    TrackingError,
    client,
    launched_run,
    log_batch,
    require_at_hand,
    storage,
    store_directory,
    tracking_uri,
)
from depthcheck.pipeline.config import ParamValue
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.verbatim import Launcher, command

if TYPE_CHECKING:
    from mlflow import MlflowClient


_STATES: Mapping[RunEnd, str] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted"}


#: MLflow cuts a tag's text there.
_LONGEST_NOTE = 8_000
_THE_REST = "The rest is in `report/report.md`, among the artifacts of the study's run."
#: What parts the answer on a study's page from what the study says of itself.
_ANSWER_ENDS = "\n\n---\n\n"
#: Characters of a folder's name; a file system takes 255 bytes.
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRun:
    """Where a study is recorded. It can be pickled: this is all that a worker needs to write its trial.

    Attributes
    ----------
    experiment_id, run_id
        The parent run, and the MLflow experiment that it and its children live in.
    session_run_id
        The run that ``mlflow run`` made when it continued this study, or None.
    continued
        Whether the parent run was there before.
    shared_tags
        Of the parent and every trial.
    """

    tracking_uri: str
    experiment_id: str
    run_id: str
    study: str
    session_run_id: str | None = None
    continued: bool = False
    shared_tags: Mapping[str, str] = field(default_factory=dict)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the parent run."""
        with storage(f"cannot tag the run of study {self.study}"):
            log_batch(client(self.tracking_uri), self.run_id, tags=tags)

    def log_best(self, *, number: int, run_id: str, score: float, metric: str, trials_done: int) -> None:
        """Note the best trial so far; over ``trials_done`` this makes the study's own curve."""
        metrics = [(keys.best(metric), score, trials_done), (keys.TRIALS_DONE, float(trials_done), trials_done)]
        tags = {keys.BEST_TRIAL: f"trial-{number}", keys.BEST_RUN: run_id}
        with storage(f"cannot note the best trial of study {self.study}"):
            log_batch(client(self.tracking_uri), self.run_id, metrics=metrics, tags=tags)

    def log_artifacts(self, artifacts: Mapping[str, Artifact]) -> None:
        """Write texts as they are and mappings as JSON, under the artifact names that are their keys."""
        log_artifacts(client(self.tracking_uri), self.run_id, artifacts)

    def log_of_session(self, artifacts: Mapping[str, Artifact]) -> None:
        """Write what a session notes anew; the latest counts, and those before it stay."""
        stamp = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}"  # in UTC the latest is the one whose name comes last
        self.log_artifacts({f"{keys.SESSIONS}/{stamp}/{name}": content for name, content in artifacts.items()})

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
    origin: str = "",
    artifacts: Mapping[str, Artifact] | None = None,
    launcher: Launcher = "depthcheck",
    environ: Mapping[str, str] = os.environ,
) -> StudyRun:
    """Open the parent run of a new study, or of one that continues.

    The run that ``mlflow run`` has made (``MLFLOW_RUN_ID``) becomes the parent of a new study, and a child of the
    parent of a continued one. Without ``mlflow run`` a new study gets a run of its own.

    Parameters
    ----------
    uri
        Address of the store; by default :func:`tracking_uri` of ``environ``, which has MLflow's variables.
    parent_run_id
        The parent's run where the study was begun before.
    description
        Markdown for the top of the run's page; an empty one leaves what is there.
    params
        Those that the run has already, from ``mlflow run``, are left as they are.
    origin
        Where the session's lock is, as :class:`depthcheck.experiments.lock.Holder` calls it.
    artifacts
        Those of a continued study go into a folder ``sessions/<time in UTC>``.
    launcher
        What starts the study, where that is not ``mlflow run``; MLflow shows it as the source of its runs.

    Raises
    ------
    ValueError
        When a newer version wrote the run ``parent_run_id``, or ``MLFLOW_RUN_ID`` names none that ``mlflow run`` has
        made for this study.
    TrackingError
        When the store cannot be used, or its experiment is deleted.
    """
    uri = uri or tracking_uri(environ)
    launched = launched_run(environ)
    require_new(launched, study, uri)
    api = client(uri)
    back = "mlflow experiments restore brings it back, and MLFLOW_EXPERIMENT_NAME names another one"
    if parent_run_id is not None:
        started = "mlflow run" if launched else launcher
        back = f"{command(started, 'doctor', study=study, fix=True)} brings it back"
    opening = functools.partial(
        storage, f"cannot open the run of study {study} in {uri}", sign="'active' state", hint=back
    )
    with opening():
        if parent_run_id is not None:
            get(api, parent_run_id).require_readable(f"study {study!r}")
        run_id = parent_run_id or launched or _create_run(api, study, uri, environ, origin)
    session = launched if launched not in (None, run_id) else None
    with _closed_if_interrupted(uri, run_id, session, study), opening():
        api.update_run(run_id, status="RUNNING", name=study)
        run = get(api, run_id)
        shared = {
            keys.STUDY: study,
            **code_version().tags(),
            keys.SCHEMA: keys.SCHEMA_VERSION,
            **source_tags(run.tags, environ, launcher),
        }
        own = {
            keys.PHASE: keys.PHASE_STUDY,
            keys.STATE: keys.RUNNING,
            **({keys.ORIGIN: origin} if origin else {}),
            **({keys.NOTE: description} if description else {}),
        }
        new = {key: value for key, value in (params or {}).items() if key not in run.params}
        log_batch(api, run_id, params=new, tags={**shared, **own})
        _close_sessions(api, run, keep=session)
        if session is not None:
            # The run that ``mlflow run`` has made for a study that continues becomes a child of the study's.
            api.update_run(session, name=f"continued {datetime.now().astimezone():%Y-%m-%d %H:%M}")
            own = {keys.PARENT_RUN: run_id, keys.PHASE: keys.PHASE_SESSION, keys.STATE: keys.RUNNING}
            log_batch(api, session, tags={**shared, **own})
        opened = StudyRun(
            tracking_uri=uri,
            experiment_id=run.experiment_id,
            run_id=run_id,
            study=study,
            session_run_id=session,
            continued=parent_run_id is not None,
            shared_tags=shared,
        )
        log = opened.log_of_session if opened.continued else opened.log_artifacts
        log(artifacts or {})
    return opened


@contextlib.contextmanager
def _closed_if_interrupted(uri: str, run_id: str, session_run_id: str | None, study: str) -> Iterator[None]:
    """Leave no run RUNNING where the user stops a session that is not in its own hands yet."""
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(TrackingError):
            require_at_hand(uri)
            stopped = StudyRun(
                tracking_uri=uri, experiment_id="", run_id=run_id, study=study, session_run_id=session_run_id
            )
            stopped.finish("KILLED")
        raise


def require_new(run_id: str | None, study: str, uri: str) -> None:
    """Complain about a run that ``mlflow run`` has not just made: a variable that was left in a shell names any."""
    if run_id is None:
        return
    run = find_run(uri, run_id)
    trouble = "there is none" if run is None else "it is deleted" if run.is_deleted else ""
    if run is not None and run.tags.get(keys.STUDY, study) != study:
        trouble = f"it is one of study {run.tags[keys.STUDY]}"
    elif run is not None and (run.is_trial or run.phase == keys.PHASE_REPRODUCTION):
        trouble = f"it is {run.name}"
    if trouble:
        raise ValueError(
            f"MLFLOW_RUN_ID must name the run that mlflow run has just made in {shown(uri)}, got {run_id} ({trouble}): "
            "unset it"
        )


def _close_sessions(api: MlflowClient, parent: StoredRun, keep: str | None) -> None:
    """Close the sessions of this study that a kill of ``mlflow run`` left RUNNING."""
    phase = f"tags.{keys.PHASE} = '{keys.PHASE_SESSION}'"
    condition = f"{below(parent.run_id)} and {phase} and attributes.status = 'RUNNING'"
    for session in search(api, condition):  # mlflow run made each in the MLflow experiment that it was told
        if session.run_id != keep:
            log_batch(api, session.run_id, tags={keys.STATE: _STATES["KILLED"]})
            api.set_terminated(session.run_id, "KILLED")


def _create_run(api: MlflowClient, study: str, uri: str, environ: Mapping[str, str], origin: str) -> str:
    experiment_id = environ.get("MLFLOW_EXPERIMENT_ID")
    if not experiment_id:
        name = environ.get("MLFLOW_EXPERIMENT_NAME") or keys.DEFAULT_EXPERIMENT
        found = api.get_experiment_by_name(name)
        # MLflow would put the artifacts below the working directory; they belong beside their database.
        folder = store_directory(uri)
        # An experiment's name may be a path, to anywhere.
        called = keys.fitted(name, r"[^\w. -]|^[. ]+|[. ]+$", _LONGEST_NAME)
        location = None if folder is None else (folder / "mlruns" / called).as_uri()
        experiment_id = _create_experiment(api, name, location) if found is None else found.experiment_id
    # With its origin at once: somebody else who begins the same study just now leaves it alone by that (close_unborn).
    tags = {keys.ORIGIN: origin} if origin else None
    return str(api.create_run(experiment_id, run_name=study, tags=tags).info.run_id)


def _create_experiment(api: MlflowClient, name: str, location: str | None) -> str:
    """Create an MLflow experiment, unless another study that starts just now is faster; return its id."""
    from mlflow.exceptions import MlflowException

    try:
        return str(api.create_experiment(name, location))
    except MlflowException:
        if (found := api.get_experiment_by_name(name)) is None:
            raise
        return str(found.experiment_id)


def close_stale(
    uri: str, parent_run_id: str, number: int | None = None, note: str = "Interrupted: its process ended."
) -> list[str]:
    """Close as KILLED the trials' runs that a killed process left RUNNING; return which.

    Parameters
    ----------
    number
        Only runs of this trial; by default of all.
    note
        Becomes the description of each.
    """
    stale = [run for run in running_trials(uri, parent_run_id) if number in (None, run.number)]
    for run in stale:
        end_run(uri, run.run_id, "KILLED", {keys.NOTE: note})
    return [run.run_id for run in stale]


def withdrawn(uri: str, parent_run_id: str) -> set[tuple[int, str]]:
    """Return trials, by number and reason, whose failure was taken back."""
    api = client(uri)
    condition = f"{below(parent_run_id)} and attributes.status = 'KILLED'"
    with storage(f"cannot read the runs of {parent_run_id} from {uri}"):
        runs = list(search(api, condition, [get(api, parent_run_id).experiment_id]))
    return {(run.number, run.tags[keys.FAILURE]) for run in runs if keys.FAILURE in run.tags}


def close_unborn(study: StudyRun) -> None:
    """Close the runs of starts that were stopped before the study knew its run: of its name, without a trial.

    One with another origin is left alone: on a server, somebody else may have begun the same study just now.
    """
    api = client(study.tracking_uri)
    with storage(f"cannot close runs that were left by killed starts of study {study.study}"):
        ours = get(api, study.run_id).tags.get(keys.ORIGIN)
        for run in search(api, "attributes.status != 'FINISHED'", [study.experiment_id]):
            run_id, is_start = run.run_id, run.status == "RUNNING" or run.phase == keys.PHASE_STUDY
            if run.name != study.study or run_id == study.run_id or keys.PARENT_RUN in run.tags or not is_start:
                continue
            if run.tags.get(keys.ORIGIN, ours) != ours:
                continue
            if not any(search(api, below(run_id), [study.experiment_id])):
                note = "Interrupted: its process ended before the first trial. The study has another run."
                log_batch(api, run_id, tags={keys.NOTE: note, keys.PHASE: keys.PHASE_SESSION})
                api.set_terminated(run_id, "KILLED", run.end_time)


def restore_run(uri: str, run_id: str) -> None:
    """Take back the deletion of a run."""
    with storage(f"cannot restore run {run_id} in {uri}"):
        client(uri).restore_run(run_id)


def restore_experiment(uri: str, experiment_id: str) -> None:
    """Take back the deletion of an MLflow experiment, and of the runs that went with it."""
    with storage(f"cannot restore experiment {experiment_id} in {uri}"):
        client(uri).restore_experiment(experiment_id)


def end_run(uri: str, run_id: str, status: RunEnd, tags: Mapping[str, str]) -> None:
    """Give a run the status of one that has ended; one that had ended before keeps its time.

    A trial's that is closed stays so whatever its worker writes; a study's goes on with the next session.
    """
    api = client(uri)
    with storage(f"cannot end run {run_id} in {uri}"):
        run, is_closed = get(api, run_id), status == "KILLED"
        if (is_closed and run.number >= 0) or keys.CLOSED in run.tags:
            tags = {**tags, keys.CLOSED: str(is_closed).lower()}
        log_batch(api, run_id, tags=tags)
        api.set_terminated(run_id, status, run.end_time)


def put_right(uri: str, run_id: str, tags: Mapping[str, str], values: Mapping[str, float]) -> None:
    """Set tags of a run and values of the whole trial; MLflow keeps the values that stood there in their history."""
    with storage(f"cannot put run {run_id} in {uri} right"):
        log_batch(client(uri), run_id, metrics=[(key, value, 0) for key, value in values.items()], tags=tags)


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


def join_study(uri: str, parent_run_id: str, run_id: str, name: str) -> None:
    """Put the run that ``mlflow run`` has made below the study that it is about, as one of its sessions.

    A run that is one of a study already, this one or another, is left as it is: a variable left in a shell names any.
    """
    api = client(uri)
    with storage(f"cannot put run {run_id} below {parent_run_id} in {uri}"):
        if not get(api, run_id).is_new:
            return
        study = get(api, parent_run_id).study
        api.update_run(run_id, name=f"{name} {datetime.now().astimezone():%Y-%m-%d %H:%M}")
        tags = {
            keys.STUDY: study,
            keys.PARENT_RUN: parent_run_id,
            keys.PHASE: keys.PHASE_SESSION,
            keys.STATE: "finished",
            **code_version().tags(),
        }
        log_batch(api, run_id, tags=tags)


def log_report(uri: str, run_id: str, folder: Path) -> None:
    """Write a folder's files among the run's artifacts, under ``report``; files of the same names are replaced."""
    with storage(f"cannot write the report of run {run_id}"):
        client(uri).log_artifacts(run_id, str(folder), keys.REPORT)


def note_answer(uri: str, run_id: str, markdown: str, verdicts: Mapping[tuple[str, str], str]) -> None:
    """Put the answer on top of the study's page, and each verdict into a tag of the study's run.

    Parameters
    ----------
    markdown
        Takes the place of the answer that was noted before; cut where it does not fit above the page's own text.
    verdicts
        (factor, level) -> the verdict with its numbers, in words.
    """
    api = client(uri)
    with storage(f"cannot note the answer of run {run_id}"):
        note = f"{_ANSWER_ENDS}{get(api, run_id).tags.get(keys.NOTE, '').split(_ANSWER_ENDS, 1)[-1]}"
        tags = {keys.verdict(factor, level): text for (factor, level), text in verdicts.items()}
        log_batch(api, run_id, tags={**tags, keys.NOTE: f"{shortened(markdown, _LONGEST_NOTE - len(note))}{note}"})


def shortened(markdown: str, most: int) -> str:
    """Return a text as it is, or as many of its paragraphs as have room, and where the rest is."""
    if len(markdown) <= most:
        return markdown
    kept = ""
    for paragraph in markdown.split("\n\n"):
        if len(f"{kept}{paragraph}\n\n{_THE_REST}") > most:
            break
        kept += f"{paragraph}\n\n"
    return f"{kept}{_THE_REST}" if kept else ""


def artifact_link(uri: str, run_id: str, path: str, folder: str = f"{keys.REPORT}/") -> str:
    """Return a link to an artifact that MLflow's own pages show as a picture inside markdown.

    Those pages (3.17) show a relative address as text and leave out ``data:``; what has a scheme is shown. Where
    the store is a server, its address is known. A store that is a file is browsed at whatever address ``mlflow ui``
    got: ``http:path`` without slashes is, to a browser, a path on the page's own host.

    Parameters
    ----------
    folder
        Of the run's artifacts, with its slash, or nothing.
    """
    return _link(uri, f"get-artifact?path={quote(folder + path, safe='')}&run_uuid={run_id}")


def runs_link(uri: str, run_id: str, condition: str) -> str:
    """Return a link to the page of an experiment's runs that fulfil a condition of MLflow's search."""
    experiment_id = read_run(uri, run_id).experiment_id
    by_name = "orderByKey=attributes.run_name&orderByAsc=true"  # by date, they would be folded up below their study
    where = f"searchFilter={quote(condition)}&{by_name}&workflowType=machine_learning"
    return _link(uri, f"#/experiments/{experiment_id}/runs?{where}")


def _link(uri: str, where: str) -> str:
    return f"{without_login(uri).rstrip('/')}/{where}" if is_server(uri) else f"http:{where}"
