"""Models: configurations to compiled Keras models, and trained models to models that a user calls.

Models end in logits: softmax followed by a logarithm clips probabilities and costs an extra pass, while the loss on
logits is exact. Probabilities, and the unit of a number, belong to :func:`serving_model`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from depthcheck.pipeline.config import ModelConfig, OptimizerConfig
from depthcheck.pipeline.dimensions import DIMENSIONS, Blueprint
from depthcheck.pipeline.metrics import Objective
from depthcheck.pipeline.records import Scaler


class ThreefryDropout(keras.layers.Dropout):  # type: ignore[misc]
    """Keras's Dropout, its mask drawn by the Threefry generator.

    Keras leaves the generator to TensorFlow, and what XLA then compiles for a processor takes 400 ns a number; Threefry
    takes 2 to 7. With 154 units in batches of 64 an epoch of Fashion-MNIST was ten times as long for it.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> Any:
        """Set a share ``rate`` of the inputs to 0 while training, and scale the others up to keep their sum."""
        if not training or self.rate == 0:
            return inputs
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        drawn = tf.random.stateless_uniform(tf.shape(inputs), seed, alg="threefry")
        return tf.where(drawn >= self.rate, inputs / (1 - self.rate), tf.zeros_like(inputs))


def build(model: ModelConfig, optimizer: OptimizerConfig, *, n_features: int, n_classes: int, seed: int) -> keras.Model:
    """Return a compiled Keras model: flat samples in; logits out, or one number.

    Hidden layer ``i`` starts from the same weights whatever comes behind it, so that networks of different depth
    with one seed differ by the added layers alone.

    Parameters
    ----------
    n_features, n_classes
        Width of the input and of the output; 0 classes for a regression, whose output is one standardized number.
    seed
        Of the initial weights and of dropout; each layer gets its own stream.
    """
    seeds = _layer_seeds(seed)
    output_seed = next(seeds)
    plan = Blueprint(
        keras=keras,
        n_classes=n_classes,
        hidden={"activation": model.activation},
        initializer=keras.initializers.GlorotUniform,
        behind={},
        loss=task_loss(is_regression=not n_classes),
        optimizer=build_optimizer(optimizer),
    )
    if model.dropout > 0:
        plan.behind["dropout"] = lambda name, seed: ThreefryDropout(model.dropout, seed=seed, name=name)
    for name, value in sorted(model.options, key=lambda option: list(DIMENSIONS).index(option[0])):
        if (change := DIMENSIONS[name].build) is not None:
            change(plan, value)
    layers: list[Any] = [keras.Input((n_features,))]
    for number, n_units in enumerate(model.units, start=1):
        weight_seed, dropout_seed = next(seeds), next(seeds)
        initializer = plan.initializer(seed=weight_seed)
        layers.append(
            keras.layers.Dense(n_units, kernel_initializer=initializer, name=f"hidden_{number}", **plan.hidden)
        )
        for name, make in plan.behind.items():
            layers.append(make(f"{name}_{number}", dropout_seed if name == "dropout" else _own(dropout_seed, name)))
    initializer = plan.initializer(seed=output_seed)
    name = "logits" if n_classes else "number"
    layers.append(keras.layers.Dense(n_classes or 1, kernel_initializer=initializer, name=name))
    network = keras.Sequential(layers, name="mlp")
    network.compile(optimizer=plan.optimizer, loss=plan.loss, metrics=["accuracy"] if n_classes else [])
    network.options = model.options  # whatever a layer's or a loss's configuration says of them
    return network


@cache
def task_loss(*, is_regression: bool) -> keras.losses.Loss:
    """Return the loss that networks are judged by, and trained by unless a dimension has another."""
    if is_regression:
        return keras.losses.MeanSquaredError()
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build_optimizer(config: OptimizerConfig) -> keras.optimizers.Optimizer:
    """Return the Keras optimizer that ``config`` names, with its hyperparameters; others keep Keras's defaults."""
    # Ours are called as Keras's classes in small letters; one of a user's own is registered with Keras.
    registered = {name.rpartition(">")[2]: found for name, found in keras.saving.get_custom_objects().items()}
    known = {name.lower(): found for name, found in {**vars(keras.optimizers), **registered}.items()}
    return known[config.name](learning_rate=float(config.learning_rate), **dict(config.hyperparameters))


def serving_model(
    model: keras.Model,
    *,
    sample_shape: tuple[int, ...],
    scaler: Scaler | None,
    objective: Objective,
) -> keras.Model:
    """Return a model that gives probabilities of the classes, or numbers in the target's own unit.

    It consists of stock Keras layers only, so that it loads without custom objects, and owns copies of the weights.

    Parameters
    ----------
    model
        A trained model of :func:`build`.
    sample_shape
        Shape of one raw sample, ``(28, 28)`` for pixels; of a table's row once it is prepared, ``(n_features,)``.
    scaler
        What was done to each raw value before training, which the model then does itself; None where samples come
        prepared.
    objective
        What was learned; of a regression, how the target was standardized.

    Returns
    -------
    keras.Model
        ``(n, *sample_shape)``, of what the scaler computes in, to probabilities ``(n, n_classes)`` or numbers
        ``(n, 1)``, float32.
    """
    trained = [layer for layer in model.layers if not isinstance(layer, keras.layers.Dropout)]
    copies = [layer.__class__.from_config(layer.get_config()) for layer in trained]
    before = [] if scaler is None else _scaling(scaler)
    last = (
        keras.layers.Rescaling(objective.sd, objective.mean, name="unit")
        if objective.is_regression
        else keras.layers.Softmax(name="probabilities")
    )
    samples = keras.Input(sample_shape, name="sample", dtype=scaler.dtype.name if scaler is not None else None)
    serving = keras.Sequential([samples, *before, *copies, last], name="mlp_serving")
    for layer, copy in zip(trained, copies, strict=True):
        copy.set_weights(layer.get_weights())
    return serving


def _scaling(scaler: Scaler) -> list[Any]:
    """Return the layers that do what a scaler does.

    Keras reads the numbers of a layer's configuration as float32, whatever the layer computes in. So samples of float64
    are first moved by a centre that float32 holds exactly; what is left to move them by is small.
    """
    dtype, scale = scaler.dtype.name, scaler.scale
    offset: float | NDArray[np.floating] = scaler.offset
    moved = []
    if isinstance(scale, np.ndarray) and dtype == "float64":
        centre = (-offset / scale).astype(np.float32).astype(np.float64)
        moved.append(keras.layers.Rescaling(1.0, _plain(-centre), name="centre", dtype=dtype))
        offset = offset + centre * scale
    return [
        keras.layers.Flatten(name="flatten", dtype=dtype),
        *moved,
        keras.layers.Rescaling(_plain(scale), _plain(offset), name="scale", dtype=dtype),
    ]


def _layer_seeds(seed: int) -> Iterator[int]:
    """Yield one independent seed after another; below 2**31, as Keras's generators take them."""
    rng = np.random.default_rng(seed)
    while True:
        yield int(rng.integers(2**31))


def _own(seed: int, name: str) -> int:
    """Return the seed of one of several layers behind the same hidden layer; it is the same whatever the others are."""
    return int(np.random.default_rng((seed, zlib.crc32(name.encode()))).integers(2**31))


def _plain(value: float | NDArray[np.floating]) -> float | list[float]:
    """Return ``value`` as a layer's configuration can hold it in JSON."""
    array = np.asarray(value)
    return float(array) if array.ndim == 0 else [float(entry) for entry in array.ravel()]
