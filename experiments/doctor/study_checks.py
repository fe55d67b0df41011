"""What disagrees about a study as a whole: its run, its sessions, its finalists, its champion. Pure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from depthcheck.experiments.addresses import shown
from depthcheck.experiments.doctor.findings import Finding, Repair
from depthcheck.experiments.doctor.sides import PLACES, MlflowSide, OptunaSide, met_test_part, model_trouble
from depthcheck.experiments.doctor.trial_checks import closing, trial_findings
from depthcheck.experiments.tracking import StoredRun, keys

_INTERRUPTED = {keys.STATE: "interrupted"}


def diagnose(optuna: OptunaSide | None, mlflow: MlflowSide, *, storage: str, may_close: bool) -> list[Finding]:
    """Return every disagreement; where the study's own run is amiss, that alone: the rest hangs on it.

    Parameters
    ----------
    storage
        Where Optuna's study is, or should be.
    may_close
        Whether it is known that no process trains the study.
    """
    trouble = _parent_trouble(optuna, mlflow, storage)
    if trouble is not None:
        return [trouble]
    if optuna is None or mlflow.parent is None:
        return []
    return [
        *_page(optuna, mlflow, mlflow.parent, may_close=may_close),
        *trial_findings(optuna, mlflow, may_close=may_close),
        *_finalists(optuna, mlflow, mlflow.parent),
        *_scores(optuna, mlflow),
        *_champion(optuna, mlflow, mlflow.parent),
    ]


def _parent_trouble(optuna: OptunaSide | None, mlflow: MlflowSide, storage: str) -> Finding | None:
    parent = mlflow.parent
    if parent is not None and mlflow.experiment_is_deleted:
        return Finding(
            what=f"the MLflow experiment {parent.experiment_id} with all runs of the study is deleted",
            advice="the experiment is restored with its runs",
            repair=Repair(kind="restore experiment", target=parent.experiment_id),
        )
    if optuna is None:
        return Finding(
            what=f"MLflow has the study (run {parent.run_id if parent else '?'}), and {shown(storage)} has not",
            advice="Optuna's study is written again from MLflow's runs; or name the storage that has it (storage=URL)",
            repair=Repair(kind="write trials into Optuna"),
        )
    if optuna.parent_run_id is None:
        return _unnamed_parent(optuna, mlflow)
    if parent is None:
        return _lost_parent(optuna, mlflow)
    if parent.is_deleted:
        return Finding(
            what=f"the study's run {parent.run_id} is deleted in MLflow",
            advice="the run is restored",
            repair=Repair(kind="restore run", target=parent.run_id),
        )
    return None


def _lost_parent(optuna: OptunaSide, mlflow: MlflowSide) -> Finding:
    if not mlflow.runs and any(trial.run_id for trial in optuna.trials):
        # No damage but another store. A run opened there would be the one that Optuna's study names from then on, also
        # when the right store is back.
        return Finding(
            what=f"the study's run {optuna.parent_run_id} and the runs of all its trials are gone from MLflow",
            advice="put the store back that has them, or name it (MLFLOW_TRACKING_URI)",
        )
    return Finding(
        what=f"the study's run {optuna.parent_run_id} is gone from MLflow",
        advice="another run is opened for the study, and the trials' runs that are left are put below it",
        repair=Repair(kind="open another run for the study"),
    )


def _unnamed_parent(optuna: OptunaSide, mlflow: MlflowSide) -> Finding | None:
    """Look for the run of a study that was killed before Optuna knew of it."""
    parent = mlflow.parent
    if parent is None or parent.is_deleted:
        return None  # killed before there was one: the next start opens it
    if not any({**one.get("definition", {})}.items() <= optuna.definition.items() for one in mlflow.designs):
        return None  # somebody else's, of the same name
    return Finding(
        what=f"Optuna's study names no run, and MLflow has run {parent.run_id} of that name and definition",
        advice="Optuna's study is given that run",
        repair=Repair(kind="note the study's run in Optuna", target=parent.run_id),
    )


def _page(optuna: OptunaSide, mlflow: MlflowSide, parent: StoredRun, *, may_close: bool) -> Iterator[Finding]:
    wanted = {keys.PHASE: keys.PHASE_STUDY, keys.STUDY: optuna.name}
    differ = {key: value for key, value in wanted.items() if parent.tags.get(key) != value}
    if differ:
        yield Finding(
            what=f"the study's run {parent.run_id} is not marked as such: {', '.join(differ)} differ",
            advice="the tags are set again",
            repair=Repair(kind="tag run", target=parent.run_id, tags=differ),
        )
    named = [(parent, f"the study's run {parent.run_id}")]
    named += [(run, f"run {run.run_id} of a session") for run in mlflow.sessions if not run.is_deleted]
    named += [(run, f"run {run.run_id} of the same name") for run in mlflow.others if not run.is_deleted]
    for run, what in named:
        if run.status == "RUNNING":
            yield closing(run, what, may_close=may_close, tags=_INTERRUPTED)
        elif run.tags.get(keys.STATE) == keys.RUNNING:
            yield Finding(
                what=f"{what} has ended in MLflow ({run.status}), and its tag state says running",
                advice="the tag is set to interrupted",
                repair=Repair(kind="tag run", target=run.run_id, tags=_INTERRUPTED),
            )
    for run in mlflow.others:
        if not run.is_deleted and (n_ended := mlflow.n_ended_elsewhere.get(run.run_id, 0)):
            yield Finding(
                what=f"run {run.run_id} of the same name has trials that have ended ({n_ended}): "
                "the study was trained twice, or elsewhere too",
                advice=f"answers rest on run {parent.run_id} alone; delete in MLflow the one that is not wanted",
            )
    best = optuna.best
    noted = (parent.tags.get(keys.BEST_TRIAL), parent.tags.get(keys.BEST_RUN))
    if best is not None and noted != (str(best.number), best.run_id):
        yield Finding(
            what=f"the best trial is {best.number} by Optuna, and the study's run notes {noted[0] or 'none'}",
            advice="the study's run is given the best trial",
            repair=Repair(kind="note the best trial"),
        )
    if not mlflow.designs:
        yield Finding(
            what=f"{keys.DESIGN} of the study's run {parent.run_id} is missing or cannot be read",
            advice="the next start of the study writes it again; until then the report does without",
        )


def _finalists(optuna: OptunaSide, mlflow: MlflowSide, parent: StoredRun) -> Iterator[Finding]:
    if not optuna.finalists:
        return
    hashes = [one["sha256"] for one in optuna.finalists]
    tag = parent.tags.get(keys.FINALISTS_SHA256)
    if mlflow.finalists is None:
        what = f"{keys.FINALISTS} of the study's run {parent.run_id} is missing"
    elif _placeless(mlflow.finalists) not in map(_placeless, optuna.finalists):
        what = f"{keys.FINALISTS} of the study's run {parent.run_id} is not the list that Optuna's study froze"
    elif tag not in hashes:
        what = (
            f"the tag {keys.FINALISTS_SHA256} of the study's run is {tag or 'missing'}, and the list's is {hashes[0]}"
        )
    else:
        return
    yield Finding(
        what=what,
        advice="it is written as Optuna's study has it; what stood there is kept beside it",
        repair=Repair(kind="write finalists"),
    )


def _placeless(frozen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a frozen list without the places of the data, which may change from one session to the next."""
    copy = json.loads(json.dumps(frozen))
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # a damaged list stays as it is, and differs
        for finalist in copy["finalists"]:
            for place in PLACES:
                finalist["params"].pop(place, None)
    return dict(copy)


