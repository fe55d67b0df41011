"""The one door to MLflow: no other package of the project imports it, and importing this one does not either.

``open_parent`` opens a study's run, ``start_trial`` a trial's below it, ``trials`` and its neighbours read them back.
Every function raises :class:`TrackingError`, and nothing else, for trouble with the store.
"""

from depthcheck.experiments.tracking.keys import FINALIST
from depthcheck.experiments.tracking.model import load_model, model_is_gone
from depthcheck.experiments.tracking.open_run import CodeVersion, code_version, environment
from depthcheck.experiments.tracking.reading import (
    NotAsLoggedError,
    attempts,
    best_run,
    diagnostics,
    finalists,
    finished_trial,
    latest,
    logged_points,
    looks,
    progress,
    references,
    session_environments,
    studies,
    study_design,
    study_environment,
    study_of,
    test_openings,
    test_predictions,
    trial,
    trials,
)
from depthcheck.experiments.tracking.registry import (
    champion_address,
    delete_study,
    describe_champion,
    predict,
    register_champion,
    replace_version,
    require_free,
    serve,
)
from depthcheck.experiments.tracking.runs import Curves, StoredRun, find_run, read_run
from depthcheck.experiments.tracking.store import (
    TakenOverError,
    TrackingError,
    is_there,
    launch_directory,
    launched_run,
    launcher,
    no_study,
    patiently,
    require_there,
    tracking_uri,
)
from depthcheck.experiments.tracking.study_run import (
    StudyRun,
    artifact_link,
    close_stale,
    close_unborn,
    end_run,
    join_study,
    log_report,
    note_answer,
    open_parent,
    require_new,
    runs_link,
    withdrawn,
)
from depthcheck.experiments.tracking.trial_run import (
    ReproductionRun,
    TrialRun,
    close_stale_reproductions,
    score_values,
    start_reproduction,
    start_trial,
    whole_trial_values,
)
