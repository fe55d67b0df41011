"""A user's own model: its signature says what can be compared, and its text travels with every trial."""

import importlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import depthcheck
from depthcheck import api
from depthcheck.experiments import tracking
from depthcheck.experiments.cluster.worker import TrialTask, outcome_of, run_task
from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.planning.document import Budget
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import FACTOR, Finalist
from depthcheck.experiments.reproduce import original
from depthcheck.experiments.study import session
from depthcheck.experiments.study.describe import fixed_in_words
from depthcheck.pipeline.config import DataConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.own import OwnCodeError, OwnModel
from depthcheck.pipeline.records import Dataset
from depthcheck.reports.text.words import configuration, short_configuration

#: A Lambda layer, a layer that is subclassed and keeps no configuration of its own, and one that is used twice.
SOURCE = """
import keras


def double(x):
    return 2 * x


class Scaled(keras.layers.Layer):
    def __init__(self, start=1.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer=keras.initializers.Constant(self.start))

    def call(self, x):
        return self.factor * x


def build(input_shape, n_outputs, width=8, blocks=1, kind="relu"):
    inputs = keras.Input(input_shape)
    x = keras.layers.Lambda(double)(keras.layers.Flatten()(inputs))
    x = keras.layers.Dense(width, activation=kind)(x)
    shared = keras.layers.Dense(width, activation=kind)
    for _ in range(blocks):
        x = Scaled(0.9)(shared(x))
    return keras.Model(inputs, keras.layers.Dense(n_outputs)(x))
"""
#: What XLA has no program for: a call back into Python.
NO_XLA = """
import keras
import tensorflow as tf


class Outside(keras.layers.Layer):
    def call(self, x):
        return x + tf.stop_gradient(tf.ensure_shape(tf.numpy_function(lambda of: 0 * of, [x], tf.float32), x.shape))


def build(input_shape, n_outputs):
    flat = keras.layers.Flatten()
    return keras.Sequential([keras.Input(input_shape), flat, Outside(), keras.layers.Dense(n_outputs)])
"""
DOCUMENT = {
    "model": "my_models.py:build",
    "data": {"name": "digits"},
    "budget": {"trials": 13, "epochs": 1},
    "compare": {"blocks": [1, 2]},
    "tune": {"width": {"low": 4, "high": 8}, "kind": ["relu", "tanh"]},
    "fixed": {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 64, "schedule": "cosine"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_models.py").write_text(SOURCE)
    (tmp_path / "sibling.py").write_text("from my_models import Scaled\n\n\ndef build(): ...\n")
    (tmp_path / "relative.py").write_text("import json\nfrom .blocks import Residual\n\n\ndef build(): ...\n")
    return tmp_path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(DataConfig(name="digits"), cache=tmp_path_factory.mktemp("digits"))


def configs(experiment: Experiment, sha256: str = "a" * 64) -> list[TrialConfig]:
    planned = design.plan(experiment, [design.SearchRound(trials=5)])[1:]
    return [
        space.to_config(experiment, one.point or {}, seed=1, data_sha256=sha256, split=SplitConfig()) for one in planned
    ]


def test_hyperparameters_of_the_signature_are_compared_tuned_logged_and_said(folder: Path):
    experiment = definition.parse(DOCUMENT, name="own", base=folder)
    for config in configs(experiment):
        values = dict(config.model.options)
        assert values["blocks"] in (1, 2)
        assert isinstance(values["width"], int)
        assert 4 <= values["width"] <= 8
        logged = {key: str(value) for key, value in config.to_params().items()}
        assert TrialConfig.from_params(logged) == config == pickle.loads(pickle.dumps(config))
        assert configuration(config).startswith("my_models.py:build, cosine schedule, adam,")
        assert f"blocks {values['blocks']}" in configuration(config)
    stored = json.loads(json.dumps(experiment.as_json()))
    assert Experiment.from_json("own", stored).as_json() == experiment.as_json()


def test_long_text_is_logged_in_pieces_and_another_text_is_another_study(folder: Path):
    before = definition.parse(DOCUMENT, name="own", base=folder).study_name("a")
    (folder / "my_models.py").write_text(SOURCE + "# é\n" * 5_000)
    experiment = definition.parse(DOCUMENT, name="own", base=folder)
    assert experiment.study_name("a") != before
    config = configs(experiment)[0]
    logged = config.to_params()
    assert max(len(str(value)) for value in logged.values()) <= 6_000
    assert TrialConfig.from_params(logged) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "my_models.py"}, r"^model must be a file and a function, my_models\.py:build, got 'my_models\.py'"),
        ({"model": "other.py:build"}, r"^model must be in a file that can be read, got .*other\.py: No such file"),
        ({"model": "my_models.py:make"}, r"^model must be a function of my_models\.py \(double, build\), got 'make'"),
        ({"model": 3}, "^model must be a text, got 3"),
        ({"model": "sibling.py:build"}, r"^sibling\.py:1: my_models must be an installed package, got a file beside"),
        ({"model": "relative.py:build"}, r"^relative\.py:2: \.blocks must be an installed package, got a file beside"),
        ({"compare": {"block": [1, 2]}}, r"\[compare\] has no key 'block'.*did you mean 'blocks'"),
        (
            {"compare": {"normalization": ["none", "batch"]}},
            r"^normalization must be a hyperparameter of my_models\.py:build \(width, blocks, kind\), got another",
        ),
        ({"compare": {"depth": [1, 2]}}, r"^depth must be either compared, tuned or fixed, got it in \[compare\]"),
        (
            {"compare": {"kind": ["3"]}},
            r"kind\[0\] must be a number, true or false, or a text .*, got '3'",
        ),
    ],
)
def test_wrong_definition_is_one_line(folder: Path, change: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        definition.parse({**DOCUMENT, **change}, name="own", base=folder)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build(:\n", r"^my_models\.py:1: invalid syntax"),
        ("def build(*layers):\n    pass\n", r"^my_models\.py:1: build must name what it takes, got \* or / in"),
        (
            "def build(learning_rate):\n    pass\n",
            "none of those of training and optimizers, nor of .*, got 'learning_rate'",
        ),
        (
            "def build(blocks=1, width=8, kind='relu', seed=0):\n    pass\n",
            "nor of those by which data and seed are logged, got 'seed'$",
        ),
        ("def build(columns_2=0):\n    pass\n", "by which data and seed are logged, got 'columns_2'$"),
        ("def build(configuration=0):\n    pass\n", "by which data and seed are logged, got 'configuration'$"),
        ("def build(lion=0):\n    pass\n", "none of those of training and optimizers, .*, got 'lion'$"),
        ("def build(depth):\n    pass\n", "must be a function of depth, units and activation or of none, got 'depth'"),
        (
            "def build(blocks=1, width=8, kind='relu', dropout=0.2):\n    pass\n",
            r"^dropout of my_models\.py:build must come with depth, units and activation, which it is of, got it "
            "alone; under another name it is the function's own$",
        ),
        (
            "DROP = 0.5\n\n\ndef build(depth, units, activation, dropout=DROP):\n    pass\n",
            r"^default of dropout in my_models\.py:build must be a number of at least 0 and below 1, got DROP$",
        ),
        (
            "def build(blocks, width=8, kind='relu'):\n    pass\n",
            r"^\[baseline\] must have blocks, of which my_models\.py:build has no default, got \{",
        ),
    ],
)
def test_signature_that_cannot_be_searched_is_one_line(folder: Path, source: str, message: str):
    (folder / "my_models.py").write_text(source)
    with pytest.raises(ValueError, match=message):
        definition.parse(DOCUMENT, name="own", base=folder)


