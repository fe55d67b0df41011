"""Workers on hosts of their own: data come to them, and those that cannot train are left out by name."""

import hashlib
import os
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import Folder, wait_for
from hosts import hosts, with_version, without
from mounts import fill, mounted, needs_mounts
from PIL import Image

from depthcheck.experiments.cluster import admission, launch, travel
from depthcheck.experiments.cluster.worker import load_once
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.load import load

pytestmark = pytest.mark.slow

OWN = """
import keras
def build(input_shape, n_outputs, width=4):
    inputs = keras.Input(input_shape)
    hidden = keras.layers.Dense(width, activation="relu")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(n_outputs)(hidden))

def score(y_true, y_pred):
    import numpy as np
    return float(np.mean(np.argmax(y_pred, axis=1) == y_true))
"""
DEFINITION = """
seed = 5
model = "own.py:build"
[data]
name = "mine.csv"
target = "target"
metric = "own.py:score"
direction = "maximize"
[budget]
trials = 5
epochs = 2
seeds = 1
window = 2
[compare]
width = [3, 5]
[tune]
optimizer = ["sgd", "adam"]
batch_size = [16]
[tune.sgd]
learning_rate = { low = 0.01, high = 1.0, log = true }
[tune.adam]
learning_rate = { low = 0.001, high = 0.1, log = true }
"""


