"""What is seen while trials are trained again: a live bar on a terminal, a line every few epochs elsewhere."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console

from depthcheck.experiments.progress import LiveBar, duration
from depthcheck.experiments.reproduce.compare import Deviation

#: About so many lines where there is no terminal.
_MOST_LINES = 20


class ReproductionProgress(LiveBar):
    """Counts epochs of all repetitions, and tells of the first number that differs as soon as it is there."""

    def __init__(self, console: Console, *, times: int, epochs: int) -> None:
        super().__init__(console, "training again", total=times * epochs, transient=True)
        self._total = times * epochs
        self._every = -(-self._total // _MOST_LINES)
        self._epochs_of: dict[int, int] = {}
        self._first: Deviation | None = None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if not self.is_shown:
            self.console.print("training again", markup=False)
        return super().__enter__()

    def epoch(self, number: int, epoch: int, first: Deviation | None) -> None:
        """Note an epoch of a repetition, and the earliest deviation in it, if there is one."""
        if not self._epochs_of:
            self._started = time.monotonic()  # TensorFlow's start and the compiler's work are behind
        self._epochs_of[number] = max(epoch, self._epochs_of.get(number, 0))
        if first is not None and self._first is None:
            self._first = first
            self.console.print(f"  epoch {first.epoch} is the first that differs: {first.curve}", markup=False)
        done = sum(self._epochs_of.values())
        so_far = "every number the same so far" if self._first is None else "not the same"
        status = f"{done}/{self._total} epochs, {so_far}, left {self._left(done)}"
        self.show(done, status)
        if not self.is_shown and done % self._every == 0:
            self.console.print(f"  {status}", markup=False)

    def _left(self, done: int) -> str:
        measured = done - len(self._epochs_of)
        if measured <= 0:
            return "?"
        return duration((time.monotonic() - self._started) / measured * (self._total - done))
