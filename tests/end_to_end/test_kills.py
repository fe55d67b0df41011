"""Studies that are stopped, killed, starved or started twice: nothing is left behind, and the next start goes on."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
from chaos import Study, Tally, attempts, command, rows
from conftest import ROOT, wait_for
from optuna.trial import TrialState

from depthcheck.experiments import tracking

pytestmark = pytest.mark.slow

#: More than a worker needs for a small network, and less than one layer of 30,000 by 30,000.
MEMORY = 5 * 2**29


def statuses(folder) -> Counter:
    runs = mlflow.MlflowClient(folder.uri).search_runs(["0", "1"])
    return Counter(run.info.status for run in runs)


def wait_for_progress(count, by=1):
    """Wait until the count has grown."""
    before = count()
    wait_for(lambda: count() >= before + by)


@contextlib.contextmanager
def study(folder, *words):
    """Yield a study that is starting; no process of it may outlive the test."""
    with Study(command(*words), folder.path, folder.environment(), Tally(seed=0)) as started:
        started.ensure_running()
        yield started
    assert started.left_behind() == []


@pytest.mark.usefixtures("tracking_database")
def test_whatever_stops_a_study_leaves_nothing_behind_and_it_goes_on(undisturbed, folder, tiny, monkeypatch):
    """One scenario instead of four, since each start of a study takes ten seconds."""
    words = ("--experiment", tiny, "--workers", "1")
    temporary = folder.path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    when_all_trials_fail_alike_it_stops(folder, tiny)
    assert list(temporary.iterdir()) == []

    sessions = [stopped(folder, words, temporary)]
    ran = [
        sys.executable,
        "-m",
        "mlflow",
        "run",
        str(ROOT),
        "--env-manager",
        "local",
        "-P",
        f"experiment={tiny}",
        "-P",
        "workers=1",
    ]
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with Study(ran, folder.path, {**folder.environment(), **path}, Tally(seed=0)) as running:
        running.ensure_running()
        wait_for_progress(running.n_told)
        sessions += temporary.glob("depthcheck-session-*")
        running.process.kill()  # mlflow's own process: ours sees that it is alone
    assert running.left_behind() == []
    parent, name = folder.study().user_attrs["parent_run_id"], folder.study().study_name
    runs = mlflow.MlflowClient(folder.uri).search_runs(["0", "1"])
    # The session's run stays as mlflow run leaves it until the next start.
    assert [run.data.tags["phase"] for run in runs if run.info.status == "RUNNING"] in ([], ["session"])
    scored = killed_while_networks_are_scored(folder, words)
    models_are_lost(folder, scored)
    goes_on_beside_another_study_and_only_once(folder, words)
    assert [path.name for path in temporary.iterdir() if not path.name.startswith("tmp")] == []  # mlflow run's own
    assert len(sessions) == 2
    pids = [session.name.split("-")[2] for session in sessions]
    assert [path for pid in pids for path in Path("/dev/shm").glob(f"sem.*-{pid}-*")] == []
    assert {key: len(each.trials) for key, each in folder.studies().items()} == {
        name: len(undisturbed.study().trials),
        "other": 5,
    }
    assert folder.fingerprint(name) == undisturbed.fingerprint()
    assert scored.items() <= scoring_times(folder).items()
    assert "RUNNING" not in statuses(folder)
    ended, _ = attempts(folder.uri, parent)
    assert set(ended.values()) == {1}


@pytest.mark.usefixtures("tracking_database")
def test_failures_do_not_count_where_a_user_stops_before_it_is_known_whose_they_are(folder, tiny):
    broken, log = folder.path / "broken" / "tensorflow", folder.path / "chaos.log"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(  # the first trial fails, and the next one waits
        "import pathlib, time\n"
        f"while ' failed ' in pathlib.Path({str(log)!r}).read_text():\n"
        "    time.sleep(0.1)\n"
        "raise ImportError('no TensorFlow here')\n"
    )
    environment = folder.environment()
    environment |= {"PYTHONPATH": f"{broken.parent}:{environment['PYTHONPATH']}"}
    words = ("--experiment", tiny, "--workers", "1")
    with Study(command(*words), folder.path, environment, Tally(seed=0)) as running:
        running.ensure_running()
        wait_for(lambda: " failed " in log.read_text())
        os.killpg(running.process.pid, signal.SIGINT)
        assert running.process.wait(timeout=300) == 130, log.read_text()
    assert set(statuses(folder)) == {"KILLED"}
    assert {trial.state for trial in folder.study().trials} == {TrialState.RUNNING}


@pytest.mark.parametrize("when", ["while they are scored", "afterwards"])
@pytest.mark.usefixtures("tracking_database")
def test_models_of_scikit_learn_are_scored_though_their_worker_dies(folder, when):
    """They are scored beside the runs that confirm. Once they are, no worker that is lost has them scored again."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6_000, 12))
    table = pd.DataFrame(X.round(3), columns=[f"x{at}" for at in range(12)]).assign(y=(X[:, 0] > X[:, 1]).astype(int))
    table.to_csv(folder.path / "table.csv", index=False)
    budget = ("--trials", "9", "--epochs", "1", "--seeds", "5", "--workers", "1")
    with study(folder, "--data", "table.csv", "--target", "y", *budget) as running:
        wait_for(lambda: "scoring scikit-learn's models" in running.log.read_text())
        worker = running.workers()[0]
        used = sum(worker.cpu_times()[:2])
        # The line comes before the worker is asked.
        wait_for(lambda: scored(folder) or sum(worker.cpu_times()[:2]) > used + 0.2)
        if when == "afterwards":
            wait_for(lambda: scored(folder))
            wait_for(lambda: " confirm trial-" in running.log.read_text())
        before = {path: path.stat().st_mtime_ns for path in scored(folder)}
        worker.kill()
        assert running.process.wait(timeout=300) == 0, running.log.read_text()
    after = {path: path.stat().st_mtime_ns for path in scored(folder)}
    assert (before == after) == (when == "afterwards")
    assert running.log.read_text().count("scoring scikit-learn's models") == 1 + (when != "afterwards")
    names = {one["name"] for one in tracking.references(folder.uri, tracking.studies(folder.uri)[0].run_id)}
    assert {"logistic regression", "random forest", "gradient boosting"} <= names
    assert set(statuses(folder)) <= {"FINISHED", "KILLED"}


