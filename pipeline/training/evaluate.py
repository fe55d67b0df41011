"""Evaluation: a model's loss and scores on one part, and what it predicts.

Validation after each epoch and the evaluation at the end are this one function, so that they agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from depthcheck.pipeline.metrics import Objective
from depthcheck.pipeline.records import Evaluation, Part, Predictions

#: Samples a step: enough to make the overhead of a step vanish, few enough to bound memory.
_CHUNK = 4096
_ACCURACY = Objective()


def evaluate(
    model: keras.Model, part: Part, name: Literal["train", "valid", "test"], objective: Objective = _ACCURACY
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
        y = objective.targets(part.y[start : start + _CHUNK])
        outputs = model(part.X[start : start + _CHUNK], training=False)
        loss_sum += float(model.loss(y, outputs)) * len(y)
        chunks.append(outputs.numpy())
    n_samples = len(part)
    score, secondary = objective.scores(part.y, np.concatenate(chunks))
    return Evaluation(
        part=name,
        loss=loss_sum / n_samples,
        score=score,
        metric=objective.metric,
        n_samples=n_samples,
        secondary=secondary,
    )


def served_outputs(
    model: keras.Model, samples: NDArray[Any], last: Callable[[tf.Tensor], tf.Tensor] = lambda outputs: outputs
) -> NDArray[np.float32]:
    """Return what a model gives for ``samples``, ``(n, n_outputs)``; of a serving model probabilities or numbers.

    ``last`` is done to the outputs of each step.
    """
    chunks = [
        last(model(samples[start : start + _CHUNK], training=False)).numpy() for start in range(0, len(samples), _CHUNK)
    ]
    return np.concatenate(chunks) if chunks else np.empty((0, model.output_shape[-1]), np.float32)


def predict_proba(model: keras.Model, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of the classes, ``(n, n_classes)`` float32, for prepared samples ``(n, n_features)``."""
    return served_outputs(model, X, tf.nn.softmax)


def predict_numbers(model: keras.Model, X: NDArray[np.float32], objective: Objective) -> NDArray[np.float32]:
    """Return numbers in the target's own unit, ``(n,)`` float32, for prepared samples ``(n, n_features)``."""
    return objective.numbers(served_outputs(model, X)).astype(np.float32)


def predictions(model: keras.Model, part: Part, objective: Objective) -> Predictions:
    """Return what ``model`` says of each sample of ``part``, beside the truth."""
    if objective.is_regression:
        return _of_numbers(part.y, predict_numbers(model, part.X, objective))
    return _of_probabilities(part.y, predict_proba(model, part.X))


def judge_outputs(
    y: NDArray[Any], outputs: NDArray[np.float32], objective: Objective
) -> tuple[Evaluation, Predictions]:
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
    if objective.is_regression:
        # The model has put its numbers into the target's own unit already.
        score, secondary = Objective(metric=objective.metric).scores(y, outputs)
        loss = float(np.mean((objective.targets(y) - objective.targets(outputs[:, 0])).astype(np.float64) ** 2))
        answers = _of_numbers(y, outputs[:, 0])
    else:
        score, secondary = objective.scores(y, outputs)
        # Keras's own loss keeps probabilities that far from 0.
        of_truth = np.maximum(outputs[np.arange(len(y)), y].astype(np.float64), keras.config.epsilon())
        loss = float(np.mean(-np.log(of_truth)))
        answers = _of_probabilities(y, outputs)
    evaluation = Evaluation(
        part="test", loss=loss, score=score, metric=objective.metric, n_samples=len(y), secondary=secondary
    )
    return evaluation, answers


def _of_numbers(y: NDArray[Any], numbers: NDArray[np.float32]) -> Predictions:
    return Predictions(y=y, predicted=numbers, probability=np.full(len(y), np.nan, np.float32))


def _of_probabilities(y: NDArray[Any], probabilities: NDArray[np.float32]) -> Predictions:
    return Predictions(
        y=y,
        predicted=probabilities.argmax(axis=1),
        probability=probabilities.max(axis=1),
        positive=probabilities[:, 1] if probabilities.shape[1] == 2 else None,
    )
