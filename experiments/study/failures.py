"""Whose fault a failure is: the trial's own, or that of the machine it ran on.

A trial that fails is one FAILED trial, and the study goes on. But where the first trials of a session all fail for one
reason (TensorFlow cannot be imported) the next ones would as well: then the study stops, and those failures do not
count.
"""

from __future__ import annotations

from collections.abc import Collection

from depthcheck.experiments.cluster.task import Outcome

#: So many trials that fail alike, before a session has seen anything else, are no accident.
ALIKE = 3


class Doubt:
    """Holds failures back until it is known whose fault they are.

    Parameters
    ----------
    blamed
        Trials, by number and reason, that an earlier session stopped for: failing again, they count.
    """

    def __init__(self, blamed: Collection[tuple[int, str]] = ()) -> None:
        self._blamed = frozenset(blamed)
        self._held: list[Outcome] = []
        self._cleared = False

    @property
    def held(self) -> tuple[Outcome, ...]:
        """Failures that have not been settled."""
        return tuple(self._held)

    @property
    def alike(self) -> bool:
        """Whether enough trials have failed alike to stop, unless one that still runs ends otherwise."""
        return len(self._held) >= ALIKE

    def settle(self, outcome: Outcome) -> list[Outcome]:
        """Take in how a trial ended; return the outcomes that count now, in the order they came."""
        if self._cleared or (outcome.number, outcome.failure) in self._blamed:
            return [outcome]
        self._held.append(outcome)
        self._cleared = outcome.state != "failed" or outcome.failure != self._held[0].failure
        return self.release() if self._cleared else []

    def release(self) -> list[Outcome]:
        """Return what was held back: it counts."""
        held, self._held = self._held, []
        return held
