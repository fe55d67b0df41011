"""What a Dask worker runs to train a logged trial again. It writes nothing: the numbers travel back."""

from __future__ import annotations

from distributed import get_worker

from experiments.reproduce.compare import Repetition
from experiments.tracking import keys, score_values, whole_trial_values
from experiments.worker import load_once
from pipeline.config import TrialConfig

#: Topic of Dask's events that carry each epoch's numbers.
EPOCH_TOPIC = "depthcheck-reproduction"


def train_again(
    config: TrialConfig, *, number: int, n_epochs: int, confirm: bool, score: bool, data_folder: str | None
) -> Repetition:
    """Train a configuration as a trial of a study does, for as many epochs.

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
    # Imported here: the launching process imports this module too, and must never wait for TensorFlow.
    from pipeline.trial import judge, run_trial

    worker = get_worker()
    points: dict[str, dict[int, float]] = {}

    def on_epoch_end(epoch: int, metrics: dict[str, float]) -> bool:
        for key, value in metrics.items():
            points.setdefault(key, {})[epoch] = float(value)
        worker.log_event(EPOCH_TOPIC, {"number": number, "epoch": epoch, "metrics": metrics})
        return epoch >= n_epochs

    try:
        trained = run_trial(config, dataset, on_epoch_end=on_epoch_end, confirm=confirm)
        test = score_values(judge(trained.model, config, dataset)[0]) if score else {}
    except Exception as error:  # noqa: BLE001 - whatever a configuration can raise
        failure = f"{type(error).__name__}: {error}".splitlines()[0]
        return Repetition(points=points, fit_seconds=0.0, failure=failure)
    for key, value in (whole_trial_values(trained.result) | test).items():
        if key not in keys.TIMES:
            points.setdefault(key, {})[0] = float(value)
    return Repetition(points=points, fit_seconds=trained.result.fit_seconds)
