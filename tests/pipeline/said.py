"""What a network says of samples, for tests that hold it against others."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from depthcheck.pipeline.metrics import Objective
from depthcheck.pipeline.training.evaluate import served_outputs


def predict_proba(model: keras.Model, X: NDArray[Any]) -> NDArray[np.float32]:
    """Return the probabilities of the classes, ``(n, n_classes)`` float32, for prepared samples."""
    return softmax(served_outputs(model, X), axis=1)


def predict_numbers(model: keras.Model, X: NDArray[Any], objective: Objective) -> NDArray[np.float32]:
    """Return numbers in the target's own unit, ``(n,)`` float32, for prepared samples."""
    return objective.numbers(served_outputs(model, X)).astype(np.float32)
