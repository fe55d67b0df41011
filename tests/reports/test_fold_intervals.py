from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from golden_tables import N_FOLDS, N, golden_table
from scipy import stats

from depthcheck.reports.compare.checks import NO_EXAMPLES, check_independence
from depthcheck.reports.compare.comparison import compare_study
from depthcheck.reports.compare.difference import fold_difference
from depthcheck.reports.compare.example_scores import fold_scores
from depthcheck.reports.compare.verdict import seeds_to_detect


def tables(rng, shape=(5, 5), shift=0.02):
    b = rng.normal(0.8, 0.03, shape)
    return b + shift + rng.normal(0, 0.02, shape), b


def test_interval_is_nadeau_and_bengios():
    a, b = tables(np.random.default_rng(0))
    found, d = fold_difference(a, b, n_examples=500, pseudo_observations=0.0), (a - b).ravel()
    error = np.sqrt((1 / 25 + 1 / 4) * d.var(ddof=1))
    assert found.estimate == pytest.approx(d.mean())
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 24) * error)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(d.mean()) / error, 24))
    assert (found.df, found.n_seeds, found.n_folds) == (24, 5, 5)


def test_it_is_far_wider_than_a_plain_t_test_and_more_repeats_hardly_narrow_it():
    a, b = tables(np.random.default_rng(1), (20, 5))
    found = fold_difference(a, b, n_examples=500, pseudo_observations=0.0)
    plain = stats.ttest_rel(a.ravel(), b.ravel()).confidence_interval(0.95)
    assert found.half_width > 4 * (plain.high - plain.low) / 2
    few = fold_difference(a[:5], b[:5], n_examples=500, pseudo_observations=0.0)
    assert found.half_width > 0.7 * few.half_width


def test_more_folds_hold_out_less_and_are_corrected_by_less():
    a, b = tables(np.random.default_rng(2), (2, 10))
    d = (a - b).ravel()
    found = fold_difference(a, b, n_examples=500, pseudo_observations=0.0)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 19) * np.sqrt((1 / 20 + 1 / 9) * d.var(ddof=1)))


def test_folds_without_a_score_are_left_out():
    a, b = tables(np.random.default_rng(3))
    a[2, 3] = np.nan
    found = fold_difference(a, b, n_examples=500)
    assert found.df == 23
    assert found.n_seeds == 5
    a[2] = np.nan
    with pytest.raises(ValueError, match="each repeat"):
        fold_difference(a, b, n_examples=500)


def test_agreement_on_few_rows_is_no_proof_of_agreement():
    same = np.full((5, 5), 0.9)
    for pseudo_observations in (2.0, 0.0):
        assert fold_difference(same, same, n_examples=150, pseudo_observations=pseudo_observations).high > 0.01


@pytest.mark.parametrize("shape", [(5, 4), (5, 0), (5,)])
def test_tables_of_different_shape_are_refused(shape):
    with pytest.raises(ValueError, match="one shape"):
        fold_difference(np.zeros((5, 5)), np.zeros(shape), n_examples=10)


def test_no_number_of_repeats_makes_up_for_too_few_rows():
    a, b = tables(np.random.default_rng(4))
    found = fold_difference(a, b, n_examples=500)
    lasting = np.sqrt(found.example_variance / found.n_examples)
    assert seeds_to_detect(found, 1.5 * lasting) is None
    assert 2 <= seeds_to_detect(found, 4 * lasting) <= 10


def chosen(study):
    """Return the study without its search: its finalists are what the user chose."""
    finalists = tuple(dataclasses.replace(one, origin="chosen") for one in study.finalists)
    records = tuple(record for record in study.records if record.phase == "confirm")
    design = dataclasses.replace(study.design, budgets={})
    return dataclasses.replace(study, records=records, finalists=finalists, design=design)


def contrast_of(study):
    return next(contrast for contrast in compare_study(study).questions[0].contrasts if contrast.level == "2")


@pytest.mark.parametrize("metric", ["accuracy", "auc", "r2"])
def test_chosen_configurations_are_judged_over_repeats_and_folds(metric):
    study = chosen(golden_table(metric, folds=True))
    comparison = compare_study(study)
    assert (comparison.part, comparison.judged) == ("valid", "cross-validated")
    found = contrast_of(study).difference
    assert (found.method, found.n_folds, found.n_seeds, found.n_examples) == ("folds", N_FOLDS, 5, N)
    runs = [study.confirm_runs(one.id)[0] for one in study.finalists]
    scores = [fold_scores(metric, study.predictions[run.run_id]) for run in runs]
    assert found.by_seed[0] == pytest.approx((scores[0] - scores[1]).mean())
    assert found.by_seed[0] == pytest.approx(runs[0].evaluations[0].score - runs[1].evaluations[0].score)


@pytest.mark.parametrize("metric", ["accuracy", "auc", "r2"])
def test_two_finalists_of_a_search_are_judged_over_repeats_and_folds(metric):
    comparison = compare_study(golden_table(metric, folds=True))
    assert comparison.recommendation.difference.method == "folds"
    assert comparison.questions[0].contrasts[0].difference.method == "settings and rows"


def test_lost_predictions_leave_an_estimate_and_no_interval():
    study = dataclasses.replace(chosen(golden_table("r2", folds=True)), predictions={})
    contrast = contrast_of(study)
    assert contrast.difference.method == "repeats only"
    assert contrast.difference.low is None
    assert contrast.verdict.word == "inconclusive"
    assert "scores of single folds are missing" in contrast.verdict.because
    check = next(check for check in compare_study(study).checks if check.name == "predictions at hand")
    assert check.state == "warn"


def test_lost_predictions_of_a_search_leave_no_estimate():
    contrast = contrast_of(dataclasses.replace(golden_table("r2", folds=True), predictions={}))
    assert contrast.difference is None
    assert contrast.verdict.because == f"24 networks of the search have {NO_EXAMPLES}"


def test_too_few_repeats_ask_for_repeats():
    study = chosen(golden_table("auc", folds=True))
    few = tuple(r for r in study.records if r.config.split.repeat <= 2)
    verdict = contrast_of(dataclasses.replace(study, records=few)).verdict
    assert verdict.word == "not enough evidence"
    assert verdict.because == "there are 2 repeats, and at least 5 are asked for"


def test_runs_on_different_partitions_are_no_pairs():
    study = chosen(golden_table("r2", folds=True))
    moved = [
        dataclasses.replace(
            r, config=dataclasses.replace(r.config, split=dataclasses.replace(r.config.split, repeat=9))
        )
        if r.config.model.depth == 2
        else r
        for r in study.records
    ]
    assert contrast_of(dataclasses.replace(study, records=tuple(moved))).difference is None


def test_a_diverged_repeat_counts_with_the_score_of_the_dummy_baseline():
    study = chosen(golden_table("r2", folds=True))
    victim = next(r for r in study.records if r.config.model.depth == 2)
    records = tuple(dataclasses.replace(r, state="diverged") if r is victim else r for r in study.records)
    found = contrast_of(dataclasses.replace(study, records=records)).difference
    assert found.method == "folds"
    assert found.by_seed[0] < -0.5


def test_alike_rows_of_a_test_part_are_warned_of_and_folds_of_groups_are_not():
    design = golden_table("r2").design
    assert check_independence(design).state == "warn"
    assert check_independence(dataclasses.replace(design, folds=5)).state == "pass"
