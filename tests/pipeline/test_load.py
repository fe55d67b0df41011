import gzip
import hashlib
import json
import shutil
import socket
import subprocess
import sys
import textwrap
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data import published as places
from depthcheck.pipeline.data.arrays import digest
from depthcheck.pipeline.data.fetch import fetch_file
from depthcheck.pipeline.data.load import (
    FORMATS,
    SOURCES,
    DataFormat,
    DataNotFoundError,
    DataSource,
    load,
    read_samples,
)
from depthcheck.pipeline.data.own_arrays import parse_idx

FASHION_MNIST_SHA256 = "050f7be9e1fdbb830bcf90ae3e83424b0016c046a7122ee06248af6d72d5ccda"
DIGITS_SHA256 = "0300e60ac7199e6dfaad6e3e9b74df7a375f729982e54f0565d7e2228cff11f0"
LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """Stand for a machine without the data: an empty Keras home, no package, no apt-get, a network that refuses."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(places, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # an earlier one knows the proxies of its time
    return tmp_path


@pytest.fixture
def published(served, bare, monkeypatch, fashion_mnist_folder):
    """Let a server on this machine give the files that Keras's does; return its address."""
    folder, address = served
    for file in fashion_mnist_folder.iterdir():
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), compresslevel=1))
    monkeypatch.setattr(places, "FASHION_URL", address)
    return address


def test_fashion_mnist_is_the_published_one(fashion_mnist):
    assert fashion_mnist.sha256 == FASHION_MNIST_SHA256
    assert (fashion_mnist.X.shape, fashion_mnist.X.dtype) == ((60_000, 28, 28), np.uint8)
    assert fashion_mnist.X_test.shape == (10_000, 28, 28)
    assert (fashion_mnist.X.max(), fashion_mnist.pixel_max) == (255, 255)
    assert fashion_mnist.y.dtype == np.int64
    assert [fashion_mnist.class_names[label] for label in fashion_mnist.y[:3]] == [
        "Ankle boot",
        "T-shirt/top",
        "T-shirt/top",
    ]
    np.testing.assert_array_equal(np.bincount(fashion_mnist.y), 6_000)


def test_folder_that_the_user_names_comes_before_all_others(fashion_mnist_folder, bare):
    shutil.copytree(fashion_mnist_folder, bare / "keras" / "datasets" / "fashion-mnist")

    dataset = load(DataConfig(name="fashion-mnist"), folder=fashion_mnist_folder, cache=bare / "cache")

    assert dataset.source == f"folder {fashion_mnist_folder}"
    assert dataset.sha256 == FASHION_MNIST_SHA256


def test_named_folder_without_the_data_is_an_error_whatever_lies_elsewhere(fashion_mnist_folder, bare):
    shutil.copytree(fashion_mnist_folder, bare / "keras" / "datasets" / "fashion-mnist")

    with pytest.raises(DataNotFoundError, match=r"not in the folder named, .*/nowhere: there is no such folder"):
        load(DataConfig(name="fashion-mnist"), folder=bare / "nowhere", cache=bare / "cache")
    with pytest.raises(DataNotFoundError, match=r"neither train-images-idx3-ubyte nor train-images-idx3-ubyte\.gz"):
        load(DataConfig(name="fashion-mnist"), folder=bare, cache=bare / "cache")


def test_places_on_this_machine_are_tried_in_order(fashion_mnist_folder, bare):
    in_order = [
        ("Keras's cache", bare / "keras" / "datasets" / "fashion-mnist"),
        ("the system's packages", bare / "system"),
        ("this project's cache", bare / "cache" / "fashion-mnist"),
    ]
    for _, folder in in_order:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(fashion_mnist_folder)

    for place, folder in in_order:
        assert load(DataConfig(name="fashion-mnist"), cache=bare / "cache").source == f"{place}, {folder}"
        folder.unlink()


def test_damaged_file_is_named_and_the_next_place_is_tried(fashion_mnist_folder, bare):
    damaged = bare / "keras" / "datasets" / "fashion-mnist"
    shutil.copytree(fashion_mnist_folder, damaged)
    content = (damaged / LABELS).read_bytes()
    (damaged / LABELS).write_bytes(content[:-1] + b"\7")
    (bare / "system").symlink_to(fashion_mnist_folder)
    lines = []

    dataset = load(DataConfig(name="fashion-mnist"), cache=bare / "cache", log=lines.append)

    assert dataset.source.startswith("the system's packages")
    assert len(lines) == 1
    assert f"Keras's cache, {damaged}: {LABELS} is not the published file" in lines[0]


