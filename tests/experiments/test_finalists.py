"""Finalists: the best of each level by validation score, and what is still to be trained."""

from experiments import definition, design
from experiments.finalists import Finalist, SearchedTrial, choose, frozen_hash, missing_runs

DIGITS = definition.read(definition.find("digits"))


def searched(scores: dict[int, float]) -> list[SearchedTrial]:
    plan = design.plan(DIGITS, [design.SearchRound(trials=20)])
    return [
        SearchedTrial(
            number=trial.number, phase=trial.phase, cell=trial.cell, point=trial.point or {"depth": 1}, score=score
        )
        for trial in plan
        if (score := scores.get(trial.number)) is not None
    ]


def test_each_level_is_seen_at_its_best_and_exploit_at_its_own():
    # Cells in their order: depth 0 sgd, 0 adam, 1 sgd, 1 adam, 2 sgd, 2 adam.
    scores = {0: 0.99, 1: 0.5, 2: 0.6, 3: 0.7, 4: 0.65, 5: 0.8, 6: 0.75, 13: 0.9, 14: 0.85}
    chosen = choose(DIGITS, searched(scores))
    assert {finalist.number: set(finalist.stands_for) for finalist in chosen} == {
        2: {("depth", "0")},
        3: {("depth", "1")},
        5: {("depth", "2"), ("optimizer", "sgd")},
        6: {("optimizer", "adam")},
        13: set(),
    }
    assert [finalist.origin for finalist in chosen] == ["compare"] * 4 + ["exploit"]


def test_first_of_equals_is_chosen_and_a_level_without_trials_left_out():
    chosen = choose(DIGITS, searched({1: 0.5, 2: 0.5}))
    assert {finalist.number: finalist.stands_for for finalist in chosen} == {
        1: (("depth", "0"), ("optimizer", "sgd")),
        2: (("optimizer", "adam"),),
    }


def test_nothing_compared_gives_no_finalist():
    assert choose(DIGITS, searched({0: 0.9, 13: 0.9})) == ()


def test_hash_holds_who_was_chosen_for_what():
    one = choose(DIGITS, searched({1: 0.5, 2: 0.4}))
    other = choose(DIGITS, searched({1: 0.4, 2: 0.5}))
    assert frozen_hash(one) != frozen_hash(other)
    assert frozen_hash(one) == frozen_hash(tuple(Finalist.from_json(_through_json(finalist)) for finalist in one))


def _through_json(finalist: Finalist) -> dict:
    import json
    from dataclasses import asdict

    return json.loads(json.dumps(asdict(finalist)))


def test_what_was_trained_is_not_trained_again():
    one, two = choose(DIGITS, searched({1: 0.5, 2: 0.4}))
    everything = missing_runs((one, two), 2, [])
    assert everything == (("trial-1", 0), ("trial-2", 0), ("trial-1", 1), ("trial-2", 1))
    assert missing_runs((one, two), 3, everything) == (("trial-1", 2), ("trial-2", 2))
