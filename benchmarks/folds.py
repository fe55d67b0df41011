"""What the interval does on small data: whole cross-validated searches of real learners with a known truth.

``python -m benchmarks.folds`` prints a table of docs/search-simulations.md. The learner is a network of random hidden
units whose output layer alone is fitted, by ridge regression: cheap, different from seed to seed, and better with more
rows. Its settings are the strength of the penalty, the number of units and the spread of their weights, drawn afresh
by every study; two levels see two halves of the features, and each setting is trained with both of two activations,
the better of which is kept. Where both halves tell the same of the target neither is better in expectation, though on
every data set each is right about other rows; in the last rows of the table the level's half tells more. Every study
draws its data afresh, for one partition into folds. The truth is what the networks of such studies score on rows that
no part of the study has seen.

``--grouped`` prints the table of rows that belong together: whole groups are held out, as the product does, and each
group favours one level in all of its rows, so that neither is better in expectation.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from benchmarks.dependent import members
from depthcheck.pipeline.records import Predictions
from depthcheck.pipeline.scores import ENOUGH_SETTINGS, METRICS
from depthcheck.reports.compare import difference
from depthcheck.reports.compare.difference import (
    degrees_of_freedom,
    fold_shares,
    subset_size,
    subset_weights,
    tuned_scores,
)
from depthcheck.reports.compare.example_scores import Units, difference_by_units, example_scores, judged_examples
from depthcheck.reports.compare.results import Difference
from depthcheck.reports.compare.verdict import decide

Array = NDArray[np.float64]
N_FEATURES, NOISE = 5, 2.0
#: The report's multiple of the rows' part of the variance, and its verdicts.
REPORT, WORDS = difference.SHARED_TRAINING_ROWS, ("helps", "hurts", "practically equal", "inconclusive")
ACTIVATIONS = (lambda z: np.maximum(z, 0.0), np.tanh)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A study.

    Attributes
    ----------
    advantage
        How much more the level's features count than the reference's; 0: the same.
    same_features
        Both see all features, and differ in their random units alone.
    n_groups, alike, skew
        0 groups: rows are draws of their own. Else rows of a group have this share of each feature's variance in
        common, its root is the standard deviation of what a half of the features counts in a group, and ``skew`` that
        of the logarithms of the groups' sizes.
    """

    metric: str
    n: int = 300
    n_settings: int = 12
    n_folds: int = 5
    advantage: float = 0.0
    same_features: bool = False
    n_groups: int = 0
    alike: float = 0.5
    skew: float = 0.0

    def __str__(self) -> str:
        """Return the first cells of its row."""
        features = "the same" if self.same_features else "two halves"
        sizes = "skewed" if self.skew else "equal"
        rows = f"{self.n:,}" + (f" in {self.n_groups} groups, {sizes}" if self.n_groups else "")
        return f"{METRICS[self.metric].name} | {rows} | {features} | {self.n_settings}"


def draw(of: Scenario, n: int, rng: np.random.Generator, unit: NDArray[np.int64] | None = None) -> tuple[Array, Array]:
    """Return features ``(n, 2 N_FEATURES)`` and target: the reference's half of the features comes first."""
    X, counts = rng.standard_normal((n, 2 * N_FEATURES)), np.array([1, 1 + of.advantage])
    if unit is not None:
        shared = rng.standard_normal((of.n_groups, 2 * N_FEATURES))[unit]
        X = np.sqrt(of.alike) * shared + np.sqrt(1 - of.alike) * X
        counts = counts + np.sqrt(of.alike) * rng.standard_normal((of.n_groups, 2))[unit]
    halves = np.tanh(X).reshape(n, 2, N_FEATURES).sum(axis=2)
    y = (counts * halves).sum(axis=1) + NOISE * rng.standard_normal(n)
    return X, y if of.metric == "r2" else (y > 0).astype(np.float64)


