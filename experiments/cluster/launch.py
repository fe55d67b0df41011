"""The Dask cluster that runs the trials: embedded on this machine, or the user's own.

Workers are processes of one thread each. They are started before anything else is done, because importing TensorFlow
takes seconds, and kept alive as long as they do not grow. Where a system can, it is imported once, in a process from
which all workers are forked.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from tempfile import TemporaryDirectory

import dask
import psutil  # type: ignore[import-untyped]
from dask.system import cpu_count
from distributed import Client, Future, Nanny, Scheduler, SpecCluster, Worker
from distributed.comm import CommClosedError, connect
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.security import Security
from distributed.utils import LoopRunner
from tornado.ioloop import IOLoop, PeriodicCallback

from depthcheck.experiments.addresses import shown, without_password
from depthcheck.experiments.cluster.admission import CODE, OwnCluster, admitted
from depthcheck.experiments.cluster.warm_up import start_resource_tracker, warmed_up
from depthcheck.experiments.scratch import scratch
from depthcheck.pipeline import system
from depthcheck.pipeline.config import DataConfig, TrialConfig
from depthcheck.pipeline.own import OwnCodeError
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.training.program_cache import ONE_THREAD, session_folder, worker_environment

_START_ATTEMPTS = 5
#: A scheduler that is asked for the first time has so long.
_ANSWER_SECONDS = 10
#: How often the number of workers is set right.
_KEEP_UP_SECONDS = 20.0
#: A worker is replaced when its memory has grown by this much since its first trial.
GROWTH_BYTES = 512 * 2**20


@contextlib.contextmanager
def embedded(n_workers: int, cache: Path) -> Iterator[Client]:
    """Yield the client of a cluster on this machine that nobody else can use.

    Whoever can speak to Dask can have it run any program. So all speak TLS, and both sides show a certificate that is
    made for this session and known to its processes alone. ``cache`` is the folder for XLA's compiled programs.
    """
    with (
        warmed_up() as start_method,
        scratch() as session,
        TemporaryDirectory(dir=session, ignore_cleanup_errors=True) as folder,
        dask.config.set(
            {
                "distributed.worker.multiprocessing-method": start_method,
                "distributed.nanny.pre-spawn-environ": ONE_THREAD,
                "distributed.nanny.environ": worker_environment(session_folder(Path(folder), cache)),
                "temporary-directory": folder,
                "distributed.worker.daemon": True,
                "distributed.comm.timeouts.connect": "60s",
                # What becomes of a trial whose worker has died is the coordinator's to say.
                "distributed.scheduler.allowed-failures": 0,
                # On a machine that is short of breath a worker's replacement may take longer than 15 s to report.
                "distributed.deploy.lost-worker-timeout": "60s",
                # Trials are large and few: a worker that is busy with one is not stuck.
                "distributed.admin.tick.limit": "1h",
                "distributed.scheduler.work-stealing": False,
                # Dask would note every thread's stack a hundred times a second and keep a thousand seconds of it, a MiB
                # each in every worker, for a dashboard that there is none of.
                "distributed.worker.profile.enabled": False,
            }
        ),
        _quiet(),
        _deaf_loop() as loop,
        _started(n_workers, folder, loop) as cluster,
        Client(cluster) as client,
    ):
        # Whoever is lost for good, nanny and all, is replaced; without any worker a study would wait for ever.
        keep_up = PeriodicCallback(lambda: cluster.scale(n_workers), _KEEP_UP_SECONDS * 1000)
        client.loop.add_callback(keep_up.start)
        try:
            yield client
        finally:
            client.loop.add_callback(keep_up.stop)


@contextlib.contextmanager
def _deaf_loop() -> Iterator[IOLoop]:
    """Yield a running loop whose threads, and the processes that they start, do not hear Ctrl-C.

    A terminal sends it to all processes of a command. The workers are the coordinator's to end: one that died of it
    while it started would print a traceback, and Dask another one.
    """
    start_resource_tracker()
    runner = LoopRunner()
    with system.deaf_to_interrupts():
        runner.start()
    try:
        yield runner.loop
    finally:
        runner.stop()


class _Scheduler(Scheduler):  # type: ignore[misc]
    """Dask's scheduler without its HTTP port, which asks nobody who he is."""

    def start_http_server(self, *_: object, **__: object) -> None:
        """Listen to nobody."""


