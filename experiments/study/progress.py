"""What is seen of a running study: a live bar on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, linear_regression
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from depthcheck.experiments.cluster.worker import Outcome


#: No time left is told before this share of a session's trials has ended: the first wait for compilers.
_KNOWN_FROM = 0.1


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


@dataclass(slots=True)
class _Running:
    """A trial that runs: when it went to a worker, when its first epoch had ended, and how many have."""

    began: float
    first: float | None = None
    epoch: int = 0


class StudyProgress(LiveBar):
    """One bar of epochs over a whole study, named after its phase, and the time that is left.

    What passes before a trial's first epoch has ended (compiling, above all) falls as programs are there already; what
    comes behind does not. So the two are known apart, and the former is expected to be as short as the shortest at the
    beginning, later as one of the longer ones. The latter is a straight line over the size of the network, where the
    plan tells it. Trials on fresh seeds are expected to take what the best one took.
    """

    def __init__(self, console: Console, *, epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, "search", total=None)
        self._epochs, self._clock = epochs, clock
        self._n_trials = self._n_to_confirm = self._n_ended = 0
        self._best: float | None = None
        #: Trials that run now, and how many there were at once.
        self._running: dict[int, _Running] = {}
        self._n_at_once = 1
        #: Sizes of the networks of the search of which they are known beforehand.
        self._sizes: dict[int, float] = {}
        #: Seconds of this session's trials until their first epochs had ended, and from then on: of the search by
        #: number; of the best one, which is likely to be trained again; and of those that were.
        self._starts: list[float] = []
        self._rests: dict[int, float] = {}
        self._best_rest = 0.0
        self._confirmed: list[float] = []

    def plan(
        self,
        phase: str,
        *,
        n_trials: int,
        n_to_confirm: int,
        n_ended: int,
        best: float | None,
        sizes: Mapping[int, float],
    ) -> None:
        """Begin a phase.

        Parameters
        ----------
        n_to_confirm, n_ended
            Of the study's ``n_trials`` those left to confirm, and those ended, the ``best`` with that score.
        sizes
            Of the networks of the search that are to be trained and known, by number: what their time grows with.
        """
        self._sizes.update(sizes)
        self._n_trials, self._n_to_confirm, self._n_ended, self._best = n_trials, n_to_confirm, n_ended, best
        self.name_phase(phase, total=n_trials * self._epochs)
        self._draw()

    def epoch(self, number: int, epoch: int) -> None:
        """Note that a trial has finished an epoch; may be called from another thread."""
        trial = self._running.get(number)
        if trial is not None:
            if trial.first is None:
                trial.first = self._clock()
                self._starts.append(trial.first - trial.began)
            trial.epoch = max(epoch, trial.epoch)
        self._draw()

    def started(self, number: int) -> None:
        """Note that a trial has gone to a worker."""
        self._running[number] = _Running(self._clock())
        n_left = self._n_trials - self._n_ended - self._n_to_confirm or self._n_to_confirm
        n_now = len(self._running)
        # At a phase's end there is nothing for others to run, and fewer do.
        self._n_at_once = n_now if n_left > n_now else max(self._n_at_once, n_now)
        self._draw()

    def ended(self, outcome: Outcome, label: str, *, is_search: bool = True) -> None:
        """Note how a trial ended; only those of the search compete for the best."""
        first = self._running.pop(outcome.number).first
        rest = 0.0 if first is None else self._clock() - first
        if is_search:
            self._rests[outcome.number] = rest
        else:
            self._confirmed.append(rest)
            self._n_to_confirm -= 1
        self._n_ended += 1
        found = outcome.score if is_search and outcome.state == "finished" else None
        if found is not None and (self._best is None or found > self._best):
            self._best, self._best_rest = found, rest
        score = "" if outcome.score is None else f"  {outcome.score:.4f}"
        state = "" if outcome.state == "finished" else f"  {outcome.state}"
        line = f"trial-{outcome.number:<3} {label:<24}{score}{state}  {outcome.fit_seconds:.1f} s"
        if not self.is_shown:
            line = f"[{self._n_ended}/{self._n_trials}] {line}{self._best_text()}  left {self._left()}"
        if not self.is_shown or outcome.state == "failed":
            self.console.print(line)
        self._draw()

    def _draw(self) -> None:
        status = f"{self._n_ended}/{self._n_trials} runs, {len(self._running)} running{self._best_text()}"
        done = self._n_ended * self._epochs + sum(trial.epoch for trial in list(self._running.values()))
        self.show(done, f"{status}, left {self._left()}")

    def _best_text(self) -> str:
        return "" if self._best is None else f"  best {self._best:.4f}"

    def _left(self) -> str:
        n_known, n_left = len(self._rests) + len(self._confirmed), self._n_trials - self._n_ended
        share = n_known / max(n_known + n_left, 1)
        if share < _KNOWN_FROM or not self._starts:
            return "?"
        start = sorted(self._starts)[int(len(self._starts) * 0.75 * share**2)]
        rests = self._expected_rests()
        mean = fmean(self._rests.values()) if self._rests else 0.0
        confirmed = fmean(self._confirmed or [self._best_rest or mean])
        n_to_confirm = self._n_to_confirm
        now, n_unknown = self._clock(), n_left - n_to_confirm - len(rests)
        left = n_left * start + sum(rests.values()) + n_unknown * mean + n_to_confirm * confirmed
        for number, trial in list(self._running.items()):
            rest = rests.get(number, mean if n_left > n_to_confirm else confirmed)
            left -= min(now - trial.began, start) if trial.first is None else start + min(now - trial.first, rest)
        return duration(left / self._n_at_once)

    def _expected_rests(self) -> dict[int, float]:
        """Return what trials of the search that have not ended, and whose size is known, will take from then on."""
        known = [(self._sizes[number], rest) for number, rest in list(self._rests.items()) if number in self._sizes]
        slope, base = 0.0, fmean(rest for _, rest in known) if known else 0.0
        if len({size for size, _ in known}) > 1:
            slope, base = linear_regression(*zip(*known, strict=True))
        return {n: max(base + slope * size, 0.0) for n, size in self._sizes.items() if n not in self._rests}


def duration(seconds: float) -> str:
    """Return seconds in words as short as their size allows: ``45 s``, ``3 min 20 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, tens = divmod(round(seconds / 10), 6)
    if minutes < 10:
        return f"{minutes} min" + f" {tens}0 s" * (tens > 0)
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
