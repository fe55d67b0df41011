"""The compiled fit does what Keras's own loop does, always alike, and leaves no trace of the trials before."""

import gc
import hashlib
import itertools
import math
import weakref
from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from said import predict_numbers, predict_proba
from sklearn.metrics import r2_score, roc_auc_score

from depthcheck.pipeline.blueprint import Blueprint, Dimension
from depthcheck.pipeline.config import OPTIMIZERS, FitConfig, ModelConfig, OptimizerConfig, SplitConfig
from depthcheck.pipeline.dimensions import DIMENSIONS
from depthcheck.pipeline.metrics import Objective, balanced_weights, objective_of
from depthcheck.pipeline.records import History, Part, Split
from depthcheck.pipeline.training import layers
from depthcheck.pipeline.training.build import build
from depthcheck.pipeline.training.evaluate import evaluate
from depthcheck.pipeline.training.fit import fit_folds, orders_of
from depthcheck.pipeline.training.program import ProgramCache, can_fill
from depthcheck.pipeline.training.sharing import shared

N_FEATURES, N_CLASSES, N_TRAIN = 20, 4, 150
#: Hidden layers, and units of each, to which small networks are padded.
LEAST = 3, 128
EVERY_OPTIMIZER = [
    *((name, ()) for name in OPTIMIZERS),
    ("sgd", (("momentum", 0.9), ("nesterov", True))),
    ("sgd", (("weight_decay", 0.01), ("clipnorm", 0.5))),
    ("rmsprop", (("centered", True), ("momentum", 0.5))),
    ("adam", (("amsgrad", True), ("global_clipnorm", 1.0))),
    ("adam", (("epsilon", 0.0),)),
    ("ftrl", (("initial_accumulator_value", 0.0),)),
]
Knobs = tuple[tuple[str, bool | int | float], ...]


def orders(seed: int, n_samples: int, n_epochs: int) -> np.ndarray:
    return orders_of(np.random.default_rng((seed, n_samples)), n_samples, n_epochs)


def split_of(n_train: int, n_valid: int = 100) -> Split:
    rng = np.random.default_rng(n_train)
    X = rng.normal(size=(n_train + n_valid, N_FEATURES)).astype(np.float32)
    y = np.argmax(X @ rng.normal(size=(N_FEATURES, N_CLASSES)), axis=1)
    train, valid = Part(X=X[:n_train].copy(), y=y[:n_train]), Part(X=X[n_train:].copy(), y=y[n_train:])
    return Split(train=train, valid=valid, test=None, n_classes=N_CLASSES, config=SplitConfig())


@pytest.fixture(scope="module")
def split() -> Split:
    return split_of(N_TRAIN)


def network(
    *units: int,
    activation: str = "tanh",
    optimizer: str = "adam",
    hyperparameters: Knobs = (),
    rate: float = 0.01,
    dropout: float = 0.0,
    seed: int = 3,
    n_classes: int = N_CLASSES,
    options: dict[str, object] | None = None,
) -> keras.Model:
    return build(
        ModelConfig(
            units=units,
            activation=activation if units else None,
            dropout=dropout,
            options=tuple((options or {}).items()),
        ),
        OptimizerConfig(name=optimizer, learning_rate=rate, hyperparameters=hyperparameters),
        n_features=N_FEATURES,
        n_classes=n_classes,
        seed=seed,
        sample_shape=(4, 5),
    )


def fit(model: keras.Model, split: Split, config: FitConfig, **more: object) -> History:
    return fit_folds([model], [split], config, **more).history


def config(epochs: int = 2, batch_size: int = 32, seed: int = 7, class_weight: str | None = None) -> FitConfig:
    return FitConfig(epochs=epochs, batch_size=batch_size, seed=seed, class_weight=class_weight)


def trained_by_keras(
    model: keras.Model, split: Split, config: FitConfig, *, rates: Sequence[float] = ()
) -> dict[str, list[float]]:
    """Train by Keras's own loop on the same batches; return its history. To trace takes longer than to train.

    ``rates`` are the learning rates of all steps, where they are not constant.
    """
    model.run_eagerly = True
    curves: dict[str, list[float]] = {}
    train, valid = split.train, (split.valid.X, split.valid.y)
    left = iter(rates)
    callbacks = [
        keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: setattr(model.optimizer, "learning_rate", next(left))
        )
    ]
    for order in orders(config.seed, len(train), config.epochs):
        epoch = model.fit(
            train.X[order],
            train.y[order],
            batch_size=config.batch_size,
            shuffle=False,
            validation_data=valid,
            verbose=0,
            callbacks=callbacks if rates else [],
        )
        for key, values in epoch.history.items():
            curves.setdefault(key, []).extend(values)
    return curves


