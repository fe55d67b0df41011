"""All that a report is made of, as it was read: trials, finalists, predictions, diagnostics and facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from depthcheck.pipeline.records import Predictions, TrialRecord
from depthcheck.reports.compare.study_design import FrozenFinalist, StudyDesign

#: metric -> epoch -> value
Curves = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """A data set in a few words; numbers that nobody knows are None.

    Attributes
    ----------
    class_counts
        Samples of each class, those of a test part of its own left out; empty for a regression.
    target, target_mean, target_sd
        Name of the predicted column, and what numbers it has in a regression.
    n_samples
        Those that are cut, without a test part of their own.
    majority_share
        Share of the commonest class among them.
    how
        How they were cut, in words: by which share and seed, the method and its column.
    """

    name: str
    sha256: str
    source: str = ""
    task: str = "classification"
    class_names: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    target: str = ""
    target_mean: float | None = None
    target_sd: float | None = None
    n_samples: int | None = None
    n_train: int | None = None
    n_valid: int | None = None
    n_test: int | None = None
    majority_share: float | None = None
    how: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceScores:
    """What a model of scikit-learn reached at its default settings, on the study's own split; None where unknown."""

    name: str
    valid: float | None = None
    test: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Shares of the variation that go with each dimension, the largest first, by a named method over so many trials."""

    method: str
    n_trials: int
    shares: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What the report says of a study beside its scores.

    Attributes
    ----------
    state
        Of its last session: running, finished, failed or interrupted.
    epochs, seed
        Of every trial; of the study, from which all others are derived.
    tuned, fixed
        What is, a few words each: ``units one of 16, 32``.
    seeds, finalists_sha256
        The fresh seeds of *confirm* and the hash of the frozen list; empty where none was frozen.
    environment
        Python, packages and machine of its last session.
    code_version, dirty
        The git commit, and ``true``, ``false`` or ``unknown``.
    command
        The line that runs the study again.
    references
        Models of scikit-learn on the same split: for tables, and a linear one where depth 0 is compared.
    """

    question: str
    state: str
    run_id: str
    tracking_uri: str
    data: DataFacts
    epochs: int | None = None
    seed: int | None = None
    tuned: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    finalists_sha256: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    code_version: str = "unknown"
    dirty: str = "unknown"
    command: str = ""
    importances: tuple[Importance, ...] = ()
    references: tuple[ReferenceScores, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyData:
    """A study as it was read back.

    Attributes
    ----------
    predictions
        Run id -> what the model said of the test part.
    diagnostics
        Run id -> curves of gradient norms and saturation by layer.
    """

    design: StudyDesign
    records: tuple[TrialRecord, ...]
    finalists: tuple[FrozenFinalist, ...]
    predictions: Mapping[str, Predictions]
    diagnostics: Mapping[str, Curves]
    facts: StudyFacts

    def confirm_runs(self, finalist: str) -> list[TrialRecord]:
        """Return the confirm runs of a finalist that ended, by number."""
        ended = (r for r in self.records if r.phase == "confirm" and r.state in ("finished", "diverged"))
        return sorted((r for r in ended if r.tags.get("finalist") == finalist), key=lambda record: record.number)
