"""The doctor on a study of made-up results: every way in which a trial ends, a server, and the command line.

Damage to a real study is in tests/end_to_end/test_damaged_study.py.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from mlflow.entities import LoggedModelOutput
from rich.console import Console

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster.worker import Outcome
from depthcheck.experiments.doctor.examine import Examination, examine, lines, studies
from depthcheck.experiments.lock import lock_file
from depthcheck.experiments.places import Place
from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.planning.finalists import Finalist
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.experiments.study.resume import resumed
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.model import log_files
from depthcheck.experiments.tracking.store import client
from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.records import Evaluation, History, TrialResult, TrialState

DIGITS = replace(definition.read(definition.find("digits")), fixed={"early_stopping": 3})
SHA256 = "ab" * 32
PLAN = design.plan(DIGITS, [design.SearchRound(trials=20)])


@dataclass
class Study:
    """A study under way, with a say in how each trial ends."""

    place: Place
    ledger: Ledger
    run: tracking.StudyRun

    @classmethod
    def begin(cls, uri: str, folder: Path) -> Study:
        folder.mkdir(exist_ok=True)
        place = Place(uri=uri, storage=f"sqlite:///{folder / 'optuna.db'}", folder=folder)
        ledger = Ledger.open(place.storage, "mine", {**DIGITS.as_json(), "data_sha256": SHA256})
        ledger.raise_budget(20)
        written = {
            "definition": DIGITS.as_json(),
            "data": {"sha256": SHA256, "n_valid": 288},
            "plan": [{key: getattr(of, key) for key in ("number", "phase", "seed", "point")} for of in PLAN],
        }
        run = tracking.open_parent("mine", uri=uri, environ={}, artifacts={"design.json": written})
        ledger.set_parent_run_id(run.run_id)
        lock_file(folder, "mine").write_text("")
        return cls(place, ledger, run)

    def start(self) -> tracking.TrialRun:
        """Begin the next trial of the plan, in Optuna and in MLflow."""
        planned = PLAN[len(self.ledger.trials())]
        point = planned.point
        assert point is not None
        self.ledger.start(planned, point, space.distributions(DIGITS, point))
        config = space.to_config(DIGITS, point, seed=planned.seed, data_sha256=SHA256, split=SplitConfig())
        return tracking.start_trial(
            self.run, number=planned.number, phase=planned.phase, config=config, combination=planned.combination
        )

    def finish(self, run: tracking.TrialRun, state: TrialState = "finished", n_epochs: int = 10) -> Outcome:
        """End the trial in MLflow; return what Optuna is to be told."""
        number = len(self.ledger.trials()) - 1
        scores = tuple((number + epoch / 10) / 20 for epoch in range(1, n_epochs + 1))
        counts = n_epochs - 2 if state == "pruned" else n_epochs - 1  # the epoch of the lowest loss
        lowest = math.nan if state == "diverged" else 0.25
        losses = tuple(lowest if epoch == counts else 0.5 for epoch in range(n_epochs))
        history = History(
            train_loss=losses,
            train_score=scores,
            valid_loss=losses,
            valid_score=scores,
            learning_rate=(0.1,) * n_epochs,
            seconds=(0.01,) * n_epochs,
        )
        score = 0.1 if state == "diverged" else scores[counts]
        point = PLAN[number].point
        assert point is not None
        config = space.to_config(DIGITS, point, seed=PLAN[number].seed, data_sha256=SHA256, split=SplitConfig())
        log_model(self.run, run.run_id)
        run.finish(
            TrialResult(
                config=config,
                state=state,
                history=history,
                valid=Evaluation(part="valid", loss=losses[counts], score=score, metric="accuracy", n_samples=288),
                test=None,
                n_params=650,
                fit_seconds=0.1,
            )
        )
        return Outcome(
            number=number, run_id=run.run_id, state=state, score=score, scores=history.valid_score, fit_seconds=0.1
        )

    def end(self) -> None:
        ended = [trial for trial in self.ledger.trials() if trial.user_attrs.get("state") == "finished"]
        best = max(ended, key=lambda trial: trial.value)
        self.run.log_best(
            number=best.number, run_id=best.user_attrs["run_id"], score=best.value, metric="accuracy", trials_done=9
        )
        self.run.finish("KILLED")

    def examine(self, *, fix: bool = False) -> Examination:
        return examine(self.place, "mine", fix=fix)


def log_model(study: tracking.StudyRun, run_id: str) -> None:
    """Log the files of a model: what is in them is no concern of the doctor's, only whether they are the same."""
    api = client(study.tracking_uri)
    model = api.create_logged_model(study.experiment_id, name="model", source_run_id=run_id)
    with TemporaryDirectory() as folder:
        (Path(folder) / "data").mkdir()
        (Path(folder) / "MLmodel").write_text("flavors: {}")
        with zipfile.ZipFile(Path(folder) / "data" / "model.keras", "w") as archive:
            archive.writestr("config.json", "{}")
        log_files(api, model, Path(folder))
    api.finalize_logged_model(model.model_id, "READY")
    api.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])


