"""Another user of the machine: somebody who prepares what a session will find. Only root can be two users."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as a second user")


def as_nobody(call: Callable[[], object]) -> None:
    """Call this as another user, in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            become_nobody()
            call()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@contextlib.contextmanager
def shared_by_all() -> Iterator[Path]:
    """Yield a folder for everybody's temporary files, as /tmp is; pytest's own are its user's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o1777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
