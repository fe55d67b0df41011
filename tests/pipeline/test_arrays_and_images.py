import gzip
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from depthcheck.pipeline.config import DataConfig, SplitChoice
from depthcheck.pipeline.data.arrays import digest
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.prepare.split import resolve, split

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (12, 4, 5), np.uint8)
LABELS = np.arange(12) % 3


def load_npz(tmp_path, words=None, **arrays):
    np.savez(tmp_path / "any.npz", **arrays)
    return load(DataConfig(name=str(tmp_path / "any.npz"), **(words or {})), cache=tmp_path)


def test_bytes_are_pixels_and_whole_numbers_classes(tmp_path):
    dataset = load_npz(tmp_path, X=PICTURES, y=LABELS + 7, X_test=PICTURES[:3], y_test=LABELS[:3] + 7)

    assert (dataset.name, dataset.source) == ("any.npz", f"file {tmp_path}/any.npz")
    assert (dataset.X.dtype, dataset.X.shape, dataset.pixel_max) == (np.uint8, (12, 4, 5), 255)
    assert (dataset.class_names, dataset.task, dataset.metric) == (("7", "8", "9"), "classification", "accuracy")
    np.testing.assert_array_equal(dataset.y, LABELS)
    np.testing.assert_array_equal(dataset.y_test, LABELS[:3])
    assert dataset.sha256 == digest(PICTURES, LABELS, PICTURES[:3], LABELS[:3])


def test_keras_own_names_of_arrays_will_do(tmp_path):
    dataset = load_npz(tmp_path, x_train=PICTURES, y_train=LABELS[:, None], x_test=PICTURES, y_test=LABELS)

    assert len(dataset.X_test) == 12
    np.testing.assert_array_equal(dataset.y, LABELS)


@pytest.mark.parametrize("names", [["no", "yes"], [b"no", b"yes"], [False, True]], ids=["text", "bytes", "truths"])
def test_labels_of_two_kinds_are_classes_judged_by_auc(tmp_path, names):
    dataset = load_npz(tmp_path, X=RNG.normal(size=(12, 3)), y=np.array(names)[LABELS % 2])

    assert (dataset.X.dtype, dataset.pixel_max, dataset.metric) == (np.float32, None, "auc")
    assert [name.lower() for name in dataset.class_names] in (["no", "yes"], ["false", "true"])
    np.testing.assert_array_equal(dataset.y, LABELS % 2)
    assert dataset.X_test is None


def test_fractions_are_to_be_predicted_unless_told_otherwise(tmp_path):
    X, y = RNG.normal(size=(12, 3)), LABELS + 0.5

    dataset = load_npz(tmp_path, X=X, y=y)

    assert (dataset.task, dataset.metric, dataset.class_names, dataset.y.dtype) == ("regression", "r2", (), np.float32)
    assert load_npz(tmp_path, {"task": "classification"}, X=X, y=y - 0.5).class_names == ("0", "1", "2")
    assert load_npz(tmp_path, {"task": "regression"}, X=X, y=LABELS).task == "regression"


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"X": PICTURES}, r"any\.npz must have arrays X and y \(and X_test and y_test\), got X"),
        ({"X": PICTURES, "y": LABELS, "X_test": PICTURES}, "must have both X_test and y_test or neither"),
        ({"X": PICTURES, "y": np.ones((12, 2))}, "y must have one target a sample, got 2 columns: write one of them"),
        ({"X": PICTURES, "y": np.eye(12)}, r"got 12 columns: a class each\? then write y.argmax\(axis=1\)"),
        ({"X": PICTURES, "y": LABELS[1:]}, r"shape of y must be \(12,\), one label a sample, got \(11,\)"),
        ({"X": LABELS, "y": LABELS}, r"shape of X must be \(samples, features\)"),
        ({"X": PICTURES[:0], "y": LABELS[:0]}, "shape of X must be one without a 0"),
        ({"X": PICTURES.astype("U3"), "y": LABELS}, "type of X must be numbers"),
        (
            {"X": PICTURES.astype(object), "y": LABELS},
            "X in any.npz must hold plain numbers or text, got Python objects",
        ),
        ({"X": np.where(LABELS[:, None] == 2, np.nan, np.eye(12)), "y": LABELS}, "X must hold finite .* sample 2 "),
        ({"X": PICTURES, "y": np.where(LABELS, 1.0, np.inf)}, "y must hold finite .* sample 0 "),
        ({"X": PICTURES, "y": LABELS * 0}, "number of classes in y must be at least 2, got 1"),
        ({"X": PICTURES, "y": LABELS, "X_test": PICTURES, "y_test": LABELS + 1}, r"y_test must be among .* got \[3\]"),
        *(
            ({"X": PICTURES, "y": LABELS % 2 / 1, "X_test": PICTURES, "y_test": np.full(12, one)}, rf"got \[{one}\]")
            for one in (1.5, np.nan)
        ),
        ({"X": PICTURES, "y": LABELS, "X_test": PICTURES / 2, "y_test": LABELS}, "type of X_test must be that of X"),
        ({"X": PICTURES, "y": LABELS, "X_test": PICTURES[:, 1:], "y_test": LABELS}, "sample shape of X_test"),
        ({"X": np.eye(200), "y": np.arange(200)}, 'got 200 different whole numbers .* task = "regression"'),
    ],
)
def test_arrays_that_are_no_data_set_are_refused_in_one_line(tmp_path, arrays, complaint):
    with pytest.raises(ValueError, match=complaint) as raised:
        load_npz(tmp_path, **arrays)

    assert "\n" not in str(raised.value)


