import hashlib

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from depthcheck.pipeline.config import SplitChoice, SplitConfig
from depthcheck.pipeline.prepare.split import part_sizes, resolve, split
from depthcheck.pipeline.records import Cut, Dataset
from depthcheck.pipeline.training.reference import guesses


def dataset_of(n_samples: int) -> Dataset:
    return Dataset(
        name="counted",
        sha256="0" * 64,
        source="made here",
        X=np.arange(n_samples, dtype=np.uint8).reshape(n_samples, 1),
        y=np.zeros(n_samples, np.int64),
        class_names=("only",),
    )


def labelled(counts: list[int], **more) -> Dataset:
    """Return samples of as many classes as there are counts, in a fixed random order."""
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    names = tuple("abcdefghijklmnopqrstuvwxyz"[: len(counts)])
    return Dataset(name="made", sha256="0" * 64, source="here", X=np.zeros((len(y), 1)), y=y, class_names=names, **more)


def numbered(y: np.ndarray, **more) -> Dataset:
    return Dataset(
        name="made", sha256="0" * 64, source="here", X=np.zeros((len(y), 1)), y=y.astype(np.float32),
        task="regression", metric="r2", **more,
    )  # fmt: skip


def test_default_split_is_the_notebooks_to_the_sample():
    train, valid = train_test_split(np.arange(60_000), test_size=0.2, random_state=1234)

    cut = split(dataset_of(60_000), SplitConfig())

    np.testing.assert_array_equal(cut.train, train)
    np.testing.assert_array_equal(cut.valid, valid)
    assert (len(cut.train), len(cut.valid)) == (48_000, 12_000)


def test_default_split_stays_the_same_whatever_scikit_learn_does():
    cut = split(dataset_of(60_000), SplitConfig())

    digest = hashlib.sha256(np.concatenate([cut.train, cut.valid]).astype("<i8").tobytes()).hexdigest()

    assert digest == "a98fbd1b147d55ae3f4e86e384600e6d9f107527dcca43b41ee24378f6b42399"


def test_every_sample_is_in_exactly_one_part():
    cut = split(dataset_of(101), SplitConfig(valid_size=0.3, seed=7))

    assert sorted([*cut.train, *cut.valid]) == list(range(101))
    assert len(cut.valid) == 31


def test_another_seed_cuts_otherwise_and_the_same_seed_alike():
    first, again, other = (split(dataset_of(50), SplitConfig(seed=seed)) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first.train, again.train)
    assert set(first.valid) != set(other.valid)


def test_split_that_leaves_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match=r"split\.valid of 2 samples must be small enough .* got 0.9"):
        split(dataset_of(2), SplitConfig(valid_size=0.9))


def test_cut_with_a_sample_in_both_parts_is_refused():
    with pytest.raises(ValueError, match="number of samples that two parts share must be 0, got 1"):
        Cut(train=np.array([0, 1]), valid=np.array([1, 2]), config=SplitConfig())


@pytest.mark.parametrize("method", ["random", "stratified", "group", "time"])
@pytest.mark.parametrize("sizes", [(0.2, 0.3), (25, 40), (0.1, 0)])
def test_sizes_are_shares_of_all_samples_or_numbers(method: str, sizes: tuple[float, float]):
    n = 200
    dataset = labelled([120, 60, 20], groups=np.arange(n) // 5) if method != "time" else labelled(
        [120, 60, 20], times=np.random.default_rng(0).normal(size=n)
    )  # fmt: skip
    valid_size, test_size = sizes
    cut = split(dataset, SplitConfig(valid_size=valid_size, test_size=test_size, method=method))
    parts = [cut.train, cut.valid] + ([] if cut.test is None else [cut.test])
    assert sorted(np.concatenate(parts)) == list(range(n))
    assert len(cut.valid) == (valid_size if valid_size >= 1 else valid_size * n)
    assert (0 if cut.test is None else len(cut.test)) == (test_size if test_size >= 1 else test_size * n)


def test_sizes_that_leave_nothing_to_train_on_are_refused_together():
    with pytest.raises(ValueError, match=r"split\.valid and split\.test of 10 samples must be small .* got \(0.5, 5\)"):
        split(dataset_of(10), SplitConfig(valid_size=0.5, test_size=5))


