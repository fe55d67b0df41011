"""Tables of OpenML, by number or name, through scikit-learn."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

from depthcheck.pipeline.config import DataConfig, require
from depthcheck.pipeline.data.columns import listed
from depthcheck.pipeline.data.fetch import DataNotFoundError

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "openml:"
_SILENCE_SECONDS = 20


def read_table(config: DataConfig, cache: Path, log: Callable[[str], None]) -> tuple[pd.DataFrame, DataConfig, str]:
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
    wanted = config.name.removeprefix(PREFIX).strip()
    require(bool(wanted), "data", "openml:<number or name>", config.name)
    bunch = _fetch(wanted, config, cache / "scikit-learn", log)
    details = bunch.details
    if config.target is None:
        require(
            len(bunch.target_names) == 1,
            "target",
            f"named: {config.name} has {len(bunch.target_names)} of its own",
            listed(bunch.target_names),
        )
        config = replace(config, target=bunch.target_names[0])
    frame = bunch.frame.copy(deep=False)
    for column in frame.select_dtypes("category"):
        frame[column] = frame[column].astype("str")
    return frame, config, f"OpenML {details['id']}, {details['name']} version {details['version']}"


def _fetch(wanted: str, config: DataConfig, home: Path, log: Callable[[str], None]) -> Any:
    from sklearn.datasets import fetch_openml

    which: dict[str, Any] = {"data_id": int(wanted)} if wanted.isdigit() else {"name": wanted}
    try:
        with _bounded_silence(), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            bunch = fetch_openml(**which, data_home=home, as_frame=True, parser="pandas", n_retries=1)
    except HTTPError as trouble:
        raise DataNotFoundError(f"{config.name}: OpenML answered {trouble.code} {trouble.reason}") from None
    except OSError as trouble:
        raise DataNotFoundError(f"{config.name} is not in {home}, and OpenML could not be asked: {trouble}") from None
    except (ValueError, KeyError) as trouble:
        raise ValueError(f"data must be a table that OpenML knows, got {config.name!r}: {trouble}") from None
    for warning in told:
        if issubclass(warning.category, UserWarning):
            log(f"{config.name}: {' '.join(str(warning.message).split())}")
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
