"""``reproduce`` as a user types it: bit-equal from the store alone, on another machine too, and never fooled."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
from conftest import Folder, wait_for
from servers import mlflow_server

from depthcheck.experiments import tracking

pytestmark = pytest.mark.slow


@pytest.fixture
def store(folder: Folder, undisturbed: Folder) -> Folder:
    """A copy of the undisturbed study's tracking database, without Optuna's storage and without its files."""
    text = str(undisturbed.path)
    shutil.copy(undisturbed.path / "mlflow.db", folder.path)
    with closing(sqlite3.connect(folder.path / "mlflow.db")) as database:
        columns = (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
        )
        for table, column in columns:
            database.execute(f"update {table} set {column} = replace({column}, ?, ?)", (text, str(folder.path)))
        database.commit()
    return folder


def start(folder: Folder) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "depthcheck", "reproduce"],
        cwd=folder.path,
        env=folder.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def reproduce(here: Callable[..., Any], warm: None) -> Callable[..., tuple[int, str]]:
    """Return a function that runs the command in this process; what it returns: exit code, and all that was said."""

    def run(folder: Folder, *words: str, **variables: str) -> tuple[int, str]:
        done = here(folder.path, "reproduce", *words, HOME=str(folder.home), **variables)
        return done.returncode, done.stdout + done.stderr

    return run


def study_of(folder: Folder) -> tracking.StoredRun:
    (study,) = tracking.studies(folder.uri)
    return study


def below(folder: Folder, run_id: str) -> list:
    client = mlflow.MlflowClient(folder.uri)
    return client.search_runs(["0", "1"], f"tags.`mlflow.parentRunId` = '{run_id}'")


def test_champion_is_reproduced_bit_by_bit_as_often_as_asked(store, reproduce):
    study = study_of(store)
    champion = tracking.best_run(store.uri, study.run_id)
    before = tracking.trials(store.uri, study.run_id)

    code, output = reproduce(store, "--times", "2")

    assert code == 0, output
    assert "reproduced: bit-equal, every number of every epoch" in output
    assert "2 repetitions are bit-equal among themselves; 2 bit-equal to the log" in output
    assert "the trial's saved model is gone; it is not needed" in output
    (run,) = below(store, champion)
    assert (run.info.status, run.data.tags["reproduction"]) == ("FINISHED", "bit-equal")
    assert run.info.run_id in output
    again, logged = (tracking.logged_points(store.uri, one) for one in (run.info.run_id, champion))
    assert {"train/loss", "valid/accuracy", "learning_rate", "test/accuracy", "gradient_norm/logits"} <= logged.keys()
    for name, curve in logged.items():
        assert again[name] == again[f"{name}_original"] == curve
    assert {key: run.data.params[key] for key in ("seed", "optimizer", "learning_rate")} == {
        key: str(value) for key, value in next(r for r in before if r.run_id == champion).config.to_params().items()
        if key in ("seed", "optimizer", "learning_rate")
    }  # fmt: skip
    client = mlflow.MlflowClient(store.uri)
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert files == {"reproduction.json", "curves.svg"}
    content = json.loads(Path(client.download_artifacts(run.info.run_id, "reproduction.json")).read_text())
    assert (content["verdict"], len(content["curves"]["repetitions"])) == ("bit-equal", 2)
    assert "curves.svg" in run.data.tags["mlflow.note.content"]
    assert tracking.trials(store.uri, study.run_id) == before


def test_number_that_was_changed_in_the_log_is_found_with_its_epoch(store, reproduce):
    trial = next(t for t in tracking.trials(store.uri, study_of(store).run_id) if t.phase == "compare")
    with closing(sqlite3.connect(store.path / "mlflow.db")) as database:
        where = "where run_uuid = ? and key = 'valid/accuracy' and step = 2"
        changed = database.execute(f"update metrics set value = value - 0.25 {where}", (trial.run_id,)).rowcount
        database.commit()
    assert changed == 1

    code, output = reproduce(store, "--run-id", trial.run_id)

    assert code == 1, output
    true, false = trial.history.valid_score[1], trial.history.valid_score[1] - 0.25
    assert "not reproduced: beyond tolerance" in output
    assert f"first         epoch 2 of valid/accuracy: {false!r} then, {true!r} now, 0.25 apart" in output
    assert "differing     1 of" in output
    (run,) = below(store, trial.run_id)
    assert (run.info.status, run.data.tags["state"]) == ("FAILED", "not reproduced")
    again = tracking.logged_points(store.uri, run.info.run_id)
    assert again["test/accuracy"] == {0: trial.evaluation("test").score}


def test_store_behind_a_server_is_enough_and_a_pruned_trial_is_trained_as_far_as_it_went(
    store, reproduce, tmp_path_factory
):
    trial = next(t for t in tracking.trials(store.uri, study_of(store).run_id) if t.phase == "compare")
    prune(store, trial)
    elsewhere = Folder(path=tmp_path_factory.mktemp("elsewhere"), home=store.home)

    with mlflow_server(store.path / "server", store.uri) as server:
        code, output = reproduce(elsewhere, "--run-id", trial.run_id, MLFLOW_TRACKING_URI=server.uri)

    assert code == 0, output
    assert "reproduced: bit-equal" in output
    assert "trains        2 epochs" in output
    assert "machine and packages not noted" in output
    assert f"{server.uri}/#/experiments/" in output
    (run,) = below(store, trial.run_id)
    assert set(tracking.logged_points(store.uri, run.info.run_id)["train/loss"]) == {1, 2}
    assert list(elsewhere.path.iterdir()) == []


def prune(store: Folder, trial) -> None:
    """Leave of a trial what would be there had it been pruned behind its second epoch of three."""
    history = trial.history
    values = {"final_valid_loss": history.valid_loss[1], "final_valid_accuracy": history.valid_score[1]}
    best = max(history.valid_score[:2])
    values |= {"best_valid_accuracy": best, "best_epoch": history.valid_score.index(best) + 1}
    with closing(sqlite3.connect(store.path / "mlflow.db")) as database:
        database.execute("delete from metrics where run_uuid = ? and step = 3", (trial.run_id,))
        for table in ("metrics", "latest_metrics"):
            for name, value in values.items():
                database.execute(
                    f"update {table} set value = ? where run_uuid = ? and key = ?", (value, trial.run_id, name)
                )
            database.execute(f"delete from {table} where run_uuid = ? and key like 'test/%'", (trial.run_id,))
        database.execute(
            "delete from tags where run_uuid = ? and key in ('test_samples', 'scored_at')", (trial.run_id,)
        )
        database.execute("update tags set value = 'pruned' where run_uuid = ? and key = 'state'", (trial.run_id,))
        database.commit()


def test_interrupted_reproduction_leaves_no_run_open_and_no_process(store):
    champion = tracking.best_run(store.uri, study_of(store).run_id)
    process = start(store)
    wait_for(lambda: bool(below(store, champion)))
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)

    assert process.returncode == 130, output
    assert "interrupted; nothing was found out, and the same command begins anew" in output
    (run,) = below(store, champion)
    assert (run.info.status, run.data.tags["state"]) == ("KILLED", "interrupted")
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--times", "0"], "error: times must be a whole number of at least 1, got '0'"),
        (["--run-id", "nonsense"], "error: no study in sqlite:///"),
        ([], "error: no study in sqlite:///"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(folder, here, words, line):
    done = here(folder.path, "reproduce", *words, HOME=str(folder.home))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert done.stderr.startswith(line)
    assert not list(folder.path.iterdir())
