"""The data set as MLflow knows it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from depthcheck.experiments.tracking import keys
from depthcheck.pipeline.records import Dataset

_DIGEST_LENGTH = 16
_MAX_COLUMNS = 300
#: MLflow's types of columns by ours.
_TYPES = {"numeric": "double", "boolean": "boolean", "date": "datetime"}


def dataset_input(dataset: Dataset) -> Any:
    """Return the data set as the input of a run: name, digest, source, schema and what its target is like."""
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
    return DatasetInput(entity, [InputTag(keys.DATASET_CONTEXT, "training")])


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
