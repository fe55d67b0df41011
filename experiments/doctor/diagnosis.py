"""What disagrees about a study: its run, sessions, trials, finalists, champion. Pure: two records in, findings out."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from depthcheck.experiments.addresses import shown
from depthcheck.experiments.doctor.sides import PLACES, TRAINED, Finding, MlflowSide, OptunaSide, Repair, met_test_part
from depthcheck.experiments.planning.finalists import StudyTrial
from depthcheck.experiments.reproduce.deviations import same
from depthcheck.experiments.tracking import StoredRun, keys, launcher
from depthcheck.experiments.tracking.runs import RunEnd
from depthcheck.pipeline.dimensions import DIMENSIONS
from depthcheck.pipeline.verbatim import command

_INTERRUPTED = {keys.STATE: "interrupted"}
_ELSEWHERE = "left alone: the study has not run on this machine, and its process may be alive on another"


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
        *_trials(optuna, mlflow, may_close=may_close),
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
            yield _closing(run, what, may_close=may_close, tags=_INTERRUPTED)
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
    if best is not None and noted != (f"trial-{best.number}", best.run_id):
        yield Finding(
            what=f"the best trial is trial-{best.number} by Optuna, and the study's run notes {noted[0] or 'none'}",
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
    if not optuna.search_has_ended and tag not in hashes and (mlflow.finalists or {}).get("sha256", "") == tag:
        return  # a search that goes on logs whom it would choose by then, before its networks meet the test part
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


def _has_test_part(mlflow: MlflowSide) -> bool:
    return any({**one.get("data", {})}.get("n_test") for one in mlflow.designs[-1:])


def _scores(optuna: OptunaSide, mlflow: MlflowSide) -> Iterator[Finding]:
    """Look for networks of the search that should have been scored on the test part by now."""
    is_frozen = bool(optuna.finalists) or mlflow.finalists is not None
    if not (optuna.search_has_ended and is_frozen and _has_test_part(mlflow)):
        return
    finished = [trial for trial in optuna.trials if trial.phase != "confirm" and trial.state == "finished"]
    unscored = [
        str(trial.number)
        for trial in finished
        if (run := mlflow.runs.get(trial.run_id)) and not run.is_deleted and not met_test_part(trial, run)
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
            repair=Repair(
                kind="tag run",
                target=parent.run_id,
                tags={keys.CHAMPION_RUN: champion.run_id, keys.RECOMMENDED: champion.finalist},
            ),
        )


def _versions(optuna: OptunaSide, mlflow: MlflowSide) -> Iterator[Finding]:
    """Look for registered models whose files are not those that were logged."""
    can_be_made = bool(optuna.resolved.served)
    for version in mlflow.champion.versions:
        if version.trouble is None:
            continue
        has_source = can_be_made and _has_model(version.run_id, mlflow)
        yield Finding(
            what=f"models:/{optuna.name}/{version.version}: {version.trouble} (run {version.run_id})",
            advice="a new version is made from its run's model and takes the alias over; this one stays"
            if has_source
            else "its run has no model that it could be made from again, until that is repaired",
            repair=Repair(kind="replace version", target=version.version) if has_source else None,
        )


def _has_model(run_id: str, mlflow: MlflowSide) -> bool:
    run = mlflow.runs.get(run_id)
    return run is not None and mlflow.model_trouble(run) is None


def _trials(optuna: OptunaSide, mlflow: MlflowSide, *, may_close: bool) -> Iterator[Finding]:
    """Compare trial by trial, then look at the runs that are left over."""
    tags = [run.tags for run in mlflow.runs.values()]
    facts = {**mlflow.designs[-1].get("data", {})} if mlflow.designs else {}
    # Where no run tells. With folds each row is validated once.
    n_valid = facts.get("n_samples" if optuna.resolved.split.folds else "n_valid")
    samples = {}
    for key, fallback in ((keys.VALID_SAMPLES, n_valid), (keys.TEST_SAMPLES, facts.get("n_test"))):
        count = Counter(value for one in tags if (value := one.get(key, "")).isdecimal())
        samples[key] = next((value for value, _ in count.most_common(1)), fallback and str(fallback))
    for number in optuna.foreign:
        yield Finding(
            what=f"trial {number} in Optuna is none of this project's: it lacks phase, point, seed or state",
            advice="Optuna cannot remove a trial; the study goes on under another name (study=NAME)",
        )
    for trial in optuna.trials:
        if trial.state is None:
            ended = [run for run in mlflow.runs.values() if run.counts and run.number == trial.number]
            if ended:
                yield Finding(
                    what=f"trial {trial.number} has ended in MLflow (run {ended[0].run_id}) and is running in Optuna",
                    advice="Optuna is told how it ended",
                    repair=Repair(kind="tell Optuna how a trial ended", target=str(trial.number)),
                )
        elif trial.run_id:
            yield from _ended(trial, optuna, mlflow, samples)
    yield from _left_over(optuna, mlflow, may_close=may_close)


def _ended(
    trial: StudyTrial, optuna: OptunaSide, mlflow: MlflowSide, samples: Mapping[str, str | None]
) -> Iterator[Finding]:
    run = mlflow.runs.get(trial.run_id)
    if run is None:
        yield Finding(
            what=f"trial {trial.number} has ended in Optuna ({trial.state}), and its run {trial.run_id} is gone",
            advice="its curves and model are lost; the whole study under another name (study=NAME) gives them again",
        )
        return
    if run.is_deleted:
        yield Finding(
            what=f"trial {trial.number} has ended in Optuna, and its run {run.run_id} is deleted in MLflow",
            advice="the run is restored",
            repair=Repair(kind="restore run", target=run.run_id),
        )
        return
    yield from _labels(trial, run, optuna, samples)
    yield from _params(trial, run, optuna.params[trial.number])
    if trial.state in TRAINED:
        yield from _score(trial, run, optuna, mlflow)
        yield from _curves(trial, run, optuna, mlflow)
        yield from _artifacts(trial, run, mlflow)


def _labels(
    trial: StudyTrial, run: StoredRun, optuna: OptunaSide, samples: Mapping[str, str | None]
) -> Iterator[Finding]:
    """Compare status and tags: what makes a run count as this trial."""
    status: RunEnd = "FAILED" if trial.state == "failed" else "FINISHED"
    if run.status != status:
        yield Finding(
            what=f"trial {trial.number} is {trial.state} in Optuna, and its run {run.run_id} is {run.status} in MLflow",
            advice=f"the run is set to {status}",
            repair=Repair(kind="end run", target=run.run_id, status=status),
        )
    wanted = {
        keys.STUDY: optuna.name,
        keys.PARENT_RUN: optuna.parent_run_id,
        keys.PHASE: trial.phase,
        keys.TRIAL_NUMBER: str(trial.number),
        keys.STATE: trial.state,
        keys.METRIC: optuna.resolved.metric,
        keys.FINALIST: trial.finalist,
        keys.COMBINATION: keys.levels(trial.combination) or None,
        keys.VALID_SAMPLES: samples[keys.VALID_SAMPLES] if trial.state in TRAINED else None,
        keys.TEST_SAMPLES: samples[keys.TEST_SAMPLES] if met_test_part(trial, run) else None,
    }
    differ = {key: value for key, value in wanted.items() if value is not None and run.tags.get(key) != value}
    if differ:
        changes = "; ".join(f"{key} is {run.tags.get(key)!r} in place of {value!r}" for key, value in differ.items())
        yield Finding(
            what=f"trial {trial.number}: tags of run {run.run_id} differ from Optuna's: {changes}",
            advice="the tags are set as Optuna has them",
            repair=Repair(kind="tag run", target=run.run_id, tags=differ),
        )


def _params(trial: StudyTrial, run: StoredRun, wanted: Mapping[str, str]) -> Iterator[Finding]:
    known = {*wanted, *DIMENSIONS}
    differ = [key for key in sorted(known) if run.params.get(key) != wanted.get(key)]
    if differ:
        pairs = ", ".join(
            f"{key} is {wanted.get(key, 'not set')} in Optuna and {run.params.get(key, 'not set')} in MLflow"
            for key in differ
        )
        yield Finding(
            what=f"trial {trial.number}: {pairs} (run {run.run_id})",
            advice="neither can be changed: one of the two databases was edited; restore it from a copy",
        )


def _score(trial: StudyTrial, run: StoredRun, optuna: OptunaSide, mlflow: MlflowSide) -> Iterator[Finding]:
    """Compare the score that counts, with the run's own curve as the witness; a diverged trial's is no curve's end."""
    key = keys.final(optuna.resolved.metric)
    logged = run.metrics.get(key)
    curves = mlflow.curves.get(run.run_id, {})
    scores, losses = curves.get(f"valid/{optuna.resolved.metric}", {}), curves.get("valid/loss", {})
    early = _stops_early(trial, optuna)
    stopped = early and losses.keys() == trial.scores.keys()
    if early and not stopped and trial.state == "pruned":
        return  # without every loss nobody knows which epoch counts; _curves says what is missing
    counts = min(losses, key=lambda epoch: losses[epoch]) if stopped else max(trial.scores, default=0)
    witness = scores.get(counts)
    # The value that Optuna gives a pruned trial is that of its last epoch.
    wanted = trial.scores.get(counts) if trial.state == "pruned" else trial.score
    if wanted is None or same(logged, wanted):
        return
    what = f"trial {trial.number}: its score is {wanted!r} in Optuna and {logged!r} in MLflow (run {run.run_id})"
    if trial.state == "diverged" or same(witness, wanted):
        yield Finding(
            what=what,
            advice=f"{key} is written again as Optuna has it; MLflow keeps the other value in the metric's history",
            repair=Repair(kind="log values", target=run.run_id, values={key: wanted}),
        )
    else:
        yield Finding(
            what=f"{what}; the run's curve ends at {witness!r}",
            advice="Optuna's value cannot be changed: restore its database from a copy; " + _again(run.run_id),
        )