def partition(of: Scenario, unit: NDArray[np.int64] | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the fold that each row is held out in; whole groups are held out, as the product does."""
    if unit is None:
        return rng.permutation(np.arange(of.n) % of.n_folds)
    fold = np.empty(of.n, np.int64)
    cut = GroupKFold(of.n_folds, shuffle=True, random_state=int(rng.integers(2**31)))
    for number, (_, held) in enumerate(cut.split(unit, groups=unit)):
        fold[held] = number
    return fold


def seen(of: Scenario, X: Array) -> tuple[Array, Array]:
    """Return what the reference sees, and what the level sees."""
    return (X, X) if of.same_features else (X[:, :N_FEATURES], X[:, N_FEATURES:])


def train(
    rows: tuple[Array, Array], y: Array, fold: NDArray[np.int64], setting: Array, rng: np.random.Generator
) -> list[Array]:
    """Return what networks say of all rows, one a fold that it was held out in, ``(n_rows, n_folds)`` an activation.

    ``rows`` are those of the data set, which are trained on, and new ones behind them.
    """
    X = np.concatenate(rows)
    penalty, n_units, spread = 10 ** (4 * setting[0] - 1), round(4 * 8 ** setting[1]), 0.1 * 20 ** setting[2]
    weights, offsets = rng.standard_normal((X.shape[1], n_units)), rng.standard_normal(n_units)
    said = []
    for activation in ACTIVATIONS:
        hidden = np.column_stack([activation(spread * (X @ weights) + offsets), np.ones(len(X))])
        mine = hidden[: len(y)]
        parts = [mine[fold == at] for at in range(fold.max() + 1)]
        sides = np.stack([part.T @ y[fold == at] for at, part in enumerate(parts)])
        grams = np.stack([part.T @ part for part in parts])
        ridge = penalty * np.diag(np.r_[np.ones(n_units), 1e-9])
        solved = np.linalg.solve(grams.sum(axis=0) - grams + ridge, (sides.sum(axis=0) - sides)[:, :, None])
        said.append(hidden @ solved[:, :, 0].T)
    return said


def as_predictions(metric: str, y: Array, said: Array, fold: NDArray[np.int64] | None = None) -> Predictions:
    """Return a learner's output as the records have it."""
    if metric == "r2":
        return Predictions(y=y, predicted=said, probability=np.full(len(y), np.nan, np.float32), fold=fold)
    predicted, positive = (said > 0.5).astype(np.int64), said.astype(np.float32)
    return Predictions(y=y.astype(np.int64), predicted=predicted, probability=positive, positive=positive, fold=fold)


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study knows of each level, and what it cannot: the scores of its networks on new rows.

    ``valid`` and ``fresh`` are ``(n_settings, n_networks, n_folds)``, ``scores`` is ``(n_settings, n_networks, n)``.
    """

    valid: tuple[Array, Array]
    scores: tuple[Array, Array]
    fresh: tuple[Array, Array]
    fold: NDArray[np.int64]
    unit: NDArray[np.int64] | None


def study(of: Scenario, rng: np.random.Generator, n_new: int = 0) -> Study:
    """Draw a data set and settings, and train both levels, the reference first, with all of them."""
    unit = members(of.n, of.n_groups, of.skew, rng) if of.n_groups else None
    X, y = draw(of, of.n, rng, unit)
    X_new, y_new = draw(of, n_new, rng)
    fold = partition(of, unit, rng)
    settings = rng.random((of.n_settings, 3))
    shape = (2, of.n_settings, len(ACTIVATIONS))
    shares = fold_shares(fold)
    valid, fresh, scores = np.zeros((*shape, of.n_folds)), np.zeros((*shape, of.n_folds)), np.zeros((*shape, of.n))
    for level, rows in enumerate(zip(seen(of, X), seen(of, X_new), strict=True)):
        for at, setting in enumerate(settings):
            for network, said in enumerate(train(rows, y, fold, setting, rng)):
                mine = said[np.arange(of.n), fold]
                judged = judged_examples(of.metric, as_predictions(of.metric, y, mine, fold))
                if judged is None:
                    continue
                scores[level, at, network], of_rows = judged.scores, judged.scores / shares
                valid[level, at, network] = [of_rows[fold == number].mean() for number in range(of.n_folds)]
                if n_new:
                    fresh[level, at, network] = on_new(of.metric, y_new, said[of.n :])
    return Study(
        valid=(valid[0], valid[1]), scores=(scores[0], scores[1]), fresh=(fresh[0], fresh[1]), fold=fold, unit=unit
    )


def on_new(metric: str, y: Array, said: Array) -> list[float]:
    """Return the score of each fold's network on new rows."""
    found = [example_scores(metric, as_predictions(metric, y, column)) for column in said.T]
    return [0.0 if scores is None else float(scores.mean()) for scores in found]


def judge(of: Scenario, one: Study, shared: Sequence[float], *, by_groups: bool) -> list[Difference]:
    """Judge a study as the report does, level minus reference, for each multiple of the rows' part."""
    subset = subset_size(of.n_settings)
    reference, level = (
        tuned_scores(valid, scores, subset, one.fold) for valid, scores in zip(one.valid, one.scores, strict=True)
    )
    units = None
    if one.unit is not None and by_groups:
        units = Units(of_example=one.unit, n=of.n_groups, share=fold_shares(one.fold))
    found = []
    for multiple in shared:
        difference.SHARED_TRAINING_ROWS = multiple
        found.append(
            difference_by_units(
                level,
                reference,
                units,
                pseudo_observations=None,
                method="settings and rows",
                n_folds=of.n_folds,
                df_rows=degrees_of_freedom(of.n_settings, subset),
            )
        )
    return found


def truth(of: Scenario, rng: np.random.Generator, *, n_studies: int = 300, n_new: int = 2_000) -> float:
    """Return what level and reference differ by on new rows, each fold's network chosen as in a study."""
    if not of.advantage:
        return 0.0
    weights, found = subset_weights(of.n_settings, subset_size(of.n_settings)), np.zeros(2)
    for _ in range(n_studies):
        one = study(of, rng, n_new)
        for level, number in np.ndindex(2, of.n_folds):
            chosen_by = np.delete(one.valid[level], number, axis=2).mean(axis=2)
            kept, rows = chosen_by.argmax(axis=1), np.arange(of.n_settings)
            order = np.argsort(-chosen_by[rows, kept], kind="stable")
            found[level] += weights @ one.fresh[level][rows, kept, number][order]
    return float(found[1] - found[0]) / (n_studies * of.n_folds)


def needed(found: Sequence[Difference]) -> float:
    """Return the multiple of the rows' part that makes the mean variance, seen with none, that of the estimates."""
    rows = np.array([one.example_variance / one.n_examples for one in found])
    variances = [one.seed_variance + one.rest_variance / one.n_examples for one in found]
    rest = np.array(variances) / [len(one.by_seed) for one in found]
    return float((np.var([one.estimate for one in found]) - (rows + rest).mean()) / rows.mean())


def row(of: Scenario, n_studies: int, shared: Sequence[float], rng: np.random.Generator) -> str:
    """Return the verdicts of the report, how often intervals cover what is true on average, and how wide they are."""
    metric, words, real = METRICS[of.metric], Counter[str](), truth(of, rng)
    found: list[list[Difference]] = []
    for _ in range(n_studies):
        one = study(of, rng)
        ours, *others = judge(of, one, (REPORT, 0.0, *shared), by_groups=True)
        by_rows = judge(of, one, (REPORT,), by_groups=False) if of.n_groups else []
        words[decide(ours, ours.p, equivalence=metric.equivalence, enough=ENOUGH_SETTINGS, metric=metric).word] += 1
        found.append([ours, *others, *by_rows])
    ours, none, *others = map(list, zip(*found, strict=True))
    said = [f"{100 * words[word] / n_studies:.1f} %" for word in WORDS]
    sd = f"{metric.scale * np.std([one.estimate for one in ours]):.2g}"
    covers = [covered(each, real, metric.scale) for each in (ours, *others)]
    return (
        f"| {of} | {metric.scale * real:.2g} | {' | '.join(said)} | {sd} | {needed(none):+.2f} | {' | '.join(covers)} |"
    )


def covered(found: Sequence[Difference], real: float, scale: float) -> str:
    """Return how often intervals hold what is true, and their mean half width."""
    low, high = np.array([(one.low, one.high) for one in found], dtype=np.float64).T
    return f"{100 * np.mean((low <= real) & (real <= high)):.1f} % ±{scale * (high - low).mean() / 2:.2g}"


SCENARIOS = [
    *(Scenario(metric=metric, n=n) for metric in ("accuracy", "r2") for n in (150, 500)),
    Scenario(metric="auc", n=150),
    *(Scenario(metric=metric, n_settings=n_settings) for metric in ("accuracy", "r2") for n_settings in (6, 20)),
    *(Scenario(metric=metric, same_features=True) for metric in ("accuracy", "r2")),
    *(Scenario(metric=metric, n=500, advantage=0.3) for metric in ("accuracy", "r2")),
]
#: Rows that belong together.
GROUPED = [
    Scenario(metric=metric, n=500, n_groups=n_groups, skew=skew)
    for metric, numbers in (("accuracy", (8, 20, 50)), ("r2", (8, 20)), ("auc", (20,)))
    for n_groups in numbers
    for skew in (0.0, 1.0)
]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20_264)
    parser.add_argument("--grouped", action="store_true", help="rows that belong together")
    parser.add_argument("--shared", type=float, nargs="*", default=(), help="further multiples of the rows' part")
    given = parser.parse_args()
    started = time.perf_counter()
    print(f"{given.studies:,} studies a row, seed {given.seed}\n")
    heads = ["score", "rows", "features", "settings", "truth", "helps", "hurts", "equal", "inconclusive"]
    heads += [
        "sd of estimates",
        "needed",
        f"covers (c = {REPORT:g})",
        *(f"c = {multiple:g}" for multiple in given.shared),
    ]
    heads += ["each row for itself"] if given.grouped else []
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for number, of in enumerate(GROUPED if given.grouped else SCENARIOS):
        rng = np.random.default_rng((given.seed, number, given.grouped))
        print(row(of, given.studies, given.shared, rng), flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
