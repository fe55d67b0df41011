"""The two sides of a study that must agree, each read at one moment: what Optuna holds, and what MLflow holds.

Where they do not, there is a finding, and perhaps a repair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from depthcheck.experiments.planning.design import ConfirmRound
from depthcheck.experiments.planning.finalists import StudyTrial
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.experiments.study.running import Champion, RecordedStudy, Resolved, best_of
from depthcheck.experiments.tracking import Curves, StoredRun, keys, runs, test_predictions
from depthcheck.experiments.tracking.model import files_trouble
from depthcheck.experiments.tracking.reading import example_of_run, frozen_finalists, study_designs, trial_curves
from depthcheck.experiments.tracking.registry import StoredChampion, answers_trouble, stored_champion
from depthcheck.experiments.tracking.runs import RunEnd

#: Parameters that say where the data lie, which may change while a study goes on; the hash says which they are.
PLACES = ("data", "test_file")
#: States of trials that leave a model.
TRAINED = ("finished", "diverged", "pruned")


RepairKind = Literal[
    "restore run",
    "restore experiment",
    "end run",
    "tag run",
    "log values",
    "tell Optuna how a trial ended",
    "note the best trial",
    "write finalists",
    "register champion",
    "train trials with damaged models again",
    "replace version",
    "note the study's run in Optuna",
    "open another run for the study",
    "write trials into Optuna",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What puts a finding right; :mod:`depthcheck.experiments.doctor.examine` carries it out.

    Attributes
    ----------
    target
        What it is done to: id of a run or of an MLflow experiment, version of a model, number of a trial; nothing where
        it is done to the study.
    status, tags, values
        What a run is given.
    """

    kind: RepairKind
    target: str = ""
    status: RunEnd = "FINISHED"
    tags: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A disagreement.

    Attributes
    ----------
    what
        In plain words, on one line.
    advice
        What repairing does; where nothing can be repaired, what the user can do.
    repair
        None where no writing puts it right.
    """

    what: str
    advice: str
    repair: Repair | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptunaSide:
    """A study as Optuna holds it.

    Attributes
    ----------
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
    resolved: Resolved
    trials: tuple[StudyTrial, ...] = ()
    foreign: tuple[int, ...] = ()
    params: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    best: StudyTrial | None = None
    finalists: tuple[Mapping[str, Any], ...] = ()
    champion: Champion | None = None
    search_has_ended: bool = False


