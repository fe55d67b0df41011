"""What tuning is worth, against counting every subset by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from depthcheck.reports.compare.difference import pseudo_weights, subset_weights, tuned_scores


def by_hand(valid, scores, subset):
    """Return the mean, over all subsets of settings, of what the best network of the subset answered."""
    kept = [
        max(((valid[row, column], row, column) for row in rows for column in range(valid.shape[1])), key=lambda t: t[0])
        for rows in combinations(range(len(valid)), subset)
    ]
    return np.mean([scores[row, column] for _, row, column in kept], axis=0)


@pytest.fixture
def study():
    rng = np.random.default_rng(5)
    return rng.random((7, 3)), rng.random((7, 3, 11))


@pytest.mark.parametrize(("n_settings", "subset"), [(1, 1), (6, 1), (6, 2), (6, 6), (40, 10), (1000, 250)])
def test_weights_sum_to_one_and_fall_with_the_rank(n_settings, subset):
    weights = subset_weights(n_settings, subset)
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights) <= 1e-12).all()
    assert (weights[n_settings - subset + 1 :] == 0).all()


@pytest.mark.parametrize("subset", [0, 7])
def test_a_subset_that_cannot_be_drawn_is_refused(subset):
    with pytest.raises(ValueError, match="subset must be of 1 to 6 settings"):
        subset_weights(6, subset)


def test_with_one_setting_left_out_there_must_be_enough():
    with pytest.raises(ValueError, match="subset must be of 1 to 5"):
        pseudo_weights(6, 6)


@pytest.mark.parametrize("subset", [1, 2, 3, 6])
def test_estimate_is_the_mean_over_all_subsets(study, subset):
    valid, scores = study
    assert tuned_scores(valid, scores, subset).mean(axis=0) == pytest.approx(by_hand(valid, scores, subset))


@pytest.mark.parametrize("subset", [1, 2, 3, 6])
def test_pseudo_values_are_those_of_leaving_each_setting_out(study, subset):
    valid, scores = study
    whole, n = by_hand(valid, scores, subset), len(valid)
    expected = [
        n * whole - (n - 1) * by_hand(np.delete(valid, row, axis=0), np.delete(scores, row, axis=0), subset)
        for row in range(n)
    ]
    assert tuned_scores(valid, scores, subset) == pytest.approx(np.array(expected))


def test_rows_of_pseudo_weights_have_the_weights_as_their_mean():
    assert pseudo_weights(9, 3).mean(axis=0) == pytest.approx(subset_weights(9, 3))


def test_a_subset_of_one_takes_each_setting_for_itself(study):
    valid, scores = study
    kept = scores[np.arange(7), valid.argmax(axis=1)]
    assert tuned_scores(valid, scores, 1) == pytest.approx(kept)


def test_the_validation_part_chooses_and_the_test_part_only_scores():
    valid = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    scores = np.repeat(np.array([[0.0, 1.0]] * 3)[:, :, None], 4, axis=2)
    assert (tuned_scores(valid, scores, 2) == 0).all()


def test_right_and_wrong_answers_are_taken_too():
    valid, right = np.array([[0.9], [0.8], [0.7]]), np.array([[[True, False]], [[False, False]], [[True, True]]])
    assert tuned_scores(valid, right, 2).mean(axis=0) == pytest.approx(by_hand(valid, right, 2))


def test_a_fold_does_not_choose_what_it_scores():
    # Network 1 is far the best in fold 0, which scores it, and by the other folds the worse one.
    fold = np.repeat([0, 1, 2], 4)
    valid = np.tile(np.array([[0.5, 0.6, 0.6], [1.0, 0.5, 0.5]]), (4, 1, 1))
    scores = valid[:, :, fold]
    found = tuned_scores(valid, scores, 2, fold).mean(axis=0)
    assert found[fold == 0] == pytest.approx(0.5)
    # Where fold 0 is among those that choose, it is chosen for that: and scores what the others have.
    assert found[fold == 1] == pytest.approx(0.5)
    assert valid.mean(axis=2).argmax(axis=1).tolist() == [1] * 4


def test_each_fold_is_tuned_by_all_others():
    rng = np.random.default_rng(8)
    fold = rng.permutation(np.repeat([0, 1, 2], 5))
    valid, scores = rng.random((6, 2, 3)), rng.random((6, 2, 15))
    found = tuned_scores(valid, scores, 2, fold)
    for number in range(3):
        others = np.delete(valid, number, axis=2).mean(axis=2)
        expected = by_hand(others, scores[:, :, fold == number], 2)
        assert found[:, fold == number].mean(axis=0) == pytest.approx(expected)


def test_tuning_with_one_setting_gives_the_mean_and_with_all_the_best_by_validation():
    rng = np.random.default_rng(9)
    valid, test = rng.random((8, 3)), rng.random((8, 3, 1))
    kept = test[np.arange(8), valid.argmax(axis=1), 0]
    assert tuned_scores(valid, test, 1).mean() == pytest.approx(kept.mean())
    assert tuned_scores(valid, test, 3).mean() == pytest.approx(by_hand(valid, test, 3)[0])
    assert subset_weights(8, 8) == pytest.approx([1.0] + [0.0] * 7)


@pytest.mark.parametrize("with_folds", [False, True])
def test_imagined_failures_are_settings_that_rank_last_with_their_score(with_folds):
    rng = np.random.default_rng(10)
    fold = np.repeat([0, 1], 6) if with_folds else None
    valid, scores = rng.random((6, 2, 2) if with_folds else (6, 2)), rng.random((6, 2, 12))
    found = tuned_scores(valid, scores, 3, fold, n_failed=2, failed_score=-0.25)

    worst = np.concatenate([valid, np.full((2, *valid.shape[1:]), -1.0)])
    answers = np.concatenate([scores, np.full((2, 2, 12), -0.25)])
    assert found == pytest.approx(tuned_scores(worst, answers, 3, fold))
