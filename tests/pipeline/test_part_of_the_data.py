"""Data larger than memory: what they will take is told before, a sample of them is drawn while they are read."""

import contextlib
import gzip
import io
import sqlite3
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyarrow import feather
from test_table_files import workbook

from depthcheck.pipeline import system
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data import amount
from depthcheck.pipeline.data.amount import ReadingProgress
from depthcheck.pipeline.data.cell_table import objects_size
from depthcheck.pipeline.data.delimited import delimited_size
from depthcheck.pipeline.data.load import load, similar_told_once
from depthcheck.pipeline.system import available_memory

N = 1_000
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "row": np.arange(1, N + 1),
        "x": RNG.normal(size=N).round(4),
        "word": RNG.permutation(np.repeat(["red", "green", "blue", "grey"], N // 4)),
        "patient": RNG.integers(0, 100, N),
        "rare": np.where(np.arange(N) % 125 == 7, "yes", "no"),
        "y": np.select([np.arange(N) % 100 == 0, np.arange(N) % 4 == 0], ["c", "b"], "a"),
    }
)


def write(path):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pandas(FRAME), path, row_group_size=90)
    elif path.suffix == ".feather":
        feather.write_feather(FRAME, path, chunksize=90)
    elif path.suffix == ".xlsx":
        workbook(path, [list(FRAME), *FRAME.itertuples(index=False)])
    else:
        FRAME.to_csv(path, index=False)
    return path


def sampled(path, rows, log=lambda _line: None, **said):
    config = DataConfig(**{"name": str(path), "target": "y", "rows": rows, **said})
    return load(config, cache=path.parent, log=log)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".feather", ".xlsx"])
def test_sample_has_each_class_in_its_share_and_is_the_same_again(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("depthcheck.pipeline.data.delimited._N_BLOCK", 5_000)
    lines = []
    dataset = sampled(write(tmp_path / f"t{suffix}"), 200, lines.append)

    assert dict(zip(dataset.class_names, np.bincount(dataset.y), strict=True)) == {"a": 150, "b": 48, "c": 2}
    words = "a sample of 200 of 1,000 rows, each class in its share, drawn by seed 1234"
    assert f"t{suffix}: {words}" in lines
    assert dataset.source.endswith(words)
    again, other = (sampled(tmp_path / f"t{suffix}", 200, rows_seed=seed) for seed in (1234, 5))
    assert dataset.sha256 == again.sha256 != other.sha256
    # Every row is one of the file's, whole.
    of_file = set(zip(FRAME.x.astype(np.float32), FRAME.word, FRAME.y, strict=True))
    rows = zip(dataset.X.x, dataset.X.word, np.array(dataset.class_names)[dataset.y], strict=True)
    assert set(rows) <= of_file
    # What counts the rows of the whole file tells as little here.
    assert next(column for column in dataset.columns if column.name == "row").kind == "ignored"


def test_every_format_draws_the_same_rows(tmp_path):
    frames = [sampled(write(tmp_path / f"t{suffix}"), 100).X for suffix in (".csv", ".parquet", ".feather")]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])


def test_sample_takes_whole_groups_and_as_many_rows_as_fit(tmp_path):
    dataset = sampled(write(tmp_path / "t.parquet"), 200, group="patient")
    assert 185 <= len(dataset.y) <= 200
    sizes_there = sorted(np.bincount(dataset.groups))
    all_sizes = FRAME.patient.value_counts()
    patients = FRAME.patient[FRAME.x.astype(np.float32).isin(dataset.X.x)].unique()
    assert sum(sizes_there) == len(dataset.y)
    assert len(sizes_there) <= len(patients)
    assert set(sizes_there) <= set(all_sizes)
    with pytest.raises(ValueError, match=r"rows must be at least those of the smallest group, \d+, got 2"):
        sampled(write(tmp_path / "t.csv"), 2, group="word")


def test_smallest_group_is_one_that_has_answers(tmp_path):
    frame = pd.DataFrame({"who": np.repeat([0, 1, 2], 5), "x": np.arange(15) / 7, "y": [1.5, 2.5, 3.5, 4.5, 5.5] * 3})
    frame.loc[frame.who == 1, "y"] = np.nan
    frame.to_csv(tmp_path / "few.csv", index=False)
    config = DataConfig(name=str(tmp_path / "few.csv"), target="y", group="who", rows=4)
    with pytest.raises(ValueError, match="rows must be at least those of the smallest group, 5, got 4"):
        load(config, cache=tmp_path)


