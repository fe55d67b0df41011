"""Comparing numbers, naming what is not as it was, choosing the trial, and a run that no reader of a study meets."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock, patch

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from depthcheck.experiments import tracking
from depthcheck.experiments.reproduce import deviations as words
from depthcheck.experiments.reproduce.deviations import (
    Change,
    RunComparison,
    compare,
    differences,
    spread,
)
from depthcheck.experiments.reproduce.original import find
from depthcheck.experiments.reproduce.reproduction import _ends_well, reproduce
from depthcheck.experiments.tracking import CodeVersion, keys, reading
from depthcheck.experiments.tracking.open_run import processor
from depthcheck.experiments.tracking.store import client
from depthcheck.pipeline.config import DataConfig, FitConfig, ModelConfig, OptimizerConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.records import Evaluation, History, Predictions, TrialResult
from depthcheck.reports.figures.curves import draw_overlay, overlay_as_svg

CONFIG = TrialConfig(
    data=DataConfig(name="digits"),
    data_sha256="ab" * 32,
    split=SplitConfig(),
    model=ModelConfig(units=(10, 7), activation="relu", dropout=0.1),
    optimizer=OptimizerConfig(
        name="sgd", learning_rate=0.1 + 0.2, hyperparameters=(("momentum", 0.9), ("nesterov", True))
    ),
    fit=FitConfig(epochs=3, batch_size=32, seed=1),
)
LOG = {
    "train/loss": {1: 0.9, 2: 0.5, 3: 0.3},
    "valid/accuracy": {1: 0.7, 2: 0.8, 3: 0.9},
    "final_valid_accuracy": {0: 0.9},
}
HERE = {"python": "3.11.7", "cpu": "A", "instructions": "AVX2", "machine": "x86_64", "cpus": 2,
        "platform": "Linux-6.1-x86_64-with-glibc2.36",
        "packages": {"tensorflow": "2.21.0", "pytest": "9.0"}}  # fmt: skip
CODE = CodeVersion(commit="a" * 40, dirty=False)


def changed(curve: str, epoch: int, value: float) -> dict[str, dict[int, float]]:
    return {**LOG, curve: {**LOG[curve], epoch: value}}


# The numbers.


def test_same_numbers_are_bit_equal_and_counted() -> None:
    comparison = compare(LOG, json.loads(json.dumps(LOG), object_hook=_whole_keys))
    assert (comparison.verdict, comparison.first, comparison.n_points) == ("bit-equal", None, 7)


def _whole_keys(mapping: dict[str, object]) -> dict[object, object]:
    return {int(key) if key.isdigit() else key: value for key, value in mapping.items()}


def test_values_that_are_not_finite_equal_themselves_and_nothing_else() -> None:
    diverged = {"train/loss": {1: math.inf, 2: math.nan}}
    assert compare(diverged, {"train/loss": {1: math.inf, 2: math.nan}}).verdict == "bit-equal"
    for other in (-math.inf, math.nan, 1.0):
        comparison = compare(diverged, {"train/loss": {1: other, 2: math.nan}})
        assert comparison.verdict == "different"
        assert comparison.first is not None
        assert (comparison.first.epoch, comparison.first.size) == (1, math.inf)


def test_one_last_bit_is_found_with_its_epoch_and_size() -> None:
    value = math.nextafter(0.8, 1)
    comparison = compare(LOG, changed("valid/accuracy", 2, value))
    assert comparison.verdict == "within tolerance"
    (deviation,) = comparison.deviations
    assert (deviation.curve, deviation.epoch, deviation.size) == ("valid/accuracy", 2, value - 0.8)
    assert words.deviation_words(deviation).startswith("epoch 2 of valid/accuracy: 0.8 then, 0.8000000000000002 now")


def test_earliest_epoch_comes_first_and_values_of_the_whole_trial_last() -> None:
    now = {**changed("valid/accuracy", 2, 0.81), "train/loss": {1: 0.9, 2: 0.5, 3: 0.31}}
    now["final_valid_accuracy"] = {0: 0.91}
    comparison = compare(LOG, now)
    assert [one.epoch for one in comparison.deviations] == [2, 3, 0]
    assert [one.curve for one in comparison.deviations] == ["valid/accuracy", "train/loss", "final_valid_accuracy"]


@pytest.mark.parametrize(
    "now",
    [
        {**LOG, "train/loss": {1: 0.9, 2: 0.5}},
        {**LOG, "train/loss": {1: 0.9, 2: 0.5, 3: 0.3, 4: 0.2}},
        {name: curve for name, curve in LOG.items() if name != "train/loss"},
        {**LOG, "valid/loss": {1: 0.1}},
    ],
)
def test_missing_or_surplus_numbers_are_beyond_tolerance(now: dict[str, dict[int, float]]) -> None:
    comparison = compare(LOG, now)
    assert comparison.verdict == "different"
    assert "no value" in words.deviation_words(comparison.deviations[0])


@pytest.mark.parametrize(
    ("curve", "epoch", "before", "now", "verdict"),
    [
        ("valid/loss", 1, 2.0, 2.000019, "within tolerance"),
        ("valid/loss", 1, 2.0, 2.000021, "different"),
        ("valid/loss", 2, 2.0, 2.19, "within tolerance"),
        ("valid/loss", 2, 2.0, 2.21, "different"),
        ("final_valid_loss", 0, 0.01, 0.0109, "within tolerance"),
        ("test/loss", 0, 0.01, 0.02, "different"),
        ("train/loss", 2, 0.0, 1e-9, "different"),
        ("valid/accuracy", 1, 0.5, 0.5199, "within tolerance"),
        ("valid/accuracy", 9, 0.5, 0.5201, "different"),
        ("valid/r2", 9, 0.9, 0.9199, "within tolerance"),
        ("valid/r2", 9, 0.9, 0.9201, "different"),
        ("train/r2", 1, -9.0, -9.9, "within tolerance"),
        ("train/r2", 1, -9.0, -10.1, "different"),
        ("final_valid_rmse", 0, 55.0, 56.1, "within tolerance"),
        ("test/mae", 0, 0.001, 0.002, "different"),
        ("valid/profit_1a2b3c4d", 3, -2000.0, -1900.0, "within tolerance"),
        ("learning_rate", 2, 0.1, math.nextafter(0.1, 1), "different"),
        ("n_params", 0, 10.0, 11.0, "different"),
        ("best_epoch", 0, 1.0, 20.0, "within tolerance"),
        ("gradient_norm/logits", 3, 1.0, 9.0, "within tolerance"),
    ],
)
def test_tolerance_is_narrow_at_the_start_and_wider_as_rounding_grows(
    curve: str, epoch: int, before: float, now: float, verdict: str
) -> None:
    assert compare({curve: {epoch: before}}, {curve: {epoch: now}}).verdict == verdict


@given(st.dictionaries(st.integers(1, 9), st.floats(), max_size=5), st.integers(1, 5))
def test_repetitions_that_are_the_same_have_no_spread(curve: dict[int, float], times: int) -> None:
    assert set(spread([{"valid/loss": curve}] * times).values()) == {0.0}


def test_spread_is_the_widest_range_of_any_epoch() -> None:
    now = changed("train/loss", 2, 0.625)
    assert spread([LOG, now, LOG]) == {"final_valid_accuracy": 0.0, "train/loss": 0.125, "valid/accuracy": 0.0}
    assert spread([LOG, {**LOG, "train/loss": {1: 0.9}}])["train/loss"] == math.inf


def test_worst_repetition_decides() -> None:
    same, near, far = (compare(LOG, changed("train/loss", 1, value)) for value in (0.9, 0.900001, 2.0))
    for comparisons, verdict in (([same, near], "within tolerance"), ([far, same, near], "different")):
        found = words.ReproductionFinding(
            original=Mock(), differences=[], notes=[], repetitions=[], comparisons=comparisons
        )
        assert found.verdict == verdict


# What is not as it was.


def test_each_difference_is_named_and_those_of_no_matter_come_last() -> None:
    now = {**HERE, "cpus": 4, "cpu": "B", "packages": {"tensorflow": "2.22.0", "pytest": "9.1", "keras": "3.15"}}
    found = differences(CODE, [HERE], CodeVersion(commit="b" * 40, dirty=True), now)
    assert [(str(one), one.matters) for one in found] == [
        ("code aaaaaaaaaaaa -> bbbbbbbbbbbb", True),
        ("working tree as committed -> with changes", True),
        ("processor A with AVX2 -> B with AVX2", True),
        ("keras none -> 3.15", True),
        ("tensorflow 2.21.0 -> 2.22.0", True),
        ("cores 2 -> 4", False),
        ("pytest 9.0 -> 9.1", False),
    ]


def test_nothing_is_named_where_nothing_differs() -> None:
    assert differences(CODE, [HERE], CODE, dict(HERE)) == []
    assert words.difference_lines([], []) == ["nothing: code, packages and machine are as they were"]


@pytest.mark.parametrize(
    ("platform", "matters"),
    [("Linux-6.9-x86_64-with-glibc2.36", False), ("Linux-6.1-x86_64-with-glibc2.40", True), ("macOS-15-arm64", True)],
)
def test_another_kernel_does_not_matter_and_another_c_library_does(platform: str, matters: bool) -> None:
    (found,) = differences(CODE, [HERE], CODE, {**HERE, "platform": platform})
    assert found.matters is matters


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"instructions": "AVX2"}, {"instructions": "AVX2"}, None),
        ({"instructions": "AVX2"}, {"instructions": "AVX-512"}, "processor A with AVX2 -> A with AVX-512"),
        ({"instructions": "AVX2"}, {"cpu": "B", "instructions": "AVX2"}, "processor A with AVX2 -> B with AVX2"),
    ],
)
def test_processor_is_named_by_its_name_and_its_instructions(
    before: dict[str, str], now: dict[str, str], said: str | None
) -> None:
    found = differences(CODE, [{**HERE, **before}], CODE, {**HERE, **now})
    assert [str(one) for one in found] == ([] if said is None else [said])
    assert all(one.matters for one in found)


def test_what_another_processor_does_is_said_once_and_of_no_other_difference() -> None:
    other = Change(what="processor", before="A", now="B", matters=True)
    assert words.difference_lines([other], ["a note"]) == ["processor A -> B", words.ROUNDING, "a note"]
    assert words.ROUNDING not in words.difference_lines([replace(other, what="tensorflow")], [])
    assert "within 2 points, not bit by bit" in words.ROUNDING


def test_environment_notes_name_and_instructions_of_the_processor() -> None:
    environment = tracking.environment()
    assert environment["cpu"]
    assert environment["instructions"] in {"AVX-512", "AVX2", "AVX", "SSE4.2", "NEON", "unknown"}


@pytest.mark.parametrize(
    ("cpuinfo", "instructions"),
    [
        ("processor : 0\nmodel name : B\nflags : fpu sse4_2 avx avx2 avx512f\n\nprocessor : 1\nflags : fpu", "AVX-512"),
        ("model name : B\nflags : fpu avx2 sse4_2 avx", "AVX2"),
        ("model name : B\nflags : fpu sse4_2", "SSE4.2"),
        ("model name : B\nflags : fpu", "unknown"),
    ],
)
def test_instructions_are_the_newest_set_that_the_first_processor_has(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: str, instructions: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert processor(cpuinfo) == {"cpu": "B", "instructions": instructions}


def test_where_there_is_no_cpuinfo_the_architecture_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert processor("") == {"cpu": "unknown", "instructions": "NEON"}


def test_environment_that_was_not_noted_is_said_and_may_explain() -> None:
    (found,) = differences(CODE, [], CODE, HERE)
    assert found.matters
    assert "not noted" in str(found)


@pytest.mark.parametrize(
    ("code", "environments", "said"),
    [
        (CodeVersion(), [HERE], ["code unknown -> unknown"]),
        (replace(CODE, dirty=True), [HERE], ["working tree with changes -> with changes"]),
        (CODE, [HERE | {"workers": "a Dask cluster", "cpu": "B"}], ["workers a Dask cluster -> this machine"]),
        (CODE, [HERE, HERE | {"cpu": "B", "cpus": 9}], ["processor B with AVX2 -> A with AVX2"]),
        (CODE, [HERE | {"packages": HERE["packages"] | {"depthcheck": "1"}}], ["depthcheck 1 -> none"]),
    ],
)
def test_what_is_not_known_to_be_the_same_is_said_and_may_explain(
    code: CodeVersion, environments: list[dict[str, object]], said: list[str]
) -> None:
    found = differences(code, environments, code, HERE)
    assert [str(one) for one in found if one.matters] == said


# The verdict.


def finding(original: object, now: dict[str, dict[int, float]], *found: Change) -> words.ReproductionFinding:
    comparisons: list[RunComparison] = [compare(original.points, now)]  # type: ignore[attr-defined]
    return words.ReproductionFinding(
        original=original,  # type: ignore[arg-type]
        differences=found,
        notes=[],
        repetitions=[now],
        comparisons=comparisons,
    )


@pytest.mark.parametrize(
    ("loss", "what", "reproduced", "headline"),
    [
        (0.9, None, True, "reproduced: bit-equal, every number of every epoch"),
        (0.9, "tensorflow", True, "reproduced: bit-equal, every number of every epoch"),
        (0.900001, "tensorflow", True, "reproduced within tolerance, not bit-equal"),
        (0.900001, "pytest", False, "not reproduced: within tolerance only"),
        (0.900001, None, False, "not reproduced: within tolerance only"),
        (2.0, "tensorflow", False, "not reproduced: beyond tolerance"),
        (0.9, "processor", True, "reproduced: bit-equal, every number of every epoch"),
        (0.900001, "processor", True, "reproduced within tolerance, not bit-equal"),
        (2.0, "processor", False, "not reproduced: beyond tolerance"),
    ],
)
def test_tolerance_counts_only_where_something_that_matters_differs(
    uri: str, loss: float, what: str | None, reproduced: bool, headline: str
) -> None:
    run_id = logged_trial(uri)[1]
    original = replace(find(uri, run_id=run_id, study=None), points=LOG)
    found = [Change(what=what, before="1", now="2", matters=what != "pytest")] if what else []
    result = finding(original, changed("train/loss", 1, loss), *found)
    assert result.is_reproduced is reproduced
    assert result.headline().startswith(headline)
    page = words.markdown(result, "http:picture")
    assert page.startswith(f"**{headline.capitalize()}")
    assert "![The trial's curves and those of its repetition](http:picture)" in page
    assert ("epoch 1 of train/loss" in page) is (loss != 0.9)
    assert (f"processor | 1 -> 2: {words.ROUNDING}" in page) is (what == "processor" and loss != 0.9)


def test_json_is_strict_and_the_figure_is_drawn_from_it(uri: str) -> None:
    original = find(uri, run_id=logged_trial(uri)[1], study=None)
    log = {"train/loss": {1: 0.5, 2: math.inf}, "valid/loss": {1: 0.5, 2: math.nan}, "valid/accuracy": {1: 0.5, 2: 0.1}}
    result = finding(replace(original, points=log), {**log, "train/loss": {1: 0.5, 2: 7.0}})
    text = json.dumps(words.as_json(result, HERE), allow_nan=False)
    content = json.loads(text)
    assert content["comparisons"][0]["train/loss"]["first"] == {"epoch": 2, "before": "inf", "now": 7.0}
    drawn = {line.get_label(): line.get_xydata().tolist() for line in draw_overlay(content).axes[0].lines}
    assert drawn["training, as logged"] == [[1, 0.5]]  # what is not finite is text in JSON, and is left out here
    assert drawn["training, again"] == [[1, 0.5], [2, 7.0]]
    assert overlay_as_svg(content).startswith("<?xml")


# Which trial.


def logged_trial(
    uri: str, *, study: str = "one", phase: str = "compare", config: TrialConfig = CONFIG, state: str = "finished"
) -> tuple[tracking.StudyRun, str]:
    """Log a study of one trial that has ended; return the study's run and the trial's."""
    with patch("depthcheck.experiments.tracking.study_run.code_version", lambda: CODE):
        opened = tracking.open_parent(study, uri=uri, environ={}, artifacts={keys.ENVIRONMENT: HERE})
    run = tracking.start_trial(opened, number=0, phase=phase, config=config)
    columns = ("train_loss", "train_score", "valid_loss", "valid_score", "learning_rate", "seconds")
    history = History(**dict.fromkeys(columns, (0.1 + 0.2, 1 / 3, 0.7)))
    valid = Evaluation(part="valid", loss=0.7, score=0.7, metric="accuracy", n_samples=360)
    test = replace(valid, part="test") if phase == "confirm" else None
    run.finish(
        TrialResult(
            config=config,
            state=state,  # type: ignore[arg-type]
            history=history,
            valid=valid,
            test=test,
            n_params=5,
            fit_seconds=1.0,
        )
    )
    return opened, run.run_id


def test_trial_is_rebuilt_from_its_parameters_with_every_number_but_times(uri: str) -> None:
    _, run_id = logged_trial(uri)
    original = find(uri, run_id=run_id, study=None)
    assert original.config == CONFIG
    assert original.points["train/loss"] == {1: 0.1 + 0.2, 2: 1 / 3, 3: 0.7}
    assert original.points["final_valid_loss"] == {0: 0.7}
    assert not set(original.points) & {keys.EPOCH_SECONDS, keys.FIT_SECONDS}
    assert (original.code, original.environments, original.n_epochs) == (CODE, [HERE], 3)


@pytest.mark.parametrize("is_of_another", [False, True])
def test_test_score_of_another_network_is_no_number_of_the_trial(uri: str, is_of_another: bool) -> None:
    opened, run_id = logged_trial(uri)
    test = Evaluation(part="test", loss=0.7, score=0.7, metric="accuracy", n_samples=2)
    labels = np.array([0, 1])
    said = Predictions(y=labels, predicted=labels, probability=np.array([0.5, 0.75], np.float32), unit=labels)
    tracking.TrialRun(opened, run_id).log_score(test, said, is_of_another=is_of_another)
    original = find(uri, run_id=run_id, study=None)
    assert original.is_scored is (keys.test("accuracy") in original.points) is not is_of_another


def test_pruned_trial_is_trained_as_far_as_it_went(uri: str) -> None:
    config = replace(CONFIG, fit=replace(CONFIG.fit, epochs=50))
    assert find(uri, run_id=logged_trial(uri, config=config)[1], study=None).n_epochs == 50
    assert find(uri, run_id=logged_trial(uri, config=config, state="pruned")[1], study=None).n_epochs == 3


def test_champion_of_the_latest_study_is_the_default_and_its_best_trial_where_there_is_none(uri: str) -> None:
    first, one = logged_trial(uri, study="first")
    first.set_tags({keys.BEST_RUN: "no such run", keys.CHAMPION_RUN: one})
    second, two = logged_trial(uri, study="second")
    second.set_tags({keys.BEST_RUN: two})
    assert find(uri, run_id=None, study=None).run.run_id == two
    assert find(uri, run_id=None, study="first").run.run_id == one
    assert find(uri, run_id=one, study=None).run.run_id == one


def test_every_run_that_is_no_trial_gets_an_answer_of_its_own(uri: str) -> None:
    study, run_id = logged_trial(uri)
    api = client(uri)
    failing = tracking.start_trial(study, number=1, phase="compare", config=CONFIG)
    failing.fail("Traceback\nMemoryError: no more")
    killed = tracking.start_trial(study, number=2, phase="compare", config=CONFIG)
    tracking.close_stale(killed.tracking_uri, killed.study.run_id)
    trains = tracking.start_trial(study, number=3, phase="compare", config=CONFIG)
    session = tracking.open_parent(
        "one", uri=uri, parent_run_id=study.run_id,
        environ={"MLFLOW_RUN_ID": api.create_run(study.experiment_id).info.run_id},
    ).session_run_id  # fmt: skip
    _, deleted = logged_trial(uri, study="other")
    api.delete_run(deleted)
    again = tracking.start_reproduction(
        uri, find(uri, run_id=run_id, study=None).run, params={}, description="", environ={}
    )
    stranger = api.create_run(study.experiment_id).info.run_id
    answers = {
        "nonsense": f"run_id must be of a run in {uri}, got 'nonsense'",
        study.run_id: "which is the study one (its best trial: study=one)",
        session: "which is no trial of this project",
        failing.run_id: "which failed: MemoryError: no more",
        killed.run_id: "which is KILLED",
        trains.run_id: "which is RUNNING",
        deleted: f"which was deleted (mlflow runs restore --run-id {deleted} brings it back)",
        again.run_id: f"a reproduction (of {run_id})",
        stranger: "which is no trial of this project",
    }
    for wanted, answer in answers.items():
        with pytest.raises(ValueError, match="must be of a") as raised:
            find(uri, run_id=wanted, study=None)
        assert answer in str(raised.value)
        assert "\n" not in str(raised.value)


def test_other_versions_of_the_store_get_a_clear_answer(uri: str) -> None:
    _, run_id = logged_trial(uri)
    api = client(uri)
    api.log_param(run_id, "label_sharpening", 0.1)
    assert find(uri, run_id=run_id, study=None).unknown_params == {"label_sharpening": "0.1"}
    api.set_tag(run_id, keys.SCHEMA, "3")
    with pytest.raises(ValueError, match="schema version 2 or older, got 3: a newer version of the project wrote it"):
        find(uri, run_id=run_id, study=None)


@pytest.mark.parametrize(
    ("params", "answer"),
    [
        ({"batch_size": None}, r"complete .*none for \['batch_size'\]\" \(schema version 2, code aaaaaaaaaaaa\)"),
        ({"optimizer": "sdg"}, "optimizer must be one of"),
        ({"epochs": "many"}, "cannot be rebuilt"),
    ],
)
def test_parameters_that_make_no_trial_are_named(uri: str, params: dict[str, str | None], answer: str) -> None:
    study, _ = logged_trial(uri)
    api = client(uri)
    run = tracking.start_trial(study, number=9, phase="compare", config=CONFIG)
    run.finish(_any_result())
    other = api.create_run(study.experiment_id, tags=api.get_run(run.run_id).data.tags).info.run_id
    for name, value in {**CONFIG.to_params(), **params}.items():
        if value is not None:
            api.log_param(other, name, value)
    api.set_terminated(other)
    with pytest.raises(ValueError, match=answer):
        find(uri, run_id=other, study=None)


def _any_result() -> TrialResult:
    valid = Evaluation(part="valid", loss=1.0, score=0.5, metric="accuracy", n_samples=10)
    return TrialResult(
        config=CONFIG, state="finished", history=History(), valid=valid, test=None, n_params=1, fit_seconds=1.0
    )


def test_trial_without_curves_cannot_be_compared(uri: str) -> None:
    study, _ = logged_trial(uri)
    run = tracking.start_trial(study, number=9, phase="compare", config=CONFIG)
    run.finish(_any_result())
    with pytest.raises(ValueError, match="must have curves to be compared with, got none"):
        find(uri, run_id=run.run_id, study=None)


def test_studies_that_cannot_be_told_apart_or_have_no_best_trial_are_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="no study in"):
        find(uri, run_id=None, study="one")
    first, _ = logged_trial(uri)
    with pytest.raises(ValueError, match="study 'one' must have a champion or a best trial, got neither"):
        find(uri, run_id=None, study=None)
    second, run_id = logged_trial(uri)
    with pytest.raises(ValueError, match="of which there are 2") as raised:
        find(uri, run_id=None, study="one")
    assert {first.run_id, second.run_id} <= set(str(raised.value).replace(";", " ").replace("(", " ").split())
    with pytest.raises(ValueError, match="study must be one of one, got 'two'"):
        find(uri, run_id=None, study="two")
    with pytest.raises(ValueError, match="run_id or study must be given, not both"):
        find(uri, run_id=run_id, study="one")


def test_no_store_is_said_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no study in sqlite"):
        find(f"sqlite:///{tmp_path / 'mlflow.db'}", run_id=None, study=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "folder", "answer"),
    [
        ("digits", None, f"data must be those of run .*, digits with SHA-256 {'ab' * 32}, got [0-9a-f]{{64}}"),
        ("fashion-mnist", "no/such/folder", "no/such/folder"),
        ("mnist-of-tomorrow", None, "data must be one of"),
    ],
)
def test_other_data_or_none_is_refused_before_anything_is_written(
    uri: str, monkeypatch: pytest.MonkeyPatch, data: str, folder: str | None, answer: str
) -> None:
    _, run_id = logged_trial(uri, config=replace(CONFIG, data=DataConfig(name=data)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    before = len(client(uri).search_runs(["0", "1"]))
    with pytest.raises(ValueError, match=answer):
        reproduce(uri, Console(quiet=True), run_id=run_id, data_folder=Path(folder) if folder else None, draw=str)
    assert len(client(uri).search_runs(["0", "1"])) == before


# The run that holds the repetition.


def test_no_reader_of_a_study_meets_a_reproduction(uri: str) -> None:
    study, run_id = logged_trial(uri, phase="confirm")
    before = (
        tracking.trials(uri, study.run_id),
        tracking.studies(uri),
        tracking.test_openings(uri, CONFIG.data_sha256, before=None),
    )
    original = find(uri, run_id=run_id, study=None)
    run = tracking.start_reproduction(uri, original.run, params=original.config.to_params(), description="", environ={})
    run.log_points(original.points)
    run.log_original(original.points)
    assert reading.running_trials(uri, study.run_id) == []
    assert tracking.close_stale(uri, study.run_id) == []
    run.end("FINISHED", state="reproduced", description="", verdict="bit-equal")
    after = (
        tracking.trials(uri, study.run_id),
        tracking.studies(uri),
        tracking.test_openings(uri, CONFIG.data_sha256, before=None),
    )
    assert after == before
    assert tracking.trial(uri, run.run_id) is None
    assert tracking.best_run(uri, run.run_id) == run.run_id
    page = client(uri).get_run(run.run_id)
    assert page.data.tags[keys.PARENT_RUN] == run_id
    assert page.data.metrics["train/loss"] == page.data.metrics["train/loss_original"] == 0.7
    assert tracking.logged_points(uri, run.run_id)["test/loss_original"] == {0: 0.7}


def test_run_of_mlflow_run_becomes_the_reproduction_and_keeps_its_parameters(uri: str) -> None:
    _, run_id = logged_trial(uri)
    api = client(uri)
    launched = api.create_run("0").info.run_id
    api.log_param(launched, "data", "auto")
    original = find(uri, run_id=run_id, study=None)
    run = tracking.start_reproduction(
        uri, original.run, params=original.config.to_params(), description="", environ={"MLFLOW_RUN_ID": launched}
    )
    made = api.get_run(run.run_id)
    assert run.run_id == launched
    assert made.data.tags[keys.PARENT_RUN] == run_id
    assert (made.data.params["data"], made.data.params["optimizer"]) == ("auto", "sgd")


@pytest.mark.parametrize("step", ["create_run", "update_run", "log_batch"])
def test_reproduction_that_is_interrupted_as_its_run_is_made_leaves_none_open(
    uri: str, interrupt_behind, step: str
) -> None:
    _, run_id = logged_trial(uri)
    original = find(uri, run_id=run_id, study=None)
    interrupt_behind(step)
    with pytest.raises(KeyboardInterrupt):
        tracking.start_reproduction(uri, original.run, params={}, description="", environ={})
    (run,) = client(uri).search_runs(["0", "1"], f"tags.reproduced_run_id = '{run_id}'")
    assert (run.info.status, run.data.tags["state"]) == ("KILLED", "interrupted")


def test_reproduction_whose_process_was_killed_is_closed_and_no_other(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run_id = logged_trial(uri)
    program = f"""
