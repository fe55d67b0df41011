"""Whole studies, search included, drawn from a landscape and judged: whether another study gives the same answer.

``python -m benchmarks.searches`` prints tables of docs/search-simulations.md from the files in
``benchmarks/landscapes`` (:mod:`benchmarks.landscape` makes them). A study draws *m* settings of the landscape with
replacement, the same for all levels, and test examples with replacement; the truth is then known exactly: the tuned
score of the whole landscape on all of its test examples. Every study is judged by the functions that the report uses;
other estimators stand beside.

The rows of a cross-validation are drawn here, the networks trained on them are not: :mod:`benchmarks.folds` has these.
The report's interval allows for both, and is expected to cover more than 95 % here.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.landscape import dimensions, inside
from depthcheck.pipeline.scores import ENOUGH_SETTINGS, METRICS, Metric
from depthcheck.reports.compare.difference import (
    degrees_of_freedom,
    paired_difference,
    pseudo_weights,
    reaching,
    subset_size,
    subset_weights,
    tuned_scores,
)
from depthcheck.reports.compare.example_scores import auc_scores, r2_scores
from depthcheck.reports.compare.results import Difference
from depthcheck.reports.compare.verdict import SIGNIFICANCE, adjust, decide, nominal_errors

Array = NDArray[np.float64]
Interval = tuple[float, float, float]
FOLDER = Path(__file__).parent / "landscapes"
#: Standard deviation of a network's score from one training seed to another, for the estimator of winners.
SEED_SD, FRESH_SEEDS = 0.002, 5
BUDGETS = (6, 8, 12, 20, 40)
#: True differences to be found, in regions of practical equivalence: of accuracy and AUC 0.3, 1 and 2 points.
EFFECTS = (0.0, 1.0, 10 / 3, 20 / 3)
WORDS = ("helps", "hurts", "practically equal", "inconclusive")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What tuning a level chooses from: each setting's best network.

    ``valid`` is ``(n_settings, 1)``, with folds ``(n_settings, n_folds)``: the score by which the network of a fold is
    chosen, that on the others. ``answers`` is ``(n_settings, n_examples)``; ``traits`` are the settings' own values and
    their squares, less the means of the landscape.
    """

    metric: Metric
    valid: Array
    answers: NDArray[Any]
    fold: NDArray[np.int64]
    traits: Array

    @property
    def n_folds(self) -> int:
        """Number of folds, 0 without."""
        return self.valid.shape[1] if self.valid.shape[1] > 1 else 0

    def drawn(self, settings: NDArray[np.int64], examples: NDArray[np.int64]) -> Kept:
        """Return what a study gets to see."""
        return replace(
            self, valid=self.valid[settings], traits=self.traits[settings], fold=self.fold[examples],
            answers=self.answers[settings].take(examples, axis=1),
        )  # fmt: skip

    def first(self, n_settings: int) -> Kept:
        """Return what the study saw when it had so many settings."""
        cut = slice(n_settings)
        return replace(self, valid=self.valid[cut], traits=self.traits[cut], answers=self.answers[cut])

    def moved(self, by: float, rng: np.random.Generator) -> Kept:
        """Return a level that is better by so much, whatever the setting: of an accuracy, other answers are right."""
        if not self.metric.is_share:
            return replace(self, answers=(self.answers + by).astype(self.answers.dtype))
        share_right = self.answers.mean(axis=1, keepdims=True)
        chance = by / (1 - share_right) if by > 0 else -by / share_right
        turned = (rng.random(self.answers.shape) < chance) & (self.answers == (by <= 0))
        return replace(self, answers=np.where(turned, 1 - self.answers, self.answers).astype(self.answers.dtype))

    def truth(self, subset: int) -> float:
        """Return the tuned score of the whole landscape: settings drawn with replacement, all examples."""
        n = len(self.valid)
        rank = np.arange(n)
        weights = ((n - rank) / n) ** subset - ((n - rank - 1) / n) ** subset
        folds = [self.answers[:, self.fold == of].mean(axis=1) for of in range(self.valid.shape[1])]
        return float(np.mean([weights @ of[self.order(number)] for number, of in enumerate(folds)]))

    def order(self, fold: int) -> NDArray[np.int64]:
        """Return the settings, best first."""
        return np.argsort(-self.valid[:, fold], kind="stable")

    def tuned(self, subset: int, n_failed: int = 0) -> Array:
        """Return the pseudo-values of the tuned score, by the report's own function."""
        found = np.empty((len(self.valid) + n_failed, self.answers.shape[1]))
        for number in range(self.valid.shape[1]):
            here = self.fold == number if self.n_folds else slice(None)
            found[:, here] = tuned_scores(
                self.valid[:, [number]], self.answers[:, None, here], subset, n_failed=n_failed
            )
        return found

    def tables(self, subset: int) -> list[Array]:
        """Return the same as it is, and with the failures that the report imagines for this metric, if any."""
        return [self.tuned(subset, n_failed) for n_failed in sorted({0, self.metric.imagined_failures})]


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Every setting at every combination of levels, trained once.

    ``valid`` is ``(n_settings, n_cells)`` or, with folds, ``(n_settings, n_cells, n_folds)``; ``scores`` is
    ``(n_settings, n_cells, n_examples)``; ``levels`` has the level of each factor in each cell. ``shares`` has a column
    a tuned dimension.
    """

    name: str
    metric: Metric
    valid: Array
    scores: NDArray[Any]
    fold: NDArray[np.int64] | None
    shares: Array
    dimensions: tuple[str, ...]
    factors: tuple[str, ...]
    levels: NDArray[np.str_]

    def cells(self, factor: str, level: str) -> NDArray[np.int64]:
        """Return the positions of the cells that have this level."""
        return np.flatnonzero(self.levels[:, self.factors.index(factor)] == level)

    def levels_of(self, factor: str) -> list[str]:
        """Return the factor's levels in order, the reference first."""
        levels = list(dict.fromkeys(self.levels[:, self.factors.index(factor)]))
        reference = next((level for level in ("1", "sgd") if level in levels), levels[0])
        return [reference, *(level for level in levels if level != reference)]

    def within(self, limits: Sequence[str]) -> Landscape:
        """Return the landscape of narrower ranges: ``learning_rate=0.2:0.8``, in shares of its own ranges."""
        keep = inside(self.shares, self.dimensions, limits)
        return replace(self, valid=self.valid[keep], scores=self.scores[keep], shares=self.shares[keep])

    def best(self) -> dict[str, float]:
        """Return the best validation score of each level."""
        return {
            f"{factor} {level}": float(self.kept(factor, level).valid.mean(axis=1).max())
            for factor in self.factors
            for level in self.levels_of(factor)
        }

    def kept(self, factor: str, level: str) -> Kept:
        """Return each setting's best network at this level; with folds, of each fold the best on the others."""
        cells = self.cells(factor, level)
        valid, scores = self.valid[:, cells], self.scores[:, cells]
        fold = np.zeros(scores.shape[2], np.int64) if self.fold is None else self.fold
        by_fold = valid[:, :, None]
        if self.fold is not None:
            by_fold = np.stack([np.delete(valid, of, axis=2).mean(axis=2) for of in range(valid.shape[2])], axis=2)
        best, rows = by_fold.argmax(axis=1), np.arange(len(valid))
        answers = np.empty((len(valid), len(fold)), scores.dtype)
        for number in range(by_fold.shape[2]):
            here = fold == number
            answers[:, here] = scores[rows, best[:, number]][:, here]
        traits = np.column_stack([self.shares, self.shares**2])
        traits -= traits.mean(axis=0)
        return Kept(metric=self.metric, valid=by_fold.max(axis=1), answers=answers, fold=fold, traits=traits)


