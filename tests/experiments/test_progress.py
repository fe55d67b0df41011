"""The time left, by a clock of the test's own."""

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from depthcheck.experiments.cluster.worker import Outcome
from depthcheck.experiments.study.progress import Ahead, StudyProgress, duration

N_SEARCH, N_CONFIRM, N_WORKERS, EPOCHS = 50, 10, 2, 10
N_TRIALS, N_PLANNED = N_SEARCH + N_CONFIRM, N_SEARCH - 5
#: Seconds to score all networks of the search on the test part.
SCORING = 4.0


def compiling(number: int) -> float:
    """Return how long a trial waits for the compiler: long at first, not at all later."""
    return 60.0 if number < N_WORKERS else 20.0 if number < 5 else 0.0


def network(number: int) -> int:
    """Return whose network a trial trains: its own in the search, then that of two of the deepest by turns."""
    return number if number < N_SEARCH else (2, 5)[number % 2]


def depth(number: int) -> int:
    """Return that of a trial of the search: each of three, the deepest of which is the best."""
    return number % 3


def width(number: int) -> int:
    """Return that of a trial: the search begins with a few of each, the narrow and wide ones then come in blocks."""
    return 3 if number in {4, 5} or number >= N_SEARCH // 2 else 1


@pytest.fixture(scope="module")
def told() -> list[tuple[float, str]]:
    """Return what is told of a search that ends with proposals, whose networks nobody knows beforehand."""
    return lines_told(lambda number: 1.0 + 2 * depth(number), {number: depth(number) for number in range(N_PLANNED)})


@pytest.fixture(scope="module")
def told_of_known_sizes() -> list[tuple[float, str]]:
    """Return the same of a search that begins with what is trained fast, as its plan tells."""
    sizes = {number: depth(number) * width(number) for number in range(N_SEARCH)}
    return lines_told(lambda number: 1.0 + 2 * depth(number) * width(number), sizes)


def lines_told(seconds: Callable[[int], float], sizes: dict[int, float]) -> list[tuple[float, str]]:
    """Return when which line was told of a study whose workers take trials in turn, each with its seconds an epoch."""
    now, screen = [0.0], io.StringIO()
    progress = StudyProgress(Console(file=screen, width=200), epochs=EPOCHS, clock=lambda: now[0])
    search = {number: Ahead(sizes.get(number)) for number in range(N_SEARCH)}
    progress.plan("search", ahead=search, n_unplanned=N_CONFIRM, n_to_score=N_SEARCH, best=None)
    events, free = [], [0.0] * N_WORKERS
    for number in range(N_TRIALS):
        if number == N_SEARCH:  # nobody begins to confirm before all have searched
            free = [max(free) + SCORING] * N_WORKERS
        worker, an_epoch = free.index(min(free)), seconds(network(number))
        first = free[worker] + 1.0 + compiling(number) + an_epoch
        ended = first + (EPOCHS - 1) * an_epoch
        events += [(free[worker], 1, number, 0), (ended, 0, number, 0)]
        events += [(first + epoch * an_epoch, 2, number, epoch + 1) for epoch in range(EPOCHS - 1)]
        free[worker] = ended
    lines = []
    for at, kind, number, epoch in sorted(events):
        now[0] = at
        if kind == 1:
            if number == N_SEARCH:
                again = {at: Ahead(again=f"trial-{network(at)}") for at in range(N_SEARCH, N_TRIALS)}
                progress.plan("confirm", ahead=again, n_ended=N_SEARCH, best=None)
            progress.started(number, N_WORKERS)
        elif kind == 2:
            progress.epoch(number, epoch)
        else:
            score, waited = 0.5 + 0.1 * depth(network(number)), compiling(number)
            outcome = Outcome(number=number, run_id="", state="finished", score=score, compile_seconds=waited)
            progress.ended(outcome, f"compare depth {depth(network(number))}")
            lines.append((at, screen.getvalue().splitlines()[-1]))
    return lines


