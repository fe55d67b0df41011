"""Full disks, locks, damaged files and servers that go away: one clear line, and nothing is lost."""

import contextlib
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import chaos
import pandas as pd
import pytest
from conftest import Folder, wait_for
from mounts import fill, locked, mounted, needs_mounts, read_only
from servers import Postgres, mlflow_server, postgres
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import ProgrammingError

from depthcheck.experiments import lock
from depthcheck.experiments.places import Place
from depthcheck.experiments.tracking.runs import search
from depthcheck.experiments.tracking.store import TakenOverError, client
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.answered import write_answered
from depthcheck.pipeline.data.load import load, read_samples

GOES_ON = "; the same command goes on where it stopped"


@dataclass(frozen=True)
class Served(Folder):
    """A folder whose study keeps its runs on a server."""

    server: str
    study_storage: str
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def uri(self) -> str:
        return self.server

    @property
    def storage(self) -> str:
        return self.study_storage

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "MLFLOW_TRACKING_URI": self.server, **dict(self.settings)}


def n_told(folder: Folder) -> int:
    """Return how many trials have ended. SQL alone: Optuna's own objects would take the study's processor from it."""
    if folder.storage.startswith("sqlite"):
        return chaos.n_told(folder.path)
    with contextlib.suppress(ProgrammingError):  # no study yet
        engine = create_engine(folder.storage, poolclass=NullPool)
        with engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM trials WHERE state != 'RUNNING'").scalar_one())
    return 0


def start_until(folder: Folder, command: list[str], n_ended: int) -> subprocess.Popen[str]:
    process = folder.start(*command)
    wait_for(lambda: n_told(folder) >= n_ended or process.poll() is not None)
    return process


