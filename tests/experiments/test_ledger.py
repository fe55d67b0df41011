"""The study in Optuna's storage: what it holds, and what it refuses."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from unittest.mock import Mock

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy import event

from depthcheck.experiments.cluster.worker import Outcome
from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.planning.finalists import Finalist, StudyTrial
from depthcheck.experiments.study.describe import StudyEnding, StudyPage, ending_lines
from depthcheck.experiments.study.ledger import Ledger, delete_study, study_names
from depthcheck.experiments.study.running import RecordedStudy
from depthcheck.experiments.tracking import TakenOverError, TrackingError

DIGITS = definition.read(definition.find("digits"))


def searches(*budgets: int) -> list[design.SearchRound]:
    return [design.SearchRound(trials=trials) for trials in budgets]


@pytest.fixture
def storage(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


def opened(storage: str, **changes: object) -> Ledger:
    return Ledger.open(storage, "mine", {**DIGITS.as_json(), **changes})


def start(ledger: Ledger, number: int) -> None:
    planned = design.plan(DIGITS, searches(20))[number]
    ledger.start(planned, planned.point, space.distributions(DIGITS, planned.point))


def ended(number: int, **fields: object) -> Outcome:
    defaults = {"run_id": "r", "state": "finished", "score": 0.5, "scores": (0.25, 0.5), "fit_seconds": 1.0}
    return Outcome(number=number, **{**defaults, **fields})


def test_repeats_on_fresh_seeds_are_neither_best_nor_important_to_optuna(storage):
    ledger = opened(storage)
    start(ledger, 0)
    ledger.tell(ended(0, score=0.5))
    repeat = replace(design.plan(DIGITS, searches(20))[1], phase="confirm", finalist="trial-0")
    ledger.start(repeat, repeat.point, space.distributions(DIGITS, repeat.point))
    ledger.tell(ended(1, score=0.9))
    ledger.note_resolved({"metric": "auc"})
    study = optuna.load_study(study_name="mine", storage=storage)
    assert (study.best_trial.number, study.metric_names) == (0, ["validation auc"])
    confirmed = StudyTrial.of(study.trials[1])
    assert (confirmed.state, confirmed.score, confirmed.finalist) == ("finished", 0.9, "trial-0")


def test_stock_optuna_reads_what_was_told(storage):
    ledger = opened(storage)
    for number in range(4):
        start(ledger, number)
    ledger.tell(ended(1, engine="step by step (why)"))
    ledger.tell(ended(0, state="pruned", scores=(0.125,)))
    ledger.tell(ended(2, state="failed", score=None, scores=(), failure="ValueError: no"))
    ledger.tell(ended(3, state="diverged", score=0.1))
    trials = optuna.load_study(study_name="mine", storage=storage).trials
    assert [trial.state.name for trial in trials] == ["PRUNED", "COMPLETE", "FAIL", "COMPLETE"]
    assert trials[1].intermediate_values == {1: 0.25, 2: 0.5}
    assert (trials[1].value, trials[3].value) == (0.5, 0.1)
    assert trials[2].user_attrs["failure"] == "ValueError: no"
    assert trials[3].user_attrs["state"] == "diverged"
    ended_trials = tuple(map(StudyTrial.of, trials))
    assert [trial.engine for trial in ended_trials] == ["compiled", "step by step (why)", "compiled", "compiled"]
    ending = StudyEnding(
        study="mine", tracking_uri="sqlite:///a", storage=storage, parent_run_id="r", experiment_id="1", n_planned=4,
        trials=ended_trials, recommended=None, champion=None, metric="accuracy", model=None,
    )  # fmt: skip
    assert "  1 of 4 trials was trained step by step (why)\n" in ending_lines(ending, seconds=1.0)


@pytest.mark.parametrize(("number", "harm"), [(2, lambda study: study.ask()), (1, lambda study: study.tell(1, 0.5))])
def test_study_with_a_trial_that_somebody_else_asked_for_or_ended_is_refused(storage, number, harm):
    ledger = opened(storage)
    for one in range(2):
        start(ledger, one)
    harm(optuna.load_study(study_name="mine", storage=storage))
    with pytest.raises(ValueError, match=f"study 'mine' must have trials of this project alone, got trial {number}, "):
        opened(storage)


def test_trial_that_somebody_else_has_ended_is_not_taken_for_told(storage):
    ledger = opened(storage, data_sha256="ab" * 32)
    start(ledger, 0)
    optuna.load_study(study_name="mine", storage=storage).tell(0, 0.5)
    assert RecordedStudy.of(ledger).ended == []
    with pytest.raises(TrackingError, match="trial 0 of study 'mine' was ended in Optuna by somebody else") as caught:
        ledger.tell(ended(0))
    assert caught.value.lasts


def test_running_trial_keeps_number_point_and_parameters_when_opened_again(storage):
    start(opened(storage), 0)
    (trial,) = opened(storage).trials()
    assert not trial.state.is_finished()
    assert trial.user_attrs["point"] == design.plan(DIGITS, searches(20))[0].point
    assert trial.params.keys() <= trial.user_attrs["point"].keys()


def test_telling_goes_on_where_a_kill_has_left_it(storage):
    ledger = opened(storage)
    start(ledger, 0)
    frozen = ledger.trials()[0]
    optuna.trial.Trial(optuna.load_study(study_name="mine", storage=storage), frozen._trial_id).report(0.25, 1)
    ledger = opened(storage)
    ledger.tell(ended(0))
    assert ledger.trials()[0].intermediate_values == {1: 0.25, 2: 0.5}


def test_end_of_a_trial_waits_for_the_disk_as_often_whatever_its_epochs(storage):
    ledger, commits = opened(storage), []
    event.listen(ledger._storage.engine, "commit", commits.append)
    counts = []
    for number, epochs in enumerate((1, 50)):
        start(ledger, number)
        commits.clear()
        ledger.tell(ended(number, scores=(0.5,) * epochs))
        counts.append(len(commits))
    assert counts[0] == counts[1] > 0


def test_budget_only_rises(storage):
    for asked, rounds in ((20, [20]), (10, [20]), (50, [20, 50]), (50, [20, 50])):
        opened(storage).raise_budget(asked)
        assert opened(storage).rounds() == searches(*rounds)


def test_rounds_of_confirming_are_read_back_as_they_were(storage):
    finalist = Finalist(
        id="trial-3", number=3, origin="compare", selected_score=0.5, stands_for=(("depth", "1"),), point={"depth": 1}
    )
    one = design.ConfirmRound(finalists=(finalist,), runs=(("trial-3", 0), ("trial-3", 1)))
    opened(storage).raise_budget(20)
    opened(storage).add_round(one)
    assert opened(storage).rounds() == [*searches(20), one]


def test_who_was_confirmed_before_the_search_went_on_is_not_to_be_confirmed(storage):
    ledger = opened(storage, data_sha256="ab" * 32)
    ledger.raise_budget(1)
    study = RecordedStudy.of(ledger)
    assert (study.n_expected, study.n_unplanned) == (1, 0)  # a baseline is never confirmed
    start(ledger, 0)
    ledger.tell(ended(0))
    repeats = tuple(("trial-0", seed) for seed in range(3))
    finalist = Finalist(id="trial-0", number=0, origin="baseline", selected_score=0.5, stands_for=(), point={})
    ledger.add_round(design.ConfirmRound(finalists=(finalist,), runs=repeats))
    for number in (1, 2):
        repeat = replace(design.plan(DIGITS, searches(1))[0], number=number, phase="confirm", finalist="trial-0")
        assert study.n_unplanned == 0
        ledger.start(repeat, repeat.point, space.distributions(DIGITS, repeat.point))
        ledger.tell(ended(number))
    ledger.raise_budget(20)
    assert (study.n_expected, study.n_unplanned) == (23, 0)


def test_other_definition_under_the_same_name_is_refused(storage):
    opened(storage)
    with pytest.raises(ValueError, match="own definition, got another epochs, seed"):
        opened(storage, epochs=99, seed=99)


@pytest.mark.parametrize(("version", "age"), [(99, "a newer"), (1, "an older")])
def test_another_schema_is_refused(storage, version, age):
    opened(storage)
    optuna.load_study(study_name="mine", storage=storage).set_user_attr("schema_version", version)
    with pytest.raises(ValueError, match=f"must have schema version 2, got {version}: {age} version"):
        opened(storage)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/optuna.db", "postgresql://localhost:1/none"])
def test_storage_that_cannot_be_opened_is_one_line(url):
    with pytest.raises(ValueError, match="storage must be a URL that Optuna can open") as caught:
        opened(url)
    assert "\n" not in str(caught.value)


def test_stranger_in_the_study_is_noticed(storage):
    ledger = opened(storage)
    optuna.load_study(study_name="mine", storage=storage).ask()
    with pytest.raises(RuntimeError, match="a second coordinator"):
        start(ledger, 0)


def test_new_storage_can_be_opened_by_several_at_the_same_moment(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        for number in range(3):
            (tmp_path / f"{number}.db").touch()
            names = pool.map(study_names, [f"sqlite:///{tmp_path}/{number}.db"] * 4)
            assert list(names) == [[]] * 4


def test_locked_storage_is_one_line(storage, monkeypatch):
    monkeypatch.setattr("depthcheck.experiments.study.ledger.BUSY_SECONDS", 0.1)
    ledger = opened(storage)
    start(ledger, 0)
    with closing(sqlite3.connect(storage.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match=r"^cannot write the end of a trial in .* storage: database is locked$"):
            ledger.tell(ended(0))
        with pytest.raises(ValueError, match=r"storage must be a URL that Optuna can open, .*\(database is locked\)$"):
            opened(storage)
    ledger.tell(ended(0))
    assert ledger.trials()[0].value == 0.5


def test_step_of_which_the_answer_was_lost_is_taken_once(storage, monkeypatch):
    monkeypatch.setattr("depthcheck.experiments.tracking.reach.comes_back", lambda _address: True)
    ledger = opened(storage)

    def loses_its_answer(of: object, name: str) -> None:
        step, attempts = getattr(of, name), []

        def lost(*args: object, **kwargs: object) -> object:
            attempts.append(step(*args, **kwargs))
            if len(attempts) == 1:
                raise StorageInternalError("the server closed the connection unexpectedly")
            return attempts[-1]

        monkeypatch.setattr(of, name, lost)

    loses_its_answer(ledger._study._storage, "create_new_trial")
    for name in ("tell", "set_user_attr"):
        loses_its_answer(ledger._study, name)
    for number in range(2):
        start(ledger, number)
        ledger.tell(ended(number))
    ledger.raise_budget(20)
    assert [(trial.number, trial.value) for trial in ledger.trials()] == [(0, 0.5), (1, 0.5)]
    assert ledger.rounds() == searches(20)


def test_missing_driver_says_how_to_get_it():
    with pytest.raises(ValueError, match=r"\(No module named 'pg8000'; for PostgreSQL: pip install"):
        opened("postgresql+pg8000://me@127.0.0.1:1/optuna")


def test_study_that_is_deleted_in_optuna_while_it_runs_is_one_line(storage):
    ledger = opened(storage)
    start(ledger, 0)
    for _ in range(2):  # again, by somebody who was asked before
        delete_study(storage, "mine")
    steps = [ledger.trials, ledger.rounds, lambda: ledger.tell(ended(0)), lambda: start(ledger, 1)]
    for step in [*steps, lambda: ledger.raise_budget(20), lambda: ledger.set_parent_run_id("r")]:
        with pytest.raises(TrackingError, match=r"^study 'mine' was deleted in Optuna's storage: the next start"):
            step()


@pytest.mark.parametrize(
    ("error", "ends"), [(TrackingError("deleted", lasts=True), True), (TakenOverError("by"), False)]
)
def test_run_of_a_study_that_is_deleted_in_optuna_ends(monkeypatch, error, ends):
    study = Mock()
    monkeypatch.setattr("depthcheck.experiments.tracking.close_stale", Mock())
    monkeypatch.setattr(StudyPage, "note", Mock(side_effect=error))
    with pytest.raises(TrackingError):
        StudyPage(study, Mock(), "").close("FAILED")
    assert study.study_run.finish.called is ends
