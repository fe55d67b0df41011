"""Runs the command line as a user does: in a process of its own, in an empty folder, with an empty home."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from folder import ROOT, Folder

__all__ = ["ROOT", "Folder", "wait_for"]

TINY = """
question = "Does another hidden layer help?"
seed = 3
[data]
name = "digits"
[budget]
trials = 9
epochs = 3
compare = 0.8
window = 2
seeds = 1
[compare]
depth = [0, 1]
optimizer = ["sgd", "adam"]
[tune]
units = [8]
activation = ["relu", "tanh"]
batch_size = [64]
[tune.sgd]
learning_rate = { low = 0.01, high = 1.0, log = true }
[tune.adam]
learning_rate = { low = 0.001, high = 0.1, log = true }
"""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty home, shared so that compiled programs are compiled once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a definition whose study takes seconds."""
    path = tmp_path_factory.mktemp("definition") / "tiny.toml"
    path.write_text(TINY)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Folder:
    return Folder(path=tmp_path, home=home)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, home: Path, tiny: str) -> Folder:
    """Return the folder of a study that one worker ran from beginning to end."""
    folder = Folder(path=tmp_path_factory.mktemp("undisturbed"), home=home)
    code, output = folder.run("--experiment", tiny, "--workers", "1")
    assert code == 0, output
    return folder


def wait_for(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