@pytest.fixture
def cluster(tmp_path):
    with hosts(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return the configuration of a table with numbers, words, dates and gaps, in a file of the coordinator's alone."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({f"x{number}": rng.normal(size=90) for number in range(3)})
    frame.loc[::7, "x1"] = np.nan
    frame["word"] = rng.choice(["red", "green", "blue"], 90)
    frame["day"] = pd.date_range("2020-01-01", periods=90)
    frame["target"] = rng.choice(["yes", "no"], 90)
    path = tmp_path_factory.mktemp("own") / "mine.csv"
    frame.to_csv(path, index=False)
    return DataConfig(name=str(path), target="target")


def _everywhere(client, config, dataset):
    """Ask each admitted worker for the data as it has them; return how many have."""
    found = client.scheduler_info(n_workers=-1)["workers"]
    at = [address for address, info in found.items() if client.asks.items() <= info["resources"].items()]
    answers = client.run(load_once, config, None, dataset.sha256, workers=at)
    assert {_digest(answer) for answer in answers.values()} == {_digest(dataset)}
    return len(answers)


def _digest(dataset):
    parts = [dataset.X.to_csv() if dataset.is_table else dataset.X.tobytes(), dataset.y.tobytes(), dataset.columns]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _kept(home):
    return list((home / ".cache" / "depthcheck" / "data" / "sent").iterdir())


def test_study_of_own_table_model_and_metric_equals_the_local_one_and_who_cannot_train_is_left_out(
    cluster, table, folder, tmp_path_factory, empty_store
):
    local = Folder(path=tmp_path_factory.mktemp("local"), home=folder.home)
    for one in (local, folder):
        (one.path / "mlflow.db").write_bytes(empty_store.read_bytes())
        (one.path / "own.py").write_text(OWN)
        (one.path / "mine.toml").write_text(DEFINITION.replace("mine.csv", table.name))
    code, output = local.run("--experiment", "mine.toml", "--workers", "1")
    assert code == 0, output
    cluster.start("a", "--nthreads", "2", "--memory-limit", "2049 MiB")
    bad = {
        cluster.start(
            "no-tensorflow", "--no-nanny", PYTHONPATH=without(cluster.home("x"), "tensorflow")
        ): "must be able to import",
        cluster.start(
            "small", "--no-nanny", "--memory-limit", "300 MiB"
        ): "its memory must be 2,048 MiB or more, got 300 MiB",
        cluster.start(
            "old", "--no-nanny", PYTHONPATH=with_version(cluster.home("y"), "keras", "3.1.0")
        ): "keras must be 3.",
    }
    code, output = folder.run("--experiment", "mine.toml", "--scheduler", cluster.address)
    assert code == 0, output
    lines = [line for line in output.splitlines() if "is left out: " in line]
    assert {line.split()[1] for line in lines} == set(bad)
    assert all(bad[line.split()[1]] in line for line in lines), lines
    assert "as here, got 3.1.0" in output
    assert "sending the data, 0.0 MiB, to 1 machine" in output
    assert folder.fingerprint() == local.fingerprint()
    assert len(_kept(cluster.home("a"))) == 1


def test_without_a_good_worker_the_start_is_refused_and_nothing_written(cluster, table, folder):
    address = cluster.start("old", "--no-nanny", PYTHONPATH=with_version(cluster.home("y"), "tensorflow", "2.1.0"))
    before = set(folder.path.iterdir())
    # The address is Dask's own setting this time.
    os.environ["DASK_SCHEDULER_ADDRESS"] = cluster.address
    try:
        code, output = folder.run("--data", table.name, "--target", "target")
    finally:
        del os.environ["DASK_SCHEDULER_ADDRESS"]
    assert code == 2, output
    assert f"worker {address} is left out: tensorflow must be" in output
    assert output.splitlines()[-1].startswith("error: scheduler must have at least one worker that can train, got none")
    assert set(folder.path.iterdir()) == before


def test_who_comes_later_gets_the_data_and_waiting_trials_and_nobody_gets_them_twice(cluster, table, tmp_path):
    dataset, said = load(table, cache=tmp_path / "cache"), []
    cluster.start("a")
    with launch.connected(cluster.address, table, dataset, said.append) as client:
        assert _everywhere(client, table, dataset) == 1
        cluster.kill("a")
        wait_for(lambda: not admission.n_admitted(client))
        waiting = client.submit(os.getenv, "HOME", pure=False)
        cluster.start("bad", "--no-nanny", "--memory-limit", "300 MiB")
        cluster.start("b", n_workers=2)
        assert waiting.result(timeout=300) == str(cluster.home("b"))
        wait_for(lambda: admission.n_admitted(client) == 2)
        assert _everywhere(client, table, dataset) == 2
    (first,), (kept,) = _kept(cluster.home("a")), _kept(cluster.home("b"))
    assert first.name == kept.name == hashlib.sha256(kept.read_bytes()).hexdigest()
    assert sum("is left out" in line for line in said) == 1
    sent = kept.stat().st_ino
    again = []
    with launch.connected(cluster.address, table, dataset, again.append):
        pass
    assert not any("sending" in line for line in again)
    kept.write_bytes(b"\0" * kept.stat().st_size)  # damaged: it is sent anew
    with launch.connected(cluster.address, table, dataset, again.append):
        (kept,) = _kept(cluster.home("b"))
        assert kept.stat().st_ino != sent
    assert sum("sending" in line for line in again) == 1


@needs_mounts
def test_images_travel_and_a_host_whose_disk_is_full_is_left_out(cluster, tmp_path):
    rng = np.random.default_rng(2)
    for number in range(12):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 5), np.uint8)).save(path)
    config, said = DataConfig(name=str(tmp_path / "pictures")), []
    dataset = load(config, cache=tmp_path / "cache")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with mounted(cluster.home("full"), "8m"):
        cluster.start("a")
        full = cluster.start("full", "--local-directory", str(scratch), TMPDIR=str(scratch))
        with launch.connected(cluster.address, config, dataset, said.append) as client:
            assert _everywhere(client, config, dataset) == 1
        cluster.kill("full")
    (line,) = [line for line in said if "left out" in line]
    assert line.startswith(f"worker {full} is left out: {cluster.home('full')}")
    assert "must have room for 64 MiB" in line


@needs_mounts
def test_worker_whose_disk_fills_up_gives_its_trial_back_and_is_used_again_when_there_is_room(
    cluster, table, tmp_path, monkeypatch
):
    monkeypatch.setattr(admission, "_UNFIT_SECONDS", 1.0)
    monkeypatch.setattr(admission, "_LOOK_SECONDS", 1.0)
    dataset, said = load(table, cache=tmp_path / "cache"), []
    with mounted(cluster.home("a"), "100m"):
        address = cluster.start("a", TMPDIR=str(cluster.home("a")))
        with launch.connected(cluster.address, table, dataset, said.append) as client:
            ballast = fill(cluster.home("a"))
            waiting = client.submit(os.getenv, "HOME", pure=False)
            wait_for(lambda: not admission.n_admitted(client))
            cluster.start("b")
            assert waiting.result(timeout=300) == str(cluster.home("b"))
            ballast.unlink()
            wait_for(lambda: admission.n_admitted(client) == 2)
            cluster.kill("b")
            assert client.submit(os.getenv, "HOME", pure=False).result(timeout=300) == str(cluster.home("a"))
        cluster.kill("a")
    (line,) = [line for line in said if "left out" in line]
    assert line == f"worker {address} is left out: {cluster.home('a')} must have room for 64 MiB, got 0 MiB"


