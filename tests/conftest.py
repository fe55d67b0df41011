"""Data that tests of several packages share."""

import contextlib
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from depthcheck.cli import main
from depthcheck.experiments.scratch import give_back
from depthcheck.experiments.tracking.store import client
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.load import DataNotFoundError, load
from depthcheck.pipeline.data.published import FASHION_FILES
from depthcheck.pipeline.dimensions import DIMENSIONS
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.system import cleaning_up
from tests.end_to_end.servers import mlflow_server
from tests.others import shared_by_all

# A busy machine is no defect: examples may take as long as they need.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

#: Each of the many commits to SQLite waits for the disk, which takes longer than all that the tests compute. No test
#: pulls the plug of the machine, so their files lie in memory where there is enough of it.
_IN_MEMORY, _ENOUGH_BYTES = Path("/dev/shm"), 4 * 2**30


def _suits(folder: Path) -> bool:
    """Tell whether all that tests write can lie in the folder, programs included."""
    if not os.access(folder, os.W_OK):
        return False
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize > _ENOUGH_BYTES and not disk.f_flag & os.ST_NOEXEC


if _suits(_IN_MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))


@pytest.fixture(autouse=True)
def no_default_store() -> Iterator[None]:
    """Take back the default store that a test set: MLflow keeps it for the process, above the environment's."""
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)


@pytest.fixture
def interrupt_behind(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Press Ctrl-C once, behind the next call of a method of MLflow's client."""
    from mlflow import MlflowClient  # most tests do without

    def set_up(step: str) -> None:
        write = getattr(MlflowClient, step)

        def interrupted(*args: Any, **kwargs: Any) -> None:
            monkeypatch.setattr(MlflowClient, step, write)
            write(*args, **kwargs)
            raise KeyboardInterrupt

        monkeypatch.setattr(MlflowClient, step, interrupted)

    return set_up


@pytest.fixture(scope="session")
def fashion_mnist(request: pytest.FixtureRequest) -> Dataset:
    """Fashion-MNIST itself, by load's own way; what was fetched once is kept in pytest's cache."""
    try:
        return load(DataConfig(name="fashion-mnist"), cache=request.config.cache.mkdir("data"))
    except DataNotFoundError as trouble:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"without a network: {trouble}")


@pytest.fixture(scope="session")
def fashion_mnist_folder(fashion_mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the four plain IDX files, written anew from the arrays."""
    folder = tmp_path_factory.mktemp("fashion-mnist")
    arrays = (fashion_mnist.X, fashion_mnist.y, fashion_mnist.X_test, fashion_mnist.y_test)
    for name, array in zip(FASHION_FILES, arrays, strict=True):
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (folder / name).write_bytes(header + array.astype(np.uint8).tobytes())
    return folder


@pytest.fixture(scope="session")
def common_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all processes of this run of pytest share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if hasattr(request.config, "workerinput") else own


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new tracking database: MLflow's migrations take seconds, so they are done once."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def _own_dimensions_are_forgotten() -> Iterator[None]:
    """Let every test see the project's own dimensions alone, though one before it may have read a user's own model."""
    yield
    for name in [name for name, dimension in DIMENSIONS.items() if dimension.is_own]:
        del DIMENSIONS[name]


@pytest.fixture
def uri(tmp_path: Path, empty_store: Path) -> str:
    """Return the address of an empty tracking database of the test's own."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(empty_store.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture
def server(uri: str, tmp_path: Path) -> Iterator[str]:
    """Return the address of a server in front of that database; it keeps artifacts in ``server/files``."""
    with mlflow_server(tmp_path / "server", uri) as started:
        yield started.uri


@contextlib.contextmanager
def _at_most(*, seconds: int) -> Iterator[None]:
    """Raise TimeoutError where what is done inside takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command in this process: a new one takes 5 s to import MLflow and the rest."""

    def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        heard = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        hook = sys.unraisablehook
        with contextlib.chdir(folder), _at_most(seconds=600):
            try:
                code = main(words)
            finally:  # as at the end of a process of its own
                cleaning_up()
                for number, handler in heard.items():
                    signal.signal(number, handler)
                sys.unraisablehook = hook
                give_back()
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(words, code, out, err)

    return run


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """Return a folder in which other users of the machine can make files, too."""
    with shared_by_all() as folder:
        yield folder
