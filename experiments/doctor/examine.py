"""A study examined, and repaired where that is asked for. Start reading here.

Each repair puts something back, by the code that a session itself uses; nothing is deleted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from depthcheck.experiments import places, tracking
from depthcheck.experiments.cluster import launch
from depthcheck.experiments.cluster.worker import outcome_of
from depthcheck.experiments.doctor.diagnosis import diagnose
from depthcheck.experiments.doctor.sides import Finding, MlflowSide, OptunaSide, Repair, mlflow_side, optuna_side
from depthcheck.experiments.lock import Lock, held, lock_file, may_run_elsewhere
from depthcheck.experiments.places import Place
from depthcheck.experiments.reproduce.original import find, write_model_again
from depthcheck.experiments.study.describe import champion_markdown, note_best
from depthcheck.experiments.study.ledger import Ledger, study_names
from depthcheck.experiments.study.resume import CannotRebuildError, open_again, tell_all
from depthcheck.experiments.tracking import StudyRun, keys
from depthcheck.experiments.tracking.runs import study_runs
from depthcheck.experiments.tracking.study_run import end_run, new_parent, put_right, restore_experiment, restore_run
from depthcheck.pipeline.verbatim import command

#: A repair can bring others to light: a restored run may have wrong tags. No study needs more rounds than this.
_MOST_ROUNDS = 10


def lines(examination: Examination, *, fix: bool) -> list[str]:
    """Return what a user reads: what was compared, each disagreement, and what can be done."""
    one = examination
    text = [f"study {one.study}: {one.n_in_optuna} trials have ended in Optuna, {one.n_in_mlflow} in MLflow"]
    text += _group("repaired", one.repaired)
    repairable = [finding for finding in one.left if finding.repair is not None]
    text += _group("can be repaired", repairable)
    text += _group("cannot be repaired", [finding for finding in one.left if finding.repair is None])
    if one.n_open:
        begun = "1 trial was begun and has" if one.n_open == 1 else f"{one.n_open} trials were begun and have"
        text.append(f"  {begun} not ended: the next start of the study trains {'it' if one.n_open == 1 else 'them'}")
    if not one.left:
        text.append("  clean: everything agrees" + (" now" if one.repaired else ""))
    if repairable and not fix:
        text.append(f"  repair: {command(tracking.launcher(), 'doctor', study=one.study, fix=True)}")
    return text


def _group(title: str, findings: Sequence[Finding]) -> list[str]:
    text = [line for one in findings for line in (f"  - {one.what}", f"      {one.advice}")]
    return [f"  {title}: {len(findings)}", *text] if findings else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found in a study.

    Attributes
    ----------
    parent_run_id
        The study's run, or None where it has none that can be written.
    n_in_optuna, n_in_mlflow
        Trials that have ended in Optuna, and in MLflow.
    n_open
        Trials that were begun and have not ended; the next start trains them.
    repaired, left
        Disagreements that are no more, and those that are.
    """

    study: str
    parent_run_id: str | None
    n_in_optuna: int
    n_in_mlflow: int
    n_open: int
    repaired: tuple[Finding, ...]
    left: tuple[Finding, ...]


def studies(place: Place, asked: str | None) -> list[str]:
    """Return the names of the studies to examine: one, all (``all``), or the latest.

    Raises
    ------
    ValueError
        When there is none, or none of that name.
    """
    if not tracking.is_there(place.uri):
        raise ValueError(
            f"the tracking store must be there, got none at {place.uri}; MLFLOW_TRACKING_URI names another"
        )
    in_optuna = study_names(place.storage)
    # A run that its user deleted, as the study in Optuna: nothing is left to disagree.
    runs = [run for run in study_runs(place.uri) if not run.is_deleted or run.study in in_optuna]
    runs.sort(key=lambda run: run.is_comparison)  # the latest study is one that searched, where there is one
    names = list(dict.fromkeys(run.study for run in runs if run.study))
    if asked not in (None, "all"):
        if asked in names or asked in in_optuna:
            return [str(asked)]
        known = ", ".join(dict.fromkeys([*names, *in_optuna])) or "none, for there is none"
        raise ValueError(f"study must be one of {known}, got {asked!r} (in {place.uri} and {place.storage})")
    found = [*names, *(name for name in in_optuna if name not in names and _has_begun(place.storage, name))]
    if not found:
        raise ValueError(
            f"there must be a study to examine, got none in {place.uri} and {place.storage}; "
            "run one first, or name another store in MLFLOW_TRACKING_URI"
        )
    return found if asked == "all" else found[:1]


