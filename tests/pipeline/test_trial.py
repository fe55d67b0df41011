"""A trial of each task, with one split and with folds: what it learns, reports and hands on."""

from collections.abc import Iterator
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from said import predict_proba
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score, roc_auc_score

from depthcheck.pipeline.config import (
    OPTIMIZERS,
    DataConfig,
    FitConfig,
    ModelConfig,
    OptimizerConfig,
    SplitConfig,
    TrialConfig,
)
from depthcheck.pipeline.dimensions import DIMENSIONS, Blueprint, Dimension
from depthcheck.pipeline.metrics import dummy_evaluation, objective_of
from depthcheck.pipeline.prepare.prepare import prepared
from depthcheck.pipeline.records import Column, Dataset
from depthcheck.pipeline.scores import METRICS, Metric
from depthcheck.pipeline.training.build import build
from depthcheck.pipeline.training.fit import fit_folds
from depthcheck.pipeline.trial import TrainedTrial, judge, run_trial

N, N_FEATURES = 203, 4
FOLDS = SplitConfig(folds=3)


def dataset_of(metric: str) -> Dataset:
    rng = np.random.default_rng(0)
    X = rng.normal(10, 3, (N, N_FEATURES))
    signal = (X - 10) @ np.array([3.0, -2.0, 1.0, 0.0])
    if metric == "r2":
        y, names = (1e4 + 50 * signal + rng.normal(0, 40, N)).astype(np.float32), ()
    else:
        y, names = (signal + rng.normal(0, 4, N) > 6).astype(np.int64), ("no", "yes")
    return Dataset(
        name="made", sha256="0" * 64, source="here", X=X, y=y, class_names=names,
        task="regression" if metric == "r2" else "classification", metric=metric,
    )  # fmt: skip


def table_of(metric: str) -> Dataset:
    """Return the same samples as a table whose rows have weights: a gap in one column, and a rare category."""
    arrays = dataset_of(metric)
    X = pd.DataFrame(arrays.X.astype(np.float32), columns=list("abcd"))
    X.loc[::17, "a"] = np.nan
    X["colour"] = pd.Categorical(np.where(np.arange(N) % 40 == 0, "rare", np.where(arrays.X[:, 3] > 10, "red", "blue")))
    columns = (*(Column(name=name, kind="numeric") for name in "abcd"), Column(name="colour", kind="categorical"))
    return replace(arrays, X=X, columns=columns, weights=np.arange(N) % 3 + 0.5)


def config(split: SplitConfig, *, units: tuple[int, ...] = (), epochs: int = 3, rate: float = 0.05, name: str = "adam"):
    return TrialConfig(
        data=DataConfig(name="made"),
        data_sha256="0" * 64,
        split=split,
        model=ModelConfig(units=units, activation="tanh" if units else None),
        optimizer=OptimizerConfig(name=name, learning_rate=rate),
        fit=FitConfig(epochs=epochs, batch_size=16, seed=5),
    )


@pytest.fixture(scope="module", params=["accuracy", "auc", "r2"])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return dataset_of(request.param)


@pytest.fixture(scope="module")
def searched(dataset: Dataset) -> TrainedTrial:
    return run_trial(config(FOLDS, units=(8,)), dataset)


@pytest.fixture(scope="module")
def confirmed(dataset: Dataset) -> TrainedTrial:
    return run_trial(config(FOLDS, units=(8,)), dataset, confirm=True)


def test_network_without_a_hidden_layer_comes_to_linear_regression():
    dataset = dataset_of("r2")
    split = SplitConfig(valid_size=0.3)
    trained = run_trial(config(split, epochs=40), dataset)
    (data,) = prepared(dataset, split)
    linear = LinearRegression().fit(data.split.train.X, data.split.train.y)
    expected = r2_score(data.split.valid.y, linear.predict(data.split.valid.X))
    assert expected > 0.8
    assert trained.result.valid.score == pytest.approx(expected, abs=0.01)
    assert trained.result.history.metric == "r2"
    assert trained.result.valid.secondary["rmse"] == pytest.approx(40, rel=0.3)


