import hashlib

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from pipeline.config import SplitConfig
from pipeline.records import Cut, Dataset
from pipeline.split import split


def dataset_of(n_samples: int) -> Dataset:
    return Dataset(
        name="counted",
        sha256="0" * 64,
        source="made here",
        X=np.arange(n_samples, dtype=np.uint8).reshape(n_samples, 1),
        y=np.zeros(n_samples, np.int64),
        class_names=("only",),
    )


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
    with pytest.raises(ValueError, match=r"valid_size of 2 samples must be small enough .* got 0.9"):
        split(dataset_of(2), SplitConfig(valid_size=0.9))


def test_cut_with_a_sample_in_both_parts_is_refused():
    with pytest.raises(ValueError, match="number of samples that two parts share must be 0, got 1"):
        Cut(train=np.array([0, 1]), valid=np.array([1, 2]), config=SplitConfig())
