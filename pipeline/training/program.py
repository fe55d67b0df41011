"""Compiled programs: one epoch of training as one XLA program, kept for the next trial that differs in values only.

A step of Keras's own loop costs two milliseconds, of which the arithmetic of a small network is a tenth. Here the
whole epoch is one program: Keras's model, loss and optimizer inside, and the loop around them compiled as well.
"""

from __future__ import annotations

import re
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from depthcheck.pipeline.training.layers import TrainingLayer
from depthcheck.pipeline.training.program_cache import programs_folder, renew

_LAYERS = keras.layers
_FUNCTIONAL = type(keras.Model(inputs=(_input := keras.Input((1,))), outputs=_input))
#: Layers that look at each sample by itself: what fills a batch up reaches no other sample through them.
_BY_SAMPLE = (
    _LAYERS.InputLayer, _LAYERS.Dense, _LAYERS.Conv2D, _LAYERS.Activation, _LAYERS.Dropout, _LAYERS.GaussianNoise,
    _LAYERS.LayerNormalization, _LAYERS.MaxPooling2D, _LAYERS.AveragePooling2D, _LAYERS.GlobalAveragePooling2D,
    _LAYERS.Flatten, _LAYERS.Reshape, _LAYERS.Rescaling, _LAYERS.Add, TrainingLayer,
)  # fmt: skip
#: What the training score of an epoch is made of: the number of hits (0 where its loss says all), or the outputs
#: ``(n_samples, n_outputs)`` in the order of training.
Kept = int | NDArray[np.float32]


