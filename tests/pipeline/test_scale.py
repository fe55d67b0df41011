import dataclasses

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.prepare.prepare import prepare
from depthcheck.pipeline.prepare.split import split
from depthcheck.pipeline.records import Cut, Dataset, Scaler

TRAIN = np.array([5, 0, 3])
VALID = np.array([4, 1])
CUT = Cut(train=TRAIN, valid=VALID, config=SplitConfig())


def table(n_samples: int = 6, n_features: int = 4, n_test: int = 3) -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset(
        name="table",
        sha256="0" * 64,
        source="made here",
        X=rng.normal(5, 3, (n_samples, n_features)).astype(np.float32),
        y=np.arange(n_samples) % 2,
        X_test=rng.normal(5, 3, (n_test, n_features)).astype(np.float32),
        y_test=np.arange(n_test) % 2,
        class_names=("even", "odd"),
    )


def images() -> Dataset:
    X = np.random.default_rng(0).integers(0, 256, (6, 2, 3), dtype=np.uint8)
    return dataclasses.replace(table(), X=X, X_test=X[:3], pixel_max=255)


def test_scaler_ignores_validation_and_test_parts():
    dataset = table()
    changed = dataset.X.copy()
    changed[[1, 2, 4]] = 1e6
    elsewhere = dataclasses.replace(dataset, X=changed, X_test=np.full_like(dataset.X_test, 1e6))

    parts, scaler = prepare(dataset, CUT)
    parts_elsewhere, scaler_elsewhere = prepare(elsewhere, CUT)

    np.testing.assert_array_equal(scaler.scale, scaler_elsewhere.scale)
    np.testing.assert_array_equal(scaler.offset, scaler_elsewhere.offset)
    np.testing.assert_array_equal(parts.train.X, parts_elsewhere.train.X)
    assert parts_elsewhere.valid.X.min() > 1e4


def test_scaler_follows_the_training_part():
    dataset = table()
    changed = dataset.X.copy()
    changed[TRAIN[0]] += 1

    _, scaler = prepare(dataset, CUT)
    _, moved = prepare(dataclasses.replace(dataset, X=changed), CUT)

    assert (scaler.offset != moved.offset).all()


@pytest.mark.parametrize("dataset", [table(), images()], ids=["table", "pictures"])
def test_every_part_is_float32_times_scale_plus_offset_to_the_bit(dataset):
    parts, scaler = prepare(dataset, CUT)

    for part, X, y in (
        (parts.train, dataset.X[TRAIN], dataset.y[TRAIN]),
        (parts.valid, dataset.X[VALID], dataset.y[VALID]),
        (parts.test, dataset.X_test, dataset.y_test),
    ):
        expected = X.reshape(len(X), -1).astype(np.float32) * scaler.scale + scaler.offset
        assert part.X.dtype == (np.uint8 if X.dtype == np.uint8 else np.float32)
        assert part.features().dtype == expected.dtype == np.float32
        np.testing.assert_array_equal(part.features(), expected)
        np.testing.assert_array_equal(part.y, y)


def test_pixels_are_divided_by_their_largest_possible_value_and_not_by_the_largest_seen():
    dark = dataclasses.replace(images(), X=np.full((6, 2, 3), 51, np.uint8))

    parts, scaler = prepare(dark, CUT)

    assert (scaler.scale, scaler.offset) == (float(np.float32(1 / 255)), 0)
    np.testing.assert_allclose(parts.train.features(), 0.2, rtol=1e-6)


def test_features_are_standardised_as_scikit_learn_does_over_many_blocks():
    dataset = table(n_samples=20_000)
    cut = split(dataset, SplitConfig())
    standard = StandardScaler().fit(dataset.X[cut.train])

    parts, scaler = prepare(dataset, cut)

    np.testing.assert_allclose(parts.valid.X, standard.transform(dataset.X[cut.valid]), atol=1e-5)
    np.testing.assert_allclose(scaler.scale, 1 / standard.scale_, rtol=1e-6)
    np.testing.assert_allclose(parts.train.X.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(parts.train.X.std(axis=0), 1, atol=1e-5)


def test_values_that_float32_would_merge_are_scaled_apart():
    days = 2_460_000 + np.arange(6)[:, None] / 1_440
    dataset = dataclasses.replace(table(), X=days * [1, 2], X_test=days[:3] * [1, 2])

    parts, scaler = prepare(dataset, CUT)

    assert (scaler.scale.dtype, parts.train.X.dtype) == (np.float64, np.float32)
    assert len(np.unique(np.concatenate([parts.train.X, parts.valid.X])[:, 0])) == 5
    np.testing.assert_allclose(parts.train.X.std(axis=0), 1, atol=1e-5)


def test_feature_that_is_constant_in_the_training_part_and_no_other_is_always_0():
    dataset = dataclasses.replace(table(), X=table().X.astype(np.float64))
    dataset.X[TRAIN, 2] = 0.1
    dataset.X[:, 3] = 1e15 + np.arange(6) % 2  # so large that scikit-learn takes it for constant

    parts, _ = prepare(dataset, CUT)

    for part in (parts.train, parts.valid, parts.test):
        assert not part.X[:, 2].any()
    assert parts.train.X[:, 3].std() == pytest.approx(1, abs=0.1)


def test_scaling_leaves_the_data_set_as_it_was():
    dataset = table()
    before = dataset.X.copy()

    prepare(dataset, CUT)

    np.testing.assert_array_equal(dataset.X, before)


def test_data_set_without_test_part_gives_a_split_without_one():
    parts, _ = prepare(dataclasses.replace(table(), X_test=None, y_test=None), CUT)

    assert parts.test is None


@pytest.mark.parametrize(
    ("scale_", "offset", "message"),
    [
        (1 / 255, 0.0, "scale must be of float32's precision"),
        (np.ones(2, int), np.zeros(2, int), "scale must be of float32's precision"),
        (np.ones(2, np.float32), 0.0, "shape of offset must be that of scale"),
        (float("inf"), 0.0, "scale must be finite"),
    ],
)
def test_scaler_that_the_served_model_could_not_repeat_is_refused(scale_, offset, message):
    with pytest.raises(ValueError, match=message):
        Scaler(scale=scale_, offset=offset)
