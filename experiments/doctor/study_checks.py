"""What disagrees about a study as a whole: its run, its sessions, its finalists, its champion. Pure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from depthcheck.experiments.addresses import shown
from depthcheck.experiments.doctor.findings import (
    AdoptParent,
    Finding,
    NoteBest,
    RegisterChampion,
    ReplaceParent,
    ReplaceVersion,
    RestoreExperiment,
    RestoreRun,
    TagRun,
    TellAll,
    WriteFinalists,
)
from depthcheck.experiments.doctor.stored import StoredStudy, met_test_part, model_trouble
from depthcheck.experiments.doctor.told import PLACES, ToldStudy
from depthcheck.experiments.doctor.trial_checks import closing, trial_findings
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.inventory import StoredRun

_INTERRUPTED = {keys.STATE: "interrupted"}


def diagnose(told: ToldStudy | None, stored: StoredStudy, *, storage: str, may_close: bool) -> list[Finding]:
    """Return every disagreement; where the study's own run is amiss, that alone: the rest hangs on it.

    Parameters
    ----------
    storage
        Where Optuna's study is, or should be.
    may_close
        Whether it is known that no process trains the study.
    """
    trouble = _parent_trouble(told, stored, storage)
    if trouble is not None:
        return [trouble]
    if told is None or stored.parent is None:
        return []
    return [
        *_page(told, stored, stored.parent, may_close=may_close),
        *trial_findings(told, stored, may_close=may_close),
        *_finalists(told, stored, stored.parent),
        *_scores(told, stored),
        *_champion(told, stored, stored.parent),
    ]


def _parent_trouble(told: ToldStudy | None, stored: StoredStudy, storage: str) -> Finding | None:
    parent = stored.parent
    if parent is not None and stored.experiment_is_deleted:
        return Finding(
            what=f"the MLflow experiment {parent.experiment_id} with all runs of the study is deleted",
            advice="the experiment is restored with its runs",
            repair=RestoreExperiment(experiment_id=parent.experiment_id),
        )
    if told is None:
        return Finding(
            what=f"MLflow has the study (run {parent.run_id if parent else '?'}), and {shown(storage)} has not",
            advice="Optuna's study is written again from MLflow's runs; or name the storage that has it (storage=URL)",
            repair=TellAll(),
        )
    if told.parent_run_id is None:
        return _unnamed_parent(told, stored)
    if parent is None:
        return Finding(
            what=f"the study's run {told.parent_run_id} is gone from MLflow",
            advice="another run is opened for the study, and the trials' runs that are left are put below it",
            repair=ReplaceParent(),
        )
    if parent.is_deleted:
        return Finding(
            what=f"the study's run {parent.run_id} is deleted in MLflow",
            advice="the run is restored",
            repair=RestoreRun(run_id=parent.run_id),
        )
    return None


def _unnamed_parent(told: ToldStudy, stored: StoredStudy) -> Finding | None:
    """Look for the run of a study that was killed before Optuna knew of it."""
    parent = stored.parent
    if parent is None or parent.is_deleted:
        return None  # killed before there was one: the next start opens it
    if not any({**one.get("definition", {})}.items() <= told.definition.items() for one in stored.designs):
        return None  # somebody else's, of the same name
    return Finding(
        what=f"Optuna's study names no run, and MLflow has run {parent.run_id} of that name and definition",
        advice="Optuna's study is given that run",
        repair=AdoptParent(run_id=parent.run_id),
    )


def _page(told: ToldStudy, stored: StoredStudy, parent: StoredRun, *, may_close: bool) -> Iterator[Finding]:
    wanted = {keys.PHASE: keys.PHASE_STUDY, keys.STUDY: told.name}
    differ = {key: value for key, value in wanted.items() if parent.tags.get(key) != value}
    if differ:
        yield Finding(
            what=f"the study's run {parent.run_id} is not marked as such: {', '.join(differ)} differ",
            advice="the tags are set again",
            repair=TagRun(run_id=parent.run_id, tags=differ),
        )
    named = [(parent, f"the study's run {parent.run_id}")]
    named += [(run, f"run {run.run_id} of a session") for run in stored.sessions if not run.is_deleted]
    named += [(run, f"run {run.run_id} of the same name") for run in stored.others if not run.is_deleted]
    for run, what in named:
        if run.status == "RUNNING":
            yield closing(run, what, may_close=may_close, tags=_INTERRUPTED)
        elif run.tags.get(keys.STATE) == keys.RUNNING:
            yield Finding(
                what=f"{what} has ended in MLflow ({run.status}), and its tag state says running",
                advice="the tag is set to interrupted",
                repair=TagRun(run_id=run.run_id, tags=_INTERRUPTED),
            )
    for run in stored.others:
        if not run.is_deleted and (n_ended := stored.n_ended_elsewhere.get(run.run_id, 0)):
            yield Finding(
                what=f"run {run.run_id} of the same name has trials that have ended ({n_ended}): "
                "the study was trained twice, or elsewhere too",
                advice=f"answers rest on run {parent.run_id} alone; delete in MLflow the one that is not wanted",
            )
    best = told.best
    noted = (parent.tags.get(keys.BEST_TRIAL), parent.tags.get(keys.BEST_RUN))
    if best is not None and noted != (str(best.number), best.run_id):
        yield Finding(
            what=f"the best trial is {best.number} by Optuna, and the study's run notes {noted[0] or 'none'}",
            advice="the study's run is given the best trial",
            repair=NoteBest(),
        )
    if not stored.designs:
        yield Finding(
            what=f"{keys.DESIGN} of the study's run {parent.run_id} is missing or cannot be read",
            advice="the next start of the study writes it again; until then the report does without",
        )


def _finalists(told: ToldStudy, stored: StoredStudy, parent: StoredRun) -> Iterator[Finding]:
    if not told.finalists:
        return
    hashes = [one["sha256"] for one in told.finalists]
    tag = parent.tags.get(keys.FINALISTS_SHA256)
    if stored.finalists is None:
        what = f"{keys.FINALISTS} of the study's run {parent.run_id} is missing"
    elif _placeless(stored.finalists) not in map(_placeless, told.finalists):
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
        repair=WriteFinalists(),
    )


def _placeless(frozen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a frozen list without the places of the data, which may change from one session to the next."""
    copy = json.loads(json.dumps(frozen))
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # a damaged list stays as it is, and differs
        for finalist in copy["finalists"]:
            for place in PLACES:
                finalist["params"].pop(place, None)
    return dict(copy)


