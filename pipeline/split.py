"""Cut a data set into the samples that train and those that validate, before anything is fitted or scaled."""

from __future__ import annotations

import math

import numpy as np

from pipeline.config import SplitChoice, SplitConfig, require
from pipeline.records import Cut, Dataset

#: Below this number of samples one validation part is too small to tell networks apart, and folds take its place.
SMALL = 2_000
_FOLDS = 5
_TEST_SIZE = 0.2


def settle(choice: SplitChoice, dataset: Dataset) -> SplitConfig:
    """Return how a data set is cut, where the definition leaves it open.

    The method follows the columns that the data name: groups, times, else by class; pictures are drawn at random. A
    test part is set aside where the data bring none, unless there are so few samples (under :data:`SMALL`) that
    cross-validation takes the place of both parts.
    """
    own_test = dataset.y_test is not None
    method = choice.method
    if method is None:
        if dataset.groups is not None or dataset.times is not None:
            method = "group" if dataset.groups is not None else "time"
        else:
            stratify = dataset.task == "classification" and dataset.pixel_max is None
            method = "stratified" if stratify else "random"
    folds = choice.folds
    if folds is None:
        folds = 0 if own_test or method == "time" or choice.test_size or len(dataset.y) >= SMALL else _FOLDS
    test_size = choice.test_size
    if test_size is None:
        test_size = 0 if own_test or folds else _TEST_SIZE
    return SplitConfig(
        valid_size=choice.valid_size,
        test_size=0 if own_test else test_size,
        seed=choice.seed,
        method=method,
        folds=folds,
    )


def part_sizes(dataset: Dataset, config: SplitConfig) -> dict[str, int]:
    """Return how many samples train, validate and test; with folds, how many a fold trains and holds out."""
    cut = split(dataset, config)
    n_test = len(dataset.y_test) if dataset.y_test is not None else 0 if cut.test is None else len(cut.test)
    return {"train": len(cut.train), "valid": len(cut.valid), "test": n_test}


def split(dataset: Dataset, config: SplitConfig) -> Cut:
    """Draw the validation part at random, by scikit-learn's ``train_test_split``, unstratified.

    Only positions are drawn, no sample is copied: scaling can then write each part once, in its final form. The
    official test part of the data set stays as it is.

    Parameters
    ----------
    dataset
        At least 2 samples.
    config
        Share of the validation part (rounded up to whole samples) and seed of the draw.

    Raises
    ------
    ValueError
        When a part would be left without a sample.
    """
    from sklearn.model_selection import train_test_split

    n_samples = len(dataset.X)
    n_valid = math.ceil(config.valid_size * n_samples)
    require(
        n_valid < n_samples,
        f"valid_size of {n_samples} samples",
        "small enough to leave one for training",
        config.valid_size,
    )
    train, valid = train_test_split(np.arange(n_samples), test_size=config.valid_size, random_state=config.seed)
    return Cut(train=train, valid=valid, config=config)
