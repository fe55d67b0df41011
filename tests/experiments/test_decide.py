"""A study that goes on until it is decided: when it grows, by how much, and when it stops."""

import time

import click
import pytest
from rich.console import Console

from depthcheck.cli.options import Duration
from depthcheck.experiments import tracking
from depthcheck.experiments.planning import definition, design
from depthcheck.experiments.planning.experiment import ENOUGH_SETTINGS
from depthcheck.experiments.study.decide import Deadline, goes_on, n_settings, note_look
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.experiments.tracking import open_parent
from depthcheck.reports.compare.study_design import StudyDesign

DIGITS = definition.read(definition.find("digits"))
N_CELLS = 6
DECIDE_WITHIN = click.Option(["--decide-within"])


def says(word: str, *, can_be_decided: bool = True):
    contrast = {"factor": "depth", "level": "2", "verdict": word}
    return lambda _uri, _run_id: {"contrasts": [contrast], "can_be_decided": can_be_decided}


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'optuna.db'}", "mine", DIGITS.as_json())
    ledger.raise_budget(1 + 6 * N_CELLS)
    return ledger


@pytest.fixture
def study_run(uri):
    return open_parent("mine", uri=uri, environ={})


def ask(ledger, study_run, judge, *, seconds=3600.0, seconds_a_trial=1.0) -> bool:
    deadline = Deadline(seconds=seconds, start=time.monotonic(), judge=judge)
    return goes_on(DIGITS, ledger, study_run, deadline, seconds_a_trial=seconds_a_trial, console=Console(quiet=True))


def test_open_study_grows_by_half_and_each_look_is_noted_before_it_is_judged(ledger, study_run):
    noted = []

    def judge(uri, run_id):
        noted.append(tracking.looks(uri, run_id))
        return says("inconclusive")(uri, run_id)

    assert ask(ledger, study_run, judge)
    assert n_settings(DIGITS, ledger) == 9
    assert ask(ledger, study_run, judge)
    assert n_settings(DIGITS, ledger) == 14
    assert noted == [(6,), (6, 9)]
    assert design.plan(DIGITS, ledger.rounds())[: 1 + 6 * N_CELLS] == design.plan(DIGITS, ledger.rounds()[:1])


@pytest.mark.parametrize("word", ["helps", "hurts", "practically equal", "never trained"])
def test_decided_study_stops(ledger, study_run, word):
    assert not ask(ledger, study_run, says(word))
    assert n_settings(DIGITS, ledger) == 6


def test_study_that_no_number_of_settings_decides_stops(ledger, study_run):
    assert not ask(ledger, study_run, says("inconclusive", can_be_decided=False))


def test_as_many_settings_are_added_as_there_is_time_for_behind_what_fresh_seeds_need(ledger, study_run):
    to_confirm = 2 * DIGITS.budget.seeds * 10.0
    assert ask(ledger, study_run, says("inconclusive"), seconds=to_confirm + 2.5 * N_CELLS * 10.0, seconds_a_trial=10.0)
    assert n_settings(DIGITS, ledger) == 8
    assert not ask(ledger, study_run, says("inconclusive"), seconds=to_confirm, seconds_a_trial=10.0)


def test_too_few_settings_for_a_verdict_are_no_look(tmp_path, study_run):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'few.db'}", "few", DIGITS.as_json())
    ledger.raise_budget(1 + 2 * N_CELLS)

    def judge(_uri, _run_id):
        raise AssertionError("there is nothing to judge")

    assert ask(ledger, study_run, judge)
    assert n_settings(DIGITS, ledger) == 6
    assert tracking.looks(study_run.tracking_uri, study_run.run_id) == ()


def test_studies_and_reports_ask_for_the_same_number_of_settings():
    assert StudyDesign.__dataclass_fields__["min_settings"].default == ENOUGH_SETTINGS


def test_the_same_size_is_one_look(study_run):
    assert note_look(study_run, 6) == (6,)
    assert note_look(study_run, 6) == (6,)
    assert note_look(study_run, 9) == (6, 9)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400)])
def test_times_are_read(text, seconds):
    assert Duration().convert(text, DECIDE_WITHIN, None) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "0m", "-5m", "soon", "1.5h", "30 m"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="decide_within must be a time like 30m, 90s or 1h30m, got"):
        Duration().convert(text, DECIDE_WITHIN, None)
