"""Runs the command line as a user does: in a process of its own, in an empty folder, with an empty home."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest

from experiments import tracking

ROOT = Path(__file__).parent.parent.parent

TINY = """
question = "Does another hidden layer help?"
seed = 3
[data]
name = "digits"
[budget]
trials = 9
epochs = 3
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


@dataclass(frozen=True)
class Folder:
    """A folder in which studies run, and what they left there."""

    path: Path
    home: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.path / 'mlflow.db'}"

    @property
    def storage(self) -> str:
        return f"sqlite:///{self.path / 'optuna.db'}"

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``python -m experiments run``; standard output and error come together."""
        return subprocess.Popen(
            [sys.executable, "-m", "experiments", "run", *words],
            cwd=self.path,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        """Run it to its end; return exit code and output."""
        process = self.start(*words)
        output, _ = process.communicate(timeout=600)
        return process.returncode, output

    def study(self) -> optuna.Study:
        (name,) = optuna.get_all_study_names(self.storage)
        return optuna.load_study(study_name=name, storage=self.storage)

    def records(self) -> list:
        return tracking.trials(self.uri, self.study().user_attrs["parent_run_id"])

    def fingerprint(self) -> str:
        """Return a digest over all that a seed decides, to the last digit: points, curves, scores, states."""
        told = [
            (
                t.number,
                t.state.name,
                t.params,
                t.user_attrs["point"],
                t.user_attrs["seed"],
                t.value,
                t.intermediate_values,
            )
            for t in self.study().trials
        ]
        logged = [
            (r.number, r.phase, r.state, r.config, r.evaluations, r.n_params, tuple(r.history.curves().items()))
            for r in self.records()
        ]
        return hashlib.sha256(repr((told, logged)).encode()).hexdigest()


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
