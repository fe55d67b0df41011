"""Whether folds trained at once, as one batched program, are faster than in turns: ``python -m benchmarks.together``.

The same networks by the same XLA in both: dense layers, relu, Adam, every step a product of a batch with a matrix. In
turns each fold is a call; at once all folds' matrices are one array, and each product a batched one. One thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}

import numpy as np
import tensorflow as tf

_FOLDS, _ROWS, _FEATURES, _CLASSES, _EPOCHS, _ROUNDS = 5, 142, 13, 3, 20, 15
_RATE, _FIRST, _SECOND, _EPSILON = 0.001, 0.9, 0.999, 1e-7


def _start(depth: int, units: int) -> list[tf.Tensor]:
    """Return weights and biases of all folds, ``(folds, ...)``."""
    sizes = [_FEATURES, *[units] * depth, _CLASSES]
    draw = np.random.default_rng(0)
    shapes = [shape for one, other in pairwise(sizes) for shape in ((one, other), (1, other))]
    return [tf.constant(draw.normal(0, 0.1, (_FOLDS, *shape)), tf.float32) for shape in shapes]


def _loss(weights: list[tf.Tensor], x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    for at in range(0, len(weights), 2):
        x = tf.matmul(x, weights[at]) + weights[at + 1]
        x = tf.nn.relu(x) if at + 2 < len(weights) else x
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x)
    return tf.reduce_sum(tf.reduce_mean(each, axis=-1))  # folds do not share a weight: the gradients are their own


def _program(batch_size: int) -> tf.types.experimental.PolymorphicFunction:
    def train(start: list[tf.Tensor], X: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        n_steps = _EPOCHS * (_ROWS // batch_size)

        def step(number: tf.Tensor, weights: list[tf.Tensor], m: list[tf.Tensor], v: list[tf.Tensor]) -> tuple:
            at = (number % (_ROWS // batch_size)) * batch_size
            rows = tf.range(batch_size) + at
            with tf.GradientTape() as tape:
                tape.watch(weights)
                loss = _loss(weights, tf.gather(X, rows, axis=-2), tf.gather(y, rows, axis=-1))
            gradients = tape.gradient(loss, weights)
            m = [_FIRST * a + (1 - _FIRST) * g for a, g in zip(m, gradients, strict=True)]
            v = [_SECOND * a + (1 - _SECOND) * g * g for a, g in zip(v, gradients, strict=True)]
            weights = [w - _RATE * a / (tf.sqrt(b) + _EPSILON) for w, a, b in zip(weights, m, v, strict=True)]
            return number + 1, weights, m, v

        zeros = [tf.zeros_like(w) for w in start]
        state = (tf.constant(0), start, zeros, zeros)
        return tf.while_loop(lambda number, *_: number < n_steps, step, state)[1]

    return tf.function(train, jit_compile=True, autograph=False)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Print a row for each network: seconds of all folds in turns, and at once as a multiple of that."""
    draw = np.random.default_rng(1)
    X = tf.constant(draw.normal(size=(_FOLDS, _ROWS, _FEATURES)), tf.float32)
    y = tf.constant(draw.integers(_CLASSES, size=(_FOLDS, _ROWS)), tf.int32)
    print("| network | in turns, ms | at once, times as long |\n|---|---|---|")
    for depth, units, batch_size in ((1, 32, 32), (3, 32, 32), (1, 128, 32), (3, 128, 32), (3, 128, 64)):
        start = _start(depth, units)
        alone, batched = _program(batch_size), _program(batch_size)
        each = [([w[fold] for w in start], X[fold], y[fold]) for fold in range(_FOLDS)]

        def in_turns(alone=alone, each=each) -> list[list[tf.Tensor]]:
            return [alone(*of_fold) for of_fold in each]

        def at_once(batched=batched, start=start) -> list[tf.Tensor]:
            return batched(start, X, y)

        same = zip(at_once(), zip(*in_turns(), strict=True), strict=True)
        assert all(np.allclose(one.numpy(), np.stack([w.numpy() for w in others]), atol=1e-3) for one, others in same)
        pairs = [(_seconds(in_turns), _seconds(at_once)) for _ in range(_ROUNDS)]
        ratios = sorted(once / turns for turns, once in pairs)
        seconds = median(turns for turns, _ in pairs)
        print(
            f"| {depth} × {units}, batch {batch_size} | {1000 * seconds:.1f} | "
            f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        )


if __name__ == "__main__":
    main()
