"""One session of a study: from what the user asked for to the last trial, or to a clean stop.

Checks everything first, so that bad input is refused before anything is written or trained; then opens the ledger and
the parent run, starts workers, and lets the coordinator run.

A study with a deadline goes on until its questions are decided. It is judged when its plan is complete, and grows by
half as long as a question is open that more settings may decide. Every such look is noted in MLflow before its answers
are read: the report pays for them with stricter intervals (:mod:`depthcheck.reports.compare.verdict`). What is decided
is the reports' to say; they are asked through a function that is handed in, since nothing here knows of reports.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from distributed import Client, Future
from rich.console import Console

from depthcheck.experiments import places, tracking
from depthcheck.experiments.addresses import may_be_shown, server_address, shown, study_name, whole
from depthcheck.experiments.cluster import launch
from depthcheck.experiments.cluster.admission import n_admitted
from depthcheck.experiments.cluster.travel import changed_since, require_same, stamps
from depthcheck.experiments.cluster.warm_up import cluster_of
from depthcheck.experiments.planning import design, space
from depthcheck.experiments.planning.definition import check_fits
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import FACTOR, Finalist
from depthcheck.experiments.study.coordinator import Coordinator, score_networks, submit_references, wait_for_references
from depthcheck.experiments.study.describe import StudyEnding, StudyPage, champion_markdown, data_facts, study_markdown
from depthcheck.experiments.study.progress import Ahead, StudyProgress, duration
from depthcheck.experiments.study.resume import recover, resumed, usable
from depthcheck.experiments.study.running import RecordedStudy, Resolved, RunningStudy, best_of
from depthcheck.experiments.tracking import StudyRun, keys
from depthcheck.experiments.tracking.model import ChangedModelError
from depthcheck.experiments.tracking.reach import watched, write_ahead
from depthcheck.experiments.tracking.store import client as store_client
from depthcheck.experiments.tracking.store import require_usable
from depthcheck.pipeline.config import InWords, require
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.data.profile import profile_lines
from depthcheck.pipeline.prepare.prepare import require_features
from depthcheck.pipeline.prepare.split import part_sizes, resolve
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.scores import ENOUGH_SETTINGS
from depthcheck.pipeline.system import cleaning_up
from depthcheck.pipeline.verbatim import Launcher, command

#: Columns of a table that are listed when a study starts; all of them stand in its artifact ``profile.txt``.
_COLUMNS_SHOWN = 40
#: Address of the store and id of the study's run -> the answers (:func:`depthcheck.reports.text.answer.answers`).
Judge = Callable[[str, str], Mapping[str, Any]]
#: How much a study grows from look to look: estimates of nearly the same settings would be looked at for nothing.
_GROWTH = 1.5
_OPEN = ("inconclusive", "not enough evidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRequest:
    """What the user asked for, checked as far as it can be without the data.

    Attributes
    ----------
    chosen
        Finalists that the user named: then nothing is searched, and they alone are trained on fresh seeds.
    runs
        The ids of their runs, with commas between.
    data_sha256
        Which data they were trained on; None where the study may be of any.
    study
        None for the name derived from its definition.
    workers, scheduler
        Processes on this machine (None for one a core), or the address of the user's own Dask cluster.
    storage
        None for the file beside the tracking database.
    deadline
        Where the study is to go on until it is decided; None for the trials that were asked for.
    launcher
        What asks for it.
    before
        Is called before the data are read, when all was checked that can be without them.
    meanwhile
        Is called at the end, where there is nothing to do but to wait for workers.
    """

    experiment: Experiment
    tracking_uri: str
    chosen: tuple[Finalist, ...] = ()
    runs: str | None = None
    data_sha256: str | None = None
    study: str | None = None
    workers: int | None = None
    scheduler: str | None = None
    storage: str | None = None
    data_folder: Path | None = None
    deadline: Deadline | None = None
    launcher: Launcher = "depthcheck"
    before: Callable[[], object] = lambda: None
    meanwhile: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        """Refuse what cannot be, and to go on until it is decided what no further settings decide."""
        if self.study:
            study_name(self.study)
        if self.workers:
            whole(self.workers, "workers")
        if self.scheduler:
            server_address(self.scheduler, "scheduler")
        asked = self.experiment
        needed = {
            "nothing compared": asked.compare,
            "nothing tuned": asked.is_tuned,
            "[budget] compare = 0": asked.budget.compare,
        }
        lacking = ", ".join(said for said, has in needed.items() if not has)
        expected = "of a study that compares levels, tunes what is beside them, and has trials to compare them by"
        require(self.deadline is None or not lacking, "decide_within", expected, InWords(lacking))


def run(request: StudyRequest, console: Console) -> StudyEnding:
    """Run the study that was asked for, or go on with it.

    Raises
    ------
    ValueError
        When something asked for cannot be: one line, and nothing of a study has been written.
    TrackingError
        When the tracking store is in trouble; the study can be continued.
    RuntimeError
        When all trials fail alike.
    KeyboardInterrupt
        When the user stops it: nothing is left RUNNING then, and the study can be continued.
    """
    address = cluster_of(request.scheduler, request.workers)
    experiment = request.experiment
    uri = request.tracking_uri
    place = places.Place.of(uri, request.storage)
    places.require_writable(place.folder, "the folder of the study's storage")
    with usable():
        require_usable(uri, place.storage)
        if request.study and tracking.is_there(uri):
            tracking.require_free(uri, request.study)
    request.before()
    files = stamps(experiment.data, request.data_folder)
    dataset = load(experiment.data, folder=request.data_folder, cache=places.data_cache(), log=console.print)
    if request.data_sha256 is not None:
        require_same(dataset, request.data_sha256, "the runs", "name the folder that has them (data_folder=FOLDER)")
    if dataset.is_table or not dataset.is_known:  # of known pictures there is nothing to understand
        console.print("\n".join(profile_lines(dataset, limit=_COLUMNS_SHOWN)) + "\n")
    check_fits(experiment, dataset)
    split = resolve(experiment.split, dataset)
    if not request.chosen:
        design.check_plan(experiment, split)
    facts = data_facts(dataset, split)
    require_features(dataset, split)
    own = [one.name for one in (experiment.model, experiment.data.own_metric) if one is not None]
    if own:
        console.print(f"trying {' and '.join(own)} once")
        at = request.chosen[0].point if request.chosen else design.first_point(experiment)
        config = space.to_config(experiment, at, seed=0, data_sha256=dataset.sha256, split=split)
        if (scale := launch.try_elsewhere(config, dataset)) is not None:
            facts["metric_scale"] = scale
    name = request.study or experiment.study_name(dataset.sha256)
    elsewhere = launch.connected(address, experiment.data, dataset, console.print) if address else None
    with (
        watched((uri, place.storage), console.print),
        elsewhere or contextlib.nullcontext() as cluster,
        resumed(place, name, experiment, dataset, is_search=not request.chosen, console=console) as ledger,
        contextlib.nullcontext(cluster) if cluster else _embedded(request) as client,
    ):
        write_ahead(uri, place.storage)
        with usable():
            # Factors in another order are the same study, and would number its combinations another way.
            experiment = replace(
                experiment, compare={name: experiment.compare[name] for name in ledger.definition["compare"]}
            )
            tracking.require_new(tracking.launched_run(), name, uri)
            if not request.chosen:
                ledger.raise_budget(experiment.budget.trials)
            resolved = Resolved.by(dataset, split)
            ledger.note_resolved(resolved.noted(experiment.data))
            recorded = RecordedStudy(ledger=ledger, experiment=experiment, resolved=resolved)
            study = RunningStudy(
                ledger=ledger,
                experiment=experiment,
                resolved=resolved,
                study_run=_open_parent(recorded, dataset, request, facts),
                data_folder=str(request.data_folder) if request.data_folder else None,
            )
        page = StudyPage(study, dataset, facts["parts"])
        with _ends_well(client, page, console):
            _begin(study, dataset)
            console.print(_announcement(study, place.storage))
            address = _train(study, client, request=request, dataset=dataset, page=page, facts=facts, console=console)
    if warning := changed_since(files, dataset, experiment.data, request.data_folder):
        console.print(warning)
    return StudyEnding(
        study=name,
        tracking_uri=uri,
        storage=place.storage,
        parent_run_id=study.study_run.run_id,
        experiment_id=study.study_run.experiment_id,
        n_planned=len(study.plan),
        trials=tuple(study.ended),
        recommended=None if request.chosen else study.champion,
        champion=address,
        metric=dataset.metric,
        model=experiment.model,
        is_comparison=bool(request.chosen),
    )


@contextlib.contextmanager
def _ends_well(client: Client, page: StudyPage, console: Console) -> Iterator[None]:
    """Leave no worker and no run behind, however the training inside ends; what is refused by now is no bad input."""
    try:
        yield
    except BaseException as error:
        cleaning_up()
        launch.kill_workers(client)
        if isinstance(error, tracking.TakenOverError):
            raise  # whatever is RUNNING is somebody else's
        interrupted = isinstance(error, KeyboardInterrupt)
        if interrupted:
            console.print("stopping: interrupted trials are closed as KILLED")
        try:
            page.abandon("KILLED" if interrupted else "FAILED")
        except tracking.TakenOverError as trouble:
            console.print(may_be_shown(trouble))
        except tracking.TrackingError as trouble:
            if interrupted:  # otherwise the error that is on its way says it
                console.print(f"not closed, the next start will do it: {may_be_shown(trouble)}")
        if isinstance(error, ValueError):
            # Bad input is what is told before anything is trained.
            raise tracking.TrackingError(str(error), lasts=True) from error
        raise
    launch.kill_workers(client)
    tracking.patiently(page.tracking_uri, lambda: page.close("FINISHED"))


def _train(
    study: RunningStudy,
    client: Client,
    *,
    request: StudyRequest,
    dataset: Dataset,
    page: StudyPage,
    facts: Mapping[str, Any],
    console: Console,
) -> str | None:
    """Search, freeze the finalists, score all networks and confirm; return the champion's address, None without one."""
    chosen, study_run = request.chosen, study.study_run
    patient = functools.partial(tracking.patiently, study_run.tracking_uri)
    progress = StudyProgress(console, epochs=study.experiment.budget.epochs)
    has_test = part_sizes(dataset, study.resolved.split)["test"] > 0
    seconds, n_trained = 0.0, 0
    n_scored = sum(trial.phase != "confirm" for trial in study.ended) if study.confirm_rounds else 0

    def train(phase: str = "search", *, beside: Future | None = None) -> None:
        nonlocal seconds, n_trained
        plan, so_far, start = study.plan, study.ended, time.monotonic()
        best = best_of(so_far)
        of_data = len(dataset.columns) or math.prod(dataset.X.shape[1:]), len(dataset.class_names) or 1
        ended = {trial.number for trial in so_far}
        ahead = {
            trial.number: Ahead(None if (at := trial.point) is None else space.n_products(at, *of_data), trial.finalist)
            for trial in plan
            if trial.number not in ended
        }
        progress.plan(
            phase,
            ahead=ahead,
            n_unplanned=study.n_unplanned,
            n_to_score=study.n_search - n_scored if has_test else 0,
            n_ended=len(so_far),
            best=None if best is None else best.score,
            beside=beside is not None,
        )
        Coordinator(study, client, progress, page.note_now_and_then, beside=beside).run()
        seconds += time.monotonic() - start
        n_trained += len(plan) - len(so_far)

    def score() -> None:
        nonlocal n_scored
        if has_test:
            score_networks(study, client, progress)
        n_scored = study.n_search

    with progress:
        train("confirm" if chosen else "search")
        if request.deadline is not None:
            patient(study.freeze_selection)
            score()
            while goes_on(
                study,
                request.deadline,
                seconds_a_trial=seconds / n_trained if n_trained else seconds_before(study_run, n_admitted(client)),
                console=console,
            ):
                # Neither reports nor who writes Optuna's storage again would know of the larger budget otherwise.
                patient(lambda: study_run.log_of_session({keys.DESIGN: _as_noted(study, facts)}))
                train()
                patient(study.freeze_selection)
                score()
        elif study.ledger.looks or patient(lambda: tracking.looks(study_run.tracking_uri, study_run.run_id)):
            patient(lambda: note_look(study, study.n_settings))
        is_more_to_train = study.freeze_finalists(chosen)
        score()
        submit = functools.partial(patient, lambda: submit_references(study, dataset, client, progress))
        scored = submit()
        if is_more_to_train:
            train("confirm", beside=scored)
        address = None if chosen else _register(study, progress.console)
        if scored is not None:
            progress.name_phase("scikit-learn")
            request.meanwhile()
            wait_for_references(scored, submit, progress)
    return address


