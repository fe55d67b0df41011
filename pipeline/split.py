"""Cut a data set into the samples that train and those that validate, before anything is fitted or scaled."""

from __future__ import annotations

import math

import numpy as np

from pipeline.config import SplitConfig, require
from pipeline.records import Cut, Dataset


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
