"""Damage of each kind done to a real study: the doctor names it, repairs what can be, and nothing is trained again."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from conftest import Folder
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from mlflow.tracking.client import MlflowClient

from depthcheck.experiments import tracking
from depthcheck.experiments.doctor.examine import Examination, Place, examine, lines, studies
from depthcheck.experiments.lock import held
from depthcheck.experiments.reproduce.original import find, write_model_again
from depthcheck.experiments.tracking import StudyRun
from depthcheck.experiments.tracking.files import hashes
from depthcheck.experiments.tracking.runs import study_runs
from depthcheck.pipeline.records import TrialResult

pytestmark = pytest.mark.slow
#: Tables and columns of MLflow's database in which a folder's path stands.
PATHS = (
    ("runs", "artifact_uri"),
    ("experiments", "artifact_location"),
    ("logged_models", "artifact_location"),
)


class Hurt(Folder):
    """A copy of a finished study, and the ways to hurt it."""

    @property
    def place(self) -> Place:
        return Place(uri=self.uri, storage=self.storage, folder=self.path)

    @property
    def name(self) -> str:
        (name,) = studies(self.place, None)
        return name

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    @property
    def parent(self) -> str:
        return self.study().user_attrs["parent_run_id"]

    @property
    def study_run(self) -> StudyRun:
        run = self.client.get_run(self.parent)
        return StudyRun(
            tracking_uri=self.uri, experiment_id=run.info.experiment_id, run_id=self.parent, study=self.name
        )

    def run_of(self, number: int) -> str:
        return self.study().trials[number].user_attrs["run_id"]

    def sql(self, database: str, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path / database)) as connection, connection:
            for statement in statements:
                assert connection.execute(statement).rowcount > 0, statement

    def artifact(self, run_id: str, name: str) -> Path:
        return Path(self.client.get_run(run_id).info.artifact_uri.removeprefix("file://")) / name

    def model_folder(self, number: int) -> Path:
        model_id = self.client.get_run(self.run_of(number)).outputs.model_outputs[-1].model_id
        return Path(self.client.get_logged_model(model_id).artifact_location.removeprefix("file://"))

    def start_again(self, number: int) -> tuple[tracking.TrialRun, TrialResult]:
        """Begin a second run of a trial, as a worker does whose predecessor was killed."""
        record = self.records()[number]
        run = tracking.start_trial(
            replace(self.study_run, shared_tags={"study": self.name}),
            number=number,
            phase=record.phase,
            config=record.config,
        )
        result = TrialResult(
            config=record.config,
            state=record.state,
            history=record.history,
            valid=record.evaluation("valid"),
            test=record.evaluation("test"),
            n_params=record.n_params,
            fit_seconds=record.fit_seconds,
        )
        return run, result

    def examine(self, *, fix: bool = False) -> Examination:
        return examine(self.place, self.name, fix=fix)


def contents(folder: Folder) -> tuple[list, list]:
    """Return all that the two databases hold of the trials: by value, as the order of keys is nobody's concern."""
    told = [
        (t.number, t.state, t.params, t.distributions, t.user_attrs, t.value, t.intermediate_values)
        for t in folder.study().trials
    ]
    return told, [replace(record, tags={}) for record in folder.records()]


@pytest.fixture
def hurt(undisturbed: Folder, tmp_path: Path) -> Hurt:
    _artifact_repos_cache.clear()  # kept by run id: a copy's artifacts would be looked for in the last copy's folder
    copy = Hurt(path=tmp_path / "copy", home=undisturbed.home)
    shutil.copytree(undisturbed.path, copy.path)
    with contextlib.closing(sqlite3.connect(copy.path / "mlflow.db")) as connection, connection:
        for table, column in PATHS:
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)",
                               (str(undisturbed.path), str(copy.path)))  # fmt: skip
    return copy


