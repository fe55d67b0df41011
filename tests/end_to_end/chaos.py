"""Kills a running study again and again, at moments that hurt, and counts what that did.

Shared by the test and by the benchmark. Nothing in the project helps the kills to land: they watch the two databases
and the folder of models from outside, as closely as polling allows.
"""

from __future__ import annotations

import contextlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

#: Marks every process that a study starts, however far down: it is inherited with the environment.
_MARK = "DEPTHCHECK_CHAOS"
_POLL_SECONDS = 0.002
#: After this long without the moment that a kill waits for, it lands at once.
_PATIENCE_SECONDS = 15.0
#: Cleaning up may take a while on a busy machine.
_GONE_SECONDS = 60.0

MOMENTS = ("any", "start-up", "upload", "between commits")
TARGETS = ("worker", "coordinator", "all workers", "all at once")


@dataclass(frozen=True)
class Kill:
    """One kill to come: not before ``after`` trials have ended, at this moment, of this target."""

    after: int
    moment: str
    delay: float
    target: str


@dataclass
class Tally:
    """What was done to a study. ``kills`` counts moment and target of each."""

    seed: int
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    starts: int = 0
    gave_up: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    output: str = ""
    seconds: float = 0.0


def plan_kills(seed: int, n_kills: int, n_trials: int) -> list[Kill]:
    """Return kills spread evenly over a study of ``n_trials``, in order."""
    rng = random.Random(seed)
    kills = []
    for after in sorted(rng.randrange(n_trials - 1) for _ in range(n_kills)):
        (moment,) = rng.choices(MOMENTS, weights=(5, 2, 2, 3))
        (target,) = rng.choices(TARGETS, weights=(10, 7, 2, 3))
        kills.append(Kill(after=after, moment=moment, delay=rng.random(), target=target))
    return kills


def run_under_kills(
    command: list[str], folder: Path, environ: Mapping[str, str], kills: list[Kill], seed: int
) -> Tally:
    """Run ``command`` in ``folder`` to its end, starting it again after each kill that ended it."""
    tally = Tally(seed=seed)
    start = time.monotonic()
    with Study(command, folder, environ, tally) as study:
        for kill in kills:
            study.ensure_running()
            study.wait_for(kill)
            study.deliver(kill)
        for _ in range(10):
            if study.ended_well():
                break
    tally.left_behind = study.left_behind()
    tally.output = study.log.read_text()
    tally.seconds = time.monotonic() - start
    return tally


class Study:
    """The process of a study, and what can be seen of it from outside."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str], tally: Tally) -> None:
        self._command, self._folder, self._tally = command, folder, tally
        self._mark = uuid.uuid4().hex
        self._environ = {**environ, _MARK: self._mark}
        self._running: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self.log = folder / "chaos.log"

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running is not None and self._running.poll() is None:
            self._running.kill()
            self._running.wait()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._running is not None
        return self._running

    def ensure_running(self) -> None:
        """Start the study unless it runs; note an end that was neither success nor our kill."""
        last = self._running
        if last is not None and last.poll() is None:
            return
        if last is not None and last.returncode not in (0, -signal.SIGKILL):
            self._tally.gave_up.append(f"exit code {last.returncode}: {self._last_line()}")
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )
        self._started = time.monotonic()
        self._tally.starts += 1

    def ended_well(self) -> bool:
        """Let the study run to its end; tell whether it was a good one."""
        self.ensure_running()
        return self.process.wait(timeout=600) == 0

    def wait_for(self, kill: Kill) -> None:
        """Wait until enough trials have ended and the kill's moment has come."""
        while self.n_told() < kill.after:
            self.ensure_running()
            time.sleep(0.02)
        if kill.moment == "start-up":
            # From Python's first line to the first trials; of a study that runs, the next second.
            time.sleep(max(0.0, kill.delay * 8 - (time.monotonic() - self._started)) or kill.delay)
            if "worker" in kill.target:
                self._wait_for_workers()
                time.sleep(kill.delay * 2)
        elif kill.moment == "any":
            time.sleep(kill.delay * 1.5)
        else:
            has_come = self.upload_begins() if kill.moment == "upload" else self.between_commits()
            end = time.monotonic() + _PATIENCE_SECONDS
            while not has_come() and time.monotonic() < end and self.process.poll() is None:
                time.sleep(_POLL_SECONDS)

    def _wait_for_workers(self) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not self.workers() and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)

    def deliver(self, kill: Kill) -> None:
        """Kill; where there is no worker (yet), the coordinator."""
        self.ensure_running()
        if "worker" in kill.target:
            self._wait_for_workers()
        workers = self.workers()
        target = kill.target if workers else "coordinator"
        if target == "worker":
            victims = [workers[int(kill.delay * len(workers))]]
        elif target == "all workers":
            victims = workers
        elif target == "coordinator":
            victims = [psutil.Process(self.process.pid)]
        else:
            victims = [psutil.Process(self.process.pid), *workers]
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        if target in ("coordinator", "all at once"):
            self.process.wait()
        self._tally.kills[kill.moment, target] += 1

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes there are."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [child for child in children if is_worker(child)]
        return []

    def n_told(self) -> int:
        """Return how many trials have ended, as Optuna knows."""
        return n_told(self._folder)

    def between_commits(self) -> Callable[[], bool]:
        """Return the test whether a trial has ended in MLflow, and Optuna does not know."""

        def has_come() -> bool:
            running = {n for (n,) in rows(self._folder / "optuna.db", _RUNNING_TRIALS)}
            return bool(running) and bool(running & {int(n) for (n,) in rows(self._folder / "mlflow.db", _ENDED_RUNS)})

        return has_come

    def upload_begins(self) -> Callable[[], bool]:
        """Return the test whether a model's folder has appeared that was not there before."""
        folders = list((self._folder / "mlruns").glob("*/models"))
        before = {folder: set(folder.iterdir()) for folder in folders}

        def has_come() -> bool:
            return any(set(folder.iterdir()) - names for folder, names in before.items())

        return has_come

    def left_behind(self) -> list[str]:
        """Return the processes that outlive the study by more than some seconds."""
        end = time.monotonic() + _GONE_SECONDS
        while (left := list(_marked(self._mark))) and time.monotonic() < end:
            time.sleep(0.1)
        return left

    def _last_line(self) -> str:
        lines = self.log.read_text().strip().splitlines()
        return lines[-1] if lines else "no output"


