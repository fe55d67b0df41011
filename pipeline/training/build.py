"""Models: configurations to compiled Keras models, and trained models to models that a user calls.

Models end in logits: softmax followed by a logarithm clips probabilities and costs an extra pass, while the loss on
logits is exact. Probabilities, and the unit of a number, belong to :func:`serving_model`.
"""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.random import seed_generator
from numpy.typing import NDArray

from depthcheck.pipeline.config import ModelConfig, OptimizerConfig
from depthcheck.pipeline.dimensions import DIMENSIONS, Blueprint
from depthcheck.pipeline.metrics import Objective
from depthcheck.pipeline.own import OwnCodeError, OwnModel, settings_kept
from depthcheck.pipeline.records import OUTPUTS, Scaler
from depthcheck.pipeline.training import layers
from depthcheck.pipeline.training.sharing import as_padded, can_pad, padded_units, with_momentum, without_settings


def build(
    model: ModelConfig,
    optimizer: OptimizerConfig,
    *,
    n_features: int,
    n_classes: int,
    seed: int,
    sample_shape: tuple[int, ...] | None = None,
    least: tuple[int, int] = (0, 0),
) -> keras.Model:
    """Return a compiled Keras model: flat samples in; logits out, or one number.

    Hidden layer ``i`` starts from the same weights whatever comes behind it, so that networks of different depth
    with one seed differ by the added layers alone.

    Parameters
    ----------
    n_features, n_classes
        Width of the input and of the output; 0 classes for a regression, whose output is one standardized number.
    seed
        Of the initial weights and of dropout; each layer gets its own stream.
    sample_shape
        Of a sample before it was flattened, for layers that look at images.
    least
        Hidden layers and units. Where either is not 0, build the model that many networks can share: at least so many
        layers, of at least so many units each, what comes out of those that are not asked for set to 0, with dropout of
        whatever rate.

    Returns
    -------
    keras.Model
        With attributes more: ``plan``, the blueprint that it was built of; ``key``, a text that is the same for models
        whose compiled programs are the same but for the values of variables and of
        :func:`depthcheck.pipeline.training.sharing.settings`; ``padded``, which tells what is to be known of the model
        with ``least``, or None where units may not be padded; ``again``, which builds it again; and ``served``, which
        returns the model of its own layers without those that do nothing but while training.
    """
    seeds = _layer_seeds(seed)
    output_seed = next(seeds)
    plan = Blueprint(
        keras=keras,
        own=layers,
        n_classes=n_classes,
        sample_shape=sample_shape or (n_features,),
        units=model.units,
        activation=model.activation,
        layer=keras.layers.Dense,
        initializer=keras.initializers.GlorotUniform,
        loss=task_loss(is_regression=not n_classes),
        optimizer=build_optimizer(with_momentum(optimizer) if any(least) else optimizer),
    )
    if model.dropout > 0 or any(least):
        rate = model.dropout or 0.5  # of a padded model a setting says it
        plan.behind["dropout"] = lambda name, seed: layers.ThreefryDropout(rate, seed=seed, name=name)
    options = sorted(model.options, key=lambda option: list(DIMENSIONS).index(option[0]))
    for name, value in options:
        if (change := DIMENSIONS[name].build) is not None:
            change(plan, value)
    if any(least):
        plan.layer = partial(layers.SharedDense, chosen=plan.activation or "linear")
        plan.activation, plan.units = None, padded_units(plan.units, least)
    inputs = keras.Input((n_features,))
    if model.own is not None:
        parts = _own_network(model, plan, seed)
        network = keras.Sequential([inputs, *parts], name="own")
        network.served = partial(keras.Sequential, [inputs, *parts])
    else:
        blocks = list(_blocks(plan, seeds, output_seed))
        network = _network([inputs, *blocks], adds=plan.adds)
        network.served = lambda: _network([inputs, *map(layers.served, blocks)], adds=plan.adds)
    network.compile(optimizer=plan.optimizer, loss=plan.loss, metrics=["accuracy"] if n_classes else [])
    compiled = replace(model, options=tuple(option for option in options if DIMENSIONS[option[0]].is_compiled))
    network.plan = plan
    shapes = plan.sample_shape, n_classes
    # A user's own layers have their rate compiled in; of ours a call says it.
    rate = model.dropout if model.own is not None or not model.dropout else 0.5
    network.key = repr((replace(compiled, dropout=rate), without_settings(optimizer), *shapes))
    other = without_settings(with_momentum(optimizer)), *shapes
    network.padded = partial(as_padded, compiled, plan, other, n_features) if can_pad(plan, model, optimizer) else None
    network.again = partial(
        build, model, optimizer, n_features=n_features, n_classes=n_classes, seed=seed, sample_shape=sample_shape
    )
    return network