def test_pickle_inside_an_npz_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    with pytest.raises(ValueError, match="Python objects"):
        load_npz(tmp_path, X=PICTURES, y=np.array([Trap()] * 12, dtype=object))

    assert not (tmp_path / "sprung").exists()


def test_words_for_columns_are_refused_where_there_are_none(tmp_path):
    with pytest.raises(ValueError, match=r"target must be left out: any\.npz has no columns, got 'y'"):
        load_npz(tmp_path, {"target": "y"}, X=PICTURES, y=LABELS)
    with pytest.raises(ValueError, match="group must be left out: digits has no columns"):
        load(DataConfig(name="digits", group="writer"), cache=tmp_path)


def test_damaged_npz_is_named(tmp_path):
    np.savez(tmp_path / "any.npz", X=PICTURES, y=LABELS)
    (tmp_path / "any.npz").write_bytes((tmp_path / "any.npz").read_bytes()[:-30])

    with pytest.raises(ValueError, match=r"any\.npz is no whole NPZ file"):
        load(DataConfig(name=str(tmp_path / "any.npz")), cache=tmp_path)
    np.savez_compressed(tmp_path / "any.npz", X=np.random.default_rng(0).normal(size=(100, 3)), y=np.arange(100) % 2)
    content = bytearray((tmp_path / "any.npz").read_bytes())
    content[60:400] = bytes(byte ^ 0x5A for byte in content[60:400])
    (tmp_path / "any.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"any\.npz is no whole NPZ file"):
        load(DataConfig(name=str(tmp_path / "any.npz")), cache=tmp_path)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize(
    "names",
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        ("e-train-images-idx3-ubyte.gz", "e-train-labels-idx1-ubyte.gz", "e-test-images-idx3-ubyte.gz",
         "e-test-labels-idx1-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte.gz"),
    ],
    ids=["MNIST", "EMNIST, packed", "with a point"],
)  # fmt: skip
def test_folder_of_idx_files_is_pictures_and_labels_of_both_parts(tmp_path, names):
    folder = tmp_path / "letters"
    folder.mkdir()
    for name, array in zip(names, (PICTURES, LABELS + 1, PICTURES[:6], LABELS[:6] + 1), strict=True):
        (folder / name).write_bytes(gzip.compress(idx(array)) if name.endswith(".gz") else idx(array))

    dataset = load(DataConfig(name=str(folder)), cache=tmp_path)

    assert (dataset.name, dataset.class_names, dataset.pixel_max) == ("letters", ("1", "2", "3"), 255)
    np.testing.assert_array_equal(dataset.X, PICTURES)
    np.testing.assert_array_equal(dataset.y_test, LABELS[:6])


