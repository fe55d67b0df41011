"""The finalists of a search: the configuration that is recommended, and the best that its levels have against it.

Chosen by validation score alone, then frozen: their hash is logged before any network of the study meets the test part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.pipeline.config import ParamValue
from depthcheck.pipeline.dimensions import parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedTrial:
    """A trial of the search that ended with a score."""

    number: int
    phase: str
    combination: Mapping[str, ParamValue]
    point: Mapping[str, ParamValue]
    score: float


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


def choose(experiment: Experiment, trials: Sequence[SearchedTrial]) -> tuple[Finalist, ...]:
    """Return the finalists: the best trial, and the best of *compare* that has another combination of levels.

    Where nothing is tuned a level is a configuration, and what there is to say of it comes from fresh seeds: then the
    best of every level is a finalist.

    Parameters
    ----------
    experiment
        Its factors are the questions; without any there is no other combination.
    trials
        Of the search, finished or diverged; the baseline is never chosen. The earliest of equals is.
    """
    compared = [trial for trial in trials if trial.phase == "compare"]
    best = _best([trial for trial in trials if trial.phase in ("compare", "exploit")])
    if best is None:
        return ()
    if not experiment.is_tuned:
        numbers = {
            _best_at(compared, factor, level) for factor in experiment.compare for level in experiment.compare[factor]
        }
        return tuple(
            _finalist(trial, _stands_for(trial, compared)) for trial in compared if trial.number in numbers
        ) or (_finalist(best, ()),)
    levels = _levels(experiment, best)
    alternative = _best([trial for trial in compared if _levels(experiment, trial) != levels])
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


def _levels(experiment: Experiment, trial: SearchedTrial) -> tuple[ParamValue | None, ...]:
    """Return a trial's combination of levels, read off its point: *exploit* has no combinations. None: inactive."""
    optimizer = str(trial.point["optimizer"])
    return tuple(trial.point.get(parameter(factor, optimizer)) for factor in experiment.compare)


def _stands_for(trial: SearchedTrial, compared: Sequence[SearchedTrial]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (factor, str(level))
        for factor, level in trial.combination.items()
        if _best([other for other in compared if other.combination[factor] == level]) == trial
    )


def _best_at(compared: Sequence[SearchedTrial], factor: str, level: ParamValue) -> int | None:
    found = _best([trial for trial in compared if trial.combination[factor] == level])
    return None if found is None else found.number


def _best(trials: Sequence[SearchedTrial]) -> SearchedTrial | None:
    return max(trials, key=lambda trial: (trial.score, -trial.number), default=None)


def _finalist(trial: SearchedTrial, pairs: tuple[tuple[str, str], ...]) -> Finalist:
    return Finalist(
        id=f"trial-{trial.number}",
        number=trial.number,
        origin=trial.phase,
        selected_score=trial.score,
        stands_for=pairs,
        point=dict(trial.point),
    )