def read(name: str, folder: Path = FOLDER) -> Landscape:
    """Return a landscape from its file; a diverged network has the score of chance on every example."""
    with np.load(folder / f"{name}.npz") as stored:
        of = {key: stored[key] for key in stored.files}
    metric, y = METRICS[str(of["metric"])], of["y"]
    fold = of["fold"].astype(np.int64) if len(of["fold"]) else None
    if "right" in of:
        scores: NDArray[Any] = np.unpackbits(of["right"], axis=-1)[..., : len(y)].astype(np.int8)
        commonest = y == np.bincount(y.astype(int)).argmax()
        scores[of["diverged"]] = commonest
    else:
        is_lost = of["diverged"] | (of["valid"] < metric.diverged_below)
        of["answers"][is_lost] = 0
        scores = _pseudo_values(metric, y, of["answers"].astype(np.float64), fold)
        scores[is_lost] = 0.5 if metric.key == "auc" else 0.0
    valid = of["valid"]
    if fold is not None:
        valid = np.stack([scores[..., fold == number].mean(axis=-1) for number in np.unique(fold)], axis=-1)
    return Landscape(
        name=name,
        metric=metric,
        valid=valid.astype(np.float64),
        scores=scores,
        fold=fold,
        shares=of["shares"],
        dimensions=dimensions(name),
        factors=tuple(of["factors"]),
        levels=of["levels"],
    )


