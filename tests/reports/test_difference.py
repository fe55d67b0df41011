from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from depthcheck.reports.compare.difference import difference_of_means, paired_difference, probability_better
from depthcheck.reports.compare.verdict import seeds_to_detect


def crossed(rng, *, seed_sd, example_sd, rest_sd, shape, mean=0.0):
    n_seeds, n = shape
    return (
        mean
        + seed_sd * rng.standard_normal((n_seeds, 1))
        + example_sd * rng.standard_normal((1, n))
        + rest_sd * rng.standard_normal((n_seeds, n))
    )


def test_components_of_variance_are_found_again():
    rng = np.random.default_rng(3)
    d = crossed(rng, seed_sd=0.5, example_sd=2.0, rest_sd=1.0, shape=(200, 2000))
    found = paired_difference(d, np.zeros_like(d), pseudo_observations=0.0)
    assert found.seed_variance == pytest.approx(0.25, rel=0.2)
    assert found.example_variance == pytest.approx(4.0, rel=0.1)
    assert found.rest_variance == pytest.approx(1.0, rel=0.02)


def test_without_example_effects_it_is_students_paired_t():
    # Every example of a run has the run's score: nothing but seeds varies.
    rng = np.random.default_rng(4)
    a = np.repeat(rng.normal(0.5, 1, (6, 1)), 50, axis=1)
    found = paired_difference(a, np.zeros_like(a), pseudo_observations=0.0)
    expected = stats.ttest_1samp(a[:, 0], 0)
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.df == pytest.approx(5)


def test_without_seed_effects_examples_alone_decide():
    rng = np.random.default_rng(5)
    d = np.repeat(rng.choice([-1, 0, 1], size=(1, 3000), p=[0.05, 0.85, 0.1]), 5, axis=0).astype(float)
    found = paired_difference(d, np.zeros_like(d), pseudo_observations=0.0)
    expected = stats.ttest_1samp(d[0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_examples_count_for_less_where_few_of_them_tell_the_two_apart():
    # No seed effect, so that the interval is that of the examples alone.
    spread, few = np.tile([1.0, -1.0], 200)[None, :].repeat(5, axis=0), np.zeros((5, 400))
    few[:, :8] = np.tile([1.0, -1.0], 4)
    zeros = np.zeros_like(few)
    assert paired_difference(spread, zeros, pseudo_observations=None).df == pytest.approx(399)
    # Eight of 400 differ: 50 - 3 of excess kurtosis.
    assert paired_difference(few, zeros, pseudo_observations=None).df == pytest.approx(2 / (2 / 399 + 47 / 400))
    assert paired_difference(few, zeros, pseudo_observations=0.0).df == pytest.approx(399)
    assert paired_difference(zeros, zeros, pseudo_observations=None).high > 0


def test_interval_is_wider_than_that_of_seeds_alone_where_examples_matter():
    rng = np.random.default_rng(6)
    d = crossed(rng, seed_sd=0.001, example_sd=1.0, rest_sd=0.0, shape=(5, 400))
    found = paired_difference(d, np.zeros_like(d), pseudo_observations=0.0)
    seeds_alone = stats.sem(d.mean(axis=1)) * stats.t.ppf(0.975, 4)
    assert found.half_width > 20 * seeds_alone


def test_bool_and_float_scores_give_the_same():
    rng = np.random.default_rng(7)
    a, b = rng.random((2, 5, 300)) < 0.8
    whole, shares = paired_difference(a, b), paired_difference(a.astype(float), b.astype(float))
    assert (whole.low, whole.high, whole.p) == pytest.approx((shares.low, shares.high, shares.p))


def test_swapping_the_models_mirrors_the_interval():
    rng = np.random.default_rng(8)
    a, b = rng.random((2, 5, 300)) < 0.8
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))
    assert one.p == pytest.approx(other.p)


def test_agreement_on_a_hundred_examples_is_no_proof_of_agreement():
    same = np.ones((5, 100), dtype=bool)
    found = paired_difference(same, same)
    assert found.estimate == 0
    assert found.p == 1
    # A difference of 1 % in truth would leave no trace in 100 examples with a probability of 0.37.
    assert found.high > 0.01