def _stops_early(trial: StudyTrial, optuna: OptunaSide) -> bool:
    """Tell whether early stopping says how many epochs there are, and that not the last one counts."""
    return optuna.params[trial.number].get("early_stopping", "0") != "0"


def _curves(trial: StudyTrial, run: StoredRun, optuna: OptunaSide, mlflow: MlflowSide) -> Iterator[Finding]:
    curves = mlflow.curves.get(run.run_id, {})
    ends_by_itself = trial.state == "finished" and not _stops_early(trial, optuna)
    n_epochs = int(optuna.params[trial.number]["epochs"]) if ends_by_itself else max(trial.scores, default=0)
    wanted = set(range(1, n_epochs + 1))
    short = [
        f"{key} has {len(wanted & set(points))}" for key, points in sorted(curves.items()) if set(points) != wanted
    ]
    if short:
        yield Finding(
            what=f"trial {trial.number}: of {n_epochs} epochs {', '.join(short)} (run {run.run_id})",
            advice=_again(run.run_id),
        )
        return
    scores = curves.get(f"valid/{optuna.resolved.metric}", {})
    differ = [epoch for epoch in sorted(wanted) if not same(scores.get(epoch), trial.scores.get(epoch))]
    if differ:
        first = differ[0]
        values = f"{scores.get(first)!r} and {trial.scores.get(first)!r}"
        yield Finding(
            what=f"trial {trial.number}: {len(differ)} of {n_epochs} epochs have another score in MLflow than in "
            f"Optuna, the first is epoch {first}: {values} (run {run.run_id})",
            advice=_again(run.run_id),
        )


