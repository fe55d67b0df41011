"""Whole studies: ours by the command line, and the peers that search, on the trials that ours has drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from benchmarks.peers.environments import ROOT, Environments, command
from depthcheck.experiments import places, tracking
from depthcheck.reports.read import read_study

OPTUNA, TUNER = "Optuna + Keras fit + MLflow autolog", "KerasTuner"
SEARCHING = {OPTUNA: "optuna_keras_mlflow.py", TUNER: "keras_tuner_grid.py"}
#: Where the worker-seconds of a study go, in the order of time.
PARTS = (
    "starting: imports, data, workers",
    "training: epochs with their validation",
    "training: tracing and compiling",
    "a trial beside its training: model built, all logged",
    "between trials",
    "after the last trial: judging, report",
)
_DEFINITION = """
question = "Does another hidden layer help?"
seed = 1
[data]
{data}
[split]
{split}
[budget]
trials = {trials}
epochs = {epochs}
seeds = 0
[compare]
depth = {depth}
optimizer = ["sgd", "adam"]
[tune]
units = {units}
activation = ["tanh", "relu"]
batch_size = {batch_size}
[tune.sgd]
learning_rate = {{ low = 1e-2, high = 0.2, log = true }}
[tune.adam]
learning_rate = {{ low = 5e-4, high = 5e-3, log = true }}
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A study: ``data`` is the name of a data set, or ``(rows, columns)`` of a table that is drawn, or wine's."""

    data: str | tuple[int, int]
    trials: int
    epochs: int
    folds: int = 0
    workers: int = 2
    depth: Sequence[int] = (0, 1, 2, 3)
    units: Sequence[int] = (32, 64, 128)
    batch_size: Sequence[int] = (16, 32, 64)

    def prepare(self, folder: Path) -> dict[str, Any]:
        """Write data and definition, and return what the peers are told of them."""
        folder.mkdir(parents=True)
        seed = "seed = 1234"
        if self.data == "fashion-mnist":
            from benchmarks.fit import write_data

            source, told = f'name = "{self.data}"', {"arrays": str(write_data(folder / "data.npz"))}
        else:
            file = folder / "table.csv"
            _table(self.data).to_csv(file, index=False)
            source, told = f'name = "{file}"\ntarget = "target"', {"table": str(file), "target": "target"}
        text = _DEFINITION.format(
            data=source,
            split=f"folds = {self.folds}\n{seed}" if self.folds else f"valid = 0.2\n{seed}",
            trials=self.trials,
            epochs=self.epochs,
            depth=list(self.depth),
            units=list(self.units),
            batch_size=list(self.batch_size),
        )
        (folder / "study.toml").write_text(text, encoding="utf-8")
        return {**told, "folds": self.folds, "epochs": self.epochs}


def _table(data: Any) -> pd.DataFrame:
    if data == "wine":
        from sklearn.datasets import load_wine

        frame: pd.DataFrame = load_wine(as_frame=True).frame
        return frame
    n_rows, n_columns = data
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_columns)).round(4)
    score = X[:, 0] + X[:, 1] * X[:, 2] + np.sin(2 * X[:, 3]) + rng.normal(0, 0.3, n_rows)
    frame = pd.DataFrame(X, columns=[f"x{number}" for number in range(n_columns)])
    return frame.assign(target=np.array(["low", "middle", "high"])[np.digitize(score, (-0.7, 0.7))])


def ours(case: Case, folder: Path) -> dict[str, Any]:
    """Run a study of ours in a new folder, nothing compiled before; return what it took and what it trained."""
    told = case.prepare(folder)
    cache = folder / "cache" / "depthcheck"
    cache.mkdir(parents=True)
    (cache / "data").symlink_to(places.data_cache())
    run = [sys.executable, "-m", "depthcheck", "run", "--experiment", "study.toml", "--workers", str(case.workers)]
    begun = time.time()
    took = _timed(run, folder, {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")})
    uri = f"sqlite:///{folder}/mlflow.db"
    records = read_study(uri, tracking.studies(uri)[0]).records
    trials = [
        {
            "units": config.model.units,
            "activation": config.model.activation,
            "dropout": config.model.dropout,
            "optimizer": config.optimizer.name,
            "learning_rate": config.optimizer.learning_rate,
            **dict(config.optimizer.hyperparameters),
            "batch_size": config.fit.batch_size,
            "seed": config.fit.seed,
        }
        for config in (record.config for record in records)
    ]
    accuracies = [record.history.valid_score[-1] for record in records]
    parts = _parts(uri, records, case.workers, begun, begun + took["seconds"])
    return {**took, "accuracies": accuracies, "parts": parts, "told": {**told, "trials": trials}}


def peer(name: str, told: dict[str, Any], folder: Path, environments: Environments) -> dict[str, Any]:
    """Let a peer train the trials that a study of ours was told to have."""
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(told), encoding="utf-8")
    took = _timed([*command(SEARCHING[name], environments), "study.json"], folder, {})
    lines = [line for line in took.pop("output").splitlines() if line.startswith("{")]
    return {**took, "accuracies": [json.loads(line)["accuracy"] for line in lines]}


def _timed(run: Sequence[str], folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Run a command to its end: seconds, CPU-seconds and the largest process's MiB, of it and all below it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "TF_CPP_MIN_LOG_LEVEL": "2"}
    start = time.perf_counter()
    with (folder / "output.txt").open("w+", encoding="utf-8") as output:
        process = subprocess.Popen(run, cwd=folder, env={**kept, **quiet, **environment}, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(run)} ended with {process.returncode}: …{text[-1500:]}")
    return {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "largest_mib": usage.ru_maxrss / 1024,
        "output": text,
    }


def _parts(uri: str, records: Sequence[Any], workers: int, begun: float, ended: float) -> dict[str, float]:
    """Return which share of the workers' seconds went where; a worker that waits is counted where it waits.

    What of a trial's first epoch is longer than the median of its later ones is taken for tracing and compiling.
    """
    api = mlflow.MlflowClient(uri)
    infos = [api.get_run(record.run_id).info for record in records]
    first, last = min(info.start_time for info in infos) / 1000, max(info.end_time for info in infos) / 1000
    in_trials = sum(info.end_time - info.start_time for info in infos) / 1000
    training = sum(record.fit_seconds for record in records)
    histories = [record.history.seconds for record in records]
    compiling = sum(max(0.0, seconds[0] - median(seconds[1:] or seconds)) for seconds in histories)
    seconds = (
        workers * (first - begun),
        training - compiling,
        compiling,
        in_trials - training,
        workers * (last - first) - in_trials,
        workers * (ended - last),
    )
    return {part: max(0.0, value) / (workers * (ended - begun)) for part, value in zip(PARTS, seconds, strict=True)}
