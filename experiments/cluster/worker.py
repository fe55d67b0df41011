"""What a worker process does: it gets ready to train, trains a trial and logs it, later scores networks.

A task goes to it and an outcome comes back, plain records that can be pickled. A worker holds no state that matters.
The data set and compiled programs are kept between trials since reading and compiling take time, and change nothing.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import mmap
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

from distributed import Worker, get_worker
from distributed.system import MEMORY_LIMIT

from depthcheck.experiments import places, scratch, tracking
from depthcheck.experiments.cluster.travel import Parcel, load_again, unpacked
from depthcheck.experiments.tracking import StudyRun
from depthcheck.experiments.tracking.store import load_mlflow
from depthcheck.pipeline import system
from depthcheck.pipeline.config import DataConfig, ParamValue, SplitConfig, TrialConfig
from depthcheck.pipeline.records import Dataset, Phase, TrialRecord, TrialState
from depthcheck.pipeline.training.program_cache import ONE_THREAD

#: Topic of Dask's events that tell the coordinator of each epoch.
EPOCH_TOPIC = "depthcheck-epoch"
#: What came from a coordinator on another machine, by what was asked for: the parcel, and its file.
SENT: dict[tuple[DataConfig, str], tuple[Parcel, mmap.mmap]] = {}
#: Description of an attempt that did not come to its end.
INTERRUPTED_NOTE = "Interrupted: its worker died, or its server went away. The trial was run again."
#: Of the networks that this process has trained, the last small ones by their runs: they are scored on the test part
#: when the search has ended, and reading one takes ten times as long as that.
_trained: dict[str, Any] = {}
_MOST_TRAINED, _MOST_VALUES = 200, 50_000
#: TensorFlow's programs are not made for two trials at once in one process, and a user's worker may have threads. Nor
#: does a trial begin before all that it takes is imported.
one_at_a_time = threading.Lock()
#: What one worker may take of the memory of the machine, or of the container: a trial that wants more is refused it.
_MEMORY_SHARE = 0.9
#: Of a training that is timed: the first epoch compiles, the last tells what one takes.
_TIMED_EPOCHS = 2
#: Raised, the kernel ends a worker before anything else of the user's when memory runs out; 1000 is the most.
_OOM_SCORE = "500"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTask:
    """All that a worker needs to train one trial.

    Attributes
    ----------
    title
        What it is in a few words.
    prune_below
        One validation score an epoch; the trial ends where its best one so far lies below. Empty: never.
    finalist
        The finalist that the trial confirms: then, and only then, the test part is opened.
    data_folder
        The folder that the user named for the data, or None.
    """

    study_run: StudyRun
    number: int
    phase: Phase
    combination: Mapping[str, ParamValue]
    config: TrialConfig
    title: str = ""
    metric: str = "accuracy"
    data_folder: str | None = None
    prune_below: tuple[float, ...] = ()
    finalist: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a trial ended, as the coordinator tells it to Optuna.

    ``score`` is that of the validation part after the last epoch: the dummy baseline's where it diverged, None where it
    failed; ``scores`` has one an epoch. ``compile_seconds`` are those of ``fit_seconds`` that its program took before
    it could train.
    """

    number: int
    run_id: str
    state: TrialState
    score: float | None = None
    scores: tuple[float, ...] = ()
    fit_seconds: float = 0.0
    compile_seconds: float = 0.0
    failure: str | None = None
    engine: str = "compiled"


def run_task(task: TrialTask) -> Outcome:
    """Train one trial and log it; what an earlier attempt has finished is not trained again.

    Raises
    ------
    TrackingError
        When the tracking store or a disk is in trouble. A failure of the trial itself is an outcome, no exception.
    RuntimeError
        When the data are no longer those of the study.
    """
    own: list[str] = []
    with one_at_a_time:
        return tracking.patiently(task.study_run.tracking_uri, lambda: _attempt(task, own))


def _attempt(task: TrialTask, own: list[str]) -> Outcome:
    """Train the trial in a run of its own, unless an earlier attempt has come to its end.

    Parameters
    ----------
    own
        Runs of earlier attempts of this task, to which this one adds its own. Where the last one was closed, another
        worker has been given the trial.
    """
    study = task.study_run
    uri = study.tracking_uri
    # Of a trial that is new, too: Dask runs a task once more whose result was lost with the worker that held it.
    earlier = tracking.attempts(uri, study.experiment_id, study.run_id, task.number)
    done = next((tracking.trial(uri, run.run_id) for run in earlier if run.counts), None)
    if done is not None:
        return outcome_of(done)
    left = [run.run_id for run in earlier if run.status == "RUNNING"]
    if own and own[-1] not in left:
        raise tracking.TakenOverError(f"run {own[-1]} of trial {task.number} was ended by somebody else")
    for run_id in left:
        tracking.end_run(uri, run_id, "KILLED", {tracking.keys.NOTE: INTERRUPTED_NOTE})
    dataset = load_once(task.config.data, task.data_folder, task.config.data_sha256)
    run = start_run(task)
    own.append(run.run_id)
    try:
        return _train(task, dataset, run, _tell_coordinator(task))
    except tracking.TrackingError:
        raise
    except OSError as error:  # a disk or a network drive: no configuration raises these
        raise tracking.TrackingError(f"cannot train trial {task.number}: {error}") from error
    except Exception as error:  # noqa: BLE001 - whatever a configuration can raise is a failed trial
        run.fail(traceback.format_exc())
        failure = f"{type(error).__name__}: {error}".splitlines()[0]
        return Outcome(number=task.number, run_id=run.run_id, state="failed", failure=failure)


