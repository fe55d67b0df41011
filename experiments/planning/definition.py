"""From a TOML file to an experiment.

Reading checks everything that can be checked without the data; an experiment that exists can be run. Which
configurations it leads to stands in `design`.
"""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from depthcheck.experiments.planning.experiment import MOST, NOTEBOOK_ANCHOR, Budget, Experiment, Tuned, whole
from depthcheck.experiments.planning.ranges import known_key, parse_levels, parse_tuned
from depthcheck.pipeline.config import OPTIMIZERS, DataConfig, ParamValue, SplitChoice, shown
from depthcheck.pipeline.data.load import NAMES
from depthcheck.pipeline.dimensions import DIMENSIONS, active, options_of, suggestion
from depthcheck.pipeline.paths import user_path

SHIPPED = Path(__file__).parents[1] / "definitions"
#: scikit-learn, which cuts the data, takes seeds below 2**32; MLflow and JSON carry whole numbers below 2**63.
_LARGEST_SPLIT_SEED, _LARGEST_SEED = 2**32 - 1, 2**63 - 1


def shipped_names() -> list[str]:
    """Return the names of the definitions that come with the project."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find(name_or_path: str, base: Path | None = None) -> Path:
    """Return the file of an experiment that is named, or whose path is given.

    Parameters
    ----------
    base
        What a relative path is relative to; by default the working directory.

    Raises
    ------
    ValueError
        When there is none.
    """
    if name_or_path in shipped_names():
        return SHIPPED / f"{name_or_path}.toml"
    path = (base or Path.cwd()) / user_path(name_or_path, "experiment")
    if path.suffix == ".toml" and path.is_file():
        return path
    names = shipped_names()
    raise ValueError(
        f"experiment must be one of {', '.join(names)} or the path of a .toml file, "
        f"got {name_or_path!r}{suggestion(name_or_path, names)}"
    )


def read(path: Path, data: DataConfig | None = None) -> Experiment:
    """Return the experiment that a TOML file defines.

    Parameters
    ----------
    data
        Takes the place of the file's ``[data]``; the experiment is then named after it. Without it, a relative path in
        the file is relative to the file's own folder.

    Raises
    ------
    ValueError
        With one line that names the file, what is wrong, what was expected and what came.
    """
    try:
        # The name goes into that of the study, its lock's file and its registered model: nothing that these refuse.
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        experiment = parse(document, name=slug(path.stem), data=data)
        if data is not None:
            return replace(experiment, name=slug(Path(data.name).stem))
        return replace(experiment, data=found_from(experiment.data, path.parent))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors too
        raise ValueError(f"{path}: {error}") from error
    except RecursionError:
        raise ValueError(f"{path}: its lists or tables must not be nested that deeply") from None


_TABLES = ("question", "seed", "data", "split", "budget", "compare", "tune", "fixed", "anchor")


def found_from(data: DataConfig, base: Path) -> DataConfig:
    """Return it with the paths of files and folders made absolute that are relative to ``base``.

    A known name is no path, even if a folder of that name lies there.
    """

    def found(text: str | None, what: str) -> str | None:
        path = base / user_path(text, what) if text and text not in NAMES else None
        return str(path.resolve()) if path is not None and path.exists() else text

    return replace(data, name=found(data.name, "data") or data.name, test_file=found(data.test_file, "test_file"))


def slug(text: str) -> str:
    """Return a text as a name that a file, a lock and a registered model can have."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "study"


def parse(document: Mapping[str, Any], *, name: str, data: DataConfig | None = None) -> Experiment:
    """Return the experiment of a parsed TOML document.

    Parameters
    ----------
    data
        Takes the place of its ``[data]``.

    Raises
    ------
    ValueError
        When a key is unknown, a value is not allowed, or a dimension that every network needs is left open.
    """
    for key in document:
        known_key(key, _TABLES, "the definition")
    data_table = _table(document, "data", (*_DATA_TEXTS, "columns", "class_weight"))
    split = _table(document, "split", ("valid", "test", "seed", "method", "folds"))
    budget = _table(document, "budget", tuple(Budget.__dataclass_fields__))
    compare = _table(document, "compare", tuple(DIMENSIONS))
    for key in ("trials", "epochs"):
        if key not in budget:
            raise ValueError(f"budget must have {key}, got {shown(budget)}")
    tune, tune_for = _parse_tune(_table(document, "tune", (*DIMENSIONS, *OPTIMIZERS)))
    experiment = Experiment(
        name=name,
        question=_string(document.get("question", ""), "question"),
        data=data or _parse_data(data_table),
        split=_parse_split(split),
        budget=Budget(**budget),
        seed=whole(document.get("seed", 1234), "seed", 0, _LARGEST_SEED),
        compare={key: parse_levels(key, levels, "compare") for key, levels in compare.items()},
        tune=tune,
        tune_for=tune_for,
        fixed=_parse_values(_table(document, "fixed", tuple(DIMENSIONS)), "fixed"),
        anchor=_parse_values(_table(document, "anchor", tuple(DIMENSIONS)), "anchor") or NOTEBOOK_ANCHOR,
        class_weight=_class_weight(data_table),
    )
    _check_complete(experiment)
    return experiment


