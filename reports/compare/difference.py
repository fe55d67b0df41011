"""How much better A is than B, and how sure that is: seeds (or searched settings) and test examples, crossed. Pure.

A run is drawn by its seed, and judged on examples that are drawn too. With ``d[s, i]`` the score of A minus that of B
at seed *s* on example *i*, the mean over both varies by ``seed_variance / S + example_variance / n + rest / (S n)``.
A t test over five seeds alone forgets the second part, which does not shrink with more seeds; McNemar's test on one
pair of models forgets the first.

Examples that belong together are put into units first (:mod:`depthcheck.reports.compare.example_scores`).

Where cross-validation takes the place of a test part, the folds of one partition share most of their training rows,
and each row is held out once in every repeat: their scores are no independent draws, and a plain t test over them says
*helps* far too often. Nadeau and Bengio (2003) correct its variance by the share of rows held out; Bouckaert and Frank
(2004) do so for repeats of k folds.

What tuning a level is worth every searched setting says, not the winner alone. A study tries *m* settings at each
level. Whoever tunes that level with *n* settings keeps the best of them by validation score; what its network reaches
on the test part, on average over all subsets of *n* of the *m* settings, is an unbiased estimate of what such tuning
gives (Tang et al. 2020 have the estimator for the best validation score; here the validation part chooses and the test
part scores). The winner of all *m* would be a single draw, and which one it is hangs on the luck of the search:
intervals about winners contradicted each other from study to study. How far the estimate hangs on the settings that
were drawn is told by leaving each out in turn (the jackknife, exact for means over subsets: Arvesen 1969). Its
*pseudo-values*, one a setting and test example, have the estimate as their mean, so that settings and examples are
crossed like seeds and examples (:func:`paired_difference`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import gammaln

from depthcheck.pipeline.scores import ACCURACY
from depthcheck.reports.compare.results import Difference, DifferenceMethod

CONFIDENCE = 0.95
#: One example in favour of each side.
FEWEST_PSEUDO_OBSERVATIONS = 2.0
#: What training rows that folds share add to the rows' own part of the variance, as a multiple of it.
SHARED_TRAINING_ROWS = 1.0
#: Settings of the tuning that a study speaks of, however many it tried: another study then answers the same question.
#: Of four, or of a quarter of the study's settings from 16 on, intervals would be wider (docs/search-simulations.md).
SEARCHED = 3
_ROUNDING = 1e-12
#: Fewer degrees of freedom than that are estimated too badly to be of use: of 5 to 20 groups of very unequal size, by
#: rule two, intervals cover 98 to 100 % and are twice as wide; with these four, 91 to 99 %, and with as many as there
#: are settings, 85 to 95 % (docs/search-simulations.md, Rows that belong together).
_FEWEST_DF = 4.0

Floats = NDArray[np.float64]


def paired_difference(
    a: NDArray[np.generic],
    b: NDArray[np.generic],
    *,
    pseudo_observations: float | None = ACCURACY.pseudo_observations,
    method: DifferenceMethod = "seeds and examples",
    n_folds: int = 0,
    confidence: float = CONFIDENCE,
    df_rows: float | None = None,
    most_df_examples: float = math.inf,
    independent: float = 1.0,
) -> Difference:
    """Estimate the expected score of A minus that of B over fresh seeds (or settings) and fresh examples.

    The interval is Satterthwaite's for the mean of a crossed two-way table with both ways random. It was chosen over
    percentile, BCa and studentized bootstraps by simulation (docs/chosen-configurations.md has the table): with five
    seeds a bootstrap has five values to draw from.

    Parameters
    ----------
    a, b
        ``(n_seeds, n_examples)`` score of each example, row *s* of both from one seed: bool (right or wrong) or float.
    pseudo_observations
        What pseudo-observations, in favour of each side, add to the sum of squares over examples (not to the mean), as
        Bonett and Price (2012) do for paired proportions: agreement on all of 100 examples is no proof of agreement
        on the next. 2 for two examples of an accuracy, 0 for other scores, which have them only where no example at
        all tells the two apart. None asks for none, but for fewer degrees of freedom where few examples carry the sum:
        so for the means of many networks, which two whole examples on each side would drown (intervals of tuned scores
        on 360 digits covered 98.5 to 100 %; docs/search-simulations.md).
    method
        What the rows are draws of.
    n_folds
        Where examples are the rows of one cross-validation: its folds share training rows, and what that adds is
        taken to be as much as the rows' own part, a fold's share of all rows a fold. Nadeau and Bengio (2003) take
        its share of held-out to training rows, a quarter more with five folds; what simulations needed, and what
        intervals then cover, is a table of docs/search-simulations.md (Folds).
    df_rows
        Degrees of freedom of the rows' part of the variance, where they are not as many as rows, less one
        (:func:`degrees_of_freedom`).
    most_df_examples
        Most degrees of freedom that the examples' part can have
        (:attr:`depthcheck.reports.compare.example_scores.Units.degrees_of_freedom`).
    independent
        How many independent examples these are worth, as a share of them, where each is like the one before.
    confidence
        Of the interval for itself; more than 95 % where the study is looked at more than once.

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
        return found(by_seed, (), n_examples=n_examples, method=method)
    squares_seed = n_examples * float(((by_seed - estimate) ** 2).sum())
    squares_example = n_seeds * float(((by_example - estimate) ** 2).sum())
    df_examples = n_examples - 1 if pseudo_observations is not None else _effective_degrees(by_example - estimate)
    df_examples = min(df_examples, most_df_examples)
    are_alike = np.ptp(d) <= _ROUNDING * max(1.0, abs(estimate))
    pseudo_observations = max(pseudo_observations or 0.0, FEWEST_PSEUDO_OBSERVATIONS if are_alike else 0.0)
    squares_rest = float(np.square(d).sum(dtype=np.float64)) - d.size * estimate**2 - squares_seed - squares_example
    ms_seed = squares_seed / (n_seeds - 1)
    ms_example = (squares_example + pseudo_observations * n_seeds) / (n_examples - 1)
    ms_rest = max(squares_rest, 0.0) / ((n_seeds - 1) * (n_examples - 1))
    if ms_seed < _ROUNDING * ms_rest:
        ms_seed = ms_rest  # rows of one mean, though none is like another: luck, and no proof that they do not vary
    # The mean square of the seeds stays as it is, be it below the rest's: raised to it, intervals of few seeds are
    # wider than need be.
    ms_example = max(ms_example, ms_rest)
    ms_example = ms_rest + (ms_example - ms_rest) / independent
    if n_folds:
        ms_example += SHARED_TRAINING_ROWS * (ms_example - ms_rest)
    df_rows = n_seeds - 1 if df_rows is None else df_rows
    parts = ((ms_seed, df_rows), (ms_example, df_examples), (-ms_rest, (n_seeds - 1) * (n_examples - 1)))
    return found(
        by_seed,
        [(mean_square / d.size, df) for mean_square, df in parts],
        n_examples=n_examples,
        method=method,
        seed_variance=max(ms_seed - ms_rest, 0.0) / n_examples,
        example_variance=(ms_example - ms_rest) / n_seeds,
        rest_variance=ms_rest,
        df_examples=df_examples,
        confidence=confidence,
    )