def test_network_without_a_hidden_layer_comes_to_logistic_regression():
    dataset = dataset_of("auc")
    split = SplitConfig(valid_size=0.3, method="stratified")
    trained = run_trial(config(split, epochs=40), dataset)
    (data,) = prepared(dataset, split)
    logistic = LogisticRegression().fit(data.split.train.X, data.split.train.y)
    expected = roc_auc_score(data.split.valid.y, logistic.predict_proba(data.split.valid.X)[:, 1])
    assert trained.result.valid.score == pytest.approx(expected, abs=0.01)
    assert set(trained.result.valid.secondary) == {"accuracy"}


def test_folds_report_the_mean_of_folds_trained_one_by_one(dataset: Dataset):
    trial, told = config(FOLDS, units=(8,)), []
    result = run_trial(trial, dataset, on_epoch_end=lambda *epoch: told.append(epoch)).result
    histories, evaluations = [], []
    for fold in prepared(dataset, FOLDS):
        model = build(
            trial.model, trial.optimizer, n_features=N_FEATURES, n_classes=dataset.n_classes, seed=trial.fit.seed
        )
        fitted = fit_folds([model], [fold.split], trial.fit, capacity=N + 1)
        histories.append(fitted.history.curves())
        evaluations.append(fitted.valid)
    for name, curve in result.history.curves().items():
        np.testing.assert_allclose(curve, np.mean([h[name] for h in histories], axis=0), rtol=1e-12, err_msg=name)
    assert result.valid.score == pytest.approx(np.mean([e.score for e in evaluations]), rel=1e-12)
    assert result.valid.secondary == pytest.approx(
        {name: np.mean([e.secondary[name] for e in evaluations]) for name in evaluations[0].secondary}, rel=1e-12
    )
    assert (result.valid.n_samples, result.test, result.state) == (N, None, "finished")
    assert {key: tuple(values[key] for _, values in told) for key in told[0][1]} == result.history.curves()


def test_same_trial_of_folds_is_the_same_bit_by_bit(dataset: Dataset, confirmed: TrainedTrial):
    again = run_trial(config(FOLDS, units=(8,)), dataset, confirm=True)
    assert again.result.history.curves() == confirmed.result.history.curves()
    for weight, expected in zip(again.model.get_weights(), confirmed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_another_repeat_is_another_result(confirmed: TrainedTrial, dataset: Dataset):
    other = run_trial(config(replace(FOLDS, repeat=1), units=(8,)), dataset)
    assert other.result.valid.loss != confirmed.result.valid.loss


def test_confirmed_folds_predict_every_row_out_of_fold(dataset: Dataset, confirmed: TrainedTrial):
    said = confirmed.predictions
    np.testing.assert_array_equal(said.y, dataset.y)
    scores = {
        "r2": lambda rows: r2_score(said.y[rows], said.predicted[rows]),
        "accuracy": lambda rows: accuracy_score(said.y[rows], said.predicted[rows]),
        "auc": lambda rows: roc_auc_score(said.y[rows], said.positive[rows]),
    }
    by_fold = [scores[dataset.metric](said.fold == number) for number in range(3)]
    assert confirmed.result.valid.score == pytest.approx(np.mean(by_fold), abs=1e-6)
    for number, fold in enumerate(prepared(dataset, FOLDS)):
        np.testing.assert_array_equal(np.flatnonzero(said.fold == number), np.sort(fold.cut.valid))


def test_confirmed_folds_hand_on_a_model_that_was_trained_on_all_rows(
    dataset: Dataset, searched: TrainedTrial, confirmed: TrainedTrial
):
    np.testing.assert_allclose(confirmed.preparation.offset, -dataset.X.mean(axis=0) / dataset.X.std(axis=0), rtol=1e-5)
    answers = confirmed.model.predict(dataset.X, verbose=0)
    if dataset.task == "regression":
        assert r2_score(dataset.y, answers[:, 0]) > 0.5
    else:
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)
        assert roc_auc_score(dataset.y, answers[:, 1]) > 0.7
    assert not np.array_equal(searched.model.get_weights()[0], confirmed.model.get_weights()[0])