def optuna_side(ledger: Ledger) -> OptunaSide:
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
    optuna = OptunaSide(
        name=study.name,
        definition=ledger.definition,
        parent_run_id=ledger.parent_run_id,
        resolved=study.resolved,
        trials=tuple(trials),
        foreign=tuple(foreign),
        params=params,
    )
    if foreign:
        return optuna
    return replace(
        optuna,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowSide:
    """All that MLflow holds of a study.

    Attributes
    ----------
    parent
        The run that Optuna names as the study's, or the one of that name where Optuna names none.
    others
        Further parent runs of the same name.
    n_ended_elsewhere
        How many trials have ended below each of those, by run id.
    runs
        Those of trials, by id: what lies below the parent, and what Optuna names and lies elsewhere.
    sessions
        Runs of later sessions and reports below the parent.
    curves, models, predictions
        By run id: the points of its curves, what is wrong with its model or the stored example (nothing: not in it),
        whether its predictions on the test part can be read.
    answers
        What is wrong with the champion's answer to the stored example, or None.
    finalists
        The frozen list, empty where it cannot be understood, None where there is none.
    designs
        What each session laid down, the first one first.
    """

    uri: str
    parent: StoredRun | None = None
    experiment_is_deleted: bool = False
    others: tuple[StoredRun, ...] = ()
    n_ended_elsewhere: Mapping[str, int] = field(default_factory=dict)
    runs: Mapping[str, StoredRun] = field(default_factory=dict)
    sessions: tuple[StoredRun, ...] = ()
    curves: Mapping[str, Curves] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    predictions: frozenset[str] = frozenset()
    finalists: Mapping[str, Any] | None = None
    designs: tuple[Mapping[str, Any], ...] = ()
    champion: StoredChampion = field(default_factory=StoredChampion)
    answers: str | None = None

    def model_trouble(self, run: StoredRun) -> str | None:
        """Tell in words what is wrong with the model of a run that should have one, or return None."""
        return "it has no model" if run.model_id is None else self.models.get(run.run_id)

    def damaged_models(self, trials: Sequence[StudyTrial]) -> list[str]:
        """Return the runs of trials whose models are not as they were logged."""
        trained = [trial for trial in trials if trial.state in TRAINED]
        runs = [run for trial in trained if (run := self.runs.get(trial.run_id)) and not run.is_deleted]
        return [run.run_id for run in runs if self.model_trouble(run) is not None]


def met_test_part(trial: StudyTrial, run: StoredRun) -> bool:
    """Tell whether a trial's network was evaluated on the test part: confirmed, or scored after the search."""
    return trial.state in TRAINED and (trial.phase == "confirm" or keys.TEST_SAMPLES in run.tags)


def mlflow_side(uri: str, name: str, optuna: OptunaSide | None) -> MlflowSide:
    """Read a study from MLflow.

    Parameters
    ----------
    optuna
        What Optuna holds of it, or None.
    """
    named = [run for run in runs.study_runs(uri) if run.study == name]
    parent_run_id = optuna.parent_run_id if optuna else None
    named.sort(key=lambda run: run.is_deleted)
    parent = runs.find_run(uri, parent_run_id) if parent_run_id else next(iter(named), None)
    others = tuple(run for run in named if parent is None or run.run_id != parent.run_id)
    below = runs.runs_below(uri, parent.run_id if parent else parent_run_id or "")
    trials = {run.run_id: run for run in below if run.is_trial}
    for trial in optuna.trials if optuna else ():
        if trial.run_id and trial.run_id not in trials:
            stray = runs.find_run(uri, trial.run_id)
            trials |= {stray.run_id: stray} if stray else {}
    champion = stored_champion(uri, name)
    at = parent.run_id if parent is not None and not parent.is_deleted else None
    return MlflowSide(
        uri=uri,
        parent=parent,
        experiment_is_deleted=parent is not None and runs.is_deleted_experiment(uri, parent.experiment_id),
        others=others,
        n_ended_elsewhere={run.run_id: sum(one.counts for one in runs.runs_below(uri, run.run_id)) for run in others},
        runs=trials,
        sessions=tuple(run for run in below if run.phase == keys.PHASE_SESSION),
        finalists=frozen_finalists(uri, at) if at else None,
        designs=tuple(study_designs(uri, at)) if at else (),
        champion=champion,
        answers=_answers(uri, optuna, trials, champion),
        **_contents(uri, optuna, trials),
    )


def _contents(uri: str, optuna: OptunaSide | None, runs: Mapping[str, StoredRun]) -> dict[str, Any]:
    """Read the contents of the runs that Optuna names: what it does not name has nothing to be held against."""
    trials = {trial.run_id: trial for trial in optuna.trials if trial.run_id in runs} if optuna else {}
    readable = {run_id: trial for run_id, trial in trials.items() if not runs[run_id].is_deleted}
    trained = [run_id for run_id, trial in readable.items() if trial.state in TRAINED]
    evaluated = [run_id for run_id in trained if met_test_part(readable[run_id], runs[run_id])]
    damaged = [run_id for run_id in trained if example_of_run(uri, runs[run_id]) == {}]
    troubles = dict.fromkeys(damaged, f"{keys.EXAMPLE}, what its model said of a few samples, is not as it was")
    logged = {run_id: model_id for run_id in trained if (model_id := runs[run_id].model_id) is not None}
    found = {run_id: files_trouble(uri, model_id) for run_id, model_id in logged.items()}
    troubles |= {run_id: trouble for run_id, trouble in found.items() if trouble}
    return {
        "curves": trial_curves(uri, trained, metric=optuna.resolved.metric) if optuna else {},
        "models": troubles,
        "predictions": frozenset(test_predictions(uri, [runs[run_id] for run_id in evaluated])),
    }


def _answers(
    uri: str, optuna: OptunaSide | None, runs: Mapping[str, StoredRun], registered: StoredChampion
) -> str | None:
    """Ask the champion for the stored example, where it is whole: nothing is loaded that was not checked."""
    if optuna is None or optuna.champion is None or not optuna.resolved.served:
        return None
    run = runs.get(optuna.champion.run_id)
    version = next((one for one in registered.versions if one.version == registered.version), None)
    if run is None or version is None or version.run_id != run.run_id or version.trouble:
        return None
    example = example_of_run(uri, run)
    if not example:
        return None
    return answers_trouble(uri, f"models:/{optuna.name}@{keys.CHAMPION}", example, optuna.resolved.served)
