from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_records import (
    CHANCE,
    DEPTH,
    OPTIMIZER,
    config,
    confirm_runs,
    design,
    finalist,
    history,
    trial,
    whole_study,
)

from reports.compare import compare
from reports.design import Factor, Finalist
from reports.finalists import finalists_from_records

STUCK = history(train=(0.10, 0.12))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def only_question(comparison):
    (question,) = comparison.questions
    return question


def row_of(comparison, level):
    return next(row for row in only_question(comparison).rows if row.level == level)


def contrast_of(comparison, level):
    return next(contrast for contrast in only_question(comparison).contrasts if contrast.level == level)


def check_of(comparison, name):
    return next(check for check in comparison.checks if check.name == name)


def test_a_whole_study_has_its_verdicts(rng):
    comparison = compare(design(), *whole_study(rng))
    question = only_question(comparison)
    assert [c.verdict.word for c in question.contrasts] == ["hurts", "helps"]
    assert [c.level for c in question.contrasts] == ["0", "2"]
    assert {c.reference for c in question.contrasts} == {"1"}
    assert question.best_level == "2"
    assert question.missing == ()
    assert comparison.part == "test"
    helps = contrast_of(comparison, "2")
    assert helps.difference.estimate == pytest.approx(0.10, abs=0.01)
    assert helps.difference.method == "seeds and examples"
    assert (helps.p_better, helps.n_pairs) == (1.0, 25)
    assert helps.p_holm >= helps.difference.p


def test_order_of_the_records_is_of_no_account(rng):
    records, finalists, predictions = whole_study(rng)
    shuffled = [records[i] for i in rng.permutation(len(records))]
    assert compare(design(), shuffled, finalists, predictions) == compare(design(), records, finalists, predictions)


def test_optimism_is_selected_minus_confirmed(rng):
    comparison = compare(design(), *whole_study(rng))
    row = row_of(comparison, "2")
    assert row.selected_score == pytest.approx(0.95)
    assert row.optimism == pytest.approx(row.selected_score - row.valid.mean)
    assert row.optimism == comparison.finalists[2].optimism


def test_exploit_and_anchor_never_enter_a_table(rng):
    records, finalists, predictions = whole_study(rng)
    luckier = [trial(90, config(1), 0.99, phase="exploit"), trial(91, config(1), 0.99, phase="anchor")]
    with_them = compare(design(), records + luckier, finalists, predictions)
    assert with_them.questions == compare(design(), records, finalists, predictions).questions


def test_the_test_part_chooses_nothing(rng):
    # Depth 1 is best on the validation part, depth 2 on the test part.
    records, finalists, predictions = [], [], {}
    for depth, valid, test in ((1, 0.9, 0.7), (2, 0.8, 0.95)):
        chosen = finalist(f"depth-{depth}", config(depth))
        runs, right = confirm_runs(chosen, [test] * 5, first_number=20 * depth, rng=rng, valid=valid)
        records, finalists, predictions = records + runs, [*finalists, chosen], predictions | right
    comparison = compare(design(), records, finalists, predictions)
    assert only_question(comparison).best_level == "1"
    assert comparison.recommendation.recommended.finalist.id == "depth-1"
    assert contrast_of(comparison, "2").verdict.word == "helps"


def test_cheapest_is_the_smallest_within_the_region_of_the_best(rng):
    records, finalists, predictions = [], [], {}
    for depth, valid in ((0, 0.80), (1, 0.899), (2, 0.90)):
        chosen = finalist(f"depth-{depth}", config(depth))
        runs, right = confirm_runs(chosen, [0.9] * 5, first_number=20 * depth, rng=rng, valid=valid)
        records, finalists, predictions = records + runs, [*finalists, chosen], predictions | right
    recommendation = compare(design(), records, finalists, predictions).recommendation
    assert recommendation.recommended.finalist.id == "depth-2"
    assert recommendation.cheapest.finalist.id == "depth-1"
    assert recommendation.difference.n_seeds == 5
    narrow = compare(design(equivalence=0.0005), records, finalists, predictions).recommendation
    assert narrow.cheapest == narrow.recommended
    assert narrow.difference is None


