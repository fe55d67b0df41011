"""Memory, open files, threads and processes over 200 small trials: ``python -m benchmarks.memory``, about six minutes.

Every trial has an architecture of its own, so that each one compiles: the worst case, since TensorFlow never lets go of
what it compiled. With ``--few`` they share twelve, so that only what is no program can grow. The coordinator and its
workers are looked at once a second from outside; prints a table, and draws ``--figure``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import matplotlib as mpl
import psutil

from tests.end_to_end.chaos import command, is_worker, n_told
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
units = {units}
activation = {activation}
batch_size = {batch_size}
[tune.sgd]
learning_rate = {{ low = 0.01, high = 1.0, log = true }}
[tune.adam]
learning_rate = {{ low = 0.001, high = 0.1, log = true }}
"""
_MANY = {"units": "{ low = 8, high = 128 }", "activation": '["relu", "tanh", "sigmoid"]', "batch_size": "[64, 128]"}
_FEW = {"units": "[8, 16]", "activation": '["relu"]', "batch_size": "[64]"}
_MIB = 2**20


@dataclass(frozen=True)
class Seen:
    """What one process held at one moment; memory is resident, in MiB."""

    memory: float
    n_files: int
    n_threads: int


@dataclass(frozen=True)
class Sample:
    """What was seen at one moment of the coordinator and of its workers, by their process ids."""

    seconds: float
    n_trials: int
    coordinator: Seen
    workers: dict[int, Seen]
    n_processes: int


def main() -> None:
    """Run the study, sample it, print and draw."""
    options = _options()
    definition = DEFINITION.format(trials=options.trials, **(_FEW if options.few else _MANY))
    with TemporaryDirectory(prefix="depthcheck-memory-") as base, TemporaryFile("w+") as output:
        folder = Folder(path=Path(base), home=Path(base))
        (folder.path / "memory.toml").write_text(definition)
        process = subprocess.Popen(
            command("--experiment", str(folder.path / "memory.toml"), "--workers", str(options.workers)),
            cwd=folder.path,
            env=folder.environment(),
            stdout=output,  # a file: a pipe that nobody reads is full after 800 trials
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        samples = _watch(process, folder)
        if process.returncode:
            output.seek(0)
            sys.exit(output.read())
        n_left = sum(_home(one) == base for one in psutil.process_iter())
    print(_table(samples))
    print(f"left when it had ended: {n_left} processes of its own")
    if options.figure:
        _draw(samples, Path(options.figure))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--few", action="store_true", help="twelve architectures in place of one a trial")
    parser.add_argument("--figure", help="where to draw, a .png")
    return parser.parse_args()


def _watch(process: subprocess.Popen[bytes], folder: Folder) -> list[Sample]:
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
    return Sample(
        seconds=seconds,
        n_trials=n_told(folder.path),
        coordinator=_seen(coordinator),
        workers={child.pid: _seen(child) for child in children if is_worker(child)},
        n_processes=len(children),
    )


def _seen(process: psutil.Process) -> Seen:
    return Seen(process.memory_info().rss / _MIB, process.num_fds(), process.num_threads())


def _at(samples: Sequence[Sample], share: float) -> Sample:
    """Return the first sample with this share of the trials."""
    objective = samples[-1].n_trials * share
    return next(sample for sample in samples if sample.n_trials >= objective and sample.n_trials > 0)


def _table(samples: Sequence[Sample]) -> str:
    lines = [
        "| trials | seconds | coordinator: MiB | files | threads | workers: MiB | files | threads | processes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    last = [sample for sample in samples if sample.workers][-1]  # all networks are scored by then
    for s in (*(_at(samples, share) for share in (0.05, 0.25, 0.5, 0.75, 0.98)), last):
        here, workers = s.coordinator, s.workers.values()
        lines.append(
            f"| {s.n_trials} | {s.seconds:.0f} | {here.memory:.0f} | {here.n_files} | {here.n_threads} "
            f"| {', '.join(f'{one.memory:.0f}' for one in workers)} | {', '.join(str(one.n_files) for one in workers)} "
            f"| {', '.join(str(one.n_threads) for one in workers)} | {s.n_processes} |"
        )
    pids = {pid for sample in samples for pid in sample.workers}
    largest = max(one.memory for sample in samples for one in sample.workers.values())
    lines.append(f"\n{len(pids)} worker processes in all, the largest {largest:.0f} MiB")
    return "\n".join(lines)


def _draw(samples: Sequence[Sample], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for pid in dict.fromkeys(pid for sample in samples for pid in sample.workers):
        own = [sample for sample in samples if pid in sample.workers]
        axes.plot([s.n_trials for s in own], [s.workers[pid].memory for s in own], color="tab:orange", lw=1.5)
    axes.plot([s.n_trials for s in samples], [s.coordinator.memory for s in samples], color="tab:blue", lw=1.5)
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
