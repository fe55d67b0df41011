"""Reference lines are scikit-learn's own models on the networks' own parts."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.config import SplitConfig
from pipeline.records import Dataset
from pipeline.reference import reference_scores
from pipeline.split import folds, split


@pytest.fixture(autouse=True)
def one_thread():
    """Gradient boosting's threads wait for each other where other processes compute."""
    with threadpool_limits(1):
        yield


def dataset_of(bunch, metric: str) -> Dataset:
    regression = metric == "r2"
    return Dataset(
        name="known", sha256="0" * 64, source="scikit-learn", X=bunch.data,
        y=bunch.target.astype(np.float32 if regression else np.int64),
        class_names=() if regression else tuple(map(str, bunch.target_names)),
        feature_names=tuple(map(str, bunch.feature_names)),
        task="regression" if regression else "classification", metric=metric,
    )  # fmt: skip


def test_scores_of_a_single_split_are_those_of_scikit_learn_by_hand():
    dataset = dataset_of(load_wine(), "accuracy")
    config = SplitConfig(valid_size=0.3, test_size=0.2, method="stratified")
    cut = split(dataset, config)
    scaler = StandardScaler().fit(dataset.X[cut.train])
    X, y = scaler.transform(dataset.X).astype(np.float32), dataset.y
    references = {reference.name: reference for reference in reference_scores(dataset, config)}
    by_hand = {
        "logistic regression": LogisticRegression(max_iter=1_000),
        "random forest": RandomForestClassifier(random_state=0),
        "gradient boosting": HistGradientBoostingClassifier(random_state=0),
    }
    assert list(references) == list(by_hand)
    for name, model in by_hand.items():
        model.fit(X[cut.train], y[cut.train])
        for part, score in ((cut.valid, references[name].valid), (cut.test, references[name].test)):
            assert score == pytest.approx(model.score(X[part], y[part]), abs=0.02), name
        assert references[name].seconds > 0
        assert references[name].folds == ()


def test_scores_over_folds_are_means_and_there_is_no_test_score():
    dataset = dataset_of(load_diabetes(), "r2")
    config = SplitConfig(folds=3)
    ridge, forest, boosting = reference_scores(dataset, config)
    assert (ridge.name, forest.name, boosting.name) == ("ridge regression", "random forest", "gradient boosting")
    for number, cut in enumerate(folds(dataset, config)):
        scaler = StandardScaler().fit(dataset.X[cut.train])
        train, valid = (scaler.transform(dataset.X[rows]) for rows in (cut.train, cut.valid))
        for reference, model in ((ridge, Ridge()), (boosting, HistGradientBoostingRegressor(random_state=0))):
            expected = model.fit(train, dataset.y[cut.train]).score(valid, dataset.y[cut.valid])
            assert reference.folds[number] == pytest.approx(expected, abs=0.01)
    for reference in (ridge, forest, boosting):
        assert reference.valid == np.mean(reference.folds)
        assert reference.test is None
    assert 0.4 < ridge.valid < 0.6


def test_two_classes_are_scored_by_auc_alike_each_time():
    dataset = dataset_of(load_breast_cancer(), "auc")
    config = SplitConfig(valid_size=0.3, method="stratified")
    first, again = (
        [(reference.name, reference.valid) for reference in reference_scores(dataset, config)] for _ in range(2)
    )
    assert first == again
    assert all(0.98 < score <= 1 for _, score in first)


def test_class_that_no_row_trains_counts_as_missed():
    y = np.array([0, 1] * 20 + [2])
    dataset = Dataset(
        name="made", sha256="0" * 64, source="here", X=y.reshape(-1, 1) + 0.0, y=y, class_names=("a", "b", "c"),
        feature_names=("x",), times=np.arange(41.0),
    )  # fmt: skip
    logistic = reference_scores(dataset, SplitConfig(valid_size=5, method="time"))[0]
    assert logistic.valid == 0.8


def test_references_need_no_tensorflow():
    program = "import sys, pipeline.reference; print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