@pytest.fixture
def study(uri: str, tmp_path: Path) -> Study:
    return Study.begin(uri, tmp_path)


def test_every_way_in_which_a_trial_ends_is_clean(study: Study) -> None:
    for state, n_epochs in (("finished", 10), ("diverged", 3), ("pruned", 6)):
        study.ledger.tell(study.finish(study.start(), state, n_epochs))
    failing = study.start()
    failing.fail("Traceback\nValueError: no")
    nothing = {"score": None, "scores": (), "fit_seconds": 0.0}
    study.ledger.tell(Outcome(number=3, run_id=failing.run_id, state="failed", failure="ValueError: no", **nothing))
    study.start()
    study.ledger.tell(Outcome(number=4, run_id="", state="failed", failure="the worker died", **nothing))
    tracking.close_stale(study.place.uri, study.run.run_id)
    interrupted = study.start()
    interrupted.log_epoch(1, {"valid/accuracy": 0.5})
    interrupted.flush()
    tracking.close_stale(study.place.uri, study.run.run_id)
    study.end()
    examination = study.examine()
    assert examination.left == ()
    assert (examination.n_in_optuna, examination.n_in_mlflow, examination.n_open) == (5, 4, 1)
    assert "1 trial was begun and has not ended: the next start" in "\n".join(lines(examination, fix=False))


@pytest.mark.parametrize(("lost", "left"), [("step = 5", 5), ("step > 0", 0)])
def test_pruned_trial_keeps_its_score_where_losses_are_lost(study: Study, tmp_path: Path, lost: str, left: int) -> None:
    study.ledger.tell(study.finish(study.start()))
    run = study.start()
    study.ledger.tell(study.finish(run, "pruned", 6))
    study.end()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as opened, opened:
        opened.execute(f"DELETE FROM metrics WHERE key = 'valid/loss' AND run_uuid = '{run.run_id}' AND {lost}")
    (found,) = study.examine(fix=True).left
    assert f"trial 1: of 6 epochs valid/loss has {left} (run" in found.what


@pytest.mark.parametrize("lose_optuna", [False, True])
def test_edited_tag_of_the_only_trial_is_put_back_or_said_why_not(
    study: Study, tmp_path: Path, lose_optuna: bool
) -> None:
    run = study.start()
    study.ledger.tell(study.finish(run))
    study.end()
    client(study.place.uri).set_tag(run.run_id, "valid_samples", "x")
    if lose_optuna:
        (tmp_path / "optuna.db").unlink()
    left = [found.advice for found in study.examine(fix=True).left]
    said = (
        f"it cannot be repaired: run {run.run_id} of trial 0 must have its tag valid_samples as it was logged, got 'x'"
    )
    assert left == ([said] if lose_optuna else [])


def test_run_that_ended_after_its_trial_was_given_up_does_not_count(study: Study) -> None:
    study.ledger.tell(study.finish(study.start()))
    late = study.start()
    study.ledger.tell(
        Outcome(number=1, run_id="", state="failed", score=None, scores=(), fit_seconds=0.0, failure="it died")
    )
    study.finish(late)
    study.end()
    (found,) = study.examine().left
    assert "trial 1 is failed in Optuna without a run, and run" in found.what
    assert study.examine(fix=True).left == ()
    assert [record.number for record in tracking.trials(study.place.uri, study.run.run_id)] == [0]


def test_list_that_was_frozen_before_the_search_went_on_is_clean(study: Study) -> None:
    study.ledger.tell(study.finish(study.start()))
    point = PLAN[0].point or {}
    before = Finalist(id="trial-0", number=0, origin="compare", selected_score=0.5, stands_for=(), point=point)
    study.ledger.add_round(design.ConfirmRound(finalists=(before,), runs=(("trial-0", 0),)))
    study.run.log_finalists({"sha256": "of whom the search would choose by now", "seeds": [1], "finalists": []})
    study.end()
    assert study.examine().left == ()
    study.run.set_tags({keys.FINALISTS_SHA256: "another"})
    (found,) = study.examine().left
    assert "is not the list that Optuna's study froze" in found.what