def test_test_part_of_the_data_set_itself_stays_the_only_one():
    dataset = labelled([20, 20], X_test=np.zeros((3, 1)), y_test=np.array([0, 1, 1]))
    cut = split(dataset, SplitConfig(test_size=0.5))
    assert cut.test is None
    assert len(cut.train) + len(cut.valid) == 40
    assert part_sizes(dataset, SplitConfig(test_size=0.5)) == {"train": 32, "valid": 8, "test": 3}


def test_stratified_parts_have_each_class_in_its_share():
    dataset = labelled([700, 250, 50])
    cut = split(dataset, SplitConfig(valid_size=0.2, test_size=0.2, method="stratified"))
    for part in (cut.valid, cut.test):
        np.testing.assert_array_equal(np.bincount(dataset.y[part]), [140, 50, 10])
    drawn = split(dataset, SplitConfig(valid_size=0.2, test_size=0.2))
    assert np.bincount(dataset.y[drawn.valid]).tolist() != [140, 50, 10]


@pytest.mark.parametrize("seed", range(5))
def test_class_of_a_single_sample_trains(seed: int):
    dataset = labelled([60, 40, 1])
    cut = split(dataset, SplitConfig(valid_size=0.3, test_size=0.3, method="stratified", seed=seed))
    assert 2 in dataset.y[cut.train]


def test_more_classes_than_samples_to_hold_out_are_drawn_at_random():
    dataset = labelled([2] * 20)
    by_class, drawn = (split(dataset, SplitConfig(valid_size=10, method=m)) for m in ("stratified", "random"))
    np.testing.assert_array_equal(by_class.valid, drawn.valid)


@pytest.mark.parametrize("distinct", [1000, 7])
def test_stratified_numbers_are_spread_over_their_quantiles(distinct: int):
    y = np.exp(np.random.default_rng(0).normal(size=1000) * 2)
    y = y if distinct == 1000 else np.digitize(y, np.quantile(y, np.linspace(0, 1, 8)[1:-1]))
    dataset = numbered(y)
    cut = split(dataset, SplitConfig(valid_size=0.1, method="stratified"))
    upper = np.mean(y[cut.valid] > np.median(y))
    assert upper == pytest.approx(np.mean(y > np.median(y)), abs=0.03)


@pytest.mark.parametrize("method", ["random", "stratified"])
def test_constant_number_can_be_cut(method: str):
    assert len(split(numbered(np.ones(10)), SplitConfig(valid_size=0.3, method=method)).valid) == 3


@pytest.mark.parametrize("seed", range(4))
def test_no_group_straddles_two_parts(seed: int):
    groups = np.random.default_rng(seed).integers(0, 12, 300) ** 2
    cut = split(
        labelled([200, 100], groups=groups), SplitConfig(valid_size=0.2, test_size=0.2, method="group", seed=seed)
    )
    train, valid, test = (set(groups[part]) for part in (cut.train, cut.valid, cut.test))
    assert not train & (valid | test)
    assert not valid & test
    assert 30 <= len(cut.valid) <= 60
    assert 30 <= len(cut.test) <= 60


def test_group_that_is_larger_than_the_part_is_held_out_only_where_all_are():
    groups = np.repeat([0, 1, 2], [80, 15, 5])
    cut = split(labelled([50, 50], groups=groups), SplitConfig(valid_size=10, method="group"))
    assert set(groups[cut.valid]) == {2}
    cut = split(labelled([50, 50], groups=groups), SplitConfig(valid_size=2, method="group"))
    assert set(groups[cut.valid]) == {2}


def test_fewer_groups_than_parts_are_refused():
    dataset = labelled([5, 5], groups=np.repeat([3, 4], 5))
    assert len(split(dataset, SplitConfig(method="group")).valid) == 5
    with pytest.raises(ValueError, match="groups to hold some out must be at least one for each part, got 2"):
        split(dataset, SplitConfig(test_size=0.2, method="group"))


def test_latest_rows_are_the_test_part_and_the_latest_of_the_rest_validate():
    times = np.random.default_rng(0).permutation(100).astype(float)
    cut = split(labelled([50, 50], times=times), SplitConfig(valid_size=0.2, test_size=0.1, method="time"))
    assert times[cut.train].max() < times[cut.valid].min()
    assert times[cut.valid].max() < times[cut.test].min()
    assert (len(cut.train), len(cut.valid), len(cut.test)) == (70, 20, 10)


