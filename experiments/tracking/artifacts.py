"""Reading back what a study leaves beside its trials: designs, finalists, predictions, examples and diagnostics."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.reading import children
from depthcheck.experiments.tracking.runs import Curves, StoredRun, curves, get, read_run, search
from depthcheck.experiments.tracking.store import TrackingError, client, storage
from depthcheck.pipeline.records import Predictions

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: run id -> metric -> epoch -> value
Diagnostics = dict[str, Curves]


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
        started = get(client(uri), parent_run_id).started.astimezone()
        n_ended = len(
            {run.number for run in children(client(uri), parent_run_id, "attributes.status != 'RUNNING'") if run.counts}
        )
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
    api, wanted = client(uri), defaultdict[str, list[str]](list)
    found: dict[str, dict[str, dict[int, float]]] = {}
    with storage(f"cannot read diagnostics from {uri}"):
        for run_id in run_ids:
            for key in get(api, run_id).metrics:
                if key.startswith((keys.GRADIENT_NORM, keys.SATURATION)):
                    wanted[key].append(run_id)
        for key, having in sorted(wanted.items()):
            for run_id, of in curves(api, having, [key]).items():
                found.setdefault(run_id, {}).update(of)
    return dict(found)


def looks(uri: str, run_id: str) -> tuple[int, ...]:
    """Read at how many settings a study that goes on until it is decided was judged so far; empty for others."""
    noted = read_run(uri, run_id).tags.get(keys.LOOKS, "")
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
        opened = list(search(api, condition))
    own = {run.run_id for run in opened if before is not None and run.tags.get(keys.PARENT_RUN) == before}
    first = min((_opened_at(run) for run in opened if run.run_id in own), default=None)
    return sum(run.run_id not in own and (first is None or _opened_at(run) < first) for run in opened)


def _opened_at(run: StoredRun) -> str:
    """Return when a run met the test part, as text that sorts by time: one of phase *confirm*, when it began."""
    return run.tags.get(keys.SCORED_AT, run.started.isoformat(timespec="milliseconds"))


def study_designs(uri: str, run_id: str) -> list[dict[str, Any]]:
    """Read what each session of a study laid down, the first session's first; what cannot be understood is left out."""
    with storage(f"cannot read the designs of run {run_id} from {uri}"):
        texts = list(_of_sessions(client(uri), run_id, keys.DESIGN))
    return [content for text in reversed(texts) if (content := _understood(text))]


def session_environments(uri: str, parent_run_id: str) -> list[dict[str, Any]]:
    """Read what the sessions of a study ran on, the latest first, each kind once.

    Empty where nothing was noted, and where it cannot be read: deleted, or on the disk of another machine.
    """
    found: list[dict[str, Any]] = []
    with contextlib.suppress(TrackingError), storage(f"cannot read the environments of run {parent_run_id}"):
        for text in _of_sessions(client(uri), parent_run_id, keys.ENVIRONMENT):
            content = _understood(text)
            found += [content] if content and content not in found else []
    return found


def frozen_finalists(uri: str, run_id: str) -> dict[str, Any] | None:
    """Read the list of finalists at the top of a run, empty where it cannot be understood, None where there is none."""
    text = _at_top(uri, run_id, keys.FINALISTS)
    return None if text is None else _understood(text)


def example_of_run(uri: str, run: StoredRun) -> dict[str, Any] | None:
    """Read what a run's model said of a few samples; empty where it is not what was logged, None where nothing was."""
    noted = run.tags.get(keys.EXAMPLE_SHA256)
    if noted is None:
        return None
    text = _at_top(uri, run.run_id, keys.EXAMPLE)
    if text is None or hashlib.sha256(text).hexdigest() != noted:
        return {}
    return _understood(text)


def _latest_json(uri: str, run_id: str, name: str) -> dict[str, Any]:
    """Read a JSON artifact from the latest session that wrote one, else from the run's first session."""
    api = client(uri)
    with storage(f"cannot read {name} of run {run_id} from {uri}"):
        run = get(api, run_id)
        run.require_readable(f"study {run.study or run_id!r}")
        content: dict[str, Any] = json.loads(next(_of_sessions(api, run_id, name), b"{}"))
    return content


def _of_sessions(api: MlflowClient, run_id: str, name: str) -> Iterator[bytes]:
    """Yield an artifact that each session of a study writes, the latest session's first."""
    top = _names(api, run_id)
    sessions = sorted(_names(api, run_id, keys.SESSIONS), reverse=True) if keys.SESSIONS in top else []
    paths = [path for session in sessions if (path := f"{session}/{name}") in _names(api, run_id, session)]
    for path in [*paths, *({name} & top)]:
        yield _artifact(api, run_id, path)


def _at_top(uri: str, run_id: str, name: str) -> bytes | None:
    """Read an artifact at the top of a run, or return None where there is none."""
    api = client(uri)
    with storage(f"cannot read {name} of run {run_id} from {uri}"):
        return _artifact(api, run_id, name) if name in _names(api, run_id) else None


def _artifact(api: MlflowClient, run_id: str, path: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return Path(api.download_artifacts(run_id, path, folder)).read_bytes()


def _understood(text: bytes) -> dict[str, Any]:
    """Return a mapping that was written as JSON, empty where it cannot be understood."""
    with contextlib.suppress(ValueError):
        content = json.loads(text)
        return content if isinstance(content, dict) else {}
    return {}


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
