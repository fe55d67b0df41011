"""From a TOML file to an experiment, and from a user's data to a TOML file to start from.

Reading checks everything that can be checked without the data; an experiment that exists can be run. Which
configurations it leads to stands in `design`. What a user's own model and metric are, ``my_models.py:build`` or a
function, becomes the text of their file.
"""

from __future__ import annotations

import ast
import codecs
import contextlib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from depthcheck.experiments.planning.document import MOST, SCHEMA_FILE, validated
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.ranges import known_key
from depthcheck.pipeline.config import (
    COLUMN_KINDS,
    SPLIT_METHODS,
    DataConfig,
    ParamValue,
    SplitChoice,
    shown,
    suggestion,
)
from depthcheck.pipeline.data.load import NAMES
from depthcheck.pipeline.dimensions import DIMENSIONS, active, know_own, own_dimensions
from depthcheck.pipeline.own import DIRECTIONS, SHAPES, OwnCode, OwnMetric, OwnModel
from depthcheck.pipeline.prepare.split import SMALL, resolve
from depthcheck.pipeline.records import Column, Dataset
from depthcheck.pipeline.scores import METRICS, SHIPPED_METRICS, metrics_of
from depthcheck.pipeline.system import kind_of, user_path
from depthcheck.pipeline.verbatim import one_line

SHIPPED = Path(__file__).parents[1] / "definitions"
#: Of a class, below which share its weight in the loss is worth a thought.
_RARE = 0.1
#: Longer cells are cut in the comments.
_WIDTH = 90
#: A file's name has 255 bytes, and the study's a hash behind it.
_LONGEST_SLUG = 180
#: Names of functions of a user's own, for a complaint.
_EXAMPLES = {"model": "build", "metric": "score"}

_Own = TypeVar("_Own", bound=OwnCode)


def shipped_names() -> list[str]:
    """Return the names of the definitions that come with the project."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find(name_or_path: str, base: Path | None = None) -> Path:
    """Return the file of an experiment that is named, or whose path is given.

    Parameters
    ----------
    base
        What a relative path is relative to; by default the working directory.
    """
    if name_or_path in shipped_names():
        return SHIPPED / f"{name_or_path}.toml"
    path = (base or Path.cwd()) / user_path(name_or_path, "experiment")
    if path.suffix == ".toml" and kind_of(path, "experiment") == "file":
        return path
    names = shipped_names()
    raise ValueError(
        f"experiment must be one of {', '.join(names)} or the path of a .toml file, "
        f"got {name_or_path!r}{suggestion(name_or_path, names)}"
    )


def read(path: Path, data: DataConfig | None = None, model: OwnModel | None = None) -> Experiment:
    """Return the experiment that a TOML file defines.

    Parameters
    ----------
    data
        Takes the place of the file's ``[data]``; the experiment is then named after it. Without it, a relative path in
        the file is relative to the file's own folder.
    model
        Takes the place of the file's own. A shipped definition leaves out then what is of our networks and the model
        does not take.

    Raises
    ------
    ValueError
        With one line that names the file, what is wrong, what was expected and what came.
    """
    try:
        # The name goes into that of the study, its lock's file and its registered model: nothing that these refuse.
        document: Mapping[str, Any] = tomllib.loads(utf8(path.read_bytes()))
        if model is not None and path.parent == SHIPPED:
            document = _for_own(document, model)
        experiment = parse(document, name=slug(path.stem), data=data, base=path.parent, model=model)
        if data is not None:
            experiment = replace(experiment, name=slug(Path(data.name).stem))
        return replace(experiment, data=found_from(experiment.data, path.parent))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError is one, too
        raise ValueError(f"{path}: {error}") from error
    except RecursionError:
        raise ValueError(f"{path}: its lists or tables must not be nested that deeply") from None


def found_from(data: DataConfig, base: Path) -> DataConfig:
    """Return it with the paths of files and folders made absolute that are relative to ``base``.

    A known name is no path, even if a folder of that name lies there.
    """

    def found(text: str | None, what: str) -> str | None:
        if not text or "://" in text or text in NAMES:
            return text
        path = base / user_path(text, what)
        with contextlib.suppress(ValueError):  # whoever reads it says why it cannot be read
            return str(path.resolve()) if kind_of(path, what) else text
        return str(path.absolute())

    return replace(data, name=found(data.name, "data") or data.name, test_file=found(data.test_file, "test_file"))


def slug(text: str) -> str:
    """Return a text as a name that a file, a lock and a registered model can have: of so many bytes at most."""
    short = re.sub(r"[^\w.-]+", "_", text).encode(errors="ignore")[:_LONGEST_SLUG].decode(errors="ignore")
    return short.strip("._") or "study"


def parse(
    document: Mapping[str, Any],
    *,
    name: str,
    data: DataConfig | None = None,
    base: Path | None = None,
    model: OwnModel | None = None,
) -> Experiment:
    """Return the experiment of a parsed TOML document.

    Parameters
    ----------
    data
        Takes the place of its ``[data]``; what a ``[data]`` without a name says is of these data, where they leave it
        open.
    base
        What the files of a user's own model and metric are relative to; by default the working directory.
    model
        Takes the place of the document's own.

    Raises
    ------
    ValueError
        When a key is unknown, a value is not allowed, or a dimension that every network needs is left open.
    """
    base = base or Path.cwd()
    own = read_model(document["model"], base) if model is None and "model" in document else model
    found = validated({"budget": {}, **_without_layers(document, own)})
    table = found.get("data", {})
    if data is None and "name" not in table:
        raise ValueError(f"[data] must have name, got {shown(table)}")
    said = {key: value for key, value in table.items() if key != "class_weight"}
    said["columns"] = tuple(table.get("columns", {}).items())
    metric, direction = said.pop("metric", None), said.pop("direction", None)
    if data is None or not data.metric:
        said |= metric_fields(metric, direction, base)
    if data is not None and "name" not in table:
        data = replace(data, **{key: value for key, value in said.items() if not getattr(data, key)})
    experiment = Experiment.of(
        found, name=name, data=data or DataConfig(**said), class_weight=table.get("class_weight"), model=own
    )
    _check_complete(experiment)
    return experiment


def _for_own(document: Mapping[str, Any], own: OwnModel) -> Mapping[str, Any]:
    """Return a shipped definition for a user's own model: without what is of our networks and it does not take."""

    def kept(table: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: of
            for name, of in table.items()
            if name not in DIMENSIONS or not DIMENSIONS[name].of_network or name in own.arguments()
        }

    tables = {key: kept(document[key]) for key in ("compare", "tune", "fixed", "baseline") if key in document}
    compared = " or ".join(name.replace("_", " ") for name in tables.get("compare", {}))
    if not compared:
        known = ", ".join(document.get("compare", {})) or "nothing"
        raise ValueError(
            f"[compare] must have what {own.name} takes, got {known}: write a definition of your own for it"
        )
    return {**document, **tables, "question": f"Does another {compared} help {own.name}?"}


