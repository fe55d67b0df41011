"""Runs the command line as a user does: in a process of its own, in an empty folder, with an empty home."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from folder import ROOT, Folder

from depthcheck.experiments.cluster.warm_up import warmed_up

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with a long file that needs no undisturbed study, so that only one process has to wait for that."""
    items.sort(key=lambda item: item.path.name != "test_own_data.py")


@pytest.fixture(scope="session")
def home(common_folder: Path) -> Path:
    """Return an empty home, shared so that compiled programs are compiled once."""
    home = common_folder / "home"
    home.mkdir(exist_ok=True)
    return home


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a definition whose study takes seconds."""
    path = tmp_path_factory.mktemp("definition") / "tiny.toml"
    path.write_text(TINY)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Folder:
    return Folder(path=tmp_path, home=home)


@pytest.fixture
def tracking_database(folder: Folder, empty_store: Path) -> None:
    """Lay an empty tracking database into the folder: to make a new one takes MLflow seconds."""
    (folder.path / "mlflow.db").write_bytes(empty_store.read_bytes())


@pytest.fixture(scope="session")
def undisturbed(common_folder: Path, home: Path, tiny: str) -> Folder:
    """Return the folder of a study that one worker ran from beginning to end. Tests leave it as it is."""
    folder, whole = Folder(path=common_folder / "undisturbed", home=home), common_folder / "undisturbed-whole"
    with (common_folder / "undisturbed-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes first runs it, and the others wait
        if not whole.exists():
            shutil.rmtree(folder.path, ignore_errors=True)
            folder.path.mkdir()
            code, output = folder.run("--experiment", tiny, "--workers", "1")
            assert code == 0, output
            whole.touch()
    return folder


@pytest.fixture(scope="module")
def warm(home: Path) -> Iterator[None]:
    """Keep the process that workers are forked from between commands that tests run ``here``: it takes 5 s to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        with warmed_up():
            yield


def wait_for(condition: Callable[[], bool], *, seconds: float = 600) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
