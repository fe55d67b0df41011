"""What a Dask worker runs to train a logged trial again: to compare its numbers, or to write a lost model again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from distributed import get_worker

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster.worker import load_once
from depthcheck.experiments.reproduce.deviations import Repetition, compare
from depthcheck.experiments.reproduce.original import Original
from depthcheck.experiments.tracking import keys, score_values, whole_trial_values
from depthcheck.pipeline.config import TrialConfig

if TYPE_CHECKING:
    from depthcheck.pipeline.records import Dataset
    from depthcheck.pipeline.trial import TrainedTrial

#: metric -> epoch (0 for a value of the whole trial) -> value
Numbers = dict[str, dict[int, float]]
#: Topic of Dask's events that carry each epoch's numbers.
EPOCH_TOPIC = "depthcheck-reproduction"


def train_again(
    config: TrialConfig, *, number: int, n_epochs: int, confirm: bool, score: bool, data_folder: str | None
) -> Repetition:
    """Train a configuration as a trial of a study does, for as many epochs. Nothing is written: numbers travel back.

    Parameters
    ----------
    number
        Of this repetition; it goes with each epoch's numbers.
    n_epochs
        Training stops behind this epoch, as it did where the trial was pruned.
    confirm
        Whether the test part was opened and layers were diagnosed.
    score
        Whether the network is to be scored on the test part, as those of a search are when it has ended.

    Raises
    ------
    RuntimeError
        When the data are no longer those of the trial.
    """
    dataset = load_once(config.data, data_folder, config.data_sha256)
    worker = get_worker()
    points: Numbers = {}

    def tell(epoch: int, metrics: dict[str, float]) -> None:
        worker.log_event(EPOCH_TOPIC, {"number": number, "epoch": epoch, "metrics": metrics})

    try:
        trained = _train(config, dataset, points, n_epochs=n_epochs, confirm=confirm, score=score, tell=tell)
    except Exception as error:  # noqa: BLE001 - whatever a configuration can raise
        failure = f"{type(error).__name__}: {error}".splitlines()[0]
        return Repetition(points=points, fit_seconds=0.0, failure=failure)
    return Repetition(points=points, fit_seconds=trained.result.fit_seconds)


def write_model_again(original: Original, study_run: tracking.StudyRun) -> str | None:
    """Train a trial again and write its model beside the one that is damaged, as the one that counts.

    Only where every number is the logged one: then the weights are those that were lost, and no others. Returns why
    it was not written, or None.
    """
    points: Numbers = {}
    config = original.config
    dataset = load_once(config.data, None, config.data_sha256)
    trained = _train(
        config, dataset, points, n_epochs=original.n_epochs, confirm=original.is_confirm, score=original.is_scored
    )
    first = compare(original.points, points).first
    if first is not None:
        return f"trained again, {first.curve} of epoch {first.epoch} is {first.now!r} and was {first.before!r}"
    run = tracking.TrialRun(study_run, original.run.run_id)
    if trained.example is not None:
        run.log_example(trained.example)
    run.log_model(trained.result, trained.model, trained.preparation if dataset.is_table else None)
    return None


def _train(
    config: TrialConfig,
    dataset: Dataset,
    points: Numbers,
    *,
    n_epochs: int,
    confirm: bool,
    score: bool,
    tell: Callable[[int, dict[str, float]], None] | None = None,
) -> TrainedTrial:
    """Train as a trial does and put every number but times into ``points``, while it trains."""
    # Imported here: the launching process imports this module too, and must never wait for TensorFlow.
    from depthcheck.pipeline.trial import judge, run_trial

    def on_epoch_end(epoch: int, metrics: dict[str, float]) -> bool:
        for key, value in metrics.items():
            points.setdefault(key, {})[epoch] = float(value)
        if tell is not None:
            tell(epoch, metrics)
        return epoch >= n_epochs

    trained = run_trial(config, dataset, on_epoch_end=on_epoch_end, confirm=confirm)
    test = score_values(judge(trained.model, config, dataset)[0]) if score else {}
    for key, value in (whole_trial_values(trained.result) | test).items():
        if key not in keys.TIMES:
            points.setdefault(key, {})[0] = float(value)
    return trained
