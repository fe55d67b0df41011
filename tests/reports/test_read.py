from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from golden_tables import golden_table
from made_up import MadeUpStudy
from stored_study import definition_of, write_study

from depthcheck.experiments import tracking
from depthcheck.experiments.planning import definition
from depthcheck.experiments.planning.ranges import Choices, Range
from depthcheck.experiments.study.describe import data_facts
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.store import client
from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.scores import ACCURACY, AUC, R2
from depthcheck.reports import read as reader
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.read import (
    NothingToReportError,
    _data_facts,
    _guess,
    choose_study,
    command,
    descriptive_importances,
    read_study,
    search_ranges,
)
from depthcheck.reports.write import make_report

SHA256 = "ab" * 32


def small_study(name: str = "made-up-12345678", seed: int = 0) -> StudyData:
    """Return a study that is written within a second, too small for verdicts."""
    made = MadeUpStudy(depths=(0, 1), optimizers=("sgd",), common_settings=2, n_seeds=2, epochs=1, seed=seed)
    data = confirmed(made.run(n_exploit=1, diverged=0, failed=0))
    return dataclasses.replace(data, design=dataclasses.replace(data.design, name=name))


def confirmed(made: MadeUpStudy) -> StudyData:
    finalists = made.finalists()
    return made.confirm(finalists).data(finalists)


@pytest.fixture(scope="module")
def written() -> StudyData:
    return confirmed(MadeUpStudy(depths=(0, 1, 2), common_settings=6, n_seeds=3, epochs=3).run(n_exploit=2))


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
    assert (read.design.n_seeds, read.design.n_classes) == (3, 10)
    assert read.design.launcher == "depthcheck"
    assert read.design.budgets == {**written.design.budgets, "confirm": 3 * len(written.finalists)}
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
    assert {one.has_hidden for one in read.facts.importances} == {True}
    flat = MadeUpStudy(depths=(0,), optimizers=("sgd",), common_settings=20, epochs=1).run(n_exploit=0).data()
    assert {one.has_hidden for one in descriptive_importances(flat.records, flat.design)} == {False}


def test_importances_that_differ_in_their_last_digit_stand_in_one_order(read, monkeypatch):
    for one, other in ((0.1, 0.1 + 1e-16), (0.1 + 1e-16, 0.1)):
        shares = {"units": 0.8, "optimizer": one, "depth": other}
        monkeypatch.setattr(reader, "importances", lambda *_, of=shares, **__: {"PED-ANOVA": of})
        (found,) = descriptive_importances(read.records, read.design)
        assert [name for name, _ in found.shares] == ["units", "depth", "optimizer"]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({}, "share 0.2 drawn by seed 1234"),
        ({"valid_size": 5000}, "5,000 rows drawn by seed 1234"),
        ({"method": "stratified"}, "share 0.2 drawn by seed 1234, stratified: each class in its share"),
        ({"method": "time"}, "the latest to test, those before to validate (column day)"),
    ],
)
def test_how_the_data_were_cut_is_told(split, expected):
    of = DataConfig(name="t.csv", target="y", time="day" if split.get("method") == "time" else None)
    fields = ("name", "sha256", "source", "task", "target", "n_samples", "n_train", "n_valid", "n_test")
    stored = {**dict.fromkeys(fields, 9), "task": "classification", "class_counts": [4, 5]}
    assert _data_facts(stored, of, SplitConfig(**split)).how == expected


def test_studies_are_chosen_by_name_by_any_run_and_the_latest_otherwise(new_store):
    first = tracking.open_parent("first", uri=new_store, environ={})
    trial = tracking.start_trial(first, number=0, phase="baseline", config=small_study().records[0].config)
    tracking.close_stale(new_store, first.run_id)
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


def test_a_study_that_asks_for_fewer_seeds_than_it_has_plans_no_more_of_them(new_store):
    of = small_study()
    write_study(new_store, dataclasses.replace(of, design=dataclasses.replace(of.design, n_seeds=1)))
    found = read_study(new_store, tracking.studies(new_store)[0])
    assert (found.design.n_seeds, found.design.budgets["confirm"]) == (1, len(of.finalists))
    assert "--seeds 2" in found.facts.command


