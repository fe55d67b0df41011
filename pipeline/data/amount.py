"""How much of the data is read: whether it fits into memory, which rows of it a sample has, and how far reading is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.config import WITH_NA, DataConfig, require
from depthcheck.pipeline.data.cells import Texts, cells_of, different
from depthcheck.pipeline.scores import Task
from depthcheck.pipeline.system import available_memory

#: Seconds until reading that goes on says so; then each time that twice as many have passed.
_PATIENCE = 2.0
#: Bytes, or cells of a table: fewer are there before anybody wonders, however slow the machine.
_MANY = 1_000_000


class ReadingSize(NamedTuple):
    """What reading takes, as far as a look at the data tells.

    Attributes
    ----------
    n_bytes
        Of memory, at the peak.
    n_rows
        Of a table that can be read in part; else 0.
    """

    n_bytes: float
    n_rows: float = 0


def require_room(path: Path, size: ReadingSize, *, rows: int | None = None, taken: float = 0) -> float:
    """Return how many bytes data take, or complain where they are more than is left of the memory.

    ``rows`` are all that will be read, ``taken`` what others read will take by then.

    Raises
    ------
    ValueError
        With both figures, and what helps.
    """
    share = min(1.0, rows / size.n_rows) if rows and size.n_rows else 1.0
    wanted, room = size.n_bytes * share, max(available_memory() - taken, 0)
    if wanted <= room:
        return wanted
    fits = size.n_rows * room / max(size.n_bytes, 1) / 2
    helps = "take a part of them, or a machine with more"
    if fits >= 1:
        helps = f"rows = {float(f'{fits:.0e}'):.0f} in [data], or --rows, draws a sample of so many while it reads"
    raise ValueError(
        f"reading {path.name} must take no more memory than is left, {_in_words(room)}, "
        f"got about {_in_words(wanted)}: {helps}"
    )


class ProgressLine(str):
    """A line that is told when it is due, however like the one before it is."""

    __slots__ = ()


class ReadingProgress:
    """Says how much of ``n_all`` bytes or cells is ``done`` (read, understood), the more rarely the longer it takes."""

    def __init__(
        self,
        name: str,
        n_all: float,
        log: Callable[[str], None],
        *,
        done: str = "read",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._n_all, self._log, self._done, self._clock = name, n_all, log, done, clock
        self._start, self._next = clock(), _PATIENCE

    def reached(self, n_done: float) -> None:
        """Note how far it has come."""
        seconds = self._clock() - self._start
        if self._n_all < _MANY or seconds < self._next or n_done >= self._n_all:
            return
        while self._next <= seconds:
            self._next *= 2
        self._log(ProgressLine(f"{self._name}: {n_done / self._n_all:.0%} {self._done} after {seconds:.0f} s"))


def _in_words(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"


def drawing_columns(config: DataConfig) -> list[str]:
    """Return the columns that a sample of a table is drawn by; they are read whole, and first."""
    named = (config.target, config.group, config.test_column)
    return [name for name in dict.fromkeys(named) if name is not None]


def drawn_rows(columns: pd.DataFrame, config: DataConfig, task: Task) -> tuple[NDArray[np.int64], str] | None:
    """Return which rows of a table to read, rising, and the words for how they were drawn; None for all.

    They are as many of each class as is its share, or whole groups.

    Parameters
    ----------
    columns
        Those that :func:`drawing_columns` names, all rows of them.
    task
        What is to be learned.

    Raises
    ------
    ValueError
        When not even the smallest group fits.
    """
    assert config.rows is not None
    stated = dict(config.columns)
    codes = {name: _codes(columns[name], with_na=stated.get(name) == WITH_NA) for name in drawing_columns(config)}
    has_answer = np.flatnonzero(codes[str(config.target)] >= 0)
    if config.rows >= len(has_answer):
        return None
    rng = np.random.default_rng(config.rows_seed)
    if config.group is not None:
        groups = codes[config.group][has_answer]
        alone = groups < 0  # as in a split: a row without a group is one of its own
        groups[alone] = groups.max(initial=-1) + 1 + np.arange(np.count_nonzero(alone))
        sizes = np.bincount(groups)
        smallest = sizes[sizes > 0].min()  # a number may be that of a group without an answer
        require(config.rows >= smallest, "rows", f"at least those of the smallest group, {smallest}", config.rows)
        drawn, how = np.flatnonzero(fitting_groups(sizes, config.rows, rng)[groups]), "whole groups"
    else:
        is_classes = task == "classification"
        strata = codes[str(config.target)] * is_classes
        if config.test_column is not None:
            strata = strata * (codes[config.test_column].max() + 2) + codes[config.test_column] + 1
        drawn = in_shares(strata[has_answer], config.rows, rng)
        how = "each class in its share" if is_classes else "at random"
    words = sample_words(len(drawn), len(columns), how, config)
    return has_answer[drawn], words


def in_shares(strata: NDArray[np.int64], n_wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return positions drawn at random, rising; of each stratum as many as is its share, and of all one if they can."""
    order = rng.permutation(len(strata))
    _, stratum, counts = np.unique(strata[order], return_inverse=True, return_counts=True)
    # The first of its stratum stands at 0, the last just below 1: whoever stands lowest comes along.
    by_stratum = np.argsort(stratum, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[by_stratum] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    lowest = np.argsort(rank / counts[stratum], kind="stable")[:n_wanted]
    return np.sort(order[lowest])


def sample_words(n_drawn: int, n_all: int, how: str, config: DataConfig) -> str:
    """Return what a log and a report say of a sample."""
    return f"a sample of {n_drawn:,} of {n_all:,} rows, {how}, drawn by seed {config.rows_seed}"


def fitting_groups(sizes: NDArray[np.int64], n_rows: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which groups of these sizes, looked at in random order, have room among so many rows together."""
    chosen, n_left = np.zeros(len(sizes), bool), n_rows
    for group in rng.permutation(len(sizes)):
        if sizes[group] <= n_left:
            chosen[group] = True
            n_left -= int(sizes[group])
    return chosen


def _codes(column: pd.Series[Any], *, with_na: bool) -> NDArray[np.int64]:
    """Return a number for each different cell, -1 where missing; ``with_na``: no text stands for a missing one."""
    cells = cells_of(column)
    return different(cells.with_na() if with_na and isinstance(cells, Texts) else cells)[0]
