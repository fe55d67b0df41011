"""The plan of a study: phases, equal shares, common settings, seeds, and what an extension keeps."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.planning.experiment import Budget
from depthcheck.experiments.planning.finalists import Finalist
from depthcheck.experiments.planning.ranges import Range
from depthcheck.pipeline.config import SplitConfig

FASHION = definition.read(definition.find("fashion_mnist"))


def searches(*budgets: int) -> list[design.SearchRound]:
    return [design.SearchRound(trials=trials) for trials in budgets]


def test_default_budget_is_baseline_equal_shares_and_the_rest():
    plan = design.plan(FASHION, searches(50))
    assert Counter(trial.phase for trial in plan) == {"baseline": 1, "compare": 48, "exploit": 1}
    shares = Counter(tuple(trial.combination.values()) for trial in plan if trial.phase == "compare")
    assert set(shares.values()) == {6}
    assert len(shares) == 4 * 2
    assert [trial.number for trial in plan] == list(range(50))


@pytest.mark.parametrize("trials", [1, 2, 6, 7, 8, 19, 50])
def test_without_a_share_every_combination_gets_as_many_as_fit(trials):
    whole = replace(FASHION, budget=Budget(trials=trials, epochs=1))
    phases = Counter(trial.phase for trial in design.plan(whole, searches(trials)))
    n_compare = (trials - 1) // 8 * 8
    assert phases == Counter(baseline=1, compare=n_compare, exploit=trials - 1 - n_compare)
    longer = design.plan(whole, searches(trials, trials + 40))
    assert Counter(trial.phase for trial in longer)["compare"] == n_compare + 40


@pytest.mark.parametrize("trials", range(1, 120))
def test_plan_has_as_many_trials_as_asked_for_in_equal_shares(trials):
    plan = design.plan(FASHION, searches(trials))
    assert len(plan) == trials
    shares = Counter(tuple(trial.combination.values()) for trial in plan if trial.phase == "compare")
    assert len(set(shares.values())) <= 1


def test_baseline_is_the_notebook():
    baseline = design.plan(FASHION, searches(1))[0]
    config = space.to_config(FASHION, baseline.point, seed=baseline.seed, data_sha256="a" * 64, split=SplitConfig())
    assert (config.model.units, config.model.activation, config.model.dropout) == ((100,), "sigmoid", 0.0)
    assert (config.optimizer.name, config.optimizer.learning_rate, config.optimizer.hyperparameters) == (
        "sgd",
        0.01,
        (),
    )
    assert config.fit.batch_size == 32


def test_common_settings_differ_in_their_levels_alone():
    common_settings = defaultdict(list)
    for trial in design.plan(FASHION, searches(50)):
        if trial.phase == "compare":
            common_settings[trial.common_setting].append(trial)
    for family in common_settings.values():
        assert len({trial.seed for trial in family}) == 1
        for name in ("units", "activation", "dropout", "batch_size"):
            assert len({trial.point[name] for trial in family if name in trial.point}) == 1
        shares = set()
        for trial in family:
            rate = FASHION.tune_for[trial.combination["optimizer"]]["learning_rate"]
            at = trial.point[f"{trial.combination['optimizer']}.learning_rate"]
            shares.add(round(np.log(at / rate.low) / np.log(rate.high / rate.low), 9))
        assert len(shares) == 1


def test_extension_keeps_the_trials_there_were_and_goes_on_with_the_table():
    short, extended = design.plan(FASHION, searches(50)), design.plan(FASHION, searches(50, 100))
    assert extended[:50] == short
    assert len(extended) == 100
    fresh = {trial.common_setting for trial in extended[50:] if trial.phase == "compare"}
    assert fresh == {6, 7, 8, 9, 10, 11}
    straight = [t for t in design.plan(FASHION, searches(100)) if t.phase == "compare" and t.common_setting in fresh]
    together = [t for t in extended[50:] if t.phase == "compare"]
    assert [(t.point, t.seed) for t in straight] == [(t.point, t.seed) for t in together]


def test_another_seed_gives_other_points_and_seeds():
    one, other = (design.plan(FASHION.with_overrides(seed=s), searches(50))[1:41] for s in (1, 2))
    assert not {trial.seed for trial in one} & {trial.seed for trial in other}
    assert [trial.point for trial in one] != [trial.point for trial in other]


def test_single_configuration_is_repeated_on_fresh_seeds():
    plan = design.plan(definition.read(definition.find("notebook")), searches(5))
    assert len({tuple(sorted(trial.point.items())) for trial in plan}) == 1
    assert len({trial.seed for trial in plan}) == 5
    assert all(trial.phase in ("baseline", "compare") for trial in plan)


def test_inactive_dimensions_are_left_out():
    for trial in design.plan(FASHION, searches(50)):
        if trial.combination.get("depth") == 0:
            assert not {"units", "activation", "dropout"} & set(trial.point)
        if trial.combination.get("optimizer") == "adam":
            assert not any(name.startswith("sgd.") for name in trial.point)


@pytest.mark.parametrize(
    ("tuned", "values"),
    [
        (Range(low=1, high=4, integer=True), {1, 2, 3, 4}),
        (Range(low=1, high=4, log=True, integer=True), {1, 2, 3, 4}),
        (Range(low=0.0, high=0.4, step=0.2), {0.0, 0.2, 0.4}),
        (Range(low=0.0, high=0.3, step=0.1), {0.0, 0.1, 0.2, 0.3}),
        (Range(low=0.0, high=0.6, step=0.2), {0.0, 0.2, 0.4, 0.6}),
    ],
)
def test_shares_reach_every_value_and_no_other(tuned, values):
    assert {tuned.at(u) for u in np.linspace(0, 1, 1000, endpoint=False)} == values
    assert all(tuned.contains(value) for value in values)
    assert not tuned.contains(5)


def test_confirm_trains_all_finalists_on_the_same_fresh_seeds():
    finalists = tuple(
        Finalist(id=f"trial-{n}", number=n, origin="compare", selected_score=0.5, stands_for=(), point={"depth": n})
        for n in (1, 2)
    )
    runs = (("trial-1", 0), ("trial-2", 0), ("trial-1", 1), ("trial-2", 1))
    rounds = [*searches(50), design.ConfirmRound(finalists=finalists, runs=runs), *searches(100)]
    plan = design.plan(FASHION, rounds)
    confirm = plan[50:54]
    assert [(t.number, t.phase, t.finalist, t.point["depth"]) for t in confirm] == [
        (50, "confirm", "trial-1", 1),
        (51, "confirm", "trial-2", 2),
        (52, "confirm", "trial-1", 1),
        (53, "confirm", "trial-2", 2),
    ]
    assert confirm[0].seed == confirm[1].seed != confirm[2].seed == confirm[3].seed
    assert not {trial.seed for trial in confirm} & {trial.seed for trial in plan if trial.phase != "confirm"}
    assert Counter(trial.phase for trial in plan) == {"baseline": 1, "compare": 96, "exploit": 3, "confirm": 4}
    assert plan[:50] == design.plan(FASHION, searches(50))
