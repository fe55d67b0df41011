"""Chosen configurations against each other: is A really better than B? No search, only fresh paired seeds.

A pairwise comparison is a study whose finalists are named by the user. It goes the way of phase *confirm*, and its
factor is called ``configuration``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from depthcheck.experiments import tracking
from depthcheck.experiments.planning import space
from depthcheck.experiments.planning.document import Budget
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import Finalist
from depthcheck.experiments.study.describe import in_words
from depthcheck.pipeline.config import SplitChoice, SplitConfig, TrialConfig
from depthcheck.pipeline.records import TrialRecord

FACTOR = "configuration"


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
    records = [_record(uri, run_id) for run_id in run_ids]
    configs = [_without_seed(record.config) for record in records]
    first = configs[0]
    for record, config in zip(records, configs, strict=True):
        for name, value, expected in (
            ("data", config.data_sha256, first.data_sha256),
            ("split", replace(config.split, repeat=0), replace(first.split, repeat=0)),
            ("epochs", config.fit.epochs, first.fit.epochs),
        ):
            if value != expected:
                raise ValueError(f"{name} of run {record.run_id} must be that of the first, {expected}, got {value}")
    if len(set(configs)) < len(configs):
        raise ValueError("runs must have different configurations, got one twice")
    finalists = tuple(_finalist(record) for record in records)
    experiment = Experiment(
        name="pairwise",
        question="Which configuration is better: " + " or ".join(in_words(one.point) for one in finalists) + "?",
        data=first.data,
        split=_choice(first.split),
        class_weight=first.fit.class_weight,
        budget=Budget(trials=1, epochs=first.fit.epochs, seeds=seeds),
        seed=seed,
        compare={FACTOR: tuple(finalist.id for finalist in finalists)},
        fixed={},
    )
    return experiment, finalists, first.data_sha256


def _choice(split: SplitConfig) -> SplitChoice:
    return SplitChoice(
        valid_size=split.valid_size, test_size=split.test_size, seed=split.seed, method=split.method, folds=split.folds
    )


def _record(uri: str, run_id: str) -> TrialRecord:
    try:
        record = tracking.trial(uri, tracking.best_run(uri, run_id))
    except tracking.TrackingError as error:
        raise ValueError(f"runs must be ids of runs in the tracking store, got {run_id!r} ({error})") from error
    if record is None:
        raise ValueError(f"run must be a trial that has ended, or a study that has one, got {run_id!r}")
    return record


def _without_seed(config: TrialConfig) -> TrialConfig:
    return replace(config, fit=replace(config.fit, seed=0))


def _finalist(record: TrialRecord) -> Finalist:
    identity = f"{record.study.rsplit('-', 1)[-1]}-{record.number}"
    valid = record.evaluation("valid")
    return Finalist(
        id=identity,
        number=record.number,
        origin="chosen",
        selected_score=None if valid is None else valid.score,
        stands_for=((FACTOR, identity),),
        point=space.from_config(record.config),
    )