def test_sample_keeps_the_share_of_the_marked_test_part_and_never_more_rows_than_there_are(tmp_path):
    dataset = sampled(write(tmp_path / "t.csv"), 250, test_column="rare")
    assert len(dataset.y) + len(dataset.y_test) == 250
    assert len(dataset.y_test) in (2, 3)  # 8 of 1,000 are marked, of two classes
    lines = []
    assert len(sampled(tmp_path / "t.csv", 9_999, lines.append).y) == N
    assert "t.csv: all 1,000 rows are read" in lines
    assert len(sampled(tmp_path / "t.csv", 100, target="x").y) == 100


def test_sample_is_of_what_all_rows_say_is_to_be_learned(tmp_path):
    FRAME.assign(land=np.resize(["DE", "NA"], N), grade=np.arange(N) % 10).to_csv(tmp_path / "t.csv", index=False)
    named = sampled(tmp_path / "t.csv", 100, target="land", columns=(("land", "categorical with NA"),))
    assert dict(zip(named.class_names, np.bincount(named.y), strict=True)) == {"DE": 50, "NA": 50}
    # Four rows of each whole number would be taken for numbers to predict.
    assert sampled(tmp_path / "t.csv", 40, target="grade").task == "classification"
    (tmp_path / "t.jsonl").write_text("".join(f'{{"x": {n}, "who": [{n}], "y": {n % 2}}}\n' for n in range(50)))
    with pytest.raises(ValueError, match=r"group must be one of the columns of t\.jsonl: x, y; got 'who'"):
        sampled(tmp_path / "t.jsonl", 20, group="who")


def test_arrays_and_known_pictures_are_sampled_too(tmp_path):
    y = np.repeat([0, 1], [900, 100])
    np.savez(tmp_path / "a.npz", X=np.arange(1_000.0)[:, None] * [1, 2], y=y)
    dataset = load(DataConfig(name=str(tmp_path / "a.npz"), rows=100), cache=tmp_path)
    assert np.bincount(dataset.y).tolist() == [90, 10]
    assert (y[dataset.X[:, 0].astype(int)] == dataset.y).all()
    lines = []
    digits = load(DataConfig(name="digits", rows=200), cache=tmp_path, log=lines.append)
    assert lines == ["digits: a sample of 200 of 1,437 rows, each class in its share, drawn by seed 1234"]
    assert (len(digits.y), len(digits.y_test)) == (200, 360)
    assert digits.source.endswith("a sample of 200 of 1,437 rows, each class in its share, drawn by seed 1234")


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(amount, "available_memory", lambda: 10_000)


def images(folder):
    for number in range(20):
        place = folder / "pictures" / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 40)).save(place)
    return folder / "pictures"


def npz(folder):
    np.savez_compressed(folder / "t.npz", X=np.zeros((N, 9)), y=np.arange(N) % 2)
    return folder / "t.npz"


def packed(folder):
    (folder / "t.csv.gz").write_bytes(gzip.compress(b"x,y\n" + b"1,a\n2,b\n3,a\n" * 3_000))
    return folder / "t.csv.gz"


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("make", "least", "advice"),
    [
        (lambda folder: write(folder / "t.csv"), 30, "rows = 100 in"),
        (lambda folder: write(folder / "t.parquet"), 50, "rows = 70 in"),
        (lambda folder: write(folder / "t.feather"), 50, "rows = 70 in"),
        (lambda folder: write(folder / "t.xlsx"), 100, "take a part"),
        (packed, 100, "rows = 300 in"),
        (npz, 80, "take a part"),
        (images, 50, "take a part"),
    ],
    ids=["CSV", "Parquet", "Feather", "spreadsheet", "packed", "NPZ", "images"],
)
def test_data_larger_than_memory_are_refused_before_they_are_read(tmp_path, monkeypatch, make, least, advice):
    path = make(tmp_path)
    complaint = rf"reading {path.name} must take no more memory than is left, 0 MiB, got about .*: {advice}"
    target = None if make in (npz, images) else "y"
    with pytest.raises(ValueError, match=complaint):
        load(DataConfig(name=str(path), target=target), cache=tmp_path)
    # The figure is that of what reading takes, within a factor of a few.
    monkeypatch.setattr(amount, "available_memory", lambda: least * 1_000)
    with pytest.raises(ValueError, match="must take no more memory"):
        load(DataConfig(name=str(path), target=target), cache=tmp_path)
    monkeypatch.setattr(amount, "available_memory", lambda: 20 * least * 1_000)
    load(DataConfig(name=str(path), target=target), cache=tmp_path)


