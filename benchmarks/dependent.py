"""What the interval covers where rows belong together, or weigh differently: whole searches judged on such rows.

``python -m benchmarks.dependent`` prints a table of docs/search-simulations.md (minutes on one core), of groups and of
rows in order of time; with ``--weights`` another, of rows whose weights have a skewed distribution. A study compares
two levels, neither of which is better in expectation, with settings that each of them is trained with; the level that
a group (or a stretch of time) favours, it favours in all of its rows. Every study draws its settings, groups and rows
afresh, so that the true difference is 0, and is judged by the report's own functions: once with each row for a draw of
its own, once by groups or blocks of time, or by rows as units of unequal size.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from depthcheck.pipeline.prepare.split import time_blocks
from depthcheck.pipeline.scores import METRICS
from depthcheck.reports.compare.difference import degrees_of_freedom, subset_size, tuned_scores
from depthcheck.reports.compare.example_scores import (
    ExampleScores,
    Units,
    auc_scores,
    difference_by_units,
    r2_scores,
    units_of,
    weighted_scores,
)
from depthcheck.reports.compare.results import Difference

Array = NDArray[np.float64]
#: Standard deviations: between settings, of the noise of one network, and of what a row is to both levels.
SETTING_SD, NETWORK_SD, ROW_SD = 0.15, 0.5, 0.6


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A study.

    Attributes
    ----------
    n_groups
        0: rows in order of time.
    alike
        Share of the variance of what tells the levels apart that rows of one group have in common; of rows in order
        of time, the correlation of one row with the next.
    skew
        Standard deviation of the logarithm of the groups' sizes; 0: all are of one size.
    weights
        That of the rows' weights; 0: all weigh the same.
    """

    metric: str = "accuracy"
    n_rows: int = 1_000
    n_groups: int = 0
    alike: float = 0.0
    skew: float = 0.0
    weights: float = 0.0
    n_settings: int = 8

    def __str__(self) -> str:
        """Return the first cells of its row."""
        what = f"{self.n_groups} groups" if self.n_groups else "time" if not self.weights else f"{self.n_rows:,} rows"
        what += f", weights skewed ({self.weights:g})" if self.weights else ""
        sizes = "equal" if not self.skew else f"skewed ({self.skew:g})"
        return f"{METRICS[self.metric].name} | {what} | {sizes if self.n_groups else '–'} | {self.alike:g}"