def _register(study: RunningStudy, console: Console) -> str | None:
    """Register the champion's model and return its address; None where there is none, or what was logged is lost."""
    best, run = study.champion, study.study_run
    if best is None:
        return None
    patient = functools.partial(tracking.patiently, run.tracking_uri)
    description, served = champion_markdown(study.name, best), study.resolved.served
    try:
        if patient(lambda: tracking.find_run(run.tracking_uri, best.run_id)) is not None:
            return patient(lambda: tracking.register_champion(run, best.run_id, description, served))
        why = f"its run {best.run_id} is gone from MLflow"
    except ChangedModelError as error:
        why = may_be_shown(error)
    except tracking.TrackingError as error:
        if not error.lasts:
            raise
        doctor = command(tracking.launcher(), "doctor", study=study.name, fix=True)
        why = f"{may_be_shown(error)}; {doctor} repairs what can be"
    former = patient(lambda: tracking.read_run(run.tracking_uri, run.run_id)).tags.get(keys.CHAMPION_RUN, best.run_id)
    if former != best.run_id:
        why += f"; {keys.CHAMPION} still is the model of run {former}, which was recommended before"
    console.print(f"the recommended model is not registered: {why}")
    return None


@contextlib.contextmanager
def _embedded(request: StudyRequest) -> Iterator[Client]:
    """Yield new workers. While they start, MLflow is imported and makes its database, which waits for the disk."""
    with ThreadPoolExecutor() as beside:
        opening = beside.submit(store_client, request.tracking_uri)
        with launch.embedded(request.workers or launch.n_cores(), places.program_cache()) as client:
            opening.exception()  # waits; trouble comes up again where the store is used
            yield client