#: A function of a signature of ours, and a local variable that is called as an argument could be.
LAYERED = """
import keras


def build(n_outputs, depth, units, activation, dropout=0.5):
    input_shape = (8, 8)
    layers = [keras.Input(input_shape), keras.layers.Flatten()]
    for _ in range(depth):
        layers += [keras.layers.Dense(units, activation=activation), keras.layers.Dropout(dropout)]
    return keras.Sequential([*layers, keras.layers.Dense(n_outputs)])
"""


def test_dropout_of_ones_own_layers_is_the_one_that_was_asked_for(digits: Dataset):
    from depthcheck.pipeline.trial import run_trial

    own = OwnModel(file="my_models.py", function="build", source=LAYERED)
    values = {"depth": 1, "units": 16, "activation": "relu", "optimizer": "adam", "learning_rate": 0.01}
    given = {"data": DataConfig(name="digits"), "data_sha256": digits.sha256, "split": SplitConfig(), "epochs": 1}

    def config(**more: float) -> TrialConfig:
        return TrialConfig.of({**values, "batch_size": 64, **more}, **given, seed=1, own=own)

    np.random.seed(7)
    expected = np.random.random(), np.random.random()
    np.random.seed(7)
    assert np.random.random() == expected[0]
    run_trial(config(), digits)
    assert np.random.random() == expected[1]

    open_one = config()
    assert open_one.model.dropout == 0.5  # what a definition leaves open keeps its default
    assert TrialConfig.from_params(open_one.to_params()) == open_one
    configs = [config(dropout=0.1), open_one, config(dropout=0.9), config(dropout=0.1)]
    losses = [run_trial(config, digits).result.history.train_loss[0] for config in configs]
    assert losses[0] < losses[1] < losses[2]
    assert losses[3] == losses[0]