class _Worker(Worker):  # type: ignore[misc]
    """Dask's worker without its HTTP port."""

    def start_http_server(self, *_: object, **__: object) -> None:
        """Listen to nobody."""


def _started(n_workers: int, folder: str, loop: IOLoop) -> SpecCluster:
    """Start the cluster; where a worker dies before it has reported, Dask gives up, and we try again.

    Raises
    ------
    RuntimeError
        When no attempt succeeds.
    """
    everyone = {"host": "127.0.0.1", "protocol": "tls://", "security": Security.temporary()}
    worker = {
        "cls": Nanny,
        "options": {
            **everyone,
            "worker_class": _Worker,
            "nthreads": 1,
            "local_directory": folder,
            "memory_limit": 0,
            "preload": ["depthcheck.experiments.cluster.worker"],
            "silence_logs": logging.WARNING,
        },
    }
    for _ in range(_START_ATTEMPTS):
        try:
            return SpecCluster(
                loop=loop,
                scheduler={"cls": _Scheduler, "options": {**everyone, "dashboard": False}},
                workers=dict.fromkeys(range(n_workers), worker),
                worker=worker,
                security=everyone["security"],
                silence_logs=logging.WARNING,
            )
        except RuntimeError as error:
            trouble = error
    raise RuntimeError(f"workers cannot be started ({trouble})")


@contextlib.contextmanager
def connected(address: str, config: DataConfig, dataset: Dataset, say: Callable[[str], None]) -> Iterator[Client]:
    """Yield the client of the user's own cluster; this project's code and the data are sent to its workers.

    Parameters
    ----------
    config, dataset
        The data as trials ask for them, and as they were loaded.
    say
        Told when others can use that cluster, too, and of each worker that cannot train.

    Raises
    ------
    ValueError
        When no scheduler answers there, it has no worker that can train, or TLS lacks its certificates.
    RuntimeError
        When it goes away.
    """
    _require_certificates(address)
    try:
        _require_answer(address)
        client = OwnCluster(address, timeout="10s")  # with the certificates of the user's own Dask settings, if any
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # the last two where TLS lacks its certificates
        reason = without_password(next(iter(str(error).splitlines()), "it gives no answer"), [address])
        raise ValueError(
            f"scheduler must be the address of a Dask scheduler, got {shown(address)!r} ({reason})"
        ) from error
    with client, _quiet(), _stays(address):
        if _is_open(address):
            say(
                f"warning: the scheduler {shown(address)} is open: whoever reaches it can run programs as "
                "you do, and read what is sent there, passwords in addresses included; use TLS (SECURITY.md)"
            )
        with admitted(client, config, dataset, say):
            yield client


@contextlib.contextmanager
def _stays(address: str) -> Iterator[None]:
    """Say what it means when Dask's client cancels all that was asked for: nobody else does that."""
    try:
        yield
    except (CancelledError, CommClosedError) as error:
        raise RuntimeError(f"the scheduler {shown(address)} went away") from error


def _require_answer(address: str) -> None:
    """Raise an OSError where nobody answers; Dask's client waits for ever where somebody takes a call and is silent."""

    async def ask() -> None:
        call = connect(address, timeout=_ANSWER_SECONDS, **Security().get_connection_args("client"))
        await (await asyncio.wait_for(call, 2 * _ANSWER_SECONDS)).close()

    LoopRunner().run_sync(ask)


def _require_certificates(address: str) -> None:
    """Complain where Dask's settings name no certificates for TLS, or files that cannot be read."""
    if not _speaks_tls(address):
        return
    for name in ("ca-file", "client.cert", "client.key"):
        file = dask.config.get(f"distributed.comm.tls.{name}", None)
        if file is None and name == "client.key":  # it may stand in the certificate's file
            continue
        is_text = file is not None and "-----BEGIN" in file
        if file is None or not (is_text or os.access(file, os.R_OK)):
            variable = f"DASK_DISTRIBUTED__COMM__TLS__{name.upper().replace('-', '_').replace('.', '__')}"
            raise ValueError(
                f"scheduler {shown(address)!r} speaks TLS: {variable} must name a file that can be read, got "
                f"{file or 'nothing'} (docs/cluster.md)"
            )


