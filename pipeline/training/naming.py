"""Names of what TensorFlow traces, the same in every process: XLA's cache on disk finds a program by its names, too.

TensorFlow puts a number behind each, that of the things which the process has made so far. A second worker, whose
trials come in another order, would find none of the programs that the first has compiled.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from tensorflow.python.framework import ops

#: The numbers to come of each kind of thing. None comes twice: TensorFlow takes functions of one name for one.
_numbers: dict[int, Iterator[int]] = {}


@contextmanager
def named_alike(what: str) -> Iterator[None]:
    """Let what is traced inside have numbers of ``what``, which tells it from all else, not of the process's past."""
    kind, own = zlib.crc32(what.encode()), ops.uid
    numbers = _numbers.setdefault(kind, itertools.count(kind << 30))
    ops.uid = lambda: next(numbers)
    try:
        yield
    finally:
        ops.uid = own