@pytest.mark.parametrize(
    ("keep", "complaint"),
    [(slice(None, -9), "is damaged"), (slice(2, None), "is damaged"), (slice(0), "is not the published file")],
    ids=["cut off", "no gzip file", "empty"],
)
def test_damaged_compressed_file_is_named(fashion_mnist_folder, bare, keep, complaint):
    for name in places.FASHION_FILES:
        (bare / name).symlink_to(fashion_mnist_folder / name)
    compressed = gzip.compress((bare / LABELS).read_bytes())
    (bare / LABELS).unlink()
    (bare / f"{LABELS}.gz").write_bytes(compressed[keep])

    with pytest.raises(DataNotFoundError, match=rf"{LABELS}.* {complaint}"):
        load(DataConfig(name="fashion-mnist"), folder=bare, cache=bare / "cache")


def test_compressed_and_plain_files_may_be_mixed(fashion_mnist_folder, bare):
    for name in places.FASHION_FILES:
        (bare / name).symlink_to(fashion_mnist_folder / name)
    (bare / f"{LABELS}.gz").write_bytes(gzip.compress((bare / LABELS).read_bytes()))
    (bare / LABELS).unlink()

    assert load(DataConfig(name="fashion-mnist"), folder=bare, cache=bare / "cache").sha256 == FASHION_MNIST_SHA256


def test_data_found_nowhere_give_one_message_with_each_place_and_the_remedies(bare):
    with pytest.raises(DataNotFoundError) as raised:
        load(DataConfig(name="fashion-mnist"), cache=bare / "cache")

    message = str(raised.value)
    for expected in (
        f"Keras's cache ({bare}/keras/datasets/fashion-mnist): there is no such folder",
        f"the system's packages ({bare}/system): there is no such folder",
        f"this project's cache ({bare}/cache/fashion-mnist): there is no such folder",
        "Connection refused",
        "Debian's package",
        "apt-get is not on this machine",
        "sudo apt-get install dataset-fashion-mnist",
        "named by\n    data_folder=FOLDER",
    ):
        assert expected in message
    assert not list((bare / "cache").glob(".fetch-*"))


