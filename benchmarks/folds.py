"""What the corrected interval does on small data: cross-validated studies of real learners with a known truth.

``python -m benchmarks.folds`` prints a table of docs/comparison.md. The learner is a network of random relu units whose
output layer alone is fitted, by ridge regression: cheap, different from seed to seed, and better with more rows. Two
such networks see two halves of the features, or both see all. Where both halves tell the same of the target neither is
better in expectation, though on every data set each is right about other rows; in the last rows of the table the
level's half tells more. The truth is the mean difference over many data sets of the size of a fold's training part.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.records import Predictions
from reports.example_scores import example_scores, fold_scores
from reports.folds import fold_difference
from reports.metric import METRICS
from reports.verdict import decide

Array = NDArray[np.float64]
N_FEATURES, N_UNITS, PENALTY, NOISE = 5, 20, 3.0, 2.0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A study.

    Attributes
    ----------
    advantage
        How much more the level's features count than the reference's; 0: the same.
    same_features
        Both see all features, and differ in their random units alone.
    """

    metric: str
    n: int = 300
    n_repeats: int = 5
    n_folds: int = 5
    advantage: float = 0.0
    same_features: bool = False


def draw(of: Scenario, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return features ``(n, 2 N_FEATURES)`` and target: the reference's half of the features comes first."""
    X = rng.standard_normal((n, 2 * N_FEATURES))
    half = np.tanh(X[:, :N_FEATURES]).sum(axis=1), np.tanh(X[:, N_FEATURES:]).sum(axis=1)
    y = half[0] + (1 + of.advantage) * half[1] + NOISE * rng.standard_normal(n)
    return X, y if of.metric == "r2" else (y > 0).astype(np.float64)


def predict(X: Array, y: Array, X_new: Array, rng: np.random.Generator) -> Array:
    """Train on rows and return what is said of others: a real number, above one half for class 1."""
    weights, offsets = rng.standard_normal((X.shape[1], N_UNITS)), rng.standard_normal(N_UNITS)
    hidden, new = (np.maximum(rows @ weights + offsets, 0) for rows in (X, X_new))
    centre, mean = hidden.mean(axis=0), y.mean()
    gram = (hidden - centre).T @ (hidden - centre) + PENALTY * np.eye(N_UNITS)
    return np.asarray(mean + (new - centre) @ np.linalg.solve(gram, (hidden - centre).T @ (y - mean)))


def seen(of: Scenario, X: Array) -> tuple[Array, Array]:
    """Return what the reference sees, and what the level sees."""
    return (X, X) if of.same_features else (X[:, :N_FEATURES], X[:, N_FEATURES:])


def as_predictions(metric: str, y: Array, said: Array, fold: NDArray[np.int64] | None = None) -> Predictions:
    """Return a learner's output as the records have it."""
    if metric == "r2":
        return Predictions(y=y, predicted=said, probability=np.full(len(y), np.nan, np.float32), fold=fold)
    predicted, positive = (said > 0.5).astype(np.int64), said.astype(np.float32)
    return Predictions(y=y.astype(np.int64), predicted=predicted, probability=positive, positive=positive, fold=fold)


def truth(of: Scenario, rng: np.random.Generator, *, n_sets: int = 400, n_new: int = 4_000) -> float:
    """Return the expected score of the level minus that of the reference, for training parts of a fold's size."""
    if not of.advantage:
        return 0.0
    differences = []
    for _ in range(n_sets):
        X, y = draw(of, round(of.n * (1 - 1 / of.n_folds)), rng)
        X_new, y_new = draw(of, n_new, rng)
        scores = []
        for mine, new in zip(seen(of, X), seen(of, X_new), strict=True):
            found = example_scores(of.metric, as_predictions(of.metric, y_new, predict(mine, y, new, rng)))
            scores.append(0.0 if found is None else float(found.mean()))
        differences.append(scores[1] - scores[0])
    return float(np.mean(differences))


def study(of: Scenario, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the scores of the folds of level and reference, ``(n_repeats, n_folds)`` each, on one data set."""
    X, y = draw(of, of.n, rng)
    tables: tuple[list[Array], list[Array]] = ([], [])
    for _ in range(of.n_repeats):
        fold = rng.permutation(np.arange(of.n) % of.n_folds)
        for table, mine in zip(tables, seen(of, X), strict=True):
            said = np.empty(of.n)
            for at in range(of.n_folds):
                said[fold == at] = predict(mine[fold != at], y[fold != at], mine[fold == at], rng)
            scores = fold_scores(of.metric, as_predictions(of.metric, y, said, fold))
            table.append(np.zeros(of.n_folds) if scores is None else scores.scores)
    return np.array(tables[1]), np.array(tables[0])


def rates(of: Scenario, n_studies: int, rng: np.random.Generator) -> dict[str, float]:
    """Return how often each verdict is given, coverage and mean half width; and what uncorrected t tests would say."""
    metric, words, covered, half, real = METRICS[of.metric], Counter[str](), 0, 0.0, truth(of, rng)
    plain: Counter[str] = Counter()
    for _ in range(n_studies):
        level, reference = study(of, rng)
        found = fold_difference(level, reference, n_examples=of.n, imagined=metric.imagined)
        said = decide(found, found.p, equivalence=metric.equivalence, min_seeds=of.n_repeats, metric=metric)
        words[said.word] += 1
        covered += found.low is not None and found.low <= real <= (found.high or 0)
        half += found.half_width or 0
        d = level - reference
        for name, values in (("folds", d.ravel()), ("repeats", d.mean(axis=1))):
            low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
            plain[name] += low <= real <= high
    shares = {word: words[word] / n_studies for word in ("helps", "hurts", "practically equal", "inconclusive")}
    others = {f"plain t over {name}": plain[name] / n_studies for name in ("folds", "repeats")}
    return {**shares, "coverage": covered / n_studies, **others, "truth": real, "half width": half / n_studies}


SCENARIOS = [
    *(Scenario(metric=metric, n=n) for metric in METRICS for n in (150, 500, 1_500)),
    *(Scenario(metric=metric, same_features=True) for metric in METRICS),
    *(Scenario(metric=metric, n_repeats=10) for metric in METRICS),
    *(Scenario(metric=metric, n=n, advantage=0.3) for metric in METRICS for n in (150, 500, 1_500)),
]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20_264)
    arguments = parser.parse_args()
    started, rng = time.perf_counter(), np.random.default_rng(arguments.seed)
    print(f"{arguments.studies:,} studies a row, seed {arguments.seed}\n")
    heads = [
        "score",
        "rows",
        "features",
        "repeats × folds",
        "truth",
        "helps",
        "hurts",
        "equal",
        "inconclusive",
        "coverage",
    ]
    heads += ["plain t over folds", "plain t over repeats", "half width"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for of in SCENARIOS:
        shares, metric = rates(of, arguments.studies, rng), METRICS[of.metric]
        half, real = (metric.scale * shares.pop(name) for name in ("half width", "truth"))
        cells = " | ".join(f"{100 * share:.1f} %" for share in shares.values())
        features = "the same" if of.same_features else "two halves"
        study_of = f"{metric.name} | {of.n:,} | {features} | {of.n_repeats} × {of.n_folds}"
        print(f"| {study_of} | {real:.2g} | {cells} | ±{half:.2g} |", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
