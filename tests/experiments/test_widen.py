"""Ranges that a winner lay at the edge of: how they are widened, and what cannot be."""

import json
import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthcheck.experiments.planning import definition
from depthcheck.experiments.planning.document import validated
from depthcheck.experiments.planning.ranges import Choices, Range, can_widen, parse_widenings, widen
from depthcheck.pipeline.dimensions import DIMENSIONS, Dimension
from depthcheck.reports.read import search_ranges

SMALL = tomllib.loads("""
[data]
name = "digits"
[budget]
trials = 10
epochs = 2
[compare]
depth = [0, 1]
optimizer = ["sgd", "adam"]
[tune]
units = { low = 4, high = 8 }
activation = ["relu", "tanh"]
batch_size = [32, 64]
learning_rate = { low = 0.01, high = 1.0, log = true }
dropout = { low = 0.0, high = 0.4, step = 0.1 }
[tune.sgd]
momentum = { low = 0.0, high = 0.9 }
""")
EXPERIMENT = definition.parse(SMALL, name="small")


def tuned_of(name: str, stored: object) -> Range | Choices:
    return validated({"budget": {"trials": 1, "epochs": 1}, "tune": {name: stored}})["tune"][name]


@pytest.mark.parametrize(
    ("tuned", "side", "expected"),
    [
        (Choices(values=(16, 32)), "up", [16, 32, 64]),
        (Choices(values=(1.5, 3.0)), "up", [1.5, 3.0, 6.0]),
        (Range(low=2, high=8, log=True, integer=True), "down", {"low": 1, "high": 8, "log": True}),
        (Range(low=1, high=2, integer=True), "up", {"low": 1, "high": 3}),
        (Range(low=1, high=8, log=True, integer=True), "down", None),
        (Range(low=1.0, high=2.5, log=True), "up", {"low": 1.0, "high": 10.0, "log": True}),
        (Range(low=0.0, high=0.7, step=0.1), "up", {"low": 0.0, "high": 1.0, "step": 0.1}),
    ],
)
def test_hyperparameters_of_ones_own_model_stay_what_they_are(monkeypatch, tuned, side, expected):
    own = Dimension(name="width", kind="any", per_optimizer=False, is_own=True)
    monkeypatch.setitem(DIMENSIONS, "width", own)
    assert can_widen(tuned, own, side) == (expected is not None)
    if expected is not None:
        found = widen(tuned, own, side)
        assert repr(found.as_json()) == repr(expected)
        assert tuned_of("width", json.loads(json.dumps(found.as_json()))) == found


@pytest.mark.parametrize(
    ("name", "stored", "side", "expected"),
    [
        ("learning_rate", {"low": 0.01, "high": 0.5, "log": True}, "up", {"low": 0.01, "high": 2.0, "log": True}),
        ("learning_rate", {"low": 0.01, "high": 0.5, "log": True}, "down", {"low": 0.0025, "high": 0.5, "log": True}),
        ("learning_rate", {"low": 0.1, "high": 0.5}, "down", {"low": 0.05, "high": 0.5}),
        ("momentum", {"low": 0.0, "high": 0.9}, "up", {"low": 0.0, "high": 0.95}),
        ("momentum", {"low": 0.5, "high": 0.9}, "down", {"low": 0.3, "high": 0.9}),
        ("dropout", {"low": 0.0, "high": 0.4, "step": 0.1}, "up", {"low": 0.0, "high": 0.6, "step": 0.1}),
        ("dropout", {"low": 0.2, "high": 0.8, "step": 0.2}, "down", {"low": 0.0, "high": 0.8, "step": 0.2}),
        ("dropout", {"low": 0.0, "high": 0.8, "step": 0.1}, "up", {"low": 0.0, "high": 0.9, "step": 0.1}),
        ("units", {"low": 32, "high": 256, "log": True}, "up", {"low": 32, "high": 1024, "log": True}),
        ("units", {"low": 2, "high": 256, "log": True}, "down", {"low": 1, "high": 256, "log": True}),
        ("depth", {"low": 2, "high": 6, "log": True}, "down", {"low": 1, "high": 6, "log": True}),
        ("units", {"low": 4, "high": 7}, "up", {"low": 4, "high": 9}),
        ("units", {"low": 4, "high": 5}, "down", {"low": 3, "high": 5}),
        ("units", {"low": 8, "high": 29, "step": 10}, "up", {"low": 8, "high": 38, "step": 10}),
        ("units", [64, 128, 256], "up", [64, 128, 256, 512]),
        ("units", [64, 128], "down", [32, 64, 128]),
        ("units", [256, 64], "up", [1024, 256, 64]),
        ("units", [5, 10], "down", [2, 5, 10]),
        ("units", [10, 20, 30], "up", [10, 20, 30, 40]),
        ("dropout", [0.0, 0.1, 0.2], "up", [0.0, 0.1, 0.2, 0.3]),
        ("momentum", [0.8, 0.9], "up", [0.8, 0.9, 0.95]),
    ],
)
def test_range_goes_on_as_it_was(name, stored, side, expected):
    assert widen(tuned_of(name, stored), DIMENSIONS[name], side).as_json() == expected


