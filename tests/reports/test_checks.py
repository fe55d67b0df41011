from __future__ import annotations

import dataclasses

import pytest
from study_records import config, design, finalist, history, trial

from depthcheck.pipeline.scores import METRICS
from depthcheck.reports.compare.checks import (
    check_budgets,
    check_confirmed,
    check_divergence,
    check_drift,
    check_edges,
    check_engine,
    check_failures,
    check_judged_on_test,
    check_leaks,
    check_overfitting,
    check_predictions,
    check_region,
    check_scored,
    check_seeds,
    check_settings,
    check_still_improving,
    check_test_openings,
    check_trained,
)
from depthcheck.reports.compare.results import Difference, FinalistRow, LevelRow, Search, Spread
from depthcheck.reports.compare.study_data import SearchRange

ROW = LevelRow(
    factor="depth",
    level="1",
    is_reference=True,
    status="confirmed",
    n_finished=10,
    n_failed=0,
    n_diverged=0,
    n_pruned=0,
    n_untrained=0,
    best=None,
    finalist="one",
    selected_score=0.9,
    valid=None,
    test=None,
    n_params=None,
    seconds=None,
)


def level(**changes):
    return dataclasses.replace(ROW, **changes)


def run_of(*, epochs=None, options=(), **curves):
    """Return a run whose epochs are all that were planned, unless that is told."""
    of, curve = config(), history(**curves)
    model = dataclasses.replace(of.model, options=options)
    fit = dataclasses.replace(of.fit, epochs=epochs or curve.n_epochs)
    return trial(1, dataclasses.replace(of, model=model, fit=fit), phase="confirm", curve=curve)


def finalist_row(of=None, n=5, n_diverged=0):
    return FinalistRow(
        finalist=finalist("one", of or config()),
        valid=Spread(mean=0.8, sd=0.01 if n > 1 else None, n=n) if n else None,
        test=None,
        n_diverged=n_diverged,
        n_params=10,
        seconds=1.0,
    )


def difference(method="seeds and examples"):
    return Difference(
        estimate=0.01, low=0.005, high=0.015, p=0.01, df=4.0, by_seed=(0.01,) * 5, n_examples=100, method=method
    )


def search(**changes):
    fields = {"n_settings": 8, "subset": 2, "n_combinations": 3, "n_incomplete": 0, "n_unscored": 0}
    return Search(**{**fields, "seconds": 6.0, **changes})


RATE = SearchRange(parameter="learning_rate", low=1e-4, high=1e-1, log=True, when=("optimizer", "sgd"))


@pytest.mark.parametrize(
    ("of", "state"),
    [
        (config(learning_rate=0.0001), "warn"),
        (config(learning_rate=0.095), "warn"),
        (config(learning_rate=0.003), "pass"),
        (config(learning_rate=0.0001, optimizer="adam"), "pass"),
    ],
)
def test_edge_of_a_range_is_told_where_the_range_applies(of, state):
    assert check_edges({"one": of}, design(ranges=[RATE]), ()).state == state


def test_edge_is_looked_for_in_each_layer_and_not_where_there_is_no_number():
    units = SearchRange(parameter="units", low=8, high=128)
    assert check_edges({"one": config(2, units=8)}, design(ranges=[units]), ()).state == "warn"
    assert check_edges({"one": config(0)}, design(ranges=[units]), ()).state == "pass"
    activation = SearchRange(parameter="activation", low=0, high=1)
    assert check_edges({"one": config()}, design(ranges=[activation]), ()).state == "pass"


def test_still_improving_is_a_late_gain_that_matters():
    rising = tuple(0.5 + 0.01 * k for k in range(10))
    flat = tuple(min(0.5 + 0.1 * k, 0.8) for k in range(10))
    long = {"train": (0.5,) * 10, "train_loss": (1.0,) * 10, "valid_loss": (1.0,) * 10}
    assert check_still_improving({"one": [run_of(valid=rising, **long)]}, 0.003).state == "warn"
    assert check_still_improving({"one": [run_of(valid=flat, **long)]}, 0.003).state == "pass"
    assert check_still_improving({"one": []}, 0.003).state == "pass"
    # Early stopping has ended it.
    assert check_still_improving({"one": [run_of(epochs=40, valid=rising, **long)]}, 0.003).state == "pass"


