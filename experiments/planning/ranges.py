"""The ranges and levels that a definition gives each dimension, and how a range is widened. Pure.

A study asks for a wider range whose best network lies at the edge of one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from depthcheck.pipeline.config import ParamValue, shown, suggestion
from depthcheck.pipeline.dimensions import Dimension

Side = Literal["up", "down"]

#: A range on a logarithmic scale grows by this factor, an even one by this share of its width.
_FACTOR = 4.0
_SHARE = 0.5
#: Two choices continue their ratio from here on, and their step below: 64, 128, 256, but 0.8, 0.9, 1.
_LEAST_RATIO = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; even on a logarithmic scale where ``log``."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False

    def at(self, u: float) -> float | int:
        """Return the value at the share ``u`` in [0, 1) of the range; whole steps have equal shares."""
        if self.log and self.integer:
            # Bounds half a unit out, so that the lowest and the highest whole number get their full share.
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return int(min(max(round(math.exp(low + u * (high - low))), self.low), self.high))
        if self.log:
            return min(
                max(math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low))), self.low), self.high
            )
        step = 1 if self.integer and self.step is None else self.step
        if step is None:
            return self.low + u * (self.high - self.low)
        value = self.low + step * math.floor(u * (math.floor((self.high - self.low) / step + 1e-9) + 1))
        return int(value) if self.integer else min(_tidy(value), self.high)

    def contains(self, value: ParamValue) -> bool:
        """Tell whether the value lies in the range (and on one of its steps)."""
        if isinstance(value, str | bool) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / (self.step or (1 if self.integer else math.inf))
        return abs(steps - round(steps)) < 1e-9

    @property
    def ends(self) -> tuple[float, ...]:
        """The lowest and the highest value; of a continuous range one between, since its very ends never come."""
        has_steps = self.integer or self.step is not None
        return tuple(self.at(share) for share in ((0.0, math.nextafter(1, 0)) if has_steps else (0.5,)))

    def as_json(self) -> object:
        """Return the range as the definition writes it."""
        table: dict[str, object] = {"low": self.low, "high": self.high}
        if self.log:
            table["log"] = True
        if self.step is not None:
            table["step"] = self.step
        return table


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """A list of values, each with an equal share."""

    values: tuple[ParamValue, ...]

    def at(self, u: float) -> ParamValue:
        """Return the value at the share ``u`` in [0, 1)."""
        return self.values[int(u * len(self.values))]

    def contains(self, value: ParamValue) -> bool:
        """Tell whether the value is one of the choices."""
        return value in self.values

    @property
    def ends(self) -> tuple[ParamValue, ...]:
        """All of them: a list has no order."""
        return self.values

    def as_json(self) -> object:
        """Return the values as the definition writes them."""
        return list(self.values)


Tuned = Range | Choices


def known_key(key: str, known: Collection[str], where: str) -> str:
    """Return the key, or complain that ``where`` has no such key."""
    if key in known:
        return key
    raise ValueError(f"{where} has no key {shown(key)}; it takes {', '.join(known)}{suggestion(key, known)}")


def parse_widenings(text: str) -> list[tuple[str, Side]]:
    """Return the names and sides of ``sgd.learning_rate:up,units:down``, in their order.

    Raises
    ------
    ValueError
        When one has no name, or no side.
    """
    found: list[tuple[str, Side]] = []
    for word in text.split(","):
        name, _, side = word.strip().partition(":")
        if not name or side not in get_args(Side):
            near = suggestion(side, get_args(Side)) if name else ""
            raise ValueError(f"widen must be NAME:up or NAME:down, with commas between, got {shown(word)}{near}")
        found.append((name, "up" if side == "up" else "down"))
    return found


def widen(tuned: Range | Choices, dimension: Dimension, side: Side) -> Range | Choices:
    """Return a range, or a list of numbers, that goes on beyond its end.

    A range on a logarithmic scale becomes longer by a factor of 4, an even one by half its width (in whole steps where
    it has steps). A list gets one more value, which continues the ratio or the step of its numbers. A limit of the
    dimension is kept; one that is itself no value, such as 1 for a momentum, is approached by half the distance.

    Raises
    ------
    ValueError
        When it has no two numbers, or no value lies beyond its end.
    """
    found = (
        _widened_list(tuned, dimension, side) if isinstance(tuned, Choices) else _widened_range(tuned, dimension, side)
    )
    if found is None:
        ends = numbers(tuned)
        beyond = f"above {ends[-1]:g}" if side == "up" else f"below {ends[0]:g}"
        raise ValueError(f"widen must leave {dimension.name} a value, {dimension.expected}: none lies {beyond}")
    return found


def can_widen(tuned: Range | Choices, dimension: Dimension, side: Side) -> bool:
    """Tell whether there is anything beyond that end."""
    try:
        widen(tuned, dimension, side)
    except ValueError:
        return False
    return True


def numbers(tuned: Range | Choices) -> list[float]:
    """Return the ends of a range, or the values of a list in order; none where they are no numbers."""
    if isinstance(tuned, Range):
        return [tuned.low, tuned.high]
    values = [value for value in tuned.values if not isinstance(value, str | bool)]
    return sorted(values) if len(values) == len(tuned.values) else []


def _widened_range(tuned: Range, dimension: Dimension, side: Side) -> Range | None:
    sign, end = (1, tuned.high) if side == "up" else (-1, tuned.low)
    step = tuned.step
    if step is not None:
        most = max(1, round(_SHARE * (tuned.high - tuned.low) / step))
        # The grid begins at the low end; a high end that lies off it is moved to its next value.
        start = tuned.low + step * math.floor((tuned.high - tuned.low) / step + 1e-9) if side == "up" else end
        values = [_tidy(start + sign * step * number) for number in range(most, 0, -1)]
        new = next((value for value in values if _is_within(value, dimension)), None)
    else:
        far = end * _FACTOR**sign if tuned.log else end + sign * _SHARE * (tuned.high - tuned.low)
        new = _limited(far, end, dimension, side, is_whole=tuned.integer)
        if tuned.log and new == 0:
            new = 1.0 if end > 1 else None  # whole numbers: a logarithmic scale has no 0
    if new is None:
        return None
    new = int(new) if tuned.integer else new
    low, high = (tuned.low, new) if side == "up" else (new, tuned.high)
    return Range(low=low, high=high, log=tuned.log, step=step, integer=tuned.integer)


def _widened_list(tuned: Choices, dimension: Dimension, side: Side) -> Choices | None:
    values = numbers(tuned)
    if len(values) < 2:
        listed = ", ".join(map(str, tuned.values))
        raise ValueError(f"widen must name two numbers or more, or a range, got {dimension.name}: {listed}")
    end, before = (values[-1], values[-2]) if side == "up" else (values[0], values[1])
    far = end * end / before if _continues_by_ratio(values) else end + (end - before)
    # Of a user's own model the values tell what they are.
    is_whole = dimension.kind == "int" or (dimension.is_own and all(isinstance(value, int) for value in tuned.values))
    new = _limited(far, end, dimension, side, is_whole=is_whole)
    if new is None:
        return None
    more: ParamValue = int(new) if is_whole else new
    return Choices(values=(*tuned.values, more) if tuned.values[-1] == end else (more, *tuned.values))


def _continues_by_ratio(values: list[float]) -> bool:
    if values[0] <= 0:
        return False
    ratios = [b / a for a, b in itertools.pairwise(values)]
    steps = [b - a for a, b in itertools.pairwise(values)]
    if len(values) == 2:
        return ratios[0] >= _LEAST_RATIO
    return math.isclose(min(ratios), max(ratios)) or not math.isclose(min(steps), max(steps))


def _limited(far: float, end: float, dimension: Dimension, side: Side, *, is_whole: bool) -> float | None:
    """Return the value, or what the dimension's limit leaves of the way to it; None where that is nothing."""
    low, high, is_up = dimension.low, dimension.high, side == "up"
    if dimension.most is not None:
        high = min(high, dimension.most)
    limit, is_open = (high, dimension.open_high) if is_up else (low, dimension.open_low)
    passes = far >= limit if is_up else far <= limit
    if passes:
        far = (end + limit) / 2 if is_open else limit
    if is_whole:
        # Rounded away from the range, so that a whole number more is there; a limit is whole anyhow.
        far = math.ceil(_tidy(far)) if is_up else math.floor(_tidy(far))
        far = min(far, high) if is_up else max(far, low)
    far = _tidy(far)
    return far if (far > end if is_up else far < end) else None


def _is_within(value: float, dimension: Dimension) -> bool:
    number = int(value) if dimension.kind == "int" else value
    try:
        dimension.check(number, dimension.name)
    except ValueError:
        return False
    return True


def _tidy(value: float) -> float:
    """Round what arithmetic adds: a tenth and two tenths are three."""
    return float(f"{round(value, 15):.12g}")
