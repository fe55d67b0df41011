"""The run of one trial, written by the worker that trains it, and the run of its repetition.

A repetition lies below the run of the trial, not below the study: in the user interface the two pages then link to each
other, and no reader of a study's trials meets it. It has a phase of its own and no tag ``trial_number``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.model import log_model, on_disk
from depthcheck.experiments.tracking.open_run import Artifact, OpenRun, code_version, log_artifacts, source_tags
from depthcheck.experiments.tracking.reading import attempts
from depthcheck.experiments.tracking.runs import Curves, RunEnd, StoredRun, get, search
from depthcheck.experiments.tracking.store import (
    TakenOverError,
    TrackingError,
    client,
    launched_run,
    log_batch,
    patiently,
    require_at_hand,
    storage,
)
from depthcheck.experiments.tracking.study_run import StudyRun, end_run
from depthcheck.pipeline.config import ParamValue, TrialConfig
from depthcheck.pipeline.records import Evaluation, Predictions, TrialResult

#: What the trial's own curves are called beside those of its repetition: next to them in the same section of charts.
_ORIGINAL = "_original"


class TrialRun(OpenRun):
    """A trial's run while it trains. Ends by exactly one of :meth:`finish` and :meth:`fail`.

    What :meth:`log_score` adds comes when the whole search has ended.
    """

    def __init__(self, study: StudyRun, run_id: str, *, artifact_uri: str = "", flush_seconds: float = 1.0) -> None:
        super().__init__(study.tracking_uri, run_id, flush_seconds=flush_seconds)
        self.study = study
        #: Where its files lie on this disk, if that is known: MLflow asks its store for it at each run's first file.
        self._folder = on_disk(artifact_uri) if artifact_uri else None

    def log_predictions(self, predictions: Predictions) -> None:
        """Write predictions as an artifact, an array a field: those on the test part, or on the folds held out."""
        columns = {field.name: getattr(predictions, field.name) for field in fields(predictions)}
        with storage(f"cannot write the predictions of run {self.run_id}"), TemporaryDirectory() as folder:
            path = (self._folder or Path(folder)) / (
                keys.PREDICTIONS if predictions.fold is None else keys.FOLD_PREDICTIONS
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **{name: column for name, column in columns.items() if column is not None})
            if self._folder is None:
                self._api.log_artifact(self.run_id, str(path))

    def log_example(self, example: Mapping[str, Any]) -> None:
        """Write what the run's model says of a few samples; its hash goes into the tracking database.

        ``example`` holds ``samples`` and ``outputs``, a list each.
        """
        content = json.dumps(example)
        with storage(f"cannot write the example of run {self.run_id}"):
            self._api.log_text(self.run_id, content, keys.EXAMPLE)
            sha256 = hashlib.sha256(content.encode()).hexdigest()
            log_batch(self._api, self.run_id, tags={keys.EXAMPLE_SHA256: sha256})

    def note(self, key: str, text: str) -> None:
        """Say what is not as in other trials: how its epochs were trained, or what its model was trained on."""
        with storage(f"cannot write {key} of run {self.run_id}"):
            log_batch(self._api, self.run_id, tags={key: text})

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each curve (:meth:`depthcheck.pipeline.records.History.curves`); epochs are counted from 1."""
        self.log_points({key: {epoch: value} for key, value in metrics.items()})

    def finish(self, result: TrialResult, model: Any = None, preparation: Any = None) -> None:
        """Write what is left of the curves, the result and the model, and end the run.

        Parameters
        ----------
        result
            Epochs that :meth:`log_epoch` never saw are written from its history.
        model
            A Keras model from raw samples (of a table: prepared features) to probabilities or a number, or None.
        preparation
            What makes the model's features of a table's columns; None where the model takes raw samples.

        Raises
        ------
        TrackingError
            When the store does not take it. The run then stays RUNNING, and its trial does not count.
        """
        curves = {**result.history.curves(), keys.EPOCH_SECONDS: result.history.seconds}
        self._add({key: dict(enumerate(values, start=1)) for key, values in curves.items()})
        with storage(f"cannot write the result of run {self.run_id}"):
            model_id = None if model is None else self._log_model(result, model, preparation, step=0)
            # The tags that make a result complete go last: a run that has them has everything.
            tags = {keys.STATE: result.state, keys.METRIC: result.valid.metric}
            tags |= {keys.VALID_SAMPLES: str(result.valid.n_samples)}
            tags |= {} if result.test is None else {keys.TEST_SAMPLES: str(result.test.n_samples)}
            rows = [(key, value, 0) for key, value in whole_trial_values(result).items()]
            log_batch(self._api, self.run_id, metrics=self._rows, of_model=rows, tags=tags, model_id=model_id)
            self._rows.clear()
        self._end("FAILED" if result.state == "failed" else "FINISHED", {})

    def log_model(self, result: TrialResult, model: Any, preparation: Any) -> str:
        """Write the model as the run's last one, which is the one that counts; return its id."""
        with storage(f"cannot write the result of run {self.run_id}"):
            return self._log_model(result, model, preparation, step=get(self._api, self.run_id).model_step + 1)

    def _log_model(self, result: TrialResult, model: Any, preparation: Any, *, step: int) -> str:
        config, study, api = result.config, self.study, self._api
        return log_model(
            api, study.experiment_id, self.run_id, model, step=step, params=config.to_params(),
            preparation=preparation, own=config.model.own,
        )  # fmt: skip

    def log_score(self, test: Evaluation, predictions: Predictions, *, is_of_another: bool = False) -> None:
        """Add to a run that has ended what its model, or another, says of the test part, and what that is worth."""
        self.log_predictions(predictions)
        rows = [(key, value, 0) for key, value in score_values(test).items()]
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        # The tags go last: a run that has them has everything.
        tags = {keys.SCORED_AT: now, keys.TEST_SAMPLES: str(test.n_samples)}
        tags |= {keys.SCORED_NETWORK: "another one, since the trial's own was lost"} if is_of_another else {}
        with storage(f"cannot write the test scores of run {self.run_id}"):
            log_batch(self._api, self.run_id, metrics=rows, tags=tags)

    def fail(self, traceback_text: str) -> None:
        """End the run as FAILED, with its traceback as description and artifact, and its last line as a tag."""
        lines = traceback_text.strip().splitlines() or ["no traceback"]
        note = f"**{lines[-1]}**\n\n```\n{traceback_text.strip()[-6000:]}\n```"
        with storage(f"cannot write the failure of run {self.run_id}"):
            self._api.log_text(self.run_id, traceback_text, keys.TRACEBACK)
        self._end("FAILED", {keys.STATE: "failed", keys.FAILURE: lines[-1], keys.NOTE: note})

    def _end(self, status: RunEnd, tags: Mapping[str, str]) -> StoredRun:
        """End the run, and ask once more whether the trial was somebody else's by then.

        A process that was stopped between asking and writing, or before it created its run, would end a trial that
        another worker has ended meanwhile.
        """
        run = super()._end(status, tags)
        patiently(self.study.tracking_uri, lambda: self._give_way(run.number))
        return run

    def _give_way(self, number: int) -> None:
        """Close the run where another of the same trial has ended, or somebody has closed this one.

        Of two that end at once both may be closed, and the trial is run again.
        """
        study = self.study
        runs = attempts(study.tracking_uri, study.experiment_id, study.run_id, number)
        if any(other.status == "KILLED" if other.run_id == self.run_id else other.counts for other in runs):
            note = "Closed: this worker was cut off for a while, and another one has run the trial."
            end_run(study.tracking_uri, self.run_id, "KILLED", {keys.NOTE: note})
            raise TakenOverError(f"trial {number} was ended by somebody else than run {self.run_id}")


