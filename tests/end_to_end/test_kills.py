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
import psutil
import pytest
from chaos import Study, Tally, attempts, command, rows
from conftest import ROOT, wait_for
from optuna.trial import TrialState

pytestmark = pytest.mark.slow

#: More than a worker needs for a small network, and less than one layer of 30,000 by 30,000.
MEMORY = 5 * 2**29


def statuses(folder) -> Counter:
    runs = mlflow.MlflowClient(folder.uri).search_runs(["0", "1"])
    return Counter(run.info.status for run in runs)


@contextlib.contextmanager
def study(folder, *words):
    """Yield a study that is starting; no process of it may outlive the test."""
    with Study(command(*words), folder.path, folder.environment(), Tally(seed=0)) as started:
        started.ensure_running()
        yield started
    assert started.left_behind() == []


def test_whatever_stops_a_study_leaves_nothing_behind_and_it_goes_on(undisturbed, folder, tiny, monkeypatch):
    words = ("--experiment", tiny, "--workers", "1")
    temporary = folder.path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    sessions = []
    with study(folder, *words) as running:
        wait_for(lambda: running.n_told() >= 1)
        sessions += temporary.iterdir()
        running.process.terminate()
        assert running.process.wait(timeout=30) == 130
        assert "Traceback" not in running.log.read_text()
    assert "RUNNING" not in statuses(folder)
    assert list(temporary.iterdir()) == []
    with study(folder, *words) as running:
        wait_for(lambda: running.n_told() >= 3)
        sessions += temporary.iterdir()
        os.killpg(running.process.pid, signal.SIGINT)
        time.sleep(0.1)
        os.killpg(running.process.pid, signal.SIGINT)  # the user's second Ctrl-C does not spoil the cleaning up
        assert running.process.wait(timeout=30) == 130
        assert "Traceback" not in running.log.read_text()
    assert "RUNNING" not in statuses(folder)
    assert list(temporary.iterdir()) == []
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
        wait_for(lambda: running.n_told() >= 5)
        sessions += temporary.glob("depthcheck-session-*")
        running.process.kill()  # mlflow's own process: ours sees that it is alone
    assert running.left_behind() == []
    parent = folder.study().user_attrs["parent_run_id"]
    runs = mlflow.MlflowClient(folder.uri).search_runs(["0", "1"])
    # The session's run stays as mlflow run leaves it until the next start.
    assert [run.data.tags["phase"] for run in runs if run.info.status == "RUNNING"] in ([], ["session"])
    code, output = folder.run(*words)
    assert code == 0, output
    assert [path.name for path in temporary.iterdir() if not path.name.startswith("tmp")] == []  # mlflow run's own
    assert len(sessions) == 3
    pids = [session.name.split("-")[2] for session in sessions]
    assert [path for pid in pids for path in Path("/dev/shm").glob(f"sem.*-{pid}-*")] == []
    assert folder.fingerprint() == undisturbed.fingerprint()
    assert "RUNNING" not in statuses(folder)
    ended, _ = attempts(folder.uri, parent)
    assert set(ended.values()) == {1}


def test_scoring_goes_on_after_kills_and_trains_again_what_has_lost_its_model(undisturbed, folder, tiny):
    scored = "SELECT run_uuid, value FROM tags WHERE key = 'scored_at'"

    def times():
        return dict(rows(folder.path / "mlflow.db", scored))

    words = ("--experiment", tiny, "--workers", "1")
    with study(folder, *words) as running:
        wait_for(lambda: len(times()) >= 1)
        running.workers()[0].kill()
        wait_for(lambda: len(times()) >= 4)
        running.process.kill()
    before = times()
    left = [record.run_id for record in folder.records() if record.run_id not in before]
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
    code, output = folder.run(*words)
    assert code == 0, output
    assert before.items() <= times().items()
    assert folder.fingerprint() == undisturbed.fingerprint()


def test_trial_that_kills_its_worker_and_trial_that_is_too_large_fail_alone(folder):
    path = folder.path / "large.toml"
    path.write_text("""
        [data]
        name = "digits"
        [budget]
        trials = 4
        epochs = 1
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
    assert interrupted == {"1": 6}
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


def test_when_all_trials_fail_alike_the_study_stops_and_later_trains_them_again(undisturbed, folder, tiny):
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
    code, output = folder.run("--experiment", tiny, "--workers", "1")
    assert code == 0, output
    assert folder.fingerprint() == undisturbed.fingerprint()


def test_one_study_runs_once_at_a_time_and_two_studies_run_side_by_side(undisturbed, folder, tiny):
    with study(folder, "--experiment", tiny, "--workers", "1") as first:
        wait_for(lambda: first.n_told() >= 1)
        other = folder.start("--experiment", tiny, "--workers", "1", "--seed", "4", "--study", "other", "--trials", "6")
        code, output = folder.run("--experiment", tiny)
        assert code == 2, output
        (lock,) = (path for path in folder.path.glob(".*.lock") if path.name != ".other.lock")
        assert f"and is running: process {first.process.pid} on" in output
        assert f"since {json.loads(lock.read_text())['since']}" in output
        assert len(output.strip().splitlines()) == 1
        output, _ = other.communicate(timeout=300)
        assert other.returncode == 0, output
        assert first.process.wait(timeout=300) == 0, first.log.read_text()
    assert "Port" not in output + first.log.read_text()
    names = {name: len(study.trials) for name, study in folder.studies().items()}
    assert names.pop("other") >= 6
    assert list(names.values()) == [len(undisturbed.study().trials)]
    assert folder.fingerprint(next(iter(names))) == undisturbed.fingerprint()
