"""Definitions: the shipped ones, what is refused and how, and the name that is derived from them."""

import codecs
import copy
import datetime
import json
import math
import os
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from depthcheck.experiments import tracking
from depthcheck.experiments.planning import definition, design, document, space
from depthcheck.experiments.planning.experiment import NOTEBOOK_BASELINE, Experiment
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.pipeline.config import CLIPS, OPTIMIZERS, DataConfig, ParamValue, SplitConfig, TrialConfig
from depthcheck.pipeline.dimensions import DIMENSIONS, parameter
from depthcheck.pipeline.own import OwnModel

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


@pytest.mark.parametrize(
    ("name", "study"),
    [
        ("any", "my_table-c17e9b24"),
        ("digits", "digits-7010bb2f"),
        ("fashion_mnist", "fashion_mnist-5dcce20c"),
        ("notebook", "notebook-5489488e"),
        ("vanishing", "vanishing-2393f171"),
    ],
)
def test_studies_of_shipped_definitions_keep_their_names(name, study):
    """A name is a hash of the definition: another one would begin a study again that exists."""
    data = DataConfig(name="my table.csv", target="y") if name == "any" else None
    assert definition.read(definition.find(name), data).study_name("ab" * 32) == study


def test_definition_is_written_as_parameters_under_the_names_of_its_file():
    assert definition.read(definition.find("digits")).as_params() == {
        "seed": "1234",
        "split.valid": "0.2",
        "split.seed": "1234",
        "budget.epochs": "10",
        "budget.compare": "1.0",
        "budget.window": "4",
        "budget.pruning": "median",
        "compare.depth": "0, 1, 2",
        "compare.optimizer": "sgd, adam",
        "tune.activation": "tanh, relu",
        "tune.batch_size": "16, 32",
        "tune.units": "32, 64",
        "tune.sgd.learning_rate": "0.04 to 0.5, log",
        "tune.sgd.momentum": "0.0 to 0.9",
        "tune.adam.learning_rate": "0.004 to 0.04, log",
        "baseline.activation": "sigmoid",
        "baseline.batch_size": "32",
        "baseline.depth": "1",
        "baseline.learning_rate": "0.01",
        "baseline.optimizer": "sgd",
        "baseline.units": "100",
    }


def test_own_model_and_class_weight_are_parameters_under_their_names_too():
    model = OwnModel(file="mine.py", function="build", source="def build(units=8): pass")
    experiment = replace(definition.read(definition.find("digits")), class_weight="balanced", model=model)
    found = experiment.as_params()
    assert (found["model"], found["data.class_weight"]) == (model.name, "balanced")


@pytest.mark.parametrize("name", definition.shipped_names())
def test_stored_definition_is_read_back_as_it_was(name):
    data = DataConfig(name="my table.csv", target="y") if name == "any" else None
    experiment = definition.read(definition.find(name), data)
    stored = json.loads(json.dumps(experiment.as_json()))
    assert Experiment.from_json(experiment.name, stored).as_json() == experiment.as_json()


def test_shipped_schema_is_what_the_models_give():
    """After a change: ``python -c "from depthcheck.experiments.planning import document as d; d.write_schema()"``."""
    assert json.loads(document.SCHEMA_FILE.read_text()) == document.json_schema()


def test_schema_accepts_the_shipped_definitions_and_refuses_what_the_models_refuse():
    schema = pytest.importorskip("jsonschema").Draft202012Validator(json.loads(document.SCHEMA_FILE.read_text()))
    for name, text in zip(definition.shipped_names(), TEXTS, strict=True):
        assert text.startswith("#:schema ./definition.schema.json\n")
        assert list(schema.iter_errors(SHIPPED[name])) == []
    assert schema.is_valid(SMALL)
    for path, value in (
        ("compares", {}),
        ("compare/dept", [1]),
        ("compare/depth", []),
        ("compare/depth", [1, 1]),
        ("compare/optimizer", ["sdg"]),
        ("tune/units", {"low": 4}),
        ("tune/units", {"low": 4, "high": 8, "lag": True}),
        ("tune/activation", {"low": 0, "high": 1}),
        ("tune/sgd/beta_1", [0.9]),
        ("tune/dropout", {"low": 0.0, "high": 1.0}),
        ("budget/trials", "5"),
        ("budget/epochs", None),
        ("split/seed", 2**32),
        ("data/name", 5),
    ):
        assert not schema.is_valid(changed(path, value)), path


