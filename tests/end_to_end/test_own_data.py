"""A user's own table from the first look to the served champion, as commands in an empty folder."""

import csv
import html
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import optuna
import pandas as pd
import psutil
import pytest
from chaos import n_told
from conftest import Folder, wait_for
from mlflow import MlflowClient
from servers import free_port

from depthcheck.experiments import tracking
from depthcheck.experiments.addresses import sqlite_address
from depthcheck.pipeline.verbatim import in_markdown, one_line

ROOT = Path(__file__).parent.parent.parent
#: What a column, a category and a class are called here, and parts of it the folder and the file.
NASTY = "[/b] $x^{|`![](u)<b>:car:\u200f\u202eé🚀%41#1\n$*_~&amp; y$"
FOLDER, PEOPLE = "shop é 41% #1 [x] $y$ `q` &", "people [b] $x^{|`![](u)<i>é🚀%41#1$*_~&amp; y$.csv"
COLOUR = f"{NASTY} colour"
NAMES = f'age,"{COLOUR}",member,joined\n'

#: A user's own model with a Lambda layer, a layer that is subclassed and one that is used twice; and a metric.
OWN_CODE = """
import keras
import numpy as np


def double(x):
    return 2 * x


class Scaled(keras.layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        return self.factor * x


def build(input_shape, n_outputs, depth, units, activation):
    inputs = keras.Input(input_shape)
    x = keras.layers.Lambda(double)(inputs)
    for _ in range(depth):
        x = keras.layers.Dense(units, activation=activation)(x)
        shared = keras.layers.Dense(units, activation=activation)
        x = Scaled()(shared(shared(x)))
    return keras.Model(inputs, keras.layers.Dense(n_outputs)(x))


def brier(y_true, y_pred):
    return np.mean((y_pred[:, 1] - y_true) ** 2)
"""
DESIGN = f"""
seed = 3
question = {json.dumps(f"Does [/b] {PEOPLE} help?", ensure_ascii=False)}
model = "own code.py:build"
[data]
name = {json.dumps(PEOPLE, ensure_ascii=False)}
target = "bought"
metric = "own code.py:brier"
direction = "minimize"
[budget]
trials = 3
epochs = 2
seeds = 2
[compare]
depth = [0, 1]
[fixed]
optimizer = "adam"
learning_rate = 0.01
batch_size = 32
[tune]
units = [8]
activation = ["relu"]
"""


def write_people(path: Path, n_rows: int, *, with_target: bool = True) -> None:
    """Write a table of all kinds of columns, with gaps, whose target follows from age and colour."""
    rng = random.Random(n_rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "age", COLOUR, "member", "joined", *(["bought"] if with_target else [])])
        for row in range(n_rows):
            age = rng.randint(18, 80)
            colour = rng.choice(["red", NASTY, "blue"])
            cells = [f"p{row:04}", age if rng.random() > 0.05 else "", colour, rng.choice(["yes", "no", ""]),
                     f"2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"]  # fmt: skip
            writer.writerow([*cells, *(["yes" if age + 20 * (colour == "red") > 60 else NASTY] if with_target else [])])


@dataclass(frozen=True)
class Shop:
    """A folder with a table of people, and a study of it that has ended."""

    path: Path
    home: Path

    @property
    def uri(self) -> str:
        return sqlite_address(self.path / "mlflow.db")

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}


@pytest.fixture
def command(shop, here) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command in the shop's folder, without a new process."""
    return lambda *words: here(shop[0].path, *words, HOME=str(shop[0].home))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, home: Path) -> tuple[Shop, str]:
    """The folder, and what the study printed; the data were another file's once its worker had read them."""
    folder = Shop(path=tmp_path_factory.mktemp("shop") / FOLDER, home=home)
    folder.path.mkdir()
    write_people(folder.path / PEOPLE, 150)
    write_people(folder.path / "new.csv", 7, with_target=False)
    (folder.path / "people.toml").write_text(DESIGN)
    (folder.path / "own code.py").write_text(OWN_CODE)
    people = folder.path / PEOPLE
    whole = people.read_bytes()
    running = Folder(path=folder.path, home=home).start("--experiment", "people.toml", "--workers", "1")
    wait_for(lambda: n_told(folder.path) >= 1 or running.poll() is not None, seconds=600)
    people.write_bytes(whole.replace(b"blue", b"red", 1))
    output, _ = running.communicate(timeout=600)
    people.write_bytes(whole)
    assert running.returncode == 0, output
    return folder, output


