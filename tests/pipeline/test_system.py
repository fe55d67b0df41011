"""Systems that lack what Linux has; which ones were tried stands in the README."""

import os
import signal

import pytest

from depthcheck.experiments.scratch import scratch
from depthcheck.pipeline import system


@pytest.fixture
def bare(monkeypatch):
    """Take away what macOS or Windows has not."""
    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "resource", None)
    monkeypatch.setattr(system, "LOCKS_FOLDERS", False)
    for module, names in ((os, ("sched_getaffinity", "geteuid", "O_DIRECTORY")), (signal, ("pthread_sigmask",))):
        for name in names:
            monkeypatch.delattr(module, name)
    monkeypatch.setattr(os, "process_cpu_count", os.cpu_count, raising=False)  # of Python 3.13, which asks the first


def test_system_that_lacks_much_still_has_cores_and_users_and_threads(bare):
    from depthcheck.experiments.cluster.launch import n_cores

    assert n_cores() >= 1
    assert system.user_id() == 0
    system.bound_data(1)  # nothing is bounded: else no test would run after this one
    with system.deaf_to_interrupts():
        pass


@pytest.mark.usefixtures("bare")
def test_session_has_its_folder_where_folders_cannot_be_locked(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned = tmp_path / "depthcheck-session-1-x"
    abandoned.mkdir()
    with scratch() as folder:
        assert folder.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [abandoned.name]  # nobody can tell whether it is in use
