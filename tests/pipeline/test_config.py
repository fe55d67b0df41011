import dataclasses
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthcheck.pipeline.config import (
    ACTIVATIONS,
    BOOLEAN_OPTIONS,
    CLIPS,
    COLUMN_KINDS,
    INTEGER_OPTIONS,
    NO_DIMENSIONS,
    OPTIMIZERS,
    SPLIT_METHODS,
    TASKS,
    DataConfig,
    FitConfig,
    ModelConfig,
    OptimizerConfig,
    SplitConfig,
    TrialConfig,
)
from depthcheck.pipeline.dimensions import DIMENSIONS
from depthcheck.pipeline.own import OwnMetric, OwnModel
from depthcheck.pipeline.scores import METRICS, SHIPPED_METRICS

positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
seeds = st.integers(0, 2**63)


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    units = tuple(draw(st.lists(st.integers(1, 4096), max_size=6)))
    if not units:
        return ModelConfig(units=(), activation=None)
    return ModelConfig(
        units=units,
        activation=draw(st.sampled_from(ACTIVATIONS)),
        dropout=draw(st.floats(0, 1, exclude_max=True)),
    )


def values(hyperparameter: str) -> st.SearchStrategy[bool | int | float]:
    if hyperparameter in BOOLEAN_OPTIONS:
        return st.booleans()
    if hyperparameter in INTEGER_OPTIONS:
        return st.integers(0, 100)
    return st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def optimizers(draw: st.DrawFn) -> OptimizerConfig:
    name = draw(st.sampled_from(sorted(OPTIMIZERS)))
    clip = draw(st.sampled_from(CLIPS))  # of which Keras takes one
    known = [option for option in OPTIMIZERS[name] if option not in CLIPS or option == clip]
    options = [(option, draw(values(option))) for option in draw(st.lists(st.sampled_from(known), unique=True))]
    return OptimizerConfig(
        name=name,
        learning_rate=draw(positive),
        hyperparameters=tuple((key, of) for key, of in options if (name, key) != ("lion", "beta_1") or of > 0),
    )


words = st.none() | st.text(min_size=1, max_size=20)
shares = st.floats(0, 1, exclude_min=True, exclude_max=True)


@st.composite
def data(draw: st.DrawFn) -> DataConfig:
    metric = draw(st.none() | st.sampled_from(sorted(SHIPPED_METRICS)))
    together, test = draw(words), draw(words)
    return DataConfig(
        name=draw(st.text(min_size=1)),
        target=draw(words),
        task=draw(st.sampled_from((None, METRICS[metric].task)))
        if metric
        else draw(st.none() | st.sampled_from(TASKS)),
        metric=metric,
        weight=draw(words),
        **{
            draw(st.sampled_from(("group", "time"))): together,
            draw(st.sampled_from(("test_file", "test_column"))): test,
        },
        columns=tuple(draw(st.dictionaries(st.text(max_size=9), st.sampled_from(COLUMN_KINDS), max_size=4)).items()),
    )


splits = st.builds(
    SplitConfig,
    valid_size=shares | st.integers(1, 10**6),
    test_size=shares | st.integers(0, 10**6),
    seed=seeds,
    method=st.sampled_from(SPLIT_METHODS),
    folds=st.just(0) | st.integers(2, 20),
    repeat=st.integers(0, 50),
)
trials = st.builds(
    TrialConfig,
    data=data(),
    data_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    split=splits,
    model=models(),
    optimizer=optimizers(),
    fit=st.builds(
        FitConfig,
        epochs=st.integers(1, 10_000),
        batch_size=st.integers(1, 2**20),
        seed=seeds,
        class_weight=st.sampled_from((None, "balanced")),
    ),
)
TRIAL = TrialConfig(
    data=DataConfig(name="digits"),
    data_sha256="0" * 64,
    split=SplitConfig(),
    model=ModelConfig(units=(100, 100), activation="relu", dropout=0.1),
    optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, hyperparameters=(("nesterov", True), ("momentum", 0.9))),
    fit=FitConfig(epochs=2, batch_size=32, seed=1),
)


@given(trials)
def test_trial_survives_its_parameters(trial):
    assert TrialConfig.from_params(trial.to_params()) == trial


@given(trials)
def test_trial_survives_its_parameters_as_the_strings_that_a_tracking_server_returns(trial):
    as_logged = {key: str(value) for key, value in trial.to_params().items()}

    assert TrialConfig.from_params({**as_logged, "someone_elses": "note"}) == trial


def test_what_is_said_of_a_wide_table_goes_into_as_many_parameters_as_it_takes():
    wide = DataConfig(name="t.csv", columns=tuple((f"Spalte {n:04} ä", "categorical") for n in range(1000)))
    logged = {key: str(value) for key, value in wide.to_params().items()}
    assert max(map(len, logged.values())) <= 6000  # all that MLflow keeps of one
    assert DataConfig.from_params(logged) == wide


