"""One coordinator a study: a lock that the operating system takes back when its process dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from io import FileIO
from pathlib import Path


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
            file = stack.enter_context(path.open("a+b", buffering=0))  # nothing is left to be written on closing
            _take(file, study)
        except OSError as error:
            raise ValueError(f"the study's lock must be a file that can be written, got {path} ({error})") from error
        yield  # the file stays: removing it would let a third process lock a new one beside a second's


def _take(file: FileIO, study: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise ValueError(
            f"study {study!r} must be run once at a time, and is running: {_holder(file.read())}"
        ) from None
    file.truncate(0)
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
    file.write(json.dumps(holder).encode())


def lock_file(folder: Path, study: str) -> Path:
    """Return the file; where it is not there, nobody has run the study with this folder."""
    return folder / f".{study}.lock"


def _holder(text: bytes) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError):
        return "by another process"
