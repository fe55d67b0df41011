"""Damage of each kind done to a real study: the doctor names it, repairs what can be, and nothing is trained again."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import Folder
from damages import (
    IRREPARABLE,
    REPAIRABLE,
    Hurt,
    champion_folder,
    contents,
    copied,
    move_alias,
    purge,
    replace_finalists,
    swap_class_names,
)

from depthcheck.experiments.doctor.examine import examine, lines, studies
from depthcheck.experiments.lock import held
from depthcheck.experiments.places import Place
from depthcheck.experiments.reproduce.original import find, write_model_again
from depthcheck.experiments.tracking import reading
from depthcheck.experiments.tracking.model import hashes
from depthcheck.experiments.tracking.runs import study_runs

pytestmark = pytest.mark.slow


@pytest.fixture
def hurt(undisturbed: Folder, tmp_path: Path) -> Hurt:
    return copied(undisturbed, tmp_path / "copy")


@pytest.mark.parametrize("damages", REPAIRABLE.values(), ids=REPAIRABLE)
def test_damage_is_named_and_repaired_to_the_last_digit(hurt, undisturbed, damages):
    for harm, _ in damages:
        harm(hurt)
    found = hurt.examine()
    assert found.repaired == ()
    text = lines(found, fix=False)
    for _, message in damages:
        assert any(re.search(message, line) for line in text), (message, text)
    assert "--fix" in text[-1]
    fixed = hurt.examine(fix=True)
    assert fixed.left == (), fixed.left
    assert len(fixed.repaired) >= len(damages)
    again = hurt.examine()
    assert (again.left, again.repaired) == ((), ())
    assert contents(hurt) == contents(undisturbed)


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


def test_models_that_lost_their_hashes_are_damaged(hurt):
    hurt.sql("mlflow.db", "DELETE FROM logged_model_tags WHERE tag_key = 'files_sha256'",
             "DELETE FROM tags WHERE key = 'example_sha256'")  # fmt: skip
    found = hurt.examine().left
    assert [bool(re.search("its model m-.* has lost the hashes of its files", one.what)) for one in found] == [
        True
    ] * 12
    assert all(one.repair is not None or "until that is repaired" in one.advice for one in found)


def test_trial_of_a_stranger_is_named(hurt):
    hurt.study().ask()
    (found,) = hurt.examine(fix=True).left
    assert "in Optuna is none of this project's" in found.what
    assert found.repair is None


def command(name: str, hurt: Hurt, here: Callable[..., Any]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a command; what it returns: exit code, and all that was said."""

    def run(*words: str) -> tuple[int, str]:
        done = here(hurt.path, name, *words, HOME=str(hurt.home))
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def doctor(hurt: Hurt, here) -> Callable[..., tuple[int, str]]:
    return command("doctor", hurt, here)


@pytest.fixture
def run(hurt: Hurt, here, warm) -> Callable[..., tuple[int, str]]:
    return command("run", hurt, here)


def test_study_goes_on_after_much_damage_and_is_written_again_from_mlflow_with_all_its_rounds(
    hurt, undisturbed, doctor, run, tiny
):
    """One scenario instead of two, since each start of a study takes ten seconds."""
    run_ids = [record.run_id for record in hurt.records()]
    for group in ("page, with another", "page, without", "trials", "study's run deleted"):
        for harm, _ in REPAIRABLE[group]:
            harm(hurt)
    code, output = doctor()
    assert code == 1, output
    code, output = doctor("--fix", "true")
    assert code == 0, output
    assert "clean: everything agrees now" in output
    assert contents(hurt) == contents(undisturbed)
    code, output = doctor()
    assert (code, "clean: everything agrees" in output) == (0, True), output

    code, output = run("--experiment", tiny, "--workers", "1", "--trials", "11", "--seeds", "2")
    assert code == 0, output
    assert f"continues: {len(run_ids)} of " in output
    assert [record.run_id for record in hurt.records()][: len(run_ids)] == run_ids
    before, attributes = contents(hurt), hurt.study().user_attrs
    assert [("trials" in one) for one in attributes["rounds"]] == [True, False, True, False]
    (hurt.path / "optuna.db").unlink()
    assert hurt.examine(fix=True).left == ()
    assert contents(hurt) == before
    assert hurt.study().user_attrs == attributes


def test_study_without_its_run_gets_another_one_and_goes_on_even_where_no_report_can_be_written(hurt, run, tiny):
    run_ids = [record.run_id for record in hurt.records()]
    purge(hurt, hurt.parent)
    name = hurt.study().study_name
    found = examine(hurt.place, name, fix=True)
    assert [one.what for one in found.left] == [
        f"design.json of the study's run {hurt.parent} is missing or cannot be read"
    ]
    shutil.rmtree(hurt.path / "reports")
    (hurt.path / "reports").touch()
    code, output = run("--experiment", tiny, "--workers", "1")
    assert code == 1, output
    assert "error: output must be a folder that can be written to" in output
    assert "the report was not written; try again: depthcheck report --run " in output
    assert [record.run_id for record in hurt.records()] == run_ids
    assert hurt.examine().left == ()


def test_same_command_takes_over_what_optuna_has_lost_and_scores_a_network_without_a_score(
    hurt, undisturbed, run, tiny
):
    hurt.client.delete_tag(hurt.run_of(2), "test_samples")
    (found,) = hurt.examine(fix=True).left
    assert found.what.endswith("networks of the search have no score on the test part: trial 2")
    parent, n_trials, name = hurt.parent, len(hurt.study().trials), hurt.name
    (hurt.path / "optuna.db").unlink()
    code, output = run("--experiment", tiny, "--workers", "1")
    assert code == 0, output
    assert (
        f"{n_trials} more, which have ended in MLflow (run {parent}), are taken over, and not trained again" in output
    )
    assert "scoring 1 network on the test part" in output
    assert contents(hurt) == contents(undisturbed)
    assert hurt.examine().left == ()
    assert [run.run_id for run in study_runs(hurt.uri)] == [parent]
    assert [version.version for version in hurt.client.search_model_versions(f"name = '{name}'")] == [1]


def test_running_study_is_left_alone(hurt, doctor):
    hurt.start_again(2)
    with held(Place.of(hurt.uri, hurt.storage), hurt.name):
        code, output = doctor("--fix", "true")
    assert code == 2, output
    assert f"is running: process {os.getpid()} on " in output
    assert len(output.strip().splitlines()) == 1
    assert len(reading.running_trials(hurt.uri, hurt.parent)) == 1


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


@pytest.mark.usefixtures("warm", "tracking_database")
def test_study_whose_data_have_no_test_part_is_healthy(folder, here):
    rows = [f"{x},{x % 7},{'yes' if x % 5 > 2 else 'no'}" for x in range(300)]
    (folder.path / "table.csv").write_text("\n".join(["a,b,y", *rows]))
    path = folder.path / "without.toml"
    path.write_text("""
        [data]
        name = "table.csv"
        target = "y"
        [split]
        test = 0
        folds = 0
        [budget]
        trials = 3
        epochs = 1
        seeds = 2
        [compare]
        depth = [0, 1]
        [fixed]
        optimizer = "sgd"
        learning_rate = 0.1
        batch_size = 64
        activation = "relu"
        units = 8
        """)
    for words in (("run", "--experiment", str(path), "--workers", "1"), ("doctor",)):
        done = here(folder.path, *words, HOME=str(folder.home))
        assert done.returncode == 0, done
