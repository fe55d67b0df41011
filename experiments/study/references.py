"""The lines that networks are held against: scikit-learn's models on the same parts, scored once a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster.worker import load_once
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.study.coordinator import StudyContext
from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.records import Dataset


def has_references(experiment: Experiment, dataset: Dataset) -> bool:
    """Tell whether models of scikit-learn say something: of a table, or of a depth that is a linear model itself."""
    return dataset.is_table or 0 in experiment.compare.get("depth", ())


def log_references(context: StudyContext, run_there: Callable[..., Any], console: Console) -> None:
    """Have the models scored by a worker, and write what they reach among the study's artifacts.

    Their test scores decide nothing, so trouble here is told and does not make the study fail.

    Parameters
    ----------
    run_there
        Calls a function with arguments on a worker and returns its result.
    """
    run = context.study_run
    if tracking.references(run.tracking_uri, run.run_id):
        return
    console.print("scoring scikit-learn's models on the same parts, for the report")
    try:
        found = run_there(score, context.experiment.data, context.data_folder, context.data_sha256, context.split)
    except Exception as error:  # noqa: BLE001 - a model of scikit-learn may fail in its own ways, and Dask in its
        console.print(f"scikit-learn's models could not be scored: {error}", markup=False)
        return
    run.log_artifacts({"references.json": {"references": found}})


def score(data: DataConfig, folder: str | None, sha256: str, split: SplitConfig) -> list[dict[str, Any]]:
    """Score the models; runs in a worker, which has the data at hand."""
    from depthcheck.pipeline.training.reference import reference_scores

    return [asdict(reference) for reference in reference_scores(load_once(data, folder, sha256), split)]
