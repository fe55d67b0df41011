"""Read a user's own arrays: of an NPZ file, a folder of IDX files, or one of images, a subfolder a class.

An NPZ file is read without the pickles that it can hold. The IDX format of MNIST and its kin:
http://yann.lecun.com/exdb/mnist, "the IDX file format".
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import require
from depthcheck.pipeline.data.amount import ReadingProgress, ReadingSize
from depthcheck.pipeline.data.arrays import OwnArrays, Samples
from depthcheck.pipeline.data.cells import listed
from depthcheck.pipeline.data.sniff import open_bytes, unpacked_bytes

if TYPE_CHECKING:
    from PIL import Image

#: What a file that is cut short, overwritten or encrypted raises.
_DAMAGE = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
#: How a validation part is called beside one for testing, in names of arrays and folders.
VALIDATION = ("valid", "val", "validation", "dev")
#: The names of X, y, X_test and y_test, as Keras, scikit-learn and others write them.
_NPZ_NAMES = (
    ("X", "y", "X_test", "y_test"), ("x_train", "y_train", "x_test", "y_test"), ("x", "y", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"),
    ("images", "labels", "test_images", "test_labels"), ("data", "target", "test_data", "test_target"),
    ("features", "labels", "test_features", "test_labels"),
)  # fmt: skip
_UNSIGNED_BYTE = 0x08
#: ``train-images-idx3-ubyte``, ``t10k-labels.idx1-ubyte.gz``, ``emnist-letters-test-images-idx3-ubyte``.
_IDX_NAME = re.compile(r"(?:.*-)?(?P<part>train|t10k|test)-(?P<what>images|labels)[-.]idx\d-ubyte(?:\.gz)?")
_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
_N_NAMED = 5
#: Images whose heads tell how large all of them are.
_N_LOOK = 200
#: By part of the data: its folder, and its images by class.
_Found = dict[str, tuple[Path, dict[str, list[Path]]]]


def read_npz(path: Path, log: Callable[[str], None]) -> OwnArrays:
    """Return the arrays ``X``, ``y`` and, where they are there, ``X_test`` and ``y_test`` of a file.

    Also under other usual names (:data:`_NPZ_NAMES`), or the only two arrays there are, of as many samples.

    X of uint8 are pixels, 0 to 255; X of other types are features. y of text or whole numbers are classes, y of
    fractions is to be predicted.

    Raises
    ------
    ValueError
        When an array is missing, or is not as it must be.
    """
    with _opened_npz(path) as stored:
        parts: dict[str, Any] = {
            part: (_array_of(stored, X, path), _array_of(stored, y, path))
            for part, (X, y) in _npz_names(stored, path, log).items()
        }
    return OwnArrays(**parts)


def npz_size(path: Path) -> ReadingSize:
    """Return what reading a file takes, as the headers of its arrays tell; nothing of one that is damaged."""
    n_bytes = 0.0
    with contextlib.suppress(ValueError, *_DAMAGE), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                np.lib.format.read_magic(file)
                kind = np.lib.format.read_array_header_1_0(file)[2]
            # Pixels stay as they are; other numbers become float32 beside the array that was read.
            n_bytes += member.file_size * (1 if kind in (np.uint8, np.float32) else 1 + 4 / max(kind.itemsize, 1))
    return ReadingSize(n_bytes=n_bytes)


def read_x(path: Path) -> NDArray[Any]:
    """Return the samples ``X`` alone.

    Raises
    ------
    ValueError
        When there are none, or they are no plain numbers.
    """
    with _opened_npz(path) as stored:
        name = next((name for name in ("X", "x", "X_test", "x_test", "images", "data") if name in stored), None)
        if name is None:
            raise ValueError(f"{path.name} must have an array X, got {listed(list(stored)) or 'none'}")
        return _array_of(stored, name, path)


def find_idx_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Return the IDX files of a folder by part (``train``, ``test``) and content (``images``, ``labels``)."""
    found = {}
    for path in sorted(folder.iterdir(), reverse=True):  # a plain file before its packed form
        match = _IDX_NAME.fullmatch(path.name)
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
    arrays = {key: _read_idx(path) for key, path in files.items()}
    samples, *test = [(arrays[part, "images"], arrays[part, "labels"].astype(np.int64)) for part in parts]
    return OwnArrays(samples=samples, test=test[0] if test else None)


