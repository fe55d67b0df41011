"""How a process is told to stop, and how it hears it: Ctrl-C, SIGTERM, and the death of whoever started it.

Nothing heavy is imported here: Ctrl-C should be heard from the first moment.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from types import FrameType

#: The exit code of a command that was interrupted.
INTERRUPTED = 130
#: A second signal within this time is an echo of the first.
_PATIENCE_SECONDS = 3.0
#: After this time a wish to stop that nobody has heard is repeated.
_REMIND_SECONDS = 4.0
_cleaning_up = threading.Event()


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
