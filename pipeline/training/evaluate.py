"""Evaluation: a model's loss and scores on one part, what it predicts, and why its layers learn or stand still."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from depthcheck.pipeline.metrics import Objective, left_out
from depthcheck.pipeline.own import OwnCodeError
from depthcheck.pipeline.records import Evaluation, Part, PartName, Predictions
from depthcheck.pipeline.scores import METRICS
from depthcheck.pipeline.served import in_steps

#: Samples of the training part that are looked at, always its first ones.
_N_SAMPLES = 256
#: A unit is saturated on a sample where its activation's slope is below this share of the greatest slope it can have.
_FLAT = 0.05


def evaluate(model: keras.Model, part: Part, name: PartName, objective: Objective) -> Evaluation:
    """Return the mean loss and the scores of ``model`` on ``part``, by the rows' weights; classes have none here.

    Parameters
    ----------
    model
        Gives logits or standardized numbers; what it was trained by plays no part.
    part
        Prepared samples, as for training; at least one.
    objective
        The score, and the standardization of a regression's targets.
    """
    return evaluation_of(outputs_of(model, part), part, name, objective)


def evaluation_of(outputs: NDArray[np.float32], part: Part, name: PartName, objective: Objective) -> Evaluation:
    """Return the mean loss and the scores of a network's outputs ``(n, n_outputs)`` for a part."""
    loss = objective.loss(part.y, outputs, part.weight)
    return objective.evaluation(name, loss, part.y, outputs, part.weight)


