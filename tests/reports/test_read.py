from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from golden_tables import golden_table
from made_up import MadeUpStudy
from stored_study import write_study

from depthcheck.experiments import tracking
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.store import client
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.data_facts import data_facts
from depthcheck.reports.read import NothingToReportError, choose_study, read_study
from depthcheck.reports.rerun import command
from depthcheck.reports.write import make_report


def small_study(name: str = "made-up-12345678", seed: int = 0) -> StudyData:
    made = MadeUpStudy(depths=(0, 1, 2), twins=6, n_seeds=3, epochs=3, seed=seed).run(n_exploit=2)
    finalists = made.finalists()
    data = made.confirm(finalists).data(finalists)
    return dataclasses.replace(data, design=dataclasses.replace(data.design, name=name))


@pytest.fixture(scope="module")
def written() -> StudyData:
    return small_study()


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, written: StudyData, empty_store: Path) -> str:
    """A store with one whole study. Tests of this module leave it as it is."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    path.write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{path}"
    write_study(uri, written)
    return uri


@pytest.fixture(scope="module")
def read(uri: str) -> StudyData:
    return read_study(uri, choose_study(uri, study=None, run_id=None, environ={}))


@pytest.fixture
def new_store(tmp_path: Path, empty_store: Path) -> str:
    path = tmp_path / "mlflow.db"
    path.write_bytes(empty_store.read_bytes())
    return f"sqlite:///{path}"


def test_what_was_written_is_read_back(written, read):
    assert [(r.number, r.phase, r.state, r.config, r.evaluations) for r in read.records] == [
        (r.number, r.phase, r.state, r.config, r.evaluations) for r in written.records
    ]
    assert read.finalists == written.finalists
    assert read.design.factors == written.design.factors
    assert set(read.design.ranges) == set(written.design.ranges)
    assert read.design.n_seeds == 3
    assert read.facts.seeds == written.facts.seeds
    assert read.facts.finalists_sha256 == written.facts.finalists_sha256
    assert read.facts.data == written.facts.data
    assert read.facts.state == "finished"


def test_predictions_and_diagnostics_are_read_back_by_run(written, read):
    number = {r.run_id: r.number for r in (*written.records, *read.records)}
    of = {number[run_id]: predictions for run_id, predictions in written.predictions.items()}
    assert {number[run_id] for run_id in read.predictions} == set(of)
    for run_id, predictions in read.predictions.items():
        assert np.array_equal(predictions.predicted, of[number[run_id]].predicted)
        assert np.array_equal(predictions.y, of[number[run_id]].y)
    curves = {
        number[run_id]: {key: dict(points) for key, points in found.items()}
        for run_id, found in read.diagnostics.items()
    }
    assert curves == {number[run_id]: found for run_id, found in written.diagnostics.items()}


def test_the_report_of_what_was_read_is_that_of_what_was_written(written, read):
    def answers(study: StudyData) -> str:
        return make_report(study).markdown.split("## 2.")[0]

    assert answers(read) == answers(dataclasses.replace(written, facts=dataclasses.replace(written.facts)))


def test_importances_are_named_by_their_method(read):
    assert {one.method for one in read.facts.importances} <= {"PED-ANOVA", "fANOVA"}


def test_studies_are_chosen_by_name_by_any_run_and_the_latest_otherwise(new_store):
    first = tracking.open_parent("first", uri=new_store, environ={})
    trial = tracking.start_trial(first, number=0, phase="anchor", config=small_study().records[0].config)
    trial.kill("test")
    second = tracking.open_parent("second", uri=new_store, environ={})

    def chosen(study=None, run_id=None, environ=None) -> str:
        return choose_study(new_store, study=study, run_id=run_id, environ=environ or {}).study

    assert chosen() == "second"
    assert chosen(study="first") == "first"
    assert chosen(run_id=first.run_id) == "first"
    assert chosen(run_id=trial.run_id) == "first"
    assert chosen(environ={"MLFLOW_RUN_ID": first.run_id}) == "first"
    for wrong in ({"study": "third"}, {"run_id": "0" * 32}):
        with pytest.raises(NothingToReportError, match=r"must be one of"):
            chosen(**wrong)
    foreign = client(new_store).create_run(second.experiment_id).info.run_id
    with pytest.raises(NothingToReportError, match="run must be one of a study"):
        chosen(run_id=foreign)


def test_no_store_is_made_where_there_was_none(tmp_path):
    with pytest.raises(NothingToReportError, match="no study in"):
        choose_study(f"sqlite:///{tmp_path / 'mlflow.db'}", study=None, run_id=None, environ={})
    assert list(tmp_path.iterdir()) == []


def test_openings_of_the_test_part_are_counted_over_studies(new_store):
    runs = [write_study(new_store, small_study(name, seed)) for seed, name in enumerate(("one", "two"))]
    per_study = sum(r.evaluation("test") is not None for r in small_study().records)
    second = sum(r.evaluation("test") is not None for r in small_study(seed=1).records)

    def openings(before, sha256="ab" * 32) -> int:
        return tracking.test_openings(new_store, sha256, before=before)

    assert openings(None) == per_study + second
    assert openings(runs[0].run_id) == 0
    assert openings(runs[1].run_id) == per_study
    assert openings(runs[1].run_id, sha256="cd" * 32) == 0
    studies = {one.study: one for one in tracking.studies(new_store)}
    assert read_study(new_store, studies["two"]).design.earlier_test_openings == per_study


def test_damaged_predictions_count_as_missing(new_store, tmp_path):
    parent = write_study(new_store, small_study())
    run_id = next(r.run_id for r in tracking.trials(new_store, parent.run_id) if r.phase == "confirm")
    broken = tmp_path / keys.PREDICTIONS
    broken.write_bytes(b"PK\x03\x04 not an archive")
    client(new_store).log_artifact(run_id, str(broken))
    study = read_study(new_store, tracking.studies(new_store)[0])
    assert run_id not in study.predictions
    assert "predictions at hand" in make_report(study).markdown.split("## 7.")[1].split("Those that pass")[0]


def test_a_study_that_left_nothing_but_its_run_can_be_read(new_store):
    tracking.open_parent("bare", uri=new_store, environ={})
    study = read_study(new_store, tracking.studies(new_store)[0])
    assert study.records == ()
    assert study.facts.state == "running"
    assert "## 9. Reproduce" in make_report(study).markdown


def test_a_continued_study_is_read_with_its_latest_design(new_store):
    first = tracking.open_parent("s", uri=new_store, environ={}, artifacts={"design.json": {"question": "old"}})
    tracking.open_parent(
        "s", uri=new_store, parent_run_id=first.run_id, environ={}, artifacts={"design.json": {"question": "new"}}
    )
    assert tracking.study_design(new_store, first.run_id) == {"question": "new"}


def test_facts_of_known_data_are_found_without_the_design(read):
    digits = "0300e60ac7199e6dfaad6e3e9b74df7a375f729982e54f0565d7e2228cff11f0"
    facts = data_facts({"name": "digits", "sha256": digits}, {}, (), {})
    assert (facts.n_train, facts.n_valid, facts.n_test) == (1149, 288, 360)
    assert facts.class_names == tuple("0123456789")
    other = data_facts({"name": "digits", "sha256": "cd" * 32}, {}, read.records, read.predictions)
    assert other.majority_share == pytest.approx(0.1, abs=0.01)
    assert other.n_train is None


@pytest.mark.parametrize(
    ("study", "params", "expected"),
    [
        (
            "x",
            {"experiment": "digits", "trials": "20", "seed": "auto"},
            "mlflow run . -P experiment=digits -P trials=20",
        ),
        ("digits-0123abcd", {}, "mlflow run . -P experiment=digits -P trials=1 -P epochs=3 -P seeds=5 -P seed=7"),
        ("mine-0123abcd", {}, "mlflow run . -P experiment=mine.toml -P trials=1 -P epochs=3 -P seeds=5 -P seed=7"),
    ],
)
def test_command_is_the_one_that_was_typed_or_one_like_it(study, params, expected):
    stored = {"definition": {"epochs": 3, "seed": 7}, "plan": [{"phase": "anchor"}, {"phase": "confirm"}]}
    assert command(study, stored, params, n_seeds=5) == expected


def test_command_of_a_study_without_a_definition_of_its_own_names_the_data():
    stored = {"definition": {"epochs": 3, "seed": 7, "data": "my houses.csv", "target": "price"}, "plan": []}
    expected = "mlflow run . -P data='my houses.csv' -P target=price -P trials=0 -P epochs=3 -P seeds=5 -P seed=7"
    assert command("my_houses-0123abcd", stored, {}, n_seeds=5) == expected


def test_command_of_chosen_configurations_is_that_of_a_comparison():
    stored = {"definition": {"compare": {"configuration": ["a", "b"]}}}
    assert (
        command("duel-0123abcd", stored, {"runs": "a,b"}, n_seeds=5) == "mlflow run . -e compare -P runs=a,b -P seeds=5"
    )


@pytest.mark.parametrize(("metric", "folds"), [("r2", False), ("auc", True)])
def test_studies_of_any_metric_are_read_back_and_reported_alike(new_store, metric, folds):
    written = golden_table(metric, folds=folds)
    write_study(new_store, written)
    found = read_study(new_store, tracking.studies(new_store)[0])
    assert found.design.metric == written.design.metric
    assert (found.design.folds, found.design.chance) == (written.design.folds, written.design.chance)
    assert found.design.equivalence == written.design.metric.equivalence
    assert found.facts.references == written.facts.references
    assert [r.evaluations for r in found.records] == [r.evaluations for r in written.records]
    assert answers_of(found) == answers_of(written)


def answers_of(study: StudyData) -> str:
    return make_report(study).markdown.split("## 3.")[0]


def test_the_region_of_the_definition_replaces_the_metrics(new_store):
    study = golden_table("r2")
    definition = {**study.facts.definition, "equivalence": 0.05}
    write_study(new_store, dataclasses.replace(study, facts=dataclasses.replace(study.facts, definition=definition)))
    assert read_study(new_store, tracking.studies(new_store)[0]).design.equivalence == 0.05


def test_sizes_follow_the_cut():
    of = golden_table("auc", folds=True)
    stored = {"class_counts": [180, 120], "class_names": ["a", "b"], "metric": "auc"}
    facts = data_facts(stored, {"split": {"valid": 0.2}}, of.records, {})
    assert (facts.n_train, facts.n_valid, facts.n_test) == (240, 300, None)
    aside = golden_table("r2")
    facts = data_facts({"n_samples": 1_500, "n_test": 300, "task": "regression"}, {}, aside.records, {})
    assert (facts.n_train, facts.n_valid, facts.n_test) == (900, 300, 300)
    assert facts.how == "whole groups to one part (column street)"
