from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score

from depthcheck.pipeline.metrics import Objective
from depthcheck.pipeline.records import Predictions
from depthcheck.pipeline.scores import METRICS, Metric
from depthcheck.pipeline.training.evaluate import judge_outputs
from depthcheck.reports.compare.example_scores import auc_scores, example_scores, fold_scores, r2_scores

N_STUDIES = 200


def of_classes(y, positive, fold=None):
    positive = np.asarray(positive, np.float32)
    predicted = (positive > 0.5).astype(np.int64)
    return Predictions(y=np.asarray(y), predicted=predicted, probability=positive, positive=positive, fold=fold)


def benchmark(name):
    spec = importlib.util.spec_from_file_location(
        f"benchmark_{name}", Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_mean_of_aucs_pseudo_values_is_auc_ties_included(pairs):
    y, score = np.array([int(label) for label, _ in pairs]), np.array([float(of) for _, of in pairs])
    found = auc_scores(y, score)
    if len(set(y)) < 2:
        assert found is None
    else:
        assert found.mean() == pytest.approx(roc_auc_score(y, score))


def test_variance_of_aucs_pseudo_values_is_delongs():
    rng = np.random.default_rng(0)
    y = np.arange(60) < 20
    score = rng.normal(size=60) + y
    wins = (score[y][:, None] > score[~y][None, :]).astype(float)
    delong = wins.mean(axis=1).var(ddof=1) / 20 + wins.mean(axis=0).var(ddof=1) / 40
    assert auc_scores(y, score).var() / 60 == pytest.approx(delong, rel=0.06)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_mean_of_r2s_pseudo_values_is_r2(seed, n):
    rng = np.random.default_rng(seed)
    y, predicted = rng.normal(5, 3, n), rng.normal(5, 3, n)
    assert r2_scores(y, predicted).mean() == pytest.approx(r2_score(y, predicted), rel=1e-6, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["accuracy", "auc", "r2"]))
def test_mean_of_weighted_pseudo_values_is_the_weighted_score_and_copies_count_as_weights(seed, metric):
    rng = np.random.default_rng(seed)
    y = np.array([0, 1, *rng.integers(0, 2, 20)])
    said, weight = rng.uniform(size=22).astype(np.float32), np.array([1.0, 2.0, *rng.integers(0, 4, 20)])
    if metric == "r2":
        one, score = Predictions(y=y, predicted=said, probability=said, weight=weight), r2_score
    else:
        one, score = replace(of_classes(y, said), weight=weight), roc_auc_score
    expected = (
        np.average((said > 0.5) == y, weights=weight) if metric == "accuracy" else score(y, said, sample_weight=weight)
    )
    found, rows = example_scores(metric, one), np.repeat(np.arange(22), weight.astype(int))
    assert found.mean() == pytest.approx(expected, abs=1e-6)
    # A row of weight 3 says what its three copies say together.
    copies = example_scores(metric, _of_rows(one, rows)).astype(float)
    distances = np.bincount(rows, copies - copies.mean(), 22) / weight.mean()
    np.testing.assert_allclose(found.astype(float) - found.mean(), distances, atol=1e-5)


def _of_rows(of, rows):
    columns = {"y": of.y, "predicted": of.predicted, "probability": of.probability, "positive": of.positive}
    return Predictions(**{name: None if column is None else column[rows] for name, column in columns.items()})


@pytest.mark.parametrize("weight", [None, np.array([1.0, 2.0, 0.0])])
def test_targets_that_are_all_equal_have_an_r2_of_1_if_all_are_hit_else_0(weight):
    """As the score itself, whose mean they are; a row that weighs nothing may be missed."""
    for predicted, expected in (
        ([1.0, 1.0, 1.0], 1.0),
        ([1.0, 2.0, 1.0], 0.0),
        ([1.0, 1.0, 2.0], float(weight is not None)),
    ):
        y, said = np.ones(3), np.array(predicted)
        assert r2_scores(y, said, weight).tolist() == [expected] * 3
        assert METRICS["r2"].score(y, said, weight) == expected


def test_targets_whose_mean_is_rounded_are_equal():
    y = np.full(3, 0.1)
    assert r2_scores(y, y + 1).tolist() == [0, 0, 0]


def test_accuracy_stays_right_and_wrong():
    found = example_scores("accuracy", of_classes([0, 1, 1], [0.2, 0.9, 0.1]))
    assert found.dtype == bool
    assert found.tolist() == [True, True, False]


def test_auc_without_the_second_classs_probability_is_unknown():
    bare = Predictions(y=np.array([0, 1]), predicted=np.array([0, 1]), probability=np.ones(2, np.float32))
    assert example_scores("auc", bare) is None


def test_a_metric_without_a_formula_is_judged_by_examples_left_out_in_turn(monkeypatch: pytest.MonkeyPatch):
    balanced = Metric(
        key="balanced",
        name="balanced accuracy",
        score=lambda y, said, weight: balanced_accuracy_score(y, said.argmax(axis=1), sample_weight=weight),
    )
    monkeypatch.setitem(METRICS, "balanced", balanced)
    rng = np.random.default_rng(0)
    y, positive = rng.integers(0, 2, 60), rng.uniform(size=60).astype(np.float32)
    evaluation, said = judge_outputs(y, np.stack([1 - positive, positive], axis=1), Objective(metric="balanced"))
    assert example_scores("balanced", said).mean() == pytest.approx(evaluation.score)
    assert evaluation.score == balanced_accuracy_score(y, positive > 0.5) != roc_auc_score(y, positive)
    assert example_scores("balanced", replace(said, scores=None)) is None


def test_each_fold_is_scored_for_itself():
    # Within each fold the order is right; together it is not.
    y, fold = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    found = fold_scores("auc", of_classes(y, [0.1, 0.2, 0.7, 0.8], fold))
    assert found.tolist() == [1.0, 1.0]
    assert roc_auc_score(y, [0.1, 0.2, 0.7, 0.8]) < 1


def test_a_fold_of_one_class_has_no_auc():
    y, fold = np.array([0, 1, 0, 0]), np.array([0, 0, 1, 1])
    assert np.isnan(fold_scores("auc", of_classes(y, [0.1, 0.2, 0.7, 0.8], fold))).tolist() == [False, True]


# Of 200 studies, a true coverage of 95 % gives less than 90 % once in a thousand times.
@pytest.mark.parametrize("name", ["AUC 0.85, 300 examples", "R² 0.6, 300 examples", "R² 0.6, effect 0.3, 300 examples"])
def test_intervals_of_auc_and_r2_cover_the_truth(name):
    scores = benchmark("scores")
    shares = scores.rates(scores.SCENARIOS[name], N_STUDIES, np.random.default_rng(77))
    assert 0.90 <= shares["coverage"] <= 0.995


def test_searches_judged_by_folds_seldom_say_helps_where_nothing_does(monkeypatch: pytest.MonkeyPatch):
    folds = benchmark("folds")
    monkeypatch.setattr(folds.difference, "SHARED_TRAINING_ROWS", folds.REPORT)  # which judging sets
    of, rng, n_studies = folds.Scenario(metric="r2", n=150), np.random.default_rng(77), 60
    found = [folds.judge(of, folds.study(of, rng), (folds.REPORT,), by_groups=True)[0] for _ in range(n_studies)]
    words = [folds.decide(one, one.p, equivalence=0.01, enough=6, metric=METRICS["r2"]).word for one in found]
    assert sum(word in ("helps", "hurts") for word in words) <= 0.1 * n_studies
    assert sum(one.low <= 0 <= one.high for one in found) >= 0.88 * n_studies