def test_rows_without_a_time_are_refused():
    times = np.array([1, np.nan, 3, 4.0])
    with pytest.raises(ValueError, match="rows without a time must be 0 for split method time, got 1"):
        split(labelled([2, 2], times=times), SplitConfig(method="time"))


@pytest.mark.parametrize("method", ["group", "time"])
def test_method_needs_its_column(method: str):
    with pytest.raises(ValueError, match=f"{method} column of split method {method} must be named, got None"):
        split(labelled([5, 5]), SplitConfig(method=method))


def test_part_with_one_class_alone_is_refused_for_auc():
    dataset = labelled([40, 3], metric="auc", times=np.arange(43.0))
    message = r"classes in the valid part must be 2 for auc, got 'a' alone \('b' has 3 of 43 samples\): choose metric"
    with pytest.raises(ValueError, match=message):
        split(dataset, SplitConfig(valid_size=3, method="random"))
    assert set(dataset.y[split(dataset, SplitConfig(valid_size=0.3, method="stratified")).valid]) == {0, 1}


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            {"weights": np.repeat([1.0, 0.0], [34, 9])},
            "rows with a weight above 0 in the valid part must be at least 1",
        ),
        (
            {"metric": "auc", "weights": np.repeat([1.0, 0.0], [20, 23])},
            "classes with a weight above 0 in the valid part must be at least 2, got 0",
        ),
        (
            {"X_test": np.zeros((2, 1)), "y_test": np.array([1, 0]), "weights_test": np.zeros(2)},
            "rows with a weight above 0 in the test part must be at least 1, got 0",
        ),
    ],
)
def test_part_in_which_nothing_weighs_is_refused(own: dict, message: str):
    weights = {"weights": np.ones(43), **own}
    dataset = labelled([20, 23], times=np.arange(43.0), **weights)
    with pytest.raises(ValueError, match=message):
        split(dataset, SplitConfig(method="time"))


def test_own_test_part_with_one_class_alone_is_refused_for_auc():
    dataset = labelled([20, 20], metric="auc", X_test=np.zeros((2, 1)), y_test=np.array([1, 1]))
    with pytest.raises(ValueError, match="classes in the test part must be 2 for auc, got 'b' alone"):
        split(dataset, SplitConfig())


PICTURES = {"pixel_max": 255.0}
KNOWN = {**PICTURES, "is_known": True}
TEST = {"X_test": np.zeros((2, 1)), "y_test": np.array([0, 1])}


