"""The data set as MLflow knows it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from experiments.tracking import keys
from pipeline.records import Dataset

_DIGEST_LENGTH = 16


def dataset_input(dataset: Dataset) -> Any:
    """Return the data set as the input of a run: name, digest, source and shapes; the arrays are not read."""
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.entities import Dataset as DatasetEntity
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.types import Schema, TensorSpec

    features = Schema([TensorSpec(np.dtype(dataset.X.dtype), (-1, *dataset.sample_shape))])
    targets = Schema([TensorSpec(np.dtype(dataset.y.dtype), (-1,))])
    entity = DatasetEntity(
        name=dataset.name,
        digest=dataset.sha256[:_DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": dataset.source}),
        schema=json.dumps(TensorDatasetSchema(features, targets).to_dict()),
        profile=json.dumps({"n_samples": len(dataset.X), "n_classes": dataset.n_classes, "sha256": dataset.sha256}),
    )
    return DatasetInput(entity, [InputTag(keys.DATASET_CONTEXT, "training")])
