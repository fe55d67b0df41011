"""Reading back: studies, their trials as records, and what they leave beside them: designs, finalists, predictions."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.model import on_disk
from depthcheck.experiments.tracking.runs import Curves, StoredRun, below, curves, get, read_run, search, study_runs
from depthcheck.experiments.tracking.store import TrackingError, client, launcher, storage
from depthcheck.pipeline.config import TrialConfig
from depthcheck.pipeline.records import Evaluation, History, Phase, Predictions, TrialRecord, TrialState
from depthcheck.pipeline.verbatim import command

if TYPE_CHECKING:
    from mlflow import MlflowClient


#: Scores that stand beside the one that decides.
_SECONDARY = ("accuracy", "rmse", "mae")


class NotAsLoggedError(ValueError):
    """A trial cannot be read; ``what`` leaves out the advice, which the doctor cannot give itself."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}: {advice}")
        self.what = what


def trials(uri: str, parent_run_id: str) -> list[TrialRecord]:
    """Read the trials of a study that have ended, in the order of their numbers.

    Interrupted attempts (KILLED) are no trials. Where a trial ended twice, since its process was killed before the
    study heard of the first end, the first one counts.

    Raises
    ------
    ValueError
        When a newer version wrote the study; so for all that is read here of one study or run.
    """
    return _records(uri, parent_run_id, "attributes.status != 'RUNNING'")


def finished_trial(uri: str, parent_run_id: str, number: int) -> TrialRecord | None:
    """Read the trial of that number if it has ended in MLflow, whether or not the study heard of it."""
    found = _records(uri, parent_run_id, f"tags.{keys.TRIAL_NUMBER} = '{number}'")
    return found[0] if found else None


def attempts(uri: str, experiment_id: str, parent_run_id: str, number: int) -> list[StoredRun]:
    """List the runs of the trial of that number, the earliest first, however they ended, or have not: one question."""
    condition = f"{below(parent_run_id)} and tags.{keys.TRIAL_NUMBER} = '{number}'"
    with storage(f"cannot read the runs of trial {number} of {parent_run_id} from {uri}"):
        return sorted(search(client(uri), condition, [experiment_id]), key=lambda run: run.started)


def best_run(uri: str, run_id: str) -> str:
    """Return the run of a study's champion (or best trial, before it has one), or the run itself if it is no study."""
    run = read_run(uri, run_id)
    run.require_readable()
    return run.tags.get(keys.CHAMPION_RUN) or run.tags.get(keys.BEST_RUN) or run_id


def study_of(uri: str, run_id: str) -> str | None:
    """Return the parent run of the study that a run belongs to (itself, where it is the parent), or None."""
    run = read_run(uri, run_id)
    if run.phase == keys.PHASE_STUDY:
        return run_id
    return run.tags.get(keys.PARENT_RUN) if run.study else None


def trial(uri: str, run_id: str) -> TrialRecord | None:
    """Read the trial of a run, or None where the run is no trial that has ended."""
    run = read_run(uri, run_id)
    run.require_readable()
    with storage(f"cannot read the curves of run {run_id} from {uri}"):
        return next(iter(_read(client(uri), [run])), None) if run.counts else None


def running_trials(uri: str, parent_run_id: str) -> list[StoredRun]:
    """List the runs of trials that have not ended: they train, or their process was killed."""
    with storage(f"cannot read the runs of {parent_run_id} from {uri}"):
        running = children(client(uri), parent_run_id, "attributes.status = 'RUNNING'")
        return [run for run in running if run.number >= 0]


def studies(uri: str, study: str | None = None) -> list[StoredRun]:
    """List the parent runs of the studies of a store, the latest first; only those named ``study`` where given."""
    # Not a part of the condition: MLflow's conditions know no escape, and a name may contain a quote.
    return [run for run in study_runs(uri, deleted_too=False) if study in (None, run.study)]


def latest(found: Sequence[StoredRun]) -> StoredRun:
    """Return the first of studies, the latest first, that searched; a comparison of chosen runs asks about a study."""
    return min(found, key=lambda run: run.is_comparison)


def logged_points(uri: str, run_id: str) -> dict[str, dict[int, float]]:
    """Read every number that a trial logged, epoch by epoch, but for how long it took."""
    api = client(uri)
    with storage(f"cannot read the curves of run {run_id} from {uri}"):
        names = sorted(set(get(api, run_id).metrics) - set(keys.TIMES))
        return curves(api, [run_id], names)[run_id]