def members(n_rows: int, n_groups: int, skew: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the unit of each row, ``(n_rows,)``: the group that it is of, or the block of time that it lies in."""
    if not n_groups:
        return time_blocks(np.arange(n_rows))
    sizes = np.exp(skew * rng.standard_normal(n_groups))
    rest = rng.choice(n_groups, n_rows - n_groups, p=sizes / sizes.sum())
    return np.concatenate([np.arange(n_groups), np.sort(rest)]) if skew else np.arange(n_rows) % n_groups


def common(of: Scenario, unit: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Return what rows have of their group or their time, and of themselves: ``(n_rows,)`` of variance 1."""
    own = rng.standard_normal(of.n_rows)
    if of.n_groups:
        return np.sqrt(of.alike) * rng.standard_normal(of.n_groups)[unit] + np.sqrt(1 - of.alike) * own
    innovations = np.sqrt(1 - of.alike**2) * own
    innovations[0] = own[0]
    return np.asarray(lfilter([1.0], [1.0, -of.alike], innovations))


def study(of: Scenario, rng: np.random.Generator) -> tuple[list[Array], NDArray[np.int64], Array | None]:
    """Return pseudo-values of both tuned levels, ``(n_settings, n_rows)`` each, and the rows' units and weights."""
    unit, shape = members(of.n_rows, of.n_groups, of.skew, rng), (of.n_settings, of.n_rows)
    quality, shared, answer = (
        SETTING_SD * rng.standard_normal(of.n_settings),
        common(of, unit, rng),
        common(of, unit, rng),
    )
    weight = np.exp(of.weights * rng.standard_normal(of.n_rows)) if of.weights else None
    tuned = []
    for _level in range(2):
        said = ROW_SD * common(of, unit, rng) + NETWORK_SD * rng.standard_normal(shape)
        if of.metric == "accuracy":
            scores: Array = (0.7 + quality[:, None] + ROW_SD * shared + said > 0).astype(np.float64)
            scores = scores if weight is None else np.stack([weighted_scores(row, weight) for row in scores])
        elif of.metric == "auc":
            positive = (answer > 0).astype(np.int64)
            given = (1 + quality[:, None]) * answer + said
            scores = np.stack([_known(auc_scores(positive, row, weight)) for row in given])
        else:
            given = (0.8 + quality[:, None]) * answer + said
            scores = np.stack([_known(r2_scores(answer, row, weight)) for row in given])
        valid = (quality + 0.05 * rng.standard_normal(of.n_settings))[:, None]
        tuned.append(tuned_scores(valid, scores[:, None], subset_size(of.n_settings)))
    return tuned, unit, weight


def _known(scores: Array | None) -> Array:
    assert scores is not None
    return scores


def judged(of: Scenario, tuned: list[Array], units: Units | None) -> Difference:
    """Judge the two levels as the report does."""
    return difference_by_units(
        *tuned, units, pseudo_observations=None, method="settings and examples",
        df_rows=degrees_of_freedom(of.n_settings, subset_size(of.n_settings)),
    )  # fmt: skip


def scenarios() -> list[Scenario]:
    """Return those of the table."""
    groups = [
        Scenario(n_groups=n, alike=alike, skew=skew)
        for n, alike, skew in itertools.product((5, 8, 20, 100), (0.1, 0.5), (0.0, 1.0))
    ]
    others = [
        Scenario(metric=metric, n_groups=n, alike=0.3, skew=skew)
        for metric, n, skew in itertools.product(("auc", "r2"), (8, 50), (0.0, 1.0))
    ]
    times = [Scenario(alike=alike) for alike in (0.0, 0.9, 0.97, 0.99)]
    return [*groups, Scenario(n_groups=20), Scenario(n_groups=20, skew=1.0), *others, *times]


def weighted() -> list[Scenario]:
    """Return those of the table of weights."""
    rows = [
        Scenario(metric=metric, n_rows=n, weights=weights)
        for metric, n, weights in itertools.product(("accuracy", "auc", "r2"), (200, 1_000), (0.5, 1.0, 1.5))
    ]
    return [*rows, *(Scenario(n_groups=n, alike=0.3, skew=1.0, weights=1.0) for n in (8, 50))]


def run(every: list[Scenario], n_studies: int, seed: int) -> None:
    """Print how often the intervals cover 0, and how wide they are."""
    print(
        "| score | rows of | sizes | alike | each row for itself: covers | half width | by units: covers | half width |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for number, of in enumerate(every):
        rng, covered, half = np.random.default_rng((seed, number)), np.zeros(2), np.zeros(2)
        for _ in range(n_studies):
            tuned, unit, weight = study(of, rng)
            answers = ExampleScores(scores=tuned[0][0], unit=unit, weight=weight)
            answers = answers if of.n_groups or not of.weights else replace(answers, unit=None)
            known = units_of([answers], "group" if of.n_groups else "time")
            for way, units in enumerate((None, known)):
                found = judged(of, tuned, units)
                covered[way] += abs(found.estimate) <= (found.half_width or 0.0)
                half[way] += METRICS[of.metric].scale * (found.half_width or 0.0)
        cells = [f"{100 * c / n_studies:.1f} % | ±{h / n_studies:.3g}" for c, h in zip(covered, half, strict=True)]
        print(f"| {of} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=20_265)
    parser.add_argument("--weights", action="store_true")
    parser.add_argument("--settings", type=int, default=8)
    arguments = parser.parse_args()
    started = time.perf_counter()
    print(f"{arguments.studies:,} studies a row, seed {arguments.seed}\n")
    every = weighted() if arguments.weights else scenarios()
    run([replace(of, n_settings=arguments.settings) for of in every], arguments.studies, arguments.seed)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
