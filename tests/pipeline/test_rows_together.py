"""Groups and blocks of time of the rows that judge."""

import numpy as np
import pytest

from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.prepare.prepare import out_of_fold
from depthcheck.pipeline.prepare.split import folds, split, units_of
from depthcheck.pipeline.records import Dataset, Predictions

N = 100


@pytest.fixture
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset(
        name="made", sha256="0" * 64, source="here", X=rng.normal(size=(N, 2)), y=np.arange(N) % 2,
        class_names=("a", "b"), feature_names=("x", "z"), groups=np.arange(N) // 5, times=rng.permutation(N) + 0.0,
    )  # fmt: skip


def test_groups_are_those_of_the_test_rows(dataset):
    config = SplitConfig(valid_size=0.2, test_size=0.2, method="group")
    rows = split(dataset, config).test
    assert (units_of(dataset, rows, config) == rows // 5).all()


def test_blocks_of_time_are_consecutive_and_of_one_size(dataset):
    config = SplitConfig(valid_size=0.2, test_size=0.4, method="time")
    rows = split(dataset, config).test
    unit = units_of(dataset, rows[::-1], config)
    assert np.bincount(unit).tolist() == [2] * 20
    assert (np.diff(unit[np.argsort(dataset.times[rows[::-1]])]) >= 0).all()
    assert units_of(dataset, rows[:7], config).tolist() == sorted(set(units_of(dataset, rows[:7], config)))


@pytest.mark.parametrize(("method", "rows"), [("random", np.arange(5)), ("stratified", np.arange(5)), ("group", None)])
def test_others_have_none(dataset, method, rows):
    assert units_of(dataset, rows, SplitConfig(method=method)) is None


def test_folds_of_groups_tell_the_group_of_every_row(dataset):
    def together(method):
        cuts = folds(dataset, SplitConfig(folds=4, method=method))
        each = [
            Predictions(y=of.valid, predicted=of.valid, probability=np.zeros(len(of.valid), np.float32)) for of in cuts
        ]
        return out_of_fold(each, cuts, dataset)

    said = together("group")
    assert (said.unit == dataset.groups).all()
    assert all(len(np.unique(said.fold[said.unit == group])) == 1 for group in range(N // 5))
    assert together("random").unit is None
