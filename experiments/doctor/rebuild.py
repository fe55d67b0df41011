"""Optuna's study, written again from MLflow's runs: a lost or an older ``optuna.db`` loses nothing.

A study's plan is a function of its definition, its budgets and its results, so only the budgets must be found: each
session noted its plan. Every run is held against the plan before it is written; one that does not fit ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster.worker import outcome_of
from depthcheck.experiments.planning import design, space
from depthcheck.experiments.planning.design import ConfirmRound, PlannedTrial, SearchRound
from depthcheck.experiments.planning.finalists import missing_runs
from depthcheck.experiments.planning.pairwise import FACTOR
from depthcheck.experiments.study.ledger import Ledger, has_ended
from depthcheck.experiments.study.running import RecordedStudy
from depthcheck.pipeline.config import ParamValue
from depthcheck.pipeline.dimensions import DIMENSIONS
from depthcheck.pipeline.records import TrialRecord

#: Fresh seeds among which those of confirming runs are looked for.
_MOST_SEEDS = 1000


class CannotRebuildError(ValueError):
    """What is lost cannot be made again from what is left; the text says why."""


def open_again(storage: str, name: str, parent_run_id: str, designs: Sequence[Mapping[str, Any]]) -> Ledger:
    """Create the study in Optuna's storage from what its sessions noted in MLflow.

    Raises
    ------
    CannotRebuildError
        When they noted no definition.
    """
    ledger = Ledger.open(storage, name, definition_of(designs))
    if "resolved" in designs[-1]:
        ledger.note_resolved(designs[-1]["resolved"])
    ledger.set_parent_run_id(parent_run_id)
    return ledger


def definition_of(designs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what defines the study, as its latest session noted it.

    Raises
    ------
    CannotRebuildError
        When none did.
    """
    if not designs:
        raise CannotRebuildError("no session of it noted its definition")
    try:
        return {**designs[-1]["definition"], "data_sha256": designs[-1]["data"]["sha256"]}
    except (KeyError, TypeError) as error:
        raise CannotRebuildError(f"its definition in MLflow lacks {error}") from error


def tell_all(ledger: Ledger, uri: str, designs: Sequence[Mapping[str, Any]]) -> None:
    """Write the trials that MLflow has and Optuna has not, in the order of their numbers.

    Raises
    ------
    CannotRebuildError
        When a run is no trial of the study's plan. What was written before it is right, and stays.
    """
    study = RecordedStudy.of(ledger)
    records = {record.number: record for record in tracking.trials(uri, str(ledger.parent_run_id))}
    budgets = sorted({n for one in designs if (n := _n_search(one))})
    while True:
        plan = study.plan
        for planned in plan[len(ledger.trials()) :]:
            if planned.number > max(records, default=-1):
                return  # the next start trains it
            _add(study, planned, records.get(planned.number))
        later = [records[number] for number in sorted(records) if number >= len(plan)]
        if not later:
            return
        _add_round(study, later, budgets)


def _n_search(one: Mapping[str, Any]) -> int:
    plan = one.get("plan")
    return sum(trial.get("phase") != "confirm" for trial in plan) if isinstance(plan, list) else 0


def _add_round(study: RecordedStudy, later: Sequence[TrialRecord], budgets: Sequence[int]) -> None:
    """Add the round that the next run is of."""
    if FACTOR in study.experiment.compare:
        raise CannotRebuildError("its user chose the configurations; the same compare command takes up their runs")
    if later[0].phase == "confirm":
        study.ledger.add_round(_confirm_round(study, later))
        return
    so_far = max((one.trials for one in study.ledger.rounds() if isinstance(one, SearchRound)), default=0)
    larger = [budget for budget in budgets if budget > so_far]
    if not larger:
        raise CannotRebuildError(f"no session noted the budget that trial {later[0].number} belongs to")
    study.ledger.raise_budget(larger[0])


def _confirm_round(study: RecordedStudy, later: Sequence[TrialRecord]) -> ConfirmRound:
    ends = next((i for i, record in enumerate(later) if record.phase != "confirm"), len(later))
    seeds = {design.derive_seed(study.experiment.seed, "confirm", index): index for index in range(_MOST_SEEDS)}
    indices = [seeds.get(record.config.fit.seed, -1) for record in later[:ends]]
    finalists = study.selected
    done = [run for one in study.confirm_rounds for run in one.runs]
    runs = missing_runs(finalists, max(indices) + 1, done)
    if not runs:
        raise CannotRebuildError(f"trial {later[0].number} confirms what the search did not choose")
    return ConfirmRound(finalists=finalists, runs=runs)


def _add(study: RecordedStudy, planned: PlannedTrial, record: TrialRecord | None) -> None:
    """Add one trial; where MLflow has no end of it, as one that the next start trains."""
    at = _point(study, planned, record)
    config = study.config(at, planned.seed, planned.repeat)
    if record is not None and (replace(record.config, data=config.data) != config or record.phase != planned.phase):
        raise CannotRebuildError(f"run {record.run_id} is no trial {planned.number} of the study's plan")
    study.ledger.start(planned, at, space.distributions(study.experiment, at))
    if record is not None:
        study.ledger.tell(outcome_of(record))


def _point(study: RecordedStudy, planned: PlannedTrial, record: TrialRecord | None) -> Mapping[str, ParamValue]:
    experiment = study.experiment
    if planned.point is not None:
        return planned.point
    if record is not None:
        named = {*experiment.compare, *experiment.tune, *experiment.fixed}
        by_default = {one.name for one in DIMENSIONS.values() if one.default is not None} - named
        return {key: value for key, value in space.from_config(record.config).items() if key not in by_default}
    before = study.ledger.trials()[: max(planned.number - experiment.budget.window + 1, 0)]
    if not all(map(has_ended, before)):
        raise CannotRebuildError(f"trial {planned.number} was proposed by the results of trials whose runs are gone")
    return study.proposal(planned.number)