def test_damaged_predictions_count_as_missing(new_store, tmp_path):
    parent = write_study(new_store, small_study())
    run_id = next(r.run_id for r in tracking.trials(new_store, parent.run_id) if r.phase == "confirm")
    broken = tmp_path / keys.PREDICTIONS
    broken.write_bytes(b"PK\x03\x04 not an archive")
    client(new_store).log_artifact(run_id, str(broken))
    study = read_study(new_store, tracking.studies(new_store)[0])
    assert run_id not in study.predictions
    assert "predictions at hand" in make_report(study).markdown.split("## 5.")[1].split("A warning never")[0]


def test_a_study_that_left_nothing_but_its_run_is_refused_in_one_line(new_store):
    tracking.open_parent("bare", uri=new_store, environ={})
    with pytest.raises(NothingToReportError, match=r"study 'bare' must have a design\.json, got none in its run"):
        read_study(new_store, tracking.studies(new_store)[0])


def test_a_study_whose_finalists_are_lost_is_sent_to_the_doctor(new_store):
    made = MadeUpStudy(depths=(1,), optimizers=("sgd",), common_settings=1, n_seeds=1, epochs=1).run(
        n_exploit=0, diverged=0, failed=0
    )
    write_study(new_store, made.confirm(made.finalists()).data())
    with pytest.raises(NothingToReportError, match=r"must have its list of finalists, got none .* --fix"):
        read_study(new_store, tracking.studies(new_store)[0])


def test_a_design_of_an_unreleased_version_is_refused_in_one_line(new_store):
    design = {"question": "?", "definition": definition_of(small_study()), "widened": [], "data": {}}
    tracking.open_parent("old", uri=new_store, environ={}, artifacts={"design.json": design})
    with pytest.raises(NothingToReportError, match="of this version of the project, got one without 'resolved'"):
        read_study(new_store, tracking.studies(new_store)[0])


def test_a_continued_study_is_read_with_its_latest_design(new_store):
    first = tracking.open_parent("s", uri=new_store, environ={}, artifacts={"design.json": {"question": "old"}})
    tracking.open_parent(
        "s", uri=new_store, parent_run_id=first.run_id, environ={}, artifacts={"design.json": {"question": "new"}}
    )
    assert tracking.study_design(new_store, first.run_id) == {"question": "new"}


def of_shipped(shipped, name=None, *, widen="", **given):
    """Return an experiment as a study has it; without a name of the user's it is the derived one."""
    of = definition.read(definition.find(shipped), **given).with_overrides(epochs=3, seed=7).widened_as(widen)
    return dataclasses.replace(of, name=name or of.study_name(SHA256))


def of_their_own(of, file="mine", **changes):
    """Return that of a copy of its definition in a file of the user's, with other ranges and a derived name."""
    other = dataclasses.replace(of, name=file, **(changes or {"tune": {**of.tune, "units": Choices(values=(8, 16))}}))
    return dataclasses.replace(other, name=other.study_name(SHA256))


def asked_again(of, params, launcher):
    return command(of, params, launcher, SHA256, trials=60, seeds=7)


DIGITS, NUMBERS = of_shipped("digits"), "-P trials=60 -P epochs=3 -P seeds=7 -P seed=7"
WIDENED, MINE = of_shipped("digits", widen="sgd.momentum:up,units:down"), of_their_own(DIGITS)


@pytest.mark.parametrize(
    ("study", "params", "expected"),
    [
        (DIGITS, {"experiment": "digits", "trials": "20", "seed": "auto"}, "digits -P trials=60 -P seeds=7"),
        (DIGITS, {}, f"digits {NUMBERS}"),
        (WIDENED, {}, f"digits {NUMBERS} -P widen=sgd.momentum:up,units:down"),
        (MINE, {}, f"mine.toml {NUMBERS}"),
        (
            of_their_own(DIGITS, fixed={**DIGITS.fixed, "epochs": 2}),
            {},
            f"mine.toml {NUMBERS.replace(' -P epochs=3', '')}",
        ),
        # Another study's name may end as a derived one does.
        (of_shipped("digits", "mine-20261127"), {"trials": "20"}, f"digits {NUMBERS} -P study=mine-20261127"),
        (of_shipped("digits", "mine"), {"experiment": "digits"}, "digits -P trials=60 -P seeds=7 -P study=mine"),
    ],
)
def test_command_is_the_one_that_was_typed_or_one_like_it(study, params, expected):
    """Trials and seeds are those that there are by now."""
    assert asked_again(study, params, "mlflow run") == f"mlflow run . -P experiment={expected}"


