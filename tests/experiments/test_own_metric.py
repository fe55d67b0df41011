"""A user's own metric: its direction, what it gets, what it is logged as, and what an interval of it rests on."""

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from depthcheck.experiments.cluster import launch
from depthcheck.experiments.planning import definition, space
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.pipeline.config import DataConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.metrics import Objective, left_out
from depthcheck.pipeline.own import OwnCodeError, OwnMetric
from depthcheck.pipeline.prepare.prepare import out_of_fold
from depthcheck.pipeline.records import Cut, Dataset, Predictions
from depthcheck.pipeline.scores import METRICS, SHIPPED_METRICS, r2
from depthcheck.pipeline.training import reference
from depthcheck.pipeline.training.reference import scale_of_metric
from depthcheck.reports.compare.example_scores import (
    auc_scores,
    difference_by_units,
    fold_scores,
    judged_examples,
    r2_scores,
    units_of,
)

SOURCE = """
import numpy as np


def error(y_true, y_pred, sample_weight=None):
    y_pred -= 0  # an array of its own
    return np.average(y_pred.argmax(axis=1) != y_true, weights=sample_weight)


def gap(y_true, y_pred):
    return np.abs(y_true - y_pred).mean()


def unweighted(y_true, y_pred):
    raise KeyError("of mine")


def constant(y_true, y_pred):
    return 3


def text(y_true, y_pred):
    return "high"


def alone(y_pred):
    return 1


def strict(y_true, y_pred):
    if len(set(y_true)) < 2 or not len(y_true):
        raise ValueError("not defined for one class")
    return np.mean(y_pred.argmax(axis=1) == y_true)


def unsure(y_true, y_pred):
    return np.nan if y_pred[:, 0].std() > 0 else 0.5
"""
DOCUMENT = {
    "data": {"name": "digits", "metric": "my_metrics.py:error", "direction": "minimize"},
    "budget": {"trials": 13, "epochs": 1},
    "compare": {"depth": [0, 1]},
    "tune": {"units": [4, 8]},
    "fixed": {"activation": "relu", "optimizer": "adam", "learning_rate": 0.01, "batch_size": 64},
}


