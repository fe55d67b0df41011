"""The coordinator: it alone asks and tells Optuna, and hands trials to the workers.

Nothing that it decides depends on which worker was faster. Points of *baseline* and *compare* are known beforehand;
a proposal in *exploit* sees the results up to a fixed distance behind it and no others. A killed coordinator goes on
where it was: trials left RUNNING keep their numbers, points and seeds. A trial whose worker died again and again runs
alone before it is called failed: it may have been a neighbour, or somebody with a kill, and not the trial.

When the search has ended and its finalists are frozen, so that nothing can be chosen by what is found, every network of
the search is scored on the test part, once, and so are the models that networks are held against.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

import numpy as np
from distributed import Client, Future, KilledWorker, as_completed
from optuna.trial import FrozenTrial, TrialState

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster.admission import n_admitted
from depthcheck.experiments.cluster.launch import WorkerRecycling
from depthcheck.experiments.cluster.worker import (
    EPOCH_TOPIC,
    INTERRUPTED_NOTE,
    Outcome,
    TrialTask,
    outcome_of,
    run_task,
    score_network,
    score_references,
    start_run,
    trained_here,
)
from depthcheck.experiments.planning import space
from depthcheck.experiments.planning.design import PlannedTrial
from depthcheck.experiments.planning.finalists import trial_title
from depthcheck.experiments.study.progress import StudyProgress
from depthcheck.experiments.study.running import RunningStudy
from depthcheck.pipeline.config import ParamValue
from depthcheck.pipeline.records import Dataset, TrialRecord

#: Completed trials that the median needs before it prunes anything (Optuna's MedianPruner(10, ...) asks the same).
_PRUNE_AFTER_TRIALS = 10
#: Deaths of its worker after which a trial runs with none beside it, and after which it has failed. The kernel takes
#: the largest worker when memory runs out, and that may be the neighbour of the one that wanted too much.
_DEATHS_TO_BE_ALONE, _DEATHS_TO_FAIL = 3, 6
_DIED = "its worker died each time, and alone on the machine, too (out of memory?)"
_WITHDRAWN = "Not counted: the first trials of this session all failed for this one reason, and then it ended."
#: Among so many trials that wait, one is looked for whose program is not being compiled.
_LOOK_AHEAD = 16
#: So many trials that fail alike, before a session has seen anything else, are no accident.
ALIKE = 3


class CircuitBreaker:
    """Holds failures back until it is known whose fault they are: the trial's own, or that of the machine it ran on.

    A trial that fails is one FAILED trial, and the study goes on. But where the first trials of a session all fail for
    one reason (TensorFlow cannot be imported) the next ones would as well: then the study stops, and those failures do
    not count.

    Parameters
    ----------
    blamed
        Trials, by number and reason, that an earlier session stopped for: failing again, they count.
    """

    def __init__(self, blamed: Collection[tuple[int, str]] = ()) -> None:
        self._blamed = frozenset(blamed)
        self._held: list[Outcome] = []
        self._cleared = False

    @property
    def held(self) -> tuple[Outcome, ...]:
        """Failures of which it is not known yet."""
        return tuple(self._held)

    @property
    def is_open(self) -> bool:
        """Whether enough trials have failed alike to stop, unless one that still runs ends otherwise."""
        return len(self._held) >= ALIKE

    def add(self, outcome: Outcome) -> list[Outcome]:
        """Take in how a trial ended; return the outcomes that count now, in the order they came."""
        if self._cleared or (outcome.number, outcome.failure) in self._blamed:
            return [outcome]
        self._held.append(outcome)
        self._cleared = outcome.state != "failed" or outcome.failure != self._held[0].failure
        return self.release() if self._cleared else []

    def release(self) -> list[Outcome]:
        """Return what was held back: it counts."""
        held, self._held = self._held, []
        return held


class Coordinator:
    """Runs a study's trials to the end of its budget.

    Parameters
    ----------
    on_ended
        Is called when Optuna has heard of a trial that ended.
    beside
        What a worker has been given already that is no trial. It has that worker until it has ended.
    """

    def __init__(
        self,
        study: RunningStudy,
        client: Client,
        progress: StudyProgress,
        on_ended: Callable[[], None] = lambda: None,
        *,
        beside: Future | None = None,
    ) -> None:
        self._study = study
        self._client = client
        self._progress = progress
        self._on_ended = on_ended
        self._beside = beside
        self._recycling = WorkerRecycling(client)
        self._waiting: deque[PlannedTrial] = deque()
        self._running: dict[Future, tuple[PlannedTrial, TrialTask]] = {}
        self._deaths: Counter[int] = Counter()
        #: Programs that a worker of this session has.
        self._compiled: set[tuple[ParamValue | None, bool]] = set()
        #: What Optuna has begun, by the trial's number.
        self._points: dict[int, Mapping[str, ParamValue]] = {}
        self._uri, run_id = study.study_run.tracking_uri, study.study_run.run_id
        self._breaker = CircuitBreaker(tracking.patiently(self._uri, lambda: tracking.withdrawn(self._uri, run_id)))

    def run(self) -> None:
        """Train every trial of the plan that has not ended yet.

        Raises
        ------
        RuntimeError
            When all trials fail for one reason. Whatever a worker raises about storage passes through.
        """
        trials = self._study.ledger.trials()
        self._points = {trial.number: trial.user_attrs["point"] for trial in trials}
        ended = {trial.number for trial in trials if trial.state.is_finished()}
        self._waiting.extend(planned for planned in self._study.plan if planned.number not in ended)
        self._client.subscribe_topic(EPOCH_TOPIC, self._on_epoch)
        completed = as_completed([] if self._beside is None else [self._beside])
        try:
            while self._waiting or self._running:
                self._fill(completed)
                if not self._running and self._beside is None and self._breaker.held:
                    self._tell(self._breaker.release())  # the next proposal is to know them, and nothing else is told
                    continue
                if self._waiting and (planned := self._next()).point is not None:
                    self._begin(planned)  # while the workers train
                future = next(completed)
                if self._beside is not None and future is self._beside:
                    self._beside = None
                    self._progress.ended_beside()
                    if future.status == "finished":
                        future.release()
                    continue
                outcome = self._outcome(*self._running.pop(future), future)
                self._recycling.after(future)
                # Dask would run again what is lost with its worker, and none that holds a result begins anew.
                future.release()
                counted = [] if outcome is None else self._breaker.add(outcome)
                # A worker has nothing to do. What is laid down beforehand need not know what Optuna is about to hear.
                self._fill(completed, only_begun=True)
                self._tell(counted)
                self._stop_if_all_fail()
            self._tell(self._breaker.release())
        except tracking.TakenOverError:
            raise
        except BaseException:
            # Whose fault they are is not known yet: trained again, they count.
            with contextlib.suppress(tracking.TrackingError):
                self._withdraw_held()
            raise
        finally:
            self._client.unsubscribe_topic(EPOCH_TOPIC)
            self._client.cancel(list(self._running), force=True)

    def _fill(self, completed: as_completed, *, only_begun: bool = False) -> None:
        """Give free workers what waits; with ``only_begun`` what is laid down and has begun in Optuna already."""
        while self._waiting and self._may_start(planned := self._next()):
            if only_begun and (planned.point is None or planned.number not in self._points):
                break
            self._waiting.remove(planned)
            future, task = self._start(planned)
            self._running[future] = planned, task
            completed.add(future)

    def _next(self) -> PlannedTrial:
        """Return the first trial that waits, or one before whose turn it is while a program is compiled.

        Another worker would compile the same program at the same time, for the next trial that needs it. Of those that
        are laid down, any may be trained first.
        """
        running = {_program(self._points[planned.number]) for planned, _ in self._running.values()}
        first = itertools.islice(self._waiting, _LOOK_AHEAD)
        laid_down = itertools.takewhile(lambda planned: planned.point is not None, first)
        ready = (planned for planned in laid_down if _program(planned.point or {}) not in running - self._compiled)
        return next(ready, self._waiting[0])

    @property
    def _n_workers(self) -> int:
        return max(n_admitted(self._client), 1)

    def _may_start(self, planned: PlannedTrial) -> bool:
        """Tell whether a worker is free and, for a proposal, whether all that it may know has ended."""
        running = {other.number for other, _ in self._running.values()}
        n_busy = len(running) + (self._beside is not None)
        if n_busy >= self._n_workers or self._breaker.is_open:
            return False
        if n_busy and any(self._deaths[number] >= _DEATHS_TO_BE_ALONE for number in {*running, planned.number}):
            return False
        if planned.point is not None:
            return True
        known_to = planned.number - self._study.experiment.budget.window
        unheard = {*running, *(outcome.number for outcome in self._breaker.held)}
        return all(number > known_to for number in unheard)

    def _start(self, planned: PlannedTrial) -> tuple[Future, TrialTask]:
        study, number = self._study, planned.number
        study.ledger.require_ours()
        point = self._begin(planned)
        config = study.config(point, planned.seed, planned.repeat)
        task = TrialTask(
            study_run=study.study_run,
            number=number,
            phase=planned.phase,
            title=trial_title(study.experiment, planned, point),
            combination=planned.combination,
            config=config,
            metric=study.resolved.metric,
            data_folder=study.data_folder,
            prune_below=self._prune_below(planned, config.fit.epochs),
            finalist=planned.finalist,
        )
        self._progress.started(number, self._n_workers)
        return self._client.submit(run_task, task, pure=False, priority=-number), task

    def _begin(self, planned: PlannedTrial) -> Mapping[str, ParamValue]:
        """Return the trial's point; Optuna has the trial from now on."""
        study, number = self._study, planned.number
        for before in list(itertools.islice(self._waiting, _LOOK_AHEAD)):
            if before.number < number and before.number not in self._points:
                self._begin(before)  # Optuna numbers them as they come
        if number not in self._points:
            point = study.proposal(number) if planned.point is None else planned.point
            study.ledger.start(planned, point, space.distributions(study.experiment, point))
            self._points[number] = point
        return self._points[number]

    def _prune_below(self, planned: PlannedTrial, epochs: int) -> tuple[float, ...]:
        if planned.phase != "exploit" or self._study.experiment.budget.pruning == "none":
            return ()
        known = self._study.known_to(planned.number)
        return median_marks([t for t in known if t.state == TrialState.COMPLETE], epochs)

    def _on_epoch(self, event: tuple[float, Any]) -> None:
        _time, message = event
        if message["study"] != self._study.study_run.run_id:  # on a user's cluster others may train, too
            return
        self._compiled.add(_program(self._points[message["number"]]))
        self._progress.epoch(message["number"], message["epoch"])

    def _outcome(self, planned: PlannedTrial, task: TrialTask, future: Future) -> Outcome | None:
        """Return how a trial ended; None where it is to be run again."""
        try:
            outcome: Outcome = future.result()
        except tracking.TakenOverError:  # it was cut off for a while, and another worker had the trial meanwhile
            self._waiting.appendleft(planned)
            return None
        except KilledWorker as error:
            self._deaths[planned.number] += error.allowed_failures + 1
            if self._deaths[planned.number] < _DEATHS_TO_FAIL:
                self._waiting.appendleft(planned)
                return None
            outcome = tracking.patiently(self._uri, lambda: self._died(task))
        self._progress.ended(outcome, task.title)
        return outcome

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._study.ledger.tell(outcome)
            tracking.patiently(self._uri, self._on_ended)

    def _died(self, task: TrialTask) -> Outcome:
        """Write down the failure that the worker could not, unless it has died behind the end of the trial."""
        self._study.ledger.require_ours()
        study = task.study_run
        ended = tracking.finished_trial(study.tracking_uri, study.run_id, task.number)
        if ended is not None:
            return outcome_of(ended)
        tracking.close_stale(study.tracking_uri, study.run_id, task.number, note=INTERRUPTED_NOTE)
        run = start_run(task)
        try:
            run.fail(_DIED)
        except tracking.TakenOverError:  # the worker was cut off, and has ended the trial meanwhile
            return self._died(task)
        return Outcome(number=task.number, run_id=run.run_id, state="failed", failure=_DIED)

    def _stop_if_all_fail(self) -> None:
        if self._running or not self._breaker.is_open:
            return
        failure = self._breaker.held[0].failure
        self._withdraw_held()
        raise RuntimeError(
            f"the first {ALIKE} trials all failed alike (next time they are trained again, and count if they fail "
            f"again): {failure}"
        )

    def _withdraw_held(self) -> None:
        for outcome in self._breaker.release():
            # A run that was KILLED is an attempt, which does not count as a trial.
            tags = {tracking.keys.FAILURE: outcome.failure or "", tracking.keys.NOTE: _WITHDRAWN}
            tracking.end_run(self._uri, outcome.run_id, "KILLED", tags)