def unhear(hurt: Hurt, number: int) -> None:
    """Put Optuna back to the moment before it was told of a trial's end."""
    chosen = f"(SELECT trial_id FROM trials WHERE number = {number})"
    hurt.sql(
        "optuna.db",
        f"DELETE FROM trial_values WHERE trial_id = {chosen}",
        f"DELETE FROM trial_intermediate_values WHERE trial_id = {chosen}",
        f"DELETE FROM trial_user_attributes WHERE key IN ('run_id', 'state') AND trial_id = {chosen}",
        f"UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number = {number}",
    )


def lose_later_trials(hurt: Hurt) -> None:
    """Put Optuna back to the moment when six trials had been begun."""
    chosen = "(SELECT trial_id FROM trials WHERE number >= 6)"
    tables = ("trial_values", "trial_intermediate_values", "trial_user_attributes", "trial_params")
    hurt.sql(
        "optuna.db",
        *(f"DELETE FROM {table} WHERE trial_id IN {chosen}" for table in tables),
        "DELETE FROM trials WHERE number >= 6",
        "UPDATE study_user_attributes SET value_json = '[{\"trials\": 9}]' WHERE key = 'rounds'",
    )


def end_twice(hurt: Hurt) -> None:
    run, result = hurt.start_again(4)
    run.finish(result)


def move_alias(hurt: Hurt) -> None:
    confirmed = [record.run_id for record in hurt.records() if record.phase == "confirm"]
    champion = hurt.client.get_run(hurt.parent).data.tags["champion_run_id"]
    other = next(run_id for run_id in confirmed if run_id != champion)
    tracking.register_champion(hurt.study_run, other, "mine", hurt.study().user_attrs["settled"]["served"])
    hurt.client.set_tag(hurt.parent, "champion_run_id", champion)


def replace_finalists(hurt: Hurt) -> None:
    path = hurt.artifact(hurt.parent, "finalists.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "seeds": [1]}))


def leave_a_session(hurt: Hurt) -> None:
    tags = {"mlflow.parentRunId": hurt.parent, "phase": "session", "state": "running", "study": hurt.name}
    hurt.client.create_run(hurt.study_run.experiment_id, tags=tags)


def forget_the_parent(hurt: Hurt) -> None:
    hurt.sql("optuna.db", "DELETE FROM study_user_attributes WHERE key = 'parent_run_id'")


def model_file(hurt: Hurt, number: int) -> Path:
    return hurt.model_folder(number) / "data" / "model.keras"


def truncate_model(hurt: Hurt, number: int) -> None:
    model_file(hurt, number).write_bytes(model_file(hurt, number).read_bytes()[:1000])


def delete_logged_model(hurt: Hurt, number: int) -> None:
    hurt.client.delete_logged_model(hurt.client.get_run(hurt.run_of(number)).outputs.model_outputs[-1].model_id)


def exchange_models(hurt: Hurt, number: int, other: int) -> None:
    """Put another trial's model into a trial's folder, whole as it is."""
    shutil.rmtree(hurt.model_folder(number))
    shutil.copytree(hurt.model_folder(other), hurt.model_folder(number))


def champion_folder(hurt: Hurt) -> Path:
    source = hurt.client.get_model_version_by_alias(hurt.name, "champion").source
    location = hurt.client.get_logged_model(source.removeprefix("models:/")).artifact_location
    return Path(location.removeprefix("file://"))


def swap_class_names(hurt: Hurt) -> Path:
    (path,) = champion_folder(hurt).rglob("served.json")
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "class_names": facts["class_names"][::-1]}))
    return path