def test_what_data_without_a_name_say_is_of_the_data_that_are_named():
    said = {"target": "x", "group": "patient", "weight": "w", "rows": 90, "columns": {"age": "numeric"}}
    document = tomllib.loads((definition.SHIPPED / "any.toml").read_text()) | {"data": said}
    found = definition.parse(document, name="any", data=DataConfig(name="a.csv", target="y"))
    assert found.data == DataConfig(
        name="a.csv", target="y", group="patient", weight="w", rows=90, columns=(("age", "numeric"),)
    )
    document["data"]["name"] = "b.csv"
    assert definition.parse(document, name="any", data=DataConfig(name="a.csv")).data == DataConfig(name="a.csv")


def test_definition_for_any_data_asks_for_data():
    with pytest.raises(ValueError, match=r"any\.toml: \[data\] must have name, got \{\}"):
        definition.read(definition.find("any"))


def test_notebook_is_the_origin_exactly():
    notebook = definition.read(definition.find("notebook"))
    assert notebook.fixed == notebook.baseline == NOTEBOOK_BASELINE
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
        ("split/valid", 1.0, "split.valid must be a share between 0 and 1 or a count, got 1.0"),
        ("budget/trials", "5", "trials must be a whole number of at least 1, got '5'"),
        ("budget/epochs", "5", "epochs must be a whole number of at least 1, got '5'"),
        ("budget/trials", 10**12, "trials must be a whole number of at most 100000, got 1000000000000"),
        ("seed", 2**63, "seed must be a whole number of at most 9223372036854775807"),
        ("split/seed", 2**32, "split.seed must be a whole number of at most 4294967295, got 4294967296"),
        ("compare/depth", [10**6], r"compare.depth\[0\] must be a whole number of at most 1000, got 1000000"),
        ("tune/units", {"low": 1, "high": 16**5000}, "tune.units.high must be .*, got a number of too many digits"),
        ("tune/sgd/momentum", {"low": 0.1, "high": 0.2, "step": 1e-9}, "momentum.step must be at least a millionth"),
        ("compare/dropout", [i / 10**6 for i in range(99_999)], r"\[compare\] must have at most 100000 combinations"),
        ("compare", {"depth": [0], "dropout": [0.0, 0.2]}, "dropout must be compared at a depth that has it, got 0"),
        ("data/name", 5, "data.name must be a text, got 5"),
        ("data/target", ["a", "b"], "target must be one column, got several: 'a', 'b'; run a study for each of them"),
        ("data/weights", "w", r"\[data\] has no key 'weights'; it takes .*; did you mean 'weight'\?"),
        ("data/sample_weight", "w", r"did you mean 'weight'\?"),
        ("data/group_columns", "w", r"did you mean 'group'\?"),
        ("data/class_weigt", "w", r"did you mean 'class_weight'\?"),
        ("data", [], "data must be a table"),
        ("baseline/depth", 1, r"\[baseline\] must have optimizer"),
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


def test_definition_of_a_windows_editor_is_read_and_another_encoding_is_named(tmp_path: Path):
    path, shipped = tmp_path / "mine.toml", definition.find("digits")
    path.write_bytes(codecs.BOM_UTF8 + shipped.read_bytes())
    assert definition.read(path).budget == definition.read(shipped).budget
    for encoding, name in (("utf-16", "UTF-16"), ("latin-1", "another")):
        path.write_text("# Größe\n" + shipped.read_text("utf-8"), encoding=encoding)
        with pytest.raises(ValueError, match=rf"mine\.toml: must be a text in UTF-8, got {name}; save it as such$"):
            definition.read(path)
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ValueError, match=r"experiment must be a file or folder that can be read, got .*pipe\.toml"):
        definition.find("pipe.toml", tmp_path)


def test_unknown_experiment_names_the_shipped_ones():
    with pytest.raises(ValueError, match=r"digits, early_stopping, fashion_mnist.*did you mean 'fashion_mnist'"):
        definition.find("fashion_mist")


