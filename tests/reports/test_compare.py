from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_records import (
    DEPTH,
    DUMMY_SCORE,
    OPTIMIZER,
    chosen_study,
    config,
    confirm_runs,
    design,
    evaluation,
    finalist,
    history,
    searched,
    trial,
    whole_study,
)

from depthcheck.reports.compare.checks import NO_EXAMPLES
from depthcheck.reports.compare.comparison import compare
from depthcheck.reports.compare.example_scores import ExampleScores
from depthcheck.reports.compare.study_data import Factor
from depthcheck.reports.text.answer import to_know

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


def searched_only(rng, *, noise=0.0, **kwargs):
    """Return trials, no finalists, and answers of a search; ``noise`` scatters each network's test score."""
    records, answers = searched(rng, **kwargs)
    if noise:
        for at, record in enumerate(records):
            right = rng.random(400) < np.clip(
                record.evaluation("test").score + noise * rng.standard_normal(), 0.02, 0.98
            )
            evaluations = (record.evaluation("valid"), evaluation("test", right.mean()))
            records[at] = dataclasses.replace(record, evaluations=evaluations)
            answers[record.run_id] = ExampleScores(scores=right)
    return records, (), answers


def test_a_whole_study_has_its_verdicts(rng):
    comparison = compare(design(), *whole_study(rng))
    question = only_question(comparison)
    assert [c.verdict.word for c in question.contrasts] == ["hurts", "helps"]
    assert [c.level for c in question.contrasts] == ["0", "2"]
    assert {c.reference for c in question.contrasts} == {"1"}
    assert question.best_level == "2"
    assert question.missing == ()
    assert comparison.part == "test"
    assert {row.status for row in question.rows} == {"judged"}
    helps = contrast_of(comparison, "2")
    assert helps.difference.estimate == pytest.approx(0.10, abs=0.01)
    assert (helps.difference.method, helps.difference.n_seeds) == ("settings and examples", 8)
    assert helps.p_better is None
    assert helps.p_holm >= helps.difference.p
    assert (comparison.search.n_settings, comparison.search.subset, comparison.search.n_combinations) == (8, 3, 3)


def test_order_of_the_records_is_of_no_account(rng):
    records, finalists, answers = whole_study(rng)
    shuffled = [records[i] for i in rng.permutation(len(records))]
    assert compare(design(), shuffled, finalists, answers) == compare(design(), records, finalists, answers)


def test_seconds_of_a_level_are_without_what_its_first_network_took_to_compile(rng):
    records, *rest = whole_study(rng)
    first = dataclasses.replace(history(), seconds=(1.75, 0.25))
    records = [dataclasses.replace(one, history=first) if one.config.model.depth == 2 else one for one in records]
    comparison = compare(design(), records, *rest)
    assert (row_of(comparison, "2").seconds, row_of(comparison, "1").seconds) == (0.5, 2.0)
    assert {row.seconds for row in comparison.finalists if row.finalist.config.model.depth == 2} == {0.5}


def test_exploit_baseline_and_confirm_never_enter_a_table(rng):
    records, finalists, answers = whole_study(rng)
    luckier = [trial(90, config(1), 0.99, phase="exploit"), trial(91, config(1), 0.99, phase="baseline")]
    whole = compare(design(), records + luckier, finalists, answers)
    assert whole.questions == compare(design(), records, finalists, answers).questions
    alone = compare(design(), [r for r in records if r.phase == "compare"], (), answers)
    assert [q.contrasts for q in alone.questions] == [q.contrasts for q in whole.questions]


@pytest.mark.parametrize(
    ("means", "word"),
    [
        ((0.80, 0.90), "helps"),
        ((0.80, 0.70), "hurts"),
        ((0.80, 0.805), "inconclusive"),
    ],
)
def test_verdict_follows_what_tuning_a_level_gives(rng, means, word):
    comparison = compare(design(), *searched_only(rng, means=(0.7, *means), noise=0.02))
    assert contrast_of(comparison, "2").verdict.word == word


