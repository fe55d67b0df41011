"""What a table's target is: classes or numbers, and by which score a model of it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig, Task, require
from depthcheck.pipeline.data.cells import Cells
from depthcheck.pipeline.data.columns import typed
from depthcheck.pipeline.data.guess import guess, numbers_in
from depthcheck.pipeline.records import Column

#: Whole numbers with so few different values are classes, if there are so many rows for each.
_MAX_WHOLE_CLASSES = 20
_ROWS_A_CLASS = 5
#: Fewer rows of a class than folds of a cross-validation, and some part has none of it.
_RARE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The target: its column, and for a classification its classes in order, which are the labels from 0 up."""

    task: Task
    column: Column
    classes: tuple[str, ...]

    def read(self, cells: Cells, where: str = "target") -> NDArray[Any]:
        """Return float64 numbers or labels, NaN where missing.

        Raises
        ------
        ValueError
            For a class that the training data do not have, or a text where numbers are.
        """
        values = typed(self.column, cells)
        if self.task == "regression":
            return np.asarray(values, dtype=np.float64)
        found = tuple(str(category) for category in values.categories)  # type: ignore[union-attr]
        unknown = [name for name in found if name not in set(self.classes)]
        require(not unknown, f"classes of {where} {self.column.name!r}", "those of the training data", unknown[:3])
        labels = np.array([self.classes.index(name) for name in found] + [np.nan])
        return np.asarray(labels[values.codes])  # type: ignore[union-attr]


def target_of(name: str, cells: Cells, config: DataConfig, *, comma: bool) -> Target:
    """Return what a target is: as the user says, or classes for texts and few whole numbers, else numbers.

    Raises
    ------
    ValueError
        When nothing can be learnt of it: one value alone, or another text in every row.
    """
    task = config.task or _task(cells, comma)
    if task == "regression":
        column = guess(name, cells, kind="numeric", comma=comma)
        require(column.n_distinct >= 2, f"target {name!r}", "of two different numbers or more", _only(column))
        return Target(task=task, column=column, classes=())
    column = guess(name, cells, kind="categorical")
    classes = column.categories
    n_present = int(np.count_nonzero(~cells.missing))
    require(len(classes) >= 2, f"target {name!r}", "of two different values or more", _only(column))
    require(
        len(classes) <= max(2, n_present / 2),
        f"target {name!r}",
        "a number or a class that several rows share",
        f"{len(classes):,} different values in {n_present:,} rows, like {column.examples[0]!r}",
    )
    return Target(task=task, column=column, classes=_in_order(classes))


def warn_of_classes(target: Target, y: NDArray[np.int64], log: Callable[[str], None]) -> None:
    """Say which classes have too few rows to be learnt and checked, and which may be one class written twice."""
    name = target.column.name
    for label, n_rows in enumerate(np.bincount(y, minlength=len(target.classes))):
        if n_rows < _RARE:
            rows = "1 row" if n_rows == 1 else f"{n_rows} rows"
            log(
                f"target {name!r}: class {target.classes[label]!r} has {rows}: too few to be both learnt and checked; "
                "it stays a class, but some part may have none of it. Merge it with another, or leave its rows out"
            )
    folded: dict[str, str] = {}
    for written in target.classes:
        twin = folded.setdefault(written.casefold(), written)
        if twin != written:
            log(f"target {name!r}: {twin!r} and {written!r} are two classes, though they differ in capitals alone")


def _task(cells: Cells, comma: bool) -> Task:
    numbers = numbers_in(cells, comma=comma)
    if numbers is None:
        return "classification"
    present = numbers[np.isfinite(numbers)]
    different = np.unique(present)
    whole = bool((different == np.floor(different)).all())
    few = len(different) <= min(_MAX_WHOLE_CLASSES, max(2, len(present) / _ROWS_A_CLASS))
    return "classification" if whole and few else "regression"


def _only(column: Column) -> str:
    return f"{column.examples[0]} in every row" if column.examples else "no value at all"


def _in_order(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return class names sorted: 2 before 10 where all are numbers, else as texts."""
    try:
        return tuple(sorted(classes, key=float))
    except ValueError:
        return tuple(sorted(classes))