def score_network(study_run: StudyRun, run_id: str, config: TrialConfig, data_folder: str | None) -> str | None:
    """Score the network of a trial on the test part, and add that to ``run_id``, the trial's own run.

    Returns
    -------
    str or None
        The address of the worker that did; None without Dask.

    Raises
    ------
    TrackingError
        When the tracking store or a disk is in trouble, or the network cannot be scored for another reason.
    RuntimeError
        When the data are no longer those of the study.
    """
    with one_at_a_time:
        dataset = load_once(config.data, data_folder, config.data_sha256)
        try:
            tracking.patiently(study_run.tracking_uri, lambda: _score(study_run, run_id, config, dataset))
        except tracking.TrackingError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise tracking.TrackingError(f"cannot score the network of run {run_id}: {reason}") from error
    worker = _worker()
    return None if worker is None else worker.address


def _score(study_run: StudyRun, run_id: str, config: TrialConfig, dataset: Dataset) -> None:
    # Imported here: the coordinator imports this module too, and must never wait for TensorFlow.
    from depthcheck.pipeline.trial import judge, run_trial

    run, other = tracking.TrialRun(study_run, run_id), False
    try:
        model = _trained.pop(run_id, None) or tracking.load_model(study_run.tracking_uri, run_id)
    except tracking.TrackingError:
        tracking.read_run(study_run.tracking_uri, run_id)  # raises where the store is away: then no model is lost
        # A model that is gone or damaged must not end the study: training gives the same network again, bit by bit, on
        # the same processor with the same packages.
        again, logged = run_trial(config, dataset), tracking.trial(study_run.tracking_uri, run_id)
        model = again.model
        other = logged is not None and again.result.history.valid_loss != logged.history.valid_loss
    run.log_score(*judge(model, config, dataset), is_of_another=other)


def trained_here() -> list[str]:
    """Return the runs whose networks this process has at hand."""
    return list(_trained)


def score_references(
    study_run: StudyRun, data: DataConfig, folder: str | None, sha256: str, split: SplitConfig
) -> None:
    """Score scikit-learn's models, and write that among the study's artifacts.

    Raises
    ------
    TrackingError
        When the tracking store is in trouble.
    RuntimeError
        When the data are no longer those of the study. A model of scikit-learn may fail in its own ways.
    """
    with one_at_a_time:
        from depthcheck.pipeline.training.reference import reference_scores

        found = [asdict(one) for one in reference_scores(load_once(data, folder, sha256), split)]
    artifact = {tracking.keys.REFERENCES: {"references": found}}
    tracking.patiently(study_run.tracking_uri, lambda: study_run.log_artifacts(artifact))


def start_run(task: TrialTask) -> tracking.TrialRun:
    """Create the run of a trial."""
    return tracking.start_trial(
        task.study_run,
        number=task.number,
        phase=task.phase,
        config=task.config,
        title=task.title,
        combination=task.combination,
        metric=task.metric,
        tags={tracking.FINALIST: task.finalist} if task.finalist else None,
    )


def _train(task: TrialTask, dataset: Dataset, run: tracking.TrialRun, on_epoch: Callable[[int], None]) -> Outcome:
    # Imported here: the coordinator imports this module too, and must never wait for TensorFlow.
    from depthcheck.pipeline.trial import run_trial

    run.log_dataset(dataset)

    def on_epoch_end(epoch: int, metrics: dict[str, float]) -> None:
        run.log_epoch(epoch, metrics)
        on_epoch(epoch)

    trained = run_trial(
        task.config, dataset, on_epoch_end=on_epoch_end, prune_below=task.prune_below, confirm=task.finalist is not None
    )
    if trained.predictions is not None:
        run.log_predictions(trained.predictions)
    if trained.example is not None:
        run.log_example(trained.example)
    if trained.engine != "compiled":
        run.note(tracking.keys.ENGINE, trained.engine)
    if trained.is_of_a_fold:
        run.note(tracking.keys.TRAINED_ON, "the first fold")
    run.finish(trained.result, trained.model, trained.preparation if dataset.is_table else None)
    result = trained.result
    is_scored = task.finalist is None and result.state == "finished" and not task.config.split.folds
    if is_scored and result.n_params <= _MOST_VALUES:
        _trained[run.run_id] = trained.model
        if len(_trained) > _MOST_TRAINED:
            del _trained[next(iter(_trained))]
    return Outcome(
        number=task.number,
        run_id=run.run_id,
        state=result.state,
        score=result.valid.score,
        scores=result.history.valid_score,
        fit_seconds=result.fit_seconds,
        compile_seconds=result.history.compile_seconds,
        engine=trained.engine,
    )


