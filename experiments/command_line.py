"""What the project's command lines share: one-line complaints, exit codes, and how a process is told to stop.

Nothing heavy is imported here: a typing error should be answered at once.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

#: What MLproject hands down for a parameter that the user did not give.
NOT_GIVEN = ("", "auto")
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
#: A second signal within this time is an echo of the first.
_PATIENCE_SECONDS = 3.0

#: A command's options by name; None where the user gave nothing.
Given = dict[str, str | None]


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and leave with exit code 2."""
        print(f"error: {message} (--help shows what there is)", file=sys.stderr)
        sys.exit(BAD_INPUT)


def given(options: argparse.Namespace) -> Given:
    """Return the options by name, None for those that were left out."""
    return {name: None if value in NOT_GIVEN else str(value) for name, value in vars(options).items()}


def study_name(name: str | None) -> str | None:
    """Return the name of a study as it was given.

    Raises
    ------
    ValueError
        When it has a character that a lock's file or a registered model could not carry.
    """
    if name is not None and not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"study must be of letters, digits, dots, dashes and underscores, got {name!r}")
    return name


def stop_politely() -> None:
    """Make SIGTERM, and the death of the process that started us, end the command as Ctrl-C does.

    ``mlflow run`` answers Ctrl-C with a SIGTERM of its own a quarter of a second later. It must not interrupt the
    cleaning up that the first signal has begun; one that comes seconds later means that the user will not wait.
    """
    first: list[float] = []

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            raise KeyboardInterrupt
        if time.monotonic() - first[0] > _PATIENCE_SECONDS:
            os._exit(INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    started_by = os.getppid()

    def watch() -> None:
        while os.getppid() == started_by:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()