def assert_same_weights(model: keras.Model, other: keras.Model, atol: float = 0.0) -> None:
    for weight, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=0, atol=atol)


#: Of a small network with room for others: each weight has its own rule, and depths come below.
@pytest.mark.parametrize(("optimizer", "hyperparameters"), EVERY_OPTIMIZER)
def test_every_optimizer_ends_in_the_weights_of_keras(split: Split, optimizer: str, hyperparameters: Knobs):
    ours, theirs = (network(3, optimizer=optimizer, hyperparameters=hyperparameters) for _ in range(2))
    fit(ours, split, config(), capacity=200)
    trained_by_keras(theirs, split, config())
    assert_same_weights(ours, theirs, atol=1e-5)
    for variable, expected in zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-5, err_msg=variable.path)


#: Muon has a rule of its own for the weights between hidden layers.
@pytest.mark.parametrize(
    ("optimizer", "units"),
    [("sgd", ()), ("sgd", (16, 12, 8)), ("adam", (16, 12)), ("muon", ()), ("muon", (16, 12, 8))],
    ids=["sgd, no hidden layer", "sgd, three", "adam, two", "muon, no hidden layer", "muon, three"],
)
def test_every_depth_ends_in_the_weights_and_curves_of_keras(split: Split, optimizer: str, units: tuple[int, ...]):
    ours, theirs = (network(*units, optimizer=optimizer) for _ in range(2))
    history = fit(ours, split, config(epochs=3))
    curves = trained_by_keras(theirs, split, config(epochs=3))
    assert_same_weights(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(history.train_loss, curves["loss"], atol=1e-5)
    np.testing.assert_allclose(history.train_score, curves["accuracy"], atol=1e-6)
    np.testing.assert_allclose(history.valid_loss, curves["val_loss"], atol=1e-5)
    np.testing.assert_allclose(history.valid_score, curves["val_accuracy"], atol=1e-6)


@pytest.mark.parametrize(("n_train", "batch_size"), [(33, 32), (64, 32), (20, 32), (1, 32), (5, 1)])
def test_last_batch_counts_however_small(n_train: int, batch_size: int):
    split = split_of(n_train)
    ours, theirs = (network(optimizer="sgd", rate=0.1) for _ in range(2))
    history = fit(ours, split, config(batch_size=batch_size))
    curves = trained_by_keras(theirs, split, config(batch_size=batch_size))
    assert_same_weights(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(history.train_loss, curves["loss"], atol=1e-5)
    np.testing.assert_allclose(history.train_score, curves["accuracy"], atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"normalization": "batch"},
        {"normalization": "layer", "residual": True},
        {"family": "conv", "normalization": "batch", "residual": True},
        {"family": "conv", "width_shape": "pyramid", "initializer": "he_normal", "max_norm": 0.5},
        {"l2": 0.01, "gradient_clip": 0.1, "width_shape": "funnel", "initializer": "orthogonal", "max_norm": 0.5},
        {"loss": "focal", "label_smoothing": 0.1},
    ],
    ids=", ".join,
)
def test_every_technique_ends_in_the_weights_of_keras(split: Split, options: dict[str, object]):
    """The last batch is smaller: no statistic of a batch may see what is not in it."""
    ours, theirs, plain = (network(8, 8, options=each) for each in (options, options, {}))
    history = fit(ours, split, config())
    curves = trained_by_keras(theirs, split, config())
    assert_same_weights(ours, theirs, atol=2e-5)
    np.testing.assert_allclose(history.train_score, curves["accuracy"], atol=1e-6)
    np.testing.assert_allclose(history.valid_score, curves["val_accuracy"], atol=1e-6)
    for layer in ours.layers if "max_norm" in options else ():
        if layer.name.startswith("hidden"):
            kernel = layer.get_weights()[0]
            assert np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0).max() <= 0.5 + 1e-6
    fit(plain, split, config())
    assert [w.shape for w in plain.get_weights()] != [w.shape for w in ours.get_weights()] or not np.allclose(
        plain.get_weights()[0], ours.get_weights()[0], atol=1e-4
    )


