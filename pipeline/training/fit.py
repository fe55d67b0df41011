"""Fit: compiled models trained on their training parts, epoch by epoch, with validation after each.

Which epoch counts is one rule, the same everywhere: **the last**. Weights are not restored from an earlier epoch, so
that the number of epochs means the same for every trial, and picking the best epoch does not flatter the score. A
configuration with early stopping has another rule, which is part of its level: the epoch of the lowest validation loss.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from depthcheck.pipeline.config import FitConfig, require
from depthcheck.pipeline.metrics import Objective, mean_evaluation, objective_of, training_weights
from depthcheck.pipeline.records import Evaluation, History, Part, Split
from depthcheck.pipeline.scores import METRICS
from depthcheck.pipeline.training.evaluate import evaluate
from depthcheck.pipeline.training.program import Kept, ProgramCache, can_fill

EpochCallback = Callable[[int, dict[str, float]], bool | None]

#: Programs and training data of this process, kept between trials: they speed the next trial up and change nothing.
_programs = ProgramCache(size=16)
_resident: dict[tuple[int, int, int], tuple[tf.Tensor, tf.Tensor]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch gave; ``valid`` is None where there is no validation part."""

    train_loss: float
    train_score: float
    valid: Evaluation | None
    learning_rate: float
    seconds: float


def fit_folds(
    models: Sequence[keras.Model],
    splits: Sequence[Split],
    config: FitConfig,
    *,
    capacity: int | None = None,
    on_epoch_end: EpochCallback | None = None,
    programs: ProgramCache | None = None,
) -> tuple[History, Evaluation]:
    """Train each model in place on its own split, one epoch after another, so that their means are curves.

    Stops at once behind an epoch whose mean training or validation loss is not finite; that epoch is part of the
    history. At the end each model holds the weights of the epoch that counts (:func:`counted`): with early stopping
    the one of the lowest mean validation loss, otherwise the last. One call at a time in a process.

    Parameters
    ----------
    models
        Compiled models of :func:`depthcheck.pipeline.training.build.build`.
    splits
        Training parts are trained on, validation parts evaluated after each epoch. The arrays must not be changed in
        place afterwards: a training part stays resident for the next trial, as long as its array lives.
    config
        Epochs, batch size, the seed of the order of samples, and whether classes weigh the same. With class weights
        the training loss is the weighted one, which is what training minimizes; the validation loss never is.
    capacity
        See :func:`epochs`.
    on_epoch_end
        Called with the number of the epoch, from 1, and its values under the keys of :meth:`History.curves`.
        Training ends when it returns True.
    programs
        Where compiled programs are kept; by default with the process.

    Returns
    -------
    History, Evaluation
        Means over the splits, epoch by epoch, with the sum of their seconds; and the mean evaluation of the
        validation parts by the weights of the epoch that counts.
    """
    history, valid = History(), None
    patience, best = models[0].plan.patience, None
    runs = [epochs(*each, config, capacity=capacity, programs=programs) for each in zip(models, splits, strict=True)]
    for number, each in enumerate(zip(*runs, strict=True), start=1):
        valid = mean_evaluation([fold.valid for fold in each if fold.valid is not None])
        history = _with_epoch(history, each, valid)
        stop = on_epoch_end is not None and on_epoch_end(number, {k: v[-1] for k, v in history.curves().items()})
        if history.diverged:
            return history, valid
        if patience is not None and counted(history, patience) == number:
            best = valid, [model.get_weights() for model in models]
        if stop or (patience is not None and number - counted(history, patience) >= patience):
            break
    assert valid is not None
    if best is not None:
        valid, weights = best
        for model, of_best in zip(models, weights, strict=True):
            model.set_weights(of_best)
    return history, valid


def counted(history: History, patience: int | None) -> int:
    """Return the number of the epoch whose weights count, from 1: the last, or the first of the lowest loss."""
    losses = history.valid_loss
    return history.n_epochs if patience is None else losses.index(min(losses)) + 1