def start_trial(
    study: StudyRun,
    *,
    number: int,
    phase: str,
    config: TrialConfig,
    title: str = "",
    combination: Mapping[str, object] | None = None,
    metric: str = "accuracy",
    tags: Mapping[str, str] | None = None,
    flush_seconds: float = 1.0,
) -> TrialRun:
    """Create the run of a trial below its study's run, with parameters and tags.

    Parameters
    ----------
    phase
        Of the study: baseline, compare, exploit or confirm.
    config
        Its parameters are logged, only the active ones.
    title
        What it is in a few words, behind its number in the run's name; its phase by default.
    combination
        The compared dimensions and the levels of them that the trial stands for.
    metric
        Name of the score.
    """
    depth, optimizer = str(config.model.depth), config.optimizer.name
    all_tags = {
        **study.shared_tags,
        keys.PARENT_RUN: study.run_id,
        keys.PHASE: phase,
        **({keys.DEPTH: depth} if config.model.own is None or config.model.own.is_said("depth") else {}),
        keys.OPTIMIZER: optimizer,
        keys.TRIAL_NUMBER: str(number),
        keys.METRIC: metric,
        **({keys.COMBINATION: keys.levels(combination)} if combination else {}),
        **(tags or {}),
    }
    api = client(study.tracking_uri)
    with storage(f"cannot create the run of trial {number}"):
        run_name = f"trial-{number} {title or phase}"
        info = api.create_run(study.experiment_id, tags=all_tags, run_name=run_name).info
        log_batch(api, info.run_id, params=config.to_params())
    return TrialRun(study, info.run_id, artifact_uri=info.artifact_uri, flush_seconds=flush_seconds)


