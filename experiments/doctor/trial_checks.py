"""What disagrees between the trials that Optuna holds and their runs. Pure: two records in, findings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from depthcheck.experiments.doctor.findings import Finding, Repair
from depthcheck.experiments.doctor.sides import TRAINED, MlflowSide, OptunaSide, met_test_part, model_trouble
from depthcheck.experiments.study.running import StudyTrial
from depthcheck.experiments.tracking import StoredRun, keys
from depthcheck.experiments.tracking.runs import RunEnd
from depthcheck.pipeline.dimensions import DIMENSIONS

_AGAIN = "mlflow run . -e reproduce -P run_id={} trains it again and compares"
_ELSEWHERE = "left alone: the study has not run on this machine, and its process may be alive on another"


def trial_findings(optuna: OptunaSide, mlflow: MlflowSide, *, may_close: bool) -> Iterator[Finding]:
    """Compare trial by trial, then look at the runs that are left over.

    Parameters
    ----------
    may_close
        Whether it is known that no process trains: then what is RUNNING was left behind.
    """
    samples = {key: _commonest(mlflow, key) for key in (keys.VALID_SAMPLES, keys.TEST_SAMPLES)}
    for number in optuna.foreign:
        yield Finding(
            what=f"trial {number} in Optuna is none of this project's: it lacks phase, point, seed or state",
            advice="Optuna cannot remove a trial; the study goes on under another name (study=NAME)",
        )
    for trial in optuna.trials:
        if trial.state is None:
            yield from _unended(trial, mlflow)
        elif trial.run_id:
            yield from _ended(trial, optuna, mlflow, samples)
    yield from _left_over(optuna, mlflow, may_close=may_close)


def _unended(trial: StudyTrial, mlflow: MlflowSide) -> Iterator[Finding]:
    ended = [run for run in mlflow.runs.values() if run.counts and run.number == trial.number]
    if ended:
        yield Finding(
            what=f"trial {trial.number} has ended in MLflow (run {ended[0].run_id}) and is running in Optuna",
            advice="Optuna is told how it ended",
            repair=Repair(kind="tell Optuna how a trial ended", target=str(trial.number)),
        )


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
    wanted = trial.score if trial.score is not None else _last(trial.scores)
    if wanted is None or _same(logged, wanted):
        return
    witness = _last(mlflow.curves.get(run.run_id, {}).get(f"valid/{optuna.resolved.metric}", {}))
    what = f"trial {trial.number}: its score is {wanted!r} in Optuna and {logged!r} in MLflow (run {run.run_id})"
    if trial.state == "diverged" or _same(witness, wanted):
        yield Finding(
            what=what,
            advice=f"{key} is written again as Optuna has it; MLflow keeps the other value in the metric's history",
            repair=Repair(kind="log values", target=run.run_id, values={key: wanted}),
        )
    else:
        yield Finding(
            what=f"{what}; the run's curve ends at {witness!r}",
            advice="Optuna's value cannot be changed: restore its database from a copy; " + _AGAIN.format(run.run_id),
        )


def _curves(trial: StudyTrial, run: StoredRun, optuna: OptunaSide, mlflow: MlflowSide) -> Iterator[Finding]:
    curves = mlflow.curves.get(run.run_id, {})
    n_epochs = optuna.epochs if trial.state == "finished" else max(trial.scores, default=0)
    wanted = set(range(1, n_epochs + 1))
    short = [
        f"{key} has {len(wanted & set(points))}" for key, points in sorted(curves.items()) if set(points) != wanted
    ]
    if short:
        yield Finding(
            what=f"trial {trial.number}: of {n_epochs} epochs {', '.join(short)} (run {run.run_id})",
            advice=_AGAIN.format(run.run_id),
        )
        return
    scores = curves.get(f"valid/{optuna.resolved.metric}", {})
    differ = [epoch for epoch in sorted(wanted) if not _same(scores.get(epoch), trial.scores.get(epoch))]
    if differ:
        first = differ[0]
        values = f"{scores.get(first)!r} and {trial.scores.get(first)!r}"
        yield Finding(
            what=f"trial {trial.number}: {len(differ)} of {n_epochs} epochs have another score in MLflow than in "
            f"Optuna, the first is epoch {first}: {values} (run {run.run_id})",
            advice=_AGAIN.format(run.run_id),
        )


def _artifacts(trial: StudyTrial, run: StoredRun, mlflow: MlflowSide) -> Iterator[Finding]:
    trouble = model_trouble(run, mlflow)
    if trouble is not None:
        yield Finding(
            what=f"trial {trial.number}: {trouble} (run {run.run_id})",
            advice="it is trained again, and its model written where every number is as it was logged",
            repair=Repair(kind="train trials with damaged models again"),
        )
    if met_test_part(trial, run) and run.run_id not in mlflow.predictions:
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
            yield closing(run, f"run {run.run_id} of trial {number}", may_close=may_close)
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


def closing(run: StoredRun, what: str, *, may_close: bool, tags: Mapping[str, str] | None = None) -> Finding:
    """Return the finding of a run that is RUNNING while nothing trains."""
    note = {keys.NOTE: "Interrupted: its process ended."} if tags is None else tags
    return Finding(
        what=f"{what} is RUNNING in MLflow, and no process trains the study",
        advice="it is closed as KILLED" if may_close else _ELSEWHERE,
        repair=Repair(kind="end run", target=run.run_id, status="KILLED", tags=note) if may_close else None,
    )


def _commonest(mlflow: MlflowSide, key: str) -> str | None:
    found = Counter(run.tags[key] for run in mlflow.runs.values() if key in run.tags)
    return found.most_common(1)[0][0] if found else None


def _last(scores: Mapping[int, float]) -> float | None:
    return scores[max(scores)] if scores else None


def _same(one: float | None, other: float | None) -> bool:
    """Tell whether two values are the same to the last bit, NaN and NaN among them."""
    if one is None or other is None:
        return one is other
    return one == other or (one != one and other != other)  # noqa: PLR0124 - NaN alone differs from itself
