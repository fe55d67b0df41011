from __future__ import annotations

import pytest

from reports.metric import Metric
from reports.records import Difference
from reports.verdict import adjust, advise, decide


def difference(estimate, half, *, p=0.01, n_seeds=5, seed_variance=1e-5, example_variance=0.01):
    return Difference(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        p=p,
        df=4.0,
        by_seed=(estimate,) * n_seeds,
        n_examples=10_000,
        seed_variance=seed_variance,
        example_variance=example_variance,
        method="seeds and examples",
    )


def word(found, p_holm, equivalence=0.003):
    return decide(found, p_holm, equivalence=equivalence, min_seeds=5, metric=Metric()).word


@pytest.mark.parametrize(
    ("estimate", "half", "p_holm", "expected"),
    [
        (0.010, 0.004, 0.01, "helps"),
        (-0.010, 0.004, 0.01, "hurts"),
        (0.001, 0.0015, 0.4, "practically equal"),
        (0.001, 0.0030, 0.4, "inconclusive"),
        (0.010, 0.015, 0.2, "inconclusive"),
        # Not zero, and too small to matter: the whole interval is inside the region.
        (0.0015, 0.001, 0.01, "practically equal"),
        # Not zero, and whether it matters is open.
        (0.0025, 0.002, 0.03, "inconclusive"),
        # The interval of the contrast alone excludes zero; among all contrasts of the question it may be chance.
        (0.010, 0.009, 0.09, "inconclusive"),
    ],
)
def test_words(estimate, half, p_holm, expected):
    assert word(difference(estimate, half), p_holm) == expected


def test_an_open_verdict_never_says_no_difference():
    verdict = decide(difference(0.01, 0.02), 0.4, equivalence=0.003, min_seeds=5, metric=Metric())
    assert verdict.because == "the interval includes zero, and differences that would matter"


def test_the_region_decides_what_matters():
    found = difference(0.004, 0.003)
    assert word(found, 0.01, equivalence=0.003) == "helps"
    assert word(found, 0.01, equivalence=0.005) == "inconclusive"
    assert word(found, 0.01, equivalence=0.01) == "practically equal"


def test_too_few_seeds_ask_for_more_however_clear_the_difference():
    verdict = decide(difference(0.2, 0.01, n_seeds=3), 0.001, equivalence=0.003, min_seeds=5, metric=Metric())
    assert verdict.word == "not enough evidence"
    assert verdict.more_seeds == 2
    assert "2 more seeds needed" in verdict.because


def test_noisy_seeds_ask_for_more_than_the_minimum():
    noisy = difference(0.001, 0.02, n_seeds=3, seed_variance=0.003**2)
    assert decide(noisy, 0.8, equivalence=0.003, min_seeds=5, metric=Metric()).more_seeds > 2


def test_advice_counts_seeds_or_says_that_seeds_cannot():
    open_verdict = decide(difference(0.002, 0.004), 0.3, equivalence=0.003, min_seeds=5, metric=Metric())
    few_images = difference(0.002, 0.004, example_variance=1.0)
    assert advise(open_verdict, difference(0.002, 0.004), equivalence=0.003).more_seeds > 0
    advised = advise(open_verdict, few_images, equivalence=0.003)
    assert advised.more_seeds is None
    assert "more test examples can" in advised.because


def test_holm_steps_down_and_leaves_out_what_has_no_p():
    assert adjust([0.01, None, 0.04, 0.03]) == pytest.approx((0.03, None, 0.06, 0.06))
    assert adjust([0.04]) == (0.04,)
    assert adjust([]) == ()


@pytest.mark.parametrize(
    ("value", "half_width", "text"),
    [(0.0042, 0.0031, "+0.42 points"), (-0.0042, 0.031, "-0.4 points"), (0.123, 0.2, "+12 points")],
)
def test_digits_follow_the_interval(value, half_width, text):
    assert Metric().text(value, half_width=half_width) == text
