"""Finalists: the best by validation score and its best alternative, and what is still to be trained."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState, create_trial

from depthcheck.experiments.planning import definition, design
from depthcheck.experiments.planning.finalists import Finalist, StudyTrial, choose, frozen_hash, missing_runs
from depthcheck.experiments.study.running import RecordedStudy, RunningStudy
from depthcheck.pipeline.config import SplitConfig

DIGITS = definition.read(definition.find("digits"))


PLAN = design.plan(DIGITS, [design.SearchRound(trials=26)])
PROPOSED = {"depth": 2, "optimizer": "adam"}


def searched(scores: dict[int, float], proposed: dict = PROPOSED) -> list[StudyTrial]:
    """Return trials of a study of digits: 1 to 24 are of *compare*, by combinations, and 25 is of *exploit*."""
    return [
        StudyTrial(
            number=trial.number,
            phase=trial.phase,
            combination=trial.combination,
            point=trial.point or proposed,
            score=score,
        )
        for trial in PLAN
        if (score := scores.get(trial.number)) is not None
    ]


def stands_for(trials: list[StudyTrial]) -> dict[int, tuple[tuple[str, str], ...]]:
    return {finalist.number: finalist.stands_for for finalist in choose(DIGITS, trials)}


# Combinations in their order: depth 0 sgd, 0 adam, 1 sgd, 1 adam, 2 sgd, 2 adam.
SCORES = {0: 0.99, 1: 0.5, 2: 0.6, 3: 0.7, 4: 0.65, 5: 0.8, 6: 0.75, 11: 0.78, 12: 0.79}


def test_best_trial_and_the_best_of_other_levels_are_chosen():
    assert stands_for(searched(SCORES)) == {
        5: (("depth", "2"), ("optimizer", "sgd")),
        12: (("optimizer", "adam"),),
    }


def test_alternative_to_the_best_of_exploit_has_other_levels_than_its_point():
    chosen = choose(DIGITS, searched({**SCORES, 25: 0.9}))
    assert [(finalist.id, finalist.origin) for finalist in chosen] == [("trial-25", "exploit"), ("trial-5", "compare")]
    assert chosen[0].stands_for == ()
    assert [one.number for one in choose(DIGITS, searched({**SCORES, 25: 0.9}, {"depth": 2, "optimizer": "sgd"}))] == [
        25,
        12,
    ]


def test_alternative_may_be_the_best_of_none_of_its_levels():
    assert stands_for(searched({5: 0.9, 3: 0.6, 9: 0.5, 4: 0.7, 2: 0.8}))[2] == (("depth", "0"), ("optimizer", "adam"))
    assert stands_for(searched({5: 0.9, 25: 0.95, 1: 0.4, 6: 0.8}, {"depth": 2, "optimizer": "sgd"}))[6] == (
        ("optimizer", "adam"),
    )
    fast = replace(DIGITS, compare={"optimizer": ("sgd", "adam")}, fixed={"depth": 1})
    assert len(choose(fast, [one for one in searched(SCORES) if one.combination.get("depth") == 1])) == 2


def test_first_of_equals_is_chosen():
    assert list(stands_for(searched({1: 0.5, 2: 0.5}))) == [1, 2]
    assert list(stands_for(searched({6: 0.5, 12: 0.5, 25: 0.5}))) == [6]


def test_learning_rates_that_are_compared_are_read_off_the_point_too():
    compared = replace(DIGITS, compare={"learning_rate": (0.1, 0.2)})
    trials = [
        StudyTrial(
            number=n,
            phase=phase,
            combination=combination,
            point={"depth": 0, "optimizer": "sgd", "sgd.learning_rate": rate},
            score=score,
        )
        for n, phase, combination, rate, score in (
            (1, "compare", {"learning_rate": 0.1}, 0.1, 0.8),
            (2, "compare", {"learning_rate": 0.2}, 0.2, 0.7),
            (3, "exploit", {}, 0.1, 0.9),
        )
    ]
    assert [one.number for one in choose(compared, trials)] == [3, 2]


def test_baseline_alone_gives_no_finalist_and_exploit_alone_gives_one():
    assert choose(DIGITS, searched({0: 0.9})) == ()
    assert stands_for(searched({0: 0.9, 25: 0.8})) == {25: ()}


def test_without_a_factor_the_best_is_the_only_finalist():
    notebook = definition.read(definition.find("notebook"))
    trials = [replace(one, combination={}) for one in searched(SCORES)]
    assert [(one.number, one.stands_for) for one in choose(notebook, trials)] == [(5, ())]


def test_hash_holds_who_was_chosen_for_what():
    one = choose(DIGITS, searched({1: 0.5, 2: 0.4}))
    other = choose(DIGITS, searched({1: 0.4, 2: 0.5}))
    assert frozen_hash(one) != frozen_hash(other)
    assert frozen_hash(one) == frozen_hash(tuple(Finalist.from_json(_through_json(finalist)) for finalist in one))


def _through_json(finalist: Finalist) -> dict:
    import json
    from dataclasses import asdict

    return json.loads(json.dumps(asdict(finalist)))


def test_one_that_diverged_is_chosen_where_all_did():
    best, others = searched({1: 0.9})[0], searched({2: 0.5, 3: 0.6})
    lost = replace(best, state="diverged")
    assert [one.number for one in choose(DIGITS, [lost, *others])] == [3, 2]
    assert [one.number for one in choose(DIGITS, [lost])] == [1]


def test_without_tuning_one_that_diverged_stands_for_a_level_that_has_no_other():
    untuned = replace(DIGITS, tune={}, tune_for={})
    lost = [replace(trial, state="diverged") for trial in searched({1: 0.9, 2: 0.8, 3: 0.7})]
    chosen = {one.number: one.stands_for for one in choose(untuned, [*lost, *searched({4: 0.6})])}
    assert chosen == {
        1: (("depth", "0"), ("optimizer", "sgd")),
        4: (("depth", "1"), ("optimizer", "adam")),
    }


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([(0.7, "finished"), (0.8, "finished"), (0.8, "finished")], "run 1"),
        ([(0.7, "finished"), (0.9, "diverged")], "run 0"),
        ([(0.9, "diverged"), (0.9, "diverged")], None),
    ],
)
def test_champions_run_is_the_first_of_the_best_that_did_not_diverge(ends, expected):
    finalists, ended = choose(DIGITS, searched({1: 0.5})), []
    for number, (score, state) in enumerate(ends):
        told = {"phase": "confirm", "combination": {}, "point": {}, "seed": 0, "state": state, "finalist": "trial-1"}
        trial = create_trial(state=TrialState.COMPLETE, value=score, user_attrs=told | {"run_id": f"run {number}"})
        trial.number = number
        ended.append(trial)
    rounds = [design.ConfirmRound(finalists=finalists, runs=())]
    ledger = SimpleNamespace(rounds=lambda: rounds, trials=lambda: ended[::-1])
    champion = RecordedStudy(ledger=ledger, experiment=DIGITS, resolved=None).champion
    assert (champion and champion.run_id) == expected


def test_what_was_trained_is_not_trained_again():
    one, two = choose(DIGITS, searched({1: 0.5, 2: 0.4}))
    everything = missing_runs((one, two), 2, [])
    assert everything == (("trial-1", 0), ("trial-2", 0), ("trial-1", 1), ("trial-2", 1))
    assert missing_runs((one, two), 3, everything) == (("trial-1", 2), ("trial-2", 2))


def told(number, optimizer, score, **said):
    point = {
        "depth": 1,
        "units": 8,
        "activation": "relu",
        "optimizer": optimizer,
        "learning_rate": 0.1,
        "batch_size": 8,
    }
    combination = {"combination": {"optimizer": optimizer}, "point": point}
    noted = {"phase": "compare", "seed": number, "state": "finished", **combination, **said}
    trial = create_trial(state=TrialState.COMPLETE, value=score, user_attrs=noted)
    trial.number = number
    return trial


def test_configuration_that_was_confirmed_stays_its_finalist_when_a_longer_search_finds_it_again():
    of = replace(DIGITS, compare={"optimizer": ("sgd", "adam")}, tune={}, tune_for={}, fixed={"depth": 1})
    of = replace(of, budget=replace(of.budget, seeds=5))
    ended = [told(1, "sgd", 0.5), told(2, "adam", 0.6), told(7, "sgd", 0.8), told(8, "adam", 0.4)]
    before = choose(of, [StudyTrial.of(trial) for trial in ended[:2]])
    rounds = [design.ConfirmRound(finalists=before, runs=missing_runs(before, 2, []))]
    ledger = SimpleNamespace(rounds=lambda: rounds, trials=lambda: ended)

    study = RecordedStudy(ledger=ledger, experiment=of, resolved=None)

    assert {one.id: one.selected_score for one in study.selected} == {"trial-1": 0.8, "trial-2": 0.6}
    assert study.n_unplanned == 2 * 5 - 2 * 2  # on the seeds that are new


def test_runs_of_chosen_configurations_on_more_seeds_are_counted():
    of = replace(DIGITS, budget=replace(DIGITS.budget, seeds=5))
    chosen = [replace(one, origin="chosen") for one in choose(DIGITS, searched({1: 0.9, 4: 0.8}))]
    rounds = [design.ConfirmRound(finalists=tuple(chosen), runs=missing_runs(chosen, 2, []))]
    ledger = SimpleNamespace(rounds=lambda: rounds, trials=list)

    assert RecordedStudy(ledger=ledger, experiment=of, resolved=None).n_unplanned == len(chosen) * 3


def test_finalists_of_an_earlier_round_that_are_chosen_again_are_those_of_the_champion():
    of = replace(DIGITS, compare={"optimizer": ("sgd", "adam")}, tune={}, tune_for={}, fixed={"depth": 1})
    ended = [told(1, "sgd", 0.9), told(2, "adam", 0.6)]
    first = choose(of, [StudyTrial.of(trial) for trial in ended])
    second = tuple(
        replace(one, id=f"trial-{number}", point={**one.point, "units": 9}) for number, one in enumerate(first, 11)
    )
    rounds = [design.ConfirmRound(finalists=those, runs=missing_runs(those, 1, [])) for those in (first, second)]
    for number, finalist in enumerate((*first, *second), 20):
        ended.append(told(number, "sgd", 0.7, phase="confirm", finalist=finalist.id, run_id=f"run-{number}"))
    ledger = SimpleNamespace(rounds=lambda: rounds, trials=lambda: ended, add_round=rounds.append)
    logged = SimpleNamespace(tracking_uri="sqlite:///none.db", log_finalists=lambda frozen: None)
    resolved = SimpleNamespace(data_sha256="0" * 64, split=SplitConfig())
    of = replace(of, budget=replace(of.budget, seeds=1))
    study = RunningStudy(ledger=ledger, experiment=of, resolved=resolved, study_run=logged)

    assert not study.freeze_finalists()
    assert study.champion.finalist in {one.id for one in first}
    assert not study.freeze_finalists()
    assert len(rounds) == 3


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({1: [0.8] * 5, 2: [0.7] * 5}, "trial-1"),
        ({1: [0.7] * 5, 2: [0.8] * 5}, "trial-2"),
        ({1: [0.7] * 5, 2: [0.9]}, "trial-1"),  # lucky, perhaps
        ({1: [0.7] * 8, 2: [0.8] * 5}, "trial-2"),
        ({2: [0.8, 0.8], 1: [0.8, 0.8]}, "trial-1"),  # the search's best, whoever ended first
        ({1: [], 2: []}, None),
    ],
)
def test_champion_has_the_best_mean_of_enough_fresh_seeds_as_the_report_has_it(scores, expected):
    finalists = choose(DIGITS, searched({1: 0.5, 2: 0.4}))
    ended = [
        create_trial(
            state=TrialState.COMPLETE,
            value=score,
            user_attrs={"phase": "confirm", "combination": {}, "point": {}, "seed": 0, "state": "finished"}
            | {"finalist": f"trial-{number}"},
        )
        for number, of in scores.items()
        for score in of
    ]
    ledger = SimpleNamespace(rounds=lambda: [design.ConfirmRound(finalists=finalists, runs=())], trials=lambda: ended)
    champion = RecordedStudy(ledger=ledger, experiment=DIGITS, resolved=None).champion
    assert (champion and champion.finalist) == expected
