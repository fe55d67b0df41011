"""What MLflow and its artifact store hold of a study, read in one go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from depthcheck.experiments.doctor.told import ToldStudy
from depthcheck.experiments.study.running import StudyTrial
from depthcheck.experiments.tracking import inventory, keys, test_predictions
from depthcheck.experiments.tracking.champion import answers_trouble
from depthcheck.experiments.tracking.inventory import Curves, StoredChampion, StoredRun

#: Phases whose runs are trials; runs of other phases below a study are not looked at.
TRIAL_PHASES = ("anchor", "compare", "exploit", "confirm")
#: States of trials that leave a model.
TRAINED = ("finished", "diverged", "pruned")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStudy:
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
    n_unchecked
        Logged and registered models without hashes to check them by.
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
    n_unchecked: int = 0
    answers: str | None = None


def is_trial(run: StoredRun) -> bool:
    """Tell whether a run is a trial's, by its tags."""
    return run.tags.get(keys.PHASE) in TRIAL_PHASES


def counts(run: StoredRun) -> bool:
    """Tell whether a run is a trial that has ended, as every reader of trials sees it."""
    has_ended = not run.is_deleted and run.status in ("FINISHED", "FAILED") and keys.STATE in run.tags
    return has_ended and run.tags.get(keys.TRIAL_NUMBER, "").isdecimal()


def met_test_part(trial: StudyTrial, run: StoredRun) -> bool:
    """Tell whether a trial's network was evaluated on the test part: confirmed, or scored after the search."""
    return trial.state in TRAINED and (trial.phase == "confirm" or keys.TEST_SAMPLES in run.tags)


def model_trouble(run: StoredRun, stored: StoredStudy) -> str | None:
    """Tell in words what is wrong with the model of a run that should have one, or return None."""
    return "it has no model" if run.model_id is None else stored.models.get(run.run_id)


def stored_study(uri: str, name: str, told: ToldStudy | None) -> StoredStudy:
    """Read a study from MLflow.

    Parameters
    ----------
    told
        What Optuna holds of it, or None.

    Raises
    ------
    TrackingError
        When the store cannot be read.
    """
    named = [run for run in inventory.study_runs(uri) if run.tags.get(keys.STUDY) == name]
    parent_run_id = told.parent_run_id if told else None
    named.sort(key=lambda run: run.is_deleted)
    parent = inventory.stored_run(uri, parent_run_id) if parent_run_id else next(iter(named), None)
    others = tuple(run for run in named if parent is None or run.run_id != parent.run_id)
    below = inventory.runs_below(uri, parent.run_id if parent else parent_run_id or "")
    runs = {run.run_id: run for run in below if is_trial(run)}
    for trial in told.trials if told else ():
        if trial.run_id and trial.run_id not in runs:
            stray = inventory.stored_run(uri, trial.run_id)
            runs |= {stray.run_id: stray} if stray else {}
    champion = inventory.stored_champion(uri, name)
    contents = _contents(uri, told, runs)
    contents["n_unchecked"] += sum(not version.model.is_checked for version in champion.versions)
    at = parent.run_id if parent is not None and not parent.is_deleted else None
    return StoredStudy(
        uri=uri,
        parent=parent,
        experiment_is_deleted=parent is not None and inventory.is_deleted_experiment(uri, parent.experiment_id),
        others=others,
        n_ended_elsewhere={run.run_id: sum(map(counts, inventory.runs_below(uri, run.run_id))) for run in others},
        runs=runs,
        sessions=tuple(run for run in below if run.tags.get(keys.PHASE) == keys.PHASE_SESSION),
        finalists=inventory.stored_json(uri, at, keys.FINALISTS) if at else None,
        designs=tuple(inventory.study_designs(uri, at)) if at else (),
        champion=champion,
        answers=_answers(uri, told, runs, champion),
        **contents,
    )


def _contents(uri: str, told: ToldStudy | None, runs: Mapping[str, StoredRun]) -> dict[str, Any]:
    """Read the contents of the runs that Optuna names: what it does not name has nothing to be held against."""
    trials = {trial.run_id: trial for trial in told.trials if trial.run_id in runs} if told else {}
    readable = {run_id: trial for run_id, trial in trials.items() if not runs[run_id].is_deleted}
    trained = [run_id for run_id, trial in readable.items() if trial.state in TRAINED]
    evaluated = [run_id for run_id in trained if met_test_part(readable[run_id], runs[run_id])]
    states = {
        run_id: inventory.model_state(uri, model_id)
        for run_id in trained
        if (model_id := runs[run_id].model_id) is not None
    }
    damaged = [run_id for run_id in trained if inventory.example_of_run(uri, runs[run_id]) == {}]
    troubles = dict.fromkeys(damaged, f"{keys.EXAMPLE}, what its model said of a few samples, is not as it was")
    troubles |= {run_id: state.trouble for run_id, state in states.items() if state.trouble}
    return {
        "curves": inventory.stored_curves(uri, trained, metric=told.settled.metric, epochs=told.epochs) if told else {},
        "models": troubles,
        "n_unchecked": sum(not state.is_checked for state in states.values()),
        "predictions": frozenset(test_predictions(uri, evaluated)),
    }


def _answers(uri: str, told: ToldStudy | None, runs: Mapping[str, StoredRun], registered: StoredChampion) -> str | None:
    """Ask the champion for the stored example, where it is whole: nothing is loaded that was not checked."""
    if told is None or told.champion is None or not told.settled.served:
        return None
    run = runs.get(told.champion.run_id)
    version = next((one for one in registered.versions if one.version == registered.version), None)
    if run is None or version is None or version.run_id != run.run_id or version.model != inventory.ModelState():
        return None
    example = inventory.example_of_run(uri, run)
    if not example:
        return None
    return answers_trouble(uri, f"models:/{told.name}@{keys.CHAMPION}", example, told.settled.served)