@pytest.mark.parametrize(
    ("name", "stored", "side"),
    [
        ("dropout", {"low": 0.0, "high": 0.4}, "down"),
        ("dropout", {"low": 0.0, "high": 0.9, "step": 0.1}, "up"),
        ("units", {"low": 1, "high": 4}, "down"),
        ("units", [1, 2], "down"),
        ("units", [64], "up"),
        ("activation", ["relu", "tanh"], "up"),
        ("nesterov", [True, False], "up"),
    ],
)
def test_nothing_beyond_is_no_side_to_widen(name, stored, side):
    tuned, dimension = tuned_of(name, stored), DIMENSIONS[name]
    assert not can_widen(tuned, dimension, side)
    with pytest.raises(ValueError, match=r"^widen must "):
        widen(tuned, dimension, side)


@given(
    name=st.sampled_from(["units", "batch_size", "dropout", "momentum", "learning_rate", "depth"]),
    ends=st.tuples(st.floats(1e-6, 0.999), st.floats(1e-6, 0.999)).filter(lambda pair: pair[1] - pair[0] > 1e-5),
    log=st.booleans(),
    side=st.sampled_from(["up", "down"]),
)
def test_whatever_is_widened_is_a_range_that_a_definition_may_have(name, ends, log, side):
    dimension = DIMENSIONS[name]
    low, high = (round(1 + 900 * end) for end in ends) if dimension.kind == "int" else ends
    if low >= high:
        return
    tuned = Range(low=low, high=high, log=log, integer=dimension.kind == "int")
    if not can_widen(tuned, dimension, side):
        return
    longer = widen(tuned, dimension, side)
    assert isinstance(longer, Range)
    assert tuned_of(name, longer.as_json()) == longer
    assert longer.low <= tuned.low
    assert longer.high >= tuned.high
    assert longer != tuned
    choices = Choices(values=(low, high))
    if can_widen(choices, dimension, side):
        more = widen(choices, dimension, side)
        assert tuned_of(name, more.as_json()) == more
        assert math.inf > len(more.values) == 3


def test_experiment_is_widened_into_another_study():
    units = EXPERIMENT.widened("units", "up")
    assert units.tune["units"] == Range(low=4, high=10, integer=True)
    assert units.widenings == ("units:up",)
    assert units.study_name("ab") != EXPERIMENT.study_name("ab")
    assert (
        definition.parse({**SMALL, "tune": {**SMALL["tune"], "units": {"low": 4, "high": 10}}}, name="small").as_json()
        == units.as_json()
    )


def test_range_of_all_optimizers_is_widened_for_the_one_that_is_named():
    adam = EXPERIMENT.widened("adam.learning_rate", "down").widened("adam.learning_rate", "down")
    assert adam.tuned_for("adam", 1)["learning_rate"].low == 0.01 / 16
    assert adam.tuned_for("sgd", 1)["learning_rate"].low == 0.01
    assert adam.widened("sgd.momentum", "up").tuned_for("sgd", 1)["momentum"].high == 0.95


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("unit", "got 'unit'; did you mean 'units'?"),
        ("learning_rate", "did you mean 'sgd.learning_rate'?"),
        ("adam.momentum", "widen must name what is tuned (activation, batch_size, dropout"),
        ("depth", "got 'depth'"),
        ("activation", "widen must name two numbers or more, or a range, got activation: relu, tanh"),
        ("dropout", "a number of at least 0 and below 1: none lies below 0"),
    ],
)
def test_what_cannot_be_widened_is_said_in_one_line(name, line):
    with pytest.raises(ValueError, match=r"^widen must ") as error:
        EXPERIMENT.widened(name, "down")
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_widenings_are_names_and_sides():
    assert parse_widenings("units:up, sgd.learning_rate:down") == [("units", "up"), ("sgd.learning_rate", "down")]
    for text in ("units", "units:", ":up", "units:up,", "units:upp", "units:up:down"):
        with pytest.raises(ValueError, match=r"^widen must be NAME:up or NAME:down"):
            parse_widenings(text)


def test_report_knows_which_ends_are_open():
    found = {(of.parameter, of.is_list): of.open_sides for of in search_ranges(EXPERIMENT)}
    assert found["dropout", False] == ("up",)
    assert found["batch_size", True] == ("up", "down")
    assert not any(name == "activation" for name, _ in found)
