"""Do the intervals hold for AUC and R²? Simulated studies with a known truth, judged as the report judges them.

``python -m benchmarks.scores`` prints a table of docs/chosen-configurations.md.
As in benchmarks/verdicts.py, examples differ in
what all models find hard, what one configuration finds hard and what one run does, and seeds in how well they come out.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from depthcheck.pipeline.scores import METRICS
from depthcheck.reports.compare.difference import paired_difference
from depthcheck.reports.compare.example_scores import auc_scores, r2_scores
from depthcheck.reports.compare.results import Difference
from depthcheck.reports.compare.verdict import decide

Array = NDArray[np.float64]
#: Shares of the variance of what moves a prediction: common to all models, to the runs of one, to one run.
SHARED, OWN = 0.80, 0.10


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A study of two models; scores, effect and deviation over seeds in the metric's own scale."""

    metric: str
    score: float
    effect: float = 0.0
    seed_sd: float = 0.0
    n_seeds: int = 5
    n_test: int = 1_000
    prevalence: float = 0.5
    heavy_tails: bool = False


def latent(n_seeds: int, common: Array, rng: np.random.Generator) -> Array:
    """Return ``(n_seeds, n)`` of variance 1: common to all models, to this one, and of each run its own."""
    n = len(common)
    own = np.sqrt(OWN) * rng.standard_normal(n)
    return np.sqrt(SHARED) * common + own + np.sqrt(1 - SHARED - OWN) * rng.standard_normal((n_seeds, n))


def auc_study(of: Scenario, rng: np.random.Generator) -> list[Array]:
    """Return the pseudo-values of both models, ``(n_seeds, n_test)`` each: two normal classes, ranked by their sum."""
    y = rng.random(of.n_test) < of.prevalence
    y[:2] = True, False
    common = rng.standard_normal(of.n_test)
    models = []
    for effect in (0.0, of.effect):
        areas = of.score + effect + of.seed_sd * rng.standard_normal(of.n_seeds)
        shift = np.sqrt(2) * stats.norm.ppf(areas)
        scores = latent(of.n_seeds, common, rng) + shift[:, None] * y
        models.append(np.array([auc_scores(y, row) for row in scores]))
    return models


def r2_study(of: Scenario, rng: np.random.Generator) -> list[Array]:
    """Return the same for a regression: predictions that shrink towards the mean, as fitted ones do."""
    y = rng.standard_t(5, of.n_test) / np.sqrt(5 / 3) if of.heavy_tails else rng.standard_normal(of.n_test)
    common = rng.standard_t(5, of.n_test) / np.sqrt(5 / 3) if of.heavy_tails else rng.standard_normal(of.n_test)
    models = []
    for effect in (0.0, of.effect):
        explained = (of.score + effect + of.seed_sd * rng.standard_normal(of.n_seeds))[:, None]
        noise = np.sqrt(explained * (1 - explained)) * latent(of.n_seeds, common, rng)
        models.append(np.array([r2_scores(y, row) for row in explained * y + noise]))
    return models


STUDIES: dict[str, Callable[[Scenario, np.random.Generator], list[Array]]] = {"auc": auc_study, "r2": r2_study}


def rates(of: Scenario, n_studies: int, rng: np.random.Generator) -> dict[str, float]:
    """Return how often each verdict is given, how often the interval covers the truth, and its mean half width."""
    metric, words, covered, half = METRICS[of.metric], Counter[str](), 0, 0.0
    for _ in range(n_studies):
        reference, level = STUDIES[of.metric](of, rng)
        difference: Difference = paired_difference(level, reference, pseudo_observations=metric.pseudo_observations)
        said = decide(
            difference, difference.p, equivalence=metric.equivalence, enough=of.n_seeds, metric=metric
        )  # fmt: skip
        words[said.word] += 1
        covered += difference.low is not None and difference.low <= of.effect <= (difference.high or 0)
        half += difference.half_width or 0
    shares = {word: words[word] / n_studies for word in ("helps", "hurts", "practically equal", "inconclusive")}
    return {**shares, "coverage": covered / n_studies, "half width": half / n_studies}


AUC, R2 = Scenario(metric="auc", score=0.85, seed_sd=0.004), Scenario(metric="r2", score=0.6, seed_sd=0.01)
SCENARIOS = {
    "AUC 0.85": AUC,
    "AUC 0.85, 300 examples": replace(AUC, n_test=300),
    "AUC 0.85, 300 examples, one in ten positive": replace(AUC, n_test=300, prevalence=0.1),
    "AUC 0.85, 10,000 examples": replace(AUC, n_test=10_000),
    "AUC 0.85, 10 seeds": replace(AUC, n_seeds=10),
    "AUC 0.98, 300 examples": replace(AUC, score=0.98, n_test=300),
    "AUC 0.85, effect 3 points": replace(AUC, effect=0.03),
    "R² 0.6": R2,
    "R² 0.6, 300 examples": replace(R2, n_test=300),
    "R² 0.6, 300 examples, heavy tails": replace(R2, n_test=300, heavy_tails=True),
    "R² 0.6, 10,000 examples": replace(R2, n_test=10_000),
    "R² 0.6, 10 seeds": replace(R2, n_seeds=10),
    "R² 0.6, effect 0.05": replace(R2, effect=0.05),
    "R² 0.6, effect 0.3, 300 examples": replace(R2, effect=0.3, n_test=300),
    "R² 0.6, effect 0.3, 300 examples, heavy tails": replace(R2, effect=0.3, n_test=300, heavy_tails=True),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20_263)
    arguments = parser.parse_args()
    started, rng = time.perf_counter(), np.random.default_rng(arguments.seed)
    print(f"{arguments.studies:,} studies a row, seed {arguments.seed}; 5 seeds and 1,000 examples unless said\n")
    print("| study | helps | hurts | equal | inconclusive | coverage | half width |\n|---|---|---|---|---|---|---|")
    for name, scenario in SCENARIOS.items():
        shares = rates(scenario, arguments.studies, rng)
        half = METRICS[scenario.metric].scale * shares.pop("half width")
        print(
            f"| {name} | {' | '.join(f'{100 * share:.1f} %' for share in shares.values())} | ±{half:.2g} |", flush=True
        )
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
