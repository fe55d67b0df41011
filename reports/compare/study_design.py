"""The frozen records of what a study set out to compare: factors, ranges, design and finalists. Only data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from depthcheck.pipeline.config import TrialConfig, require
from depthcheck.pipeline.dimensions import DIMENSIONS
from depthcheck.reports.compare.metric import ACCURACY, Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """What is compared: its levels in order, as text, and the level that the others are held against."""

    name: str
    levels: tuple[str, ...]
    reference: str

    def __post_init__(self) -> None:
        require(len(self.levels) >= 1, f"levels of {self.name}", "at least one", self.levels)
        require(len(set(self.levels)) == len(self.levels), f"levels of {self.name}", "named once each", self.levels)
        require(self.reference in self.levels, f"reference of {self.name}", f"one of {self.levels}", self.reference)

    @classmethod
    def of(cls, name: str, levels: tuple[str, ...]) -> Factor:
        """Make a factor with its dimension's baseline as reference (depth 1, sgd), otherwise the first level."""
        declared = str(DIMENSIONS[name].baseline) if name in DIMENSIONS else ""
        return cls(name=name, levels=levels, reference=declared if declared in levels else levels[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRange:
    """The range in which a parameter was searched, and where: ``when`` names a parameter and its value, or is None.

    Attributes
    ----------
    is_list
        Whether it is a list of numbers, from ``low`` to ``high``, and not every number between them.
    open_sides
        On which sides there are values beyond its ends: no dropout is below 0.
    """

    parameter: str
    low: float
    high: float
    log: bool = False
    when: tuple[str, str] | None = None
    is_list: bool = False
    open_sides: tuple[str, ...] = ("down", "up")

    def __post_init__(self) -> None:
        require(self.low < self.high, f"range of {self.parameter}", "low below high", (self.low, self.high))
        require(not self.log or self.low > 0, f"low of {self.parameter} on a log scale", "above 0", self.low)

    def applies_to(self, config: TrialConfig) -> bool:
        """Tell whether a configuration is one of those that it was searched for."""
        return self.when is None or str(config.to_params().get(self.when[0])) == self.when[1]

    def place(self, value: float) -> float:
        """Return where a value lies between the ends, 0 to 1 on the scale it was searched on."""
        low, high = self.low, self.high
        if self.log and value > 0:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDesign:
    """What was laid down before the first trial.

    Attributes
    ----------
    factors
        The questions, one each.
    dummy_score
        The score of always giving the commonest answer: what a network that learned nothing gets.
    equivalence
        Half the width of the region of practical equivalence, in the metric's scale: 0.003 is 0.3 points of accuracy.
    min_settings
        Settings under which a level gets no verdict (docs/comparison.md says by which simulation).
    min_seeds, n_seeds
        Paired seeds under which no verdict is given, and those planned. With folds, each seed is a repeat of the
        cross-validation, with a partition of its own.
    folds
        Number of folds where cross-validation takes the place of a test part, else 0.
    split_method
        How samples were cut, one of :data:`depthcheck.pipeline.config.SPLIT_METHODS`.
    budgets
        Trials planned for each phase.
    is_tuned
        Whether anything is tuned; where nothing is, a level is one configuration.
    looks
        Numbers of settings at which the study was judged so far, this time included, where it goes on until it is
        decided; empty where its size was laid down.
    compare_share
        Share of a budget's trials that phase *compare* gets, the baseline counted in.
    cores
        Of the machine that trained, by which times to come are told.
    ranges, widenings
        Where each tuned number was searched, and which of these ranges its user had widened, ``units:up``.
    earlier_test_openings
        How often the test part of these data had been opened before this study, or None where nobody counted.
    """

    name: str
    factors: tuple[Factor, ...]
    metric: Metric = ACCURACY
    dummy_score: float
    equivalence: float = ACCURACY.equivalence
    min_settings: int = 6
    min_seeds: int = 5
    n_seeds: int = 5
    folds: int = 0
    split_method: str = "random"
    budgets: Mapping[str, int] = field(default_factory=dict)
    is_tuned: bool = True
    looks: tuple[int, ...] = ()
    compare_share: float = 1.0
    cores: int = 1
    ranges: tuple[SearchRange, ...] = ()
    widenings: tuple[str, ...] = ()
    earlier_test_openings: int | None = None

    def __post_init__(self) -> None:
        names = [factor.name for factor in self.factors]
        require(len(set(names)) == len(names), "factors", "named once each", names)
        require(math.isfinite(self.dummy_score), "dummy_score", "a finite score", self.dummy_score)
        require(self.equivalence > 0, "equivalence", "above 0", self.equivalence)
        require(self.min_seeds >= 2, "min_seeds", "at least 2", self.min_seeds)
        require(self.n_seeds >= 1, "n_seeds", "at least 1", self.n_seeds)

    @property
    def stuck_below(self) -> float:
        """The training score that a network has to reach to beat the dummy baseline."""
        return self.dummy_score + self.metric.learned_share * (self.metric.perfect - self.dummy_score)

    def enough(self, again: str) -> int:
        """Return how many *settings* a verdict asks for, or how many seeds or repeats."""
        return self.min_settings if again == "setting" else self.min_seeds

    def trials_for(self, n_settings: int, n_combinations: int) -> int:
        """Return the budget of trials that gives so many settings, each at all combinations of levels.

        A study that goes on keeps the trials that it had, and the share of *compare* is of all trials together.
        """
        planned = {phase: n for phase, n in self.budgets.items() if phase != "confirm"}
        more = n_settings - planned.get("compare", 0) // n_combinations
        had = sum(planned.values())
        if more <= 0:
            return had
        by_share = math.ceil(n_settings * n_combinations / self.compare_share - 1e-9) if self.compare_share else 0
        return max(by_share, had + more * n_combinations)

    @property
    def again(self) -> str:
        """What a finalist is trained again on: another *seed*, or another *repeat* of the cross-validation."""
        return "repeat" if self.folds else "seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenFinalist:
    """A configuration chosen to be trained again on fresh seeds.

    Attributes
    ----------
    id
        Its short name, the value of the tag ``finalist`` of its confirm runs.
    config
        The configuration; its seed is that of the trial it was selected by and counts for nothing here.
    selected_score, selected_number
        Validation score and number of the trial it was selected by, or None where no search chose it.
    stands_for
        The (factor, level) pairs of which it is the best; empty for the best of the exploit phase.
    """

    id: str
    config: TrialConfig
    selected_score: float | None = None
    selected_number: int | None = None
    stands_for: tuple[tuple[str, str], ...] = ()
    origin: str = "compare"
