"""One coordinator a study: a lock that the operating system takes back when its process dies."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Iterator
from datetime import datetime
from io import FileIO
from pathlib import Path

from depthcheck.pipeline import system

#: Where the text begins that says who holds it: behind the byte that Windows locks.
_TEXT = 1
_FLAGS = os.O_RDWR | os.O_CREAT | system.AS_IT_IS


@contextlib.contextmanager
def held(folder: Path, study: str) -> Iterator[None]:
    """Hold the study's lock, a file in the folder of its storage.

    Raises
    ------
    ValueError
        When another process holds it; says which, where and since when. Or when it cannot be written.
    """
    path = folder / f".{study}.lock"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(_opened(path))
            _take(file, study)
        except OSError as error:
            reason = "a link" if path.is_symlink() else error.strerror or error
            raise ValueError(
                f"the study's lock must be a file of yours that can be written, got {path} ({reason})"
            ) from error
        yield  # the file stays: removing it would let a third process lock a new one beside a second's


def _opened(path: Path) -> FileIO:
    """Open the file as it is, made if there is none, if it is a file of this user's."""
    file = FileIO(path, "r+", opener=lambda name, _flags: os.open(name, _FLAGS, 0o600))  # nothing is buffered
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_uid != system.user_id():
        file.close()
        raise OSError("another user's" if stat.S_ISREG(status.st_mode) else "no file")
    return file


def _take(file: FileIO, study: str) -> None:
    try:
        system.lock(file.fileno())
    except BlockingIOError:
        file.seek(_TEXT)
        raise ValueError(
            f"study {study!r} must be run once at a time, and is running: {_holder(file.read())}"
        ) from None
    file.truncate(0)
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
    file.write(b" " * _TEXT + json.dumps(holder).encode())


def lock_file(folder: Path, study: str) -> Path:
    """Return the file; where it is not there, nobody has run the study with this folder."""
    return folder / f".{study}.lock"


def _holder(text: bytes) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError):
        return "by another process"
