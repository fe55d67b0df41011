"""What a worker and the coordinator do to be done sooner, and that it changes nothing."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from depthcheck.experiments import tracking
from depthcheck.experiments.cluster import worker
from depthcheck.experiments.cluster.worker import TrialTask, run_task, score_network, start_run, trained_here
from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.study import coordinator as coordination
from depthcheck.experiments.study.coordinator import Coordinator
from depthcheck.experiments.tracking import reach, trial_run
from depthcheck.experiments.tracking.store import client
from depthcheck.pipeline import trial
from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.data.load import load

DIGITS = definition.read(definition.find("digits"))
PLAN = design.plan(DIGITS, [design.SearchRound(trials=40)])


def test_network_at_hand_says_the_same_of_the_test_part_as_one_that_is_read(uri, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(worker, "_trained", {})
    dataset, parent = load(DIGITS.data, cache=tmp_path), tracking.open_parent("mine", uri=uri, environ={})
    said, read = [], []
    monkeypatch.setattr(tracking, "load_model", lambda *of, was=tracking.load_model: read.append(of) or was(*of))
    for number in range(2):
        config = space.to_config(DIGITS, PLAN[1].point, seed=1, data_sha256=dataset.sha256, split=SplitConfig())
        config = replace(config, fit=replace(config.fit, epochs=1))
        task = TrialTask(study_run=parent, number=number, phase="compare", combination={}, config=config)
        run_id = run_task(task).run_id
        assert trained_here() == [run_id]
        if number:
            worker._trained.clear()
        score_network(parent, run_id, config, None)
        assert not trained_here()  # it is scored once
        said.append(tracking.test_predictions(uri, [tracking.read_run(uri, run_id)])[run_id])
    assert len(read) == 1
    np.testing.assert_array_equal(said[0].predicted, said[1].predicted)
    np.testing.assert_array_equal(said[0].probability, said[1].probability)


def test_network_that_was_trained_again_to_be_scored_says_where_it_is_another(uri, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(worker, "_trained", {})
    monkeypatch.setattr(tracking, "load_model", Mock(side_effect=tracking.TrackingError("lost")))
    dataset, parent = load(DIGITS.data, cache=tmp_path), tracking.open_parent("mine", uri=uri, environ={})
    config = space.to_config(DIGITS, PLAN[1].point, seed=1, data_sha256=dataset.sha256, split=SplitConfig())
    config = replace(config, fit=replace(config.fit, epochs=1))
    run_id = run_task(TrialTask(study_run=parent, number=1, phase="compare", combination={}, config=config)).run_id
    told = []
    for _ in range(2):
        worker._trained.clear()
        score_network(parent, run_id, config, None)
        told.append("scored_network" in tracking.read_run(uri, run_id).tags)
        client(uri).log_metric(run_id, "valid/loss", 0.5, step=1)
    assert told == [False, True]


def test_model_that_diverges_on_all_rows_is_the_first_folds_and_says_so(uri, tmp_path, monkeypatch) -> None:
    dataset, parent = load(DIGITS.data, cache=tmp_path), tracking.open_parent("mine", uri=uri, environ={})
    point, split = PLAN[1].point, SplitConfig(folds=2)
    config = space.to_config(DIGITS, point, seed=1, data_sha256=dataset.sha256, split=split)
    config = replace(config, fit=replace(config.fit, epochs=1))
    told = []

    def unfinite(model, *_, **__) -> None:
        model.set_weights([weight * np.nan for weight in model.get_weights()])

    for diverges in (False, True):
        if diverges:
            monkeypatch.setattr(trial, "fit_whole", unfinite)
        task = TrialTask(
            study_run=parent, number=diverges, phase="confirm", combination={}, finalist="trial-1", config=config
        )
        run = tracking.read_run(uri, run_task(task).run_id)
        told.append(run.tags.get("trained_on"))
        answers = tracking.load_model(uri, run.run_id)(dataset.X[:5].astype(np.float32)).numpy()
        assert np.isfinite(answers).all()
    assert told == [None, "the first fold"]


@pytest.mark.parametrize("comes_back", [False, True])
def test_trial_that_had_ended_when_its_worker_died_stays_as_it_ended(uri, monkeypatch, comes_back) -> None:
    def start(task: TrialTask) -> tracking.TrialRun:
        monkeypatch.setattr(coordination, "start_run", start_run)
        run = start_run(task)
        start_run(task).fail("by the worker, which was cut off")
        return run

    if comes_back:
        monkeypatch.setattr(coordination, "start_run", start)
    parent = tracking.open_parent("mine", uri=uri, environ={})
    config = space.to_config(DIGITS, PLAN[1].point, seed=1, data_sha256="ab" * 32, split=SplitConfig())
    task = TrialTask(study_run=parent, number=1, phase="compare", combination={}, config=config)
    coordinator = object.__new__(Coordinator)
    coordinator._study = Mock()
    died = coordinator._died(task)
    assert died.failure.startswith("by the worker" if comes_back else "its worker died each time")
    assert coordinator._died(task) == died


def test_coordinator_that_slept_has_no_network_scored_a_second_time(monkeypatch) -> None:
    record = Mock(phase="compare", state="finished", evaluation=Mock(return_value=None))
    monkeypatch.setattr(tracking, "trials", lambda *_: [record])
    monkeypatch.setattr(coordination, "as_completed", Mock())
    study, client = Mock(), Mock(cluster=None, asks={})
    client.scheduler_info.return_value = {"workers": {}}
    study.ledger.require_ours.side_effect = tracking.TakenOverError("by another")
    with pytest.raises(tracking.TakenOverError):
        coordination.score_networks(study, client, Mock())
    client.submit.assert_not_called()


def test_second_end_of_which_the_server_went_away_is_taken_back(uri, monkeypatch) -> None:
    parent, was = tracking.open_parent("mine", uri=uri, environ={}), tracking.attempts
    config = space.to_config(DIGITS, PLAN[1].point, seed=1, data_sha256="ab" * 32, split=SplitConfig())
    task = TrialTask(study_run=parent, number=1, phase="compare", combination={}, config=config)
    others: list[tracking.TrialRun] = []

    def train(task: TrialTask, _dataset, run: tracking.TrialRun, _on_epoch) -> None:
        others.append(start_run(task))
        others[0].fail("the other worker's")
        monkeypatch.setattr(trial_run, "attempts", Mock(side_effect=tracking.TrackingError("the server went away")))
        run.fail("ours")

    def comes_back(_address) -> bool:
        monkeypatch.setattr(trial_run, "attempts", was)
        return True

    monkeypatch.setattr(worker, "_train", train)
    monkeypatch.setattr(worker, "load_once", Mock())
    monkeypatch.setattr(reach, "comes_back", comes_back)
    with pytest.raises(tracking.TakenOverError, match="trial 1 was ended by somebody else"):
        run_task(task)
    assert run_task(task).run_id == others[0].run_id  # to whom the coordinator gives it again
    found = was(uri, parent.experiment_id, parent.run_id, 1)
    assert {run.run_id: run.counts for run in found} == {run.run_id: run.run_id == others[0].run_id for run in found}
    assert len(found) == 2


@pytest.mark.parametrize(
    ("running", "compiled", "waiting", "expected"),
    [
        pytest.param([1], [], [2, 3, 4], 2, id="another program"),
        pytest.param([4], [], [6, 5], 5, id="program that is being compiled"),
        pytest.param([4], [4], [6, 5], 6, id="program that is there"),
        pytest.param([4], [], [6, 12], 6, id="nothing else to do"),
        pytest.param([4], [], [6, 37, 5], 6, id="no proposal before its turn, and none before it"),
    ],
)
def test_no_two_workers_compile_a_program_at_once(running, compiled, waiting, expected) -> None:
    """Of digits, 0 is the baseline, 1 and 2 have no hidden layer, 3 to 6 have, with SGD and Adam by turns."""
    coordinator = object.__new__(Coordinator)
    coordinator._points = {trial.number: trial.point for trial in PLAN if trial.point}
    coordinator._running = {number: (PLAN[number], None) for number in running}
    coordinator._compiled = set()
    coordinator._progress = SimpleNamespace(epoch=lambda *_: None)
    coordinator._study = SimpleNamespace(study_run=SimpleNamespace(run_id="ours"))
    for study, numbers in {"ours": compiled, "theirs": [1, 4]}.items():  # on one cluster
        for number in numbers:
            coordinator._on_epoch((0.0, {"study": study, "number": number, "epoch": 1}))
    coordinator._waiting = deque(PLAN[number] for number in waiting)
    assert coordinator._next().number == expected