@pytest.mark.parametrize(
    ("dataset", "choice", "resolved"),
    [
        (labelled([9_000, 1_000], **KNOWN, **TEST), {}, {}),
        (labelled([9_000, 1_000], **KNOWN), {}, {"test_size": 0.2}),
        (labelled([9_000, 1_000], **PICTURES, **TEST), {}, {"method": "stratified"}),
        (labelled([90, 10], is_valid=np.arange(100) < 10), {}, {"method": "own", "test_size": 0.2}),
        (labelled([90, 10], is_valid=np.arange(100) < 10, **TEST), {}, {"method": "own"}),
        (labelled([90, 10], is_valid=np.arange(100) < 10), {"method": "random"}, {"folds": 5}),
        (labelled([9_000, 1_000]), {}, {"test_size": 0.2, "method": "stratified"}),
        (labelled([900, 100], **TEST), {}, {"method": "stratified"}),
        (labelled([900, 100]), {}, {"folds": 5, "method": "stratified"}),
        (labelled([900, 100]), {"folds": 0}, {"test_size": 0.2, "method": "stratified"}),
        (labelled([900, 100]), {"test_size": 50, "method": "random"}, {"test_size": 50}),
        (labelled([900, 100]), {"folds": 3, "seed": 9, "method": "random"}, {"folds": 3, "seed": 9}),
        (numbered(np.arange(1_000)), {}, {"folds": 5}),
        (numbered(np.arange(2_000)), {}, {"test_size": 0.2}),
        (labelled([900, 100], times=np.arange(1_000.0)), {}, {"test_size": 0.2, "method": "time"}),
        (labelled([900, 100], groups=np.arange(1_000) // 9), {}, {"folds": 5, "method": "group"}),
        (labelled([900, 100], groups=np.arange(1_000) % 3), {}, {"folds": 3, "method": "group"}),
        (labelled([900, 4], metric="auc"), {}, {"folds": 4, "method": "stratified"}),
        (labelled([2, 1]), {}, {"folds": 3, "method": "stratified"}),
    ],
)  # fmt: skip
def test_what_is_left_open_is_resolved_by_the_data(dataset: Dataset, choice: dict, resolved: dict):
    assert resolve(SplitChoice(**choice), dataset) == SplitConfig(**resolved)


@pytest.mark.parametrize(
    ("dataset", "choice", "message"),
    [
        (labelled([9, 9], times=np.arange(18.0)), {"folds": 3}, "folds of split method time must be 0: a later"),
        (labelled([9, 9]), {"folds": 3, "test_size": 0.2}, "split.test beside folds must be 0: .* got 0.2"),
        (labelled([9, 9]), {"method": "group"}, "group column of split method group must be named"),
        (labelled([9, 9], groups=np.arange(18) % 3), {"folds": 4}, "folds of 3 groups must be at most 3, got 4"),
        (labelled([2, 1]), {"folds": 4}, "folds of 3 samples must be at most 3, got 4"),
        (labelled([9, 9]), {"method": "own"}, "the validation part of split method own must be brought by the data"),
        (labelled([9, 9], is_valid=np.arange(18) < 3), {"folds": 3}, "folds of split method own must be 0"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(dataset: Dataset, choice: dict, message: str):
    with pytest.raises(ValueError, match=message):
        resolve(SplitChoice(**choice), dataset)


def test_validation_part_that_the_data_bring_is_the_one_that_is_taken():
    dataset = labelled([60, 40], is_valid=np.arange(100) % 10 == 0)
    cut = split(dataset, SplitConfig(method="own", test_size=0.2))
    assert cut.valid.tolist() == list(range(0, 100, 10))
    assert len(cut.test) == 20
    assert not set(cut.test) & set(cut.valid)
    # By class, so that a small folder's classes are all there.
    assert np.bincount(dataset.y[cut.test]).min() >= 7
    assert (len(cut.train), split(dataset, SplitConfig(method="own")).test) == (70, None)


def test_mean_of_early_rows_is_a_bad_guess_of_late_ones():
    drifting = numbered(np.arange(10.0), times=np.arange(10.0))

    found = guesses(drifting, SplitConfig(valid_size=2, test_size=2, method="time"))

    # The mean of 0 to 5 is 2.5: of 6 and 7 it explains 1 - (3.5² + 4.5²) / 0.5, of 8 and 9 1 - (5.5² + 6.5²) / 0.5.
    assert found == pytest.approx({"train": 0.0, "valid": -64.0, "test": -144.0})


def test_guess_weighs_rows_as_training_does_and_is_the_mean_over_folds():
    alike = numbered(np.array([0.0, 4.0] * 20), weights=np.array([3.0, 1.0] * 20), weights_test=None)
    own = numbered(np.array([0.0, 4.0] * 20), y_test=np.array([1.0, 3.0], np.float32), X_test=np.zeros((2, 1)))

    assert guesses(alike, SplitConfig(folds=5, method="stratified")) == pytest.approx({"train": 0.0, "valid": 0.0})
    assert guesses(own, SplitConfig(valid_size=0.5, method="stratified")) == pytest.approx(
        {"train": 0.0, "valid": 0.0, "test": 0.0}
    )


def test_guess_of_classes_is_the_commonest_that_trained_on_each_part():
    own = {"y_test": np.array([0, 1, 2]), "X_test": np.zeros((3, 1))}
    config = SplitConfig(valid_size=0.5, method="stratified")

    assert guesses(labelled([80, 10, 10], **own), config) == pytest.approx({"train": 0.8, "valid": 0.8, "test": 1 / 3})
    # The ninety rows of the first class weigh less than the ten of the other.
    heavy = np.where(labelled([90, 10]).y == 1, 81.0, 1.0)
    assert guesses(labelled([90, 10], weights=heavy), SplitConfig(folds=5, method="stratified")) == pytest.approx(
        {"train": 0.9, "valid": 0.9}
    )
