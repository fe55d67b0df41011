"""A run while it is written: its data, its curves, its end, and what it was made with."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.runs import Curves, RunEnd, StoredRun, get
from depthcheck.experiments.tracking.store import TakenOverError, client, log_batch, storage
from depthcheck.pipeline.records import Dataset

if TYPE_CHECKING:
    from mlflow import MlflowClient


Artifact = str | Mapping[str, object]

_DIGEST_LENGTH = 16
_MAX_COLUMNS = 300
#: MLflow's types of columns by ours.
_TYPES = {"numeric": "double", "boolean": "boolean", "date": "datetime"}
_UNKNOWN = "unknown"
#: Sets of instructions by which libraries choose how to calculate, and what Linux calls them, the newest first.
_INSTRUCTIONS = {"AVX-512": "avx512f", "AVX2": "avx2", "AVX": "avx", "SSE4.2": "sse4_2"}
#: What every processor of an architecture has.
_OF_ARCHITECTURE = {"aarch64": "NEON", "arm64": "NEON"}


class OpenRun:
    """A run of which curves are written while it trains. Not to be shared between threads.

    ``flush_seconds`` is the least time between two writes: an epoch of milliseconds is not worth the 10 ms of one.
    """

    def __init__(self, uri: str, run_id: str, *, flush_seconds: float = 1.0) -> None:
        self.tracking_uri, self.run_id = uri, run_id
        self._api = client(uri)
        self._flush_seconds = flush_seconds
        self._flushed_at = time.monotonic()
        self._rows: list[tuple[str, float, int]] = []
        self._seen: set[tuple[str, int]] = set()

    def log_dataset(self, dataset: Dataset) -> None:
        """Log the data as the run's input: name, hash, source and shape. The arrays are not read."""
        log_dataset(self._api, self.run_id, dataset)

    def log_points(self, points: Curves) -> None:
        """Add numbers that are not there yet; those of an epoch are written at most once in ``flush_seconds``."""
        self._add(points)
        if time.monotonic() - self._flushed_at >= self._flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        with storage(f"cannot write the curves of run {self.run_id}"):
            log_batch(self._api, self.run_id, metrics=self._rows)
        self._rows.clear()
        self._flushed_at = time.monotonic()

    def _add(self, points: Curves) -> None:
        for key, curve in points.items():
            for epoch, value in curve.items():
                if (key, epoch) not in self._seen:
                    self._seen.add((key, epoch))
                    self._rows.append((key, float(value), epoch))

    def _end(self, status: RunEnd, tags: Mapping[str, str]) -> StoredRun:
        """Write what is left of the curves, and the tags, and end the run, unless somebody has; return it as it was.

        A worker that was cut off for a while goes on with a trial that another one has been given meanwhile.
        """
        with storage(f"cannot end run {self.run_id}"):
            run = get(self._api, self.run_id)
            if run.status != "RUNNING":
                raise TakenOverError(f"run {self.run_id} was ended by somebody else")
            log_batch(self._api, self.run_id, metrics=self._rows, tags=tags)
            self._api.set_terminated(self.run_id, status)
        return run


def log_artifacts(api: MlflowClient, run_id: str, artifacts: Mapping[str, Artifact]) -> None:
    """Write texts as they are and mappings as JSON, under the artifact names that are their keys."""
    with storage(f"cannot write artifacts of run {run_id}"):
        for name, content in artifacts.items():
            if isinstance(content, str):
                api.log_text(run_id, content, name)
            else:
                api.log_dict(run_id, dict(content), name)


