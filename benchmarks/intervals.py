"""Why the interval is what it is: seven ways to one 95 % interval, on the same simulated studies.

``python -m benchmarks.intervals`` prints the table of docs/chosen-configurations.md (about ten minutes on one core).

Examples on which every seed gave the same differences are alike, so that a study is compressed to its distinct
columns and their counts: resampling the counts is resampling the examples, at a fiftieth of the cost.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.verdicts import Scenario, simulate
from depthcheck.reports.compare.difference import paired_difference

Array = NDArray[np.float64]
Interval = tuple[float, float]
N_RESAMPLES = 1000
NORMAL, T = stats.norm.ppf(0.975), stats.t.ppf


def compress(d: NDArray[np.int8]) -> tuple[Array, NDArray[np.int64]]:
    """Return the distinct columns ``(n_seeds, n_columns)`` of d and how often each occurs."""
    columns, counts = np.unique(d, axis=1, return_counts=True)
    return columns.astype(np.float64), counts


def variance(columns: Array, seeds: Array, counts: Array) -> tuple[Array, Array]:
    """Return mean and two-way variance of the mean, for many resamples at once.

    Parameters
    ----------
    columns
        ``(n_seeds, n_columns)``.
    seeds, counts
        ``(n_resamples, n_seeds)`` and ``(n_resamples, n_columns)``: how often each was drawn.
    """
    n_seeds, n = columns.shape[0], counts.sum(axis=1)
    by_seed = counts @ columns.T / n[:, None]
    by_column = seeds @ columns / n_seeds
    mean = (by_seed * seeds).sum(axis=1) / n_seeds
    total = ((seeds @ columns**2) * counts).sum(axis=1) - n_seeds * n * mean**2
    seed = n * (seeds * (by_seed - mean[:, None]) ** 2).sum(axis=1)
    example = n_seeds * (counts * (by_column - mean[:, None]) ** 2).sum(axis=1)
    rest = np.maximum(total - seed - example, 0) / ((n_seeds - 1) * (n - 1))
    seed, example = np.maximum(seed / (n_seeds - 1), rest), np.maximum(example / (n - 1), rest)
    return mean, (seed + example - rest) / (n_seeds * n)


def intervals(a: NDArray[np.bool_], b: NDArray[np.bool_], rng: np.random.Generator) -> dict[str, Interval]:
    """Return each candidate's interval."""
    d = np.subtract(a, b, dtype=np.int8)
    n_seeds, n = d.shape
    columns, counts = compress(d)
    mean, of_mean = (float(x[0]) for x in variance(columns, np.ones((1, n_seeds)), counts[None, :].astype(float)))
    by_seed = d.mean(axis=1)
    t_seeds = T(0.975, n_seeds - 1) * float(by_seed.std(ddof=1)) / np.sqrt(n_seeds)
    z_examples = NORMAL * float(d.mean(axis=0).std(ddof=1)) / np.sqrt(n)
    drawn_seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=N_RESAMPLES).astype(float)
    drawn = rng.multinomial(n, counts / n, size=N_RESAMPLES).astype(float)
    means, variances = variance(columns, drawn_seeds, drawn)
    ours = paired_difference(a, b)
    pivots = (means - mean) / np.sqrt(np.maximum(variances, 1e-12))
    studentized = np.quantile(pivots, [0.975, 0.025])
    low, high = np.quantile(means, [0.025, 0.975])
    normal = NORMAL * np.sqrt(of_mean)
    return {
        "examples alone, normal": (mean - z_examples, mean + z_examples),
        "seeds alone, t": (mean - t_seeds, mean + t_seeds),
        "two-way bootstrap, percentile": (float(low), float(high)),
        "two-way bootstrap, BCa": _bca(mean, means, columns, counts, by_seed),
        "two-way bootstrap, studentized": (
            mean - float(studentized[0]) * np.sqrt(of_mean),
            mean - float(studentized[1]) * np.sqrt(of_mean),
        ),
        "two-way variance, normal": (mean - normal, mean + normal),
        "two-way variance, Satterthwaite's t (chosen)": (ours.low or 0.0, ours.high or 0.0),
    }


def _bca(mean: float, means: Array, columns: Array, counts: NDArray[np.int64], by_seed: Array) -> Interval:
    """Return the bias-corrected and accelerated interval; influence of seeds and of examples together."""
    n_seeds, n = len(by_seed), counts.sum()
    of_seeds, of_columns = (by_seed - mean) / n_seeds, (columns.mean(axis=0) - mean) / n
    cubes = (of_seeds**3).sum() + (counts * of_columns**3).sum()
    squares = (of_seeds**2).sum() + (counts * of_columns**2).sum()
    acceleration = cubes / (6 * squares**1.5)
    bias = stats.norm.ppf(np.clip((means < mean).mean() + (means == mean).mean() / 2, 1e-3, 1 - 1e-3))
    z = bias + np.array([-NORMAL, NORMAL])
    low, high = np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def run(n_studies: int, rng: np.random.Generator, say: Callable[[str], None] = print) -> None:
    """Print coverage and mean half width of each candidate in eight scenarios."""
    scenarios = [
        Scenario(seed_sds=sds, n_seeds=n_seeds, n_test=n_test)
        for n_test in (10_000, 1_000)
        for sds in ((0.15, 0.15), (0.15, 0.45))
        for n_seeds in (5, 10)
    ]
    cells: defaultdict[str, list[str]] = defaultdict(list)
    for scenario in scenarios:
        covered, half = defaultdict(int), defaultdict(float)
        for _ in range(n_studies):
            b, a = simulate(scenario, rng)
            for name, (low, high) in intervals(a, b, rng).items():
                covered[name] += low <= 0 <= high
                half[name] += 100 * (high - low) / 2
        for name, count in covered.items():
            cells[name].append(f"{100 * count / n_studies:.1f} % (±{half[name] / n_studies:.2f})")
    heads = [f"{s.n_seeds} seeds, {s.n_test:,}, sd {s.seed_sds[0]} / {s.seed_sds[1]}" for s in scenarios]
    say("| interval | " + " | ".join(heads) + " |\n|---|" + "---|" * len(heads))
    for name, row in cells.items():
        say(f"| {name} | " + " | ".join(row) + " |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20_262)
    arguments = parser.parse_args()
    started = time.perf_counter()
    print(f"{arguments.studies:,} studies a column, seed {arguments.seed}: coverage of 95 % intervals (half width)\n")
    run(arguments.studies, np.random.default_rng(arguments.seed))
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
