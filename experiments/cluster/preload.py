"""What each worker process of the embedded cluster does first, those that replace a dead one included.

TensorFlow greets on standard error before any of its settings can silence it, so the process's own log takes that.
TensorFlow is imported in a thread at once: it takes ten seconds, and the first trial should not wait for all of them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from importlib import import_module
from pathlib import Path

from distributed import Worker
from distributed.system import MEMORY_LIMIT

from depthcheck.experiments import places, scratch
from depthcheck.pipeline import system

#: What one worker may take of the memory of the machine, or of the container: a trial that wants more is refused it.
_MEMORY_SHARE = 0.9
#: Raised, the kernel ends a worker before anything else of the user's when memory runs out; 1000 is the most.
_OOM_SCORE = "500"


def dask_setup(worker: Worker) -> None:
    """Send this process's standard error to its log file, bound its memory, and begin to import TensorFlow."""
    scratch.take()  # its session's folder must not be removed under it, should the coordinator be killed
    try:
        folder = places.logs()
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / f"worker-{worker.name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    except OSError:  # a read-only home, a full disk: no log is worth a study
        log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 2)
    os.close(log)
    bound_memory(int(MEMORY_LIMIT * _MEMORY_SHARE))
    threading.Thread(target=import_training, daemon=True).start()


def import_training() -> None:
    """Import what trains, without matplotlib: Keras would import it, which takes a second, and no worker draws."""
    if "matplotlib" in sys.modules:
        import_module("depthcheck.pipeline.trial")
        return
    sys.modules["matplotlib"] = None  # type: ignore[assignment]  # so that Keras takes it for not installed
    try:
        import_module("depthcheck.pipeline.trial")
    finally:
        del sys.modules["matplotlib"]


def bound_memory(n_bytes: int) -> None:
    """Make an allocation beyond ``n_bytes`` fail inside this process, where it ends a trial and nothing else.

    A tighter limit that the user has set (``ulimit -d``) stays. Where several workers together want more than there is,
    the kernel takes one of them first; its trial is run again, and at last alone.
    """
    system.bound_data(n_bytes)
    with contextlib.suppress(OSError):  # not on every system
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
