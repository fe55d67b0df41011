"""Words for messages: the nearest name, a list that stays short, and the names of columns that are asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from depthcheck.pipeline.config import DataConfig

_N_LISTED = 20


def nearest(wanted: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the name that is most like the one wanted, or nothing."""
    by_lower = {name.strip().lower(): name for name in known}
    found = difflib.get_close_matches(wanted.strip().lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[found[0]]!r}?)" if found else ""


def listed(names: Sequence[str]) -> str:
    """Return names with commas between them, at most twenty, then how many there are."""
    if len(names) <= _N_LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:_N_LISTED])}, … ({len(names):,} in all)"


def require_columns(config: DataConfig, names: Sequence[str], where: str) -> None:
    """Complain about a column that a table has not, before any row of it is read.

    Raises
    ------
    ValueError
        With the columns that there are, and the nearest one.
    """
    if config.target is None:
        raise ValueError(f"target must be one of the columns of {where}: {listed(names)}; got none")
    asked = {"target": config.target, "group": config.group, "time": config.time, "test_column": config.test_column}
    for what, name in (*asked.items(), *((f"column of data.columns in {where}", name) for name, _ in config.columns)):
        if name is not None and name not in names:
            raise ValueError(
                f"{what} must be one of the columns of {where}: {listed(names)}; got {name!r}{nearest(name, names)}"
            )


def refuse_columns(config: DataConfig, what: str) -> None:
    """Complain about words that only tables understand, said of arrays.

    Raises
    ------
    ValueError
        Naming the first.
    """
    for word in ("target", "group", "time", "test_file", "test_column", "columns"):
        got = getattr(config, word)
        if got:
            raise ValueError(f"{word} must be left out: {what} has no columns, got {got!r}")