def test_all_that_is_logged_beside_dimensions_is_known_by_name():
    texts = {"name": "t.csv", "target": "y", "task": "regression", "weight": "w", "sheet": "s", "query": "q", "rows": 9}
    columns = tuple((f"Spalte {n:04} ä", "categorical") for n in range(400))
    metric = OwnMetric(file="m.py", function="f", source="def f(y, said, sample_weight): 0", direction="minimize")
    own = OwnModel(file="m.py", function="f", source="def f(input_shape): 0")
    logged: set[str] = set()
    for more in ({"group": "g", "test_file": "t"}, {"time": "t", "test_column": "t"}):
        trial = dataclasses.replace(
            TRIAL,
            data=DataConfig(**texts, **more, columns=columns, own_metric=metric),
            split=SplitConfig(test_size=1, method="group", folds=2, repeat=1),
            model=ModelConfig(units=(), activation=None, own=own),
            fit=FitConfig(epochs=1, batch_size=1, seed=1, varied=("epochs",)),
        )
        logged |= trial.to_params().keys() - DIMENSIONS.keys()
    assert {re.sub(r"_\d+$", "_", name) for name in logged} == NO_DIMENSIONS


@given(trials, trials)
def test_different_trials_have_different_parameters(one, other):
    assert (one == other) == (one.to_params() == other.to_params())


def test_parameters_are_those_that_are_active():
    assert TRIAL.to_params() == {
        "data": "digits",
        "data_sha256": "0" * 64,
        "valid_size": 0.2,
        "split_seed": 1234,
        "depth": 2,
        "units": 100,
        "activation": "relu",
        "dropout": 0.1,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.9,
        "nesterov": True,
        "batch_size": 32,
        "epochs": 2,
        "seed": 1,
    }
    linear = dataclasses.replace(TRIAL, model=ModelConfig(units=(), activation=None))
    assert linear.to_params().keys().isdisjoint({"units", "activation", "dropout"})


def test_units_of_unequal_layers_are_listed():
    uneven = dataclasses.replace(TRIAL, model=ModelConfig(units=(64, 32, 64), activation="relu"))

    assert uneven.to_params()["units"] == "64,32,64"


@pytest.mark.parametrize("missing", ["data", "optimizer", "learning_rate", "seed", "units", "activation", "dropout"])
def test_missing_parameter_is_named(missing):
    params = TRIAL.to_params()
    del params[missing]

    with pytest.raises(ValueError, match=rf"got .none for \['{missing}'\]"):
        TrialConfig.from_params(params)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"units": "64,32,16"}, "number of units must be one or 2, got '64,32,16'"),
        ({"optimizer": "adem"}, "optimizer must be one of sgd, .*, got 'adem'"),
        ({"nesterov": "yes"}, "nesterov must be True or False, got 'yes'"),
        ({"epochs": "0"}, "epochs must be a whole number of at least 1, got 0"),
        ({"learning_rate": "nan"}, "learning_rate must be above 0, got nan"),
    ],
)
def test_parameter_without_a_valid_value_is_named(changed, complaint):
    with pytest.raises(ValueError, match=complaint):
        TrialConfig.from_params({**TRIAL.to_params(), **changed})


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: SplitConfig(valid_size=1.0), "split.valid must be a share between 0 and 1 or a count, got 1.0"),
        (lambda: SplitConfig(seed=-1), "split seed must be a whole number of at least 0, got -1"),
        (lambda: ModelConfig(units=(0,), activation="relu"), "units must be whole numbers of at least 1, got 0"),
        (lambda: ModelConfig(units=(True,), activation="relu"), "units must be whole numbers of at least 1, got True"),
        (lambda: ModelConfig(units=(8,), activation=None), "activation must be one of .*, got None"),
        (
            lambda: ModelConfig(units=(8,), activation="relu", dropout=1),
            "dropout must be at least 0 and below 1, got 1",
        ),
        (
            lambda: ModelConfig(units=(), activation="relu"),
            "activation without a hidden layer must be None, got 'relu'",
        ),
        (lambda: OptimizerConfig(name="adam", learning_rate=0), "learning_rate must be above 0, got 0"),
        (
            lambda: OptimizerConfig(name="adam", learning_rate=1, hyperparameters=(("momentum", 0.9),)),
            "hyperparameter of adam must be one of beta_1, .*, got 'momentum'",
        ),
        (
            lambda: OptimizerConfig(
                name="sgd", learning_rate=1, hyperparameters=(("momentum", 0.9), ("momentum", 0.8))
            ),
            "hyperparameters of sgd must be named once each",
        ),
        (lambda: FitConfig(epochs=1, batch_size=0, seed=1), "batch_size must be a whole number of at least 1, got 0"),
        (lambda: FitConfig(epochs=1.5, batch_size=1, seed=1), "epochs must be a whole number of at least 1, got 1.5"),
    ],
)
def test_configuration_that_cannot_be_is_refused_with_what_was_expected(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


def test_knobs_are_equal_in_any_order():
    one = OptimizerConfig(name="sgd", learning_rate=1, hyperparameters=(("momentum", 0.9), ("nesterov", True)))
    other = OptimizerConfig(name="sgd", learning_rate=1, hyperparameters=(("nesterov", True), ("momentum", 0.9)))

    assert one == other
    assert hash(one) == hash(other)


def test_configurations_need_nothing_but_the_standard_library():
    from depthcheck.pipeline import config

    imported = {name.partition(".")[0] for name in vars(config) if name in sys.modules}
    assert imported <= set(sys.stdlib_module_names)
