"""What is seen of a running study: a live bar on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import bisect
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from depthcheck.experiments.cluster.worker import Outcome


class LiveBar:
    """A bar of epochs with a line of text behind it, on a terminal; elsewhere (not ``is_shown``) lines are told."""

    def __init__(self, console: Console, title: str, *, total: int | None, transient: bool = False) -> None:
        self.console = console
        self.is_shown = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[status]}"),
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

    def show(self, done: int | None, status: str) -> None:
        """Draw how far it has come, None for no further than it was."""
        self._bar.update(self._task, completed=done, status=status)

    def name_phase(self, phase: str, *, total: int | None = None) -> None:
        """Say what is being done now, and how far it goes."""
        self._bar.update(self._task, description=phase, total=total)


class StudyProgress(LiveBar):
    """One bar over a whole study, named after its phase; it counts epochs, so that the time left is known early."""

    def __init__(self, console: Console, *, epochs: int) -> None:
        super().__init__(console, "search", total=None)
        self._epochs = epochs
        self._n_trials = self._n_ended = 0
        self._best: float | None = None
        self._epochs_of: dict[int, int] = {}
        #: When so many epochs of this session were done.
        self._marks = [(time.monotonic(), 0)]

    def plan(self, phase: str, *, n_trials: int, n_ended: int, best: float | None) -> None:
        """Begin a phase: ``n_ended`` of the study's ``n_trials`` have ended, the ``best`` with that score."""
        self._n_trials, self._n_ended, self._best = n_trials, n_ended, best
        self.name_phase(phase, total=n_trials * self._epochs)
        self._draw()

    def epoch(self, number: int, epoch: int) -> None:
        """Note that a trial has finished an epoch; may be called from another thread."""
        if number in self._epochs_of:
            self._mark(max(epoch - self._epochs_of[number], 0))
            self._epochs_of[number] = max(epoch, self._epochs_of[number])
        self._draw()

    def started(self, number: int) -> None:
        """Note that a trial has gone to a worker."""
        self._epochs_of[number] = 0
        self._draw()

    def ended(self, outcome: Outcome, label: str, *, is_search: bool = True) -> None:
        """Note how a trial ended; only those of the search compete for the best."""
        self._mark(self._epochs - self._epochs_of.pop(outcome.number, 0))
        self._n_ended += 1
        if is_search and outcome.state == "finished" and outcome.score is not None:
            self._best = outcome.score if self._best is None else max(self._best, outcome.score)
        score = "" if outcome.score is None else f"  {outcome.score:.4f}"
        state = "" if outcome.state == "finished" else f"  {outcome.state}"
        line = f"trial-{outcome.number:<3} {label:<24}{score}{state}  {outcome.fit_seconds:.1f} s"
        if not self.is_shown:
            line = f"[{self._n_ended}/{self._n_trials}] {line}{self._best_text()}  left {self._left()}"
        if not self.is_shown or outcome.state == "failed":
            self.console.print(line)
        self._draw()

    def _mark(self, n_epochs: int) -> None:
        self._marks.append((time.monotonic(), self._marks[-1][1] + n_epochs))

    def _epochs_left(self) -> int:
        return (self._n_trials - self._n_ended) * self._epochs - sum(self._epochs_of.values())

    def _draw(self) -> None:
        running = f"{len(self._epochs_of)} running"
        status = f"{self._n_ended}/{self._n_trials} runs, {running}{self._best_text()}, left {self._left()}"
        self.show(self._n_trials * self._epochs - self._epochs_left(), status)

    def _best_text(self) -> str:
        return "" if self._best is None else f"  best {self._best:.4f}"

    def _left(self) -> str:
        """Estimate the time left from the later half of this session's epochs: the first wait for compilers."""
        now, done = self._marks[-1]
        since, before = self._marks[bisect.bisect_left(self._marks, done / 2, key=lambda mark: mark[1])]
        if done == before:
            return "?"
        return duration((now - since) / (done - before) * self._epochs_left())


def duration(seconds: float) -> str:
    """Return a number of seconds in words as short as its size allows: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