@pytest.mark.parametrize("capacity", [0, 400])
@pytest.mark.parametrize(
    ("options", "at_ends"),
    [
        ({"schedule": "cosine"}, (0.5, 0.0)),
        ({"schedule": "exponential"}, (0.1, 0.01)),
        ({"schedule": "step"}, (0.1, 0.01)),
        ({"warmup": 1.0}, (0.5, 1.0)),
        ({"schedule": "cosine", "warmup": 0.5}, (0.5, 0.0)),
    ],
    ids=str,
)
def test_learning_rate_follows_its_schedule(
    split: Split, options: dict[str, object], at_ends: tuple[float, float], capacity: int
):
    ours, theirs = (network(8, options=options, optimizer="sgd", rate=0.1) for _ in range(2))
    history = fit(ours, split, config(), capacity=capacity)
    np.testing.assert_allclose(history.learning_rate, np.multiply(0.1, at_ends), atol=0.1 * 0.09)
    n_steps = 2 * -(-N_TRAIN // 32)
    done = (np.arange(n_steps) + 0.5) / n_steps
    trained_by_keras(theirs, split, config(), rates=[0.1 * rate for rate in theirs.plan.rate(done).tolist()])
    assert_same_weights(ours, theirs, atol=1e-5)


def test_early_stopping_ends_behind_its_patience_and_the_best_epoch_counts(split: Split):
    stopped, whole = (network(32, rate=0.1, options=options) for options in ({"early_stopping": 2}, {}))
    fitted = fit_folds([stopped], [split], config(epochs=30))
    history, valid = fitted.history, fitted.valid
    best = history.valid_loss.index(min(history.valid_loss)) + 1
    assert history.n_epochs == best + 2 < 30
    assert valid.loss == min(history.valid_loss) < history.valid_loss[-1]
    assert evaluate(stopped, split.valid, "valid", Objective()).loss == pytest.approx(valid.loss, rel=1e-6)
    fit(whole, split, config(epochs=best))
    assert_same_weights(stopped, whole)


def test_augmentation_changes_training_alone_and_its_draws_are_the_seeds(split: Split):
    first, again, other, plain = (
        network(8, optimizer="sgd", seed=seed, options={"augmentation": value})
        for seed, value in ((3, "both"), (3, "both"), (4, "both"), (3, "none"))
    )
    other.set_weights(first.get_weights())
    losses = [fit(model, split, config()).train_loss for model in (first, again, other, plain)]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3
    plain.set_weights(first.get_weights())
    assert evaluate(first, split.valid, "valid", Objective()) == evaluate(plain, split.valid, "valid", Objective())


def test_images_are_shifted_by_whole_pixels_and_mirrored():
    image = np.arange(1.0, 21.0, dtype=np.float32).reshape(1, 4, 5, 1)
    many = np.repeat(image, 50, axis=0)
    padded = np.pad(image[0], ((2, 2), (2, 2), (0, 0)))
    windows = [padded[down : down + 4, right : right + 5] for down in range(1, 4) for right in range(5)]
    for layer, wanted, at_least in (
        (layers.RandomFlip(seed=1), [image[0], image[0, :, ::-1]], 2),
        (layers.RandomShift(0.3, seed=1), windows, 8),
    ):
        changed = tf.function(layer, jit_compile=True)(many, training=True).numpy()
        found = [[index for index, of in enumerate(wanted) if np.array_equal(of, each)] for each in changed]
        assert all(found)
        assert len({indices[0] for indices in found}) >= at_least


def test_dropout_and_augmentation_draw_the_same_in_every_engine(split: Split):
    """Batches are of one size: a smaller last one, which Keras does not fill up, may draw other numbers there."""
    random = {"dropout": 0.3, "options": {"augmentation": "both"}}
    ours, stepped, theirs = (network(16, 8, **random) for _ in range(3))
    without = network(16, 8, options={"augmentation": "both"})
    history = fit(ours, split, config(batch_size=30))
    programs = ProgramCache(size=1)
    stepped.optimizer.build(stepped.trainable_variables)
    programs.program(stepped, 30).run_step_by_step()
    np.testing.assert_allclose(
        fit(stepped, split, config(batch_size=30), programs=programs).train_loss, history.train_loss, 1e-5
    )
    assert (ours.engine, stepped.engine) == ("compiled", "step by step")
    trained_by_keras(theirs, split, config(batch_size=30))
    for other in (stepped, theirs):
        assert_same_weights(ours, other, atol=1e-5)
    fit(without, split, config(batch_size=30))
    assert not np.allclose(ours.get_weights()[0], without.get_weights()[0], atol=1e-3)


def test_same_seed_gives_the_same_bits(split: Split):
    first, second = network(16, dropout=0.4), network(16, dropout=0.4)
    curves = [fit(model, split, config(), programs=ProgramCache(size=1)).curves() for model in (first, second)]
    assert curves[0] == curves[1]
    assert_same_weights(first, second)


def test_seeds_of_order_and_of_dropout_both_matter(split: Split):
    def curves(order_seed: int, model_seed: int) -> tuple[float, ...]:
        model = network(16, dropout=0.4, seed=model_seed)
        model.set_weights(network(16, dropout=0.4).get_weights())
        return fit(model, split, config(seed=order_seed)).train_loss

    assert len({curves(7, 3), curves(8, 3), curves(7, 4)}) == 3


def test_second_trial_of_a_kind_takes_the_program_and_none_of_the_first_ones_values(split: Split):
    shared = ProgramCache(size=4)
    fit(network(16, dropout=0.2, rate=0.3, seed=1), split, config(seed=1), programs=shared)
    second, fresh = (network(16, dropout=0.2, rate=0.02, seed=2) for _ in range(2))
    reused = fit(second, split, config(seed=2), programs=shared).curves()
    assert shared.program(second, 32).n_traces == 1
    assert reused == fit(fresh, split, config(seed=2), programs=ProgramCache(size=1)).curves()
    assert_same_weights(second, fresh)


def test_programs_are_told_apart_by_all_that_is_compiled_into_them():
    programs = ProgramCache(size=16)
    base = network(16)
    base.optimizer.build(base.trainable_variables)
    others = [
        network(17),
        network(16, dropout=0.1),
        network(16, hyperparameters=(("beta_1", 0.8),)),
        network(16, optimizer="sgd"),
    ]
    for model in others:
        model.optimizer.build(model.trainable_variables)
    kept = {id(programs.program(model, 32)) for model in (base, *others)} | {id(programs.program(base, 64))}
    assert len(kept) == 6
    assert programs.program(network(16, rate=0.5, seed=9), 32) is programs.program(base, 32)


def test_dropped_programs_leave_no_graph_in_memory(split: Split):
    def n_graphs() -> int:
        gc.collect()
        return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())

    programs = ProgramCache(size=1)
    fit(network(5), split, config(epochs=1), programs=programs)
    before = n_graphs()
    for units in (6, 7, 8):
        fit(network(units), split, config(epochs=1), programs=programs)
    assert n_graphs() == before