def idx_size(folder: Path) -> ReadingSize:
    """Return what reading the pictures of a folder takes: as much as its files, unpacked."""
    return ReadingSize(n_bytes=sum(unpacked_bytes(path) for path in find_idx_files(folder).values()))


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
    n_header = 4 + 4 * data[3]
    require(len(data) >= n_header, "an IDX file's header", f"{n_header} bytes", len(data))
    shape = struct.unpack(f">{data[3]}I", data[4:n_header])
    n_bytes = n_header + math.prod(shape)
    require(len(data) == n_bytes, f"length of an IDX file of shape {shape}", f"{n_bytes} bytes", len(data))
    return np.frombuffer(data, np.uint8, offset=n_header).reshape(shape)


@contextmanager
def _opened_npz(path: Path) -> Iterator[Any]:
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError(f"{path.name} must be an NPZ file of several arrays, got a single one (an .npy file)")
    except _DAMAGE as trouble:
        raise ValueError(f"{path.name} is no whole NPZ file: {trouble}") from None
    except ValueError as trouble:
        if "pickle" not in str(trouble):
            raise
        raise ValueError(f"{path.name} must be an NPZ file, got something pickled or of another format") from None
    try:
        with stored:
            yield stored
    except _DAMAGE as trouble:
        raise ValueError(f"{path.name} is no whole NPZ file: {trouble}") from None


def _npz_names(stored: Any, path: Path, log: Callable[[str], None]) -> dict[str, tuple[str, str]]:
    """Return the names of X and y by part; what belongs to none is said."""
    there = list(stored)
    for X, y, X_test, y_test in _NPZ_NAMES:
        if X not in there or y not in there:
            continue
        found = {"samples": (X, y)}
        for part, word in (("test", "test"), *(("valid", word) for word in VALIDATION)):
            pair = (X_test.replace("test", word), y_test.replace("test", word))
            n_there = sum(name in there for name in pair)
            if n_there == 1:
                raise ValueError(f"{path.name} must have both {pair[0]} and {pair[1]} or neither, got {listed(there)}")
            if n_there:
                found.setdefault(part, pair)
        left = [name for name in there if name not in {name for pair in found.values() for name in pair}]
        if left:
            log(f"{path.name}: {listed([*map(repr, left)])} left out: neither samples nor what is to be learned")
        return found
    if len(there) == 2:
        arrays = {name: _array_of(stored, name, path) for name in there}
        X, y = sorted(there, key=lambda name: -arrays[name].ndim)
        if arrays[X].ndim >= 2 > arrays[y].ndim and arrays[X].shape[:1] == arrays[y].shape[:1]:
            log(f"{path.name}: {X!r} is read as the samples and {y!r} as what is to be learned")
            return {"samples": (X, y)}
    raise ValueError(f"{path.name} must have arrays X and y (and X_test and y_test), got {listed(there) or 'none'}")


def _array_of(stored: Any, name: str, path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = stored[name]
    except ValueError as trouble:
        reason = "Python objects" if "allow_pickle" in str(trouble) else str(trouble)
        raise ValueError(f"{name} in {path.name} must hold plain numbers or text, got {reason}") from None
    return array


def _read_idx(path: Path) -> NDArray[Any]:
    with open_bytes(path) as file:
        data = file.read()
    try:
        return parse_idx(data)
    except ValueError as trouble:
        raise ValueError(f"{path.name}: {trouble}") from None


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
    """Return where the classes lie: below ``train``, unless that is one of them, as its neighbours are."""
    below = folder / "train"
    if not below.is_dir() or _images_by_class(below):
        return below if below.is_dir() else folder
    beside = set(_images_by_class(folder))
    return folder if "train" in beside and beside - {"train", "test", *VALIDATION} else below


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
