"""Read a user's folder of images, one subfolder a class, perhaps below ``train`` and ``test``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.data.arrays import OwnArrays, Samples
from depthcheck.pipeline.data.cells import listed

if TYPE_CHECKING:
    from PIL import Image

_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
_N_NAMED = 5


def has_images(folder: Path) -> bool:
    """Tell whether a folder has subfolders with images, directly or below ``train``."""
    return bool(_images_by_class(_train_folder(folder)))


def read_image_folder(folder: Path, log: Callable[[str], None]) -> OwnArrays:
    """Return the images of a folder as pixels of 0 to 255, all of the size that most of the training part have.

    Grey pictures stay grey if all are; else all have three colours. A class is called as its subfolder.

    Raises
    ------
    ValueError
        Naming the files that cannot be read, or classes of the test part that the training part has not.
    """
    train = _images_by_class(_train_folder(folder))
    test = _images_by_class(folder / "test") if _train_folder(folder) != folder else {}
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise ValueError(f"classes of {folder / 'test'} must be among {listed(sorted(train))}, got {listed(unknown)}")
    class_names = tuple(sorted(train))
    form = _common_form([file for part in (train, test) for files in part.values() for file in files], log)
    parts = [_read_images(part, class_names, form) for part in (train, test) if part]
    return parts[0], parts[1] if len(parts) == 2 else None, class_names


def _train_folder(folder: Path) -> Path:
    return folder / "train" if (folder / "train").is_dir() else folder


def _images_by_class(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each subfolder that has some."""
    children = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {
        child.name: sorted(
            file
            for file in child.iterdir()
            if file.suffix.lower() in _IMAGES and not file.name.startswith(".") and file.is_file()
        )
        for child in children
        if child.is_dir() and not child.name.startswith(".")
    }
    return {name: files for name, files in found.items() if files}


@dataclass(frozen=True, slots=True)
class _Form:
    """What all images become.

    Attributes
    ----------
    size, mode
        Width and height; ``L`` or ``RGB``.
    ground
        On which what is transparent is laid, 0 to 255.
    float_scale
        What floats are multiplied by: 255 where no image has one above 1.
    """

    size: tuple[int, int]
    mode: str
    ground: int
    float_scale: int


def _common_form(files: Sequence[Path], log: Callable[[str], None]) -> _Form:
    """Return the most common size, the mode that holds all, and the ground from which transparent ones stand out."""
    sizes: Counter[tuple[int, int]] = Counter()
    modes: set[str] = set()
    inks: list[float] = []  # of each image that is transparent in places: how bright what is not is
    largest_floats: list[float] = []

    def look(_position: int, image: Image.Image) -> None:
        sizes[image.size] += 1
        modes.add(image.mode)
        if image.has_transparency_data:
            pixels = np.asarray(image.convert("RGBA"), np.float64)
            weight = pixels[..., 3]
            inks.append(float((pixels[..., :3].mean(axis=-1) * weight).sum() / max(weight.sum(), 1)))
        if image.mode == "F":
            largest_floats.append(float(np.nan_to_num(np.asarray(image)).max()))

    _open_each(files, look)
    ground = 255 if not inks or np.mean(inks) < 128 else 0
    if inks:
        name = "white" if ground else "black"
        log(f"{len(inks):,} of {len(files):,} images are transparent in places: laid on {name}")
    size, n_same = sizes.most_common(1)[0]
    if n_same < len(files):
        n_other = len(files) - n_same
        log(f"{n_other:,} of {len(files):,} images are resized to the most common size, {size[0]} x {size[1]}")
    float_scale = 255 if max(largest_floats, default=0.0) <= 1 else 1
    return _Form(size, "L" if modes <= _GREY_MODES else "RGB", ground, float_scale)


def _read_images(part: dict[str, list[Path]], class_names: tuple[str, ...], form: _Form) -> Samples:
    files = [(file, class_names.index(name)) for name in sorted(part) for file in part[name]]
    shape = (form.size[1], form.size[0], *((3,) if form.mode == "RGB" else ()))
    pixels = np.empty((len(files), *shape), np.uint8)

    def keep(position: int, image: Image.Image) -> None:
        pixels[position] = _converted(image, form)

    _open_each([file for file, _label in files], keep)
    return pixels, np.array([label for _file, label in files], np.int64)


def _open_each(files: Sequence[Path], look: Callable[[int, Image.Image], None]) -> None:
    """Look at each image as the camera was held; complain of those that cannot be read when all were tried."""
    from PIL import Image, ImageOps

    unreadable = []
    for position, file in enumerate(files):
        try:
            with Image.open(file) as image:
                look(position, ImageOps.exif_transpose(image))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as trouble:
            unreadable.append(f"{file}: {trouble}")
    if unreadable:
        more = f"; and {len(unreadable) - _N_NAMED:,} more" if len(unreadable) > _N_NAMED else ""
        raise ValueError(f"images must be readable, got {'; '.join(unreadable[:_N_NAMED])}{more}")


def _converted(image: Image.Image, form: _Form) -> NDArray[np.uint8]:
    from PIL import Image

    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, (form.ground,) * 3 + (255,)), clear).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, np.float64)) * form.float_scale
        image = Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow would cut off what is above 255
        image = Image.fromarray((np.asarray(image).astype(np.int64) // 257).clip(0, 255).astype(np.uint8))
    image = image.convert(form.mode)
    resized = image if image.size == form.size else image.resize(form.size, Image.Resampling.BILINEAR)
    return np.asarray(resized, np.uint8)
