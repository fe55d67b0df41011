"""Whole studies, search included, drawn from a landscape and judged: does another study give the same answer?

``python -m benchmarks.searches`` prints the tables of docs/comparison.md from the files in ``benchmarks/landscapes``
(:mod:`benchmarks.landscape` makes them). A study draws *m* settings of the landscape with replacement, the same for all
levels, and test examples with replacement; the truth is then known exactly: the tuned score of the whole landscape on
all of its test examples. Every study is judged by the functions that the report uses; other estimators stand beside.

The scores of the rows of a cross-validation are drawn here, the training sets are not: :mod:`benchmarks.folds` has these.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reports.difference import paired_difference
from reports.example_scores import auc_scores, r2_scores
from reports.metric import METRICS, Metric
from reports.records import Difference
from reports.tuning import subset_weights, tuned_scores

FOLDER = Path(__file__).parent / "landscapes"
#: Standard deviation of a network's score from one training seed to another, for the estimator of winners.
SEED_SD, FRESH_SEEDS = 0.002, 5
BUDGETS = (6, 8, 12, 20, 40)
Interval = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Every setting at every combination of levels, trained once.

    ``valid`` is ``(n_settings, n_cells)`` or, with folds, ``(n_settings, n_cells, n_folds)``; ``scores`` is
    ``(n_settings, n_cells, n_examples)``; ``levels`` has the level of each factor in each cell.
    """

    name: str
    metric: Metric
    valid: NDArray[np.float64]
    scores: NDArray[np.float32]
    fold: NDArray[np.int64] | None
    shares: NDArray[np.float64]
    factors: tuple[str, ...]
    levels: NDArray[np.str_]

    def cells(self, factor: str, level: str) -> NDArray[np.int64]:
        """Return the positions of the cells that have this level."""
        return np.flatnonzero(self.levels[:, self.factors.index(factor)] == level)

    def levels_of(self, factor: str) -> list[str]:
        """Return the factor's levels in order."""
        return list(dict.fromkeys(self.levels[:, self.factors.index(factor)]))

    def only(self, keep: NDArray[np.bool_]) -> Landscape:
        """Return the landscape of some of its settings: that of narrower ranges."""
        return Landscape(
            name=self.name, metric=self.metric, valid=self.valid[keep], scores=self.scores[keep], fold=self.fold,
            shares=self.shares[keep], factors=self.factors, levels=self.levels,
        )  # fmt: skip


def read(name: str) -> Landscape:
    """Return a landscape from its file; a diverged network has the score of chance on every example."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        of = {key: stored[key] for key in stored.files}
    metric, y = METRICS[str(of["metric"])], of["y"]
    fold = of["fold"].astype(np.int64) if len(of["fold"]) else None
    if "right" in of:
        scores = np.unpackbits(of["right"], axis=-1)[..., : len(y)].astype(np.float32)
        chance = np.bincount(y.astype(int)).max() / len(y)
    else:
        scores = _pseudo_values(metric, y, of["answers"].astype(np.float64), fold)
        chance = 0.5 if metric.key == "auc" else 0.0
    scores[of["diverged"]] = chance
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
        factors=tuple(of["factors"]),
        levels=of["levels"],
    )


def _pseudo_values(
    metric: Metric, y: NDArray[Any], answers: NDArray[np.float64], fold: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    judge: Callable[[Any, Any], Any] = auc_scores if metric.key == "auc" else r2_scores
    parts = [np.arange(len(y))] if fold is None else [np.flatnonzero(fold == number) for number in np.unique(fold)]
    found = np.empty(answers.shape, np.float32)
    for at in np.ndindex(answers.shape[:2]):
        for rows in parts:
            found[at][rows] = judge(y[rows], np.nan_to_num(answers[at][rows]))
    return found


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What one study draws: settings, examples, and a generator for what else is left to luck."""

    settings: NDArray[np.int64]
    examples: NDArray[np.int64]
    rng: np.random.Generator


def draw(landscape: Landscape, n_settings: int, rng: np.random.Generator) -> Draw:
    """Draw the settings and the test examples of a study."""
    n_examples = landscape.scores.shape[2]
    return Draw(
        settings=rng.integers(len(landscape.valid), size=n_settings),
        examples=np.sort(rng.integers(n_examples, size=n_examples)),
        rng=rng,
    )