#: What is done at once, and what the doctor must say of each.
REPAIRABLE = {
    "trials": [
        (
            lambda h: h.client.log_metric(h.run_of(0), "final_valid_accuracy", 0.99),
            "trial 0: its score is .* in Optuna and 0.99 in MLflow",
        ),
        (lambda h: h.client.set_terminated(h.run_of(1), "KILLED"), "trial 1 is finished .* is KILLED in MLflow"),
        (lambda h: h.start_again(2), "of trial 2 is RUNNING in MLflow"),
        (lambda h: h.client.set_tag(h.run_of(2), "phase", "mine"), "trial 2: .* phase is 'mine'"),
        (lambda h: h.client.delete_run(h.run_of(3)), "trial 3 has ended in Optuna, and its run .* is deleted"),
        (end_twice, "trial 4 has ended twice"),
        (lambda h: h.client.set_tag(h.run_of(5), "mlflow.parentRunId", "0" * 32), "trial 5: .*parentRunId is '000"),
        (lambda h: h.client.set_tag(h.run_of(6), "trial_number", "six"), "trial 6: .* trial_number is 'six'"),
        (lambda h: h.client.delete_tag(h.run_of(8), "state"), "trial 8: .* state is None in place of 'finished'"),
        (lambda h: h.client.delete_tag(h.run_of(9), "finalist"), "trial 9: .* finalist is None"),
        (lambda h: unhear(h, 7), "trial 7 has ended in MLflow .* and is running in Optuna"),
        (lambda h: unhear(h, 10), "trial 10 has ended in MLflow .* and is running in Optuna"),
    ],
    "models": [
        (lambda h: shutil.rmtree(h.model_folder(0)), "trial 0: its model is not as it was .*: there are no files"),
        (lambda h: model_file(h, 1).write_bytes(b""), "trial 1: .* data/model.keras has another content"),
        (lambda h: truncate_model(h, 2), "trial 2: .* data/model.keras has another content"),
        (lambda h: exchange_models(h, 3, 5), "trial 3: .*, and .* more differ"),
        (lambda h: delete_logged_model(h, 4), "trial 4: its model m-.* was deleted in MLflow"),
        (lambda h: (h.model_folder(9) / "MLmodel").write_bytes(b""), "trial 9: .* MLmodel has another content"),
        (lambda h: h.artifact(h.run_of(10), "example.json").unlink(), "trial 10: example.json, .* is not as it was"),
        (swap_class_names, "models:/.*/1: .*served.json has another content"),
    ],
    "page, without": [
        (lambda h: h.client.update_run(h.parent, "RUNNING"), "the study's run .* is RUNNING"),
        (lambda h: h.client.delete_tag(h.parent, "best_trial"), "the study's run notes none"),
        (lambda h: h.client.delete_tag(h.parent, "study"), "is not marked as such: study"),
        (lambda h: h.artifact(h.parent, "finalists.json").unlink(), "finalists.json .* is missing"),
        (lambda h: h.client.delete_registered_model_alias(h.name, "champion"), "@champion leads to nothing"),
    ],
    "page, with another": [
        (lambda h: h.client.set_tag(h.parent, "state", "running"), "its tag state says running"),
        (leave_a_session, "of a session is RUNNING"),
        (replace_finalists, "is not the list that Optuna's study froze"),
        (move_alias, "@champion leads to version 2"),
    ],
    "page, damaged": [
        (lambda h: h.client.set_tag(h.parent, "champion_run_id", "x"), "the study's run notes x"),
        (lambda h: h.artifact(h.parent, "finalists.json").write_bytes(b"{\xff"), "is not the list"),
    ],
    "version deleted": [
        (lambda h: h.client.delete_model_version(h.name, "1"), "@champion leads to nothing"),
        (lambda h: h.client.set_tag(h.parent, "finalists_sha256", "00"), "the tag finalists_sha256"),
    ],
    "model unregistered": [(lambda h: h.client.delete_registered_model(h.name), "@champion leads to nothing")],
    "study's run deleted": [(lambda h: h.client.delete_run(h.parent), "the study's run .* is deleted in MLflow")],
    "experiment deleted": [
        (lambda h: h.client.delete_experiment(h.study_run.experiment_id), "the MLflow experiment .* is deleted")
    ],
    "optuna.db lost": [(lambda h: (h.path / "optuna.db").unlink(), "MLflow has the study .* and .*optuna.db has not")],
    "optuna.db of earlier": [(lose_later_trials, "is trial 6, which Optuna's study does not have")],
    "study's run not noted": [(forget_the_parent, "Optuna's study names no run")],
}


