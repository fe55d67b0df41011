"""Memory, processes and open files over 200 small trials: ``python -m benchmarks.memory``, about six minutes.

Every trial has an architecture of its own, so that each one compiles: the worst case, since TensorFlow never lets go of
what it compiled. Samples the coordinator and its workers once a second from outside, prints a table, and draws
``--figure``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
import psutil

from tests.end_to_end.chaos import is_worker, n_told
from tests.end_to_end.folder import Folder

mpl.use("Agg")
from matplotlib import pyplot as plt

DEFINITION = """
question = "Does memory stay flat?"
[data]
name = "digits"
[budget]
trials = {trials}
epochs = 2
seeds = 0
[compare]
depth = [1, 2, 3]
optimizer = ["sgd", "adam"]
[tune]
units = {{ low = 8, high = 128 }}
activation = ["relu", "tanh", "sigmoid"]
batch_size = [64, 128]
[tune.sgd]
learning_rate = {{ low = 0.01, high = 1.0, log = true }}
[tune.adam]
learning_rate = {{ low = 0.001, high = 0.1, log = true }}
"""
_MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """What was seen at one moment; memory is resident, in MiB."""

    seconds: float
    n_trials: int
    coordinator: float
    workers: dict[int, float]
    n_open_files: int
    n_threads: int
    n_processes: int


def main() -> None:
    """Run the study, sample it, print and draw."""
    options = _options()
    with TemporaryDirectory(prefix="depthcheck-memory-") as base:
        folder = Folder(path=Path(base), home=Path(base))
        (folder.path / "memory.toml").write_text(DEFINITION.format(trials=options.trials))
        process = folder.start("--experiment", str(folder.path / "memory.toml"), "--workers", str(options.workers))
        samples = _watch(process, folder)
        output, _ = process.communicate()
        if process.returncode:
            sys.exit(output)
        n_left = sum(_home(one) == base for one in psutil.process_iter())
    print(_table(samples))
    print(f"left when it had ended: {n_left} processes of its own")
    if options.figure:
        _draw(samples, Path(options.figure))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--figure", help="where to draw, a .png")
    return parser.parse_args()


def _watch(process: subprocess.Popen[str], folder: Folder) -> list[Sample]:
    start, samples = time.monotonic(), []
    coordinator = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            samples.append(_sample(coordinator, folder, time.monotonic() - start))
        except psutil.Error:  # something ended while it was looked at
            continue
        time.sleep(1)
    return samples


def _home(process: psutil.Process) -> str:
    """Return the home that a process was given: the study's processes have one that nobody else has."""
    try:
        return process.environ().get("HOME", "")
    except psutil.Error:
        return ""


def _sample(coordinator: psutil.Process, folder: Folder, seconds: float) -> Sample:
    children = coordinator.children(recursive=True)
    workers = {child.pid: child.memory_info().rss / _MIB for child in children if is_worker(child)}
    return Sample(
        seconds=seconds,
        n_trials=n_told(folder.path),
        coordinator=coordinator.memory_info().rss / _MIB,
        workers=workers,
        n_open_files=coordinator.num_fds(),
        n_threads=coordinator.num_threads(),
        n_processes=len(children),
    )


def _at(samples: Sequence[Sample], share: float) -> Sample:
    """Return the first sample with this share of the trials."""
    goal = samples[-1].n_trials * share
    return next(sample for sample in samples if sample.n_trials >= goal and sample.n_trials > 0)


def _table(samples: Sequence[Sample]) -> str:
    lines = [
        "| trials | seconds | coordinator, MiB | workers, MiB | open files | threads | processes |",
        "|---|---|---|---|---|---|---|",
    ]
    for share in (0.05, 0.25, 0.5, 0.75, 0.98):
        s = _at(samples, share)
        workers = ", ".join(f"{memory:.0f}" for memory in s.workers.values())
        lines.append(
            f"| {s.n_trials} | {s.seconds:.0f} | {s.coordinator:.0f} | {workers} | {s.n_open_files} | {s.n_threads} "
            f"| {s.n_processes} |"
        )
    pids = {pid for sample in samples for pid in sample.workers}
    largest = max(max(sample.workers.values(), default=0) for sample in samples)
    lines.append(f"\n{len(pids)} worker processes in all, the largest {largest:.0f} MiB")
    return "\n".join(lines)


def _draw(samples: Sequence[Sample], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for pid in dict.fromkeys(pid for sample in samples for pid in sample.workers):
        own = [sample for sample in samples if pid in sample.workers]
        axes.plot([s.n_trials for s in own], [s.workers[pid] for s in own], color="tab:orange", lw=1.5)
    axes.plot([s.n_trials for s in samples], [s.coordinator for s in samples], color="tab:blue", lw=1.5)
    last = samples[-1]
    axes.plot([], [], color="tab:orange", label="workers, a line a process")
    axes.plot([], [], color="tab:blue", label="coordinator")
    axes.set(xlabel="trials that have ended", ylabel="resident memory (MiB)", ylim=(0, None), xlim=(0, last.n_trials))
    axes.set_title(f"{last.n_trials} small trials, each of another architecture", loc="left", fontsize=11)
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