def test_idx_file_that_is_missing_or_damaged_is_named(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PICTURES))
    with pytest.raises(ValueError, match="must have train-labels beside train-images-idx3-ubyte"):
        load(DataConfig(name=str(tmp_path)), cache=tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS)[:-1])
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte: length of an IDX file"):
        load(DataConfig(name=str(tmp_path)), cache=tmp_path)


def save(folder, name, array, **how):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(folder / name, **how)


def test_folder_of_images_has_a_class_for_each_subfolder(tmp_path):
    for position, picture in enumerate(PICTURES):
        save(tmp_path / "pets" / ["cat", "dog"][position % 2], f"{position:02d}.png", picture)

    dataset = load(DataConfig(name=str(tmp_path / "pets")), cache=tmp_path)

    assert (dataset.name, dataset.class_names, dataset.metric) == ("pets", ("cat", "dog"), "auc")
    np.testing.assert_array_equal(dataset.X, [*PICTURES[::2], *PICTURES[1::2]])
    np.testing.assert_array_equal(dataset.y, np.repeat([0, 1], 6))
    assert dataset.X_test is None


def test_images_below_train_and_test_get_one_form(tmp_path):
    lines, colour = [], RNG.integers(0, 256, (4, 5, 3), np.uint8)
    for name in ("a", "b", "c"):
        save(tmp_path / "train" / name, "1.png", PICTURES[0])
        save(tmp_path / "train" / name, "2.png", np.full((8, 10), 77, np.uint8))
        save(tmp_path / "train" / name, "3.png", PICTURES[1])
    save(tmp_path / "test" / "b", "1.png", colour)

    dataset = load(DataConfig(name=str(tmp_path)), cache=tmp_path, log=lines.append)

    assert (dataset.X.shape, dataset.X_test.shape) == ((9, 4, 5, 3), (1, 4, 5, 3))
    np.testing.assert_array_equal(dataset.X_test[0], colour)
    np.testing.assert_array_equal(dataset.X[0], np.stack([PICTURES[0]] * 3, axis=-1))
    assert (dataset.X[1] == 77).all()
    assert (dataset.y_test.tolist(), dataset.metric) == ([1], "accuracy")
    assert lines == ["3 of 10 images are resized to the most common size, 5 x 4"]


def test_sixteen_bits_a_pixel_keep_their_range(tmp_path):
    deep = PICTURES.astype(np.uint16) * 257
    for position in range(2):
        save(tmp_path / "ab"[position], "1.png", deep[position])

    dataset = load(DataConfig(name=str(tmp_path)), cache=tmp_path)

    np.testing.assert_array_equal(dataset.X, PICTURES[:2])


def test_image_that_lies_on_its_side_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        save(tmp_path / name, "1.png", PICTURES[0], exif=exif)

    dataset = load(DataConfig(name=str(tmp_path)), cache=tmp_path)

    np.testing.assert_array_equal(dataset.X[0], np.rot90(PICTURES[0], -1))


@pytest.mark.parametrize("keep", [4, 60], ids=["header", "pixels"])
def test_unreadable_images_are_named(tmp_path, keep):
    for name in "ab":
        save(tmp_path / name, "1.png", PICTURES[0])
    whole = (tmp_path / "a" / "1.png").read_bytes()
    (tmp_path / "b" / "broken.png").write_bytes(whole[:keep])

    with pytest.raises(ValueError, match=r"images must be readable, got .*/b/broken\.png: "):
        load(DataConfig(name=str(tmp_path)), cache=tmp_path)


def test_train_beside_other_classes_is_a_class(tmp_path):
    for name in ("bus", "car", "train", "test"):
        for number in range(2):
            save(tmp_path / name, f"{number}.png", PICTURES[number])

    dataset = load(DataConfig(name=str(tmp_path)), cache=tmp_path)

    assert (dataset.class_names, len(dataset.X)) == (("bus", "car", "test", "train"), 8)
    assert dataset.X_test is None


