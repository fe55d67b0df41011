"""What a configuration can vary in, and the ranges and levels that a definition gives each dimension.

A dimension is compared (a factor with levels), tuned (a nuisance with a range or choices) or fixed (one value).
This module knows names, types and limits; what is compared or tuned in an experiment stands in `definition`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from depthcheck.pipeline.config import (
    ACTIVATIONS,
    BOOLEAN_KNOBS,
    INTEGER_KNOBS,
    LONGEST_SHOWN,
    OPTIMIZERS,
    ParamValue,
    shown,
)

#: Whole numbers of TOML have no end; what lies beyond this is no value of anything (and infinity and NaN are none).
_LARGEST = 1e300
#: A step finer than this share of its range's ends is lost in rounding, and Optuna would refuse its own values.
_FINEST_STEP = 1e-6
Kind = Literal["int", "float", "bool", "choice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """Type and limits of one dimension; ``low`` is allowed itself unless ``open_low``.

    ``most`` is where a whole number is no value that anybody means: a mistake that would fill the memory.
    """

    name: str
    kind: Kind
    low: float = -_LARGEST
    high: float = _LARGEST
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    most: int | None = None

    @property
    def expected(self) -> str:
        """The values that are allowed, in words."""
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        if self.kind == "bool":
            return "true or false"
        noun = "a whole number" if self.kind == "int" else "a number"
        limits = []
        if self.low > -_LARGEST:
            limits.append(f"above {self.low:g}" if self.open_low else f"of at least {self.low:g}")
        if self.high < _LARGEST:
            limits.append(f"below {self.high:g}" if self.open_high else f"of at most {self.high:g}")
        return " ".join([noun, " and ".join(limits)]).strip()

    def check(self, value: object, what: str) -> ParamValue:
        """Return the value in this dimension's type.

        Raises
        ------
        ValueError
            When it is of another type or outside the limits; ``what`` names it in the message.
        """
        if self.kind == "choice":
            if isinstance(value, str) and value in self.choices:
                return value
            raise ValueError(f"{what} must be {self.expected}, got {shown(value)}{suggestion(value, self.choices)}")
        is_bool = isinstance(value, bool)
        if self.kind == "bool" and isinstance(value, bool):
            return value
        if self.kind == "int" and isinstance(value, int) and not is_bool and self._within(value):
            if self.most is not None and value > self.most:
                raise ValueError(f"{what} must be a whole number of at most {self.most}, got {shown(value)}")
            return value
        if self.kind == "float" and isinstance(value, int | float) and not is_bool and self._within(value):
            return float(value)
        raise ValueError(f"{what} must be {self.expected}, got {shown(value)}")

    def _within(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below


def _knob(name: str) -> Dimension:
    if name in BOOLEAN_KNOBS:
        return Dimension(name=name, kind="bool")
    if name in INTEGER_KNOBS:
        return Dimension(name=name, kind="int", low=1, most=1_000)
    if name == "learning_rate_power":
        return Dimension(name=name, kind="float", high=0)
    if name in ("momentum", "rho") or "beta_" in name:
        return Dimension(name=name, kind="float", low=0, high=1, open_high=True)
    return Dimension(name=name, kind="float", low=0)


#: Dimensions of the network; they are inactive where there is no hidden layer.
HIDDEN_LAYER = ("units", "activation", "dropout")

DIMENSIONS: Mapping[str, Dimension] = {
    "depth": Dimension(name="depth", kind="int", low=0, most=1_000),
    "units": Dimension(name="units", kind="int", low=1, most=1_000_000),
    "activation": Dimension(name="activation", kind="choice", choices=ACTIVATIONS),
    "dropout": Dimension(name="dropout", kind="float", low=0, high=1, open_high=True),
    "batch_size": Dimension(name="batch_size", kind="int", low=1, most=1_000_000_000),
    "optimizer": Dimension(name="optimizer", kind="choice", choices=tuple(OPTIMIZERS)),
    "learning_rate": Dimension(name="learning_rate", kind="float", low=0, open_low=True),
    **{knob: _knob(knob) for knobs in OPTIMIZERS.values() for knob in knobs},
}

#: Dimensions whose range belongs to one optimizer: the learning rates of two optimizers are two parameters.
OPTIMIZER_DIMENSIONS = frozenset(DIMENSIONS) - {"depth", *HIDDEN_LAYER, "batch_size", "optimizer"}


def parameter(name: str, optimizer: str) -> str:
    """Return Optuna's name for a dimension of a configuration with that optimizer."""
    return f"{optimizer}.{name}" if name in OPTIMIZER_DIMENSIONS else name


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
        return int(value) if self.integer else value

    def contains(self, value: ParamValue) -> bool:
        """Tell whether the value lies in the range (and on one of its steps)."""
        if isinstance(value, str | bool) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / (self.step or (1 if self.integer else math.inf))
        return abs(steps - round(steps)) < 1e-9

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

    def as_json(self) -> object:
        """Return the values as the definition writes them."""
        return list(self.values)