SHIPPED = {name: tomllib.loads(definition.find(name).read_text()) for name in definition.shipped_names()}
TEXTS = [definition.find(name).read_text() for name in definition.shipped_names()]
WORDS = sorted({*DIMENSIONS, *OPTIMIZERS, *SMALL, *SMALL["budget"], "low", "high", "log", "step"})
#: Values that TOML can hold and that code stumbles over.
NASTY = st.sampled_from(
    [
        *(math.nan, math.inf, -math.inf, 1e308, 5e-324, -0.0, 0.1, 1.0),
        *(0, 1, -1, 2, 2**31, 2**32, 2**63, 10**18, 10**400, 16**5000, True, False),
        *("", "sgd", "relu", "median", "digits", "\x00", "\n", "two\nlines", "ﬀ", "١", "𝟙", "a" * 5000, "%s", "{}"),
        *([], {}, [[]], [{}], [1, "a"], [0.1, 0.1], [1, 1.0, True], list(range(200)), {"low": 1, "high": 2}),
        *({"low": 1, "high": 10**12}, {"low": 0.1, "high": 0.2, "step": 5e-324}, {"low": 0, "high": 1, "log": True}),
        *(
            {"low": 1e-300, "high": 1e300},
            {"low": 1e-300, "high": 1e300, "log": True},
            {"low": 0.1, "high": 0.9, "step": 0.1},
        ),
        *(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), datetime.date(2026, 1, 1), datetime.time(1)),
    ]
)
scalars = st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS)
values = NASTY | st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(node: object) -> list[tuple[Any, Any]]:
    """Return each container of a document with each key or position in it."""
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [(node, key) for key, _ in items] + [place for _, inner in items for place in places(inner)]


@st.composite
def wrong_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a definition with a few things wrong: dropped, replaced, renamed, moved elsewhere, put in twice."""
    document = copy.deepcopy(draw(st.sampled_from([SMALL, *SHIPPED.values()])))

    def place() -> tuple[Any, Any]:
        # The innermost first: small numbers are drawn more often, and what is wrong at the top hides the rest.
        found = places(document)[::-1] or [(document, "seed")]
        return found[draw(st.integers(0, len(found) - 1))]

    def value() -> object:
        return copy.deepcopy(draw(values))  # values that hypothesis shares between examples must stay as they are

    for _ in range(draw(st.integers(1, 3))):
        table, key = place()
        match draw(st.sampled_from(["drop", "replace", "rename", "copy", "add"])):
            case "drop" if key in table or isinstance(table, list):
                del table[key]
            case "replace":
                table[key] = value()
            case "rename" if isinstance(table, dict) and key in table:
                table[draw(st.sampled_from(WORDS))] = table.pop(key)
            case "copy":
                other, at = place()
                table[key] = copy.deepcopy(other[at]) if other else None
            case _:
                (table if isinstance(table, dict) else document)[draw(st.sampled_from(WORDS))] = value()
    return document


@st.composite
def wrong_texts(draw: st.DrawFn) -> str:
    """Draw the text of a shipped definition with pieces cut out, put in or moved."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 12))
        piece = draw(st.text(max_size=6) | st.sampled_from(["[", "]", "{", "=", '"', "\n", "#", "1e999", "nan", "[["]))
        text = text[:start] + piece + text[end:]
    return text


def is_one_clear_line(text: str) -> bool:
    return len(text.splitlines()) == 1 and 10 < len(text) < 1500 and text.isprintable()


def check_that_it_can_be_run(experiment: Experiment) -> None:
    """Plan a small budget and make every configuration: a definition that exists can be run."""
    assert experiment.study_name("ab" * 32) == experiment.study_name("ab" * 32)
    assert json.loads(json.dumps(experiment.as_json(), allow_nan=False)) == experiment.as_json()
    for planned in design.plan(experiment, [design.SearchRound(trials=min(experiment.budget.trials, 12))]):
        if planned.point is None:
            continue
        config = space.to_config(
            experiment, planned.point, seed=planned.seed, data_sha256="ab" * 32, split=SplitConfig()
        )
        assert TrialConfig.from_params(config.to_params()) == config
        assert TrialConfig.from_params({key: str(value) for key, value in config.to_params().items()}) == config
        if planned.phase == "compare":
            tuned = experiment.tuned_for(config.optimizer.name, config.model.depth)
            named = {parameter(name, config.optimizer.name) for name in {*tuned, *planned.combination}}
            assert set(space.distributions(experiment, planned.point)) == named & set(planned.point)


def check(read: Callable[[], Experiment]) -> None:
    """Hold that a definition can be run, or that the complaint is one clear line."""
    message = None
    try:
        experiment = read()
    except ValueError as error:
        message = str(error)
    if message is None:
        check_that_it_can_be_run(experiment)
    else:
        assert is_one_clear_line(message), message


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(wrong_documents())
def test_any_wrong_document_is_a_definition_that_can_be_run_or_one_clear_line(document):
    check(lambda: definition.parse(document, name="small"))


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(content=wrong_texts().map(str.encode) | st.text().map(str.encode) | st.binary())
def test_any_text_is_a_definition_that_can_be_run_or_one_clear_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "garbage.toml"
    path.write_bytes(content)
    check(lambda: definition.read(path))


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 20_000, "x = " + "{a=" * 20_000, "seed = 0x" + "f" * 20_000, "seed = " + "9" * 5000]
)
def test_text_that_the_parser_gives_up_on_is_one_clear_line(tmp_path, text):
    path = tmp_path / "deep.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"deep\.toml: ") as caught:
        definition.read(path)
    assert is_one_clear_line(str(caught.value))


