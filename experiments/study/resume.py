"""Where a study goes on. It is in both stores or in none, and MLflow is asked before anything is trained again.

Where Optuna's storage has lost the study, or has an earlier state of it, it is written again from MLflow's runs, by a
start and by the doctor: a lost or an older ``optuna.db`` loses nothing. A study's plan is a function of its definition,
its budgets and its results, so only the budgets must be found, and where each ended whose last runs are lost: each
session noted its budgets and its plan. Every run is held against the plan before it is written; one that does not fit
ends it. Where MLflow has lost the study nothing can be written again, and the start is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from depthcheck.experiments import tracking
from depthcheck.experiments.addresses import shown, without_password
from depthcheck.experiments.cluster.travel import require_same
from depthcheck.experiments.cluster.worker import outcome_of
from depthcheck.experiments.lock import Lock, held, may_run_elsewhere
from depthcheck.experiments.places import Place
from depthcheck.experiments.planning import design, space
from depthcheck.experiments.planning.design import ConfirmRound, PlannedTrial, SearchRound
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import FACTOR, missing_runs
from depthcheck.experiments.planning.space import Point
from depthcheck.experiments.study.ledger import Ledger, require_definition, study_names
from depthcheck.experiments.study.running import RecordedStudy
from depthcheck.experiments.tracking import StoredRun, keys, launcher
from depthcheck.experiments.tracking.reading import study_designs
from depthcheck.experiments.tracking.runs import find_run, runs_below, study_runs
from depthcheck.experiments.tracking.store import store_directory
from depthcheck.pipeline.config import ParamValue
from depthcheck.pipeline.dimensions import DIMENSIONS
from depthcheck.pipeline.records import Dataset, TrialRecord
from depthcheck.pipeline.verbatim import command

_ANOTHER_NAME = "begin anew under another name (study=NAME)"
#: Fresh seeds among which those of confirming runs are looked for.
_MOST_SEEDS = 1000


@contextlib.contextmanager
def resumed(
    place: Place, study: str, experiment: Experiment, dataset: Dataset, *, is_search: bool, console: Console
) -> Iterator[Ledger]:
    """Hold the study's lock, and yield the study in Optuna's storage with all of its trials that have ended.

    Parameters
    ----------
    is_search
        Whether trials follow from the definition. Of configurations that the user chose the workers take up the runs.

    Raises
    ------
    ValueError
        When the study cannot go on: it runs, here or elsewhere, is defined otherwise, is of other data, or a store has
        lost it for good. Nothing has been trained.
    """
    with contextlib.ExitStack() as stack:
        with usable():
            _require_not_running_elsewhere(place, study)
            lock = stack.enter_context(held(place, study, console.print))
            ledger = _Resumption(place, study, experiment, dataset, console, lock=lock).open(is_search=is_search)
        yield ledger


@contextlib.contextmanager
def usable() -> Iterator[None]:
    """Take a store that no later attempt will find usable for bad input, as long as nothing has been trained."""
    try:
        yield
    except tracking.TrackingError as error:
        if error.lasts:
            raise ValueError(str(error)) from error
        raise


def _require_not_running_elsewhere(place: Place, study: str) -> None:
    """Complain about a study that is RUNNING on a server, and of whose process no lock can be seen here."""
    if store_directory(place.uri) is not None:  # beside the file lies the lock of whoever runs it
        return
    is_stored = study in study_names(place.storage)
    for run in _runs_named(place.uri, study):
        if may_run_elsewhere(place, study, run, is_stored=is_stored):
            begun = run.tags.get(keys.ORIGIN)
            raise ValueError(
                f"study {study!r} must be run once at a time, and run {run.run_id} of it in {place.uri}, begun on "
                f"{run.started:%Y-%m-%d %H:%M} UTC, is RUNNING without a trace here"
                f"{f' (from {begun})' if begun else ''}: go on where it was begun, or {_ANOTHER_NAME}"
            )


def _runs_named(uri: str, study: str) -> list[StoredRun]:
    """Return the runs of the study of that name that nobody deleted, the latest first."""
    runs = study_runs(uri) if tracking.is_there(uri) else []
    return [run for run in runs if run.study == study and not run.is_deleted]


def recover(ledger: Ledger, study_run: tracking.StudyRun) -> None:
    """Close what a killed session left RUNNING, and tell Optuna of trials that ended without it having heard."""
    if not study_run.continued:
        return
    ledger.require_ours()
    tracking.close_stale(study_run.tracking_uri, study_run.run_id)
    unended = {trial.number for trial in ledger.trials() if not trial.state.is_finished()}
    if not unended:
        return
    for record in tracking.trials(study_run.tracking_uri, study_run.run_id):
        if record.number in unended:
            ledger.tell(outcome_of(record))


class _Resumption:
    """What one start finds of its study, and how it goes on from there."""

    def __init__(
        self, place: Place, study: str, experiment: Experiment, dataset: Dataset, console: Console, *, lock: Lock
    ) -> None:
        self._place, self._study, self._lock = place, study, lock
        self._experiment, self._dataset = experiment, dataset
        self._definition = {**experiment.as_json(), "data_sha256": dataset.sha256}
        self._console = console

    def open(self, *, is_search: bool) -> Ledger:
        """Return the study in Optuna's storage: as it is there, written again, or new."""
        ledger = Ledger.existing(self._place.storage, self._study)
        if ledger is not None:
            ledger.lock = self._lock
            self._require_definition(ledger.definition)
        parent_run_id = ledger.parent_run_id if ledger is not None else None
        run = self._named_run(ledger) if ledger is None or parent_run_id is None else self._own_run(ledger)
        known = ledger.trials() if ledger is not None else []
        ended = self._ended_below(run)
        recorded = {trial.user_attrs["run_id"]: trial.number for trial in known if trial.user_attrs.get("run_id")}
        n_new = len({number for run_id, number in ended.items() if run_id not in recorded and number >= len(known)})
        if run is not None and (n_new or parent_run_id is None):
            ledger = self._written_again(ledger, run, n_new, is_search=is_search)
        if ledger is None:
            self._say_if_data_changed()
        lost = sorted(number for run_id, number in recorded.items() if run_id not in ended)
        if lost:
            few = ", ".join(map(str, lost[:5])) + (", …" if len(lost) > 5 else "")
            self._say(
                f"warning: {len(lost)} of {len(recorded)} trials that have ended are not in MLflow any more "
                f"(trial {few}); more: {command(launcher(), 'doctor')}"
            )
        ledger = Ledger.open(self._place.storage, self._study, self._definition)
        ledger.lock = self._lock
        return ledger

    def _say(self, line: str) -> None:
        self._console.print(without_password(line))

    def _require_definition(self, before: Mapping[str, Any]) -> None:
        """Complain about other data or another definition than those with which the study was begun."""
        advice = f"put them back as they were, or {_ANOTHER_NAME}"
        require_same(self._dataset, before.get("data_sha256", self._dataset.sha256), f"study {self._study!r}", advice)
        if before:
            require_definition(self._study, before, self._definition)

    def _own_run(self, ledger: Ledger) -> StoredRun:
        """Return the run that Optuna's study names."""
        run_id = str(ledger.parent_run_id)
        run = find_run(self._place.uri, run_id) if tracking.is_there(self._place.uri) else None
        if run is None:
            raise self._lost(ledger, f"no run {run_id} of it")
        if run.is_deleted:
            raise ValueError(
                f"run {run_id} of study {self._study!r} must be there, and is deleted in MLflow: restore it "
                f"({command(launcher(), 'doctor', study=self._study, fix=True)}), or {_ANOTHER_NAME}"
            )
        return run

    def _named_run(self, ledger: Ledger | None) -> StoredRun | None:
        """Return the latest run of the study's name that has trials, or None: then nothing was trained yet.

        One of another definition is not that of a study in Optuna which was killed before it knew its run.
        """
        runs = (run for run in _runs_named(self._place.uri, self._study) if self._ended_below(run))
        run = next(runs, None)
        if ledger is None:
            return run
        if run is not None:
            with contextlib.suppress(ValueError):
                self._require_definition(definition_of(self._designs(run)))
                return run
        if any(trial.state.is_finished() for trial in ledger.trials()):
            raise self._lost(ledger, "no run of it")
        return None

    def _lost(self, ledger: Ledger, got: str) -> ValueError:
        place, n_ended = self._place, sum(trial.state.is_finished() for trial in ledger.trials())
        return ValueError(
            f"study {self._study!r} must be in MLflow too, got {n_ended} trials that have ended in "
            f"{shown(place.storage)} and {got} in {shown(place.uri)}: put that store back from a copy, name the one "
            f"that has it (MLFLOW_TRACKING_URI), or {_ANOTHER_NAME}"
        )

    def _ended_below(self, run: StoredRun | None) -> dict[str, int]:
        """Return the trials that have ended in MLflow, by run id."""
        runs = runs_below(self._place.uri, run.run_id) if run is not None else []
        return {below.run_id: below.number for below in runs if below.counts}

    def _designs(self, run: StoredRun) -> Sequence[Mapping[str, Any]]:
        return study_designs(self._place.uri, run.run_id)

    def _written_again(self, ledger: Ledger | None, run: StoredRun, n_new: int, *, is_search: bool) -> Ledger:
        """Write the study, or what is missing of it, into Optuna's storage."""
        storage, study = self._place.storage, self._study
        run.require_readable(f"study {study!r}")
        designs = self._designs(run)
        n_known = len(ledger.trials()) if ledger is not None else 0
        try:
            if ledger is None or not ledger.resolved:
                self._require_definition(definition_of(designs))
                ledger = open_again(storage, study, run.run_id, designs, lock=self._lock)
            ledger.set_parent_run_id(run.run_id)
            if is_search:
                tell_all(ledger, self._place.uri, designs)
        except CannotRebuildError as error:
            raise ValueError(
                f"study {study!r} must be whole in {shown(storage)}, got {n_known} of its trials; {n_new} more have "
                f"ended in MLflow (run {run.run_id}), from which they cannot be written again: {error}; put a copy of "
                f"that storage back, name another (storage=URL), or {_ANOTHER_NAME}"
            ) from error
        if n_new:
            self._say(
                f"{shown(storage)} has {n_known} of the trials of study {study}; {n_new} more, which have ended in "
                f"MLflow (run {run.run_id}), are taken over, and not trained again"
            )
        return ledger

    def _say_if_data_changed(self) -> None:
        """Name the study that the same command began with other data: the name of a study follows from both."""
        for run in study_runs(self._place.uri) if tracking.is_there(self._place.uri) else []:
            sha256 = run.params.get("data_sha256", self._dataset.sha256)
            if sha256 != self._dataset.sha256 and self._experiment.study_name(sha256) == run.study:
                self._say(
                    f"the data have changed since study {run.study}: SHA-256 was {sha256}, is "
                    f"{self._dataset.sha256} ({self._dataset.source}); this is another study, with nothing of that one"
                )
                return


