"""The data that scikit-learn has or fetches: pictures of digits, tables, and those of OpenML by number or name."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import numpy as np

from depthcheck.pipeline.config import DataConfig, require
from depthcheck.pipeline.data.arrays import known_pictures
from depthcheck.pipeline.data.cells import listed
from depthcheck.pipeline.data.fetch import DataNotFoundError
from depthcheck.pipeline.records import Dataset

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("iris", "wine", "breast-cancer", "diabetes", "california-housing")
OPENML = "openml:"
_SILENCE_SECONDS = 20


def load_digits(config: DataConfig, _folder: Path | None, _cache: Path, log: Callable[[str], None]) -> Dataset:
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
    arrays = X, y, X_test, y_test
    return known_pictures(config, "scikit-learn", arrays, class_names=class_names, pixel_max=16, log=log)


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
        frame, target = _california_housing(cache / "scikit-learn", log), "MedHouseVal"
        source = "scikit-learn's download"
    else:
        bunch = getattr(datasets, f"load_{config.name.replace('-', '_')}")(as_frame=True)
        frame, target, source = bunch.frame, "target", "scikit-learn"
        if "target_names" in bunch:
            frame = frame.assign(target=np.asarray(bunch.target_names).astype(str)[bunch.target])
    return frame, config if config.target is not None else replace(config, target=target), source


def read_openml(config: DataConfig, cache: Path, log: Callable[[str], None]) -> tuple[pd.DataFrame, DataConfig, str]:
    """Return a table of OpenML, the configuration with its target in it, and the words for its source.

    What was fetched once is kept below ``cache``, and read from there without a network. Files of tables are held
    against the MD5 that OpenML gives.

    Raises
    ------
    DataNotFoundError
        When OpenML cannot be asked.
    ValueError
        When OpenML does not know it, or it is no table with one target.
    """
    wanted = config.name.removeprefix(OPENML).strip()
    require(bool(wanted), "data", "openml:<number or name>", config.name)
    bunch = _fetch_openml(wanted, config.name, cache / "scikit-learn", log)
    details, targets = bunch.details, bunch.target_names
    if config.target is None:
        require(len(targets) == 1, "target", f"named: {config.name} has {len(targets)} of its own", listed(targets))
        config = replace(config, target=targets[0])
    frame = bunch.frame.copy(deep=False)
    for column in frame.select_dtypes("category"):
        frame[column] = frame[column].astype("str")
    return frame, config, f"OpenML {details['id']}, {details['name']} version {details['version']}"


def _california_housing(home: Path, log: Callable[[str], None]) -> pd.DataFrame:
    from sklearn.datasets import fetch_california_housing

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


def _fetch_openml(wanted: str, name: str, home: Path, log: Callable[[str], None]) -> Any:
    from sklearn.datasets import fetch_openml

    which: dict[str, Any] = {"data_id": int(wanted)} if wanted.isdigit() else {"name": wanted}
    try:
        with _bounded_silence(), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            bunch = fetch_openml(**which, data_home=home, as_frame=True, parser="pandas", n_retries=1)
    except HTTPError as trouble:
        raise DataNotFoundError(f"{name}: OpenML answered {trouble.code} {trouble.reason}") from None
    except OSError as trouble:
        raise DataNotFoundError(f"{name} is not in {home}, and OpenML could not be asked: {trouble}") from None
    except (ValueError, KeyError) as trouble:
        raise ValueError(f"data must be a table that OpenML knows, got {name!r}: {trouble}") from None
    for warning in told:
        if issubclass(warning.category, UserWarning):
            log(f"{name}: {' '.join(str(warning.message).split())}")
    return bunch


@contextmanager
def _bounded_silence() -> Iterator[None]:
    """Let a server that says nothing end the attempt: scikit-learn itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
