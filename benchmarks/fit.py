"""Seconds of one epoch with its validation, side by side in one run: the compiled fit, and its peers.

``python -m benchmarks.fit`` prints a markdown table of one network on Fashion-MNIST (a few minutes); ``--units 512 512
512 --optimizer adam`` asks for another one, ``--family conv`` for blocks of convolution, ``--peers`` for some of them.
Each peer is a script of ``benchmarks/peers`` in an environment of its own, which is made first, and a process that
stays alive; they take turns, one fit each, so that what else the machine does hits all of them. Of a fit the first
epoch is left out: there a network is traced and compiled.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.peers.environments import ROOT, Environments, NoEnvironmentError, command
from depthcheck.pipeline.training.program_cache import worker_environment

#: Ours as it trains these pictures, whose pixels stay uint8, and as it trains a table.
OURS, FLOATS = "Depthcheck, one core", "Depthcheck on float32, one core"
PRODUCTS = "bare matrix products, one core"
JAX = "JAX, scanned epoch, one core"
#: Script, variant, and whether it gets one core; the others take what cores they like, which costs PyTorch's small
#: products more than it gains where anything else runs.
PEERS: dict[str, tuple[str, str, bool]] = {
    OURS: ("depthcheck_fit.py", "pixels", True),
    FLOATS: ("depthcheck_fit.py", "", True),
    JAX: ("jax_scan.py", "", True),
    "JAX, scanned epoch": ("jax_scan.py", "", False),
    "Keras fit": ("keras_fit.py", "", False),
    "Keras fit, best settings": ("keras_fit.py", "best", False),
    "PyTorch, DataLoader, one core": ("torch_loop.py", "dataloader", True),
    "PyTorch, tensors, one core": ("torch_loop.py", "tensors", True),
    "PyTorch, tensors": ("torch_loop.py", "tensors", False),
    "PyTorch, torch.compile, one core": ("torch_loop.py", "compiled", True),
    "skorch, one core": ("skorch_fit.py", "", True),
    "scikit-learn MLPClassifier": ("sklearn_mlp.py", "", False),
    PRODUCTS: ("products.py", "", True),
}
#: Those that have convolutions.
CONVOLVING = (OURS, FLOATS, JAX, "JAX, scanned epoch", "Keras fit", "Keras fit, best settings")
_ONE_CORE = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "XLA_FLAGS": _ONE_CORE}

Measured = dict[str, dict[str, list[Any]]]


class Candidates(contextlib.ExitStack):
    """Processes that train when asked; each is started when it is asked first, and ended with the block."""

    def __init__(self, data: Path, environments: Environments) -> None:
        super().__init__()
        self._data, self._environments = data, environments
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._cache = self.enter_context(TemporaryDirectory(prefix="depthcheck-"))
        #: Why those that cannot be run are not.
        self.left_out: dict[str, str] = {}

    def measure(self, names: Sequence[str], job: dict[str, Any], rounds: int) -> Measured:
        """Let each train in turns, each round from another seed: seconds of the later epochs, and accuracies."""
        found: Measured = {name: {"seconds": [], "accuracy": []} for name in names if self._starts(name)}
        for seed in range(rounds):
            for name in list(found):
                answer = self._ask(name, {**job, "seed": seed})
                if answer is None:
                    del found[name]
                    continue
                found[name]["seconds"].append(median(answer["seconds"][1:]))
                found[name]["accuracy"].append(answer["accuracy"])
        return found

    def _ask(self, name: str, job: dict[str, Any]) -> dict[str, Any] | None:
        process = self._processes[name]
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            del self._processes[name]
            self.left_out[name] = f"ended with exit code {process.wait()}"
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _starts(self, name: str) -> bool:
        script, variant, has_one_core = PEERS[name]
        if name in self._processes or name in self.left_out:
            return name in self._processes
        try:
            start = [*command(script, self._environments), str(self._data), *filter(None, [variant])]
        except NoEnvironmentError as error:
            self.left_out[name] = str(error)
            return False
        threads = {**worker_environment(Path(self._cache)), **ONE_THREAD} if has_one_core else {}
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            start,
            env={**os.environ, **quiet, **threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if has_one_core and hasattr(os, "sched_setaffinity"):
            # On one core, too: JAX hands steps to a second thread whatever its flags, and took half as long again.
            os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        self._processes[name] = process
        self.callback(process.wait)
        self.callback(process.kill)
        return True


def write_data(file: Path, name: str = "fashion-mnist", rows: int | None = None) -> Path:
    """Write a named data set's first training samples, flat float32 in [0, 1], and a quarter as many to validate."""
    from depthcheck.experiments import places
    from depthcheck.pipeline.config import DataConfig
    from depthcheck.pipeline.data.load import load

    dataset = load(DataConfig(name=name), cache=places.data_cache())
    order = np.random.default_rng(1234).permutation(len(dataset.y))
    n_train = len(order) * 4 // 5 if rows is None else rows
    X = dataset.X.reshape(len(order), -1).astype(np.float32) / dataset.X.max()
    train, valid = order[:n_train], order[n_train : n_train + n_train // 4]
    np.savez(file, X=X[train], y=dataset.y[train], X_valid=X[valid], y_valid=dataset.y[valid])
    return file


def ratios(measured: Measured, name: str, to: str = "") -> list[float]:
    """Return how many times as long one takes as another, round by round: as ours, on float32 where only that is."""
    to = to or (OURS if OURS in measured else FLOATS)
    return [a / b for a, b in zip(measured[name]["seconds"], measured[to]["seconds"], strict=True)]


def in_words(job: dict[str, Any]) -> str:
    """Return a network and its training on one line, ``2 × 128 relu, adam, batch 64``."""
    units = job["units"]
    same = f"{len(units)} × {units[0]}" if len(set(units)) == 1 else "-".join(map(str, units))
    layers = f"{same} {job['activation']}" if units else "no hidden layer"
    return f"{layers}, {job['optimizer']}, batch {job['batch_size']}"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return median and range, ``1.20 (1.10 to 1.31)``."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(measured: Measured) -> str:
    """Return seconds, ratios and accuracies as a markdown table."""
    lines = ["| | seconds | times as long as ours | accuracy |", "|---|---|---|---|"]
    for name, values in measured.items():
        accuracies = [accuracy for accuracy in values["accuracy"] if accuracy is not None]
        accuracy = f"{median(accuracies):.3f}" if accuracies else "–"
        lines.append(f"| {name} | {spread(values['seconds'], 3)} | {spread(ratios(measured, name))} | {accuracy} |")
    return "\n".join(lines)


def main() -> None:
    """Measure one network and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="*", default=[100], help="units of each hidden layer")
    parser.add_argument("--activation", default="sigmoid")
    parser.add_argument("--optimizer", default="sgd", choices=("sgd", "adam"))
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--family", choices=("mlp", "conv"), default="mlp")
    parser.add_argument("--epochs", type=int, default=2, help="of a fit; the first is left out")
    parser.add_argument("--rows", type=int, help="training samples; a quarter as many validate")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-peers")
    options = parser.parse_args()
    job = vars(options)
    rows, rounds, environments, names = (job.pop(name) for name in ("rows", "rounds", "environments", "peers"))
    names = [name for name in PEERS if name in (OURS, *names) and (job["family"] == "mlp" or name in CONVOLVING)]
    with (
        TemporaryDirectory() as folder,
        Candidates(write_data(Path(folder) / "data.npz", rows=rows), environments) as all_,
    ):
        measured = all_.measure(names, job, rounds)
        print(f"One epoch of {job['family']} {in_words(job)}, {rounds} rounds, median (lowest to highest).\n")
        print(table(measured))
        for name, why in all_.left_out.items():
            print(f"\n{name} is left out: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
