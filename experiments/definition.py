"""An experiment as a TOML file defines it: data, what is compared, tuned and fixed, budgets and seed.

Reading it checks everything that can be checked without the data; a definition that exists can be run. Which
configurations it leads to stands in `design`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from experiments.dimensions import (
    DIMENSIONS,
    HIDDEN_LAYER,
    OPTIMIZER_DIMENSIONS,
    Choices,
    Range,
    known_key,
    parse_levels,
    parse_tuned,
    suggestion,
)
from pipeline.config import OPTIMIZERS, DataConfig, ParamValue, SplitChoice, shown
from pipeline.load import NAMES

SHIPPED = Path(__file__).parent
SCHEMA_VERSION = 1
#: Trials, epochs or seeds beyond this, and combinations of levels, are a mistake that would fill the memory.
_MOST = 100_000
#: scikit-learn, which cuts the data, takes seeds below 2**32; MLflow and JSON carry whole numbers below 2**63.
_LARGEST_SPLIT_SEED, _LARGEST_SEED = 2**32 - 1, 2**63 - 1

Tuned = Range | Choices
#: The notebook's network, which every study trains first unless its definition names another.
NOTEBOOK_ANCHOR: Mapping[str, ParamValue] = MappingProxyType(
    {"depth": 1, "units": 100, "activation": "sigmoid", "optimizer": "sgd", "learning_rate": 0.01, "batch_size": 32}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many trials and epochs, and how they are shared out.

    Attributes
    ----------
    trials
        Trials of anchor, compare and exploit together.
    epochs
        Epochs of every trial.
    compare
        Share of the trials that phase *compare* gets, in equal parts for the cells; the rest goes to *exploit*.
    window
        Trial i of *exploit* is proposed when all up to i - window have ended. It belongs to the definition, so that
        the number of workers changes nothing.
    seeds
        Fresh seeds on which each finalist is trained again; 0 leaves phase *confirm* out.
    pruning
        ``median`` ends a trial of *exploit* that stays behind the median of the earlier ones; ``none`` never does.
    equivalence
        Differences of the score up to this count as practically none, in the score's own scale (0.003 is 0.3 points of
        accuracy); None for the default of the metric.
    """

    trials: int
    epochs: int
    compare: float = 0.8
    window: int = 4
    seeds: int = 5
    pruning: str = "median"
    equivalence: float | None = None

    def __post_init__(self) -> None:
        for name, lowest in (("trials", 1), ("epochs", 1), ("window", 1), ("seeds", 0)):
            _whole(getattr(self, name), name, lowest, _MOST)
        if not isinstance(self.compare, int | float) or isinstance(self.compare, bool) or not 0 <= self.compare <= 1:
            raise ValueError(f"budget.compare must be a share between 0 and 1, got {shown(self.compare)}")
        if self.pruning not in ("median", "none"):
            raise ValueError(f"budget.pruning must be one of median, none, got {shown(self.pruning)}")
        equivalence = self.equivalence
        if equivalence is not None and not (isinstance(equivalence, float) and 0 < equivalence < 1):
            raise ValueError(f"budget.equivalence must be a number between 0 and 1, got {shown(equivalence)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A validated definition. ``compare``, ``tune`` and ``fixed`` name each dimension at most once.

    ``tune_for`` holds, optimizer by optimizer, the ranges that replace those of ``tune`` for that optimizer.
    """

    name: str
    question: str
    data: DataConfig
    split: SplitChoice
    budget: Budget
    seed: int
    compare: Mapping[str, tuple[ParamValue, ...]] = field(default_factory=dict)
    tune: Mapping[str, Tuned] = field(default_factory=dict)
    tune_for: Mapping[str, Mapping[str, Tuned]] = field(default_factory=dict)
    fixed: Mapping[str, ParamValue] = field(default_factory=dict)
    anchor: Mapping[str, ParamValue] = field(default_factory=lambda: NOTEBOOK_ANCHOR)
    class_weight: str | None = None

    def levels(self, name: str) -> tuple[ParamValue, ...]:
        """Return every value that a dimension with few values can take: its levels, choices or fixed value."""
        if name in self.compare:
            return self.compare[name]
        if name in self.fixed:
            return (self.fixed[name],)
        tuned = self.tune.get(name)
        if isinstance(tuned, Choices):
            return tuned.values
        if isinstance(tuned, Range) and tuned.integer:
            return tuple(range(int(tuned.low), int(tuned.high) + 1, int(tuned.step or 1)))
        return ()

    def tuned_for(self, optimizer: str, depth: int) -> dict[str, Tuned]:
        """Return the nuisances that are active for an optimizer and a depth, by dimension."""
        merged = {**self.tune, **self.tune_for.get(optimizer, {})}
        inactive = {name for name in OPTIMIZER_DIMENSIONS if name not in (*OPTIMIZERS[optimizer], "learning_rate")}
        if depth == 0:
            inactive.update(HIDDEN_LAYER)
        return {name: tuned for name, tuned in sorted(merged.items()) if name not in inactive}

    def as_json(self) -> dict[str, Any]:
        """Return what defines the study, in JSON's types.

        Its name, its question, and how many trials and seeds it has by now are not part of that.
        """
        return {
            "schema": SCHEMA_VERSION,
            **_data_identity(self.data),
            "split": self.split.as_json(),
            **({"class_weight": self.class_weight} if self.class_weight else {}),
            "seed": self.seed,
            "epochs": self.budget.epochs,
            "compare_share": self.budget.compare,
            "window": self.budget.window,
            "pruning": self.budget.pruning,
            **({} if self.budget.equivalence is None else {"equivalence": self.budget.equivalence}),
            "compare": {name: list(levels) for name, levels in self.compare.items()},
            "tune": {name: tuned.as_json() for name, tuned in sorted(self.tune.items())},
            "tune_for": {
                optimizer: {name: tuned.as_json() for name, tuned in sorted(ranges.items())}
                for optimizer, ranges in sorted(self.tune_for.items())
            },
            "fixed": dict(sorted(self.fixed.items())),
            "anchor": dict(sorted(self.anchor.items())),
        }

    def study_name(self, data_sha256: str) -> str:
        """Return the name derived from all that defines the study, so that the same command continues it."""
        text = json.dumps([self.as_json(), data_sha256], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def with_overrides(
        self, *, trials: int | None = None, epochs: int | None = None, seeds: int | None = None, seed: int | None = None
    ) -> Experiment:
        """Return the definition with what the command line gave in place of the file's values."""
        budget = replace(
            self.budget,
            trials=self.budget.trials if trials is None else trials,
            epochs=self.budget.epochs if epochs is None else epochs,
            seeds=self.budget.seeds if seeds is None else seeds,
        )
        return replace(self, budget=budget, seed=self.seed if seed is None else seed)


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
    path = (base or Path.cwd()) / Path(name_or_path).expanduser()
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
        experiment = parse(document, name=_slug(path.stem), data=data)
        if data is not None:
            return replace(experiment, name=_slug(Path(data.name).stem))
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

    def found(text: str | None) -> str | None:
        path = base / Path(text).expanduser() if text and text not in NAMES else None
        return str(path.resolve()) if path is not None and path.exists() else text

    return replace(data, name=found(data.name) or data.name, test_file=found(data.test_file))


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "study"


def _data_identity(data: DataConfig) -> dict[str, ParamValue]:
    """Return what identifies the data beside their hash: a file by its name alone, wherever it lies."""
    texts = data.to_params()
    return texts | {key: Path(str(texts[key])).name for key in ("data", "test_file") if key in texts}


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
        seed=_whole(document.get("seed", 1234), "seed", 0, _LARGEST_SEED),
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
    return _whole(number if isinstance(number, int) and lowest <= number else text, what, lowest, highest)


def _whole(value: object, what: str, lowest: int, highest: int) -> int:
    """Return a whole number that is given as such: text is none, since nothing turns it into a number later."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{what} must be a whole number of at least {lowest}, got {shown(value)}")
    if value > highest:
        raise ValueError(f"{what} must be a whole number of at most {highest}, got {shown(value)}")
    return value


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
        seed=_whole(table.get("seed", 1234), "split.seed", 0, _LARGEST_SPLIT_SEED),
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
        inner = _table(table, key, ("learning_rate", *OPTIMIZERS[key]))
        tune_for[key] = {name: parse_tuned(name, ranges, f"tune.{key}") for name, ranges in inner.items()}
    return tune, tune_for


def _check_complete(experiment: Experiment) -> None:
    """Complain where a dimension has two roles, where one that every network needs has none, or a role is idle."""
    roles = {"compare": set(experiment.compare), "tune": set(experiment.tune), "fixed": set(experiment.fixed)}
    for one, other in (("compare", "tune"), ("compare", "fixed"), ("tune", "fixed")):
        for name in sorted(roles[one] & roles[other]):
            raise ValueError(f"{name} must be either compared, tuned or fixed, got it in [{one}] and in [{other}]")
    named = set().union(*roles.values())
    for name in ("depth", "optimizer", "batch_size"):
        if name not in named:
            raise ValueError(f"{name} must be in [compare], [tune] or [fixed], got it in none of them")
    depths = experiment.levels("depth")
    if any(depth != 0 for depth in depths):
        for name in ("units", "activation"):
            if name not in named:
                raise ValueError(f"{name} must be in [compare], [tune] or [fixed], got it in none of them")
    n_cells = math.prod(len(levels) for levels in experiment.compare.values())
    if n_cells > _MOST:
        raise ValueError(f"[compare] must have at most {_MOST} combinations of levels, got {n_cells}")
    _check_optimizers(experiment, named)
    _check_anchor(experiment.anchor)


def _check_optimizers(experiment: Experiment, named: set[str]) -> None:
    optimizers = [str(optimizer) for optimizer in experiment.levels("optimizer")]
    for optimizer in experiment.tune_for:
        if optimizer not in optimizers:
            raise ValueError(f"tune.{optimizer} must be of an optimizer that is used ({', '.join(optimizers)})")
        for name in experiment.tune_for[optimizer]:
            if name in experiment.compare or name in experiment.fixed:
                raise ValueError(
                    f"{name} must be either compared, tuned or fixed, got it in [tune.{optimizer}] as well"
                )
    for optimizer in optimizers:
        if "learning_rate" not in named | set(experiment.tune_for.get(optimizer, {})):
            raise ValueError(f"learning_rate of {optimizer} must be in [tune.{optimizer}], [tune] or [fixed], got none")
    for name in named & OPTIMIZER_DIMENSIONS - {"learning_rate"}:
        takers = [optimizer for optimizer in optimizers if name in OPTIMIZERS[optimizer]]
        if not takers or (name in experiment.compare and len(takers) < len(optimizers)):
            whom = "every optimizer" if name in experiment.compare else "an optimizer"
            raise ValueError(f"{name} must be a knob of {whom} that is used, got {', '.join(optimizers)}")


def _check_anchor(anchor: Mapping[str, ParamValue]) -> None:
    needed = ["depth", "optimizer", "learning_rate", "batch_size"]
    if anchor.get("depth"):
        needed += ["units", "activation"]
    for name in needed:
        if name not in anchor:
            raise ValueError(f"[anchor] must have {name}, got {shown(dict(anchor))}")
    optimizer = str(anchor["optimizer"])
    for name in sorted(set(anchor) & OPTIMIZER_DIMENSIONS - {"learning_rate"}):
        known_key(name, OPTIMIZERS[optimizer], f"[anchor] with {optimizer}")
