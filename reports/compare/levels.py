"""Which trials belong to a level, what became of them, and the row that sums them up. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from depthcheck.pipeline.config import TrialConfig
from depthcheck.pipeline.records import TrialRecord
from depthcheck.reports.compare.confirmed import Confirmed, mean_or_none
from depthcheck.reports.compare.results import Difference, LevelRow, LevelStatus
from depthcheck.reports.compare.study_design import Factor, FrozenFinalist, StudyDesign


class LevelScores(Protocol):
    """What tuning a level gives.

    :class:`depthcheck.reports.compare.settings.Settings` is one, which itself knows levels from here.
    """

    def level(self, factor: str, level: str) -> Difference:
        """Return the level's tuned score on the part that judges."""

    def tuned_valid(self, factor: str, level: str) -> float:
        """Return its expected best validation score."""


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
    """Return the validation score of a trial; chance where it diverged, failed or has none."""
    evaluation = record.evaluation("valid")
    sound = evaluation is not None and record.state in ("finished", "pruned") and np.isfinite(evaluation.score)
    return evaluation.score if evaluation is not None and sound else design.chance


def is_untrained(record: TrialRecord, design: StudyDesign) -> bool:
    """Whether a finished trial's best training score stayed at chance, up to :attr:`StudyDesign.stuck_below`."""
    scores = [score for score in record.history.train_score if np.isfinite(score)]
    return record.state == "finished" and bool(scores) and max(scores) < design.stuck_below


def best_trial(trials: Sequence[TrialRecord], design: StudyDesign) -> TrialRecord | None:
    """Return the finished trial with the best validation score, of equals the one with the lowest number, or None."""
    scored = [r for r in trials if r.state == "finished" and r.evaluation("valid") is not None]
    return max(scored, key=lambda record: (valid_score(record, design), -record.number), default=None)


def level_row(
    factor: Factor,
    level: str,
    records: Sequence[TrialRecord],
    confirmed: Confirmed,
    *,
    settings: LevelScores | None = None,
    by_seeds: bool = False,
) -> LevelRow:
    """Sum up a level: what became of its trials, its best configuration, what tuning it gives, or fresh seeds gave.

    ``by_seeds`` says that levels are configurations, and their finalists' fresh seeds are what counts.
    """
    design, trials = confirmed.design, compare_trials(records, factor, level)
    best = best_trial(trials, design)
    of_level = (f for f in confirmed.finalists if (factor.name, level) in f.stands_for)
    finalist = next(of_level, None) if by_seeds else None
    runs = list(confirmed.runs[finalist.id].values()) if finalist else []
    valid = confirmed.spread(finalist.id, "valid") if finalist else None
    states = [record.state for record in trials]
    costed = runs or ([best] if best else [])
    return LevelRow(
        factor=factor.name,
        level=level,
        is_reference=level == factor.reference,
        status=_status(trials, runs, design, is_judged=settings is not None),
        n_finished=states.count("finished"),
        n_failed=states.count("failed"),
        n_diverged=states.count("diverged"),
        n_pruned=states.count("pruned"),
        n_untrained=sum(is_untrained(record, design) for record in trials),
        best=finalist.config if finalist else best.config if best else None,
        finalist=finalist.id if finalist else None,
        selected_score=_selected(finalist, best, design),
        valid=valid,
        test=confirmed.spread(finalist.id, "test") if finalist else None,
        n_params=next((record.n_params for record in costed if record.n_params is not None), None),
        fit_seconds=mean_or_none([record.fit_seconds for record in costed]),
        tuned=None if settings is None else settings.level(factor.name, level),
        tuned_valid=None if settings is None else settings.tuned_valid(factor.name, level),
    )


def _selected(finalist: FrozenFinalist | None, best: TrialRecord | None, design: StudyDesign) -> float | None:
    if finalist is not None:
        return finalist.selected_score
    return None if best is None else valid_score(best, design)


def _status(
    trials: Sequence[TrialRecord], runs: Sequence[TrialRecord], design: StudyDesign, *, is_judged: bool
) -> LevelStatus:
    every = [*trials, *runs]
    alive = [record for record in every if record.state != "failed"]
    stable = [record for record in alive if record.state != "diverged"]
    if not alive:
        return "failed" if every else "no trials"
    if not stable:
        return "diverged"
    if all(is_untrained(record, design) for record in stable):
        return "never trained"
    if is_judged:
        return "judged"
    if not runs:
        return "unjudged"
    return "confirmed" if len(runs) >= design.n_seeds else "partly confirmed"


def record_level(record: TrialRecord, factor: Factor) -> str | None:
    """Return the level that the configuration has, else the one that the trial's tag names."""
    tags = dict(part.split("=", 1) for part in record.tags.get("cell", "").split(", ") if "=" in part)
    tagged = tags.get(factor.name, record.tags.get(factor.name))
    return level_of(record.config, factor) or (tagged if tagged in factor.levels else None)


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
