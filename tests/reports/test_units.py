"""Rows that belong together count once: intervals draw groups and blocks of time, where these are known."""

from dataclasses import replace

import numpy as np
import pytest
from study_records import config, design, trial

from depthcheck.pipeline.records import Predictions
from depthcheck.reports.compare.checks import check_independence
from depthcheck.reports.compare.comparison import compare
from depthcheck.reports.compare.difference import paired_difference, tuned_scores
from depthcheck.reports.compare.example_scores import (
    ExampleScores,
    Units,
    difference_by_units,
    judged_examples,
    units_of,
)
from depthcheck.reports.compare.study_data import Factor
from depthcheck.reports.text.answer import answer

ROWS, COPIES = 300, 10


def scores(n_rows=ROWS):
    """Return right or wrong for each depth: examples differ, and settings hardly do."""
    rng = np.random.default_rng(0)
    return {depth: rng.random(n_rows) < 0.7 + 0.06 * depth for depth in (0, 1)}


def compared(right, unit=None, method="group"):
    rng, rows, answers = np.random.default_rng(1), [], {}
    for setting in range(8):
        for depth, of in right.items():
            rows.append(
                trial(
                    len(rows),
                    config(depth, seed=setting, learning_rate=0.01 + setting / 100),
                    rng.random(),
                    test=of.mean(),
                )
            )
            answers[rows[-1].run_id] = ExampleScores(scores=of, unit=unit)
    of_design = design(factors=(Factor.of("depth", ("0", "1")),), split_method=method)
    return compare(of_design, rows, answers=answers)


def difference(comparison):
    return comparison.questions[0].contrasts[0].difference


def test_rows_that_stand_there_ten_times_say_no_more_than_once():
    single = difference(compared(scores(), method="random"))
    copied = {depth: np.repeat(of, COPIES) for depth, of in scores().items()}
    groups = difference(compared(copied, np.repeat(np.arange(ROWS) + 7, COPIES)))
    alone = difference(compared(copied))
    assert (groups.low, groups.high, groups.p) == pytest.approx((single.low, single.high, single.p))
    assert (groups.estimate, groups.n_examples, groups.drawn) == (pytest.approx(single.estimate), ROWS, "groups")
    assert alone.half_width == pytest.approx(single.half_width / np.sqrt(COPIES), rel=0.1)


def test_fresh_seeds_are_judged_by_the_same_units():
    rng = np.random.default_rng(2)
    a, b = (rng.random((5, ROWS)) < share for share in (0.8, 0.7))
    units = Units(of_example=np.repeat(np.arange(ROWS), COPIES), n=ROWS)
    found = difference_by_units(*(np.repeat(of, COPIES, axis=1) for of in (a, b)), units, pseudo_observations=2.0)
    single = paired_difference(a, b, pseudo_observations=None)
    assert (found.low, found.high) == pytest.approx((single.low, single.high))


def test_mean_stays_where_units_differ_in_size_and_have_any_number():
    unit = np.array([5, -1, 5, 5, 9])
    units = units_of([ExampleScores(scores=np.zeros(5)), ExampleScores(scores=np.zeros(5), unit=unit)], "time")
    values = units.values(np.array([[1.0, 0.0, 0.5, 1.0, 0.0]]))
    assert values.mean() == pytest.approx(0.5)
    assert np.sign(values[0] - 0.5).tolist() == [-1, 1, -1]
    assert (units.n, units.noun) == (3, "blocks of time")


UNEQUAL = Units(of_example=np.repeat(np.arange(6), [1, 9, 2, 30, 5, 3]), n=6)


def test_size_of_a_unit_is_no_spread_of_the_score():
    level = np.array([[0.8], [0.3]])
    assert UNEQUAL.values(np.repeat(level, 50, axis=1)) == pytest.approx(np.repeat(level, 6, axis=1))


def test_size_of_a_fold_is_no_spread_of_the_score():
    # Five groups, each a fold of its own: what a level reaches it reaches in each of them.
    fold = np.repeat(np.arange(5), (50, 20, 10, 5, 5))
    said = Predictions(
        y=np.ones(90, np.int64),
        predicted=np.arange(90) % 5 > 0,
        probability=np.ones(90, np.float32),
        unit=fold,
        fold=fold,
    )
    answers = judged_examples("accuracy", said)
    units = units_of([answers], "groups")
    assert answers.scores.mean() == pytest.approx(0.8)
    assert units.values(answers.scores[None]) == pytest.approx(np.full((1, 5), 0.8))
    tuned = tuned_scores(
        np.full((4, 1, 5), 0.8), np.tile(answers.scores, (4, 1, 1)), 2, fold, n_failed=2, failed_score=0.8
    )
    assert units.values(tuned) == pytest.approx(np.full((6, 5), 0.8))
    heavy = units_of([replace(answers, weight=np.where(fold == 0, 10.0, 1.0))], "groups")
    assert heavy.degrees_of_freedom == units.degrees_of_freedom == pytest.approx(4)


def test_spread_of_unequal_units_is_neither_too_small_nor_taken_for_well_known():
    """Of rows that are what their group is, the mean varies by the sum of the squares of the groups' shares."""
    shares = np.bincount(UNEQUAL.of_example) / 50
    groups = np.random.default_rng(3).standard_normal((4_000, 6))
    values = UNEQUAL.values(groups[:, UNEQUAL.of_example])
    found = values.var(axis=1, ddof=1) / 6
    assert found.mean() == pytest.approx(shares @ shares, rel=0.1)
    assert 2 * found.mean() ** 2 / found.var() == pytest.approx(UNEQUAL.degrees_of_freedom, rel=0.25)
    equal = Units(of_example=np.arange(60) % 6, n=6)
    assert equal.degrees_of_freedom == pytest.approx(5)


def test_blocks_of_time_that_drift_count_as_fewer():
    drifting, rng = np.repeat(np.linspace(-1, 1, 20), 5), np.random.default_rng(4)
    a, b = rng.standard_normal((6, 100)) + drifting, np.zeros((6, 100))
    of_row = np.repeat(np.arange(20), 5)
    blocks, groups = (
        difference_by_units(
            a,
            b,
            Units(of_example=of_row, n=20, noun="blocks of time" if in_time else "groups"),
            pseudo_observations=None,
        )
        for in_time in (True, False)
    )
    assert blocks.half_width > 2 * groups.half_width
    assert (blocks.drawn, groups.drawn) == ("blocks of time", "groups")


def test_answer_and_check_name_what_was_drawn():
    found = compared(scores(), np.arange(ROWS) % 12)
    assert "12 groups" in answer(found)[0]
    assert "test examples" not in answer(found)[0]
    check = check_independence(found.design, [difference(found)])
    assert (check.state, check.detail) == ("pass", "rows are alike, so the interval draws whole groups")
    blocks = compared(scores(), np.arange(ROWS) * 20 // ROWS, method="time")
    assert "20 blocks of time" in answer(blocks)[0]
    assert check_independence(found.design, [difference(compared(scores()))]).state == "warn"


def test_fewer_than_five_units_carry_no_interval():
    found = compared(scores(), np.arange(ROWS) % 4)
    contrast = found.questions[0].contrasts[0]
    assert (contrast.difference.low, contrast.verdict.word) == (None, "inconclusive")
    assert "what judges has 4 groups, and at least 5 are asked for" in contrast.verdict.because
    assert "4 groups" in answer(found)[0]
    assert difference(compared(scores(), np.arange(ROWS) % 5)).low is not None
