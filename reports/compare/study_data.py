"""The records of a study as it was read: what it set out to compare, its trials, predictions and facts. Pure.

And which of its trials belong to a level, and what became of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from depthcheck.pipeline.config import TrialConfig, require
from depthcheck.pipeline.dimensions import DIMENSIONS, FOCAL_GAMMA
from depthcheck.pipeline.records import Predictions, TrialRecord
from depthcheck.pipeline.scores import ACCURACY, AUC, Metric
from depthcheck.pipeline.verbatim import Launcher


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
        """Make a factor with its dimension's baseline as reference (depth 1, sgd, none), otherwise the first level."""
        baseline = DIMENSIONS[name].baseline if name in DIMENSIONS else None
        is_level = baseline is not None and str(baseline) in levels
        return cls(name=name, levels=levels, reference=str(baseline) if is_level else levels[0])


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
    dummy_score, dummy_train, dummy_test
        The score of always giving the training part's commonest answer, which is what a network that learned nothing
        gets, on the validation part; on the other two, where that is noted, else None.
    n_classes
        Of which there are samples to train, the geometric mean over folds; 1 where numbers are predicted.
    equivalence
        Half the width of the region of practical equivalence, in the metric's scale: 0.003 is 0.3 points of accuracy.
    n_seeds
        Paired seeds that are planned. With folds, each seed is a repeat of the cross-validation, with a partition of
        its own.
    folds, has_test, split_method
        Of a cross-validation, else 0; whether there is a test part; one of
        :data:`depthcheck.pipeline.config.SPLIT_METHODS`.
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
    launcher
        What started the study, so that advice can be followed the same way.
    earlier_test_openings
        How often the test part of these data had been opened before this study.
    """

    name: str
    factors: tuple[Factor, ...]
    metric: Metric = ACCURACY
    dummy_score: float
    dummy_train: float | None = None
    dummy_test: float | None = None
    n_classes: float = 1
    equivalence: float = ACCURACY.equivalence
    n_seeds: int = 5
    folds: int = 0
    has_test: bool = True
    split_method: str = "random"
    budgets: Mapping[str, int] = field(default_factory=dict)
    is_tuned: bool = True
    looks: tuple[int, ...] = ()
    compare_share: float = 1.0
    cores: int = 1
    ranges: tuple[SearchRange, ...] = ()
    widenings: tuple[str, ...] = ()
    launcher: Launcher = "depthcheck"
    earlier_test_openings: int = 0

    def __post_init__(self) -> None:
        names = [factor.name for factor in self.factors]
        require(len(set(names)) == len(names), "factors", "named once each", names)
        require(math.isfinite(self.dummy_score), "dummy_score", "a finite score", self.dummy_score)
        require(self.equivalence > 0, "equivalence", "above 0", self.equivalence)
        require(self.n_seeds >= 0, "n_seeds", "at least 0", self.n_seeds)

    @property
    def stuck_below(self) -> float:
        """The training score that a network has to reach to beat the dummy baseline."""
        dummy = self.dummy_score if self.dummy_train is None else self.dummy_train
        return dummy + self.metric.learned_share * (self.metric.perfect - dummy)

    def dummy_on(self, part: str | None) -> float:
        """Return the score of the dummy baseline on a part."""
        return self.dummy_test if part == "test" and self.dummy_test is not None else self.dummy_score

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
        Its seed is that of the trial it was selected by and counts for nothing here.
    selected_score
        Validation score of the trial it was selected by, or None where no search chose it.
    stands_for
        The (factor, level) pairs of which it is the best; empty for the best of the exploit phase.
    """

    id: str
    config: TrialConfig
    selected_score: float | None = None
    stands_for: tuple[tuple[str, str], ...] = ()
    origin: str = "compare"