@pytest.mark.parametrize("damages", REPAIRABLE.values(), ids=REPAIRABLE)
def test_damage_is_named_and_repaired_to_the_last_digit(hurt, undisturbed, damages):
    for harm, _ in damages:
        harm(hurt)
    found = hurt.examine()
    assert found.repaired == ()
    text = lines(found, fix=False)
    for _, message in damages:
        assert any(re.search(message, line) for line in text), (message, text)
    assert "fix=true" in text[-1]
    fixed = hurt.examine(fix=True)
    assert fixed.left == (), fixed.left
    assert len(fixed.repaired) >= len(damages)
    again = hurt.examine()
    assert (again.left, again.repaired) == ((), ())
    assert contents(hurt) == contents(undisturbed)


def purge(hurt: Hurt, run_id: str) -> None:
    """Do what ``mlflow gc`` does with a deleted run."""
    hurt.client.delete_run(run_id)
    hurt.client._tracking_client.store._hard_delete_run(run_id)


def change_in_mlflow(hurt: Hurt, number: int, table: str, change: str) -> None:
    hurt.sql("mlflow.db", f"{change.replace('TABLE', table)} AND run_uuid = '{hurt.run_of(number)}'")


IRREPARABLE = [
    (
        lambda h: change_in_mlflow(h, 6, "params", "UPDATE TABLE SET value = '9' WHERE key = 'seed'"),
        r"trial 6: seed is \d+ in Optuna and 9 in MLflow",
    ),
    (
        lambda h: h.sql("optuna.db", "UPDATE trial_values SET value = 0.75 WHERE trial_id = 8"),
        "trial 7: its score is 0.75 in Optuna .* the run's curve ends at",
    ),
    (
        lambda h: change_in_mlflow(h, 8, "metrics", "DELETE FROM TABLE WHERE key = 'train/loss' AND step = 2"),
        "trial 8: of 3 epochs train/loss has 2",
    ),
    (
        lambda h: h.artifact(h.run_of(9), "test_predictions.npz").unlink(),
        "trial 9: test_predictions.npz is missing",
    ),
    (
        lambda h: h.artifact(h.run_of(10), "test_predictions.npz").write_bytes(b"PK"),
        "trial 10: test_predictions.npz is missing or cannot be read",
    ),
    (lambda h: purge(h, h.run_of(5)), "trial 5 has ended in Optuna .* and its run .* is gone"),
    (lambda h: h.artifact(h.parent, "design.json").unlink(), "design.json .* is missing"),
]


def test_what_cannot_be_repaired_is_named_and_left_as_it_is(hurt):
    for harm, _ in IRREPARABLE:
        harm(hurt)
    found = hurt.examine(fix=True)
    text = lines(found, fix=True)
    for _, message in IRREPARABLE:
        assert sum(bool(re.search(message, line)) for line in text) == 1, (message, text)
    left = [one for one in found.left if one.repair is None]
    assert left == list(found.left)
    assert all(one.advice for one in left)
    # Optuna's value was changed to one that makes another finalist: what follows from it is written as it now is.
    assert hurt.examine().left == found.left


def test_model_is_not_written_where_its_trial_comes_out_otherwise(hurt):
    original = find(hurt.uri, run_id=hurt.run_of(0), study=None)
    before = hurt.client.get_run(hurt.run_of(0)).outputs.model_outputs
    points = {**original.points, "valid/accuracy": {1: 0.5, 2: 0.5, 3: 0.5}}
    reason = write_model_again(replace(original, points=points), hurt.study_run)
    assert re.fullmatch(r"trained again, valid/accuracy of epoch 1 is 0\.\d+ and was 0\.5", reason)
    assert hurt.client.get_run(hurt.run_of(0)).outputs.model_outputs == before