def test_network_of_all_rows_that_ran_away_to_large_numbers_is_not_handed_on(dataset: Dataset, monkeypatch):
    def away(model, *_, **__) -> None:
        model.set_weights([weight + 1e9 for weight in model.get_weights()])

    monkeypatch.setattr("depthcheck.pipeline.trial.fit_whole", away)
    found = run_trial(config(FOLDS, units=(8,)), dataset, confirm=True)
    assert found.is_of_a_fold == (dataset.task == "regression")


def test_searching_folds_hands_on_the_first_folds_model_and_predicts_every_row(
    dataset: Dataset, searched: TrainedTrial
):
    assert sorted(np.unique(searched.predictions.fold)) == [0, 1, 2]
    first = prepared(dataset, FOLDS)[0]
    np.testing.assert_array_equal(searched.preparation.offset, first.preparation.offset)


def test_test_part_is_predicted_as_the_served_model_predicts_it(dataset: Dataset):
    held = held_out(dataset)
    trained = run_trial(config(SplitConfig(), units=(8,)), held, confirm=True)
    answers = trained.model.predict(held.X_test, verbose=0)
    if dataset.task == "regression":
        np.testing.assert_allclose(trained.predictions.predicted, answers[:, 0], rtol=1e-5)
    else:
        np.testing.assert_allclose(trained.predictions.positive, answers[:, 1], atol=1e-6)
    assert trained.result.test.n_samples == N - 150
    assert run_trial(config(SplitConfig(), units=(8,)), held).result.test is None


def held_out(dataset: Dataset) -> Dataset:
    """Return the data with a test part of their own."""
    return replace(dataset, X=dataset.X[:150], y=dataset.y[:150], X_test=dataset.X[150:], y_test=dataset.y[150:])


@pytest.mark.parametrize(
    ("metric", "make"),
    [
        ("auc", dataset_of),
        ("r2", dataset_of),
        ("accuracy", lambda m: held_out(dataset_of(m))),
        ("auc", table_of),
        ("r2", table_of),
    ],
    ids=["auc, array", "r2, array", "accuracy, own", "auc, table", "r2, table"],
)
def test_judging_a_searched_model_is_evaluating_its_network(metric: str, make):
    dataset = make(metric)
    trial = config(SplitConfig(test_size=0 if dataset.X_test is not None else 0.2), units=(8,), epochs=5)
    searched = run_trial(trial, dataset)
    assert (searched.result.test, searched.predictions) == (None, None)
    found, said = judge(searched.model, trial, dataset)
    confirmed = run_trial(trial, dataset, confirm=True)
    expected = confirmed.result.test
    assert (found.part, found.metric, found.n_samples) == ("test", metric, expected.n_samples)
    assert (found.loss, found.score) == pytest.approx((expected.loss, expected.score), rel=1e-4)
    assert found.secondary == pytest.approx(expected.secondary, rel=1e-4)
    np.testing.assert_array_equal(said.y, confirmed.predictions.y)
    np.testing.assert_array_equal(said.weight, confirmed.predictions.weight)
    assert (said.weight is None) == (dataset.weights is None)
    np.testing.assert_allclose(said.predicted, confirmed.predictions.predicted, rtol=1e-4)
    if metric != "r2":
        np.testing.assert_allclose(said.positive, confirmed.predictions.positive, atol=1e-6)


def test_same_model_is_judged_the_same_bit_by_bit_wherever_it_was_kept(dataset: Dataset, tmp_path):
    data, trial = held_out(dataset), config(SplitConfig(), units=(8,))
    model = run_trial(trial, data).model
    model.save(tmp_path / "model.keras")
    kept = keras.models.load_model(tmp_path / "model.keras")
    assert judge(kept, trial, data)[0] == judge(model, trial, data)[0]


def test_data_without_a_test_part_are_nothing_to_judge_by(dataset: Dataset, confirmed: TrainedTrial):
    with pytest.raises(ValueError, match="must have a test part to judge by, got none in made"):
        judge(confirmed.model, config(SplitConfig()), dataset)