def test_one_seed_has_an_estimate_and_no_interval():
    found = paired_difference(np.array([[True, True]]), np.array([[True, False]]))
    assert found.estimate == 0.5
    assert found.low is None
    assert found.p is None


@pytest.mark.parametrize("shape", [(5, 9), (4, 10), (0, 10)])
def test_tables_of_different_shape_are_refused(shape):
    with pytest.raises(ValueError, match="one shape"):
        paired_difference(np.zeros((5, 10)), np.zeros(shape))


def test_means_alone_give_a_wider_interval_than_predictions():
    rng = np.random.default_rng(9)
    hard = rng.random(2000) < 0.15
    a, b = (np.stack([~hard ^ (rng.random(2000) < 0.02) for _ in range(5)]) for _ in range(2))
    whole = paired_difference(a, b)
    rough = difference_of_means(a.mean(axis=1), b.mean(axis=1), n_examples=2000)
    assert rough.estimate == pytest.approx(whole.estimate)
    assert rough.half_width > 1.5 * whole.half_width
    assert rough.method == "seeds, examples bounded"


def test_means_of_a_score_without_bound_are_students_paired_t():
    a, b = np.array([2.0, 2.5, 2.2]), np.array([1.0, 1.4, 1.6])
    found = difference_of_means(a, b, n_examples=10, is_share=False)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.method == "seeds only"


def test_probability_better_counts_all_pairs_and_halves_ties():
    assert probability_better(np.array([1.0, 3.0]), np.array([2.0, 0.0])) == 0.75
    assert probability_better(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    rng = np.random.default_rng(10)
    a, b = rng.normal(0.3, 1, 12), rng.normal(0, 1, 9)
    assert probability_better(a, b) == pytest.approx(stats.mannwhitneyu(a, b).statistic / (12 * 9))


def seeds_only(sd, n_seeds=5):
    a = np.linspace(-1, 1, n_seeds)
    return difference_of_means(sd * a / a.std(ddof=1), np.zeros(n_seeds), n_examples=1, is_share=False)


@pytest.mark.parametrize(("effect", "n_seeds"), [(1.69, 5), (1.0, 10)])
def test_five_seeds_detect_1_7_standard_deviations_and_ten_detect_1_0(effect, n_seeds):
    assert seeds_to_detect(seeds_only(1.0), effect) == n_seeds
    assert seeds_to_detect(seeds_only(1.0), effect - 0.05) > n_seeds


def test_no_number_of_seeds_makes_up_for_too_few_examples():
    rng = np.random.default_rng(11)
    d = crossed(rng, seed_sd=0.0, example_sd=1.0, rest_sd=0.1, shape=(5, 100))
    found = paired_difference(d, np.zeros_like(d), pseudo_observations=0.0)
    assert seeds_to_detect(found, 0.1) is None
    assert seeds_to_detect(found, 1.0) is not None


def test_scores_that_no_example_tells_apart_still_have_an_interval():
    same = np.linspace(0, 1, 100)[None, :].repeat(5, axis=0)
    found = paired_difference(same, same, pseudo_observations=0.0)
    assert found.estimate == 0
    assert found.high > 0.01

    # Nor do they tell apart by how much: each network of one level is always right, each of the other guesses.
    found = paired_difference(same, same - 0.5 + 1e-17, pseudo_observations=None)
    assert (found.estimate, found.high > 0.51) == (0.5, True)


def test_rows_of_one_mean_are_no_proof_that_rows_do_not_vary():
    # Each of six networks misses one example, and each another one.
    found = paired_difference(np.ones((6, 300)), 1 - np.eye(6, 300), pseudo_observations=None)
    assert found.low < 0 < found.high
    assert found.p > 0.05


def test_few_examples_count_for_no_more_where_there_are_many_rows():
    a = np.random.default_rng(8).standard_normal((1, 5)).repeat(24, axis=0)
    found = paired_difference(a, np.zeros_like(a), pseudo_observations=0.0, df_rows=15)
    assert found.df == pytest.approx(4)