@pytest.mark.slow
def test_two_processes_that_fetch_at_once_leave_one_whole_copy(bare, published):
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path.cwd())!r})
        from depthcheck.pipeline.config import DataConfig
        from depthcheck.pipeline.data import published
        from depthcheck.pipeline.data.load import load
        published.FASHION_URL = {published!r}
        dataset = load(DataConfig(name="fashion-mnist"), cache=Path({str(bare / "cache")!r}))
        print(dataset.sha256, dataset.source)
    """)
    processes = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in "ab"]
    outputs = [process.communicate(timeout=300)[0] for process in processes]

    fetched = bare / "cache" / "fashion-mnist"
    ways = {"download", "this project's cache"}  # one may have been done before the other had started
    assert {f"{FASHION_MNIST_SHA256} {way}, {fetched}\n" for way in ways} >= set(outputs)
    assert "download" in "".join(outputs)
    assert sorted(file.name for file in fetched.iterdir()) == sorted(f"{name}.gz" for name in places.FASHION_FILES)
    assert [file.name for file in fetched.parent.iterdir()] == ["fashion-mnist"]
    assert load(DataConfig(name="fashion-mnist"), cache=bare / "cache").source == f"this project's cache, {fetched}"


def test_fetch_replaces_a_damaged_copy_of_an_earlier_one(bare, published):
    (bare / "cache" / "fashion-mnist").mkdir(parents=True)
    (bare / "cache" / "fashion-mnist" / f"{LABELS}.gz").write_bytes(b"cut off")

    load(DataConfig(name="fashion-mnist"), cache=bare / "cache")

    assert load(DataConfig(name="fashion-mnist"), cache=bare / "cache").source.startswith("this project's cache")


def test_download_that_is_another_file_is_not_kept(bare, published, served):
    (served[0] / f"{LABELS}.gz").write_bytes(gzip.compress(b"another"))

    with pytest.raises(DataNotFoundError, match=rf"download \(.*\): {LABELS} is not the published file"):
        load(DataConfig(name="fashion-mnist"), cache=bare / "cache")

    assert f"{LABELS}.gz" not in {file.name for file in (bare / "cache" / "fashion-mnist").iterdir()}


def test_server_that_says_nothing_ends_the_download(tmp_path, monkeypatch):
    monkeypatch.setattr("depthcheck.pipeline.data.fetch._SILENCE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/any"
        with pytest.raises(DataNotFoundError, match=r"any: .*timed out"):
            fetch_file(url, tmp_path / "cache" / "any", print)
    assert not list((tmp_path / "cache").iterdir())


def test_digits_are_all_there_with_a_fixed_stratified_test_part(tmp_path):
    dataset = load(DataConfig(name="digits"), cache=tmp_path / "cache")

    assert dataset.sha256 == DIGITS_SHA256
    assert (dataset.X.shape, dataset.X_test.shape, dataset.pixel_max) == ((1_437, 8, 8), (360, 8, 8), 16)
    assert np.ptp(np.bincount(dataset.y_test)) <= 2
    assert not (tmp_path / "cache").exists()


def test_data_with_a_name_come_from_a_source_that_was_added_from_outside(tmp_path, monkeypatch):
    def read(config, cache, log):
        log(f"counting for {config.name}")
        frame = pd.DataFrame({"x": np.arange(40) % 7, "sum": np.arange(40) / 3})
        return frame, replace(config, target=config.target or "sum"), "a toy"

    monkeypatch.setitem(SOURCES, "toy:", DataSource(table=read))
    lines = []

    dataset = load(DataConfig(name="toy:40"), cache=tmp_path, log=lines.append)

    assert (dataset.name, dataset.source, dataset.task, len(dataset.X)) == ("toy:40", "a toy", "regression", 40)
    assert lines == ["counting for toy:40"]
    with pytest.raises(ValueError, match="data_folder must be left out: toy:40 is read from no folder"):
        load(DataConfig(name="toy:40"), folder=tmp_path, cache=tmp_path)
    with pytest.raises(ValueError, match=r"data must be one of .*, toy:<number or name>, or the path"):
        load(DataConfig(name="toy"), cache=tmp_path)


class ObjectLines:
    """A file with an object a line, as a format that the product does not know."""

    def __init__(self, path, log):
        self._rows = [json.loads(line) for line in path.read_text().splitlines()]
        log(f"{path.name}: {len(self._rows)} objects")

    @property
    def names(self):
        return tuple(self._rows[0])

    def read(self, *, rows=None, columns=None):
        frame = pd.DataFrame(self._rows, columns=columns)
        return frame if rows is None else frame.iloc[rows]


def test_file_of_a_format_that_was_added_from_outside_is_a_table_like_others(tmp_path, monkeypatch):
    path, test = tmp_path / "flowers.objects", tmp_path / "more.objects"
    rows = [{"petal": number / 7, "colour": ["red", "blue"][number % 3 > 0]} for number in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    test.write_text("\n".join(map(json.dumps, rows[:5])))
    with pytest.raises(ValueError, match=r"data must be JSON, JSON Lines, CSV, .* got 'flowers\.objects'"):
        load(DataConfig(name=str(path), target="colour"), cache=tmp_path)
    own = DataFormat(name="objects", suffixes=(".objects",), table=ObjectLines)
    monkeypatch.setattr("depthcheck.pipeline.data.load.FORMATS", [*FORMATS, own])
    lines = []

    dataset = load(DataConfig(name=str(path), target="colour", test_file=str(test)), cache=tmp_path, log=lines.append)

    assert (dataset.class_names, [*dataset.X], len(dataset.X_test)) == (("blue", "red"), ["petal"], 5)
    assert lines == ["flowers.objects: 20 objects", "more.objects: 5 objects"]
    assert read_samples(path)[0]["petal"][7] == 1
    with pytest.raises(ValueError, match=r"target must be one of the columns of flowers\.objects: petal, colour"):
        load(DataConfig(name=str(path), target="color"), cache=tmp_path)


def test_unknown_name_and_folder_of_a_data_set_without_files_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"data must be one of fashion-mnist, mnist, .*, got 'mnits'; did you mean 'mnist'"
    ):
        load(DataConfig(name="mnits"), cache=tmp_path)
    with pytest.raises(ValueError, match="data_folder must be left out: digits is read from no folder"):
        load(DataConfig(name="digits"), folder=tmp_path, cache=tmp_path)


def test_digest_tells_values_types_shapes_and_order_apart():
    one, two = np.arange(6), np.arange(6)[::-1]
    variants = [
        (one,),
        (two,),
        (one.astype(np.int32),),
        (one.reshape(2, 3),),
        (one.reshape(3, 2),),
        (one, two),
        (two, one),
    ]

    assert len({digest(*arrays) for arrays in variants}) == len(variants)


def test_digest_ignores_how_the_machine_lays_values_out():
    array = np.arange(6).reshape(2, 3)

    assert digest(array) == digest(array.astype(">i8")) == digest(np.asfortranarray(array))
    assert digest(array) == hashlib.sha256(b"<i8(2, 3)" + array.astype("<i8").tobytes()).hexdigest()


def test_digest_refuses_objects():
    with pytest.raises(ValueError, match="dtype of an array to digest must be plain numbers or text, got 'object'"):
        digest(np.array(["a", None]))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "first bytes"),
        (b"PK\3\4", "first bytes"),
        (b"\0\0\x0d\1\0\0\0\1\0", "type must be unsigned byte"),
        (b"\0\0\x08\2\0\0\0\1", "header must be 12 bytes, got 8"),
        (b"\0\0\x08\1\0\0\0\3ab", "must be 11 bytes, got 10"),
        (b"\0\0\x08\1\0\0\0\1ab", "must be 9 bytes, got 10"),
    ],
)
def test_bytes_that_are_no_idx_file_are_refused(data, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_idx(data)


def test_idx_sizes_are_big_endian_and_the_last_dimension_runs_fastest():
    np.testing.assert_array_equal(parse_idx(b"\0\0\x08\2\0\0\0\2\0\0\0\3abcdef"), [[97, 98, 99], [100, 101, 102]])
