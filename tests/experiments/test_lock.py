"""The study's lock: of a file, of a storage that hosts share, and where something else is in its place."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, text

from depthcheck.experiments import lock
from depthcheck.experiments.lock import held, lock_file, may_run_elsewhere
from depthcheck.experiments.places import Place
from depthcheck.experiments.tracking.runs import StoredRun
from depthcheck.experiments.tracking.store import TakenOverError, TrackingError
from tests.others import NOBODY, needs_root


def place(folder):
    return Place.of(f"sqlite:///{folder}/mlflow.db", None)


def _refused(folder):
    expected = "the study's lock must be a file of yours that can be written"
    with pytest.raises(ValueError, match=expected) as trouble, held(place(folder), "mine"):
        pass
    return str(trouble.value)


def test_lock_is_held_once_and_can_be_taken_again(tmp_path):
    for _ in range(2):
        with (
            held(place(tmp_path), "mine"),
            pytest.raises(ValueError, match=f"running: process {os.getpid()} on"),
            held(place(tmp_path), "mine"),
        ):
            pass
    assert lock_file(tmp_path, "mine").stat().st_mode & 0o777 == 0o600


def test_file_is_never_shorter_than_it_was(tmp_path):
    """A kill between two writes must not leave a file that does not know any more where its study was begun."""
    with held(place(tmp_path), "mine") as first:
        pass
    path = lock_file(tmp_path, "mine")
    path.write_bytes(path.read_bytes().ljust(1000))
    with held(place(tmp_path), "mine") as second:
        assert (second.origin, path.stat().st_size) == (first.origin, 1000)


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(lock_file(tmp_path, "mine"))
    assert _refused(tmp_path).endswith("(no file)")


@pytest.mark.parametrize("exists", [True, False])
def test_link_is_not_followed(tmp_path, exists):
    target = tmp_path / "precious"
    if exists:
        target.write_text("precious")
    lock_file(tmp_path, "mine").symlink_to(target)
    assert _refused(tmp_path).endswith("(a link)")
    assert (target.read_text() if exists else target.exists()) == ("precious" if exists else False)


@needs_root
def test_file_of_another_user_is_left_alone(tmp_path):
    path = lock_file(tmp_path, "mine")
    path.write_text("theirs")
    os.chown(path, NOBODY, NOBODY)
    assert _refused(tmp_path).endswith("(another user's)")
    assert path.read_text() == "theirs"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Return what makes the places of two hosts that have one storage, and no folder, in common."""
    monkeypatch.setattr(lock, "_KEEP_SECONDS", 0.1)
    monkeypatch.setattr(lock, "_LEASE_SECONDS", 60.0)  # where nobody waits for it, a busy machine may stand still
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    RDBStorage(storage)
    return lambda host: Place.of(f"sqlite:///{tmp_path / host / 'mlflow.db'}", storage)


def test_lease_is_renewed_and_given_back(lab, monkeypatch):
    monkeypatch.setattr(lock, "_KEEP_SECONDS", 1.0)  # it is said after two
    said = []
    with held(lab("one"), "mine"):
        expected = rf"study 'mine' must be run once at a time, and is running: process {os.getpid()} on \S+, since "
        with pytest.raises(ValueError, match=expected), held(lab("two"), "mine", said.append):
            pass
        with held(lab("two"), "another"):  # of another study
            pass
    with held(lab("two"), "mine", said.append):
        pass
    assert said == []


DIES = """
import os, pathlib, sys
from depthcheck.experiments.lock import held
from depthcheck.experiments.places import Place
with held(Place(uri=sys.argv[1], storage=sys.argv[2], folder=pathlib.Path(sys.argv[3])), "mine"):
    os._exit(0)
"""


@pytest.mark.parametrize(("host", "waits"), [("one", False), ("two", True)])
def test_lease_of_a_process_that_died_is_taken(lab, host, waits, monkeypatch):
    monkeypatch.setattr(lock, "_LEASE_SECONDS", 1.0)
    dead = lab("one")
    subprocess.run([sys.executable, "-c", DIES, dead.uri, dead.storage, dead.folder], check=True)
    said = []
    with held(lab(host), "mine", said.append) as mine:
        mine.keep()
    assert len(said) == waits  # beside the file whose lock the system has taken back nothing need be waited for
    assert all(
        re.fullmatch(r"study mine is held by process \d+ on .*: waiting 1 s for a sign of life", x) for x in said
    )


