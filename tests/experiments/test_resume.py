"""Where a study goes on when one of its two stores has lost it, or its data or definition are others."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from optuna.trial import TrialState
from rich.console import Console
from test_doctor import DIGITS, PLAN, SHA256, Study

from depthcheck.experiments import tracking
from depthcheck.experiments.lock import Lock
from depthcheck.experiments.places import Place
from depthcheck.experiments.planning import design
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import Finalist
from depthcheck.experiments.study import session
from depthcheck.experiments.study.ledger import Ledger, study_names
from depthcheck.experiments.study.resume import CannotRebuildError, _add_round, _budgets, recover, resumed
from depthcheck.experiments.study.running import Champion
from depthcheck.experiments.study.session import _register
from depthcheck.experiments.tracking import FINALIST, open_parent, read_run
from depthcheck.experiments.tracking.store import TakenOverError, client
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.records import Dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    digits = load(DIGITS.data, cache=tmp_path_factory.mktemp("cache"))
    return replace(digits, sha256=SHA256)


@pytest.fixture
def study(uri: str, tmp_path: Path) -> Study:
    """Return a study with three trials that have ended.

    ``earlier.db`` is what Optuna had of it after the first, ``running.db`` what it had when the second had begun.
    """
    begun = Study.begin(uri, tmp_path)
    for number in range(3):
        task = begun.start()
        if number == 1:
            shutil.copy(tmp_path / "optuna.db", tmp_path / "running.db")
        begun.ledger.tell(begun.finish(task))
        if number == 0:
            shutil.copy(tmp_path / "optuna.db", tmp_path / "earlier.db")
    begun.end()
    return begun


def trials(ledger: Ledger) -> list[object]:
    return [(t.number, t.state, t.params, t.user_attrs, t.value, t.intermediate_values) for t in ledger.trials()]


def resume(place: Place, data: Dataset, experiment: Experiment = DIGITS, name: str = "mine") -> tuple[Ledger, str]:
    """Start the study and stop before the first trial; return it and what was said."""
    said = io.StringIO()
    with resumed(place, name, experiment, data, is_search=True, console=Console(file=said, soft_wrap=True)) as ledger:
        return ledger, said.getvalue()


def refusal(place: Place, data: Dataset, experiment: Experiment = DIGITS) -> str:
    with pytest.raises(ValueError, match="must be") as caught:
        resume(place, data, experiment)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_trials_that_optuna_has_lost_are_taken_over_from_mlflow(study: Study, data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    Ledger.open(f"sqlite:///{tmp_path / 'other.db'}", "other", {})
    shutil.copy(tmp_path / "other.db", tmp_path / "killed.db")
    Ledger.open(f"sqlite:///{tmp_path / 'killed.db'}", "mine", {**DIGITS.as_json(), "data_sha256": SHA256})
    for name, n_known in (("gone", 0), ("empty", 0), ("other", 0), ("killed", 0), ("earlier", 1), ("running", 2)):
        place = replace(study.place, storage=f"sqlite:///{tmp_path / f'{name}.db'}")
        ledger, said = resume(place, data)
        assert trials(ledger) == trials(study.ledger), name
        assert ledger.parent_run_id == study.run.run_id
        assert f"has {n_known} of the trials of study mine; {3 - n_known} more, which have ended in MLflow" in said
        assert len(said.splitlines()) == 1
        assert resume(place, data)[1] == ""
    assert resume(study.place, data)[1] == ""


def test_what_does_not_fit_the_plan_is_not_taken_over(study: Study, data: Dataset, tmp_path: Path) -> None:
    client(study.place.uri).set_tag(study.ledger.trials()[1].user_attrs["run_id"], "trial_number", "7")
    assert "not in MLflow" not in resume(study.place, data)[1]
    place = replace(study.place, storage=f"sqlite:///{tmp_path / 'gone.db'}")
    assert "of the study's plan; put a copy of that storage back" in refusal(place, data)
    (path,) = tmp_path.rglob("design.json")
    path.unlink()
    place = replace(study.place, storage=f"sqlite:///{tmp_path / 'empty.db'}")
    assert "no session of it noted its definition" in refusal(place, data)
    assert study_names(place.storage) == []


def written(database: Path) -> list[str]:
    """Return what Optuna has written there: not the study's lock, which a start takes before it looks."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return [line for line in connection.iterdump() if "depthcheck_leases" not in line]


