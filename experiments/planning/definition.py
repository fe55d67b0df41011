"""From a TOML file to an experiment.

Reading checks everything that can be checked without the data; an experiment that exists can be run. Which
configurations it leads to stands in `design`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from depthcheck.experiments.planning.document import LARGEST_SEED, MOST, validated
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.ranges import known_key
from depthcheck.pipeline.config import DataConfig, ParamValue, shown, suggestion
from depthcheck.pipeline.data.load import NAMES
from depthcheck.pipeline.dimensions import DIMENSIONS, Values, active, own_dimensions
from depthcheck.pipeline.system import user_path

SHIPPED = Path(__file__).parents[1] / "definitions"


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
    found = validated({"budget": {}, **document})
    table = found.get("data", {})
    if data is None and "name" not in table:
        raise ValueError(f"[data] must have name, got {shown(table)}")
    fields = {key: value for key, value in table.items() if key not in ("columns", "class_weight")}
    experiment = Experiment.of(
        found,
        name=name,
        data=data or DataConfig(**fields, columns=tuple(table.get("columns", {}).items())),
        class_weight=table.get("class_weight"),
    )
    _check_complete(experiment)
    return experiment


def whole_number(text: str, what: str, *, lowest: int = 1, highest: int = LARGEST_SEED) -> int:
    """Return the whole number from ``lowest`` to ``highest`` that a command line has as text.

    Raises
    ------
    ValueError
        When it is none.
    """
    number: int | str = text
    with contextlib.suppress(ValueError):
        number = int(text) if int(text) >= lowest else text
    return int(Values(kind="int", low=lowest, most=highest).check(number, what))


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
    n_combinations = math.prod(len(levels) for levels in experiment.compare.values())
    if n_combinations > MOST:
        raise ValueError(f"[compare] must have at most {MOST} combinations of levels, got {n_combinations}")
    _check_optimizers(experiment, named, optimizers)
    _check_baseline(experiment.baseline)


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


def _check_baseline(baseline: Mapping[str, ParamValue]) -> None:
    known = list(active(str(baseline.get("optimizer")), int(baseline.get("depth", 0))))
    for name in ("depth", "optimizer", *(dimension.name for dimension in known if dimension.is_required)):
        if name not in baseline:
            raise ValueError(f"[baseline] must have {name}, got {shown(dict(baseline))}")
    for name in sorted(baseline):
        if DIMENSIONS[name].per_optimizer:
            known_key(name, own_dimensions(str(baseline["optimizer"])), f"[baseline] with {baseline['optimizer']}")