def test_worker_whose_memory_is_full_begins_anew_and_where_nobody_is_left_it_is_said(
    cluster, table, tmp_path, monkeypatch
):
    def fill_memory(dask_worker):  # Dask pauses it at 1,680 MiB, and kills it at 1,995
        dask_worker.filled = b"1" * (1800 * 2**20 - dask_worker.monitor.get_process_memory())

    monkeypatch.setattr(admission, "_LOOK_SECONDS", 1.0)
    dataset, said = load(table, cache=tmp_path / "cache"), []
    cluster.start("a", "--memory-limit", "2100 MiB")
    with launch.connected(cluster.address, table, dataset, said.append) as client:
        before = client.submit(os.getpid, pure=False).result()
        client.run(fill_memory)
        wait_for(lambda: not admission.n_admitted(client))
        assert client.submit(os.getpid, pure=False).result(timeout=300) != before
        cluster.kill("a")
        cluster.start("b", "--memory-limit", "2100 MiB", "--no-nanny")
        wait_for(lambda: admission.n_admitted(client))
        client.run(fill_memory)
        wait_for(lambda: "trials are taken again" in said and said[-1] == "no worker takes trials now: waiting for one")
    assert [line.partition(" is left out: ")[2] for line in said if "left out" in line] == [
        "its memory is full, and it has no nanny that could restart it"
    ]


def test_trials_take_a_gpu_where_workers_offer_one(cluster, table, tmp_path):
    dataset, said = load(table, cache=tmp_path / "cache"), []
    plain = cluster.start("plain", "--no-nanny")  # which restarts a worker, and takes as long to start as one
    cluster.start("half", "--no-nanny", "--resources", "GPU=0.5")
    cluster.start("whole", "--no-nanny", "--resources", "GPU=1")
    with launch.connected(cluster.address, table, dataset, said.append) as client:
        assert client.asks["GPU"] == 0.5
        assert admission.n_admitted(client) == 2
        homes = {client.submit(os.getenv, "HOME", pure=False).result() for _ in range(4)}
        assert homes <= {str(cluster.home("half")), str(cluster.home("whole"))}
    assert f"worker {plain} is left out: its resources must have GPU=0.5 as others' have, got 0" in said


def test_another_code_is_refused_until_the_cluster_is_started_anew(cluster, table, tmp_path, monkeypatch):
    dataset = load(table, cache=tmp_path / "cache")
    cluster.start("a")
    with launch.connected(cluster.address, table, dataset, print):
        pass
    other = tmp_path / "other" / "depthcheck"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    monkeypatch.setattr(admission, "CODE", other)
    with (
        pytest.raises(ValueError, match="scheduler must have been started anew since another depthcheck sent it"),
        launch.connected(cluster.address, table, dataset, print),
    ):
        pass


def test_chunks_give_the_same_data_again_and_none_is_large(fashion_mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(travel, "CHUNK", 2**20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parcel, parts = travel.packed(replace(fashion_mnist, class_names=fashion_mnist.class_names))
    parcel.path.parent.mkdir(parents=True)
    offset = 0
    whole, part = (parcel.path.with_name(name) for name in ("whole", "part-of-a-killed-session"))
    for old in (whole, part):
        old.touch()
        os.utime(old, (0, time.time() - 2 * 3600))
    for chunk in travel.chunks(parts):
        assert len(chunk) < 2 * 2**20
        assert travel.arrived(parcel) is None
        travel.keep(parcel, offset, chunk)
        offset += len(chunk)
    assert offset == parcel.n_bytes
    assert [old.exists() for old in (whole, part)] == [True, False]
    mapped = travel.arrived(parcel)
    assert mapped is not None
    again = travel.unpacked(parcel, mapped)
    assert again.sha256 == fashion_mnist.sha256
    assert np.array_equal(again.X, fashion_mnist.X)
    assert np.array_equal(again.y, fashion_mnist.y)
    assert not again.X.flags.writeable
    assert not any(array.ctypes.data % 64 for array in (again.X, again.y))