def test_levels_whose_networks_answer_alike_are_practically_equal(rng):
    records, answers = searched(rng)
    common_setting = {r.run_id: r for r in records}
    for record in records:
        if record.config.model.depth == 2:
            other = common_setting[f"run-{record.number - 1}"]
            answers[record.run_id] = answers[other.run_id]
            common_setting[record.run_id] = dataclasses.replace(record, evaluations=other.evaluations)
    comparison = compare(design(equivalence=0.02), list(common_setting.values()), (), answers)
    assert contrast_of(comparison, "2").verdict.word == "practically equal"


def test_an_open_contrast_counts_the_settings_that_would_settle_it(rng):
    comparison = compare(design(equivalence=0.09), *searched_only(rng, spread=0.0, noise=0.08))
    verdict = contrast_of(comparison, "2").verdict
    assert verdict.word == "inconclusive"
    assert verdict.more >= 1


def test_few_test_examples_are_what_no_number_of_settings_makes_up_for(rng):
    # All networks of a depth err in the same places: settings tell nothing new, and 400 examples are few.
    records, answers = searched(rng, means=(0.7, 0.8, 0.81), spread=0.0)
    of_depth = {r.run_id: f"run-{r.config.model.depth}" for r in records}
    comparison = compare(design(), records, (), {run_id: answers[of_depth[run_id]] for run_id in answers})
    verdict = contrast_of(comparison, "2").verdict
    assert (verdict.word, verdict.more) == ("inconclusive", None)
    assert "more settings cannot settle it, more test examples can" in verdict.because


@pytest.mark.parametrize(
    ("n_settings", "because"),
    [
        (1, "there is 1 setting, and at least 6 are asked for"),
        (2, "there are 2 settings, and at least 6 are asked for"),
        (5, "there are 5 settings, and at least 6 are asked for"),
    ],
)
def test_too_few_settings_are_not_enough_evidence_however_clear_the_difference(rng, n_settings, because):
    comparison = compare(design(), *searched_only(rng, n_settings=n_settings))
    verdict = contrast_of(comparison, "2").verdict
    assert (verdict.word, verdict.because, verdict.more) == ("not enough evidence", because, 6 - n_settings)
    assert (contrast_of(comparison, "2").difference is None) == (n_settings < 3)
    assert row_of(comparison, "2").status == ("unjudged" if n_settings < 3 else "judged")
    assert check_of(comparison, "enough settings").state == "warn"


def test_a_search_to_come_says_how_many_settings_it_needs():
    comparison = compare(design(budgets={"baseline": 1, "compare": 30}), [])
    verdict = contrast_of(comparison, "2").verdict
    assert (verdict.because, verdict.more) == ("there are no settings, and at least 6 are asked for", 6)
    assert comparison.search.n_settings == 0


def test_no_level_is_judged_before_every_network_is_scored(rng):
    records, _, answers = searched_only(rng)
    del answers["run-3"]
    to_score = [dataclasses.replace(r, evaluations=r.evaluations[:1]) if r.run_id == "run-3" else r for r in records]
    comparison = compare(design(), to_score, (), answers)
    verdict = contrast_of(comparison, "2").verdict
    assert (verdict.word, verdict.more) == ("not enough evidence", None)
    assert verdict.because == "1 network of the search has not been scored on the test part yet"
    assert comparison.search.n_unscored == comparison.search.n_to_score == 1
    assert only_question(comparison).curves == ()
    assert check_of(comparison, "every network is scored").state == "warn"


def test_a_network_that_is_scored_without_single_examples_waits_for_nothing(rng):
    """As by a metric of the user's own that has no value where some example is left out."""
    records, _, answers = searched_only(rng)
    del answers["run-3"]
    comparison = compare(design(), records, (), answers)
    verdict = contrast_of(comparison, "2").verdict
    assert (verdict.word, verdict.more) == ("not enough evidence", None)
    assert verdict.because == f"1 network of the search has {NO_EXAMPLES}"
    assert (comparison.search.n_unscored, comparison.search.n_to_score) == (1, 0)
    check = check_of(comparison, "every network is scored")
    assert (check.state, check.detail) == ("warn", f"1 network has {NO_EXAMPLES}; no level is judged")