def test_command_of_a_study_without_a_definition_of_its_own_names_the_data():
    data = DataConfig(name="my houses.xlsx", target="price", sheet="in 2024", rows=900, metric="r2")
    of, asked = (
        of_shipped("any", data=data),
        "--data 'my houses.xlsx' --target price --sheet 'in 2024' --rows 900 --metric r2",
    )
    numbers = "--trials 60 --epochs 3 --seeds 7 --seed 7"
    from_init, copied = of_their_own(of, "my_houses", question="Does depth help?"), of_their_own(of, "my_houses")
    for study, expected in (
        (of, f"{asked} {numbers}"),
        (of_shipped("any", "mine", data=data), f"{asked} {numbers} --study mine"),
        (of_shipped("digits", data=DataConfig(name="digits", rows=900)), f"--experiment digits --rows 900 {numbers}"),
        (
            of_shipped("digits", data=DataConfig(name="a/digits.csv")),
            f"--experiment digits --data a/digits.csv {numbers}",
        ),
        (of_shipped("digits", data=data), f"--experiment digits {asked} {numbers}"),
        (from_init, f"--experiment my_houses.toml --rows 900 {numbers}"),
        (copied, f"--experiment my_houses.toml --rows 900 {numbers}"),
        (
            dataclasses.replace(copied, name="a"),
            f"--experiment your-definition.toml --rows 900 {numbers} --study a",
        ),
    ):
        assert asked_again(study, {}, "depthcheck") == f"depthcheck run {expected}"


def test_a_study_of_data_alone_is_asked_for_so_again_with_the_seeds_that_it_will_have(new_store):
    data = DataConfig(name="/home/me/data/people.csv")
    anything = definition.read(definition.find("any"), data=data)
    of = small_study(anything.study_name(SHA256))
    searched = [
        dataclasses.replace(record, config=dataclasses.replace(record.config, data=data))
        for record in of.records
        if record.phase != "confirm"
    ]
    facts = dataclasses.replace(of.facts, question=anything.question, seeds=())
    write_study(
        new_store, dataclasses.replace(of, facts=facts, records=tuple(searched), finalists=()), **anything.as_json()
    )
    asked = read_study(new_store, tracking.studies(new_store)[0]).facts.command
    expected = f"--data {data.name} --trials {len(searched)} --epochs 20 --seeds 2 --seed 1234"
    assert asked == f"depthcheck run {expected}"


def test_command_is_found_where_no_shipped_definition_takes_the_model(tmp_path):
    (tmp_path / "own.py").write_text("def build(input_shape, n_outputs, width):\n    pass\n", encoding="utf-8")
    model = definition.read_model("own.py:build", tmp_path)
    of = of_their_own(DIGITS, model=model, data=DataConfig(name="mine.csv"))
    expected = "depthcheck run --experiment mine.toml --trials 60 --epochs 3 --seeds 7 --seed 7"
    assert asked_again(of, {}, "depthcheck") == expected


def test_command_of_chosen_configurations_is_that_of_a_comparison():
    of = dataclasses.replace(DIGITS, compare={"configuration": ("a", "b")})
    expected = "mlflow run . -e compare -P runs=a,b -P seeds=7"
    assert asked_again(of, {"runs": "a,b"}, "mlflow run") == f"{expected} -P seed=7"
    assert asked_again(dataclasses.replace(of, seed=0), {"runs": "a,b"}, "mlflow run") == expected


@pytest.mark.parametrize(("metric", "folds", "region"), [("r2", False, 0.05), ("auc", True, None)])
def test_studies_of_any_metric_are_read_back_and_reported_alike(new_store, metric, folds, region):
    """Also where the definition has a region of its own in place of the metric's."""
    written = golden_table(metric, folds=folds)
    if region is not None:
        written = dataclasses.replace(written, design=dataclasses.replace(written.design, equivalence=region))
    write_study(new_store, written, **({} if region is None else {"equivalence": region}))
    found = read_study(new_store, tracking.studies(new_store)[0])
    assert found.design.metric == written.design.metric
    assert (found.design.folds, found.design.dummy_score) == (written.design.folds, written.design.dummy_score)
    assert found.design.equivalence == (region or written.design.metric.equivalence)
    assert found.facts.references == written.facts.references
    assert found.facts.data == written.facts.data
    assert found.facts.tuned == written.facts.tuned
    assert [r.evaluations for r in found.records] == [r.evaluations for r in written.records]
    assert answers_of(found) == answers_of(written)


