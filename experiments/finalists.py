"""The finalists of a search: for each level of each factor its best configuration, and the best of *exploit*.

Chosen by validation score alone, then frozen: their hash is logged before the first of them meets the test part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments.experiment import Experiment
from pipeline.config import ParamValue


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedTrial:
    """A trial of the search that ended with a score."""

    number: int
    phase: str
    cell: Mapping[str, ParamValue]
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
        The (factor, level) pairs of which it is the best, levels as text; empty for the best of *exploit*.
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
    """Return the finalists, in the order of their trials.

    Parameters
    ----------
    experiment
        Its factors are the questions.
    trials
        Of phases *compare* and *exploit*, finished or diverged. The earliest of equals is chosen.
    """
    stands_for: dict[int, list[tuple[str, str]]] = {}
    for factor, levels in experiment.compare.items():
        for level in levels:
            best = _best([t for t in trials if t.phase == "compare" and t.cell[factor] == level])
            if best is not None:
                stands_for.setdefault(best.number, []).append((factor, str(level)))
    exploited = _best([t for t in trials if t.phase == "exploit"])
    if exploited is not None and stands_for:
        stands_for.setdefault(exploited.number, [])
    by_number = {trial.number: trial for trial in trials}
    return tuple(_finalist(by_number[number], tuple(pairs)) for number, pairs in sorted(stands_for.items()))


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
