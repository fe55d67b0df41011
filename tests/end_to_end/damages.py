"""The ways to hurt a finished study, and what the doctor must say of each. Shared by the tests and by the benchmark."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from mlflow.tracking.client import MlflowClient

from depthcheck.experiments import tracking
from depthcheck.experiments.doctor.examine import Examination, examine, studies
from depthcheck.experiments.places import Place
from depthcheck.experiments.tracking import StudyRun
from depthcheck.pipeline.records import TrialResult
from tests.end_to_end.folder import Folder
from tests.reports.stored_study import result_of

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
        return run, result_of(record)

    def examine(self, *, fix: bool = False) -> Examination:
        return examine(self.place, self.name, fix=fix)


def contents(folder: Folder) -> tuple[list, list]:
    """Return all that the two databases hold of the trials: by value, as the order of keys is nobody's concern."""
    told = [
        (t.number, t.state, t.params, t.distributions, t.user_attrs, t.value, t.intermediate_values)
        for t in folder.study().trials
    ]
    return told, [replace(record, tags={}) for record in folder.records()]


def copied(folder: Folder, path: Path) -> Hurt:
    """Return a copy of a folder, its artifacts included."""
    _artifact_repos_cache.clear()  # kept by run id: a copy's artifacts would be looked for in the last copy's folder
    copy = Hurt(path=path, home=folder.home)
    shutil.copytree(folder.path, copy.path)
    with contextlib.closing(sqlite3.connect(copy.path / "mlflow.db")) as connection, connection:
        for table, column in PATHS:
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)",
                               (str(folder.path), str(copy.path)))  # fmt: skip
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
    with contextlib.suppress(tracking.TakenOverError):
        run.finish(result)
    tracking.end_run(hurt.place.uri, run.run_id, "FINISHED", {})


def move_alias(hurt: Hurt) -> None:
    confirmed = [record.run_id for record in hurt.records() if record.phase == "confirm"]
    champion = hurt.client.get_run(hurt.parent).data.tags["champion_run_id"]
    other = next(run_id for run_id in confirmed if run_id != champion)
    tracking.register_champion(hurt.study_run, other, "mine", hurt.study().user_attrs["resolved"]["served"])
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


#: What is done, and what the doctor must say of it.
Damage = tuple[Callable[[Hurt], object], str]
#: What may be done at once, by what it is done to.
REPAIRABLE: Mapping[str, Sequence[Damage]] = {
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
        (lambda h: h.client.delete_tag(h.parent, "best_single_trial"), "the study's run notes none"),
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


def purge(hurt: Hurt, run_id: str) -> None:
    """Do what ``mlflow gc`` does with a deleted run."""
    hurt.client.delete_run(run_id)
    hurt.client._tracking_client.store._hard_delete_run(run_id)


def change_in_mlflow(hurt: Hurt, number: int, table: str, change: str) -> None:
    hurt.sql("mlflow.db", f"{change.replace('TABLE', table)} AND run_uuid = '{hurt.run_of(number)}'")


#: What the doctor names and leaves as it is.
IRREPARABLE: Sequence[Damage] = [
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
