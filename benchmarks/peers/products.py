# /// script
# dependencies = ["numpy"]
# ///
"""No peer but a mark: nothing but an epoch's products of one matrix with another, forward and both ways back."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
from serve import serve


def fit(job: dict[str, Any], X: Any, y: Any, *_: Any) -> tuple[list[float], None]:
    """Multiply; nothing is learned."""
    rng = np.random.default_rng(0)
    sizes, rows = (X.shape[1], *job["units"], int(y.max()) + 1), job["batch_size"]

    def matrices(shapes: Any) -> list[Any]:
        return [rng.random(shape, dtype=np.float32) for shape in shapes]

    weights, updates = (matrices(itertools.pairwise(sizes)) for _ in range(2))
    outputs, errors = (matrices((rows, size) for size in sizes) for _ in range(2))
    seconds = []
    for _ in range(job["epochs"]):
        start = time.perf_counter()
        for first in range(0, len(X) - rows + 1, rows):
            outputs[0] = X[first : first + rows]
            for layer in range(len(weights)):
                np.matmul(outputs[layer], weights[layer], out=outputs[layer + 1])
            for layer in reversed(range(len(weights))):
                np.matmul(outputs[layer].T, errors[layer + 1], out=updates[layer])
                if layer:
                    np.matmul(errors[layer + 1], weights[layer].T, out=errors[layer])
        seconds.append(time.perf_counter() - start)
    return seconds, None


if __name__ == "__main__":
    serve(fit)