def test_a_search_that_diverged_as_a_whole_is_said_to_have(rng):
    records, _, _ = searched_only(rng)
    diverged = [dataclasses.replace(r, state="diverged", evaluations=r.evaluations[:1]) for r in records]
    comparison = compare(design(), diverged)
    assert contrast_of(comparison, "2").verdict.because == "every trial of the search diverged or failed"
    assert "every network is scored" not in [check.name for check in comparison.checks]
    trained = check_of(comparison, "every level trained")
    assert (
        trained.detail == "depth 0: every trial diverged; depth 1: every trial diverged; depth 2: every trial diverged"
    )


def test_p_is_adjusted_over_the_contrasts_of_a_question(rng):
    question = only_question(compare(design(), *searched_only(rng, means=(0.78, 0.8, 0.82))))
    p = sorted(contrast.difference.p for contrast in question.contrasts)
    assert sorted(contrast.p_holm for contrast in question.contrasts) == pytest.approx([2 * p[0], max(2 * p[0], p[1])])


def test_validation_orders_levels_and_the_test_part_judges(rng):
    # Depth 1 is best on the validation part, depth 2 on the test part.
    comparison = compare(design(), *searched_only(rng, means=(0.6, 0.9, 0.8), tests=(0.6, 0.7, 0.95)))
    assert only_question(comparison).best_level == "1"
    assert contrast_of(comparison, "2").verdict.word == "helps"
    assert row_of(comparison, "1").tuned_valid > row_of(comparison, "2").tuned_valid
    assert row_of(comparison, "1").tuned.estimate < row_of(comparison, "2").tuned.estimate


def test_recommended_is_the_best_mean_of_fresh_seeds_and_the_other_the_alternative(rng):
    records, finalists, answers = whole_study(rng)
    found = compare(design(), records, finalists, answers).recommendation
    assert found.recommended.finalist is finalists[0]
    assert found.alternative.finalist is finalists[1]
    assert found.difference.estimate < 0
    assert found.difference.method == "seeds and examples"
    turned = compare(design(), records, finalists[::-1], answers).recommendation
    assert turned.recommended.finalist is finalists[0]


def test_recommended_is_chosen_by_validation_and_not_by_the_test_part(rng):
    records, finalists, answers = [], [], {}
    for depth, valid, test in ((1, 0.9, 0.7), (2, 0.8, 0.95)):
        one = finalist(f"trial-{depth}", config(depth))
        runs, right = confirm_runs(one, [test] * 5, first_number=20 * depth, rng=rng, valid=valid)
        records, finalists, answers = records + runs, [*finalists, one], answers | right
    found = compare(design(), records, finalists, answers).recommendation
    assert found.recommended.finalist.id == "trial-1"
    assert found.difference.estimate == pytest.approx(0.25)


def test_a_single_finalist_has_no_alternative(rng):
    records, finalists, answers = whole_study(rng)
    found = compare(design(), records, finalists[:1], answers).recommendation
    assert (found.alternative, found.difference) == (None, None)


def test_a_lucky_finalist_with_one_seed_is_not_recommended(rng):
    records, finalists, answers = whole_study(rng)
    lucky = finalist("lucky", config(2, units=99), stands_for=())
    runs, right = confirm_runs(lucky, [0.99], first_number=2000, rng=rng)
    comparison = compare(design(), records + runs, [*finalists, lucky], answers | right)
    assert comparison.recommendation.recommended.finalist is finalists[0]


def test_of_equal_finalists_the_one_that_the_search_ranked_first_is_recommended(rng):
    records, finalists, answers = [], [], {}
    for depth in (2, 1):  # the larger network first
        one = finalist(f"trial-{depth}", config(depth))
        runs, right = confirm_runs(one, [0.8] * 5, first_number=20 * depth, rng=rng)
        records, finalists, answers = records + runs, [*finalists, one], answers | right
    found = compare(design(), records, finalists, answers).recommendation
    assert (found.recommended.finalist.id, found.alternative.finalist.id) == ("trial-2", "trial-1")