def suggestion(word: object, known: Collection[str]) -> str:
    """Return ``; did you mean …?`` where a known word is near, else nothing."""
    near = difflib.get_close_matches(word[:LONGEST_SHOWN], known, n=1) if isinstance(word, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def known_key(key: str, known: Collection[str], where: str) -> str:
    """Return the key, or complain that ``where`` has no such key."""
    if key in known:
        return key
    raise ValueError(f"{where} has no key {shown(key)}; it takes {', '.join(known)}{suggestion(key, known)}")


def parse_levels(name: str, value: object, where: str) -> tuple[ParamValue, ...]:
    """Return a list of distinct levels.

    Raises
    ------
    ValueError
        When it is no list, is empty, holds a level twice or one that the dimension does not allow.
    """
    what = f"{where}.{name}"
    if not isinstance(value, list) or not value:
        raise ValueError(f"{what} must be a list of at least one level, got {shown(value)}")
    levels = tuple(DIMENSIONS[name].check(level, f"{what}[{i}]") for i, level in enumerate(value))
    seen: set[ParamValue] = set()
    for level in levels:
        if level in seen:
            raise ValueError(f"{what} must have each level once, got {shown(level)} twice")
        seen.add(level)
    return levels


def parse_tuned(name: str, value: object, where: str) -> Range | Choices:
    """Return what a tuned dimension ranges over: a table ``{low, high, log, step}`` or a list of choices.

    Raises
    ------
    ValueError
        When the range is upside down or no range at all, or a value is not allowed.
    """
    what = f"{where}.{name}"
    if isinstance(value, list):
        return Choices(values=parse_levels(name, value, where))
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a range {{low = …, high = …}} or a list, got {shown(value)}")
    dimension = DIMENSIONS[name]
    if dimension.kind not in ("int", "float"):
        raise ValueError(f"{what} must be a list (its values are {dimension.expected}), got a range")
    for key in value:
        known_key(key, ("low", "high", "log", "step"), what)
    for key in ("low", "high"):
        if key not in value:
            raise ValueError(f"{what} must have a {key}, got {shown(value)}")
    low, high = (dimension.check(value[key], f"{what}.{key}") for key in ("low", "high"))
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    if low >= high:
        raise ValueError(f"{what} must have low below high, got low = {low}, high = {high}")
    log, step = value.get("log", False), value.get("step")
    if not isinstance(log, bool):
        raise ValueError(f"{what}.log must be true or false, got {shown(log)}")
    if log and (low <= 0 or step is not None):
        raise ValueError(f"{what} with log = true must have low above 0 and no step, got {shown(value)}")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step <= high - low):
        raise ValueError(f"{what}.step must be a number above 0 and within the range, got {shown(step)}")
    if step is not None and dimension.kind == "int" and not isinstance(step, int):
        raise ValueError(f"{what}.step must be a whole number, got {shown(step)}")
    if step is not None and step < _FINEST_STEP * max(abs(low), abs(high)):
        raise ValueError(f"{what}.step must be at least a millionth of the range's larger end, got {shown(step)}")
    return Range(low=low, high=high, log=log, step=step, integer=dimension.kind == "int")
