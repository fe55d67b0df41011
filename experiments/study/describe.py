"""What a study says of itself: before it begins, on its page in MLflow, of its data, and as a session ends."""

from __future__ import annotations

import importlib.util
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from depthcheck.experiments import places, tracking
from depthcheck.experiments.addresses import mlflow_pages, run_page, shown
from depthcheck.experiments.cluster import launch
from depthcheck.experiments.cluster.worker import time_training
from depthcheck.experiments.planning import design, space
from depthcheck.experiments.planning.definition import check_fits
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import FACTOR, StudyTrial
from depthcheck.experiments.planning.ranges import Range, Tuned
from depthcheck.experiments.study.progress import duration
from depthcheck.experiments.study.running import Champion, RecordedStudy, RunningStudy, best_of
from depthcheck.experiments.tracking import StudyRun, keys
from depthcheck.experiments.tracking.runs import RunEnd
from depthcheck.experiments.tracking.store import require_at_hand
from depthcheck.pipeline.config import ParamValue, SplitConfig
from depthcheck.pipeline.data.guess import leaks_of
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.data.profile import profile_lines
from depthcheck.pipeline.own import OwnModel
from depthcheck.pipeline.prepare.prepare import require_features
from depthcheck.pipeline.prepare.split import cuts, part_sizes, resolve
from depthcheck.pipeline.records import Dataset, engines_in_words
from depthcheck.pipeline.scores import METRICS
from depthcheck.pipeline.training.reference import guesses
from depthcheck.pipeline.verbatim import LONGEST_NAME, in_markdown, one_line

#: Least time between two updates of the page while the study runs.
_NOTE_SECONDS = 15.0
#: Of a rehearsal: trainings that are timed, at most, and the rows of a study's page that are known by then.
_TIMED, _SHOWN = 4, ("data", "predicted", "compared", "tuned", "fixed", "seed")


def rehearse(
    experiment: Experiment, *, data_folder: Path | None, workers: int | None, log: Callable[[str], None]
) -> Iterator[str]:
    """Yield the lines that say what the study would be; the last comes after a few trainings were timed.

    Raises
    ------
    ValueError
        When the study cannot be run as it is defined.
    """
    dataset = load(experiment.data, folder=data_folder, cache=places.data_cache(), log=log)
    yield "\n".join(profile_lines(dataset)) + "\n"
    check_fits(experiment, dataset)
    split = resolve(experiment.split, dataset)
    design.check_plan(experiment, split)
    facts = data_facts(dataset, split)
    require_features(dataset, split)
    plan = design.plan(experiment, [design.SearchRound(trials=experiment.budget.trials)])
    to_confirm = design.n_to_confirm(experiment, plan)
    phases = ", ".join(f"{phase} {n}" for phase, n in Counter(trial.phase for trial in plan).items())
    rows = design_rows(experiment, dataset, (), len(plan), facts["parts"])
    yield "\n".join(f"{name:<14}{one_line(text)}" for name, text in rows if name in _SHOWN)
    yield f"{'trainings':<14}{len(plan) + to_confirm}: {phases}" + (f", {to_confirm} on fresh seeds" * (to_confirm > 0))
    first = [trial for trial in plan if trial.phase == "compare"][: len(design.combinations(experiment))] or plan[:1]
    at = np.unique(np.linspace(0, len(first) - 1, _TIMED).round().astype(int)).tolist()
    n_workers, folder = workers or launch.n_cores(), str(data_folder) if data_folder else None
    with launch.embedded(1, places.program_cache()) as client:
        timed = []
        for trial in (first[one] for one in at):
            assert trial.point is not None  # the baseline's and those of phase compare are laid down
            config = space.to_config(experiment, trial.point, seed=trial.seed, data_sha256=dataset.sha256, split=split)
            timed.append(client.submit(time_training, config, folder, pure=False).result())
        launch.kill_workers(client)
    left = (len(plan) + to_confirm) * float(np.mean(timed)) / n_workers
    on = f"{n_workers} worker{'s' * (n_workers > 1)}"
    yield (
        f"{'time':<14}about {duration(left)} of training on {on}, by timing {len(timed)} of them briefly just now; "
        f"nothing was written\n{'':<14}that is of a new study, without what deciding may add; trials that have ended "
        "are not trained again"
    )


