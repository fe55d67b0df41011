"""A winner at the edge of a range: seen in ranges and in lists, with the parameter that widens it."""

import pytest
from study_records import config, design

from depthcheck.reports.compare.checks import check_edges
from depthcheck.reports.compare.study_data import SearchRange

RATE = SearchRange(parameter="learning_rate", low=1e-4, high=1e-1, log=True, when=("optimizer", "sgd"))
BATCH = SearchRange(parameter="batch_size", low=32, high=1024, is_list=True)


def test_warning_names_what_widens_the_range_beside_what_was_widened_before():
    units = SearchRange(parameter="units", low=8, high=128, open_sides=("up",))
    of = {"one": config(2, learning_rate=0.095, units=8)}
    found = check_edges(of, design(ranges=[RATE, BATCH, units], widenings=["units:up"], launcher="mlflow run"), ["one"])
    assert found.state == "warn"
    assert found.detail == (
        "one: learning_rate 0.095 is at the upper end of sgd's range: `-P widen=units:up,sgd.learning_rate:up`; "
        "one: batch_size 32 is at the lower end of its list: `-P widen=units:up,batch_size:down`"
    )


def test_edge_is_named_once_with_all_that_lie_there():
    found = check_edges({"one": config(), "two": config(units=16)}, design(ranges=[BATCH]), ["one", "two"])
    assert found.detail == "one, two: batch_size 32 is at the lower end of its list: `--widen batch_size:down`"


def test_range_of_all_optimizers_is_named_with_the_winners():
    rate = SearchRange(parameter="learning_rate", low=1e-3, high=1.0, log=True)
    found = check_edges({"one": config(learning_rate=0.001, optimizer="adam")}, design(ranges=[rate]), ())
    assert found.detail.endswith("is at the lower end of its range: `--widen adam.learning_rate:down`")


@pytest.mark.parametrize(("low", "high", "state"), [(31, 1024, "pass"), (16, 32, "warn"), (16, 33, "pass")])
def test_list_has_its_edge_at_its_very_ends(low, high, state):
    batch = SearchRange(parameter="batch_size", low=low, high=high, is_list=True)
    of = design(ranges=[batch])
    assert check_edges({"one": config()}, of, ["one"]).state == state
    assert check_edges({"one": config()}, of, ["two"]).state == "pass"
