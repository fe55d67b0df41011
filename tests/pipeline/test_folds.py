"""Folds hold every sample out once, keep groups and classes together, and what they say is put together by row."""

import numpy as np
import pytest

from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.prepare.prepare import out_of_fold, prepared, whole
from depthcheck.pipeline.prepare.split import folds, part_sizes
from depthcheck.pipeline.records import Dataset, Predictions

N = 103


def dataset_of(task: str = "classification", n_classes: int = 3, **more) -> Dataset:
    rng = np.random.default_rng(0)
    X = rng.normal(3, 5, (N, 2))
    y = rng.normal(size=N).astype(np.float32) if task == "regression" else rng.integers(0, n_classes, N)
    names = () if task == "regression" else tuple("abc"[:n_classes])
    more = {"metric": "r2" if task == "regression" else "accuracy", "groups": np.arange(N) // 6} | more
    return Dataset(
        name="made", sha256="0" * 64, source="here", X=X, y=more.pop("y", y), class_names=names, task=task,
        **more,
    )  # fmt: skip


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("method", ["random", "stratified", "group"])
@pytest.mark.parametrize("k", [2, 5])
def test_folds_hold_every_row_out_exactly_once(task: str, method: str, k: int):
    cuts = folds(dataset_of(task), SplitConfig(folds=k, method=method))
    assert len(cuts) == k
    assert sorted(np.concatenate([cut.valid for cut in cuts])) == list(range(N))
    for cut in cuts:
        assert sorted([*cut.train, *cut.valid]) == list(range(N))
        assert cut.test is None


@pytest.mark.parametrize("method", ["random", "stratified", "group"])
def test_repeats_and_seeds_are_other_partitions_and_the_same_ones_alike(method: str):
    def held_out(**config: int) -> tuple[frozenset[int], ...]:
        cuts = folds(dataset_of(), SplitConfig(folds=4, method=method, **config))
        return tuple(frozenset(cut.valid.tolist()) for cut in cuts)

    configs = [{}, {"repeat": 1}, {"repeat": 2}, {"seed": 1}, {"seed": 1, "repeat": 1}]
    assert len({held_out(**config) for config in configs}) == len(configs)
    assert held_out(repeat=2) == held_out(repeat=2)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("repeat", range(3))
def test_no_group_is_in_two_folds(task: str, repeat: int):
    dataset = dataset_of(task)
    for cut in folds(dataset, SplitConfig(folds=5, method="group", repeat=repeat)):
        assert not set(dataset.groups[cut.train]) & set(dataset.groups[cut.valid])


def test_stratified_folds_share_a_rare_class_out():
    y = np.zeros(N, np.int64)
    y[:5], y[5:25] = 2, 1
    for cut in folds(dataset_of(y=y), SplitConfig(folds=5, method="stratified")):
        np.testing.assert_array_equal(np.bincount(y[cut.valid])[1:], [4, 1])


def test_stratified_folds_share_quantiles_of_a_number_out():
    dataset = dataset_of("regression")
    for cut in folds(dataset, SplitConfig(folds=5, method="stratified")):
        assert np.mean(dataset.y[cut.valid] > np.median(dataset.y)) == pytest.approx(0.5, abs=0.05)


def test_class_with_fewer_rows_than_folds_is_held_out_all_the_same():
    y = np.zeros(N, np.int64)
    y[7] = 1
    cuts = folds(dataset_of(n_classes=2, y=y), SplitConfig(folds=5, method="stratified"))
    assert sum(7 in cut.valid for cut in cuts) == 1


def test_classes_that_are_all_smaller_than_the_number_of_folds_are_drawn_at_random():
    y = np.array([0, 0, 1, 1, 2, 2])
    dataset = Dataset(name="made", sha256="0" * 64, source="here", X=np.zeros((6, 1)), y=y, class_names=("a", "b", "c"))
    cuts = folds(dataset, SplitConfig(folds=4, method="stratified"))
    assert sorted(np.concatenate([cut.valid for cut in cuts])) == list(range(6))


def test_fold_without_one_of_two_classes_is_refused_for_auc_and_the_rarer_class_named():
    y = np.zeros(N, np.int64)
    y[:3] = 1
    dataset = dataset_of(n_classes=2, metric="auc", y=y)
    with pytest.raises(ValueError, match=r"of fold \d must be 2 for auc, got 'a' alone \('b' has 3 of 103 samples\)"):
        folds(dataset, SplitConfig(folds=5, method="stratified"))
    assert len(folds(dataset, SplitConfig(folds=3, method="stratified"))) == 3


def test_few_groups_leave_no_fold_empty():
    groups = np.repeat([0, 1, 2], [95, 4, 4])
    cuts = folds(dataset_of(groups=groups), SplitConfig(folds=3, method="group"))
    assert sorted(len(cut.valid) for cut in cuts) == [4, 4, 95]


def test_sizes_of_folds_are_those_of_the_first():
    assert part_sizes(dataset_of(), SplitConfig(folds=5)) == {"train": 82, "valid": 21, "test": 0}


def test_each_fold_is_prepared_by_what_trains_there_alone():
    dataset = dataset_of()
    for fold in prepared(dataset, SplitConfig(folds=3)):
        np.testing.assert_allclose(fold.split.train.X.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(fold.split.train.X.std(axis=0), 1, atol=1e-6)
        np.testing.assert_allclose(fold.split.valid.X, fold.preparation.transform(dataset.X[fold.cut.valid]), atol=1e-6)
        np.testing.assert_array_equal(fold.split.train.y, dataset.y[fold.cut.train])
        assert (fold.split.task, fold.split.metric) == ("classification", "accuracy")


def test_folds_hold_no_test_part_and_a_single_split_does():
    dataset = dataset_of(X_test=np.zeros((3, 2)), y_test=np.zeros(3, np.int64))
    assert all(fold.split.test is None for fold in prepared(dataset, SplitConfig(folds=3)))
    (only,) = prepared(dataset, SplitConfig())
    assert only.split.test is not None


def test_test_part_that_the_cut_sets_aside_is_prepared():
    dataset = dataset_of("regression")
    (only,) = prepared(dataset, SplitConfig(test_size=0.2))
    assert only.split.test is not None
    np.testing.assert_array_equal(only.split.test.y, dataset.y[only.cut.test])
    assert only.split.task == "regression"


def test_what_was_prepared_last_is_kept_for_the_next_trial():
    dataset, config = dataset_of(), SplitConfig(folds=3)
    assert prepared(dataset, config) is prepared(dataset, SplitConfig(folds=3))
    assert prepared(dataset, SplitConfig(folds=3, repeat=1)) is not prepared(dataset, config)


def test_whole_data_set_trains_when_nothing_is_held_out():
    dataset = dataset_of("regression")
    data = whole(dataset, SplitConfig(folds=3))
    np.testing.assert_array_equal(data.split.train.y, dataset.y)
    assert len(data.split.valid) == 0


def test_predictions_out_of_fold_stand_in_the_order_of_rows():
    dataset = dataset_of(n_classes=2)
    cuts = folds(dataset, SplitConfig(folds=3))

    def said(rows: np.ndarray) -> Predictions:
        column = rows.astype(np.float32)
        return Predictions(y=dataset.y[rows], predicted=rows, probability=column, positive=-column)

    together = out_of_fold([said(cut.valid) for cut in cuts], cuts, dataset)
    np.testing.assert_array_equal(together.y, dataset.y)
    np.testing.assert_array_equal(together.predicted, np.arange(N))
    np.testing.assert_array_equal(together.probability, np.arange(N))
    np.testing.assert_array_equal(together.positive, -np.arange(N))
    for number, cut in enumerate(cuts):
        assert set(together.fold[cut.valid]) == {number}