def _scores(optuna: OptunaSide, mlflow: MlflowSide) -> Iterator[Finding]:
    """Look for networks of the search that should have been scored on the test part by now."""
    is_frozen = bool(optuna.finalists) or mlflow.finalists is not None
    has_test = any({**one.get("data", {})}.get("n_test") for one in mlflow.designs[-1:])
    if not (optuna.search_has_ended and is_frozen and has_test):
        return
    finished = {
        trial.run_id: trial for trial in optuna.trials if trial.phase != "confirm" and trial.state == "finished"
    }
    unscored = [
        str(trial.number)
        for run_id, trial in finished.items()
        if run_id in mlflow.runs
        and not mlflow.runs[run_id].is_deleted
        and not met_test_part(trial, mlflow.runs[run_id])
    ]
    if unscored:
        yield Finding(
            what=f"the finalists are frozen, and networks of the search have no score on the test part: "
            f"trial{'s' if len(unscored) > 1 else ''} {', '.join(unscored)}",
            advice="the same command that ran the study scores them",
        )


def _champion(optuna: OptunaSide, mlflow: MlflowSide, parent: StoredRun) -> Iterator[Finding]:
    yield from _versions(optuna, mlflow)
    champion = optuna.champion
    if champion is None:
        return
    registered = mlflow.champion
    address = f"models:/{optuna.name}@{keys.CHAMPION}"
    has_model = _has_model(champion.run_id, mlflow)
    if registered.run_id != champion.run_id:
        if registered.version is None:
            at = "leads to nothing"
        elif registered.run_id is None:
            at = f"leads to version {registered.version}, which is gone"
        else:
            at = f"leads to version {registered.version} (run {registered.run_id})"
        yield Finding(
            what=f"{address} {at}; the study's champion is run {champion.run_id}",
            advice="the champion is put under the alias; other versions stay"
            if has_model
            else "its run has no model that could be put under the alias, until that is repaired",
            repair=Repair(kind="register champion") if has_model else None,
        )
        return
    if mlflow.answers is not None:
        yield Finding(
            what=f"{address} does not answer as it did: {mlflow.answers}",
            advice="its files are those that were logged: look for other packages than its requirements.txt has, "
            "and for class names that were edited in Optuna's study",
        )
    if parent.tags.get(keys.CHAMPION_RUN) != champion.run_id:
        noted = parent.tags.get(keys.CHAMPION_RUN, "none")
        yield Finding(
            what=f"the champion is run {champion.run_id}, and the study's run notes {noted}",
            advice="the tag is set again",
            repair=Repair(kind="tag run", target=parent.run_id, tags={keys.CHAMPION_RUN: champion.run_id}),
        )


def _versions(optuna: OptunaSide, mlflow: MlflowSide) -> Iterator[Finding]:
    """Look for registered models whose files are not those that were logged."""
    can_be_made = bool(optuna.resolved.served)
    for version in mlflow.champion.versions:
        if version.model.trouble is None:
            continue
        has_source = can_be_made and _has_model(version.run_id, mlflow)
        yield Finding(
            what=f"models:/{optuna.name}/{version.version}: {version.model.trouble} (run {version.run_id})",
            advice="a new version is made from its run's model and takes the alias over; this one stays"
            if has_source
            else "its run has no model that it could be made from again, until that is repaired",
            repair=Repair(kind="replace version", target=version.version) if has_source else None,
        )


def _has_model(run_id: str, mlflow: MlflowSide) -> bool:
    run = mlflow.runs.get(run_id)
    return run is not None and model_trouble(run, mlflow) is None
