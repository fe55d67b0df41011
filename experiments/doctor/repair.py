"""Carrying repairs out. Each puts something back, by the code that a session itself uses; nothing is deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from depthcheck.experiments import places, tracking
from depthcheck.experiments.cluster import launch
from depthcheck.experiments.cluster.worker import outcome_of
from depthcheck.experiments.doctor import rebuild
from depthcheck.experiments.doctor.findings import Repair
from depthcheck.experiments.doctor.sides import TRAINED, MlflowSide, OptunaSide, model_trouble
from depthcheck.experiments.reproduce.original import find, write_model_again
from depthcheck.experiments.study.describe import champion_markdown
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.experiments.tracking import StudyRun, study_run


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
    TrackingError
        When the store cannot be written.
    """
    uri, target, optuna = study.uri, action.target, study.optuna
    match action.kind:
        case "restore run":
            study_run.restore_run(uri, target)
        case "restore experiment":
            study_run.restore_experiment(uri, target)
        case "end run":
            study_run.end_run(uri, target, action.status, action.tags)
        case "tag run" | "log values":
            study_run.put_right(uri, target, action.tags, action.values)
        case "write finalists" if optuna is not None:
            study_run.keep_and_log_finalists(study.study_run, optuna.finalists[0], study.mlflow.finalists)
        case "note the best trial" if optuna is not None:
            _note_best(study.study_run, optuna)
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
        ledger = study.ledger or rebuild.open_again(study.storage, study.name, study.study_run.run_id, designs)
        rebuild.tell_all(ledger, study.uri, designs)
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
            parent = study_run.new_parent(study.uri, study.name, list(runs), next(iter(experiment_ids), None))
            study.ledger.set_parent_run_id(parent.run_id)


def _note_best(study_run: StudyRun, optuna: OptunaSide) -> None:
    best = optuna.best
    if best is not None and best.score is not None:
        study_run.log_best(
            number=best.number,
            run_id=best.run_id,
            score=best.score,
            metric=optuna.resolved.metric,
            trials_done=sum(trial.state is not None for trial in optuna.trials),
        )


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

    Raises
    ------
    CannotRebuildError
        When one cannot be trained here, or comes out otherwise, as on another kind of processor. The others' models
        are written.
    TrackingError
        When the store cannot be read or written.
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
        raise rebuild.CannotRebuildError("; ".join(f"run {run_id}: {reason}" for run_id, reason in reasons.items()))