def test_shipped_definition_leaves_out_what_the_model_does_not_take(folder: Path):
    own = definition.read_model("my_models.py:build", folder)
    found = definition.read(definition.find("digits"), model=own)
    assert "depth" not in found.compare
    assert "units" not in {**found.tune, **found.fixed}
    assert found.question == "Does another optimizer help my_models.py:build?"
    assert all(config.model.own == own for config in configs(found))
    with pytest.raises(ValueError, match=r"normalization\.toml: \[compare\] must have what my_models\.py:build takes"):
        definition.read(definition.find("normalization"), model=own)
    with pytest.raises(ValueError, match=r"notebook\.toml: \[compare\] must have what .* takes, got nothing: "):
        definition.read(definition.find("notebook"), model=own)


def test_function_of_a_file_is_its_text_and_others_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "two_models_of_mine.py").write_text("def build(input_shape): ...\n\n\nother = lambda input_shape: 1\n")
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module("two_models_of_mine")
    assert definition.read_model(module.build, Path("/")).name == "two_models_of_mine.py:build"
    for function in (module.other, print, lambda: 1):
        with pytest.raises(ValueError, match=r"^model must be a function of a \.py file that does nothing else, got "):
            definition.read_model(function, folder)
    module.build.__module__ = "__main__"
    with pytest.raises(ValueError, match="got build of the program that runs; write it into one"):
        definition.read_model(module.build, folder)


def test_one_trial_in_python_takes_model_and_metric(folder: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    given = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 32, "epochs": 1, "width": 4}
    asked = {"model": "my_models.py:build", "metric": "accuracy", "direction": None}
    config, dataset = api._configured(given, digits, **asked)
    assert (config.model.label, config.fit.epochs) == ("my_models.py:build, width 4", 1)
    assert (config.data.metric, dataset.metric) == ("accuracy", "accuracy")
    with pytest.raises(ValueError, match="must be left out beside a configuration that was logged"):
        depthcheck.run_trial(config, digits, model="my_models.py:build")


def test_own_model_is_named_by_what_it_is(folder: Path):
    experiment = definition.parse(DOCUMENT, name="own", base=folder)
    config = configs(experiment)[0]
    values = dict(config.model.options)
    own = f"my_models.py:build, width {values['width']}, blocks {values['blocks']}, kind {values['kind']}"
    said = (
        config.model.label,
        short_configuration(config),
        configuration(config),
        space.in_words(space.from_config(config), experiment.model),
        ", ".join(fixed_in_words(experiment)),
    )
    assert sorted(said[0].split(", ")) == sorted(own.split(", "))
    assert all("my_models.py:build" in text and "depth" not in text for text in said)


def test_hyperparameter_of_another_study_is_none_of_a_network_of_ours(folder: Path):
    definition.parse(DOCUMENT, name="own", base=folder)
    ours = {**DOCUMENT, "tune": {}, "fixed": {**DOCUMENT["fixed"], "depth": 0}}
    del ours["model"]
    with pytest.raises(ValueError, match=r"^blocks must be a hyperparameter of a model, got another"):
        definition.parse(ours, name="ours")


