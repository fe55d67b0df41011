"""The one door to MLflow: no other package of the project imports it, and importing this one does not either.

``open_parent`` opens a study's run, ``start_trial`` a trial's below it, ``trials`` and its neighbours read them back.
Every function raises :class:`TrackingError`, and nothing else, for trouble with the store.
"""

from depthcheck.experiments.tracking.artifacts import (
    Diagnostics,
    diagnostics,
    finalists,
    looks,
    progress,
    references,
    session_environments,
    study_design,
    study_environment,
    test_openings,
    test_predictions,
)
from depthcheck.experiments.tracking.champion import champion_address, predict, serve
from depthcheck.experiments.tracking.environment import CodeVersion, code_version, environment
from depthcheck.experiments.tracking.files import model_is_gone
from depthcheck.experiments.tracking.keys import FINALIST
from depthcheck.experiments.tracking.model import load_model
from depthcheck.experiments.tracking.reading import (
    best_run,
    finished_trial,
    logged_points,
    running_trials,
    studies,
    trial,
    trials,
)
from depthcheck.experiments.tracking.registry import delete_study, describe_champion, register_champion, replace_version
from depthcheck.experiments.tracking.report_run import (
    artifact_link,
    is_there,
    join_study,
    launched_run,
    log_report,
    note_answer,
    run_address,
    study_of,
)
from depthcheck.experiments.tracking.reproduction_run import (
    ReproductionRun,
    close_stale_reproductions,
    start_reproduction,
)
from depthcheck.experiments.tracking.runs import Curves, StoredRun, find_run, read_run
from depthcheck.experiments.tracking.session_runs import close_stale, close_unborn, withdraw, withdrawn
from depthcheck.experiments.tracking.store import TrackingError, launch_directory, tracking_uri
from depthcheck.experiments.tracking.study_run import StudyRun, open_parent
from depthcheck.experiments.tracking.trial_run import TrialRun, score_values, start_trial, whole_trial_values

__all__ = [
    "FINALIST",
    "CodeVersion",
    "Curves",
    "Diagnostics",
    "ReproductionRun",
    "StoredRun",
    "StudyRun",
    "TrackingError",
    "TrialRun",
    "artifact_link",
    "best_run",
    "champion_address",
    "close_stale",
    "close_stale_reproductions",
    "close_unborn",
    "code_version",
    "delete_study",
    "describe_champion",
    "diagnostics",
    "environment",
    "finalists",
    "find_run",
    "finished_trial",
    "is_there",
    "join_study",
    "launch_directory",
    "launched_run",
    "load_model",
    "log_report",
    "logged_points",
    "looks",
    "model_is_gone",
    "note_answer",
    "open_parent",
    "predict",
    "progress",
    "read_run",
    "references",
    "register_champion",
    "replace_version",
    "run_address",
    "running_trials",
    "score_values",
    "serve",
    "session_environments",
    "start_reproduction",
    "start_trial",
    "studies",
    "study_design",
    "study_environment",
    "study_of",
    "test_openings",
    "test_predictions",
    "tracking_uri",
    "trial",
    "trials",
    "whole_trial_values",
    "withdraw",
    "withdrawn",
]
