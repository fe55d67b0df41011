"""Evaluation: loss and scores by the textbook, whatever the number of samples."""

import keras
import numpy as np
import pytest
from said import predict_numbers, predict_proba
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from depthcheck.pipeline.config import ModelConfig, OptimizerConfig
from depthcheck.pipeline.metrics import Objective
from depthcheck.pipeline.records import Part
from depthcheck.pipeline.training.build import build
from depthcheck.pipeline.training.evaluate import evaluate, layer_diagnostics, predictions, served_outputs

N_FEATURES, N_CLASSES = 6, 4


@pytest.fixture(scope="module")
def model():
    sgd = OptimizerConfig(name="sgd", learning_rate=0.1)
    config = ModelConfig(units=(8,), activation="relu", dropout=0.5)
    return build(config, sgd, n_features=N_FEATURES, n_classes=N_CLASSES, seed=3)


def part_of(n: int) -> Part:
    rng = np.random.default_rng(n)
    return Part(X=rng.normal(size=(n, N_FEATURES)).astype(np.float32), y=rng.integers(0, N_CLASSES, n))


@pytest.mark.parametrize("n", [1, 300, 4096, 10_000])
def test_loss_and_accuracy_are_means_over_all_samples(model, n: int):
    part = part_of(n)
    hidden_kernel, hidden_bias, kernel, bias = (weight.astype(float) for weight in model.get_weights())
    logits = np.maximum(part.X @ hidden_kernel + hidden_bias, 0) @ kernel + bias
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    result = evaluate(model, part, "valid", Objective())
    assert result.loss == pytest.approx(-log_probabilities[np.arange(n), part.y].mean(), rel=1e-5)
    assert result.score == np.mean(logits.argmax(axis=1) == part.y)
    assert (result.part, result.metric, result.n_samples) == ("valid", "accuracy", n)


def test_evaluation_agrees_with_keras(model):
    part = part_of(500)
    loss, accuracy = model.evaluate(part.X, part.y, verbose=0)
    result = evaluate(model, part, "test", Objective())
    assert result.loss == pytest.approx(loss, rel=1e-5)
    assert result.score == pytest.approx(accuracy)


def test_evaluation_is_the_same_to_the_last_bit_twice(model):
    part = part_of(5000)
    assert evaluate(model, part, "test", Objective()) == evaluate(model, part, "test", Objective())


def test_probabilities_sum_to_one_and_agree_with_the_score(model):
    part = part_of(5000)
    probabilities = predict_proba(model, part.X)
    assert probabilities.shape == (5000, N_CLASSES)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.mean(probabilities.argmax(axis=1) == part.y) == evaluate(model, part, "test", Objective()).score


def test_no_samples_give_no_probabilities(model):
    assert predict_proba(model, np.empty((0, N_FEATURES), np.float32)).shape == (0, N_CLASSES)


def untrained(n_classes: int):
    sgd = OptimizerConfig(name="sgd", learning_rate=0.1)
    return build(ModelConfig(units=(8,), activation="relu"), sgd, n_features=N_FEATURES, n_classes=n_classes, seed=3)


@pytest.mark.parametrize("n", [50, 5000])
def test_auc_and_the_accuracy_beside_it_are_scikit_learns(n: int):
    model, rng = untrained(2), np.random.default_rng(n)
    X = rng.normal(size=(n, N_FEATURES)).astype(np.float32)
    weight = rng.uniform(size=n) if n > 50 else None
    part = Part(X=X, y=(X[:, 0] + rng.normal(size=n) > 1).astype(np.int64), weight=weight)
    probabilities = predict_proba(model, X)
    result = evaluate(model, part, "test", Objective(metric="auc"))
    assert result.metric == "auc"
    assert result.score == pytest.approx(roc_auc_score(part.y, probabilities[:, 1], sample_weight=weight), abs=1e-6)
    accuracy = accuracy_score(part.y, probabilities.argmax(axis=1), sample_weight=weight)
    assert result.secondary == {"accuracy": pytest.approx(accuracy)}
    assert result.loss == pytest.approx(log_loss(part.y, probabilities, sample_weight=weight), rel=1e-5)
    told = predictions(served_outputs(model, part.X), part, Objective(metric="auc"))
    np.testing.assert_allclose(told.positive, probabilities[:, 1], atol=1e-6)


@pytest.mark.parametrize("n", [50, 5000])
def test_regression_is_scored_in_the_targets_unit_and_its_loss_is_standardized(n: int):
    model, rng = untrained(0), np.random.default_rng(n)
    objective = Objective(metric="r2", mean=1000.0, sd=50.0)
    X, weight = rng.normal(size=(n, N_FEATURES)).astype(np.float32), rng.uniform(size=n) if n > 50 else None
    part = Part(X=X, y=rng.normal(1000, 50, n).astype(np.float32), weight=weight)
    numbers = predict_numbers(model, part.X, objective)
    assert 900 < numbers.mean() < 1100
    result = evaluate(model, part, "valid", objective)
    assert result.score == pytest.approx(r2_score(part.y, numbers, sample_weight=weight), rel=1e-5)
    rmse = root_mean_squared_error(part.y, numbers, sample_weight=weight)
    assert result.secondary["rmse"] == pytest.approx(rmse, rel=1e-5)
    assert result.secondary["mae"] == pytest.approx(
        mean_absolute_error(part.y, numbers, sample_weight=weight), rel=1e-5
    )
    assert result.loss == pytest.approx((result.secondary["rmse"] / 50) ** 2, rel=1e-5)
    told = predictions(served_outputs(model, part.X), part, objective)
    np.testing.assert_array_equal(told.predicted, numbers)
    assert np.isnan(told.probability).all()
    assert told.positive is None


class Theirs(keras.layers.Layer):
    """A layer of a user's own that names its activation, with a kernel that does not train."""

    activation = "relu"

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), trainable=False)

    def call(self, inputs):
        return keras.activations.get(self.activation)(inputs @ self.kernel)


def test_diagnostics_leave_out_what_layers_of_a_users_own_have_not():
    dense, part = keras.layers.Dense, part_of(50)
    layers = [Theirs(), dense(4, keras.layers.PReLU(), name="prelu"), dense(4, "tanh", name="plain")]
    model = keras.Sequential([keras.Input((N_FEATURES,)), *layers, dense(N_CLASSES, name="logits")])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model(part.X).numpy()
    found = layer_diagnostics(model, part, Objective())
    assert set(found) == {"gradient_norm/prelu", "gradient_norm/plain", "gradient_norm/logits", "saturation/plain"}
    np.testing.assert_array_equal(model(part.X), before)
