"""What a study notes of its definition and its data in Optuna's storage, and what that is again when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.records import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a study's data resolved that its definition leaves open.

    Attributes
    ----------
    served
        What the served champion must know of the data, in JSON's types.
    """

    data_sha256: str
    split: SplitConfig
    metric: str
    served: Mapping[str, Any]

    @classmethod
    def by(cls, dataset: Dataset, split: SplitConfig) -> Resolved:
        """Return what these data resolve."""
        features = [column for column in dataset.columns if column.kind != "ignored"]
        served = {
            "is_table": dataset.is_table,
            "task": dataset.task,
            "target": dataset.target,
            "class_names": list(dataset.class_names),
            "sample_shape": list(dataset.sample_shape),
            "columns": [[column.name, column.kind] for column in features],
        }
        return cls(data_sha256=dataset.sha256, split=split, metric=dataset.metric, served=served)

    def noted(self, data: DataConfig) -> dict[str, Any]:
        """Return what a session notes of it, in JSON's types."""
        return {
            "data": data.to_params(), "split": self.split.to_params(), "metric": self.metric, "served": self.served,
        }  # fmt: skip


def understood(name: str, definition: Mapping[str, Any], noted: Mapping[str, Any]) -> tuple[Experiment, Resolved]:
    """Return the experiment of a study, without its budgets, and what its data resolved.

    Parameters
    ----------
    definition
        :meth:`Experiment.as_json` and the SHA-256 of the data.
    noted
        :meth:`Resolved.noted`, or nothing: a session that was killed before it noted them has trained nothing.

    Raises
    ------
    ValueError
        When there is no definition, or none that can be understood.
    """
    experiment = Experiment.from_json(name, definition)
    split = SplitConfig(valid_size=experiment.split.valid_size, seed=experiment.split.seed)
    if noted:
        split = SplitConfig.from_params(_texts(noted["split"]))
        # With the whole path of a file; the definition has its name alone.
        experiment = replace(experiment, data=DataConfig.from_params(_texts(noted["data"])))
    resolved = Resolved(
        data_sha256=str(definition["data_sha256"]),
        split=split,
        metric=str(noted.get("metric", "accuracy")),
        served=noted.get("served", {}),
    )
    return experiment, resolved


def _texts(stored: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in stored.items()}