class CannotRebuildError(ValueError):
    """What is lost cannot be made again from what is left; the text says why."""


def open_again(
    storage: str, name: str, parent_run_id: str, designs: Sequence[Mapping[str, Any]], *, lock: Lock | None
) -> Ledger:
    """Create the study in Optuna's storage from what its sessions noted in MLflow.

    Parameters
    ----------
    lock
        The study's, or None where it has none yet.

    Raises
    ------
    CannotRebuildError
        When they noted no definition.
    """
    ledger = Ledger.open(storage, name, definition_of(designs))
    if lock is not None:
        ledger.lock = lock
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
    for trial in ledger.trials():  # finalists are chosen, and points proposed, by how these ended
        if not trial.state.is_finished() and trial.number in records:
            ledger.tell(outcome_of(records[trial.number]))
    while True:
        plan = study.plan
        for planned in plan[len(ledger.trials()) :]:
            if planned.number > max(records, default=-1):
                return  # the next start trains it
            _add(study, planned, records.get(planned.number))
        later = [records[number] for number in sorted(records) if number >= len(plan)]
        if not later:
            return
        _add_round(study, later, designs)


def _budgets(designs: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the budgets that sessions noted, and those of starts that never came to MLflow, which the next noted."""
    return sorted({n for one in designs for n in (*one.get("budgets", ()), _n_search(one)) if n})


def _n_search(one: Mapping[str, Any]) -> int:
    return sum(trial.get("phase") != "confirm" for trial in _plan(one))


def _plan(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    plan = one.get("plan")
    return plan if isinstance(plan, list) else []


def _add_round(study: RecordedStudy, later: Sequence[TrialRecord], designs: Sequence[Mapping[str, Any]]) -> None:
    """Add the round that comes next: of trials whose runs are lost, what sessions noted says which it is."""
    if FACTOR in study.experiment.compare:
        raise CannotRebuildError("its user chose the configurations; the same compare command takes up their runs")
    first, points = len(study.plan), {finalist.id: finalist.point for finalist in study.selected}
    noted = [trial for one in designs for trial in _plan(one) if trial["number"] >= first]
    told = {trial["number"]: (trial["phase"], trial["seed"], trial["point"]) for trial in noted}
    told |= {of.number: (of.phase, of.config.fit.seed, points.get(of.tags.get(tracking.FINALIST, ""))) for of in later}
    ends = min((number for number, (phase, *_) in told.items() if phase != "confirm"), default=max(told) + 1)
    if confirmed := {number: of[1:] for number, of in told.items() if number < ends}:
        study.ledger.add_round(_confirm_round(study, confirmed))
        return
    so_far = max((one.trials for one in study.ledger.rounds() if isinstance(one, SearchRound)), default=0)
    larger = [budget for budget in _budgets(designs) if budget > so_far]
    if not larger:
        raise CannotRebuildError(f"no session noted the budget that trial {later[0].number} belongs to")
    study.ledger.raise_budget(larger[0])


def _confirm_round(study: RecordedStudy, confirmed: Mapping[int, tuple[int, Point | None]]) -> ConfirmRound:
    """Return the round that has these trials: number -> seed, and whose point (None: of no finalist)."""
    seeds = {design.derive_seed(study.experiment.seed, "confirm", index): index for index in range(_MOST_SEEDS)}
    indices = [seeds.get(seed, -1) for seed, _ in confirmed.values()]
    finalists = study.selected
    done = [run for one in study.confirm_rounds for run in one.runs]
    runs = missing_runs(finalists, max(indices) + 1, done)
    points = {finalist.id: finalist.point for finalist in finalists}
    laid_down = {number: points[finalist] for number, (finalist, _) in enumerate(runs, len(study.plan))}
    others = [at for at, (_, point) in confirmed.items() if point is None or laid_down.get(at) != point]
    if others:
        lost = [str(trial.number) for trial in study.ledger.trials() if not trial.state.is_finished()]
        why = f"; trials without a run: {', '.join(lost)} (mlflow runs restore)" if lost else ""
        raise CannotRebuildError(f"trial {min(others)} confirms what the search did not choose{why}")
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
