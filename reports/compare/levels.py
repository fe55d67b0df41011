"""Which trials belong to a level, and what became of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from depthcheck.pipeline.config import TrialConfig
from depthcheck.pipeline.records import TrialRecord
from depthcheck.reports.compare.study_design import Factor, StudyDesign


def level_of(config: TrialConfig, factor: Factor) -> str | None:
    """Return the factor's level that a configuration has, or None (depth 0 has no activation).

    Numbers are compared as numbers: a level written ``0.50`` is the logged parameter ``0.5``.
    """
    value = config.values().get(factor.name)
    if value is None:
        return None
    return next((level for level in factor.levels if level == str(value) or _as_number(level) == value), None)


def compare_trials(records: Sequence[TrialRecord], factor: Factor, level: str) -> list[TrialRecord]:
    """Return the trials of the compare phase at a level, by number: the only ones that a table counts."""
    chosen = (r for r in records if r.phase == "compare" and record_level(r, factor) == level)
    return sorted(chosen, key=lambda record: record.number)


def valid_score(record: TrialRecord, design: StudyDesign) -> float:
    """Return the validation score of a trial; the dummy baseline's where it diverged, failed or has none."""
    evaluation = record.evaluation("valid")
    sound = evaluation is not None and record.state in ("finished", "pruned") and np.isfinite(evaluation.score)
    return evaluation.score if evaluation is not None and sound else design.dummy_score


def is_untrained(record: TrialRecord, design: StudyDesign) -> bool:
    """Whether a finished trial's best training score stayed below :attr:`StudyDesign.stuck_below`."""
    scores = [score for score in record.history.train_score if np.isfinite(score)]
    return record.state == "finished" and bool(scores) and max(scores) < design.stuck_below


def best_trial(trials: Sequence[TrialRecord], design: StudyDesign) -> TrialRecord | None:
    """Return the finished trial with the best validation score, of equals the one with the lowest number, or None."""
    scored = [r for r in trials if r.state == "finished" and r.evaluation("valid") is not None]
    return max(scored, key=lambda record: (valid_score(record, design), -record.number), default=None)


def record_level(record: TrialRecord, factor: Factor) -> str | None:
    """Return the level that the configuration has, else the one that the trial's tag names."""
    tags = dict(part.split("=", 1) for part in record.tags.get("combination", "").split(", ") if "=" in part)
    tagged = tags.get(factor.name, record.tags.get(factor.name))
    return level_of(record.config, factor) or (tagged if tagged in factor.levels else None)


def without_seed(config: TrialConfig) -> TrialConfig:
    """Return the configuration with seed 0 and the search's partition: what fresh seeds have in common."""
    return replace(config, fit=replace(config.fit, seed=0), split=replace(config.split, repeat=0))


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
