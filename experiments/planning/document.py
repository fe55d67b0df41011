"""What the TOML file of a definition may say: typed models, from which the JSON schema for editors is made too.

The tables follow the registry of dimensions, so that a dimension more is one that a file may name.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Required

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    WrapValidator,
    with_config,
)
from pydantic.dataclasses import dataclass as model
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema
from typing_extensions import TypedDict

from depthcheck.experiments.planning.ranges import Choices, Range, known_key
from depthcheck.pipeline.config import (
    COLUMN_KINDS,
    LARGEST_SEED,
    OPTIMIZERS,
    SPLIT_METHODS,
    TASKS,
    ParamValue,
    SplitChoice,
    several_targets,
    shown,
)
from depthcheck.pipeline.dimensions import DIMENSIONS, Dimension, Values, own_dimensions
from depthcheck.pipeline.own import DIRECTIONS
from depthcheck.pipeline.scores import SHIPPED_METRICS

#: Trials, epochs or seeds beyond this, and combinations of levels, are a mistake that would fill the memory.
MOST = 100_000
#: scikit-learn, which cuts the data, takes seeds below 2**32.
_LARGEST_SPLIT_SEED = 2**32 - 1
#: A step finer than this share of its range's ends is lost in rounding, and Optuna would refuse its own values.
_FINEST_STEP = 1e-6
#: The shipped schema, beside the shipped definitions.
SCHEMA_FILE = Path(__file__).parents[1] / "definitions" / "definition.schema.json"
#: Which kind of a tuned dimension's two a place in an error belongs to; no key of a file.
_RANGE, _LIST = "{}", "[]"


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """Pydantic's annotation of a value that is checked by a function of ours; it says ``" must be …, got …"``."""

    check: Callable[[Any], Any]
    json_schema: Mapping[str, Any]

    @classmethod
    def by(cls, values: Values) -> Checked:
        """Return the annotation of a value of one type within limits."""
        return cls(values.check, values.json_schema)

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        """Return a schema that calls the function, and nothing else."""
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        """Return what an editor is told."""
        return dict(self.json_schema)


def _whole(low: int, most: int = MOST) -> Checked:
    return Checked.by(Values(kind="int", low=low, most=most))


def _number(value: object) -> float | int:
    """Return a number as it is written, 1 or 1.0: it tells whether a range is one of whole numbers."""
    found = Values(kind="float").check(value)
    return value if isinstance(value, int) else float(found)


_NUMBER = Checked(_number, Values(kind="float").json_schema)


def _share(value: object) -> float | int:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f" must be a share between 0 and 1, got {shown(value)}")
    return value  # 1 stays 1: the study's name is made of it


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f" must be a text, got {shown(value)}")
    return value


def _target(value: object) -> str:
    if isinstance(value, list | tuple):
        raise several_targets(value)
    return _text(value)


def _words(choices: Sequence[str] = ()) -> Checked:
    """Return the annotation of a text; which words are known is checked by the record that it goes to."""
    return Checked(_text, {"enum": list(choices)} if choices else {"type": "string"})


def _choice(*choices: str) -> Checked:
    return Checked.by(Values(kind="choice", choices=choices))


def _key(annotation: Checked | WithJsonSchema, description: str) -> Any:
    """Return the type of a key: how its value is checked, and what editors say of it."""
    return Annotated[Any, annotation, Field(description=description)]


