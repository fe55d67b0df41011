"""Every network of the search is scored on the test part, once: the verdict rests on all of them.

The search has ended by then and its finalists are frozen, so that nothing can be chosen by what is found here.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

from distributed import Client, Future, KilledWorker, as_completed
from rich.console import Console

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster.launch import n_workers
from depthcheck.experiments.cluster.recycling import Renewal
from depthcheck.experiments.cluster.task import ScoreTask
from depthcheck.experiments.cluster.worker import score_network
from depthcheck.experiments.study.coordinator import StudyContext
from depthcheck.experiments.study.progress import LiveBar

#: Deaths of its worker after which a network cannot be scored. Each may have been a neighbour's doing, or a kill.
_DEATHS_TO_FAIL = 6


def score_networks(context: StudyContext, client: Client, console: Console) -> None:
    """Have the workers score each network of the search that finished and has no score on the test part yet.

    Only for a study whose finalists are frozen and whose data have a test part.

    Raises
    ------
    TrackingError
        When a network cannot be scored; those that have been keep their scores.
    """
    waiting = deque(_tasks(context))
    if not waiting:
        return
    total, deaths, renewal = len(waiting), Counter[str](), Renewal(client)
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
                renewal.after(future)
                n_scored = total - len(waiting) - len(running)
                bar.show(n_scored, f"{n_scored}/{total} networks on the test part")
    finally:
        client.cancel(list(running), force=True)


def _tasks(context: StudyContext) -> list[ScoreTask]:
    """Return what is still to be scored; where the data lie may have changed since a network was trained."""
    run = context.study_run
    return [
        ScoreTask(
            study_run=run,
            run_id=record.run_id,
            config=replace(record.config, data=context.experiment.data),
            data_folder=context.data_folder,
        )
        for record in tracking.trials(run.tracking_uri, run.run_id)
        if record.phase != "confirm" and record.state == "finished" and record.evaluation("test") is None
    ]