def _open_parent(
    study: RecordedStudy, dataset: Dataset, request: StudyRequest, facts: Mapping[str, Any]
) -> tracking.StudyRun:
    experiment, ledger = study.experiment, study.ledger
    resolved = study.resolved.noted(experiment.data)
    # Of their machines nothing is known.
    elsewhere = {"workers": "a Dask cluster"} if cluster_of(request.scheduler, request.workers) else {}
    return tracking.open_parent(
        study.name,
        uri=request.tracking_uri,
        launcher=request.launcher,
        parent_run_id=ledger.parent_run_id,
        description=study_markdown(study, dataset, facts["parts"]),
        params={
            **experiment.as_params(),
            **{"data.name" if key == "data" else f"data.{key}": text for key, text in resolved["data"].items()},
            "data_sha256": dataset.sha256,
            keys.COMPARED: ", ".join(experiment.compare) or "nothing",
            **({keys.RUNS: request.runs} if request.runs else {}),
        },
        origin=ledger.lock.origin,
        artifacts={
            keys.DESIGN: _as_noted(study, facts),
            keys.ENVIRONMENT: {**tracking.environment(), **elsewhere},
            keys.PROFILE: "\n".join(profile_lines(dataset)) + "\n",
        },
    )


def _begin(study: RunningStudy, dataset: Dataset) -> None:
    """Have Optuna know the study's run, and leave nothing open of sessions before."""
    run = study.study_run
    study.ledger.set_parent_run_id(run.run_id)
    if not run.continued:
        tracking.close_unborn(run)
    run.log_dataset(dataset)
    recover(study.ledger, run)


