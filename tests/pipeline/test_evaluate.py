"""Evaluation: loss and accuracy by the textbook, whatever the number of samples."""

import numpy as np
import pytest

from pipeline.build import build
from pipeline.config import ModelConfig, OptimizerConfig
from pipeline.evaluate import evaluate, predict_proba
from pipeline.records import Part

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
    result = evaluate(model, part, "valid")
    assert result.loss == pytest.approx(-log_probabilities[np.arange(n), part.y].mean(), rel=1e-5)
    assert result.score == np.mean(logits.argmax(axis=1) == part.y)
    assert (result.part, result.metric, result.n_samples) == ("valid", "accuracy", n)


def test_evaluation_agrees_with_keras(model):
    part = part_of(500)
    loss, accuracy = model.evaluate(part.X, part.y, verbose=0)
    result = evaluate(model, part, "test")
    assert result.loss == pytest.approx(loss, rel=1e-5)
    assert result.score == pytest.approx(accuracy)


def test_evaluation_is_the_same_to_the_last_bit_twice(model):
    part = part_of(5000)
    assert evaluate(model, part, "test") == evaluate(model, part, "test")


def test_probabilities_sum_to_one_and_agree_with_the_score(model):
    part = part_of(5000)
    probabilities = predict_proba(model, part.X)
    assert probabilities.shape == (5000, N_CLASSES)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.mean(probabilities.argmax(axis=1) == part.y) == evaluate(model, part, "test").score


def test_no_samples_give_no_probabilities(model):
    assert predict_proba(model, np.empty((0, N_FEATURES), np.float32)).shape == (0, N_CLASSES)