@pytest.fixture(autouse=True)
def _forgets() -> Iterator[None]:
    """Let other tests of the process see the project's own metrics alone."""
    yield
    for name in METRICS.keys() - set(SHIPPED_METRICS):
        del METRICS[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_metrics.py").write_text(SOURCE)
    return tmp_path


def own(function: str, direction: str = "minimize") -> OwnMetric:
    return OwnMetric(file="my_metrics.py", function=function, source=SOURCE, direction=direction)


def known(metric: OwnMetric) -> str:
    key = DataConfig(name="digits", own_metric=metric).metric
    assert key is not None
    return key


def classes(n: int = 60) -> Dataset:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    return Dataset(
        name="made up", sha256="a" * 64, source="here", X=rng.normal(size=(n, 2)).astype(np.float32), y=y,
        class_names=("a", "b", "c"),
    )  # fmt: skip


def test_metric_is_part_of_the_study_and_comes_back_from_logged_parameters(folder: Path):
    experiment = definition.parse(DOCUMENT, name="own", base=folder)
    key = experiment.data.metric
    assert key == f"neg_error-{own('error').sha256[:8]}"
    logged = {name: str(value) for name, value in experiment.data.to_params().items()}
    pickled, stored = pickle.dumps(experiment.data), json.loads(json.dumps(experiment.as_json()))
    del METRICS[key]  # as in another process
    for again in (
        lambda: DataConfig.from_params(logged),
        lambda: pickle.loads(pickled),
        lambda: Experiment.from_json("own", stored).data,
    ):
        assert again() == experiment.data
        assert METRICS.pop(key).name == "negative error"
    (folder / "my_metrics.py").write_text(SOURCE + "# another text\n")
    other = definition.parse(DOCUMENT, name="own", base=folder)
    assert other.study_name("a") != experiment.study_name("a")
    assert other.data.metric != key


def test_command_line_takes_the_place_of_the_definitions_metric(folder: Path):
    experiment = definition.parse(DOCUMENT, name="own", base=folder)
    fields = definition.metric_fields("my_metrics.py:gap", "minimize", folder)
    assert experiment.with_data(**fields).data.own_metric == own("gap")
    shipped = experiment.with_data(**definition.metric_fields("accuracy", None, folder)).data
    assert (shipped.metric, shipped.own_metric) == ("accuracy", None)
    named = DataConfig(name="digits", metric="accuracy")
    assert definition.parse(DOCUMENT, name="own", base=folder, data=named).data == named


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction": None}, r"^direction must be maximize or minimize beside a metric of your own, got nothing"),
        ({"direction": "up"}, r"^data\.direction must be one of maximize, minimize, got 'up'"),
        ({"metric": "auc"}, r"^direction must be left out without a metric of your own, got 'minimize'"),
        ({"metric": "my_metrics.py:none"}, r"^metric must be a function of my_metrics\.py \(error, gap, .*got 'none'"),
        (
            {"metric": "my_metrics.py:alone"},
            r"^my_metrics\.py:alone must take y_true, y_pred and perhaps",
        ),
        (
            {"metric": "my_metrics.py:gap", "weight": "w"},
            r"^my_metrics\.py:gap must take sample_weight where rows",
        ),
    ],
)
def test_wrong_metric_is_one_line(folder: Path, change: dict[str, str | None], message: str):
    data = {name: value for name, value in {**DOCUMENT["data"], **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        definition.parse({**DOCUMENT, "data": data}, name="own", base=folder)


def test_region_may_be_as_wide_as_a_metric_of_ones_own_asks(folder: Path):
    wide = {**DOCUMENT, "budget": {**DOCUMENT["budget"], "equivalence": 5}}
    assert definition.parse(wide, name="own", base=folder).budget.equivalence == 5
    with pytest.raises(ValueError, match=r"^budget\.equivalence must be a number above 0 and below 1, got 5"):
        definition.parse({**wide, "data": {"name": "digits"}}, name="ours", base=folder)


def test_metric_gets_probabilities_or_numbers_in_their_unit_and_what_has_diverged_it_never_sees():
    y, logits = np.array([0, 1, 1]), np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]))
    objective = Objective(metric=known(own("error")))
    assert objective.score(y, logits) == pytest.approx(-1 / 3)
    assert objective.score(y, logits, np.array([1.0, 1, 2])) == pytest.approx(-1 / 2)
    assert np.allclose(objective.said(logits + 7).sum(axis=1), 1)
    assert objective.served.said(np.exp(logits)) == pytest.approx(np.exp(logits))
    assert np.isnan(objective.score(y, np.full_like(logits, np.nan)))
    numbers = Objective(metric=known(own("gap")), mean=10, sd=2, task="regression")
    assert numbers.score(np.array([10.0, 14]), np.array([[0.0], [1.0]])) == pytest.approx(-1)
    assert set(numbers.evaluation("test", 0.0, y, logits[:, :1]).secondary) == {"rmse", "mae"}


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (own("unweighted"), r"^my_metrics\.py:15: KeyError: 'of mine'$"),
        (own("text"), r"^my_metrics\.py:text must return one number, got str$"),
        (own("constant"), r"^my_metrics\.py:constant with direction minimize must score a perfect answer better than "),
        (own("error", "maximize"), r"with direction maximize must score .* than guessing, got 0 against 0\.\d+$"),
    ],
)
def test_metric_that_cannot_be_used_is_one_line(metric: OwnMetric, message: str):
    with pytest.raises(OwnCodeError, match=message):
        scale_of_metric(replace(classes(), metric=known(metric)), SplitConfig())


