from __future__ import annotations

import json
import math
import multiprocessing
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from mlflow import MlflowClient

from depthcheck.experiments import tracking
from depthcheck.experiments.tracking import keys, open_run, reading, runs
from depthcheck.experiments.tracking.reach import write_ahead
from depthcheck.experiments.tracking.store import client, let_go, log_batch
from depthcheck.pipeline.config import DataConfig, FitConfig, ModelConfig, OptimizerConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.records import Dataset, Evaluation, History, Predictions, TrialResult, TrialState
from tests.end_to_end.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
CONFIG = TrialConfig(
    data=DataConfig(name="digits"),
    data_sha256="ab" * 32,
    split=SplitConfig(),
    model=ModelConfig(units=(10, 7), activation="relu", dropout=0.1),
    optimizer=OptimizerConfig(
        name="sgd", learning_rate=0.1 + 0.2, hyperparameters=(("momentum", 0.9), ("nesterov", True))
    ),
    fit=FitConfig(epochs=4, batch_size=32, seed=1),
)
DATASET = Dataset(
    name="digits",
    sha256="ab" * 32,
    source="scikit-learn",
    X=np.zeros((5, 8, 8), np.uint8),
    y=np.zeros(5, np.int64),
    class_names=("zero", "one"),
)


@pytest.fixture
def study(uri: str) -> tracking.StudyRun:
    return tracking.open_parent("digits-1", uri=uri, environ={})


def history(n_epochs: int, seed: int = 0) -> History:
    generator = random.Random(seed)
    columns = ("train_loss", "train_score", "valid_loss", "valid_score", "learning_rate", "seconds")
    return History(**{name: tuple(generator.random() for _ in range(n_epochs)) for name in columns})


def result(curves: History, state: TrialState = "finished", *, loss: float = 0.1 + 0.7) -> TrialResult:
    return TrialResult(
        config=CONFIG,
        state=state,
        history=curves,
        valid=Evaluation(part="valid", loss=loss, score=1 / 3, metric="accuracy", n_samples=360),
        test=None,
        n_params=79_510,
        fit_seconds=1.1,
    )


def run_trial(study: tracking.StudyRun, number: int, state: TrialState = "finished") -> str:
    run = tracking.start_trial(study, number=number, phase="compare", config=CONFIG)
    run.finish(result(history(4, seed=number), state))
    return run.run_id


def test_commit_is_not_that_of_a_repository_that_the_code_was_installed_in(tmp_path, monkeypatch) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "theirs"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(open_run, "__file__", str(tmp_path / "open_run.py"))
    assert tracking.code_version() == tracking.CodeVersion()


