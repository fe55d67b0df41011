"""Definitions: the shipped ones, what is refused and how, and the name that is derived from them."""

import copy
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import definition
from pipeline.config import DataConfig

SMALL = tomllib.loads("""
question = "?"
seed = 1
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
activation = ["relu"]
batch_size = [32, 64]
[tune.sgd]
learning_rate = { low = 0.01, high = 1.0, log = true }
momentum = { low = 0.0, high = 0.9 }
[tune.adam]
learning_rate = { low = 0.001, high = 0.1, log = true }
""")


def changed(path: str, value: object) -> dict:
    document = copy.deepcopy(SMALL)
    *tables, key = path.split("/")
    table = document
    for name in tables:
        table = table.setdefault(name, {})
    if value is None:
        del table[key]
    else:
        table[key] = value
    return document


@pytest.mark.parametrize("name", definition.shipped_names())
def test_shipped_definitions_are_valid(name):
    data = DataConfig(name="my table.csv", target="y") if name == "any" else None
    assert definition.read(definition.find(name), data).name == ("my_table" if data else name)


def test_definition_for_any_data_asks_for_data():
    with pytest.raises(ValueError, match=r"any\.toml: \[data\] must have name, got \{\}"):
        definition.read(definition.find("any"))


def test_notebook_is_the_origin_exactly():
    notebook = definition.read(definition.find("notebook"))
    assert notebook.fixed == notebook.anchor == definition.NOTEBOOK_ANCHOR
    assert (notebook.budget.trials, notebook.budget.epochs) == (1, 100)
    assert (notebook.split.valid_size, notebook.split.seed) == (0.2, 1234)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("compares", {}, "no key 'compares'.*did you mean 'compare'"),
        ("compare/dept", [1], "no key 'dept'.*did you mean 'depth'"),
        ("compare/depth", [1, 1], r"compare.depth must have each level once, got 1 twice"),
        ("compare/depth", [], "compare.depth must be a list of at least one level"),
        ("compare/depth", [-1], r"compare.depth\[0\] must be a whole number of at least 0, got -1"),
        ("compare/depth", [True], r"compare.depth\[0\] must be a whole number of at least 0, got True"),
        ("compare/optimizer", ["sdg"], "must be one of sgd.*got 'sdg'; did you mean 'sgd'"),
        ("tune/units", {"low": 9, "high": 4}, "tune.units must have low below high, got low = 9, high = 4"),
        ("tune/units", {"low": 4}, "tune.units must have a high"),
        ("tune/units", {"low": 4, "high": 8.5}, "tune.units.high must be a whole number of at least 1, got 8.5"),
        ("tune/units", {"low": 4, "high": 8, "lag": True}, "no key 'lag'.*did you mean 'log'"),
        ("tune/activation", {"low": 0, "high": 1}, "tune.activation must be a list"),
        ("tune/dropout", {"low": 0.0, "high": 1.0}, "tune.dropout.high must be a number .*below 1, got 1.0"),
        ("tune/sgd/learning_rate", {"low": 0.0, "high": 1.0}, "must be a number above 0, got 0.0"),
        ("tune/sgd/learning_rate", None, "learning_rate of sgd must be in"),
        ("tune/sgd/beta_1", [0.9], r"\[sgd\] has no key 'beta_1'"),
        ("tune/rmsprop", {"rho": [0.9]}, "tune.rmsprop must be of an optimizer that is used"),
        ("tune/depth", [1, 2], "depth must be either compared, tuned or fixed"),
        ("tune/activation", None, "activation must be in"),
        ("tune/batch_size", None, "batch_size must be in"),
        ("fixed/beta_1", "x", "fixed.beta_1 must be a number"),
        ("budget/trials", 0, "trials must be a whole number of at least 1, got 0"),
        ("budget/epochs", None, "budget must have epochs"),
        ("budget/compare", 1.5, "budget.compare must be a share between 0 and 1, got 1.5"),
        ("budget/pruning", "hard", "budget.pruning must be one of median, none"),
        ("seed", -1, "seed must be a whole number of at least 0, got -1"),
        ("split/valid", 1.0, "valid_size must be a share between 0 and 1 or a count, got 1.0"),
        ("data/name", 5, "data.name must be a text, got 5"),
        ("data", [], "data must be a table"),
        ("anchor/depth", 1, r"\[anchor\] must have optimizer"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(path, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        definition.parse(changed(path, value), name="small")
    assert "\n" not in str(caught.value)


def test_broken_file_is_named(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text("[budget\n")
    with pytest.raises(ValueError, match=r"mine\.toml: "):
        definition.read(path)


def test_unknown_experiment_names_the_shipped_ones():
    with pytest.raises(ValueError, match=r"digits, fashion_mnist.*did you mean 'fashion_mnist'"):
        definition.find("fashion_mist")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
places = st.sampled_from(
    [
        "seed",
        "data",
        "data/name",
        "split/valid",
        "split/seed",
        "budget/trials",
        "budget/epochs",
        "budget/compare",
        "budget/window",
        "compare/depth",
        "compare/optimizer",
        "compare/momentum",
        "tune/units",
        "tune/activation",
        "tune/units/low",
        "tune/units/high",
        "tune/units/step",
        "tune/units/log",
        "tune/sgd",
        "tune/sgd/momentum",
        "tune/adam/learning_rate",
        "fixed/dropout",
        "fixed/nesterov",
        "anchor",
        "anchor/depth",
        "question",
    ]
)


@given(place=places, value=values)
def test_any_value_anywhere_is_a_definition_or_one_line(place, value):
    try:
        document = changed(place, value)
    except KeyError:
        return  # nothing there to delete
    message = ""
    try:
        definition.parse(document, name="small")
    except ValueError as error:
        message = str(error)
    assert "\n" not in message


def test_name_changes_with_whatever_defines_the_study_and_with_nothing_else():
    base = definition.parse(SMALL, name="small")
    name = base.study_name("a" * 64)
    same = [changed("question", "other"), changed("budget/trials", 99)]
    other = [changed("seed", 2), changed("budget/epochs", 3), changed("compare/depth", [0, 2])]
    other += [changed("tune/units", {"low": 4, "high": 9}), changed("budget/window", 2), changed("split/valid", 0.3)]
    assert {definition.parse(document, name="small").study_name("a" * 64) for document in same} == {name}
    names = {definition.parse(document, name="small").study_name("a" * 64) for document in other}
    assert len(names | {name}) == len(other) + 1
    assert base.study_name("b" * 64) != name
