"""The wheel, in an environment of its own, used from a folder whose files have the names of this project's folders."""

import json
import os
import shutil
import site
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT

from depthcheck.experiments import tracking
from depthcheck.experiments.addresses import sqlite_address

SCRIPT = """
import asyncio

import pandas as pd
import pipeline  # the user's own
from sklearn.datasets import load_wine

import depthcheck

DEFINITION = {
    "question": "Does a hidden layer help?",
    "split": {"folds": 2},
    "budget": {"trials": 5, "epochs": 2, "seeds": 1},
    "compare": {"depth": [0, 1]},
    "fixed": {"optimizer": "adam", "batch_size": 64, "units": 8, "activation": "relu"},
    "tune": {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}},
}
frame = load_wine(as_frame=True).frame


async def inside_a_running_loop():
    study = depthcheck.run_study(frame, target="target", experiment=DEFINITION, workers=1, progress=False)
    assert list(study.answers["verdict"]) == ["not enough evidence"], study.answers
    assert "trials=" in study.answer, study.answer
    assert len(study.trials) == 7, study.trials
    assert study.report("mine").is_file()
    assert "Does a hidden layer help?" in study._repr_markdown_()
    assert set(study.predict(frame.head(2))["prediction"].astype(int)) <= {0, 1, 2}
    assert depthcheck.open_study().name == study.name == depthcheck.list_studies()[0].name
    try:
        depthcheck.run_study(frame, target="nope", progress=False)
    except ValueError as error:
        assert "target must be one of the table's columns" in str(error)
    else:
        raise AssertionError("no complaint")
    print(study)


asyncio.run(inside_a_running_loop())  # no guard: a worker that ran this file would start a study of its own
"""


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a user's folder."""

    environment: Path
    folder: Path
    home: Path

    def run(self, *command: str, code: int = 0) -> str:
        """Run a program of the environment to its end, with nobody to answer it; return what it says."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PYTHON"))}
        done = subprocess.run(
            [self.environment / "bin" / command[0], *command[1:]],
            cwd=self.folder,
            env={**kept, "HOME": str(self.home), "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Installed:
    """What this project needs is there already; of the project itself there is the wheel alone."""
    base = tmp_path_factory.mktemp("installed")
    source = base / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked or ["depthcheck", "pipeline", "experiments", "reports", "pyproject.toml", "README.md"]:
        _copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(base), str(source)]
    subprocess.run([*pip, *wheels], check=True, capture_output=True)
    environment = base / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(site.getsitepackages()[0])
    (wheel,) = base.glob("*.whl")
    python = str(environment / "bin" / "python")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", str(wheel)], check=True, capture_output=True)
    folder = base / "user"
    for name in ("experiments/__init__.py", "reports/__init__.py"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("raise ImportError('this is the user\\'s own')")
    (folder / "pipeline.py").write_text("WHOSE = 'mine'")
    return Installed(environment=environment, folder=folder, home=home)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    elif source.exists() or source.is_symlink():
        shutil.copy2(source, target, follow_symlinks=False)


def test_one_name_reaches_site_packages(installed):
    (packages,) = installed.environment.glob("lib/python*/site-packages")
    ours = {path.name.partition("-")[0] for path in packages.iterdir()} - {"dependencies.pth", "__pycache__"}
    assert ours == {"depthcheck"}
    assert (packages / "depthcheck" / "experiments" / "definitions" / "digits.toml").is_file()
    assert (packages / "depthcheck" / "py.typed").is_file()


@pytest.mark.slow
def test_command_runs_reports_reproduces_and_predicts(installed, tiny):
    out = installed.run("depthcheck", "run", "--experiment", tiny, "--workers", "1")
    assert "@champion" in out
    (study,) = json.loads(installed.run("depthcheck", "list", "--json"))
    assert study["n_ended"] == study["n_planned"] > 0
    pixels = pd.DataFrame([[0.0] * 64] * 2)
    pixels.to_csv(installed.folder / "new.csv", index=False)
    # In one process, since each imports MLflow and the rest for seconds.
    several = [["predict", "--input", "new.csv", "--output", "answers.csv"], ["report"], ["reproduce"]]
    said = installed.run(
        "python", "-c", f"from depthcheck.cli import main\nassert [*map(main, {several})] == [0, 0, 0]"
    )
    assert "report.md" in said
    assert "bit-equal" in said
    assert len(pd.read_csv(installed.folder / "answers.csv")) == 2
    assert "Delete study" in installed.run("depthcheck", "delete", study["study"], code=130)  # nobody answers
    assert "was deleted" in installed.run("depthcheck", "delete", study["study"], "--yes")
    assert tracking.studies(sqlite_address(installed.folder / "mlflow.db")) == []


@pytest.mark.slow
def test_table_in_memory_is_studied_from_python(installed):
    (installed.folder / "script.py").write_text(SCRIPT)
    assert "Study('dataframe-" in installed.run("python", "-m", "script")