@pytest.mark.parametrize(("name", "dirty"), [("people.csv", False), ("open_run.py", True)])
def test_files_of_a_user_in_the_checkout_are_no_change_of_the_code(tmp_path, monkeypatch, name, dirty) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "open_run.py").touch()
    for words in (["init", "--quiet"], ["add", "open_run.py"], ["commit", "--quiet", "--message", "ours"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(open_run, "__file__", str(tmp_path / "open_run.py"))
    (tmp_path / name).write_text("a,b")
    assert tracking.code_version().dirty is dirty


# What a trial is, there and back.


def test_trial_is_read_back_bit_for_bit(study: tracking.StudyRun) -> None:
    curves = history(4)
    run = tracking.start_trial(
        study, number=3, phase="exploit", config=CONFIG, combination={"depth": 2, "optimizer": "sgd"}
    )
    run.log_dataset(DATASET)
    for epoch in (1, 2, 3):
        run.log_epoch(epoch, {key: values[epoch - 1] for key, values in curves.curves().items()})
    run.finish(result(curves))

    (record,) = tracking.trials(study.tracking_uri, study.run_id)

    assert record.history == curves
    assert record.config == CONFIG
    assert record.evaluations == (result(curves).valid,)
    assert (record.study, record.number, record.phase, record.state) == ("digits-1", 3, "exploit", "finished")
    assert (record.run_id, record.n_params, record.fit_seconds, record.failure) == (run.run_id, 79_510, 1.1, None)
    assert record.tags[keys.COMBINATION] == "depth=2, optimizer=sgd"


def test_values_that_are_not_finite_survive(study: tracking.StudyRun) -> None:
    curves = History(
        train_loss=(0.5, math.inf),
        train_score=(0.5, 0.1),
        valid_loss=(0.5, math.nan),
        valid_score=(0.5, 0.1),
        learning_rate=(10.0, 10.0),
        seconds=(0.1, 0.1),
    )
    tracking.start_trial(study, number=0, phase="compare", config=CONFIG).finish(
        result(curves, "diverged", loss=math.inf)
    )

    (record,) = tracking.trials(study.tracking_uri, study.run_id)

    assert record.state == "diverged"
    assert record.history.train_loss == (0.5, math.inf)
    assert math.isnan(record.history.valid_loss[1])
    assert record.evaluations[0].loss == math.inf


def test_test_part_is_read_back_where_it_was_opened(study: tracking.StudyRun) -> None:
    test = Evaluation(part="test", loss=0.25, score=0.75, metric="accuracy", n_samples=10_000)
    curves = history(2)
    outcome = TrialResult(
        config=CONFIG,
        state="finished",
        history=curves,
        valid=result(curves).valid,
        test=test,
        n_params=5,
        fit_seconds=0.5,
    )
    tracking.start_trial(study, number=0, phase="confirm", config=CONFIG).finish(outcome)

    (record,) = tracking.trials(study.tracking_uri, study.run_id)

    assert record.evaluation("test") == test


def test_score_is_added_to_a_run_that_has_ended(study: tracking.StudyRun) -> None:
    test = Evaluation(part="test", loss=0.25, score=0.5, metric="auc", n_samples=2, secondary={"accuracy": 1.0})
    said = Predictions(
        y=np.array([0, 1]),
        predicted=np.array([0, 1]),
        probability=np.array([0.5, 0.75], np.float32),
        unit=np.array([7, 9]),
    )
    valid = replace(test, part="valid")
    run = tracking.start_trial(study, number=0, phase="compare", config=CONFIG, metric="auc")
    run.finish(replace(result(history(2)), history=replace(history(2), metric="auc"), valid=valid))

    for _ in range(2):  # one that was killed before its last tag is scored again
        tracking.TrialRun(study, run.run_id).log_score(test, said)

    (record,) = tracking.trials(study.tracking_uri, study.run_id)
    assert record.evaluations == (valid, test)
    assert datetime.fromisoformat(record.tags[keys.SCORED_AT]).tzinfo == UTC
    (predictions,) = tracking.test_predictions(study.tracking_uri, [record]).values()
    np.testing.assert_array_equal(predictions.predicted, said.predicted)
    np.testing.assert_array_equal(predictions.unit, said.unit)


def test_openings_of_the_test_part_count_by_when_a_network_met_it(uri: str) -> None:
    first, second = (tracking.open_parent(name, uri=uri, environ={}) for name in ("first", "second"))
    test = Evaluation(part="test", loss=0.25, score=0.75, metric="accuracy", n_samples=2)
    said = Predictions(y=np.array([0, 1]), predicted=np.array([0, 1]), probability=np.array([0.5, 0.75], np.float32))
    early = [run_trial(first, number) for number in range(3)]
    own = run_trial(second, 0)

    def count(before: tracking.StudyRun | None) -> int:
        parent = None if before is None else before.run_id
        return tracking.test_openings(uri, CONFIG.data_sha256, before=parent)

    assert count(None) == 0
    tracking.TrialRun(first, early[0]).log_score(test, said)
    time.sleep(0.005)
    tracking.TrialRun(second, own).log_score(test, said)
    time.sleep(0.005)
    tracking.TrialRun(first, early[1]).log_score(test, said)
    confirmed = tracking.start_trial(first, number=3, phase="confirm", config=CONFIG)
    confirmed.finish(replace(result(history(2)), test=test))
    assert count(None) == 4
    assert (count(first), count(second)) == (0, 1)


def test_curves_can_be_watched_while_the_trial_trains(study: tracking.StudyRun) -> None:
    run = tracking.start_trial(study, number=0, phase="compare", config=CONFIG, flush_seconds=0)
    run.log_epoch(1, {"train/loss": 0.5})
    run.log_epoch(2, {"train/loss": 0.25})

    points = client(study.tracking_uri).get_metric_history(run.run_id, "train/loss")

    assert [(point.step, point.value) for point in points] == [(1, 0.5), (2, 0.25)]


def test_run_carries_parameters_tags_scalars_and_data(study: tracking.StudyRun) -> None:
    run = tracking.start_trial(study, number=7, phase="compare", config=CONFIG)
    run.log_dataset(DATASET)
    run.finish(result(history(4)))

    logged = client(study.tracking_uri).get_run(run.run_id)

    assert logged.data.params == {key: str(value) for key, value in CONFIG.to_params().items()}
    assert logged.data.tags[keys.PARENT_RUN] == study.run_id
    assert {key: logged.data.tags[key] for key in (keys.STUDY, keys.DEPTH, keys.OPTIMIZER, keys.TRIAL_NUMBER)} == {
        keys.STUDY: "digits-1",
        keys.DEPTH: "2",
        keys.OPTIMIZER: "sgd",
        keys.TRIAL_NUMBER: "7",
    }
    scores = history(4).valid_score
    assert logged.data.metrics["best_valid_accuracy"] == max(scores)
    assert logged.data.metrics["best_epoch"] == scores.index(max(scores)) + 1
    assert logged.data.metrics["final_valid_accuracy"] == 1 / 3
    (data,) = logged.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", "abababababababab")
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]


def test_failed_trial_keeps_its_traceback_and_whole_epochs(study: tracking.StudyRun) -> None:
    curves = history(3)
    run = tracking.start_trial(study, number=0, phase="compare", config=CONFIG)
    rows = [{key: values[epoch] for key, values in curves.curves().items()} for epoch in range(3)]
    run.log_epoch(1, {**rows[0], keys.EPOCH_SECONDS: curves.seconds[0]})
    run.log_epoch(2, {"train/loss": rows[1]["train/loss"]})
    run.fail("Traceback (most recent call last):\n  ...\nMemoryError: no room for units=100000")

    (record,) = tracking.trials(study.tracking_uri, study.run_id)

    assert (record.state, record.failure) == ("failed", "MemoryError: no room for units=100000")
    assert record.history.train_loss == curves.train_loss[:1]
    assert record.evaluations == ()
    api = client(study.tracking_uri)
    assert api.get_run(run.run_id).info.status == "FAILED"
    assert [artifact.path for artifact in api.list_artifacts(run.run_id)] == ["traceback.txt"]


# Reading many.


def test_trials_come_in_the_order_of_their_numbers_over_all_pages(
    study: tracking.StudyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [4, 0, 3, 1, 2]
    run_ids = {number: run_trial(study, number) for number in numbers}
    monkeypatch.setattr(runs, "_PAGE", 2)
    monkeypatch.setattr(runs, "MAX_BULK_RUNS", 2)
    for most in (25_000, 8, 6, 3):  # points in an answer; two curves have 8
        monkeypatch.setattr(runs, "MAX_BULK_POINTS", most)

        records = tracking.trials(study.tracking_uri, study.run_id)

        assert [record.number for record in records] == [0, 1, 2, 3, 4]
        assert [record.run_id for record in records] == [run_ids[number] for number in range(5)]
        assert [record.history for record in records] == [history(4, seed=number) for number in range(5)]


def test_trials_of_another_study_in_the_same_store_stay_apart(study: tracking.StudyRun) -> None:
    other = tracking.open_parent("digits-2", uri=study.tracking_uri, environ={})
    run_trial(study, 0)
    run_trial(other, 1)

    assert [record.number for record in tracking.trials(study.tracking_uri, study.run_id)] == [0]
    assert [record.number for record in tracking.trials(other.tracking_uri, other.run_id)] == [1]


def test_killed_attempt_is_no_trial(study: tracking.StudyRun) -> None:
    tracking.start_trial(study, number=0, phase="compare", config=CONFIG)
    tracking.close_stale(study.tracking_uri, study.run_id)
    assert tracking.finished_trial(study.tracking_uri, study.run_id, 0) is None
    second = run_trial(study, 0)

    (record,) = tracking.trials(study.tracking_uri, study.run_id)

    assert record.run_id == second
    found = tracking.finished_trial(study.tracking_uri, study.run_id, 0)
    assert found is not None
    assert found.run_id == second


def test_attempt_that_another_worker_took_over_ends_nothing(study: tracking.StudyRun) -> None:
    cut_off = tracking.start_trial(study, number=0, phase="compare", config=CONFIG)
    tracking.close_stale(study.tracking_uri, study.run_id, 0)
    second = run_trial(study, 0)

    with pytest.raises(tracking.TakenOverError, match=f"run {cut_off.run_id} was ended by somebody else"):
        cut_off.finish(result(history(4)))

    found = tracking.attempts(study.tracking_uri, study.experiment_id, study.run_id, 0)
    assert [(run.run_id, run.status) for run in found] == [(cut_off.run_id, "KILLED"), (second, "FINISHED")]


@pytest.mark.parametrize("is_killed_then", [False, True])
@pytest.mark.parametrize("failure", [None, "it came back, and failed"])
def test_attempt_that_was_stopped_as_it_ended_ends_nothing(study, monkeypatch, failure, is_killed_then) -> None:
    cut_off, write = tracking.start_trial(study, number=0, phase="compare", config=CONFIG), MlflowClient.set_terminated
    meanwhile: list[str] = []

    def stopped(api: MlflowClient, run_id: str, status: str | None = None, end_time: int | None = None) -> None:
        monkeypatch.setattr(MlflowClient, "set_terminated", write)
        tracking.close_stale(study.tracking_uri, study.run_id, 0)
        meanwhile.append(run_trial(study, 0))
        api.set_terminated(run_id, status, end_time)
        if is_killed_then:
            raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, "set_terminated", stopped)
    with pytest.raises(KeyboardInterrupt if is_killed_then else tracking.TakenOverError):
        cut_off.finish(result(history(4))) if failure is None else cut_off.fail(failure)

    found = tracking.attempts(study.tracking_uri, study.experiment_id, study.run_id, 0)
    assert [(run.run_id, run.status) for run in found] == [(cut_off.run_id, "KILLED"), (meanwhile[0], "FINISHED")]
    if not is_killed_then:  # in MLflow's own pages, too
        assert client(study.tracking_uri).get_run(cut_off.run_id).info.status == "KILLED"


def test_attempt_that_was_stopped_before_its_run_was_made_ends_nothing(study: tracking.StudyRun) -> None:
    first = run_trial(study, 0)
    late = tracking.start_trial(study, number=0, phase="compare", config=CONFIG)

    with pytest.raises(tracking.TakenOverError, match=f"trial 0 was ended by somebody else than run {late.run_id}"):
        late.finish(result(history(4)))

    found = tracking.attempts(study.tracking_uri, study.experiment_id, study.run_id, 0)
    assert [(run.run_id, run.status) for run in found] == [(first, "FINISHED"), (late.run_id, "KILLED")]


def test_attempt_of_which_the_closing_was_cut_short_is_closed_yet_and_ends_nothing(study, monkeypatch) -> None:
    cut_off, write = tracking.start_trial(study, number=0, phase="compare", config=CONFIG), MlflowClient.set_terminated
    monkeypatch.setattr(MlflowClient, "set_terminated", Mock(side_effect=ConnectionError("the server was restarted")))
    with pytest.raises(tracking.TrackingError):
        tracking.close_stale(study.tracking_uri, study.run_id, 0)
    monkeypatch.setattr(MlflowClient, "set_terminated", write)

    given = study.tracking_uri, study.experiment_id, study.run_id, 0
    assert [run.status for run in tracking.attempts(*given)] == ["RUNNING"]
    with pytest.raises(tracking.TakenOverError):
        cut_off.finish(result(history(4)))
    assert [run.status for run in tracking.attempts(*given)] == ["KILLED"]


def test_study_whose_run_was_closed_is_running_again_when_it_goes_on(study: tracking.StudyRun) -> None:
    tracking.end_run(study.tracking_uri, study.run_id, "KILLED", {})
    again = tracking.open_parent(study.study, uri=study.tracking_uri, parent_run_id=study.run_id, environ={})
    assert tracking.read_run(study.tracking_uri, study.run_id).status == "RUNNING"
    again.finish()
    assert tracking.read_run(study.tracking_uri, study.run_id).status == "FINISHED"


def test_trial_that_ended_twice_counts_once(study: tracking.StudyRun) -> None:
    first, second = run_trial(study, 0), tracking.start_trial(study, number=0, phase="compare", config=CONFIG)
    with pytest.raises(tracking.TakenOverError):
        second.finish(result(history(4)))
    tracking.end_run(study.tracking_uri, second.run_id, "FINISHED", {})
    assert all(run.counts for run in tracking.attempts(study.tracking_uri, study.experiment_id, study.run_id, 0))

    assert [record.run_id for record in tracking.trials(study.tracking_uri, study.run_id)] == [first]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (keys.STUDY, None),
        (keys.METRIC, None),
        (keys.METRIC, "auc"),
        (keys.VALID_SAMPLES, "x"),
    ],
)
def test_trial_whose_tag_was_edited_is_one_line_that_names_it(
    study: tracking.StudyRun, key: str, value: str | None
) -> None:
    run_id, api = run_trial(study, 0), client(study.tracking_uri)
    if value is None:
        api.delete_tag(run_id, key)
    else:
        api.set_tag(run_id, key, value)
    with pytest.raises(
        ValueError, match=rf"run {run_id} of trial 0 must have its tag {key} as .*doctor.* puts it back"
    ):
        tracking.trials(study.tracking_uri, study.run_id)