def scored(folder):
    """Return the file of what scikit-learn's models score, where it is there."""
    return sorted((folder.path / "mlruns").rglob("references.json"))


def stopped(folder, words, temporary):
    """Stop the study when a trial has ended, and look what it leaves; return its session's folder."""
    with study(folder, *words) as running:
        wait_for_progress(running.n_told)
        (session,) = temporary.iterdir()
        os.killpg(running.process.pid, signal.SIGINT)
        time.sleep(0.1)
        running.process.terminate()  # as mlflow run does then: it does not spoil the cleaning up
        assert running.process.wait(timeout=300) == 130
        assert "Traceback" not in running.log.read_text()
    assert "RUNNING" not in statuses(folder)
    assert list(temporary.iterdir()) == []
    return session


def when_all_trials_fail_alike_it_stops(folder, tiny):
    """They are withdrawn, so that the next start trains them again."""
    broken = folder.path / "broken" / "tensorflow"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no TensorFlow here')\n")
    environment = folder.environment()
    done = subprocess.run(
        command("--experiment", tiny, "--workers", "2"),
        cwd=folder.path,
        env={**environment, "PYTHONPATH": f"{broken.parent}:{environment['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "the first 3 trials all failed alike" in done.stderr
    assert "ImportError: no TensorFlow here" in done.stderr
    assert {trial.state for trial in folder.study().trials} == {TrialState.RUNNING}
    # Three attempts or four, since one that ran already is waited for; and the study's run.
    assert statuses(folder) in ({"KILLED": 3, "FAILED": 1}, {"KILLED": 4, "FAILED": 1})


def goes_on_beside_another_study_and_only_once(folder, words):
    """Run the study to its end; meanwhile the same command is refused in one line, and another study runs."""
    (lock,) = folder.path.glob(".*.lock")
    process = folder.start(*words)
    wait_for(lambda: f'"process": {process.pid},' in lock.read_text())
    other = folder.start(*words, "--seed", "4", "--study", "other", "--trials", "5", "--seeds", "0")
    code, output = folder.run(*words)
    assert code == 2, output
    assert f"and is running: process {process.pid} on" in output
    assert f"since {json.loads(lock.read_text())['since']}" in output
    assert len(output.strip().splitlines()) == 1
    for one in (process, other):
        output, _ = one.communicate(timeout=300)
        assert one.returncode == 0, output
        assert "Traceback" not in output
        assert "Port" not in output


def scoring_times(folder):
    """Return the time at which each network was scored, by run."""
    return dict(rows(folder.path / "mlflow.db", "SELECT run_uuid, value FROM tags WHERE key = 'scored_at'"))


def killed_while_networks_are_scored(folder, words):
    """Kill a worker and, later, the coordinator; return what was scored by then."""
    with study(folder, *words) as running:
        wait_for_progress(lambda: len(scoring_times(folder)))
        running.workers()[0].kill()
        wait_for_progress(lambda: len(scoring_times(folder)), 2)
        running.process.kill()
    return scoring_times(folder)


def models_are_lost(folder, scored):
    """Delete and damage models of networks that have no score yet: they are trained again."""
    left = [record.run_id for record in folder.records() if record.run_id not in scored]
    assert len(left) >= 2
    code, output = folder.doctor()
    assert code == 1
    assert "networks of the search have no score on the test part" in output
    archives = sorted((folder.path / "mlruns").rglob("model.keras"))
    client = mlflow.MlflowClient(folder.uri)
    for run_id, damage in zip(
        left, (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:500])), strict=False
    ):
        model = client.get_run(run_id).outputs.model_outputs[-1].model_id
        damage(next(path for path in archives if model in str(path)))


