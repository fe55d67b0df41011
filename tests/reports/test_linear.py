"""Depth 0 beside scikit-learn's linear model: said in the answer, and warned of where it stays behind."""

import numpy as np
import pytest
from study_records import config, design, trial

from depthcheck.reports.compare.checks import linear_model
from depthcheck.reports.compare.comparison import compare
from depthcheck.reports.compare.example_scores import ExampleScores
from depthcheck.reports.compare.study_data import Factor, ReferenceScores
from depthcheck.reports.text.answer import answer

N, RIGHT = 400, 320


def compared(linear, depths=(0, 1)):
    """Compare depths of which every network has four of five test examples right."""
    right = np.arange(N) < RIGHT
    rows = [
        trial(2 * setting + depth, config(depth, seed=setting, learning_rate=0.01 + setting / 100), test=RIGHT / N)
        for setting in range(6)
        for depth in depths
    ]
    answers = {row.run_id: ExampleScores(scores=np.roll(right, row.number)) for row in rows}
    factor = Factor.of("depth", tuple(map(str, depths)))
    return compare(design(factors=(factor,)), rows, answers=answers, linear=linear)


def checks(comparison):
    return [check for check in comparison.checks if check.name == "depth 0 is a linear model"]


@pytest.mark.parametrize(("score", "state"), [(0.811, "warn"), (0.809, "pass"), (0.7, "pass")])
def test_tuned_depth_0_more_than_a_point_below_is_warned_of(score, state):
    name = "logistic regression on 10,000 images"
    found = compared(ReferenceScores(name=name, test=score, valid=0.1))
    (check,) = checks(found)
    assert check.state == state
    assert name in check.detail
    text = " ".join(answer(found))
    assert f"scikit-learn's linear model ({name}) reaches {100 * score:.1f} %" in text
    assert "on the same split, depth 0 tuned 80" in text


def test_linear_model_is_found_among_the_references():
    models = [
        ReferenceScores(name="random forest"),
        ReferenceScores(name="ridge regression"),
        ReferenceScores(name="gradient boosting"),
    ]
    assert linear_model(models) == models[1]
    assert linear_model(models[:1]) is None


@pytest.mark.parametrize(
    ("linear", "depths"),
    [
        (None, (0, 1)),
        (ReferenceScores(name="logistic regression", valid=0.9), (0, 1)),
        (ReferenceScores(name="logistic regression", test=0.9), (1, 2)),
    ],
)
def test_nothing_is_said_where_one_of_the_two_is_unknown(linear, depths):
    found = compared(linear, depths)
    assert not checks(found)
    assert "linear model" not in " ".join(answer(found))
