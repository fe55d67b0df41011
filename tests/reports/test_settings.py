from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from golden_tables import N_FOLDS, N, golden_table
from study_records import DEPTH, DUMMY_SCORE, OPTIMIZER, config, design, searched, trial

from depthcheck.reports.compare.comparison import compare_study
from depthcheck.reports.compare.evidence import settings_of, subset_size
from depthcheck.reports.compare.example_scores import ExampleScores, judged_examples


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def changed(records, number, **changes):
    return [dataclasses.replace(r, **changes) if r.number == number else r for r in records]


def test_networks_of_one_training_seed_are_one_setting(rng):
    records, answers = searched(rng, n_settings=7)
    found = settings_of(design(), [records[i] for i in rng.permutation(len(records))], answers)
    assert (found.search.n_settings, found.search.n_incomplete, found.search.n_unscored) == (7, 0, 0)
    assert found.combinations == (("0",), ("1",), ("2",))
    assert found.valid.shape == (7, 3)
    assert sorted(found.valid[:, 1]) == sorted(
        r.evaluation("valid").score for r in records if r.config.model.depth == 1
    )
    assert found.is_judged
    assert found.search.seconds == pytest.approx(6.0)


def test_a_setting_that_some_level_lacks_is_left_out_and_counted(rng):
    records, answers = searched(rng, n_settings=7)
    found = settings_of(design(), records[:-2], answers)
    assert (found.search.n_settings, found.search.n_incomplete) == (6, 1)


def test_failed_and_diverged_networks_count_as_the_dummy_baseline(rng):
    records, answers = searched(rng, n_settings=6)
    records = changed(records, 0, state="failed", evaluations=())
    records = changed(records, 4, state="diverged")
    found = settings_of(design(), records, {k: v for k, v in answers.items() if k not in ("run-0", "run-4")})
    assert found.is_judged
    assert found.valid[0, 0] == found.valid[1, 1] == DUMMY_SCORE
    assert found.scores[0, 0].mean() == pytest.approx(DUMMY_SCORE)
    assert found.scores[1, 1].mean() == pytest.approx(DUMMY_SCORE)


@pytest.mark.parametrize("lost", ["answers", "evaluation", "other size", "contradiction"])
def test_an_unscored_network_leaves_every_level_unjudged(rng, lost):
    records, answers = searched(rng, n_settings=6)
    if lost == "answers":
        del answers["run-3"]
    elif lost == "evaluation":
        records = changed(records, 3, evaluations=(records[3].evaluation("valid"),))
    elif lost == "other size":
        answers["run-3"] = ExampleScores(scores=answers["run-3"].scores[:-1])
    else:
        answers["run-3"] = ExampleScores(scores=~answers["run-3"].scores)
    found = settings_of(design(), records, answers)
    assert found.search.n_unscored == 1
    assert not found.is_judged


def test_nothing_tuned_leaves_seeds(rng):
    records, answers = searched(rng, n_settings=6, is_tuned=False)
    assert settings_of(design(is_tuned=False), records, answers) is None


def test_a_single_setting_is_not_judged(rng):
    records, answers = searched(rng, n_settings=1)
    assert not settings_of(design(), records, answers).is_judged


def test_a_search_to_come_is_an_empty_table_and_no_search_none():
    empty = settings_of(design(budgets={"compare": 9}), [], {})
    assert (empty.search.n_settings, empty.is_judged, empty.search.seconds) == (0, False, 0.0)
    assert settings_of(design(), [], {}) is None
    assert settings_of(design(factors=(), budgets={"compare": 9}), [], {}) is None


def test_the_answer_is_of_three_settings_whatever_the_number():
    assert [subset_size(n) for n in (3, 6, 8, 12, 24)] == [2, 3, 3, 3, 3]


def test_a_level_takes_part_with_every_combination_that_has_it(rng):
    records, answers = [], {}
    for setting in range(6):
        for depth in ("0", "1", "2"):
            for optimizer in ("sgd", "adam"):
                number, right = len(records), rng.random(400) < 0.8
                of = config(int(depth), optimizer=optimizer, learning_rate=0.01 * (setting + 1), seed=setting)
                records.append(trial(number, of, 0.8, test=float(right.mean())))
                answers[f"run-{number}"] = ExampleScores(scores=right)
    found = settings_of(design(factors=(DEPTH, OPTIMIZER)), records, answers)
    assert len(found.combinations) == 6
    assert found.columns("depth", "1") == [2, 3]
    assert found.columns("optimizer", "adam") == [1, 3, 5]


def test_curves_have_the_answer_among_their_points(rng):
    records, answers = searched(rng, n_settings=12)
    found = settings_of(design(), records, answers)
    curves = found.curves("depth", ("0", "1", "2"), "1")
    assert [curve.level for curve in curves] == ["0", "1", "2"]
    assert [bool(curve.differences) for curve in curves] == [True, False, True]
    at = curves[2].subsets.index(found.search.subset)
    ours, theirs = (found.tuned("depth", level, found.search.subset).mean() for level in ("2", "1"))
    assert curves[2].differences[at].estimate == pytest.approx(ours - theirs)
    assert curves[2].scores[at].estimate == pytest.approx(ours)
    assert (curves[2].subsets[0], curves[2].subsets[-1]) == (1, 6)


@pytest.mark.parametrize("metric", ["accuracy", "auc", "r2"])
def test_with_folds_rows_judge_and_each_fold_has_its_validation_score(metric):
    study = golden_table(metric, folds=True)
    answers = {run_id: judged_examples(metric, of) for run_id, of in study.predictions.items()}
    ours = {r.run_id for r in study.records if r.phase == "compare"}
    found = settings_of(study.design, study.records, {k: v for k, v in answers.items() if k in ours})
    assert found.valid.shape == (8, 3, N_FOLDS)
    assert found.scores.shape == (8, 3, N)
    logged = study.records[0].evaluation("valid").score
    assert found.scores[0, 0].mean() == pytest.approx(logged, abs=1e-3)
    difference = compare_study(study).questions[0].contrasts[0].difference
    assert (difference.method, difference.again, difference.n_examples) == ("settings and rows", "setting", N)


def test_intervals_of_r2_reach_as_far_as_with_failures_imagined():
    study = golden_table("r2", folds=False)
    answers = {run_id: judged_examples("r2", of) for run_id, of in study.predictions.items()}
    found = settings_of(study.design, study.records, answers)
    metric = dataclasses.replace(study.design.metric, imagined_failures=0)
    plain = dataclasses.replace(found, design=dataclasses.replace(study.design, metric=metric))
    (factor,) = study.design.factors
    curves = (one.curves(factor.name, factor.levels, factor.reference) for one in (found, plain))
    pairs = [
        pair
        for ours, theirs in zip(*curves, strict=True)
        for pair in zip((*ours.scores, *ours.differences), (*theirs.scores, *theirs.differences), strict=True)
    ]
    for ours, theirs in pairs:
        assert ours.estimate == theirs.estimate
        assert (ours.low <= theirs.low, ours.high >= theirs.high, ours.p >= theirs.p) == (True, True, True)
    assert any(ours.low < theirs.low for ours, theirs in pairs)