def truth(landscape: Landscape, factor: str, level: str, subset: int) -> float:
    """Return the tuned score of the whole population: settings drawn with replacement, all examples."""
    cells, n = landscape.cells(factor, level), len(landscape.valid)
    rank = np.arange(n)
    weights = ((n - rank) / n) ** subset - ((n - rank - 1) / n) ** subset
    valid, scores = landscape.valid[:, cells], landscape.scores[:, cells]
    if landscape.fold is None:
        return float(weights @ _in_order(valid, scores.mean(axis=2)))
    folds = [
        weights @ _in_order(np.delete(valid, of, axis=2).mean(axis=2), scores[:, :, landscape.fold == of].mean(axis=2))
        for of in range(valid.shape[2])
    ]
    return float(np.mean(folds))


def _in_order(valid: NDArray[np.float64], test: NDArray[Any]) -> NDArray[np.float64]:
    kept, rows = valid.argmax(axis=1), np.arange(len(valid))
    return np.asarray(test[rows, kept][np.argsort(-valid[rows, kept], kind="stable")], dtype=np.float64)


def tuned(landscape: Landscape, factor: str, level: str, drawn: Draw, subset: int) -> NDArray[np.float64]:
    """Return the pseudo-values of a level in a study."""
    at = np.ix_(drawn.settings, landscape.cells(factor, level))
    scores = landscape.scores[at][:, :, drawn.examples]
    fold = None if landscape.fold is None else landscape.fold[drawn.examples]
    return tuned_scores(landscape.valid[at], scores, subset, fold)


def ours(landscape: Landscape, factor: str, pair: tuple[str, str], drawn: Draw, subset: int) -> Difference:
    """Judge a contrast as the report does."""
    a, b = (tuned(landscape, factor, level, drawn, subset) for level in pair)
    return paired_difference(a, b, imagined=landscape.metric.imagined)


def winners(landscape: Landscape, factor: str, pair: tuple[str, str], drawn: Draw, subset: int) -> Interval:
    """Judge the winners of all settings, each trained again on fresh seeds: the first version of the report."""
    del subset
    rows = []
    for level in pair:
        at = np.ix_(drawn.settings, landscape.cells(factor, level))
        valid = landscape.valid[at] if landscape.fold is None else landscape.valid[at].mean(axis=2)
        best = np.unravel_index(valid.argmax(), valid.shape)
        answers = landscape.scores[at][best][drawn.examples]
        rows.append(answers + SEED_SD * drawn.rng.standard_normal((FRESH_SEEDS, 1)))
    found = paired_difference(*rows, imagined=landscape.metric.imagined)
    return found.estimate, found.low or 0.0, found.high or 0.0


