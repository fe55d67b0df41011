"""A dimension is one entry of one registry: everything that varies configurations asks it."""

import re
from pathlib import Path

import pytest

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster.worker import TrialTask, run_task
from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.planning.space import in_words
from depthcheck.experiments.reproduce import original
from depthcheck.pipeline import dimensions
from depthcheck.pipeline.config import DataConfig, ModelConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.dimensions import DIMENSIONS, Dimension
from depthcheck.reports.compare.study_data import Factor
from depthcheck.reports.text.words import configuration

DOCUMENT = {
    "data": {"name": "digits"},
    "budget": {"trials": 30, "epochs": 1},
    "compare": {"gradient_accumulation_steps": [2, 4], "optimizer": ["sgd", "adam"]},
    "tune": {
        "units": [8, 16],
        "ema_momentum": {"low": 0.5, "high": 0.9},
        "learning_rate": {"low": 0.01, "high": 0.1, "log": True},
    },
    "fixed": {"depth": 1, "activation": "relu", "batch_size": 32},
}


@pytest.fixture
def _two_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register two options of Keras's optimizers that the project does not have; the second, of Adam alone."""
    for more in (
        Dimension(name="gradient_accumulation_steps", kind="int", low=2, most=64, baseline=4),
        Dimension(name="ema_momentum", kind="float", low=0, high=1, is_active=lambda optimizer, _: optimizer == "adam"),
    ):
        monkeypatch.setitem(DIMENSIONS, more.name, more)


@pytest.mark.usefixtures("_two_more")
def test_dimension_from_outside_is_compared_tuned_logged_and_said():
    experiment = definition.parse(DOCUMENT, name="outside")
    planned = design.plan(experiment, [design.SearchRound(trials=30)])[1:]
    assert Factor.of("gradient_accumulation_steps", ("2", "4")).reference == "4"
    for trial in planned:
        at = trial.point or space.propose(experiment, [], seed=trial.number)
        config = space.to_config(experiment, at, seed=1, data_sha256="a" * 64, split=SplitConfig())
        steps, optimizer = dict(config.optimizer.hyperparameters)["gradient_accumulation_steps"], config.optimizer.name
        assert steps in (2, 4)
        assert (
            ("adam.ema_momentum" in at)
            == ("ema_momentum" in dict(config.optimizer.hyperparameters))
            == (optimizer == "adam")
        )
        assert space.from_config(config) == {**at, "dropout": 0.0}
        assert set(space.distributions(experiment, at)) == set(at) - {"depth", "activation", "batch_size"}
        logged = {key: str(value) for key, value in config.to_params().items()}
        assert TrialConfig.from_params(logged) == config
        assert logged["gradient_accumulation_steps"] == str(steps)
        assert f"gradient accumulation steps {steps}" in in_words(at)
    longer = experiment.widened("adam.ema_momentum", "up")
    assert longer.tuned_for("adam", 1)["ema_momentum"].high == 1.0


@pytest.mark.usefixtures("_two_more")
@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"compare": {"gradient_accumulation_steps": [1]}}, r"steps\[0\] must be a whole number of at least 2, got 1"),
        ({"compare": {"gradient_acumulation_steps": [2]}}, "did you mean 'gradient_accumulation_steps'"),
        (
            {"compare": {"ema_momentum": [0.9], "optimizer": ["sgd", "adam"]}},
            "must be a hyperparameter of every optimizer",
        ),
        ({"tune": {**DOCUMENT["tune"], "sgd": {"ema_momentum": [0.9]}}}, r"\[sgd\] has no key 'ema_momentum'"),
    ],
)
def test_limits_of_a_dimension_from_outside_hold(tables, message):
    document = {**DOCUMENT, **tables}
    if "ema_momentum" in document["compare"]:
        document["tune"] = {name: of for name, of in document["tune"].items() if name != "ema_momentum"}
    with pytest.raises(ValueError, match=message):
        definition.parse(document, name="outside")


def test_without_it_the_name_is_unknown():
    with pytest.raises(ValueError, match=r"\[compare\] has no key 'gradient_accumulation_steps'"):
        definition.parse(DOCUMENT, name="outside")


def recipe() -> Dimension:
    """Return the dimension that the recipe for maintainers adds, made of its text."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    function, entry = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = dict(vars(dimensions))
    exec(function, names)
    return eval(entry, names)


def test_dimension_of_the_network_from_outside_is_searched_trained_logged_said_and_reproduced(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the functions that workers and the doctor call: the numbers of a second training equal those logged."""
    monkeypatch.setitem(DIMENSIONS, "noise", recipe())
    tables = {"compare": {"noise": [0.0, 0.5]}, "fixed": {**DOCUMENT["fixed"], "optimizer": "adam"}}
    tables["tune"] = {name: of for name, of in DOCUMENT["tune"].items() if name != "ema_momentum"}
    experiment = definition.parse({**DOCUMENT, **tables}, name="outside")
    digits = load(DataConfig(name="digits"), cache=tmp_path)
    study = tracking.open_parent("outside", uri=uri, environ={})
    configs = {}
    for planned in design.plan(experiment, [design.SearchRound(trials=10)])[1:3]:
        config = space.to_config(experiment, planned.point, seed=1, data_sha256=digits.sha256, split=SplitConfig())
        configs[planned.combination["noise"]] = config
        task = TrialTask(study_run=study, number=planned.number, phase="compare", combination={}, config=config)
        assert run_task(task).state == "finished"
    assert "noise" in space.propose(experiment, [], seed=1)

    trials = {dict(trial.config.model.options)["noise"]: trial for trial in tracking.trials(uri, study.run_id)}
    assert {level: trial.config for level, trial in trials.items()} == configs
    assert trials[0.0].history.train_loss != trials[0.5].history.train_loss
    assert configuration(trials[0.5].config).endswith("noise 0.5")
    assert "noise 0.5" in in_words(space.from_config(trials[0.5].config))
    for level, trial in trials.items():
        assert tracking.read_run(uri, trial.run_id).params["noise"] == str(level)
        assert original.write_model_again(original.find(uri, run_id=trial.run_id, study=None), study) is None
        (layer,) = (one for one in tracking.load_model(uri, trial.run_id).layers if one.name == "noise_1")
        assert layer.stddev == level

    with pytest.raises(ValueError, match=r"^noise must be a number of at least 0, got -1"):
        ModelConfig(units=(8,), activation="relu", options=(("noise", -1),))
    monkeypatch.delitem(DIMENSIONS, "noise")
    with pytest.raises(ValueError, match=r"^hyperparameter of the model must be one of .*, got 'noise'"):
        ModelConfig(units=(8,), activation="relu", options=(("noise", 0.5),))
