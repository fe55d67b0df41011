"""The names of columns: made unique, and told apart from a first row of data."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def unique_names(cells: Sequence[str], log: Callable[[str], None]) -> tuple[str, ...]:
    """Return names without blanks around them, each once: ``x``, ``x.1``, and ``column_3`` for an empty third cell.

    ``log`` is told of what is not as it was.
    """
    names: list[str] = []
    taken = {cell.strip() for cell in cells}
    seen: set[str] = set()
    for position, cell in enumerate(cells, start=1):
        name = cell.strip() or _free(f"column_{position}", taken)
        if name in seen:
            name = _free(name, taken, numbered=True)
            log(f"column {position} has the name of an earlier one: it is called {name!r}")
        elif not cell.strip():
            log(f"column {position} has no name: it is called {name!r}")
        seen.add(name)
        taken.add(name)
        names.append(name)
    return tuple(names)


def require_header(cells: Sequence[str], file: str) -> None:
    """Complain when the first line looks like data: a file's columns must have names.

    Names that are numbers are fine when they count or sort columns (``0``, ``1``, ``2``; ``2019``, ``2018``).

    Raises
    ------
    ValueError
        With the first cells, and what helps.
    """
    numbers = [cell.strip() for cell in cells if _NUMBER.fullmatch(cell.strip())]
    if len(numbers) * 4 < len(cells) or not numbers:
        return
    if all(number.isdigit() for number in numbers):
        values = [int(number) for number in numbers]
        if len(set(values)) == len(values) and values in (sorted(values), sorted(values, reverse=True)):
            return
    shown = ", ".join(repr(cell.strip()) for cell in cells[:4]) + (", …" if len(cells) > 4 else "")
    raise ValueError(
        f"the first line of {file} must be the names of its columns, got {shown}; add a line of names above the data"
    )


def _free(name: str, taken: set[str], *, numbered: bool = False) -> str:
    if name not in taken and not numbered:
        return name
    number = 1
    while f"{name}.{number}" in taken:
        number += 1
    return f"{name}.{number}"