def test_pictures_below_train_and_test_without_folders_of_classes_are_no_classes(tmp_path):
    for name in ("train", "test", "valid"):
        save(tmp_path / name, "1.png", PICTURES[0])

    with pytest.raises(ValueError, match="a subfolder of images for each class"):
        load(DataConfig(name=str(tmp_path)), cache=tmp_path)


def test_test_image_of_an_unknown_class_is_refused(tmp_path):
    for part, name in (("train", "a"), ("train", "b"), ("test", "z")):
        save(tmp_path / part / name, "1.png", PICTURES[0])

    with pytest.raises(ValueError, match=r"classes of .*test must be among a, b, got z"):
        load(DataConfig(name=str(tmp_path)), cache=tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "y_train", "X_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("data", "target"),
        ("images", "labels"),
        ("pixels", "kinds"),
    ],
)
def test_arrays_have_any_usual_names(tmp_path, names):
    arrays = dict(zip(names, (PICTURES, LABELS, PICTURES[:3], LABELS[:3]), strict=False))

    dataset = load_npz(tmp_path, **arrays)

    np.testing.assert_array_equal(dataset.X, PICTURES)
    np.testing.assert_array_equal(dataset.y, LABELS)
    assert (dataset.X_test is None) == (len(names) == 2)


def test_whole_numbers_written_as_floats_are_classes_as_in_a_table(tmp_path):
    dataset = load_npz(tmp_path, X=np.tile(PICTURES, (3, 1, 1)), y=np.tile(LABELS, 3).astype(np.float64))
    assert (dataset.task, dataset.class_names) == ("classification", ("0", "1", "2"))


def test_what_is_no_npz_file_is_one_line(tmp_path):
    path = tmp_path / "any.npz"
    for write, complaint in (
        (lambda file: np.save(file, PICTURES), "any.npz must be an NPZ file of several arrays, got a single one"),
        (lambda file: file.write(pickle.dumps([1, 2])), "any.npz must be an NPZ file, got something pickled"),
    ):
        with path.open("wb") as file:
            write(file)
        with pytest.raises(ValueError, match=complaint):
            load(DataConfig(name=str(path)), cache=tmp_path)


def drawings(folder, *, ink, mode="RGBA"):
    """Write six drawings of two classes: a bar of ink on transparent ground."""
    for number in range(6):
        pixels = np.zeros((8, 8, 4), np.uint8)
        pixels[number, :, :3], pixels[number, :, 3] = ink, 255
        image = Image.fromarray(pixels).convert("RGBA")
        if mode == "P":
            image = image.quantize(4)
        if mode == "LA":
            image = image.convert("LA")
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


