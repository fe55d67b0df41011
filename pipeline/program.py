"""Compiled programs: one epoch of training as one XLA program, kept for the next trial that differs in values only.

A Keras step costs about a millisecond, of which the arithmetic of a small network is a tenth. Here the whole epoch is
one program: Keras's model, loss and optimizer inside, the loop around them compiled as well.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

#: Entries of a Keras configuration that are values of variables, or mere names, and leave the program as it is.
_VALUE_KEYS = frozenset({"name", "seed"})


class EpochProgram:
    """One epoch of training ``model``'s architecture with its optimizer, compiled for one shape of data.

    Owns a copy of the model and of the optimizer, whose variables are the program's; :meth:`load` puts a trial's
    values in and :meth:`store` takes them out. Not thread-safe.

    Parameters
    ----------
    model
        A compiled model; it is copied, not kept.
    batch_size
        Samples a step; the last step of an epoch takes what is left.
    """

    def __init__(self, model: keras.Model, batch_size: int) -> None:
        self.n_traces = 0
        self._batch_size = batch_size
        self._model = keras.models.clone_model(model)
        self._loss = model.loss
        self._optimizer = model.optimizer.__class__.from_config(model.optimizer.get_config())
        self._optimizer.build(self._model.trainable_variables)
        self._run = tf.function(self._epoch, jit_compile=True, autograph=False)

    def load(self, model: keras.Model) -> None:
        """Copy every value of ``model`` and its optimizer into the program."""
        _copy_values(model, model.optimizer, self._model, self._optimizer)

    def store(self, model: keras.Model) -> None:
        """Copy every value of the program into ``model`` and its optimizer."""
        _copy_values(self._model, self._optimizer, model, model.optimizer)

    def run(self, X: tf.Tensor, y: tf.Tensor, order: NDArray[np.int32]) -> tuple[float, float]:
        """Train one epoch on the samples in the given order; return mean loss and accuracy over its batches."""
        loss_sum, n_correct = self._run(X, y, tf.constant(order))
        return float(loss_sum) / len(order), int(n_correct) / len(order)

    def _epoch(self, X: tf.Tensor, y: tf.Tensor, order: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        self.n_traces += 1
        n_samples, batch_size = int(order.shape[0]), self._batch_size
        n_full, n_rest = divmod(n_samples, batch_size)

        def step(number: tf.Tensor, loss_sum: tf.Tensor, n_correct: tf.Tensor) -> tuple[tf.Tensor, ...]:
            batch = tf.slice(order, [number * batch_size], [batch_size])
            loss, correct = self._step(tf.gather(X, batch), tf.gather(y, batch))
            return number + 1, loss_sum + loss * batch_size, n_correct + correct

        state = (tf.constant(0), tf.constant(0.0), tf.constant(0))
        if n_full:
            state = tf.while_loop(lambda number, *_: number < n_full, step, state)
        _, loss_sum, n_correct = state
        if n_rest:
            batch = order[n_full * batch_size :]
            loss, correct = self._step(tf.gather(X, batch), tf.gather(y, batch))
            loss_sum, n_correct = loss_sum + loss * n_rest, n_correct + correct
        return loss_sum, n_correct

    def _step(self, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._model(x, training=True)
            loss = self._loss(y, logits)
        self._optimizer.apply(tape.gradient(loss, variables), variables)
        hits = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), y)
        return loss, tf.reduce_sum(tf.cast(hits, tf.int32))


class ProgramCache:
    """The programs used last, at most ``size`` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._programs: OrderedDict[str, EpochProgram] = OrderedDict()

    def program(self, model: keras.Model, batch_size: int, data_shape: tuple[int, ...]) -> EpochProgram:
        """Return the program for this architecture, optimizer, batch size and shape of data; make it if need be."""
        key = _structure(model, batch_size, data_shape)
        program = self._programs.pop(key, None) or EpochProgram(model, batch_size)
        self._programs[key] = program
        while len(self._programs) > self._size:
            self._programs.popitem(last=False)
        return program


def _structure(model: keras.Model, batch_size: int, data_shape: tuple[int, ...]) -> str:
    """Return what a program depends on: all but the values of variables."""
    optimizer = model.optimizer.get_config()
    if isinstance(optimizer["learning_rate"], int | float):
        del optimizer["learning_rate"]
    parts = [model.get_config(), type(model.optimizer).__name__, optimizer, model.loss.get_config()]
    return json.dumps([_without_values(parts), batch_size, data_shape], sort_keys=True, default=str)


def _without_values(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without_values(value) for key, value in config.items() if key not in _VALUE_KEYS}
    if isinstance(config, list | tuple):
        return [_without_values(value) for value in config]
    return config


def _copy_values(
    from_model: keras.Model,
    from_optimizer: keras.optimizers.Optimizer,
    to_model: keras.Model,
    to_optimizer: keras.optimizers.Optimizer,
) -> None:
    sources = [*_model_variables(from_model), *from_optimizer.variables]
    targets = [*_model_variables(to_model), *to_optimizer.variables]
    for source, target in zip(sources, targets, strict=True):
        target.assign(source)


def _model_variables(model: keras.Model) -> list[keras.Variable]:
    """Return weights and the states of dropout's random generators, layer by layer."""
    return [variable for layer in model.layers for variable in layer.variables]
