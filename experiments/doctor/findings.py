"""What a diagnosis finds, and what would put it right. Plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from depthcheck.experiments.tracking.runs import RunEnd

RepairKind = Literal[
    "restore run",
    "restore experiment",
    "end run",
    "tag run",
    "log values",
    "tell Optuna how a trial ended",
    "note the best trial",
    "write finalists",
    "register champion",
    "train trials with damaged models again",
    "replace version",
    "note the study's run in Optuna",
    "open another run for the study",
    "write trials into Optuna",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What puts a finding right; :mod:`depthcheck.experiments.doctor.repair` carries it out.

    Attributes
    ----------
    target
        What it is done to: id of a run or of an MLflow experiment, version of a model, number of a trial; nothing where
        it is done to the study.
    status, tags, values
        What a run is given.
    """

    kind: RepairKind
    target: str = ""
    status: RunEnd = "FINISHED"
    tags: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


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
