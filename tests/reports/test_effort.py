from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from reports.effort import expected_best, half_search_better


def test_expected_best_is_the_mean_over_all_subsets():
    scores = np.array([0.7, 0.1, 0.5, 0.5, 0.9, 0.2])
    by_hand = [np.mean([max(subset) for subset in combinations(scores, n)]) for n in range(1, 7)]
    assert expected_best(scores) == pytest.approx(by_hand)


def test_expected_best_ends_at_the_best_and_never_falls():
    scores = np.random.default_rng(0).random(1000)
    curve = expected_best(scores)
    assert curve[0] == pytest.approx(scores.mean())
    assert curve[-1] == pytest.approx(scores.max())
    assert (np.diff(curve) >= -1e-12).all()


def test_expected_best_is_unbiased_where_the_replacement_estimator_is_low():
    rng = np.random.default_rng(1)
    truth = 5 / 6  # of five uniform numbers
    ours, dodge = [], []
    for _ in range(4000):
        scores = np.sort(rng.random(6))
        ours.append(expected_best(scores)[4])
        steps = np.arange(7) / 6
        dodge.append((scores * (steps[1:] ** 5 - steps[:-1] ** 5)).sum())
    assert np.mean(ours) == pytest.approx(truth, abs=0.006)
    assert np.mean(dodge) < truth - 0.03


def test_no_trials_have_no_curve():
    assert expected_best(np.array([])).shape == (0,)


def test_half_search_counts_every_pair_of_halves():
    a, b = np.array([0.1, 0.4, 0.6, 0.8]), np.array([0.2, 0.4, 0.5, 0.9])
    wins = [np.sign(max(x) - max(y)) / 2 + 0.5 for x, y in product(combinations(a, 2), combinations(b, 2))]
    assert half_search_better(a, b) == pytest.approx(np.mean(wins))


def test_half_search_of_equals_is_a_coin_and_of_three_trials_nothing():
    scores = np.array([0.1, 0.4, 0.6, 0.8])
    assert half_search_better(scores, scores) == pytest.approx(0.5)
    assert half_search_better(scores, scores[:3]) is None
