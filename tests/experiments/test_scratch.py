"""Working folders of sessions."""

import os
import tempfile

from experiments.scratch import scratch


def test_folder_of_a_killed_session_is_removed_and_that_of_a_running_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pid = os.fork()
    if pid == 0:
        with scratch() as folder:
            (folder / "left").write_text("")
            os._exit(0)  # as a kill would, without clearing up
    os.waitpid(pid, 0)
    (killed,) = tmp_path.iterdir()
    with scratch() as young:
        assert killed.exists()  # it might have been a session about to start
        for folder in (killed, young):
            os.utime(folder / "lock", (0, 0))
        with scratch() as second:
            assert set(tmp_path.iterdir()) == {young, second}
    assert not list(tmp_path.iterdir())