def test_a_lucky_finalist_with_one_seed_is_not_recommended(rng):
    records, finalists, predictions = whole_study(rng)
    lucky = finalist("lucky", config(2, units=99), stands_for=())
    runs, right = confirm_runs(lucky, [0.99], first_number=900, rng=rng)
    comparison = compare(design(), records + runs, [*finalists, lucky], predictions | right)
    assert comparison.recommendation.recommended.finalist.id == "depth-2"


def test_no_confirm_runs_give_the_search_and_no_verdict(rng):
    records = [record for record in whole_study(rng)[0] if record.phase == "compare"]
    comparison = compare(design(), records)
    assert [c.verdict.word for c in only_question(comparison).contrasts] == ["not enough evidence"] * 2
    assert [c.verdict.more_seeds for c in only_question(comparison).contrasts] == [5, 5]
    assert row_of(comparison, "2").status == "unconfirmed"
    assert row_of(comparison, "2").selected_score == pytest.approx(0.95)
    assert comparison.part is None
    assert comparison.recommendation is None
    assert check_of(comparison, "confirm is complete").state == "warn"


def test_half_the_seeds_ask_for_the_rest(rng):
    records, finalists, predictions = whole_study(rng)
    half = [r for r in records if r.phase != "confirm" or r.config.fit.seed < 1003]
    comparison = compare(design(), half, finalists, predictions)
    assert contrast_of(comparison, "2").verdict.word == "not enough evidence"
    assert contrast_of(comparison, "2").verdict.more_seeds == 2
    assert "depth 2: 3 of 5 fresh seeds" in only_question(comparison).missing


def test_only_shared_seeds_are_paired(rng):
    records, finalists, predictions = whole_study(rng, n_seeds=6)
    of_one = [r for r in records if not (r.tags.get("finalist") == "depth-1" and r.config.fit.seed == 1000)]
    comparison = compare(design(), of_one, finalists, predictions)
    assert contrast_of(comparison, "2").difference.n_seeds == 5
    assert contrast_of(comparison, "2").n_pairs == 30
    assert next(f for f in comparison.finalists if f.finalist.id == "depth-1").missing_seeds == (1000,)


def test_never_trained_is_not_does_not_help(rng):
    records, finalists, predictions = whole_study(rng)
    stuck = [dataclasses.replace(r, history=STUCK) if r.config.model.depth == 2 else r for r in records]
    comparison = compare(design(), stuck, finalists, predictions)
    assert row_of(comparison, "2").status == "never trained"
    assert contrast_of(comparison, "2").verdict.word == "never trained"
    assert contrast_of(comparison, "2").difference is not None
    assert contrast_of(comparison, "0").verdict.word == "hurts"
    assert only_question(comparison).best_level == "1"
    assert check_of(comparison, "every level trained").state == "warn"


def test_one_trained_trial_is_enough_to_have_trained(rng):
    records, finalists, predictions = whole_study(rng)
    depth_2 = [r.number for r in records if r.config.model.depth == 2]
    mostly = [dataclasses.replace(r, history=STUCK) if r.number in depth_2[:-1] else r for r in records]
    comparison = compare(design(), mostly, finalists, predictions)
    assert row_of(comparison, "2").status == "confirmed"
    assert contrast_of(comparison, "2").verdict.word == "helps"
    assert "6 of 6" in check_of(comparison, "every level trained").detail


def test_a_diverged_run_counts_with_the_score_of_chance(rng):
    records, finalists, predictions = whole_study(rng)
    victim = next(r for r in records if r.tags.get("finalist") == "depth-2")
    diverged = [dataclasses.replace(r, state="diverged", evaluations=()) if r is victim else r for r in records]
    comparison = compare(design(), diverged, finalists, predictions)
    contrast = contrast_of(comparison, "2")
    assert contrast.difference.n_seeds == 5
    assert contrast.difference.method == "seeds and examples"
    assert min(contrast.difference.by_seed) == pytest.approx(CHANCE - 0.8, abs=0.02)
    assert contrast.verdict.word == "inconclusive"
    assert check_of(comparison, "trials are stable").state == "warn"