@pytest.mark.parametrize(("n_failed", "said"), [(0, "10 runs of every finalist"), (2, "trial-11: 8 of 10 runs")])
def test_confirm_runs_that_crashed_are_missing_where_a_later_session_asks_for_fewer_seeds(rng, n_failed, said):
    records, finalists, answers = whole_study(rng, n_seeds=10)
    lost = [r.number for r in records if r.tags.get("finalist") == finalists[0].id][:n_failed]
    left = [dataclasses.replace(r, state="failed", evaluations=()) if r.number in lost else r for r in records]
    comparison = compare(design(n_seeds=5), left, finalists, answers)
    assert check_of(comparison, "confirm is complete").detail == said
    assert comparison.n_to_confirm == 0


def test_a_search_without_fresh_seeds_has_its_verdicts_and_no_recommendation(rng):
    comparison = compare(design(), *searched_only(rng))
    assert contrast_of(comparison, "2").verdict.word == "helps"
    assert comparison.recommendation is None
    assert comparison.part == "test"
    assert check_of(comparison, "confirm is complete").state == "warn"
    assert check_of(comparison, "judged on the test part").state == "pass"


def guesses(record):
    """Return a trial that never beat the dummy baseline, on the training part nor on the validation part."""
    others = [of for of in record.evaluations if of.part != "valid"]
    return dataclasses.replace(record, history=STUCK, evaluations=(evaluation("valid", DUMMY_SCORE), *others))


def test_never_trained_is_not_does_not_help(rng):
    records, finalists, answers = whole_study(rng)
    stuck = [guesses(r) if r.config.model.depth == 2 else r for r in records]
    comparison = compare(design(), stuck, finalists, answers)
    assert row_of(comparison, "2").status == "never trained"
    assert contrast_of(comparison, "2").verdict.word == "never trained"
    assert contrast_of(comparison, "2").difference is not None
    assert contrast_of(comparison, "0").verdict.word == "hurts"
    assert only_question(comparison).best_level == "1"
    assert check_of(comparison, "every level trained").state == "warn"


def test_network_that_gives_the_commonest_class_has_not_trained_where_other_rows_have_less_of_it(rng):
    records, _, answers = searched_only(rng)
    stuck = [
        dataclasses.replace(
            r, history=history((0.8, 0.8)), evaluations=(evaluation("valid", 0.3), r.evaluation("test"))
        )
        for r in records
    ]
    comparison = compare(design(dummy_score=0.3, dummy_train=0.8), stuck, (), answers)
    assert {row.status for row in only_question(comparison).rows} == {"never trained"}


def test_network_that_predicts_well_has_trained_whatever_dropout_did_to_its_training_score(rng):
    records, _, answers = searched_only(rng)
    low = [dataclasses.replace(r, history=STUCK) if r.config.model.depth == 2 else r for r in records]
    comparison = compare(design(), low, (), answers)
    assert (row_of(comparison, "2").status, row_of(comparison, "2").n_untrained) == ("judged", 0)


@pytest.mark.parametrize(
    ("class_weight", "loss", "losses", "status"),
    [
        (None, "crossentropy", (0.52, 0.48), "never trained"),
        # Most was learned in the first epoch, whose loss is the mean over it.
        ("balanced", "crossentropy", (0.52, 0.48), "judged"),
        # It began worse than guessing and ended there: ln 10 = 2.30, of the focal loss (9/10)² of it = 1.87.
        ("balanced", "crossentropy", (2.6, 2.3), "never trained"),
        ("balanced", "focal", (2.0, 1.86), "never trained"),
        ("balanced", "focal", (2.0, 1.6), "judged"),
    ],
)
def test_network_of_classes_that_weigh_the_same_has_trained_where_its_loss_says_so(
    rng, class_weight, loss, losses, status
):
    """What it learned of rare classes costs more accuracy than always giving the commonest."""
    records, _, answers = searched_only(rng)
    parts = [
        (
            dataclasses.replace(r.config.fit, class_weight=class_weight),
            dataclasses.replace(r.config.model, options=(("loss", loss),)),
        )
        for r in records
    ]
    trials = [
        dataclasses.replace(
            r,
            config=dataclasses.replace(r.config, fit=fit, model=model),
            history=history((0.5, 0.6), train_loss=losses),
        )
        for r, (fit, model) in zip(records, parts, strict=True)
    ]
    comparison = compare(design(dummy_score=0.95, n_classes=10), trials, (), answers)
    assert {row.status for row in only_question(comparison).rows} == {status}