def served_outputs(model: keras.Model, samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return what a model gives for ``samples``, ``(n, n_outputs)``; of a serving model probabilities or numbers."""
    return in_steps(model, samples.__getitem__, len(samples))


def outputs_of(model: keras.Model, part: Part) -> NDArray[np.float32]:
    """Return what a network gives for the samples of a part, ``(n, n_outputs)``."""
    return in_steps(model, part.features, len(part))


def predictions(
    outputs: NDArray[np.float32], part: Part, objective: Objective, unit: NDArray[np.int64] | None = None
) -> Predictions:
    """Return what a network says of each sample of ``part`` by its outputs; ``unit`` is that of each."""
    if objective.is_regression:
        numbers = objective.numbers(outputs)
        said = (numbers if objective.is_far else numbers.astype(np.float32)).reshape(-1, 1)  # as the served model
    else:
        said = tf.nn.softmax(outputs).numpy()
    return _said(part.y, said, objective, part.weight, unit)


def judge_outputs(
    y: NDArray[Any],
    outputs: NDArray[np.float32],
    objective: Objective,
    weight: NDArray[np.float64] | None = None,
    unit: NDArray[np.int64] | None = None,
) -> tuple[Evaluation, Predictions]:
    """Return evaluation and predictions of the test part from a serving model's outputs for it.

    Parameters
    ----------
    y
        ``(n,)`` the truth.
    outputs
        As :func:`served_outputs` gives them.
    objective
        The score; of a regression, also the standardization in which its loss is told.
    """
    if objective.is_regression:
        # The model has put its numbers into the target's own unit already.
        missed = (objective.targets(y) - objective.targets(outputs[:, 0]))[:, 0].astype(np.float64)
        loss = float(np.average(missed**2, weights=weight))
    else:
        # Keras's own loss keeps probabilities that far from 0.
        of_truth = np.maximum(outputs[np.arange(len(y)), y].astype(np.float64), keras.config.epsilon())
        loss = float(np.average(-np.log(of_truth), weights=weight))
    evaluation = objective.served.evaluation("test", loss, y, outputs, weight)
    return evaluation, _said(y, outputs, objective, weight, unit)


def layer_diagnostics(model: keras.Model, part: Part, objective: Objective) -> dict[str, float]:
    """Return gradient norms and saturation by layer, cheap enough for every epoch: one batch forward and backward.

    Parameters
    ----------
    model
        A compiled model of :func:`depthcheck.pipeline.training.build.build`; nothing of it is changed.
    objective
        How its targets become those of the loss.

    Returns
    -------
    dict
        By the keys that every log uses: ``gradient_norm/<layer>``, the Euclidean norm of the mean loss's gradient by
        the layer's kernel, and ``saturation/<layer>``, the share in 0 to 1 of (unit, sample) pairs whose activation is
        flat there: sigmoid and tanh far from 0, relu below 0. The output layer has no activation and no saturation.
        Glorot and Bengio (2010) watch the same two to explain why deep sigmoid networks stand still. Of a user's own
        layers, a kernel that does not train has no norm, and an activation that is no function of a number no share.
    """
    y = tf.constant(objective.targets(part.y[:_N_SAMPLES]))
    weighted = [layer for layer in _flat(model) if isinstance(getattr(layer, "kernel", None), keras.Variable)]
    hidden = weighted[:-1]
    active = [layer for layer in _flat(model) if callable(getattr(layer, "activation", None)) and layer in hidden]
    active += [layer for layer in _flat(model) if isinstance(layer, keras.layers.Activation)]
    with _watched(active) as seen, tf.GradientTape() as tape:
        loss = model.loss(y, model(tf.constant(part.features(slice(_N_SAMPLES))), training=False))
    gradients = tape.gradient(loss, [layer.kernel.value for layer in weighted])
    norms = {
        f"gradient_norm/{layer.name}": float(tf.norm(gradient))
        for layer, gradient in zip(weighted, gradients, strict=True)
        if gradient is not None
    }
    return {**norms, **{f"saturation/{name}": share for name, share in seen.items()}}


def _flat(model: keras.Model) -> list[Any]:
    """Return the layers of a model and of the models inside it, each once."""
    inner = [_flat(layer) if hasattr(layer, "layers") else [layer] for layer in model.layers]
    return list(dict.fromkeys(layer for layers in inner for layer in layers))


@contextmanager
def _watched(layers: Sequence[Any]) -> Iterator[dict[str, float]]:
    """Yield the share of flat activations by hidden layer, filled in while a model with these layers is called."""
    seen: dict[str, float] = {}
    activations = [layer.activation for layer in layers]

    def watched(name: str, activation: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(before: tf.Tensor) -> Any:
            with suppress(Exception):  # a user's own may be anything: the slopes of PReLU are those of each unit
                seen[name] = _saturated(activation, tf.stop_gradient(before))
            return activation(before)

        return call

    for layer, activation in zip(layers, activations, strict=True):
        layer.activation = watched(layer.name.replace("activation_", "hidden_"), activation)
    try:
        yield seen
    finally:
        for layer, activation in zip(layers, activations, strict=True):
            layer.activation = activation


def _said(
    y: NDArray[Any],
    outputs: NDArray[np.float32],
    objective: Objective,
    weight: NDArray[np.float64] | None,
    unit: NDArray[np.int64] | None,
) -> Predictions:
    """Return predictions of probabilities, or of numbers in the target's own unit; scored where no formula does it."""
    scores, block = None, None
    if not METRICS[objective.metric].has_formula:

        def score(kept: NDArray[np.bool_]) -> float:
            if not kept.any():
                return float("nan")
            try:
                return objective.served.score(y[kept], outputs[kept], None if weight is None else weight[kept])
            except OwnCodeError:
                if kept.all():
                    raise
                return float("nan")  # not defined without these: a class may be left out with them

        scores, block = left_out(score, len(y), unit, weight)
    is_number = objective.is_regression
    return Predictions(
        y=y,
        predicted=outputs[:, 0] if is_number else outputs.argmax(axis=1),
        probability=np.full(len(y), np.nan, np.float32) if is_number else outputs.max(axis=1),
        positive=outputs[:, 1] if outputs.shape[1] == 2 else None,
        unit=unit,
        weight=weight,
        scores=scores,
        block=block,
    )


def _saturated(activation: Callable[[Any], Any], before: tf.Tensor) -> float:
    flat = tf.abs(_slope(activation, before)) < _FLAT * _steepest(activation)
    return float(np.mean(flat.numpy()))


@functools.lru_cache(maxsize=32)
def _steepest(activation: Callable[[Any], Any]) -> float:
    return float(tf.reduce_max(tf.abs(_slope(activation, tf.linspace(-10.0, 10.0, 2001)))))


def _slope(activation: Callable[[Any], Any], at: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = activation(at)
    return tape.gradient(value, at)
