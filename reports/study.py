"""All that a report is made of, as it was read: trials, finalists, predictions, diagnostics and facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.records import Predictions, TrialRecord
from reports.design import Finalist, StudyDesign

#: metric -> epoch -> value
Curves = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """A data set in a few words; numbers that nobody knows are None.

    ``majority_share`` is the share of the commonest class among the samples that are not the test part.
    """

    name: str
    sha256: str
    source: str = ""
    class_names: tuple[str, ...] = ()
    n_train: int | None = None
    n_valid: int | None = None
    n_test: int | None = None
    majority_share: float | None = None


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
    definition
        The experiment as :meth:`experiments.definition.Experiment.as_json` writes it; empty where unknown.
    planned
        Trials laid down for each phase.
    seeds, finalists_sha256
        The fresh seeds of *confirm* and the hash of the frozen list; empty where none was frozen.
    environment
        Python, packages and machine of its last session.
    code_version, dirty
        The git commit, and ``true``, ``false`` or ``unknown``.
    command
        The line that runs the study again.
    """

    question: str
    state: str
    run_id: str
    tracking_uri: str
    data: DataFacts
    definition: Mapping[str, Any] = field(default_factory=dict)
    planned: Mapping[str, int] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    finalists_sha256: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    code_version: str = "unknown"
    dirty: str = "unknown"
    command: str = ""
    importances: tuple[Importance, ...] = ()


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
    finalists: tuple[Finalist, ...]
    predictions: Mapping[str, Predictions]
    diagnostics: Mapping[str, Curves]
    facts: StudyFacts

    def confirm_runs(self, finalist: str) -> list[TrialRecord]:
        """Return the confirm runs of a finalist that ended, by number."""
        ended = (r for r in self.records if r.phase == "confirm" and r.state in ("finished", "diverged"))
        return sorted((r for r in ended if r.tags.get("finalist") == finalist), key=lambda record: record.number)
