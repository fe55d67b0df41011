"""A definition to start from: what was understood of a user's data, as a commented TOML file. Pure text."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from depthcheck.experiments.planning.definition import SHIPPED
from depthcheck.experiments.planning.document import SCHEMA_FILE
from depthcheck.pipeline.config import METRICS, DataConfig
from depthcheck.pipeline.prepare.split import SMALL
from depthcheck.pipeline.records import Column, Dataset

#: Of a class, below which share its weight in the loss is worth a thought.
_RARE = 0.1
#: Longer cells are cut in the comments.
_WIDTH = 90


def starter_toml(dataset: Dataset, config: DataConfig, *, path: str, command: str) -> str:
    """Return the text of a definition for the data, with every guess in a comment beside what would override it.

    Parameters
    ----------
    path
        How the file names its data.
    command
        What runs the definition.
    """
    name = config.name.rsplit("/", 1)[-1]
    blocks = [
        [
            # Editors complete and check the file by it; a path on this machine works without a network.
            f"#:schema {SCHEMA_FILE.as_uri()}",
            f"# {len(dataset.X):,} rows of {name}, and what was understood of them. A line like '# key = value' is a",
            "# guess: where it is wrong, take its # away and correct it. Run this file with",
            f"#   {command}",
            f"question = {_text(f'Does another hidden layer help on {name}, and does Adam help over SGD?')}",
            "seed = 1234",
        ],
        _data_lines(dataset, config, path),
        _column_lines(dataset.columns),
        _split_lines(dataset),
        _design_lines(),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _data_lines(dataset: Dataset, config: DataConfig, path: str) -> list[str]:
    metrics = [name for name, task in METRICS.items() if task == dataset.task]
    if dataset.n_classes > 2:
        metrics.remove("auc")
    lines = ["[data]", f"name = {_text(path)}"]
    if config.target is not None:
        lines.append(f"target = {_text(config.target)}")
    lines += [
        f"# task = {_text(dataset.task)}  # {_target_words(dataset)}",
        f"# metric = {_text(dataset.metric)}  # the score that decides: {' or '.join(metrics)}",
    ]
    if dataset.task == "classification":
        lines.append('# class_weight = "balanced"  # every class weighs the same in the loss, however rare it is')
    for key, value, why in (
        ("group", config.group, "a column whose rows of one value must stay in one part (a patient, a customer)"),
        ("time", config.time, "a column of times: the latest rows validate and test"),
        ("test_file", config.test_file, "a file whose rows are the test part"),
        ("test_column", config.test_column, "a column of true and false that marks the test part"),
    ):
        if value is not None:
            lines.append(f"{key} = {_text(value)}")
        elif dataset.is_table:
            lines.append(f"# {key} = ...  # {why}")
    return lines


def _target_words(dataset: Dataset) -> str:
    if dataset.task == "regression":
        low, high, mean = (float(value) for value in (dataset.y.min(), dataset.y.max(), dataset.y.mean()))
        return f"numbers from {low:g} to {high:g}, mean {mean:g}"
    counts = np.bincount(dataset.y, minlength=dataset.n_classes)
    order = np.argsort(-counts, kind="stable")[:5]
    shown = ", ".join(f"{dataset.class_names[at]} {counts[at]:,}" for at in order)
    more = f" and {dataset.n_classes - 5} more" if dataset.n_classes > 5 else ""
    rare = "; rare classes: see class_weight" if counts.min() < _RARE * len(dataset.y) / dataset.n_classes else ""
    return _short(f"{dataset.n_classes} classes: {shown}{more}{rare}")


def _column_lines(columns: Sequence[Column]) -> list[str]:
    if not columns:
        return []
    kinds = "numeric, boolean, date, categorical or ignored"
    lines = ["[data.columns]  # " + kinds]
    return lines + [f"# {_key(column.name)} = {_text(column.kind)}  # {_column_words(column)}" for column in columns]


def _column_words(column: Column) -> str:
    missing = f"{column.n_missing:,} missing" if column.n_missing else ""
    examples = ", ".join(column.examples)
    return _short("; ".join(part for part in (column.why, missing, examples) if part))


def _split_lines(dataset: Dataset) -> list[str]:
    n = len(dataset.X)
    lines = ["[split]"]
    if dataset.y_test is None and n < SMALL:
        lines.append(
            f"# folds = 5  # fewer than {SMALL:,} rows: cross-validation takes the place of one validation part"
        )
    lines += ["valid = 0.2  # a share, or a number of rows", "seed = 1234"]
    if dataset.y_test is None:
        lines.append("# test = 0.2  # set aside, and opened when the search is over")
    return [*lines, '# method = "stratified"  # or random, group, time']


def _design_lines() -> list[str]:
    """Return budget and ranges as the definition for any data has them."""
    text = (SHIPPED / "any.toml").read_text(encoding="utf-8")
    lines = text[text.index("[budget]") :].splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("[compare]"))
    further = [
        "# seeds = 5             # fresh ones for the recommended model and the best alternative",
        "# equivalence = 0.003   # differences of the score up to this count as practically none",
        "",
    ]
    return [*lines[: at - 1], *further, *lines[at:]]


def _text(value: str) -> str:
    """Return a TOML string: JSON's escapes are TOML's too."""
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return (
        name
        if name and all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in name)
        else _text(name)
    )


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _WIDTH else flat[: _WIDTH - 1] + "…"
