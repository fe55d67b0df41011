"""Models made again: a trial is a function of its parameters, so that its weights come out as they were."""

from __future__ import annotations

from collections.abc import Sequence

from depthcheck.experiments import launch, places, tracking
from depthcheck.experiments.doctor.rebuild import CannotRebuildError
from depthcheck.experiments.reproduce.original import find
from depthcheck.experiments.reproduce.worker import write_model_again
from depthcheck.experiments.tracking import StudyRun


def remake_models(uri: str, study_run: StudyRun, run_ids: Sequence[str]) -> None:
    """Train trials again on workers of this machine; each writes its model where every number is as it was logged.

    Raises
    ------
    CannotRebuildError
        When one cannot be trained here, or comes out otherwise, as on another kind of processor. The others' models
        are written.
    TrackingError
        When the store cannot be read or written.
    """
    reasons = {}
    with launch.embedded(min(len(run_ids), launch.n_cores()), places.program_cache()) as client:
        try:
            futures = {}
            for run_id in run_ids:
                try:
                    original = find(uri, run_id=run_id, study=None)
                except ValueError as error:
                    reasons[run_id] = str(error)
                else:
                    futures[run_id] = client.submit(write_model_again, original, study_run, pure=False)
            for run_id, future in futures.items():
                try:
                    reasons |= {run_id: reason} if (reason := future.result()) else {}
                except tracking.TrackingError:
                    raise
                except Exception as error:  # noqa: BLE001 - data that are not here, a configuration, a worker that died
                    reasons[run_id] = f"{type(error).__name__}: {error}".splitlines()[0]
        finally:
            launch.kill_workers(client)
    if reasons:
        raise CannotRebuildError("; ".join(f"run {run_id}: {reason}" for run_id, reason in reasons.items()))
