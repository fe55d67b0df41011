"""What is bit-equal on another processor: ``python -m benchmarks.processors`` prints two tables (a quarter of an hour).

The same trials are trained in one process after another, and in each some library is told to do without instructions
that this processor has, which stands for an older processor, or to calculate in another way. Every number is held
against the first process's: the trials' curves and weights, and the parts that they are made of, one by one. Each
process has one thread, as workers have, and a program cache of its own.

``--only NAME NAME`` takes some of the settings. A processor of today is no stand-in for one of tomorrow: where this one
lacks AVX-512, nothing here tells what AVX-512 does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.experiments import places
from depthcheck.pipeline.config import DataConfig, FitConfig, ModelConfig, OptimizerConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.training.program_cache import worker_environment

Numbers = dict[str, NDArray[Any]]
EPOCHS = 5
AS_IT_IS = "as it is"
#: XLA told to leave out what it does by the processor, and Eigen to multiply without oneDNN: the same anywhere?
_PLAIN = "--xla_cpu_enable_platform_dependent_math=false --xla_cpu_use_xnnpack=false"
_WITHOUT_ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "0", "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL": "0"}
#: What each process is told beside one thread: environment variables.
SETTINGS: dict[str, dict[str, str]] = {
    AS_IT_IS: {},
    "XLA and oneDNN to AVX2": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "XLA and oneDNN to AVX": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX", "ONEDNN_MAX_CPU_ISA": "AVX"},
    "XLA to AVX": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX"},
    "XLA to SSE4.2": {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"},
    "XLA, vectors of 128 bits": {"XLA_FLAGS": "--xla_cpu_prefer_vector_width=128"},
    "XLA without XNNPACK": {"XLA_FLAGS": "--xla_cpu_use_xnnpack=false"},
    "oneDNN to AVX": {"ONEDNN_MAX_CPU_ISA": "AVX"},
    "products without oneDNN": _WITHOUT_ONEDNN,
    "NumPy, BLAS, C library": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V3",
        "OPENBLAS_CORETYPE": "Nehalem",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX",
    },
    "plain": {"XLA_FLAGS": f"{_PLAIN} --xla_cpu_max_isa=AVX2", **_WITHOUT_ONEDNN},
    "plain, XLA to SSE4.2": {"XLA_FLAGS": f"{_PLAIN} --xla_cpu_max_isa=SSE4_2", **_WITHOUT_ONEDNN},
}
#: Data, units, activation, optimizer, learning rate, batch size, dropout.
TRIALS: tuple[tuple[str, tuple[int, ...], str | None, str, float, int, float], ...] = (
    ("digits", (), None, "sgd", 0.1, 32, 0.0),
    ("digits", (100,), "sigmoid", "sgd", 0.1, 32, 0.0),
    ("digits", (100,), "tanh", "adam", 0.003, 128, 0.2),
    ("digits", (64, 64), "relu", "adam", 0.003, 32, 0.0),
    ("digits", (100, 100), "sigmoid", "adam", 0.01, 128, 0.0),
    ("digits", (100, 100, 100), "tanh", "sgd", 0.1, 32, 0.2),
    ("digits", (64, 64, 64), "relu", "adam", 0.003, 128, 0.0),
    ("fashion-mnist", (), None, "adam", 0.001, 128, 0.0),
    ("fashion-mnist", (100,), "sigmoid", "sgd", 0.1, 32, 0.0),
    ("fashion-mnist", (128,), "relu", "adam", 0.001, 128, 0.2),
    ("fashion-mnist", (100, 100, 100), "tanh", "sgd", 0.1, 128, 0.0),
)
#: Rows, sum and columns of matrix products as they occur in the trials: forward, weights' gradient, validation.
PRODUCTS = ((32, 64, 100), (64, 32, 100), (32, 784, 100), (784, 128, 100), (4096, 784, 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """One setting's trials against those of the first: how many are equal, and how far apart the others are."""

    n_equal: int
    n_trained_equal: int
    n_scores_equal: int
    first_epoch: int
    first_loss: float
    last_loss: float
    score: float
    seconds: float


