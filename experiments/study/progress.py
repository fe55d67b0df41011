"""What is seen of a running study: a live bar on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from depthcheck.experiments.cluster.worker import Outcome


class LiveBar:
    """A bar of epochs with a line of text behind it, on a terminal; elsewhere (not ``is_shown``) lines are told."""

    def __init__(self, console: Console, title: str, *, total: int, transient: bool = False) -> None:
        self.console = console
        self.is_shown = console.is_terminal
        self._bar = Progress(
            TextColumn(title), BarColumn(bar_width=30), TextColumn("{task.fields[status]}"),
            console=console, transient=transient, disable=not self.is_shown,
        )  # fmt: skip
        self._task = self._bar.add_task(title, total=total, status="starting workers")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, done: int, status: str) -> None:
        """Draw how far it has come."""
        self._bar.update(self._task, completed=done, status=status)


class StudyProgress(LiveBar):
    """Counts epochs of all trials, so that the time left is known before the first trial ends.

    ``n_ended`` of the study's ``n_trials`` had ended before this session, the ``best`` of them with that score.
    """

    def __init__(self, console: Console, *, n_trials: int, epochs: int, n_ended: int, best: float | None) -> None:
        super().__init__(console, "trials", total=n_trials * epochs)
        self._n_trials, self._epochs = n_trials, epochs
        self._n_ended, self._best = n_ended, best
        self._epochs_of: dict[int, int] = {}
        self._epochs_done = 0
        self._epochs_to_do = (n_trials - n_ended) * epochs
        self._start = time.monotonic()

    def epoch(self, number: int, epoch: int) -> None:
        """Note that a trial has finished an epoch; may be called from another thread."""
        if number in self._epochs_of:
            self._epochs_done += max(epoch - self._epochs_of[number], 0)
            self._epochs_of[number] = max(epoch, self._epochs_of[number])
        self._draw()

    def started(self, number: int) -> None:
        """Note that a trial has gone to a worker."""
        self._epochs_of[number] = 0
        self._draw()

    def ended(self, outcome: Outcome, label: str, *, is_search: bool = True) -> None:
        """Note how a trial ended; only those of the search compete for the best."""
        self._epochs_done += self._epochs - self._epochs_of.pop(outcome.number, 0)
        self._n_ended += 1
        if is_search and outcome.state == "finished" and outcome.score is not None:
            self._best = outcome.score if self._best is None else max(self._best, outcome.score)
        score = "" if outcome.score is None else f"  {outcome.score:.4f}"
        state = "" if outcome.state == "finished" else f"  {outcome.state}"
        line = f"trial-{outcome.number:<3} {label:<24}{score}{state}  {outcome.fit_seconds:.1f} s"
        if not self.is_shown:
            line = f"[{self._n_ended}/{self._n_trials}] {line}  best {self._best_text()}  left {self._left()}"
        if not self.is_shown or outcome.state == "failed":
            self.console.print(line)
        self._draw()

    def _draw(self) -> None:
        done = (self._n_trials * self._epochs - self._epochs_to_do) + self._epochs_done
        status = (
            f"{self._n_ended}/{self._n_trials} done, {len(self._epochs_of)} running, "
            f"best {self._best_text()}, left {self._left()}"
        )
        self.show(done, status)

    def _best_text(self) -> str:
        return "-" if self._best is None else f"{self._best:.4f}"

    def _left(self) -> str:
        """Estimate the time left from the mean time of an epoch in this session."""
        if not self._epochs_done:
            return "?"
        seconds = (time.monotonic() - self._start) / self._epochs_done * (self._epochs_to_do - self._epochs_done)
        return duration(seconds)


def duration(seconds: float) -> str:
    """Return a number of seconds in words as short as its size allows: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
