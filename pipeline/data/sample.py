"""Which rows are read where a sample of them is wanted: drawn by a seed, and known before the rest is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig, require
from depthcheck.pipeline.data.cells import Texts, cells_of
from depthcheck.pipeline.scores import Task


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnRows:
    """Positions of the rows that were drawn, rising, and the words for how."""

    positions: NDArray[np.int64]
    words: str


def drawing_columns(config: DataConfig) -> list[str]:
    """Return the columns that a sample of a table is drawn by; they are read whole, and first."""
    named = (config.target, config.group, config.test_column)
    return [name for name in dict.fromkeys(named) if name is not None]


def drawn_rows(columns: pd.DataFrame, config: DataConfig, task: Task) -> DrawnRows | None:
    """Return which rows of a table to read: as many of each class as is its share, or whole groups; None for all.

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
    codes = {name: _codes(columns[name]) for name in drawing_columns(config)}
    has_answer = np.flatnonzero(codes[str(config.target)] >= 0)
    if config.rows >= len(has_answer):
        return None
    rng = np.random.default_rng(config.rows_seed)
    if config.group is not None:
        groups = codes[config.group][has_answer]
        alone = groups < 0  # as in a split: a row without a group is one of its own
        groups[alone] = groups.max(initial=-1) + 1 + np.arange(np.count_nonzero(alone))
        return _drawn(has_answer[_whole_groups(groups, config.rows, rng)], len(columns), "whole groups", config)
    is_classes = task == "classification"
    strata = codes[str(config.target)] * is_classes
    if config.test_column is not None:
        strata = strata * (codes[config.test_column].max() + 2) + codes[config.test_column] + 1
    how = "each class in its share" if is_classes else "at random"
    return _drawn(has_answer[in_shares(strata[has_answer], config.rows, rng)], len(columns), how, config)


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


def _drawn(positions: NDArray[np.int64], n_all: int, how: str, config: DataConfig) -> DrawnRows:
    return DrawnRows(positions=positions, words=sample_words(len(positions), n_all, how, config))


def _whole_groups(groups: NDArray[np.int64], n_wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    sizes = np.bincount(groups)
    require(
        n_wanted >= sizes[sizes > 0].min(), "rows", f"at least those of the smallest group, {sizes.min()}", n_wanted
    )
    chosen, n_chosen = np.zeros(len(sizes), bool), 0
    for group in rng.permutation(len(sizes)):
        if n_chosen + sizes[group] <= n_wanted:
            chosen[group] = True
            n_chosen += int(sizes[group])
    return np.flatnonzero(chosen[groups])


def _codes(column: pd.Series[Any]) -> NDArray[np.int64]:
    """Return a number for each different cell, -1 where missing."""
    cells = cells_of(column)
    if isinstance(cells, Texts):
        return cells.codes.copy()
    return np.asarray(pd.factorize(np.where(cells.missing, np.nan, cells.values))[0], np.int64)
