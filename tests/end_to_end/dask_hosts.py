"""Hosts of a cluster: a scheduler and workers, each with a home, a folder and a cache of its own, all empty."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import wait_for
from distributed import Client


class Hosts:
    """A Dask scheduler of a test's own, and the workers that it has started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[str]] = {}
        scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0")
        assert scheduler.stderr is not None
        self.address = next(found[0] for line in scheduler.stderr if (found := re.findall(r"tcp://[\d.]+:\d+", line)))
        self._drain(scheduler)

    def home(self, name: str) -> Path:
        """Return the home of a host."""
        return self._folder / name

    def start(self, name: str, *words: str, n_workers: int = 1, **variables: str) -> str:
        """Start workers on a host of their own; return the address of one once all are there."""
        self._start(
            "worker", self.address, "--name", name, "--nworkers", str(n_workers), *words, host=name, **variables
        )
        wait_for(lambda: len(self.workers(name)) == n_workers)
        return self.workers(name)[0]

    def workers(self, host: str) -> list[str]:
        """Return the addresses of the workers of a host."""
        with Client(self.address, set_as_default=False) as client:
            found = client.scheduler_info(n_workers=-1)["workers"]
        return [address for address, info in found.items() if re.fullmatch(rf"{host}(-\d+)?", info["name"])]

    def kill(self, name: str) -> None:
        """End all processes of a host at once."""
        process = self._processes.pop(name)
        os.killpg(process.pid, 9)
        process.wait()

    def _start(self, what: str, *words: str, host: str | None = None, **variables: str) -> subprocess.Popen[str]:
        home = self._folder / (host or what)
        home.mkdir(exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "XDG", "PYTHON"))}
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *words],
            cwd=home,
            env={**kept, "HOME": str(home), "MLFLOW_DISABLE_TELEMETRY": "true", **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if what == "scheduler" else subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._processes[host or what] = process
        return process

    def _drain(self, scheduler: subprocess.Popen[str]) -> None:
        """Read on behind the address, so that the scheduler never waits for a reader."""
        subprocess.Popen(["cat"], stdin=scheduler.stderr, stdout=subprocess.DEVNULL)

    def close(self) -> None:
        """End everything."""
        for name in list(self._processes):
            self.kill(name)


@contextmanager
def hosts(folder: Path) -> Iterator[Hosts]:
    """Yield a scheduler without workers, and end it and those that were started."""
    made = Hosts(folder)
    try:
        yield made
    finally:
        made.close()


def without(home: Path, module: str) -> str:
    """Return a PYTHONPATH on which a module cannot be imported."""
    folder = home / "site"
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules[{module!r}] = None\n")
    return str(folder)


def with_version(home: Path, package: str, version: str) -> str:
    """Return a PYTHONPATH on which a package says that it is of another version."""
    folder = home / "site" / f"{package}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return str(folder.parent)
