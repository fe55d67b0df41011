"""Evaluation: a model's loss and scores on one part, and what it predicts.

Validation after each epoch and the evaluation at the end are this one function, so that they agree to the last bit.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from depthcheck.pipeline.metrics import Goal
from depthcheck.pipeline.records import Evaluation, Part, Predictions

#: Samples a step: enough to make the overhead of a step vanish, few enough to bound memory.
_CHUNK = 4096
_ACCURACY = Goal()


def evaluate(
    model: keras.Model, part: Part, name: Literal["train", "valid", "test"], goal: Goal = _ACCURACY
) -> Evaluation:
    """Return the mean loss and the scores of ``model`` on ``part``; no class weighs more than another here.

    Parameters
    ----------
    model
        Gives logits or standardized numbers; its own compiled loss is used.
    part
        Prepared samples, as for training; at least one.
    name
        Which part it is.
    goal
        The score, and the standardization of a regression's targets.
    """
    loss_sum, chunks = 0.0, []
    for start in range(0, len(part), _CHUNK):
        y = goal.targets(part.y[start : start + _CHUNK])
        outputs = model(part.X[start : start + _CHUNK], training=False)
        loss_sum += float(model.loss(y, outputs)) * len(y)
        chunks.append(outputs.numpy())
    n_samples = len(part)
    score, beside = goal.scores(part.y, np.concatenate(chunks))
    return Evaluation(
        part=name, loss=loss_sum / n_samples, score=score, metric=goal.metric, n_samples=n_samples, beside=beside
    )


def predict_proba(model: keras.Model, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of the classes, ``(n, n_classes)`` float32, for prepared samples ``(n, n_features)``."""
    chunks = [
        tf.nn.softmax(model(X[start : start + _CHUNK], training=False)).numpy() for start in range(0, len(X), _CHUNK)
    ]
    return np.concatenate(chunks) if chunks else np.empty((0, model.output_shape[-1]), np.float32)


def predict_numbers(model: keras.Model, X: NDArray[np.float32], goal: Goal) -> NDArray[np.float32]:
    """Return numbers in the target's own unit, ``(n,)`` float32, for prepared samples ``(n, n_features)``."""
    chunks = [model(X[start : start + _CHUNK], training=False).numpy() for start in range(0, len(X), _CHUNK)]
    outputs = np.concatenate(chunks) if chunks else np.empty((0, 1), np.float32)
    return goal.numbers(outputs).astype(np.float32)


def predictions(model: keras.Model, part: Part, goal: Goal) -> Predictions:
    """Return what ``model`` says of each sample of ``part``, beside the truth."""
    if goal.is_regression:
        unknown = np.full(len(part), np.nan, np.float32)
        return Predictions(y=part.y, predicted=predict_numbers(model, part.X, goal), probability=unknown)
    probabilities = predict_proba(model, part.X)
    return Predictions(
        y=part.y,
        predicted=probabilities.argmax(axis=1),
        probability=probabilities.max(axis=1),
        positive=probabilities[:, 1] if probabilities.shape[1] == 2 else None,
    )


def served_outputs(model: keras.Model, samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return what a serving model gives for ``samples``: probabilities ``(n, n_classes)``, or numbers ``(n, 1)``."""
    chunks = [
        model(samples[start : start + _CHUNK], training=False).numpy() for start in range(0, len(samples), _CHUNK)
    ]
    return np.concatenate(chunks)


def judge_outputs(y: NDArray[Any], outputs: NDArray[np.float32], goal: Goal) -> tuple[Evaluation, Predictions]:
    """Return evaluation and predictions of the test part from a serving model's outputs for it.

    Parameters
    ----------
    y
        ``(n,)`` the truth.
    outputs
        As :func:`served_outputs` gives them.
    goal
        The score; of a regression, also the standardization in which its loss is told.
    """
    if goal.is_regression:
        # The model has put its numbers into the target's own unit already.
        score, beside = Goal(metric=goal.metric).scores(y, outputs)
        loss = float(np.mean((goal.targets(y) - goal.targets(outputs[:, 0])).astype(np.float64) ** 2))
        answers = Predictions(y=y, predicted=outputs[:, 0], probability=np.full(len(y), np.nan, np.float32))
    else:
        score, beside = goal.scores(y, outputs)
        # Keras's own loss keeps probabilities that far from 0.
        of_truth = np.maximum(outputs[np.arange(len(y)), y].astype(np.float64), keras.config.epsilon())
        loss = float(np.mean(-np.log(of_truth)))
        answers = Predictions(
            y=y,
            predicted=outputs.argmax(axis=1),
            probability=outputs.max(axis=1),
            positive=outputs[:, 1] if outputs.shape[1] == 2 else None,
        )
    evaluation = Evaluation(part="test", loss=loss, score=score, metric=goal.metric, n_samples=len(y), beside=beside)
    return evaluation, answers