def _without_layers(document: Mapping[str, Any], own: OwnModel | None) -> Mapping[str, Any]:
    """Return the definition with no hidden layers of ours where a user's own model does not take their number."""
    if own is None or "depth" in own.defaults():
        return document
    baseline = document.get("baseline") or {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 32}
    return {**document, "fixed": {"depth": 0, **document.get("fixed", {})}, "baseline": {"depth": 0, **baseline}}


def _check_complete(experiment: Experiment) -> None:
    """Complain where a dimension has two roles, where one that every network needs has none, or a role is idle."""
    roles = {"compare": set(experiment.compare), "tune": set(experiment.tune), "fixed": set(experiment.fixed)}
    for one, other in (("compare", "tune"), ("compare", "fixed"), ("tune", "fixed")):
        for name in sorted(roles[one] & roles[other]):
            raise ValueError(f"{name} must be either compared, tuned or fixed, got it in [{one}] and in [{other}]")
    named = set().union(*roles.values())
    taken = () if experiment.model is None else tuple(experiment.model.defaults())
    for name in sorted((named | experiment.baseline.keys()) - {"depth", *taken}):
        if DIMENSIONS[name].is_own or (experiment.model is not None and DIMENSIONS[name].of_network):
            whom = "a model" if experiment.model is None else experiment.model.name
            known = f" ({', '.join(taken)})" if taken else ""
            raise ValueError(f"{name} must be a hyperparameter of {whom}{known}, got another{suggestion(name, taken)}")
    optimizers = [str(optimizer) for optimizer in experiment.levels("optimizer")]
    used = list(itertools.product(optimizers or [""], map(int, experiment.levels("depth") or [0])))
    for dimension in DIMENSIONS.values():
        if dimension.per_optimizer:
            continue
        is_active = any(dimension.is_active(*both) for both in used)
        if dimension.is_required and is_active and dimension.name not in named:
            raise ValueError(f"{dimension.name} must be in [compare], [tune] or [fixed], got it in none of them")
        # A layer alone is as wide as units say, whatever the shape.
        is_idle = not is_active or (dimension.name == "width_shape" and all(depth < 2 for _, depth in used))
        if dimension.name in experiment.compare and is_idle:
            depths = ", ".join(map(str, experiment.levels("depth")))
            raise ValueError(f"{dimension.name} must be compared at a depth that has it, got {depths}")
    n_combinations = math.prod(len(levels) for levels in experiment.compare.values())
    if n_combinations > MOST:
        raise ValueError(f"[compare] must have at most {MOST} combinations of levels, got {n_combinations}")
    _check_optimizers(experiment, named, optimizers)
    check_network(experiment.baseline, "[baseline]")
    if experiment.model is not None:
        _check_own(experiment.model, experiment.baseline)


