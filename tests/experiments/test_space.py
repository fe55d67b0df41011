"""Points to configurations, and proposals as a pure function of what they may know."""

import optuna
import pytest
from optuna.trial import TrialState

from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.study.ledger import as_known_at
from depthcheck.pipeline.config import SplitConfig

FASHION = definition.read(definition.find("fashion_mnist"))


def searches(*budgets: int) -> list[design.SearchRound]:
    return [design.SearchRound(trials=trials) for trials in budgets]


@pytest.fixture
def history() -> list[optuna.trial.FrozenTrial]:
    """Return forty-one told trials as a study would hold them, with made-up scores."""
    study = optuna.create_study(direction="maximize")
    for planned in design.plan(FASHION, searches(50))[:41]:
        found = space.distributions(FASHION, planned.point)
        study.add_trial(
            optuna.create_trial(
                state=TrialState.COMPLETE,
                params={name: planned.point[name] for name in found},
                distributions=found,
                value=0.5 + 0.01 * (planned.number % 7),
            )
        )
    return study.trials


def test_proposal_is_the_same_whoever_was_faster(history):
    """A trial inside the window is under way for the sampler, whether it has ended by now or not."""
    ended = history
    running = [*history[:-1], optuna.create_trial(
        state=TrialState.RUNNING, params=history[-1].params, distributions=history[-1].distributions
    )]  # fmt: skip
    running[-1].number = 40
    proposals = [space.propose(FASHION, as_known_at(trials, 41, 4), seed=7) for trials in (ended, running)]
    assert proposals[0] == proposals[1]


def test_proposal_sees_what_lies_behind_the_window(history):
    changed = [*history]
    changed[21] = optuna.create_trial(
        state=TrialState.COMPLETE, params=changed[21].params, distributions=changed[21].distributions, value=0.99
    )
    changed[21].number = 21
    before, after = (
        [space.propose(FASHION, as_known_at(trials, 41, 4), seed=seed) for seed in range(5)]
        for trials in (history, changed)
    )
    assert before != after


@pytest.mark.parametrize("seed", range(10))
def test_every_proposal_is_a_configuration_of_the_space(history, seed):
    at = space.propose(FASHION, history, seed=seed)
    config = space.to_config(FASHION, at, seed=1, data_sha256="a" * 64, split=SplitConfig())
    assert config.model.depth in FASHION.compare["depth"]
    assert config.optimizer.name in FASHION.compare["optimizer"]
    assert set(space.distributions(FASHION, at)) == set(at)


def test_value_outside_its_range_is_kept_from_optuna():
    baseline = design.plan(FASHION, searches(1))[0].point
    small = definition.parse(
        {**_document(), "tune": {**_document()["tune"], "units": {"low": 4, "high": 8}}}, name="small"
    )
    assert "units" not in space.distributions(small, baseline)
    assert "batch_size" in space.distributions(small, baseline)


def _document() -> dict:
    return {
        "data": {"name": "digits"},
        "budget": {"trials": 4, "epochs": 1},
        "compare": {"depth": [1, 2]},
        "tune": {"batch_size": [16, 32], "activation": ["relu"]},
        "fixed": {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    }


def test_fixed_values_reach_the_configuration():
    document = _document()
    document["tune"]["units"] = [8]
    small = definition.parse(document, name="small")
    planned = design.plan(small, searches(4))[1]
    config = space.to_config(small, planned.point, seed=1, data_sha256="a" * 64, split=SplitConfig())
    assert config.optimizer.hyperparameters == (("momentum", 0.9),)
    proposed = space.propose(small, [], seed=1)
    assert proposed["sgd.momentum"] == 0.9
    assert proposed["sgd.learning_rate"] == 0.1