def test_study_killed_before_its_first_trial_is_clean(study: Study) -> None:
    study.run.finish("KILLED")
    examination = study.examine()
    assert (examination.left, examination.n_in_optuna) == ((), 0)


def test_optuna_study_without_a_run_yet_is_clean(uri: str, tmp_path: Path) -> None:
    place = Place(uri=uri, storage=f"sqlite:///{tmp_path / 'optuna.db'}", folder=tmp_path)
    Ledger.open(place.storage, "mine", {**DIGITS.as_json(), "data_sha256": SHA256})
    assert examine(place, "mine", fix=False).left == ()
    tracking.store.client(uri)
    with pytest.raises(ValueError, match="there must be a study to examine, got none"):  # as list says
        studies(place, None)


def test_run_of_another_definition_is_not_taken_for_the_studys_own(study: Study, tmp_path: Path) -> None:
    other = replace(study.place, storage=f"sqlite:///{tmp_path / 'other.db'}")
    Ledger.open(other.storage, "mine", {**DIGITS.as_json(), "seed": 99, "data_sha256": SHA256})
    study.run.finish("KILLED")
    assert examine(other, "mine", fix=True).left == ()
    ledger = Ledger.existing(other.storage, "mine")
    assert ledger is not None
    assert ledger.parent_run_id is None