def trial_curves(uri: str, run_ids: Sequence[str], *, metric: str) -> Mapping[str, Curves]:
    """Read the points that there are of the curves that every trial has, by run."""
    with storage(f"cannot read curves from {uri}"):
        return curves(client(uri), run_ids, list(_curve_keys(metric)))


def children(api: MlflowClient, parent_run_id: str, condition: str) -> Iterator[StoredRun]:
    """Yield the runs below a study's that fulfil the condition."""
    parent = get(api, parent_run_id)
    parent.require_readable(f"study {parent.study or parent_run_id!r}")
    yield from search(api, f"{below(parent_run_id)} and {condition}", [parent.experiment_id])


def _records(uri: str, parent_run_id: str, condition: str) -> list[TrialRecord]:
    api = client(uri)
    with storage(f"cannot read the trials of {parent_run_id} from {uri}"):
        first: dict[int, StoredRun] = {}
        for run in sorted(children(api, parent_run_id, condition), key=lambda run: run.started):
            if run.counts:
                first.setdefault(run.number, run)
        return _read(api, [first[number] for number in sorted(first)])


def _read(api: MlflowClient, found: Sequence[StoredRun]) -> list[TrialRecord]:
    """Return the records of runs that count, with all of their curves."""
    for run in found:
        _require_as_logged(run)
    names = sorted({key for run in found for key in _curve_keys(run.tags[keys.METRIC])})
    points = curves(api, [run.run_id for run in found], names)
    return [_record(run, points[run.run_id]) for run in found]


def _require_as_logged(run: StoredRun) -> None:
    """Complain about a trial of which somebody has edited or deleted a tag without which it cannot be read."""
    tags = run.tags
    is_right = {
        **{key: key in tags for key in (keys.STUDY, keys.PHASE, keys.METRIC)},
        **{key: tags.get(key, "0").isdecimal() for key in (keys.VALID_SAMPLES, keys.TEST_SAMPLES)},
    }
    if keys.VALID_SAMPLES in tags:
        is_right[keys.METRIC] = keys.final(tags.get(keys.METRIC, "")) in run.metrics
    wrong = next((key for key, right in is_right.items() if not right), None)
    if wrong is not None:
        got = f"got {tags[wrong]!r}" if wrong in tags else "which is gone"
        raise NotAsLoggedError(
            f"run {run.run_id} of trial {run.number} must have its tag {wrong} as it was logged, {got}",
            f"{command(launcher(), 'doctor', study=run.study or None, fix=True)} puts it back",
        )


def _curve_keys(metric: str) -> dict[str, str]:
    """Return the field of History that each logged curve fills."""
    fields = ("train_loss", "train_score", "valid_loss", "valid_score", "learning_rate")
    return {**dict(zip(History(metric=metric).curves(), fields, strict=True)), keys.EPOCH_SECONDS: "seconds"}


def _record(run: StoredRun, points: Curves) -> TrialRecord:
    tags, n_params = run.tags, run.metrics.get(keys.N_PARAMS)
    return TrialRecord(
        run_id=run.run_id,
        artifact_uri=run.artifact_uri,
        study=tags[keys.STUDY],
        number=run.number,
        phase=cast(Phase, tags[keys.PHASE]),
        state=cast(TrialState, tags[keys.STATE]),
        config=TrialConfig.from_params(run.params),
        history=_history(tags[keys.METRIC], points),
        evaluations=tuple(_evaluations(run)),
        n_params=None if n_params is None else int(n_params),
        fit_seconds=run.metrics.get(keys.FIT_SECONDS),
        failure=tags.get(keys.FAILURE),
        engine=tags.get(keys.ENGINE, "compiled"),
        tags=dict(tags),
    )


def _history(metric: str, points: Curves) -> History:
    """Return the epochs for which every curve has a point: the last one of a failed trial may be incomplete."""
    columns = {field: points.get(key, {}) for key, field in _curve_keys(metric).items()}
    epochs = sorted(set.intersection(*(set(column) for column in columns.values())))
    values = {field: tuple(column[epoch] for epoch in epochs) for field, column in columns.items()}
    return History(metric=metric, **values)


def _evaluations(run: StoredRun) -> Iterator[Evaluation]:
    metrics, parts = run.metrics, (("valid", keys.final, keys.VALID_SAMPLES), ("test", keys.test, keys.TEST_SAMPLES))
    for part, key, samples in parts:
        if samples in run.tags:
            metric = run.tags[keys.METRIC]
            yield Evaluation(
                part=cast(Literal["valid", "test"], part),
                loss=metrics[key("loss")],
                score=metrics[key(metric)],
                metric=metric,
                n_samples=int(run.tags[samples]),
                secondary={name: metrics[key(name)] for name in _SECONDARY if name != metric and key(name) in metrics},
            )


