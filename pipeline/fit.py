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

_COLUMNS = ("train_loss", "train_score", "valid_loss", "valid_score", "learning_rate", "seconds")

#: Programs and training data of this process, kept between trials: they speed the next trial up and change nothing.
_programs = ProgramCache(size=16)
_resident: dict[tuple[int, int], tuple[tf.Tensor, tf.Tensor]] = {}


def fit(
    model: keras.Model,
    split: Split,
    config: FitConfig,
    *,
    on_epoch_end: EpochCallback | None = None,
    programs: ProgramCache | None = None,
) -> History:
    """Train ``model`` in place; at the end it holds the last epoch's weights.

    Stops at once behind an epoch whose training or validation loss is not finite; that epoch is part of the history.
    One call at a time in a process.

    Parameters
    ----------
    model
        A compiled model of :func:`pipeline.build.build`.
    split
        Its training part is trained on, its validation part evaluated after each epoch. The arrays must not be
        changed in place afterwards: the training part stays resident for the next trial, as long as its array lives.
    config
        Epochs, batch size, and the seed of the order of samples.
    on_epoch_end
        Called with the number of the epoch, from 1, and its values under the keys of :meth:`History.curves`.
        Training ends when it returns True.
    programs
        Where compiled programs are kept; by default with the process.
    """
    require(len(split.train) > 0, "number of training samples", "at least 1", len(split.train))
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    X, y = _resident_tensors(split.train)
    program = (_programs if programs is None else programs).program(model, config.batch_size)
    program.load(model)
    rows: list[tuple[float, ...]] = []
    history = History()
    start = time.perf_counter()
    for epoch, order in enumerate(permutations(config.seed, len(split.train), config.epochs), start=1):
        train_loss, train_score = program.run(X, y, order)
        program.store(model)
        valid = evaluate(model, split.valid, "valid")
        end = time.perf_counter()
        learning_rate = float(model.optimizer.learning_rate)
        rows.append((train_loss, train_score, valid.loss, valid.score, learning_rate, end - start))
        start = end
        history = History(metric=valid.metric, **dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True)))
        stop = on_epoch_end is not None and on_epoch_end(epoch, {k: v[-1] for k, v in history.curves().items()})
        if stop or not (math.isfinite(train_loss) and math.isfinite(valid.loss)):
            break
    return history


def permutations(seed: int, n_samples: int, epochs: int) -> Iterator[NDArray[np.int32]]:
    """Yield the order of samples, ``(n_samples,)`` int32, of one epoch after another."""
    rng = np.random.default_rng((seed, n_samples))
    for _ in range(epochs):
        yield rng.permutation(n_samples).astype(np.int32)


def _resident_tensors(part: Part) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the part as tensors; the same buffers for every trial of this process on the same arrays."""
    key = (id(part.X), id(part.y))
    if key not in _resident:
        _resident[key] = tf.constant(part.X), tf.constant(part.y.astype(np.int32))
        weakref.finalize(part.X, _resident.pop, key, None)
        weakref.finalize(part.y, _resident.pop, key, None)
    return _resident[key]