@pytest.mark.parametrize("split", [SplitConfig(), FOLDS], ids=["one split", "folds"])
def test_diverged_trial_is_worth_what_guessing_is(dataset: Dataset, split: SplitConfig):
    trial = config(split, units=(8, 8), rate=1e30, name="sgd")
    trial = replace(trial, model=replace(trial.model, activation="linear"))
    trained = run_trial(trial, dataset, confirm=True)
    assert trained.result.state == "diverged"
    guesses = [dummy_evaluation(fold.split, objective_of(fold.split)) for fold in prepared(dataset, split)]
    assert trained.result.valid.score == pytest.approx(np.mean([guess.score for guess in guesses]))
    assert np.isfinite([trained.result.valid.loss, *trained.result.valid.secondary.values()]).all()


def test_regression_whose_numbers_exploded_but_are_finite_diverged_too():
    dataset = dataset_of("r2")
    trial = config(FOLDS, units=(), rate=3.0, name="sgd")
    trained = run_trial(trial, dataset)
    history = trained.result.history
    assert np.isfinite(history.valid_loss).all()
    assert history.valid_score[-1] < -1e6
    assert (trained.result.state, trained.result.valid.score > -1) == ("diverged", True)


def test_trial_of_folds_is_pruned_where_the_mean_of_the_folds_lies_below_the_mark(
    dataset: Dataset, searched: TrainedTrial
):
    scores = searched.result.history.valid_score
    marks = (-np.inf, max(scores[:2]) + 1e-9, 0.0)
    pruned = run_trial(config(FOLDS, units=(8,)), dataset, prune_below=marks)
    assert (pruned.result.state, pruned.result.history.valid_score) == ("pruned", scores[:2])


def test_data_that_cannot_be_cut_are_refused_before_training():
    dataset = dataset_of("auc")
    y = np.zeros(N, np.int64)
    y[3] = 1
    with pytest.raises(ValueError, match="must be 2 for auc, got 'no' alone"):
        run_trial(config(FOLDS), replace(dataset, y=y))


def test_other_data_than_the_configurations_are_refused():
    with pytest.raises(ValueError, match=r"SHA-256 of made must be 0+, got '1+'"):
        run_trial(config(FOLDS), replace(dataset_of("auc"), sha256="1" * 64))


@pytest.mark.parametrize("metric", ["auc", "r2"])
@pytest.mark.parametrize("split", [SplitConfig(test_size=0.2), FOLDS], ids=["one split", "folds"])
def test_model_of_a_table_takes_what_its_preparation_makes_of_rows(metric: str, split: SplitConfig):
    dataset = table_of(metric)
    trained = run_trial(config(split, units=(8,), epochs=10), dataset, confirm=True)
    answers = trained.model.predict(trained.preparation.transform(dataset.X), verbose=0)
    if metric == "r2":
        assert r2_score(dataset.y, answers[:, 0]) > 0.5
    else:
        assert roc_auc_score(dataset.y, answers[:, 1]) > 0.7
    if split.folds:
        assert trained.result.test is None
        assert len(trained.predictions.y) == N
        return
    rows = prepared(dataset, split)[0].cut.test
    np.testing.assert_array_equal(trained.predictions.y, dataset.y[rows])
    said = trained.predictions.predicted if metric == "r2" else trained.predictions.positive
    np.testing.assert_allclose(answers[rows, -1], said, rtol=1e-4)


class Signs(keras.optimizers.Optimizer):
    """Steps of one size against the sign of the gradient: an optimizer that the product does not know."""

    def __init__(self, learning_rate=0.01, size=1.0, **more):
        super().__init__(learning_rate=learning_rate, **more)
        self.size = size

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, learning_rate * self.size * keras.ops.sign(gradient))

    def get_config(self):
        return super().get_config() | {"size": self.size}


