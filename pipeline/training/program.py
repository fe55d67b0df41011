"""Compiled programs: epochs of training as one XLA program, kept for the next trial that differs in values only.

A step of Keras's own loop costs two milliseconds, of which the arithmetic of a small network is a tenth. Here whole
epochs are one program: Keras's model, loss and optimizer inside, what the model says of the validation part after each
epoch, and the loops around them compiled as well. Values go in and come out as tensors: copying variables one by one
between epochs took as long as training on a table of some hundred rows.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from depthcheck.pipeline.training.layers import TrainingLayer, named_alike
from depthcheck.pipeline.training.program_cache import programs_folder, renew
from depthcheck.pipeline.training.sharing import Padded, names_in, settings

_LAYERS = keras.layers
_FUNCTIONAL = type(keras.Model(inputs=(_input := keras.Input((1,))), outputs=_input))
#: Layers that look at each sample by itself: what fills a batch up reaches no other sample through them.
_BY_SAMPLE = (
    _LAYERS.InputLayer, _LAYERS.Dense, _LAYERS.Conv2D, _LAYERS.Activation, _LAYERS.Dropout, _LAYERS.GaussianNoise,
    _LAYERS.LayerNormalization, _LAYERS.MaxPooling2D, _LAYERS.AveragePooling2D, _LAYERS.GlobalAveragePooling2D,
    _LAYERS.Flatten, _LAYERS.Reshape, _LAYERS.Rescaling, _LAYERS.Add, TrainingLayer,
)  # fmt: skip
#: How the names of the modules begin that have these layers, and no user's.
_WITH_KNOWN_LAYERS = ("keras.", TrainingLayer.__module__)
#: Samples that the model looks at at a time when it does not train: few enough to stay near the processor.
_CHUNK = 512
#: Stands for a layer's name; no layer has it.
_OF_OPTIMIZER = "the optimizer"
#: Of all variables of a model and of its optimizer.
Values = list[tf.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What some epochs gave.

    Attributes
    ----------
    values
        After the last of them.
    losses
        ``(n_epochs,)``, each batch weighted by its size.
    kept
        What the training scores are made of: hits ``(n_epochs,)`` (0 where the loss says all), or outputs in the order
        of training, ``(n_epochs, n_samples, n_outputs)``.
    outputs
        What the model said of the validation part after each, ``(n_epochs, n_valid, n_outputs)``.
    """

    values: Values
    losses: NDArray[np.floating[Any]]
    kept: NDArray[Any]
    outputs: NDArray[np.float32]


