"""Write docs/reference.md from the code: ``python -m benchmarks.reference``; a test asks for it after a change."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from depthcheck.cli import commands
from depthcheck.experiments.planning import document
from depthcheck.pipeline.config import OPTIMIZERS
from depthcheck.pipeline.dimensions import DIMENSIONS, own_dimensions
from depthcheck.pipeline.scores import METRICS, SHIPPED_METRICS

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
_TOP = """# Reference

Written by `python -m benchmarks.reference` from the code. What runs carry in MLflow, and which files there are, is [on
another page](logged.md).

## Commands

With `mlflow run . -e COMMAND -P name=value` an option `--data-folder` is `data_folder`."""
_KEYS = """## Keys of a definition

Of a TOML file, or of a dictionary in Python. A key that is unknown is an error that names the nearest one."""
_DIMENSIONS = """## What can be compared, tuned or fixed

In `[compare]` a name has a list of levels, in `[tune]` a list or a range `{ low = …, high = …, log = true, step = … }`,
in `[fixed]` and `[baseline]` one value. What most of them do: [any question](any-question.md)."""
_METRICS = """## Metrics

What `metric` can be, beside [one of your own](own-models.md#your-own-metric):"""
#: Tables of a definition whose keys are all dimensions.
_OF_DIMENSIONS = ("compare", "tune", "fixed", "baseline")


def page() -> str:
    """Return the page."""
    options = [(f"`{name}`", _code(own_dimensions(name))) for name in OPTIMIZERS]
    blocks = [_TOP, *_commands(), _KEYS, *_definition(document.json_schema()), _DIMENSIONS, *_dimensions()]
    blocks += ["Options of optimizers stand in `[tune.sgd]` and so on, or in `[fixed]`:"]
    blocks += [_table("optimizer", "its own options", rows=options), _METRICS, _metrics()]
    return "\n\n".join(blocks) + "\n"


def _commands() -> Iterator[str]:
    for name, command in commands.commands.items():
        options = [option for option in command.params if isinstance(option, click.Option)]
        arguments = [
            f" {argument.make_metavar(click.Context(command))}"
            for argument in command.params
            if argument not in options
        ]
        said = " ".join(str(command.help).split())
        yield f"### {name}"
        yield f"`depthcheck {name}{''.join(arguments)}`: {said}"
        rows = [(f"`{of.opts[-1]}`", _takes(of, command), _said(of)) for of in options]
        yield _table("option", "takes", "what it is", rows=rows)
        yield f"Example: `{str(command.epilog).removeprefix('Example: ')}`"


def _said(option: click.Option) -> str:
    return f"{option.help} [default: {option.default}]" if option.show_default else str(option.help)


def _takes(option: click.Option, command: click.Command) -> str:
    return "" if option.is_flag else option.make_metavar(click.Context(command)).replace("|", " or ")


def _definition(schema: Mapping[str, Any]) -> Iterator[str]:
    top, tables = {}, {}
    for name, of in schema["properties"].items():
        (tables if "$ref" in of else top)[name] = of
    yield "At the top of the file:"
    yield _keys(top)
    of_budget = _attributes(inspect.getdoc(document.Budget) or "")
    for name in ("data", "split", "budget"):
        yield f"`[{name}]`:"
        yield _keys(schema["$defs"][name.capitalize()]["properties"], of_budget if name == "budget" else {})
    said = {"fixed": "One value of each, the same in every trial but the baseline."}
    rows = [
        (f"`[{name}]`", of.get("description", said.get(name))) for name, of in tables.items() if name in _OF_DIMENSIONS
    ]
    yield "Tables of what the next section has:"
    yield _table("table", "what it is", rows=rows)


def _keys(properties: Mapping[str, Any], said: Mapping[str, str] = {}) -> str:
    rows = [(f"`{key}`", _values(of), of.get("description", said.get(key))) for key, of in properties.items()]
    return _table("key", "values", "what it is", rows=rows)


def _attributes(docstring: str) -> dict[str, str]:
    """Return what a numpydoc docstring says of each attribute."""
    found = re.findall(r"^(\w+)\n((?:    .*\n?|\n)+)", docstring, flags=re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "`") for name, text in found}


def _values(of: Mapping[str, Any]) -> str:
    kinds = of.get("anyOf", [of])
    return " or ".join(filter(None, map(_kind, kinds))) + (
        f"; {of['default']}" if of.get("default") not in (None, "") else ""
    )


def _kind(of: Mapping[str, Any]) -> str:
    if "enum" in of:
        return ", ".join(f"`{value}`" for value in of["enum"])
    words = {"string": "a text", "integer": "a whole number", "number": "a number", "object": "a table"}
    kind = words.get(of.get("type", ""), "")
    if "pattern" in of:
        return "`FILE.py:FUNCTION`"
    if "additionalProperties" in of and isinstance(of["additionalProperties"], Mapping):
        return f"a table of {_kind(of['additionalProperties'])}"
    if "exclusiveMinimum" in of:
        return f"{kind} above {of['exclusiveMinimum']}"
    return f"{kind} from {of['minimum']}" if of.get("minimum") is not None else kind


def _dimensions() -> Iterator[str]:
    for per_optimizer in (False, True):
        of = [one for one in DIMENSIONS.values() if one.per_optimizer is per_optimizer and not one.is_own]
        yield _table("name", "values", rows=[(f"`{one.name}`", one.expected) for one in of])


def _metrics() -> str:
    rows = []
    for metric in (METRICS[name] for name in SHIPPED_METRICS):
        region = f"±{metric.region(metric.equivalence)}"
        rows.append((f"`{metric.key}`", metric.name, str(metric.task), metric.dummy_is, region))
    return _table("metric", "in words", "of", "the dummy baseline", "practically equal", rows=rows)


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(*header: str, rows: Sequence[Sequence[str]]) -> str:
    cells = [[cell.replace("<", "&lt;") for cell in row] for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