def time_training(config: TrialConfig, data_folder: str | None) -> float:
    """Return how many seconds a training would take, by two epochs of it."""
    fit = replace(config.fit, epochs=min(config.fit.epochs, _TIMED_EPOCHS))
    with one_at_a_time:
        from depthcheck.pipeline.trial import run_trial

        dataset = load_once(config.data, data_folder, config.data_sha256)
        start = time.monotonic()
        history = run_trial(replace(config, fit=fit), dataset).result.history
    return time.monotonic() - start + (config.fit.epochs - history.n_epochs) * history.seconds[-1]


def try_own_code() -> None:
    """Try the user's own model and metric of the configuration and data that standard input brings, once.

    The last line of standard output is what an own metric gives, or ``null``.
    """
    config, dataset = pickle.load(sys.stdin.buffer)  # of the process that started this one
    scale = None
    if config.data.own_metric is not None:
        from depthcheck.pipeline.training.reference import scale_of_metric

        scale = scale_of_metric(dataset, config.split)
    if config.model.own is not None:
        from depthcheck.pipeline.trial import try_own

        try_own(config, dataset)
    sys.stdout.write(f"\n{json.dumps(scale)}\n")


def outcome_of(record: TrialRecord) -> Outcome:
    """Return the outcome of a trial that was logged to its end."""
    valid = record.evaluation("valid")
    return Outcome(
        number=record.number,
        run_id=record.run_id,
        state=record.state,
        score=None if valid is None else valid.score,
        scores=record.history.valid_score,
        fit_seconds=record.fit_seconds or 0.0,
        failure=record.failure,
        engine=record.engine,
    )


@functools.lru_cache(maxsize=1)
def load_once(config: DataConfig, folder: str | None, sha256: str) -> Dataset:
    """Return the data set of that SHA-256, kept for the next trial of this process."""
    if (config, sha256) in SENT:
        return unpacked(*SENT[config, sha256])
    return load_again(config, Path(folder) if folder else None, sha256)


def _worker() -> Worker | None:
    try:
        return get_worker()
    except ValueError:  # called without Dask
        return None


def _tell_coordinator(task: TrialTask) -> Callable[[int], None]:
    if (worker := _worker()) is None:
        return lambda _epoch: None
    trial = {"study": task.study_run.run_id, "number": task.number}
    return lambda epoch: worker.log_event(EPOCH_TOPIC, trial | {"epoch": epoch})


def dask_setup(worker: Worker) -> None:
    """Get a process of the embedded cluster ready, one that replaces a dead one included; Dask calls it.

    TensorFlow greets on standard error before any of its settings can silence it, so the process's own log takes that.
    What is not imported yet is, in a thread at once: the first trial should not wait for all of it.
    """
    scratch.take()  # its session's folder must not be removed under it, should the coordinator be killed
    try:
        folder = places.logs()
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / f"worker-{worker.name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    except OSError:  # a read-only home, a full disk: no log is worth a study
        log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 2)
    os.close(log)
    bound_memory(int(MEMORY_LIMIT * _MEMORY_SHARE))
    one_at_a_time.acquire()  # a task that imports the same at the same time may find half of a module
    threading.Thread(target=_import_first, daemon=True).start()


def _import_first() -> None:
    try:
        import_training()
    finally:
        one_at_a_time.release()


def import_trial() -> None:
    """Import what trains, and with it TensorFlow: on one thread, since how many share a sum changes its last digit.

    Of the variables for that, one that is set stays.
    """
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    import_module("depthcheck.pipeline.trial")


def import_training(*, to_be_forked: bool = False) -> None:
    """Import what trains and logs, without what takes seconds and no worker needs.

    That is matplotlib, which Keras would import, and all of scikit-learn, which skops imports to know what it may load:
    workers only save. skops compares each function of NumPy with all modules there are, so it comes first. Nor is
    garbage collected meanwhile, or looked for among the imported later: nearly all of that stays.

    Parameters
    ----------
    to_be_forked
        Leave out ``depthcheck.pipeline.trial``, which makes TensorFlow start a thread, and no fork would have it.
    """
    hides = "matplotlib" not in sys.modules
    if hides:
        sys.modules["matplotlib"] = None  # type: ignore[assignment]  # so that Keras takes it for not installed
    gc.disable()
    try:
        with mock.patch("sklearn.utils.all_estimators", list):
            import_module("skops.io")
        load_mlflow()
        if to_be_forked:
            import_module("keras")
        else:
            import_trial()
            import_module("mlflow.store.tracking.sqlalchemy_store")
    finally:
        gc.freeze()
        gc.enable()
        if hides:
            del sys.modules["matplotlib"]


def bound_memory(n_bytes: int) -> None:
    """Make an allocation beyond ``n_bytes`` fail inside this process, where it ends a trial and nothing else.

    A tighter limit that the user has set (``ulimit -d``) stays. Where several workers together want more than there is,
    the kernel takes one of them first; its trial is run again, and at last alone.
    """
    system.bound_data(n_bytes)
    with contextlib.suppress(OSError):  # not on every system
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
