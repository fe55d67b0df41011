"""Workers that have grown are replaced, so that a long study needs no more memory than a short one."""

from __future__ import annotations

import contextlib

import psutil  # type: ignore[import-untyped]
from distributed import Client, Future, Nanny

#: A worker is replaced when its memory has grown by this much since its first trial.
GROWTH_BYTES = 512 * 2**20


class Renewal:
    """Replaces workers of an embedded cluster that have grown, between two trials.

    TensorFlow keeps what XLA compiled as long as its process lives, 3 to 8 MB for each new architecture. A new process
    costs ten seconds of one core, so a short study never pays for one. Workers of a user's own cluster are left alone;
    Dask's ``--lifetime`` is made for them.
    """

    def __init__(self, client: Client, growth_bytes: int = GROWTH_BYTES) -> None:
        self._client = client
        self._growth_bytes = growth_bytes
        self._at_first: dict[str, int] = {}

    def after(self, future: Future) -> bool:
        """Look at the worker that has just run this task; tell whether it was replaced.

        It is not while it has another task, so that nothing is ever interrupted.
        """
        nannies = {nanny.worker_address: nanny for nanny in getattr(self._client.cluster, "workers", {}).values()}
        for address in self._client.who_has([future]).get(future.key, ()):
            memory = _memory(nannies[address]) if address in nannies else None
            if memory is None or memory - self._at_first.setdefault(address, memory) <= self._growth_bytes:
                continue
            if not self._client.processing([address]).get(address):
                future.release()  # its result is known; without it nothing is run again elsewhere
                self._client.restart_workers([address], raise_for_error=False)
                return True
        return False


def _memory(nanny: Nanny) -> int | None:
    """Return the resident bytes of a nanny's worker, None while there is none."""
    with contextlib.suppress(psutil.Error):
        return None if nanny.pid is None else int(psutil.Process(nanny.pid).memory_info().rss)
    return None
