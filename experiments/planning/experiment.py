"""An experiment as it was defined: what is compared, tuned and fixed, on which data; and the name of its study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from depthcheck.experiments.addresses import whole
from depthcheck.experiments.planning.document import Budget, one_line, validated
from depthcheck.experiments.planning.ranges import Choices, Range, Side, Tuned, parse_widenings, widen
from depthcheck.pipeline.config import OPTIMIZERS, DataConfig, ParamValue, SplitChoice, shown, suggestion
from depthcheck.pipeline.dimensions import DIMENSIONS, active, know_own, parameter
from depthcheck.pipeline.own import OwnModel

SCHEMA_VERSION = 2

#: The notebook's network, which every study trains first unless its definition names another.
NOTEBOOK_BASELINE: Mapping[str, ParamValue] = MappingProxyType(
    {"depth": 1, "units": 100, "activation": "sigmoid", "optimizer": "sgd", "learning_rate": 0.01, "batch_size": 32}
)


#: What defines a study of its budget, by the names that stored definitions have.
_OF_BUDGET = {
    "epochs": "epochs",
    "compare_share": "compare",
    "window": "window",
    "pruning": "pruning",
    "equivalence": "equivalence",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A validated definition. ``compare``, ``tune`` and ``fixed`` name each dimension at most once.

    ``tune_for`` holds, optimizer by optimizer, the ranges that replace those of ``tune`` for that optimizer.
    ``widenings`` are those of the command line that led to these ranges, ``sgd.learning_rate:up``. ``chosen`` is the
    hash of the configurations that a comparison is of: their names alone may be those of another one.
    """

    name: str
    data: DataConfig
    budget: Budget
    question: str = ""
    split: SplitChoice = field(default_factory=SplitChoice)
    seed: int = 1234
    compare: Mapping[str, tuple[ParamValue, ...]] = field(default_factory=dict)
    tune: Mapping[str, Tuned] = field(default_factory=dict)
    tune_for: Mapping[str, Mapping[str, Tuned]] = field(default_factory=dict)
    fixed: Mapping[str, ParamValue] = field(default_factory=dict)
    baseline: Mapping[str, ParamValue] = field(default_factory=lambda: NOTEBOOK_BASELINE)
    class_weight: str | None = None
    widenings: tuple[str, ...] = ()
    model: OwnModel | None = None
    chosen: str = ""

    def __post_init__(self) -> None:
        equivalence = self.budget.equivalence
        if equivalence is not None and equivalence >= 1 and self.data.own_metric is None:
            raise ValueError(f"budget.equivalence must be a number above 0 and below 1, got {shown(equivalence)}")
        # One seed for whatever is drawn of the data; a trial's own parameters name it, so that it can be drawn again.
        if self.data.rows is not None and self.data.rows_seed != self.split.seed:
            object.__setattr__(self, "data", replace(self.data, rows_seed=self.split.seed))

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

    @property
    def is_tuned(self) -> bool:
        """Whether anything is tuned: where nothing is, a level is one configuration."""
        return bool(self.tune) or any(self.tune_for.values())

    @property
    def says_epochs(self) -> bool:
        """Whether epochs are compared, tuned or fixed: those of the budget are the baseline's alone then."""
        return "epochs" in {*self.compare, *self.tune, *self.fixed}

    def tuned_for(self, optimizer: str, depth: int) -> dict[str, Tuned]:
        """Return the nuisances that are active for an optimizer and a depth, by dimension."""
        merged = {**self.tune, **self.tune_for.get(optimizer, {})}
        found = {dimension.name for dimension in active(optimizer, depth)}
        return {name: tuned for name, tuned in sorted(merged.items()) if name in found}

    def as_json(self) -> dict[str, Any]:
        """Return what defines the study, in JSON's types.

        Its name, its question, how its ranges came about, and how many trials and seeds it has by now are not part of
        that.
        """
        return {
            "schema": SCHEMA_VERSION,
            **_data_identity(self.data),
            "split": self.split.as_json(),
            **({"class_weight": self.class_weight} if self.class_weight else {}),
            **({"model": self.model.as_json()} if self.model else {}),
            **({"chosen": self.chosen} if self.chosen else {}),
            "seed": self.seed,
            **{theirs: of for theirs, ours in _OF_BUDGET.items() if (of := getattr(self.budget, ours)) is not None},
            "compare": {name: list(levels) for name, levels in self.compare.items()},
            "tune": {name: tuned.as_json() for name, tuned in sorted(self.tune.items())},
            "tune_for": {
                optimizer: {name: tuned.as_json() for name, tuned in sorted(ranges.items())}
                for optimizer, ranges in sorted(self.tune_for.items())
            },
            "fixed": dict(sorted(self.fixed.items())),
            "baseline": dict(sorted(self.baseline.items())),
        }

    def as_params(self) -> dict[str, str]:
        """Return the definition in texts, named as in its TOML file: ``compare.depth``, ``tune.sgd.learning_rate``.

        Without its question, what is said of its data, which is resolved when they have been read, and what of its
        budget may be raised later.
        """
        stored = self.as_json()
        stored["tune"] |= stored["tune_for"]
        stored["budget"] = {ours: stored[theirs] for theirs, ours in _OF_BUDGET.items() if theirs in stored}
        stored["model"] = {} if self.model is None else self.model.name
        stored["data"] = {"class_weight": self.class_weight} if self.class_weight else {}
        order = ("compare", "tune", "fixed", "data", "model", "budget", "seed", "split", "baseline")
        return dict(_texts({key: stored[key] for key in order if key in stored}))

    @classmethod
    def from_json(cls, name: str, stored: Mapping[str, Any]) -> Experiment:
        """Return the experiment of a stored definition, the inverse of :meth:`as_json`.

        Factors are taken as they are: that of a comparison of chosen configurations is no dimension.

        Raises
        ------
        ValueError
            When it is no definition that this version understands.
        """
        try:
            budget = {ours: stored[theirs] for theirs, ours in _OF_BUDGET.items() if theirs in stored}
            document = {key: stored[key] for key in ("split", "seed", "fixed", "baseline")}
            model = OwnModel(**stored["model"]) if "model" in stored else None
            if model is not None:
                know_own(model)
            found = validated(
                {**document, "tune": {**stored["tune"], **stored["tune_for"]}, "budget": {"trials": 1, **budget}}
            )
            return cls.of(
                found,
                name=name,
                data=DataConfig.from_params({key: str(value) for key, value in stored.items()}),
                class_weight=stored.get("class_weight"),
                model=model,
                chosen=stored.get("chosen", ""),
                compare={factor: tuple(levels) for factor, levels in stored["compare"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"study {name!r} must have a definition of this project, got none with {error}") from error

    @classmethod
    def of(cls, found: Mapping[str, Any], **fields: Any) -> Experiment:
        """Return the experiment of a validated document; ``fields`` are those that stand elsewhere in one."""
        tune = found.get("tune", {})
        return cls(
            **{key: found[key] for key in ("question", "split", "budget", "seed", "compare", "fixed") if key in found},
            **({"baseline": found["baseline"]} if found.get("baseline") else {}),
            tune={key: of for key, of in tune.items() if key not in OPTIMIZERS},
            tune_for={key: of for key, of in tune.items() if key in OPTIMIZERS},
            **fields,
        )

    def study_name(self, data_sha256: str) -> str:
        """Return the name derived from all that defines the study, so that the same command continues it."""
        text = json.dumps([self.as_json(), data_sha256], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def with_overrides(
        self,
        *,
        trials: int | None = None,
        epochs: int | None = None,
        seeds: int | None = None,
        seed: int | None = None,
        rows: int | None = None,
    ) -> Experiment:
        """Return the definition with what the command line gave in place of the file's values.

        ValueError for a number that none may be, or that would change nothing but the baseline.
        """
        if epochs is not None and self.says_epochs:
            raise ValueError(
                f"epochs must be said in the definition, which compares, tunes or fixes them, got {shown(epochs)}"
            )
        asked: dict[str, Any] = {"trials": trials, "epochs": epochs, "seeds": seeds}
        with one_line():
            budget = replace(self.budget, **{name: n for name, n in asked.items() if n is not None})
        data = self.data if rows is None else replace(self.data, rows=whole(rows, "rows", 2))
        return replace(self, budget=budget, data=data, seed=self.seed if seed is None else whole(seed, "seed", 0))

    def with_data(self, **said: Any) -> Experiment:
        """Return the definition with what is said of its data, another column to predict, in place of its own words."""
        given = {word: text for word, text in said.items() if text is not None}
        if "metric" in given:  # a shipped one in place of a user's own
            given["own_metric"] = None
        return replace(self, data=replace(self.data, **given))

    def widened_as(self, asked: str | None) -> Experiment:
        """Return the definition with the ranges widened that are named: ``sgd.learning_rate:up,units:down``.

        Raises
        ------
        ValueError
            As :func:`depthcheck.experiments.planning.ranges.parse_widenings` and :meth:`widened`.
        """
        found = self
        for name, side in parse_widenings(asked) if asked else ():
            found = found.widened(name, side)
        return found

    def widened(self, name: str, side: Side) -> Experiment:
        """Return the definition with one range longer on one side: another definition, hence another study.

        Parameters
        ----------
        name
            As Optuna calls it, ``units`` or ``sgd.learning_rate``. What is tuned alike for all optimizers gets a range
            of its own for the one that is named.

        Raises
        ------
        ValueError
            When nothing of that name is tuned, it has no numbers, or there is nothing beyond that end.
        """
        tuned = self._tuned_by_name()
        if name not in tuned:
            known = ", ".join(tuned) or "nothing is tuned"
            raise ValueError(f"widen must name what is tuned ({known}), got {shown(name)}{suggestion(name, tuned)}")
        optimizer, dot, dimension = name.rpartition(".")
        longer = widen(tuned[name], DIMENSIONS[dimension], side)
        found = replace(self, widenings=(*self.widenings, f"{name}:{side}"))
        if not dot:
            return replace(found, tune={**self.tune, dimension: longer})
        own = {**self.tune_for.get(optimizer, {}), dimension: longer}
        return replace(found, tune_for={**self.tune_for, optimizer: own})

    def _tuned_by_name(self) -> dict[str, Tuned]:
        """Return everything that is tuned, by Optuna's names."""
        deepest = max((int(depth) for depth in self.levels("depth")), default=0)
        return {
            parameter(name, str(optimizer)): tuned
            for optimizer in self.levels("optimizer")
            for name, tuned in self.tuned_for(str(optimizer), deepest).items()
        }


def _texts(stored: Mapping[str, Any], table: str = "") -> Iterator[tuple[str, str]]:
    for key, value in stored.items():
        if table and isinstance(value, Mapping) and "low" in value:  # which a dimension may be called, too
            how = [", log"] if value.get("log") else [f", step {value['step']}"] if "step" in value else []
            yield f"{table}{key}", f"{value['low']} to {value['high']}{''.join(how)}"
        elif isinstance(value, Mapping):
            yield from _texts(value, f"{table}{key}.")
        else:
            yield f"{table}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _data_identity(data: DataConfig) -> dict[str, ParamValue]:
    """Return what identifies the data beside their hash: a file by its name alone, wherever it lies."""
    texts = data.to_params()
    return texts | {key: Path(str(texts[key])).name for key in ("data", "test_file") if key in texts}
