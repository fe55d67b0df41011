"""What the served model refuses of arrays, seen without a network."""

import numpy as np
import pytest

from depthcheck.pipeline.served import _as_array


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("cell", [np.inf, -np.inf, np.nan, None, 1e308, -1e38, 10**400, "Infinity", "1e308", "1e400"])
def test_sample_that_is_infinite_or_as_good_as_is_refused_however_it_is_sent(cell):
    for form in (list, lambda rows: np.array(rows, dtype=object)):
        with pytest.raises(ValueError, match=r"sample 2 must be of numbers up to 1e\+37|int too large"):
            _as_array(form([[1, 2], [cell, 3]]), (2,), "float32")


def test_finite_samples_are_taken_flat_or_in_their_shape():
    for rows in (np.ones((3, 4)), np.ones((3, 2, 2)), np.ones((0, 4)), [["1", "1e36", 0, -1e37]]):
        assert _as_array(rows, (2, 2), "float32").shape[1:] == (2, 2)
