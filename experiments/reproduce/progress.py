"""What is seen while trials are trained again: a live bar on a terminal, a line every few epochs elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from experiments.progress import duration
from experiments.reproduce.compare import Deviation

#: About so many lines where there is no terminal.
_MOST_LINES = 20


class ReproductionProgress:
    """Counts epochs of all repetitions, and tells of the first number that differs as soon as it is there."""

    def __init__(self, console: Console, *, times: int, epochs: int) -> None:
        self._console = console
        self._total = times * epochs
        self._times = times
        self._every = -(-self._total // _MOST_LINES)
        self._epochs_of: dict[int, int] = {}
        self._first: Deviation | None = None
        self._started = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ReproductionProgress:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("training again"), BarColumn(bar_width=30), TextColumn("{task.fields[status]}"),
                console=self._console, transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("epochs", total=self._total, status="starting")
            self._bar.start()
        else:
            self._console.print("training again", markup=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def epoch(self, number: int, epoch: int, first: Deviation | None) -> None:
        """Note an epoch of a repetition, and the earliest deviation in it, if there is one."""
        if not self._epochs_of:
            self._started = time.monotonic()  # TensorFlow's start and the compiler's work are behind
        self._epochs_of[number] = max(epoch, self._epochs_of.get(number, 0))
        if first is not None and self._first is None:
            self._first = first
            self._console.print(f"  epoch {first.epoch} is the first that differs: {first.curve}", markup=False)
        done = sum(self._epochs_of.values())
        so_far = "every number the same so far" if self._first is None else "not the same"
        status = f"{done}/{self._total} epochs, {so_far}, left {self._left(done)}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, status=status)
        elif done % self._every == 0:
            self._console.print(f"  {status}", markup=False)

    def _left(self, done: int) -> str:
        measured = done - len(self._epochs_of)
        if measured <= 0:
            return "?"
        return duration((time.monotonic() - self._started) / measured * (self._total - done))
