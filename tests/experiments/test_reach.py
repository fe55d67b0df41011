"""Whether a store can be used: damaged files are refused and left alone, new ones are whole or not there."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import psutil
import pytest

from depthcheck.experiments.tracking import TrackingError
from depthcheck.experiments.tracking.reach import made_whole, require_sound, write_ahead
from depthcheck.experiments.tracking.store import client, reason, require_usable


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(100))


def overwrite_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"x" * 8192)


def replace_by_text(path: Path) -> None:
    path.write_text("This is a letter, and no database.\n" * 40)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "an 'odd' #1 name.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        connection.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in range(20_000)])
    return path


@pytest.mark.parametrize("damage", [cut, overwrite_header, overwrite_middle, replace_by_text])
def test_damaged_file_is_refused_and_left_as_it_is(database: Path, damage: Callable[[Path], None], tmp_path: Path):
    require_sound(f"sqlite:///{tmp_path / 'not there yet.db'}", "the database")
    require_sound(f"sqlite:///{database}", "the database")
    damage(database)
    before = database.read_bytes()
    with pytest.raises(
        ValueError, match=r"^the database must be a whole SQLite database, got .* name\.db .*left as it is"
    ):
        require_sound(f"sqlite:///{database}", "the database")
    assert database.read_bytes() == before


def test_journal_of_a_killed_process_is_rolled_back(database: Path):
    script = (
        "import os, signal, sqlite3, sys; connection = sqlite3.connect(sys.argv[1]); "
        "connection.execute('PRAGMA cache_size = 5'); connection.execute('UPDATE numbers SET number = number + 1'); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, database], check=False)
    assert done.returncode == -signal.SIGKILL
    assert database.with_name(f"{database.name}-journal").stat().st_size
    require_usable(f"sqlite:///{database}", f"sqlite:///{database}")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT min(number), max(number) FROM numbers").fetchone() == (0, 19_999)


@pytest.mark.parametrize(("kind", "journal"), [("ext4", "wal"), ("nfs4", "delete"), ("fuse.sshfs", "delete")])
def test_writes_go_ahead_on_a_disk_that_no_other_host_sees(kind: str, journal: str, tmp_path: Path, monkeypatch):
    drives = [SimpleNamespace(mountpoint="/", fstype="9p"), SimpleNamespace(mountpoint=str(tmp_path), fstype=kind)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: drives)
    file = tmp_path / "deep" / "some.db"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE numbers (number)")
        write_ahead(f"sqlite:///{file}", f"sqlite:///{tmp_path / 'none.db'}", "postgresql://nowhere/optuna")
        with other:
            other.execute("INSERT INTO numbers VALUES (1)")
        assert other.execute("PRAGMA journal_mode").fetchone() == (journal,)
    assert list(file.parent.iterdir()) == [file]


def test_new_tracking_database_appears_whole_or_not_at_all(tmp_path: Path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    script = (
        "import os, signal, sys, threading, time\n"
        "from pathlib import Path\n"
        "from depthcheck.experiments.tracking.store import client\n"
        "def kill():\n"
        "    while not any(Path(sys.argv[1]).glob('**/mlflow.db')): time.sleep(0.001)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "threading.Thread(target=kill).start()\n"
        "client('sqlite:///' + sys.argv[1] + '/mlflow.db')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], check=False, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    assert client(uri).get_experiment("0").name == "Default"
    require_usable(uri, uri)


def test_tracking_database_that_was_never_completed_says_so(tmp_path: Path):
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE datasets (anything INTEGER)")  # as MLflow leaves it when it is stopped
    with pytest.raises(ValueError, match=r"stopped MLflow while it made it; it holds no run: move it away"):
        client(f"sqlite:///{path}")


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("theirs", ["theirs", None])
def test_new_database_gets_its_name_unless_another_process_was_faster(tmp_path, monkeypatch, has_links, theirs):
    if not has_links:  # as on exFAT
        monkeypatch.setattr(os, "link", Mock(side_effect=PermissionError))
    path = tmp_path / "a.db"
    with made_whole(path) as place:
        place.write_text("mine")
        if theirs:
            path.write_text(theirs)
    assert path.read_text() == (theirs or "mine")
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_server_that_is_away_is_told_without_the_whole_address(tmp_path: Path):
    with pytest.raises(TrackingError) as caught:
        require_usable("http://127.0.0.1:9/some/path", f"sqlite:///{tmp_path / 'optuna.db'}")
    assert str(caught.value).startswith(
        "cannot use the tracking store http://127.0.0.1:9/some/path: the server gives no answer (NewConnectionError"
    )


def test_reason_is_the_innermost_one_in_one_line():
    wrapped = RuntimeError("pages of text")
    wrapped.__cause__ = OSError("the disk\nis full")
    assert reason(wrapped) == "the disk"


def test_driver_that_is_not_installed_is_one_line_with_its_name(tmp_path: Path):
    other = f"sqlite:///{tmp_path / 'a.db'}"
    for stores in (("mysql+pymysql://me:s3cret@host/x", other), (other, "mysql+pymysql://me:s3cret@host/x")):
        with pytest.raises(
            ValueError, match=r"must have its driver installed, got 'mysql\+pymysql://me:\*\*\*@host/x' .*'pymysql'"
        ):
            require_usable(*stores)


@pytest.mark.parametrize("way", ["tracking", "storage", "client"])
def test_database_that_refuses_is_asked_once_and_not_again_and_again(tmp_path: Path, way: str, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    address, other = "postgresql+psycopg://me@127.0.0.1:9/x", f"sqlite:///{tmp_path / 'a.db'}"
    with pytest.raises(TrackingError, match=rf"{re.escape(address)}: connection failed: .*Connection refused$"):
        {
            "tracking": lambda: require_usable(address, other),
            "storage": lambda: require_usable(other, address),
            "client": lambda: client(address),
        }[way]()
    assert waits == []
