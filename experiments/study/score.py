"""What is scored on the test part: every network of the search, once, and the models that networks are held against.

The search has ended by then and its finalists are frozen, so that nothing can be chosen by what is found here.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed
from rich.console import Console

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster.launch import WorkerRecycling, n_workers
from depthcheck.experiments.cluster.task import ScoreTask
from depthcheck.experiments.cluster.worker import load_once, score_network
from depthcheck.experiments.study.progress import LiveBar
from depthcheck.experiments.study.running import RunningStudy
from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.records import Dataset

#: Deaths of its worker after which a network cannot be scored. Each may have been a neighbour's doing, or a kill.
_DEATHS_TO_FAIL = 6


def score_networks(study: RunningStudy, client: Client, console: Console) -> None:
    """Have the workers score each network of the search that finished and has no score on the test part yet.

    Only for a study whose finalists are frozen and whose data have a test part.

    Raises
    ------
    TrackingError
        When a network cannot be scored; those that have been keep their scores.
    """
    waiting = deque(_tasks(study))
    if not waiting:
        return
    total, deaths, recycling = len(waiting), Counter[str](), WorkerRecycling(client)
    console.print(f"scoring {total} network{'s' if total > 1 else ''} on the test part")
    running: dict[Future, ScoreTask] = {}
    completed = as_completed()
    try:
        with LiveBar(console, "scores", total=total) as bar:
            while waiting or running:
                # One for each worker: of what waits on a worker that dies, Dask says that it died of it.
                while waiting and len(running) < max(n_workers(client), 1):
                    future = client.submit(score_network, waiting[0], pure=False)
                    running[future] = waiting.popleft()
                    completed.add(future)
                future = next(completed)
                task = running.pop(future)
                try:
                    future.result()
                except KilledWorker as error:
                    deaths[task.run_id] += error.allowed_failures + 1
                    if deaths[task.run_id] >= _DEATHS_TO_FAIL:
                        raise tracking.TrackingError(
                            f"cannot score the network of run {task.run_id}: its worker died each time (out of memory?)"
                        ) from error
                    waiting.append(task)
                recycling.after(future)
                n_scored = total - len(waiting) - len(running)
                bar.show(n_scored, f"{n_scored}/{total} networks on the test part")
    finally:
        client.cancel(list(running), force=True)


def _tasks(study: RunningStudy) -> list[ScoreTask]:
    """Return what is still to be scored; where the data lie may have changed since a network was trained."""
    run = study.study_run
    return [
        ScoreTask(
            study_run=run,
            run_id=record.run_id,
            config=replace(record.config, data=study.experiment.data),
            data_folder=study.data_folder,
        )
        for record in tracking.trials(run.tracking_uri, run.run_id)
        if record.phase != "confirm" and record.state == "finished" and record.evaluation("test") is None
    ]


def has_references(study: RunningStudy, dataset: Dataset) -> bool:
    """Tell whether models of scikit-learn say something: of a table, or of a depth that is a linear model itself."""
    return dataset.is_table or 0 in study.experiment.compare.get("depth", ())


def log_references(study: RunningStudy, run_there: Callable[..., Any], console: Console) -> None:
    """Have the models scored by a worker, and write what they reach among the study's artifacts.

    Their test scores decide nothing, so trouble here is said and does not make the study fail.

    Parameters
    ----------
    run_there
        Calls a function with arguments on a worker and returns its result.
    """
    run, resolved = study.study_run, study.resolved
    if tracking.references(run.tracking_uri, run.run_id):
        return
    console.print("scoring scikit-learn's models on the same parts, for the report")
    try:
        found = run_there(
            score_references, study.experiment.data, study.data_folder, resolved.data_sha256, resolved.split
        )
    except Exception as error:  # noqa: BLE001 - a model of scikit-learn may fail in its own ways, and Dask in its
        console.print(f"scikit-learn's models could not be scored: {error}", markup=False)
        return
    run.log_artifacts({tracking.keys.REFERENCES: {"references": found}})


def score_references(data: DataConfig, folder: str | None, sha256: str, split: SplitConfig) -> list[dict[str, Any]]:
    """Score the models; runs in a worker, which has the data at hand."""
    from depthcheck.pipeline.training.reference import reference_scores

    return [asdict(reference) for reference in reference_scores(load_once(data, folder, sha256), split)]