def test_champion_that_answers_otherwise_is_found_even_where_its_hashes_were_written_again(hurt):
    swap_class_names(hurt)
    source = hurt.client.get_model_version_by_alias(hurt.name, "champion").source
    rewritten = json.dumps(hashes(champion_folder(hurt)))
    hurt.client.set_logged_model_tags(source.removeprefix("models:/"), {"files_sha256": rewritten})
    (found,) = hurt.examine().left
    assert re.search("@champion does not answer as it did: .* its classes are", found.what), found.what


def test_models_from_before_there_were_hashes_are_said_to_be_unchecked(hurt):
    hurt.sql("mlflow.db", "DELETE FROM logged_model_tags WHERE tag_key = 'files_sha256'",
             "DELETE FROM tags WHERE key = 'example_sha256'")  # fmt: skip
    found = hurt.examine()
    assert found.left == ()
    text = lines(found, fix=False)
    assert "  12 models were logged without hashes: it is not known whether the files are the same" in text
    truncate_model(hurt, 2)
    (found,) = hurt.examine().left
    assert "trial 2: its model cannot be opened" in found.what


def test_trial_of_a_stranger_is_named(hurt):
    hurt.study().ask()
    (found,) = hurt.examine(fix=True).left
    assert "in Optuna is none of this project's" in found.what
    assert found.repair is None


def command(folder: Folder, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "depthcheck", "doctor", *words],
        check=False,
        cwd=folder.path,
        env=folder.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_much_damage_at_once_is_repaired_and_nothing_is_trained_again(hurt, undisturbed, tiny):
    run_ids = [record.run_id for record in hurt.records()]
    for group in ("page, with another", "page, without", "trials", "study's run deleted"):
        for harm, _ in REPAIRABLE[group]:
            harm(hurt)
    code, output = command(hurt)
    assert code == 1, output
    code, output = command(hurt, "--fix", "true")
    assert code == 0, output
    assert "clean: everything agrees now" in output
    code, output = command(hurt)
    assert (code, "clean: everything agrees" in output) == (0, True), output
    code, output = hurt.run("--experiment", tiny, "--workers", "1")
    assert code == 0, output
    assert "continues: 11 of 11 trials have ended" in output
    assert [record.run_id for record in hurt.records()] == run_ids
    assert contents(hurt) == contents(undisturbed)
    assert command(hurt)[0] == 0


def test_study_without_its_run_gets_another_one_and_goes_on(hurt, undisturbed, tiny):
    run_ids = [record.run_id for record in hurt.records()]
    purge(hurt, hurt.parent)
    name = hurt.study().study_name
    found = examine(hurt.place, name, fix=True)
    assert [one.what for one in found.left] == [
        f"design.json of the study's run {hurt.parent} is missing or cannot be read"
    ]
    code, output = hurt.run("--experiment", tiny, "--workers", "1")
    assert code == 0, output
    assert [record.run_id for record in hurt.records()] == run_ids
    assert command(hurt)[0] == 0


def test_same_command_takes_over_what_optuna_has_lost_and_scores_a_network_without_a_score(hurt, undisturbed, tiny):
    hurt.client.delete_tag(hurt.run_of(2), "test_samples")
    (found,) = hurt.examine(fix=True).left
    assert found.what.endswith("networks of the search have no score on the test part: trial 2")
    parent, n_trials, name = hurt.parent, len(hurt.study().trials), hurt.name
    (hurt.path / "optuna.db").unlink()
    code, output = hurt.run("--experiment", tiny, "--workers", "1")
    assert code == 0, output
    assert (
        f"{n_trials} more, which have ended in MLflow (run {parent}), are taken over, and not trained again" in output
    )
    assert "scoring 1 network on the test part" in output
    assert contents(hurt) == contents(undisturbed)
    assert hurt.examine().left == ()
    assert [run.run_id for run in study_runs(hurt.uri)] == [parent]
    assert [version.version for version in hurt.client.search_model_versions(f"name = '{name}'")] == [1]


