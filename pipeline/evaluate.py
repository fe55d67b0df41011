"""Evaluation: a model's loss and score on one part, and its probabilities.

Validation after each epoch and the evaluation at the end are this one function, so that they agree to the last bit.
"""

from __future__ import annotations

from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.records import Evaluation, Part

#: Samples a step: enough to make the overhead of a step vanish, few enough to bound memory.
_CHUNK = 4096


def evaluate(model: keras.Model, part: Part, name: Literal["train", "valid", "test"]) -> Evaluation:
    """Return the mean loss and the accuracy of ``model`` on ``part``.

    Parameters
    ----------
    model
        Gives logits; its own compiled loss is used.
    part
        Scaled samples, as for training.
    name
        Which part it is.
    """
    loss_sum, n_correct = 0.0, 0
    for start in range(0, len(part), _CHUNK):
        y = part.y[start : start + _CHUNK]
        logits = model(part.X[start : start + _CHUNK], training=False)
        loss_sum += float(model.loss(y, logits)) * len(y)
        n_correct += int(np.count_nonzero(np.argmax(logits, axis=1) == y))
    n_samples = len(part)
    return Evaluation(
        part=name, loss=loss_sum / n_samples, score=n_correct / n_samples, metric="accuracy", n_samples=n_samples
    )


def predict_proba(model: keras.Model, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of the classes, ``(n, n_classes)`` float32, for scaled samples ``(n, n_features)``."""
    chunks = [
        tf.nn.softmax(model(X[start : start + _CHUNK], training=False)).numpy() for start in range(0, len(X), _CHUNK)
    ]
    return np.concatenate(chunks) if chunks else np.empty((0, model.output_shape[-1]), np.float32)
