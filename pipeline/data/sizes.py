"""Whether data fit into memory, told before they are read, and how far reading has come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from depthcheck.pipeline.system import available_memory

#: Seconds until reading that goes on says so; then each time that twice as many have passed.
_PATIENCE = 2.0
#: Bytes, or cells of a table: fewer are there before anybody wonders, however slow the machine.
_MANY = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingSize:
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


def require_room(path: Path, size: ReadingSize, *, rows: int | None = None) -> None:
    """Complain about data that are larger than the memory that is left; ``rows`` are all that will be read.

    Raises
    ------
    ValueError
        With both figures, and what helps.
    """
    share = min(1.0, rows / size.n_rows) if rows and size.n_rows else 1.0
    wanted, room = size.n_bytes * share, available_memory()
    if wanted <= room:
        return
    fits = size.n_rows * room / max(size.n_bytes, 1) / 2
    helps = "take a part of them, or a machine with more"
    if fits >= 1:
        helps = f"rows = {float(f'{fits:.0e}'):.0f} in [data], or --rows, draws a sample of so many while it reads"
    raise ValueError(
        f"reading {path.name} must take no more memory than is left, {_in_words(room)}, "
        f"got about {_in_words(wanted)}: {helps}"
    )


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
        self._log(f"{self._name}: {n_done / self._n_all:.0%} {self._done} after {seconds:.0f} s")


def _in_words(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
