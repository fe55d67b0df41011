"""Models are what their configuration says, and what is served agrees with what was trained."""

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
from said import predict_proba

from depthcheck.pipeline.config import OPTIMIZERS, ModelConfig, OptimizerConfig
from depthcheck.pipeline.metrics import Objective
from depthcheck.pipeline.records import Part, Scaler
from depthcheck.pipeline.training.build import build, build_optimizer, serving_model
from depthcheck.pipeline.training.evaluate import predictions, served_outputs

SGD = OptimizerConfig(name="sgd", learning_rate=0.01)
#: Arguments of Keras's optimizers that nobody searches: identity, training technique, and constants of Muon's
#: polynomial and of its choice of layers.
NO_OPTIONS = {
    *("self", "learning_rate", "name", "kwargs", "use_ema", "ema_momentum", "ema_overwrite_frequency"),
    *("loss_scale_factor", "gradient_accumulation_steps"),
    *("muon_a", "muon_b", "muon_c", "exclude_layers", "exclude_embeddings", "adam_lr_ratio", "rms_rate"),
}


def mlp(*units: int, activation: str = "sigmoid", dropout: float = 0.0, seed: int = 0, n_features: int = 784):
    config = ModelConfig(units=units, activation=activation if units else None, dropout=dropout)
    return build(config, SGD, n_features=n_features, n_classes=10, seed=seed)


def test_notebooks_network_has_its_number_of_parameters():
    assert mlp(100).count_params() == 79_510


@pytest.mark.parametrize("units", [(), (7,), (7, 5, 3)])
def test_units_become_layers_and_the_last_gives_logits(units: tuple[int, ...]):
    model = mlp(*units, activation="tanh", n_features=4)
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [*units, 10]
    assert [layer.activation.__name__ for layer in dense] == [*["tanh"] * len(units), "linear"]


def test_dropout_stands_behind_each_hidden_layer_and_only_there():
    kinds = [isinstance(layer, keras.layers.Dropout) for layer in mlp(7, 5, dropout=0.25, n_features=4).layers]
    assert kinds == [False, True, False, True, False]


def test_same_seed_gives_the_same_weights_and_another_gives_others():
    first, again, other = (mlp(7, seed=seed, n_features=4).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_layers_of_one_model_start_from_different_weights():
    weights = mlp(6, 6, 6, n_features=6).get_weights()
    assert not np.array_equal(weights[0], weights[2])
    assert not np.array_equal(weights[2], weights[4])


def test_deeper_network_of_one_seed_starts_with_the_same_first_layers():
    shallow, deep = mlp(7, 5, n_features=4), mlp(7, 5, 3, dropout=0.5, n_features=4)
    for name in ("hidden_1", "hidden_2"):
        assert np.array_equal(shallow.get_layer(name).get_weights()[0], deep.get_layer(name).get_weights()[0])


def test_initial_weights_are_glorots():
    kernel = mlp(100).get_layer("hidden_1").get_weights()[0]
    limit = np.sqrt(6 / (784 + 100))
    assert np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_knobs_of_an_optimizer_are_those_of_keras(name: str):
    optimizer = build_optimizer(OptimizerConfig(name=name, learning_rate=0.5))
    arguments = set(inspect.signature(type(optimizer).__init__).parameters)
    assert set(OPTIMIZERS[name]) == arguments - NO_OPTIONS
    assert float(optimizer.learning_rate) == 0.5


def test_whole_number_is_a_learning_rate_too():
    assert float(build_optimizer(OptimizerConfig(name="adam", learning_rate=1)).learning_rate) == 1


def test_knobs_reach_the_optimizer():
    hyperparameters = (("momentum", 0.9), ("nesterov", True), ("clipnorm", 2.0))
    optimizer = build_optimizer(OptimizerConfig(name="sgd", learning_rate=0.1, hyperparameters=hyperparameters))
    assert (optimizer.momentum, optimizer.nesterov, optimizer.clipnorm) == (0.9, True, 2.0)


def test_served_model_takes_raw_pixels_and_agrees_with_the_trained_model(tmp_path: Path):
    model = mlp(9, dropout=0.5)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)
    scaled = pixels.reshape(20, 784).astype(np.float32) * np.float32(1 / 255)
    scaler = Scaler(scale=float(np.float32(1 / 255)), offset=0.0)
    serving_model(model, sample_shape=(28, 28), scaler=scaler, objective=Objective()).save(tmp_path / "model.keras")
    served = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(served.predict(pixels, verbose=0), predict_proba(model, scaled), atol=1e-6)


def test_served_model_scales_each_feature_by_its_own_numbers(tmp_path: Path):
    model, rng = mlp(9, n_features=5), np.random.default_rng(0)
    X = rng.normal(50, 20, (30, 5))
    scale, offset = rng.uniform(0.01, 0.1, 5).astype(np.float32), rng.normal(size=5).astype(np.float32)
    scaler = Scaler(scale=scale, offset=offset)
    serving_model(model, sample_shape=(5,), scaler=scaler, objective=Objective()).save(tmp_path / "model.keras")
    served = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    expected = predict_proba(model, X.astype(np.float32) * scale + offset)
    np.testing.assert_allclose(served.predict(X, verbose=0), expected, atol=1e-6)


def test_served_model_tells_apart_what_float32_would_merge(tmp_path: Path):
    model, seconds = mlp(9, n_features=2), 1_700_000_000 + np.arange(20.0)[:, None] * [1, 0]  # the second is always 0
    scaler = Scaler(scale=np.array([0.2, 0]), offset=np.array([-0.2 * 1_700_000_010, 0]))
    serving_model(model, sample_shape=(2,), scaler=scaler, objective=Objective()).save(tmp_path / "model.keras")
    served = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    answers = served_outputs(served, seconds)
    np.testing.assert_allclose(answers, predict_proba(model, scaler.transform(seconds)), atol=1e-6)
    assert (len(np.unique(answers, axis=0)), served.inputs[0].dtype) == (20, "float64")


@pytest.mark.parametrize(("mean", "sd"), [(-500.0, 20.0), (1_700_000_000.7, 3_600.0)])
def test_regression_ends_in_one_number_and_is_served_in_the_targets_own_unit(tmp_path: Path, mean: float, sd: float):
    config = ModelConfig(units=(9,), activation="tanh")
    model = build(config, SGD, n_features=5, n_classes=0, seed=0)
    assert model.output_shape == (None, 1)
    objective = Objective(metric="r2", mean=mean, sd=sd)
    X = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    serving_model(model, sample_shape=(5,), scaler=None, objective=objective).save(tmp_path / "model.keras")
    served = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    numbers = served.predict(X, verbose=0)[:, 0]
    standardized = model.predict(X, verbose=0)[:, 0].astype(np.float64)
    np.testing.assert_allclose((numbers - mean) / sd, standardized, atol=1e-5)
    told = predictions(served_outputs(model, X), Part(X=X, y=standardized), objective).predicted
    np.testing.assert_allclose((told - mean) / sd, standardized, atol=1e-5)


def test_samples_that_come_prepared_are_served_without_another_scaling():
    model = mlp(9, n_features=5)
    served = serving_model(model, sample_shape=(5,), scaler=None, objective=Objective())
    X = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    np.testing.assert_allclose(served.predict(X, verbose=0), predict_proba(model, X), atol=1e-6)
