"""Reading back what a study leaves beside its trials: design, finalists, predictions and diagnostics."""

from __future__ import annotations

import json
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.reading import MAX_BULK_RUNS, children, counts, metric_points, search, started_at
from depthcheck.experiments.tracking.schema import require_readable
from depthcheck.experiments.tracking.store import client, storage
from depthcheck.pipeline.records import Predictions

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: run id -> metric -> epoch -> value
Diagnostics = dict[str, dict[str, dict[int, float]]]


def study_design(uri: str, parent_run_id: str) -> dict[str, Any]:
    """Read the design of a study, as its latest session wrote it; empty where there is none.

    Raises
    ------
    TrackingError
        When the store cannot be read.
    """
    return _latest_json(uri, parent_run_id, keys.DESIGN)


def progress(uri: str, parent_run_id: str) -> dict[str, Any]:
    """Return how far a study has come: ``n_ended`` of ``n_planned`` trials, and when it ``started`` (ISO 8601).

    Raises
    ------
    TrackingError
        When the store cannot be read.
    """
    with storage(f"cannot read the runs of {parent_run_id} from {uri}"):
        started = started_at(client(uri).get_run(parent_run_id)).astimezone()
        runs = list(children(client(uri), parent_run_id, "attributes.status != 'RUNNING'"))
    n_ended = len({run.data.tags[keys.TRIAL_NUMBER] for run in runs if counts(run)})
    n_planned = len(study_design(uri, parent_run_id).get("plan", []))
    return {
        "n_ended": n_ended,
        "n_planned": max(n_planned, n_ended),
        "started": started.isoformat(timespec="seconds"),
    }


def study_environment(uri: str, parent_run_id: str) -> dict[str, Any]:
    """Read what the study's latest session ran on: Python, packages and machine; empty where nothing was noted."""
    return _latest_json(uri, parent_run_id, keys.ENVIRONMENT)


def finalists(uri: str, parent_run_id: str) -> dict[str, Any]:
    """Read the frozen list of finalists with its hash and seeds; empty where none was frozen."""
    return _latest_json(uri, parent_run_id, keys.FINALISTS)


def references(uri: str, parent_run_id: str) -> list[dict[str, Any]]:
    """Read what scikit-learn's models reach on a study's parts; empty where nothing was scored."""
    return list(_latest_json(uri, parent_run_id, keys.REFERENCES).get("references", []))


def run_params(uri: str, run_id: str) -> dict[str, str]:
    """Read the parameters of a run."""
    with storage(f"cannot read run {run_id} from {uri}"):
        return dict(client(uri).get_run(run_id).data.params)


def run_tags(uri: str, run_id: str) -> dict[str, str]:
    """Read the tags of a run."""
    with storage(f"cannot read run {run_id} from {uri}"):
        return dict(client(uri).get_run(run_id).data.tags)


def test_predictions(uri: str, run_ids: Iterable[str]) -> dict[str, Predictions]:
    """Read what each run's model said of the test part, or of the folds held out; runs without are left out.

    A file that cannot be understood counts as missing: the report then does without it and says so.
    """
    api, found = client(uri), {}
    with storage(f"cannot read test predictions from {uri}"), tempfile.TemporaryDirectory() as folder:
        for run_id in run_ids:
            there = _names(api, run_id) & {keys.PREDICTIONS, keys.FOLD_PREDICTIONS}
            if not there:
                continue
            path = api.download_artifacts(run_id, there.pop(), _own_folder(folder, run_id))
            predictions = _predictions(Path(path))
            if predictions is not None:
                found[run_id] = predictions
    return found


def diagnostics(uri: str, run_ids: Sequence[str]) -> Diagnostics:
    """Read the curves of gradient norms and saturation by layer, as many as each run has."""
    api = client(uri)
    curves: defaultdict[str, defaultdict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    with storage(f"cannot read diagnostics from {uri}"):
        wanted: dict[str, list[str]] = defaultdict(list)
        for run_id in run_ids:
            for key in api.get_run(run_id).data.metrics:
                if key.startswith((keys.GRADIENT_NORM, keys.SATURATION)):
                    wanted[key].append(run_id)
        for key, having in sorted(wanted.items()):
            for start in range(0, len(having), MAX_BULK_RUNS):
                for run_id, epoch, value in metric_points(api, having[start : start + MAX_BULK_RUNS], key):
                    curves[run_id][key][epoch] = value
    return {run_id: dict(of) for run_id, of in curves.items()}


def looks(uri: str, run_id: str) -> tuple[int, ...]:
    """Read at how many settings a study that goes on until it is decided was judged so far; empty for others."""
    noted = run_tags(uri, run_id).get(keys.LOOKS, "")
    return tuple(int(size) for size in noted.split(",") if size.isdecimal())


def test_openings(uri: str, data_sha256: str, *, before: str | None) -> int:
    """Count the runs of all studies in the store that were evaluated on the test part of these data.

    Parameters
    ----------
    data_sha256
        Of the whole data set.
    before
        The parent run of a study: only other studies' runs that were evaluated before its first one count, or all
        of theirs where it has none. None counts every run.
    """
    api = client(uri)
    condition = f"tags.{keys.TEST_SAMPLES} LIKE '%' and params.data_sha256 = '{data_sha256}'"
    with storage(f"cannot count the openings of the test part in {uri}"):
        experiments = [experiment.experiment_id for experiment in api.search_experiments()]
        opened = list(search(api, experiments, condition))
    own = {run.info.run_id for run in opened if before is not None and run.data.tags.get(keys.PARENT_RUN) == before}
    first = min((_opened_at(run) for run in opened if run.info.run_id in own), default=None)
    return sum(run.info.run_id not in own and (first is None or _opened_at(run) < first) for run in opened)


def _opened_at(run: Run) -> str:
    """Return when a run met the test part, as text that sorts by time: one of phase *confirm*, when it began."""
    began = datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC).isoformat(timespec="milliseconds")
    return str(run.data.tags.get(keys.SCORED_AT, began))


def _latest_json(uri: str, run_id: str, name: str) -> dict[str, Any]:
    """Read a JSON artifact from the latest session that wrote one, else from the run's first session."""
    api = client(uri)
    with storage(f"cannot read {name} of run {run_id} from {uri}"), tempfile.TemporaryDirectory() as folder:
        tags = api.get_run(run_id).data.tags
        require_readable(tags, f"study {tags.get(keys.STUDY, run_id)!r}")
        top = _names(api, run_id)
        sessions = sorted(_names(api, run_id, keys.SESSIONS), reverse=True) if keys.SESSIONS in top else []
        held = (session for session in sessions if f"{session}/{name}" in _names(api, run_id, session))
        where = next((f"{session}/{name}" for session in held), name if name in top else None)
        if where is None:
            return {}
        content: dict[str, Any] = json.loads(Path(api.download_artifacts(run_id, where, folder)).read_text("utf-8"))
        return content


def _names(api: MlflowClient, run_id: str, path: str | None = None) -> set[str]:
    return {item.path for item in api.list_artifacts(run_id, path)}


def _own_folder(folder: str, run_id: str) -> str:
    """Make a folder of its own: all runs' predictions have one name."""
    own = Path(folder) / run_id
    own.mkdir()
    return str(own)


def _predictions(path: Path) -> Predictions | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns: dict[str, Any] = {name: arrays[name] for name in ("y", "predicted", "probability")}
            columns |= {name: arrays[name] for name in ("positive", "fold", "unit") if name in arrays}
        return Predictions(**columns)
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error):
        return None