def test_overfitting_needs_both_a_rising_and_a_falling_loss():
    rises, falls = (0.5, 0.4, 0.6), (0.5, 0.4, 0.3)
    three = {"train": (0.5,) * 3, "valid": (0.5,) * 3}
    assert check_overfitting({"one": [run_of(valid_loss=rises, train_loss=falls, **three)]}).state == "warn"
    assert check_overfitting({"one": [run_of(valid_loss=rises, train_loss=rises, **three)]}).state == "pass"
    assert check_overfitting({"one": [run_of(valid_loss=falls, train_loss=falls, **three)]}).state == "pass"
    # The weights of the second epoch count.
    stopped = run_of(options=(("early_stopping", 1),), valid_loss=rises, train_loss=falls, **three)
    assert check_overfitting({"one": [stopped]}).state == "pass"


def test_drift_is_named_where_the_mean_of_what_trained_is_far_off():
    of = {"metric": METRICS["r2"], "dummy_score": -48.5}
    far = check_drift(design(**of, dummy_test=-96.74))
    assert far.state == "warn"
    assert "an R² of -48.5 on the validation part and -96.7 on the test part" in far.detail
    assert "an R² of -48.5 on the rows held out: " in check_drift(design(**of, folds=5)).detail
    assert "test part" not in check_drift(design(**of, has_test=False)).detail
    assert check_drift(design(**{**of, "dummy_score": -0.01})) is None
    assert check_drift(design()) is None


def test_more_than_a_fifth_diverged():
    assert check_divergence([level(n_diverged=3)], []).state == "warn"
    assert check_divergence([level(n_diverged=2)], []).state == "pass"
    assert check_divergence([], [finalist_row(n_diverged=1)]).state == "warn"


def test_a_crash_is_counted_by_level():
    check = check_failures([level(), level(level="2", n_failed=4)])
    assert check.state == "warn"
    assert check.detail == "depth 2: 4 of 14 failed"
    assert check_failures([level()]).state == "pass"


def test_budgets_are_of_trials_that_ran():
    assert check_budgets({"depth": [level(), level(level="2", n_failed=5)]}).state == "pass"
    assert check_budgets({"depth": [level(), level(level="2", n_finished=5, n_failed=5)]}).state == "warn"
    assert check_budgets({"depth": [level(), level(level="2", n_finished=7, n_diverged=3)]}).state == "pass"


def test_seeds_and_missing_confirm_runs():
    assert check_seeds([finalist_row(n=5)]).state == "pass"
    assert check_seeds([finalist_row(n=4)]).detail == "one has 4 of 5"
    assert check_seeds([]).state == "warn"
    assert check_confirmed([finalist_row(n=5)], {"one": 10}).detail == "one: 5 of 10 runs"
    assert check_confirmed([finalist_row(n=10)], {"one": 10}).state == "pass"


def test_openings_of_the_test_part_are_shown():
    assert check_test_openings(0).state == "pass"
    assert check_test_openings(3).detail == "opened 3 times before this study"


def test_judged_on_the_validation_part_or_on_nothing_is_a_warning():
    assert [check_judged_on_test(part).state for part in ("test", "valid", None)] == ["pass", "warn", "warn"]


def test_cross_validation_chose_finalists_and_judges_levels_by_what_chose_nothing():
    assert "5-fold cross-validation over the rows that also chose" in check_judged_on_test("valid", 5).detail
    assert "by rows that chose nothing" in check_judged_on_test("valid", 5, is_search=True).detail