def _own_network(model: ModelConfig, plan: Blueprint, seed: int) -> list[Any]:
    """Return the layers of a user's own model, which takes samples in their own shape.

    Raises
    ------
    OwnCodeError
        When its function raises, or returns no model that gives so many numbers a sample.
    """
    assert model.own is not None
    drawn = random.getstate(), np.random.get_state()
    try:
        with settings_kept():
            body = _own_body(model.own, model, plan, seed)
    finally:  # in a notebook they are the user's
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])
    if len(plan.sample_shape) > 1:
        return [keras.layers.Reshape(plan.sample_shape, name="sample_shape"), body]
    return [body]


def _own_body(own: OwnModel, model: ModelConfig, plan: Blueprint, seed: int) -> keras.Model:
    n_outputs = plan.n_classes or 1
    held = {**dict(model.options), "depth": model.depth, "activation": model.activation, "dropout": model.dropout}
    held["units"] = model.units[0] if model.units else 0
    values = {name: held[name] for name in own.defaults() if name in held}
    keras.utils.set_random_seed(seed % 2**32)
    with _as_in_a_new_process(seed):
        body = own.build(input_shape=plan.sample_shape, n_outputs=n_outputs, values=values)
    if not isinstance(body, keras.Model):
        raise OwnCodeError(f"{own.name} must return a keras.Model, got {type(body).__name__}")
    hooks = (getattr(type(body), name) is not getattr(keras.Model, name) for name in ("train_step", "compute_loss"))
    if body.compiled or any(hooks):
        raise OwnCodeError(f"{own.name} must return a model that is not compiled and trains as Keras's do")
    if body.dtype_policy.name == "mixed_float16":
        raise OwnCodeError(f"{own.name} must do without mixed_float16, whose loss is scaled; mixed_bfloat16 needs none")
    samples = keras.KerasTensor((None, *plan.sample_shape), dtype="float32")
    try:
        with _as_in_a_new_process(seed + 1):  # what is built at its first call only
            said = body(samples)
            shape, dtype = tuple(said.shape), said.dtype
    except Exception as error:
        raise OwnCodeError(f"{own.name}: {type(error).__name__}: {' '.join(str(error).split())}"[:500]) from error
    if shape != (None, n_outputs):
        wanted = f"({n_outputs},), a number a class" if plan.n_classes else "(1,)"
        raise OwnCodeError(f"{own.name} must give outputs of shape {wanted}, got {shape[1:]}")
    if dtype != "float32":
        raise OwnCodeError(f"{own.name} must give outputs of float32 (its last layer's dtype), got {dtype}")
    return body


@contextmanager
def _as_in_a_new_process(seed: int) -> Iterator[None]:
    """Let layers without seed and name get those that they would get alone, whatever was built before or beside.

    Keras counts names, and draws seeds from Python's own generator, which other threads of a worker draw from too.
    """
    drawn, names = seed_generator.python_random, global_state.get_global_attribute("object_name_uids")
    seed_generator.python_random = random.Random(seed)
    global_state.set_global_attribute("object_name_uids", defaultdict(int))
    try:
        yield
    finally:
        seed_generator.python_random = drawn
        global_state.set_global_attribute("object_name_uids", names)