def whole_trial_values(result: TrialResult) -> dict[str, float]:
    """Return what is logged of a whole trial, beside its curves."""
    valid, test = result.valid, result.test
    values: dict[str, float] = {
        keys.final("loss"): valid.loss,
        keys.final(valid.metric): valid.score,
        keys.N_PARAMS: result.n_params,
        keys.FIT_SECONDS: result.fit_seconds,
        **{keys.final(name): value for name, value in valid.secondary.items()},
    }
    scores = [(score, -epoch) for epoch, score in enumerate(result.history.valid_score, start=1) if np.isfinite(score)]
    if scores:
        best, minus_epoch = max(scores)
        values |= {keys.best(valid.metric): best, keys.BEST_EPOCH: -minus_epoch}
    return values if test is None else values | score_values(test)


def score_values(test: Evaluation) -> dict[str, float]:
    """Return what is logged of an evaluation on the test part."""
    secondary = {keys.test(name): value for name, value in test.secondary.items()}
    return {keys.test("loss"): test.loss, keys.test(test.metric): test.score, **secondary}


class ReproductionRun(OpenRun):
    """The run of a repetition while it trains; ends by exactly one call of :meth:`end`."""

    def __init__(self, uri: str, run_id: str, experiment_id: str) -> None:
        super().__init__(uri, run_id)
        self.experiment_id = experiment_id

    def log_original(self, points: Curves) -> None:
        """Add the trial's own numbers, beside those of the repetition."""
        self.log_points({key + _ORIGINAL: curve for key, curve in points.items()})

    def log_artifact(self, name: str, content: Artifact) -> None:
        """Write a text as it is, or a mapping as JSON."""
        log_artifacts(self._api, self.run_id, {name: content})

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
    """Open the run of a repetition, below the run of the trial; it is the one that ``mlflow run`` has just made for it.

    What ``MLFLOW_RUN_ID`` names else is left as it is: a study of the same ``mlflow run``, or whatever a shell kept.

    Parameters
    ----------
    params
        The trial's. Those that ``mlflow run`` has noted under the same names are left as they are.
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
    try:
        with storage(f"cannot open a run for the reproduction of {original.run_id}"):
            launched = launched_run(environ)
            run_id = launched if launched is not None and get(api, launched).is_new else None
            # With its tags at once: one that a kill, or a request that came twice, leaves can be told and closed.
            run_id = run_id or api.create_run(original.experiment_id, run_name=name, tags=tags).info.run_id
            api.update_run(run_id, status="RUNNING", name=name)
            run = get(api, run_id)
            new = {key: value for key, value in params.items() if key not in run.params}
            log_batch(api, run_id, params=new, tags={**source_tags(run.tags, environ), **tags})
    except KeyboardInterrupt:  # which may come when the run is there already
        with contextlib.suppress(TrackingError):
            require_at_hand(uri)
            close_stale_reproductions(uri, ours_too=True)
        raise
    return ReproductionRun(uri, run_id, run.experiment_id)


def close_stale_reproductions(uri: str, *, ours_too: bool = False) -> None:
    """Close as KILLED the reproductions whose process on this machine was killed, and where asked this process's."""
    api = client(uri)
    condition = f"tags.{keys.PHASE} = '{keys.PHASE_REPRODUCTION}' and attributes.status = 'RUNNING'"
    with storage(f"cannot close interrupted reproductions in {uri}"):
        for run in list(search(api, condition)):
            process = run.tags.get(keys.PROCESS, "")
            if _is_dead(process) or (ours_too and process == _process(os.getpid())):
                note = f"Interrupted: its process ended. (Seen {datetime.now().astimezone():%Y-%m-%d %H:%M}.)"
                log_batch(api, run.run_id, tags={keys.STATE: "interrupted", keys.NOTE: note})
                api.set_terminated(run.run_id, "KILLED")


def _process(pid: int) -> str:
    """Return what tells a process from all others: machine, number, and when it began."""
    return f"{socket.gethostname()} {pid} {_began(pid)}"


def _began(pid: int) -> str:
    """Return when a process began: on Linux by the kernel's own clock, since the time of day may be set meanwhile."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        behind_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]
        return f"{boot}+{behind_name.split()[19].decode()}"
    return f"{psutil.Process(pid).create_time():.0f}"


def _is_dead(process: str) -> bool:
    """Tell whether a process of this machine has ended; of another machine's nothing can be known."""
    words = process.split(" ")
    if len(words) != 3 or words[0] != socket.gethostname():
        return False
    try:
        return _process(int(words[1])) != process
    except (psutil.Error, ValueError):
        return True
