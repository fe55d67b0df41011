# /// script
# dependencies = ["scikit-learn"]
# ///
"""scikit-learn's ``MLPClassifier``, epoch by epoch with ``partial_fit``, and its score after each."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from serve import serve
from sklearn.neural_network import MLPClassifier


def fit(job: dict[str, Any], X: Any, y: Any, X_valid: Any, y_valid: Any) -> tuple[list[float], float]:
    """Train once."""
    model = MLPClassifier(
        hidden_layer_sizes=job["units"],
        activation={"sigmoid": "logistic"}.get(job["activation"], job["activation"]),
        solver=job["optimizer"],
        learning_rate_init=job["learning_rate"],
        batch_size=job["batch_size"],
        alpha=0,
        momentum=0,
        nesterovs_momentum=False,
        random_state=job["seed"],
    )
    seconds, accuracy = [], 0.0
    for _ in range(job["epochs"]):
        start = time.perf_counter()
        model.partial_fit(X, y, classes=np.unique(y))
        accuracy = float(model.score(X_valid, y_valid))
        seconds.append(time.perf_counter() - start)
    return seconds, accuracy


if __name__ == "__main__":
    serve(fit)