def _scores(told: ToldStudy, stored: StoredStudy) -> Iterator[Finding]:
    """Look for networks of the search that should have been scored on the test part by now."""
    is_frozen = bool(told.finalists) or stored.finalists is not None
    has_test = any({**one.get("data", {})}.get("n_test") for one in stored.designs[-1:])
    if not (told.search_has_ended and is_frozen and has_test):
        return
    finished = {trial.run_id: trial for trial in told.trials if trial.phase != "confirm" and trial.state == "finished"}
    unscored = [
        str(trial.number)
        for run_id, trial in finished.items()
        if run_id in stored.runs
        and not stored.runs[run_id].is_deleted
        and not met_test_part(trial, stored.runs[run_id])
    ]
    if unscored:
        yield Finding(
            what=f"the finalists are frozen, and networks of the search have no score on the test part: "
            f"trial{'s' if len(unscored) > 1 else ''} {', '.join(unscored)}",
            advice="the same command that ran the study scores them",
        )


def _champion(told: ToldStudy, stored: StoredStudy, parent: StoredRun) -> Iterator[Finding]:
    yield from _versions(told, stored)
    champion = told.champion
    if champion is None:
        return
    registered = stored.champion
    address = f"models:/{told.name}@{keys.CHAMPION}"
    has_model = _has_model(champion.run_id, stored)
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
            repair=RegisterChampion() if has_model else None,
        )
        return
    if stored.answers is not None:
        yield Finding(
            what=f"{address} does not answer as it did: {stored.answers}",
            advice="its files are those that were logged: look for other packages than its requirements.txt has, "
            "and for class names that were edited in Optuna's study",
        )
    if parent.tags.get(keys.CHAMPION_RUN) != champion.run_id:
        noted = parent.tags.get(keys.CHAMPION_RUN, "none")
        yield Finding(
            what=f"the champion is run {champion.run_id}, and the study's run notes {noted}",
            advice="the tag is set again",
            repair=TagRun(run_id=parent.run_id, tags={keys.CHAMPION_RUN: champion.run_id}),
        )


def _versions(told: ToldStudy, stored: StoredStudy) -> Iterator[Finding]:
    """Look for registered models whose files are not those that were logged."""
    can_be_made = bool(told.settled.served)
    for version in stored.champion.versions:
        if version.model.trouble is None:
            continue
        has_source = can_be_made and _has_model(version.run_id, stored)
        yield Finding(
            what=f"models:/{told.name}/{version.version}: {version.model.trouble} (run {version.run_id})",
            advice="a new version is made from its run's model and takes the alias over; this one stays"
            if has_source
            else "its run has no model that it could be made from again, until that is repaired",
            repair=ReplaceVersion(version=version.version) if has_source else None,
        )


def _has_model(run_id: str, stored: StoredStudy) -> bool:
    run = stored.runs.get(run_id)
    return run is not None and model_trouble(run, stored) is None