@pytest.fixture
def sleeper(lab, monkeypatch):
    """Return the lock of a process that renews it no longer."""
    monkeypatch.setattr(lock, "_KEEP_SECONDS", 3600)
    monkeypatch.setattr(lock, "_LEASE_SECONDS", 1.0)
    with held(lab("one"), "mine") as slept:
        slept.keep()
        monkeypatch.setattr(lock, "_KEEP_SECONDS", 0.1)
        yield slept


def test_lease_of_a_process_that_slept_is_lost_though_the_other_has_ended(lab, sleeper):
    with held(lab("two"), "mine"):
        pass
    with pytest.raises(TakenOverError, match=r"study 'mine' was taken over by process .* was away"):
        sleeper.keep()


def test_lease_of_a_process_that_slept_is_lost_for_good(lab, sleeper):
    with held(lab("two"), "mine"):
        for _ in range(2):
            with pytest.raises(TakenOverError, match=r"study 'mine' was taken over by process .* was away"):
                sleeper.keep()
    with pytest.raises(TakenOverError):
        sleeper.keep()
    with held(lab("two"), "mine"):
        pass


def test_lease_that_an_older_copy_of_the_database_has_lost_is_taken_again(lab, tmp_path):
    with held(lab("one"), "mine") as mine:
        with create_engine(lab("one").storage).begin() as connection:
            connection.execute(text("DELETE FROM depthcheck_leases"))
        mine.keep()
        with pytest.raises(ValueError, match="is running"), held(lab("two"), "mine"):
            pass


def test_of_two_first_starts_at_once_one_holds_the_study(lab):
    at_once, over, n_held, refused = threading.Barrier(2), threading.Event(), [], []

    def start(host):
        at_once.wait()
        try:
            with held(lab(host), "mine"):
                n_held.append(host)
                over.wait(30)
        except ValueError as error:
            refused.append(str(error))
            over.set()

    threads = [threading.Thread(target=start, args=(host,)) for host in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(n_held) == len(refused) == 1
    assert "is running" in refused[0]


def test_storage_that_is_locked_at_the_start_is_said(lab, monkeypatch):
    monkeypatch.setattr(lock, "connection_settings", lambda _url: {"timeout": 0.1})
    with contextlib.closing(sqlite3.connect(lab("one").storage.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="cannot hold the study's lock in its storage: database is locked"):
            held(lab("one"), "mine").__enter__()


def test_database_that_is_not_there_is_not_made(tmp_path):
    with held(place(tmp_path), "mine") as mine:
        mine.keep()
    assert not (tmp_path / "optuna.db").exists()
    with held(place(tmp_path), "mine") as mine:
        RDBStorage(place(tmp_path).storage)
        mine.keep()
        with (
            pytest.raises(ValueError, match="is running"),
            held(Place.of(f"sqlite:///{tmp_path}/two/mlflow.db", place(tmp_path).storage), "mine"),
        ):
            pass


def test_study_that_another_folder_began_since_may_run_there(tmp_path):
    """Where runs go to a server, and the study's storage and lock to each user's own folder."""
    here = Place(uri="http://mlflow:5000", storage=f"sqlite:///{tmp_path / 'optuna.db'}", folder=tmp_path)
    run = StoredRun(
        run_id="1",
        experiment_id="2",
        name="mine",
        status="RUNNING",
        is_deleted=False,
        started=datetime.now(UTC),
        end_time=None,
        artifact_uri="",
    )
    assert may_run_elsewhere(here, "mine", run, is_stored=False)
    assert not may_run_elsewhere(here, "mine", run, is_stored=True)  # begun by a colleague in the storage of both
    with held(here, "mine") as mine:
        pass
    ours, theirs = replace(run, tags={"origin": mine.origin}), replace(run, tags={"origin": "another"})
    assert not may_run_elsewhere(here, "mine", ours, is_stored=True)
    assert may_run_elsewhere(here, "mine", theirs, is_stored=True)
    assert not may_run_elsewhere(here, "mine", replace(theirs, status="KILLED"), is_stored=True)
    shared = replace(here, storage="postgresql://host/optuna")  # whose lock is seen from everywhere
    assert not may_run_elsewhere(shared, "mine", theirs, is_stored=True)
    with held(here, "mine") as again:
        assert again.origin == mine.origin