def test_extended_study_is_written_again_from_mlflow_with_all_its_rounds(hurt, tiny):
    code, output = hurt.run("--experiment", tiny, "--workers", "1", "--trials", "11", "--seeds", "2")
    assert code == 0, output
    before, attributes = contents(hurt), hurt.study().user_attrs
    assert [("trials" in one) for one in attributes["rounds"]] == [True, False, True, False]
    (hurt.path / "optuna.db").unlink()
    assert hurt.examine(fix=True).left == ()
    assert contents(hurt) == before
    assert hurt.study().user_attrs == attributes


def test_running_study_is_left_alone(hurt):
    hurt.start_again(2)
    with held(hurt.path, hurt.name):
        code, output = command(hurt, "--fix", "true")
    assert code == 2, output
    assert f"is running: process {os.getpid()} on " in output
    assert len(output.strip().splitlines()) == 1
    assert len(tracking.running_trials(hurt.uri, hurt.parent)) == 1


def test_what_may_run_on_another_machine_is_looked_at_and_left_alone(hurt):
    name = hurt.name
    hurt.start_again(2)
    hurt.client.update_run(hurt.parent, "RUNNING")
    lock = hurt.path / f".{name}.lock"
    lock.unlink()
    found = hurt.examine()
    assert [one.repair for one in found.left] == [None, None]
    assert all("may be alive on another" in one.advice for one in found.left)
    with pytest.raises(ValueError, match="its process may be alive on another machine"):
        hurt.examine(fix=True)
    assert not lock.exists()
    hurt.client.set_terminated(hurt.parent, "FAILED")  # whoever ran it has ended
    hurt.examine(fix=True)
    assert hurt.examine().left == ()
    assert not lock.exists()


def test_what_was_replaced_is_kept(hurt):
    path = hurt.artifact(hurt.parent, "finalists.json")
    replace_finalists(hurt)
    edited = json.loads(path.read_text())
    hurt.examine(fix=True)
    assert json.loads((path.parent / "finalists-replaced.json").read_text()) == edited
    assert json.loads(path.read_text()) != edited


def test_alias_that_was_moved_leaves_its_version(hurt):
    move_alias(hurt)
    description = hurt.client.get_model_version(hurt.name, "1").description
    hurt.examine(fix=True)
    assert {version.version for version in hurt.client.search_model_versions(f"name = '{hurt.name}'")} == {1, 2}
    assert hurt.client.get_model_version_by_alias(hurt.name, "champion").description == description


def test_storage_elsewhere_is_named(hurt, tmp_path):
    elsewhere, name = tmp_path / "elsewhere.db", hurt.name
    shutil.move(hurt.path / "optuna.db", elsewhere)
    assert "or name the storage" in examine(hurt.place, name, fix=False).left[0].advice
    assert examine(replace(hurt.place, storage=f"sqlite:///{elsewhere}"), name, fix=False).left == ()
    assert not (hurt.path / "optuna.db").exists()


def test_all_studies_are_those_of_this_project(hurt):
    name = hurt.name
    optuna.create_study(storage=hurt.storage, study_name="somebody-elses").ask()
    assert studies(hurt.place, "all") == [name]


def test_mlflow_run_examines_and_repairs(hurt):
    hurt.client.delete_run(hurt.run_of(3))
    root = Path(__file__).parent.parent.parent
    words = [sys.executable, "-m", "mlflow", "run", str(root), "-e", "doctor", "--env-manager", "local"]
    environment = {**hurt.environment(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*words, "-P", "fix=true"], check=False, cwd=hurt.path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "repaired: 1" in done.stdout
    assert hurt.examine().left == ()
    sessions = hurt.client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{hurt.parent}'")
    assert [run.data.tags["phase"] for run in sessions] == ["session"]
    assert sessions[0].info.status == "FINISHED"
