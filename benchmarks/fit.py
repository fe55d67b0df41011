"""Seconds of one epoch, side by side in one run: Keras's ``fit``, the compiled fit, and the bare matrix products.

``python -m benchmarks.fit`` prints a markdown table (about two minutes); ``--units 512 512 512 --optimizer adam`` asks
for another network, ``--family conv`` for blocks of convolution, and ``--jax PYTHON`` holds a JAX program beside it
(``peers/jax_epoch.py``; PYTHON is the interpreter of an environment that has jax). Each candidate is a process of its
own that stays alive; they take turns, one epoch each, so that what else the machine does hits all of them. The data are
random numbers of Fashion-MNIST's shape: the arithmetic is the same.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from depthcheck.pipeline.config import FitConfig, ModelConfig, OptimizerConfig, SplitConfig
from depthcheck.pipeline.records import Part, Split
from depthcheck.pipeline.training.program_cache import worker_environment

N_FEATURES, N_CLASSES = 784, 10
OURS = "compiled fit, one thread"
PRODUCTS = "bare matrix products, one thread"
JAX = "JAX, scanned epoch, one thread"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
#: Extra arguments of ``compile``, or what is no Keras at all; whether it gets one thread.
CANDIDATES: dict[str, tuple[dict[str, Any] | None, bool]] = {
    "Keras fit": ({}, False),
    "Keras fit, one thread": ({}, True),
    "Keras fit, steps_per_execution=100": ({"steps_per_execution": 100}, False),
    OURS: (None, True),
    PRODUCTS: (None, True),
}


def main() -> None:
    """Measure and print the table."""
    options = _options()
    if options.candidate:
        _serve(_epoch_of(options.candidate, options))
    else:
        with TemporaryDirectory(prefix="depthcheck-") as cache:
            seconds = _take_turns(options, Path(cache))
        print(_table(options, seconds))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="*", default=[100], help="units of each hidden layer")
    parser.add_argument("--activation", default="sigmoid")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--family", choices=("mlp", "conv"), default="mlp")
    parser.add_argument("--rows", type=int, default=48_000, help="training samples; a quarter as many validate")
    parser.add_argument("--jax", help="an interpreter that has jax")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--candidate", choices=CANDIDATES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _take_turns(options: argparse.Namespace, cache: Path) -> dict[str, list[float]]:
    names = [name for name in CANDIDATES if name != PRODUCTS or options.family == "mlp"]
    processes = {name: _start(name, cache) for name in names}
    if options.jax:
        processes[JAX] = _start_jax(options)
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    try:
        for turn in range(options.rounds + 1):
            for name, process in processes.items():
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("go\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(f"{name} ended with exit code {process.wait()}")
                if turn:  # the first epoch compiles
                    seconds[name].append(float(line))
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return seconds


def _start(name: str, cache: Path) -> subprocess.Popen[str]:
    threads = {**worker_environment(cache), **ONE_THREAD} if CANDIDATES[name][1] else {}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fit", *sys.argv[1:], "--candidate", name],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **threads},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _start_jax(options: argparse.Namespace) -> subprocess.Popen[str]:
    peer = Path(__file__).parent / "peers" / "jax_epoch.py"
    network = ["--activation", options.activation, "--optimizer", options.optimizer, "--family", options.family]
    network += ["--units", *map(str, options.units), "--batch-size", str(options.batch_size)]
    sizes = [options.rows, options.rows // 4, N_FEATURES, N_CLASSES]
    one_core = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return subprocess.Popen(
        [options.jax, str(peer), *network, "--sizes", *map(str, sizes)],
        env={**os.environ, **ONE_THREAD, "XLA_FLAGS": one_core, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _serve(epoch: Callable[[], float]) -> None:
    """Answer each line on standard input with the seconds of one more epoch."""
    for _line in sys.stdin:
        print(epoch(), flush=True)


def _epoch_of(name: str, options: argparse.Namespace) -> Callable[[], float]:
    compile_arguments, _ = CANDIDATES[name]
    if name == PRODUCTS:
        return _products(options)
    return _compiled_fit(options) if compile_arguments is None else _keras_fit(options, compile_arguments)


def _split(n_train: int) -> Split:
    rng = np.random.default_rng(0)
    X = rng.random((n_train + n_train // 4, N_FEATURES), dtype=np.float32)
    y = rng.integers(0, N_CLASSES, len(X))
    train, valid = Part(X=X[:n_train].copy(), y=y[:n_train]), Part(X=X[n_train:].copy(), y=y[n_train:])
    return Split(train=train, valid=valid, test=None, n_classes=N_CLASSES, config=SplitConfig())


def _model(options: argparse.Namespace) -> Any:
    from depthcheck.pipeline.training.build import build

    units = tuple(options.units)
    return build(
        ModelConfig(
            units=units,
            activation=options.activation if units else None,
            options=(("family", options.family),) if options.family != "mlp" else (),
        ),
        OptimizerConfig(name=options.optimizer, learning_rate=0.001),
        n_features=N_FEATURES,
        n_classes=N_CLASSES,
        seed=0,
        sample_shape=(28, 28),
    )


def _compiled_fit(options: argparse.Namespace) -> Callable[[], float]:
    from depthcheck.pipeline.training.fit import fit_folds

    model, split = _model(options), _split(options.rows)
    config = FitConfig(epochs=1, batch_size=options.batch_size, seed=0)
    return lambda: sum(fit_folds([model], [split], config).history.seconds)


def _keras_fit(options: argparse.Namespace, compile_arguments: dict[str, Any]) -> Callable[[], float]:
    ours, split = _model(options), _split(options.rows)
    model = ours.again(is_served=True)  # of Keras's own layers alone
    model.compile(optimizer=ours.optimizer, loss=ours.loss, metrics=["accuracy"], **compile_arguments)
    train, valid = split.train, (split.valid.X, split.valid.y)

    def epoch() -> float:
        start = time.perf_counter()
        model.fit(train.X, train.y, batch_size=options.batch_size, validation_data=valid, verbose=0)
        return time.perf_counter() - start

    return epoch


def _products(options: argparse.Namespace) -> Callable[[], float]:
    """Return an epoch of nothing but the products of one matrix with another: forward, and both ways back."""
    rng = np.random.default_rng(0)
    sizes, rows = (N_FEATURES, *options.units, N_CLASSES), options.batch_size

    def matrices(shapes: list[tuple[int, int]]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        return [rng.random(shape, dtype=np.float32) for shape in shapes]

    (X,) = matrices([(options.rows, N_FEATURES)])
    weights, updates = (matrices(list(itertools.pairwise(sizes))) for _ in range(2))
    outputs, errors = (matrices([(rows, size) for size in sizes]) for _ in range(2))
    n_layers = len(weights)

    def epoch() -> float:
        start = time.perf_counter()
        for first in range(0, options.rows - rows + 1, rows):
            outputs[0] = X[first : first + rows]
            for layer in range(n_layers):
                np.matmul(outputs[layer], weights[layer], out=outputs[layer + 1])
            for layer in reversed(range(n_layers)):
                np.matmul(outputs[layer].T, errors[layer + 1], out=updates[layer])
                if layer:
                    np.matmul(errors[layer + 1], weights[layer].T, out=errors[layer])
        return time.perf_counter() - start

    return epoch


def _table(options: argparse.Namespace, seconds: dict[str, list[float]]) -> str:
    shape = "-".join(map(str, (N_FEATURES, *options.units, N_CLASSES)))
    lines = [
        f"One epoch of {options.family} {shape} ({options.activation}, {options.optimizer}, batch "
        f"{options.batch_size}), {options.rows:,} samples, validation on {options.rows // 4:,} included; "
        f"{options.rounds} rounds, median (lowest to highest).",
        "",
        "| | seconds | times as long as the compiled fit |",
        "|---|---|---|",
    ]
    for name, values in seconds.items():
        ratios = [value / ours for value, ours in zip(values, seconds[OURS], strict=True)]
        lines.append(f"| {name} | {_spread(values, 3)} | {_spread(ratios, 2)} |")
    return "\n".join(lines)


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
