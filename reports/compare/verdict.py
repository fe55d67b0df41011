"""From an interval to a word, and how many more settings or seeds would show a difference that matters.

Pure; the rules are written out for readers in docs/comparison.md. A number of more seeds is a plan, not a promise.

A study that goes on until its questions are decided is judged again and again, and would find something sooner or
later. Each look gets a share of the error, of which the looks together never spend more than all: of look *j* of any
number, all looks up to it have *j / (j + 1)* of it (an error-spending function, Lan and DeMets 1983). How strict each
look must then be follows from how much the looks have in common: the estimate at *m* settings and that at *m'* > *m*
are correlated by sqrt(m / m') (Armitage, McPherson and Rowe 1969; Jennison and Turnbull 2000, chapter 19). Intervals
at these levels cover at all looks at once.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from depthcheck.pipeline.scores import ENOUGH_SEEDS, ENOUGH_SETTINGS, Metric
from depthcheck.reports.compare.difference import SEARCHED, degrees_of_freedom, satterthwaite
from depthcheck.reports.compare.results import FEWEST_UNITS, Difference, Verdict

SIGNIFICANCE = 0.05
#: Probability of telling what matters from none; and seeds (or settings) that plans are made with, first for what
#: matters, then for what was found, and at last for what matters, however long that takes.
_POWER, _MANY_SEEDS, _MOST_SEEDS = 0.8, 2_000, 100_000
#: Standard errors beyond twice what is significant where power is nearly 1, with one degree of freedom too.
_FAR = 8.0
#: How often a plan is made for half the effect.
_MOST_HALVINGS = 4


def adjust(p_values: Sequence[float | None], error: float = SIGNIFICANCE) -> tuple[float | None, ...]:
    """Adjust the p of one question's contrasts by Holm's step-down method; contrasts without a p stay without.

    Parameters
    ----------
    error
        What this look at the study may make of errors for itself: p counts in proportion to it.
    """
    p_values = [None if p is None else min(p * SIGNIFICANCE / error, 1.0) for p in p_values]
    known = np.array([p for p in p_values if p is not None])
    # Not by statsmodels' multipletests: at each call it collects the process's garbage, 0.2 s beside MLflow and Keras.
    order = np.argsort(known)
    adjusted = np.empty_like(known)
    adjusted[order] = np.minimum(np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1)), 1)
    following = iter(adjusted.tolist())
    return tuple(None if p is None else next(following) for p in p_values)


def decide(difference: Difference, p_holm: float | None, *, equivalence: float, enough: int, metric: Metric) -> Verdict:
    """Give the verdict on a contrast between two levels that both trained.

    *Helps* needs two things: a Holm-adjusted p of at most 0.05, so that luck is held off over all contrasts of the
    question, and an estimate outside the region of practical equivalence, so that a tiny effect that a large study can
    see is not sold as a help. *Practically equal* needs the whole 95 % interval inside that region. A p above 0.05 is
    never read as "no difference".

    Parameters
    ----------
    difference
        Level minus reference.
    p_holm
        Adjusted within the question, or None where there is no interval.
    equivalence
        Half the width of the region of practical equivalence, in the metric's scale.
    enough
        Settings (or seeds) that a verdict asks for.
    """
    if difference.n_seeds < enough:
        return not_enough(difference.n_seeds, difference.again, enough)
    if difference.low is None or difference.high is None or p_holm is None:
        return Verdict(word="inconclusive", because=f"{_why_no_interval(difference)}: there is no interval")
    region = f"{metric.region(equivalence)} either way"
    if -equivalence < difference.low and difference.high < equivalence:
        return Verdict(word="practically equal", because=f"the whole interval lies within {region}")
    if p_holm <= SIGNIFICANCE and abs(difference.estimate) >= equivalence:
        word, side = ("helps", "above") if difference.estimate > 0 else ("hurts", "below")
        return Verdict(word=word, because=f"the interval lies {side} zero, adjusted for the question's contrasts")  # type: ignore[arg-type]
    return Verdict(word="inconclusive", because=_why_open(difference, p_holm, region, equivalence))


def advise(
    verdict: Verdict, difference: Difference, *, equivalence: float, error: float = SIGNIFICANCE, n_contrasts: int = 1
) -> Verdict:
    """Add to an inconclusive verdict how many more settings (or seeds) would tell what matters from none.

    That is a difference as large as half the region of practical equivalence, four times in five. Where the examples
    that judge are too few for that, it is one as large as was found; where there are settings enough for it, a smaller
    one, since the true one may lie near the region's edge. The number stays None where no number is enough.

    Parameters
    ----------
    error, n_contrasts
        What this look at the study may make of errors for itself, shared by the question's contrasts.
    """
    if verdict.word != "inconclusive" or difference.method == "repeats only":
        return verdict
    error, effect, needed = error / n_contrasts, equivalence, None
    as_found = max(equivalence, float(f"{abs(difference.estimate):.2g}"))
    for effect, most in ((equivalence, _MANY_SEEDS), (as_found, _MANY_SEEDS), (equivalence, _MOST_SEEDS)):
        needed = seeds_to_detect(difference, effect, error, most)
        if needed is not None:
            break
    for _ in range(_MOST_HALVINGS):
        if needed is None or needed > difference.n_seeds:
            break
        effect /= 2
        needed = seeds_to_detect(difference, effect, error)
    if needed is None:
        examples = "rows" if difference.n_folds or difference.method.endswith("rows") else "test examples"
        examples = examples if difference.drawn == "examples" else difference.drawn
        cannot = f"more {difference.again}s cannot settle it, more {examples} can"
        return replace(verdict, because=f"{verdict.because}; {cannot}")
    return replace(verdict, more=max(needed - difference.n_seeds, 1), effect=effect)


def enough_of(again: str) -> int:
    """Return how many *settings* a verdict asks for, or how many seeds or repeats."""
    return ENOUGH_SETTINGS if again == "setting" else ENOUGH_SEEDS


def not_enough(n: int, again: str, enough: int) -> Verdict:
    """Give the verdict where there are fewer settings (or seeds) than a verdict asks for."""
    there = f"there is {n} {again}" if n == 1 else f"there are {n or 'no'} {again}s"
    return Verdict(word="not enough evidence", because=f"{there}, and at least {enough} are asked for", more=enough - n)


def _why_no_interval(difference: Difference) -> str:
    if difference.method == "repeats only":
        return "the scores of single folds are missing"
    if difference.drawn != "examples":
        return f"what judges has {difference.n_examples} {difference.drawn}, and at least {FEWEST_UNITS} are asked for"
    if difference.n_examples > 1:
        return f"what judges has {difference.n_examples} examples, and at least {FEWEST_UNITS} are asked for"
    return "the part that judges has a single example"


def _why_open(difference: Difference, p_holm: float, region: str, equivalence: float) -> str:
    if p_holm <= SIGNIFICANCE:
        return f"different from zero, but the best estimate is within {region}: too small to matter, or not, is open"
    if difference.low is not None and difference.high is not None and not difference.low <= 0 <= difference.high:
        return "the interval excludes zero, but not after the adjustment for all contrasts of the question"
    if abs(difference.estimate) >= equivalence:
        return "the interval includes zero, and differences that would matter"
    return f"the interval reaches beyond {region}"


def seeds_to_detect(
    difference: Difference, effect: float, error: float = SIGNIFICANCE, most: int = _MOST_SEEDS
) -> int | None:
    """Return how many seeds would tell an effect of this size from none four times in five, by the variances so far.

    None where no number of seeds up to ``most`` does: the test part is too small, or nothing is known of the
    spread. The effect is in the metric's scale.
    """
    if difference.low is None or effect <= 0:
        return None

    def is_enough(n_seeds: int) -> bool:
        variance, df = _planned(difference, n_seeds)
        if variance == 0:
            return True
        critical, expected = stats.t.isf(error / 2, df), effect / np.sqrt(variance)
        # So far out SciPy may answer NaN.
        return bool(expected > 2 * critical + _FAR or stats.nct.sf(critical, df, expected) >= _POWER)

    numbers = range(2, most + 1)
    found = bisect.bisect_left(numbers, True, key=is_enough)
    return numbers[found] if found < len(numbers) else None


def _planned(difference: Difference, n_seeds: int) -> tuple[float, float]:
    """Return the variance that so many seeds would leave, and its degrees of freedom."""
    over_seeds = (difference.seed_variance + difference.rest_variance / difference.n_examples) / n_seeds
    variance = over_seeds + difference.example_variance / difference.n_examples
    if difference.n_folds:
        return variance, n_seeds * difference.n_folds - 1
    df_rows = degrees_of_freedom(n_seeds, SEARCHED) if difference.again == "setting" else n_seeds - 1
    parts = ((over_seeds, df_rows), (variance - over_seeds, difference.df_examples))
    return variance, min(satterthwaite(variance, parts), 1e6) if variance > 0 else 1.0


Floats = NDArray[np.float64]

_GRID = np.linspace(-8, 8, 801)
_STEP = float(_GRID[1] - _GRID[0])


@functools.lru_cache(maxsize=64)
def nominal_errors(sizes: tuple[int, ...], error: float = SIGNIFICANCE) -> tuple[float, ...]:
    """Return the two-sided error that each look may make for itself, ``(n_looks,)``.

    Parameters
    ----------
    sizes
        Number of settings at each look, growing.
    error
        What all looks together may make, however many are to come.

    Raises
    ------
    ValueError
        When the sizes do not grow, or there are none.
    """
    if not sizes or sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes)):
        raise ValueError(f"looks must be at growing numbers of settings, got {sizes}")
    bounds: list[float] = []
    density = stats.norm.pdf(_GRID)
    for before, size in enumerate(sizes):
        if before:
            density = _moved(density, float(np.sqrt(sizes[before - 1] / size)))
        to_spend = error * ((before + 1) / (before + 2) - before / (before + 1))
        bounds.append(float(optimize.brentq(functools.partial(_overspent, density, to_spend), 0.5, 7.5)))
        density = np.where(np.abs(_GRID) < bounds[-1], density, 0.0)
    return tuple(float(2 * stats.norm.sf(bound)) for bound in bounds)


def error_of_look(looks: tuple[int, ...]) -> float:
    """Return the two-sided error that the last of these looks may make for itself; all of it without any."""
    return nominal_errors(looks)[-1] if looks else SIGNIFICANCE


def _moved(density: Floats, rho: float) -> Floats:
    """Return the density of the next look's statistic among those that went on."""
    kernel = stats.norm.pdf(_GRID[:, None], rho * _GRID[None, :], np.sqrt(1 - rho**2))
    return np.asarray(kernel @ density * _STEP)


def _overspent(density: Floats, to_spend: float, bound: float) -> float:
    """Return by how much the mass beyond the bound, a cell of the grid cut in two included, is more than to spend."""
    share = np.clip((np.abs(_GRID) + _STEP / 2 - bound) / _STEP, 0, 1)
    return float(density @ share * _STEP) - to_spend
