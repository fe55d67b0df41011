"""Layers and losses that Keras has not, or has in a form that XLA cannot compile or compiles badly."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import ops

#: The numbers to come of each kind of thing. None comes twice: TensorFlow takes functions of one name for one.
_numbers: dict[int, Iterator[int]] = {}


@contextmanager
def named_alike(what: str) -> Iterator[None]:
    """Let what is traced inside have numbers of ``what``, which tells it from all else, not of the process's past.

    TensorFlow puts a number behind each name, that of the things which the process has made so far, and XLA's cache on
    disk finds a program by its names, too. A second worker, whose trials come in another order, would find none of the
    programs that the first has compiled.
    """
    kind, own = zlib.crc32(what.encode()), ops.uid
    numbers = _numbers.setdefault(kind, itertools.count(kind << 30))
    ops.uid = lambda: next(numbers)
    try:
        yield
    finally:
        ops.uid = own


def _drawn(shape: Any, seed: tf.Tensor, low: Any = 0.0, high: Any = 1.0, dtype: tf.DType = tf.float32) -> Any:
    """Return uniform random numbers by the Threefry generator, the same whatever stands around.

    For a processor only XLA has it, so the draw is compiled also where the step around it is not.
    """
    shape = tf.convert_to_tensor(shape)
    with named_alike(f"a draw: {shape.shape}, {low} to {high}, {dtype}"):
        return _compiled_draw(shape, seed, low, high, dtype)


@partial(tf.function, jit_compile=True, autograph=False)
def _compiled_draw(shape: tf.Tensor, seed: tf.Tensor, low: Any, high: Any, dtype: tf.DType) -> Any:
    return tf.random.stateless_uniform(shape, seed, low, high, dtype, alg="threefry")


class TrainingLayer(keras.layers.Layer):  # type: ignore[misc]
    """A layer that draws while training and does nothing afterwards: what is served has none of them.

    Random numbers are drawn by the Threefry generator. Keras leaves the generator to TensorFlow, and what XLA then
    compiles for a processor takes 400 ns a number; Threefry takes 2 to 7. With dropout behind 154 units in batches of
    64 an epoch of Fashion-MNIST was ten times as long for it.
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> Any:
        """Return the inputs, changed at random while training."""
        if not training:
            return inputs
        changed = self.changed(inputs, tf.cast(self.seed_generator.next(), tf.int32))
        return tf.ensure_shape(changed, inputs.shape)

    def changed(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Return the inputs as training sees them."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the inputs."""
        return input_shape


class ThreefryDropout(keras.layers.Dropout):  # type: ignore[misc]
    """Keras's Dropout, its mask drawn as those of :class:`TrainingLayer` draw."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> Any:
        """Set a share ``rate`` of the inputs to 0 while training, and scale the others up to keep their sum."""
        if not training or self.rate == 0:
            return inputs
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        rate = tf.convert_to_tensor(self.rate, inputs.dtype)

        def kept() -> tf.Tensor:
            return tf.where(_drawn(tf.shape(inputs), seed) >= rate, inputs / (1 - rate), tf.zeros_like(inputs))

        # A padded program has the rate with each call: masks of three layers took a quarter of a step of one layer.
        changed = kept() if isinstance(self.rate, float) else tf.cond(rate > 0, kept, lambda: inputs)
        return tf.ensure_shape(changed, inputs.shape)


#: Activations that one compiled program can choose from with each call.
CHOICES = ("relu", "tanh", "sigmoid")


class SharedDense(keras.layers.Dense):  # type: ignore[misc]
    """Activates its first ``width`` units and sets the others to 0: one compiled program then serves many networks.

    With a width of 0 it stands for a layer that a network does not have, and passes on what comes in.

    Parameters
    ----------
    chosen
        An activation's name; where it is one of :data:`CHOICES`, the layer computes all of them and takes that of the
        number ``choice``.
    """

    def __init__(self, units: int, chosen: str, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.choice, self.width = 0, 0
        names = CHOICES if chosen in CHOICES else (chosen,)
        self.activations = [keras.activations.get(name) for name in names]

    def call(self, inputs: tf.Tensor) -> Any:
        """Return ``(n, units)``."""
        # Read here: no gradient finds a variable that only a branch reads.
        kernel, bias = self.kernel.value.read_value(), self.bias.value.read_value()
        width = tf.convert_to_tensor(self.width, inputs.dtype)
        choice = tf.convert_to_tensor(self.choice, inputs.dtype)

        def active() -> tf.Tensor:
            before = inputs @ kernel + bias
            first, *others = [activation(before) for activation in self.activations]
            for number, other in enumerate(others, start=1):
                first = tf.where(choice == number, other, first)
            return first * tf.cast(tf.range(self.units, dtype=inputs.dtype) < width, inputs.dtype)

        if inputs.shape[-1] != self.units:
            return active()
        return tf.cond(width > 0, active, lambda: inputs)


class Convolution(keras.layers.Conv2D):  # type: ignore[misc]
    """Keras's Conv2D of stride 1 with zeros around, as one product of matrices.

    What XLA compiles of a convolution for a processor takes several times as long (docs/decisions/compiled-fit.md).
    """

    def call(self, inputs: tf.Tensor) -> Any:
        """Return ``(n, height, width, filters)`` for ``(n, height, width, channels)``."""
        height, width, channels = inputs.shape[1:]
        rows, columns = self.kernel_size
        around = [[0, 0], [(rows - 1) // 2, rows // 2], [(columns - 1) // 2, columns // 2], [0, 0]]
        padded = tf.pad(inputs, around)
        seen = [padded[:, y : y + height, x : x + width] for y in range(rows) for x in range(columns)]
        patches = tf.reshape(tf.concat(seen, axis=3), [-1, rows * columns * channels])
        outputs = patches @ tf.reshape(self.kernel.value, [-1, self.filters])
        if self.use_bias:
            outputs += self.bias.value
        return self.activation(tf.reshape(outputs, [-1, height, width, self.filters]))


class Pooling(keras.layers.MaxPooling2D):  # type: ignore[misc]
    """Keras's MaxPooling2D of 2 × 2 with stride 2; an odd edge is the maximum of what is there."""

    def call(self, inputs: tf.Tensor) -> Any:
        """Return ``(n, ⌈height / 2⌉, ⌈width / 2⌉, channels)``."""
        height, width, channels = inputs.shape[1:]
        missing = [[0, 0], [0, height % 2], [0, width % 2], [0, 0]]
        padded = tf.pad(inputs, missing, constant_values=inputs.dtype.min)
        squares = [-1, -(-height // 2), 2, -(-width // 2), 2, channels]
        return tf.reduce_max(tf.reshape(padded, squares), axis=[2, 4])


#: What stands in a served model for a layer of ours; others are stock layers already.
_STOCK = {Convolution: keras.layers.Conv2D, Pooling: keras.layers.MaxPooling2D}


def served(layers: Iterable[Any]) -> list[Any]:
    """Return stock layers that do the same once training is over, without weights yet."""
    kept = [layer for layer in layers if not isinstance(layer, TrainingLayer | keras.layers.Dropout)]
    return [_STOCK[type(of)].from_config(of.get_config()) if type(of) in _STOCK else of for of in kept]


class RandomShift(TrainingLayer):
    """Moves each image by its own whole number of pixels, up to a share of its size; zeros come in from the edge."""

    def __init__(self, share: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.share = share

    def changed(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Return images ``(n, height, width, channels)`` of the same shape."""
        for axis in (1, 2):
            size = int(inputs.shape[axis])
            most = max(1, round(self.share * size))
            drawn = _drawn(tf.shape(inputs)[:1], seed + axis, -most, most + 1, tf.int32)
            at = tf.range(size) + drawn[:, None]
            moved = tf.gather(inputs, tf.clip_by_value(at, 0, size - 1), axis=axis, batch_dims=1)
            is_inside = tf.cast((at >= 0) & (at < size), inputs.dtype)
            inputs = moved * tf.reshape(is_inside, (-1, size, 1, 1) if axis == 1 else (-1, 1, size, 1))
        return inputs


class RandomFlip(TrainingLayer):
    """Mirrors every second image, left to right."""

    def changed(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Return images ``(n, height, width, channels)`` of the same shape."""
        drawn = _drawn((tf.shape(inputs)[0], 1, 1, 1), seed)
        return tf.where(drawn < 0.5, tf.reverse(inputs, [2]), inputs)


class ClassLoss(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of logits with smoothed labels (Szegedy et al. 2016), focal (Lin et al. 2017), or both.

    Parameters
    ----------
    gamma
        Each sample's loss is multiplied by its missing probability to this power.
    smoothing
        Share of a label that goes to all classes alike.
    """

    def __init__(self, n_classes: int, *, gamma: float = 0.0, smoothing: float = 0.0) -> None:
        super().__init__(name="class_loss")
        self.n_classes, self.gamma, self.smoothing = n_classes, gamma, smoothing

    def call(self, y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return the loss of each sample, ``(n,)``."""
        labels = tf.one_hot(tf.cast(tf.reshape(y, [-1]), tf.int32), self.n_classes)
        wanted = (1 - self.smoothing) * labels + self.smoothing / self.n_classes
        losses = tf.nn.softmax_cross_entropy_with_logits(wanted, logits)
        if self.gamma:
            losses *= (1 - tf.reduce_sum(labels * tf.nn.softmax(logits), axis=1)) ** self.gamma
        return losses