def test_missing_predictions_are_told():
    assert check_predictions({"depth 2": difference()}).state == "pass"
    assert check_predictions({}).detail == "there is no interval yet"
    assert "wider" in check_predictions({"depth 2": difference("seeds, examples bounded")}).detail
    assert "alone" in check_predictions({"depth 2": difference("seeds only")}).detail
    both = {"depth 2": difference("settings and examples"), "the best alternative": difference()}
    assert check_predictions(both).detail == (
        "intervals are over settings and test examples; of the recommended model, over seeds and test examples"
    )


def test_few_or_incomplete_settings_are_warned_of():
    assert check_settings(search()).state == "pass"
    assert check_settings(search(n_settings=5)).detail == ("5 at every combination of levels, and a verdict asks for 6")
    assert check_settings(search(n_incomplete=1)).detail == "1 setting is not complete and is left out"
    assert check_settings(search(n_incomplete=2)).detail == "2 settings are not complete and are left out"


def test_networks_without_a_score_are_warned_of():
    assert check_scored(search()).state == "pass"
    assert "nothing was chosen by that" in check_scored(search()).detail
    assert "held out" in check_scored(search(), 5).detail
    assert check_scored(search(n_unscored=1)).detail == "1 network was not, and no level is judged"
    assert check_scored(search(n_unscored=3)).detail == "3 networks were not, and no level is judged"
    some = check_scored(search(n_unscored=3, n_without_examples=2)).detail
    assert some.startswith("1 network was not, and no level is judged; 2 networks have a score and none by single")


def test_never_trained_and_hardly_trained_are_warnings():
    assert "never trained" in check_trained([level(status="never trained")]).detail
    assert check_trained([level(n_untrained=6)]).detail == "depth 1: 6 of 10 trials never beat the dummy baseline"
    assert check_trained([level(n_untrained=5)]).state == "pass"
    for status, said in (
        ("diverged", "every trial diverged"),
        ("failed", "every trial failed"),
        ("no trials", "no trial was run"),
    ):
        assert (check_trained([level(status=status)]).state, check_trained([level(status=status)]).detail) == (
            "warn", f"depth 1: {said}"
        )  # fmt: skip


def test_a_region_as_wide_as_what_is_left_is_warned_of():
    rows = [dataclasses.replace(finalist_row(), valid=Spread(mean=0.995, sd=0.001, n=5))]
    narrow, wide = design(equivalence=0.001), design(equivalence=0.003)
    assert check_region(rows, narrow).state == "pass"
    found = check_region(rows, wide)
    assert found.state == "warn"
    assert "0.3 points is 60% of what is left" in found.detail
    assert check_region([dataclasses.replace(rows[0], valid=Spread(mean=1.0, sd=0.0, n=5))], wide).state == "warn"
    assert check_region([], wide).state == "pass"


def test_engine_is_told_where_not_all_epochs_were_compiled():
    by_steps = "step by step (XLA cannot compile PyFunc)"
    assert check_engine(["compiled", "compiled"]) is None
    some, all_of_them = check_engine([by_steps, "compiled", "compiled"]), check_engine([by_steps, by_steps])
    assert (some.state, all_of_them.state) == ("warn", "pass")
    assert some.detail.startswith(f"1 of 3 trials was trained {by_steps}, the others")
    assert all_of_them.detail == f"2 of 2 trials were trained {by_steps}"


def test_a_column_that_gives_the_target_away_is_a_warning_unless_it_was_left_out():
    alone, copy = ("line [1]", "by itself it tells 100.0% of the classes", False), ("twin", "a copy: left out", True)
    assert check_leaks(()).state == check_leaks((copy,)).state == "pass"
    assert check_leaks((copy,)).detail == "column twin: a copy: left out"
    warning = check_leaks((copy, alone))
    assert (warning.state, warning.detail) == (
        "warn", r"column line \[1\]: by itself it tells 100.0% of the classes"
    )  # fmt: skip