def left_in(line: str) -> float:
    minutes, seconds = re.search(r"left (?:(\d+) min)? ?(?:(\d+) s)?$", line).groups("0")
    return 60.0 * int(minutes) + int(seconds)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.8, N_SEARCH / N_TRIALS])
def test_time_left_is_known_from_a_tenth_of_the_trials_on(told, share):
    """Though the first trials wait for compilers, and the last ones are of networks that take longest."""
    at, line = told[int(share * N_TRIALS) - 1]
    assert left_in(line) == pytest.approx(told[-1][0] - at, rel=0.25)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.5, 0.8])
def test_time_left_knows_that_what_comes_is_larger(told_of_known_sizes, share):
    at, line = told_of_known_sizes[int(share * N_TRIALS) - 1]
    assert left_in(line) == pytest.approx(told_of_known_sizes[-1][0] - at, rel=0.25)


def test_time_left_where_more_is_searched_behind_runs_that_confirm():
    """Confirming was interrupted, and the study is to search more: the runs come in the order of their numbers."""
    now, screen = [0.0], io.StringIO()
    progress = StudyProgress(Console(file=screen, width=200), epochs=2, clock=lambda: now[0])
    ahead = {number: Ahead(again="trial-0") if number < 4 else Ahead(10.0) for number in range(8)}
    progress.plan("search", ahead=ahead, best=None)
    for number in range(8):
        progress.started(number, 1)
        now[0] += 5
        progress.epoch(number, 1)
        now[0] += 5
        outcome = Outcome(number=number, run_id="", state="finished", score=0.5)
        progress.ended(outcome, "depth 1")
    assert [left_in(line) for line in screen.getvalue().splitlines()][4:] == [30, 20, 10, 0]


def test_two_trials_that_end_at_once_do_not_double_the_time_left():
    now, screen = [0.0], io.StringIO()
    progress = StudyProgress(Console(file=screen, width=200), epochs=2, clock=lambda: now[0])
    progress.plan("search", ahead={number: Ahead() for number in range(8)}, best=None)
    for number in range(8):
        progress.started(number, 2)
        if number % 2:
            now[0] += 5
            for one in (number - 1, number):
                progress.epoch(one, 1)
            now[0] += 5
            for one in (number - 1, number):
                progress.ended(Outcome(number=one, run_id="", state="finished", score=0.5), "compare depth 1")
    assert [left_in(line) for line in screen.getvalue().splitlines()] == [30, 30, 20, 20, 10, 10, 0, 0]


def test_a_trial_that_failed_before_its_first_epoch_says_nothing_of_the_others_and_a_repeat_only_of_repeats():
    now, screen = [0.0], io.StringIO()
    progress = StudyProgress(Console(file=screen, width=200), epochs=1, clock=lambda: now[0])
    ahead = {number: Ahead(float(number)) if number < 3 else Ahead(again="trial-0") for number in range(6)}
    progress.plan("search", ahead=ahead, best=None)
    for number, (seconds, state) in enumerate(
        [(10, "finished"), (1, "failed"), *[(10, "finished")], *[(30, "finished")] * 3]
    ):
        progress.started(number, 1)
        now[0] += seconds / 2
        if state == "finished":
            progress.epoch(number, 1)
        now[0] += seconds / 2
        progress.ended(Outcome(number=number, run_id="", state=state, score=0.5), "depth 1")
    told = [left_in(line) for line in screen.getvalue().splitlines()]
    # A repeat is expected to take a little longer as long as none has been seen.
    assert told == pytest.approx([50, 40, 30, 60, 30, 0], abs=1)


