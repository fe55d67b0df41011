"""Working folders of sessions: whose they are, what others have prepared, and what killed sessions leave."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from depthcheck.experiments.scratch import scratch
from tests.others import as_nobody, needs_root


@pytest.fixture
def shared(tmp_path, shared_folder, monkeypatch):  # pytest's own folder first, which it would make in there
    monkeypatch.setattr(tempfile, "tempdir", str(shared_folder))
    return shared_folder


def killed_session(call=lambda: None):
    """Enter a session in another process that ends as a kill would end it; return its folder's path."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with scratch() as folder:
            (folder / "left").write_text("")
            call()
            os.write(writer, str(folder).encode())
            os._exit(0)
    os.waitpid(pid, 0)
    return Path(os.read(reader, 1000).decode())


def semaphores(pid):
    return [path for path in Path("/dev/shm").iterdir() if pid in path.name.split("-")]


def test_temporary_files_of_a_session_lie_in_a_folder_that_its_user_alone_can_enter(shared):
    before = os.environ.get("TMPDIR")
    with scratch() as folder:
        assert folder.parent == shared
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        asked = [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"]
        assert subprocess.run(asked, capture_output=True, check=True, text=True).stdout.strip() == str(folder)
        with scratch() as inner, tempfile.NamedTemporaryFile() as file:
            assert inner == folder == Path(file.name).parent
        assert folder.exists()
    assert not list(shared.iterdir())
    assert (os.environ.get("TMPDIR"), tempfile.gettempdir()) == (before, str(shared))


def test_folder_stays_until_the_last_of_several_threads_has_left_it(shared):
    first, second = scratch(), scratch()
    folder = first.__enter__()
    assert second.__enter__() == folder
    first.__exit__(None, None, None)
    assert folder.exists()
    second.__exit__(None, None, None)
    assert (tempfile.gettempdir(), list(shared.iterdir())) == (str(shared), [])


def test_folder_of_a_killed_session_is_removed_by_the_next_and_that_of_a_running_one_is_not(shared):
    left = killed_session()
    assert (left / "left").exists()
    with scratch() as running:
        assert set(shared.iterdir()) == {running}
        another = "from depthcheck.experiments.scratch import scratch\nwith scratch() as own: print(own)"
        variables = os.environ | {"TMPDIR": str(shared)}
        asked = subprocess.run(
            [sys.executable, "-c", another], env=variables, capture_output=True, text=True, check=True
        )
        assert Path(asked.stdout.strip()).parent == shared
        assert set(shared.iterdir()) == {running}


def test_folder_stays_as_long_as_a_worker_of_a_killed_session_runs(shared):
    reader, writer = os.pipe()
    workers = []

    def start_worker():
        pid = os.fork()
        if pid == 0:
            with scratch():
                os.write(writer, f"{os.getpid()}\n".encode())
                while True:
                    time.sleep(1)
        workers.append(int(os.read(reader, 100)))
        os.write(writer, f"{workers[0]}\n".encode())

    left = killed_session(start_worker)
    worker = int(os.read(reader, 100))
    with scratch():
        assert left.exists()
        os.kill(worker, signal.SIGKILL)
        while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
            time.sleep(0.01)
    assert not list(shared.iterdir())


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="semaphores have no files here")
@pytest.mark.parametrize("library", ["joblib", "os"])  # the first changes the names of semaphores
def test_semaphores_of_a_session_that_was_killed_with_all_its_processes_are_removed(shared, library):
    program = f"""
        import {library}, multiprocessing, os, signal
        from depthcheck.experiments.scratch import scratch
        with scratch() as folder:
            queue = multiprocessing.get_context("spawn").Queue()
            print(os.getpid(), flush=True)
            os.killpg(0, signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in program.splitlines())],
        env={**os.environ, "TMPDIR": str(shared), "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    pid = done.stdout.strip()
    assert semaphores(pid)
    with scratch() as folder:
        assert set(shared.iterdir()) == {folder}
        assert not semaphores(pid)


@needs_root
def test_what_another_user_has_prepared_is_neither_followed_nor_waited_for_nor_removed(shared, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "lock").write_text("mine")
    theirs = shared / "depthcheck-session-folder"

    def prepare():
        os.mkfifo(shared / "depthcheck-session-pipe")
        (shared / "depthcheck-session-link").symlink_to(precious, target_is_directory=True)
        theirs.mkdir()
        theirs.chmod(0o777)
        os.mkfifo(theirs / "lock")

    as_nobody(prepare)
    prepared = set(shared.iterdir())
    with scratch() as folder:
        assert set(shared.iterdir()) == {*prepared, folder}
    assert set(shared.iterdir()) == prepared
    assert (theirs / "lock").is_fifo()
    assert (precious / "lock").read_text() == "mine"


def test_folder_in_which_others_could_replace_the_sessions_is_refused(shared):
    shared.chmod(0o777)
    with pytest.raises(ValueError, match=r"TMPDIR must be .* sticky bit .* got .* with mode 777"), scratch():
        pass
    assert not list(shared.iterdir())


def test_folder_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ValueError, match=r"TMPDIR must be a folder that can be written to, got: .*gone"), scratch():
        pass


def test_trouble_inside_is_not_taken_for_trouble_with_the_folder(shared):
    with contextlib.suppress(ConnectionError), scratch():
        raise ConnectionError
    assert not list(shared.iterdir())
