"""Where the project keeps things on a machine: caches, logs, and the study's storage."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from depthcheck.experiments.addresses import sqlite_address
from depthcheck.experiments.tracking.store import launch_directory, store_directory, tracking_uri

_NAME = "depthcheck"


def data_cache() -> Path:
    """Return the folder for data sets that were fetched."""
    return Path(platformdirs.user_cache_dir(_NAME)) / "data"


def program_cache() -> Path:
    """Return the folder for XLA's compiled programs."""
    return Path(platformdirs.user_cache_dir(_NAME)) / "programs"


def logs() -> Path:
    """Return the folder for what worker processes print."""
    return Path(platformdirs.user_log_dir(_NAME))


def storage_folder(tracking_uri: str) -> Path:
    """Return the folder of ``optuna.db``: beside the tracking database, so that both are found again together.

    Where tracking is a server there is no such place, and a folder of the user's own data stands in, one a server.
    """
    folder = store_directory(tracking_uri)
    if folder is not None:
        return folder
    server = hashlib.sha256(tracking_uri.encode()).hexdigest()[:8]
    return Path(platformdirs.user_data_dir(_NAME)) / server


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a study is: tracking store, Optuna's storage, and the folder of its lock."""

    uri: str
    storage: str
    folder: Path

    @classmethod
    def of(cls, uri: str, storage: str | None) -> Place:
        """Return the place that belongs to a tracking store; its storage is ``optuna.db`` unless another is named."""
        folder = storage_folder(uri)
        return cls(uri=uri, storage=storage or sqlite_address(folder / "optuna.db"), folder=folder)


def least_room(addresses: Iterable[str]) -> str:
    """Return in words where a session that was given some addresses has the least room on a disk."""
    named = filter(None, map(store_directory, addresses))
    folders = [storage_folder(tracking_uri()), *named, launch_directory(), Path(tempfile.gettempdir())]
    free = {folder: shutil.disk_usage(folder).free for folder in folders if folder.is_dir()}
    fullest = min(free, key=lambda folder: free[folder])
    return f"least room is in {fullest}: {free[fullest] // 1024:,} kB"


def require_writable(folder: Path, what: str) -> None:
    """Complain where nothing can be written in a folder, or it cannot be made; nothing is made here."""
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"{what} must be a folder that can be written to, got {folder}")
