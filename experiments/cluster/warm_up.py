"""The process that workers are forked from, and which imports what they need while a command still reads its input.

Nothing here takes long to import: the sooner it begins, the sooner the first trial does.
"""

from __future__ import annotations

import contextlib
import multiprocessing.forkserver
import os
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

import dask

from depthcheck.experiments.scratch import environment, scratch
from depthcheck.pipeline import system
from depthcheck.pipeline.training.program_cache import ONE_THREAD

#: Imported before workers are forked.
_IMPORTED = "depthcheck.experiments.cluster.imported"


def cluster_of(scheduler: str | None, workers: int | None) -> str | None:
    """Return the address of the user's own cluster, named here or for all programs that use Dask; None without one.

    Dask reads ``DASK_SCHEDULER_ADDRESS``, and its own files.
    """
    return scheduler or (None if workers else dask.config.get("scheduler-address", None))


@contextlib.contextmanager
def warmed_up() -> Iterator[str]:
    """Import what workers need, where the system can fork them, in a process that they are then forked from.

    It begins at once, beside whatever is done inside, and ends with it. Yields the start method of workers.
    """
    if not system.CAN_FORK:
        yield "spawn"
        return
    server: Any = multiprocessing.forkserver._forkserver
    with contextlib.ExitStack() as stack:
        stack.enter_context(scratch())  # its socket lies there
        if vars(server)["_forkserver_pid"] is None:
            multiprocessing.forkserver.set_forkserver_preload([_IMPORTED])
            start_resource_tracker()
            with (
                contextlib.suppress(OSError),  # the path of a temporary folder may be longer than that of a socket
                system.deaf_to_interrupts(),
                environment(ONE_THREAD),
            ):
                multiprocessing.forkserver.ensure_running()
                stack.callback(_end, server)
        yield "spawn" if vars(server)["_forkserver_pid"] is None else "forkserver"


def warmed_up_for(scheduler: str | None, workers: int | None) -> contextlib.AbstractContextManager[object]:
    """Do so unless the workers are those of :func:`cluster_of`."""
    return warmed_up() if cluster_of(scheduler, workers) is None else contextlib.nullcontext()


def _end(server: Any) -> None:
    """End the process at once, though it may still import; Python has no way but these two."""
    if (pid := vars(server)["_forkserver_pid"]) is not None:
        os.kill(pid, system.SIGKILL)
    server._stop()


def start_resource_tracker() -> None:
    """Start multiprocessing's helper process ourselves.

    It would be started with the first worker, and unblock the signal there. It also warns of semaphores that a killed
    process left, and which it then removes: nothing that a user could do anything about.
    """
    with environment({"PYTHONWARNINGS": "ignore::UserWarning"}):
        resource_tracker.ensure_running()