_RUNNING_TRIALS = "SELECT number FROM trials WHERE state = 'RUNNING'"
_ENDED_RUNS = (
    "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE key = 'trial_number' AND status IN ('FINISHED', 'FAILED')"
)


def n_told(folder: Path) -> int:
    """Return how many trials have ended in the studies of a folder, as Optuna knows."""
    told = rows(folder / "optuna.db", "SELECT count(*) FROM trials WHERE state != 'RUNNING'")
    return int(told[0][0]) if told else 0


def rows(database: Path, question: str) -> list[tuple[Any, ...]]:
    """Ask a database that may not exist yet, or be locked at this moment."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(
            sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        ) as connection,
    ):
        return connection.execute(question).fetchall()
    return []


def is_worker(process: psutil.Process) -> bool:
    """Tell whether a process below the coordinator is a worker: it has helpers for multiprocessing, too."""
    with contextlib.suppress(psutil.Error):
        words, parent = " ".join(process.cmdline()), process.parent()
        is_forked = parent is not None and "forkserver" in words and "forkserver" in " ".join(parent.cmdline())
        return is_forked or "spawn_main" in words
    return False


def _marked(mark: str) -> Iterator[str]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield f"{process.pid} {' '.join(process.cmdline())}"


def attempts(uri: str, parent_run_id: str) -> tuple[Counter[str], Counter[str]]:
    """Return for each trial's number how often it ended (FINISHED, FAILED), and how often it was interrupted."""
    import mlflow

    client = mlflow.MlflowClient(uri)
    ended: Counter[str] = Counter()
    interrupted: Counter[str] = Counter()
    parent = client.get_run(parent_run_id)
    for run in client.search_runs([parent.info.experiment_id]):
        assert run.info.status != "RUNNING", f"run {run.info.run_id} was left RUNNING"
        if run.data.tags.get("mlflow.parentRunId") == parent_run_id and "trial_number" in run.data.tags:
            counter = ended if run.info.status in ("FINISHED", "FAILED") else interrupted
            counter[run.data.tags["trial_number"]] += 1
    return ended, interrupted


def report_text(folder: Path) -> str:
    """Return the report of the one study in a folder, without what must differ between two equal studies.

    That is: identifiers of runs, the folder in the store's address, the code's commit, and seconds of training (in
    sentences, and in rows and columns of tables that are named so). Line breaks go too: with another number a sentence
    breaks elsewhere.
    """
    (path,) = (folder / "reports" / "output").glob("*/report.md")
    text = path.read_text(encoding="utf-8").replace(str(folder), "FOLDER")
    text = "\n".join(_without_seconds(text.splitlines()))
    text = re.sub(r"\b[0-9a-f]{32}\b", "RUN", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"commit `[0-9a-f]{40}`(, with uncommitted changes)?", "COMMIT", text)
    return re.sub(r"\b[\d.,]+ (s|min|h|minutes?|hours)\b( \d+ min\b)?", "SECONDS", text)


def _without_seconds(lines: list[str]) -> Iterator[str]:
    column = None
    for line in lines:
        cells = [cell.strip() for cell in line.split("|")] if line.startswith("|") else []
        if not cells:
            column = None
        elif "seconds" in cells:
            column = cells.index("seconds")
        elif column is not None:
            cells[column] = "SECONDS"
        elif len(cells) > 1 and cells[1] == "seconds of training":
            cells[2:] = ["SECONDS"]
        yield " | ".join(cells) if cells else line


def command(*words: str) -> list[str]:
    """Return the command line of the project's run."""
    return [sys.executable, "-m", "depthcheck", "run", *words]
