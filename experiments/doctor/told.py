"""What Optuna holds of a study at one moment, and what follows from it for MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from depthcheck.experiments.planning.design import ConfirmRound
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.experiments.study.running import Champion, RecordedStudy, Settled, StudyTrial, best_of

#: Parameters that say where the data lie, which may change while a study goes on; the hash says which they are.
PLACES = ("data", "test_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldStudy:
    """A study as Optuna holds it.

    Attributes
    ----------
    epochs
        Of every trial.
    trials
        Of this project; one that a user asked for by hand is among ``foreign``, by its number.
    params
        What MLflow should have logged of each trial, as text, by its number.
    best
        The best trial so far, or None.
    finalists
        The frozen lists that MLflow may hold, the likeliest first; empty before any was frozen.
    champion
        What the alias should lead to, or None while that is open.
    search_has_ended
        Whether every trial that was planned before the finalists has ended.
    """

    name: str
    definition: Mapping[str, Any]
    parent_run_id: str | None
    epochs: int
    settled: Settled
    trials: tuple[StudyTrial, ...] = ()
    foreign: tuple[int, ...] = ()
    params: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    best: StudyTrial | None = None
    finalists: tuple[Mapping[str, Any], ...] = ()
    champion: Champion | None = None
    search_has_ended: bool = False


def told_study(ledger: Ledger) -> ToldStudy:
    """Read a study from Optuna.

    Raises
    ------
    ValueError
        When it is none of this project.
    """
    study = RecordedStudy.of(ledger)
    trials, params, foreign = [], {}, []
    for frozen in ledger.trials():
        try:
            trial = StudyTrial.of(frozen)
            logged = study.config(trial.point, trial.seed, trial.repeat).to_params()
        except (KeyError, TypeError, ValueError, AttributeError):
            foreign.append(frozen.number)
        else:
            trials.append(trial)
            params[trial.number] = {key: str(value) for key, value in logged.items() if key not in PLACES}
    told = ToldStudy(
        name=study.name,
        definition=ledger.definition,
        parent_run_id=ledger.parent_run_id,
        epochs=study.experiment.budget.epochs,
        settled=study.settled,
        trials=tuple(trials),
        foreign=tuple(foreign),
        params=params,
    )
    if foreign:
        return told
    return replace(
        told,
        best=best_of(trials),
        finalists=tuple(_frozen_lists(study)),
        champion=_champion(study),
        search_has_ended=study.search_has_ended,
    )


def _frozen_lists(study: RecordedStudy) -> list[Mapping[str, Any]]:
    """Return the list of the last round, and the one that a session writes after it when nobody new has to be trained.

    A search that goes on can make a finalist stand for more levels without adding one.
    """
    rounds = study.confirm_rounds
    if not rounds:
        return []
    candidates = [rounds[-1].finalists]
    if not any(finalist.origin == "chosen" for finalist in rounds[-1].finalists):
        candidates.append(study.selected)
    lists = [study.frozen_list(finalists, rounds) for finalists in candidates if finalists]
    return [json.loads(json.dumps(one)) for one in lists]


def _champion(study: RecordedStudy) -> Champion | None:
    """Return the champion of a study that has nothing left to train and has confirmed what its search found."""
    last = next(iter(study.ledger.rounds()[-1:]), None)
    if not isinstance(last, ConfirmRound) or any(one.origin == "chosen" for one in last.finalists):
        return None
    return study.champion if len(study.ended) == len(study.plan) else None