def _as_noted(study: RecordedStudy, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a session notes of the study: its definition, how its data were understood, its budgets and plan."""
    experiment = study.experiment
    return {
        "question": experiment.question,
        "definition": experiment.as_json(),
        "widened": list(experiment.widenings),
        "resolved": study.resolved.noted(experiment.data),
        "data": dict(facts),
        "seeds": experiment.budget.seeds,
        "budgets": [one.trials for one in study.ledger.rounds() if isinstance(one, design.SearchRound)],
        "plan": [
            {"number": trial.number, "phase": trial.phase, "combination": dict(trial.combination),
             "seed": trial.seed, "point": None if trial.point is None else dict(trial.point)}
            for trial in study.plan
        ],
    }  # fmt: skip


def _announcement(study: RunningStudy, storage: str) -> str:
    experiment, plan, n_ended = study.experiment, study.plan, len(study.ended)
    phases = Counter(trial.phase for trial in plan)
    verb = f"starts {study.n_expected} runs: "
    if n_ended:
        verb = f"continues: {n_ended} of {study.n_expected} runs have ended; "
    searched = ", ".join(f"{phase} {n}" for phase, n in phases.items() if phase != "confirm")
    to_confirm = study.n_expected - study.n_search
    shares = f"{study.n_search} of the search ({searched})" + (f", {to_confirm} to confirm" if to_confirm else "")
    if FACTOR in experiment.compare:
        shares = f"{len(experiment.compare[FACTOR])} configurations on {experiment.budget.seeds} fresh seeds"
    lines = [
        f"study {study.name} {verb}{shares}",
        f"  runs go to    {shown(study.study_run.tracking_uri)}",
        f"  study goes to {shown(storage)}",
    ]
    if experiment.widenings:
        lines.append(f"  widened       {', '.join(experiment.widenings)}: another definition, hence another study")
    if phases["exploit"] and not phases["compare"]:
        lines.append("  warning: too few trials to give each combination of levels one; nothing can be compared")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When a session that began at ``start`` (of the monotonic clock) is to end, and who says what is decided."""

    seconds: float
    start: float
    judge: Judge

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.monotonic() - self.start)