def examine(place: Place, study: str, *, fix: bool, say: Callable[[str], None] = lambda _line: None) -> Examination:
    """Compare what Optuna, MLflow and the artifact store hold of a study, and repair it where ``fix``.

    The study's lock is held meanwhile: nobody starts it under our hands, and a run that is RUNNING is nobody's. On a
    machine where the study has not run, one that says RUNNING is looked at and not repaired.

    Parameters
    ----------
    say
        Is told when somebody is waited for who holds the study and may be dead.

    Raises
    ------
    ValueError
        When the study is running, or may be where nobody here can see it; or when a newer version wrote it.
    """
    has_run_here = os.path.lexists(lock_file(place.folder, study))
    # Without a lock there is nothing to hold; making one would say that the study has run here.
    with held(place, study, say) if has_run_here else contextlib.nullcontext() as lock:
        repaired: list[Finding] = []
        failed: dict[str, str] = {}
        for _ in range(_MOST_ROUNDS):
            examined = _read(place, study, lock)
            parent = examined.mlflow.parent
            may_live = (
                parent is not None
                and parent.status == "RUNNING"
                and (not has_run_here or may_run_elsewhere(place, study, parent, is_stored=examined.ledger is not None))
            )
            if may_live and fix:
                raise ValueError(
                    f"study {study!r} must be repaired where it has run, got no trace of that in {place.folder}; "
                    "its run is RUNNING, and its process may be alive on another machine"
                )
            found = diagnose(examined.optuna, examined.mlflow, storage=place.storage, may_close=not may_live)
            to_do = [one for one in found if fix and one.repair and one not in repaired and one.what not in failed]
            if not to_do:
                break
            failed |= _carry_out(examined, to_do)
            repaired += to_do
    trials = examined.optuna.trials if examined.optuna else ()
    return Examination(
        study=study,
        parent_run_id=None if parent is None or parent.is_deleted else parent.run_id,
        n_in_optuna=sum(trial.state is not None for trial in trials),
        n_in_mlflow=len({run.number for run in examined.mlflow.runs.values() if run.counts}),
        n_open=sum(trial.state is None for trial in trials),
        repaired=tuple(one for one in repaired if one not in found),
        left=tuple(_with_reason(one, failed, fix=fix) for one in found),
    )


def _has_begun(storage: str, name: str) -> bool:
    """Tell whether a study of Optuna's is one of ours that has had a run; one that was stopped before has nothing."""
    try:
        ledger = Ledger.existing(storage, name)
    except ValueError:  # a newer version's: whoever examines it is told so
        return True
    return ledger is not None and ledger.parent_run_id is not None


def _read(place: Place, study: str, lock: Lock | None) -> ExaminedStudy:
    ledger = Ledger.existing(place.storage, study)
    if ledger is not None and lock is not None:
        ledger.lock = lock
    optuna = optuna_side(ledger) if ledger else None
    mlflow = mlflow_side(place.uri, study, optuna)
    if mlflow.parent is not None:
        mlflow.parent.require_readable(f"study {study!r}")
    return ExaminedStudy(name=study, storage=place.storage, lock=lock, ledger=ledger, optuna=optuna, mlflow=mlflow)


def _carry_out(examined: ExaminedStudy, to_do: Sequence[Finding]) -> dict[str, str]:
    """Carry repairs out, each once, however many findings it is for; return why some could not be."""
    failed = {}
    for i, one in enumerate(to_do):
        assert one.repair is not None
        same = next((earlier for earlier in to_do[:i] if earlier.repair == one.repair), None)
        if same is None:
            if examined.ledger is not None:
                examined.ledger.require_ours()
            try:
                repair(examined, one.repair)
            except CannotRebuildError as error:
                failed[one.what] = str(error)
            except tracking.NotAsLoggedError as error:  # it cannot be told to Optuna, which could tell its tags
                failed[one.what] = error.what
        elif same.what in failed:
            failed[one.what] = failed[same.what]
    return failed


def _with_reason(one: Finding, failed: dict[str, str], *, fix: bool) -> Finding:
    """Say of what was tried and is still there that it cannot be repaired, and why."""
    if not fix or one.repair is None:
        return one
    reason = failed.get(one.what, "it is still there after the repair")
    return Finding(what=one.what, advice=f"it cannot be repaired: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedStudy:
    """A study as it was diagnosed, and where it is written."""

    name: str
    storage: str
    lock: Lock | None
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
            _remake_models(uri, study.study_run, study.mlflow.damaged_models(optuna.trials))
        case "replace version" if optuna is not None:
            tracking.replace_version(study.study_run, target, optuna.resolved.served)
        case _:
            _write_to_optuna(study, action)


def _write_to_optuna(study: ExaminedStudy, action: Repair) -> None:
    designs = study.mlflow.designs
    if action.kind == "write trials into Optuna":
        ledger = study.ledger or open_again(study.storage, study.name, study.study_run.run_id, designs, lock=study.lock)
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
            runs = study.mlflow.runs.values()
            # A deleted one cannot be written to; once it is restored, it is found not to lie below its study.
            active = [run.run_id for run in runs if not run.is_deleted]
            parent = new_parent(study.uri, study.name, active, next((run.experiment_id for run in runs), None))
            if study.ledger.looks:
                parent.log_looks(study.ledger.looks)
            study.ledger.set_parent_run_id(parent.run_id)


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