def test_runs_that_do_not_fit_the_plan_are_not_written_into_optuna(study: Study, tmp_path: Path) -> None:
    study.ledger.tell(study.finish(study.start()))
    study.end()
    (tmp_path / "optuna.db").unlink()
    (path,) = tmp_path.rglob("design.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "definition": {**DIGITS.as_json(), "seed": 99}}))
    examination = study.examine(fix=True)
    (found,) = examination.left
    assert "which Optuna's study does not have" in found.what
    assert "is no trial 0 of the study's plan" in found.advice
    assert found.repair is None


def test_study_that_was_trained_twice_is_not_clean(study: Study, tmp_path: Path) -> None:
    study.ledger.tell(study.finish(study.start()))
    study.end()
    assert study.examine().left == ()
    again = Study.begin(study.place.uri, tmp_path / "elsewhere")
    again.ledger.tell(again.finish(again.start()))
    again.end()
    (found,) = study.examine(fix=True).left
    assert (
        f"run {again.run.run_id} of the same name has trials that have ended (1): the study was trained" in found.what
    )
    client(study.place.uri).delete_run(again.run.run_id)
    assert study.examine().left == ()


def test_store_that_has_nothing_of_a_study_is_named_and_not_written(
    study: Study, tmp_path: Path, empty_store: Path
) -> None:
    study.ledger.tell(study.finish(study.start()))
    study.end()
    shutil.copy(empty_store, tmp_path / "other.db")
    (left,) = examine(replace(study.place, uri=f"sqlite:///{tmp_path / 'other.db'}"), "mine", fix=True).left
    assert left.what == f"the study's run {study.run.run_id} and the runs of all its trials are gone from MLflow"
    assert "put the store back that has them, or name it (MLFLOW_TRACKING_URI)" in left.advice
    assert examine(study.place, "mine", fix=False).left == ()  # once the store is back


def test_study_whose_run_is_gone_gets_another_one_though_a_trials_run_is_deleted(study: Study) -> None:
    study.ledger.note_looks((6, 9))
    for _ in range(2):
        study.ledger.tell(study.finish(study.start()))
    study.end()
    api = client(study.place.uri)
    for run_id in (study.run.run_id, study.ledger.trials()[0].user_attrs["run_id"]):
        api.delete_run(run_id)
    api._tracking_client.store._hard_delete_run(study.run.run_id)  # as mlflow gc does
    (left,) = study.examine(fix=True).left
    assert "design.json" in left.what
    (again,) = tracking.studies(study.place.uri)
    assert len(tracking.trials(study.place.uri, again.run_id)) == 2
    assert tracking.looks(study.place.uri, again.run_id) == (6, 9)


def test_link_that_leads_nowhere_in_place_of_the_lock_is_said_and_not_followed(study: Study, tmp_path: Path) -> None:
    lock = lock_file(study.place.folder, "mine")
    lock.unlink()
    lock.symlink_to(tmp_path / "nowhere")
    for fix in (False, True):
        with pytest.raises(ValueError, match=rf"the study's lock must be a file of yours .*, got {lock} \(a link\)"):
            examine(study.place, "mine", fix=fix)
    assert not lock.exists()


def test_no_database_stays_open_after_the_doctor_looked(study: Study) -> None:
    before = _open_files(study.place.folder / "optuna.db")
    study.examine()
    assert _open_files(study.place.folder / "optuna.db") == before  # those of the study under way


def _open_files(database: Path) -> int:
    """Return how many descriptors of this process lead to a database, or its log."""
    return sum(str(one.resolve()).startswith(str(database)) for one in Path("/proc/self/fd").iterdir())


def test_newer_study_is_refused_in_one_line(study: Study) -> None:
    client(study.place.uri).set_tag(study.run.run_id, "schema_version", "3")
    with pytest.raises(ValueError, match="study 'mine' must have schema version 2 or older, got 3"):
        study.examine()


# A tracking server.


@pytest.mark.slow
def test_study_on_a_server_is_examined_and_repaired(server: str, tmp_path: Path) -> None:
    study = Study.begin(server, tmp_path)
    for _ in range(3):
        study.ledger.tell(study.finish(study.start()))
    study.end()
    assert study.examine().left == ()
    run_ids = [trial.user_attrs["run_id"] for trial in study.ledger.trials()]
    client(server).delete_run(run_ids[0])
    client(server).log_metric(run_ids[1], "final_valid_accuracy", 0.75)
    models = tmp_path / "server" / "files"
    assert len(study.examine(fix=True).repaired) == 2
    lost = client(server).get_run(run_ids[2]).outputs.model_outputs[-1].model_id
    (archive,) = (path for path in models.rglob("model.keras") if lost in str(path))
    archive.unlink()
    (found,) = study.examine().left
    assert re.fullmatch(
        rf"trial 2: its model is not as it was logged: data/model.keras is missing \(in .*\) \(run {run_ids[2]}\)",
        found.what,
    )
    shutil.rmtree(archive.parents[1])
    (found,) = study.examine().left
    assert "its model is not as it was logged: there are no files" in found.what
    client(server).update_run(study.run.run_id, "RUNNING")
    elsewhere = Place(uri=server, storage=f"sqlite:///{tmp_path / 'mine.db'}", folder=tmp_path / "elsewhere")
    digits = load(DIGITS.data, cache=tmp_path)
    with (
        pytest.raises(ValueError, match=rf"run {study.run.run_id} of it in {server}, .* is RUNNING without a trace"),
        resumed(elsewhere, "mine", DIGITS, digits, is_search=True, console=Console(quiet=True)),
    ):
        pass
    assert not elsewhere.folder.exists()


# The command line.


@pytest.fixture
def command(here) -> Callable[..., tuple[int, str]]:
    """Return a function that runs the doctor; what it returns: exit code, and all that was said."""

    def run(folder: Path, *words: str) -> tuple[int, str]:
        done = here(folder, "doctor", *words, HOME=str(folder))
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--fix", "yes"], "error: fix must be true or false, got 'yes'"),
        (["--study", "a/b"], "error: study must be of letters, digits, dots, dashes and underscores, got 'a/b'"),
        ([], "error: the tracking store must be there, got none at sqlite:///"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path, command, words: list[str], line: str) -> None:
    (folder := tmp_path / "empty").mkdir()
    code, output = command(folder, *words)
    assert (code, len(output.strip().splitlines())) == (2, 1), output
    assert line in output
    assert list(folder.iterdir()) == []


def test_unknown_study_is_one_line_with_those_that_there_are(study: Study, command, tmp_path: Path) -> None:
    study.run.finish("KILLED")
    code, output = command(tmp_path, "--study", "yours")
    assert (code, len(output.strip().splitlines())) == (2, 1), output
    assert "error: study must be one of mine, got 'yours'" in output


def test_damaged_database_is_one_line_and_stays_as_it_is(study: Study, command, tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    content = bytearray(path.read_bytes())
    content[4096:8192] = os.urandom(4096)
    path.write_bytes(content)
    code, output = command(tmp_path, "--fix", "true")
    assert (code, len(output.strip().splitlines())) == (2, 1), output
    assert "the study's storage must be a whole SQLite database" in output
    assert path.read_bytes() == bytes(content)
