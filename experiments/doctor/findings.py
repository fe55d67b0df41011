"""What a diagnosis finds, and the repairs that there are. Plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from depthcheck.experiments.tracking.study_run import RunEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRun:
    """Take back the deletion of a run."""

    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreExperiment:
    """Take back the deletion of the MLflow experiment that the study's runs are in."""

    experiment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRun:
    """Give a run the status that it should have, with tags that say why."""

    run_id: str
    status: RunEnd
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRun:
    """Set tags of a run."""

    run_id: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogValue:
    """Write a value of a whole trial again."""

    run_id: str
    key: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Tell Optuna how a trial ended."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteBest:
    """Write the best trial so far on the study's run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFinalists:
    """Write the frozen list of finalists again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterChampion:
    """Put the study's champion under the alias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemakeModels:
    """Train the trials again whose models are damaged, and write the models of those that come out as they did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceVersion:
    """Register a model again in place of a version whose files are damaged."""

    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptParent:
    """Note a run in Optuna as the study's own."""

    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceParent:
    """Open another run for the study, and put the trials' runs that are left below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TellAll:
    """Write Optuna's study, or what is missing of it, again from MLflow's runs."""


Repair = (
    RestoreRun | RestoreExperiment | EndRun | TagRun | LogValue | Tell | NoteBest | WriteFinalists | RegisterChampion
    | RemakeModels | ReplaceVersion | AdoptParent | ReplaceParent | TellAll
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A disagreement.

    Attributes
    ----------
    what
        In plain words, on one line.
    advice
        What repairing does; where nothing can be repaired, what the user can do.
    repair
        None where no writing puts it right.
    """

    what: str
    advice: str
    repair: Repair | None = None
