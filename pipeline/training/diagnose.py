"""Why a network learns or stands still: the size of each layer's gradient, and how much of it is saturated.

Cheap enough for every epoch: one batch, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from depthcheck.pipeline.metrics import Objective
from depthcheck.pipeline.records import Part

#: Samples of the training part that are looked at, always its first ones.
_N_SAMPLES = 256
#: A unit is saturated on a sample where its activation's slope is below this share of the greatest slope it can have.
_FLAT = 0.05


def layer_diagnostics(model: keras.Model, part: Part, objective: Objective) -> dict[str, float]:
    """Return gradient norms and saturation by layer, under the keys that every log uses.

    Parameters
    ----------
    model
        A compiled model of :func:`depthcheck.pipeline.training.build.build`; nothing of it is changed.
    part
        The training part.
    goal
        How its targets become those of the loss.

    Returns
    -------
    dict
        ``gradient_norm/<layer>``, the Euclidean norm of the mean loss's gradient by the layer's kernel, and
        ``saturation/<layer>``, the share in 0 to 1 of (unit, sample) pairs whose activation is flat there: sigmoid
        and tanh far from 0, relu below 0. The output layer has no activation and no saturation. Glorot and Bengio
        (2010) watch the same two to explain why deep sigmoid networks stand still.
    """
    y = tf.constant(objective.targets(part.y[:_N_SAMPLES]))
    signal = tf.constant(part.X[:_N_SAMPLES])
    saturation: dict[str, float] = {}
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    with tf.GradientTape() as tape:
        for layer in dense:
            before = tf.matmul(signal, layer.kernel.value) + layer.bias.value
            if layer is not dense[-1]:
                with tape.stop_recording():
                    saturation[f"saturation/{layer.name}"] = _saturated(layer.activation, before)
            signal = layer.activation(before)
        loss = model.loss(y, signal)
    gradients = tape.gradient(loss, [layer.kernel.value for layer in dense])
    norms = {
        f"gradient_norm/{layer.name}": float(tf.norm(gradient))
        for layer, gradient in zip(dense, gradients, strict=True)
    }
    return {**norms, **saturation}


def _saturated(activation: Callable[[Any], Any], before: tf.Tensor) -> float:
    steepest = float(tf.reduce_max(tf.abs(_slope(activation, tf.linspace(-10.0, 10.0, 2001)))))
    flat = tf.abs(_slope(activation, before)) < _FLAT * steepest
    return float(np.mean(flat.numpy()))


def _slope(activation: Callable[[Any], Any], at: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = activation(at)
    return tape.gradient(value, at)
