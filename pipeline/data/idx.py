"""Read the IDX format of the MNIST family: http://yann.lecun.com/exdb/mnist, "the IDX file format"."""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import require

_UNSIGNED_BYTE = 0x08


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
