"""Read the IDX files of MNIST and its kin, and a user's folder of them: pictures and labels, of training and of test.

The format: http://yann.lecun.com/exdb/mnist, "the IDX file format".
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import require
from depthcheck.pipeline.data.arrays import OwnArrays

_UNSIGNED_BYTE = 0x08
#: ``train-images-idx3-ubyte``, ``t10k-labels.idx1-ubyte.gz``, ``emnist-letters-test-images-idx3-ubyte``.
_NAME = re.compile(r"(?:.*-)?(?P<part>train|t10k|test)-(?P<what>images|labels)[-.]idx\d-ubyte(?:\.gz)?")


def find_idx_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Return the IDX files of a folder by part (``train``, ``test``) and content (``images``, ``labels``)."""
    found = {}
    for path in sorted(folder.iterdir(), reverse=True):  # a plain file before its packed form
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            found["train" if match["part"] == "train" else "test", match["what"]] = path
    return found


def read_idx_folder(folder: Path, _log: Callable[[str], None]) -> OwnArrays:
    """Return the pictures of a folder; without the two files of the test part there is none.

    Raises
    ------
    ValueError
        Naming the file that is missing or damaged.
    """
    files = find_idx_files(folder)
    parts = ["train", "test"] if any(part == "test" for part, _ in files) else ["train"]
    for part in parts:
        for what in ("images", "labels"):
            if (part, what) not in files:
                there = ", ".join(sorted(path.name for path in files.values()))
                raise ValueError(f"{folder} must have {part}-{what} beside {there}, got no such IDX file")
    arrays = {key: _read(path) for key, path in files.items()}
    samples, *test = [(arrays[part, "images"], arrays[part, "labels"].astype(np.int64)) for part in parts]
    return samples, test[0] if test else None, None


def _read(path: Path) -> NDArray[Any]:
    try:
        data = path.read_bytes()
        return parse_idx(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as trouble:
        raise ValueError(f"{path.name} is damaged: {trouble}") from None
    except ValueError as trouble:
        raise ValueError(f"{path.name}: {trouble}") from None


def parse_idx(data: bytes) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes that an uncompressed IDX file holds.

    Parameters
    ----------
    data
        The whole file: two zero bytes, the type's code, the number of dimensions, each size as a big-endian 32-bit
        integer, then the values.

    Returns
    -------
    ndarray
        uint8, read-only, of the shape that the header says; it shares the memory of ``data``.

    Raises
    ------
    ValueError
        When the header is another format's or the length does not match it.
    """
    require(data[:2] == b"\0\0" and len(data) >= 4, "an IDX file's first bytes", "0 0", data[:2])
    require(data[2] == _UNSIGNED_BYTE, "an IDX file's type", f"unsigned byte ({_UNSIGNED_BYTE})", data[2])
    n_dimensions = data[3]
    n_header = 4 + 4 * n_dimensions
    require(len(data) >= n_header, "an IDX file's header", f"{n_header} bytes", len(data))
    shape = struct.unpack(f">{n_dimensions}I", data[4:n_header])
    n_bytes = n_header + math.prod(shape)
    require(len(data) == n_bytes, f"length of an IDX file of shape {shape}", f"{n_bytes} bytes", len(data))
    return np.frombuffer(data, np.uint8, offset=n_header).reshape(shape)
