"""The frozen records of what a comparison found.

Only data live here, checked when they are made. Scores and differences are in the metric's own scale (an accuracy of
0.885, a difference of 0.004); :class:`depthcheck.pipeline.scores.Metric` turns them into the reader's unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from depthcheck.pipeline.config import TrialConfig, require
from depthcheck.pipeline.dimensions import CONFIGURATION
from depthcheck.pipeline.verbatim import in_markdown
from depthcheck.reports.compare.study_data import Factor, FrozenFinalist, ReferenceScores, StudyDesign

VerdictWord = Literal["helps", "hurts", "practically equal", "inconclusive", "not enough evidence", "never trained"]
LevelStatus = Literal[
    "judged", "unjudged", "confirmed", "partly confirmed", "never trained", "diverged", "failed", "no trials"
]
DifferenceMethod = Literal[
    "seeds and examples", "seeds, examples bounded", "seeds only", "folds", "repeats only",
    "settings and examples", "settings and rows",
]  # fmt: skip


#: Of fewer groups or blocks of time nothing is known of how they differ.
FEWEST_UNITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and standard deviation over ``n`` runs that differ in their seed alone; sd is None for one run."""

    mean: float
    sd: float | None
    n: int

    def __post_init__(self) -> None:
        require(self.n >= 1, "runs of a spread", "at least 1", self.n)
        require((self.sd is None) == (self.n == 1), "sd", "None for one run and a number for more", (self.sd, self.n))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean score of A minus that of B, paired by seed, with its 95 % interval and where its variance comes from.

    Attributes
    ----------
    estimate, low, high
        In the metric's scale. ``low`` and ``high`` are None for one seed: one run says nothing about its spread.
    p
        Two-sided, of no difference; None together with the interval.
    df
        Degrees of freedom of the t quantile (Satterthwaite); None together with the interval.
    by_seed
        ``(n_seeds,)`` the difference at each seed, or repeat of a cross-validation.
    n_examples, drawn
        Size of the part that judges (of a cross-validation, all rows), in independent draws: *examples*, or the
        *groups* or *blocks of time* that they come in.
    seed_variance, example_variance, rest_variance
        Of the effect of a seed on the whole test part, of an example over all seeds, and of both together. With folds:
        of a repeat, and (over ``n_examples``) of what no number of repeats takes away; there is no rest.
    df_examples
        Degrees of freedom of the examples' part.
    n_folds
        Folds of each repeat; 0 without cross-validation.
    method
        Whether examples were counted in, and how.
    """

    estimate: float
    low: float | None
    high: float | None
    p: float | None
    df: float | None
    by_seed: tuple[float, ...]
    n_examples: int
    seed_variance: float = 0.0
    example_variance: float = 0.0
    rest_variance: float = 0.0
    df_examples: float = math.inf
    n_folds: int = 0
    method: DifferenceMethod
    drawn: str = "examples"

    def __post_init__(self) -> None:
        require(len(self.by_seed) >= 1, "paired seeds of a difference", "at least 1", len(self.by_seed))
        known = {value is None for value in (self.low, self.high, self.p, self.df)}
        require(len(known) == 1, "interval, p and df", "all given or all None", (self.low, self.high, self.p, self.df))
        if self.low is not None and self.high is not None:
            require(self.low <= self.estimate <= self.high, "estimate", "inside its interval", self.estimate)

    @property
    def n_seeds(self) -> int:
        """Number of paired seeds."""
        return len(self.by_seed)

    @property
    def again(self) -> str:
        """What the runs differ by: a *setting*, a *seed*, or a *repeat* of the cross-validation."""
        if self.method.startswith("settings"):
            return "setting"
        return "repeat" if self.method in ("folds", "repeats only") else "seed"

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval, or None where there is none."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelCurve:
    """A level's tuned score by the number of settings tried, each with its interval; and its differences.

    ``scores`` has an entry for each of ``subsets``; ``differences`` too, level minus reference, or is empty for the
    reference itself.
    """

    level: str
    subsets: tuple[int, ...]
    scores: tuple[Difference, ...]
    differences: tuple[Difference, ...] = ()

    def __post_init__(self) -> None:
        require(len(self.scores) == len(self.subsets), "scores of a curve", "one a subset", len(self.scores))
        require(len(self.differences) in (0, len(self.subsets)), "differences", "one a subset", len(self.differences))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One of the six words, and the reason in a sentence.

    ``more`` settings (or seeds) would tell a difference of ``effect`` from none, or give a verdict where that is None.
    """

    word: VerdictWord
    because: str
    more: int | None = None
    effect: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A level against the reference level of its factor.

    Attributes
    ----------
    difference
        Level minus reference: of what tuning each gives, at the same settings; where configurations were chosen by the
        user, of these on the same fresh seeds. None where nothing is shared, or nothing was judged yet.
    p_better
        Of chosen configurations: share of all pairs of runs in which the level's run beats the reference's (ties half).
    """

    factor: str
    level: str
    reference: str
    difference: Difference | None = None
    p_holm: float | None = None
    p_better: float | None = None
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRow:
    """One row of a factor's table. Counts are of the compare phase; scores in the metric's scale.

    Attributes
    ----------
    tuned
        What tuning the level gives on the part that judges, with its interval; None where it was not judged.
    tuned_valid
        The same on the validation part: what orders levels, and decides nothing.
    best, selected_score
        The configuration with the best validation score, and that score.
    finalist, valid, test
        Where the user chose configurations: the level's finalist, and its scores over fresh seeds.
    n_params, seconds
        Of the best configuration, without compiling.
    """

    factor: str
    level: str
    is_reference: bool
    status: LevelStatus
    n_finished: int
    n_failed: int
    n_diverged: int
    n_pruned: int
    n_untrained: int
    best: TrialConfig | None
    finalist: str | None
    selected_score: float | None
    valid: Spread | None
    test: Spread | None
    n_params: int | None
    seconds: float | None
    tuned: Difference | None = None
    tuned_valid: float | None = None

    @property
    def where(self) -> str:
        """Factor and level inside of markdown, ``depth 2``."""
        return in_markdown(f"{self.factor} {self.level}", None)

    @property
    def valid_mean(self) -> float | None:
        """The validation score that orders levels: of tuning, or of the chosen configuration's fresh seeds."""
        return self.valid.mean if self.tuned_valid is None and self.valid else self.tuned_valid

    @property
    def n_trials(self) -> int:
        """Trials of the compare phase, whatever became of them."""
        return self.n_finished + self.n_failed + self.n_diverged + self.n_pruned


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalistRow:
    """A finalist with what its fresh seeds gave; ``secondary`` holds further scores on the part that judges."""

    finalist: FrozenFinalist
    valid: Spread | None
    test: Spread | None
    n_diverged: int
    n_params: int | None
    seconds: float | None
    secondary: Mapping[str, Spread] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One factor's table and contrasts, the best level by validation score, what is missing, and curves by effort."""

    factor: Factor
    rows: tuple[LevelRow, ...]
    contrasts: tuple[Contrast, ...]
    best_level: str | None
    missing: tuple[str, ...]
    curves: tuple[LevelCurve, ...] = ()

    def __post_init__(self) -> None:
        levels = tuple(row.level for row in self.rows)
        require(levels == self.factor.levels, f"rows of {self.factor.name}", str(self.factor.levels), levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The finalist with the best confirmed validation mean, and the best alternative: another finalist, or None.

    Both are chosen on the validation part. ``difference`` is the alternative minus the recommended on the part that
    judges, over the fresh seeds of both.
    """

    recommended: FinalistRow
    alternative: FinalistRow | None
    difference: Difference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What the compare phase amounts to.

    Attributes
    ----------
    n_settings, subset
        Settings that all ``n_combinations`` of levels were trained with, and those of the tuning that the answer is of.
    n_incomplete, n_unscored, n_without_examples
        Settings that are not complete yet; networks without scores of single examples, and those among them that have
        the whole part's: then their predictions are missing, or an own metric has no value without some examples.
    seconds
        Of training one setting at all combinations, on one thread; 0 where none is complete.
    """

    n_settings: int
    subset: int
    n_combinations: int
    n_incomplete: int
    n_unscored: int
    n_without_examples: int = 0
    seconds: float

    @property
    def n_to_score(self) -> int:
        """Networks that the same command goes on to score."""
        return self.n_unscored - self.n_without_examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row of the section *Can you trust this*."""

    name: str
    state: Literal["pass", "warn"]
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that the report says, before it is drawn and written.

    ``linear`` is scikit-learn's linear model on the same split, where it was fitted.
    ``n_to_confirm`` counts the runs on fresh seeds that are planned and have not ended; before finalists are chosen,
    those of one.
    """

    design: StudyDesign
    part: Literal["test", "valid"] | None
    questions: tuple[Question, ...]
    finalists: tuple[FinalistRow, ...]
    recommendation: Recommendation | None
    checks: tuple[Check, ...] = ()
    search: Search | None = None
    linear: ReferenceScores | None = None
    n_to_confirm: int = 0

    @property
    def is_of_chosen(self) -> bool:
        """Whether its levels are configurations that the user chose."""
        return any(question.factor.name == CONFIGURATION for question in self.questions)

    @property
    def judged(self) -> str:
        """How the scores that judge came about, as a word before *accuracy*: test, validation or cross-validated."""
        if self.part == "test" or (self.part is None and self.design.has_test and not self.design.folds):
            return "test"
        return "cross-validated" if self.design.folds else "validation"

    @property
    def drawn(self) -> str:
        """What the intervals draw beside settings and seeds: test examples, rows, or the units that they come in."""
        tuned = (row.tuned.drawn for question in self.questions for row in question.rows if row.tuned)
        units = next((drawn for drawn in tuned if drawn != "examples"), None)
        return units or ("rows" if self.design.folds else "test examples")

    @property
    def warnings(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if check.state == "warn")