def test_one_trained_trial_is_enough_to_have_trained(rng):
    records, _, answers = searched_only(rng)
    depth_2 = [r.number for r in records if r.config.model.depth == 2]
    mostly = [guesses(r) if r.number in depth_2[:-1] else r for r in records]
    comparison = compare(design(), mostly, (), answers)
    assert row_of(comparison, "2").status == "judged"
    assert contrast_of(comparison, "2").verdict.word == "helps"
    assert "7 of 8" in check_of(comparison, "every level trained").detail


def test_a_diverged_network_counts_against_its_level(rng):
    records, _, answers = searched_only(rng)
    victims = [r.number for r in records if r.config.model.depth == 2][:4]
    diverged = [dataclasses.replace(r, state="diverged", evaluations=()) if r.number in victims else r for r in records]
    whole, hit = compare(design(), records, (), answers), compare(design(), diverged, (), answers)
    assert contrast_of(hit, "2").difference.estimate < contrast_of(whole, "2").difference.estimate - 0.05
    assert check_of(hit, "trials are stable").state == "warn"


def test_a_level_that_diverged_throughout_has_what_guessing_reaches_on_each_part(rng):
    records, _, answers = searched_only(rng)
    diverged = [dataclasses.replace(r, state="diverged") if r.config.model.depth == 2 else r for r in records]
    row = row_of(compare(design(dummy_score=-9.0, dummy_test=-16.0), diverged, (), answers), "2")
    assert (row.tuned.estimate, row.tuned_valid) == (pytest.approx(-16.0), pytest.approx(-9.0))


def test_a_level_of_a_search_that_failed_throughout_is_no_evidence(rng):
    records, _, answers = searched_only(rng)
    failed = [
        dataclasses.replace(r, state="failed", evaluations=()) if r.config.model.depth == 2 else r for r in records
    ]
    comparison = compare(design(), failed, (), answers)
    contrast = contrast_of(comparison, "2")
    assert (contrast.verdict.word, contrast.verdict.because) == ("not enough evidence", "every trial of depth 2 failed")
    assert (contrast.difference, contrast.p_holm) == (None, None)
    row = row_of(comparison, "2")
    assert (row.tuned, row.tuned_valid) == (None, None)
    assert [curve.level for curve in only_question(comparison).curves] == ["0", "1"]
    gone = [dataclasses.replace(r, state="failed", evaluations=()) if r.config.model.depth == 1 else r for r in records]
    assert only_question(compare(design(), gone, (), answers)).curves == ()


def test_diverged_trials_count_against_their_level_and_failed_ones_are_named():
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
    assert row.selected_score == pytest.approx(0.7)
    assert row_of(comparison, "0").status == "failed"
    assert "depth 0: its only trial failed" in only_question(comparison).missing
    assert contrast_of(comparison, "0").verdict.word == "not enough evidence"


def test_all_diverged_is_said_to_be_so():
    comparison = compare(design(), [trial(1, config(1)), trial(2, config(2), state="diverged")])
    assert row_of(comparison, "2").status == "diverged"
    assert row_of(comparison, "0").status == "no trials"


def test_chosen_configurations_are_judged_by_fresh_seeds(rng):
    records, finalists, answers = chosen_study(rng)
    comparison = compare(design(), records, finalists, answers)
    assert comparison.search is None
    assert [c.verdict.word for c in only_question(comparison).contrasts] == ["hurts", "helps"]
    helps = contrast_of(comparison, "2")
    assert (helps.difference.method, helps.difference.n_seeds) == ("seeds and examples", 5)
    assert helps.p_better == 1.0
    assert row_of(comparison, "2").status == "confirmed"
    assert row_of(comparison, "2").tuned is None
    assert only_question(comparison).best_level == "2"
    assert check_of(comparison, "equal budgets").state == "pass"


