"""What Optuna holds of a study, as plain records, and what follows from it for MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from depthcheck.experiments.planning import design, space
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import choose
from depthcheck.experiments.study.confirm import Champion, champion, frozen_list, searched
from depthcheck.experiments.study.describe import EndedTrial, best_of
from depthcheck.experiments.study.ledger import Ledger, is_told
from depthcheck.experiments.study.page import ended
from depthcheck.pipeline.config import DataConfig, SplitConfig

#: Parameters that say where the data lie, which may change while a study goes on; the hash says which they are.
PLACES = ("data", "test_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a study's data settled that its definition leaves open; of an old study, what was always so."""

    data_sha256: str
    split: SplitConfig
    metric: str
    served: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldTrial:
    """A trial as Optuna holds it.

    Attributes
    ----------
    is_ours
        Whether it has all that a trial of this project has; one that a user asked for by hand has not.
    state
        How it ended, or None where Optuna has not heard of an end.
    params
        What MLflow should have logged, as text.
    score
        Optuna's value; a pruned or failed trial has none.
    scores
        One an epoch, by the epoch.
    """

    number: int
    is_ours: bool = True
    state: str | None = None
    run_id: str = ""
    phase: str = ""
    cell: str = ""
    finalist: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    score: float | None = None
    scores: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldStudy:
    """A study as Optuna holds it.

    Attributes
    ----------
    epochs
        Of every trial.
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
    trials: tuple[ToldTrial, ...] = ()
    best: EndedTrial | None = None
    finalists: tuple[Mapping[str, Any], ...] = ()
    champion: Champion | None = None
    settled: Settled | None = None
    search_has_ended: bool = False

    @property
    def metric(self) -> str:
        """The score that decides."""
        return self.settled.metric if self.settled else "accuracy"


def told_study(ledger: Ledger) -> ToldStudy:
    """Read a study from Optuna.

    Raises
    ------
    ValueError
        When it is none of this project.
    """
    experiment = experiment_of(ledger)
    settled = settled_of(ledger, experiment)
    trials = tuple(
        _told(
            trial.number,
            trial.user_attrs,
            experiment,
            settled,
            has_ended=is_told(trial),
            score=trial.value,
            scores=trial.intermediate_values,
        )
        for trial in ledger.trials()
    )
    clean = all(trial.is_ours for trial in trials)
    return ToldStudy(
        name=ledger.name,
        definition=ledger.definition,
        parent_run_id=ledger.parent_run_id,
        epochs=experiment.budget.epochs,
        trials=trials,
        best=best_of(ended(ledger)) if clean else None,
        finalists=tuple(_frozen_lists(ledger, experiment, settled)) if clean else (),
        champion=_champion(ledger, experiment) if clean else None,
        settled=settled,
        search_has_ended=clean and _search_has_ended(ledger, experiment),
    )


def experiment_of(ledger: Ledger) -> Experiment:
    """Return the experiment that a study in Optuna was begun with; its budgets are in the ledger's rounds.

    Raises
    ------
    ValueError
        When the study has no definition, or none that can be understood.
    """
    experiment = Experiment.from_json(ledger.name, ledger.definition)
    noted = ledger.settled.get("data")  # with the whole path of a file; the definition has its name alone
    if not noted:
        return experiment
    return replace(experiment, data=DataConfig.from_params({key: str(value) for key, value in noted.items()}))


def settled_of(ledger: Ledger, experiment: Experiment) -> Settled:
    """Return what the latest session noted in Optuna."""
    noted = ledger.settled
    choice = experiment.split
    old = SplitConfig(valid_size=choice.valid_size, seed=choice.seed)
    return Settled(
        data_sha256=str(ledger.definition["data_sha256"]),
        split=SplitConfig.from_params({key: str(value) for key, value in noted["split"].items()}) if noted else old,
        metric=str(noted.get("metric", "accuracy")),
        served=noted.get("served", {}),
    )


def cell_tag(cell: Mapping[str, object]) -> str:
    """Return a cell as the tag of a run spells it."""
    return ", ".join(f"{key}={value}" for key, value in cell.items())


def _told(
    number: int,
    attributes: Mapping[str, Any],
    experiment: Experiment,
    settled: Settled,
    *,
    has_ended: bool,
    score: float | None,
    scores: Mapping[int, float],
) -> ToldTrial:
    try:
        config = space.to_config(
            experiment,
            attributes["point"],
            seed=attributes["seed"],
            data_sha256=settled.data_sha256,
            split=settled.split,
            repeat=attributes.get("repeat", 0),
        )
        return ToldTrial(
            number=number,
            state=attributes["state"] if has_ended else None,
            run_id=attributes.get("run_id", "") if has_ended else "",
            phase=attributes["phase"],
            cell=cell_tag(attributes["cell"]),
            finalist=attributes.get("finalist"),
            params={key: str(value) for key, value in config.to_params().items() if key not in PLACES},
            score=score,
            scores=dict(scores),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return ToldTrial(number=number, is_ours=False)


def _frozen_lists(ledger: Ledger, experiment: Experiment, settled: Settled) -> list[Mapping[str, Any]]:
    """Return the list of the last round, and the one that a session writes after it when nobody new has to be trained.

    A search that goes on can make a finalist stand for more levels without adding one.
    """
    rounds = [one for one in ledger.rounds() if isinstance(one, design.ConfirmRound)]
    if not rounds:
        return []
    last = rounds[-1].finalists
    candidates: list[Sequence[Any]] = [last]
    if not any(finalist.origin == "chosen" for finalist in last):
        candidates.append(choose(experiment, searched(ledger)))
    lists = [
        frozen_list(experiment, finalists, rounds, settled.data_sha256, settled.split)
        for finalists in candidates
        if finalists
    ]
    return [json.loads(json.dumps(one)) for one in lists]


def _champion(ledger: Ledger, experiment: Experiment) -> Champion | None:
    """Return the champion of a study that has nothing left to train and has confirmed what its search found."""
    rounds = ledger.rounds()
    last = rounds[-1] if rounds else None
    if not isinstance(last, design.ConfirmRound) or any(one.origin == "chosen" for one in last.finalists):
        return None
    n_ended = sum(is_told(trial) for trial in ledger.trials())
    return champion(ledger) if n_ended == len(design.plan(experiment, rounds)) else None


def _search_has_ended(ledger: Ledger, experiment: Experiment) -> bool:
    ended = {trial.number for trial in ledger.trials() if is_told(trial)}
    return all(one.number in ended for one in design.plan(experiment, ledger.rounds()) if one.phase != "confirm")