def _pseudo_values(metric: Metric, y: NDArray[Any], answers: Array, fold: NDArray[np.int64] | None) -> NDArray[Any]:
    judge: Callable[[Any, Any], Any] = auc_scores if metric.key == "auc" else r2_scores
    parts = [np.arange(len(y))] if fold is None else [np.flatnonzero(fold == number) for number in np.unique(fold)]
    found = np.empty(answers.shape, np.float32)
    for at in np.ndindex(answers.shape[:2]):
        for rows in parts:
            found[at][rows] = judge(y[rows], np.nan_to_num(answers[at][rows]))
    return found


def contrast(
    a: Array, b: Array, subset: int, n_folds: int, *, error: float = SIGNIFICANCE, imagined: float | None = None
) -> Difference:
    """Judge the pseudo-values of two levels as the report does, at a look that may make that error.

    The report imagines no examples in favour of either side.
    """
    return paired_difference(
        a, b, pseudo_observations=imagined, method="settings and examples", df_rows=degrees_of_freedom(len(a), subset),
        n_folds=n_folds, confidence=1 - error,
    )  # fmt: skip


def judged(
    a: Sequence[Array], b: Sequence[Array], subset: int, n_folds: int, error: float = SIGNIFICANCE
) -> Difference:
    """Judge the tables of two levels as the report does."""
    return functools.reduce(
        reaching, (contrast(one, other, subset, n_folds, error=error) for one, other in zip(a, b, strict=True))
    )


def judge(a: Kept, b: Kept, subset: int) -> Difference:
    """Judge a contrast of two levels as the report does."""
    return judged(a.tables(subset), b.tables(subset), subset, a.n_folds)


def words(differences: Sequence[Difference], metric: Metric, error: float = SIGNIFICANCE) -> list[str]:
    """Give the verdicts on one question's contrasts."""
    adjusted = adjust([difference.p for difference in differences], error)
    return [
        decide(difference, p, equivalence=metric.equivalence, enough=ENOUGH_SETTINGS, metric=metric).word
        for difference, p in zip(differences, adjusted, strict=True)
    ]


def _as_interval(found: Difference) -> Interval:
    return found.estimate, found.low or 0.0, found.high or 0.0


def _around(estimate: float, variance: float, df: float) -> Interval:
    half = float(stats.t.ppf(0.975, df)) * math.sqrt(variance)
    return estimate, estimate - half, estimate + half


def _over_examples(a: Kept, b: Kept, subset: int) -> float:
    """Return the part of the variance that more settings do not take away."""
    return judge(a, b, subset).example_variance / a.answers.shape[1]