def _speaks_tls(address: str) -> bool:
    return parse_address(address)[0] in ("tls", "wss")


def _is_open(address: str) -> bool:
    """Tell whether the scheduler speaks without TLS, and not to this machine alone."""
    host, port = parse_host_port(address, default_port=0)
    addresses = {str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host, port)}
    return not _speaks_tls(address) and not all(ipaddress.ip_address(one).is_loopback for one in addresses)


def n_cores() -> int:
    """Return how many cores this process may use, as far as the system tells: affinity, a container's limit."""
    return int(cpu_count())


class WorkerRecycling:
    """Replaces workers of an embedded cluster that have grown, between two trials: a long study needs no more memory.

    TensorFlow keeps what XLA compiled as long as its process lives, 3 to 8 MB for each new architecture. A new process
    has to trace its programs again, and where it cannot be forked to import everything, so that a short study never
    pays for one. Workers of a user's own cluster are left alone; Dask's ``--lifetime`` is made for them.
    """

    def __init__(self, client: Client, growth_bytes: int = GROWTH_BYTES) -> None:
        self._client = client
        self._growth_bytes = growth_bytes
        self._at_first: dict[str, int] = {}

    def after(self, future: Future) -> bool:
        """Look at the worker that has just run this task; tell whether it was replaced.

        It is not while it has another task, so that nothing is ever interrupted.
        """
        nannies = {nanny.worker_address: nanny for nanny in getattr(self._client.cluster, "workers", {}).values()}
        for address in self._client.who_has([future]).get(future.key, ()):
            memory = _memory(nannies[address]) if address in nannies else None
            if memory is None or memory - self._at_first.setdefault(address, memory) <= self._growth_bytes:
                continue
            if not self._client.processing([address]).get(address):
                future.release()  # its result is known; without it nothing is run again elsewhere
                self._client.restart_workers([address], raise_for_error=False)
                return True
        return False


def _memory(nanny: Nanny) -> int | None:
    """Return the resident bytes of a nanny's worker, None while there is none."""
    with contextlib.suppress(psutil.Error):
        return None if nanny.pid is None else int(psutil.Process(nanny.pid).memory_info().rss)
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's remarks about workers that end out of the user's sight; what matters comes back as an outcome."""
    loggers = [logging.getLogger(name) for name in ("distributed", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def kill_workers(client: Client) -> None:
    """End the workers of an embedded cluster at once: a compiled epoch does not listen to polite requests."""
    for nanny in getattr(client.cluster, "workers", {}).values():
        nanny.close_gracefully()  # or it would start another worker at once
        process = nanny.process and nanny.process.process
        if process is not None and process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, system.SIGKILL)


def try_elsewhere(config: TrialConfig, dataset: Dataset) -> dict[str, float] | None:
    """Try a user's own model and metric once, in a process that ends with it: this one never imports what they import.

    Returns
    -------
    dict or None
        Of an own metric, what guessing and a perfect answer score:
        :func:`depthcheck.pipeline.training.reference.scale_of_metric`.

    Raises
    ------
    OwnCodeError
        When they cannot be used; one line.
    """
    paths = [str(CODE.parent), os.environ.get("PYTHONPATH", "")]
    ended = subprocess.run(
        # Without the working directory, which workers elsewhere do not have.
        [sys.executable, "-P", "-c", "from depthcheck.experiments.cluster.worker import try_own_code; try_own_code()"],
        input=pickle.dumps((config, dataset)),
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        check=False,
    )
    if ended.returncode:
        last = (ended.stderr.decode(errors="replace").strip().splitlines() or ["it ended without a word"])[-1]
        raise OwnCodeError(last.removeprefix("depthcheck.pipeline.own.OwnCodeError: "))
    found: dict[str, float] | None = json.loads(ended.stdout.splitlines()[-1])
    return found
