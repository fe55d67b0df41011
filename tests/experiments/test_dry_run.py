import dataclasses
import re

import pytest
from rich.console import Console

from depthcheck import api
from depthcheck.experiments.planning import definition
from depthcheck.experiments.planning.design import SearchRound, check_plan, n_to_confirm, plan
from depthcheck.experiments.study.describe import design_rows
from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.data.load import load

DOCUMENT = {
    "data": {"name": "digits"},
    "budget": {"trials": 9, "epochs": 2, "seeds": 2},
    "compare": {"depth": [0, 1], "optimizer": ["sgd", "adam"]},
    "tune": {"learning_rate": {"low": 0.01, "high": 0.1, "log": True}},
    "fixed": {"units": 8, "activation": "relu", "batch_size": 32},
}
NETWORK = {"optimizer": "sgd", "depth": 1, "learning_rate": 0.1}


def test_dry_run_says_what_it_would_train_and_leaves_nothing(tmp_path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    experiment = definition.parse(DOCUMENT, name="tiny")
    api.dry_run(experiment, Console(soft_wrap=True), workers=2)
    said = capsys.readouterr().out
    assert said.startswith(
        "digits: 1,437 samples of 8 x 8 values, 360 more in its test part\ntarget: classification of 10"
    )
    assert "trainings     13: baseline 1, compare 8, 4 on fresh seeds" in said
    assert re.search(
        r"time +about [\w ]+ of training on 2 workers, by timing 4 of them briefly just now; nothing was written\n"
        r" +that is of a new study, without what deciding may add; trials that have ended are not trained again",
        said,
    )
    assert list(tmp_path.iterdir()) == []


def test_dry_run_of_too_few_trials_to_compare_times_the_baseline(capsys: pytest.CaptureFixture[str]):
    experiment = definition.parse({**DOCUMENT, "budget": {"trials": 3, "epochs": 2, "seeds": 0}}, name="tiny")
    api.dry_run(experiment, Console(soft_wrap=True), workers=1)
    said = capsys.readouterr().out
    assert "trainings     3: baseline 1, exploit 2\n" in said
    assert "on 1 worker, by timing 1 of them briefly" in said


@pytest.mark.parametrize(
    ("change", "n_finalists", "of_three"),
    [
        ({}, 2, 1),  # too few to compare the four
        ({"compare": {"depth": [1, 2]}, "fixed": {**DOCUMENT["fixed"], "optimizer": "sgd"}}, 2, 2),
        ({"compare": {}, "fixed": {**DOCUMENT["fixed"], "optimizer": "sgd", "depth": 1}}, 1, 1),
        ({"tune": {}, "fixed": {**DOCUMENT["fixed"], "learning_rate": 0.1}}, 4, 1),
        ({"tune": {}, "compare": {}, "fixed": {**DOCUMENT["fixed"], **NETWORK}}, 1, 1),
    ],
)
def test_trainings_on_fresh_seeds_are_known_beforehand(change, n_finalists, of_three):
    experiment = definition.parse({**DOCUMENT, **change}, name="tiny")
    search = {trials: plan(experiment, [SearchRound(trials=trials)]) for trials in (1, 2, 3, 9)}
    assert n_to_confirm(experiment, search[9]) == n_to_confirm(experiment) == 2 * n_finalists
    assert [n_to_confirm(experiment, search[trials]) for trials in (1, 2, 3)] == [0, 2, 2 * of_three]
    assert all(trial.phase != "confirm" for trial in search[9])


def test_end_of_a_continuous_range_that_never_comes_is_not_refused():
    lion = {"beta_1": {"low": 0.0, "high": 0.95}}
    fixed = {**DOCUMENT["fixed"], "optimizer": "lion", "depth": 1}
    changed = {**DOCUMENT, "compare": {}, "fixed": fixed, "tune": {**DOCUMENT["tune"], "lion": lion}}
    check_plan(definition.parse(changed, name="tiny"), SplitConfig())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"fixed": {**DOCUMENT["fixed"], "clipnorm": 1.0, "clipvalue": 1.0}},
            "gradients must be clipped by one of gradient_clip, clipnorm, clipvalue, global_clipnorm, got "
            "'clipnorm and clipvalue'",
        ),
        (
            {"compare": {"gradient_clip": [0.0, 1.0]}, "fixed": {**DOCUMENT["fixed"], "clipnorm": 1.0, "depth": 1,
             "optimizer": "sgd"}},
            "gradients must be clipped by one of gradient_clip, clipnorm, clipvalue, global_clipnorm, got "
            "'gradient_clip and clipnorm'",
        ),
        (
            {"compare": {"optimizer": ["sgd", "lion"]}, "fixed": {**DOCUMENT["fixed"], "depth": 1},
             "tune": {**DOCUMENT["tune"], "lion": {"beta_1": [0.0]}}},
            "beta_1 of lion must be above 0, got 0.0",
        ),
        (  # what TPE alone would propose
            {"compare": {"optimizer": ["sgd", "lion"]}, "fixed": {**DOCUMENT["fixed"], "depth": 1},
             "tune": {**DOCUMENT["tune"], "lion": {"beta_1": {"low": 0.0, "high": 0.9, "step": 0.1}}}},
            "beta_1 of lion must be above 0, got 0.0",
        ),
        (
            {"budget": {**DOCUMENT["budget"], "trials": 2},
             "tune": {**DOCUMENT["tune"], "adam": {"clipnorm": [1.0], "clipvalue": [1.0]}}},
            "got 'clipnorm and clipvalue'",
        ),
        (
            {"budget": {**DOCUMENT["budget"], "compare": 0},
             "tune": {**DOCUMENT["tune"], "gradient_clip": [0.0, 1.0], "adam": {"clipnorm": [1.0]}}},
            "got 'gradient_clip and clipnorm'",
        ),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together_are_one_line_before_training(tmp_path, monkeypatch, change, complaint):
    monkeypatch.chdir(tmp_path)
    experiment = definition.parse({**DOCUMENT, **change}, name="tiny")
    with pytest.raises(ValueError, match=re.escape(complaint)):
        api.train(experiment, Console(quiet=True), tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "budget"),
    [
        ({}, "9 trials of 2 epochs"),
        ({"compare": {"depth": [0, 1], "epochs": [2, 4]}}, "9 trials"),
        ({"fixed": {**DOCUMENT["fixed"], "epochs": 4}}, "9 trials"),
    ],
)
def test_page_of_a_study_says_which_epochs_there_are_and_which_counts(change, budget, tmp_path):
    fixed = {**DOCUMENT["fixed"], **({"optimizer": "sgd"} if "compare" in change else {})}
    experiment = definition.parse({**DOCUMENT, "fixed": fixed, **change}, name="tiny")
    experiment = dataclasses.replace(experiment, compare={**experiment.compare, "cell": ("GRU", "<b>")})
    rows = dict(design_rows(experiment, load(experiment.data, cache=tmp_path), (), 9, "parts"))
    assert rows["compared"].endswith("cell: GRU, <b>")
    assert rows["budget"] == budget
    assert rows["which epoch counts"] == "the last one; with early stopping the one of the lowest validation loss"
