"""The coordinator: it alone asks and tells Optuna, and hands trials to the workers.

Nothing that it decides depends on which worker was faster. Points of *anchor* and *compare* are known beforehand;
a proposal in *exploit* sees the results up to a fixed distance behind it and no others. A killed coordinator goes on
where it was: trials left RUNNING keep their numbers, points and seeds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from distributed import Client, Future, KilledWorker, as_completed
from optuna.trial import FrozenTrial, TrialState

from experiments import design, space
from experiments.definition import Experiment
from experiments.design import PlannedTrial
from experiments.launch import n_workers
from experiments.ledger import Ledger, as_known_at, is_told, point_of
from experiments.progress import StudyProgress
from experiments.task import Outcome, TrialTask
from experiments.tracking import StudyRun
from experiments.worker import EPOCH_TOPIC, run_task
from pipeline.config import ParamValue, SplitConfig

#: Completed trials that the median needs before it prunes anything (Optuna's MedianPruner(10, ...) asks the same).
_PRUNE_AFTER_TRIALS = 10
#: When this many trials from the start on have failed, each for the same reason, the study stops.
_FAILED_ALIKE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyContext:
    """What all trials of a session share."""

    experiment: Experiment
    data_sha256: str
    split: SplitConfig
    metric: str
    data_folder: str | None
    study_run: StudyRun


class Coordinator:
    """Runs a study's trials to the end of its budget."""

    def __init__(
        self,
        context: StudyContext,
        ledger: Ledger,
        client: Client,
        progress: StudyProgress,
        on_ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context
        self._ledger = ledger
        self._client = client
        self._progress = progress
        self._on_ended = on_ended
        self._running: dict[Future, PlannedTrial] = {}
        self._failures: list[str] = []

    def run(self, plan: Sequence[PlannedTrial]) -> None:
        """Train every trial of the plan that has not ended yet.

        Raises
        ------
        RuntimeError
            When all trials fail for one reason. Whatever a worker raises about storage passes through.
        """
        ended = {trial.number for trial in self._ledger.trials() if is_told(trial)}
        waiting = deque(planned for planned in plan if planned.number not in ended)
        self._client.subscribe_topic(EPOCH_TOPIC, self._on_epoch)
        completed = as_completed()
        try:
            while waiting or self._running:
                while waiting and self._may_start(waiting[0]):
                    planned = waiting.popleft()
                    future = self._start(planned)
                    self._running[future] = planned
                    completed.add(future)
                future = next(completed)
                self._end(self._running.pop(future), future)
        finally:
            self._client.unsubscribe_topic(EPOCH_TOPIC)
            self._client.cancel(list(self._running), force=True)

    def _may_start(self, planned: PlannedTrial) -> bool:
        """Tell whether a worker is free and, for a proposal, whether all that it may know has ended."""
        if len(self._running) >= max(n_workers(self._client), 1):
            return False
        if planned.point is not None:
            return True
        known_to = planned.number - self._context.experiment.budget.window
        return all(other.number > known_to for other in self._running.values())

    def _start(self, planned: PlannedTrial) -> Future:
        trials = self._ledger.trials()
        window = self._context.experiment.budget.window
        known = as_known_at(trials, planned.number, window)
        if planned.number < len(trials):
            point: Mapping[str, ParamValue] = point_of(trials[planned.number])
        else:
            point = self._propose(planned, known) if planned.point is None else planned.point
            self._ledger.start(planned, point, space.distributions(self._context.experiment, point))
        config = space.to_config(
            self._context.experiment,
            point,
            seed=planned.seed,
            data_sha256=self._context.data_sha256,
            split=self._context.split,
            repeat=planned.repeat,
        )
        task = TrialTask(
            study_run=self._context.study_run,
            number=planned.number,
            phase=planned.phase,
            cell=planned.cell,
            config=config,
            metric=self._context.metric,
            data_folder=self._context.data_folder,
            prune_below=self._prune_below(planned, known),
            finalist=planned.finalist,
        )
        self._progress.started(planned.number)
        return self._client.submit(run_task, task, pure=False, priority=-planned.number)

    def _propose(self, planned: PlannedTrial, known: Sequence[FrozenTrial]) -> dict[str, ParamValue]:
        experiment = self._context.experiment
        return space.propose(experiment, known, seed=design.derive_seed(experiment.seed, "sampler", planned.number))

    def _prune_below(self, planned: PlannedTrial, known: Sequence[FrozenTrial]) -> tuple[float, ...]:
        budget = self._context.experiment.budget
        if planned.phase != "exploit" or budget.pruning == "none":
            return ()
        return median_marks([t for t in known if t.state == TrialState.COMPLETE], budget.epochs)

    def _on_epoch(self, event: tuple[float, Any]) -> None:
        _time, message = event
        self._progress.epoch(message["number"], message["epoch"])

    def _end(self, planned: PlannedTrial, future: Future) -> None:
        try:
            outcome = future.result()
        except KilledWorker:
            reason = "the worker died each time it ran this trial (out of memory?)"
            outcome = Outcome(
                number=planned.number, run_id="", state="failed", score=None, scores=(), fit_seconds=0.0, failure=reason
            )
        self._ledger.tell(outcome)
        text = label(planned, point_of(self._ledger.trials()[planned.number]))
        self._progress.ended(outcome, text, is_search=planned.phase != "confirm")
        self._on_ended()
        self._stop_when_all_fail(outcome)

    def _stop_when_all_fail(self, outcome: Outcome) -> None:
        if outcome.state != "failed":
            self._failures = [""] * _FAILED_ALIKE  # one success, and the study never stops for this reason
        self._failures.append(outcome.failure or "")
        if len(self._failures) == _FAILED_ALIKE and len(set(self._failures)) == 1:
            raise RuntimeError(f"the first {_FAILED_ALIKE} trials all failed: {self._failures[0]}")


def median_marks(trials: Sequence[FrozenTrial], epochs: int) -> tuple[float, ...]:
    """Return for each epoch the score below which a trial is pruned: the median of the completed trials there.

    Nothing is pruned in the first half of the epochs, nor while fewer than ten trials have completed: the mild form of
    the median rule, since curves of different learning rates cross early.
    """
    if len(trials) < _PRUNE_AFTER_TRIALS:
        return ()
    scores = np.full((len(trials), epochs), np.nan)
    for row, trial in zip(scores, trials, strict=True):
        for epoch, score in trial.intermediate_values.items():
            row[epoch - 1] = score
    # A diverged trial has no score behind the epoch where it stopped; it stayed where it was.
    scores = np.nan_to_num(scores, nan=0.0)
    marks = np.median(scores, axis=0)
    marks[: epochs // 2] = -np.inf
    return tuple(marks.tolist())


def label(planned: PlannedTrial, point: Mapping[str, ParamValue]) -> str:
    """Return phase, depth and optimizer of a trial in a few words."""
    return f"{planned.phase:<8} depth {point['depth']}  {point['optimizer']:<6}"
