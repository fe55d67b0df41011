"""Groups and blocks of time of the rows that judge."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.data.tables import table_dataset
from depthcheck.pipeline.prepare.prepare import out_of_fold
from depthcheck.pipeline.prepare.split import folds, split, units_of
from depthcheck.pipeline.records import Dataset, Predictions

N = 100


@pytest.fixture
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset(
        name="made", sha256="0" * 64, source="here", X=rng.normal(size=(N, 2)), y=np.arange(N) % 2,
        class_names=("a", "b"), groups=np.arange(N) // 5, times=rng.permutation(N) + 0.0,
    )  # fmt: skip


def test_groups_are_those_of_the_test_rows(dataset):
    config = SplitConfig(valid_size=0.2, test_size=0.2, method="group")
    rows = split(dataset, config).test
    assert (units_of(dataset, rows, config) == rows // 5).all()


def test_blocks_of_time_are_consecutive_and_of_one_size(dataset):
    config = SplitConfig(valid_size=0.2, test_size=0.4, method="time")
    dataset = replace(dataset, groups=None)
    rows = split(dataset, config).test
    unit = units_of(dataset, rows[::-1], config)
    assert np.bincount(unit).tolist() == [2] * 20
    assert (np.diff(unit[np.argsort(dataset.times[rows[::-1]])]) >= 0).all()
    assert units_of(dataset, rows[:7], config).tolist() == sorted(set(units_of(dataset, rows[:7], config)))


def test_groups_count_however_the_data_are_cut_and_times_where_they_are_cut_by_them(dataset):
    rows, timed = np.arange(5), replace(dataset, groups=None)
    assert (units_of(dataset, rows, SplitConfig(method="stratified")) == rows // 5).all()
    assert units_of(timed, rows, SplitConfig(method="random")) is None
    assert units_of(dataset, None, SplitConfig(method="group")) is None


@pytest.mark.parametrize("role", ["group", "time"])
@pytest.mark.parametrize("is_file", [True, False])
def test_test_part_of_its_own_has_units(role, is_file):
    said: list[str] = []
    frame = pd.DataFrame({"x": np.arange(60) ** 0.5, "who": np.arange(60) // 6, "y": ["a", "b", "c"] * 20})
    frame["test"] = frame.index >= 33
    train, test = frame[~frame["test"]], frame[frame["test"]].astype({"who": float})
    test.loc[40, "y"] = frame.loc[40, "y"] = None
    config = DataConfig(name="t", target="y", test_column=None if is_file else "test", **{role: "who"})
    table = train.drop(columns="test") if is_file else frame
    whole = table_dataset(table, config, name="t", source="", test=test if is_file else None, log=said.append)
    expected = np.delete(np.arange(33, 60), 40 - 33) // 6
    if role == "group":
        assert (units_of(whole, None, SplitConfig(method="group")) == expected).all()
        assert "group 'who': 1 of 5 groups of the test part have rows that train, too" in said
    else:
        assert whole.times_test.tolist() == expected.tolist()
        assert len(units_of(whole, None, SplitConfig(method="time"))) == 26


def test_test_file_without_the_groups_is_said():
    said: list[str] = []
    frame = pd.DataFrame({"x": np.arange(20) ** 0.5, "who": np.arange(20) // 4, "y": ["a", "b"] * 10})
    config = DataConfig(name="t", target="y", group="who")
    dataset = table_dataset(frame, config, name="t", source="", test=frame.drop(columns="who"), log=said.append)
    assert dataset.groups_test is None
    assert "test file: there is no 'who', so that each of its rows counts as a draw of its own" in said


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
    assert (together("random").unit == dataset.groups).all()