def test_study_that_mlflow_has_lost_is_refused_and_no_store_is_made(
    study: Study, data: Dataset, tmp_path: Path, empty_store: Path
) -> None:
    optuna_has, mlflow = written(tmp_path / "optuna.db"), tmp_path / "lost.db"
    place = replace(study.place, uri=f"sqlite:///{mlflow}")
    message = "study 'mine' must be in MLflow too, got 3 trials that have ended in "
    assert refusal(place, data).startswith(message)
    assert not mlflow.exists()
    shutil.copy(empty_store, mlflow)
    assert refusal(place, data).startswith(message)
    assert written(tmp_path / "optuna.db") == optuna_has

    client(study.place.uri).delete_run(study.run.run_id)
    assert "is deleted in MLflow: restore it (depthcheck doctor --study mine --fix)" in refusal(study.place, data)
    client(study.place.uri).restore_run(study.run.run_id)
    client(study.place.uri).delete_run(study.ledger.trials()[1].user_attrs["run_id"])
    ledger, said = resume(study.place, data)
    assert "warning: 1 of 3 trials that have ended are not in MLflow any more (trial 1)" in said
    assert all(trial.state.is_finished() for trial in ledger.trials())


def test_budget_of_a_start_that_mlflow_never_heard_of_is_known_from_the_next() -> None:
    first, later = ({"plan": [{"phase": "compare"}] * n} for n in (20, 500))
    assert _budgets([first, {**later, "budgets": [20, 50, 500]}]) == [20, 50, 500]
    assert _budgets([first, later]) == [20, 500]


def test_confirmed_trials_whom_the_search_did_not_choose_say_which_runs_are_gone() -> None:
    study, runs, plan = confirmed_study(n_confirmed=1)
    study.ledger.trials.return_value = [Mock(number=2, state=TrialState.RUNNING)]
    _add_round(study, runs, [])
    assert study.ledger.add_round.call_args.args[0].runs == (("trial-1", 0),)
    said = r"^trial 20 confirms what the search did not choose; trials without a run: 2 \(mlflow runs restore\)$"
    plan[0]["point"] = {"depth": 2}
    runs[0].tags = {FINALIST: "trial-2"}
    for left, designs in ((runs, []), (runs[1:], [{"plan": plan}])):
        with pytest.raises(CannotRebuildError, match=said):
            _add_round(study, left, designs)


@pytest.mark.parametrize("lost", [{23, 24}, {20, 21, 22, 23, 24}])
def test_round_whose_last_runs_are_lost_ends_where_a_session_noted_it(lost: set[int]) -> None:
    study, runs, plan = confirmed_study(n_confirmed=5)
    _add_round(study, [run for run in runs if run.number not in lost], [{"plan": plan[:5]}, {"plan": plan}])
    assert study.ledger.add_round.call_args.args[0].runs == tuple(("trial-1", index) for index in range(5))
    study.ledger.raise_budget.assert_not_called()


def confirmed_study(*, n_confirmed: int) -> tuple[Mock, list[Mock], list[dict[str, object]]]:
    """Return a study of 20 trials; runs that confirm one, and one of a later search; what a session noted of these."""
    finalist = Finalist(id="trial-1", number=1, origin="compare", selected_score=0.5, stands_for=(), point={"depth": 1})
    study = Mock(experiment=DIGITS, selected=(finalist,), confirm_rounds=[], plan=[None] * 20)
    runs, plan = [], []
    for index in range(n_confirmed + 1):
        of = {"number": 20 + index, "phase": "confirm" if index < n_confirmed else "compare"}
        run = Mock(**of, tags={FINALIST: "trial-1"})
        run.config.fit.seed = design.derive_seed(DIGITS.seed, "confirm", index)
        runs.append(run)
        plan.append({**of, "seed": run.config.fit.seed, "point": finalist.point})
    return study, runs, plan


