"""How much better A is than B, and how sure that is: seeds and test examples, crossed.

A run is drawn by its seed, and judged on examples that are drawn too. With ``d[s, i]`` the score of A minus that of B
at seed *s* on example *i*, the mean over both varies by ``seed_variance / S + example_variance / n + rest / (S n)``.
A t test over five seeds alone forgets the second part, which does not shrink with more seeds; McNemar's test on one
pair of models forgets the first. Pure functions of arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reports.records import Difference

CONFIDENCE = 0.95


def paired_difference(a: NDArray[np.generic], b: NDArray[np.generic], *, is_share: bool = True) -> Difference:
    """Estimate the expected score of A minus that of B over fresh seeds and fresh examples.

    The interval is Satterthwaite's for the mean of a crossed two-way table with both ways random. It was chosen over
    percentile, BCa and studentized bootstraps by simulation (docs/comparison.md has the table): with five seeds a
    bootstrap has five values to draw from.

    Parameters
    ----------
    a, b
        ``(n_seeds, n_examples)`` score of each example, row *s* of both from one seed: bool (right or wrong) or float.
    is_share
        The scores lie in 0 .. 1 and their mean is a share. Then two imagined examples, one for each side, join the
        variance (not the mean), as Bonett and Price (2012) do for paired proportions: agreement on all of 100
        examples is no proof of agreement on the next.

    Raises
    ------
    ValueError
        When the two differ in shape, or are empty.
    """
    if a.shape != b.shape or a.ndim != 2 or 0 in a.shape:
        raise ValueError(
            f"scores must be two filled tables of one shape (n_seeds, n_examples), got {a.shape}, {b.shape}"
        )
    d = _subtract(a, b)
    n_seeds, n_examples = d.shape
    by_seed, by_example = d.mean(axis=1), d.mean(axis=0)
    estimate = float(by_seed.mean())
    if n_seeds < 2 or n_examples < 2:
        return _without_interval(by_seed, n_examples)
    squares_seed = n_examples * float(((by_seed - estimate) ** 2).sum())
    squares_example = n_seeds * float(((by_example - estimate) ** 2).sum())
    squares_rest = float(np.square(d).sum(dtype=np.float64)) - d.size * estimate**2 - squares_seed - squares_example
    imagined = 2.0 * n_seeds if is_share else 0.0
    ms_seed = squares_seed / (n_seeds - 1)
    ms_example = (squares_example + imagined) / (n_examples - 1)
    ms_rest = max(squares_rest, 0.0) / ((n_seeds - 1) * (n_examples - 1))
    # The mean square of the seeds stays as it is, be it below the rest's: raised to it, the
    # interval of five seeds on 1,000 examples covered 97.7 %.
    ms_example = max(ms_example, ms_rest)
    parts = ((ms_seed, n_seeds - 1), (ms_example, n_examples - 1), (-ms_rest, (n_seeds - 1) * (n_examples - 1)))
    low, high, p, df = _interval(estimate, [(mean_square / d.size, df) for mean_square, df in parts])
    return Difference(
        estimate=estimate,
        low=low,
        high=high,
        p=p,
        df=df,
        by_seed=tuple(map(float, by_seed)),
        n_examples=n_examples,
        seed_variance=max(ms_seed - ms_rest, 0.0) / n_examples,
        example_variance=(ms_example - ms_rest) / n_seeds,
        rest_variance=ms_rest,
        method="seeds and examples",
    )


def difference_of_means(
    a: NDArray[np.float64], b: NDArray[np.float64], *, n_examples: int, is_share: bool = True
) -> Difference:
    """Estimate the same where only the score of each run is known, not that of each example.

    For a share the examples' part of the variance is then taken at its bound, that of two models whose errors have
    nothing to do with each other: the interval is wider than need be, never too narrow. Other scores have no such
    bound; their interval speaks of seeds alone.

    Parameters
    ----------
    a, b
        ``(n_seeds,)`` the score of each run, paired by seed.
    n_examples
        Size of the part they were judged on.

    Raises
    ------
    ValueError
        When the two differ in shape, or are empty.
    """
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise ValueError(f"scores must be two filled rows of one shape (n_seeds,), got {a.shape} and {b.shape}")
    by_seed = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    if len(by_seed) < 2:
        return _without_interval(by_seed, n_examples)
    estimate, seed_variance = float(by_seed.mean()), float(by_seed.var(ddof=1))
    shares = np.clip([np.mean(a), np.mean(b)], 0.0, 1.0)
    example_variance = float((shares * (1 - shares)).sum()) if is_share else 0.0
    parts = [(seed_variance / len(by_seed), len(by_seed) - 1), (example_variance / n_examples, n_examples)]
    low, high, p, df = _interval(estimate, parts)
    return Difference(
        estimate=estimate,
        low=low,
        high=high,
        p=p,
        df=df,
        by_seed=tuple(map(float, by_seed)),
        n_examples=n_examples,
        seed_variance=seed_variance,
        example_variance=example_variance,
        method="seeds, examples bounded" if is_share else "seeds only",
    )


def probability_better(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the share of all pairs of a run of A and a run of B in which A scores higher; ties count half.

    Fresh runs do not share a seed, so all pairs count, not those of one seed alone (Mann and Whitney's U over the
    number of pairs; *probability of improvement* in Agarwal et al. 2021).

    Parameters
    ----------
    a, b
        ``(n_runs_a,)`` and ``(n_runs_b,)`` scores.
    """
    sign = np.sign(np.subtract.outer(a, b))
    return float((sign.mean() + 1) / 2)


