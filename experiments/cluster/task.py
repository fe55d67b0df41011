"""What goes to a worker and what comes back: plain frozen records that can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from depthcheck.experiments.tracking import StudyRun
from depthcheck.pipeline.config import ParamValue, TrialConfig
from depthcheck.pipeline.records import Phase, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTask:
    """All that a worker needs to train one trial.

    Attributes
    ----------
    study_run
        The study's run in MLflow, below which the trial's goes.
    metric
        Name of the score that decides.
    prune_below
        One validation score an epoch; the trial ends where its best one so far lies below. Empty: never.
    finalist
        The finalist that the trial confirms: then, and only then, the test part is opened.
    data_folder
        The folder that the user named for the data, or None.
    """

    study_run: StudyRun
    number: int
    phase: Phase
    combination: Mapping[str, ParamValue]
    config: TrialConfig
    metric: str = "accuracy"
    data_folder: str | None = None
    prune_below: tuple[float, ...] = ()
    finalist: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTask:
    """All that a worker needs to score the network of a trial on the test part; ``run_id`` is the trial's own run."""

    study_run: StudyRun
    run_id: str
    config: TrialConfig
    data_folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a trial ended, as the coordinator tells it to Optuna.

    ``score`` is that of the validation part after the last epoch: the dummy baseline's where it diverged, None where it
    failed;
    ``scores`` has one an epoch.
    """

    number: int
    run_id: str
    state: TrialState
    score: float | None
    scores: tuple[float, ...]
    fit_seconds: float
    failure: str | None = None
