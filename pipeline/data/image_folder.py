"""Read a user's folder of images, one subfolder a class, perhaps below ``train``, ``valid`` and ``test``."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.data.amount import ReadingProgress, ReadingSize
from depthcheck.pipeline.data.array_files import VALIDATION
from depthcheck.pipeline.data.arrays import OwnArrays, Samples
from depthcheck.pipeline.data.cells import listed

if TYPE_CHECKING:
    from PIL import Image

_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
_N_NAMED = 5
#: Images whose heads tell how large all of them are.
_N_LOOK = 200
#: By part of the data: its folder, and its images by class.
_Found = dict[str, tuple[Path, dict[str, list[Path]]]]


def has_images(folder: Path) -> bool:
    """Tell whether a folder has subfolders with images, directly or below ``train``."""
    return bool(_images_by_class(_train_folder(folder)))


def read_image_folder(folder: Path, log: Callable[[str], None]) -> OwnArrays:
    """Return the images of a folder as pixels of 0 to 255, all of the size that most of the training part have.

    Grey pictures stay grey if all are; else all have three colours. A class is called as its subfolder.

    Raises
    ------
    ValueError
        Naming the files that cannot be read, or classes of another part that the training part has not.
    """
    found = _parts(folder)
    train = found["samples"][1]
    for place, images in found.values():
        unknown = sorted(set(images) - set(train))
        if unknown:
            raise ValueError(f"classes of {place} must be among {listed(sorted(train))}, got {listed(unknown)}")
    class_names = tuple(sorted(train))
    form = _common_form([file for _, images in found.values() for files in images.values() for file in files], log)
    progress = ReadingProgress(folder.name, _n_bytes(form.size, form.mode, found), log)
    parts = {part: _read_images(images, class_names, form, progress) for part, (_, images) in found.items()}
    return OwnArrays(**parts, class_names=class_names)


def image_size(folder: Path) -> ReadingSize:
    """Return what reading the images of a folder takes, as the heads of some of them tell."""
    from PIL import Image

    found = _parts(folder)
    files = [file for _, images in found.values() for of_class in images.values() for file in of_class]
    sizes: Counter[tuple[int, int]] = Counter()
    modes: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for file in files[:: max(1, len(files) // _N_LOOK)]:
            unreadable = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
            with contextlib.suppress(*unreadable), Image.open(file) as image:
                sizes[image.size] += 1
                modes.add(image.mode)
    if not sizes:
        return ReadingSize(n_bytes=0)
    return ReadingSize(n_bytes=_n_bytes(sizes.most_common(1)[0][0], "L" if modes <= _GREY_MODES else "RGB", found))


def _n_bytes(size: tuple[int, int], mode: str, found: _Found) -> int:
    """Return how many bytes all pixels take."""
    n_images = sum(len(files) for _, images in found.values() for files in images.values())
    return n_images * size[0] * size[1] * (3 if mode == "RGB" else 1)


def _parts(folder: Path) -> _Found:
    """Return the images of each part that there is, and its folder; the training part is called ``samples``."""
    place = _train_folder(folder)
    found = {"samples": (place, _images_by_class(place))}
    if place != folder:
        for part, names in (("valid", VALIDATION), ("test", ("test",))):
            for name in names:
                if images := _images_by_class(folder / name):
                    found[part] = (folder / name, images)
    return found


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


def _read_images(
    part: dict[str, list[Path]], class_names: tuple[str, ...], form: _Form, progress: ReadingProgress
) -> Samples:
    files = [(file, class_names.index(name)) for name in sorted(part) for file in part[name]]
    shape = (form.size[1], form.size[0], *((3,) if form.mode == "RGB" else ()))
    pixels = np.empty((len(files), *shape), np.uint8)

    def keep(position: int, image: Image.Image) -> None:
        pixels[position] = _converted(image, form)
        progress.reached(pixels[: position + 1].nbytes)

    _open_each([file for file, _label in files], keep)
    return pixels, np.array([label for _file, label in files], np.int64)


def _open_each(files: Sequence[Path], look: Callable[[int, Image.Image], None]) -> None:
    """Look at each image as the camera was held; complain of those that cannot be read when all were tried."""
    from PIL import Image, ImageOps

    unreadable = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for position, file in enumerate(files):
            try:
                with Image.open(file) as image:
                    look(position, ImageOps.exif_transpose(image))
            except (Image.DecompressionBombError, Image.DecompressionBombWarning):
                unreadable.append(f"{file}: it has more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller")
            except (OSError, ValueError, SyntaxError) as trouble:
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
