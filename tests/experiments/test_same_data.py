"""Data that change while they are used: a worker that reads them again notices, and no trial is blamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster import travel
from depthcheck.experiments.cluster.travel import changed_since, stamps
from depthcheck.experiments.cluster.worker import TrialTask, load_once, run_task, score_network, score_references
from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.reproduce.original import train_again
from depthcheck.experiments.tracking.store import client
from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.data.load import load

DIGITS = definition.read(definition.find("digits"))


def write(path: Path, last: int) -> None:
    rows = [f"{row},{row % 3},{row % 2}" for row in range(40)]
    path.write_text("\n".join(["a,b,bought", *rows, f"{last},0,1"]) + "\n")


def test_sessions_that_send_the_same_data_at_once_do_not_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(travel, "CHUNK", 64)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    digits = load(DataConfig(name="digits", rows=10), cache=tmp_path)
    for length in range(64):  # the last chunk may come out full, or with any number of bytes
        dataset = replace(digits, source="x" * length)
        (one, parts), (other, _) = travel.packed(dataset), travel.packed(dataset)
        one.path.parent.mkdir(parents=True, exist_ok=True)
        offset = 0
        for chunk in travel.chunks(parts):
            for parcel in (one, other):
                travel.keep(parcel, offset, chunk)
            offset += len(chunk)
        assert travel.arrived(one) is not None
    assert not list(one.path.parent.glob("*-*"))


@pytest.mark.parametrize("change", [lambda path: write(path, 9), lambda path: path.write_text("a,b"), Path.unlink])
def test_worker_stops_the_study_where_its_data_are_others(
    uri: str, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "people.csv"
    write(path, 7)
    data = DataConfig(name=str(path), target="bought")
    read, before = load(data, cache=tmp_path), stamps(data, None)
    point = design.plan(DIGITS, [design.SearchRound(trials=20)])[1].point
    assert point is not None
    config = space.to_config(replace(DIGITS, data=data), point, seed=1, data_sha256=read.sha256, split=SplitConfig())
    study_run = tracking.open_parent("mine", uri=uri, environ={})
    assert load_once(data, None, read.sha256).sha256 == read.sha256
    change(path)
    assert load_once(data, None, read.sha256).sha256 == read.sha256  # a worker that has them keeps them
    for use in (
        lambda: run_task(TrialTask(study_run=study_run, number=0, phase="compare", combination={}, config=config)),
        lambda: score_network(study_run, study_run.run_id, config, None),
        lambda: score_references(study_run, data, None, read.sha256, config.split),
        lambda: train_again(config, number=0, n_epochs=1, confirm=False, score=False, data_folder=None),
    ):
        load_once.cache_clear()
        with pytest.raises(RuntimeError, match=r"^(data must be those of|cannot read the data .* again)") as caught:
            use()
        assert str(path) in str(caught.value)
    assert len(client(uri).search_runs([study_run.experiment_id])) == 1
    warning = changed_since(before, read, data, None)
    assert warning is not None
    assert "were written while the study ran" in warning
    write(path, 7)
    assert changed_since(before, read, data, None) is None  # written, and the same


def test_changed_data_are_named_with_both_hashes(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    data = DataConfig(name=str(path), target="bought")
    found = []
    for last in (7, 9):
        write(path, last)
        found.append(load(data, cache=tmp_path).sha256)
    with pytest.raises(RuntimeError) as caught:
        load_once(data, None, found[0])
    assert str(caught.value) == (
        f"data must be those of the study, people.csv with SHA-256 {found[0]}, got {found[1]} (file {path}): "
        "put them back as they were"
    )


def test_files_of_users_own_data_are_watched_and_no_others(tmp_path: Path) -> None:
    images = tmp_path / "pictures"
    for name in ("cat/1.png", "dog/2.png"):
        (images / name).parent.mkdir(parents=True)
        (images / name).touch()
    test = tmp_path / "test.csv"
    test.touch()
    assert stamps(DataConfig(name="digits"), None) == {}
    assert {path.name for path in stamps(DataConfig(name=str(images)), None)} == {"cat", "1.png", "dog", "2.png"}
    assert set(stamps(DataConfig(name="openml:61", test_file=str(test)), None)) == {test}
    moved = stamps(DataConfig(name="/before/pictures"), tmp_path)
    assert set(moved) == set(stamps(DataConfig(name=str(images)), None))