import sys, time
from mlflow import MlflowClient
from depthcheck.experiments import tracking
from depthcheck.experiments.reproduce.original import find
original = find({uri!r}, run_id={run_id!r}, study=None)
MlflowClient.update_run = lambda _api, run_id, **_: print(run_id, flush=True) or time.sleep(600)
tracking.start_reproduction({uri!r}, original.run, params={{}}, description="", environ={{}})
"""
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert process.stdout is not None
    dead = process.stdout.readline().strip()
    original = find(uri, run_id=run_id, study=None)
    living = tracking.start_reproduction(uri, original.run, params={}, description="", environ={}).run_id
    elsewhere = tracking.start_reproduction(uri, original.run, params={}, description="", environ={}).run_id
    client(uri).set_tag(elsewhere, keys.PROCESS, "another-machine 1 1")
    monkeypatch.setattr(psutil.Process, "create_time", lambda _process: 0.0)  # as where the clock was set meanwhile
    tracking.close_stale_reproductions(uri)
    assert client(uri).get_run(dead).info.status == "RUNNING"
    process.send_signal(signal.SIGKILL)
    process.wait()
    tracking.close_stale_reproductions(uri)
    assert client(uri).get_run(dead).info.status == "KILLED"
    assert {client(uri).get_run(run).info.status for run in (living, elsewhere)} == {"RUNNING"}


def test_no_run_is_left_running_whatever_ends_the_training() -> None:
    run = Mock()
    with pytest.raises(IndexError), _ends_well(Mock(cluster=None), run):
        raise IndexError("no repetition")
    assert run.end.call_args.args == ("FAILED",)


@pytest.mark.parametrize("is_away", [False, True])
def test_interrupt_ends_a_reproduction_whose_run_cannot_be_ended(uri: str, is_away: bool) -> None:
    run = Mock(tracking_uri="http://127.0.0.1:9" if is_away else uri)
    run.end.side_effect = tracking.TakenOverError("by somebody else")
    with pytest.raises(KeyboardInterrupt), _ends_well(Mock(cluster=None), run):
        raise KeyboardInterrupt
    assert run.end.called != is_away