def epochs(
    model: keras.Model,
    split: Split,
    config: FitConfig,
    *,
    capacity: int | None = None,
    programs: ProgramCache | None = None,
) -> Iterator[Epoch]:
    """Train ``model`` in place, one epoch for each value taken.

    Several models may take turns, also where they share a program.

    Parameters
    ----------
    capacity
        More than the number of training samples: then one compiled program serves training parts of any size below.
        Folds differ in size by a sample or by a group, and compiling takes longer than training on few samples.
        Not heeded where batches cannot be filled up (:func:`depthcheck.pipeline.training.program.can_fill`).
    """
    require(len(split.train) > 0, "number of training samples", "at least 1", len(split.train))
    weighted = config.class_weight == "balanced"
    require(not (weighted and split.task == "regression"), "class_weight of a regression", "left out", "balanced")
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    objective = objective_of(split)
    X, y = _resident_tensors(split.train, objective, (capacity or 0) if can_fill(model) else 0)
    weights = training_weights(split, is_balanced=weighted)
    rates = _rates(model, len(split.train), config)
    keeps = METRICS[objective.metric].keeps
    if keeps == "loss" and not isinstance(model.loss, keras.losses.MeanSquaredError):
        keeps = "outputs"  # another loss does not say what the score is
    if keeps == "hits" and split.train.weight is not None:
        keeps = "outputs"  # hits are counted, not weighed
    program = (_programs if programs is None else programs).program(model, config.batch_size, keeps)
    program.load(model)
    for order, of_epoch in zip(permutations(config.seed, len(split.train), config.epochs), rates, strict=True):
        start = time.perf_counter()
        if not program.holds(model):
            program.load(model)
        loss, kept = program.run(X, y, order, weights=weights, rates=of_epoch)
        model.engine = program.engine
        program.store(model)
        score = _train_score(objective, split.train, order, loss, kept)
        valid = evaluate(model, split.valid, "valid", objective) if len(split.valid) else None
        seconds, rate = time.perf_counter() - start, float(model.optimizer.learning_rate)
        yield Epoch(train_loss=loss, train_score=score, valid=valid, learning_rate=rate, seconds=seconds)


def _rates(model: keras.Model, n_samples: int, config: FitConfig) -> Sequence[NDArray[np.float32] | None]:
    """Return the learning rate of each step, epoch by epoch, ``(n_steps,)`` float32; None where it is constant."""
    if model.plan.rate is None:
        return [None] * config.epochs
    n_steps = -(-n_samples // config.batch_size)
    total = n_steps * config.epochs
    rates = float(model.optimizer.learning_rate) * model.plan.rate((np.arange(total) + 0.5) / total)
    return list(rates.astype(np.float32).reshape(config.epochs, n_steps))


def permutations(seed: int, n_samples: int, epochs: int) -> Iterator[NDArray[np.int32]]:
    """Yield the order of samples, ``(n_samples,)`` int32, of one epoch after another."""
    rng = np.random.default_rng((seed, n_samples))
    for _ in range(epochs):
        yield rng.permutation(n_samples).astype(np.int32)


def _train_score(objective: Objective, part: Part, order: NDArray[np.int32], loss: float, kept: Kept) -> float:
    if isinstance(kept, int):
        return 1 - loss if METRICS[objective.metric].keeps == "loss" else kept / len(order)
    return objective.score(part.y[order], kept, None if part.weight is None else part.weight[order])


def _with_epoch(history: History, folds: Sequence[Epoch], valid: Evaluation) -> History:
    """Return the history with one more epoch: means over the folds, and the sum of their seconds."""
    return History(
        metric=valid.metric,
        train_loss=(*history.train_loss, sum(fold.train_loss for fold in folds) / len(folds)),
        train_score=(*history.train_score, sum(fold.train_score for fold in folds) / len(folds)),
        valid_loss=(*history.valid_loss, valid.loss),
        valid_score=(*history.valid_score, valid.score),
        learning_rate=(*history.learning_rate, folds[0].learning_rate),
        seconds=(*history.seconds, sum(fold.seconds for fold in folds)),
    )


def _resident_tensors(part: Part, objective: Objective, capacity: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the part as tensors of at least ``capacity`` rows; the same for each trial of a process on its arrays."""
    key = (id(part.X), id(part.y), capacity)
    if key not in _resident:
        y = objective.targets(part.y) if objective.is_regression else part.y.astype(np.int32)
        X = _padded(part.X, capacity)[:]
        shared = tf.experimental.dlpack.from_dlpack(X.__dlpack__()) if _can_share(X, part.X) else tf.constant(X)
        _resident[key] = shared, tf.constant(_padded(y, capacity))
        weakref.finalize(part.X, _resident.pop, key, None)
        weakref.finalize(part.y, _resident.pop, key, None)
    return _resident[key]


def _can_share(X: NDArray[np.float32], owner: NDArray[np.float32]) -> bool:
    """Whether TensorFlow can take the memory of ``X`` as it is: ``tf.constant`` copies it twice.

    The tensor keeps the memory alive; it must not keep ``owner`` alive, whose end is the end of the entry.
    """
    return X.size > 0 and X.flags.c_contiguous and X.ctypes.data % 64 == 0 and X.base is not owner


def _padded(rows: NDArray[Any], capacity: int) -> NDArray[Any]:
    missing = max(0, capacity - len(rows))
    return np.pad(rows, [(0, missing), *[(0, 0)] * (rows.ndim - 1)]) if missing else rows