def test_studies_are_listed_by_name_and_the_latest_first(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api = client(uri)
    monkeypatch.setattr(api, "search_experiments", partial(api.search_experiments, max_results=1))
    first = tracking.open_parent("it's mine", uri=uri, environ={})
    time.sleep(0.01)
    second = tracking.open_parent("digits-1", uri=uri, environ={"MLFLOW_EXPERIMENT_NAME": "elsewhere"})
    run_trial(second, 0)

    assert [found.run_id for found in tracking.studies(uri)] == [second.run_id, first.run_id]
    assert [found.run_id for found in tracking.studies(uri, "it's mine")] == [first.run_id]
    assert tracking.studies(uri, "none such") == []


# The study's own run.


def test_start_of_the_same_study_elsewhere_is_not_taken_for_one_that_was_killed(uri: str) -> None:
    ours = [tracking.open_parent("mine", uri=uri, origin="here-1", environ={}) for _ in range(2)]
    theirs = tracking.open_parent("mine", uri=uri, origin="there-2", environ={})
    early = client(uri).create_run(theirs.experiment_id, run_name="mine").info.run_id
    tracking.close_unborn(ours[1])
    told = [tracking.read_run(uri, run_id) for run_id in (ours[0].run_id, early, ours[1].run_id, theirs.run_id)]
    assert [run.status for run in told] == ["KILLED", "KILLED", "RUNNING", "RUNNING"]
    assert [run.phase for run in told] == ["session", "session", "study", "study"]


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("step", ["update_run", "log_batch", "log_text"])
def test_session_that_is_interrupted_as_it_opens_the_studys_run_leaves_it_closed(
    uri: str, interrupt_behind: Callable[[str], None], step: str, goes_on: bool
) -> None:
    before = tracking.open_parent("mine", uri=uri, environ={}).run_id if goes_on else None
    given: dict[str, Any] = {"uri": uri, "environ": {}, "artifacts": {"notes.txt": "read me"}}
    interrupt_behind(step)
    with pytest.raises(KeyboardInterrupt):
        tracking.open_parent("mine", **given, parent_run_id=before)
    (run,) = client(uri).search_runs([str(at) for at in range(3)])
    assert (run.info.status, run.data.tags["state"]) == ("KILLED", "interrupted")

    again = tracking.open_parent("mine", **given, parent_run_id=before)
    if not goes_on:
        tracking.close_unborn(again)
    assert [(of.run_id, of.status) for of in tracking.studies(uri)] == [(again.run_id, "RUNNING")]


def test_two_studies_that_make_their_experiment_at_once_both_begin(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = MlflowClient.get_experiment_by_name

    def stopped(api: MlflowClient, name: str) -> None:
        monkeypatch.setattr(MlflowClient, "get_experiment_by_name", ask)
        tracking.open_parent("the other", uri=uri, environ={})

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", stopped)
    study = tracking.open_parent("mine", uri=uri, environ={})
    assert {(run.study, run.experiment_id) for run in tracking.studies(uri)} == {
        ("mine", study.experiment_id),
        ("the other", study.experiment_id),
    }


def test_new_study_is_described_and_finished(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = tracking.CodeVersion(commit="abc", dirty=True)
    monkeypatch.setattr("depthcheck.experiments.tracking.study_run.code_version", lambda: code)
    study = tracking.open_parent(
        "digits-1",
        uri=uri,
        environ={},
        description="# first",
        params={"trials": 50},
        artifacts={"design.json": {"trials": 50}, "notes/readme.txt": "read me"},
    )
    study.set_tags({keys.NOTE: "# second"})
    study.log_best(number=3, run_id="r", score=0.875, metric="accuracy", trials_done=4)
    study.finish("KILLED")

    run = client(uri).get_run(study.run_id)

    assert (run.info.run_name, run.info.status, run.data.params) == ("digits-1", "KILLED", {"trials": "50"})
    assert run.data.tags[keys.NOTE] == "# second"
    assert (run.data.tags[keys.CODE_VERSION], run.data.tags[keys.DIRTY]) == ("abc", "true")
    assert (run.data.tags[keys.BEST_TRIAL], run.data.metrics["best_valid_accuracy"]) == ("trial-3", 0.875)
    written = Path(client(uri).download_artifacts(study.run_id, "design.json"))
    assert json.loads(written.read_text()) == {"trials": 50}


@pytest.mark.parametrize(
    ("name", "folder"),
    [("my depth", "my depth"), ("me/depth", "me_depth-fc532aef"), ("../mine", "__mine-b8bc1f6f"), ("..", "_-5ec1f7e7")],
)
def test_artifacts_lie_beside_the_database(uri: str, tmp_path: Path, name: str, folder: str) -> None:
    study = tracking.open_parent("digits-1", uri=uri, environ={"MLFLOW_EXPERIMENT_NAME": name})
    study.log_artifacts({"note.txt": "here"})

    assert [path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("note.txt")] == [("mlruns", folder)]


def test_run_of_mlflow_run_becomes_the_parent_of_a_new_study(uri: str) -> None:
    launched = client(uri).create_run("0").info.run_id
    client(uri).log_param(launched, "trials", "50")

    study = tracking.open_parent(
        "digits-1", environ={"MLFLOW_TRACKING_URI": uri, "MLFLOW_RUN_ID": launched}, params={"trials": 50.0, "seed": 1}
    )

    assert (study.run_id, study.session_run_id, study.continued) == (launched, None, False)
    assert client(uri).get_run(launched).data.params == {"trials": "50", "seed": "1"}


def test_run_that_is_not_of_this_mlflow_run_is_refused(study: tracking.StudyRun, uri: str) -> None:
    deleted = client(uri).create_run("0").info.run_id
    client(uri).delete_run(deleted)
    for run_id, what in {
        "0" * 32: "there is none",
        deleted: "it is deleted",
        study.run_id: "one of study digits-1",
    }.items():
        with pytest.raises(ValueError, match=f"MLFLOW_RUN_ID must name the run .*{run_id} \\(.*{what}\\): unset it"):
            tracking.open_parent("another", uri=uri, environ={"MLFLOW_RUN_ID": run_id})


def test_runs_of_a_study_stay_what_they_are_whatever_a_shell_has_kept(study: tracking.StudyRun, uri: str) -> None:
    trial = run_trial(study, 0)
    other = tracking.open_parent("other", uri=uri, environ={}).run_id
    study.finish("FINISHED")
    before = {run_id: tracking.read_run(uri, run_id) for run_id in (study.run_id, trial)}
    for run_id in before:
        tracking.join_study(uri, other, run_id, "report")
        again = tracking.start_reproduction(
            uri, before[trial], params={"seed": 9}, description="", environ={"MLFLOW_RUN_ID": run_id}
        )
        assert again.run_id not in before
    with pytest.raises(ValueError, match=r"MLFLOW_RUN_ID must name the run .* \(it is trial-0 compare\): unset it"):
        tracking.open_parent("digits-1", uri=uri, parent_run_id=study.run_id, environ={"MLFLOW_RUN_ID": trial})
    assert {run_id: tracking.read_run(uri, run_id) for run_id in before} == before


def test_run_of_mlflow_run_becomes_a_child_of_a_study_that_continues(study: tracking.StudyRun, uri: str) -> None:
    study.finish("KILLED")
    stale = client(uri).create_run("0").info.run_id  # where mlflow run makes it that was told no experiment
    tracking.open_parent("digits-1", uri=uri, parent_run_id=study.run_id, environ={"MLFLOW_RUN_ID": stale})
    launched = client(uri).create_run(study.experiment_id).info.run_id

    again = tracking.open_parent(
        "digits-1",
        uri=uri,
        parent_run_id=study.run_id,
        environ={"MLFLOW_RUN_ID": launched},
        artifacts={"environment.json": {}},
    )

    api = client(uri)
    assert (again.run_id, again.session_run_id, again.continued) == (study.run_id, launched, True)
    assert api.get_run(study.run_id).info.status == "RUNNING"
    assert api.get_run(stale).info.status == "KILLED"
    session = api.get_run(launched)
    assert session.data.tags[keys.PARENT_RUN] == study.run_id
    assert session.info.run_name.startswith("continued 20")
    assert tracking.trials(uri, study.run_id) == []
    again.finish()
    assert [api.get_run(run_id).info.status for run_id in (study.run_id, launched)] == ["FINISHED", "FINISHED"]
    tracking.delete_study(uri, "digits-1", study.run_id)
    assert {api.get_run(run_id).info.lifecycle_stage for run_id in (study.run_id, launched, stale)} == {"deleted"}


def test_latest_session_is_the_latest_in_another_time_zone_too(
    study: tracking.StudyRun, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for zone in ("Asia/Tokyo", "America/New_York"):
        with monkeypatch.context() as at:
            at.setenv("TZ", zone)
            time.tzset()
            tracking.open_parent(
                "digits-1", uri=uri, parent_run_id=study.run_id, environ={}, artifacts={keys.ENVIRONMENT: {"at": zone}}
            )
    time.tzset()
    assert tracking.study_environment(uri, study.run_id) == {"at": "America/New_York"}


def test_what_cannot_be_understood_of_a_session_counts_as_missing(study: tracking.StudyRun, uri: str) -> None:
    study.log_artifacts({keys.REFERENCES: "{", keys.ENVIRONMENT: {"at": "first"}})
    study.log_of_session({keys.ENVIRONMENT: ""})
    assert tracking.references(uri, study.run_id) == []
    assert tracking.study_environment(uri, study.run_id) == {"at": "first"}


def test_store_is_found_where_mlflow_run_was_typed(tmp_path: Path, empty_store: Path) -> None:
    project, typed_in = tmp_path / "project", tmp_path / "user"
    project.mkdir()
    typed_in.mkdir()
    (typed_in / "own.db").write_bytes(empty_store.read_bytes())
    (project / "MLproject").write_text(
        "name: probe\nentry_points:\n  main:\n    parameters: {trials: {type: float, default: 3}}\n"
        f"    command: '{sys.executable} probe.py {{trials}}'\n"
    )
    (project / "probe.py").write_text(
        "from depthcheck.experiments import tracking\n"
        "study = tracking.open_parent('digits-1', params={'trials': 3.0})\n"
        "open('seen', 'w').write(f'{study.tracking_uri} {study.session_run_id}')\n"
        "study.finish('KILLED')\n"
    )
    subprocess.run(
        [sys.executable, "-m", "mlflow", "run", "../project", "--env-manager", "local", "-P", "trials=3"],
        cwd=typed_in,
        env={**ENVIRONMENT, "MLFLOW_TRACKING_URI": "sqlite:///own.db"},
        check=True,
        capture_output=True,
    )

    uri = f"sqlite:///{typed_in.resolve()}/own.db"
    assert (project / "seen").read_text() == f"{uri} None"
    assert not (project / "own.db").exists()
    (found,) = tracking.studies(uri)
    assert (found.study, found.state) == ("digits-1", "interrupted")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "sqlite:////home/me/mlflow.db"),
        ("sqlite:///sub/own.db", "sqlite:////home/me/sub/own.db"),
        ("sqlite:////else/own.db", "sqlite:////else/own.db"),
        ("sub/own.db", "sqlite:////home/me/sub/own.db"),
        ("/else/own.db", "sqlite:////else/own.db"),
        ("runs 100%41/a?b.db", "sqlite:////home/me/runs 100%2541/a%3Fb.db"),
        ("~/own.db", f"sqlite:///{Path.home()}/own.db"),
        ("./mlruns", "./mlruns"),
        ("databricks", "databricks"),
        ("http://server:5000", "http://server:5000"),
        ("postgresql://me@server/runs", "postgresql://me@server/runs"),
    ],
)
def test_address_of_the_store_is_absolute(given: str | None, expected: str) -> None:
    environ = {} if given is None else {"MLFLOW_TRACKING_URI": given}

    assert tracking.tracking_uri(environ, cwd=Path("/home/me")) == expected


# Processes: killed ones, and many at once.


def _train_until_killed(study: tracking.StudyRun, number: int) -> None:
    tracking.start_trial(study, number=number, phase="compare", config=CONFIG)
    os.kill(os.getpid(), signal.SIGKILL)


def _train_some(study: tracking.StudyRun, numbers: list[int]) -> None:
    for number in numbers:
        run = tracking.start_trial(study, number=number, phase="compare", config=CONFIG, flush_seconds=0)
        curves = history(4, seed=number)
        for epoch in range(1, 5):
            run.log_epoch(epoch, {key: values[epoch - 1] for key, values in curves.curves().items()})
        run.finish(result(curves))


def test_run_of_a_killed_process_is_closed_as_killed(study: tracking.StudyRun) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_train_until_killed, args=(study, 5))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    trains = tracking.start_trial(study, number=6, phase="compare", config=CONFIG)
    opened = {trial.number: trial.run_id for trial in reading.running_trials(study.tracking_uri, study.run_id)}
    assert opened.keys() == {5, 6}

    closed = tracking.close_stale(study.tracking_uri, study.run_id, 5, note="its worker died")

    assert closed == [opened[5]]
    run = client(study.tracking_uri).get_run(opened[5])
    assert (run.info.status, run.data.tags[keys.NOTE]) == ("KILLED", "its worker died")
    assert client(study.tracking_uri).get_run(trains.run_id).info.status == "RUNNING"
    assert tracking.close_stale(study.tracking_uri, study.run_id) == [trains.run_id]


