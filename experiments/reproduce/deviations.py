"""A trial and its repetition, side by side: their numbers, and what they were made with. Pure.

Equal means ``==`` of the doubles that were logged, with NaN equal to NaN. There is no rounding anywhere: where two
numbers differ in their last bit, they differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from depthcheck.experiments.tracking import CodeVersion, Curves

Verdict = Literal["bit-equal", "within tolerance", "different"]

#: What rounding may do to a trial on another processor or with other versions (measured, see docs/reproduce.md). A loss
#: of the first epoch may be this share of itself away: rounding left 2e-6 at most in all but the most unsteady trials,
#: another seed never under 4e-5.
START_TOLERANCE = 1e-5
#: From then on the difference grows to the size of the trial's own ups and downs, so that all that can be asked is the
#: same course: a loss may be this share of itself away, a score this much.
LOSS_TOLERANCE, SCORE_TOLERANCE = 0.1, 0.02
_EXACT = ("learning_rate", "n_params")
#: Of which epoch was best, and of the diagnostics by layer, nothing can be promised once rounding differs.
_FREE = ("best_epoch", "gradient_norm/", "saturation/")
#: Packages whose arithmetic or random numbers reach a trial's results.
_ARITHMETIC = ("tensorflow", "keras", "numpy", "scikit-learn", "ml_dtypes", "scipy")
UNKNOWN = "unknown"
PROCESSOR = "processor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One number that is not the same; None where one side has none for this epoch."""

    curve: str
    epoch: int
    before: float | None
    now: float | None

    @property
    def size(self) -> float:
        """How far apart the two are; infinite where they cannot be subtracted."""
        if self.before is None or self.now is None:
            return math.inf
        size = abs(self.now - self.before)
        return math.inf if math.isnan(size) else size

    @property
    def place(self) -> tuple[int, str]:
        """Order of time: epochs first, then what belongs to the whole trial."""
        return (self.epoch or 2**62, self.curve)

    @property
    def is_tolerable(self) -> bool:
        """Tell whether rounding alone may have done it."""
        if self.curve.startswith(_FREE):
            return self.before is not None and self.now is not None
        if self.curve in _EXACT or self.before is None or math.isinf(self.size):
            return False
        if self.is_loss:
            return self.share <= (START_TOLERANCE if self.epoch == 1 else LOSS_TOLERANCE)
        return self.size <= SCORE_TOLERANCE

    @property
    def is_loss(self) -> bool:
        """Tell whether it is a loss; others that are tolerated by their size are scores."""
        return self.curve.endswith("loss")

    @property
    def is_score(self) -> bool:
        """Tell whether it is a score, which is what is left."""
        return not (self.is_loss or self.curve in _EXACT or self.curve.startswith(_FREE))

    @property
    def share(self) -> float:
        """How far apart the two are, as a share of the first; infinite where that cannot be said."""
        return self.size / abs(self.before) if self.before else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveComparison:
    """One metric: how many numbers were compared, and those that differ, in the order of epochs."""

    curve: str
    n_points: int
    deviations: tuple[Deviation, ...]

    @property
    def largest(self) -> Deviation | None:
        """The largest deviation, the first of equals."""
        return max(self.deviations, key=lambda deviation: deviation.size, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """All metrics of a trial against all of its repetition."""

    curves: tuple[CurveComparison, ...]

    @property
    def deviations(self) -> list[Deviation]:
        """All numbers that differ, the earliest first."""
        return sorted((one for curve in self.curves for one in curve.deviations), key=lambda one: one.place)

    @property
    def first(self) -> Deviation | None:
        """The earliest deviation."""
        return next(iter(self.deviations), None)

    @property
    def n_points(self) -> int:
        """How many numbers were compared."""
        return sum(curve.n_points for curve in self.curves)

    @property
    def verdict(self) -> Verdict:
        """What the numbers say, whatever the reason."""
        deviations = self.deviations
        if not deviations:
            return "bit-equal"
        return "within tolerance" if all(one.is_tolerable for one in deviations) else "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """One repetition of a trial; ``failure`` says why there is nothing to compare, where its training failed."""

    points: Curves
    fit_seconds: float
    failure: str | None = None


def compare(before: Curves, now: Curves) -> RunComparison:
    """Hold every metric of a trial against its repetition's; what one side lacks is a deviation."""
    return RunComparison(
        curves=tuple(_compare(name, before.get(name, {}), now.get(name, {})) for name in sorted({*before, *now}))
    )


def _compare(name: str, before: Mapping[int, float], now: Mapping[int, float]) -> CurveComparison:
    epochs = sorted({*before, *now})
    deviations = (
        Deviation(curve=name, epoch=epoch, before=before.get(epoch), now=now.get(epoch))
        for epoch in epochs
        if not _same(before.get(epoch), now.get(epoch))
    )
    return CurveComparison(curve=name, n_points=len(epochs), deviations=tuple(deviations))


def _same(before: float | None, now: float | None) -> bool:
    if before is None or now is None:
        return False
    return before == now or (math.isnan(before) and math.isnan(now))


def spread(repetitions: Sequence[Curves]) -> dict[str, float]:
    """Return by metric the largest range, over its epochs, that the repetitions span among themselves."""
    names = sorted({name for points in repetitions for name in points})
    return {name: max(_ranges([points.get(name, {}) for points in repetitions]), default=0.0) for name in names}


def _ranges(curves: Sequence[Mapping[int, float]]) -> Iterator[float]:
    for epoch in {epoch for curve in curves for epoch in curve}:
        values = [curve.get(epoch) for curve in curves]
        if all(_same(values[0], value) for value in values):
            yield 0.0
        else:
            known = [math.inf if value is None or math.isnan(value) else value for value in values]
            yield max(known) - min(known) if min(known) < math.inf else 0.0


def overall(comparisons: Sequence[RunComparison]) -> Verdict:
    """Return the verdict over all repetitions: the worst of theirs."""
    order: tuple[Verdict, ...] = ("bit-equal", "within tolerance", "different")
    return max((comparison.verdict for comparison in comparisons), key=order.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is not as it was.

    Attributes
    ----------
    matters
        Whether it may change a result. Another kernel or another version of pytest does not; it is named all the same.
    """

    what: str
    before: str
    now: str
    matters: bool

    def __str__(self) -> str:
        return f"{self.what} {self.before} -> {self.now}"


def differences(
    code_before: CodeVersion, environment_before: Mapping[str, Any], code: CodeVersion, environment: Mapping[str, Any]
) -> list[Change]:
    """Return every difference, those that may change a result first.

    Parameters
    ----------
    environment_before, environment
        As :func:`depthcheck.experiments.tracking.open_run` describes one; empty where nothing is known.
    """
    found = [*_code(code_before, code), *_machine(environment_before, environment)]
    found += _packages(environment_before.get("packages", {}), environment.get("packages", {}))
    return sorted(found, key=lambda one: not one.matters)


def _code(before: CodeVersion, now: CodeVersion) -> Iterator[Change]:
    if before.commit != now.commit:
        yield Change(what="code", before=before.commit[:12], now=now.commit[:12], matters=True)
    if before.dirty != now.dirty:
        yield Change(what="working tree", before=_tree(before), now=_tree(now), matters=True)


def _tree(code: CodeVersion) -> str:
    return {None: UNKNOWN, True: "with changes", False: "as committed"}[code.dirty]


def _machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    if not before:
        yield Change(what="machine and packages", before="not noted", now="as they are", matters=True)
        return
    yield from _processor(before, now)
    for key, what, matters in (
        ("machine", "architecture", True),
        ("python", "Python", True),
        ("platform", "system", _runtime(before) != _runtime(now)),
        ("cpus", "cores", False),
    ):
        if before.get(key) != now.get(key):
            was, is_now = str(before.get(key, UNKNOWN)), str(now.get(key, UNKNOWN))
            yield Change(what=what, before=was, now=is_now, matters=matters)


def _processor(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    was, is_now = (
        " with ".join(str(one.get(key, UNKNOWN)) for key in ("cpu", "instructions")) for one in (before, now)
    )
    if was != is_now:
        yield Change(what=PROCESSOR, before=was, now=is_now, matters=True)


def _runtime(environment: Mapping[str, Any]) -> tuple[str, str]:
    """Return the operating system and its C library, from ``Linux-6.1.0-x86_64-with-glibc2.36``."""
    platform = str(environment.get("platform", ""))
    return platform.partition("-")[0], platform.partition("-with-")[2]


def _packages(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    if not before:
        return
    for name in sorted({*before, *now}, key=str.lower):
        was, is_now = before.get(name, "none"), now.get(name, "none")
        if was != is_now:
            yield Change(what=name, before=was, now=is_now, matters=_is_arithmetic(name))


def _is_arithmetic(package: str) -> bool:
    name = package.lower().replace("-", "_")
    return name in {known.replace("-", "_") for known in _ARITHMETIC} or name.startswith("tensorflow_")
