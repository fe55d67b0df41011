"""The verdict machinery against truth: simulated studies whose effect is known.

``python -m benchmarks.verdicts`` prints the tables of docs/chosen-configurations.md (about five minutes on one core);
``--studies 100`` is a quick look. Every study is judged by the very functions that the report uses.

A model answers an example rightly when a latent sum is above zero: the example's difficulty, shared by all models;
what this configuration finds hard; what this run finds hard; and how well this seed came out. The shares are set so
that two runs of one configuration disagree on which are right in 6 % of the examples, and runs of two configurations
in 7 %: networks with one and two layers of 100 units on Fashion-MNIST were measured at 5.5 to 8 % and 6.5 to 8 %.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from depthcheck.pipeline.scores import ACCURACY as METRIC
from depthcheck.reports.compare.difference import paired_difference
from depthcheck.reports.compare.results import Difference
from depthcheck.reports.compare.verdict import adjust, decide

ACCURACY, CHURN_WITHIN, CHURN_BETWEEN = 0.88, 0.06, 0.07
EQUIVALENCE, MIN_SEEDS = 0.003, 5
EFFECTS, NOISES = (0.0, 0.1, 0.3, 0.5, 1.5), ((0.15, 0.15), (0.15, 0.45))


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Effects and standard deviations over seeds in points of accuracy; one number a model, the reference first."""

    effects: tuple[float, ...] = (0.0, 0.0)
    seed_sds: tuple[float, ...] = (0.15, 0.15)
    n_seeds: int = 5
    n_test: int = 10_000
    share_failing: float = 0.0
    failing_costs: float = 3.0


def correlation(churn: float) -> float:
    """Return the correlation of two latent sums, both right with ``ACCURACY``, that disagree in ``churn``."""
    at = stats.norm.ppf(ACCURACY)

    def excess(rho: float) -> float:
        both = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([at, at])
        return 2 * (ACCURACY - both) - churn

    return float(optimize.brentq(excess, 0.01, 0.9999))


#: Share of the latent variance that all models have in common, and all runs of one configuration.
SHARED, OWN = correlation(CHURN_BETWEEN), correlation(CHURN_WITHIN)


