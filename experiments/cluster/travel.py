"""How data reach workers on other machines: as they were loaded, in chunks, into a file that is kept there.

A data set is pickled with its arrays set apart, each at a multiple of 64 bytes, so that all processes of a machine map
one file instead of holding copies. Its name is its SHA-256, which is looked at before anything of it is used.

Data that are read again, here or there, must be those that a study was begun with: their own SHA-256 tells.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import pickle
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from depthcheck.experiments import places
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.load import load, own_files
from depthcheck.pipeline.records import Dataset

#: Bytes that are sent at once, or up to twice as many.
CHUNK = 4 * 2**20
_ALIGNED = 64
#: What no study has asked for as long as this makes room for what comes.
_KEPT_SECONDS = 30 * 24 * 3600
#: A part that has not grown for so long is that of a session that was killed.
_PART_SECONDS = 3600
#: What changes in a file's entry when its content does, or when another file takes its place.
Stamps = Mapping[Path, tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What is known beforehand of a data set that is on its way.

    Attributes
    ----------
    sha256
        Of all its bytes.
    sizes
        Of its arrays, then of the pickle that they belong to.
    sender
        The session: two may send the same data to one worker at once.
    """

    sha256: str
    sizes: tuple[int, ...]
    sender: str

    @property
    def n_bytes(self) -> int:
        """Of all, with what fills up each array's last 64."""
        return sum(size + -size % _ALIGNED for size in self.sizes)

    @property
    def path(self) -> Path:
        """Where it is kept on this machine."""
        return places.data_cache() / "sent" / self.sha256


def packed(dataset: Dataset) -> tuple[Parcel, list[memoryview]]:
    """Return the parcel of a data set, and the parts that it is sent in; no array is copied."""
    arrays: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(dataset, protocol=5, buffer_callback=arrays.append)
    parts = [array.raw() for array in arrays] + [memoryview(rest)]
    sha256 = hashlib.sha256()
    for chunk in chunks(parts):
        sha256.update(chunk)
    sizes = tuple(part.nbytes for part in parts)
    return Parcel(sha256=sha256.hexdigest(), sizes=sizes, sender=secrets.token_hex(4)), parts


def chunks(parts: Sequence[memoryview]) -> Iterator[bytes]:
    """Yield the bytes of a parcel, some MiB at a time."""
    chunk = bytearray()
    for part in parts:
        for start in range(0, part.nbytes, CHUNK):
            chunk += part[start : start + CHUNK]
            if len(chunk) >= CHUNK:
                yield bytes(chunk)
                chunk.clear()
        chunk += bytes(-part.nbytes % _ALIGNED)
    if chunk:
        yield bytes(chunk)


def keep(parcel: Parcel, offset: int, chunk: bytes) -> None:
    """Write a chunk where it belongs, chunk after chunk; with the last one the file gets its name."""
    path = parcel.path
    # Other machines may share the folder.
    part = path.with_name(f"{parcel.sha256}-{parcel.sender}-{socket.gethostname()}-{os.getpid()}")
    if not offset:
        for old in path.parent.iterdir():
            with contextlib.suppress(OSError):  # another process clears up, too
                if old.stat().st_mtime < time.time() - (_PART_SECONDS if "-" in old.name else _KEPT_SECONDS):
                    old.unlink()
    try:
        with part.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(chunk)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    if offset + len(chunk) == parcel.n_bytes:
        part.replace(path)


def arrived(parcel: Parcel) -> mmap.mmap | None:
    """Return the parcel's file, mapped, or None where it is not there as it was sent."""
    with contextlib.suppress(FileNotFoundError), parcel.path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == parcel.n_bytes:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if hashlib.sha256(mapped).hexdigest() == parcel.sha256:
                with contextlib.suppress(OSError):  # a folder that is only read is no reason to send it again
                    os.utime(parcel.path)
                return mapped
    return None


def unpacked(parcel: Parcel, mapped: mmap.mmap) -> Dataset:
    """Return the data set that was sent; its arrays lie in the file, and cannot be written to."""
    parts, start, whole = [], 0, memoryview(mapped)
    for size in parcel.sizes:
        parts.append(whole[start : start + size])
        start += size + -size % _ALIGNED
    *arrays, rest = parts
    dataset: Dataset = pickle.loads(rest, buffers=arrays)
    return dataset


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
