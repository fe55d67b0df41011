"""Fit: a compiled model trained on the training part, epoch by epoch, with validation after each.

One rule on which epoch counts, the same everywhere: **the last**. Weights are never restored from an earlier epoch, so
that the number of epochs means the same for every trial, and picking the best epoch does not flatter the score.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.config import FitConfig, require
from pipeline.evaluate import evaluate
from pipeline.program import ProgramCache
from pipeline.records import History, Part, Split

EpochCallback = Callable[[int, dict[str, float]], bool | None]

#: Programs and training data of this process, kept between trials: they speed up a second trial and never change it.
_programs = ProgramCache(size=16)
_resident: dict[int, tuple[weakref.ref[NDArray[np.float32]], tf.Tensor, tf.Tensor]] = {}


def fit(model: keras.Model, split: Split, config: FitConfig, *, on_epoch_end: EpochCallback | None = None) -> History:
    """Train ``model`` in place; at the end it holds the last epoch's weights.

    Stops at once behind an epoch whose training or validation loss is not finite; that epoch is part of the history.

    Parameters
    ----------
    model
        A compiled model of :func:`pipeline.build.build`.
    split
        Its training part is trained on, its validation part evaluated after each epoch. The arrays must not be
        changed in place afterwards: the training part stays resident for the next trial.
    config
        Epochs, batch size, and the seed of the order of samples.
    on_epoch_end
        Called with the number of the epoch, from 1, and its values under the keys of :meth:`History.curves`.
        Training ends when it returns True.
    """
    require(len(split.train) > 0, "number of training samples", "at least 1", len(split.train))
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    X, y = _resident_tensors(split.train)
    program = _programs.program(model, config.batch_size, X.shape)
    program.load(model)
    history = History()
    start = time.perf_counter()
    for epoch, order in enumerate(permutations(config.seed, len(split.train), config.epochs), start=1):
        train_loss, train_score = program.run(X, y, order)
        program.store(model)
        valid = evaluate(model, split.valid, "valid")
        end = time.perf_counter()
        history = _extended(
            history, train_loss, train_score, valid.loss, valid.score, float(model.optimizer.learning_rate), end - start
        )
        start = end
        stop = on_epoch_end is not None and on_epoch_end(epoch, {k: v[-1] for k, v in history.curves().items()})
        if stop or not (math.isfinite(train_loss) and math.isfinite(valid.loss)):
            break
    return history


def permutations(seed: int, n_samples: int, epochs: int) -> Iterator[NDArray[np.int32]]:
    """Yield the order of samples, ``(n_samples,)`` int32, of one epoch after another."""
    rng = np.random.default_rng((seed, n_samples))
    for _ in range(epochs):
        yield rng.permutation(n_samples).astype(np.int32)


def _extended(history: History, *values: float) -> History:
    columns = (
        history.train_loss,
        history.train_score,
        history.valid_loss,
        history.valid_score,
        history.learning_rate,
        history.seconds,
    )
    names = ("train_loss", "train_score", "valid_loss", "valid_score", "learning_rate", "seconds")
    rows = zip(names, columns, values, strict=True)
    return History(metric=history.metric, **{name: (*column, value) for name, column, value in rows})


def _resident_tensors(part: Part) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the part as tensors; the same buffers for every trial of this process on the same array."""
    key = id(part.X)
    if key not in _resident:
        reference = weakref.ref(part.X, lambda _: _resident.pop(key, None))
        _resident[key] = reference, tf.constant(part.X), tf.constant(part.y.astype(np.int32))
    return _resident[key][1:]
