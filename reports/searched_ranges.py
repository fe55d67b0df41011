"""The ranges that a study searched, from its definition, and where a value lies in its range. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from depthcheck.experiments.planning.document import parse_tuned
from depthcheck.experiments.planning.ranges import Choices, Range, Side, can_widen, numbers
from depthcheck.pipeline.dimensions import DIMENSIONS
from depthcheck.reports.compare.study_design import SearchRange


def search_ranges(definition: Mapping[str, Any]) -> tuple[SearchRange, ...]:
    """Return the ranges and lists of numbers; those of one optimizer replace, for that optimizer, those of all."""
    own = definition.get("tune_for", {})
    optimizers = [str(level) for level in definition.get("compare", {}).get("optimizer", ())]
    found = []
    for name, tuned in definition.get("tune", {}).items():
        replaced = [optimizer for optimizer, ranges in own.items() if name in ranges]
        if not replaced:
            found.append(_range(name, tuned, None))
        found += [_range(name, tuned, optimizer) for optimizer in optimizers if replaced and optimizer not in replaced]
    for optimizer, ranges in own.items():
        found += [_range(name, tuned, optimizer) for name, tuned in ranges.items()]
    return tuple(searched for searched in found if searched is not None)


def _range(name: str, stored: Any, optimizer: str | None) -> SearchRange | None:
    try:
        tuned = parse_tuned(name, stored, "tune")
    except (KeyError, ValueError):
        return None  # of a newer definition
    values = numbers(tuned)
    if len(values) < 2:
        return None  # words have no ends, and a single number has nothing between them
    return SearchRange(
        parameter=name,
        low=values[0],
        high=values[-1],
        log=isinstance(tuned, Range) and tuned.log,
        when=None if optimizer is None else ("optimizer", optimizer),
        is_list=isinstance(tuned, Choices),
        open_sides=tuple(side for side in get_args(Side) if can_widen(tuned, DIMENSIONS[name], side)),
    )


def place_in_range(value: float, searched: SearchRange) -> float:
    """Return where a value lies between the ends of its range, 0 to 1 on the scale it was searched on."""
    low, high = searched.low, searched.high
    if searched.log and value > 0:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)