def test_diverged_trials_count_against_their_level_and_failed_ones_are_named(rng):
    of = config(2)
    records = [
        trial(1, config(1)),
        trial(2, of, state="diverged"),
        trial(3, of, 0.7),
        trial(4, of, state="failed"),
        trial(5, config(0), state="failed"),
    ]
    comparison = compare(design(), records)
    row = row_of(comparison, "2")
    assert (row.n_finished, row.n_diverged, row.n_failed, row.n_trials) == (1, 1, 1, 3)
    assert row.selected_number == 3
    assert row_of(comparison, "0").status == "failed"
    assert "depth 0: all 1 trials failed" in only_question(comparison).missing
    assert contrast_of(comparison, "0").verdict.word == "not enough evidence"


def test_all_diverged_is_said_to_be_so():
    comparison = compare(design(), [trial(1, config(1)), trial(2, config(2), state="diverged")])
    assert row_of(comparison, "2").status == "diverged"
    assert row_of(comparison, "0").status == "no trials"


def test_predictions_that_contradict_the_logged_score_are_not_used(rng):
    records, finalists, predictions = whole_study(rng)
    wrong = {run_id: ~right for run_id, right in predictions.items()}
    rough = compare(design(), records, finalists, wrong)
    assert contrast_of(rough, "2").difference.method == "seeds, examples bounded"
    assert contrast_of(rough, "2").difference.estimate == pytest.approx(0.1, abs=0.01)
    assert check_of(rough, "predictions at hand").state == "warn"


def test_missing_predictions_widen_the_interval_and_are_told(rng):
    records, finalists, predictions = whole_study(rng)
    rough, whole = compare(design(), records, finalists), compare(design(), records, finalists, predictions)
    assert contrast_of(rough, "2").difference.method == "seeds, examples bounded"
    assert contrast_of(rough, "2").difference.estimate == pytest.approx(contrast_of(whole, "2").difference.estimate)


def test_without_a_test_part_the_validation_part_judges_and_a_warning_says_so(rng):
    records, finalists, _ = whole_study(rng)
    valid_only = [
        dataclasses.replace(r, evaluations=tuple(e for e in r.evaluations if e.part == "valid")) for r in records
    ]
    comparison = compare(design(), valid_only, finalists)
    assert comparison.part == "valid"
    assert check_of(comparison, "judged on the test part").state == "warn"
    assert contrast_of(comparison, "2").difference is not None
    assert row_of(comparison, "2").test is None


def test_one_configuration_for_two_levels_is_no_contrast(rng):
    # Without a hidden layer there is no activation: the best of both levels is one network.
    activation = Factor.of("activation", ("relu", "tanh"))
    chosen = finalist("flat", config(0), stands_for=(("activation", "relu"), ("activation", "tanh")))
    runs, right = confirm_runs(chosen, [0.8] * 5, first_number=10, rng=rng)
    comparison = compare(design(factors=(activation,)), runs, [chosen], right)
    contrast = contrast_of(comparison, "tanh")
    assert contrast.same_configuration
    assert contrast.difference is None
    assert contrast.verdict.word == "practically equal"


def test_any_dimension_can_be_a_factor_and_one_finalist_can_stand_for_several_levels(rng):
    activation = Factor.of("activation", ("sigmoid", "relu"))
    chosen = {
        "best": finalist(
            "best", config(1, optimizer="adam"), stands_for=(("optimizer", "adam"), ("activation", "relu"))
        ),
        "sgd": finalist("sgd", config(1), stands_for=(("optimizer", "sgd"),)),
        "sigmoid": finalist("sigmoid", config(1, activation="sigmoid"), stands_for=(("activation", "sigmoid"),)),
    }
    records, predictions = [], {}
    for k, (name, accuracy) in enumerate({"best": 0.9, "sgd": 0.7, "sigmoid": 0.6}.items()):
        accuracies = accuracy + 0.004 * rng.standard_normal(5)
        runs, right = confirm_runs(chosen[name], accuracies, first_number=20 * k, rng=rng)
        records, predictions = records + runs, predictions | right
    comparison = compare(design(factors=(OPTIMIZER, activation)), records, list(chosen.values()), predictions)
    assert [[c.verdict.word for c in q.contrasts] for q in comparison.questions] == [["helps"], ["helps"]]
    assert [q.contrasts[0].difference.estimate > 0.15 for q in comparison.questions] == [True, True]