@pytest.mark.usefixtures("tracking_database")
def test_trial_that_kills_its_worker_and_trial_that_is_too_large_fail_alone(folder):
    path = folder.path / "large.toml"
    path.write_text("""
        [data]
        name = "digits"
        [budget]
        trials = 4
        epochs = 300
        seeds = 0
        [compare]
        units = [8, 30000]
        [tune]
        depth = [2]
        optimizer = ["sgd"]
        learning_rate = [0.1]
        batch_size = [64]
        activation = ["relu"]
        """)
    with study(folder, "--experiment", str(path), "--workers", "1") as running:
        psutil.Process(running.process.pid).rlimit(psutil.RLIMIT_DATA, (MEMORY, MEMORY))
        kill_each_worker_that_runs(running, folder, number=1)
        assert running.process.wait(timeout=300) == 0, running.log.read_text()
    trials = folder.study().trials
    states = [trial.state for trial in trials]
    ended, interrupted = attempts(folder.uri, folder.study().user_attrs["parent_run_id"])
    assert set(ended.values()) == {1}
    # A minute after a death Dask looks whether that worker is back, and ends a nanny whose worker is down by another
    # death just then: one that begins no run.
    assert (set(interrupted), interrupted["1"] in (5, 6)) == ({"1"}, True)
    assert states[1] == TrialState.FAIL
    assert "its worker died each time" in trials[1].user_attrs["failure"]
    large = [t for t in trials if t.user_attrs["point"].get("units") == 30000 and t.number != 1]
    assert large
    assert all(trial.state == TrialState.FAIL for trial in large)
    assert all("ResourceExhausted" in trial.user_attrs["failure"] for trial in large)
    assert TrialState.COMPLETE in states
    assert [record.state for record in folder.records()] == [trial.user_attrs["state"] for trial in trials]


def kill_each_worker_that_runs(running, folder, *, number):
    """Kill the only worker whenever it has begun this trial, until the study has ended."""
    begun = (
        "SELECT run_uuid FROM tags JOIN runs USING (run_uuid) "
        f"WHERE key = 'trial_number' AND value = '{number}' AND status = 'RUNNING'"
    )
    killed = set()
    while running.process.poll() is None:
        new = set(rows(folder.path / "mlflow.db", begun)) - killed
        if new and (workers := running.workers()):
            killed |= new
            workers[0].kill()
        time.sleep(0.005)