class TrainingProgram:
    """Epochs of training a model's architecture with its optimizer, and its outputs after each, compiled once.

    Owns a copy of the model and of the optimizer, whose variables are filled as it begins. Not thread-safe.

    Parameters
    ----------
    model
        A compiled model with a built optimizer; it is copied, not kept.
    batch_size
        Samples a step; the last step of an epoch takes what is left.
    keeps
        What is kept of the batches for the training score (:class:`depthcheck.pipeline.scores.Metric`).
    padded
        Where it serves models of fewer layers and units, and smaller batches, too: what is missing is filled up with
        zeros.

    Attributes
    ----------
    n_traces
        How often the program was traced, and compiled: once for each shape of data.
    epoch_seconds
        How long an epoch took when the program was run last; infinite while that is not known.
    engine
        ``compiled``, or ``step by step`` with the reason where XLA cannot compile a user's own model.
    """

    def __init__(self, model: keras.Model, batch_size: int, keeps: str = "hits", padded: Padded | None = None) -> None:
        self.n_traces = 0
        self.epoch_seconds = float("inf")
        self._is_padded = padded is not None
        self._kind = repr((padded.key if padded else model.key, batch_size, keeps))
        self._batch_size = batch_size
        self._keeps = keeps
        self._model = model.again(least=padded.least if padded else (0, 0))
        self._is_own = self._model.name == "own"
        self._loss = self._model.loss
        self._optimizer = self._model.optimizer
        self._optimizer.build(self._model.trainable_variables)
        self._variables = _variables(self._model)
        self._starts = {key: np.array(of.numpy()) for key, of in self._variables.items()} if padded else {}
        self._settings = settings(self._model)
        self._scale: Any = 1.0
        self._fills = can_fill(self._model)
        self.engine = "compiled"
        self._run = self._compiled()

    def values_of(self, model: keras.Model) -> Values:
        """Return the values of all variables of a model and of its built optimizer, as the program takes them."""
        own = _variables(model)
        if not self._is_padded:
            return [tf.identity(variable.value) for variable in own.values()]
        values = []
        for key, start in self._starts.items():
            # Weights that a smaller model has not are 0, and the optimizer's variables of these as they begin.
            value = start.copy() if key[0] == _OF_OPTIMIZER else np.zeros_like(start)
            if key in own:
                value[tuple(slice(size) for size in own[key].shape)] = own[key].numpy()
            values.append(tf.constant(value))
        return values

    def give(self, model: keras.Model, values: Values) -> None:
        """Let a model and its optimizer have the values that the program has left."""
        own = _variables(model)
        for key, value in zip(self._variables, values, strict=True):
            if key in own:
                # Cut by NumPy, since TensorFlow's slices took longer than all the rest here. Keras's own assign takes
                # twice as long as its variable's, for checks of what is known to fit.
                cut = value.numpy()[tuple(slice(size) for size in own[key].shape)] if self._is_padded else value
                own[key].value.assign(cut)

    def settings_of(self, model: keras.Model, padded: Padded | None = None) -> NDArray[np.float32]:
        """Return the numbers of a model that are no variables, as the program takes them."""
        if padded is None:
            return np.array([getattr(holder, name) for holder, name in settings(model)], np.float32)
        of_optimizer = [getattr(model.optimizer, name) for holder, name in self._settings if holder is self._optimizer]
        return np.array([*of_optimizer, *padded.settings], np.float32)

    def run(
        self,
        values: Values,
        given: NDArray[np.float32],
        X: tf.Tensor,
        y: tf.Tensor,
        orders: NDArray[np.int32],
        *,
        valid: tf.Tensor,
        batch_size: int,
        most_epochs: int = 1,
        weights: NDArray[np.float32] | None = None,
        rates: NDArray[np.float32] | None = None,
    ) -> Trained:
        """Train some epochs from ``values`` on, which stay as they are.

        Parameters
        ----------
        values, given
            Of :meth:`values_of`, and of :meth:`settings_of` with what pixels are multiplied by behind.
        X, y
            ``(n, n_features)`` float32 or pixels of uint8, and ``(n,)`` int32 or ``(n, 1)`` float32. With more rows
            than ``orders`` has positions the program is one for any number of samples up to ``n``; not where
            :func:`can_fill` says no.
        orders
            ``(n_epochs, n_samples)`` int32: the positions of the samples in the order of training.
        valid
            ``(n_valid, n_features)``, at least one: what the model says of these samples after each epoch is kept.
        batch_size
            The program's own; where it is padded, at most that.
        most_epochs
            The program is one for any number of epochs up to this.
        weights
            ``(n_samples,)``: the weight of each sample in the loss.
        rates
            ``(n_epochs, n_steps)``: the learning rate of each step; the optimizer keeps the last one.
        """
        n_epochs, n_samples = orders.shape
        capacity = int(X.shape[0])
        more, fewer = capacity - n_samples, most_epochs - n_epochs
        some = tf.constant(n_samples) if more or self._is_padded else None
        size = tf.constant(batch_size) if self._is_padded else None
        weighted = None if weights is None else tf.constant(np.pad(weights, (0, more)))
        scheduled = None
        if rates is not None:
            most_steps = capacity if self._is_padded else -(-capacity // min(self._batch_size, capacity))
            scheduled = tf.constant(np.pad(rates, [(0, fewer), (0, most_steps - rates.shape[1])]))
        padded = tf.constant(np.pad(orders, [(0, fewer), (0, more)]))
        numbers = tf.constant(given)
        arguments = (values, numbers, X, y, padded, tf.constant(n_epochs), some, size, valid, weighted, scheduled)
        try:
            with named_alike(f"{self._kind}: {[_form(argument) for argument in arguments]}"):
                done = self._run_compiled(arguments) if self.engine == "compiled" else self._run(*arguments)
        except Exception as error:
            # An error of training itself is one without XLA, too; a lack of memory is none that helps there.
            if self.engine != "compiled" or not self._is_own or _is_out_of_memory(error):
                raise
            self.run_step_by_step(_reason(error))
            done = self._run(*arguments)
        after, losses, kept, outputs = done
        of_epochs = kept.numpy()[:n_epochs]
        if self._keeps == "outputs":
            rows = of_epochs[:, : -(-n_samples // batch_size), :batch_size]
            of_epochs = rows.reshape(n_epochs, -1, rows.shape[-1])[:, :n_samples]
        return Trained(after, losses.numpy()[:n_epochs] / n_samples, of_epochs, outputs.numpy()[:n_epochs])

    def run_step_by_step(self, reason: str = "") -> None:
        """Leave XLA out from now on: the same epochs, their operations taken one by one by TensorFlow."""
        self.engine = f"step by step ({reason})" if reason else "step by step"
        self._run = tf.function(self._epochs, autograph=False)

    def _run_compiled(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        n_traces = self.n_traces
        try:
            return self._run(*given)  # type: ignore[no-any-return]
        except tf.errors.OpError as error:
            folder = programs_folder()
            unsupported = self._is_own and isinstance(
                error, tf.errors.InvalidArgumentError | tf.errors.UnimplementedError
            )
            if self.n_traces == n_traces or folder is None or _is_out_of_memory(error) or unsupported:
                raise
            # It failed before its first step, while it was compiled or read from a damaged folder. XLA remembers that
            # for this function; another one is compiled anew, and given the same values.
            renew(folder)
            self._run = self._compiled()
        try:
            return self._run(*given)  # type: ignore[no-any-return]
        except tf.errors.OpError as error:
            if str(folder) not in str(error):
                raise
            raise OSError(f"compiled programs cannot be kept anywhere: {error.message}") from error

    def _compiled(self) -> Any:
        return tf.function(self._epochs, jit_compile=True, autograph=False)

    def _epochs(
        self, values: Values, given: tf.Tensor, X: tf.Tensor, y: tf.Tensor, orders: tf.Tensor, *more: Any
    ) -> tuple[Any, ...]:
        n_epochs, some, size, valid, weights, rates = more
        self.n_traces += 1
        for variable, value in zip(self._variables.values(), values, strict=True):
            variable.value.assign(value)
        for number, (holder, name) in enumerate(self._settings):
            setattr(holder, name, _Given(given[number]))
        n_outputs, self._scale = self._model.output_shape[-1], given[-1]

        def epoch(number: tf.Tensor, losses: Any, kept: Any, said: Any) -> tuple[Any, ...]:
            loss_sum, of_epoch = self._epoch(X, y, orders[number], some, size, weights, _taken(rates, number))
            said = said.write(number, self._outputs(valid))
            return number + 1, losses.write(number, loss_sum), kept.write(number, of_epoch), said

        def a_row_each(dtype: Any, shape: Any) -> Any:
            return tf.TensorArray(dtype, size=orders.shape[0], element_shape=shape)

        keeps = tf.float32 if self._keeps == "outputs" else tf.int32
        state = (
            tf.constant(0),
            a_row_each(tf.float32, ()),
            a_row_each(keeps, self._shape_kept(int(orders.shape[1]))),
            a_row_each(tf.float32, (int(valid.shape[0]), n_outputs)),
        )
        _, losses, kept, said = tf.while_loop(lambda number, *_: number < n_epochs, epoch, state, parallel_iterations=1)
        after = [variable.value.read_value() for variable in self._variables.values()]
        return after, losses.stack(), kept.stack(), said.stack()

    def _features(self, X: tf.Tensor) -> tf.Tensor:
        """Return what the model takes: of pixels numbers, made where they are used, a quarter of the bytes to read."""
        return X if X.dtype == tf.float32 else tf.cast(X, tf.float32) * self._scale

    def _outputs(self, X: tf.Tensor) -> tf.Tensor:
        """Return what the model says of each sample.

        The last chunk begins where it is full, among samples of the one before: to fill it up, XLA would copy all.
        """
        n_samples, size = int(X.shape[0]), max(1, min(_CHUNK, int(X.shape[0])))
        n_chunks = -(-n_samples // size)
        if n_chunks == 1:
            return self._model(self._features(X), training=False)
        said = tf.TensorArray(tf.float32, size=n_chunks, element_shape=(size, self._model.output_shape[-1]))

        def chunk(number: tf.Tensor, said: Any) -> tuple[Any, ...]:
            rows = tf.slice(X, [tf.minimum(number * size, n_samples - size), 0], [size, X.shape[1]])
            return number + 1, said.write(number, self._model(self._features(rows), training=False))

        _, said = tf.while_loop(lambda number, *_: number < n_chunks, chunk, (tf.constant(0), said))
        before, last = tf.split(said.stack(), [n_chunks - 1, 1])
        n_before = (n_chunks - 1) * size
        return tf.concat([tf.reshape(before, [n_before, -1]), last[0, n_before - n_samples :]], axis=0)

    def _epoch(
        self, X: tf.Tensor, y: tf.Tensor, order: tf.Tensor, some: tf.Tensor | None, *more: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        batch_size, weights, rates = more
        capacity = int(order.shape[0])
        n_samples = capacity if some is None else some
        most = min(self._batch_size, capacity)
        n_missing = -(-capacity // most) * most - capacity
        batch_size = most if batch_size is None else batch_size
        n_steps = -(-n_samples // batch_size)
        fills = some is not None or n_missing > 0
        order = tf.pad(order, [[0, most]])

        def step(number: tf.Tensor, loss_sum: tf.Tensor, kept: Any, size: int = most) -> tuple[Any, ...]:
            start = number * batch_size
            # Where a slice begins XLA would take for a constant, and compile again for another size of batch.
            batch = tf.gather(order, start + tf.range(size)) if self._is_padded else tf.slice(order, [start], [size])
            n_real = tf.minimum(tf.minimum(size, batch_size), n_samples - start)
            is_real = tf.range(size) < n_real if fills and self._fills else None
            if rates is not None:
                self._optimizer.learning_rate.assign(rates[number])
            labels = tf.gather(y, batch)
            loss, outputs = self._step(self._features(tf.gather(X, batch)), labels, is_real, _taken(weights, batch))
            kept = self._keep(kept, number, labels, outputs, is_real)
            return number + 1, loss_sum + loss * tf.cast(n_real, tf.float32), kept

        state = (tf.constant(0), tf.constant(0.0), self._nothing_kept(capacity))
        if n_missing and not self._fills:
            # Compiled a second time for the smaller batch, which is all that the last step may see.
            state = tf.while_loop(lambda number, *_: number < n_steps - 1, step, state, parallel_iterations=1)
            number, loss_sum, kept = state
            state = step(number, loss_sum, kept, most - n_missing)
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
            # A layer's own loss may be a number a sample, of which Keras takes the sum.
            regularized = sum(map(tf.reduce_sum, self._model.losses), start=loss)
        self._apply(tape.gradient(regularized, variables), variables)
        return loss, outputs

    def _shape_kept(self, capacity: int) -> tuple[int, ...]:
        """Return what is kept of an epoch: outputs, a row of them each step, or one number."""
        if self._keeps != "outputs":
            return ()
        batch_size = min(self._batch_size, capacity)
        most_steps = capacity if self._is_padded else -(-capacity // batch_size)
        return most_steps, batch_size, self._model.output_shape[-1]

    def _nothing_kept(self, capacity: int) -> Any:
        if self._keeps == "outputs":
            most_steps, *shape = self._shape_kept(capacity)
            return tf.TensorArray(tf.float32, size=most_steps, element_shape=shape)
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


class _Given:
    """A number that comes with each call, where Keras has a plain one, which it takes for one that is not 0."""

    def __init__(self, number: tf.Tensor) -> None:
        self.number = number


def _as_tensor(given: _Given, dtype: Any = None, name: str | None = None, as_ref: bool = False) -> tf.Tensor:
    return tf.cast(given.number, dtype or tf.float32, name=name)


tf.register_tensor_conversion_function(_Given, _as_tensor)


class ProgramCache:
    """The programs used last, at most ``size`` of them. Not thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._programs: OrderedDict[tuple[str, int, str], TrainingProgram] = OrderedDict()

    def program(
        self, model: keras.Model, batch_size: int, keeps: str = "hits", padded: Padded | None = None
    ) -> TrainingProgram:
        """Return the program for this architecture, optimizer, batch size and what is kept; make it if need be."""
        key = (padded.key if padded else model.key, batch_size, keeps)
        program = self._programs.pop(key, None) or TrainingProgram(model, batch_size, keeps, padded)
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


def _form(argument: Any) -> Any:
    if isinstance(argument, list):
        return [_form(each) for each in argument]
    return None if argument is None else (argument.shape, argument.dtype)


def _taken(weights: tf.Tensor | None, batch: tf.Tensor) -> tf.Tensor | None:
    return None if weights is None else tf.gather(weights, batch)


def can_fill(model: keras.Model) -> bool:
    """Tell whether samples without weight may fill a batch up: not where a layer may mix samples, as statistics do."""
    if not isinstance(model, keras.Sequential | _FUNCTIONAL):
        return False  # what else it does in its call nobody knows
    # What a functional model calls of keras.ops is an operation, and no layer.
    return all(
        can_fill(one) if hasattr(one, "layers") else _is_by_sample(one)
        for one in getattr(model, "operations", model.layers)
    )


def _is_by_sample(layer: Any) -> bool:
    """Tell it of a layer of Keras's or ours: a user's own class, function or loss of outputs may do anything."""
    if not isinstance(layer, _BY_SAMPLE) or not type(layer).__module__.startswith(_WITH_KNOWN_LAYERS):
        return False
    linear = keras.activations.linear
    return layer.activity_regularizer is None and getattr(layer, "activation", linear).__module__ == linear.__module__


def _variables(model: keras.Model) -> dict[tuple[str, str, int], keras.Variable]:
    """Return weights and the states of random generators by layer and number, and the optimizer's variables by name.

    A network of more layers has them under the same keys.
    """
    found = {(layer.name, "", at): of for layer in model.layers for at, of in enumerate(layer.variables)}
    n_called: Counter[str] = Counter()
    for name, variable in zip(names_in(model.optimizer), model.optimizer.variables, strict=True):
        found[_OF_OPTIMIZER, name, n_called[name]] = variable
        n_called[name] += 1
    return found
