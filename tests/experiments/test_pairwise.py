"""Chosen configurations: read from their runs, refused where they cannot be paired."""

import re
from dataclasses import replace

import pytest

from depthcheck.experiments import tracking
from depthcheck.experiments.doctor import examine
from depthcheck.experiments.places import Place
from depthcheck.experiments.planning import definition, design, space
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import FACTOR, frozen_hash, pairwise
from depthcheck.experiments.reproduce.original import find
from depthcheck.experiments.study.ledger import Ledger, require_definition
from depthcheck.experiments.study.running import Resolved, RunningStudy
from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.records import Evaluation, History, TrialResult
from depthcheck.reports.read import choose_study

DIGITS = definition.read(definition.find("digits"))


def logged(
    uri: str,
    numbers: list[int],
    *,
    study: str = "digits-test",
    seed: int = 1234,
    of: int | None = None,
    **fit: int | str,
) -> list[str]:
    """Log trials of the digits plan, or repeats of one, as if trained; return their runs, the study's own last."""
    digits = DIGITS.with_overrides(seed=seed)
    parent = tracking.open_parent(study, uri=uri, environ={})
    plan = design.plan(digits, [design.SearchRound(trials=20)])
    run_ids = []
    for number in numbers:
        at = plan[number if of is None else of].point
        config = space.to_config(DIGITS, at, seed=1, data_sha256="a" * 64, split=SplitConfig())
        config = replace(config, fit=replace(config.fit, **{"epochs": 1, **fit}))
        tags = None if of is None else {tracking.FINALIST: f"trial-{of}"}
        run = tracking.start_trial(parent, number=number, phase="compare", config=config, tags=tags)
        valid = Evaluation(part="valid", loss=1.0, score=0.5, metric="accuracy", n_samples=10)
        run.finish(
            TrialResult(
                config=config, state="finished", history=History(), valid=valid, test=None, n_params=1, fit_seconds=1.0
            )
        )
        run_ids.append(run.run_id)
    parent.log_best(number=numbers[0], run_id=run_ids[0], score=0.5, metric="accuracy", trials_done=1)
    return [*run_ids, parent.run_id]


def test_runs_become_finalists_of_one_factor(uri):
    one, other, _ = logged(uri, [3, 4])
    experiment, finalists, sha256 = pairwise(uri, [one, other], seeds=3, seed=0)
    assert sha256 == "a" * 64
    assert experiment.compare == {FACTOR: ("trial-3", "trial-4")} == {FACTOR: tuple(one.id for one in finalists)}
    assert re.fullmatch(r"Which is better: trial-3 \([a-z].*\) or trial-4 \([a-z].*\)\?", experiment.question)
    plan = design.plan(DIGITS, [design.SearchRound(trials=20)])
    for finalist, number in zip(finalists, (3, 4), strict=True):
        config = space.to_config(experiment, finalist.point, seed=1, data_sha256="a" * 64, split=SplitConfig())
        planned = space.to_config(DIGITS, plan[number].point, seed=1, data_sha256="a" * 64, split=SplitConfig())
        assert (config.model, config.optimizer) == (planned.model, planned.optimizer)


def test_runs_of_several_studies_are_told_apart_by_study(uri):
    (one, _), (other, _) = logged(uri, [3], study="digits-one"), logged(uri, [4], study="digits-two")
    _, finalists, _ = pairwise(uri, [one, other], seeds=3, seed=0)
    assert [one.id for one in finalists] == ["digits-one/trial-3", "digits-two/trial-4"]


@pytest.mark.parametrize("of_other", ["balanced", None])
def test_each_run_is_trained_with_its_own_class_weight(uri, of_other):
    one, _ = logged(uri, [3], study="digits-one", class_weight="balanced")
    other, _ = logged(uri, [4], study="digits-two", class_weight=of_other)
    experiment, finalists, _ = pairwise(uri, [one, other], seeds=3, seed=0)
    configs = [
        space.to_config(experiment, one.point, seed=1, data_sha256="a" * 64, split=SplitConfig()) for one in finalists
    ]
    assert [config.fit.class_weight for config in configs] == ["balanced", of_other or "none"]
    assert experiment.class_weight == (of_other and "balanced")


