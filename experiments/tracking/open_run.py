"""A run while it is written: what every run of ours gets, of its data, its curves and its end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.runs import Curves, RunEnd
from depthcheck.experiments.tracking.store import client, log_batch, storage
from depthcheck.pipeline.records import Dataset

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DIGEST_LENGTH = 16
_MAX_COLUMNS = 300
#: MLflow's types of columns by ours.
_TYPES = {"numeric": "double", "boolean": "boolean", "date": "datetime"}


class OpenRun:
    """A run of which curves are written while it trains. Not to be shared between threads.

    Parameters
    ----------
    uri
        Address of the store.
    flush_seconds
        Least time between two writes of curves: an epoch of milliseconds is not worth the 10 ms that a write costs.
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

    def _end(self, status: RunEnd, tags: Mapping[str, str]) -> None:
        """Write what is left of the curves, and the tags, and end the run."""
        with storage(f"cannot end run {self.run_id}"):
            log_batch(self._api, self.run_id, metrics=self._rows, tags=tags)
            self._api.set_terminated(self.run_id, status)


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
