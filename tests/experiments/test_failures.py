"""Whose fault a failure is."""

from depthcheck.experiments.cluster.task import Outcome
from depthcheck.experiments.study.failures import ALIKE, Doubt


def outcome(number, failure=None):
    state = "failed" if failure else "finished"
    return Outcome(number=number, run_id="", state=state, score=None, scores=(), fit_seconds=0.0, failure=failure)


def test_first_failures_alike_are_held_back():
    doubt = Doubt()
    failed = [outcome(number, "no TensorFlow") for number in range(ALIKE)]
    assert [doubt.settle(one) for one in failed[:-1]] == [[]] * (ALIKE - 1)
    assert not doubt.alike
    assert doubt.settle(failed[-1]) == []
    assert doubt.alike
    assert doubt.held == tuple(failed)


def test_a_success_settles_what_was_held_back_and_all_that_follows():
    doubt = Doubt()
    failed = [outcome(number, "no TensorFlow") for number in range(9)]
    assert doubt.settle(failed[0]) == []
    assert doubt.settle(outcome(10)) == [failed[0], outcome(10)]
    assert [doubt.settle(one) for one in failed[1:]] == [[one] for one in failed[1:]]
    assert not doubt.alike


def test_another_reason_settles_too():
    doubt = Doubt()
    first, second = outcome(0, "out of memory"), outcome(1, "cannot be built")
    assert doubt.settle(first) == []
    assert doubt.settle(second) == [first, second]


def test_a_success_that_was_still_running_clears_what_looked_alike():
    doubt = Doubt()
    for number in range(ALIKE):
        doubt.settle(outcome(number, "too large"))
    assert doubt.alike
    assert len(doubt.settle(outcome(9))) == ALIKE + 1
    assert not doubt.alike


def test_what_a_session_stopped_for_counts_when_it_fails_again():
    doubt = Doubt({(0, "too large")})
    assert doubt.settle(outcome(0, "too large")) == [outcome(0, "too large")]
    assert doubt.settle(outcome(1, "too large")) == []
