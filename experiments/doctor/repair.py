"""Carrying repairs out. Each puts something back, by the code that a session itself uses; nothing is deleted.

Optuna's study can be written again from MLflow's runs: a lost or an older ``optuna.db`` loses nothing. Its plan is a
function of its definition, its budgets and its results, so only the budgets must be found: each session noted its plan.
Every run is held against the plan before it is written; one that does not fit ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from depthcheck.experiments import places, tracking
from depthcheck.experiments.cluster import launch
from depthcheck.experiments.cluster.worker import outcome_of
from depthcheck.experiments.doctor.sides import TRAINED, MlflowSide, OptunaSide, Repair, model_trouble
from depthcheck.experiments.planning import design, space
from depthcheck.experiments.planning.design import ConfirmRound, PlannedTrial, SearchRound
from depthcheck.experiments.planning.finalists import FACTOR, missing_runs
from depthcheck.experiments.reproduce.original import find, write_model_again
from depthcheck.experiments.study.describe import champion_markdown, note_best
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.experiments.study.running import RecordedStudy
from depthcheck.experiments.tracking import StudyRun, keys
from depthcheck.experiments.tracking.study_run import end_run, new_parent, put_right, restore_experiment, restore_run
from depthcheck.pipeline.config import ParamValue
from depthcheck.pipeline.dimensions import DIMENSIONS
from depthcheck.pipeline.records import TrialRecord

#: Fresh seeds among which those of confirming runs are looked for.
_MOST_SEEDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedStudy:
    """A study as it was diagnosed, and where it is written."""

    name: str
    storage: str
    ledger: Ledger | None
    optuna: OptunaSide | None
    mlflow: MlflowSide

    @property
    def uri(self) -> str:
        """Address of the tracking store."""
        return self.mlflow.uri

    @property
    def study_run(self) -> StudyRun:
        """The study's run."""
        parent = self.mlflow.parent
        assert parent is not None
        return StudyRun(
            tracking_uri=self.uri, experiment_id=parent.experiment_id, run_id=parent.run_id, study=self.name
        )


def repair(study: ExaminedStudy, action: Repair) -> None:
    """Carry one repair out.

    Raises
    ------
    CannotRebuildError
        When the trials in MLflow do not suffice for Optuna's study, or a model cannot be made again.
    """
    uri, target, optuna = study.uri, action.target, study.optuna
    match action.kind:
        case "restore run":
            restore_run(uri, target)
        case "restore experiment":
            restore_experiment(uri, target)
        case "end run":
            end_run(uri, target, action.status, action.tags)
        case "tag run" | "log values":
            put_right(uri, target, action.tags, action.values)
        case "write finalists" if optuna is not None:
            if study.mlflow.finalists:  # what stands there is kept beside it
                study.study_run.log_artifacts({keys.REPLACED_FINALISTS: study.mlflow.finalists})
            study.study_run.log_finalists(optuna.finalists[0])
        case "note the best trial" if optuna is not None:
            ended = [trial for trial in optuna.trials if trial.state is not None]
            note_best(study.study_run, ended, optuna.resolved.metric)
        case "register champion" if optuna is not None:
            _register_champion(study, optuna)
        case "train trials with damaged models again" if optuna is not None:
            _remake_models(uri, study.study_run, _damaged_models(optuna, study.mlflow))
        case "replace version" if optuna is not None:
            tracking.replace_version(study.study_run, target, optuna.resolved.served)
        case _:
            _write_to_optuna(study, action)


def _write_to_optuna(study: ExaminedStudy, action: Repair) -> None:
    designs = study.mlflow.designs
    if action.kind == "write trials into Optuna":
        ledger = study.ledger or open_again(study.storage, study.name, study.study_run.run_id, designs)
        tell_all(ledger, study.uri, designs)
        return
    assert study.ledger is not None
    match action.kind:
        case "tell Optuna how a trial ended":
            record = tracking.finished_trial(study.uri, study.study_run.run_id, int(action.target))
            if record is not None:
                study.ledger.tell(outcome_of(record))
        case "note the study's run in Optuna":
            study.ledger.set_parent_run_id(action.target)
        case "open another run for the study":
            runs = study.mlflow.runs
            experiment_ids = {run.experiment_id for run in runs.values()}
            parent = new_parent(study.uri, study.name, list(runs), next(iter(experiment_ids), None))
            study.ledger.set_parent_run_id(parent.run_id)


def _damaged_models(optuna: OptunaSide, mlflow: MlflowSide) -> list[str]:
    """Return the runs of trials whose models are not as they were logged."""
    trained = [trial for trial in optuna.trials if trial.state in TRAINED]
    runs = [run for trial in trained if (run := mlflow.runs.get(trial.run_id)) and not run.is_deleted]
    return [run.run_id for run in runs if model_trouble(run, mlflow) is not None]


def _register_champion(study: ExaminedStudy, optuna: OptunaSide) -> None:
    """Register as a session does, with the description that the version has: a report may have written it."""
    champion, served = optuna.champion, optuna.resolved.served
    if champion is not None and served:
        versions = study.mlflow.champion.versions
        text = next((one.description for one in versions if one.run_id == champion.run_id), "")
        text = text or champion_markdown(study.name, champion)
        tracking.register_champion(study.study_run, champion.run_id, text, served)


def _remake_models(uri: str, study_run: StudyRun, run_ids: Sequence[str]) -> None:
    """Train trials again on workers of this machine; each writes its model where every number is as it was logged.

    Where one cannot be trained here, or comes out otherwise, as on another kind of processor, the others' are written.
    """
    reasons = {}
    with launch.embedded(min(len(run_ids), launch.n_cores()), places.program_cache()) as client:
        try:
            futures = {}
            for run_id in run_ids:
                try:
                    original = find(uri, run_id=run_id, study=None)
                except ValueError as error:
                    reasons[run_id] = str(error)
                else:
                    futures[run_id] = client.submit(write_model_again, original, study_run, pure=False)
            for run_id, future in futures.items():
                try:
                    reasons |= {run_id: reason} if (reason := future.result()) else {}
                except tracking.TrackingError:
                    raise
                except Exception as error:  # noqa: BLE001 - data that are not here, a configuration, a worker that died
                    reasons[run_id] = f"{type(error).__name__}: {error}".splitlines()[0]
        finally:
            launch.kill_workers(client)
    if reasons:
        raise CannotRebuildError("; ".join(f"run {run_id}: {reason}" for run_id, reason in reasons.items()))


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
    """Return what defines the study, as its latest session noted it."""
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
    if not all(trial.state.is_finished() for trial in before):
        raise CannotRebuildError(f"trial {planned.number} was proposed by the results of trials whose runs are gone")
    return study.proposal(planned.number)
