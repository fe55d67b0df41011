"""What was understood of a data set, in lines of text: to be read before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthcheck.pipeline.records import Column, Dataset
from depthcheck.pipeline.scores import METRICS
from depthcheck.pipeline.verbatim import one_line

_KINDS = ("numeric", "boolean", "date", "categorical", "text", "ignored")
_HEAD = ("column", "kind", "missing", "distinct", "examples", "why")
_RIGHT = (2, 3)
_MAX_NAME = 32
_N_CLASSES = 12


def profile_lines(dataset: Dataset, *, limit: int | None = None) -> list[str]:
    """Return what was understood of a data set, a line each; of a table, a line a column.

    ``limit`` is the largest number of columns to list; of more, the first ones are, and how many were left out is said.
    """
    lines = [_size(dataset), _target(dataset)]
    if not dataset.is_table:
        return lines
    shown = dataset.columns if limit is None else dataset.columns[:limit]
    lines += ["", *_aligned([_HEAD, *(_row(column, _n_rows(dataset)) for column in shown)])]
    if len(shown) < len(dataset.columns):
        lines.append(f"… and {len(dataset.columns) - len(shown):,} more columns")
    return lines


def _n_rows(dataset: Dataset) -> int:
    """Return how many rows the columns were counted over: a marked test part was among them."""
    marked = any(column.why.startswith("marks the test part") for column in dataset.columns)
    return len(dataset.X) + (len(dataset.X_test) if marked and dataset.X_test is not None else 0)


def _size(dataset: Dataset) -> str:
    n_test = "" if dataset.y_test is None else f", {len(dataset.y_test):,} more in its test part"
    if not dataset.is_table:
        shape = " x ".join(map(str, dataset.sample_shape))
        return f"{one_line(dataset.name)}: {len(dataset.y):,} samples of {shape} values{n_test}"
    counts = {kind: sum(column.kind == kind for column in dataset.columns) for kind in _KINDS}
    many = "" if len(dataset.columns) == 1 else "s"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    return f"{one_line(dataset.name)}: {len(dataset.y):,} rows{n_test}; {len(dataset.columns):,} column{many}: {kinds}"


def _target(dataset: Dataset) -> str:
    name = f"target {one_line(dataset.target, _MAX_NAME)}: " if dataset.target else "target: "
    judge = METRICS[dataset.metric].title
    if dataset.task == "regression":
        low, middle, high = np.percentile(dataset.y, (0, 50, 100))
        spread = f"{low:.6g} to {high:.6g}, median {middle:.6g}"
        return f"{name}regression (numbers {spread}), judged by {judge}"
    counts = np.bincount(dataset.y, minlength=dataset.n_classes)
    shown = [
        f"{one_line(class_name, _MAX_NAME)} {count:,} ({_share(count, len(dataset.y))})"
        for class_name, count in zip(dataset.class_names[:_N_CLASSES], counts, strict=False)
    ]
    more = ["…"] if dataset.n_classes > _N_CLASSES else []
    return f"{name}classification of {dataset.n_classes} ({', '.join(shown + more)}), judged by {judge}"


def _row(column: Column, n_rows: int) -> tuple[str, ...]:
    missing = _share(column.n_missing, n_rows) if column.n_missing else "–"
    distinct = f"{column.n_distinct:,}" if column.n_distinct else "–"
    name, examples = one_line(column.name, _MAX_NAME), one_line(", ".join(column.examples))
    return name, column.kind, missing, distinct, examples, one_line(column.why)


def _share(n: int, of: int) -> str:
    """Return a share in percent; few of many are not 0.0 % of them, nor are nearly all of them all."""
    if 0 < n / of < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= n / of < 1 else f"{n / of:.1%}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[position]) for row in rows) for position in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if position in _RIGHT else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
