"""The folder in which XLA keeps compiled programs: where it is, and what to do when it fails.

XLA checks nothing before it reads an entry and knows no way round a folder that it cannot write: a truncated file, a
full disk or a read-only home would make every trial of that architecture fail, in this session and in all later ones.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from depthcheck.pipeline import system

_FLAG = "--tf_xla_persistent_cache_directory"
#: What makes TensorFlow train on one thread, and keep its remarks to itself.
ONE_THREAD = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def worker_environment(cache: Path) -> dict[str, str]:
    """Return the environment variables of a worker; they must be set before TensorFlow is imported.

    All workers of a machine share ``cache``, the folder of XLA's compiled programs.
    """
    return {**ONE_THREAD, "TF_XLA_FLAGS": f"{_FLAG}={cache} --tf_xla_persistent_cache_device_types=CPU"}


def programs_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder of this process's compiled programs, or None where none are kept."""
    found = re.search(rf"{_FLAG}=(.+?)(?: --|$)", environ.get("TF_XLA_FLAGS", ""))
    return Path(found[1]) if found else None


def session_folder(scratch: Path, cache: Path) -> Path:
    """Return a way to ``cache`` that belongs to this session alone, so that :func:`renew` can lead it elsewhere.

    Parameters
    ----------
    scratch
        A folder of the session.
    cache
        The folder that is kept between sessions; where it cannot be made, or others can put a program there, which
        would be run, the programs stay in ``scratch``.
    """
    way = scratch / "programs"
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.mkdir(mode=0o700, exist_ok=True)
        real = cache.resolve(strict=True)
        if _is_private(real):
            way.symlink_to(real, target_is_directory=True)
            return way
    way.mkdir()
    return way


def _is_private(folder: Path) -> bool:
    """Tell whether nobody but this user (and root) can put a file into the folder, or another folder in its place."""
    trusted = (0, system.user_id())
    for status in (parent.stat() for parent in folder.parents):
        may_replace = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if may_replace or status.st_uid not in trusted:
            return False
    status = folder.stat()
    return status.st_uid in trusted and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def renew(folder: Path) -> None:
    """Remove every program, and where ``folder`` is a session's way to the cache, lead it to an empty folder.

    Which entry is damaged XLA says for some kinds of damage only. Compiling one again takes a second or two. Emptying
    alone would not do: the disk may be full of other things, or read-only.
    """
    with contextlib.suppress(OSError):
        for entry in folder.glob("xla_compile_cache__*"):
            entry.unlink(missing_ok=True)
    if folder.is_symlink():
        empty = tempfile.mkdtemp(dir=folder.parent)
        other_way = Path(f"{empty}.link")
        other_way.symlink_to(empty, target_is_directory=True)
        other_way.replace(folder)  # at once: other workers use it
