"""One coordinator a study: a lock that the operating system takes back when its process dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path


@contextlib.contextmanager
def held(folder: Path, study: str) -> Iterator[None]:
    """Hold the study's lock, a file in the folder of its storage.

    Raises
    ------
    ValueError
        When another process holds it; says which, where and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{study}.lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"study {study!r} must be run once at a time, and is running: {_holder(file.read())}"
            ) from None
        file.truncate(0)
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        json.dump({"process": os.getpid(), "host": socket.gethostname(), "since": since}, file)
        file.flush()
        yield  # the file stays: removing it would let a third process lock a new one beside a second's


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError):
        return "by another process"