@pytest.mark.slow
def test_many_processes_write_one_store(study: tracking.StudyRun) -> None:
    context = multiprocessing.get_context("spawn")
    shares = [[number for number in range(12) if number % 4 == worker] for worker in range(4)]
    processes = [context.Process(target=_train_some, args=(study, share)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)

    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    records = tracking.trials(study.tracking_uri, study.run_id)
    assert [record.history for record in records] == [history(4, seed=number) for number in range(12)]


def test_new_store_is_opened_without_a_word_and_tracking_never_imports_tensorflow(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from depthcheck.experiments import tracking\n"
        "assert 'mlflow' not in sys.modules\n"
        "study = tracking.open_parent('s', environ={})\n"
        "tracking.trials(study.tracking_uri, study.run_id)\n"
        "study.finish()\n"
        "assert 'mlflow' in sys.modules\n"
        "assert sys.modules.keys().isdisjoint({'tensorflow', 'keras'})\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (tmp_path / "mlflow.db").exists()
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# Trouble.


def test_store_in_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "gone"

    with pytest.raises(tracking.TrackingError) as caught:
        tracking.trials(f"sqlite:///{folder}/mlflow.db", "r")

    assert (
        str(caught.value) == f"cannot open the tracking store sqlite:///{folder}/mlflow.db: there is no folder {folder}"
    )
    assert not folder.exists()


def test_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database" * 100)

    with pytest.raises(tracking.TrackingError, match=r"cannot open .*: file is not a database$"):
        tracking.studies(f"sqlite:///{tmp_path}/mlflow.db")


def test_server_that_is_away_is_one_clear_line() -> None:
    uri = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(tracking.TrackingError, match=f"cannot open the tracking store {uri}: .*") as caught:
        tracking.studies(uri)

    assert "\n" not in str(caught.value)


def test_parent_run_that_is_not_in_the_store_is_one_clear_line(uri: str) -> None:
    with pytest.raises(tracking.TrackingError, match=r"cannot open the run of study s in .*gone not found$") as caught:
        tracking.open_parent("s", uri=uri, parent_run_id="gone", environ={})
    assert caught.value.lasts


def test_deleted_experiment_and_another_schema_last_and_a_lock_does_not(uri: str, tmp_path: Path) -> None:
    study = tracking.open_parent("s", uri=uri, environ={})
    client(uri).delete_experiment(study.experiment_id)
    for again, advice in ((None, "mlflow experiments restore"), (study.run_id, "depthcheck doctor --study s --fix")):
        with pytest.raises(tracking.TrackingError, match=f"must be in the 'active' state.*{advice} brings") as caught:
            tracking.open_parent("s", uri=uri, parent_run_id=again, environ={})
        assert caught.value.lasts
        assert pickle.loads(pickle.dumps(caught.value)).lasts  # it comes from workers, too

    with pytest.raises(tracking.TrackingError) as caught, tracking.store.storage("cannot write"):
        raise sqlite3.OperationalError("database is locked")
    assert not caught.value.lasts
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of_another'")
    other = f"sqlite:///{tmp_path / 'other.db'}"
    (tmp_path / "mlflow.db").rename(tmp_path / "other.db")
    with pytest.raises(tracking.TrackingError, match=r"cannot use .*: its schema of_another is none that") as caught:
        tracking.studies(other)
    assert caught.value.lasts


def test_store_that_went_away_while_a_trial_trains_is_a_tracking_error(
    study: tracking.StudyRun, tmp_path: Path
) -> None:
    run = tracking.start_trial(study, number=0, phase="compare", config=CONFIG)
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("DROP TABLE metrics")

    with pytest.raises(
        tracking.TrackingError, match=f"cannot write the result of run {run.run_id}: no such table: metrics"
    ):
        run.finish(result(history(2)))


# A tracking server.


@pytest.mark.slow
def test_server_gives_the_same_trials_as_its_database(server: str, uri: str) -> None:
    study = tracking.open_parent("digits-1", uri=server, environ={}, artifacts={"design.json": {"trials": 2}})
    run_ids = [run_trial(study, number) for number in range(3)]
    curves = History(**{**dict.fromkeys(("train_loss", "valid_loss"), (math.inf, math.nan)), **_flat(2)})
    tracking.start_trial(study, number=3, phase="compare", config=CONFIG).finish(result(curves, "diverged"))

    through_server = tracking.trials(server, study.run_id)

    assert [record.run_id for record in through_server[:3]] == run_ids
    assert [record.history for record in through_server[:3]] == [history(4, seed=number) for number in range(3)]
    assert through_server[3].history.train_loss[0] == math.inf
    assert math.isnan(through_server[3].history.valid_loss[1])
    assert through_server[:3] == tracking.trials(uri, study.run_id)[:3]
    design = Path(client(server).download_artifacts(study.run_id, "design.json"))
    assert json.loads(design.read_text()) == {"trials": 2}


def _flat(n_epochs: int) -> dict[str, tuple[float, ...]]:
    return dict.fromkeys(("train_score", "valid_score", "learning_rate", "seconds"), (0.5,) * n_epochs)


def test_the_answer_stands_once_on_top_of_the_page_and_verdicts_in_tags(uri):
    run = tracking.open_parent("s", uri=uri, environ={}, description="What the study says of itself.")
    for answer in ("**Depth.** Open.", "**Depth.** Depth 2 helps."):
        tracking.note_answer(uri, run.run_id, answer, {("depth", "2"): answer[-10:]})
    tags = client(uri).get_run(run.run_id).data.tags
    assert tags[keys.NOTE] == "**Depth.** Depth 2 helps.\n\n---\n\nWhat the study says of itself."
    assert tags[keys.verdict("depth", "2")] == "h 2 helps."


def test_a_long_answer_is_cut_between_paragraphs_and_a_users_note_is_kept(uri):
    run, mine = tracking.open_parent("s", uri=uri, environ={}), "Mine.\n\n---\n\nMine too."
    client(uri).set_tag(run.run_id, keys.NOTE, f"Short.\n\n---\n\n{mine}")
    tracking.note_answer(uri, run.run_id, f"{'a' * 5_000}\n\n{'b' * 3_000}", {})
    note = client(uri).get_run(run.run_id).data.tags[keys.NOTE]
    rest = "The rest is in `report/report.md`, among the artifacts of the study's run."
    assert note == f"{'a' * 5_000}\n\n{rest}\n\n---\n\n{mine}"


@pytest.mark.parametrize("level", ["conv+pool", "conv_pool", "3,5", "relu(1)", "a//b", "../a", "a\n", "x" * 300])
def test_any_text_of_a_level_has_a_tag_of_its_own(uri, level):
    run = tracking.open_parent("s", uri=uri, environ={})
    said = {("kind", "conv_pool"): "hurts", ("kind", level): "helps", ("kind", f"{level}?"): "open"}
    tracking.note_answer(uri, run.run_id, "", said)
    tags = client(uri).get_run(run.run_id).data.tags
    assert [tags[keys.verdict(*key)] for key in said] == list(said.values())


@pytest.fixture
def registered(uri: str, study: tracking.StudyRun, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """What registers a version of a model of a name, made by a run."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # where MLflow looks for what is registered
    api = client(uri)

    def register(name: str, run_id: str) -> None:
        if not api.search_registered_models():
            api.create_registered_model(name)
        model = api.create_logged_model(study.experiment_id, name="model", source_run_id=run_id)
        version = api.create_model_version(name, f"models:/{model.model_id}", run_id=run_id, model_id=model.model_id)
        api.set_registered_model_alias(name, keys.CHAMPION, version.version)

    return register


def test_champion_is_found_among_more_registered_models_than_a_page_of_mlflow_has(
    uri: str, study: tracking.StudyRun, registered: Callable[[str, str], None]
) -> None:
    registered(study.study, run_trial(study, 0))
    for number in range(100):
        client(uri).create_registered_model(f"a-{number}")
    assert tracking.champion_address(uri, None) == "models:/digits-1@champion"


@pytest.mark.parametrize("name", ["fraud", "Ann's fraud"])
def test_registered_model_of_others_is_neither_deleted_nor_led_elsewhere(
    uri: str, registered: Callable[[str, str], None], name: str
) -> None:
    api = client(uri)
    registered(name, api.create_run("0").info.run_id)
    with pytest.raises(
        ValueError, match=r"a name that no registered model of others has, got .*fraud.*has 1 version in"
    ):
        tracking.require_free(uri, name)
    mine = tracking.open_parent(name, uri=uri, environ={})
    tracking.delete_study(uri, name, mine.run_id)
    assert str(api.get_registered_model(name).aliases[keys.CHAMPION]) == "1"

    mine = tracking.open_parent(name, uri=uri, environ={})
    registered(name, run_trial(mine, 0))  # by hand, or before this was looked at
    tracking.require_free(uri, name)
    tracking.delete_study(uri, name, mine.run_id)
    assert [str(one.version) for one in api.search_model_versions()] == ["1"]


def test_description_of_a_champion_is_cut_where_postgresql_would_refuse_it(
    uri: str, study: tracking.StudyRun, registered: Callable[[str, str], None]
) -> None:
    registered(study.study, run_trial(study, 0))
    tracking.describe_champion(uri, study.study, f"{'a' * 4_900}\n\n{'b' * 100}\n\nc")
    description = client(uri).get_model_version_by_alias(study.study, keys.CHAMPION).description
    assert len(description) <= 5_000
    assert description.endswith("a\n\nThe rest is in `report/report.md`, among the artifacts of the study's run.")


def test_registered_model_of_a_study_goes_with_it_without_its_alias_too(
    uri: str, study: tracking.StudyRun, registered: Callable[[str, str], None]
) -> None:
    api = client(uri)
    registered(study.study, run_trial(study, 0))
    tracking.require_free(uri, study.study)
    api.delete_registered_model_alias(study.study, keys.CHAMPION)
    tracking.delete_study(uri, study.study, study.run_id)
    assert not api.search_registered_models()


def test_models_of_a_study_go_with_it_but_for_those_that_another_registered_model_has(
    uri: str, study: tracking.StudyRun, registered: Callable[[str, str], None]
) -> None:
    api = client(uri)
    registered("of others", run_trial(study, 0))
    (kept,) = api.search_logged_models([study.experiment_id])
    stranger = api.create_run(study.experiment_id).info.run_id
    deleted = run_trial(study, 1)
    api.delete_run(deleted)  # by hand, before
    made = [
        api.create_logged_model(study.experiment_id, name="model", source_run_id=run_id).model_id
        for run_id in (run_trial(study, 2), deleted, study.run_id, stranger)
    ]
    tracking.delete_study(uri, study.study, study.run_id)
    assert {one.model_id for one in api.search_logged_models([study.experiment_id])} == {kept.model_id, made[-1]}
    assert [one.name for one in api.search_model_versions()] == ["of others"]


def test_environment_names_the_store_again_after_a_version_was_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    from depthcheck.experiments.tracking.registry import as_default_store

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///first.db")
    with as_default_store("sqlite:///study.db"):
        assert mlflow.get_tracking_uri() == "sqlite:///study.db"
    assert mlflow.get_tracking_uri() == "sqlite:///first.db"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///second.db")
    assert mlflow.get_tracking_uri() == "sqlite:///second.db"


def test_tags_are_written_behind_all_points():
    api, points = Mock(), [("loss", float(step), step) for step in range(2000)]
    log_batch(api, "r", metrics=points, of_model=[("score", 1.0, 0)], tags={"state": "finished"}, model_id="m")
    *before, last = [call.args[1:] for call in api.log_batch.call_args_list]
    assert before
    assert not any(tags for _metrics, _params, tags in before)
    assert [tag.key for tag in last[2]] == ["state"]
    written = [metric for call in (*before, last) for metric in call[0]]
    assert [metric.key for metric in written] == ["loss"] * 2000 + ["score"]
    assert [metric.model_id for metric in written] == [None] * 2000 + ["m"]


def test_command_leaves_no_log_beside_the_database(uri, tmp_path):
    """Whoever copies the file while nothing runs has all of it."""
    client(uri).create_experiment("mine")
    write_ahead(uri)
    let_go()
    environment = {**ENVIRONMENT, "MLFLOW_TRACKING_URI": uri, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "depthcheck", "list"], check=True, env=environment, cwd=tmp_path)
    assert not list(tmp_path.glob("*.db-*"))
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