def seeds_to_detect(
    difference: Difference, effect: float, *, power: float = 0.8, confidence: float = CONFIDENCE, most: int = 200
) -> int | None:
    """Return how many seeds would show an effect of this size, given the variances seen so far.

    Parameters
    ----------
    difference
        What the seeds so far gave.
    effect
        In the metric's scale.
    power
        The probability of showing it.

    Returns
    -------
    int or None
        None where no number of seeds up to ``most`` does: the test part is too small, or nothing is known of the
        spread.
    """
    if difference.low is None or effect <= 0:
        return None
    over_seeds = difference.seed_variance + difference.rest_variance / difference.n_examples
    over_examples = difference.example_variance / difference.n_examples
    for n_seeds in range(2, most + 1):
        variance = over_seeds / n_seeds + over_examples
        if variance == 0:
            return 2
        df = variance**2 * (n_seeds - 1) / max((over_seeds / n_seeds) ** 2, 1e-300)
        critical = stats.t.ppf((1 + confidence) / 2, min(df, 1e6))
        if stats.nct.sf(critical, min(df, 1e6), effect / np.sqrt(variance)) >= power:
            return n_seeds
    return None


def _subtract(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.generic]:
    """Subtract, in one byte a value where both are right or wrong: ten seeds by 10,000 images stay small."""
    dtype = np.int8 if a.dtype == np.bool_ and b.dtype == np.bool_ else np.float64
    return np.asarray(np.subtract(a, b, dtype=dtype, casting="unsafe"))


def _without_interval(by_seed: NDArray[np.float64], n_examples: int) -> Difference:
    return Difference(
        estimate=float(by_seed.mean()),
        low=None,
        high=None,
        p=None,
        df=None,
        by_seed=tuple(map(float, by_seed)),
        n_examples=n_examples,
        method="seeds only",
    )


def _interval(estimate: float, parts: list[tuple[float, int]]) -> tuple[float, float, float, float]:
    """Return low, high, p and degrees of freedom from (part of the variance, its degrees of freedom) pairs."""
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return estimate, estimate, 1.0 if estimate == 0 else 0.0, float(parts[0][1])
    # A difference of two large mean squares may leave less than the seeds alone have; no less than those are there.
    df = max(variance**2 / sum(part**2 / df for part, df in parts), float(parts[0][1]))
    error = float(np.sqrt(variance))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, df)) * error
    return estimate - half, estimate + half, float(2 * stats.t.sf(abs(estimate) / error, df)), float(df)
