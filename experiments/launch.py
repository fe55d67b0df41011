"""The Dask cluster that runs the trials: embedded on this machine, or the user's own.

Workers are processes of one thread each. They are started before anything else is done, because importing TensorFlow
takes each of them ten seconds, and kept alive to the end.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import dask
from distributed import Client, LocalCluster

from pipeline.programs_on_disk import session_folder
from pipeline.threads import worker_environment

CODE = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def embedded(n_workers: int, cache: Path) -> Iterator[Client]:
    """Yield the client of a cluster on this machine, reachable from this machine only.

    Parameters
    ----------
    n_workers
        Number of worker processes, one thread each.
    cache
        Folder for XLA's compiled programs.
    """
    with (
        TemporaryDirectory(prefix="depthcheck-") as scratch,
        dask.config.set(
            {
                "distributed.nanny.pre-spawn-environ": {
                    **worker_environment(session_folder(Path(scratch), cache)),
                    "PYTHONPATH": _python_path(),
                },
                "distributed.worker.daemon": True,
                "distributed.comm.timeouts.connect": "60s",
                # A worker that dies takes its trial along; the trial is run again at most this often.
                "distributed.scheduler.allowed-failures": 3,
                # Trials are large and few: a worker that is busy with one is not stuck.
                "distributed.admin.tick.limit": "1h",
                "distributed.scheduler.work-stealing": False,
            }
        ),
        _quiet(),
        LocalCluster(
            n_workers=n_workers,
            processes=True,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            # Without a dashboard it would still open port 8787 to everybody, and remark on it when it is taken.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            local_directory=scratch,
            memory_limit=0,
            preload=["experiments.preload"],
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """Yield the client of the user's own cluster; this project's code is sent to its workers.

    Raises
    ------
    ValueError
        When no scheduler answers there, or it has no worker.
    """
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"scheduler must be the address of a Dask scheduler, got {address!r} ({reason})") from error
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise ValueError(f"scheduler must have at least one worker, got none at {address!r}")
        with TemporaryDirectory(prefix="depthcheck-") as folder:
            archive = Path(folder) / "depthcheck_code.zip"
            archive.write_bytes(_packed_code())
            client.upload_file(str(archive))
        yield client


def n_workers(client: Client) -> int:
    """Return how many workers the cluster has now."""
    return len(client.scheduler_info(n_workers=-1)["workers"])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's remarks about workers that end out of the user's sight; what matters comes back as an outcome."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def kill_workers(client: Client) -> None:
    """End the workers of an embedded cluster at once: a compiled epoch does not listen to polite requests."""
    for nanny in getattr(client.cluster, "workers", {}).values():
        nanny.auto_restart = False
        process = nanny.process and nanny.process.process
        if process is not None and process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(CODE), os.environ.get("PYTHONPATH")]))


def _packed_code() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for package in ("pipeline", "experiments"):
            for path in sorted((CODE / package).rglob("*")):
                if path.suffix in (".py", ".toml"):
                    archive.write(path, path.relative_to(CODE))
    return buffer.getvalue()