@pytest.fixture
def _signs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the optimizer and its option, for the time of a test: MLflow pickles whatever is registered."""
    keras.saving.register_keras_serializable(package="test")(Signs)
    monkeypatch.setitem(OPTIMIZERS, "signs", ("size",))
    size = Dimension(name="size", kind="float", low=0, is_active=lambda optimizer, _: optimizer == "signs")
    monkeypatch.setitem(DIMENSIONS, "size", size)
    yield
    del keras.saving.get_custom_objects()["test>Signs"]


@pytest.mark.usefixtures("_signs")
def test_optimizer_and_metric_that_were_added_from_outside_train_and_score_a_trial(monkeypatch: pytest.MonkeyPatch):
    balanced = Metric(
        key="balanced",
        name="balanced accuracy",
        score=lambda y, said, weight: balanced_accuracy_score(y, said.argmax(axis=1), sample_weight=weight),
    )
    monkeypatch.setitem(METRICS, "balanced", balanced)
    dataset = replace(dataset_of("accuracy"), metric="balanced")
    base = config(SplitConfig(), epochs=1)
    trial = replace(
        base,
        optimizer=OptimizerConfig(name="signs", learning_rate=0.25, hyperparameters=(("size", 2.0),)),
        fit=replace(base.fit, batch_size=N),
    )

    trained = run_trial(trial, dataset)

    (data,) = prepared(dataset, trial.split)
    start = build(trial.model, trial.optimizer, n_features=N_FEATURES, n_classes=2, seed=trial.fit.seed)
    for before, after in zip(start.get_weights(), trained.model.get_weights(), strict=True):
        np.testing.assert_allclose(np.abs(after - before), 0.5, rtol=1e-5)
    train, valid = data.split.train, data.split.valid
    said = predict_proba(start, train.X).argmax(axis=1)
    assert trained.result.history.curves()["train/balanced"] == (balanced_accuracy_score(train.y, said),)
    start.set_weights(trained.model.get_weights())
    said = predict_proba(start, valid.X).argmax(axis=1)
    assert trained.result.valid.score == balanced_accuracy_score(valid.y, said)
    assert TrialConfig.from_params(trial.to_params()) == trial


class Smoothed(keras.losses.Loss):
    """Cross-entropy with smoothed labels; its configuration does not say by how much."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def call(self, y, outputs):
        truth = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(y, (-1,)), "int32"), outputs.shape[-1])
        share = self.share
        return keras.losses.categorical_crossentropy(truth, outputs, from_logits=True, label_smoothing=share)


def smooth(network: Blueprint, share: float) -> None:
    network.loss = Smoothed(share)


def penalize(network: Blueprint, strength: float) -> None:
    network.hidden["kernel_regularizer"] = network.keras.regularizers.L2(strength)


def test_dimensions_that_were_added_from_outside_change_what_training_minimizes(monkeypatch: pytest.MonkeyPatch):
    for name, build_with in (("smoothing", smooth), ("l2", penalize)):
        more = Dimension(name=name, kind="float", low=0, build=build_with)
        monkeypatch.setitem(DIMENSIONS, name, more)
    dataset = dataset_of("accuracy")
    base = config(SplitConfig(), units=(8,), epochs=1, rate=0.5, name="sgd")
    for strength, share in ((0.1, 0.2), (0.1, 0.0)):
        options = (("smoothing", share), ("l2", strength))
        trial = replace(base, model=replace(base.model, options=options), fit=replace(base.fit, batch_size=N))

        trained = run_trial(trial, dataset)

        (data,) = prepared(dataset, trial.split)
        start = build(trial.model, trial.optimizer, n_features=N_FEATURES, n_classes=2, seed=trial.fit.seed)
        truth = np.eye(2)[data.split.train.y].astype(np.float32) * (1 - share) + share / 2
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(tf.reduce_sum(truth * tf.nn.log_softmax(start(data.split.train.X)), axis=1))
            penalty = strength * tf.reduce_sum(tf.square(start.layers[0].kernel.value))
            minimized = loss + penalty
        gradients = tape.gradient(minimized, [weight.value for weight in start.trainable_variables])
        for before, gradient, after in zip(start.get_weights(), gradients, trained.model.get_weights(), strict=True):
            np.testing.assert_allclose(after, before - 0.5 * gradient, rtol=1e-4, atol=1e-6)
        assert trained.result.history.train_loss[0] == pytest.approx(float(loss), rel=1e-5)
        start.set_weights(trained.model.get_weights())
        of_truth = predict_proba(start, data.split.valid.X)[np.arange(len(data.split.valid.y)), data.split.valid.y]
        assert trained.result.valid.loss == pytest.approx(float(np.mean(-np.log(of_truth))), rel=1e-4)
        assert TrialConfig.from_params(trial.to_params()) == trial