@pytest.mark.parametrize(("ink", "ground"), [(0, 255), (255, 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_drawings_stand_out_from_the_ground_that_is_named(tmp_path, ink, ground, mode):
    drawings(tmp_path / "icons", ink=ink, mode=mode)
    (tmp_path / "icons" / "a" / "._0.png").write_bytes(b"a file of another system's")
    lines = []

    dataset = load(DataConfig(name=str(tmp_path / "icons")), cache=tmp_path, log=lines.append)

    assert len(dataset.y) == 6
    flat = dataset.X.reshape(6, 8, 8, -1)
    assert sorted(np.unique(flat)) == sorted({ink, ground})
    assert (flat[0, 0] == ink).all()
    assert (flat[0, 1:] == ground).all()
    assert f"6 of 6 images are transparent in places: laid on {'white' if ground else 'black'}" in lines


def test_float_and_deep_images_keep_their_range(tmp_path):
    for number in range(4):
        path = tmp_path / "deep" / "ab"[number % 2] / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)).save(path)
    dataset = load(DataConfig(name=str(tmp_path / "deep")), cache=tmp_path)
    np.testing.assert_array_equal(dataset.X[0].ravel(), np.round(np.linspace(0, 255, 16)))

    Image.fromarray(np.full((4, 4), 200, np.float32)).save(tmp_path / "deep" / "b" / "bright.tif")
    dataset = load(DataConfig(name=str(tmp_path / "deep")), cache=tmp_path)  # a dark one of 0 to 255 stays dark
    assert dataset.X.reshape(5, -1).max(axis=1).tolist() == [1, 1, 1, 1, 200]


@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev"])
def test_images_for_validation_are_the_validation_part(tmp_path, word):
    for number, part in enumerate(["train"] * 4 + [word] * 2 + ["test"]):
        for name in "ab":
            save(tmp_path / part / name, f"{number}.png", PICTURES[number])

    dataset = load(DataConfig(name=str(tmp_path)), cache=tmp_path)

    assert (len(dataset.y), len(dataset.y_test)) == (12, 2)
    cut = split(dataset, resolve(SplitChoice(), dataset))
    np.testing.assert_array_equal(dataset.X[cut.valid], [*PICTURES[4:6], *PICTURES[4:6]])
    np.testing.assert_array_equal(dataset.X[cut.train], [*PICTURES[:4], *PICTURES[:4]])
    save(tmp_path / word / "z", "1.png", PICTURES[0])
    with pytest.raises(ValueError, match=rf"classes of .*{word} must be among a, b, got z"):
        load(DataConfig(name=str(tmp_path)), cache=tmp_path)


def test_arrays_for_validation_are_the_validation_part_and_others_are_named(tmp_path):
    path, lines = tmp_path / "any.npz", []
    np.savez(path, X_train=PICTURES, y_train=LABELS, X_val=PICTURES[:3], y_val=LABELS[:3], weights=LABELS, note=LABELS)

    dataset = load(DataConfig(name=str(path)), cache=tmp_path, log=lines.append)

    assert np.flatnonzero(dataset.is_valid).tolist() == [12, 13, 14]
    np.testing.assert_array_equal(dataset.y, [*LABELS, *LABELS[:3]])
    assert lines == ["any.npz: 'weights', 'note' left out: neither samples nor what is to be learned"]
    with pytest.raises(ValueError, match=r"must have both X_valid and y_valid or neither"):
        load_npz(tmp_path, X=PICTURES, y=LABELS, X_valid=PICTURES)


def test_parts_of_a_small_folder_have_every_class(tmp_path):
    for number in range(8):
        for name in "abc":
            save(tmp_path / name, f"{number}.png", PICTURES[number])
    dataset = load(DataConfig(name=str(tmp_path)), cache=tmp_path)
    cut = split(dataset, resolve(SplitChoice(folds=0), dataset))
    for part in (cut.train, cut.valid, cut.test):
        assert set(dataset.y[part]) == {0, 1, 2}


@pytest.mark.parametrize("limit", [15, 25], ids=["warned of", "refused"])
def test_an_image_that_is_far_too_large_is_one_line(tmp_path, monkeypatch, limit):
    for name in "ab":
        save(tmp_path / name, "1.png", np.zeros((1, 1), np.uint8))
    save(tmp_path / "b", "large.png", np.zeros((2 * limit, 1), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ValueError, match=r"images must be readable, got .*/b/large\.png: it has more than 20 pixels"):
        load(DataConfig(name=str(tmp_path)), cache=tmp_path)


def test_numbers_of_arrays_that_float32_would_merge_stay_apart(tmp_path):
    seconds = 1_700_000_000 + np.arange(100)
    X = np.stack([np.linspace(0, 1, 100), seconds], axis=1)

    dataset = load_npz(tmp_path, X=X, y=seconds + 0.5, X_test=X[:2, ::-1] * 0, y_test=seconds[:2] + 0.5)

    assert (dataset.X.dtype, dataset.X_test.dtype, dataset.y.dtype) == (np.float64, np.float64, np.float64)
    np.testing.assert_array_equal(dataset.X, X)
    np.testing.assert_array_equal(dataset.y, seconds + 0.5)
    whole = load_npz(tmp_path, X=seconds[:, None], y=np.tile([0, 1], 50))
    assert len(np.unique(whole.X)) == 100
    # Fractions that float32 rounds, without making two of them one, are no reason.
    assert load_npz(tmp_path, X=X[:, :1], y=seconds % 2).X.dtype == np.float32