def test_what_a_worker_waits_for_between_two_trials_is_in_the_time_left():
    now, screen = [0.0], io.StringIO()
    progress = StudyProgress(Console(file=screen, width=200), epochs=2, clock=lambda: now[0])
    progress.plan("search", ahead={number: Ahead() for number in range(5)}, best=None)
    for number in range(5):
        now[0] += 2 * (number > 0)
        progress.started(number, 1)
        now[0] += 4
        progress.epoch(number, 1)
        now[0] += 4
        progress.ended(Outcome(number=number, run_id="", state="finished", score=0.5), "depth 1")
    assert [left_in(line) for line in screen.getvalue().splitlines()][2:] == [20, 10, 0]


def test_networks_that_are_scored_on_the_test_part_are_in_the_time_left(monkeypatch):
    now = [0.0]
    progress = StudyProgress(Console(file=io.StringIO(), force_terminal=True), epochs=1, clock=lambda: now[0])
    shown = []
    monkeypatch.setattr(progress, "show", lambda done, status: shown.append(status))
    progress.plan("search", ahead={0: Ahead()}, n_to_score=3, n_unplanned=1, best=None)
    progress.started(0, 1)
    progress.epoch(0, 1)
    now[0] += 10
    progress.ended(Outcome(number=0, run_id="", state="finished", score=0.5), "depth 1")
    for n_left in (3, 2, 1, 0):
        progress.scoring(n_left)
        now[0] += 20
    # The repeat, and what is done beside and behind it, are expected to take a little longer.
    assert [left_in(status) for status in shown[-3:]] == [20 * n_left + 12 for n_left in (2, 1, 0)]
    assert shown[-3].startswith("1/3 networks on the test part")


def test_a_worker_that_has_something_beside_the_trials_takes_none(monkeypatch):
    monkeypatch.setattr("depthcheck.experiments.study.progress._BESIDE", 35.0)
    now, screen = [0.0], io.StringIO()
    progress = StudyProgress(Console(file=screen, width=200), epochs=2, clock=lambda: now[0])
    ahead = {number: Ahead(again="trial-0") for number in range(6)}
    progress.plan("confirm", ahead=ahead, best=None, beside=True)
    for number in range(6):
        progress.started(number, 2)
        now[0] += 5
        progress.epoch(number, 1)
        now[0] += 5
        if number == 1:
            progress.ended_beside()
        progress.ended(Outcome(number=number, run_id="", state="finished", score=0.5), "depth 1")
    # One of the workers is free after 25 s, and sooner than was expected: with four to train.
    assert [left_in(line) for line in screen.getvalue().splitlines()] == [40, 20, 20, 10, 10, 0]


def test_what_changes_is_drawn_at_once(monkeypatch):
    """An epoch may wait for the next one; of how many trials run and have ended nothing comes behind the last."""
    now = [0.0]
    progress = StudyProgress(Console(file=io.StringIO(), force_terminal=True), epochs=2, clock=lambda: now[0])
    shown = []
    monkeypatch.setattr(progress, "show", lambda done, status: shown.append((done, status.partition(" running")[0])))
    progress.plan("search", ahead={0: Ahead()}, best=None)
    progress.started(0, 1)
    progress.epoch(0, 1)
    now[0] += 1
    progress.epoch(0, 2)
    progress.ended(Outcome(number=0, run_id="", state="finished", score=0.5), "depth 1")
    assert shown == [(0, "0/1 runs, 0"), (0, "0/1 runs, 1"), (2, "0/1 runs, 1"), (2, "1/1 runs, 0")]


def test_nothing_is_said_of_the_time_before_and_no_time_is_left_at_the_end(told):
    assert all(line.endswith("left ?") for _, line in told[: N_TRIALS // 10 - 1])
    assert told[-1][1].endswith("left 0 s")


def test_duration_is_as_short_as_its_size_allows():
    assert [duration(of) for of in (0.4, 45, 89, 90, 118, 356, 594, 596, 750, 12_000)] == [
        "0 s", "45 s", "89 s", "1 min 30 s", "2 min", "6 min", "9 min 50 s", "10 min", "12 min", "3 h 20 min",
    ]  # fmt: skip