def _blocks(plan: Blueprint, seeds: Iterator[int], output_seed: int) -> Iterator[list[Any]]:
    """Yield the layers before the first hidden layer, those of each hidden layer, and those behind the last."""
    yield [make(name, _own(output_seed, name)) for name, make in plan.start.items()]
    # Between a layer and its activation something may stand; else the two are one layer, as the notebook has it.
    hidden = plan.hidden if plan.between else {"activation": plan.activation, **plan.hidden}
    for number, n_units in enumerate(plan.units, start=1):
        weight_seed, own_seed = next(seeds), next(seeds)
        block = [
            plan.layer(
                n_units, kernel_initializer=plan.initializer(seed=weight_seed), name=f"hidden_{number}", **hidden
            )
        ]
        block += [make(f"{name}_{number}", _own(own_seed, name)) for name, make in plan.between.items()]
        if plan.between:
            block.append(keras.layers.Activation(plan.activation, name=f"activation_{number}"))
        for name, make in plan.behind.items():
            block.append(make(f"{name}_{number}", own_seed if name == "dropout" else _own(own_seed, name)))
        yield block
    name = OUTPUTS[0] if plan.n_classes else OUTPUTS[1]
    initializer = plan.initializer(seed=output_seed)
    last = keras.layers.Dense(plan.n_classes or 1, kernel_initializer=initializer, name=name, **plan.output)
    yield [*(make(name, _own(output_seed, name)) for name, make in plan.end.items()), last]


def _network(parts: Sequence[Any], *, adds: bool) -> keras.Model:
    """Return the model of an input and blocks of layers; with ``adds``, each hidden one adds its input where it fits.

    Sources: He et al. (2016) add, and add nothing where the shapes differ, as with the first hidden layer.
    """
    inputs, start, *hidden, last = parts
    if not adds:
        return keras.Sequential([inputs, *start, *(layer for block in hidden for layer in block), *last], name="mlp")
    signal = inputs
    for layer in start:
        signal = layer(signal)
    for number, block in enumerate(hidden, start=1):
        before = signal
        for layer in block:
            signal = layer(signal)
        if signal.shape == before.shape:
            signal = keras.layers.Add(name=f"added_{number}")([before, signal])
    for layer in last:
        signal = layer(signal)
    return keras.Model(inputs, signal, name="mlp")


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
    optimizer = known[config.name](learning_rate=float(config.learning_rate), **dict(config.hyperparameters))
    optimizer.name = config.name  # Keras numbers them; what is compiled has the same names in every process
    return optimizer


def serving_model(
    model: keras.Model,
    *,
    sample_shape: tuple[int, ...],
    scaler: Scaler | None,
    objective: Objective,
) -> keras.Model:
    """Return a model that gives probabilities of the classes, or numbers in the target's own unit.

    It consists of stock Keras layers only, so that it loads without custom objects. Where these are the model's own,
    it has its weights: building them anew took longer than training on a small table.

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
        ``(n, 1)``, float32, or float64 of a target that float32 would round visibly.
    """
    trained = model.served()
    trained.set_weights(model.get_weights())
    before = [] if scaler is None else _scaling(scaler)
    last = _in_unit(objective) if objective.is_regression else [keras.layers.Softmax(name="probabilities")]
    samples = keras.Input(sample_shape, name="sample", dtype=scaler.dtype.name if scaler is not None else None)
    network = trained.layers if isinstance(trained, keras.Sequential) else [trained]
    return keras.Sequential([samples, *before, *network, *last], name="mlp_serving")


def _in_unit(objective: Objective) -> list[Any]:
    """Return the layers that put standardized numbers into the target's own unit; the last one by what float32 holds.

    (:func:`_scaling` says why.)
    """
    if not objective.is_far:
        return [keras.layers.Rescaling(objective.sd, objective.mean, name="unit")]
    far = float(np.float32(objective.mean))
    return [
        keras.layers.Rescaling(objective.sd, objective.mean - far, name="unit", dtype="float64"),
        keras.layers.Rescaling(1.0, far, name="far", dtype="float64"),
    ]


def _scaling(scaler: Scaler) -> list[Any]:
    """Return the layers that do what a scaler does.

    Keras reads the numbers of a layer's configuration as float32, whatever the layer computes in. So samples of float64
    are first moved by a centre that float32 holds exactly; what is left to move them by is small.
    """
    dtype, scale = scaler.dtype.name, scaler.scale
    offset: float | NDArray[np.floating] = scaler.offset
    moved = []
    if isinstance(scale, np.ndarray) and dtype == "float64":
        # What is always 0 needs no centre.
        centre = np.divide(-offset, scale, out=np.zeros_like(scale), where=scale != 0).astype(np.float32).astype(dtype)
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
