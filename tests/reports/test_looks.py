"""What looking more than once costs, held against counting."""

import numpy as np
import pytest
from scipy import stats

from depthcheck.reports.compare.verdict import SIGNIFICANCE, adjust, nominal_errors


def test_first_look_may_spend_half_and_all_looks_together_no_more_than_the_whole():
    sizes = (8, 12, 18, 27, 40)
    allowed = nominal_errors(sizes)
    assert allowed[0] == pytest.approx(SIGNIFICANCE / 2, rel=1e-3)
    rng = np.random.default_rng(5)
    sums = rng.standard_normal((40_000, sizes[-1])).cumsum(axis=1)
    wrong = np.zeros(len(sums), dtype=bool)
    for size, error in zip(sizes, allowed, strict=True):
        wrong |= np.abs(sums[:, size - 1] / np.sqrt(size)) > stats.norm.isf(error / 2)
    assert wrong.mean() == pytest.approx(SIGNIFICANCE * 5 / 6, abs=0.004)


def test_a_later_look_at_hardly_more_settings_may_spend_hardly_anything_of_its_own():
    near, far = nominal_errors((20, 21))[1], nominal_errors((20, 80))[1]
    assert 0 < far < near < SIGNIFICANCE


@pytest.mark.parametrize("sizes", [(), (8, 8), (12, 8), (0, 4)])
def test_looks_that_do_not_grow_are_refused(sizes):
    with pytest.raises(ValueError, match="growing"):
        nominal_errors(sizes)


def test_a_look_with_half_the_error_doubles_p_before_holm():
    assert adjust([0.02], SIGNIFICANCE / 2) == (0.04,)
    assert adjust([0.01, 0.04], SIGNIFICANCE / 2) == pytest.approx((0.04, 0.08))
    assert adjust([0.9, None], SIGNIFICANCE / 2) == (1.0, None)