def reaching(found: Difference, other: Difference) -> Difference:
    """Return a difference whose interval reaches as far as another one's too, and whose p is the larger of both."""
    if found.low is None or found.high is None or found.p is None:
        return found
    assert other.low is not None
    assert other.high is not None
    assert other.p is not None
    return replace(found, low=min(found.low, other.low), high=max(found.high, other.high), p=max(found.p, other.p))


def _effective_degrees(centred: NDArray[np.float64]) -> float:
    """Return the degrees of freedom of a mean square of these values: fewer than they are, less one, with heavy tails.

    A mean square of *n* values of excess kurtosis *k* has the relative variance 2 / (n - 1) + k / n; one of *f* degrees
    of freedom has 2 / f.
    """
    n, variance = len(centred), float(np.mean(centred**2))
    excess = max(float(np.mean(centred**4)) / variance**2 - 3, 0.0) if variance > 0 else 0.0
    return 2 / (2 / (n - 1) + excess / n)


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
    n_seeds = len(by_seed)
    if n_seeds < 2:
        return found(by_seed, (), n_examples=n_examples, method="seeds only")
    seed_variance = float(by_seed.var(ddof=1))
    shares = np.clip([np.mean(a), np.mean(b)], 0.0, 1.0)
    example_variance = float((shares * (1 - shares)).sum()) if is_share else 0.0
    return found(
        by_seed,
        [(seed_variance / n_seeds, n_seeds - 1), (example_variance / n_examples, n_examples)],
        n_examples=n_examples,
        method="seeds, examples bounded" if is_share else "seeds only",
        seed_variance=seed_variance,
        example_variance=example_variance,
        df_examples=n_examples,
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


def _subtract(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.generic]:
    """Subtract, in one byte a value where both are right or wrong: ten seeds by 10,000 images stay small."""
    dtype = np.int8 if a.dtype == np.bool_ and b.dtype == np.bool_ else np.float64
    return np.asarray(np.subtract(a, b, dtype=dtype, casting="unsafe"))


def found(
    by_seed: NDArray[np.float64],
    parts: Sequence[tuple[float, float]],
    *,
    n_examples: int,
    method: DifferenceMethod,
    seed_variance: float = 0.0,
    example_variance: float = 0.0,
    rest_variance: float = 0.0,
    df_examples: float = math.inf,
    n_folds: int = 0,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Put a difference together.

    Parameters
    ----------
    by_seed
        The difference at each seed (or repeat); their mean is the estimate.
    parts
        Of the estimate's variance, each with its degrees of freedom; none where no interval can be given.
    """
    estimate = float(by_seed.mean())
    low, high, p, df = _interval(estimate, parts, confidence) if parts else (None, None, None, None)
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
        rest_variance=rest_variance,
        df_examples=df_examples,
        n_folds=n_folds,
        method=method,
    )


def _interval(
    estimate: float, parts: Sequence[tuple[float, float]], confidence: float
) -> tuple[float, float, float, float]:
    """Return low, high, p and degrees of freedom from (part of the variance, its degrees of freedom) pairs."""
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return estimate, estimate, 1.0 if estimate == 0 else 0.0, float(parts[0][1])
    df = satterthwaite(variance, parts)
    error = float(np.sqrt(variance))
    half = float(stats.t.ppf((1 + confidence) / 2, df)) * error
    return estimate - half, estimate + half, float(2 * stats.t.sf(abs(estimate) / error, df)), float(df)


def satterthwaite(variance: float, parts: Sequence[tuple[float, float]]) -> float:
    """Return the degrees of freedom of a variance that is above 0, from its parts with theirs; the rows' come first."""
    # A difference of two large mean squares may leave fewer than any of the parts has; no fewer than those are there.
    least = max(min(df for part, df in parts if part > 0), min(parts[0][1], _FEWEST_DF))
    return max(variance**2 / sum(part**2 / df for part, df in parts), float(least))


def fold_difference(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    n_examples: int,
    pseudo_observations: float = ACCURACY.pseudo_observations,
) -> Difference:
    """Estimate the expected score of A minus that of B over training sets of this size, seeds and fresh rows.

    With *J* differences of folds and their variance *s²*, the mean has the variance ``(1/J + 1/(k - 1)) s²``: with k
    folds, a fold holds out one row for each k - 1 that train. The interval is Student's with J - 1 degrees of freedom.

    Parameters
    ----------
    a, b
        ``(n_repeats, n_folds)`` score of each fold, row *r* of both on one partition; NaN where a fold has no score
        (a single class leaves none for AUC). Such folds are left out.
    n_examples
        Rows of all folds together.
    pseudo_observations
        As in :func:`paired_difference`: agreement on few rows is no
        proof of agreement.

    Raises
    ------
    ValueError
        When the two differ in shape, are empty, or a repeat has no fold with a score.
    """
    if a.shape != b.shape or a.ndim != 2 or 0 in a.shape or a.shape[1] < 2:
        raise ValueError(f"scores must be two tables of one shape (n_repeats, n_folds >= 2), got {a.shape}, {b.shape}")
    d = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    known = d[np.isfinite(d)]
    if not np.isfinite(d).any(axis=1).all():
        raise ValueError("each repeat must have a fold with a score")
    by_repeat, n_folds = np.nanmean(d, axis=1), d.shape[1]
    if known.size < 2:
        return found(by_repeat, (), n_examples=n_examples, n_folds=n_folds, method="folds")
    variance, held_out = float(known.var(ddof=1)), 1 / (n_folds - 1)
    pseudo_observations = max(pseudo_observations, FEWEST_PSEUDO_OBSERVATIONS) if variance == 0 else pseudo_observations
    # What no number of repeats takes away: these rows are all there are.
    lasting = held_out * variance + pseudo_observations / (n_examples * max(n_examples - 1, 1))
    return found(
        by_repeat,
        [(variance / known.size + lasting, known.size - 1)],
        n_examples=n_examples,
        n_folds=n_folds,
        method="folds",
        seed_variance=variance / n_folds,
        example_variance=lasting * n_examples,
    )


def subset_size(n_settings: int) -> int:
    """Return the number of settings of the tuning that a study of so many settings speaks of."""
    return max(1, min(SEARCHED, n_settings - 1))


def subset_weights(n_settings: int, subset: int) -> Floats:
    """Return the probability of each rank, best first, to be the best of a random subset; ``(n_settings,)``.

    Of *m* settings the one of rank *i* (from 0) is the best of *n* with probability C(m - 1 - i, n - 1) / C(m, n).

    Raises
    ------
    ValueError
        When the subset is empty or larger than the settings are many.
    """
    if not 1 <= subset <= n_settings:
        raise ValueError(f"subset must be of 1 to {n_settings} settings, got {subset}")
    below = np.arange(n_settings - 1, -1, -1, dtype=np.float64)
    possible = below >= subset - 1
    ways = _log_choose(np.where(possible, below, subset - 1), subset - 1)
    return np.where(possible, np.exp(ways - _log_choose(np.float64(n_settings), subset)), 0.0)


def pseudo_weights(n_settings: int, subset: int) -> Floats:
    """Return ``(n_settings, n_settings)``: row *r* weighs the ranks into the pseudo-value of the setting of rank *r*.

    That is *m* times the weights of all settings minus *m - 1* times those with it left out. The rows' mean are the
    weights themselves.

    Raises
    ------
    ValueError
        When the subset cannot be drawn with one setting left out.
    """
    all_of_them, without_one = subset_weights(n_settings, subset), subset_weights(n_settings - 1, subset)
    rank = np.arange(n_settings)
    moved = rank[None, :] - (rank[None, :] > rank[:, None])
    left_out = np.where(rank[None, :] == rank[:, None], 0.0, without_one[np.minimum(moved, n_settings - 2)])
    return np.asarray(n_settings * all_of_them - (n_settings - 1) * left_out)


def degrees_of_freedom(n_settings: int, subset: int) -> float:
    """Return those of the settings' part of the variance: two settings a search that they have room for, less one.

    Pseudo-values are not like draws from a normal: the more settings a search tries, the fewer of them decide, and the
    fewer the settings that the jackknife's variance hangs on. With m - 1 degrees of freedom, right for the mean of
    single settings and for searches of two, intervals about larger searches cover too seldom, the more so the larger n
    is beside m (docs/search-simulations.md has both, side by side).
    """
    return max(min(2 * n_settings / subset, n_settings) - 1, 1.0)


def tuned_scores(
    valid: Floats,
    scores: NDArray[Any],
    subset: int,
    fold: NDArray[np.integer[Any]] | None = None,
    *,
    n_failed: int = 0,
    failed_score: float = 0.0,
) -> NDArray[np.float64]:
    """Return the pseudo-values of a level's tuned score, a row a setting; their mean is the estimate.

    Parameters
    ----------
    valid
        ``(n_settings, n_networks)`` validation score of each network that was trained at the level with each setting:
        one a combination of the other factors' levels, the best of which is kept. With folds
        ``(n_settings, n_networks, n_folds)``, the score of each fold.
    scores
        ``(n_settings, n_networks, n_examples)`` score of each example: right or wrong, or pseudo-values of AUC or R².
    subset
        Number of settings that tuning would try; at least one fewer than there are.
    fold
        ``(n_examples,)`` the fold that each row was held out in. In each fold the network is then chosen on all other
        folds and scored on that one, in turn. Scores count by :func:`fold_shares`, validation scores do not.
    n_failed, failed_score
        So many further settings are imagined, at which the level failed: they rank last, and have that score. How often
        a level fails is known badly from few settings, and best where it happened to fail seldom.

    Returns
    -------
    ndarray
        ``(n_settings + n_failed, n_examples)``.
    """
    weights = pseudo_weights(len(valid) + n_failed, subset)
    if fold is None:
        return _chosen(valid, scores, weights, failed_score)
    found, shares = np.empty((len(weights), scores.shape[2])), fold_shares(fold)
    for number in range(valid.shape[2]):
        here = fold == number
        by_others = np.delete(valid, number, axis=2).mean(axis=2)
        found[:, here] = _chosen(by_others, scores[:, :, here], weights, failed_score * shares[here][0])
    return found


def fold_shares(fold: NDArray[np.integer[Any]]) -> Floats:
    """Return what each row's score is times, ``(n_examples,)``, so that the mean over rows is that over folds."""
    sizes = np.bincount(fold)
    return np.asarray((len(fold) / (len(sizes) * sizes))[fold])


def _chosen(valid: Floats, scores: NDArray[Any], weights: Floats, failed_score: float) -> Floats:
    """Keep each setting's best network, rank the settings by it, and weigh what these networks answered."""
    kept = np.argmax(valid, axis=1)
    rows = np.arange(len(valid))
    order = np.append(np.argsort(-valid[rows, kept], kind="stable"), np.arange(len(valid), len(weights)))
    answers = np.full((len(weights), scores.shape[2]), failed_score)
    answers[: len(valid)] = scores[rows, kept][order[: len(valid)]]
    found = np.empty(answers.shape)
    found[order] = weights @ answers
    return found


def _log_choose(n: Floats | np.float64, k: int) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