def _check_optimizers(experiment: Experiment, named: set[str], optimizers: Sequence[str]) -> None:
    for optimizer in experiment.tune_for:
        if optimizer not in optimizers:
            raise ValueError(f"tune.{optimizer} must be of an optimizer that is used ({', '.join(optimizers)})")
        for name in experiment.tune_for[optimizer]:
            if name in experiment.compare or name in experiment.fixed:
                raise ValueError(
                    f"{name} must be either compared, tuned or fixed, got it in [tune.{optimizer}] as well"
                )
    for dimension in DIMENSIONS.values():
        name = dimension.name
        takers = [optimizer for optimizer in optimizers if dimension.is_active(optimizer, 1)]
        for optimizer in takers if dimension.is_required and dimension.per_optimizer else ():
            if name not in named | set(experiment.tune_for.get(optimizer, {})):
                raise ValueError(f"{name} of {optimizer} must be in [tune.{optimizer}], [tune] or [fixed], got none")
        if name in named and (not takers or (name in experiment.compare and len(takers) < len(optimizers))):
            whom = "every optimizer" if name in experiment.compare else "an optimizer"
            raise ValueError(f"{name} must be a hyperparameter of {whom} that is used, got {', '.join(optimizers)}")
    has_momentum = "momentum" in experiment.tuned_for("sgd", 1) or any(experiment.levels("momentum"))
    if "nesterov" in experiment.compare and set(optimizers) == {"sgd"} and not has_momentum:
        raise ValueError("nesterov must be compared with a momentum above 0, got none")


def _check_own(own: OwnModel, baseline: Mapping[str, ParamValue]) -> None:
    """Complain where the baseline has no value of what the function must be given."""
    for name, default in own.arguments().items():
        if default is None and name not in (*SHAPES, *baseline) and DIMENSIONS[name].part == "options":
            got = shown(dict(baseline))
            raise ValueError(f"[baseline] must have {name}, of which {own.name} has no default, got {got}")


def check_network(values: Mapping[str, ParamValue], where: str) -> None:
    """Complain where hyperparameters that a network needs are missing, or are another optimizer's."""
    known = list(active(str(values.get("optimizer")), int(values.get("depth", 0))))
    needed = dict.fromkeys(("depth", "optimizer", *(dimension.name for dimension in known if dimension.is_required)))
    missing = [name for name in needed if name not in values]
    if missing:
        raise ValueError(f"{where} must have {', '.join(missing)}, got {shown(dict(values))}")
    for name in sorted(values):
        if DIMENSIONS[name].per_optimizer:
            known_key(name, own_dimensions(str(values["optimizer"])), f"{where} with {values['optimizer']}")


def check_fits(experiment: Experiment, dataset: Dataset) -> None:
    """Complain of a level, a choice or a fixed value that asks for other data than these.

    Raises
    ------
    ValueError
        With one line: convolutions need images, a loss of numbers needs numbers to predict, splines numeric columns.
    """
    for values in (experiment.fixed, experiment.baseline, {"class_weight": experiment.class_weight or "none"}):
        check_values(values, dataset)
    for ranges in (experiment.compare, experiment.tune, *experiment.tune_for.values()):
        for name, of in ranges.items():
            for value in of if isinstance(of, tuple) else of.ends:
                check_values({name: value}, dataset)
    if experiment.model is None and "residual" in experiment.compare and experiment.levels("family") == ("conv",):
        (height, width, *_), deepest = dataset.sample_shape, max(map(int, experiment.levels("depth")))
        # A block puts out half of the height and width that go in, until one pixel is left.
        if max(height, width) > 2 ** (deepest - 1):
            what = "residual must be compared where what goes into a layer has the shape of what comes out"
            raise ValueError(f"{what}, got blocks that each halve {height} × {width} pixels")