def test_half_the_seeds_of_chosen_configurations_ask_for_the_rest(rng):
    records, finalists, answers = chosen_study(rng)
    there = [r for r in records if r.config.fit.seed < 1003]
    comparison = compare(design(), there, finalists, answers)
    assert contrast_of(comparison, "2").verdict.word == "not enough evidence"
    assert contrast_of(comparison, "2").verdict.more == 2
    assert "depth 2: 3 of 5 fresh seeds" in only_question(comparison).missing
    goes_on = "; 2 more seeds would give a verdict, and are planned already: the same command goes on"
    assert to_know(contrast_of(comparison, "2"), comparison) == goes_on
    lost = [dataclasses.replace(r, state="failed", evaluations=()) for r in records if r not in there]
    comparison = compare(design(), [*there, *lost], finalists, answers)
    assert "`--seeds 7` goes on from here" in to_know(contrast_of(comparison, "2"), comparison)
    # Those of one finalist beyond the seeds that were asked for last are not another's.
    fewer = [r for r in records if r.config.model.depth != 2 or r.config.fit.seed == 1000]
    assert compare(design(n_seeds=3), fewer, finalists, answers).n_to_confirm == 2


def test_chosen_configurations_without_runs_are_named(rng):
    _, finalists, _ = chosen_study(rng)
    comparison = compare(design(), [], finalists)
    verdict = contrast_of(comparison, "2").verdict
    assert (verdict.word, verdict.because, verdict.more) == (
        "not enough evidence",
        "no confirmed run of depth 2 and 1",
        5,
    )


def test_levels_that_were_never_compared_ask_for_no_seeds(rng):
    """Where a study has too few trials for its levels, more seeds of its best model tell nothing of them."""
    _, finalists, _ = chosen_study(rng)
    comparison = compare(design(), [], finalists)
    assert not comparison.is_of_chosen
    said = to_know(contrast_of(comparison, "2"), comparison)
    assert said == "; there were too few trials to give every level some settings"


def test_a_level_without_tuning_whose_trials_failed_asks_for_no_seeds(rng):
    records, finalists, answers = chosen_study(rng)
    of_others = [r for r in records if r.config.model.depth != 2]
    failed = trial(900, config(2), state="failed")
    comparison = compare(design(is_tuned=False), [*of_others, failed], finalists[:2], answers)
    verdict = contrast_of(comparison, "2").verdict
    assert (verdict.because, verdict.more) == ("every trial of depth 2 failed", None)


def test_only_shared_seeds_are_paired(rng):
    records, finalists, answers = chosen_study(rng, n_seeds=6)
    of_one = [r for r in records if not (r.tags["finalist"] == "depth-1" and r.config.fit.seed == 1000)]
    comparison = compare(design(), of_one, finalists, answers)
    assert contrast_of(comparison, "2").difference.n_seeds == 5


def test_a_diverged_run_counts_with_the_score_of_the_dummy_baseline(rng):
    records, finalists, answers = chosen_study(rng)
    victim = next(r for r in records if r.tags["finalist"] == "depth-2")
    diverged = [dataclasses.replace(r, state="diverged", evaluations=()) if r is victim else r for r in records]
    contrast = contrast_of(compare(design(), diverged, finalists, answers), "2")
    assert (contrast.difference.n_seeds, contrast.difference.method) == (5, "seeds and examples")
    assert min(contrast.difference.by_seed) == pytest.approx(DUMMY_SCORE - 0.8, abs=0.02)
    assert contrast.verdict.word == "inconclusive"