#: metric -> epoch -> value
Curves = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """A data set in a few words; numbers that nobody knows are None.

    Attributes
    ----------
    class_counts
        Samples of each class, those of a test part of its own left out; empty for a regression.
    target, target_mean, target_sd
        Name of the predicted column, and what numbers it has in a regression.
    n_samples
        Those that are cut, without a test part of their own.
    how
        How they were cut, in words: by which share and seed, the method and its column.
    leaks
        Columns that give the target away: name, what was said, and whether it was left out; None where nobody looked.
    """

    name: str
    sha256: str
    source: str = ""
    task: str = "classification"
    class_names: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    target: str = ""
    target_mean: float | None = None
    target_sd: float | None = None
    n_samples: int | None = None
    n_train: int | None = None
    n_valid: int | None = None
    n_test: int | None = None
    how: str = ""
    leaks: tuple[tuple[str, str, bool], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceScores:
    """What a model of scikit-learn reached at its default settings, on the study's own split; None where unknown."""

    name: str
    valid: float | None = None
    test: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Shares of the variation that go with each dimension, the largest first, by a named method over so many trials.

    ``has_hidden`` tells whether these are those with hidden layers, and not all: a user's own model may have no depth.
    """

    method: str
    n_trials: int
    shares: tuple[tuple[str, float], ...]
    has_hidden: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What the report says of a study beside its scores.

    Attributes
    ----------
    state, environment
        Of its last session: running, finished, failed or interrupted; Python, packages and machine.
    epochs, seed
        Of every trial; of the study, from which all others are derived.
    tuned, fixed
        What is, a few words each: ``units one of 16, 32``.
    seeds, finalists_sha256
        The fresh seeds of *confirm* and the hash of the frozen list; empty where none was frozen.
    code_version, dirty, command
        The git commit, and ``true``, ``false`` or ``unknown``; the line that runs the study again.
    references
        Models of scikit-learn on the same split: for tables, and a linear one where depth 0 is compared.
    """

    question: str
    state: str
    run_id: str
    tracking_uri: str
    data: DataFacts
    epochs: int | None = None
    seed: int | None = None
    tuned: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    finalists_sha256: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    code_version: str = "unknown"
    dirty: str = "unknown"
    command: str = ""
    importances: tuple[Importance, ...] = ()
    references: tuple[ReferenceScores, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyData:
    """A study as it was read back.

    ``predictions`` is what each run's model said of the test part, by run id, and ``diagnostics`` are its curves of
    gradient norms and saturation by layer.
    """

    design: StudyDesign
    records: tuple[TrialRecord, ...]
    finalists: tuple[FrozenFinalist, ...]
    predictions: Mapping[str, Predictions]
    diagnostics: Mapping[str, Curves]
    facts: StudyFacts

    def confirm_runs(self, finalist: str) -> list[TrialRecord]:
        """Return the confirm runs of a finalist that ended, by number."""
        ended = (r for r in self.records if r.phase == "confirm" and r.state in ("finished", "diverged"))
        return sorted((r for r in ended if r.tags.get("finalist") == finalist), key=lambda record: record.number)

    @property
    def epochs(self) -> tuple[int, ...]:
        """The different numbers of epochs, at most, that the trials have, the baseline's left out."""
        return tuple(sorted({record.config.fit.epochs for record in self.records if record.phase != "baseline"}))


def level_of(config: TrialConfig, factor: Factor) -> str | None:
    """Return the factor's level that a configuration has, or None (depth 0 has no activation).

    Numbers are compared as numbers: a level written ``0.50`` is the logged parameter ``0.5``.
    """
    value = config.values().get(factor.name)
    if value is None:
        return None
    return next((level for level in factor.levels if level == str(value) or _as_number(level) == value), None)


def compare_trials(records: Sequence[TrialRecord], factor: Factor, level: str) -> list[TrialRecord]:
    """Return the trials of the compare phase at a level, by number: the only ones that a table counts."""
    chosen = (r for r in records if r.phase == "compare" and record_level(r, factor) == level)
    return sorted(chosen, key=lambda record: record.number)


def valid_score(record: TrialRecord, design: StudyDesign) -> float:
    """Return the validation score of a trial; the dummy baseline's where it diverged, failed or has none."""
    evaluation = record.evaluation("valid")
    sound = evaluation is not None and record.state in ("finished", "pruned") and np.isfinite(evaluation.score)
    return evaluation.score if evaluation is not None and sound else design.dummy_score


def is_untrained(record: TrialRecord, design: StudyDesign) -> bool:
    """Whether a finished trial's best training score stayed below :attr:`StudyDesign.stuck_below`.

    Training scores are measured while dropout is at work: a network whose validation score is as far from the dummy
    baseline's as is asked of the training score did learn. So did one whose training loss lies that share below what
    guessing costs, where sound networks may score less than guessing.
    """
    scores = [score for score in record.history.train_score if np.isfinite(score)]
    if record.state != "finished" or not scores or max(scores) >= design.stuck_below:
        return False
    share, enough = design.metric.learned_share, _loss_of_guessing(record, design) * (1 - design.metric.learned_share)
    if may_score_below_guessing(record.config, design.metric) and min(record.history.train_loss) < enough:
        return False
    dummy, perfect = design.dummy_score, design.metric.perfect
    return valid_score(record, design) < dummy + share * (perfect - dummy)


def may_score_below_guessing(config: TrialConfig, metric: Metric) -> bool:
    """Whether a network that learned may: where classes weigh the same, it gives up what is had by the commonest.

    AUC does not hang on how common a class is.
    """
    return config.fit.class_weight == "balanced" and metric.key != AUC.key


def _loss_of_guessing(record: TrialRecord, design: StudyDesign) -> float:
    """Return the training loss of what guesses best where classes weigh the same: that all are equally likely."""
    k = design.n_classes
    return math.log(k) * ((1 - 1 / k) ** FOCAL_GAMMA if record.config.values().get("loss") == "focal" else 1)


def best_trial(trials: Sequence[TrialRecord], design: StudyDesign) -> TrialRecord | None:
    """Return the finished trial with the best validation score, of equals the one with the lowest number, or None."""
    scored = [r for r in trials if r.state == "finished" and r.evaluation("valid") is not None]
    return max(scored, key=lambda record: (valid_score(record, design), -record.number), default=None)


def record_level(record: TrialRecord, factor: Factor) -> str | None:
    """Return the level that the configuration has, else the one that the trial's tag names."""
    tags = dict(part.split("=", 1) for part in record.tags.get("combination", "").split(", ") if "=" in part)
    tagged = tags.get(factor.name, record.tags.get(factor.name))
    return level_of(record.config, factor) or (tagged if tagged in factor.levels else None)


def without_seed(config: TrialConfig) -> TrialConfig:
    """Return the configuration with seed 0 and the search's partition: what fresh seeds have in common."""
    return replace(config, fit=replace(config.fit, seed=0), split=replace(config.split, repeat=0))


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
