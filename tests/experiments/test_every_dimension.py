"""Random definitions over the whole registry of dimensions: what is planned is logged, read back and said."""

import json

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.random_definitions import documents
from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.pipeline.config import SplitConfig, TrialConfig
from depthcheck.pipeline.dimensions import DIMENSIONS, by_dimension
from depthcheck.reports.text.words import configuration


@settings(
    max_examples=60, deadline=None, derandomize=True, database=None, phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(document=documents(), seed=st.integers(0, 2**32 - 1))
def test_what_is_planned_is_logged_read_back_and_said(document, seed):
    experiment = definition.parse(document, name="random")
    stored = json.loads(json.dumps(experiment.as_json()))
    assert Experiment.from_json("random", stored).as_json() == experiment.as_json()

    n_trials = 2 + len(design.combinations(experiment))
    points = [one.point for one in design.plan(experiment, [design.SearchRound(trials=n_trials)])]
    for at in [*[point for point in points if point is not None][:6], space.propose(experiment, [], seed=seed)]:
        config = space.to_config(experiment, at, seed=seed, data_sha256="a" * 64, split=SplitConfig())
        logged = {key: str(value) for key, value in config.to_params().items()}
        assert TrialConfig.from_params(logged) == config
        assert {**space.from_config(config), **at} == space.from_config(config)
        said, in_words = configuration(config), space.in_words(at)
        for name, value in by_dimension(at).items():
            assert DIMENSIONS[name].check(value, name) == value
            if value != DIMENSIONS[name].default:
                assert DIMENSIONS[name].said(value) in in_words
        assert said