def test_predictions_of_fresh_runs_that_are_missing_or_contradict_widen_the_interval(rng):
    records, finalists, answers = chosen_study(rng)
    wrong = {run_id: dataclasses.replace(of, scores=~of.scores) for run_id, of in answers.items()}
    whole = compare(design(), records, finalists, answers)
    for of in (wrong, {}):
        rough = compare(design(), records, finalists, of)
        assert contrast_of(rough, "2").difference.method == "seeds, examples bounded"
        estimate = contrast_of(whole, "2").difference.estimate
        assert contrast_of(rough, "2").difference.estimate == pytest.approx(estimate)
        assert check_of(rough, "predictions at hand").state == "warn"


def test_without_a_test_part_no_level_of_a_search_is_judged(rng):
    records, finalists, _ = whole_study(rng)
    bare = [dataclasses.replace(r, evaluations=tuple(e for e in r.evaluations if e.part == "valid")) for r in records]
    comparison = compare(design(has_test=False), bare, finalists)
    assert comparison.part == "valid"
    assert contrast_of(comparison, "2").verdict.word == "not enough evidence"
    assert "there is no test part" in contrast_of(comparison, "2").verdict.because
    assert check_of(comparison, "judged on the test part").state == "warn"
    assert comparison.recommendation.difference is not None
    few = [r for r in bare if r.phase == "compare"][:6]
    verdict = contrast_of(compare(design(has_test=False), few), "2").verdict
    assert (verdict.because, verdict.more) == ("there is no test part, by which levels are judged", None)


def test_chosen_configurations_without_a_test_part_are_judged_on_validation(rng):
    records, finalists, _ = chosen_study(rng)
    bare = [dataclasses.replace(r, evaluations=tuple(e for e in r.evaluations if e.part == "valid")) for r in records]
    comparison = compare(design(), bare, finalists)
    assert comparison.part == "valid"
    assert contrast_of(comparison, "2").difference is not None
    assert row_of(comparison, "2").test is None


def test_one_chosen_configuration_for_two_levels_is_no_contrast(rng):
    # Without a hidden layer there is no activation: both levels are one network.
    activation = Factor.of("activation", ("relu", "tanh"))
    pairs = (("activation", "relu"), ("activation", "tanh"))
    flat = finalist("flat", config(0), stands_for=pairs, origin="chosen")
    runs, right = confirm_runs(flat, [0.8] * 5, first_number=10, rng=rng)
    contrast = contrast_of(compare(design(factors=(activation,)), runs, [flat], right), "tanh")
    assert contrast.difference is None
    assert contrast.verdict.word == "practically equal"
    assert contrast.verdict.because.endswith("no difference by construction")


def test_two_questions_are_answered_by_one_search(rng):
    records, answers = [], {}
    for setting in range(6):
        for depth, optimizer in ((d, o) for d in (0, 1, 2) for o in ("sgd", "adam")):
            right = rng.random(400) < 0.6 + 0.1 * depth + 0.1 * (optimizer == "adam")
            of = config(depth, optimizer=optimizer, learning_rate=0.01 * (setting + 1), seed=setting)
            records.append(trial(len(records), of, float(right.mean()), test=float(right.mean())))
            answers[records[-1].run_id] = ExampleScores(scores=right)
    questions = compare(design(factors=(DEPTH, OPTIMIZER)), records, (), answers).questions
    assert [[c.verdict.word for c in q.contrasts] for q in questions] == [["hurts", "helps"], ["helps"]]
    assert [q.best_level for q in questions] == ["2", "adam"]


def test_one_level_is_a_table_without_contrasts(rng):
    records, _, answers = searched_only(rng)
    comparison = compare(design(factors=(Factor.of("depth", ("1",)),)), records, (), answers)
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
    assert Factor.of("activation", ("relu", "None")).reference == "relu"


def test_a_seed_run_twice_counts_once(rng):
    records, finalists, answers = whole_study(rng)
    again = [dataclasses.replace(r, number=r.number + 500, run_id="again") for r in records]
    assert (
        compare(design(), records + again, finalists, answers).questions[0].contrasts
        == compare(design(), records, finalists, answers).questions[0].contrasts
    )


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_missing_it_answers_what_it_can(data):
    records, finalists, predictions = whole_study(np.random.default_rng(1), n_settings=7)
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