def log_dataset(api: MlflowClient, run_id: str, dataset: Dataset) -> None:
    """Log the data set as the input of a run: name, digest, source, schema and what its target is like."""
    from mlflow.entities import Dataset as DatasetEntity
    from mlflow.entities import DatasetInput, InputTag

    entity = DatasetEntity(
        name=dataset.name,
        digest=dataset.sha256[:_DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": dataset.source}),
        schema=json.dumps(_schema(dataset)),
        profile=json.dumps(_profile(dataset)),
    )
    with storage(f"cannot write the data set of run {run_id}"):
        api.log_inputs(run_id, datasets=[DatasetInput(entity, [InputTag(keys.DATASET_CONTEXT, "training")])])


def _schema(dataset: Dataset) -> dict[str, Any]:
    """Return the schema as MLflow's page of a data set shows it: columns of a table, or shapes of arrays."""
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.types import ColSpec, Schema, TensorSpec

    if dataset.is_table:
        columns = [ColSpec(_TYPES.get(column.kind, "string"), column.name) for column in dataset.columns]
        target = ColSpec("double" if dataset.task == "regression" else "string", dataset.target or "target")
        # A limit of MLflow's: a schema is stored as one text.
        return {"mlflow_colspec": Schema([*columns[:_MAX_COLUMNS], target]).to_dict()}
    features = Schema([TensorSpec(np.dtype(dataset.X.dtype), (-1, *dataset.sample_shape))])
    targets = Schema([TensorSpec(np.dtype(dataset.y.dtype), (-1,))])
    return dict(TensorDatasetSchema(features, targets).to_dict())


def _profile(dataset: Dataset) -> dict[str, Any]:
    profile = {"n_samples": len(dataset.X), "sha256": dataset.sha256, "task": dataset.task, "metric": dataset.metric}
    if dataset.task == "regression":
        return profile | {"target_mean": float(dataset.y.mean()), "target_sd": float(dataset.y.std())}
    counts = np.bincount(dataset.y, minlength=dataset.n_classes).tolist()
    balance = dict(list(zip(dataset.class_names, counts, strict=True))[:_MAX_COLUMNS])
    return profile | {"n_classes": dataset.n_classes, "class_counts": balance}


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeVersion:
    """The git commit of the code, and whether the tree had changes beyond it (None: not a checkout)."""

    commit: str = _UNKNOWN
    dirty: bool | None = None

    def tags(self) -> dict[str, str]:
        """Return the tags that carry it."""
        dirty = _UNKNOWN if self.dirty is None else str(self.dirty).lower()
        return {keys.CODE_VERSION: self.commit, keys.DIRTY: dirty}


def code_version() -> CodeVersion:
    """Ask git for the version of this package's code.

    MLflow notes the commit, but only of runs that ``mlflow run`` started, and never that the tree was changed.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # not so where it was installed in a repository
        commit = _git("rev-parse", "HEAD").strip()
        # A user's own data and definitions may lie in the checkout, and are none of its code.
        return CodeVersion(commit=commit, dirty=bool(_git("status", "--porcelain", "--untracked-files=no").strip()))
    except (OSError, subprocess.SubprocessError):
        return CodeVersion()


def _git(*words: str) -> str:
    folder = Path(__file__).parent
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10).stdout


def environment() -> dict[str, object]:
    """Describe Python, the machine and every installed package, ready for JSON."""
    cpuinfo = Path("/proc/cpuinfo")
    packages = {item.metadata["Name"]: item.version for item in metadata.distributions() if item.metadata["Name"]}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        **processor(cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""),
        "cpus": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda pair: pair[0].lower())),
    }


def source_tags(tags: Mapping[str, str], environ: Mapping[str, str], source: str = "depthcheck") -> dict[str, str]:
    """Return the tags for MLflow's columns Source, User and Version, as far as ``mlflow run`` has set none."""
    try:
        user = environ.get("LOGNAME") or getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    defaults = {keys.USER: user, keys.SOURCE_NAME: source, keys.SOURCE_TYPE: "LOCAL"}
    return {key: tags.get(key, value) for key, value in defaults.items()}


def processor(cpuinfo: str) -> dict[str, str]:
    """Return name and newest known set of instructions of the first processor.

    Two processors of one name need not have the same: what a virtual machine lets through is its host's choice.

    Parameters
    ----------
    cpuinfo
        What Linux has in ``/proc/cpuinfo``; empty elsewhere, where only the architecture is asked.
    """
    pairs = (line.partition(":") for line in cpuinfo.partition("\n\n")[0].splitlines())
    said = {name.strip(): value.strip() for name, _, value in pairs}
    flags = said.get("flags", "").split()
    sets = (name for name, flag in _INSTRUCTIONS.items() if flag in flags)
    return {
        "cpu": said.get("model name") or platform.processor() or _UNKNOWN,
        "instructions": next(sets, _OF_ARCHITECTURE.get(platform.machine(), _UNKNOWN)),
    }
