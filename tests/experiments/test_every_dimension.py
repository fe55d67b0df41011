"""Random definitions over the whole registry of dimensions: what is planned is logged, read back and said."""

import json

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.pipeline.config import OPTIMIZERS, SplitConfig, TrialConfig
from depthcheck.pipeline.dimensions import DIMENSIONS, Dimension, by_dimension
from depthcheck.reports.text.words import configuration

#: A plan of networks of a thousand layers says no more than one of four.
MOST = {"depth": 4}


def values_of(dimension: Dimension) -> st.SearchStrategy:
    """Return all values that the dimension allows."""
    if dimension.kind == "choice":
        return st.sampled_from(dimension.choices)
    if dimension.kind == "bool":
        return st.booleans()
    if dimension.kind == "int":
        most = min(dimension.high, dimension.most or 10**6, MOST.get(dimension.name, 10**9))
        return st.integers(int(max(dimension.low, -(10**6))), int(most))
    ends = {"exclude_min": dimension.open_low, "exclude_max": dimension.open_high}
    return st.floats(max(dimension.low, -1e6), min(dimension.high, 1e6), allow_subnormal=False, **ends)


def few_of(dimension: Dimension) -> st.SearchStrategy:
    return st.lists(values_of(dimension), min_size=1, max_size=3, unique=True)


@st.composite
def tuned(draw, dimension: Dimension):
    """Return a list, or a range with or without a logarithmic scale."""
    choices = draw(few_of(dimension))
    low, high = min(choices, key=lambda value: (str(type(value)), value)), max(choices)
    if dimension.kind not in ("int", "float") or low == high or draw(st.booleans()):
        return choices
    return {"low": low, "high": high, **({"log": True} if low > 0 and draw(st.booleans()) else {})}


@st.composite
def documents(draw):
    """Return a definition in which each dimension is compared, tuned for all or for one optimizer, fixed, or left."""
    tables = {"compare": {}, "tune": {}, "fixed": {}}
    optimizers = draw(st.lists(st.sampled_from(list(OPTIMIZERS)), min_size=1, max_size=2, unique=True))
    n_compared = 0
    for dimension in DIMENSIONS.values():
        name = dimension.name
        takers = [one for one in optimizers if dimension.is_active(one, 1)]
        roles = ["tune", "fixed", *([] if dimension.is_required else ["left"] * 2)]
        roles += ["own"] if dimension.per_optimizer else []
        roles += ["compare"] if len(takers) == len(optimizers) and n_compared < 3 else []
        role = draw(st.sampled_from(roles)) if takers else "left"
        n_compared += role == "compare"
        if name == "optimizer":
            tables |= {role: tables[role] | {name: optimizers[0] if role == "fixed" else optimizers}}
            optimizers = optimizers[:1] if role == "fixed" else optimizers
        elif role == "compare":
            tables[role][name] = draw(few_of(dimension))
        elif role == "fixed":
            tables[role][name] = draw(values_of(dimension))
        elif role == "tune":
            tables[role][name] = draw(tuned(dimension))
        elif role == "own":
            for optimizer in takers:
                tables["tune"].setdefault(optimizer, {})[name] = draw(tuned(dimension))
    return {"data": {"name": "digits"}, "budget": {"trials": 1, "epochs": 2}, **tables}


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
