"""A dimension is one entry of one registry: everything that varies configurations asks it."""

import pytest

from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.planning.space import in_words
from depthcheck.pipeline.config import SplitConfig, TrialConfig
from depthcheck.pipeline.dimensions import DIMENSIONS, Dimension
from depthcheck.reports.compare.study_data import Factor

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