@pytest.mark.usefixtures("little_memory")
def test_sample_of_data_larger_than_memory_is_read(tmp_path):
    assert len(sampled(write(tmp_path / "t.csv"), 100).y) == 100
    with pytest.raises(ValueError, match="must take no more memory"):
        sampled(tmp_path / "t.csv", 300)


def test_test_file_larger_than_memory_is_refused_by_itself_and_beside_the_data(tmp_path, monkeypatch):
    path, test = write(tmp_path / "t.csv"), write(tmp_path / "test.csv")
    config = DataConfig(name=str(path), target="y", test_file=str(test))
    monkeypatch.setattr(amount, "available_memory", lambda: 0)
    with pytest.raises(ValueError, match=r"reading test\.csv must take no more memory"):
        load(config, cache=tmp_path)
    size = delimited_size(path).n_bytes
    monkeypatch.setattr(amount, "available_memory", lambda: 1.5 * size)
    with pytest.raises(ValueError, match=r"reading t\.csv must take no more memory"):
        load(config, cache=tmp_path)
    load(replace(config, test_file=None), cache=tmp_path)


@pytest.mark.usefixtures("little_memory")
def test_query_is_asked_of_a_database_larger_than_memory(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db")) as database:
        FRAME.to_sql("t", database, index=False)
    with pytest.raises(ValueError, match="must take no more memory"):
        load(DataConfig(name=str(tmp_path / "t.db"), target="y"), cache=tmp_path)
    few = DataConfig(name=str(tmp_path / "t.db"), target="y", query="SELECT * FROM t LIMIT 40")
    assert len(load(few, cache=tmp_path).y) == 40


def test_database_that_holds_an_archive_is_not_measured_as_one(tmp_path):
    path, held = tmp_path / "t.db", io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a.txt", "a")
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE files (content BLOB)")
        database.execute("INSERT INTO files VALUES (?)", [held.getvalue()])
    assert zipfile.is_zipfile(path)  # by its end
    assert objects_size(path).n_bytes > path.stat().st_size


VERSION_1 = ("limit_in_bytes", "usage_in_bytes", "total_")


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/user/one", "user", ("max", "current", "")),
        ("7:cpu,cpuacct:/one\n5:memory:/docker/1f0c", "memory", VERSION_1),
        ("5:memory:/docker/1f0c\n0::/one", "memory/docker/1f0c", VERSION_1),
    ],
    ids=["version 2", "version 1, from inside", "both"],
)
def test_memory_that_is_left_is_no_more_than_the_container_has(tmp_path, monkeypatch, line, folder, names):
    import psutil

    assert 0 < available_memory() <= psutil.virtual_memory().total
    monkeypatch.setattr(system, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(system, "_OWN_CGROUPS", tmp_path / "own")
    (tmp_path / "own").write_text(f"{line}\n")
    container = tmp_path / "cgroup" / folder
    container.mkdir(parents=True)
    limit, used, total = names
    # What a container remembers of files makes room where it is needed, however often they were read.
    stated = {
        limit: "1000",
        used: "900",
        "stat": f"{total}anon 400\n{total}active_file 300\n{total}inactive_file 200\n",
    }
    for name, text in stated.items():
        (container / f"memory.{name}").write_text(text)
    assert available_memory() == 600


def test_long_reading_says_how_far_it_has_come_ever_more_rarely():
    lines, now = [], iter(range(0, 1_000, 1))
    with similar_told_once(lines.append) as tell:
        progress = ReadingProgress("big.csv", 1e9, tell, clock=lambda: float(next(now)))
        for step in range(1, 20):
            progress.reached(step * 5e7)
    assert lines == [f"big.csv: {5 * s}% read after {s} s" for s in (2, 4, 8, 16)]
    short = ReadingProgress("small.csv", 1e5, lines.append, clock=lambda: float(next(now)) * 9)
    short.reached(5e4)
    assert len(lines) == 4