def check_values(values: Mapping[str, ParamValue], dataset: Dataset) -> None:
    """Complain of a value that asks for other data than these."""
    is_image = not dataset.is_table and len(dataset.sample_shape) in (2, 3)
    has = {"images": is_image, "classes": dataset.n_classes > 0, "numbers": dataset.n_classes == 0}
    has |= {f"{kind} columns": any(column.kind == kind for column in dataset.columns) for kind in COLUMN_KINDS}
    words = {"images": "samples of height and width", "classes": "classes to predict", "numbers": "numbers to predict"}
    for name, value in values.items():
        needed = DIMENSIONS[name].needs(value) if name in DIMENSIONS else None
        if needed is not None and not has[needed]:
            got = dataset.task if needed in ("classes", "numbers") else f"samples of shape {dataset.sample_shape}"
            if needed not in words and dataset.is_table:
                got = "none"
            raise ValueError(
                f"{name} = {shown(value)} must be for {words.get(needed, needed)}, got {got} in {dataset.name}"
            )


def read_model(named: object, base: Path) -> OwnModel:
    """Return the user's own model that is named, its hyperparameters known as dimensions.

    Parameters
    ----------
    named
        ``my_models.py:build``, or in Python the function.
    base
        What a relative path is relative to.

    Raises
    ------
    ValueError
        When there is none, or its file or its signature cannot be used; one line.
    """
    own = _read(OwnModel, named, base)
    know_own(own)
    return own


def metric_fields(named: object, direction: str | None, base: Path) -> dict[str, Any]:
    """Return which fields of the data's configuration a metric sets: one that is shipped, or a user's own.

    Raises
    ------
    ValueError
        As :func:`read_model`, or where the direction is missing, or known anyhow.
    """
    if named is None or (isinstance(named, str) and ":" not in named):
        if direction is not None:
            raise ValueError(f"direction must be left out without a metric of your own, got {shown(direction)}")
        return {} if named is None else {"metric": named}
    if direction not in DIRECTIONS:
        got = "nothing" if direction is None else shown(direction)
        raise ValueError(f"direction must be maximize or minimize beside a metric of your own, got {got}")
    return {"own_metric": _read(OwnMetric, named, base, direction=direction)}


