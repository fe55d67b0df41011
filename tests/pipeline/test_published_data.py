"""Data that others publish, fetched from a server on this machine that has small files of the same formats."""

import hashlib
import io
import json
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from sklearn.datasets import _california_housing, _openml

from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data import published
from depthcheck.pipeline.data.load import DataNotFoundError, load

RNG = np.random.default_rng(0)


class Python2Pickler(pickle._Pickler):
    """Write texts as Python 2 did, by which CIFAR's files were made."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_text(self, text):
        data = text.encode("latin-1") if isinstance(text, str) else text
        self.write(b"T" + len(data).to_bytes(4, "little") + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text


def pickled(content):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core", b"numpy.core")


def packed(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def rows(n):
    return RNG.integers(0, 256, (n, 3072), np.uint8)


CIFAR10 = {
    **{f"data_batch_{n}": {"data": rows(4), "labels": [n % 3, 0, 1, 2]} for n in range(1, 6)},
    "test_batch": {"data": rows(3), "labels": [2, 1, 0]},
    "batches.meta": {"label_names": ["airplane", "automobile", "bird"]},
}
CIFAR100 = {
    "meta": {"fine_label_names": ["apple", "bear"], "coarse_label_names": ["fruit", "beast"]},
    "test": {"data": rows(2), "fine_labels": [1, 0], "coarse_labels": [0, 0]},
    "train": {"data": rows(6), "fine_labels": [0, 1, 0, 1, 0, 1], "coarse_labels": [0] * 6},
}


def archive_of(members, folder):
    return packed({f"{folder}/{name}": pickled(content) for name, content in members.items()})


def publish(monkeypatch, served, name, content):
    folder, address = served
    file = published.KERAS_FILES[name]
    (folder / file.names[0]).write_bytes(content)
    ours = published.PublishedFile(
        url=f"{address}/{file.names[0]}", sha256=hashlib.sha256(content).hexdigest(), names=file.names
    )
    monkeypatch.setitem(published.KERAS_FILES, name, ours)
    return ours


def mnist():
    file = io.BytesIO()
    images, labels = RNG.integers(0, 256, (30, 28, 28), np.uint8), np.arange(30, dtype=np.uint8) % 10
    np.savez(file, x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    return file.getvalue(), images, labels


def test_mnist_is_fetched_once_and_verified(tmp_path, served, monkeypatch):
    content, images, labels = mnist()
    publish(monkeypatch, served, "mnist", content)
    lines = []

    first = load(DataConfig(name="mnist"), cache=tmp_path / "cache", log=lines.append)
    shutil.rmtree(served[0])
    again = load(DataConfig(name="mnist"), cache=tmp_path / "cache", log=lines.append)

    np.testing.assert_array_equal(first.X, images)
    np.testing.assert_array_equal(first.y_test, labels[:10])
    assert (first.class_names, first.pixel_max, first.metric) == (tuple("0123456789"), 255, "accuracy")
    assert [first.source, again.source] == [
        f"{place}, {tmp_path}/cache/mnist" for place in ("download", "this project's cache")
    ]
    assert first.sha256 == again.sha256
    assert lines == [f"mnist: not on this machine; downloading {served[1]}/mnist.npz"]
    assert [path.name for path in (tmp_path / "cache" / "mnist").iterdir()] == ["mnist.npz"]


def test_cifar10_is_read_without_running_its_pickles(tmp_path, served, monkeypatch):
    publish(monkeypatch, served, "cifar10", archive_of(CIFAR10, "cifar-10-batches-py"))

    dataset = load(DataConfig(name="cifar10"), cache=tmp_path / "cache")

    assert (dataset.X.shape, dataset.X_test.shape) == ((20, 32, 32, 3), (3, 32, 32, 3))
    assert dataset.class_names == ("airplane", "automobile", "bird")
    assert dataset.y[:8].tolist() == [1, 0, 1, 2, 2, 0, 1, 2]
    # A row has 1,024 red values first, then as many green and blue ones.
    np.testing.assert_array_equal(dataset.X[5].reshape(-1, 3), CIFAR10["data_batch_2"]["data"][1].reshape(3, -1).T)


def test_cifar100_has_its_fine_classes_and_may_lie_where_keras_left_it(tmp_path, served, monkeypatch):
    content = archive_of(CIFAR100, "cifar-100-python")
    publish(monkeypatch, served, "cifar100", content)
    shutil.rmtree(served[0])
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    (tmp_path / "keras" / "datasets" / "cifar-100-python-target_archive").write_bytes(content)

    dataset = load(DataConfig(name="cifar100"), cache=tmp_path / "cache")

    assert dataset.source.startswith("Keras's cache")
    assert dataset.class_names == ("apple", "bear")
    assert (dataset.y.tolist(), dataset.y_test.tolist()) == ([0, 1, 0, 1, 0, 1], [1, 0])


def test_folder_that_is_named_comes_first_and_alone(tmp_path, served, monkeypatch):
    content, _, _ = mnist()
    publish(monkeypatch, served, "mnist", content)
    (tmp_path / "mine").mkdir()

    with pytest.raises(DataNotFoundError, match=r"mnist is not in the folder named, .*mine: there is no mnist\.npz"):
        load(DataConfig(name="mnist"), folder=tmp_path / "mine", cache=tmp_path / "cache")
    (tmp_path / "mine" / "mnist.npz").write_bytes(content)
    dataset = load(DataConfig(name="mnist"), folder=tmp_path / "mine", cache=tmp_path / "cache")

    assert dataset.source == f"folder {tmp_path}/mine"


def test_file_that_is_not_the_published_one_is_never_read(tmp_path, served, monkeypatch):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    content, _, _ = mnist()
    publish(monkeypatch, served, "mnist", content)
    (served[0] / "mnist.npz").write_bytes(content[:-1])
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    (tmp_path / "keras" / "datasets" / "mnist.npz").write_bytes(pickle.dumps(Trap()))
    lines = []

    with pytest.raises(DataNotFoundError) as raised:
        load(DataConfig(name="mnist"), cache=tmp_path / "cache", log=lines.append)

    assert str(raised.value).count("mnist.npz is not the published file: its SHA-256 must be") == 2
    assert "named by data_folder=FOLDER" in str(raised.value)
    assert lines[0].startswith("mnist: Keras's cache, ")
    assert not (tmp_path / "sprung").exists()
    assert list((tmp_path / "cache").rglob("*.npz")) == []


def test_pickle_that_calls_anything_is_refused_even_if_it_were_published(tmp_path, served, monkeypatch):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    members = {f"x/{name}": pickled(content) for name, content in CIFAR10.items()}
    publish(monkeypatch, served, "cifar10", packed(members | {"x/test_batch": pickle.dumps(Trap(), protocol=2)}))

    with pytest.raises(DataNotFoundError, match="a data file must hold arrays and containers alone, got "):
        load(DataConfig(name="cifar10"), cache=tmp_path / "cache")

    assert not (tmp_path / "sprung").exists()


def test_server_that_refuses_gives_one_message_with_places_and_remedies(tmp_path, served, monkeypatch):
    ours = publish(monkeypatch, served, "cifar10", b"")
    shutil.rmtree(served[0])

    with pytest.raises(DataNotFoundError) as raised:
        load(DataConfig(name="cifar10"), cache=tmp_path / "cache")

    for expected in ("Keras's cache", "this project's cache", f"{ours.url}: HTTP Error 404", "data_folder=FOLDER"):
        assert expected in str(raised.value)


def test_published_checksums_are_those_of_keras():
    from importlib.util import find_spec
    from pathlib import Path

    folder = Path(find_spec("keras").origin).parent / "src" / "datasets"
    for name, file in published.KERAS_FILES.items():
        source = (folder / f"{name}.py").read_text()
        assert file.sha256 in source
        assert file.url.rpartition("/")[0] in source
        assert file.url.rpartition("/")[2] in source


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("iris", (150, 4), ("setosa", "versicolor", "virginica")),
        ("wine", (178, 13), ("class_0", "class_1", "class_2")),
        ("breast-cancer", (569, 30), ("benign", "malignant")),
        ("diabetes", (442, 10), ()),
    ],
)
def test_tables_of_scikit_learn_have_names_and_classes(tmp_path, name, shape, classes):
    dataset = load(DataConfig(name=name), cache=tmp_path / "cache")

    assert (dataset.X.shape, dataset.class_names, dataset.target) == (shape, classes, "target")
    assert dataset.task == ("classification" if classes else "regression")
    assert not (tmp_path / "cache").exists()


def test_class_names_of_scikit_learn_go_to_the_right_rows(tmp_path):
    from sklearn.datasets import load_breast_cancer

    dataset, original = load(DataConfig(name="breast-cancer"), cache=tmp_path), load_breast_cancer()

    names = np.array(dataset.class_names)[dataset.y]
    np.testing.assert_array_equal(names, original.target_names[original.target])


def test_another_column_of_a_known_table_can_be_the_target(tmp_path):
    dataset = load(DataConfig(name="iris", target="petal width (cm)"), cache=tmp_path)

    assert (dataset.task, dataset.X.shape) == ("regression", (150, 4))
    with pytest.raises(ValueError, match=r"target must be one of the columns of iris: .* got 'petal width'"):
        load(DataConfig(name="iris", target="petal width"), cache=tmp_path)


def test_california_housing_is_fetched_once_or_missed_in_one_line(tmp_path, served, monkeypatch):
    folder, address = served
    houses = "\n".join(f"-122.2,37.8,{age % 9},880,129,322,126,8.3,{450_000 - age * 1_000}" for age in range(1, 41))
    content = packed({"CaliforniaHousing/cal_housing.data": houses.encode()})
    (folder / "houses.tgz").write_bytes(content)
    archive = _california_housing.ARCHIVE._replace(
        filename="houses.tgz", url=f"{address}/houses.tgz", checksum=hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setattr(_california_housing, "ARCHIVE", archive)

    first = load(DataConfig(name="california-housing"), cache=tmp_path / "cache")
    shutil.rmtree(folder)
    again = load(DataConfig(name="california-housing"), cache=tmp_path / "cache")
    with pytest.raises(DataNotFoundError, match=r"could not download it: .*404") as raised:
        load(DataConfig(name="california-housing"), cache=tmp_path / "empty")

    assert (first.target, first.task, len(first.X), first.y[0]) == ("MedHouseVal", "regression", 40, np.float32(4.49))
    assert again.sha256 == first.sha256
    assert "\n" not in str(raised.value)


ARFF = """@RELATION flowers
@ATTRIBUTE row INTEGER
@ATTRIBUTE ' petal' REAL
@ATTRIBUTE colour {red,'light blue'}
@ATTRIBUTE grade {1,2,3}
@ATTRIBUTE ' kind' {daisy,rose}
@DATA
1,1.5,red,1,daisy
2,?,'light blue',2,rose
3,2.5,red,3,daisy
4,1.0,?,2,rose
5,1.5,red,1,rose
"""


@pytest.fixture
def openml(served, monkeypatch):
    """Let a server on this machine answer as OpenML does, and scikit-learn ask it."""
    folder, address = served

    def answer(path, content):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content if isinstance(content, str) else json.dumps(content))

    def feature(index, name, kind):
        flags = {"is_target": name == " kind", "is_ignore": False, "is_row_identifier": name == "row"}
        known = {key: str(flag).lower() for key, flag in flags.items()}
        return {"index": str(index), "name": name, "data_type": kind, "number_of_missing_values": "0", **known}

    kinds = {"row": "numeric", " petal": "numeric", "colour": "nominal", "grade": "nominal", " kind": "nominal"}
    description = {
        "id": "7", "name": "flowers", "version": "2", "format": "ARFF", "status": "active", "description": "Flowers.",
        "url": f"{address}/download/7/flowers.arff", "md5_checksum": hashlib.md5(ARFF.encode()).hexdigest(),
    }  # fmt: skip
    answer("download/7/flowers.arff", ARFF)
    answer("data/7", {"data_set_description": description})
    features = [feature(index, *item) for index, item in enumerate(kinds.items())]
    answer("features/7", {"data_features": {"feature": features}})
    answer("qualities/7", {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "5"}]}})
    found = {"did": "7", "name": "flowers", "version": "2", "status": "active"}
    answer("search/flowers/status/active/index.html", {"data": {"dataset": [found, found | {"version": "3"}]}})
    monkeypatch.setattr(_openml, "_SEARCH_NAME", f"{address}/search/{{}}")
    monkeypatch.setattr(_openml, "_DATA_INFO", f"{address}/data/{{}}")
    monkeypatch.setattr(_openml, "_DATA_FEATURES", f"{address}/features/{{}}")
    monkeypatch.setattr(_openml, "_DATA_QUALITIES", f"{address}/qualities/{{}}")
    return folder


def test_table_of_openml_comes_with_its_own_target_and_stays_in_the_cache(tmp_path, openml):
    first = load(DataConfig(name="openml:7"), cache=tmp_path / "cache")
    shutil.rmtree(openml)
    again = load(DataConfig(name="openml:7"), cache=tmp_path / "cache")

    assert (first.name, first.source, first.target) == ("openml:7", "OpenML 7, flowers version 2", "kind")
    assert first.class_names == ("daisy", "rose")
    assert first.y.tolist() == [0, 1, 0, 1, 1]
    kinds = {"petal": "numeric", "colour": "categorical", "grade": "categorical"}
    assert {column.name: column.kind for column in first.columns} == kinds
    assert first.X["colour"].astype("str").tolist()[:3] == ["red", "light blue", "red"]
    assert again.sha256 == first.sha256


def test_table_of_openml_can_be_named_and_has_several_versions(tmp_path, openml):
    lines = []

    dataset = load(DataConfig(name="openml:Flowers", target="petal"), cache=tmp_path / "cache", log=lines.append)

    assert (dataset.target, dataset.task, dataset.name) == ("petal", "regression", "openml:Flowers")
    assert "Multiple active versions" in lines[0]
    assert all("\n" not in line for line in lines)


def test_names_of_openml_may_be_true_and_false(tmp_path, openml):
    text = ARFF.replace("daisy", "true").replace("rose", "false")
    (openml / "download" / "7" / "flowers.arff").write_text(text)
    sums = [hashlib.md5(one.encode()).hexdigest() for one in (ARFF, text)]
    (openml / "data" / "7").write_text((openml / "data" / "7").read_text().replace(*sums))

    dataset = load(DataConfig(name="openml:7"), cache=tmp_path / "cache")

    assert (dataset.class_names, dataset.y.tolist()) == (("false", "true"), [1, 0, 1, 0, 0])


def test_openml_that_does_not_know_or_does_not_answer_is_told_in_one_line(tmp_path, openml, monkeypatch):
    for name, complaint in (("openml:8", "OpenML answered 404"), ("openml:", "data must be openml:<number or name>")):
        with pytest.raises(ValueError, match=complaint):
            load(DataConfig(name=name), cache=tmp_path / "cache")
    with pytest.raises(
        ValueError, match=r"target must be one of the columns of openml:7: petal, colour, grade, kind; got 'knd'"
    ):
        load(DataConfig(name="openml:7", target="knd"), cache=tmp_path / "cache")
    (openml / "download" / "7" / "flowers.arff").write_text(ARFF.replace("1.5", "1.6"))
    with pytest.raises(ValueError, match="md5 checksum"):
        load(DataConfig(name="openml:7"), cache=tmp_path / "other cache")
    monkeypatch.setattr(_openml, "_DATA_INFO", "http://127.0.0.1:9/{}")
    with pytest.raises(DataNotFoundError, match=r"openml:9 is not in .*, and OpenML could not be asked: .*refused"):
        load(DataConfig(name="openml:9"), cache=tmp_path / "cache")