@model(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Budget:
    """How many trials and epochs, and how they are shared out.

    Attributes
    ----------
    trials
        Trials of baseline, compare and exploit together.
    epochs
        Epochs of every trial; of the baseline alone where they are compared, tuned or fixed.
    compare
        Share of the trials that phase *compare* gets, in equal parts for the combinations; the rest goes to *exploit*.
        With 1 each combination gets as many as fit, and *exploit* what cannot be shared equally.
    window
        Trial i of *exploit* is proposed when all up to i - window have ended. It belongs to the definition, so that
        the number of workers changes nothing.
    seeds
        Fresh seeds on which each finalist is trained again; 0 leaves phase *confirm* out.
    pruning
        ``median`` ends a trial of *exploit* that stays behind the median of the earlier ones; ``none`` never does.
    equivalence
        Differences of the score up to this count as practically none, in the score's own scale (0.003 is 0.3 points of
        accuracy); None for the default of the metric. Below 1 but for a user's own metric.
    """

    trials: Annotated[int, _whole(1)]
    epochs: Annotated[int, _whole(1)]
    compare: Annotated[float, Checked(_share, {"type": "number", "minimum": 0, "maximum": 1})] = 1.0
    window: Annotated[int, _whole(1)] = 4
    seeds: Annotated[int, _whole(0)] = 5
    pruning: Annotated[str, _choice("median", "none")] = "median"
    equivalence: Annotated[float, Checked.by(Values(kind="float", low=0, open_low=True))] | None = None


def _table(name: str, fields: Mapping[str, Any]) -> Any:
    """Return the type of a table with these keys and no others, which keeps the order of the file."""

    def in_order(value: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        found = handler(value)
        return {key: found[key] for key in value}

    typed = with_config(ConfigDict(extra="forbid"))(TypedDict(name, dict(fields), total=False))  # type: ignore[operator]
    return Annotated[typed, WrapValidator(in_order)]


def _levels(dimension: Dimension) -> Any:
    return Annotated[
        list[Annotated[Any, Checked.by(dimension)]],
        Field(strict=True, min_length=1, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ]


def _distinct(levels: list[ParamValue]) -> tuple[ParamValue, ...]:
    seen: set[ParamValue] = set()
    for level in levels:
        if level in seen:
            raise ValueError(f" must have each level once, got {shown(level)} twice")
        seen.add(level)
    return tuple(levels)


def _tuned(dimension: Dimension) -> Any:
    """Return the type of what a tuned dimension ranges over: a table ``{low, high, log, step}`` or a list."""
    choices: Any = Annotated[_levels(dimension), AfterValidator(lambda values: Choices(values=values))]
    if dimension.kind not in ("int", "float", "any"):

        def no_range(value: object, handler: Callable[[object], Choices]) -> Choices:
            if isinstance(value, dict):
                raise ValueError(f" must be a list (its values are {dimension.expected}), got a range")
            return handler(value)

        return Annotated[choices, WrapValidator(no_range)]
    # Of a hyperparameter of a user's own model nobody has said what it is; ends are numbers.
    end = Annotated[Any, _NUMBER if dimension.kind == "any" else Checked.by(dimension)]
    numbers: Any = _table(
        f"Range of {dimension.name}",
        {
            "low": Required[end],
            "high": Required[end],
            "log": Annotated[bool, Checked.by(Values(kind="bool"))],
            "step": Annotated[Any, WithJsonSchema({"type": "number", "exclusiveMinimum": 0})],
        },
    )
    as_range = AfterValidator(functools.partial(_range, dimension))
    return Annotated[
        Annotated[numbers, as_range, Tag(_RANGE)] | Annotated[choices, Tag(_LIST)],
        Discriminator(lambda value: _RANGE if isinstance(value, dict) else _LIST if isinstance(value, list) else None),
    ]


def _range(dimension: Dimension, table: Mapping[str, Any]) -> Range:
    low, high, log, step = table["low"], table["high"], table.get("log", False), table.get("step")
    is_whole = dimension.kind == "int" or all(isinstance(of, int) for of in (low, high, step or 1))
    low, high = (low, high) if is_whole else (float(low), float(high))
    if low >= high:
        raise ValueError(f" must have low below high, got low = {low}, high = {high}")
    if log and (low <= 0 or step is not None):
        raise ValueError(f" with log = true must have low above 0 and no step, got {shown(dict(table))}")
    if step is not None:
        if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step <= high - low:
            raise ValueError(f".step must be a number above 0 and within the range, got {shown(step)}")
        if is_whole and not isinstance(step, int):
            raise ValueError(f".step must be a whole number, got {shown(step)}")
        if step < _FINEST_STEP * max(abs(low), abs(high)):
            raise ValueError(f".step must be at least a millionth of the range's larger end, got {shown(step)}")
    return Range(low=low, high=high, log=log, step=step, integer=is_whole)


@functools.lru_cache(maxsize=8)
def _adapter(dimensions: tuple[Dimension, ...]) -> TypeAdapter[dict[str, Any]]:
    """Return the model of a whole file while these are the dimensions."""
    seed: dict[str, Any] = {"default": 1234, "description": "What everything drawn is derived from."}
    one_value = {one.name: Annotated[Any, Checked.by(one)] for one in dimensions}
    tuned = {one.name: _tuned(one) for one in dimensions}
    own = {name: _table(f"Tune {name}", {key: tuned[key] for key in own_dimensions(name)}) for name in OPTIMIZERS}
    size = WithJsonSchema({"type": "number", "exclusiveMinimum": 0})
    split = _table(
        "Split",
        {
            "valid": _key(size, "A share of the samples, or their number."),
            "test": _key(
                WithJsonSchema({"type": "number", "minimum": 0}),
                "Set aside where the data have no test part of their own.",
            ),
            "seed": _key(_whole(0, _LARGEST_SPLIT_SEED), "What the parts are drawn by."),
            "method": _key(
                _choice(*SPLIT_METHODS), "How the samples are shared out; own: the data's own validation part."
            ),
            "folds": _key(
                WithJsonSchema({"type": "integer", "minimum": 0}),
                "Folds of a cross-validation; 0 for none. [default: 5 below 2,000 samples]",
            ),
        },
    )
    metric = {"anyOf": [{"enum": list(SHIPPED_METRICS)}, {"type": "string", "pattern": r"\.py:\w+$"}]}
    data = _table(
        "Data",
        {
            "name": _key(_words(), "A known name, the path of a file or folder, or an address."),
            "sheet": _key(_words(), "The sheet of a spreadsheet. [default: the first]"),
            "query": _key(_words(), "A table's name or a SELECT, of a database."),
            "target": _key(Checked(_target, {"type": "string"}), "The column of a table that is to be predicted."),
            "task": _key(_words(TASKS), "What the target is taken for. [default: by its values]"),
            "metric": _key(Checked(_text, metric), "The score that decides, or one of your own: my_metrics.py:score."),
            "direction": _key(_choice(*DIRECTIONS), "Whether more or less of a metric of your own is better."),
            "group": _key(_words(), "A column whose rows of one value stay in one part."),
            "time": _key(_words(), "A column of times: the latest rows validate and test."),
            "weight": _key(_words(), "A column of what each row weighs, in loss and scores."),
            "test_file": _key(_words(), "A file whose rows are the test part."),
            "test_column": _key(_words(), "A column of true and false: the test part."),
            "rows": _key(_whole(2, LARGEST_SEED), "Draw so many rows and read no others."),
            "columns": Annotated[
                dict[str, Annotated[str, _words(COLUMN_KINDS)]], Field(description="What a column is.")
            ],
            "class_weight": _key(
                _choice("balanced"), "Each class weighs the same in the loss; as a dimension it can be compared."
            ),
        },
    )
    return TypeAdapter(
        _table(
            "Definition",
            {
                "question": _key(_words(), "What the study shall answer: the report's title."),
                "seed": Annotated[int, _whole(0, LARGEST_SEED), Field(json_schema_extra=seed)],
                "model": _key(_words(), "A model of your own: my_models.py:build, a file and a function."),
                "data": data,
                "split": Annotated[split, AfterValidator(_split_choice)],
                "budget": Required[Budget],
                "compare": Annotated[
                    _table("Compare", {one.name: _levels(one) for one in dimensions}),
                    Field(description="The factors and their levels; every combination gets the same settings."),
                ],
                "tune": Annotated[
                    _table("Tune", {**tuned, **own}),
                    Field(description="What is tuned at every level: ranges or lists; [tune.sgd] holds sgd's own."),
                ],
                "fixed": _table("Fixed", one_value),
                "baseline": Annotated[
                    _table("Baseline", one_value), Field(description="The configuration that every study trains first.")
                ],
            },
        )
    )


def _split_choice(table: Mapping[str, Any]) -> SplitChoice:
    fields = {"valid": "valid_size", "test": "test_size"}
    return SplitChoice(**{fields.get(key, key): value for key, value in table.items()})


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles, which repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Say no."""
        return False


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a definition, for editors."""
    schema = _adapter(tuple(DIMENSIONS.values())).json_schema(schema_generator=_Untitled)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def validated(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a parsed file says, in its types.

    Raises
    ------
    ValueError
        With one line: the first thing that is wrong, what was expected and what came.
    """
    with one_line():
        return _adapter(tuple(DIMENSIONS.values())).validate_python(document)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Turn what pydantic finds wrong into the project's one form of complaint, about the first of it."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(_said(error)) from None


def _said(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    loc, kind, value = first["loc"], first["type"], first["input"]
    keys = [key for key in loc if key not in (_RANGE, _LIST)]
    what = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
    if kind == "value_error":
        text = str(first["ctx"]["error"])
        return f"{what}{text}" if text[0] in " ." else text
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        whole, inside = what.rpartition(".")[0], loc[:-1]
        is_table = bool(inside) and inside[-1] != _RANGE
        known = _known(inside)
        known_key(str(loc[-1]), known, f"[{keys[-2]}]" if is_table else whole or "the definition")
    if kind == "missing":
        article = "a " if _RANGE in loc else ""
        return f"{what.rpartition('.')[0] or 'the definition'} must have {article}{loc[-1]}, got {shown(value)}"
    expected = {
        "list_type": "a list of at least one level",
        "too_short": "a list of at least one level",
        "union_tag_not_found": "a range {low = …, high = …} or a list",
    }.get(kind, "a table")
    return f"{what or 'the definition'} must be {expected}, got {shown(value)}"


def _known(loc: Sequence[str | int]) -> list[str]:
    """Return the keys that a table of the definition takes, from its schema."""
    node = schema = json_schema()
    for key in loc:
        node = node["oneOf"][0] if key == _RANGE else node["properties"][key]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return list(node["properties"])


def write_schema() -> None:
    """Write the shipped schema again, after a change to what a definition may say."""
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
