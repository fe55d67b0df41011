"""Locked databases, and small disks that a test mounts; where only root may, in a namespace of the test's own."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.folder import ROOT

_NAMESPACE = ["unshare", "--map-root-user", "--mount"]


def needs_mounts(test: Callable[..., None]) -> Callable[..., None]:
    """Run the test as it is where it may mount, else by a pytest of its own that may, else skip it."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        if may_mount():
            test(*args, **kwargs)
            return
        if not _succeeds(*_NAMESPACE, "true"):
            pytest.skip("to mount a small disk takes root or user namespaces")
        name = os.environ["PYTEST_CURRENT_TEST"].split(" ")[0]
        command = [*_NAMESPACE, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name]
        done = subprocess.run(
            command, check=False, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, done.stdout

    return run


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """Mount an empty disk of that size on the folder."""
    folder.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Make the file, or the folder and all that is on its disk, read-only."""
    _mount("--bind", str(path), str(path))
    try:
        _mount("-o", "remount,bind,ro", str(path))
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(folder: Path) -> Path:
    """Fill the disk to its last byte; return the file that does."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return ballast


@contextlib.contextmanager
def locked(*databases: Path) -> Iterator[None]:
    """Keep everybody else from reading and writing the databases."""
    with contextlib.ExitStack() as stack:
        for database in databases:
            connection = stack.enter_context(
                contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=60))
            )
            connection.execute("BEGIN EXCLUSIVE")
        yield


def may_mount() -> bool:
    """Tell whether this process may mount small disks."""
    with tempfile.TemporaryDirectory() as folder:
        if not _succeeds("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder):
            return False
        return _succeeds("umount", folder)


def _succeeds(*command: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    return False


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)
