"""What a study writes down of its data, so that nobody who reads it later needs them: in JSON's types."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.records import Dataset


def settled_by(experiment: Experiment, dataset: Dataset, split: SplitConfig) -> dict[str, object]:
    """Return what the data settled that the definition leaves open, in JSON's types."""
    return {
        "data": experiment.data.to_params(),
        "split": split.to_params(),
        "metric": dataset.metric,
        "served": served_facts(dataset),
    }


def served_facts(dataset: Dataset) -> dict[str, object]:
    """Return what the served champion must know of the data."""
    features = [column for column in dataset.columns if column.kind != "ignored"]
    return {
        "is_table": dataset.is_table,
        "task": dataset.task,
        "target": dataset.target,
        "class_names": list(dataset.class_names),
        "sample_shape": list(dataset.sample_shape),
        "columns": [[column.name, column.kind] for column in features],
    }


def data_facts(dataset: Dataset, sizes: Mapping[str, int], parts: str) -> dict[str, object]:
    """Return what a report says of the data, so that it need not read them."""
    facts = {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "source": dataset.source,
        "task": dataset.task,
        "metric": dataset.metric,
        "target": dataset.target,
        "n_samples": len(dataset.y),
        "n_train": sizes["train"],
        "n_valid": sizes["valid"],
        "n_test": sizes["test"] or None,
        "parts": parts,
        "is_table": dataset.is_table,
    }
    if dataset.task == "regression":
        return facts | {"target_mean": float(dataset.y.mean()), "target_sd": float(dataset.y.std())}
    counts = np.bincount(dataset.y, minlength=dataset.n_classes).tolist()
    return facts | {"class_names": list(dataset.class_names), "class_counts": counts}
