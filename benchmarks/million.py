"""Seconds and peak memory of each stage on a large table: load, cut, prepare, and one trial.

``python -m benchmarks.million`` writes files of a million rows and 50 columns to a temporary folder, takes each through
the stages in a process of its own, and prints a markdown table (a few minutes). Memory is what the process has more
than before the first stage, all modules imported, in multiples of the table as float32: rows x columns x 4 bytes. Linux
only: the peak of each stage comes from ``/proc/self``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from depthcheck.pipeline.training.program_cache import worker_environment

CASES = ("numbers.npz", "numbers.parquet", "mixed.parquet", "mixed.csv")
STAGES = ("load", "cut", "prepare", "trial")
_LETTERS = [f"{letter}{letter}" for letter in "abcdefgh"]


def main() -> None:
    """Measure and print the table."""
    options = _options()
    if options.case:
        print(json.dumps(_measure(Path(options.case), options)))
        return
    lines = ["| file | stage | seconds | peak | held afterwards | features |", "|---|---|---|---|---|---|"]
    with TemporaryDirectory(prefix="depthcheck-") as scratch:
        for case in options.cases:
            _in_a_process(Path(scratch) / case, options, "--write")
            for stage, (seconds, peak, held, n_features) in _in_a_process(Path(scratch) / case, options).items():
                lines.append(f"| {case} | {stage} | {seconds:.1f} | {peak:.2f} | {held:.2f} | {n_features or ''} |")
            (Path(scratch) / case).unlink()
    print(
        f"{options.rows:,} rows x {options.columns} columns, {options.epochs} epochs; memory in multiples of float32\n"
    )
    print("\n".join(lines))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=CASES)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process(file: Path, options: argparse.Namespace, *more: str) -> dict[str, Any]:
    sizes = [f"--{name}={getattr(options, name)}" for name in ("rows", "columns", "epochs")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.million", *sizes, "--case", str(file), *more],
        env={**os.environ, **worker_environment(file.parent / "xla")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _measure(file: Path, options: argparse.Namespace) -> dict[str, Any]:
    if options.write:
        _write(file, options.rows, options.columns)
        return {}
    from depthcheck.pipeline.config import DataConfig, SplitChoice
    from depthcheck.pipeline.data.load import load
    from depthcheck.pipeline.prepare.prepare import prepared
    from depthcheck.pipeline.prepare.split import resolve, split
    from depthcheck.pipeline.trial import run_trial

    _warm_up()
    watch = _Watch(options.rows * options.columns * 4)
    config = DataConfig(name=str(file), target=None if file.suffix == ".npz" else "y")
    dataset = watch("load", lambda: load(config, cache=file.parent))
    resolved = resolve(SplitChoice(), dataset)
    watch("cut", lambda: split(dataset, resolved))
    (ready,) = watch("prepare", lambda: prepared(dataset, resolved))
    watch.measured["prepare"][-1] = ready.split.n_features
    trial = _trial(config, dataset.sha256, resolved, options.epochs)
    watch("trial", lambda: run_trial(trial, dataset, confirm=True))
    return watch.measured


def _trial(data: Any, sha256: str, resolved: Any, epochs: int) -> Any:
    from depthcheck.pipeline.config import FitConfig, ModelConfig, OptimizerConfig, TrialConfig

    return TrialConfig(
        data=data,
        data_sha256=sha256,
        split=resolved,
        model=ModelConfig(units=(64, 64), activation="relu"),
        optimizer=OptimizerConfig(name="adam", learning_rate=0.001),
        fit=FitConfig(epochs=epochs, batch_size=256, seed=0),
    )


def _warm_up() -> None:
    """Take a tiny table through all stages: modules, thread pools and the compiler are no data."""
    import pandas as pd
    import pyarrow.parquet

    from depthcheck.pipeline.config import DataConfig, SplitConfig
    from depthcheck.pipeline.data.tables import table_dataset
    from depthcheck.pipeline.trial import run_trial

    config = DataConfig(name="t", target="y")
    frame = pd.DataFrame({"x": np.arange(2_000) / 3, "c": ["r", "s"] * 1_000, "y": ["a", "b"] * 1_000})
    dataset = table_dataset(frame, config, name="t", source="here")
    run_trial(_trial(config, dataset.sha256, SplitConfig(test_size=0.2), 1), dataset, confirm=True)
    assert pyarrow.parquet


class _Watch:
    """Seconds, peak memory and memory left of each stage, in multiples of ``unit`` bytes above the start."""

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self._start = _memory("VmRSS")
        self.measured: dict[str, list[float]] = {}

    def __call__(self, stage: str, run: Callable[[], Any]) -> Any:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        start = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - start
        peak, held = ((_memory(key) - self._start) / self._unit for key in ("VmHWM", "VmRSS"))
        self.measured[stage] = [seconds, peak, held, 0]
        return result


def _memory(key: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in status if line.startswith(key)).split()[1])


def _write(file: Path, n_rows: int, n_columns: int) -> None:
    rng = np.random.default_rng(0)
    if file.suffix == ".npz":
        X = rng.normal(3, 2, (n_rows, n_columns)).astype(np.float32)
        np.savez(file, X=X, y=(X[:, 0] + X[:, 1] * X[:, 2] > 9).astype(np.int64))
        return
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv as pacsv

    x = rng.normal(3, 2, n_rows)
    columns: dict[str, Any] = {"x0": x, "y": np.where(x + rng.normal(0, 1, n_rows) > 3, "high", "low")}
    for number in range(1, n_columns):
        kind = ("number", "number", "number", "boolean", "date", "category")[number % 6 if "mixed" in file.name else 0]
        columns[f"{kind} {number}"] = _cells(kind, n_rows, rng, missing=0.05 if "mixed" in file.name else 0)
    if file.suffix == ".csv":  # every other number as money is written, which no reader of CSV takes for one
        for number in range(1, n_columns, 6):
            numbers = columns[f"number {number}"]
            columns[f"number {number}"] = ["" if np.isnan(value) else f"${value:,.2f}" for value in numbers]
        pacsv.write_csv(pa.table(columns), file)
    else:
        pq.write_table(pa.table(columns), file)


def _cells(kind: str, n_rows: int, rng: np.random.Generator, missing: float) -> Any:
    """Return the cells of one column; of numbers, a share is missing."""
    if kind == "boolean":
        return rng.random(n_rows) < 0.3
    if kind == "date":
        return np.datetime64("2015-01-01") + rng.integers(0, 3_000, n_rows)
    if kind == "category":
        return np.array(_LETTERS)[rng.integers(0, len(_LETTERS), n_rows)]
    numbers = rng.lognormal(1, 1, n_rows)
    numbers[rng.random(n_rows) < missing] = np.nan
    return numbers


if __name__ == "__main__":
    main()