def test_hyperparameter_may_be_called_low(folder: Path):
    (folder / "my_models.py").write_text("def build(low=1, width=8, kind='relu', blocks=1): ...\n")
    for table, value, said in (("fixed", 2, "2"), ("tune", {"low": 1, "high": 3}, "1 to 3")):
        document = {**DOCUMENT, table: {**DOCUMENT[table], "low": value}}
        assert definition.parse(document, name="own", base=folder).as_params()[f"{table}.low"] == said


def test_model_is_trained_logged_read_back_and_made_again(uri: str, folder: Path, digits: Dataset):
    """By the functions that workers and the doctor call; the user's file is gone by then."""
    experiment = definition.parse(DOCUMENT, name="own", base=folder)
    (folder / "my_models.py").unlink()
    study = tracking.open_parent("own", uri=uri, environ={})
    config = configs(experiment, digits.sha256)[0]
    task = TrialTask(study_run=study, number=1, phase="compare", combination={}, config=config)
    assert run_task(task).state == "finished"
    (trial,) = tracking.trials(uri, study.run_id)
    assert trial.config == config
    said = tracking.load_model(uri, trial.run_id)(digits.X[:5].astype(np.float32)).numpy()
    assert original.write_model_again(original.find(uri, run_id=trial.run_id, study=None), study) is None
    again = tracking.load_model(uri, trial.run_id)(digits.X[:5].astype(np.float32)).numpy()
    assert np.array_equal(said, again)


def test_model_that_xla_cannot_compile_is_trained_step_by_step_which_is_noted(uri: str, folder: Path, digits: Dataset):
    from depthcheck.pipeline.trial import run_trial

    (folder / "my_models.py").write_text(NO_XLA)
    document = {**DOCUMENT, "compare": {"batch_size": [64]}, "tune": {}}
    document["fixed"] = {name: of for name, of in DOCUMENT["fixed"].items() if name != "batch_size"}
    config = configs(definition.parse(document, name="own", base=folder), digits.sha256)[0]
    study = tracking.open_parent("own", uri=uri, environ={})
    outcome = run_task(TrialTask(study_run=study, number=1, phase="compare", combination={}, config=config))
    assert outcome.state == "finished"
    (trial,) = tracking.trials(uri, study.run_id)
    engine = tracking.read_run(uri, trial.run_id).tags["depthcheck.engine"]
    assert engine == trial.engine == "step by step (XLA cannot compile PyFunc)"
    assert outcome == outcome_of(trial)
    # Where both engines can, they give the same numbers.
    source = NO_XLA.replace("Outside(), ", "")
    (folder / "my_models.py").write_text(source)
    compiled = run_trial(configs(definition.parse(document, name="own", base=folder), digits.sha256)[0], digits)
    assert compiled.engine == "compiled"
    assert trial.history.train_loss == pytest.approx(compiled.result.history.train_loss, rel=1e-4)
    assert trial.history.valid_loss == pytest.approx(compiled.result.history.valid_loss, rel=1e-4)