@pytest.mark.slow
def test_study_of_a_table_says_what_it_understood_and_ends_with_a_champion(shop):
    folder, output = shop
    assert "id" in output
    assert "trying own code.py:build and own code.py:brier once" in output
    assert "judged by negative brier" in output
    assert "compare depth 1 " in output
    assert "@champion" in output
    parent = tracking.studies(folder.uri)[0].run_id
    assert "5-fold cross-validation" in tracking.read_run(folder.uri, parent).tags["mlflow.note.content"]
    assert {reference["name"] for reference in tracking.references(folder.uri, parent)}
    report = next((folder.path / "reports/output").rglob("report.md")).read_text()
    assert "cross-validation" in report
    assert re.search(r"differs\s+from\s+it\s+by\s+\S+\s+of\s+negative\s+brier\s+\(−", report)


@pytest.mark.slow
def test_nasty_names_arrive_whole_in_log_report_figures_and_mlflow(shop):
    folder, output = shop
    assert f"{one_line(NASTY, 32)} " in output
    assert f"{PEOPLE}: 150 rows" in output
    (report,) = (folder.path / "reports/output").rglob("report.md")
    markdown, page = report.read_text(), report.with_suffix(".html").read_text()
    appendix = report.with_name("appendix.html").read_text()
    assert markdown.startswith(f"# Does \\[/b\\] {in_markdown(PEOPLE, None)} help?\n")
    assert f"<h1>Does [/b] {html.escape(PEOPLE)} help?</h1>" in page
    assert re.search(rf"<td[^>]*>{re.escape(html.escape(one_line(NASTY)))}</td>", appendix)  # of the errors by class
    assert not re.search('<b>|<i>|<img[^>]*src="[^d]|<script', page + appendix)
    assert (report.parent / "figures/confusion.svg").read_bytes().startswith(b"<?xml")
    (study,) = tracking.studies(folder.uri)
    said, name = tracking.read_run(folder.uri, study.run_id).tags["mlflow.note.content"], in_markdown(PEOPLE, None)
    assert f"**Does \\[/b\\] {name} help?**" in said
    assert f"| data | {name.replace('|', chr(92) + '|')}: 150 in 5-fold" in said
    assert {record.config.data.name for record in tracking.trials(folder.uri, study.run_id)} == {
        str(folder.path / PEOPLE)
    }


@pytest.mark.slow
def test_study_warns_at_its_end_of_data_that_changed_while_it_ran(shop):
    folder, output = shop
    (line,) = [line for line in output.splitlines() if "were written while the study ran" in line]
    assert line.startswith("warning: the files of the data were written while the study ran; data must be those of ")
    assert f"(file {folder.path / PEOPLE}): put them back as they were" in line


@pytest.mark.slow
def test_predict_answers_for_a_file_and_names_what_is_wrong_with_another(shop, command):
    folder, _ = shop
    done = command("predict", "--input", "new.csv", "--output", "answers.csv")
    assert done.returncode == 0, done.stderr
    answers = pd.read_csv(folder.path / "answers.csv")
    assert len(answers) == 7
    assert set(answers["prediction"]) <= {"yes", NASTY}
    assert np.allclose(answers["probability_yes"] + answers[f"probability_{NASTY}"], 1, atol=1e-6)

    bad = pd.read_csv(folder.path / "new.csv").drop(columns=COLOUR)
    bad.to_csv(folder.path / "bad.csv", index=False)
    done = command("predict", "--input", "bad.csv", "--output", "other.csv")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{COLOUR!r} missing" in done.stderr
    assert not (folder.path / "other.csv").exists()


@pytest.mark.slow
def test_data_that_have_changed_do_not_go_into_the_study(shop, command):
    folder, _ = shop
    path = folder.path / PEOPLE
    before, study = path.read_bytes(), tracking.studies(folder.uri)[0].study
    path.write_bytes(before.replace(b"blue", b"red", 1))
    done = command("run", "--experiment", "people.toml", "--study", study)
    path.write_bytes(before)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"error: data must be those of study '{study}', {PEOPLE} with SHA-256 " in done.stderr
    assert f"(file {path}): put them back as they were, or begin anew under another name" in done.stderr


