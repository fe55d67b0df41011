"""The data sets that scikit-learn has or fetches: pictures of digits, and tables."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.arrays import known_pictures
from depthcheck.pipeline.data.fetch import DataNotFoundError
from depthcheck.pipeline.records import Dataset

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("iris", "wine", "breast-cancer", "diabetes", "california-housing")


def load_digits(config: DataConfig, _folder: Path | None, _cache: Path, _log: Callable[[str], None]) -> Dataset:
    """Return scikit-learn's 1,797 digits of 8 x 8 pixels, 0 to 16.

    They have no official test part: a fifth is set aside here, stratified, by one fixed seed that no study can
    change, so that every study keeps its hands off the same samples.
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    digits = datasets.load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target
    X, X_test, y, y_test = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    class_names = tuple(str(label) for label in digits.target_names)
    return known_pictures(config, "scikit-learn", (X, y, X_test, y_test), class_names=class_names, pixel_max=16)


def read_table(config: DataConfig, cache: Path, log: Callable[[str], None]) -> tuple[pd.DataFrame, DataConfig, str]:
    """Return one of :data:`TABLES`, the configuration with its target in it, and the words for its source.

    Classes are written as their names; the target's column is called ``target``, of the houses ``MedHouseVal``.

    Raises
    ------
    DataNotFoundError
        When it would have to be fetched and cannot be.
    """
    from sklearn import datasets

    if config.name == "california-housing":
        frame, target, source = _california_housing(cache, log), "MedHouseVal", "scikit-learn's download"
    else:
        bunch = getattr(datasets, f"load_{config.name.replace('-', '_')}")(as_frame=True)
        frame, target, source = bunch.frame, "target", "scikit-learn"
        if "target_names" in bunch:
            frame = frame.assign(target=np.asarray(bunch.target_names).astype(str)[bunch.target])
    config = config if config.target is not None else replace(config, target=target)
    return frame, config, source


def _california_housing(cache: Path, log: Callable[[str], None]) -> pd.DataFrame:
    from sklearn.datasets import fetch_california_housing

    home = cache / "scikit-learn"
    if not any(home.glob("cal_housing*")):
        log("california-housing: not on this machine; asking scikit-learn to download it (2 MB)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of scikit-learn's own attempts: their end tells
            frame: pd.DataFrame = fetch_california_housing(data_home=home, as_frame=True, n_retries=1).frame
    except OSError as trouble:
        raise DataNotFoundError(
            f"california-housing is not in {home}, and scikit-learn could not download it: {trouble}"
        ) from None
    return frame