class EpochProgram:
    """One epoch of training a model's architecture with its optimizer, compiled once.

    Owns a copy of the model and of the optimizer, whose variables are the program's; :meth:`load` puts a trial's
    values in and :meth:`store` takes them out. Not thread-safe.

    Parameters
    ----------
    model
        A compiled model with a built optimizer; it is copied, not kept.
    batch_size
        Samples a step; the last step of an epoch takes what is left.
    keeps
        What is kept of the batches for the training score (:class:`depthcheck.pipeline.scores.Metric`).

    Attributes
    ----------
    n_traces
        How often the program was traced, and compiled: once for each shape of data.
    engine
        ``compiled``, or ``step by step`` with the reason where XLA cannot compile a user's own model.
    """

    def __init__(self, model: keras.Model, batch_size: int, keeps: str = "hits") -> None:
        self.n_traces = 0
        self._loaded: weakref.ref[Any] | None = None
        self._batch_size = batch_size
        self._keeps = keeps
        self._model = model.again()
        self._is_own = self._model.name == "own"
        self._loss = self._model.loss
        self._optimizer = self._model.optimizer
        self._optimizer.build(self._model.trainable_variables)
        self._fills = can_fill(self._model)
        self.engine = "compiled"
        self._run = self._compiled()

    def load(self, model: keras.Model) -> None:
        """Copy every value of ``model`` and its optimizer into the program."""
        self._loaded = weakref.ref(model)
        _copy_values(model, model.optimizer, self._model, self._optimizer)

    def holds(self, model: keras.Model) -> bool:
        """Whether no other model was loaded since: then there is nothing to copy between two epochs of it."""
        return self._loaded is not None and self._loaded() is model

    def store(self, model: keras.Model) -> None:
        """Copy every value of the program into ``model`` and its optimizer."""
        _copy_values(self._model, self._optimizer, model, model.optimizer)

    def run(
        self,
        X: tf.Tensor,
        y: tf.Tensor,
        order: NDArray[np.int32],
        *,
        weights: NDArray[np.float32] | None = None,
        rates: NDArray[np.float32] | None = None,
    ) -> tuple[float, Kept]:
        """Train one epoch.

        Parameters
        ----------
        X, y
            ``(n, n_features)`` float32, and ``(n,)`` int32 or ``(n, 1)`` float32. With more rows than ``order`` has
            positions the program is one for any number of samples up to ``n``; not where :func:`can_fill` says no.
        order
            ``(n_samples,)`` int32: the positions of the samples in the order of training.
        weights
            ``(n_samples,)``: the weight of each sample in the loss.
        rates
            ``(n_steps,)``: the learning rate of each step; the optimizer keeps the last one.

        Returns
        -------
        float, Kept
            Loss over the epoch, each batch weighted by its size, and what its score is made of.
        """
        n_samples = len(order)
        capacity = int(X.shape[0])
        some = tf.constant(n_samples) if capacity > n_samples else None
        more = capacity - n_samples
        weighted = None if weights is None else tf.constant(np.pad(weights, (0, more)))
        scheduled = None
        if rates is not None:
            most_steps = -(-capacity // min(self._batch_size, capacity))
            scheduled = tf.constant(np.pad(rates, (0, most_steps - len(rates))))
        given = (X, y, tf.constant(np.pad(order, (0, more))), some, weighted, scheduled)
        try:
            loss_sum, kept = self._run_compiled(given) if self.engine == "compiled" else self._run(*given)
        except Exception as error:
            # An error of training itself is one without XLA, too; a lack of memory is none that helps there.
            if self.engine != "compiled" or not self._is_own or _is_out_of_memory(error):
                raise
            self.run_step_by_step(_reason(error))
            loss_sum, kept = self._run(*given)
        if self._keeps == "outputs":
            return float(loss_sum) / n_samples, kept.numpy().reshape(-1, kept.shape[-1])[:n_samples]
        return float(loss_sum) / n_samples, int(kept)

    def run_step_by_step(self, reason: str = "") -> None:
        """Leave XLA out from now on: the same epoch, its operations taken one by one by TensorFlow."""
        self.engine = f"step by step ({reason})" if reason else "step by step"
        self._run = tf.function(self._epoch, autograph=False)

    def _run_compiled(self, given: tuple[Any, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        n_traces = self.n_traces
        try:
            loss_sum, kept = self._run(*given)
        except tf.errors.OpError as error:
            folder = programs_folder()
            unsupported = self._is_own and isinstance(
                error, tf.errors.InvalidArgumentError | tf.errors.UnimplementedError
            )
            if self.n_traces == n_traces or folder is None or _is_out_of_memory(error) or unsupported:
                raise
            # It failed before its first step, while it was compiled or read from a damaged folder. XLA remembers that
            # for this function; another one is compiled anew, with the values that the variables still have.
            renew(folder)
            self._run = self._compiled()
            loss_sum, kept = self._run_again(given, folder)
        return loss_sum, kept

    def _run_again(self, given: tuple[Any, ...], folder: Path) -> tuple[tf.Tensor, tf.Tensor]:
        try:
            loss_sum, kept = self._run(*given)
        except tf.errors.OpError as error:
            if str(folder) not in str(error):
                raise
            raise OSError(f"compiled programs cannot be kept anywhere: {error.message}") from error
        return loss_sum, kept

    def _compiled(self) -> Any:
        return tf.function(self._epoch, jit_compile=True, autograph=False)

    def _epoch(
        self, X: tf.Tensor, y: tf.Tensor, order: tf.Tensor, some: tf.Tensor | None, *more: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        weights, rates = more
        self.n_traces += 1
        capacity = int(order.shape[0])
        n_samples = capacity if some is None else some
        batch_size = min(self._batch_size, capacity)
        n_steps = -(-n_samples // batch_size)
        most_steps = -(-capacity // batch_size)
        n_missing = most_steps * batch_size - capacity
        fills = some is not None or n_missing > 0
        order = tf.pad(order, [[0, n_missing]])

        def step(number: tf.Tensor, loss_sum: tf.Tensor, kept: Any, size: int = batch_size) -> tuple[Any, ...]:
            start = number * batch_size
            batch = tf.slice(order, [start], [size])
            n_real = tf.minimum(size, n_samples - start)
            is_real = tf.range(size) < n_real if fills and self._fills else None
            if rates is not None:
                self._optimizer.learning_rate.assign(rates[number])
            labels = tf.gather(y, batch)
            loss, outputs = self._step(tf.gather(X, batch), labels, is_real, _taken(weights, batch))
            kept = self._keep(kept, number, labels, outputs, is_real)
            return number + 1, loss_sum + loss * tf.cast(n_real, tf.float32), kept

        state = (tf.constant(0), tf.constant(0.0), self._nothing_kept(most_steps, batch_size))
        if n_missing and not self._fills:
            # Compiled a second time for the smaller batch, which is all that the last step may see.
            state = tf.while_loop(lambda number, *_: number < n_steps - 1, step, state, parallel_iterations=1)
            number, loss_sum, kept = state
            state = step(number, loss_sum, kept, batch_size - n_missing)
        else:
            state = tf.while_loop(lambda number, *_: number < n_steps, step, state, parallel_iterations=1)
        _, loss_sum, kept = state
        return loss_sum, kept.stack() if self._keeps == "outputs" else kept

    def _step(
        self, x: tf.Tensor, y: tf.Tensor, is_real: tf.Tensor | None, weights: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Make one step; samples that are not real fill the last batch up and have no weight.

        A second copy of the step for the smaller batch would double the seconds to compile and the program's memory.
        """
        variables = self._model.trainable_variables
        if is_real is not None:
            weights = _mean_weights(is_real) if weights is None else _mean_weights(is_real) * weights
        with tf.GradientTape() as tape:
            outputs = self._model(x, training=True)
            loss = self._loss(y, outputs, sample_weight=weights)
            regularized = sum(self._model.losses, start=loss)
        self._apply(tape.gradient(regularized, variables), variables)
        return loss, outputs

    def _nothing_kept(self, n_steps: int, batch_size: int) -> Any:
        if self._keeps == "outputs":
            return tf.TensorArray(tf.float32, size=n_steps, element_shape=(batch_size, self._model.output_shape[-1]))
        return tf.constant(0)

    def _keep(self, kept: Any, number: tf.Tensor, y: tf.Tensor, outputs: tf.Tensor, is_real: tf.Tensor | None) -> Any:
        """Count hits, or keep the outputs; where the score follows from the loss there is nothing to keep."""
        if self._keeps == "outputs":
            n_missing = kept.element_shape[0] - outputs.shape[0]
            return kept.write(number, tf.pad(outputs, [[0, n_missing], [0, 0]]) if n_missing else outputs)
        if self._keeps == "loss":
            return kept
        hits = tf.equal(tf.argmax(outputs, axis=1, output_type=tf.int32), y)
        hits = hits if is_real is None else tf.logical_and(hits, is_real)
        return kept + tf.reduce_sum(tf.cast(hits, tf.int32))

    def _apply(self, gradients: list[tf.Tensor], variables: list[keras.Variable]) -> None:
        """Let Keras's optimizer update the variables.

        Outside of ``merge_call`` Keras sums gradients over replicas first, by an operation whose gradient TensorFlow
        registers under a new name each time and for good: every program's graph would stay in memory.
        """
        context = tf.distribute.get_replica_context()
        context.merge_call(lambda _strategy, *each: self._optimizer.apply(each, variables), args=gradients)


class ProgramCache:
    """The programs used last, at most ``size`` of them. Not thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._programs: OrderedDict[tuple[str, int, str], EpochProgram] = OrderedDict()

    def program(self, model: keras.Model, batch_size: int, keeps: str = "hits") -> EpochProgram:
        """Return the program for this architecture, optimizer, batch size and what is kept; make it if need be."""
        key = (model.key, batch_size, keeps)
        program = self._programs.pop(key, None) or EpochProgram(model, batch_size, keeps)
        self._programs[key] = program
        while len(self._programs) > self._size:
            self._programs.popitem(last=False)
        return program


def _is_out_of_memory(error: Exception) -> bool:
    """Tell a lack of memory from a full disk, which TensorFlow gives the same class."""
    return isinstance(error, tf.errors.ResourceExhaustedError) and "No space left" not in str(error)


def _reason(error: Exception) -> str:
    """Return what XLA cannot compile: of many lines, the operation that it has not."""
    text = " ".join(str(error).split())
    operation = re.search(r"on XLA_\w+: (\w+) ", text)
    return f"XLA cannot compile {operation[1]}" if operation else f"XLA: {text[:100]}"


def _mean_weights(is_real: tf.Tensor) -> tf.Tensor:
    """Return weights with which Keras's mean over the whole batch is the mean over its real samples."""
    real = tf.cast(is_real, tf.float32)
    return real / tf.reduce_mean(real)


def _taken(weights: tf.Tensor | None, batch: tf.Tensor) -> tf.Tensor | None:
    return None if weights is None else tf.gather(weights, batch)


def can_fill(model: keras.Model) -> bool:
    """Tell whether samples without weight may fill a batch up: not where a layer may mix samples, as statistics do."""
    if not isinstance(model, keras.Sequential | _FUNCTIONAL):
        return False  # what else it does in its call nobody knows
    return all(can_fill(layer) if hasattr(layer, "layers") else isinstance(layer, _BY_SAMPLE) for layer in model.layers)


def _copy_values(
    from_model: keras.Model,
    from_optimizer: keras.optimizers.Optimizer,
    to_model: keras.Model,
    to_optimizer: keras.optimizers.Optimizer,
) -> None:
    sources = [*_model_variables(from_model), *from_optimizer.variables]
    targets = [*_model_variables(to_model), *to_optimizer.variables]
    for source, target in zip(sources, targets, strict=True):
        # Keras's own assign takes twice as long, for checks of what is known to fit.
        target.value.assign(source.value)


def _model_variables(model: keras.Model) -> list[keras.Variable]:
    """Return weights and the states of random generators, layer by layer."""
    return [variable for layer in model.layers for variable in layer.variables]
