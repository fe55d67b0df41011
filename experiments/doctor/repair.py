"""Carrying repairs out. Each puts something back, by the code that a session itself uses; nothing is deleted."""

from __future__ import annotations

from dataclasses import dataclass

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster.worker import outcome_of
from depthcheck.experiments.doctor import findings, rebuild
from depthcheck.experiments.doctor.rebuild import remake_models
from depthcheck.experiments.doctor.stored import TRAINED, StoredStudy, model_trouble
from depthcheck.experiments.doctor.told import ToldStudy
from depthcheck.experiments.study.describe import champion_markdown
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.experiments.tracking import StudyRun
from depthcheck.experiments.tracking import session_runs as mend


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A study as it was diagnosed, and where it is written."""

    name: str
    storage: str
    ledger: Ledger | None
    told: ToldStudy | None
    stored: StoredStudy

    @property
    def uri(self) -> str:
        """Address of the tracking store."""
        return self.stored.uri

    @property
    def study_run(self) -> StudyRun:
        """The study's run."""
        parent = self.stored.parent
        assert parent is not None
        return StudyRun(
            tracking_uri=self.uri, experiment_id=parent.experiment_id, run_id=parent.run_id, study=self.name
        )

    @property
    def open_ledger(self) -> Ledger:
        """The study in Optuna's storage."""
        assert self.ledger is not None
        return self.ledger


def repair(patient: Patient, action: findings.Repair) -> None:
    """Carry one repair out.

    Raises
    ------
    CannotRebuildError
        When the trials in MLflow do not suffice for Optuna's study, or a model cannot be made again.
    TrackingError
        When the store cannot be written.
    """
    match action:
        case findings.RestoreRun():
            mend.restore_run(patient.uri, action.run_id)
        case findings.RestoreExperiment():
            mend.restore_experiment(patient.uri, action.experiment_id)
        case findings.EndRun():
            mend.end_run(patient.uri, action.run_id, action.status, action.tags)
        case findings.TagRun():
            mend.tag_run(patient.uri, action.run_id, action.tags)
        case findings.LogValue():
            mend.log_value(patient.uri, action.run_id, action.key, action.value)
        case findings.WriteFinalists() if patient.told is not None:
            mend.keep_and_log_finalists(patient.study_run, patient.told.finalists[0], patient.stored.finalists)
        case findings.NoteBest():
            _note_best(patient)
        case findings.RegisterChampion():
            _register_champion(patient)
        case findings.RemakeModels():
            remake_models(patient.uri, patient.study_run, _damaged_models(patient))
        case findings.ReplaceVersion() if patient.told is not None:
            tracking.replace_version(patient.study_run, action.version, patient.told.settled.served)
        case _:
            _write_to_optuna(patient, action)


def _write_to_optuna(patient: Patient, action: findings.Repair) -> None:
    match action:
        case findings.Tell():
            record = tracking.finished_trial(patient.uri, patient.study_run.run_id, action.number)
            if record is not None:
                patient.open_ledger.tell(outcome_of(record))
        case findings.AdoptParent():
            patient.open_ledger.set_parent_run_id(action.run_id)
        case findings.ReplaceParent():
            runs = patient.stored.runs
            experiment_ids = {run.experiment_id for run in runs.values()}
            parent = mend.new_parent(patient.uri, patient.name, list(runs), next(iter(experiment_ids), None))
            patient.open_ledger.set_parent_run_id(parent.run_id)
        case findings.TellAll():
            designs = patient.stored.designs
            ledger = patient.ledger or rebuild.open_again(
                patient.storage, patient.name, patient.study_run.run_id, designs
            )
            rebuild.tell_all(ledger, patient.uri, designs)


def _note_best(patient: Patient) -> None:
    told = patient.told
    if told is not None and told.best is not None and told.best.score is not None:
        patient.study_run.log_best(
            number=told.best.number,
            run_id=told.best.run_id,
            score=told.best.score,
            metric=told.settled.metric,
            trials_done=sum(trial.state is not None for trial in told.trials),
        )


def _damaged_models(patient: Patient) -> list[str]:
    """Return the runs of trials whose models are not as they were logged."""
    trained = [trial for trial in patient.told.trials if trial.state in TRAINED] if patient.told else []
    runs = [run for trial in trained if (run := patient.stored.runs.get(trial.run_id)) and not run.is_deleted]
    return [run.run_id for run in runs if model_trouble(run, patient.stored) is not None]


def _register_champion(patient: Patient) -> None:
    """Register as a session does, with the description that the version has: a report may have written it."""
    champion = patient.told.champion if patient.told else None
    served = patient.told.settled.served if patient.told else None
    if champion is not None and served:
        versions = patient.stored.champion.versions
        text = next((one.description for one in versions if one.run_id == champion.run_id), "")
        text = text or champion_markdown(patient.name, champion)
        tracking.register_champion(patient.study_run, champion.run_id, text, served)