def test_comparison_of_an_own_model_tries_the_first_of_what_was_chosen(uri, folder, digits, monkeypatch):
    point = {"depth": 0, "optimizer": "adam", "adam.learning_rate": 0.01, "batch_size": 64, "blocks": 2}
    chosen = Finalist(id="a", number=1, origin="chosen", selected_score=None, stands_for=(), point=point)
    model = definition.parse(DOCUMENT, name="own", base=folder).model
    experiment = Experiment(
        name="c",
        data=DataConfig(name="digits"),
        budget=Budget(trials=1, epochs=1),
        model=model,
        compare={FACTOR: ("a",)},
    )

    def tried(config: TrialConfig, _dataset: Dataset) -> None:
        raise RuntimeError(config.model.label)

    monkeypatch.setattr(session.launch, "try_elsewhere", tried)
    with pytest.raises(RuntimeError, match=r"my_models\.py:build, blocks 2"):
        session.run(
            session.StudyRequest(experiment=experiment, chosen=(chosen,), tracking_uri=uri), Console(quiet=True)
        )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return units_of_mine", r"^my_models\.py:6: NameError: name 'units_of_mine' is not defined$"),
        ("return 3", r"^my_models\.py:build must return a keras\.Model, got int$"),
        (
            "return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten()])",
            r"^my_models\.py:build must give outputs of shape \(10,\), a number a class, got \(64,\)$",
        ),
        (
            "return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), Fixed(), Fixed()])\n\n\n"
            "class Fixed(keras.layers.Layer):\n    activation = property(lambda self: keras.activations.relu)\n\n"
            "    def build(self, shape):\n        self.kernel = self.add_weight(shape=(shape[-1], 10))\n\n"
            "    def call(self, x):\n        return x @ self.kernel",
            r"^my_models\.py:build must be a model that can be saved, read back and watched: .*'activation'",
        ),
        (
            "samples = keras.Input(input_shape)\n"
            "    drawn = keras.layers.Flatten()(samples) * keras.random.uniform((64,))\n"
            "    return keras.Model(samples, keras.layers.Dense(n_outputs)(drawn))",
            "watched: with the same weights another seed gives other outputs: make what is drawn weights$",
        ),
        (
            "return Own([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(n_outputs)])\n\n\n"
            "class Own(keras.Sequential):\n    def compute_loss(self, **given):\n        return 0.0",
            r"^my_models\.py:build must return a model that is not compiled and trains as Keras's do$",
        ),
        *(
            (
                f"keras.config.set_dtype_policy('{policy}')\n"
                "    flat = keras.layers.Flatten()\n"
                "    return keras.Sequential([keras.Input(input_shape), flat, keras.layers.Dense(n_outputs)])",
                rf"^my_models\.py:build must {message}$",
            )
            for policy, message in (
                ("mixed_bfloat16", r"give outputs of float32 \(its last layer's dtype\), got bfloat16"),
                ("mixed_float16", "do without mixed_float16, whose loss is scaled; mixed_bfloat16 needs none"),
            )
        ),
    ],
)
def test_model_that_cannot_be_trained_is_one_line(folder: Path, digits: Dataset, body: str, message: str):
    from depthcheck.pipeline.trial import try_own

    text = f"import keras\n\n\ndef build(input_shape, n_outputs):\n    '''Build.'''\n    {body}\n"
    own = OwnModel(file="my_models.py", function="build", source=text)
    (folder / "my_models.py").write_text(text)
    document = {**DOCUMENT, "compare": {"batch_size": [64]}, "tune": {}}
    document["fixed"] = {name: of for name, of in DOCUMENT["fixed"].items() if name != "batch_size"}
    config = configs(definition.parse(document, name="own", base=folder), digits.sha256)[0]
    assert config.model.own == own
    with pytest.raises(OwnCodeError, match=message):
        try_own(config, digits)


def test_what_a_file_sets_of_keras_holds_for_its_model_alone(digits: Dataset):
    import keras

    from depthcheck.pipeline.trial import run_trial, try_own

    source = LAYERED.replace("import keras", "import keras\n\nkeras.config.set_dtype_policy('mixed_bfloat16')")
    source = source.replace("Dense(n_outputs)", "Dense(n_outputs, dtype='float32')")
    own = OwnModel(file="my_models.py", function="build", source=source)
    values = {"depth": 1, "units": 16, "activation": "relu", "optimizer": "adam", "learning_rate": 0.01}
    given = {"data": DataConfig(name="digits"), "data_sha256": digits.sha256, "split": SplitConfig(), "epochs": 5}
    config = TrialConfig.of({**values, "batch_size": 64}, **given, seed=1, own=own)
    try_own(config, digits)
    trained = run_trial(config, digits)
    assert trained.result.valid.score > 0.5
    assert keras.config.dtype_policy().name == "float32"
    policies = {layer.name: layer.dtype_policy.name for layer in trained.model.layers}
    assert (policies["sample_shape"], policies["probabilities"]) == ("float32", "float32")
    assert "mixed_bfloat16" in policies.values()