def simulate(scenario: Scenario, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Return ``(n_seeds, n_test)`` right or wrong for each model of one study, on examples drawn afresh.

    A seed moves the accuracy of its run by a normal amount; ``share_failing`` of the runs fall short by
    ``failing_costs`` points more, and the effect is corrected for it: the truth stays what it is called.
    """
    difficulty = np.sqrt(SHARED) * rng.standard_normal(scenario.n_test, dtype=np.float32)
    density = stats.norm.pdf(stats.norm.ppf(ACCURACY))
    models = []
    for effect, sd in zip(scenario.effects, scenario.seed_sds, strict=True):
        level = ACCURACY + effect / 100
        moved = sd / 100 * rng.standard_normal(scenario.n_seeds)
        failing = rng.random(scenario.n_seeds) < scenario.share_failing
        level += scenario.share_failing * scenario.failing_costs / 100
        spread = sd / 100 / density
        seed = stats.norm.ppf(level) * np.sqrt(1 + spread**2) + moved / density
        seed = np.where(failing, stats.norm.ppf(level - scenario.failing_costs / 100), seed)
        own = difficulty + np.sqrt(OWN - SHARED) * rng.standard_normal(scenario.n_test, dtype=np.float32)
        run = rng.standard_normal((scenario.n_seeds, scenario.n_test), dtype=np.float32)
        run *= np.float32(np.sqrt(1 - OWN))
        run += own.astype(np.float32)
        models.append(run > -seed[:, None].astype(np.float32))
    return models


def word(difference: Difference, p_holm: float | None) -> str:
    """Return the verdict's word, by the report's rules."""
    return decide(difference, p_holm, equivalence=EQUIVALENCE, enough=MIN_SEEDS, metric=METRIC).word


def study(scenario: Scenario, rng: np.random.Generator) -> tuple[list[Difference], list[str]]:
    """Judge one study: each further model against the first, adjusted over all of them."""
    reference, *others = simulate(scenario, rng)
    differences = [paired_difference(other, reference) for other in others]
    adjusted = adjust([difference.p for difference in differences])
    return differences, [word(d, p) for d, p in zip(differences, adjusted, strict=True)]


def covers(difference: Difference, truth: float) -> bool:
    """Whether the interval holds the truth, in points."""
    return difference.low is not None and difference.low <= truth / 100 <= (difference.high or 0)


def rates(scenario: Scenario, n_studies: int, rng: np.random.Generator) -> dict[str, float]:
    """Return the share of each verdict, the coverage, and the mean half width in points, for one contrast."""
    words: Counter[str] = Counter()
    covered, half = 0, 0.0
    for _ in range(n_studies):
        (difference,), (said,) = study(scenario, rng)
        words[said] += 1
        covered += covers(difference, scenario.effects[1] - scenario.effects[0])
        half += 100 * (difference.half_width or 0)
    shares = {name: words[name] / n_studies for name in ("helps", "hurts", "practically equal", "inconclusive")}
    return {**shares, "coverage": covered / n_studies, "half width": half / n_studies}


def family(scenario: Scenario, n_studies: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return how often any contrast of a question is said to help, with Holm's adjustment and without."""
    with_holm = without = 0
    for _ in range(n_studies):
        differences, words = study(scenario, rng)
        with_holm += "helps" in words
        without += any(word(difference, difference.p) == "helps" for difference in differences)
    return with_holm / n_studies, without / n_studies


def second_look(scenario: Scenario, n_studies: int, rng: np.random.Generator) -> float:
    """Return how often *helps* is said when half the seeds are judged first, and the rest only when it was not."""
    helps = 0
    for _ in range(n_studies):
        reference, other = simulate(scenario, rng)
        half = scenario.n_seeds // 2
        looks = [paired_difference(other[:n], reference[:n]) for n in (half, scenario.n_seeds)]
        helps += any(word(look, look.p) == "helps" for look in looks)
    return helps / n_studies


def _table(n_studies: int, rng: np.random.Generator) -> None:
    print("| effect | seed sd | seeds | test | helps | hurts | equal | inconclusive | coverage | half width |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for n_test in (10_000, 1_000):
        for sds in NOISES:
            for n_seeds in (5, 10):
                for effect in EFFECTS:
                    scenario = Scenario(effects=(0.0, effect), seed_sds=sds, n_seeds=n_seeds, n_test=n_test)
                    shares = rates(scenario, n_studies, rng)
                    half = shares.pop("half width")
                    cells = " | ".join(f"{100 * share:.1f} %" for share in shares.values())
                    print(
                        f"| {effect} | {sds[0]} / {sds[1]} | {n_seeds} | {n_test:,} | {cells} | ±{half:.2f} |",
                        flush=True,
                    )


def _extremes(n_studies: int, rng: np.random.Generator) -> None:
    print("\n| when nothing helps | helps said |\n|---|---|")
    for n_seeds in (5, 10):
        five = Scenario(effects=(0.0,) * 5, seed_sds=(0.15, 0.15, 0.15, 0.3, 0.45), n_seeds=n_seeds)
        holm, plain = family(five, n_studies, rng)
        print(f"| any of four contrasts, {n_seeds} seeds | {100 * holm:.1f} % (without Holm {100 * plain:.1f} %) |")
    looked = second_look(Scenario(n_seeds=10), n_studies, rng)
    print(f"| one contrast, judged at 5 seeds and, if not yet, at 10 | {100 * looked:.1f} % |")
    for n_seeds in (5, 10):
        failing = replace(Scenario(n_seeds=n_seeds), share_failing=0.05)
        shares = rates(failing, n_studies, rng)
        print(
            f"| one contrast, {n_seeds} seeds, one run in twenty 3 points short | {100 * shares['helps']:.1f} % "
            f"(coverage {100 * shares['coverage']:.1f} %) |",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20_261)
    arguments = parser.parse_args()
    started, rng = time.perf_counter(), np.random.default_rng(arguments.seed)
    print(f"{arguments.studies:,} studies a row, seed {arguments.seed}; effect, sd and half width in points\n")
    _table(arguments.studies, rng)
    _extremes(arguments.studies, rng)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
