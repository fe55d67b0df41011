from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from depthcheck.pipeline.scores import ACCURACY
from depthcheck.reports.compare.difference import difference_of_means
from depthcheck.reports.compare.results import Difference, Verdict
from depthcheck.reports.compare.verdict import adjust, advise, decide


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
    return decide(found, p_holm, equivalence=equivalence, enough=5, metric=ACCURACY).word


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
        # The interval of the contrast alone excludes zero; among all contrasts of the question it may be luck.
        (0.010, 0.009, 0.09, "inconclusive"),
    ],
)
def test_words(estimate, half, p_holm, expected):
    assert word(difference(estimate, half), p_holm) == expected


def test_an_open_verdict_never_says_no_difference():
    verdict = decide(difference(0.01, 0.02), 0.4, equivalence=0.003, enough=5, metric=ACCURACY)
    assert verdict.because == "the interval includes zero, and differences that would matter"


def test_the_region_decides_what_matters():
    found = difference(0.004, 0.003)
    assert word(found, 0.01, equivalence=0.003) == "helps"
    assert word(found, 0.01, equivalence=0.005) == "inconclusive"
    assert word(found, 0.01, equivalence=0.01) == "practically equal"


def test_too_few_seeds_ask_for_more_however_clear_the_difference():
    verdict = decide(difference(0.2, 0.01, n_seeds=3), 0.001, equivalence=0.003, enough=5, metric=ACCURACY)
    assert verdict.word == "not enough evidence"
    assert verdict.more == 2
    assert verdict.because == "there are 3 seeds, and at least 5 are asked for"


def test_advice_counts_seeds_or_says_that_seeds_cannot():
    open_verdict = decide(difference(0.002, 0.004), 0.3, equivalence=0.003, enough=5, metric=ACCURACY)
    few_images = difference(0.002, 0.004, example_variance=1.0)
    assert advise(open_verdict, difference(0.002, 0.004), equivalence=0.003).more > 0
    advised = advise(open_verdict, few_images, equivalence=0.003)
    assert advised.more is None
    assert "more test examples can" in advised.because


def test_advice_is_of_what_was_found_where_examples_are_too_few_for_what_matters():
    found = difference(0.01346, 0.02, seed_variance=1e-3, example_variance=0.05)
    verdict = advise(Verdict(word="inconclusive", because=""), found, equivalence=0.003)
    assert (verdict.effect, verdict.more > 0) == (0.013, True)


def test_advice_counts_the_examples_degrees_of_freedom():
    found = difference(0.12, 0.2, seed_variance=0.01, example_variance=0.04**2 * 10_000)
    few = dataclasses.replace(found, df_examples=4.0)
    verdict = Verdict(word="inconclusive", because="")
    assert advise(verdict, found, equivalence=0.003).more > 0
    assert advise(verdict, few, equivalence=0.003).more is None


def test_advice_never_takes_settings_for_examples():
    found = difference(0.001, 0.05, seed_variance=0.01, example_variance=1e-5)
    verdict = advise(Verdict(word="inconclusive", because=""), found, equivalence=0.003)
    assert (verdict.effect, verdict.more > 2_000) == (0.003, True)
    same = difference_of_means(np.full(5, 29 / 30), np.full(5, 29 / 30), n_examples=30)
    assert "more test examples can" in advise(Verdict(word="inconclusive", because=""), same, equivalence=0.003).because


def test_advice_is_of_less_where_there_are_settings_enough_for_what_matters():
    found = difference(0.0025, 0.002, n_seeds=40, seed_variance=4e-6, example_variance=1e-4)
    verdict = advise(Verdict(word="inconclusive", because=""), found, equivalence=0.003)
    assert (verdict.effect, verdict.more > 1) == (0.00075, True)


def test_advice_asks_for_more_where_more_contrasts_share_the_error():
    found = difference(0.001, 0.01, seed_variance=1e-4, example_variance=1e-5)
    one, three = (
        advise(Verdict(word="inconclusive", because=""), found, equivalence=0.003, n_contrasts=n).more for n in (1, 3)
    )
    assert 200 > three > one


def test_advice_is_by_the_margin_that_the_study_asked_for():
    open_verdict = decide(difference(0.002, 0.004), 0.3, equivalence=0.003, enough=5, metric=ACCURACY)
    wide, narrow = (
        advise(open_verdict, difference(0.002, 0.004, example_variance=1e-5), equivalence=margin).more
        for margin in (0.01, 0.003)
    )
    assert 1 <= wide < narrow


def test_other_verdicts_get_no_advice():
    found = difference(0.010, 0.004)
    verdict = decide(found, 0.01, equivalence=0.003, enough=5, metric=ACCURACY)
    assert advise(verdict, found, equivalence=0.003) is verdict


def test_settings_are_called_settings():
    found = dataclasses.replace(difference(0.2, 0.01), method="settings and examples")
    assert decide(found, 0.001, equivalence=0.003, enough=6, metric=ACCURACY).because == (
        "there are 5 settings, and at least 6 are asked for"
    )
    few_rows = dataclasses.replace(difference(0.002, 0.004, example_variance=1.0), method="settings and rows")
    open_verdict = decide(few_rows, 0.3, equivalence=0.003, enough=5, metric=ACCURACY)
    assert advise(open_verdict, few_rows, equivalence=0.003).because.endswith(
        "more settings cannot settle it, more rows can"
    )


def test_a_single_example_has_no_interval():
    bare = dataclasses.replace(difference(0.2, 0.01), low=None, high=None, p=None, df=None, n_examples=1)
    verdict = decide(bare, None, equivalence=0.003, enough=5, metric=ACCURACY)
    assert verdict.word == "inconclusive"
    assert verdict.because == "the part that judges has a single example: there is no interval"
    few = dataclasses.replace(bare, n_examples=4)
    because = decide(few, None, equivalence=0.003, enough=5, metric=ACCURACY).because
    assert because == "what judges has 4 examples, and at least 5 are asked for: there is no interval"


def test_holm_steps_down_and_leaves_out_what_has_no_p():
    assert adjust([0.01, None, 0.04, 0.03]) == pytest.approx((0.03, None, 0.06, 0.06))
    assert adjust([0.04]) == (0.04,)
    assert adjust([]) == ()


@pytest.mark.parametrize(
    ("value", "half_width", "text"),
    [(0.0042, 0.0031, "+0.42 points"), (-0.0042, 0.031, "-0.4 points"), (0.123, 0.2, "+12 points")],
)
def test_digits_follow_the_interval(value, half_width, text):
    assert ACCURACY.text(value, half_width=half_width) == text