def study_design(uri: str, parent_run_id: str) -> dict[str, Any]:
    """Read the design of a study, as its latest session wrote it; empty where there is none.

    One that cannot be understood is trouble: an earlier session's may have another plan.
    """
    return _latest_json(uri, parent_run_id, keys.DESIGN, skips_damaged=False)


def progress(uri: str, parent_run_id: str) -> dict[str, Any]:
    """Return how far a study has come: ``n_ended`` of ``n_planned`` trials, and when it ``started`` (ISO 8601)."""
    api = client(uri)
    with storage(f"cannot read the runs of {parent_run_id} from {uri}"):
        started = get(api, parent_run_id).started.astimezone()
        ended = children(api, parent_run_id, "attributes.status != 'RUNNING'")
        n_ended = len({run.number for run in ended if run.counts})
    n_planned = len(study_design(uri, parent_run_id).get("plan", []))
    return {"n_ended": n_ended, "n_planned": max(n_planned, n_ended), "started": started.isoformat(timespec="seconds")}


def study_environment(uri: str, parent_run_id: str) -> dict[str, Any]:
    """Read what the study's latest session ran on: Python, packages and machine; empty where nothing was noted."""
    return _latest_json(uri, parent_run_id, keys.ENVIRONMENT)


def finalists(uri: str, parent_run_id: str) -> dict[str, Any]:
    """Read the frozen list of finalists with its hash and seeds; empty where none was frozen."""
    return _latest_json(uri, parent_run_id, keys.FINALISTS)


def references(uri: str, parent_run_id: str) -> list[dict[str, Any]]:
    """Read what scikit-learn's models reach on a study's parts; empty where nothing was scored."""
    return list(_latest_json(uri, parent_run_id, keys.REFERENCES).get("references", []))


def test_predictions(uri: str, runs: Iterable[StoredRun | TrialRecord]) -> dict[str, Predictions]:
    """Read what each run's model said of the test part, or of the folds held out, by run id; runs without are left out.

    A file that cannot be understood counts as missing: the report then does without it and says so.
    """
    api = client(uri)
    found: dict[str, Predictions] = {}
    with storage(f"cannot read test predictions from {uri}"), tempfile.TemporaryDirectory() as folder:
        for run in runs:
            own = Path(folder) / run.run_id  # all runs' predictions have one name
            for path in _files(api, run, {keys.PREDICTIONS, keys.FOLD_PREDICTIONS}, own):
                predictions = _predictions(path)
                found |= {} if predictions is None else {run.run_id: predictions}
    return found


def _files(api: MlflowClient, run: StoredRun | TrialRecord, names: set[str], folder: Path) -> list[Path]:
    """Return those artifacts of a run that there are: where they lie on this disk, else copied into ``folder``."""
    if (there := on_disk(run.artifact_uri)) is not None:
        return [there / name for name in sorted(names) if (there / name).exists()]
    folder.mkdir(exist_ok=True)
    there_are = _names(api, run.run_id) & names
    return [Path(api.download_artifacts(run.run_id, name, str(folder))) for name in there_are]


def diagnostics(uri: str, run_ids: Sequence[str]) -> dict[str, Curves]:
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


def _latest_json(uri: str, run_id: str, name: str, *, skips_damaged: bool = True) -> dict[str, Any]:
    """Read a JSON artifact from the latest session that wrote one, else from the run's first session.

    What cannot be understood counts as missing, or is trouble where ``skips_damaged`` is false.
    """
    api = client(uri)
    with storage(f"cannot read {name} of run {run_id} from {uri}"):
        run = get(api, run_id)
        run.require_readable(f"study {run.study or run_id!r}")
        for content in map(_understood, _of_sessions(api, run_id, name)):
            if content:
                return content
            if not skips_damaged:
                what = f"{name} of run {run_id} in {uri} is damaged: the study's next start writes it again"
                raise TrackingError(what, lasts=True)
    return {}


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


def _predictions(path: Path) -> Predictions | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns: dict[str, Any] = {name: arrays[name] for name in ("y", "predicted", "probability")}
            more = ("positive", "fold", "unit", "weight", "scores", "block")
            columns |= {name: arrays[name] for name in more if name in arrays}
        return Predictions(**columns)
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error):
        return None