def separate(landscape: Landscape, factor: str, pair: tuple[str, str], drawn: Draw, subset: int) -> Interval:
    """Part the settings into searches of their own, each with a winner; Student's t over their differences."""
    tables = []
    for level in pair:
        found = []
        for group in np.split(drawn.settings[: len(drawn.settings) // subset * subset], len(drawn.settings) // subset):
            at = np.ix_(group, landscape.cells(factor, level))
            valid = landscape.valid[at] if landscape.fold is None else landscape.valid[at].mean(axis=2)
            best = np.unravel_index(valid.argmax(), valid.shape)
            found.append(landscape.scores[at][best][drawn.examples])
        tables.append(np.stack(found).astype(np.float64))
    found_difference = paired_difference(*tables, imagined=landscape.metric.imagined)
    return found_difference.estimate, found_difference.low or 0.0, found_difference.high or 0.0


def bootstrap(landscape: Landscape, factor: str, pair: tuple[str, str], drawn: Draw, subset: int) -> Interval:
    """Draw settings and examples again and again, and take the estimate's percentiles."""
    n, estimates = len(drawn.settings), []
    tables = []
    for level in pair:
        at = np.ix_(drawn.settings, landscape.cells(factor, level))
        valid = landscape.valid[at] if landscape.fold is None else landscape.valid[at].mean(axis=2)
        kept, rows = valid.argmax(axis=1), np.arange(n)
        scores = landscape.scores[at][rows, kept][:, drawn.examples]
        tables.append((valid[rows, kept], scores.mean(axis=1)))
    weights = subset_weights(n, subset)
    for _ in range(400):
        again = drawn.rng.integers(n, size=n)
        means = [weights @ test[again][np.argsort(-valid[again], kind="stable")] for valid, test in tables]
        estimates.append(means[0] - means[1])
    error = ours(landscape, factor, pair, drawn, subset).example_variance / landscape.scores.shape[2]
    low, high = np.percentile(np.array(estimates) + np.sqrt(error) * drawn.rng.standard_normal(400), [2.5, 97.5])
    return float(np.mean(estimates)), float(low), float(high)


def adjusted(landscape: Landscape, factor: str, pair: tuple[str, str], drawn: Draw, subset: int) -> Interval:
    """Take out of the pseudo-values what goes with the settings themselves: regression on their shares and squares."""
    a, b = (tuned(landscape, factor, level, drawn, subset) for level in pair)
    by_setting = (a - b).mean(axis=1)
    rate = landscape.shares[drawn.settings] - landscape.shares.mean(axis=0)
    squares = landscape.shares**2
    table = np.column_stack([np.ones(len(rate)), rate, squares[drawn.settings] - squares.mean(axis=0)])
    if len(table) < table.shape[1] + 3:
        plain = ours(landscape, factor, pair, drawn, subset)
        return plain.estimate, plain.low or 0.0, plain.high or 0.0
    solved, *_ = np.linalg.lstsq(table, by_setting, rcond=None)
    rest = by_setting - table @ solved
    df = len(table) - table.shape[1]
    variance = rest @ rest / df * np.linalg.inv(table.T @ table)[0, 0]
    examples = (a - b).mean(axis=0).var(ddof=1) / a.shape[1]
    half = stats.t.ppf(0.975, df) * np.sqrt(variance + examples)
    return float(solved[0]), float(solved[0] - half), float(solved[0] + half)


def _ours(landscape: Landscape, factor: str, pair: tuple[str, str], drawn: Draw, subset: int) -> Interval:
    found = ours(landscape, factor, pair, drawn, subset)
    return found.estimate, found.low or 0.0, found.high or 0.0


def _first(landscape: Landscape, factor: str, pair: tuple[str, str], drawn: Draw, subset: int) -> Interval:
    del subset
    return _ours(landscape, factor, pair, drawn, 1)


ESTIMATORS = {
    "subsets, jackknife": _ours,
    "winners on fresh seeds": winners,
    "separate searches": separate,
    "bootstrap": bootstrap,
    "regression on settings": adjusted,
    "mean of all settings": _first,
}


def subset_of(n_settings: int, rule: str) -> int:
    """Return the size of the subsets that a rule asks for: a number, or ``m/4``."""
    if rule.startswith("m/"):
        return max(2, round(n_settings / float(rule[2:])))
    return min(int(rule), n_settings - 1)


def contrasts(landscape: Landscape) -> list[tuple[str, tuple[str, str]]]:
    """Return every level against the reference of its factor."""
    found = []
    for factor in landscape.factors:
        levels = landscape.levels_of(factor)
        reference = "1" if "1" in levels else "sgd" if "sgd" in levels else levels[0]
        found += [(factor, (level, reference)) for level in levels if level != reference]
    return found


def coverage(
    landscape: Landscape, rule: str, budgets: Sequence[int], n_studies: int, seed: int, names: Sequence[str]
) -> None:
    """Print how often intervals hold the truth, and how wide they are, by estimator and budget."""
    for n_settings in budgets:
        subset = subset_of(n_settings, rule)
        for factor, pair in contrasts(landscape):
            for name in names:
                n = 1 if name == "mean of all settings" else subset
                true = truth(landscape, factor, pair[0], n) - truth(landscape, factor, pair[1], n)
                rng = np.random.default_rng((seed, n_settings))
                found = np.array([
                    ESTIMATORS[name](landscape, factor, pair, draw(landscape, n_settings, rng), subset)
                    for _ in range(n_studies)
                ])  # fmt: skip
                covered = np.mean((found[:, 1] <= true) & (true <= found[:, 2]))
                half = np.mean(found[:, 2] - found[:, 1]) / 2
                scale = landscape.metric.scale
                print(
                    f"| {landscape.name} | {factor} {pair[0]} - {pair[1]} | {n_settings} | {n} | {name} | {scale * true:+.3f} | "
                    f"{100 * covered:.1f} % | {scale * half:.3f} | {scale * found[:, 0].std():.3f} | "
                    f"{100 * np.mean(found[:, 1] > 0):.0f} % | {100 * np.mean(found[:, 2] < 0):.0f} % |",
                    flush=True,
                )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscapes", nargs="*", default=sorted(path.stem for path in FOLDER.glob("*.npz")))
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--budgets", type=int, nargs="*", default=BUDGETS)
    parser.add_argument("--subset", default="m/4")
    parser.add_argument("--estimators", nargs="*", default=list(ESTIMATORS))
    parser.add_argument("--seed", type=int, default=20_261)
    given = parser.parse_args()
    started = time.perf_counter()
    print(
        "| landscape | contrast | m | n | estimator | truth | covers | half width | sd of estimates | above 0 | below 0 |\n"
        + "|---" * 11
        + "|"
    )
    for name in given.landscapes:
        coverage(read(name), given.subset, given.budgets, given.studies, given.seed, given.estimators)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
