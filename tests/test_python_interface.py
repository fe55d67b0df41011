"""What the Python interface takes, as far as no training shows it; the rest is in end_to_end/test_notebook.py."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from importlib.machinery import ModuleSpec
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

import depthcheck
from depthcheck import api
from depthcheck.api import _in_this_process, _to_disk, read_experiment
from depthcheck.experiments import tracking
from depthcheck.experiments.tracking.store import TrackingError, client, storage
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.cells import as_samples
from depthcheck.pipeline.data.load import load
from depthcheck.reports.text.answer import CONTRAST
from depthcheck.reports.write import write_as

NETWORK = {"depth": 1, "units": 8, "activation": "relu", "optimizer": "sgd", "learning_rate": 0.1, "batch_size": 32}
DEFINITION = {
    "budget": {"trials": 1, "epochs": 1},
    "fixed": NETWORK,
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"depth": 1}, "a trial must have optimizer, units, activation, learning_rate, batch_size, got "),
        (NETWORK, "a trial must have epochs, got none"),
        ({**NETWORK, "depth": 0, "epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({**NETWORK, "epochs": 1, "seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({**NETWORK, "epochs": 1, "dpeth": 1}, "a trial has no key 'dpeth'.*did you mean 'depth'"),
        ({**NETWORK, "epochs": 1, "beta_1": 0.9}, "sgd has no key 'beta_1'"),
        ({**NETWORK, "epochs": 1, "learning_rate": "0.1"}, "learning_rate must be a number above 0, got '0.1'"),
    ],
)
def test_trial_of_wrong_hyperparameters_is_refused_in_a_line(given, said):
    with pytest.raises(ValueError, match=said):
        depthcheck.run_trial(given, depthcheck.load_data("digits"))


ROWS = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    ("data", "target", "named"),
    [
        ("people.csv", ["a", "b"], "'a', 'b'"),
        (pd.DataFrame(ROWS, columns=["a", "b"]), ["a", "b"], "'a', 'b'"),
        (pd.DataFrame({"x": [1, 2, 3]}), pd.DataFrame(ROWS, columns=["a", "b"]), "'a', 'b'"),
        (ROWS, ROWS, "0, 1"),
    ],
)
def test_several_targets_are_refused_with_what_to_do(data, target, named, tmp_path):
    with pytest.raises(ValueError, match=f"target must be one column, got several: {named}; run a study for each"):
        depthcheck.run_study(data, target=target, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"workers": -1}, "workers must be a whole number of at least 1, got -1"),
        ({"study": "prices: v2"}, "study must be of letters, digits, dots, dashes and underscores, got 'prices: v2'"),
        ({"study": ".."}, "study must be of letters"),
        ({"scheduler": "localhost"}, "scheduler must be an address like"),
        ({"decide_within": "30m"}, "decide_within, in seconds, must be a number above 0, got '30m'"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"rows": 1}, "rows must be a whole number of at least 2, got 1"),
        ({"data_folder": "~nosuchuser/x"}, "~nosuchuser is no user's home"),
        ({"tracking_uri": "sqlite:///misspelt/x.db"}, "there is no folder .*misspelt"),
        ({"target": "4"}, "target must be one of the table's columns, 0, 1, got '4'"),
        ({"target": pd.Series([0, 1, 0], name="1")}, "that the table does not have, got 1 of 3"),
        ({"data": pd.DataFrame(ROWS, columns=[1, "1"])}, "data must be a table that Parquet can hold"),
    ],
)
def test_what_cannot_be_is_refused_before_a_table_is_written(asked, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        depthcheck.run_study(**{"data": pd.DataFrame(ROWS), "target": 1, "progress": False, **asked})
    assert not list(tmp_path.iterdir())


def test_name_of_somebody_elses_model_is_refused_before_a_table_is_written(uri, tmp_path):
    api = client(uri)
    api.create_registered_model("fraud")
    api.create_model_version("fraud", source=str(tmp_path))
    with pytest.raises(ValueError, match="study must be a name that no registered model of others has, got 'fraud'"):
        depthcheck.run_study(pd.DataFrame(ROWS), target=1, study="fraud", tracking_uri=uri, progress=False)
    assert not (tmp_path / "depthcheck-data").exists()


def test_report_that_could_not_be_written_is_told_before_the_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").touch()
    with pytest.raises(ValueError, match="reports/output must be a folder that can be written to"):
        depthcheck.run_study("digits")


def test_session_is_asked_for_what_was_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPTHCHECK_STORAGE", "sqlite:///elsewhere.db")
    asked = {}
    monkeypatch.setattr(api, "train", lambda experiment, _, **rest: asked.update(rest, of=experiment) or sys.exit())
    frame = pd.DataFrame(ROWS, columns=[" 0", 1])
    with pytest.raises(SystemExit):
        depthcheck.run_study(frame, target="1 ", weight=" 0", seed=np.int64(7), tracking_uri="sqlite:///my.db")

    data = asked["of"].data
    assert (data.target, data.weight, asked["of"].seed, asked["storage"]) == ("1", "0", 7, "sqlite:///elsewhere.db")
    assert asked["tracking_uri"] == f"sqlite:///{tmp_path}/my.db"
    asked["before"]()
    assert [*pd.read_parquet(data.name)] == ["0", "1"]


def test_targets_that_are_or_have_labels_too_are_no_columns(tmp_path):
    for target in ([0, 1, 0], pd.Series([0, 1, 0], name=0)):
        config, _ = _to_disk(pd.DataFrame(ROWS), target, f"sqlite:///{tmp_path}/mlflow.db")
        assert config.target == "target"
    frame = pd.DataFrame(ROWS).mask(np.eye(3, 2) == 1)
    for target, name in ((frame[1], "1"), (pd.Series([0, 1, 0], name="self"), "self")):
        assert _to_disk(frame, target, f"sqlite:///{tmp_path}/mlflow.db")[0].target == name


@pytest.mark.parametrize("kind", [lambda numbers: pd.Series(numbers, dtype="category"), pd.Categorical])
def test_numbers_that_a_target_has_as_categories_are_classes(kind, tmp_path):
    numbers = np.arange(200) // 2
    config, write = _to_disk(pd.DataFrame({"x": numbers % 7 * 0.5}), kind(numbers), f"sqlite:///{tmp_path}/mlflow.db")
    write()
    assert depthcheck.load_data(config.name, target="target").task == "classification"


@pytest.mark.parametrize(
    "started_as", [{"__spec__": ModuleSpec("mine", None)}, {"__spec__": None, "__file__": "my.py"}]
)
def test_no_worker_runs_the_script_again_however_it_was_started(started_as, monkeypatch):
    main = sys.modules["__main__"]
    for name, value in started_as.items():
        monkeypatch.setattr(main, name, value, raising=False)
    with _in_this_process(api.console(progress=False)):
        assert not [key for key in get_preparation_data("a worker") if key.startswith("init_main")]
    assert started_as.items() <= vars(main).items()


def test_second_thread_waits_until_the_first_has_trained(capsys):
    heard = []

    def train():
        with _in_this_process(api.console(progress=True)):
            heard.append("second")

    with _in_this_process(api.console(progress=True)):
        second = threading.Thread(target=train)
        second.start()
        said, end = "", time.monotonic() + 60
        while "waiting for another thread of this process" not in said and time.monotonic() < end:
            said += capsys.readouterr().out
            time.sleep(0.01)
        heard.append("first")
    second.join(60)

    assert heard == ["first", "second"]
    assert "waiting for another thread of this process" in said


@pytest.mark.parametrize(("handler", "is_heard"), [(signal.default_int_handler, True), (signal.SIG_IGN, False)])
def test_interrupt_is_heard_at_once_while_asyncio_runs_unless_it_is_ignored(handler, is_heard):
    async def train():
        with _in_this_process(api.console(progress=False)):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    before = signal.signal(signal.SIGINT, handler)  # one of pytest's workers ignores it
    try:
        with pytest.raises(KeyboardInterrupt) if is_heard else contextlib.nullcontext():
            asyncio.run(train())
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_nothing_is_said_where_a_shell_has_closed_the_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    api.console(progress=True).print("no one hears this")


def test_study_that_compared_nothing_has_answers_without_a_row(tmp_path):
    study = depthcheck.Study(SimpleNamespace(study="people", state="finished", run_id="1"), "sqlite:///mlflow.db")
    design = SimpleNamespace(name="people", metric=SimpleNamespace(key="r2"))
    study.comparison = SimpleNamespace(questions=(), finalists=(), recommendation=None, search=None, design=design)
    assert (len(study.answers), tuple(study.answers)) == (0, CONTRAST)
    tables = write_as("csv", SimpleNamespace(comparison=study.comparison), tmp_path)
    assert not list(tables.iterdir())  # nothing reads CSV without a column


def test_repetition_that_is_none_is_refused_before_a_run_is_opened(tmp_path):
    study = depthcheck.Study(
        SimpleNamespace(study="people", state="finished", run_id="1"), f"sqlite:///{tmp_path}/x.db"
    )
    with pytest.raises(ValueError, match="times must be a whole number of at least 1, got 0"):
        study.reproduce(times=0)


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (["12a", 7, None], ["12a", "7"]),
        ([True, "x", None], ["True", "x"]),
        ([2**70, 1, None], [str(2**70), "1"]),
        (["-", 1.234, None], ["-", "1.234"]),
    ],
)
def test_cells_of_several_types_are_texts_of_a_table(cells, texts, tmp_path):
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object), "y": [0, 1, 0]})
    config, write = _to_disk(frame, "y", f"sqlite:///{tmp_path}/mlflow.db")
    write()

    assert [*pd.read_parquet(config.name)["x"][:2]] == texts
    assert pd.read_parquet(config.name)["x"].isna()[2]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pd.period_range("2020-01", periods=9, freq="M")[np.arange(60) % 9], "date"),
        (pd.cut(np.arange(60) % 9, [-1, 2, 5, 9]), "categorical"),
        (pd.cut(np.arange(60) % 9, [-1, 2, 5, 9]).astype("interval"), "categorical"),
        (pd.arrays.SparseArray(np.arange(60) % 9 / 2), "numeric"),
        (pd.arrays.SparseArray(np.arange(60) % 9), "numeric"),
    ],
)
def test_columns_of_types_that_only_pandas_has_are_understood_and_known_again(cells, kind, tmp_path):
    frame = pd.DataFrame({" y": np.arange(60) % 7 // 4, " x": cells}, index=[0] * 60)
    config, write = _to_disk(frame, "y", f"sqlite:///{tmp_path}/mlflow.db")
    write()
    dataset = load(config, cache=tmp_path)

    assert [(column.name, column.kind) for column in dataset.columns] == [("x", kind)]
    pd.testing.assert_frame_equal(as_samples(frame, dataset.columns), dataset.X)


@pytest.mark.parametrize("names", ["aa", "ay"])
def test_table_that_no_file_can_hold_is_refused_in_a_line(names, tmp_path):
    frame = pd.DataFrame(ROWS.astype(complex), columns=[*names]).assign(y=[0, 1, 0])
    with pytest.raises(ValueError, match=r"^data must be a table that Parquet can hold, got another \(.*\)$"):
        depthcheck.run_study(frame, target="y", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")


def test_array_of_objects_is_one_of_the_numbers_or_texts_that_they_are(tmp_path):
    target, uri = pd.Series(["no", "yes"] * 10), f"sqlite:///{tmp_path}/mlflow.db"
    config, write = _to_disk(np.arange(40).reshape(20, 2).astype(object), target, uri)
    write()
    dataset = load(config, cache=tmp_path)
    assert (dataset.class_names, dataset.X[1].tolist()) == (("no", "yes"), [2, 3])


@pytest.mark.parametrize(
    ("samples", "target", "said"),
    [
        (
            ROWS,
            ["no", None, "yes"],
            "target must be an array of numbers or text, none missing, got dtype object",
        ),
        (ROWS.astype("M8[s]"), [0, 1, 0], r"data must be an array of numbers, none missing, got dtype datetime64\[s\]"),
        (ROWS.astype(str), [0, 1, 0], "data must be an array of numbers, none missing, got dtype <U"),
    ],
)
def test_array_that_nothing_can_be_learned_of_is_refused_before_it_is_written(samples, target, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        depthcheck.run_study(samples, target=target, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert not list(tmp_path.iterdir())


def test_password_of_the_store_is_not_shown(monkeypatch):
    uri = "postgresql://mlflow:s3cret@host/runs"
    stored = SimpleNamespace(study="people", state="finished", run_id="1")
    assert repr(depthcheck.Study(stored, uri)) == "Study('people', finished, 'postgresql://mlflow:***@host/runs')"
    said = r"^cannot read postgresql://mlflow:\*\*\*@host/runs: no answer of postgresql"
    with pytest.raises(TrackingError, match=said) as caught, storage(f"cannot read {uri}"):
        raise MlflowException(f"no answer of {uri}")
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    monkeypatch.setattr(tracking, "studies", lambda _: [])
    with pytest.raises(ValueError, match=r"no study in postgresql://mlflow:\*\*\*@host/runs; "):
        depthcheck.open_study("people", tracking_uri=uri)


def test_definition_in_a_dictionary_finds_its_data_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "people.csv"
    path.write_text("age,bought\n1,yes\n")
    own = read_experiment({**DEFINITION, "data": {"name": "people.csv", "target": "bought"}}, data=None)
    asked = read_experiment(DEFINITION, data=DataConfig(name="people.csv", target="bought"))
    assert own.data.name == asked.data.name == str(path)


@pytest.mark.parametrize("experiment", ["digits", {**DEFINITION, "data": {"name": "iris"}}])
def test_target_counts_where_the_data_are_those_of_the_definition(experiment):
    assert read_experiment(experiment, data=None, target="width").data.target == "width"


@pytest.mark.slow
def test_trial_is_trained_without_a_remark_of_tensorflow(tmp_path):
    script = f"import depthcheck; depthcheck.run_trial({ {**NETWORK, 'epochs': 1} }, depthcheck.load_data('digits'))"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    environment = {**kept, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