def test_two_configurations_without_a_search(rng):
    factor = Factor.of("configuration", ("A", "B"))
    chosen = [
        Finalist(id=name, config=of, stands_for=(("configuration", name),))
        for name, of in (("A", config(1)), ("B", config(1, units=9)))
    ]
    records, predictions = [], {}
    for k, accuracy in enumerate((0.7, 0.9)):
        accuracies = accuracy + 0.004 * rng.standard_normal(5)
        runs, right = confirm_runs(chosen[k], accuracies, first_number=20 * k, rng=rng)
        records, predictions = records + runs, predictions | right
    comparison = compare(design(factors=(factor,)), records, chosen, predictions)
    assert contrast_of(comparison, "B").verdict.word == "helps"
    assert row_of(comparison, "B").status == "confirmed"
    assert row_of(comparison, "B").optimism is None
    assert check_of(comparison, "equal budgets").state == "pass"


def test_one_level_is_a_table_without_contrasts(rng):
    records, finalists, predictions = whole_study(rng)
    comparison = compare(design(factors=(Factor.of("depth", ("1",)),)), records, finalists, predictions)
    assert only_question(comparison).contrasts == ()
    assert only_question(comparison).best_level == "1"


def test_levels_are_compared_as_numbers():
    rate = Factor.of("learning_rate", ("0.010", "0.1"))
    comparison = compare(design(factors=(rate,)), [trial(1, config(learning_rate=0.01), 0.8)])
    assert [row.n_finished for row in only_question(comparison).rows] == [1, 0]


def test_declared_references():
    assert DEPTH.reference == "1"
    assert OPTIMIZER.reference == "sgd"
    assert Factor.of("depth", ("0", "2")).reference == "0"
    assert Factor.of("activation", ("tanh", "relu")).reference == "tanh"


def test_finalists_are_read_back_from_their_runs(rng):
    records, finalists, predictions = whole_study(rng)
    found = finalists_from_records(records, design())
    assert [f.stands_for for f in found] == [f.stands_for for f in finalists]
    assert [f.selected_score for f in found] == pytest.approx([f.selected_score for f in finalists])
    by_itself = compare(design(), records, predictions=predictions)
    assert by_itself.questions[0].contrasts == compare(design(), records, finalists, predictions).questions[0].contrasts


def test_a_seed_run_twice_counts_once(rng):
    records, finalists, predictions = whole_study(rng)
    again = [dataclasses.replace(r, number=r.number + 500, run_id="again") for r in records if r.phase == "confirm"]
    assert compare(design(), records + again, finalists, predictions) == compare(
        design(), records, finalists, predictions
    )


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_missing_it_answers_what_it_can(data):
    records, finalists, predictions = whole_study(np.random.default_rng(1), n_seeds=5, per_level=4)
    kept = data.draw(st.lists(st.sampled_from(records), unique_by=id, max_size=len(records)))
    states = data.draw(st.lists(st.sampled_from(["finished", "diverged", "failed"]), min_size=len(kept)))
    bare = data.draw(st.booleans())
    kept = [
        dataclasses.replace(
            r,
            state=state,
            evaluations=() if state != "finished" and bare else r.evaluations,
            history=dataclasses.replace(r.history) if bare else history(train=(float("nan"), 0.3)),
        )
        for r, state in zip(kept, states, strict=False)
    ]
    chosen = data.draw(st.lists(st.sampled_from(finalists), unique_by=id))
    known = {k: v for k, v in predictions.items() if data.draw(st.booleans())} if data.draw(st.booleans()) else {}
    comparison = compare(design(factors=(DEPTH, OPTIMIZER)), kept, chosen, known)
    for question in comparison.questions:
        assert len(question.contrasts) == len(question.factor.levels) - 1
        for contrast in question.contrasts:
            n_seeds = contrast.difference.n_seeds if contrast.difference else 0
            if n_seeds < 5:
                assert contrast.verdict.word in ("not enough evidence", "never trained", "practically equal")
            assert contrast.verdict.because
