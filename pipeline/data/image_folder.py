"""Read a user's folder of images, one subfolder a class, perhaps below ``train`` and ``test``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.data.arrays import OwnArrays
from depthcheck.pipeline.data.columns import listed

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
_N_NAMED = 5


def has_images(folder: Path) -> bool:
    """Tell whether a folder has subfolders with images, directly or below ``train``."""
    return any(_images_by_class(_train_folder(folder)).values())


def read_image_folder(folder: Path, log: Callable[[str], None]) -> OwnArrays:
    """Return the images of a folder as pixels of 0 to 255, all of the size that most of the training part have.

    Grey pictures stay grey if all are; else all have three colours. A class is called as its subfolder.

    Raises
    ------
    ValueError
        Naming the files that cannot be read, or classes of the test part that the training part has not.
    """
    train = {name: files for name, files in _images_by_class(_train_folder(folder)).items() if files}
    test = _images_by_class(folder / "test") if _train_folder(folder) != folder else {}
    test = {name: files for name, files in test.items() if files}
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise ValueError(f"classes of {folder / 'test'} must be among {listed(sorted(train))}, got {listed(unknown)}")
    class_names = tuple(sorted(train))
    size, mode = _common_form([file for parts in (train, test) for files in parts.values() for file in files], log)
    parts = [_read_part(part, class_names, size, mode) for part in (train, test) if part]
    return parts[0], parts[1] if len(parts) == 2 else None, class_names


def _train_folder(folder: Path) -> Path:
    return folder / "train" if (folder / "train").is_dir() else folder


def _images_by_class(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        return {}
    return {
        child.name: sorted(file for file in child.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }


def _common_form(files: Sequence[Path], log: Callable[[str], None]) -> tuple[tuple[int, int], str]:
    """Return the most common size, width first, and the mode of all: ``L`` or ``RGB``."""
    sizes: Counter[tuple[int, int]] = Counter()
    unreadable, is_grey = [], True
    for file in files:
        try:
            with _opened(file) as image:
                sizes[image.size] += 1
                is_grey &= image.mode in _GREY_MODES
        except (OSError, ValueError, SyntaxError) as trouble:
            unreadable.append(f"{file}: {trouble}")
    _require_readable(unreadable)
    size, n_same = sizes.most_common(1)[0]
    if n_same < len(files):
        n_other = len(files) - n_same
        log(f"{n_other:,} of {len(files):,} images are resized to the most common size, {size[0]} x {size[1]}")
    return size, "L" if is_grey else "RGB"


def _read_part(
    part: dict[str, list[Path]], class_names: tuple[str, ...], size: tuple[int, int], mode: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    files = [(file, class_names.index(name)) for name in sorted(part) for file in part[name]]
    pixels = np.empty((len(files), size[1], size[0], *((3,) if mode == "RGB" else ())), np.uint8)
    unreadable = []
    for position, (file, _label) in enumerate(files):
        try:
            with _opened(file) as image:
                pixels[position] = _converted(image, size, mode)
        except (OSError, ValueError, SyntaxError) as trouble:
            unreadable.append(f"{file}: {trouble}")
    _require_readable(unreadable)
    return pixels, np.array([label for _file, label in files], np.int64)


def _opened(file: Path) -> Image.Image:
    """Open an image as a camera held it; nothing but its header is decoded yet, unless it lies on its side."""
    from PIL import Image, ImageOps

    image = Image.open(file)
    turned = ImageOps.exif_transpose(image)
    return image if turned is None else turned


def _converted(image: Image.Image, size: tuple[int, int], mode: str) -> NDArray[np.uint8]:
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow would cut off what is above 255
        image = Image.fromarray((np.asarray(image).astype(np.int64) // 257).clip(0, 255).astype(np.uint8))
    image = image.convert(mode)
    return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BILINEAR), np.uint8)


def _require_readable(troubles: Sequence[str]) -> None:
    if troubles:
        more = f"; and {len(troubles) - _N_NAMED:,} more" if len(troubles) > _N_NAMED else ""
        raise ValueError(f"images must be readable, got {'; '.join(troubles[:_N_NAMED])}{more}")