def _program(point: Mapping[str, ParamValue]) -> tuple[ParamValue | None, bool]:
    """Return what trials whose small networks share a compiled program have in common, as far as that is known here."""
    return point.get("optimizer"), point.get("depth") == 0


def median_marks(trials: Sequence[FrozenTrial], epochs: int) -> tuple[float, ...]:
    """Return for each epoch the score below which a trial of so many is pruned: the median of the completed ones there.

    Nothing is pruned in the first half of the epochs, nor while fewer than ten trials have completed: the mild form of
    the median rule, since curves of different learning rates cross early.
    """
    if len(trials) < _PRUNE_AFTER_TRIALS:
        return ()
    numbers = range(1, epochs + 1)
    scores = np.array([[trial.intermediate_values.get(epoch, np.nan) for epoch in numbers] for trial in trials])
    # Behind the epoch where a trial stopped stands what counts of it, of a diverged one what guessing is worth.
    ends = np.array([[trial.value] for trial in trials])
    marks = np.median(np.where(np.isnan(scores), ends, scores), axis=0)
    marks[: epochs // 2] = -np.inf
    return tuple(marks.tolist())


def score_networks(study: RunningStudy, client: Client, progress: StudyProgress) -> None:
    """Have the workers score each network of the search that finished and has no score on the test part yet.

    Only for a study whose finalists are frozen and whose data have a test part.

    Raises
    ------
    TrackingError
        When a network cannot be scored; those that have been keep their scores.
    """
    run = study.study_run
    waiting = deque(
        record
        for record in tracking.patiently(run.tracking_uri, lambda: tracking.trials(run.tracking_uri, run.run_id))
        if record.phase != "confirm" and record.state == "finished" and record.evaluation("test") is None
    )
    if not waiting:
        return
    total, deaths, recycling = len(waiting), Counter[str](), WorkerRecycling(client)
    progress.scoring(total)
    if not progress.is_shown:
        progress.console.print(f"scoring {total} network{'s' if total > 1 else ''} on the test part")
    # A worker of this machine has the small networks that it trained at hand; of others nobody waits for an answer. One
    # that is free gets one of its own next. Not bound to it: a task would wait for a worker that died for ever.
    found = client.run(trained_here, on_error="ignore") if client.cluster is not None else {}
    has = {run_id: address for address, run_ids in found.items() for run_id in run_ids}
    running: dict[Future, TrialRecord] = {}
    free: str | None = None
    completed = as_completed()
    try:
        while waiting or running:
            # One for each worker: of what waits on a worker that dies, Dask says that it died of it.
            while waiting and len(running) < max(n_admitted(client), 1):
                study.ledger.require_ours()  # else another session has scored it: a network meets the test part once
                record = next((one for one in waiting if free and has.get(one.run_id) == free), waiting[0])
                waiting.remove(record)
                # Where the data lie may have changed since the network was trained.
                config = replace(record.config, data=study.experiment.data)
                given = run, record.run_id, config, study.data_folder
                future = client.submit(score_network, *given, pure=False)
                running[future] = record
                completed.add(future)
            future = next(completed)
            record = running.pop(future)
            try:
                free = future.result()
            except KilledWorker as error:
                deaths[record.run_id] += error.allowed_failures + 1
                if deaths[record.run_id] >= _DEATHS_TO_FAIL:
                    what = f"cannot score the network of run {record.run_id}"
                    raise tracking.TrackingError(f"{what}: its worker died each time (out of memory?)") from error
                waiting.append(record)
            recycling.after(future)
            future.release()
            progress.scoring(len(waiting) + len(running))
    finally:
        client.cancel(list(running), force=True)


def submit_references(study: RunningStudy, dataset: Dataset, client: Client, progress: StudyProgress) -> Future | None:
    """Have a worker score scikit-learn's models, for the report; return None where there is nothing to score.

    Only for a study whose finalists are frozen: these models meet the test part, too. They say something of a table,
    and of a depth that is a linear model itself.
    """
    run, resolved = study.study_run, study.resolved
    says_something = dataset.is_table or 0 in study.experiment.compare.get("depth", ())
    if not says_something or tracking.references(run.tracking_uri, run.run_id):
        return None
    if not progress.is_shown:
        progress.console.print("scoring scikit-learn's models on the same parts, for the report")
    given = study.experiment.data, study.data_folder, resolved.data_sha256, resolved.split
    return client.submit(score_references, run, *given, pure=False)


def wait_for_references(scored: Future, submit_again: Callable[[], Future | None], progress: StudyProgress) -> None:
    """Wait until scikit-learn's models have been scored.

    Their scores decide nothing, so trouble here is said and does not make the study fail.
    """
    try:
        try:
            scored.result()
        except (KilledWorker, CancelledError):
            # Its worker died, of a trial that wanted the memory or by a kill: once more, and alone. Or it was scored
            # long since and its future released: then there is nothing to do.
            if (again := submit_again()) is not None:
                again.result()
    except tracking.TrackingError:
        raise
    except Exception as error:  # noqa: BLE001 - a model of scikit-learn may fail in its own ways, and Dask in its
        progress.console.print(f"scikit-learn's models could not be scored: {error}")
