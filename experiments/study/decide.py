"""A study that goes on until its questions are decided, or its time is over.

It is judged when its plan is complete, and grows by half as long as a question is open that more settings may decide.
Every such look is noted in MLflow before its answers are read: the report pays for them with stricter intervals
(:mod:`depthcheck.reports.compare.looks`). What is decided is the reports' to say; they are asked through a function
that is handed in, since nothing here knows of reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from depthcheck.experiments import tracking
from depthcheck.experiments.planning import design
from depthcheck.experiments.planning.experiment import ENOUGH_SETTINGS, Experiment
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.experiments.study.progress import duration
from depthcheck.experiments.tracking import StudyRun

#: Address of the store and id of the study's run -> the answers (:func:`depthcheck.reports.text.answer.answers`).
Judge = Callable[[str, str], Mapping[str, Any]]
#: How much a study grows from look to look: estimates of nearly the same settings would be looked at for nothing.
_GROWTH = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When a session that began at ``start`` (of the monotonic clock) is to end, and who says what is decided."""

    seconds: float
    start: float
    judge: Judge

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.monotonic() - self.start)


def n_settings(experiment: Experiment, ledger: Ledger) -> int:
    """Return how many settings the plan has for each combination of levels."""
    plan = design.plan(experiment, ledger.rounds())
    return len({trial.twin for trial in plan if trial.phase == "compare"})


def note_look(study_run: StudyRun, settings: int) -> tuple[int, ...]:
    """Note that the study is judged at so many settings; return all looks so far."""
    looks = tracking.looks(study_run.tracking_uri, study_run.run_id)
    if not looks or settings > looks[-1]:
        looks = (*looks, settings)
        study_run.log_looks(looks)
    return looks


def goes_on(
    experiment: Experiment,
    ledger: Ledger,
    study_run: StudyRun,
    deadline: Deadline,
    *,
    seconds_a_trial: float,
    console: Console,
) -> bool:
    """Judge the study; where a question is open and there is time, add settings to its plan and return True.

    With too few settings for a verdict there is nothing to look at, and nothing to pay for.

    Parameters
    ----------
    seconds_a_trial
        How long a trial takes, all workers together.
    """
    now, wanted, still = n_settings(experiment, ledger), ENOUGH_SETTINGS, "no verdict yet"
    if now >= ENOUGH_SETTINGS:
        note_look(study_run, now)
        answers = deadline.judge(study_run.tracking_uri, study_run.run_id)
        left = [f"{of['factor']} {of['level']}" for of in answers["contrasts"] if of["verdict"] in _OPEN]
        wanted, still = round(now * _GROWTH), f"open: {', '.join(left)}"
        if not left:
            console.print(f"decided at {now} settings: every question has its answer")
            return False
        if not answers["can_be_decided"]:
            console.print(f"{now} settings, {still}; no number of settings would decide it on these data")
            return False
    n_cells = len(design.cells(experiment))
    # The recommended model and its alternative are trained again behind the last look.
    to_confirm = 2 * experiment.budget.seeds * seconds_a_trial
    fit_in = int((deadline.left - to_confirm) / max(seconds_a_trial * n_cells, 1e-3))
    more = min(max(wanted - now, 1), fit_in)
    if more < 1:
        console.print(f"{now} settings, {still}; the time is over (it was {duration(deadline.seconds)})")
        return False
    console.print(f"{now} settings, {still}; {more} more, {duration(deadline.left)} left")
    ledger.raise_budget(n_search(experiment, ledger) + more * n_cells)
    return True


_OPEN = ("inconclusive", "not enough evidence")


def n_search(experiment: Experiment, ledger: Ledger) -> int:
    """Return how many trials the search has."""
    return sum(trial.phase != "confirm" for trial in design.plan(experiment, ledger.rounds()))