def _artifacts(trial: StudyTrial, run: StoredRun, mlflow: MlflowSide) -> Iterator[Finding]:
    trouble = mlflow.model_trouble(run)
    if trouble is not None:
        yield Finding(
            what=f"trial {trial.number}: {trouble} (run {run.run_id})",
            advice="it is trained again, and its model written where every number is as it was logged",
            repair=Repair(kind="train trials with damaged models again"),
        )
    has_any = run.params.get("folds", "0") != "0" or not mlflow.designs or _has_test_part(mlflow)
    if has_any and met_test_part(trial, run) and run.run_id not in mlflow.predictions:
        yield Finding(
            what=f"trial {trial.number}: {keys.PREDICTIONS} is missing or cannot be read (run {run.run_id})",
            advice="put the file back; without it the report leaves this run's test examples out",
        )


def _left_over(optuna: OptunaSide, mlflow: MlflowSide, *, may_close: bool) -> Iterator[Finding]:
    """Look at runs of trials that Optuna does not name."""
    trials = {trial.number: trial for trial in optuna.trials}
    named = {trial.run_id for trial in optuna.trials}
    for run in mlflow.runs.values():
        if run.run_id in named or run.is_deleted:
            continue
        number = run.tags.get(keys.TRIAL_NUMBER, "without number")
        trial = trials.get(run.number)
        if run.status == "RUNNING":
            yield _closing(run, f"run {run.run_id} of trial {number}", may_close=may_close)
        elif run.counts and trial is None and run.number not in optuna.foreign:
            yield Finding(
                what=f"run {run.run_id} is trial {number}, which Optuna's study does not have",
                advice="the trial is written into Optuna's study",
                repair=Repair(kind="write trials into Optuna"),
            )
        elif run.counts and trial is not None and trial.state is not None:
            yield from _second_end(trial, run, mlflow)


def _second_end(trial: StudyTrial, run: StoredRun, mlflow: MlflowSide) -> Iterator[Finding]:
    if trial.run_id in mlflow.runs:
        what = f"has ended twice: Optuna names run {trial.run_id}, and there is run {run.run_id}"
        note = f"A second run of trial {trial.number}; run {trial.run_id} counts."
    elif not trial.run_id:
        what = f"is {trial.state} in Optuna without a run, and run {run.run_id} of it has ended in MLflow"
        note = f"Trial {trial.number} is {trial.state}: Optuna had given it up when this run ended."
    else:
        return  # Optuna's own is gone, which is said elsewhere; this one stands in for it
    yield Finding(
        what=f"trial {trial.number} {what}",
        advice="the run is set to KILLED, so that it does not count; nothing of it is deleted",
        repair=Repair(kind="end run", target=run.run_id, status="KILLED", tags={keys.NOTE: note}),
    )


def _closing(run: StoredRun, what: str, *, may_close: bool, tags: Mapping[str, str] | None = None) -> Finding:
    """Return the finding of a run that is RUNNING while nothing trains."""
    note = {keys.NOTE: "Interrupted: its process ended."} if tags is None else tags
    return Finding(
        what=f"{what} is RUNNING in MLflow, and no process trains the study",
        advice="it is closed as KILLED" if may_close else _ELSEWHERE,
        repair=Repair(kind="end run", target=run.run_id, status="KILLED", tags=note) if may_close else None,
    )


def _again(run_id: str) -> str:
    return f"{command(launcher(), 'reproduce', run_id=run_id)} trains it again and compares"