def ends_in_one_line(process: subprocess.Popen[str], *, code: int = 1) -> str:
    """Return the line with which the process says what the trouble is, the only one beside those of the study."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == code, output
    assert "Traceback" not in output
    own = re.compile(
        r"study .* (starts|continues)\b|  (runs|study) go(es)? to |\[\d+/\d+\] |the (tracking server|database) "
        r"|scoring \d+ network"  # where all trials have ended before the trouble comes
    )
    lines = [line for line in output.splitlines() if not own.match(line)]
    assert len(lines) == 1, output
    return lines[0]


def assert_goes_on_to_the_same_end(folder: Folder, command: list[str], undisturbed: Folder) -> str:
    code, output = folder.run(*command)
    assert code == 0, output
    assert "continues: " in output
    assert folder.fingerprint() == undisturbed.fingerprint()
    runs = search(client(folder.uri), "")
    assert "RUNNING" not in Counter(run.status for run in runs)
    return output


@pytest.mark.slow
@needs_mounts
def test_locks_and_a_full_disk_stop_the_study_a_full_home_does_not_and_nothing_is_lost(
    folder, tiny, tmp_path_factory, undisturbed
):
    """One scenario instead of three, since each start of a study takes ten seconds."""
    command = ["--experiment", tiny, "--workers", "1"]
    with mounted(folder.path, "16m"), mounted(tmp_path_factory.mktemp("full"), "64k") as home:
        databases = folder.path / "mlflow.db", folder.path / "optuna.db"
        process = start_until(folder, command, 1)
        n_ended = n_told(folder)
        with locked(*databases), contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
        wait_for(lambda: n_told(folder) > n_ended)  # a short lock is waited for
        with locked(*databases):
            line = ends_in_one_line(process)
        assert re.fullmatch(rf"error: cannot .*: database is locked{GOES_ON}", line)

        n_ended = random.SystemRandom().randint(n_told(folder), 8)
        sys.stdout.write(f"the disk is full when {n_ended} trials have ended\n")
        process = start_until(folder, command, n_ended)
        ballast = fill(folder.path)
        line = ends_in_one_line(process)
        room = rf"\(least room is in {folder.path}: \d+ kB\)"
        full = rf"(database or disk is full|disk I/O error) {room}|No space left on device.*"
        assert re.fullmatch(rf"error: cannot .*({full}){GOES_ON}", line)
        assert str(folder.path) in line
        ballast.unlink()

        fill(home)
        with read_only(home):
            output = assert_goes_on_to_the_same_end(Folder(path=folder.path, home=home), command, undisturbed)
        assert "Traceback" not in output


@needs_mounts
def test_disk_that_is_full_from_the_start_is_one_line(folder, here, tiny):
    with mounted(folder.path, "1m"):
        ballast = fill(folder.path)
        done = here(folder.path, "run", "--experiment", tiny, HOME=str(folder.home))
        assert (done.returncode, done.stdout) == (2, ""), done
        assert re.fullmatch(
            r"error: the study's lock must be a file of yours that can be written, got .*No space left.*\n", done.stderr
        )
        ballast.unlink()
        assert not (folder.path / "mlflow.db").exists()


@needs_mounts
def test_read_only_folder_and_read_only_database_are_one_line(folder, here, tiny):
    words = "run", "--experiment", tiny
    with read_only(folder.path):
        done = here(folder.path, *words, HOME=str(folder.home))
    what = "the folder of the study's storage must be a folder that can be written to"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {what}, got {folder.path}\n")
    database = folder.path / "mlflow.db"
    database.touch()
    with read_only(database):
        done = here(folder.path, *words, HOME=str(folder.home))
    what = "the tracking database must be a file that can be written to"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {what}, got {database}\n")


@pytest.mark.parametrize("name", ["mlflow.db", "optuna.db"])
def test_damaged_database_is_one_line_and_left_as_it_is(folder, here, tiny, name):
    path = folder.path / name
    path.write_text("This is a letter, and no database.\n" * 40)
    before = path.read_bytes()
    done = here(folder.path, "run", "--experiment", tiny, HOME=str(folder.home))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert f"must be a whole SQLite database, got {path} (file is not a database); it was left as it is" in done.stderr
    assert [(file.name, file.read_bytes()) for file in folder.path.iterdir()] == [(name, before)]


@pytest.mark.usefixtures("tracking_database")
def test_deleted_experiment_is_one_line_and_does_not_go_on(folder, here, tiny):
    api = client(folder.uri)
    api.delete_experiment(api.create_experiment("depthcheck"))
    done = here(folder.path, "run", "--experiment", tiny, "--workers", "1", HOME=str(folder.home))
    assert (done.returncode, done.stdout) == (2, ""), done
    assert re.fullmatch(
        r"error: cannot open the run of study .* must be in the 'active' state.*restore brings.*\n", done.stderr
    )


@pytest.mark.slow
def test_tracking_server_that_goes_away_is_waited_for(folder, tiny, undisturbed, uri):
    command = ["--experiment", tiny, "--workers", "1", "--storage", folder.storage]
    with mlflow_server(folder.path / "server", uri) as server:
        hasty = Served(
            folder.path, folder.home, server.uri, folder.storage, (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),)
        )
        process = start_until(hasty, command, 2)
        server.kill()
        line = ends_in_one_line(process)
        assert re.fullmatch(rf"error: cannot .*: the server gives no answer .*{GOES_ON}", line)
        server.start()

        patient = Served(
            folder.path, folder.home, server.uri, folder.storage, (("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1"),)
        )
        process = start_until(patient, command, 5)
        server.kill()
        said = ""
        while f"the tracking server {server.uri} does not answer: waiting" not in said:
            said = process.stdout.readline()
            assert said, "it did not wait"
            sys.stdout.write(said)
        server.start()
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        assert f"the tracking server {server.uri} answers again" in output
        assert patient.fingerprint() == undisturbed.fingerprint()


def assert_a_query_is_read(address: str, output: Path) -> None:
    """Write a table, and read it by name and by a query as data, and as rows to predict."""
    rows = {"id": [2, 1, 4, 3], "big": [2**60, 2**60 + 1, 7, 8], "share": ["5%", None, "7%", "7%"], "y": [1.5, 2, 3, 4]}
    engine = create_engine(address)
    with engine.begin() as connection:
        pd.DataFrame(rows).to_sql("orders", connection, index=False)
        connection.exec_driver_sql("ALTER TABLE orders ADD PRIMARY KEY (id)")
    engine.dispose()
    lines: list[str] = []
    for query, y in (
        ("orders", [2, 1.5, 4, 3]),
        ("SELECT * FROM orders WHERE share LIKE '7%' ORDER BY id::text", [4, 3]),
    ):
        config = DataConfig(name=address.replace("+psycopg", ""), query=query, target="y", task="regression")
        dataset = load(config, cache=Path(), log=lines.append)
        assert dataset.y.tolist() == y
        assert dataset.columns[1].kind == "numeric" if "7%" in query else ": codes" in dataset.columns[1].why
    samples, asked = read_samples(config.name, query=query, log=lines.append)  # what predict takes
    assert asked is not None
    write_answered(asked, pd.DataFrame({"prediction": samples["y"].to_numpy() + 1}), output)
    assert output.read_text() == "id,big,share,y,prediction\n3,8,7%,4,5.0\n4,7,7%,3,4.0\n"
    for query, complaint in (
        ("order", "query must be a SELECT or a table of optuna: orders; got 'order'; did you mean 'orders'?"),
        ("DELETE FROM orders", "optuna cannot be read: cannot execute DELETE in a read-only transaction"),
    ):
        with pytest.raises(ValueError, match=re.escape(complaint)):
            load(replace(config, query=query), cache=Path(), log=lines.append)
    assert [line for line in lines if "ORDER BY" in line] == [
        "optuna: nothing says in which order rows come; in another one they are other data: use ORDER BY"
    ]


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


def says(process: subprocess.Popen[str], *patterns: str) -> None:
    """Wait until it has printed something that each of these patterns finds; what it prints is shown."""
    left = set(patterns)
    while left:
        line = process.stdout.readline()
        assert line, f"it never said {left}"
        sys.stdout.write(line)
        left = {pattern for pattern in left if not re.search(pattern, line)}


def test_postgresql_is_read_as_data(tmp_path, database):
    assert_a_query_is_read(database.url("optuna"), tmp_path / "answers.csv")


def broken_on_this_side(keep: Callable[[], None]) -> int:
    """Break the connection of a lock so that the server does not notice; return what keeps it open there."""
    connection = keep.__self__._connection.connection.driver_connection
    kept = os.dup(connection.fileno())
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), connection.fileno())
    return kept


def test_lock_is_taken_again_when_its_server_comes_back_unless_somebody_was_faster(tmp_path, database, monkeypatch):
    monkeypatch.setattr(lock, "_KEEP_SECONDS", 3600)

    def host(name: str) -> Place:
        uri = f"sqlite:///{tmp_path / name / 'mlflow.db'}"
        return Place.of(uri, database.url("optuna"))

    def is_held() -> bool:
        holder = f"running: depthcheck on {socket.gethostname()}, process {os.getpid()}, since"
        try:
            with lock.held(host("another"), "mine"):
                return False
        except ValueError as error:
            return holder in str(error)

    with lock.held(host("one"), "mine") as held:
        keep = held.keep
        assert is_held()
        database.restart()
        keep()
        assert is_held()
        kept = broken_on_this_side(keep)
        keep()  # the server still believes in the connection of before
        os.close(kept)
        assert is_held()
        database.restart()
        with lock.held(host("two"), "mine"):
            for _ in range(2):
                with pytest.raises(TakenOverError, match=r"study 'mine' was taken over by depthcheck on .* was away"):
                    keep()
        with pytest.raises(TakenOverError, match="taken over"):  # for good
            keep()

    with lock.held(host("one"), "mine") as held:
        database.restart()
        with lock.held(host("two"), "mine"):
            pass
        with pytest.raises(TakenOverError, match=r"taken over by process .* was away"):  # though the other has ended
            held.keep()

    with create_engine(database.url("optuna")).begin() as connection:
        connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE guest LOGIN")
    guest = replace(host("three"), storage=database.url("optuna").replace("me@", "guest@"))
    for first, second in ((host("one"), guest), (guest, host("one"))):  # who may not write there is kept apart, too
        with (
            lock.held(first, "mine"),
            pytest.raises(ValueError, match=r"is running: (another coordinator|depthcheck on)"),
            lock.held(second, "mine"),
        ):
            pass


@pytest.mark.slow
def test_nothing_of_a_study_is_lost_when_postgresql_and_a_server_before_it_are_restarted(
    folder, tiny, undisturbed, database
):
    with mlflow_server(folder.path / "server", database.url("mlflow")) as tracking:
        served = Served(folder.path, folder.home, tracking.uri, database.url("optuna"))
        command = ["--experiment", tiny, "--workers", "1", "--storage", served.storage]
        hasty = replace(served, settings=(("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),))
        process = start_until(hasty, command, 1)
        process.send_signal(signal.SIGSTOP)  # it holds the study, however slow it is
        with tempfile.TemporaryDirectory() as home:  # another host's coordinator, of the same stores
            code, output = replace(served, home=Path(home)).run(*command)
        process.send_signal(signal.SIGCONT)
        assert code == 2, output
        assert re.search(rf"running: depthcheck on \S+, process {process.pid}, since \d{{4}}-", output.splitlines()[-1])
        database.kill()
        line = ends_in_one_line(process)
        assert re.match("error: cannot ", line)
        assert line.endswith(GOES_ON)
        database.start()

        patient = replace(served, settings=(("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1"),))
        process = start_until(patient, command, n_told(served) + 1)
        database.kill()
        waits = "waiting for up to 126 s"
        says(
            process,
            f"the database {re.escape(served.storage)} does not answer: {waits}",
            # It is silent as long as it tries to connect.
            f"the tracking server {served.uri} "
            f"(answers with error 503, as where its database is away|does not answer): {waits}",
        )
        database.start()
        wait_for(lambda: n_told(served) > 2)
        tracking.kill()
        tracking.start()
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        assert f"the database {served.storage} answers again" in output
        assert served.fingerprint() == undisturbed.fingerprint()
        runs = list(search(client(served.uri), ""))
        assert "RUNNING" not in Counter(run.status for run in runs)
        assert Counter(run.number for run in runs if run.counts) == Counter(range(len(undisturbed.study().trials)))


def stop_between_writes(process, database):
    """Let a process fall silent while it holds no lock of the file: nobody could write until it goes on."""
    while True:
        process.send_signal(signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(database, timeout=0.5)) as connected:
                connected.execute("BEGIN IMMEDIATE")
                connected.rollback()
            return
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            time.sleep(0.2)


@pytest.mark.slow
def test_study_in_a_shared_file_is_taken_from_a_coordinator_that_fell_silent(folder, here, tiny, undisturbed, uri):
    """Two hosts share the tracking server and the file of the study's storage, but no folder of their own."""
    with (
        mlflow_server(folder.path / "server", uri) as server,
        tempfile.TemporaryDirectory() as home,
    ):
        settings = (("DEPTHCHECK_STORAGE", folder.storage),)
        one = Served(folder.path, folder.home, server.uri, folder.storage, settings)
        two = replace(one, home=Path(home))
        command = ["--experiment", tiny, "--workers", "1"]
        silent = start_until(one, command, 2)
        stop_between_writes(silent, folder.path / "optuna.db")
        code, output = two.run(*command)
        silent.send_signal(signal.SIGCONT)
        assert code == 0, output
        assert re.search(rf"held by process {silent.pid} on \S+, since \S+: waiting 60 s for a sign of life", output)
        assert "continues: " in output
        line = ends_in_one_line(silent)
        assert re.fullmatch(r"error: study .* was taken over by process .*, while this process .* was away", line)
        assert two.fingerprint() == undisturbed.fingerprint()
        assert "RUNNING" not in Counter(run.status for run in search(client(server.uri), ""))
        done = here(two.path, "doctor", HOME=str(two.home), MLFLOW_TRACKING_URI=two.uri, **dict(settings))
        assert done.returncode == 0, done