def answers_of(study: StudyData) -> str:
    return make_report(study).markdown.split("## 3.")[0]


def test_a_range_of_all_optimizers_is_that_of_those_without_one_of_their_own():
    tune = {"learning_rate": Range(low=0.1, high=1.0)}
    tune["optimizer"] = Choices(values=("sgd", "adam"))
    of = of_their_own(DIGITS, compare={}, fixed={}, tune=tune, tune_for={})
    own = dataclasses.replace(of, tune_for={"adam": {"learning_rate": Range(low=0.001, high=0.01)}})
    assert [(one.low, one.when) for one in search_ranges(of)] == [(0.1, None)]
    expected = [(0.1, ("optimizer", "sgd")), (0.001, ("optimizer", "adam"))]
    assert [(one.low, one.when) for one in search_ranges(own)] == expected


def test_a_mean_that_fits_no_other_part_is_what_a_diverged_network_scores(new_store):
    """Sound networks of drifting numbers may lie below 0, and above that."""
    written = golden_table("r2", folds=False)
    written = dataclasses.replace(
        written, design=dataclasses.replace(written.design, dummy_score=-9.0, dummy_test=-16.0)
    )
    write_study(new_store, written)
    found = read_study(new_store, tracking.studies(new_store)[0]).design
    assert (found.dummy_score, found.dummy_test) == (-9.0, -16.0)
    assert [found.dummy_on(part) for part in ("valid", "test", None)] == [-9.0, -16.0, -9.0]
    # A training part's mean explains nothing of that part itself.
    assert found.stuck_below == written.design.metric.learned_share
    text = make_report(written).markdown
    assert "**score of the dummy baseline**: −9.000 on the validation part, −16.000 on the test part (R² of" in text


@pytest.mark.parametrize(
    ("metric", "stored", "expected"),
    [
        (R2, {"guess": {"train": 1e-17, "valid": -0.004, "test": -9.0}}, (0.0, 0.0, -9.0)),
        (R2, {}, (0.0, 0.0, None)),
        (ACCURACY, {"guess": {"train": 0.9, "valid": 0.8, "test": 0.33}}, (0.9, 0.8, 0.33)),
        (AUC, {}, (None, 0.5, None)),
        # A metric of the user's own.
        (AUC, {"metric_scale": {"guess": -3.0, "perfect": 0.0, "train": -2.0, "test": -5.0}}, (-2.0, -3.0, -5.0)),
    ],
)
def test_guess_is_that_of_each_part_and_an_r2_of_zero_but_for_chance(metric, stored, expected):
    found = _guess(stored, metric)
    assert tuple(map(found.get, ("train", "valid", "test"))) == expected


def test_study_notes_what_guessing_reaches_on_a_test_file():
    y, y_test = np.repeat([0, 1, 2], [80, 10, 10]), np.array([0, 1, 2])
    own = {"X_test": np.zeros((3, 1)), "y_test": y_test, "class_names": ("a", "b", "c")}
    data = Dataset(name="made", sha256="0" * 64, source="here", X=np.zeros((100, 1)), y=y, **own)
    noted = data_facts(data, SplitConfig(method="stratified"))
    assert _guess(noted, ACCURACY) == pytest.approx({"train": 0.8, "valid": 0.8, "test": 1 / 3})


@pytest.mark.parametrize(
    ("split", "expected"), [(SplitConfig(method="time"), 2), (SplitConfig(method="group", folds=2), 3**0.5)]
)
def test_classes_are_those_that_have_rows_to_train(new_store, split, expected):
    y, late = np.repeat([0, 1, 2], [50, 40, 10]), (np.arange(100) >= 40).astype(np.int64)
    own = {"times": np.arange(100.0), "groups": late, "class_names": ("a", "b", "c")}
    data = Dataset(name="made", sha256="0" * 64, source="here", X=np.zeros((100, 1)), y=y, **own)
    n = data_facts(data, split)["n_train_classes"]
    of = small_study()
    write_study(new_store, dataclasses.replace(of, design=dataclasses.replace(of.design, n_classes=n)))
    assert n == pytest.approx(expected)
    assert read_study(new_store, tracking.studies(new_store)[0]).design.n_classes == n
