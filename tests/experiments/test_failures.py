"""Whose fault a failure is, and below which scores a trial is pruned."""

import math
from unittest.mock import Mock

import numpy as np
import pytest
from optuna.trial import TrialState, create_trial

from depthcheck.experiments.cluster.worker import Outcome
from depthcheck.experiments.study import session
from depthcheck.experiments.study.coordinator import ALIKE, CircuitBreaker, median_marks
from depthcheck.experiments.tracking import TrackingError


def outcome(number, failure=None):
    state = "failed" if failure else "finished"
    return Outcome(number=number, run_id="", state=state, score=None, scores=(), fit_seconds=0.0, failure=failure)


def test_first_failures_alike_are_held_back():
    breaker = CircuitBreaker()
    failed = [outcome(number, "no TensorFlow") for number in range(ALIKE)]
    assert [breaker.add(one) for one in failed[:-1]] == [[]] * (ALIKE - 1)
    assert not breaker.is_open
    assert breaker.add(failed[-1]) == []
    assert breaker.is_open
    assert breaker.held == tuple(failed)


def test_a_success_settles_what_was_held_back_and_all_that_follows():
    breaker = CircuitBreaker()
    failed = [outcome(number, "no TensorFlow") for number in range(9)]
    assert breaker.add(failed[0]) == []
    assert breaker.add(outcome(10)) == [failed[0], outcome(10)]
    assert [breaker.add(one) for one in failed[1:]] == [[one] for one in failed[1:]]
    assert not breaker.is_open


def test_another_reason_settles_too():
    breaker = CircuitBreaker()
    first, second = outcome(0, "out of memory"), outcome(1, "cannot be built")
    assert breaker.add(first) == []
    assert breaker.add(second) == [first, second]


def test_a_success_that_was_still_running_clears_what_looked_alike():
    breaker = CircuitBreaker()
    for number in range(ALIKE):
        breaker.add(outcome(number, "too large"))
    assert breaker.is_open
    assert len(breaker.add(outcome(9))) == ALIKE + 1
    assert not breaker.is_open


def test_what_a_session_stopped_for_counts_when_it_fails_again():
    breaker = CircuitBreaker({(0, "too large")})
    assert breaker.add(outcome(0, "too large")) == [outcome(0, "too large")]
    assert breaker.add(outcome(1, "too large")) == []


@pytest.mark.parametrize("n_epochs", [2, 4, 6])
def test_marks_are_as_many_as_the_trial_has_epochs_and_below_no_score_that_counts(n_epochs):
    scores = {1: -5.0, 2: -4.0, 3: math.nan}
    trials = [
        create_trial(state=TrialState.COMPLETE, value=value, intermediate_values=scores)
        for value in np.linspace(-9, -3, 11)
    ]
    marks = median_marks(trials, n_epochs)
    half = n_epochs // 2
    assert marks == ((-math.inf,) * half + (-4.0, -6.0, -6.0, -6.0, -6.0)[half - 1 :])[:n_epochs]


def test_what_is_refused_once_a_study_trains_is_no_bad_input(monkeypatch):
    monkeypatch.setattr(session, "cleaning_up", Mock())  # of the whole process
    client, page = Mock(cluster=None), Mock()
    with pytest.raises(TrackingError, match="files are others") as caught, session._ends_well(client, page, Mock()):
        raise ValueError("its files are others")
    assert caught.value.lasts
    page.abandon.assert_called_once_with("FAILED")
