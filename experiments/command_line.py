"""What the project's command lines share: one-line complaints, exit codes, and how a process is told to stop.

Nothing heavy is imported here: a typing error should be answered at once.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from experiments.addresses import without_password
from pipeline.paths import user_path

#: What MLproject hands down for a parameter that the user did not give.
NOT_GIVEN = ("", "auto")
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
#: A second signal within this time is an echo of the first.
_PATIENCE_SECONDS = 3.0
#: After this time a wish to stop that nobody has heard is repeated.
_REMIND_SECONDS = 4.0
_cleaning_up = threading.Event()

#: A command's options by name; None where the user gave nothing.
Given = dict[str, str | None]


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and leave with exit code 2."""
        complain(f"{message} (--help shows what there is)")
        sys.exit(BAD_INPUT)


def given(options: argparse.Namespace) -> Given:
    """Return the options by name, None for those that were left out."""
    return {name: None if value in NOT_GIVEN else str(value) for name, value in vars(options).items()}


def flag(name: str, text: str | None) -> bool:
    """Return whether an option was switched on.

    Raises
    ------
    ValueError
        When it is neither ``true`` nor ``false``.
    """
    if text not in (None, "true", "false"):
        raise ValueError(f"{name} must be true or false, got {text!r}")
    return text == "true"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model answers, and whether it may be one whose files nobody can check."""
    parser.add_argument("--study", default="", help="name of the study; the latest one with a champion otherwise")
    parser.add_argument("--model", default="", help="address of another model, models:/<name>/<version>")
    parser.add_argument(
        "--trust",
        nargs="?",
        const="true",
        default="",
        help="true runs a model that has no hashes to be checked against: it is a program from elsewhere",
    )


def complain(about: object, then: str = "") -> None:
    """Print the one line that says what is wrong; of a full disk also where it is, which databases do not tell.

    Parameters
    ----------
    then
        What to say of what comes next.
    """
    text = may_be_shown(about)
    if re.search(r"disk is full|No space left on device(?!: ')|[Qq]uota exceeded(?!: ')", text):
        from experiments.places import least_room

        text += f" ({least_room(_given_addresses())})"
    print(f"error: {text}{then}", file=sys.stderr)


def failure_code(error: RuntimeError) -> int:
    """Return the exit code of a command that has not trained: 2 for a store that no later attempt will find usable."""
    return BAD_INPUT if getattr(error, "lasts", False) else FAILED


def may_be_shown(about: object) -> str:
    """Return what is to be said without the passwords of the addresses that this process was given."""
    return without_password(str(about), _given_addresses())


def _given_addresses() -> list[str]:
    words = (word.partition("=")[2] if word.startswith("-") else word for word in sys.argv[1:])
    return [address for address in (os.environ.get("MLFLOW_TRACKING_URI", ""), *words) if "://" in address]


def new_file(asked: str | None, base: Path, suffixes: Sequence[str]) -> Path:
    """Return the path of a file to write, relative to ``base``; it must not exist yet.

    Raises
    ------
    ValueError
        When it is there, has another suffix, or its folder cannot be written to.
    """
    kinds = f"a {' or '.join(suffixes)} file"
    if asked is None:
        raise ValueError(f"output must be {kinds}, got nothing")
    path = base / user_path(asked, "output")
    if path.suffix not in suffixes:
        raise ValueError(f"output must be {kinds}, got {asked!r}")
    if path.exists():
        raise ValueError(f"output must be a new file, got {path}, which is there already")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"output must be in a folder that can be written to, got {path.parent}")
    return path


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


def stop_at_once() -> None:
    """Let Ctrl-C end the process without a word, as long as there is nothing to clean up."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stop_politely() -> None:
    """Make SIGTERM, and the death of the process that started us, end the command as Ctrl-C does.

    ``mlflow run`` answers Ctrl-C with a SIGTERM of its own a quarter of a second later. It must not interrupt the
    cleaning up that the first signal has begun; one that comes seconds later means that the user will not wait.
    """
    _cleaning_up.clear()
    wish = _Wish()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, wish.on_signal)
    sys.unraisablehook = wish.on_swallowed
    threading.Thread(target=wish.watch, args=(os.getppid(),), daemon=True, name="parent-watch").start()


class _Wish:
    """The wish to stop, as long as it takes to be heard.

    Python swallows an exception that a signal raises inside a destructor or a callback of the garbage collector: of
    seventeen interrupts of a study that started, three. So it is raised again until :func:`cleaning_up` was called.
    """

    def __init__(self) -> None:
        self._first = self._last = math.inf
        self._is_reminder = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Interrupt the main thread; leave at once where the user has waited and asks again."""
        now = time.monotonic()
        if self._first == math.inf or self._is_reminder:
            self._first, self._last, self._is_reminder = min(self._first, now), now, False
            raise KeyboardInterrupt
        if now - self._first > _PATIENCE_SECONDS:
            os._exit(INTERRUPTED)

    def on_swallowed(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Take notice of an exception that Python could raise nowhere."""
        if self._first == math.inf:
            sys.__unraisablehook__(unraisable)
        else:
            self._last = -math.inf  # so that it is raised again at once

    def watch(self, parent: int) -> None:
        """Raise a wish that was not heard again; ask to stop when the process that started us has ended."""
        while not _cleaning_up.wait(1):
            orphaned = self._first == math.inf and os.getppid() != parent
            self._is_reminder = time.monotonic() - self._last > _REMIND_SECONDS
            if orphaned or self._is_reminder:
                os.kill(os.getpid(), signal.SIGTERM)


def cleaning_up() -> None:
    """Note that the wish to stop was heard, and what runs now is not to be interrupted."""
    _cleaning_up.set()
