"""Finalists: what a search recommends and the best that its levels have against it, or runs that the user names.

Chosen by validation score alone, then frozen: their hash is logged before any network of the study meets the test part.

Runs that the user names make a pairwise comparison: a study without a search, whose factor is called ``configuration``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from depthcheck.experiments import tracking
from depthcheck.experiments.planning import space
from depthcheck.experiments.planning.document import Budget
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.pipeline.config import ModelConfig, ParamValue, SplitChoice, require
from depthcheck.pipeline.dimensions import CONFIGURATION, DIMENSIONS, by_dimension, parameter, told_apart
from depthcheck.pipeline.records import TrialRecord, TrialState

if TYPE_CHECKING:
    from depthcheck.experiments.planning.design import PlannedTrial

FACTOR = CONFIGURATION


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTrial:
    """A trial as Optuna holds it.

    Attributes
    ----------
    state
        How it ended, or None where Optuna has not heard of an end.
    score
        That counts; a pruned or failed trial has none.
    scores
        One an epoch, by the epoch.
    """

    number: int
    phase: str
    combination: Mapping[str, ParamValue]
    point: Mapping[str, ParamValue]
    seed: int = 0
    repeat: int = 0
    finalist: str | None = None
    state: TrialState | None = None
    run_id: str = ""
    score: float | None = None
    scores: Mapping[int, float] = field(default_factory=dict)
    engine: str = "compiled"

    @classmethod
    def of(cls, trial: FrozenTrial) -> StudyTrial:
        """Read a trial of Optuna's.

        Raises
        ------
        KeyError
            When it is none of this project, as one that a user asked for by hand.
        """
        noted, ended = trial.user_attrs, trial.state.is_finished()
        return cls(
            number=trial.number,
            phase=noted["phase"],
            combination=noted["combination"],
            point=noted["point"],
            seed=noted["seed"],
            repeat=noted.get("repeat", 0),
            finalist=noted.get("finalist"),
            state=noted["state"] if ended else None,
            run_id=noted.get("run_id", "") if ended else "",
            score=noted.get("score", trial.value),  # to Optuna a repeat on a fresh seed has none
            scores=trial.intermediate_values,
            engine=noted.get("engine", "compiled"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """A configuration to be trained again on fresh seeds.

    Attributes
    ----------
    id
        ``trial-12``, after the trial that it was selected by.
    origin
        The phase of that trial, or ``chosen`` where the user named it.
    stands_for
        The (factor, level) pairs of which it is the best trial of *compare*, levels as text; there may be none.
    """

    id: str
    number: int
    origin: str
    selected_score: float | None
    stands_for: tuple[tuple[str, str], ...]
    point: Mapping[str, ParamValue]

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Finalist:
        """Return what :func:`dataclasses.asdict` and JSON have made of a finalist."""
        pairs = tuple((str(factor), str(level)) for factor, level in stored["stands_for"])
        return cls(**{**stored, "stands_for": pairs})


def choose(experiment: Experiment, trials: Sequence[StudyTrial]) -> tuple[Finalist, ...]:
    """Return the finalists: the best trial, and the best of *compare* that has another combination of levels.

    Where nothing is tuned a level is a configuration, and what there is to say of it comes from fresh seeds: then the
    best of every level is a finalist.

    Parameters
    ----------
    experiment
        Its factors are the questions; without any there is no other combination.
    trials
        Of the search, with a score that counts; the baseline is never chosen. The earliest of equals is. One that
        diverged is where all did, or where nothing is tuned and its level has no other.
    """
    if experiment.is_tuned:
        trials = [trial for trial in trials if trial.state != "diverged"] or trials
    compared = [trial for trial in trials if trial.phase == "compare"]
    best = highest([trial for trial in trials if trial.phase in ("compare", "exploit")])
    if best is None:
        return ()
    if not experiment.is_tuned:
        numbers = {
            best_there.number
            for factor, levels in experiment.compare.items()
            for level in levels
            if (best_there := highest([trial for trial in compared if trial.combination[factor] == level]))
        }
        return tuple(
            _finalist(trial, _stands_for(trial, compared)) for trial in compared if trial.number in numbers
        ) or (_finalist(best, ()),)
    levels = _levels(experiment, best.point)
    alternative = highest([trial for trial in compared if _levels(experiment, trial.point) != levels])
    return tuple(_finalist(trial, _stands_for(trial, compared)) for trial in (best, alternative) if trial is not None)


def frozen_hash(finalists: Sequence[Finalist]) -> str:
    """Return the SHA-256 over the list of finalists: who was chosen, for what, by which score."""
    text = json.dumps([asdict(finalist) for finalist in finalists], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def missing_runs(
    finalists: Sequence[Finalist], n_seeds: int, done: Sequence[tuple[str, int]]
) -> tuple[tuple[str, int], ...]:
    """Return which finalist still has to be trained on which seed, all finalists on one seed before the next seed."""
    return tuple(
        (finalist.id, index) for index in range(n_seeds) for finalist in finalists if (finalist.id, index) not in done
    )


def trial_title(experiment: Experiment, planned: PlannedTrial, point: Mapping[str, ParamValue]) -> str:
    """Return a trial's phase and levels, or whom it confirms, in a few words: ``compare depth 2, adam``."""
    if planned.finalist is not None:
        return f"{planned.phase} {planned.finalist}"
    levels = zip(experiment.compare, _levels(experiment, point), strict=True)
    said = [DIMENSIONS[name].said(level, 2) for name, level in levels if level is not None]
    return f"{planned.phase} {', '.join(said)}".rstrip()