def whole_number(text: str, what: str, *, lowest: int = 1, highest: int = _LARGEST_SEED) -> int:
    """Return the whole number from ``lowest`` to ``highest`` that a command line has as text.

    Raises
    ------
    ValueError
        When it is none.
    """
    try:
        number: object = int(text)
    except ValueError:
        number = text
    return whole(number if isinstance(number, int) and lowest <= number else text, what, lowest, highest)


def _table(document: Mapping[str, Any], key: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    table = document.get(key, {})
    if not isinstance(table, dict):
        raise ValueError(f"{key} must be a table, got {shown(table)}")
    for inner in table:
        known_key(inner, known, f"[{key}]")
    return table


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a text, got {shown(value)}")
    return value


#: What ``[data]`` says in words, beside the kinds of columns.
_DATA_TEXTS = ("name", "target", "task", "metric", "group", "time", "test_file", "test_column")


def _parse_data(table: Mapping[str, Any]) -> DataConfig:
    texts = {key: _string(table[key], f"data.{key}") for key in _DATA_TEXTS if key in table}
    if "name" not in texts:
        raise ValueError(f"[data] must have name, got {shown(dict(table))}")
    kinds = table.get("columns", {})
    if not isinstance(kinds, dict):
        raise ValueError(f"data.columns must be a table of columns and kinds, got {shown(kinds)}")
    columns = tuple((name, _string(kind, f"data.columns.{name}")) for name, kind in kinds.items())
    return DataConfig(**texts, columns=columns)  # type: ignore[arg-type]  # the record checks the words itself


def _class_weight(table: Mapping[str, Any]) -> str | None:
    weight = table.get("class_weight")
    if weight not in (None, "balanced"):
        raise ValueError(f"data.class_weight must be balanced or left out, got {shown(weight)}")
    return weight


def _parse_split(table: Mapping[str, Any]) -> SplitChoice:
    return SplitChoice(
        valid_size=table.get("valid", 0.2),
        test_size=table.get("test"),
        seed=whole(table.get("seed", 1234), "split.seed", 0, _LARGEST_SPLIT_SEED),
        method=table.get("method"),
        folds=table.get("folds"),
    )


def _parse_values(table: Mapping[str, Any], where: str) -> dict[str, ParamValue]:
    return {key: DIMENSIONS[key].check(value, f"{where}.{key}") for key, value in table.items()}


def _parse_tune(table: Mapping[str, Any]) -> tuple[dict[str, Tuned], dict[str, dict[str, Tuned]]]:
    """Part ``[tune]`` into the ranges for all optimizers and those of one, ``[tune.sgd]``."""
    tune: dict[str, Tuned] = {}
    tune_for: dict[str, dict[str, Tuned]] = {}
    for key, value in table.items():
        if key not in OPTIMIZERS:
            tune[key] = parse_tuned(key, value, "tune")
            continue
        inner = _table(table, key, ("learning_rate", *options_of(key)))
        tune_for[key] = {name: parse_tuned(name, ranges, f"tune.{key}") for name, ranges in inner.items()}
    return tune, tune_for


def _check_complete(experiment: Experiment) -> None:
    """Complain where a dimension has two roles, where one that every network needs has none, or a role is idle."""
    roles = {"compare": set(experiment.compare), "tune": set(experiment.tune), "fixed": set(experiment.fixed)}
    for one, other in (("compare", "tune"), ("compare", "fixed"), ("tune", "fixed")):
        for name in sorted(roles[one] & roles[other]):
            raise ValueError(f"{name} must be either compared, tuned or fixed, got it in [{one}] and in [{other}]")
    named = set().union(*roles.values())
    optimizers = [str(optimizer) for optimizer in experiment.levels("optimizer")]
    used = list(itertools.product(optimizers or [""], map(int, experiment.levels("depth") or [0])))
    for dimension in DIMENSIONS.values():
        is_needed = dimension.is_required and any(dimension.is_active(*both) for both in used)
        if is_needed and not dimension.per_optimizer and dimension.name not in named:
            raise ValueError(f"{dimension.name} must be in [compare], [tune] or [fixed], got it in none of them")
    n_cells = math.prod(len(levels) for levels in experiment.compare.values())
    if n_cells > MOST:
        raise ValueError(f"[compare] must have at most {MOST} combinations of levels, got {n_cells}")
    _check_optimizers(experiment, named, optimizers)
    _check_anchor(experiment.anchor)


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
            raise ValueError(f"{name} must be a knob of {whom} that is used, got {', '.join(optimizers)}")


def _check_anchor(anchor: Mapping[str, ParamValue]) -> None:
    known = list(active(str(anchor.get("optimizer")), int(anchor.get("depth", 0))))
    for name in ("depth", "optimizer", *(dimension.name for dimension in known if dimension.is_required)):
        if name not in anchor:
            raise ValueError(f"[anchor] must have {name}, got {shown(dict(anchor))}")
    for name in sorted(anchor):
        if DIMENSIONS[name].per_optimizer and name != "learning_rate":
            known_key(name, options_of(str(anchor["optimizer"])), f"[anchor] with {anchor['optimizer']}")
