"""What a study says of itself: the markdown at the top of its page, and the lines at its end. Pure text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.ranges import Range, Tuned
from depthcheck.pipeline.config import ParamValue, SplitConfig
from depthcheck.pipeline.dimensions import DIMENSIONS, by_dimension
from depthcheck.pipeline.records import Dataset, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTrial:
    """What the description needs of a trial that has ended."""

    number: int
    run_id: str
    phase: str
    state: TrialState
    score: float | None
    point: Mapping[str, ParamValue]


def best_of(trials: Sequence[EndedTrial]) -> EndedTrial | None:
    """Return the search's finished trial with the highest validation score, the first of equals."""
    finished = [
        trial for trial in trials if trial.state == "finished" and trial.phase != "confirm" and trial.score is not None
    ]
    return max(finished, key=lambda trial: (trial.score or 0.0, -trial.number), default=None)


def in_words(point: Mapping[str, ParamValue]) -> str:
    """Return a configuration on one line: ``depth 2, units 128, relu, sgd, learning rate 0.12``."""
    values = by_dimension(point)
    named = (
        dimension for name, dimension in DIMENSIONS.items() if values.get(name, dimension.default) != dimension.default
    )
    return ", ".join(dimension.said(values[dimension.name]) for dimension in named)


def study_markdown(
    experiment: Experiment,
    dataset: Dataset,
    *,
    study: str,
    n_planned: int,
    trials: Sequence[EndedTrial],
    parts: str,
) -> str:
    """Return the description of a study's run, while it goes on and when it has ended.

    ``parts`` says how the data are cut (:func:`parts_in_words`).
    """
    lines = [f"**{experiment.question}**" if experiment.question else f"**Study {study}**", ""]
    lines += _progress_lines(n_planned, trials)
    lines += _best_lines(trials, dataset.metric)
    lines += ["", "| | |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in _design_rows(experiment, dataset, trials, n_planned, parts)]
    lines += [
        "",
        "The table of runs shows one child a trial. The best single trial is no answer to the question: it is the "
        "luckiest of many. Trials of phase *compare* had equal budgets; those of *exploit* went where TPE sent them.",
    ]
    return "\n".join(lines) + "\n"


def parts_in_words(dataset: Dataset, split: SplitConfig, sizes: Mapping[str, int]) -> str:
    """Return how a data set is cut: ``48,000 train, 12,000 valid, 10,000 test``, or its folds."""
    how = {"stratified": ", stratified", "group": ", whole groups", "time": ", the latest last"}.get(split.method, "")
    if split.folds:
        return f"{len(dataset.y):,} in {split.folds}-fold cross-validation{how}; other folds for each fresh seed"
    return ", ".join(f"{n:,} {part}" for part, n in sizes.items()) + how


def champion_markdown(
    study: str, *, finalist: str, mean_score: float, n_seeds: int, point: Mapping[str, ParamValue]
) -> str:
    """Return the description of a champion in the model registry."""
    return (
        f"Champion of study **{study}**: finalist {finalist}, {in_words(point)}.\n\n"
        f"Mean validation score over {n_seeds} fresh seeds: {mean_score:.4f}. It was chosen by this score; what "
        "else is known of it, with intervals, is in the study's report.\n"
    )


def _progress_lines(n_planned: int, trials: Sequence[EndedTrial]) -> list[str]:
    states = Counter(trial.state for trial in trials)
    parts = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    return [f"{len(trials)} of {n_planned} trials have ended" + (f": {parts}." if parts else "."), ""]


def _best_lines(trials: Sequence[EndedTrial], metric: str) -> list[str]:
    best = best_of(trials)
    if best is None:
        return ["No trial has finished yet."]
    score = f"validation {metric} {best.score:.4f}"
    return [f"Best trial so far: **{best.number}** ({score}), {in_words(best.point)}."]


def _design_rows(
    experiment: Experiment, dataset: Dataset, trials: Sequence[EndedTrial], n_planned: int, parts: str
) -> list[tuple[str, str]]:
    phases = Counter(trial.phase for trial in trials)
    rows = [
        ("data", f"{dataset.name}: {parts}; SHA-256 {dataset.sha256[:16]}…"),
        ("predicted", f"{dataset.target or 'the label'}, {_task_words(dataset)}, judged by {dataset.metric}"),
        ("compared", "; ".join(f"{name}: {_list(levels)}" for name, levels in experiment.compare.items()) or "nothing"),
        ("tuned", "; ".join(tuned_in_words(experiment)) or "nothing"),
        ("fixed", "; ".join(values_in_words(experiment.fixed)) or "nothing"),
        ("budget", f"{n_planned} trials of {experiment.budget.epochs} epochs"),
        ("ended", ", ".join(f"{phase} {n}" for phase, n in phases.items()) or "none"),
        ("seed", str(experiment.seed)),
        ("which epoch counts", "the last one, in every trial"),
    ]  # fmt: skip
    return [(name, text) for name, text in rows if not (name == "fixed" and text == "nothing")]


def _task_words(dataset: Dataset) -> str:
    return "a number" if dataset.task == "regression" else f"{dataset.n_classes} classes"


def values_in_words(values: Mapping[str, ParamValue]) -> list[str]:
    """Return what is fixed, a few words each: ``batch_size 32``."""
    return [f"{name} {_short(value)}" for name, value in values.items()]


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