@pytest.mark.slow
def test_champion_whose_class_names_were_swapped_is_neither_asked_nor_served(shop, command):
    folder, _ = shop
    version = MlflowClient(folder.uri).get_model_version_by_alias(tracking.studies(folder.uri)[0].study, "champion")
    location = MlflowClient(folder.uri).get_logged_model(version.source.removeprefix("models:/")).artifact_location
    (path,) = Path(url2pathname(urlsplit(location).path)).rglob("served.json")
    whole = path.read_text()
    path.write_text(whole.replace(json.dumps([NASTY, "yes"]), json.dumps(["yes", NASTY])))
    assert path.read_text() != whole
    for words in (["predict", "--input", "new.csv", "--output", "swapped.csv", "--trust"], ["serve", "--port", "5999"]):
        done = command(*words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "served.json has another content" in done.stderr
    path.write_text(whole)
    assert not (folder.path / "swapped.csv").exists()


@pytest.mark.slow
def test_serve_answers_with_a_copy_that_was_checked_and_leaves_nothing_after_ctrl_c(shop, command, tmp_path):
    folder, _ = shop
    port = str(free_port())
    words = [sys.executable, "-m", "depthcheck", "serve", "--port", port]
    environment = {**folder.environment(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        words, cwd=folder.path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as server:  # fmt: skip
        try:
            study = tracking.studies(folder.uri)[0].study
            said = f"models:/{study}@champion is served at http://127.0.0.1:{port}/invocations\n"
            assert server.stdout.readline() == said
            status, text = ask(f"http://127.0.0.1:{port}", (folder.path / "new.csv").read_text(), "text/csv")
            shifted, why = ask(f"http://127.0.0.1:{port}", f"{NAMES}30,red,yes,2024-01-01,\n", "text/csv")
            second = command("serve", "--port", port)
            children = psutil.Process(server.pid).children(recursive=True)
            os.killpg(server.pid, signal.SIGINT)  # as a terminal sends it
            rest, _ = server.communicate(timeout=300)
        finally:
            server.kill()
    assert status == 200, text
    assert len(json.loads(text)["predictions"]) == 7
    assert (shifted, "row 1 must have 4 cells" in why) == (400, True), why
    assert (second.returncode, second.stderr) == (
        2, f"error: host and port must be free to listen at, got 127.0.0.1 and {port}: Address already in use\n"
    )  # fmt: skip
    assert (server.returncode, rest) == (0, "")
    assert not [child for child in children if child.is_running()]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_doctor_and_reproduction_know_tables_and_folds(shop, command):
    folder, _ = shop
    done = command("doctor")
    assert done.returncode == 0, done.stdout
    assert "clean: everything agrees" in done.stdout
    lost = folder.path / "optuna.db"
    lost.rename(folder.path / "kept.db")
    done = command("doctor", "--fix", "true")
    assert done.returncode == 0, done.stdout
    assert "Optuna's study is written again from MLflow's runs" in done.stdout
    old, new = (optuna.storages.RDBStorage(sqlite_address(folder.path / name)) for name in ("kept.db", "optuna.db"))
    (study,) = optuna.get_all_study_names(old)
    before, after = (optuna.load_study(study_name=study, storage=storage).trials for storage in (old, new))
    assert [(t.number, t.state, t.params, t.values) for t in after] == [
        (t.number, t.state, t.params, t.values) for t in before
    ]

    moved = folder.path / "elsewhere"
    moved.mkdir()
    (folder.path / PEOPLE).rename(moved / PEOPLE)
    done = command("reproduce", "--data-folder", "elsewhere")
    (moved / PEOPLE).rename(folder.path / PEOPLE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reproduced: bit-equal, every number of every epoch" in done.stdout


@pytest.fixture(scope="module")
def served(shop) -> Iterator[str]:
    """The champion behind MLflow's own server, where the file of the user's own model is gone."""
    folder, _ = shop
    (folder.path / "own code.py").unlink()
    port = free_port()
    study = tracking.studies(folder.uri)[0].study
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{study}@champion",
               "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    environment = {**folder.environment(), "MLFLOW_TRACKING_URI": folder.uri, "PYTHONPATH": ""}
    server = subprocess.Popen(command, cwd="/", env=environment, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).read()
                break
            except OSError:
                assert server.poll() is None, "the server ended"
                time.sleep(0.5)
        else:
            pytest.fail("the server did not answer in ten minutes")
        yield address
    finally:
        server.terminate()
        server.wait(60)


def ask(address: str, body: str, kind: str) -> tuple[int, str]:
    """Send a request and return status and text of the answer."""
    request = urllib.request.Request(f"{address}/invocations", body.encode(), {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.slow
def test_served_champion_answers_json_and_csv_of_the_original_columns_alike(shop, served):
    folder, _ = shop
    text = (folder.path / "new.csv").read_text()
    frame = pd.read_csv(folder.path / "new.csv")
    status, as_csv = ask(served, text, "text/csv")
    assert status == 200, as_csv
    body = json.dumps({"dataframe_split": json.loads(frame.to_json(orient="split"))})
    status, as_json = ask(served, body, "application/json")
    assert status == 200, as_json
    from_csv = pd.DataFrame(json.loads(as_csv)["predictions"])
    from_json = pd.DataFrame(json.loads(as_json)["predictions"])
    pd.testing.assert_frame_equal(from_csv, from_json)
    assert set(from_csv["prediction"]) <= {"yes", NASTY}

    local = tracking.predict(folder.uri, tracking.champion_address(folder.uri, None), frame)
    assert np.allclose(from_csv["probability_yes"], local["probability_yes"], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "named"),
    [
        ({"age": 30, "member": "yes", "joined": "2024-01-01"}, "must have the columns of the training data"),
        ({"age": "thirty", COLOUR: "red", "member": "yes", "joined": "2024-01-01"}, "age"),
        ({"age": 30, COLOUR: "red", "member": "yes", "joined": "some day"}, "joined"),
    ],
)
def test_bad_request_gets_400_and_the_name_of_the_column(served, cells, named):
    status, text = ask(served, json.dumps({"dataframe_records": [cells]}), "application/json")

    assert status == 400
    assert named in text


@pytest.mark.slow
def test_infinite_numbers_are_missing_cells_whether_json_csv_or_text(served):
    def answer(age: str, kind: str = "application/json") -> str:
        cells = f'[{age}, "red", "yes", "2024-01-01"]'
        names = json.dumps(["age", COLOUR, "member", "joined"])
        body = f'{{"dataframe_split": {{"columns": {names}, "data": [{cells}]}}}}'
        if kind == "text/csv":
            body = f"{NAMES}{age},red,yes,2024-01-01\n"
        status, text = ask(served, body, kind)
        assert status == 200, text
        return text

    missing = answer("null")
    for age in ("Infinity", "-Infinity", "1e308", "1e400", '"inf"', '"1e308"', '"-1e400"', "9" * 400):
        assert answer(age) == missing
    for age in ("", "inf", "-Infinity", "1e308", "1e400", "9" * 400):
        assert answer(age, "text/csv") == missing
    assert answer("30") != missing


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["0,30,red,yes,2024-01-01\n", "0,1,red,yes,2024-01-01\n1,2,red,yes,2024-01-01\n",
                                  "30,red,yes,2024-01-01,\n31,red,yes,2024-01-01\n"])  # fmt: skip
def test_csv_row_with_a_cell_too_many_is_refused_and_never_shifted(served, rows):
    status, text = ask(served, f"{NAMES}{rows}", "text/csv")
    assert status == 400
    assert "row 1 must have 4 cells, as the line of names has, got 5" in text
    later = f"{NAMES}30,red,yes,2024-01-01\n{rows}"
    status, text = ask(served, later, "text/csv")
    assert status == 400
    assert "row 2 must have 4 cells, as the line of names has, got 5" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "named"), [("[" * 100_000 + "]" * 100_000, "recursion"), ("9" * 5000, "digits")], ids=["deep", "long"]
)
def test_json_that_is_too_much_for_python_is_refused(served, value, named):
    status, text = ask(served, f'{{"dataframe_records": [{{"age": {value}}}]}}', "application/json")
    assert status == 400, text[:500]
    assert named in text


@pytest.mark.slow
def test_category_never_seen_is_answered(served):
    cells = {"age": 30, COLOUR: "a colour never seen", "member": None, "joined": None}
    status, text = ask(served, json.dumps({"dataframe_records": [cells]}), "application/json")

    assert status == 200, text


@pytest.mark.slow
def test_champion_holds_no_pickle(shop):
    folder, _ = shop
    study = tracking.studies(folder.uri)[0].study
    version = MlflowClient(folder.uri).get_model_version_by_alias(study, "champion")
    model_id = version.source.removeprefix("models:/")
    location = MlflowClient(folder.uri).get_logged_model(model_id).artifact_location
    files = {path.suffix for path in Path(url2pathname(urlsplit(location).path)).rglob("*") if path.is_file()}

    assert ".skops" in files
    assert not files & {".pkl", ".pickle", ".joblib"}


@pytest.mark.slow
def test_init_writes_a_definition_that_runs_and_never_replaces_one(shop, command):
    folder, _ = shop
    done = command("init", "--data", PEOPLE, "--target", "bought", "--output", "begin.toml")
    assert done.returncode == 0, done.stderr
    assert one_line(COLOUR, 32) in done.stdout
    text = (folder.path / "begin.toml").read_text()
    assert f'{json.dumps(COLOUR, ensure_ascii=False)} = "categorical"' in text
    assert tomllib.loads(text)["data"]["name"] == PEOPLE

    again = command("init", "--data", PEOPLE, "--target", "bought", "--output", "begin.toml")
    assert again.returncode == 2
    assert (folder.path / "begin.toml").read_text() == text
