"""How many trials an hour a cluster of so many workers does, and what a long study costs its coordinator.

``python -m benchmarks.scaling`` runs studies whose trials sleep in place of training; all else is real: Optuna's study
in PostgreSQL, an MLflow server before another database of it, Dask (without TLS), the coordinator. It prints a markdown
table (some minutes). All of it shares this machine's cores: a lower bound of what a cluster does. What each part
computes for a trial tells which would be the first to have too few of them.
``--trials 2000 --workers 8`` shows the growth: seconds and memory at the beginning and at the end of one long study.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from distributed import Client, Scheduler, Worker
from rich.console import Console
from tornado.ioloop import IOLoop

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster import launch
from depthcheck.experiments.cluster.worker import Outcome, TrialTask, start_run
from depthcheck.experiments.planning import definition
from depthcheck.experiments.study import coordinator, session
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.records import Evaluation, History, TrialResult

_EPOCHS, _WORKERS_A_PROCESS = 5, 32
_DATABASES = "optuna", "mlflow"
_DEFINITION = """
seed = 3
[data]
name = "wine"
[budget]
trials = {trials}
epochs = 5
compare = 1.0
seeds = 0
[compare]
depth = [0, 1]
[fixed]
optimizer = "sgd"
activation = "relu"
batch_size = 32
[tune]
units = [8, 16, 32]
[tune.sgd]
learning_rate = {{ low = 0.01, high = 1.0, log = true }}
"""


def main() -> None:
    """Measure and print the table."""
    options = _options()
    if options.host:
        _host(options.host, options.workers[0])
        return
    if options.stores:
        print(json.dumps(_study(options)))
        return
    print(
        f"trials of {options.seconds} s, {os.cpu_count()} cores for all\n\n"
        "| workers | trials | an hour: all, first tenth, last | at best | coordinator busy "
        "| CPU ms a trial: coordinator's first tenth, last "
        "| MLflow server | PostgreSQL | workers, scheduler | coordinator MiB: first, last "
        "| databases, KiB a trial: Optuna's, MLflow's |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for n_workers in options.workers:
        found = _with_servers(n_workers, options)
        best = 3600 * n_workers / options.seconds
        print(
            f"| {n_workers} | {found['trials']} | {', '.join(f'{pace:,.0f}' for pace in found['an_hour'])} "
            f"| {best:,.0f} | {found['busy']:.0%} "
            f"| {found['cpu'][0]:.0f}, {found['cpu'][1]:.0f} | {' | '.join(f'{ms:.0f}' for ms in found['others'])} "
            f"| {found['mib'][0]:.0f}, {found['mib'][1]:.0f} | {found['kib'][0]:.0f}, {found['kib'][1]:.0f} |",
            flush=True,
        )


def _with_servers(n_workers: int, options: argparse.Namespace) -> dict[str, Any]:
    """Start all servers and the workers, and measure a study by a process of its own."""
    from tests.end_to_end.servers import free_port, mlflow_server, postgres

    with TemporaryDirectory(prefix="depthcheck-") as scratch, postgres() as database, contextlib.ExitStack() as stack:
        server = stack.enter_context(mlflow_server(Path(scratch) / "server", database.url("mlflow")))
        scheduler = f"tcp://127.0.0.1:{free_port()}"
        again = [sys.executable, "-m", "benchmarks.scaling", "--seconds", str(options.seconds)]
        environment = {**os.environ, "DEPTHCHECK_BENCHMARK_SECONDS": str(options.seconds)}
        left, hosts = n_workers, []
        while left > 0:
            here = min(left, _WORKERS_A_PROCESS)
            is_first = left == n_workers
            host = subprocess.Popen(
                [*again, "--host", ("+" if is_first else "") + scheduler, "--workers", str(here)],
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            hosts.append(host.pid)
            stack.callback(host.wait)
            stack.callback(host.kill)
            left -= here
        stores = [server.uri, database.url("optuna"), scheduler]
        parts = [[server.pid], [database.pid], hosts]
        before = [_cpu_seconds(pids) for pids in parts]
        sizes = [database.n_bytes(name) for name in _DATABASES]
        words = ["--workers", str(n_workers), "--trials", str(options.trials), "--stores", *stores]
        done = subprocess.run([*again, *words], stdout=subprocess.PIPE, text=True, check=True, cwd=scratch, env={
            **environment, "PYTHONPATH": str(Path(__file__).parents[1]), "HOME": scratch,
        })  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        spent = [_cpu_seconds(pids) - so_far for pids, so_far in zip(parts, before, strict=True)]
        found["others"] = [1000 * seconds / found["trials"] for seconds in spent]
        grown = [database.n_bytes(name) - size for name, size in zip(_DATABASES, sizes, strict=True)]
        found["kib"] = [n_bytes / 2**10 / found["trials"] for n_bytes in grown]
        return found


def _cpu_seconds(pids: Sequence[int]) -> float:
    """Return what processes have computed so far, with those below them, also those that have ended."""
    roots = [psutil.Process(pid) for pid in pids]
    return sum(sum(one.cpu_times()[:4]) for root in roots for one in [root, *root.children(recursive=True)])


def _host(address: str, n_workers: int) -> None:
    """Be many workers, and with a ``+`` before its address the scheduler, too."""

    async def serve() -> None:
        async with contextlib.AsyncExitStack() as stack:
            if address.startswith("+"):
                port = int(address.rpartition(":")[2])
                await stack.enter_async_context(Scheduler(host="127.0.0.1", port=port, dashboard=False))
            workers = [
                await stack.enter_async_context(Worker(address.removeprefix("+"), nthreads=1, dashboard=False))
                for _ in range(n_workers)
            ]
            await workers[0].finished()

    IOLoop.current().run_sync(serve)


def _study(options: argparse.Namespace) -> dict[str, Any]:
    """Run a study of sleeping trials; return what was seen of its coordinator."""
    uri, storage, scheduler = options.stores
    path = Path("scaling.toml")
    path.write_text(_DEFINITION.format(trials=options.trials), encoding="utf-8")
    experiment = replace(definition.read(path), data=DataConfig(name="wine"))
    seen: list[tuple[float, float, float]] = []
    tell, process = Ledger.tell, psutil.Process()

    def told(self: Ledger, outcome: Outcome) -> None:
        tell(self, outcome)
        seen.append((time.monotonic(), time.process_time(), process.memory_info().rss / 2**20))

    @contextlib.contextmanager
    def connected(*_: object) -> Iterator[Client]:
        with Client(scheduler, timeout=60) as client:
            client.wait_for_workers(options.workers[0], timeout=120)
            yield client

    Ledger.tell = told  # type: ignore[method-assign]
    launch.connected = connected  # type: ignore[assignment]
    coordinator.run_task = sleep_and_log
    session.submit_references = lambda *_: None  # type: ignore[assignment]
    request = session.StudyRequest(experiment=experiment, tracking_uri=uri, storage=storage, scheduler=scheduler)
    session.run(request, Console(file=sys.stderr, quiet=True))
    n, tenth = len(seen), max(len(seen) // 10, 2)

    def cpu(part: list[tuple[float, float, float]]) -> float:
        return 1000 * (part[-1][1] - part[0][1]) / (len(part) - 1)

    def an_hour(part: list[tuple[float, float, float]]) -> float:
        return 3600 * (len(part) - 1) / (part[-1][0] - part[0][0])

    return {
        "trials": n,
        "an_hour": (an_hour(seen), an_hour(seen[:tenth]), an_hour(seen[-tenth:])),
        "busy": (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0]),
        "cpu": (cpu(seen[:tenth]), cpu(seen[-tenth:])),
        "mib": (seen[tenth][2], seen[-1][2]),
    }


def sleep_and_log(task: TrialTask) -> Outcome:
    """Take the place of :func:`depthcheck.experiments.cluster.worker.run_task`; there is no network to be logged."""
    study = task.study_run
    assert not tracking.attempts(study.tracking_uri, study.experiment_id, study.run_id, task.number)
    run = start_run(task)
    time.sleep(float(os.environ["DEPTHCHECK_BENCHMARK_SECONDS"]))
    score = 0.5 + task.number % 7 / 100
    curve = (score,) * _EPOCHS
    history = History(
        metric=task.metric, train_loss=curve, train_score=curve, valid_loss=curve, valid_score=curve,
        learning_rate=curve, seconds=curve,
    )  # fmt: skip
    valid = Evaluation(part="valid", loss=score, score=score, metric=task.metric, n_samples=178)
    run.finish(
        TrialResult(
            config=task.config, state="finished", history=history, valid=valid, test=None, n_params=1, fit_seconds=1.0
        )
    )
    return Outcome(number=task.number, run_id=run.run_id, state="finished", score=score, scores=curve)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 32, 128])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each trial")
    parser.add_argument("--host", help=argparse.SUPPRESS)
    parser.add_argument("--stores", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
