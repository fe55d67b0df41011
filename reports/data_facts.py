"""What a report says of the data: from the study's design, else from the data themselves, else from predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from depthcheck.experiments import places
from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.data.load import DataNotFoundError, load
from depthcheck.pipeline.records import Predictions, TrialRecord
from depthcheck.reports.compare.metric import METRICS, Metric
from depthcheck.reports.compare.study_data import DataFacts

#: Data that a design of an older study says nothing of; all later ones say what a report needs.
_ONCE_UNTOLD = ("fashion-mnist", "digits")
_ALIKE = {"classification": "in each part as many of each class", "regression": "in each part numbers of every size"}


def data_facts(
    stored: Mapping[str, Any],
    definition: Mapping[str, Any],
    records: Sequence[TrialRecord],
    predictions: Mapping[str, Predictions],
) -> DataFacts:
    """Return what is known of the data.

    ``class_counts`` (or ``n_samples``) and ``n_test`` of the design spare reading the data.
    """
    config = records[0].config if records else None
    split = config.split if config else SplitConfig()
    sizes = {e.part: e.n_samples for record in records for e in record.evaluations}
    counts = tuple(stored.get("class_counts", ()))
    facts = DataFacts(
        name=str(stored.get("name", config.data.name if config else "unknown")),
        sha256=str(stored.get("sha256", config.data_sha256 if config else "")),
        source=str(stored.get("source", "")),
        task=str(stored.get("task", "regression" if metric_of(stored, records).key == "r2" else "classification")),
        class_names=tuple(stored.get("class_names", ())),
        class_counts=counts,
        target=str(stored.get("target") or ""),
        target_mean=stored.get("target_mean"),
        target_sd=stored.get("target_sd"),
        n_samples=stored.get("n_samples") or sum(counts) or None,
        n_valid=sizes.get("valid"),
        n_test=stored.get("n_test") or sizes.get("test"),
        majority_share=max(counts) / sum(counts) if counts else None,
        how=_how(split, config.data if config else None, str(stored.get("task", "classification"))),
    )
    cut = definition.get("split", {})
    if facts.n_samples is None:
        return _from_the_data(facts, cut) or _from_predictions(facts, predictions)
    return _with_sizes(facts, split, cut)


def metric_of(stored: Mapping[str, Any], records: Sequence[TrialRecord]) -> Metric:
    """Return the score that decides: as the design names it, else as the records do."""
    named = stored.get("metric") or next((e.metric for record in records for e in record.evaluations), "accuracy")
    return METRICS.get(str(named), METRICS["accuracy"])


def chance_of(metric: Metric, data: DataFacts, records: Sequence[TrialRecord]) -> float:
    """Return what a network that learned nothing scores.

    Of an accuracy that is the commonest class: as a diverged trial was given it, else from the classes' shares.
    """
    if metric.key != "accuracy":
        return {"auc": 0.5}.get(metric.key, 0.0)
    for record in records:
        evaluation = record.evaluation("valid")
        if record.state == "diverged" and evaluation is not None:
            return evaluation.score
    return data.majority_share or 0.0


def _with_sizes(facts: DataFacts, split: SplitConfig, cut: Mapping[str, Any]) -> DataFacts:
    n_samples = facts.n_samples or 0
    if split.folds:
        n_held = math.ceil(n_samples / split.folds)
        return replace(facts, n_valid=n_samples, n_train=n_samples - n_held, n_test=None)
    n_valid = facts.n_valid or _n_valid(n_samples, cut)
    set_aside = (facts.n_test or 0) if split.test_size else 0
    return replace(facts, n_valid=n_valid, n_train=n_samples - n_valid - set_aside)


def _how(split: SplitConfig, data: DataConfig | None, task: str) -> str:
    """Return how samples were cut, in words; at random is what a reader takes for granted."""
    column = (data.group if split.method == "group" else data.time) if data else None
    named = f" (column {column})" if column else ""
    return {
        "stratified": f"stratified: {_ALIKE.get(task, '')}",
        "group": f"whole groups to one part{named}",
        "time": f"the latest to test, those before to validate{named}",
    }.get(split.method, "")


def _from_the_data(facts: DataFacts, cut: Mapping[str, Any]) -> DataFacts | None:
    if facts.name not in _ONCE_UNTOLD:
        return None
    try:
        dataset = load(DataConfig(name=facts.name), cache=places.data_cache())
    except (DataNotFoundError, OSError):
        return None
    if dataset.sha256 != facts.sha256:
        return None
    n_valid = _n_valid(len(dataset.y), cut)
    counts = np.bincount(dataset.y)
    return replace(
        facts,
        class_names=dataset.class_names,
        class_counts=tuple(map(int, counts)),
        n_samples=len(dataset.y),
        n_train=len(dataset.y) - n_valid,
        n_valid=n_valid,
        n_test=None if dataset.y_test is None else len(dataset.y_test),
        majority_share=float(counts.max() / len(dataset.y)),
    )


def _n_valid(n_samples: int, cut: Mapping[str, Any]) -> int:
    """Return the size of the validation part: a share is rounded up, as the cut itself does."""
    size = cut.get("valid", 0.2)
    return size if isinstance(size, int) else math.ceil(n_samples * float(size))


def _from_predictions(facts: DataFacts, predictions: Mapping[str, Predictions]) -> DataFacts:
    """Take the classes of what was predicted for want of others."""
    some = next(iter(predictions.values()), None)
    if some is None or not len(some.y) or facts.task == "regression":
        return facts
    counts = np.bincount(some.y)
    names = facts.class_names or tuple(map(str, range(len(counts))))
    return replace(facts, class_names=names, majority_share=float(counts.max() / counts.sum()))
