"""A study that goes on until its questions are decided, or its time is over.

It is judged when its plan is complete, and grows by half as long as a question is open that more settings may decide.
Every such look is noted in MLflow before its answers are read: the report pays for them with stricter intervals
(:mod:`depthcheck.reports.compare.verdict`). What is decided is the reports' to say; they are asked through a function
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
from depthcheck.experiments.planning.experiment import ENOUGH_SETTINGS
from depthcheck.experiments.study.progress import duration
from depthcheck.experiments.study.running import RunningStudy
from depthcheck.experiments.tracking import StudyRun

#: Address of the store and id of the study's run -> the answers (:func:`depthcheck.reports.text.answer.answers`).
Judge = Callable[[str, str], Mapping[str, Any]]
#: How much a study grows from look to look: estimates of nearly the same settings would be looked at for nothing.
_GROWTH = 1.5
_OPEN = ("inconclusive", "not enough evidence")


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


def note_look(study_run: StudyRun, settings: int) -> tuple[int, ...]:
    """Note that the study is judged at so many settings; return all looks so far."""
    looks = tracking.looks(study_run.tracking_uri, study_run.run_id)
    if not looks or settings > looks[-1]:
        looks = (*looks, settings)
        study_run.log_looks(looks)
    return looks


def goes_on(study: RunningStudy, deadline: Deadline, *, seconds_a_trial: float, console: Console) -> bool:
    """Judge the study; where a question is open and there is time, add settings to its plan and return True.

    With too few settings for a verdict there is nothing to look at, and nothing to pay for.

    Parameters
    ----------
    seconds_a_trial
        How long a trial takes, all workers together.
    """
    now, wanted, still = study.n_settings, ENOUGH_SETTINGS, "no verdict yet"
    if now >= ENOUGH_SETTINGS:
        note_look(study.study_run, now)
        answers = deadline.judge(study.study_run.tracking_uri, study.study_run.run_id)
        left = [f"{of['factor']} {of['level']}" for of in answers["contrasts"] if of["verdict"] in _OPEN]
        wanted, still = round(now * _GROWTH), f"open: {', '.join(left)}"
        if not left:
            console.print(f"decided at {now} settings: every question has its answer")
            return False
        if not answers["can_be_decided"]:
            console.print(f"{now} settings, {still}; no number of settings would decide it on these data")
            return False
    n_combinations = len(design.combinations(study.experiment))
    # The recommended model and its alternative are trained again behind the last look.
    to_confirm = 2 * study.experiment.budget.seeds * seconds_a_trial
    fit_in = int((deadline.left - to_confirm) / max(seconds_a_trial * n_combinations, 1e-3))
    more = min(max(wanted - now, 1), fit_in)
    if more < 1:
        console.print(f"{now} settings, {still}; the time is over (it was {duration(deadline.seconds)})")
        return False
    console.print(f"{now} settings, {still}; {more} more, {duration(deadline.left)} left")
    study.ledger.raise_budget(study.n_search + more * n_combinations)
    return True
