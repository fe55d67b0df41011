"""Scores agree with scikit-learn's, and guessing is worth what guessing reaches."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight

from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.metrics import (
    Objective,
    balanced_weights,
    dummy_evaluation,
    mean_evaluation,
    objective_of,
    training_weights,
)
from depthcheck.pipeline.records import Evaluation, Part, Split
from depthcheck.pipeline.scores import METRICS, area_under_curve, r2


def split_of(
    train: list[float],
    valid: list[float],
    *,
    n_classes: int = 0,
    metric: str = "r2",
    weight: NDArray[np.float64] | None = None,
) -> Split:
    def part(y: list[float]) -> Part:
        X = np.zeros((len(y), 1), np.float32)
        return Part(X=X, y=np.array(y, np.int64 if n_classes else np.float32), weight=weight)

    task = "classification" if n_classes else "regression"
    return Split(
        train=part(train), valid=part(valid), test=None, n_classes=n_classes, config=SplitConfig(), task=task,
        metric=metric,
    )  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 3)), min_size=2, max_size=40))
def test_area_under_the_curve_is_scikit_learns_with_ties_and_weights_too(samples: list[tuple[bool, int, int]]):
    y, score, weight = (np.array(column) for column in zip(*samples, strict=True))
    y, score, weight = y.astype(np.int64), score.astype(np.float32), weight.astype(np.float64)
    if len(set(y.tolist())) < 2:
        assert np.isnan(area_under_curve(y, score))
    else:
        assert area_under_curve(y, score) == pytest.approx(roc_auc_score(y, score), abs=1e-12)
    if len(set(y[weight > 0].tolist())) < 2:
        assert np.isnan(area_under_curve(y, score, weight))
    else:
        weighted = roc_auc_score(y, score, sample_weight=weight)
        assert area_under_curve(y, score, weight) == pytest.approx(weighted, abs=1e-12)


def test_a_network_and_its_served_model_have_one_area_however_sure_they_are():
    # Half of the negatives rank below all others, by more than single precision tells probabilities apart.
    y, of_1 = np.array([0, 0, 1, 1] * 5), np.array([-90.0, 40.0, 30.0, 50.0] * 5, np.float32)
    logits = np.stack([np.zeros(20, np.float32), of_1], axis=1)
    served = np.asarray(softmax(logits.astype(np.float64), axis=1), np.float32)
    of_logits = Objective(metric="auc").score(y, logits)
    assert of_logits == Objective(metric="auc").served.score(y, served) == roc_auc_score(y, served[:, 1])
    below = logits - np.array([0.0, 60.0], np.float32)  # where the difference of probabilities is -1 for all
    served = np.asarray(softmax(below.astype(np.float64), axis=1), np.float32)
    assert Objective(metric="auc").served.score(y, served) == roc_auc_score(y, served[:, 1]) > 0.7


def test_area_is_unknown_where_a_score_is():
    assert np.isnan(area_under_curve(np.array([0, 1]), np.array([0.1, np.nan])))


@pytest.mark.parametrize("predicted", [[3.0, 1.0, 2.5], [1.0, 1.0, 1.0]])
@pytest.mark.parametrize("y", [[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
def test_r2_is_scikit_learns_for_a_constant_target_too(y: list[float], predicted: list[float]):
    assert r2(np.array(y), np.array(predicted)) == pytest.approx(r2_score(y, predicted))
    weighted = r2(np.array(y), np.array(predicted), np.array([1.0, 0.0, 2.5]))
    assert weighted == pytest.approx(r2_score(y, predicted, sample_weight=[1.0, 0.0, 2.5]))


def test_equal_targets_whose_mean_is_rounded_are_equal():
    y = np.full(3, 0.1)
    assert np.mean(y) != y[0]
    assert (r2(y, y), r2(y, y + 1)) == (1.0, 0.0)
    weight = np.array([1.0, 0.7, 0.7])
    assert np.average(np.float64(np.float32(y)), weights=weight) != np.float32(0.1)
    assert objective_of(split_of(y, y, weight=weight)).sd == 1


def test_r2_of_what_is_not_finite_is_unknown():
    assert np.isnan(r2(np.array([1.0, 2.0]), np.array([1.0, np.inf])))


def test_targets_are_standardized_by_the_training_part_alone_and_predictions_brought_back():
    objective = objective_of(split_of([10, 20, 30, 40], [1000, 2000]))
    standardized = objective.targets(np.array([10, 20, 30, 40], np.float32))
    assert standardized.shape == (4, 1)
    assert (standardized.mean(), standardized.std()) == (pytest.approx(0, abs=1e-6), pytest.approx(1))
    np.testing.assert_allclose(objective.numbers(standardized), [10, 20, 30, 40], rtol=1e-6)


def test_constant_target_is_only_moved():
    objective = objective_of(split_of([7, 7, 7], [8]))
    np.testing.assert_array_equal(objective.targets(np.array([7, 9], np.float32)), [[0], [2]])


def test_balanced_weights_are_scikit_learns_and_one_on_average():
    y = np.array([0] * 90 + [1] * 9 + [3])
    weights = balanced_weights(y, 4)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=y)
    np.testing.assert_allclose(weights[[0, 1, 3]], expected, rtol=1e-6)
    assert weights[2] == 0
    assert weights[y].mean() == pytest.approx(1)


def test_weights_of_rows_and_of_classes_are_multiplied_and_one_on_average():
    y, weight = [0, 0, 0, 1], np.array([1.0, 2.0, 3.0, 12.0])
    split = split_of(y, y, n_classes=2, metric="accuracy", weight=weight)
    rows, both = (training_weights(split, is_balanced=balanced) for balanced in (False, True))
    np.testing.assert_allclose(rows, weight / 4.5)
    expected = rows * compute_class_weight("balanced", classes=np.array([0, 1]), y=y, sample_weight=rows)[y]
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    assert both.mean() == pytest.approx(1)
    assert both[:3].sum() == pytest.approx(both[3])


def test_dummy_baseline_and_standardization_go_by_the_rows_weights():
    y, weight, X = [0, 0, 0, 1], np.array([1.0, 2.0, 3.0, 12.0]), np.zeros((4, 1))
    found = dummy_evaluation(split_of(y, y, n_classes=2, metric="accuracy", weight=weight), Objective())
    dummy = DummyClassifier().fit(X, y, weight)
    assert found.score == pytest.approx(12 / 18) == dummy.score(X, y, weight)
    assert found.loss == pytest.approx(log_loss(y, dummy.predict_proba(X), sample_weight=weight))
    numbers = [10.0, 20.0, 30.0, 40.0]
    split = split_of(numbers, numbers, weight=weight)
    found = dummy_evaluation(split, objective_of(split))
    assert (found.score, found.loss) == (pytest.approx(0, abs=1e-6), pytest.approx(1))
    assert found.secondary["mae"] == pytest.approx(
        mean_absolute_error(numbers, DummyRegressor().fit(X, numbers, weight).predict(X), sample_weight=weight)
    )


def test_dummy_baseline_is_the_commonest_class_of_the_training_part():
    train, valid = [0, 1, 1, 2], [2, 2, 1]
    dummy = DummyClassifier().fit(np.zeros((4, 1)), train)
    found = dummy_evaluation(split_of(train, valid, n_classes=3, metric="accuracy"), Objective())
    assert found.score == accuracy_score(valid, dummy.predict(np.zeros((3, 1))))
    assert found.loss == pytest.approx(log_loss(valid, dummy.predict_proba(np.zeros((3, 1))), labels=[0, 1, 2]))
    assert (found.part, found.n_samples, found.secondary) == ("valid", 3, {})


def test_dummy_baseline_ranks_nothing():
    found = dummy_evaluation(split_of([0, 1, 1], [0, 1, 1, 1], n_classes=2, metric="auc"), Objective(metric="auc"))
    assert (found.score, found.secondary) == (0.5, {"accuracy": 0.75})


def test_dummy_baseline_of_a_regression_is_the_mean_of_the_training_part():
    train, valid = [10.0, 20.0], [10.0, 40.0]
    split = split_of(train, valid)
    dummy = DummyRegressor().fit(np.zeros((2, 1)), train)
    found = dummy_evaluation(split, objective_of(split))
    assert found.score == pytest.approx(r2_score(valid, dummy.predict(np.zeros((2, 1)))))
    assert found.score < 0
    assert found.loss == pytest.approx(((10 - 15) ** 2 + (40 - 15) ** 2) / 2 / 25)
    assert found.secondary == {"rmse": pytest.approx(np.sqrt(325)), "mae": pytest.approx(15)}


def test_mean_over_folds_counts_all_samples():
    def fold(score: float, n: int) -> Evaluation:
        return Evaluation(part="valid", loss=score, score=score, metric="r2", n_samples=n, secondary={"mae": 2 * score})

    assert mean_evaluation([fold(0.25, 10), fold(0.75, 11)]) == Evaluation(
        part="valid", loss=0.5, score=0.5, metric="r2", n_samples=21, secondary={"mae": 1.0}
    )


def test_what_diverged_is_told_by_what_guessing_reaches():
    r2 = METRICS["r2"]
    assert (r2.least(0.0), r2.least(0.2)) == (-99.0, -99.0)
    assert r2.least(-259.0) == 1 - 100 * 260
    assert METRICS["accuracy"].least(0.1) == -math.inf
