"""A folder for the working files of one session, also of sessions that were killed and could not clear up."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "depthcheck-session-"
_LOCK = "lock"
#: A folder younger than this may belong to a session that has not locked it yet.
_SETTLED_SECONDS = 60.0


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a new folder that is removed at the end; remove those that killed sessions left behind."""
    _clear_up()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, (Path(folder) / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the operating system takes it back when this process dies
        yield Path(folder)


def _clear_up() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), lock.open("a") as file:  # held, or somebody else's
            if time.time() - lock.stat().st_mtime > _SETTLED_SECONDS:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