@pytest.mark.parametrize("more", [{}, {"y_test": np.array([0, 1, 2, 2]), "X_test": np.zeros((4, 2), np.float32)}])
def test_guessing_and_a_perfect_answer_are_scored_on_each_part_or_over_all_folds(
    more: dict, monkeypatch: pytest.MonkeyPatch
):
    for takes_long in ("prepare", "prepared"):
        monkeypatch.delattr(reference, takes_long)
    data = replace(classes(), y=np.repeat([0, 1, 2], [40, 10, 10]), metric=known(own("error")), **more)
    scale = scale_of_metric(data, SplitConfig() if more else SplitConfig(folds=6))
    assert scale["perfect"] == 0
    assert scale["train"] == pytest.approx(-1 / 3, abs=0.05)
    # No fold of ten rows has that.
    assert more or scale["guess"] == pytest.approx(-1 / 3)
    assert scale.get("test") == (-0.75 if more else None)


def test_metric_is_tried_in_a_process_that_knows_no_file_beside(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    (folder / "beside.py").write_text("x = 1\n")
    (folder / "my_metrics.py").write_text(
        "import importlib\n\n\ndef error(y, said):\n    importlib.import_module('beside')\n"
    )
    experiment = definition.parse(DOCUMENT, name="own", base=folder)
    data = replace(classes(), metric=experiment.data.metric)
    at = {"depth": 0, "optimizer": "adam", "learning_rate": 0.01, "batch_size": 64}
    config = space.to_config(experiment, at, seed=0, data_sha256=data.sha256, split=SplitConfig())
    with pytest.raises(OwnCodeError, match=r"^my_metrics\.py:5: ModuleNotFoundError: No module named 'beside'$"):
        launch.try_elsewhere(config, data)


def spread(values: np.ndarray, block: np.ndarray | None) -> float:
    """Return the standard error of the mean by the way that a report takes."""
    of = Predictions(
        y=np.zeros(len(values)), predicted=np.zeros(len(values)), probability=np.zeros(len(values)), scores=values,
        block=block,
    )  # fmt: skip
    judged = judged_examples("mine", of)
    rows = np.stack([judged.scores, judged.scores])
    found = difference_by_units(rows, 0 * rows, units_of([judged], "random"), pseudo_observations=0.0)
    assert (found.n_examples, found.drawn) == (len(values), "examples")
    return float(np.sqrt(found.example_variance / found.n_examples))


@pytest.mark.parametrize("n", [90, 3_000])
def test_examples_left_out_spread_a_score_as_its_own_formula_does(n: int):
    """As a mean's, R²'s and AUC's (DeLong), and of F1 as the bootstrap's. Of 3,000 blocks are left out."""
    rng = np.random.default_rng(1)
    hit = (rng.random(n) < 0.8).astype(float)
    y = rng.normal(size=n)
    said = y + 0.7 * rng.normal(size=n)
    label = (y > 0).astype(int)
    auc = METRICS["auc"].score
    both = np.stack([-said, said], axis=1)
    for score, scores in (
        (lambda kept: hit[kept].mean(), hit),
        (lambda kept: r2(y[kept], said[kept]), r2_scores(y, said)),
        (lambda kept: auc(label[kept], both[kept], None), auc_scores(label, said)),
    ):
        values, block = left_out(score, n, None, None)
        assert (block is None) == (n == 90)
        assert values.mean() == pytest.approx(score(np.ones(n, bool)))
        error = np.std(scores, ddof=1) / np.sqrt(n)
        assert spread(values, block) == pytest.approx(error, rel=0.06 if block is None else 0.25)
    truth = rng.integers(0, 3, n)
    guess = np.where(rng.random(n) < 0.7, truth, rng.integers(0, 3, n))

    def macro(rows):
        """F1, the mean over classes."""
        sides = [(truth[rows] == of, guess[rows] == of) for of in range(3)]
        return np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in sides])

    values, block = left_out(macro, n, None, None)
    again = np.std([macro(rng.integers(0, n, n)) for _ in range(200)])
    assert spread(values, block) == pytest.approx(again, rel=0.3)