def test_training_data_are_let_go_with_their_arrays():
    split = split_of(40)
    fit(network(4), split, config(epochs=1))
    array = weakref.ref(split.train.X)
    del split
    gc.collect()
    assert array() is None


@pytest.mark.parametrize("n_valid", [100, 600], ids=["one chunk", "two chunks"])
@pytest.mark.parametrize("capacity", [0, 300], ids=["alone", "shared"])
def test_pixels_give_the_bits_of_their_numbers(n_valid: int, capacity: int):
    rng, scale = np.random.default_rng(1), float(np.float32(1 / 255))

    def parts(n: int) -> tuple[Part, Part]:
        pixels, y = rng.integers(0, 256, (n, N_FEATURES)).astype(np.uint8), rng.integers(0, N_CLASSES, n)
        return Part(X=pixels, y=y, scale=scale), Part(X=pixels.astype(np.float32) * np.float32(scale), y=y)

    found = []
    for train, valid in zip(parts(250), parts(n_valid), strict=True):
        split = Split(train=train, valid=valid, test=None, n_classes=N_CLASSES, config=SplitConfig())
        model = network(16)
        fitted = fit_folds([model], [split], config(epochs=2), capacity=capacity)
        found.append((fitted, model.get_weights(), evaluate(model, valid, "valid", Objective())))
    (pixels, weights, evaluated), (numbers, *others) = found
    assert replace(pixels.history, seconds=numbers.history.seconds) == numbers.history
    np.testing.assert_array_equal(pixels.outputs[0], numbers.outputs[0])
    for one, other in zip(weights, others[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert evaluated == others[1]


def test_other_labels_for_the_same_samples_are_trained_on(split: Split):
    train = Part(X=split.train.X, y=(split.train.y + 1) % N_CLASSES)
    other = Split(train=train, valid=split.valid, test=None, n_classes=N_CLASSES, config=split.config)
    assert fit(network(8), split, config()).train_loss != fit(network(8), other, config()).train_loss


def test_model_holds_the_last_epochs_weights(split: Split):
    model = network(16, rate=0.5)
    history = fit(model, split, config(epochs=6))
    last = evaluate(model, split.valid, "valid", Objective())
    assert (last.loss, last.score) == pytest.approx((history.valid_loss[-1], history.valid_score[-1]), rel=1e-6)
    assert history.valid_loss[-1] > min(history.valid_loss), "the last epoch is the best: the test shows nothing"


def test_validation_part_does_not_move_the_weights(split: Split):
    other = Split(train=split.train, valid=split_of(50).valid, test=None, n_classes=N_CLASSES, config=split.config)
    first, second = network(8), network(8)
    fit(first, split, config())
    fit(second, other, config())
    assert_same_weights(first, second)


def test_each_epoch_is_told_under_the_keys_of_the_history(split: Split):
    told = []
    history = fit(network(8), split, config(epochs=3), on_epoch_end=lambda *call: told.append(call))
    assert [epoch for epoch, _ in told] == [1, 2, 3]
    assert {key: tuple(metrics[key] for _, metrics in told) for key in told[0][1]} == history.curves()
    assert history.learning_rate == (pytest.approx(0.01),) * 3
    assert all(seconds > 0 for seconds in history.seconds)


def test_training_ends_after_the_epoch_whose_callback_says_so(split: Split):
    stopped, short = network(8), network(8)
    history = fit(stopped, split, config(epochs=9), on_epoch_end=lambda epoch, _: epoch == 2)
    assert history.n_epochs == 2
    fit(short, split, config(epochs=2))
    assert_same_weights(stopped, short)


def test_training_ends_with_the_first_epoch_that_is_not_finite(split: Split):
    told = []
    model = network(16, 16, activation="linear", optimizer="sgd", rate=20)
    history = fit(model, split, config(epochs=9), on_epoch_end=lambda epoch, _: told.append(epoch))
    finite = [
        math.isfinite(train) and math.isfinite(valid)
        for train, valid in zip(history.train_loss, history.valid_loss, strict=True)
    ]
    assert finite == [True] * (history.n_epochs - 1) + [False]
    assert told == list(range(1, history.n_epochs + 1))


def test_order_is_a_permutation_new_each_epoch_and_the_same_for_a_seed():
    first, second, third = orders(5, 100, 3)
    assert sorted(first) == sorted(second) == list(range(100))
    assert not np.array_equal(first, second)
    longer = orders(5, 100, 4)
    assert all(np.array_equal(a, b) for a, b in zip((first, second, third), longer[:3], strict=True))
    assert not np.array_equal(first, orders(6, 100, 1)[0])


def test_no_training_samples_are_refused(split: Split):
    train = Part(X=np.empty((0, N_FEATURES), np.float32), y=np.empty(0, np.int64))
    empty = Split(train=train, valid=split.valid, test=None, n_classes=N_CLASSES, config=split.config)
    with pytest.raises(ValueError, match="number of training samples must be at least 1, got 0"):
        fit(network(4), empty, config())


def regression_of(n_train: int) -> Split:
    base = split_of(n_train)
    slope = np.linspace(-30, 30, N_FEATURES)

    def part(part: Part) -> Part:
        return Part(X=part.X, y=(part.X @ slope + 5_000).astype(np.float32))

    return Split(
        train=part(base.train), valid=part(base.valid), test=None, n_classes=0, config=base.config, task="regression",
        metric="r2",
    )  # fmt: skip


def two_classes_of(n_train: int) -> Split:
    base = split_of(n_train)
    train, valid = (Part(X=part.X, y=(part.y == 1).astype(np.int64)) for part in (base.train, base.valid))
    return Split(train=train, valid=valid, test=None, n_classes=2, config=base.config, metric="auc")


@pytest.mark.parametrize("capacity", [0, 400])
def test_regression_ends_in_the_weights_of_keras_on_standardized_targets(capacity: int):
    split = regression_of(N_TRAIN)
    objective = objective_of(split)
    ours, theirs = (network(16, n_classes=0) for _ in range(2))
    history = fit(ours, split, config(), capacity=capacity)
    scaled = [Part(X=part.X, y=objective.targets(part.y)[:, 0]) for part in (split.train, split.valid)]
    curves = trained_by_keras(
        theirs, Split(train=scaled[0], valid=scaled[1], test=None, n_classes=0, config=split.config), config()
    )
    assert_same_weights(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(history.train_loss, curves["loss"], rtol=1e-4)
    np.testing.assert_allclose(history.valid_loss, curves["val_loss"], rtol=1e-4)
    assert history.valid_score[-1] == pytest.approx(
        r2_score(split.valid.y, predict_numbers(ours, split.valid.X, objective)), rel=1e-5
    )


@pytest.mark.parametrize(("metric", "capacity"), [("auc", 0), ("auc", 400), ("r2", 0), ("r2", 400), ("accuracy", 400)])
def test_training_score_is_that_of_all_samples_of_the_epoch_by_their_weights(metric: str, capacity: int):
    weight = None if capacity == 0 else np.linspace(0, 3, N_TRAIN)
    split = regression_of(N_TRAIN) if metric == "r2" else replace(two_classes_of(N_TRAIN), metric=metric)
    split = replace(split, train=replace(split.train, weight=weight))
    # So small a step that every batch meets the first weights.
    model = network(16, n_classes=split.n_classes, optimizer="sgd", rate=1e-12)
    history = fit(model, split, config(epochs=1, batch_size=32), capacity=capacity)
    if metric == "auc":
        expected = roc_auc_score(split.train.y, predict_proba(model, split.train.X)[:, 1], sample_weight=weight)
    elif metric == "accuracy":
        is_right = predict_proba(model, split.train.X).argmax(axis=1) == split.train.y
        expected = np.average(is_right, weights=weight)
    else:
        numbers = predict_numbers(model, split.train.X, objective_of(split))
        expected = r2_score(split.train.y, numbers, sample_weight=weight)
    assert history.train_score[0] == pytest.approx(expected, abs=1e-5)
    assert list(history.curves()) == [
        "train/loss", f"train/{metric}", "valid/loss", f"valid/{metric}", "learning_rate",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("capacity", "class_weight", "weighs"), [(0, "balanced", False), (400, "balanced", True), (0, None, True)]
)
def test_weights_of_classes_and_rows_end_in_the_weights_of_keras_with_sample_weights(
    split: Split, capacity: int, class_weight: str | None, weighs: bool
):
    ours, theirs, plain = (network(16) for _ in range(3))
    weighted = replace(split, train=replace(split.train, weight=np.linspace(0, 3, N_TRAIN) if weighs else None))
    history = fit(ours, weighted, config(epochs=1, class_weight=class_weight), capacity=capacity)
    (order,) = orders(7, N_TRAIN, 1)
    X, y = split.train.X[order], split.train.y[order]
    weights = np.linspace(0, 2, N_TRAIN)[order] if weighs else np.ones(N_TRAIN)
    if class_weight:
        weights = weights * balanced_weights(y, N_CLASSES, weights)[y]
    by_keras = theirs.fit(X, y, batch_size=32, shuffle=False, sample_weight=weights, verbose=0).history
    assert_same_weights(ours, theirs, atol=1e-5)
    fit(plain, split, config(epochs=1))
    assert not np.allclose(ours.get_weights()[0], plain.get_weights()[0], atol=1e-4)
    np.testing.assert_allclose(history.train_loss, by_keras["loss"], rtol=1e-4)
    assert history.valid_loss[0] == pytest.approx(evaluate(ours, split.valid, "valid", Objective()).loss, rel=1e-6)


def test_weights_of_classes_of_a_regression_are_refused():
    with pytest.raises(ValueError, match="class_weight of a regression must be left out, got 'balanced'"):
        fit(network(4, n_classes=0), regression_of(40), config(class_weight="balanced"))


def test_parts_of_any_size_share_one_program_and_end_as_without_room():
    programs, splits = ProgramCache(size=4), [split_of(n) for n in (90, 7)]
    models, alone = ([network(12) for _ in splits] for _ in range(2))
    fitted = fit_folds(models, splits, config(), capacity=100, programs=programs)
    history, valid = fitted.history, fitted.valid
    assert programs.program(models[0], 64, "hits", models[0].padded(LEAST)).n_traces == 1
    histories = [fit(model, split, config()) for model, split in zip(alone, splits, strict=True)]
    for model, other in zip(models, alone, strict=True):
        assert_same_weights(model, other, atol=1e-6)
    for name, curve in history.curves().items():
        np.testing.assert_allclose(curve, np.mean([h.curves()[name] for h in histories], axis=0), rtol=1e-5)
    assert (valid.score, valid.loss, valid.n_samples) == (history.valid_score[-1], history.valid_loss[-1], 200)


def test_small_networks_share_one_program_whatever_their_values_and_end_as_alone(split: Split):
    programs = ProgramCache(size=4)
    for at, (units, activation, momentum, batch_size) in enumerate(
        [
            ((12, 5), "tanh", 0.5, 32), ((100,), "relu", 0.9, 16), ((7, 5, 9), "sigmoid", 0.1, 50),
            ((12,), "sigmoid", None, 16), ((9, 8), "relu", 0.0, 32),
        ]
    ):  # fmt: skip
        given = () if momentum is None else (("momentum", momentum),)
        ours, alone = (network(*units, activation=activation, optimizer="sgd", hyperparameters=given) for _ in range(2))
        sized = config(batch_size=batch_size, seed=at)
        curves = fit(ours, split, sized, capacity=200, programs=programs).curves()
        for name, curve in fit(alone, split, sized).curves().items():
            np.testing.assert_allclose(curves[name], curve, rtol=1e-4, err_msg=name)
        assert_same_weights(ours, alone, atol=1e-5)
        assert programs.program(ours, 64, "hits", ours.padded(LEAST)).n_traces == 1
    dropped = network(12, 5, dropout=0.3, optimizer="sgd", hyperparameters=(("momentum", 0.5),))
    same = network(12, 5, optimizer="sgd", hyperparameters=(("momentum", 0.5),))
    losses = [fit(model, split, config(), capacity=200, programs=programs).train_loss for model in (dropped, same)]
    assert losses[0] != losses[1]
    assert programs.program(dropped, 64, "hits", dropped.padded(LEAST)) is programs.program(
        ours, 64, "hits", ours.padded(LEAST)
    )


def test_networks_of_four_layers_share_no_program_with_those_of_three_and_linear_ones_with_none_of_these():
    keys = [network(*[8] * depth).padded(LEAST).key for depth in range(6)]
    assert keys[1] == keys[2] == keys[3]
    assert len(set(keys)) == 4


def test_an_optimizer_that_names_variables_alike_shares_among_networks_of_one_depth(monkeypatch):
    model = network(8)
    model.optimizer.build(model.trainable_variables)
    assert shared(model, config(), 1_000)[0].least == LEAST
    monkeypatch.setattr(model.optimizer.variables[-1], "_name", model.optimizer.variables[-2].name)
    assert shared(model, config(), 1_000)[0].least == (0, LEAST[1])
    monkeypatch.undo()
    monkeypatch.setattr(type(model.optimizer), "__module__", "theirs")
    assert shared(model, config(), 1_000)[0].least == (0, LEAST[1])


def test_layers_that_a_dimension_of_somebody_else_makes_share_as_far_as_is_known(monkeypatch):
    def change(plan: Blueprint, value: str) -> None:
        plan.hidden |= {"use_bias": False} if value == "unbiased" else {"kernel_regularizer": None}

    theirs = Dimension(name="theirs", kind="choice", choices=("unbiased", "regular"), build=change)
    monkeypatch.setitem(DIMENSIONS, "theirs", theirs)
    of = {depth: network(*[8] * depth, options={"theirs": "regular"}).padded(LEAST).key for depth in (1, 2)}
    assert of[1] != of[2]  # what it makes may depend on the number of layers
    assert network(8, options={"theirs": "unbiased"}).padded is None


def test_what_looks_at_all_units_and_what_costs_more_than_compiling_shares_no_program(split: Split):
    others = ({"normalization": "layer"}, {"residual": True}, {"family": "conv"})
    assert [network(8, activation="relu", options=options).padded for options in others] == [None] * 3
    assert network(8, optimizer="muon").padded is None
    sizes = [shared(network(8), config(), capacity)[1] for capacity in (1_000, 100_000)]
    assert sizes == [64, 32]
    assert shared(network(8), config(), 0)[0] is None
    costs = (2_000, 1), (5_000, 1), (5_000, 10), (5_000, 100)
    padded = [shared(network(8, 8), config(10), capacity, n_splits)[0] for capacity, n_splits in costs]
    assert [of and of.least for of in padded] == [LEAST, (3, 64), (0, 64), None]
    # Without hidden layers arithmetic costs next to nothing; what is kept of each step would fill the memory.
    kept = [shared(network(n_classes=2), config(), capacity)[0] for capacity in (1_000, 1_000_000)]
    assert [of is None for of in kept] == [False, True]


@pytest.mark.parametrize(
    ("make", "fills"),
    [
        (keras.layers.Dense(4, activation="relu"), True),
        (lambda of: keras.layers.Dense(4)(of - keras.ops.mean(of, axis=0)), False),
        (keras.layers.Dense(4, activation=lambda of: of - keras.ops.mean(of, axis=0)), False),
        (keras.layers.Dense(4, activation=keras.layers.BatchNormalization()), False),
        (keras.layers.Dense(4, activity_regularizer="l2"), False),
        (type("Mixing", (keras.layers.Dense,), {})(4), False),
    ],
    ids=["Dense", "operation", "own function", "layer as activation", "activity", "own class"],
)
def test_batches_are_filled_up_only_where_all_is_known_to_look_at_samples_one_by_one(make, fills: bool):
    inputs = keras.Input((N_FEATURES,))
    outputs = make(inputs)
    assert can_fill(keras.Sequential([inputs, keras.Model(inputs, outputs)])) == fills


class Penalized(keras.layers.Layer):
    """Adds a loss of a number a sample."""

    def call(self, inputs):
        self.add_loss(keras.ops.mean(inputs**2, axis=1))
        return inputs


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        (
            Dimension(
                name="theirs", kind="bool", per_optimizer=False,
                build=lambda plan, _: plan.behind.update(penalty=lambda name, _seed: Penalized(name=name)),
            ),
            True,
        ),
        (Dimension(name="gradient_accumulation_steps", kind="int", low=2), 2),
    ],
    ids=["loss of a layer", "option of optimizers"],
)  # fmt: skip
def test_dimension_from_outside_ends_in_the_weights_of_keras(split: Split, monkeypatch, dimension: Dimension, value):
    monkeypatch.setitem(DIMENSIONS, dimension.name, dimension)
    given = {"options": {"theirs": value}} if dimension.build else {"hyperparameters": ((dimension.name, value),)}
    ours, theirs, plain = network(8, **given), network(8, **given), network(8)
    fit(ours, split, config())
    trained_by_keras(theirs, split, config())
    assert_same_weights(ours, theirs, atol=1e-5)
    fit(plain, split, config())
    assert not np.allclose(ours.get_weights()[0], plain.get_weights()[0], atol=1e-3)


def test_training_score_of_equal_targets_is_that_of_all_r2s():
    base = regression_of(N_TRAIN)
    split = replace(base, train=replace(base.train, y=np.full(N_TRAIN, 5_000, np.float32)))
    assert fit(network(8, n_classes=0), split, config(epochs=1)).train_score == (0.0,)


def test_models_that_take_turns_end_in_the_bits_that_each_has_alone():
    splits = [split_of(90), split_of(80)]
    together, alone = ([network(12, dropout=0.3) for _ in splits] for _ in range(2))
    fit_folds(together, splits, config(epochs=3), capacity=100)
    for model, other, split in zip(together, alone, splits, strict=True):
        fit(other, split, config(epochs=3), capacity=100)
        assert_same_weights(model, other)


def digest_of_a_trial(optimizer: str) -> str:
    """Return a hash over the weights and curves of one small trial."""
    options = {"family": "conv", "augmentation": "both"} if optimizer == "sgd" else {}
    model = network(16, 8, dropout=0.3, optimizer=optimizer, options=options)
    history = fit(model, split_of(N_TRAIN), config(epochs=3))
    digest = hashlib.sha256(repr(history.curves()).encode())
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()


def train_many_of_a_kind() -> int:
    """Train networks that differ in what one program serves, and return how often programs of theirs were traced."""
    programs, split = ProgramCache(size=99), split_of(N_TRAIN)
    kinds = itertools.product((12, 100), (16, 32, 64), (0.1, 0.01, 0.001), (0.0, 0.3))
    used = set()
    for seed, (units, batch_size, rate, dropout) in enumerate(kinds):
        model = network(units, rate=rate, dropout=dropout, seed=seed)
        fit(model, split, config(batch_size=batch_size, seed=seed), capacity=200, programs=programs)
        used.add(programs.program(model, 64, "hits", model.padded(LEAST)))
    return sum(program.n_traces for program in used)
