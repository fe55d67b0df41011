"""Whether data are the ones that a study was begun with: their SHA-256 is compared wherever they are read again."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from depthcheck.experiments import places
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.load import load, own_files
from depthcheck.pipeline.records import Dataset

#: What changes in a file's entry when its content does, or when another file takes its place.
Stamps = Mapping[Path, tuple[int, int, int, int]]


def require_same(dataset: Dataset, sha256: str, whose: str, advice: str) -> None:
    """Complain about data that are not those expected.

    Parameters
    ----------
    whose
        Whose data they must be: ``study 'mine'``.
    advice
        What the user can do about it.
    """
    if dataset.sha256 != sha256:
        raise ValueError(
            f"data must be those of {whose}, {dataset.name} with SHA-256 {sha256}, "
            f"got {dataset.sha256} ({dataset.source}): {advice}"
        )


def load_again(config: DataConfig, folder: Path | None, sha256: str) -> Dataset:
    """Return data that were read before, and must not have changed since.

    Raises
    ------
    RuntimeError
        When they have changed, or cannot be read any more: no configuration of a trial is to blame for that.
    """
    try:
        # A worker: the session has looked at the size, and by now other workers take their share of the memory.
        dataset = load(config, folder=folder, cache=places.data_cache(), looks_at_size=False)
    except Exception as error:  # whatever a file that is half written makes of its reader
        raise RuntimeError(f"cannot read the data {config.name} again ({type(error).__name__}: {error})") from error
    try:
        require_same(dataset, sha256, "the study", "put them back as they were")
    except ValueError as error:
        raise RuntimeError(str(error)) from error
    return dataset


def stamps(config: DataConfig, folder: Path | None) -> Stamps:
    """Return what a look at the files of a user's own data tells without reading them; nothing for known data."""
    found = {}
    for file in own_files(config, folder):
        with contextlib.suppress(OSError):
            status = file.stat()
            found[file] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def changed_since(before: Stamps, dataset: Dataset, config: DataConfig, folder: Path | None) -> str | None:
    """Return the warning that a user's files are no longer those that were read, or None where they are.

    Read again are files alone that seem to have been written: a study may have taken hours, and its data gigabytes.
    """
    if stamps(config, folder) == before:
        return None
    try:
        load_again(config, folder, dataset.sha256)
    except RuntimeError as error:
        return f"warning: the files of the data were written while the study ran; {error}"
    return None
