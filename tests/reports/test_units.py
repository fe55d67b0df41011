"""Rows that belong together count once: intervals draw groups and blocks of time, where these are known."""

import numpy as np
import pytest
from study_records import config, design, trial

from depthcheck.reports.compare.checks import check_independence
from depthcheck.reports.compare.comparison import compare
from depthcheck.reports.compare.difference import Units, difference_by_units, paired_difference, units_of
from depthcheck.reports.compare.example_scores import ExampleScores
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
    units = Units(of_example=np.repeat(np.arange(ROWS), COPIES), n=ROWS, noun="groups")
    found = difference_by_units(*(np.repeat(of, COPIES, axis=1) for of in (a, b)), units, pseudo_observations=2.0)
    single = paired_difference(a, b, pseudo_observations=2.0)
    assert (found.low, found.high) == pytest.approx((single.low, single.high))


def test_mean_stays_where_units_differ_in_size_and_have_any_number():
    unit = np.array([5, -1, 5, 5, 9])
    units = units_of([ExampleScores(scores=np.zeros(5)), ExampleScores(scores=np.zeros(5), unit=unit)], "time")
    values = units.values(np.array([[1.0, 0.0, 0.5, 1.0, 0.0]]))
    assert values.mean() == pytest.approx(0.5)
    assert values.tolist() == [pytest.approx([0.2, 1.1, 0.2])]
    assert (units.n, units.noun) == (3, "blocks of time")


def test_size_of_a_unit_is_no_spread_of_the_score():
    units = Units(of_example=np.repeat([0, 1, 2, 3, 4, 5], [1, 9, 2, 30, 5, 3]), n=6, noun="groups")
    assert units.values(np.full((2, 50), 0.8)) == pytest.approx(0.8)


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
