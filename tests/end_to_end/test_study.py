"""A whole study: what it leaves behind, and that neither workers nor kills change a digit of it."""

import os
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import ROOT
from distributed import Client
from optuna.trial import TrialState

from depthcheck.experiments import tracking
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.load import load

pytestmark = pytest.mark.slow


def statuses(folder) -> Counter:
    runs = mlflow.MlflowClient(folder.uri).search_runs(["0", "1"])
    return Counter(run.info.status for run in runs)


def test_study_leaves_what_it_promises(undisturbed):
    study = undisturbed.study()
    assert [trial.state for trial in study.trials[:5]] == [TrialState.COMPLETE] * 5
    phases = Counter(trial.user_attrs["phase"] for trial in study.trials)
    n_finalists = phases.pop("confirm")
    assert phases == {"baseline": 1, "compare": 4, "exploit": 4}
    client = mlflow.MlflowClient(undisturbed.uri)
    parent = client.get_run(study.user_attrs["parent_run_id"])
    assert parent.info.status == "FINISHED"
    assert "Does another hidden layer help?" in parent.data.tags["mlflow.note.content"]
    assert {item.path for item in client.list_artifacts(parent.info.run_id)} >= {
        "design.json",
        "environment.json",
        "finalists.json",
        "references.json",
        "report",
    }
    assert statuses(undisturbed) == {"FINISHED": 10 + n_finalists}


def test_all_that_its_runs_carry_is_told(undisturbed):
    told = set(re.findall(r"`([^`]+)`", (ROOT / "docs" / "logged.md").read_text(encoding="utf-8")))
    layer = r"[a-z]+(_\d+)?"
    forms = "|".join(
        re.escape(one)
        .replace("<metric>", "accuracy")
        .replace("<layer>", layer)
        .replace("<factor>", r"\w+")
        .replace("<level>", r"\w+")
        for one in told
    )
    client = mlflow.MlflowClient(undisturbed.uri)
    carried = set()
    for run in client.search_runs(["0", "1"]):
        carried |= {*run.data.metrics, *run.data.tags}
        carried |= {item.path + "/" * item.is_dir for item in client.list_artifacts(run.info.run_id)}
    own = {name for name in carried if not name.startswith("mlflow.")}
    assert len(own) > 30
    assert {name for name in own if not re.fullmatch(forms, name)} == set()


def test_every_network_meets_the_test_part_once_the_finalists_are_frozen(undisturbed):
    records = undisturbed.records()
    searched = [record for record in records if record.phase != "confirm"]
    assert all(record.evaluation("test") is not None for record in records)
    client = mlflow.MlflowClient(undisturbed.uri)
    for record in searched:
        assert "test_predictions.npz" in {item.path for item in client.list_artifacts(record.run_id)}
    said = tracking.test_predictions(undisturbed.uri, records)
    for record in records:
        predictions = said[record.run_id]
        assert np.mean(predictions.predicted == predictions.y) == record.evaluation("test").score
    parent = client.get_run(undisturbed.study().user_attrs["parent_run_id"])
    frozen = Path(parent.info.artifact_uri.removeprefix("file://")) / "finalists.json"
    scored = [datetime.fromisoformat(record.tags["scored_at"]).timestamp() for record in searched]
    confirming = [client.get_run(r.run_id).info.start_time / 1000 for r in records if r.phase == "confirm"]
    assert frozen.stat().st_mtime <= min(scored) + 1e-3
    assert max(scored) <= min(confirming) + 1e-3


def test_two_finalists_of_other_levels_are_confirmed_and_the_best_is_registered(undisturbed):
    records = undisturbed.records()
    confirmed = [record for record in records if record.phase == "confirm"]
    assert len(confirmed) == 2
    assert len({(record.config.model.depth, record.config.optimizer.name) for record in confirmed}) == 2
    assert len({record.config.fit.seed for record in confirmed}) == 1
    client = mlflow.MlflowClient(undisturbed.uri)
    for record in confirmed:
        assert record.tags["finalist"].startswith("trial-")
        assert "test_predictions.npz" in {item.path for item in client.list_artifacts(record.run_id)}
        assert "gradient_norm/logits" in client.get_run(record.run_id).data.metrics
    best = max(confirmed, key=lambda record: record.evaluation("valid").score)
    (model,) = client.search_registered_models()
    registered = client.get_model_version_by_alias(model.name, "champion")
    assert "## Recommended model" in registered.description
    assert client.get_run(registered.run_id).data.metrics["final_valid_accuracy"] == best.evaluation("valid").score


def test_records_agree_with_optuna_to_the_last_digit(undisturbed):
    for record, trial in zip(undisturbed.records(), undisturbed.study().trials, strict=True):
        assert record.run_id == trial.user_attrs["run_id"]
        assert record.history.valid_score == tuple(trial.intermediate_values.values())
        assert record.evaluation("valid").score == trial.value


