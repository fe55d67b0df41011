"""What is seen of a running study: a live bar on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, linear_regression, median
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from depthcheck.experiments.cluster.worker import Outcome


#: No time left is told before this share of a session's trials has ended: the first wait for compilers.
_KNOWN_FROM = 0.1
#: So many trials, and at most the later half, tell what the next ones wait for before their epochs.
_LATEST = 16
#: Seconds that a repeat takes beside what its network took in the search (it stops at each epoch, and folds are
#: followed by all rows), that a worker needs to score a network on the test part, and for what it is given beside the
#: trials (scikit-learn's models): guesses until they have been seen, which matter where all else is short. Behind the
#: last trial its model is registered, and what writes the report is imported.
_AGAIN, _SCORING, _BESIDE, _BEHIND = 0.3, 0.05, 1.0, 0.5
#: What a program that has just been compiled is slower at first, as a share of what its trial waited longer.
_COLD = 0.1
#: Seconds from one drawing to the next epoch that is drawn.
_REDRAWN_AFTER = 0.25


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

    def show(self, done: int, status: str) -> None:
        """Draw how far it has come."""
        self._bar.update(self._task, completed=done, status=status)

    def name_phase(self, phase: str, *, total: int | None = None) -> None:
        """Say what is being done now, and how far it goes."""
        self._bar.update(self._task, description=phase, total=total)


@dataclass(frozen=True, slots=True)
class Ahead:
    """A trial that is to come.

    Attributes
    ----------
    size
        What the network's time grows with, None where it is not known yet.
    again
        The trial whose network is trained again on a fresh seed, ``trial-12``; None in the search.
    """

    size: float | None = None
    again: str | None = None


@dataclass(slots=True)
class _Running:
    """A trial that runs: when it went to a worker, when its first epoch had ended, and how many have."""

    began: float
    first: float | None = None
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class _Took:
    """Seconds of a trial that has ended.

    Attributes
    ----------
    start
        From when its worker was free to its first epoch, without those in which its program was compiled.
    """

    start: float
    compiling: float
    epochs: float

    @property
    def epochs_again(self) -> float:
        """Those of its epochs once the program has run for a while."""
        return max(self.epochs - _COLD * self.compiling, 0.0)


class StudyProgress(LiveBar):
    """One bar of epochs over a whole study, named after its phase, and the time that is left.

    What is left is played through: each trial goes to the worker that is free first. What comes before a trial's
    epochs is what it was lately, without compiling: in the first half of a study little more of that is expected, since
    programs are there already, later as much as lately. The epochs are a straight line over the size of the network,
    where the plan tells it. A network that is not known yet, of a proposal or of whom will be trained again, is one of
    those that take longest, as the best mostly do, and more and more the best two by now. Between search and
    confirming, networks are scored on the test part.
    """

    def __init__(self, console: Console, *, epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, "search", total=None)
        self._epochs, self._clock = epochs, clock
        self._n_ended = self._n_unplanned = self._n_to_score = 0
        self._best: float | None = None
        self._drawn = -math.inf
        #: Epochs are noted by another thread.
        self._lock = threading.Lock()
        #: What has not ended, in the order in which it begins.
        self._ahead: dict[int, Ahead] = {}
        #: Trials that run now, how many may at once, and since when workers have waited for one.
        self._running: dict[int, _Running] = {}
        self._n_workers = 1
        self._freed: list[float] = []
        #: Since when a worker has had something beside the trials.
        self._beside: float | None = None
        #: When scoring on the test part began, and how many networks there were.
        self._scoring: tuple[float, int] | None = None
        #: Of this session's search, by the trial: seconds, sizes of networks, and scores. Of its repeats: seconds, by
        #: the trial that made the network.
        self._took: dict[str, _Took] = {}
        self._sizes: dict[str, float] = {}
        self._scores: dict[str, float] = {}
        self._repeats: dict[str, list[_Took]] = {}

    def plan(
        self,
        phase: str,
        *,
        ahead: Mapping[int, Ahead],
        n_unplanned: int = 0,
        n_to_score: int = 0,
        n_ended: int = 0,
        best: float | None,
        beside: bool = False,
    ) -> None:
        """Begin a phase.

        Parameters
        ----------
        ahead
            The trials that have not ended, by number, in the order in which they begin.
        n_unplanned
            How many will confirm finalists that are chosen when all these have ended.
        n_to_score
            How many networks will be scored on the test part before that.
        n_ended
            Trials of the study, the ``best`` of which has that score.
        beside
            Whether a worker has something beside the trials, until :meth:`ended_beside`.
        """
        with self._lock:
            self._ahead, self._n_unplanned, self._n_ended, self._best = dict(ahead), n_unplanned, n_ended, best
            self._n_to_score, self._scoring = n_to_score, None
            self._beside = self._clock() if beside else None
            self._freed.clear()
            self.name_phase(phase, total=self._n_trials * self._epochs)
            self._draw()

    @property
    def _n_trials(self) -> int:
        return self._n_ended + len(self._ahead) + self._n_unplanned

    def epoch(self, number: int, epoch: int) -> None:
        """Note that a trial has finished an epoch; may be called from another thread."""
        with self._lock:
            trial = self._running.get(number)
            if trial is not None:
                if trial.first is None:
                    trial.first = self._clock()
                trial.epoch = max(epoch, trial.epoch)
            if self._clock() - self._drawn > _REDRAWN_AFTER:
                self._draw()

    def started(self, number: int, n_workers: int) -> None:
        """Note that a trial has gone to one of so many workers."""
        with self._lock:
            # What its worker has waited for it comes before its epochs, too. One that never comes back stays behind.
            has_waited = self._freed and number not in self._running  # or its worker died under it
            self._running[number] = _Running(self._freed.pop() if has_waited else self._clock())
            self._n_workers = n_workers
            self._draw()

    def ended_beside(self) -> None:
        """Note that the worker is free that had something beside the trials."""
        with self._lock:
            self._beside = None

    def scoring(self, n_left: int) -> None:
        """Note how many networks are still to be scored on the test part; the first time, how many there are."""
        with self._lock:
            if self._scoring is None:
                self._scoring = self._clock(), n_left
                self.name_phase("test part")
            self._n_to_score = n_left
            self._draw()

    def ended(self, outcome: Outcome, label: str) -> None:
        """Note how a trial ended; only those of the search compete for the best."""
        with self._lock:
            self._note(outcome)
            score = "" if outcome.score is None else f"  {outcome.score:.4f}"
            state = "" if outcome.state == "finished" else f"  {outcome.state}"
            line = f"trial-{outcome.number:<3} {label:<24}{score}{state}  {outcome.fit_seconds:.1f} s"
            if not self.is_shown:
                line = f"[{self._n_ended}/{self._n_trials}] {line}{self._best_text()}  left {self._left()}"
            self._draw()
        if not self.is_shown or outcome.state == "failed":
            self.console.print(line)

    def _note(self, outcome: Outcome) -> None:
        trial, one = self._running.pop(outcome.number), self._ahead.pop(outcome.number)
        self._freed.append(self._clock())
        self._n_ended += 1
        score = None if one.again or outcome.state != "finished" else outcome.score
        if score is not None:
            self._best = score if self._best is None else max(self._best, score)
        if trial.first is None:
            return  # one that failed before its first epoch says nothing of the others
        now = self._clock()
        # The first epoch is as long as the others, and the only one that has something before it.
        seconds = min((now - trial.first) / (1 - 1 / max(trial.epoch, 2)), now - trial.began)
        start = now - trial.began - seconds
        compiling = min(outcome.compile_seconds, start)
        took = _Took(start - compiling, compiling, seconds)
        if one.again:
            self._repeats.setdefault(one.again, []).append(took)
            return
        network = f"trial-{outcome.number}"
        self._took[network] = took
        if one.size is not None:
            self._sizes[network] = one.size
        if score is not None:
            self._scores[network] = score

    def _draw(self) -> None:
        if not self.is_shown:
            return
        self._drawn = self._clock()
        status = f"{self._n_ended}/{self._n_trials} runs, {len(self._running)} running{self._best_text()}"
        if self._scoring is not None:
            total = self._scoring[1]
            status = f"{total - self._n_to_score}/{total} networks on the test part"
        done = self._n_ended * self._epochs + sum(trial.epoch for trial in self._running.values())
        self.show(done, f"{status}, left {self._left()}")

    def _best_text(self) -> str:
        return "" if self._best is None else f"  best {self._best:.4f}"

    def _left(self) -> str:
        n_known = len(self._took) + sum(map(len, self._repeats.values()))
        n_left = len(self._ahead) + self._n_unplanned
        if not n_known or (share := n_known / (n_known + n_left)) < _KNOWN_FROM:
            return "?"
        now, start = self._clock(), self._start(share)
        expected, unknown = self._expected(start)
        free = [0.0] * max(self._n_workers - len(self._running), 0)
        if self._beside is not None and free:
            free[0] = max(self._beside + _BESIDE - now, 0.0)
        for number, trial in self._running.items():
            before, seconds = expected[number]
            if trial.first is None:
                free.append(before + seconds - min(now - trial.began, before))
            else:
                free.append(max(seconds * (1 - 1 / self._epochs) - (now - trial.first), 0.0))
        heapq.heapify(free)
        for number, one in expected.items():
            if number not in self._running:
                heapq.heapreplace(free, free[0] + sum(one))
        # No finalist is chosen, nor anything scored on the test part, before all have ended.
        searched = max(free) + self._n_to_score * self._seconds_to_score(_SCORING / len(free))
        if self._n_unplanned:
            free = [searched + _BESIDE, *[searched] * (len(free) - 1)]
            heapq.heapify(free)
            for _ in range(self._n_unplanned):
                heapq.heapreplace(free, free[0] + start + _AGAIN + unknown)
        return duration(max(searched, *free) + _BEHIND)

    def _start(self, share: float) -> float:
        """Return what a trial of the search will wait for before its epochs, when that share of all trials is known."""
        latest = [*self._took.values()][-min(len(self._took) // 2 + 1, _LATEST) :]
        if not latest:
            return 0.0
        compiling = sorted(took.compiling for took in latest)[int(len(latest) * min(share, 0.5))]
        return median(took.start for took in latest) + min(2 * share, 1.0) * compiling

    def _seconds_to_score(self, guess: float) -> float:
        """Return how many seconds the scoring of a network takes, all workers together."""
        began, total = self._scoring or (0.0, self._n_to_score)
        n_scored = total - self._n_to_score
        return (self._clock() - began) / n_scored if n_scored else guess

    def _expected(self, start: float) -> tuple[dict[int, tuple[float, float]], float]:
        """Return seconds before and in the epochs of each trial ahead, and those of a network not known yet."""
        ahead, known = self._ahead, {network: took.epochs_again for network, took in self._took.items()}
        by_size = [(size, known[network]) for network, size in self._sizes.items()]
        slope, base = 0.0, fmean(seconds for _, seconds in by_size) if by_size else 0.0
        if len({size for size, _ in by_size}) > 1:
            slope, base = linear_regression(*zip(*by_size, strict=True))
        of_plan = {n: max(base + slope * one.size, 0.0) for n, one in ahead.items() if one.size is not None}
        of_search, scores = sorted([*known.values(), *of_plan.values()]) or [0.0], self._scores
        unknown = of_search[int(0.9 * len(of_search))]
        if best := heapq.nlargest(2, scores, key=scores.__getitem__):
            share = len(known) / len(of_search)
            unknown = share * fmean(known[network] for network in best) + (1 - share) * unknown
        expected = {}
        for number, one in ahead.items():
            if one.again is None:
                expected[number] = start, of_plan.get(number, unknown)
            elif seen := self._repeats.get(one.again):
                expected[number] = median(took.start for took in seen), fmean(took.epochs for took in seen)
            else:
                expected[number] = start + _AGAIN, known.get(one.again, unknown)
        return expected, unknown


def duration(seconds: float) -> str:
    """Return seconds in words as short as their size allows: ``45 s``, ``3 min 20 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, tens = divmod(round(seconds / 10), 6)
    if minutes < 10:
        return f"{minutes} min" + f" {tens}0 s" * (tens > 0)
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