def test_who_was_taken_over_ends_no_run_of_the_other(study: Study) -> None:
    def taken_over() -> None:
        raise TakenOverError("by another")

    running = study.start()
    study.ledger.lock = Lock(origin="", keep=taken_over)
    with pytest.raises(TakenOverError):
        recover(study.ledger, replace(study.run, continued=True))
    assert client(study.place.uri).get_run(running.run_id).info.status == "RUNNING"


def test_recommended_model_that_is_lost_is_said_and_ends_no_study(study: Study) -> None:
    api = client(study.place.uri)
    run_ids = [trial.user_attrs["run_id"] for trial in study.ledger.trials()]
    models = [read_run(study.place.uri, run_id).model_id or "" for run_id in run_ids]
    api.delete_logged_model(models[0])
    shutil.rmtree(api.get_logged_model(models[1]).artifact_location.removeprefix("file://"))
    without = study.start().run_id
    doctor = "; depthcheck doctor --study mine --fix repairs what can be$"
    former = f"; champion still is the model of run {run_ids[2]}, which was recommended before$"
    for run_id, why, more in (
        (run_ids[0], "cannot register the champion of study mine: ", doctor),
        (run_ids[1], f"the model of run {run_ids[1]} must have the files that were logged, got others: ", "trial$"),
        (without, f"cannot register the champion of study mine: run {without} has no model", doctor),
        ("none", "its run none is gone from MLflow", former),
    ):
        if more == former:
            study.run.set_tags({"champion_run_id": run_ids[2]})
        said, point = io.StringIO(), PLAN[1].point or {}
        champion = Champion(finalist="trial-1", run_id=run_id, mean_score=0.5, n_seeds=1, point=point)
        ended = Mock(champion=champion, study_run=study.run)
        ended.name = "mine"
        assert _register(ended, Console(file=said, soft_wrap=True)) is None
        assert re.match(f"the recommended model is not registered: {why}.*{more}", said.getvalue())


def test_other_data_and_another_definition_are_refused_in_either_store(
    study: Study, data: Dataset, tmp_path: Path
) -> None:
    others, gone = replace(data, sha256="cd" * 32), replace(study.place, storage=f"sqlite:///{tmp_path / 'gone.db'}")
    for place in (study.place, gone):
        assert refusal(place, others).startswith(
            f"data must be those of study 'mine', digits with SHA-256 {SHA256}, got {'cd' * 32} ({data.source}): "
        )
        assert "got another seed; choose another name" in refusal(place, data, replace(DIGITS, seed=99))
    assert not (tmp_path / "gone.db").exists()


def test_study_of_data_that_have_changed_says_whose_they_were(uri: str, data: Dataset, tmp_path: Path) -> None:
    old, new = (DIGITS.study_name(sha256) for sha256 in (SHA256, "cd" * 32))
    open_parent(old, uri=uri, environ={}, params={"data_sha256": SHA256}).finish("KILLED")
    place = Place(uri=uri, storage=f"sqlite:///{tmp_path / 'optuna.db'}", folder=tmp_path)
    ledger, said = resume(place, replace(data, sha256="cd" * 32), name=new)
    assert said.startswith(f"the data have changed since study {old}: SHA-256 was {SHA256}, is {'cd' * 32} (")
    assert (ledger.trials(), ledger.parent_run_id) == ([], None)
    assert resume(place, data, name=old)[1] == ""


@pytest.mark.parametrize("step", ["close_unborn", "close_stale"])
def test_session_that_is_interrupted_before_its_first_trial_leaves_no_run_open(
    study: Study, data: Dataset, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    was = getattr(tracking, step)

    def interrupted(*_: object) -> None:
        monkeypatch.setattr(tracking, step, was)
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking, step, interrupted)
    monkeypatch.setattr(session, "_embedded", lambda _: contextlib.nullcontext(SimpleNamespace(cluster=None)))
    name = "mine" if step == "close_stale" else "new"
    request = session.StudyRequest(experiment=DIGITS, tracking_uri=study.place.uri, study=name)
    monkeypatch.setattr(session, "load", lambda *_, **__: data)
    with pytest.raises(KeyboardInterrupt):
        session.run(request, Console(quiet=True))
    found = {of.study: (of.status, of.state) for of in tracking.studies(study.place.uri)}
    assert found == dict.fromkeys(["mine", name], ("KILLED", "interrupted"))