def test_whole_groups_are_left_out_and_weights_count():
    rng = np.random.default_rng(2)
    hit, weight, unit = rng.random(200), rng.random(200), rng.integers(0, 12, 200)
    values, block = left_out(lambda kept: float(np.average(hit[kept], weights=weight[kept])), 200, unit, weight)
    assert block is None
    score = np.average(hit, weights=weight)
    assert values.mean() == pytest.approx(score)
    linear = score + weight / weight.mean() * (hit - score)
    of_groups = [np.bincount(unit, of - score) for of in (values, linear)]
    assert np.allclose(*of_groups)
    values, block = left_out(lambda kept: hit[kept].mean(), 200, np.arange(200), None)
    assert len(np.unique(block)) == 100


@pytest.mark.parametrize("unit", [None, np.zeros(4, np.int64)], ids=["rows", "one group"])
def test_score_that_is_not_defined_without_some_rows_is_known_as_a_whole(unit: np.ndarray | None):
    from depthcheck.pipeline.training.evaluate import judge_outputs

    key = known(own("strict", "maximize"))
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]], np.float32)
    evaluation, said = judge_outputs(np.array([0, 1, 1, 1]), outputs, Objective(metric=key), unit=unit)
    assert evaluation.score == 0.75
    assert judged_examples(key, said) is None
    with pytest.raises(OwnCodeError, match="not defined for one class"):
        judge_outputs(np.ones(4, np.int64), outputs, Objective(metric=key), unit=unit)


def test_network_whose_score_is_no_number_is_worth_what_guessing_is():
    from depthcheck.pipeline.trial import run_trial

    data = replace(classes(), metric=known(own("unsure", "maximize")))
    config = TrialConfig.of(
        {"depth": 0, "optimizer": "adam", "learning_rate": 0.01, "batch_size": 16}, epochs=2, seed=1,
        data=DataConfig(name=data.name, own_metric=own("unsure", "maximize")), data_sha256=data.sha256,
        split=SplitConfig(test_size=0.2),
    )  # fmt: skip
    result = run_trial(config, data).result
    assert (result.state, result.valid.score) == ("diverged", 0.5)


def test_numbers_that_exploded_are_worth_what_guessing_is_whatever_the_metric():
    from depthcheck.pipeline.trial import run_trial

    base, metric = classes(), own("gap")
    y = base.X @ np.array([1.0, 2.0])
    data = replace(base, y=y, class_names=(), task="regression", metric=known(metric))
    config = TrialConfig.of(
        {"depth": 0, "optimizer": "sgd", "learning_rate": 3.0, "batch_size": 16}, epochs=4, seed=1,
        data=DataConfig(name=data.name, own_metric=metric), data_sha256=data.sha256, split=SplitConfig(test_size=0.2),
    )  # fmt: skip
    result = run_trial(config, data).result
    assert np.isfinite(result.history.valid_loss).all()
    assert min(result.history.valid_score) < -100
    assert (result.state, result.valid.score > -5) == ("diverged", True)


def test_folds_are_scored_and_left_out_each_for_itself():
    data = classes(210)
    cuts = [Cut(train=np.arange(150), valid=np.arange(150, 210), config=SplitConfig(folds=2))]
    cuts.append(Cut(train=np.arange(150, 210), valid=np.arange(150), config=SplitConfig(folds=2)))
    hit = np.random.default_rng(3).random(210)
    each = []
    for cut in cuts:
        here = hit[cut.valid]
        values, block = left_out(lambda kept, here=here: here[kept].mean(), len(here), None, None)
        blank = np.zeros(len(here), np.float32)
        y = data.y[cut.valid]
        each.append(Predictions(y=y, predicted=y, probability=blank, scores=values, block=block))
    found = out_of_fold(each, cuts, data)
    assert fold_scores("mine", found) == pytest.approx([hit[150:].mean(), hit[:150].mean()])
    assert len(np.unique(found.block)) == 60 + 100
    judged = judged_examples("mine", found)
    assert judged.scores.mean() == pytest.approx((hit[150:].mean() + hit[:150].mean()) / 2)