def seconds_before(study_run: StudyRun, n_workers: int) -> float:
    """Return how long a trial took in earlier sessions, if so many workers had shared them."""
    uri = study_run.tracking_uri
    trials = tracking.patiently(uri, lambda: tracking.trials(uri, study_run.run_id))
    return fmean([trial.fit_seconds or 0.0 for trial in trials] or [0.0]) / max(n_workers, 1)


def note_look(study: RunningStudy, settings: int) -> tuple[int, ...]:
    """Note that the study is judged at so many settings; return all looks so far.

    Optuna has them too, for where the study loses its run; an earlier copy of either store lacks the last ones.
    """
    run = study.study_run
    looks = tuple(sorted({*tracking.looks(run.tracking_uri, run.run_id), *study.ledger.looks, settings}))
    study.ledger.note_looks(looks)
    run.log_looks(looks)
    return looks


def goes_on(study: RunningStudy, deadline: Deadline, *, seconds_a_trial: float, console: Console) -> bool:
    """Judge the study; where a question is open and there is time, add settings to its plan and return True.

    With too few settings for a verdict there is nothing to look at, and nothing to pay for.

    Parameters
    ----------
    seconds_a_trial
        How long a trial takes, all workers together.
    """
    now, wanted, still = study.n_settings, ENOUGH_SETTINGS, "no verdict yet"
    if now >= ENOUGH_SETTINGS:
        run, uri = study.study_run, study.study_run.tracking_uri
        tracking.patiently(uri, lambda: note_look(study, now))
        answers = tracking.patiently(uri, lambda: deadline.judge(uri, run.run_id))
        left = [f"{of['factor']} {of['level']}" for of in answers["contrasts"] if of["verdict"] in _OPEN]
        wanted, still = round(now * _GROWTH), f"open: {', '.join(left)}"
        if not left:
            console.print(f"decided at {now} settings: every question has its answer")
            return False
        if not answers["can_be_decided"]:
            console.print(f"{now} settings, {still}; no number of settings would decide it on these data")
            return False
    n_combinations, share = len(design.combinations(study.experiment)), study.experiment.budget.compare
    # The recommended model and its alternative are trained again behind the last look.
    to_confirm = design.n_to_confirm(study.experiment) * seconds_a_trial
    fit_in = int((deadline.left - to_confirm) / max(seconds_a_trial, 1e-3))
    # Where the share is below 1 those settings come with trials that TPE proposes, which take their time, too.
    most = min(fit_in // n_combinations, int((study.n_search + fit_in) * share / n_combinations + 1e-9) - now)
    more = min(max(wanted - now, 1), most)
    if more < 1:
        console.print(f"{now} settings, {still}; the time is over (it was {duration(deadline.seconds)})")
        return False
    console.print(f"{now} settings, {still}; {more} more, {duration(deadline.left)} left")
    by_share = math.ceil((now + more) * n_combinations / share - 1e-9)
    study.ledger.raise_budget(max(study.n_search + more * n_combinations, by_share))
    return True
