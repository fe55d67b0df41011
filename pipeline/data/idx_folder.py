"""Read a user's folder of IDX files, as those of MNIST and its kin: pictures and labels, of training and of test."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.arrays import array_dataset
from depthcheck.pipeline.data.guess import refuse_columns
from depthcheck.pipeline.data.idx import parse_idx
from depthcheck.pipeline.records import Dataset

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


def load_idx_folder(config: DataConfig, folder: Path) -> Dataset:
    """Return the pictures of a folder; without the two files of the test part there is none.

    Raises
    ------
    ValueError
        Naming the file that is missing or damaged.
    """
    refuse_columns(config, folder.name)
    files = find_idx_files(folder)
    parts = ["train", "test"] if any(part == "test" for part, _ in files) else ["train"]
    for part in parts:
        for what in ("images", "labels"):
            if (part, what) not in files:
                there = ", ".join(sorted(path.name for path in files.values()))
                raise ValueError(f"{folder} must have {part}-{what} beside {there}, got no such IDX file")
    arrays = {key: _read(path) for key, path in files.items()}
    samples, *test = [(arrays[part, "images"], arrays[part, "labels"].astype(np.int64)) for part in parts]
    return array_dataset(
        config, name=folder.name, source=f"folder {folder}", samples=samples, test=test[0] if test else None
    )


def _read(path: Path) -> NDArray[Any]:
    try:
        data = path.read_bytes()
        return parse_idx(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as trouble:
        raise ValueError(f"{path.name} is damaged: {trouble}") from None
    except ValueError as trouble:
        raise ValueError(f"{path.name}: {trouble}") from None