def subsets(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Judge as the report does."""
    del rng
    return _as_interval(judge(a, b, subset))


def none_failed(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Judge so, with no setting imagined at which every level failed."""
    del rng
    return _as_interval(contrast(a.tuned(subset), b.tuned(subset), subset, a.n_folds))


def rows_alone(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Judge so, but with folds as without: nothing is added for training rows that they share, which here are fixed."""
    del rng
    return _as_interval(contrast(a.tuned(subset), b.tuned(subset), subset, 0))


def two_imagined(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Judge so, with two imagined examples on each side, as Bonett and Price (2012) do for two single networks."""
    del rng
    return _as_interval(contrast(a.tuned(subset), b.tuned(subset), subset, a.n_folds, imagined=2.0))


def none_imagined(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Judge so, with none, and as many degrees of freedom as examples, less one."""
    del rng
    return _as_interval(contrast(a.tuned(subset), b.tuned(subset), subset, a.n_folds, imagined=0.0))


def all_degrees(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Judge so, but with as many degrees of freedom as settings, less one."""
    del rng
    return _as_interval(paired_difference(a.tuned(subset), b.tuned(subset), pseudo_observations=None))


def winners(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Judge the winners of all settings, each trained again on fresh seeds: the first version of the report."""
    del subset
    fresh = [
        of.answers[of.valid.mean(axis=1).argmax()] + SEED_SD * rng.standard_normal((FRESH_SEEDS, 1)) for of in (a, b)
    ]
    return _as_interval(paired_difference(*fresh, pseudo_observations=a.metric.pseudo_observations))


def separate(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Part the settings into searches of their own, each with a winner; seeds are then searches."""
    del rng
    groups = [np.arange(at, at + subset) for at in range(0, len(a.valid) - subset + 1, subset)]
    found = [
        np.stack([of.answers[group[of.valid[group].mean(axis=1).argmax()]] for group in groups]).astype(np.float64)
        for of in (a, b)
    ]
    return _as_interval(paired_difference(*found, pseudo_observations=a.metric.pseudo_observations))


def _expected(valid: Array, test: Array, subset: int) -> float:
    return float(subset_weights(len(valid), subset) @ test[np.argsort(-valid, kind="stable")])


def _means(of: Kept) -> tuple[Array, Array]:
    return of.valid.mean(axis=1), of.answers.mean(axis=1, dtype=np.float64)


def bootstrap(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Draw settings again and again, add the examples' luck, and take the estimate's percentiles."""
    means, n = (_means(a), _means(b)), len(a.valid)
    estimates = []
    for again in rng.integers(n, size=(300, n)):
        one, other = (_expected(valid[again], test[again], subset) for valid, test in means)
        estimates.append(one - other)
    luck = math.sqrt(_over_examples(a, b, subset)) * rng.standard_normal(len(estimates))
    low, high = np.percentile(np.array(estimates) + luck, [2.5, 97.5])
    one, other = (_expected(*of, subset) for of in means)
    return one - other, float(low), float(high)


def groups_out(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Leave out groups as large as a search, not single settings; a degree of freedom a group, less one."""
    del rng
    n, means = len(a.valid), (_means(a), _means(b))
    n_groups = max(n // subset, 2)
    group = np.arange(n) % n_groups
    without = []
    for out in range(n_groups):
        one, other = (_expected(valid[group != out], test[group != out], subset) for valid, test in means)
        without.append(one - other)
    variance = (n_groups - 1) * float(np.var(without)) + _over_examples(a, b, subset)
    one, other = (_expected(*of, subset) for of in means)
    return _around(one - other, variance, n_groups - 1)


def regression(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Take out of the pseudo-values what goes with the settings themselves: their values and squares."""
    table = np.column_stack([np.ones(len(a.valid)), a.traits])
    df = len(table) - table.shape[1]
    if df < 3:
        return subsets(a, b, subset, rng)
    by_setting = (a.tuned(subset) - b.tuned(subset)).mean(axis=1)
    solved, *_ = np.linalg.lstsq(table, by_setting, rcond=None)
    rest = by_setting - table @ solved
    variance = rest @ rest / df * np.linalg.pinv(table.T @ table)[0, 0]
    return _around(float(solved[0]), float(variance) + _over_examples(a, b, subset), df)


def single(a: Kept, b: Kept, subset: int, rng: np.random.Generator) -> Interval:
    """Compare the mean of all settings: tuning with one."""
    del subset
    return subsets(a, b, 1, rng)


ESTIMATORS: dict[str, Callable[[Kept, Kept, int, np.random.Generator], Interval]] = {
    "subsets (chosen)": subsets,
    "subsets, m - 1 degrees of freedom": all_degrees,
    "subsets, no failures imagined": none_failed,
    "subsets, rows alone": rows_alone,
    "subsets, two examples imagined": two_imagined,
    "subsets, all examples count": none_imagined,
    "subsets, groups left out": groups_out,
    "subsets, regression on settings": regression,
    "subsets, bootstrap": bootstrap,
    "separate searches": separate,
    "winners on fresh seeds": winners,
    "mean of all settings": single,
}


def claimed(name: str, n_settings: int, subset: int) -> int:
    """Return how many settings the tuning has that an estimator speaks of."""
    return {"mean of all settings": 1, "winners on fresh seeds": n_settings}.get(name, subset)


def subset_of(n_settings: int, rule: str) -> int:
    """Return the size of the subsets that a rule asks for: a number, ``m/4``, or the report's own."""
    if rule == "report":
        return subset_size(n_settings)
    if rule.startswith("m/"):
        return max(2, round(n_settings / float(rule[2:])))
    return min(int(rule), n_settings - 1)


@dataclass(frozen=True, kw_only=True)
class Studies:
    """How many, of which size, and from which seed."""

    landscape: Landscape
    n_settings: int
    subset: int
    n: int
    seed: int
    most_examples: int = 10_000

    def draws(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], np.random.Generator]]:
        """Yield the settings and the examples of each study; a table of settings has rows for levels of their own."""
        rng = np.random.default_rng((self.seed, self.n_settings))
        n_settings, n_examples = len(self.landscape.valid), self.landscape.scores.shape[2]
        for _ in range(self.n):
            settings = rng.integers(n_settings, size=(8, self.n_settings))
            yield settings, np.sort(rng.integers(n_examples, size=min(n_examples, self.most_examples))), rng


def coverage(of: Studies, names: Sequence[str]) -> Iterator[str]:
    """Yield how often intervals hold the truth, and how wide they are, by contrast and estimator."""
    scale = of.landscape.metric.scale
    for factor in of.landscape.factors:
        reference, *others = of.landscape.levels_of(factor)
        kept = {level: of.landscape.kept(factor, level) for level in (reference, *others)}
        found: dict[tuple[str, str], list[Interval]] = {key: [] for key in itertools.product(others, names)}
        for settings, examples, rng in of.draws():
            drawn = {level: one.drawn(settings[0], examples) for level, one in kept.items()}
            for (level, name), intervals in found.items():
                intervals.append(ESTIMATORS[name](drawn[level], drawn[reference], of.subset, rng))
        for (level, name), intervals in found.items():
            subset = claimed(name, of.n_settings, of.subset)
            true = kept[level].truth(subset) - kept[reference].truth(subset)
            estimate, low, high = np.array(intervals).T
            yield (
                f"| {of.landscape.name} | {factor} {level} - {reference} | {of.n_settings} | {subset} | {name} | "
                f"{scale * true:+.2f} | {100 * np.mean((low <= true) & (true <= high)):.1f} % | "
                f"±{scale * np.mean(high - low) / 2:.2f} | {scale * estimate.std():.2f} |"
            )


def false_alarms(of: Studies) -> Iterator[str]:
    """Yield how often any level of a question is said to help or hurt that is the reference, at settings of its own."""
    metric = of.landscape.metric
    for factor in of.landscape.factors:
        reference, *others = of.landscape.levels_of(factor)
        kept = of.landscape.kept(factor, reference)
        wrong = 0
        for settings, examples, _ in of.draws():
            first, *copies = (kept.drawn(one, examples).tables(of.subset) for one in settings[: len(others) + 1])
            said = words([judged(copy, first, of.subset, kept.n_folds) for copy in copies], metric)
            wrong += bool({"helps", "hurts"} & set(said))
        yield (
            f"| {of.landscape.name} | {factor}: {len(others)} × {reference} | {of.n_settings} | "
            f"{100 * wrong / of.n:.1f} % |"
        )


def until_decided(others: Sequence[Kept], reference: Kept, of: Studies) -> tuple[list[Difference], list[str], int]:
    """Look at a growing study until every contrast of a question has its answer; return the last look and its number.

    The study starts with 8 settings and grows by half, to the size that ``of`` names at most.
    """
    metric, looks = of.landscape.metric, [8]
    while True:
        error = nominal_errors(tuple(looks))[-1]
        first = reference.first(looks[-1]).tables(of.subset)
        values = [one.first(looks[-1]).tables(of.subset) for one in others]
        found = [judged(one, first, of.subset, reference.n_folds, error) for one in values]
        said = words(found, metric, error)
        if "inconclusive" not in said or looks[-1] >= of.n_settings:
            return found, said, len(looks)
        looks.append(min(round(1.5 * looks[-1]), of.n_settings))


def sequential(of: Studies) -> Iterator[str]:
    """Yield how often studies that go on until they are decided find what is not there, and what they cover."""
    landscape = of.landscape
    for factor in landscape.factors:
        reference, *others = landscape.levels_of(factor)
        kept = [landscape.kept(factor, level) for level in (reference, *others)]
        truths = [one.truth(of.subset) - kept[0].truth(of.subset) for one in kept[1:]]
        wrong = covered = decided = n_looks = 0
        for settings, examples, _ in of.draws():
            first, *copies = (kept[0].drawn(one, examples) for one in settings[: len(kept)])
            wrong += bool({"helps", "hurts"} & set(until_decided(copies, first, of)[1]))
            first, *levels = (one.drawn(settings[0], examples) for one in kept)
            found, said, looked = until_decided(levels, first, of)
            covered += sum((one.low or 0) <= true <= (one.high or 0) for one, true in zip(found, truths, strict=True))
            decided += "inconclusive" not in said
            n_looks += looked
        yield (
            f"| {landscape.name} | {factor} | {of.n_settings} | {100 * wrong / of.n:.1f} % | "
            f"{100 * covered / of.n / len(truths):.1f} % | {100 * decided / of.n:.0f} % | {n_looks / of.n:.1f} |"
        )


def contradictions(said: Counter[str]) -> float:
    """Return the share of pairs of studies that contradict each other: the one sees what the other rules out."""
    n = said.total()
    pairs = sum(said[a] * said[b] for a, b in itertools.combinations(WORDS[:3], 2))
    return pairs / (n * (n - 1) / 2)


def answers(of: Studies) -> Iterator[str]:
    """Yield verdicts on the contrasts as they are, after Holm, and how often two studies contradict each other."""
    for factor in of.landscape.factors:
        reference, *others = of.landscape.levels_of(factor)
        kept = {level: of.landscape.kept(factor, level) for level in (reference, *others)}
        true = {level: kept[level].truth(of.subset) - kept[reference].truth(of.subset) for level in others}
        said: dict[str, Counter[str]] = {level: Counter() for level in others}
        found: dict[str, list[Difference]] = {level: [] for level in others}
        for settings, examples, _ in of.draws():
            values = {level: one.drawn(settings[0], examples).tables(of.subset) for level, one in kept.items()}
            n_folds = kept[reference].n_folds
            now = [judged(values[level], values[reference], of.subset, n_folds) for level in others]
            for level, word, one in zip(others, words(now, of.landscape.metric), now, strict=True):
                said[level][word] += 1
                found[level].append(one)
        for level in others:
            yield (
                f"| {of.landscape.name} | {factor} {level} - {reference} | {of.n_settings} | "
                f"{_found(found[level], true[level], of.landscape.metric)} | {_shares(said[level])} | "
                f"{100 * contradictions(said[level]):.2f} % |"
            )


def power(of: Studies) -> Iterator[str]:
    """Yield how often differences are found that levels have once one of them was moved by what it takes."""
    metric = of.landscape.metric
    for factor, level in (("depth", "2"), ("optimizer", "adam")):
        reference = of.landscape.kept(factor, of.landscape.levels_of(factor)[0])
        plain = of.landscape.kept(factor, level)
        for effect in EFFECTS:
            by = effect * metric.equivalence - plain.truth(of.subset) + reference.truth(of.subset)
            moved = plain.moved(by, np.random.default_rng(of.seed))
            true, said = moved.truth(of.subset) - reference.truth(of.subset), Counter[str]()
            found = []
            for settings, examples, _ in of.draws():
                found.append(judge(*(one.drawn(settings[0], examples) for one in (moved, reference)), of.subset))
                said.update(words(found[-1:], metric))
            yield (
                f"| {of.landscape.name} | {factor} {level} | {of.n_settings} | {_found(found, true, metric)} | "
                f"{_shares(said)} | {100 * contradictions(said):.2f} % |"
            )


def _found(found: Sequence[Difference], true: float, metric: Metric) -> str:
    low, high = np.array([(one.low, one.high) for one in found], dtype=np.float64).T
    covered, half = np.mean((low <= true) & (true <= high)), np.mean(high - low) / 2
    return f"{metric.scale * true:+.3g} | {100 * covered:.1f} % | ±{metric.scale * half:.2g}"


def bands(of: Studies) -> Iterator[str]:
    """Yield what the tuning curve of validation scores is known to, beside the bands of Lourie et al. (2024).

    Theirs hold for all numbers of settings at once, and with no other assumption than independent draws; ours for each.
    """
    try:
        from opda.nonparametric import EmpiricalDistribution
    except ImportError:
        yield "install opda (pip install opda) for this table"
        return
    level = of.landscape.kept("depth", "1")
    valid, m = level.valid.mean(axis=1), of.n_settings
    sizes = sorted({2, 3, m // 4, m // 2} - {0, 1})
    rank, found = np.sort(valid)[::-1], {size: np.zeros((of.n, 4)) for size in sizes}
    share = np.arange(len(valid) + 1)[::-1] / len(valid)
    for number, (settings, _, _) in enumerate(of.draws()):
        drawn = np.sort(valid[settings[0]])[::-1]
        low, _, high = EmpiricalDistribution.confidence_bands(drawn, 0.95, a=0.0, b=1.0, n_jobs=1)
        for size in sizes:
            pseudo = pseudo_weights(m, size) @ drawn
            ours = _around(pseudo.mean(), pseudo.var(ddof=1) / m, degrees_of_freedom(m, size))[1:]
            found[size][number] = *ours, high.average_tuning_curve(size), low.average_tuning_curve(size)
    for size, ends in found.items():
        true = float((share[:-1] ** size - share[1:] ** size) @ rank)
        covered = [np.mean((ends[:, at] <= true) & (true <= ends[:, at + 1])) for at in (0, 2)]
        half = [50 * np.mean(ends[:, at + 1] - ends[:, at]) for at in (0, 2)]
        cells = " | ".join(f"{100 * share:.1f} % | ±{width:.2f}" for share, width in zip(covered, half, strict=True))
        yield f"| {of.landscape.name} | {m} | {size} | {cells} |"


def _shares(said: Counter[str]) -> str:
    return " | ".join(f"{100 * said[word] / said.total():.0f} %" for word in WORDS)


def _head(*names: str) -> str:
    return f"\n| {' | '.join(names)} |\n{'|---' * len(names)}|"


TABLES: dict[str, tuple[str, Callable[[Studies, Sequence[str]], Iterator[str]]]] = {
    "coverage": (
        _head("landscape", "contrast", "m", "n", "estimator", "truth", "covers", "half width", "sd of estimates"),
        coverage,
    ),
    "false alarms": (
        _head("landscape", "levels that are the same", "m", "any said to help or hurt"),
        lambda of, _: false_alarms(of),
    ),
    "answers": (
        _head("landscape", "contrast", "m", "truth", "covers", "half width", *WORDS, "pairs that contradict"),
        lambda of, _: answers(of),
    ),
    "power": (
        _head("landscape", "level", "m", "truth", "covers", "half width", *WORDS, "pairs that contradict"),
        lambda of, _: power(of),
    ),
    "looks": (
        _head(
            "landscape",
            "question",
            "m at most",
            "said where levels are the same",
            "last interval covers",
            "decided",
            "looks",
        ),
        lambda of, _: sequential(of),
    ),
    "bands": (
        _head("landscape", "m", "n", "pointwise: covers", "half width", "opda: covers", "half width"),
        lambda of, _: bands(of),
    ),
}


def _lost(whole: Landscape, part: Landscape) -> str:
    before, after = whole.best(), part.best()
    level, fall = max(((level, before[level] - after[level]) for level in before), key=lambda one: one[1])
    return (
        f"{whole.name}: {len(part.valid)} of {len(whole.valid)} settings; a level's best validation score falls by "
        f"{whole.metric.scale * fall:.2f} at most ({level})"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscapes", nargs="*", default=sorted(path.stem for path in FOLDER.glob("*.npz")))
    parser.add_argument("--tables", nargs="*", choices=list(TABLES), default=list(TABLES)[:4])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--budgets", type=int, nargs="*", default=BUDGETS)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--subset", default="report", help="a number, m/4 for a quarter, or report")
    parser.add_argument("--estimators", nargs="*", choices=list(ESTIMATORS), default=list(ESTIMATORS)[:1])
    parser.add_argument("--examples", type=int, default=10_000, help="test examples of a study at most")
    parser.add_argument("--within", nargs="*", default=(), help="narrower ranges: learning_rate=0.2:0.8, in shares")
    parser.add_argument("--seed", type=int, default=20_261)
    given = parser.parse_args()
    landscapes = {name: read(name, given.folder).within(given.within) for name in given.landscapes}
    if given.within:
        print("\n".join(_lost(read(name, given.folder), part) for name, part in landscapes.items()))
    started = time.perf_counter()
    for table in given.tables:
        head, rows = TABLES[table]
        print(head)
        for name, n_settings in itertools.product(given.landscapes, given.budgets):
            studies = Studies(
                landscape=landscapes[name], n_settings=n_settings, subset=subset_of(n_settings, given.subset),
                n=given.studies, seed=given.seed, most_examples=given.examples,
            )  # fmt: skip
            for row in rows(studies, given.estimators):
                print(row, flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s, {given.studies:,} studies a row, seed {given.seed}")


if __name__ == "__main__":
    main()