def utf8(content: bytes) -> str:
    """Return the text of a file in UTF-8, without the mark that Windows' editors write."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise ValueError(
            f"must be a text in UTF-8, got {'UTF-16' if is_utf16 else 'another'}; save it as such"
        ) from None


def _read(kind: type[_Own], named: object, base: Path, **more: Any) -> _Own:
    what = kind.kind
    text = _place(named, what) if callable(named) else named
    if not isinstance(text, str):
        raise ValueError(f"{what} must be a text, got {shown(text)}")
    file, _, function = text.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise ValueError(f"{what} must be a file and a function, my_{what}s.py:{_EXAMPLES[what]}, got {shown(text)}")
    path = base / user_path(file, what)
    try:
        own = kind(file=path.name, function=function, source=utf8(path.read_bytes()), **more)
    except OSError as error:
        raise ValueError(f"{what} must be in a file that can be read, got {path}: {error.strerror}") from None
    _require_alone(own, path.parent)
    return own


def _place(function: Any, what: str) -> str:
    """Return file and name of a function: its text is what travels, and a lambda's, or a notebook's, has no file."""
    name = str(getattr(function, "__qualname__", ""))
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    is_found = name.isidentifier() and file.endswith(".py") and Path(file).is_file()
    if not is_found or function.__module__ == "__main__":
        where = " of the program that runs" if is_found else ""
        raise ValueError(
            f"{what} must be a function of a .py file that does nothing else, got {name or shown(function)}{where}; "
            f"write it into one and name it my_{what}s.py:{_EXAMPLES[what]}"
        )
    return f"{Path(file).absolute()}:{name}"


def _require_alone(own: OwnCode, folder: Path) -> None:
    """Refuse a file that imports another one beside it, which no worker and no served model would have."""
    for node in ast.walk(own.parsed()):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            is_beside = (folder / f"{top}.py").is_file() or any((folder / top).glob("*.py"))
            if not top or (is_beside and top != "depthcheck"):
                raise ValueError(
                    f"{own.file}:{node.lineno}: {name} must be an installed package, got a file beside {own.file}, and "
                    f"only {own.file} travels to workers: write what is needed into it, or install {name} as a package"
                )


def starter_toml(dataset: Dataset, config: DataConfig, *, path: str, command: str) -> str:
    """Return the text of a definition for the data, with every guess in a comment beside what would override it.

    Parameters
    ----------
    path
        How the file names its data.
    command
        What runs the definition.
    """
    name = one_line(config.name.rsplit("/", 1)[-1])
    blocks = [
        [
            # Editors complete and check the file by it; a path on this machine works without a network.
            f"#:schema {SCHEMA_FILE.as_uri()}",
            f"# {len(dataset.X):,} rows of {name}, and what was understood of them. A line like '# key = value' is a",
            "# guess: where it is wrong, take its # away and correct it. Run this file with",
            f"#   {one_line(command)}",
            f"question = {_text(f'Does another hidden layer help on {name}, and does Adam help over SGD?')}",
            "seed = 1234",
        ],
        _data_lines(dataset, config, path),
        _column_lines(dataset.columns, config),
        _split_lines(dataset),
        _design_lines(METRICS[dataset.metric].equivalence),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _data_lines(dataset: Dataset, config: DataConfig, path: str) -> list[str]:
    metrics = [name for name in metrics_of(dataset.task) if name in SHIPPED_METRICS]
    if dataset.n_classes > 2:
        metrics.remove("auc")
    lines = ["[data]", f"name = {_text(path)}"]
    for key in ("sheet", "query", "target"):
        if getattr(config, key) is not None:
            lines.append(f"{key} = {_text(getattr(config, key))}")
    lines += [
        f"# task = {_text(dataset.task)}  # {_target_words(dataset)}",
        f"# metric = {_text(dataset.metric)}  # the score that decides: {' or '.join(metrics)}",
    ]
    if dataset.task == "classification":
        lines.append('# class_weight = "balanced"  # every class weighs the same in the loss, however rare it is')
    dates = ", ".join(_text(column.name) for column in dataset.columns if column.kind == "date")
    owners = ", ".join(_text(column.name) for column in dataset.columns if "owner" in column.asks)
    owners = owners or "a patient, a customer"
    for key, value, why in (
        ("rows", config.rows, "draw so many rows while the file is read, by the seed of [split]"),
        ("group", config.group, f"a column whose rows of one value must stay in one part ({owners})"),
        ("time", config.time, f"a column of times{f' ({dates})' if dates else ''}: the latest rows validate and test"),
        ("weight", config.weight, "a column of what each row weighs, in the training loss and in every score"),
        ("test_file", config.test_file, "a file whose rows are the test part"),
        ("test_column", config.test_column, "a column of true and false that marks the test part"),
    ):
        if value is not None:
            lines.append(f"{key} = {_text(value) if isinstance(value, str) else value}")
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


def _column_lines(columns: Sequence[Column], config: DataConfig) -> list[str]:
    if not columns:
        return []
    said = {config.group, config.time, config.weight, config.test_column}  # of these the kind is not to be told
    lines = (
        f"# {_key(column.name)} = {_text(column.kind)}  # {_column_words(column)}"
        for column in columns
        if column.name not in said
    )
    return ["[data.columns]  # " + ", ".join(COLUMN_KINDS), *lines]


def _column_words(column: Column) -> str:
    missing = f"{column.n_missing:,} missing" if column.n_missing else ""
    examples = ", ".join(column.examples)
    return _short("; ".join(part for part in (column.why, missing, examples) if part))


def _split_lines(dataset: Dataset) -> list[str]:
    found, lines = resolve(SplitChoice(), dataset), ["[split]"]
    if found.folds:
        why = f"fewer than {SMALL:,} rows: cross-validation takes the place of one validation part"
        lines.append(f"# folds = {found.folds}  # {why}")
    lines += ["valid = 0.2  # a share, or a number of rows", "seed = 1234"]
    if dataset.y_test is None:
        instead = "0.2, in place of folds: " if found.folds else ""
        lines.append(f"# test = {found.test_size}  # {instead}set aside, and opened when the search is over")
    others = ", ".join(method for method in SPLIT_METHODS if method != found.method)
    return [*lines, f'# method = "{found.method}"  # or {others}']


def _design_lines(equivalence: float) -> list[str]:
    """Return budget and ranges as the definition for any data has them."""
    text = (SHIPPED / "any.toml").read_text(encoding="utf-8")
    lines = text[text.index("[budget]") :].splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("[compare]"))
    further = [
        "# seeds = 5             # fresh ones for the recommended model and the best alternative",
        f"# equivalence = {equivalence:<6}  # differences of the score up to this count as practically none",
        "",
    ]
    return [*lines[: at - 1], *further, *lines[at:]]


def _text(value: str) -> str:
    """Return a TOML string: JSON's escapes are TOML's too, which wants one more character escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _short(text: str) -> str:
    return one_line(" ".join(text.split()), _WIDTH)