def _levels(experiment: Experiment, point: Mapping[str, ParamValue]) -> tuple[ParamValue | None, ...]:
    """Return a combination of levels, read off a point: *exploit* has no combinations. None: inactive."""
    optimizer = str(point["optimizer"])
    return tuple(point.get(parameter(factor, optimizer)) for factor in experiment.compare)


def _stands_for(trial: StudyTrial, compared: Sequence[StudyTrial]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (factor, str(level))
        for factor, level in trial.combination.items()
        if highest([other for other in compared if other.combination[factor] == level]) == trial
    )


def highest(trials: Sequence[StudyTrial]) -> StudyTrial | None:
    """Return the trial with the highest score, the first of equals; one that diverged is below all that did not."""
    return max(trials, key=lambda of: (of.state != "diverged", of.score or 0.0, -of.number), default=None)


def _finalist(trial: StudyTrial, pairs: tuple[tuple[str, str], ...]) -> Finalist:
    return Finalist(
        id=f"trial-{trial.number}",
        number=trial.number,
        origin=trial.phase,
        selected_score=trial.score,
        stands_for=pairs,
        point=dict(trial.point),
    )


def pairwise(
    uri: str, run_ids: Sequence[str], *, seeds: int, seed: int
) -> tuple[Experiment, tuple[Finalist, ...], str]:
    """Return the study that trains the configurations of two or more runs on the same fresh seeds, and its data's hash.

    Parameters
    ----------
    uri
        The tracking store that has the runs.
    run_ids
        Runs of trials; the first is what the others are held against. A run of a study stands for its best trial.
    seeds, seed
        Number of fresh seeds, and what they are derived from.

    Raises
    ------
    ValueError
        When there are fewer than two, one is no trial, two have one configuration, or they cannot be paired: other
        data, another split or another number of epochs.
    """
    if len(run_ids) < 2:
        raise ValueError(f"runs must be at least two run ids, with commas between them, got {','.join(run_ids)!r}")
    require(seeds >= 1, "seeds of a comparison", "at least 1", seeds)
    tracking.require_there(uri)
    records = [_record(uri, run_id) for run_id in run_ids]
    configs = [replace(record.config, fit=replace(record.config.fit, seed=0)) for record in records]
    first = configs[0]
    for record, config in zip(records, configs, strict=True):
        for name, value, expected in (
            ("data", config.data_sha256, first.data_sha256),
            ("split", replace(config.split, repeat=0), replace(first.split, repeat=0)),
            ("epochs", config.fit.epochs, first.fit.epochs),
            ("model", _text_of(config.model), _text_of(first.model)),
            ("metric", config.data.metric, first.data.metric),
        ):
            if value != expected:
                raise ValueError(f"{name} of run {record.run_id} must be that of the first, {expected}, got {value}")
    if len(set(configs)) < len(configs):
        raise ValueError("runs must have different configurations, got one twice")
    is_one_study = len({record.study for record in records}) == 1
    # Said once for a study, the class weight is in no point of its trials.
    weights = [config.fit.class_weight or "none" for config in configs]
    is_one_weight = len({*weights}) == 1
    finalists = tuple(
        _as_finalist(record, is_one_study, {} if is_one_weight else {"class_weight": weight})
        for record, weight in zip(records, weights, strict=True)
    )
    words = told_apart([by_dimension(one.point) for one in finalists])
    named = [f"{one.id} ({said})" for one, said in zip(finalists, words, strict=True)]
    experiment = Experiment(
        name="comparison",
        question=f"Which is better: {', '.join(named[:-1])} or {named[-1]}?",
        data=first.data,
        split=SplitChoice(
            **{name: getattr(first.split, name) for name in ("valid_size", "test_size", "seed", "method", "folds")}
        ),
        class_weight=first.fit.class_weight if is_one_weight else None,
        model=first.model.own,
        budget=Budget(trials=1, epochs=first.fit.epochs, seeds=seeds),
        seed=seed,
        compare={FACTOR: tuple(finalist.id for finalist in finalists)},
        fixed={},
        # Which of a finalist's runs scored best, and how, is no part of what is compared.
        chosen=frozen_hash([replace(one, number=0, selected_score=None) for one in finalists]),
    )
    return experiment, finalists, first.data_sha256


def _text_of(model: ModelConfig) -> str:
    return model.name if model.own is None else f"{model.name} ({model.own.sha256[:8]})"


def _record(uri: str, run_id: str) -> TrialRecord:
    try:
        record = tracking.trial(uri, tracking.best_run(uri, run_id))
    except tracking.TrackingError as error:
        if not error.lasts:
            raise
        raise ValueError(f"runs must be ids of runs in the tracking store, got {run_id!r} ({error})") from error
    if record is None:
        raise ValueError(f"run must be a trial that has ended, or a study that has one, got {run_id!r}")
    return record


def _as_finalist(record: TrialRecord, is_one_study: bool, more: Mapping[str, ParamValue]) -> Finalist:
    name = record.tags.get(tracking.FINALIST, f"trial-{record.number}")  # a champion's run confirms another trial
    identity = name if is_one_study else f"{record.study}/{name}"
    valid = record.evaluation("valid")
    return Finalist(
        id=identity,
        number=record.number,
        origin="chosen",
        selected_score=None if valid is None else valid.score,
        stands_for=((FACTOR, identity),),
        point={**space.from_config(record.config), **more},
    )