def test_logged_model_takes_raw_pixels_and_gives_the_logged_score(undisturbed, tmp_path):
    record = next(record for record in undisturbed.records() if record.config.model.depth == 1)
    mlflow.set_tracking_uri(undisturbed.uri)
    model = mlflow.pyfunc.load_model(f"runs:/{record.run_id}/model")
    digits = load(DataConfig(name="digits"), cache=tmp_path)
    from sklearn.model_selection import train_test_split

    _, X, _, y = train_test_split(digits.X, digits.y, test_size=0.2, random_state=1234)
    score = np.mean(np.argmax(model.predict(X), axis=1) == y)
    assert score == record.evaluation("valid").score


@pytest.mark.usefixtures("tracking_database")
def test_users_own_cluster_runs_the_same_study(undisturbed, folder, tiny, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("cluster")
    environment = {key: value for key, value in folder.environment().items() if key != "PYTHONPATH"}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    scheduler = subprocess.Popen(
        [*command, "--no-dashboard"], cwd=elsewhere, env=environment, stderr=subprocess.PIPE, text=True
    )
    processes = [scheduler]
    try:
        address = next(found[0] for line in scheduler.stderr if (found := re.findall(r"tcp://127.0.0.1:\d+", line)))
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "2", "--no-dashboard"]
        processes.append(subprocess.Popen(worker, cwd=elsewhere, env=environment, stderr=subprocess.DEVNULL))
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=600)
        # The same scheduler, under an address that is not of this machine alone.
        code, output = folder.run("--experiment", tiny, "--scheduler", address.replace("127.0.0.1", "0.0.0.0"))
        assert code == 0, output
        assert output.count("warning: the scheduler tcp://0.0.0.0:") == 1
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
        scheduler.stderr.close()
    assert folder.fingerprint() == undisturbed.fingerprint()


@pytest.mark.usefixtures("tracking_database")
def test_mlflow_run_is_the_parent_and_more_trials_extend_whatever_the_order_of_factors(folder, tiny, tmp_path_factory):
    """One study instead of two, since each start takes ten seconds."""
    swapped = tmp_path_factory.mktemp("swapped") / "tiny.toml"
    depth, optimizer = "depth = [0, 1]\n", 'optimizer = ["sgd", "adam"]\n'
    swapped.write_text(Path(tiny).read_text().replace(depth + optimizer, optimizer + depth))
    command = [sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager", "local"]
    environment = {**folder.environment(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def mlflow_run(**parameters):
        given = {"experiment": tiny, "workers": 1, **parameters}
        words = [word for name, value in given.items() for word in ("-P", f"{name}={value}")]
        done = subprocess.run(
            [*command, *words], check=False, cwd=folder.path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    mlflow_run(trials=5)
    first = [record.run_id for record in folder.records()]
    scored = [record.tags.get("scored_at") for record in folder.records()]
    mlflow_run(trials=11, seeds=2, experiment=swapped)
    records = folder.records()
    combinations = [record.tags.get("combination") for record in records if record.phase == "compare"]
    assert combinations[4:] == combinations[:4]
    assert [record.run_id for record in records][: len(first)] == first
    assert [record.tags.get("scored_at") for record in records][: len(first)] == scored
    assert sum(record.phase != "confirm" for record in records) == 11
    assert all(record.evaluation("test") is not None for record in records)
    confirmed = Counter(
        (record.tags["finalist"], record.config.fit.seed) for record in records if record.phase == "confirm"
    )
    assert max(confirmed.values()) == 1
    page = tracking.read_run(folder.uri, folder.study().user_attrs["parent_run_id"]).tags["mlflow.note.content"]
    assert "`-P trials=" in page

    runs = mlflow.MlflowClient(folder.uri).search_runs(["0"])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [parent.data.params["trials"] for parent in parents] == ["5"]
    assert parents[0].data.params["compare.depth"] == "0, 1"
    children = Counter(run.data.tags["phase"] for run in runs if "mlflow.parentRunId" in run.data.tags)
    assert children.pop("confirm") == len(confirmed)
    assert children == {"baseline": 1, "compare": 8, "exploit": 2, "session": 1}
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.usefixtures("tracking_database")
def test_study_that_goes_on_until_it_is_decided_stops_when_its_time_is_over(folder, here, tiny):
    words = ("run", "--experiment", tiny, "--workers", "1", "--trials", "5", "--decide-within", "8s")
    done = here(folder.path, *words, HOME=str(folder.home))
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    looks = tracking.looks(folder.uri, folder.study().user_attrs["parent_run_id"])
    settings = {trial.user_attrs["seed"] for trial in folder.study().trials if trial.user_attrs["phase"] == "compare"}
    assert looks == () or looks[-1] == len(settings) >= 6
    noted = tracking.study_design(folder.uri, folder.study().user_attrs["parent_run_id"])
    assert noted["seeds"] == 1
    assert len(noted["plan"]) == sum(record.phase != "confirm" for record in folder.records())
    assert "the time is over (it was 8 s)" in output, output


def test_time_that_is_none_is_refused_before_anything_is_written(folder, here, tiny):
    done = here(folder.path, "run", "--experiment", tiny, "--decide-within", "soon", HOME=str(folder.home))
    line = "error: decide_within must be a time like 30m, 90s or 1h30m, got 'soon'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert list(folder.path.iterdir()) == []
