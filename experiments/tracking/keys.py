"""Every key that is written to MLflow, spelled once.

The part before a slash is the section of the charts page that the metric appears in. Sections stand in alphabetic
order, and what has none comes last: so scalars of the validation part have no slash, and curves are seen first. Curves
carry the epoch, counted from 1, as their step; scalars have no step of their own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

SCHEMA_VERSION = "2"
DEFAULT_EXPERIMENT = "depthcheck"
# Longer names of tags MLflow refuses.
_LONGEST_NAME = 250

# Metrics. The curves `train/loss`, `train/<metric>`, `valid/loss`, `valid/<metric>` and `learning_rate` are spelled by
# depthcheck.pipeline.records.History.curves, since a trial reports with them while it knows nothing of MLflow.
EPOCH_SECONDS = "epoch_seconds"
BEST_EPOCH = "best_epoch"
N_PARAMS = "n_params"
FIT_SECONDS = "fit_seconds"
TRIALS_DONE = "trials_done"
# How long it took is measured and never the same twice.
TIMES = (EPOCH_SECONDS, FIT_SECONDS)
# Curves by layer, as depthcheck.pipeline.training.evaluate spells them: `gradient_norm/hidden_1`.
GRADIENT_NORM, SATURATION = "gradient_norm/", "saturation/"

# Tags of our own.
STUDY = "study"
PHASE = "phase"
DEPTH = "depth"
OPTIMIZER = "optimizer"
TRIAL_NUMBER = "trial_number"
STATE = "state"
COMBINATION = "combination"
METRIC = "metric"
VALID_SAMPLES = "valid_samples"
TEST_SAMPLES = "test_samples"
# When a network of the search met the test part: long after its run began. Those of phase confirm have none.
SCORED_AT = "scored_at"
#: How epochs were trained, and why, where not by a compiled program.
ENGINE = "depthcheck.engine"
#: What the model was trained on, where that is not all rows, as after other cross-validations.
TRAINED_ON = "trained_on"
#: Which network was scored on the test part, where that is not the one of the curves.
SCORED_NETWORK = "scored_network"
FAILURE = "failure"
#: Of an attempt that was closed as KILLED. Whoever trained it may come back and write another status over that one.
CLOSED = "closed"
FINALIST = "finalist"
FINALISTS_SHA256 = "finalists_sha256"
CONFIRM_SEEDS = "confirm_seeds"
LOOKS = "looks"
CODE_VERSION = "code_version"
DIRTY = "dirty"
SCHEMA = "schema_version"
BEST_TRIAL = "best_single_trial"
BEST_RUN = "best_single_run_id"
CHAMPION_RUN = "champion_run_id"
RECOMMENDED = "recommended"
REPRODUCED_RUN = "reproduced_run_id"
REPRODUCTION = "reproduction"
PROCESS = "process"
# Of a study: whose lock its latest session held.
ORIGIN = "origin"
# Of a trial's run: the SHA-256 of the stored example. Of a logged model: those of its files, as JSON by path.
EXAMPLE_SHA256 = "example_sha256"
FILES = "files_sha256"
# Of a version in the registry whose files were damaged: the one that was made in its place.
REPLACED_BY = "replaced_by"

# Values of the tag `phase` of trials, and those that no trial has.
TRIAL_PHASES = ("baseline", "compare", "exploit", "confirm")
PHASE_STUDY = "study"
PHASE_SESSION = "session"
PHASE_REPRODUCTION = "reproduction"
# Value of the tag `state` of a study, session or reproduction that has not ended.
RUNNING = "running"

# Tags that MLflow itself reads.
PARENT_RUN = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
USER = "mlflow.user"
DATASET_CONTEXT = "mlflow.data.context"

# Parameters of a study's run: its factors, and which runs its user chose to compare.
COMPARED, RUNS = "compared", "runs"

# Names of artifacts and of the logged model.
MODEL = "model"
TRACEBACK = "traceback.txt"
CHAMPION = "champion"
PREPARATION = "preparation"
EXAMPLE = "example.json"
PREDICTIONS = "test_predictions.npz"
FOLD_PREDICTIONS = "fold_predictions.npz"
REFERENCES = "references.json"
PROFILE = "profile.txt"
FINALISTS = "finalists.json"
# Where a list that the doctor replaced is kept.
REPLACED_FINALISTS = "finalists-replaced.json"
DESIGN = "design.json"
ENVIRONMENT = "environment.json"
SESSIONS = "sessions"
REPORT = "report"
REPRODUCTION_JSON, OVERLAY = "reproduction.json", "curves.svg"


def final(quantity: str) -> str:
    """Return the key of the validation part's value that counts, ``final_valid_loss``."""
    return f"final_valid_{quantity}"


def best(metric: str) -> str:
    """Return the key of the best epoch's validation score, ``best_valid_accuracy``."""
    return f"best_valid_{metric}"


def levels(combination: Mapping[str, object]) -> str:
    """Return how the tag ``combination`` spells a combination of levels, ``depth=2, optimizer=adam``."""
    return ", ".join(f"{factor}={level}" for factor, level in combination.items())


def verdict(factor: str, level: str) -> str:
    """Return the tag of a level's verdict on the study's run, ``verdict.depth.2``; MLflow takes few signs in a name."""
    return fitted(f"verdict.{factor}.{level}", r"[^\w.\- ]", _LONGEST_NAME)


def fitted(name: str, signs: str, longest: int) -> str:
    """Return a name with ``_`` for such signs, and cut; a hash follows then: two may differ in nothing else."""
    fits = re.sub(signs, "_", name)[:longest]
    return fits if fits == name else f"{fits[: longest - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def test(quantity: str) -> str:
    """Return the key of a value on the test part, ``test/accuracy``."""
    return f"test/{quantity}"
