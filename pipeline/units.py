"""Which rows belong together: groups, and blocks of time. Rows of one such unit are alike, so that it counts once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.records import Dataset

#: Rows in the order of time are put into so many blocks of one size: long ones, so that they hardly hang together.
_BLOCKS = 20


def units_of(dataset: Dataset, rows: NDArray[np.int64] | None, config: SplitConfig) -> NDArray[np.int64] | None:
    """Return the number of each row's unit, ``(n,)``, where the data are cut by group or by time; else None.

    Parameters
    ----------
    rows
        Positions in the data set; None for a test part of its own, of which neither groups nor times are known.
    """
    if rows is None:
        return None
    if config.method == "group" and dataset.groups is not None:
        return np.asarray(dataset.groups[rows], np.int64)
    if config.method == "time" and dataset.times is not None:
        unit = np.empty(len(rows), np.int64)
        unit[np.argsort(dataset.times[rows], kind="stable")] = np.arange(len(rows)) * _BLOCKS // len(rows)
        return unit
    return None
