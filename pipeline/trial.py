"""One trial: ``TrialConfig + Dataset -> TrialResult``. Start reading here.

The stages are chained in the order load, split, scale, build, fit, evaluate; loading is the caller's, who has the
data set in hand. Everything that decides, remembers or talks to the outside stands around this function.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from pipeline.build import build, serving_model
from pipeline.config import SplitConfig, TrialConfig, require
from pipeline.diagnose import layer_diagnostics
from pipeline.evaluate import evaluate, predict_proba
from pipeline.fit import EpochCallback, fit
from pipeline.records import Dataset, Evaluation, History, Part, Predictions, Scaler, Split, TrialResult, TrialState
from pipeline.scale import scale
from pipeline.split import split


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedTrial:
    """A result and what travels beside it.

    Attributes
    ----------
    model
        Takes raw samples, as the data set has them, and gives probabilities of the classes.
    predictions
        On the test part, where it was opened.
    """

    result: TrialResult
    model: keras.Model
    predictions: Predictions | None


def run_trial(
    config: TrialConfig,
    dataset: Dataset,
    *,
    on_epoch_end: EpochCallback | None = None,
    prune_below: Sequence[float] = (),
    confirm: bool = False,
) -> TrainedTrial:
    """Train and evaluate one configuration.

    Parameters
    ----------
    config
        All that defines the trial. The same configuration on the same data gives the same result, bit by bit, on
        one machine and with one set of package versions.
    dataset
        The data that ``config`` names.
    on_epoch_end
        Called with the number of the epoch (from 1) and its values, while the trial trains.
    prune_below
        One validation score an epoch: the trial is pruned at the first epoch whose best score so far lies below.
    confirm
        Whether this is a run of phase *confirm*: the test part is opened, which searching never does, and each
        epoch's diagnostics by layer are passed on with its values.

    Raises
    ------
    ValueError
        When the data are not those of the configuration.
    """
    require(dataset.sha256 == config.data_sha256, f"SHA-256 of {config.data}", config.data_sha256, dataset.sha256)
    parts, scaler = prepared(dataset, config.split)
    network = build(
        config.model,
        config.optimizer,
        n_features=dataset.n_features,
        n_classes=dataset.n_classes,
        seed=config.fit.seed,
    )
    n_params = network.count_params()
    watcher = _Watcher(
        prune_below, on_epoch_end, (lambda: layer_diagnostics(network, parts.train)) if confirm else dict
    )
    history = fit(network, parts, config.fit, on_epoch_end=watcher)
    state = _state(history, pruned=watcher.pruned)
    opened = parts.test if confirm else None
    result = TrialResult(
        config=config,
        state=state,
        history=history,
        valid=_chance(parts, history) if state == "diverged" else _last_epoch(parts.valid, history),
        test=None if opened is None else evaluate(network, opened, "test"),
        n_params=n_params,
        fit_seconds=sum(history.seconds),
    )
    served = serving_model(network, sample_shape=dataset.sample_shape, scale=scaler.scale, offset=scaler.offset)
    return TrainedTrial(
        result=result, model=served, predictions=None if opened is None else _predictions(network, opened)
    )


@functools.lru_cache(maxsize=2)
def prepared(dataset: Dataset, config: SplitConfig) -> tuple[Split, Scaler]:
    """Return the data split and scaled; kept for the next trial of this process on the same data set object."""
    return scale(dataset, split(dataset, config))


class _Watcher:
    """Passes epochs on, and asks to stop where the best score so far lies below the mark of its epoch."""

    def __init__(
        self,
        prune_below: Sequence[float],
        on_epoch_end: EpochCallback | None,
        diagnostics: Callable[[], dict[str, float]],
    ) -> None:
        self._marks = prune_below
        self._pass_on = on_epoch_end
        self._diagnostics = diagnostics
        self._best = -math.inf
        self.pruned = False

    def __call__(self, epoch: int, metrics: dict[str, float]) -> bool:
        stop = bool(self._pass_on(epoch, {**metrics, **self._diagnostics()})) if self._pass_on else False
        score = next(value for key, value in metrics.items() if key.startswith("valid/") and key != "valid/loss")
        self._best = max(self._best, score)
        # The last epoch ends anyhow: there is nothing left to save.
        self.pruned = epoch < len(self._marks) and self._best < self._marks[epoch - 1]
        return stop or self.pruned


def _state(history: History, *, pruned: bool) -> TrialState:
    if not (math.isfinite(history.train_loss[-1]) and math.isfinite(history.valid_loss[-1])):
        return "diverged"
    return "pruned" if pruned else "finished"


def _last_epoch(valid: Part, history: History) -> Evaluation:
    return Evaluation(
        part="valid",
        loss=history.valid_loss[-1],
        score=history.valid_score[-1],
        metric=history.metric,
        n_samples=len(valid),
    )


def _predictions(network: keras.Model, test: Part) -> Predictions:
    probabilities = predict_proba(network, test.X)
    return Predictions(y=test.y, predicted=probabilities.argmax(axis=1), probability=probabilities.max(axis=1))


def _chance(parts: Split, history: History) -> Evaluation:
    """Return what guessing reaches: always the commonest training class, with the training part's frequencies.

    A diverged trial gets this score: dropping it would flatter levels that are unstable.
    """
    counts = np.bincount(parts.train.y, minlength=parts.n_classes)
    shares = np.maximum(counts, 1) / len(parts.train)
    return Evaluation(
        part="valid",
        loss=float(np.mean(-np.log(shares[parts.valid.y]))),
        score=float(np.mean(parts.valid.y == int(counts.argmax()))),
        metric=history.metric,
        n_samples=len(parts.valid),
    )