class StudyPage:
    """Keeps the study's run up to date with its trials.

    Parameters
    ----------
    parts
        How the data are cut, as :func:`data_facts` says it.
    """

    def __init__(self, study: RunningStudy, dataset: Dataset, parts: str) -> None:
        self._study = study
        self._dataset = dataset
        self._parts = parts
        self._noted = time.monotonic()

    @property
    def tracking_uri(self) -> str:
        """Where it is written."""
        return self._study.study_run.tracking_uri

    def note(self) -> None:
        """Write the description and the best trial so far."""
        study_run, trials = self._study.study_run, self._study.ended
        study_run.set_tags({keys.NOTE: study_markdown(self._study, self._dataset, self._parts)})
        note_best(study_run, trials, self._dataset.metric)

    def note_now_and_then(self) -> None:
        """Write them unless that was done a moment ago."""
        if time.monotonic() - self._noted > _NOTE_SECONDS:
            self.note()
            self._noted = time.monotonic()

    def abandon(self, status: RunEnd) -> None:
        """Close what can be closed when the session ends early; a store that is away is not waited for."""
        require_at_hand(self.tracking_uri)
        self.close(status)

    def close(self, status: RunEnd) -> None:
        """Close what is still RUNNING below the study's run, and end the study's run itself."""
        self._study.ledger.require_ours()  # else whatever is RUNNING is somebody else's
        study_run = self._study.study_run
        tracking.close_stale(study_run.tracking_uri, study_run.run_id)
        try:
            self.note()
        except tracking.TrackingError as error:
            if error.lasts and not isinstance(error, tracking.TakenOverError):  # Optuna's study was deleted, for one
                study_run.finish(status)
            raise
        study_run.finish(status)