@st.composite
def allowed_values(draw: st.DrawFn, name: str) -> ParamValue:
    """Draw any value that a dimension allows."""
    dimension = DIMENSIONS[name]
    if dimension.kind == "choice":
        return draw(st.sampled_from(dimension.choices))
    if dimension.kind == "bool":
        return draw(st.booleans())
    if dimension.kind == "int":
        return draw(st.integers(int(dimension.low), dimension.most))
    # Lion takes no beta_1 of 0.
    limits = {"exclude_min": dimension.open_low or name == "beta_1", "exclude_max": dimension.open_high}
    return draw(st.floats(dimension.low, dimension.high, **limits))


@st.composite
def allowed_experiments(draw: st.DrawFn) -> Experiment:
    """Draw a definition in which everything is fixed, to anything."""
    optimizer = draw(st.sampled_from(sorted(OPTIMIZERS)))
    names = ["units", "activation", "batch_size", "learning_rate"]
    clip = draw(st.sampled_from(CLIPS))  # an optimizer takes one of them
    known = [name for name in OPTIMIZERS[optimizer] if name not in CLIPS or name == clip]
    names += draw(st.lists(st.sampled_from(["dropout", *known]), unique=True))
    fixed = {"optimizer": optimizer, "depth": draw(st.integers(0, 20)), **{n: draw(allowed_values(n)) for n in names}}
    seeds = {"seed": draw(st.integers(0, 2**63 - 1)), "split": {"seed": draw(st.integers(0, 2**32 - 1))}}
    seeds["split"]["valid"] = draw(st.floats(0, 1, exclude_min=True, exclude_max=True))
    budget = {"trials": 2, "epochs": draw(st.integers(1, 100_000))}
    return definition.parse({**seeds, "data": {"name": "digits"}, "budget": budget, "fixed": fixed}, name="any")


def planned_config(experiment: Experiment) -> tuple[design.PlannedTrial, TrialConfig]:
    planned = design.plan(experiment, [design.SearchRound(trials=2)])[-1]
    assert planned.point is not None
    return planned, space.to_config(
        experiment, planned.point, seed=planned.seed, data_sha256="ab" * 32, split=SplitConfig()
    )


@given(allowed_experiments())
def test_any_configuration_that_a_definition_allows_survives_its_parameters(experiment):
    _, config = planned_config(experiment)
    assert TrialConfig.from_params(config.to_params()) == config
    assert TrialConfig.from_params({key: str(value) for key, value in config.to_params().items()}) == config
    active = {key: value for key, value in experiment.fixed.items() if key in config.to_params()}
    assert config.to_params() == config.to_params() | active


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> tuple[tracking.StudyRun, str, Ledger]:
    """Return a study's run in MLflow's SQLite store, the URL of one of Optuna's with a study ``any``, its ledger."""
    folder = tmp_path_factory.mktemp("stores")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    storage = f"sqlite:///{folder / 'optuna.db'}"
    Ledger.open(storage, "any", {"seed": 1})
    run = tracking.open_parent("any", uri=f"sqlite:///{folder / 'mlflow.db'}", environ={})
    return run, storage, Ledger.existing(storage, "any")


@pytest.mark.slow
@settings(max_examples=40)
@given(experiment=allowed_experiments())
def test_any_configuration_survives_both_stores(stores, experiment):
    study_run, storage, ledger = stores
    planned, config = planned_config(experiment)
    run = tracking.start_trial(study_run, number=1, phase=planned.phase, config=config)
    assert TrialConfig.from_params(tracking.read_run(study_run.tracking_uri, run.run_id).params) == config
    number = len(ledger.trials())
    ledger.start(replace(planned, number=number), planned.point, space.distributions(experiment, planned.point))
    trial = Ledger.existing(storage, "any").trials()[number]
    at, seed = trial.user_attrs["point"], trial.user_attrs["seed"]
    assert space.to_config(experiment, at, seed=seed, data_sha256="ab" * 32, split=SplitConfig()) == config


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
