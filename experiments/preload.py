"""What each worker process of the embedded cluster does first, those that replace a dead one included.

TensorFlow greets on standard error before any of its settings can silence it, so the process's own log takes that.
TensorFlow is imported in a thread at once: it takes ten seconds, and the first trial should not wait for all of them.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module

from distributed import Worker

from experiments import places


def dask_setup(worker: Worker) -> None:
    """Send this process's standard error to its log file, and begin to import TensorFlow."""
    try:
        folder = places.logs()
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / f"worker-{worker.name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    except OSError:  # a read-only home, a full disk: no log is worth a study
        log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 2)
    os.close(log)
    threading.Thread(target=import_module, args=("pipeline.trial",), daemon=True).start()