def note_best(study_run: StudyRun, trials: Sequence[StudyTrial], metric: str) -> None:
    """Note on the study's run which of its trials that have ended is the best so far."""
    best = best_of(trials)
    if best is not None and best.score is not None:
        study_run.log_best(
            number=best.number, run_id=best.run_id, score=best.score, metric=metric, trials_done=len(trials)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEnding:
    """Where a session's results are; ``champion`` is the address of the ``recommended`` model, where it has one."""

    study: str
    tracking_uri: str
    storage: str
    parent_run_id: str
    experiment_id: str
    n_planned: int
    trials: tuple[StudyTrial, ...]
    recommended: Champion | None
    champion: str | None
    metric: str
    model: OwnModel | None
    is_comparison: bool = False


def ending_lines(ending: StudyEnding, *, seconds: float) -> str:
    """Return the end of a session in words: the best configuration, where the results are, what to do next."""
    states = Counter(str(trial.state) for trial in ending.trials)
    lines = [
        "",
        f"study {ending.study} has ended: {len(ending.trials)} of {ending.n_planned} trials "
        f"({', '.join(f'{n} {state}' for state, n in sorted(states.items()))}) after {duration(seconds)}",
    ]
    if engines := engines_in_words([trial.engine for trial in ending.trials]):
        lines.append(f"  {engines}")
    metric, best, recommended = METRICS[ending.metric].title, best_of(ending.trials), ending.recommended
    if recommended is not None:
        lines += [
            f"  recommended   {recommended.finalist}, {space.in_words(recommended.point, ending.model)}",
            f"                validation {metric} {recommended.mean_score:.4f}, mean of {recommended.n_seeds} "
            f"fresh seed{'s' * (recommended.n_seeds > 1)}",
        ]
    elif best is not None:
        lines += [
            f"  best so far   trial-{best.number}, {space.in_words(best.point, ending.model)}",
            f"                validation {metric} {best.score:.4f}, a single run",
        ]
    if ending.champion is not None:
        lines.append(f"  its model     {ending.champion}")
    host, browse = mlflow_pages(ending.tracking_uri)
    page = f"{host}/{run_page(ending.experiment_id, ending.parent_run_id)}"
    lines += [f"  browse        {browse}", f"                {page}"] if browse else [f"  browse        {page}"]
    if importlib.util.find_spec("optuna_dashboard"):
        lines.append(f"  study         optuna-dashboard {shlex.quote(shown(ending.storage))}")
    more = "more trials or more seeds extends this study"
    if ending.is_comparison:
        more = "more seeds extends this comparison"
    return "\n".join([*lines, f"  more          the same command with {more}"])


def data_facts(dataset: Dataset, split: SplitConfig) -> dict[str, Any]:
    """Return what a study notes of its data, in JSON's types, so that a report need not read them."""
    sizes = part_sizes(dataset, split)
    facts: dict[str, Any] = {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "source": dataset.source,
        "task": dataset.task,
        "metric": dataset.metric,
        "target": dataset.target,
        "n_samples": len(dataset.y),
        "n_train": sizes["train"],
        "n_valid": sizes["valid"],
        "n_test": sizes["test"] or None,
        "parts": _parts_in_words(dataset, split, sizes),
        "is_table": dataset.is_table,
        **({"leaks": leaks_of(dataset.columns)} if dataset.is_table else {}),
    }
    if dataset.metric in ("accuracy", "r2"):
        facts["guess"] = guesses(dataset, split)
    if dataset.task == "regression":
        return facts | {"target_mean": float(dataset.y.mean()), "target_sd": float(dataset.y.std())}
    logs = [np.log(len(np.unique(dataset.y[cut.train]))) for cut in cuts(dataset, split)]  # as in what guessing costs
    facts["n_train_classes"] = float(np.exp(np.mean(logs)))
    counts = np.bincount(dataset.y, minlength=dataset.n_classes).tolist()
    return facts | {"class_names": list(dataset.class_names), "class_counts": counts}


def study_markdown(study: RecordedStudy, dataset: Dataset, parts: str) -> str:
    """Return the description of a study's run, while it goes on and when it has ended.

    ``parts`` says how the data are cut, as :func:`data_facts` does.
    """
    experiment, n_planned, trials = study.experiment, len(study.plan), study.ended
    lines = [f"**{in_markdown(experiment.question, None)}**" if experiment.question else f"**Study {study.name}**", ""]
    states = Counter(str(trial.state) for trial in trials)
    ended = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    lines += [f"{len(trials)} of {n_planned} trials have ended" + (f": {ended}." if ended else "."), ""]
    best = best_of(trials)
    is_of_chosen = FACTOR in experiment.compare
    if best is None and not is_of_chosen:
        lines.append("No trial has finished yet.")
    elif best is not None:
        score = f"validation {METRICS[dataset.metric].title} {best.score:.4f}"
        words = in_markdown(space.in_words(best.point, experiment.model), None)
        lines.append(f"Best single run so far: **trial-{best.number}** ({score}), {words}.")
    lines += ["", "| | |", "|---|---|"]
    rows = design_rows(experiment, dataset, trials, n_planned, parts)
    lines += ["| {} | {} |".format(name, in_markdown(text, None).replace("|", r"\|")) for name, text in rows]
    if is_of_chosen:
        lines += ["", "The table of runs shows one child a training, named after the configuration that it repeats."]
        return "\n".join(lines) + "\n"
    lines += [
        "",
        "The table of runs shows one child a trial. The best single trial is no answer to the question: it is the "
        "luckiest of many. Trials of phase *compare* had equal budgets; those of *exploit* went where TPE sent them.",
    ]
    return "\n".join(lines) + "\n"


def _parts_in_words(dataset: Dataset, split: SplitConfig, sizes: Mapping[str, int]) -> str:
    """Return how a data set is cut: ``48,000 train, 12,000 valid, 10,000 test``, or its folds."""
    words = {
        "stratified": "stratified",
        "group": "whole groups",
        "time": "the latest last",
        "own": "validation as given",
    }
    how = f", {words[split.method]}" if split.method in words else ""
    if split.folds:
        return f"{len(dataset.y):,} in {split.folds}-fold cross-validation{how}; other folds for each fresh seed"
    return ", ".join(f"{n:,} {part}" for part, n in sizes.items()) + how


def champion_markdown(study: str, champion: Champion) -> str:
    """Return the description of a champion in the model registry."""
    return (
        f"Champion of study **{study}**: finalist {champion.finalist}, "
        f"{in_markdown(space.in_words(champion.point, champion.model), None)}.\n\n"
        f"Mean validation score over {champion.n_seeds} fresh seeds: {champion.mean_score:.4f}. It was chosen by this "
        "score; what else is known of it, with intervals, is in the study's report.\n"
    )


def design_rows(
    experiment: Experiment, dataset: Dataset, trials: Sequence[StudyTrial], n_planned: int, parts: str
) -> list[tuple[str, str]]:
    """Return what a study consists of, a name and a few words each; ``trials`` are those that have ended."""
    phases = Counter(trial.phase for trial in trials)
    task = "a number" if dataset.task == "regression" else f"{dataset.n_classes} classes"
    judge = METRICS[dataset.metric].title
    compared = "; ".join(f"{name}: {_list(levels)}" for name, levels in experiment.compare.items())
    rows = [
        ("data", f"{dataset.name}: {parts}; SHA-256 {dataset.sha256[:16]}…"),
        ("predicted", f"{one_line(dataset.target, LONGEST_NAME) or 'the label'}, {task}, judged by {judge}"),
        ("compared", compared or "nothing"),
        ("tuned", "; ".join(tuned_in_words(experiment)) or "nothing"),
        ("fixed", "; ".join(fixed_in_words(experiment)) or "nothing"),
        ("budget", f"{n_planned} trials{_epochs(experiment)}"),
        ("ended", ", ".join(f"{phase} {n}" for phase, n in phases.items()) or "none"),
        ("seed", str(experiment.seed)),
        ("which epoch counts", "the last one; with early stopping the one of the lowest validation loss"),
    ]  # fmt: skip
    return [(name, text) for name, text in rows if not (name == "fixed" and text == "nothing")]


def _epochs(experiment: Experiment) -> str:
    """Return how many epochs each trial has, unless they are compared, tuned or fixed as other things are."""
    n_epochs = experiment.budget.epochs
    return "" if experiment.says_epochs else f" of {n_epochs} epoch{'s' * (n_epochs != 1)}"


def fixed_in_words(experiment: Experiment) -> list[str]:
    """Return what is fixed, a few words each, a user's own model first: ``batch_size 32``."""
    own, fixed = experiment.model, experiment.fixed
    said = [f"{name} {_short(value)}" for name, value in fixed.items() if own is None or own.is_said(name)]
    return said if own is None else [f"model {own.name}", *said]


def tuned_in_words(experiment: Experiment) -> list[str]:
    """Return what is tuned, a few words each: ``units one of 16, 32``, ``momentum of sgd 0 to 0.9``."""
    words = [f"{name} {_range(tuned)}" for name, tuned in experiment.tune.items()]
    for optimizer, ranges in experiment.tune_for.items():
        words += [f"{name} of {optimizer} {_range(tuned)}" for name, tuned in ranges.items()]
    return words


def _range(tuned: Tuned) -> str:
    if not isinstance(tuned, Range):
        return f"one of {_list(tuned.values)}"
    step = "" if tuned.step is None else f" in steps of {_short(tuned.step)}"
    return f"{_short(tuned.low)} to {_short(tuned.high)}{' (log)' if tuned.log else ''}{step}"


def _list(values: Sequence[ParamValue]) -> str:
    return ", ".join(_short(value) for value in values)


def _short(value: ParamValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
