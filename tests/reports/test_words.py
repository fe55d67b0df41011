from __future__ import annotations

import pytest

from depthcheck.pipeline.config import DataConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.dimensions import DIMENSIONS, Dimension
from depthcheck.pipeline.scores import ACCURACY, AUC, METRICS, R2
from depthcheck.reports.compare.results import Spread
from depthcheck.reports.text.answer import plain
from depthcheck.reports.text.methods import _machine
from depthcheck.reports.text.words import (
    configuration,
    duration,
    inside,
    level,
    points,
    score,
    secondary,
    spread,
    with_unit,
)


@pytest.mark.parametrize(
    ("metric", "value", "half", "text"),
    [
        (ACCURACY, 0.0042, 0.0031, "+0.42 points"),
        (AUC, -0.0042, 0.0031, "−0.42 points"),
        (R2, 0.0123, 0.008, "+0.0123 of R²"),
        (R2, -0.0123, 0.2, "−0.01 of R²"),
        (R2, 0.00001, 0.02, "0.000 of R²"),
    ],
)
def test_differences_have_the_metrics_unit_and_their_intervals_digits(metric, value, half, text):
    assert points(metric, value, half) == text


def test_scores_are_percent_but_for_r2():
    of = Spread(mean=0.8531, sd=0.0123, n=5)
    assert with_unit(spread(AUC, of), AUC) == "85.3 ± 1.2 %"
    assert with_unit(spread(R2, of), R2) == "0.853 ± 0.012"
    assert score(R2, -12.3456) == "−12.346"
    single = Spread(mean=0.5, sd=None, n=1)
    assert (spread(R2, single), with_unit(spread(AUC, single), AUC)) == ("0.500 (1 run)", "50.0 % (1 run)")


def test_regions_are_said_in_the_readers_unit():
    assert [metric.region(metric.equivalence) for metric in (METRICS[key] for key in ("accuracy", "auc", "r2"))] == [
        "0.3 points",
        "0.3 points",
        "0.01 of R²",
    ]


def test_errors_stay_in_the_targets_unit():
    assert secondary("rmse", Spread(mean=54_321.0, sd=210.0, n=5)) == "54,321 ± 210"
    assert secondary("mae", Spread(mean=0.01234, sd=0.0005, n=5)) == "0.0123 ± 0.0005"
    assert secondary("accuracy", Spread(mean=0.91, sd=0.01, n=5)) == "91.0 ± 1.0 %"


@pytest.mark.parametrize(("noted", "said"), [({}, "A, 2 cores"), ({"workers": "a cluster"}, "workers: a cluster")])
def test_machine_is_that_of_whoever_trained(noted, said):
    assert _machine({"cpu": "A", "cpus": 2, **noted}) == said


def test_durations_are_minutes_or_hours():
    assert [duration(of) for of in (1, 60, 150, 9000)] == ["1 minute", "1 minute", "2 minutes", "2.5 hours"]


@pytest.mark.parametrize(
    ("factor", "value", "begins", "within"),
    [
        ("depth", "2", "Depth 2", "depth 2"),
        ("normalization", "batch", "Batch normalization", "batch normalization"),
        (
            "early_stopping",
            "0",
            "No early stopping (the last epoch counts)",
            "no early stopping (the last epoch counts)",
        ),
        ("cell", "LSTM", "Cell LSTM", "cell LSTM"),
        ("nHeads", "4*<b>", r"NHeads 4\*\<b\>", r"nHeads 4\*\<b\>"),
        ("configuration", "run-A", "run-A", "run-A"),
    ],
)
def test_levels_keep_the_letters_of_the_user_and_are_no_markup(factor, value, begins, within):
    assert (level(factor, value), inside(factor, value)) == (begins, within)
    assert plain(within).endswith(value) or factor not in ("cell", "nHeads", "configuration")


def test_option_from_outside_is_said(monkeypatch):
    steps = "gradient_accumulation_steps"
    monkeypatch.setitem(DIMENSIONS, steps, Dimension(name=steps, kind="int", low=2))
    config = TrialConfig.of(
        {"depth": 0, "optimizer": "sgd", "learning_rate": 0.125, steps: 2, "batch_size": 32},
        data=DataConfig(name="digits"),
        data_sha256="a" * 64,
        split=SplitConfig(),
        epochs=1,
        seed=1,
    )
    assert (
        configuration(config) == f"no hidden layer, sgd, learning rate 0.12, batch size 32, {steps.replace('_', ' ')} 2"
    )
