"""One epoch as one scanned JAX program, and its validation pass; each line on standard input asks for one more.

Runs in an environment of its own (``pip install jax``), without this project: ``benchmarks/fit.py --jax PYTHON``.
"""

from __future__ import annotations

import argparse
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn


def main() -> None:  # noqa: PLR0915 - a program to be read from top to bottom
    """Compile, then answer each line with the seconds of one epoch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, nargs="*", default=[100])
    parser.add_argument("--activation", default="sigmoid")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--family", default="mlp")
    parser.add_argument("--sizes", type=int, nargs=4)
    options = parser.parse_args()
    n_train, n_valid, n_features, n_classes = options.sizes
    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.random((n_train + n_valid, n_features), dtype=np.float32))
    y = jnp.asarray(rng.integers(0, n_classes, n_train + n_valid))
    activation = getattr(nn, options.activation, jnp.tanh)

    def forward(weights: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
        if options.family == "conv":
            x = x.reshape(-1, 28, 28, 1)
        for kernel, bias in weights[:-1]:
            if options.family == "conv":
                x = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
                x = lax.reduce_window(activation(x + bias), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
            else:
                x = activation(x @ kernel + bias)
        kernel, bias = weights[-1]
        return x.reshape(len(x), -1) @ kernel + bias

    def loss(weights: list[tuple[jax.Array, jax.Array]], x: jax.Array, labels: jax.Array) -> jax.Array:
        return -jnp.take_along_axis(nn.log_softmax(forward(weights, x)), labels[:, None], axis=1).mean()

    def update(state: tuple, gradients: list) -> tuple:
        weights, first, second, step = state
        if options.optimizer == "sgd":
            return jax.tree.map(lambda w, g: w - 0.001 * g, weights, gradients), first, second, step
        step += 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        rate = 0.001 * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), weights, first, second)
        return weights, first, second, step

    @jax.jit
    def epoch(state: tuple, order: jax.Array) -> tuple:
        def one(state: tuple, batch: jax.Array) -> tuple:
            value, gradients = jax.value_and_grad(loss)(state[0], X[batch], y[batch])
            return update(state, gradients), value

        return lax.scan(one, state, order)

    @jax.jit
    def validation(weights: list) -> tuple[jax.Array, jax.Array]:
        def chunk(_: None, rows: jax.Array) -> tuple[None, tuple[jax.Array, jax.Array]]:
            x, labels = X[rows], y[rows]
            return None, (loss(weights, x, labels), (forward(weights, x).argmax(1) == labels).mean())

        return lax.scan(chunk, None, jnp.arange(n_train, n_train + n_valid // 100 * 100).reshape(-1, 100))[1]

    shapes, size, channels, width = [], 28, 1, n_features
    for units in options.units:
        shapes.append((3, 3, channels, units) if options.family == "conv" else (width, units))
        size, channels = -(-size // 2), units
        width = size * size * units if options.family == "conv" else units
    shapes.append((width, n_classes))
    weights = [(jnp.asarray(0.05 * rng.normal(size=shape), jnp.float32), jnp.zeros(shape[-1])) for shape in shapes]
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, zeros, zeros, jnp.float32(0))
    n_steps = n_train // options.batch_size
    for _line in sys.stdin:
        start = time.perf_counter()
        order = jnp.asarray(rng.permutation(n_train)[: n_steps * options.batch_size].reshape(n_steps, -1))
        state, losses = epoch(state, order)
        jax.block_until_ready((losses, validation(state[0])))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
