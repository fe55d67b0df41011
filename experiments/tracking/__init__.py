"""The one door to MLflow: no other package of the project imports it, and importing this one does not either.

``open_parent`` opens a study's run, ``start_trial`` a trial's below it, ``trials`` and its neighbours read them back.
Every function raises :class:`TrackingError`, and nothing else, for trouble with the store.
"""

from experiments.tracking.environment import CodeVersion, code_version, environment
from experiments.tracking.keys import FINALIST
from experiments.tracking.model import load_model
from experiments.tracking.read import (
    OpenTrial,
    StudySummary,
    close_stale,
    finished_trial,
    running_trials,
    studies,
    trials,
)
from experiments.tracking.store import TrackingError, tracking_uri
from experiments.tracking.study_run import StudyRun, open_parent
from experiments.tracking.trial_run import TrialRun, start_trial

__all__ = [
    "FINALIST",
    "CodeVersion",
    "OpenTrial",
    "StudyRun",
    "StudySummary",
    "TrackingError",
    "TrialRun",
    "close_stale",
    "code_version",
    "environment",
    "finished_trial",
    "load_model",
    "open_parent",
    "running_trials",
    "start_trial",
    "studies",
    "tracking_uri",
    "trials",
]
