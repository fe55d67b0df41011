# /// script
# dependencies = ["jax", "numpy"]
# ///
"""An epoch as one scanned JAX program, the data resident, and its validation pass as another (``jax.lax.scan``).

A last batch that is smaller is left out, and so are validation samples behind the last whole hundred.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn
from serve import serve

Weights = list[tuple[jax.Array, jax.Array]]


@functools.cache
def programs(activation: str, optimizer: str, family: str, rate: float) -> tuple[Callable[..., Any], ...]:
    """Return an epoch and a validation pass; each is compiled once for each shape."""
    activate = getattr(nn, activation, jnp.tanh)

    def forward(weights: Weights, x: jax.Array) -> jax.Array:
        if family == "conv":
            side = int(x.shape[1] ** 0.5)
            x = x.reshape(-1, side, side, 1)
        for kernel, bias in weights[:-1]:
            if family == "conv":
                x = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
                x = lax.reduce_window(activate(x + bias), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
            else:
                x = activate(x @ kernel + bias)
        kernel, bias = weights[-1]
        return x.reshape(len(x), -1) @ kernel + bias

    def loss(weights: Weights, x: jax.Array, labels: jax.Array) -> jax.Array:
        return -jnp.take_along_axis(nn.log_softmax(forward(weights, x)), labels[:, None], axis=1).mean()

    def update(state: tuple[Any, ...], gradients: Weights) -> tuple[Any, ...]:
        weights, first, second, step = state
        if optimizer == "sgd":
            return jax.tree.map(lambda w, g: w - rate * g, weights, gradients), first, second, step
        step += 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        scale = rate * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weights = jax.tree.map(lambda w, m, v: w - scale * m / (jnp.sqrt(v) + 1e-7), weights, first, second)
        return weights, first, second, step

    @jax.jit
    def epoch(state: tuple[Any, ...], X: jax.Array, y: jax.Array, order: jax.Array) -> tuple[Any, ...]:
        def one(state: tuple[Any, ...], batch: jax.Array) -> tuple[Any, ...]:
            value, gradients = jax.value_and_grad(loss)(state[0], X[batch], y[batch])
            return update(state, gradients), value

        return lax.scan(one, state, order)

    @jax.jit
    def validation(weights: Weights, X: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        def chunk(_: None, rows: jax.Array) -> tuple[None, tuple[jax.Array, jax.Array]]:
            return None, (loss(weights, X[rows], y[rows]), (forward(weights, X[rows]).argmax(1) == y[rows]).mean())

        return lax.scan(chunk, None, jnp.arange(len(X) // 100 * 100).reshape(-1, 100))[1]

    return epoch, validation


def fit(job: dict[str, Any], *data: Any) -> tuple[list[float], float]:
    """Train once."""
    X, y, X_valid, y_valid = map(jnp.asarray, data)
    n_classes, size, family = int(y.max()) + 1, job["batch_size"], job.get("family", "mlp")
    epoch, validation = programs(job["activation"], job["optimizer"], family, job["learning_rate"])
    shapes, side, channels, width = [], int(X.shape[1] ** 0.5), 1, X.shape[1]
    for units in job["units"]:
        shapes.append((3, 3, channels, units) if family == "conv" else (width, units))
        side, channels = -(-side // 2), units
        width = side * side * units if family == "conv" else units
    shapes.append((width, n_classes))
    keys = jax.random.split(jax.random.key(job["seed"]), len(shapes))
    draw = nn.initializers.glorot_uniform()
    weights = [(draw(key, shape), jnp.zeros(shape[-1])) for key, shape in zip(keys, shapes, strict=True)]
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, zeros, zeros, jnp.float32(0))
    rng, n_steps = np.random.default_rng(job["seed"]), len(X) // size
    seconds, accuracy = [], 0.0
    for _ in range(job["epochs"]):
        start = time.perf_counter()
        order = jnp.asarray(rng.permutation(len(X))[: n_steps * size].reshape(n_steps, size))
        state, losses = epoch(state, X, y, order)
        _, hits = jax.block_until_ready((losses, validation(state[0], X_valid, y_valid)))[1]
        accuracy = float(hits.mean())
        seconds.append(time.perf_counter() - start)
    return seconds, accuracy


if __name__ == "__main__":
    serve(fit)