def main() -> None:
    """Train under each setting and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=list(SETTINGS), help="of the settings, these")
    parser.add_argument("--processes", type=int, default=1, help="how many at a time")
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.out:
        np.savez(options.out, **_parts(), **_trials())
        return
    names = list(dict.fromkeys([AS_IT_IS, *options.only]))
    with TemporaryDirectory(prefix="depthcheck-") as folder, ThreadPoolExecutor(options.processes) as pool:
        found = dict(zip(names, pool.map(lambda name: _under(SETTINGS[name], Path(folder)), names), strict=True))
    print("\n".join([*_table(found), "", *_parts_table(found)]))


def _under(setting: dict[str, str], folder: Path) -> Numbers:
    """Train everything in a process of its own."""
    with TemporaryDirectory(dir=folder) as own:
        out = Path(own) / "numbers.npz"
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.processors", "--out", str(out)],
            check=False,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **worker_environment(Path(own) / "programs"), "OPENBLAS_NUM_THREADS": "1", **setting},
        )
        if done.returncode:
            raise RuntimeError(f"training under {setting} failed:\n{done.stderr[-2000:]}")
        with np.load(out) as numbers:
            return dict(numbers)


# In a process under a setting.


def _trials() -> Numbers:
    numbers: Numbers = {}
    datasets = {name: load(DataConfig(name=name), cache=places.data_cache()) for name in ("digits", "fashion-mnist")}
    for number, trial in enumerate(TRIALS):
        for key, values in _trained(_config(trial, datasets[trial[0]]), datasets[trial[0]]).items():
            numbers[f"trial/{number}/{key}"] = values
    return numbers


def _config(trial: tuple[Any, ...], dataset: Dataset) -> TrialConfig:
    data, units, activation, optimizer, learning_rate, batch_size, dropout = trial
    return TrialConfig(
        data=DataConfig(name=data),
        data_sha256=dataset.sha256,
        split=SplitConfig(),
        model=ModelConfig(units=units, activation=activation, dropout=dropout),
        optimizer=OptimizerConfig(name=optimizer, learning_rate=learning_rate),
        fit=FitConfig(epochs=EPOCHS, batch_size=batch_size, seed=1),
    )


def _trained(config: TrialConfig, dataset: Dataset) -> Numbers:
    from depthcheck.pipeline.trial import run_trial

    ends: list[float] = []
    trained = run_trial(config, dataset, on_epoch_end=lambda *_: ends.append(time.process_time()))
    history = trained.result.history
    return {
        "train": np.array([history.train_loss, history.train_score]),
        "valid": np.array([history.valid_loss, history.valid_score]),
        "weights": np.concatenate([weights.ravel() for weights in trained.model.get_weights()]),
        "seconds": np.array(ends[-1] - ends[0]),  # the first epoch compiles
    }


def _parts() -> Numbers:
    """Return what trials are made of, each by itself: ``part/`` and a name, under which several may stand."""
    return {f"part/{name}/{number}": values for number, (name, values) in enumerate(_each_part())}


def _each_part() -> Iterator[tuple[str, NDArray[Any]]]:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    yield from _before_training()
    for rows, n_sum, columns in PRODUCTS:
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((rows, n_sum), (n_sum, columns)))
        yield f"product over {n_sum}, eager", tf.matmul(a, b).numpy()
        yield f"product over {n_sum}, compiled", _compiled(tf.matmul, a, b)
        yield f"product over {n_sum}, compiled", _compiled(lambda a, b: tf.matmul(a, b, True), a.T.copy(), b)
    x, y = (rng.standard_normal(100_003).astype(np.float32) * 3 for _ in range(2))
    logits = rng.standard_normal((4096, 10)).astype(np.float32)
    for name, function in {"tanh": tf.tanh, "sigmoid": tf.sigmoid, "exp": tf.exp}.items():
        yield f"{name}, eager", function(x).numpy()
        yield f"{name}, compiled", _compiled(function, x)
    yield "softmax, eager", tf.nn.softmax(logits).numpy()
    yield "softmax, compiled", _compiled(tf.nn.softmax, logits)
    yield "multiply and add, compiled", _compiled(lambda x, y: x * y + x, x, y)
    yield "sum, compiled", _compiled(lambda x: tf.reduce_sum(x, 0), logits)
    yield "square root and division, compiled", _compiled(lambda x, y: y / (tf.sqrt(tf.abs(x)) + 1e-7), x, y)


def _before_training() -> Iterator[tuple[str, NDArray[Any]]]:
    from depthcheck.pipeline.prepare.prepare import prepared
    from depthcheck.pipeline.training.build import build
    from depthcheck.pipeline.training.fit import orders_of

    dataset = load(DataConfig(name="digits"), cache=places.data_cache())
    config = _config(TRIALS[3], dataset)
    split = prepared(dataset, config.split)[0].split
    network = build(config.model, config.optimizer, n_features=split.n_features, n_classes=split.n_classes, seed=1)
    yield "initial weights", np.concatenate([weights.ravel() for weights in network.get_weights()])
    yield "order of samples", np.concatenate(orders_of(np.random.default_rng((1, 48_000)), 48_000, 2))
    yield "scaled features", split.train.X


def _compiled(function: Callable[..., Any], *arrays: NDArray[np.float32]) -> NDArray[np.float32]:
    import tensorflow as tf

    values: NDArray[np.float32] = tf.function(function, jit_compile=True)(*map(tf.constant, arrays)).numpy()
    return values


# What was found.


def _apart(one: Numbers, other: Numbers) -> Apart:
    keys = [f"trial/{number}" for number in range(len(TRIALS))]
    valid = [(one[f"{key}/valid"], other[f"{key}/valid"]) for key in keys]
    curves = [(np.vstack([one[f"{key}/train"], a]), np.vstack([other[f"{key}/train"], b]))
              for key, (a, b) in zip(keys, valid, strict=True)]  # fmt: skip
    weights = [np.array_equal(one[f"{key}/weights"], other[f"{key}/weights"]) for key in keys]
    losses = np.stack([np.abs(b[::2] / a[::2] - 1).max(axis=0) for a, b in curves])
    differing = [int(np.flatnonzero((a != b).any(axis=0))[0]) + 1 for a, b in curves if (a != b).any()]
    return Apart(
        n_equal=sum(same and np.array_equal(a, b) for same, (a, b) in zip(weights, curves, strict=True)),
        n_trained_equal=sum(weights),
        n_scores_equal=sum(bool(a[1, -1] == b[1, -1]) for a, b in valid),
        first_epoch=min(differing, default=0),
        first_loss=float(losses[:, 0].max()),
        last_loss=float(losses[:, -1].max()),
        score=max(float(np.abs(a[1] - b[1]).max()) for a, b in valid),
        seconds=sum(float(other[f"{key}/seconds"]) for key in keys) / sum(float(one[f"{key}/seconds"]) for key in keys),
    )


def _table(found: dict[str, Numbers]) -> Iterator[str]:
    yield (f"{len(TRIALS)} trials of {EPOCHS} epochs; losses as shares of themselves, the largest of all trials; "
           "accuracy of any epoch in points.")  # fmt: skip
    yield ""
    yield ("| | equal in every number | trained weights equal | last validation score equal | first differing epoch "
           "| losses of epoch 1 apart | of the last epoch | validation accuracy apart | processor time |")  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, numbers in found.items():
        of = _apart(found[AS_IT_IS], numbers)
        first = of.first_epoch or "none"
        yield (f"| {name} | {of.n_equal} | {of.n_trained_equal} | {of.n_scores_equal} | {first} | {of.first_loss:.1e} "
               f"| {of.last_loss:.1e} | {100 * of.score:.2f} | {of.seconds:.2f} |")  # fmt: skip
    pair = ("plain", "plain, XLA to SSE4.2")
    if found.keys() >= set(pair):
        of = _apart(*(found[name] for name in pair))
        yield f"\nThe two plain ones against each other: {of.n_equal} equal, {of.n_trained_equal} by trained weights."


def _parts_table(found: dict[str, Numbers]) -> Iterator[str]:
    yield "| | parts that differ |"
    yield "|---|---|"
    one = found[AS_IT_IS]
    for name, other in found.items():
        differing = [key.split("/")[1] for key in one if key.startswith("part/") and _differ(one[key], other[key])]
        yield f"| {name} | {'; '.join(dict.fromkeys(differing)) or 'none'} |"


def _differ(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return not np.array_equal(one, other)


if __name__ == "__main__":
    main()
