"""Reference lines are scikit-learn's own models on the networks' own parts."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.prepare.split import folds, split
from depthcheck.pipeline.records import Column, Dataset, Part
from depthcheck.pipeline.training import reference as models
from depthcheck.pipeline.training.reference import reference_scores


@pytest.fixture(autouse=True)
def one_thread():
    """Gradient boosting's threads wait for each other where other processes compute."""
    with threadpool_limits(1):
        yield


def dataset_of(bunch, metric: str) -> Dataset:
    regression, names = metric == "r2", tuple(map(str, bunch.feature_names))
    return Dataset(
        name="known", sha256="0" * 64, source="scikit-learn",
        X=pd.DataFrame(bunch.data.astype(np.float32), columns=list(names)),
        columns=tuple(Column(name=name, kind="numeric") for name in names),
        y=bunch.target.astype(np.float32 if regression else np.int64),
        class_names=() if regression else tuple(map(str, bunch.target_names)),
        task="regression" if regression else "classification", metric=metric,
    )  # fmt: skip


def test_scores_of_a_single_split_are_those_of_scikit_learn_by_hand():
    dataset = dataset_of(load_wine(), "accuracy")
    config = SplitConfig(valid_size=0.3, test_size=0.2, method="stratified")
    cut = split(dataset, config)
    raw = dataset.X.to_numpy()
    X, y = StandardScaler().fit(raw[cut.train]).transform(raw).astype(np.float32), dataset.y
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
    weights = np.arange(len(dataset.y)) % 3 + 0.5
    dataset, config = replace(dataset, weights=weights), SplitConfig(folds=3)
    ridge, forest, boosting = reference_scores(dataset, config)
    assert (ridge.name, forest.name, boosting.name) == ("ridge regression", "random forest", "gradient boosting")
    for number, cut in enumerate(folds(dataset, config)):
        raw = dataset.X.to_numpy()
        scaler = StandardScaler().fit(raw[cut.train])
        train, valid = (scaler.transform(raw[rows]) for rows in (cut.train, cut.valid))
        for reference, model in ((ridge, Ridge()), (boosting, HistGradientBoostingRegressor(random_state=0))):
            model.fit(train, dataset.y[cut.train], sample_weight=weights[cut.train])
            expected = model.score(valid, dataset.y[cut.valid], sample_weight=weights[cut.valid])
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
        times=np.arange(41.0),
    )  # fmt: skip
    logistic = reference_scores(dataset, SplitConfig(valid_size=5, method="time"))[0]
    assert logistic.valid == 0.8


@pytest.mark.parametrize(
    ("counts", "fitted"),
    [
        ([9_000, 1_000, 1], ["logistic regression", "random forest", "gradient boosting"]),
        ([40, 0], ["random forest"]),
    ],
    ids=["a class of one row", "a class alone"],
)
def test_models_that_can_be_fitted_are_whatever_one_of_them_cannot(counts: list[int], fitted: list[str]):
    y = np.append(np.repeat(np.arange(len(counts)), counts), [0, 1] * 20)
    y[: sum(counts)] = np.random.default_rng(0).permutation(y[: sum(counts)])
    X = (y + np.arange(len(y)) % 2 / 9).reshape(-1, 1)
    dataset = Dataset(
        name="made", sha256="0" * 64, source="here", X=pd.DataFrame(X, columns=["x"]), y=y,
        times=np.arange(len(y)) + 0.0, columns=(Column(name="x", kind="numeric"),),
        class_names=tuple("abc"[: len(counts)]),
    )  # fmt: skip
    found = reference_scores(dataset, SplitConfig(valid_size=40, method="time"))
    assert [one.name for one in found] == fitted
    assert all(one.valid >= 0.5 for one in found)


def images(n=None) -> Dataset:
    X, y = load_digits(return_X_y=True)
    return Dataset(
        name="digits", sha256="1" * 64, source="scikit-learn", X=X[:n].reshape(-1, 8, 8), y=y[:n].astype(np.int64),
        class_names=tuple("0123456789"), pixel_max=16.0,
    )  # fmt: skip


def test_pictures_are_held_against_the_linear_model_alone():
    dataset, config = images(), SplitConfig(valid_size=0.2, test_size=0.2)
    (linear,) = reference_scores(dataset, config)
    cut = split(dataset, config)
    X = dataset.X.reshape(len(dataset.y), -1) / 16
    by_hand = LogisticRegression(max_iter=200).fit(X[cut.train], dataset.y[cut.train])
    assert linear.name == "logistic regression"
    assert linear.valid == pytest.approx(by_hand.score(X[cut.valid], dataset.y[cut.valid]), abs=0.01)
    assert linear.test == pytest.approx(by_hand.score(X[cut.test], dataset.y[cut.test]), abs=0.01)


def test_linear_model_trains_on_so_many_pictures_and_says_how_many(monkeypatch):
    monkeypatch.setattr(models, "_MOST_SAMPLES", 200)
    (linear,) = reference_scores(images(1_000), SplitConfig(valid_size=0.2, test_size=0.2))
    assert linear.name == "logistic regression on 200 images"
    assert linear.test > 0.8
    monkeypatch.setattr(models, "_MOST_VALUES", 100 * 64)
    assert reference_scores(images(1_000), SplitConfig(folds=2))[0].name == "logistic regression on 100 images"


def test_samples_are_drawn_by_class():
    y = np.repeat([0, 1, 2], [600, 300, 100])
    part = models._drawn(Part(X=np.zeros((1_000, 100_000), np.float32), y=y))
    assert len(part) == 100
    assert np.abs(np.bincount(part.y) - [60, 30, 10]).max() <= 1


def test_references_need_no_tensorflow():
    program = (
        "import sys, depthcheck.pipeline.training.reference; print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
