"""How a worker process is set up for one thread of training: environment variables, and nothing heavy imported."""

from __future__ import annotations

from pathlib import Path

from depthcheck.pipeline.programs_on_disk import xla_flags

#: What makes TensorFlow train on one thread, and keep its remarks to itself.
ONE_THREAD = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def worker_environment(cache: Path) -> dict[str, str]:
    """Return the environment variables of a worker; they must be set before TensorFlow is imported.

    Parameters
    ----------
    cache
        Folder for XLA's compiled programs, shared by all workers of this machine.
    """
    return {**ONE_THREAD, "TF_XLA_FLAGS": xla_flags(cache)}