def test_trials_of_the_same_numbers_of_another_study_are_another_comparison(uri):
    found = []
    for seed in (1, 2):
        runs = logged(uri, [3, 4], study=f"digits-{seed}", seed=seed)[:2]
        experiment, _, sha256 = pairwise(uri, runs, seeds=3, seed=0)
        assert pairwise(uri, runs, seeds=9, seed=0)[0].study_name(sha256) == experiment.study_name(sha256)
        assert Experiment.from_json("comparison", experiment.as_json()).as_json() == experiment.as_json()
        found.append(experiment)
    assert found[0].compare == found[1].compare
    assert found[0].study_name(sha256) != found[1].study_name(sha256)
    with pytest.raises(ValueError, match="got another chosen; choose another name"):
        require_definition("mine", found[0].as_json(), found[1].as_json())


def test_another_run_of_the_same_finalist_is_the_same_comparison_and_list(uri, tmp_path):
    one, other, parent = logged(uri, [3, 4])
    repeat, _ = logged(uri, [25], of=3)
    experiment, finalists, _ = pairwise(uri, [one, other], seeds=3, seed=0)
    again, renumbered, _ = pairwise(uri, [repeat, other], seeds=3, seed=0)
    assert [finalist.number for finalist in renumbered] == [25, 4]
    assert again.study_name("a" * 64) == experiment.study_name("a" * 64)
    study = RunningStudy(
        ledger=Ledger.open(f"sqlite:///{tmp_path / 'optuna.db'}", "mine", experiment.as_json()),
        experiment=experiment,
        resolved=Resolved(data_sha256="", split=SplitConfig(), metric="accuracy", served={}),
        study_run=tracking.StudyRun(tracking_uri=uri, experiment_id="0", run_id=parent, study="mine"),
    )
    assert [study.freeze_finalists(chosen) for chosen in (finalists, renumbered)] == [True, False]
    assert tracking.finalists(uri, parent)["sha256"] == frozen_hash(finalists)  # as Optuna has it: the doctor compares


def test_latest_study_is_one_that_searched_where_there_is_one(uri):
    one, _ = logged(uri, [3])
    comparison = tracking.open_parent("comparison-1", uri=uri, environ={}, params={"compared": FACTOR})
    assert [run.study for run in tracking.studies(uri)] == ["comparison-1", "digits-test"]
    assert choose_study(uri, study=None, run_id=None, environ={}).study == "digits-test"
    with pytest.raises(ValueError, match=f"run {one} must have curves"):  # the one that would be reproduced
        find(uri, run_id=None, study=None)
    assert examine.studies(Place.of(uri, None), None) == ["digits-test"]
    assert choose_study(uri, study="comparison-1", run_id=None, environ={}).run_id == comparison.run_id


def test_study_stands_for_its_best_trial(uri):
    _, other, study = logged(uri, [3, 4])
    _, finalists, _ = pairwise(uri, [study, other], seeds=3, seed=0)
    assert [finalist.number for finalist in finalists] == [3, 4]


def test_trouble_that_passes_is_no_bad_input(uri, monkeypatch):
    logged(uri, [3])

    def locked(_uri: str, run_id: str) -> str:
        raise tracking.TrackingError(f"cannot read {run_id}: database is locked")

    for name in ("best_run", "study_of"):
        monkeypatch.setattr(tracking, name, locked)
    with pytest.raises(tracking.TrackingError, match="is locked"):
        pairwise(uri, ["a", "b"], seeds=3, seed=0)
    with pytest.raises(tracking.TrackingError, match="is locked"):
        choose_study(uri, study=None, run_id="a", environ={})


def test_run_of_another_study_than_the_one_that_is_named_is_refused(uri):
    (one, _), _ = logged(uri, [3], study="digits-one"), logged(uri, [4], study="digits-two")
    assert choose_study(uri, study="digits-one", run_id=one, environ={}).study == "digits-one"
    with pytest.raises(ValueError, match="both of one study, got 'digits-two' and a run of 'digits-one'"):
        choose_study(uri, study="digits-two", run_id=one, environ={})


def test_what_cannot_be_paired_is_refused(uri):
    (one, _), (longer, _) = logged(uri, [3]), logged(uri, [4], epochs=2)
    for run_ids, message in (
        ([one], "runs must be at least two run ids"),
        ([one, one], "different configurations"),
        ([one, longer], "epochs of run .* must be that of the first, 1, got 2"),
        ([one, "nowhere"], "runs must be ids of runs in the tracking store, got 'nowhere'"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            pairwise(uri, run_ids, seeds=3, seed=0)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="seeds of a comparison must be at least 1, got 0"):
        pairwise(uri, [one, longer], seeds=0, seed=0)
