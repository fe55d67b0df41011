"""A study that goes on until it is decided: when it grows, by how much, and when it stops."""

import time
from dataclasses import replace

import click
import pytest
from rich.console import Console
from test_pairwise import logged

from depthcheck.cli.options import DURATION
from depthcheck.experiments import tracking
from depthcheck.experiments.planning import definition
from depthcheck.experiments.planning.design import plan
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.study.ledger import Ledger
from depthcheck.experiments.study.running import Resolved, RunningStudy
from depthcheck.experiments.study.session import Deadline, StudyRequest, goes_on, note_look, seconds_before
from depthcheck.experiments.tracking import StudyRun, open_parent
from depthcheck.pipeline.config import SplitConfig

DIGITS = definition.read(definition.find("digits"))
N_CELLS = 6
DECIDE_WITHIN = click.Option(["--decide-within"])


def says(word: str, *, can_be_decided: bool = True):
    contrast = {"factor": "depth", "level": "2", "verdict": word}
    return lambda _uri, _run_id: {"contrasts": [contrast], "can_be_decided": can_be_decided}


@pytest.fixture
def study_run(uri) -> StudyRun:
    return open_parent("mine", uri=uri, environ={})


@pytest.fixture
def study(tmp_path, study_run) -> RunningStudy:
    return begun(tmp_path, study_run, n_settings=6)


def begun(folder, study_run, *, n_settings: int, experiment: Experiment = DIGITS) -> RunningStudy:
    ledger = Ledger.open(f"sqlite:///{folder / 'optuna.db'}", "mine", experiment.as_json())
    ledger.raise_budget(1 + n_settings * N_CELLS)
    resolved = Resolved(data_sha256="", split=SplitConfig(), metric="accuracy", served={})
    return RunningStudy(ledger=ledger, experiment=experiment, resolved=resolved, study_run=study_run)


def ask(study, judge, *, seconds=3600.0, seconds_a_trial=1.0) -> bool:
    deadline = Deadline(seconds=seconds, start=time.monotonic(), judge=judge)
    return goes_on(study, deadline, seconds_a_trial=seconds_a_trial, console=Console(quiet=True))


def test_open_study_grows_by_half_and_each_look_is_noted_before_it_is_judged(study):
    noted = []

    def judge(uri, run_id):
        noted.append(tracking.looks(uri, run_id))
        return says("inconclusive")(uri, run_id)

    assert ask(study, judge)
    assert study.n_settings == 9
    assert ask(study, judge)
    assert study.n_settings == 14
    assert noted == [(6,), (6, 9)]
    assert study.plan[: 1 + 6 * N_CELLS] == plan(DIGITS, study.ledger.rounds()[:1])


@pytest.mark.parametrize("word", ["helps", "hurts", "practically equal", "never trained"])
def test_decided_study_stops(study, word):
    assert not ask(study, says(word))
    assert study.n_settings == 6


def test_study_that_no_number_of_settings_decides_stops(study):
    assert not ask(study, says("inconclusive", can_be_decided=False))


def test_as_many_settings_are_added_as_there_is_time_for_behind_what_fresh_seeds_need(study):
    to_confirm = 2 * DIGITS.budget.seeds * 10.0
    assert ask(study, says("inconclusive"), seconds=to_confirm + 2.5 * N_CELLS * 10.0, seconds_a_trial=10.0)
    assert study.n_settings == 8
    assert not ask(study, says("inconclusive"), seconds=to_confirm, seconds_a_trial=10.0)


def test_too_few_settings_for_a_verdict_are_no_look(tmp_path, study_run):
    study = begun(tmp_path, study_run, n_settings=2)

    def judge(_uri, _run_id):
        raise AssertionError("there is nothing to judge")

    assert ask(study, judge)
    assert study.n_settings == 6
    assert tracking.looks(study_run.tracking_uri, study_run.run_id) == ()


def test_small_share_of_the_trials_gives_as_many_settings_as_it_says(tmp_path, study_run):
    small = replace(DIGITS, budget=replace(DIGITS.budget, compare=0.25))
    study = begun(tmp_path, study_run, n_settings=4, experiment=small)
    assert study.n_settings == 1
    assert ask(study, says("inconclusive"))
    assert (study.n_settings, study.n_search) == (6, 6 * N_CELLS * 4)


def test_trials_that_come_with_a_small_share_are_in_the_time_that_is_left(tmp_path, study_run):
    small = replace(DIGITS, budget=replace(DIGITS.budget, compare=0.25))
    study = begun(tmp_path, study_run, n_settings=1, experiment=small)
    fit_in = 5 * N_CELLS / 0.25 + 5
    assert ask(study, says("inconclusive"), seconds=2 * DIGITS.budget.seeds + fit_in)
    assert (study.n_settings, study.n_search) == (5, 5 * N_CELLS * 4)


def test_where_nothing_is_left_to_train_earlier_trials_say_how_long_one_takes(uri, study_run):
    assert seconds_before(study_run, 2) == 0
    *_, run_id = logged(uri, [3, 4])  # a second each
    before = open_parent("digits-test", uri=uri, parent_run_id=run_id, environ={})
    assert seconds_before(before, 2) == 0.5


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({"tune": {}, "tune_for": {}}, "nothing tuned"),
        ({"compare": {}}, "nothing compared"),
        ({"budget": replace(DIGITS.budget, compare=0)}, r"\[budget\] compare = 0"),
    ],
)
def test_what_no_settings_decide_is_refused(change, lacking):
    deadline = Deadline(seconds=9.0, start=0.0, judge=says("inconclusive"))
    with pytest.raises(ValueError, match=f"decide_within must be of a study that compares .*, got {lacking}$"):
        StudyRequest(experiment=replace(DIGITS, **change), tracking_uri="", deadline=deadline)


def test_empty_name_and_no_workers_are_not_given():
    StudyRequest(experiment=DIGITS, tracking_uri="", study="", workers=0)


def test_the_same_size_is_one_look(study):
    for settings, looks in ((6, (6,)), (6, (6,)), (9, (6, 9))):
        assert note_look(study, settings) == study.ledger.looks == looks


def test_look_that_an_earlier_copy_of_a_store_has_lost_counts(study, study_run):
    study.ledger.note_looks((6, 9))
    study_run.log_looks((6,))
    assert note_look(study, 14) == study.ledger.looks == (6, 9, 14)
    study.ledger.note_looks((6,))
    assert note_look(study, 14) == tracking.looks(study_run.tracking_uri, study_run.run_id) == (6, 9, 14)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400)])
def test_times_are_read(text, seconds):
    assert DURATION.convert(text, DECIDE_WITHIN, None) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "0m", "-5m", "soon", "1.5h", "30 m"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="decide_within must be a time like 30m, 90s or 1h30m, got"):
        DURATION.convert(text, DECIDE_WITHIN, None)
