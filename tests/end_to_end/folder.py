"""A folder in which studies run: how they are started there, and what they leave."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import optuna
from sqlalchemy import NullPool

from depthcheck.experiments import tracking

ROOT = Path(__file__).parent.parent.parent


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
        ours = ("MLFLOW", "KERAS_HOME")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(ours) and "depthcheck-session-" not in v}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``python -m depthcheck run``; standard output and error come together."""
        return subprocess.Popen(
            [sys.executable, "-m", "depthcheck", "run", *words],
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

    def doctor(self) -> tuple[int, str]:
        """Have the latest study examined; return exit code and output."""
        done = subprocess.run(
            [sys.executable, "-m", "depthcheck", "doctor"],
            cwd=self.path,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def studies(self) -> dict[str, optuna.Study]:
        # No pool: a test looks many times a second, and a server has a hundred connections for all.
        storage = optuna.storages.RDBStorage(self.storage, engine_kwargs={"poolclass": NullPool})
        names = optuna.get_all_study_names(storage)
        return {name: optuna.load_study(study_name=name, storage=storage) for name in names}

    def study(self, name: str | None = None) -> optuna.Study:
        """Return the study of that name; without one the only study there is."""
        studies = self.studies()
        if name is None:
            (name,) = studies
        return studies[name]

    def records(self, name: str | None = None) -> list:
        return tracking.trials(self.uri, self.study(name).user_attrs["parent_run_id"])

    def fingerprint(self, name: str | None = None) -> str:
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
            for t in self.study(name).trials
        ]
        logged = [
            (r.number, r.phase, r.state, r.config, r.evaluations, r.n_params, tuple(r.history.curves().items()))
            for r in self.records(name)
        ]
        return hashlib.sha256(repr((told, logged)).encode()).hexdigest()
