"""Techniques as dimensions: what each asks of the data, how it is logged, read back and said."""

from pathlib import Path

import numpy as np
import pytest

from depthcheck.experiments.planning import definition, design, space
from depthcheck.pipeline.config import DataConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.dimensions import TECHNIQUES
from depthcheck.reports.compare.study_data import Factor
from depthcheck.reports.text.words import configuration, level

DOCUMENT = {
    "data": {"name": "digits"},
    "budget": {"trials": 9, "epochs": 3},
    "fixed": {
        "depth": 2, "units": 8, "activation": "relu", "optimizer": "adam", "learning_rate": 0.01, "batch_size": 32,
    },
}  # fmt: skip


def experiment(**compare: list[object]) -> definition.Experiment:
    return definition.parse({**DOCUMENT, "compare": compare}, name="techniques")


def configs(of: definition.Experiment) -> list[TrialConfig]:
    planned = design.plan(of, [design.SearchRound(trials=9)])[1:]
    return [space.to_config(of, one.point, seed=1, data_sha256="a" * 64, split=SplitConfig()) for one in planned]


@pytest.mark.parametrize(("name", "levels"), [("epochs", [2, 5]), ("class_weight", ["none", "balanced"])])
def test_what_a_definition_says_once_for_all_can_be_compared(name: str, levels: list[object]):
    of = experiment(**{name: levels})
    found = configs(of)
    assert {getattr(config.fit, name) for config in found} == set(levels)
    for config in found:
        assert space.from_config(config)[name] in levels
        assert TrialConfig.from_params({key: str(value) for key, value in config.to_params().items()}) == config
    (usual,) = {
        TrialConfig.from_params({**config.to_params(), "varied": ""})
        for config in configs(experiment())[:1]
    }  # fmt: skip
    assert name not in space.from_config(usual)
    assert (usual.fit.epochs, usual.fit.class_weight) == (3, None)


@pytest.mark.parametrize("table", ["compare", "tune", "fixed"])
def test_epochs_that_a_definition_says_otherwise_than_in_its_budget_are_changed_there_alone(table: str):
    of = definition.parse(
        {**DOCUMENT, table: {**DOCUMENT.get(table, {}), "epochs": 2 if table == "fixed" else [2, 5]}}, name="x"
    )
    with pytest.raises(ValueError, match=r"^epochs must be said in the definition, which .*, got 9$"):
        of.with_overrides(epochs=9)
    assert of.with_overrides(trials=20).budget.trials == 20


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        (
            {"family": ["mlp", "conv"]},
            "^family = 'conv' must be for samples of height and width, got samples of",
        ),
        ({"augmentation": ["none", "flip"]}, "^augmentation = 'flip' must be for samples of height and width"),
        ({"loss": ["crossentropy", "huber"]}, "^loss = 'crossentropy' must be for classes to predict, got regression"),
        ({"label_smoothing": [0.0, 0.1]}, r"^label_smoothing = 0\.1 must be for classes to predict, got regression in"),
        ({"class_weight": ["none", "balanced"]}, "^class_weight = 'balanced' must be for classes to predict"),
    ],
)
def test_level_that_asks_for_other_data_is_one_line(tmp_path: Path, compare: dict[str, list[object]], message: str):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", x=rng.normal(size=(60, 5)), y=rng.normal(size=60))
    rows = load(DataConfig(name=str(tmp_path / "rows.npz")), cache=tmp_path)
    with pytest.raises(ValueError, match=message):
        definition.check_fits(experiment(**compare), rows)
    fine = {
        name: [value for value in levels if value in ("none", "mlp", "huber", 0.0)] for name, levels in compare.items()
    }
    definition.check_fits(experiment(**fine), rows)


@pytest.mark.parametrize(
    ("fixed", "compare", "more", "message"),
    [
        ({"depth": 1}, {"width_shape": ["constant", "funnel"]}, {"depth": 2}, "^width_shape must be compared at a d"),
        (
            {"optimizer": "sgd", "momentum": 0.0},
            {"nesterov": [False, True]},
            {"momentum": 0.9},
            "^nesterov must be compared with a momentum above 0, got none$",
        ),
        (
            {"depth": 3, "family": "conv"},
            {"residual": [False, True]},
            {"depth": 4},
            "^residual must be compared where .*, got blocks that each halve 8 × 8 pixels$",
        ),
    ],
)
def test_levels_that_are_one_network_are_one_line(tmp_path: Path, fixed, compare, more, message: str):
    digits = load(DataConfig(name="digits"), cache=tmp_path)

    def check(fixed: dict[str, object]) -> None:
        document = {**DOCUMENT, "compare": compare, "fixed": {**DOCUMENT["fixed"], **fixed}}
        definition.check_fits(definition.parse(document, name="t"), digits)

    with pytest.raises(ValueError, match=message):
        check(fixed)
    check({**fixed, **more})


def test_range_is_checked_by_what_it_reaches(tmp_path: Path):
    digits = load(DataConfig(name="digits"), cache=tmp_path)
    of = definition.parse(
        {**DOCUMENT, "compare": {"family": ["conv"]}, "tune": {"label_smoothing": {"low": 0.0, "high": 0.2}}}, name="t"
    )
    definition.check_fits(of, digits)
    with pytest.raises(ValueError, match="'squared' must be for numbers to predict, got classification in digits"):
        definition.check_fits(experiment(loss=["squared"]), digits)


@pytest.mark.parametrize(
    ("factor", "value", "said"),
    [
        ("depth", "2", "Depth 2"),
        ("normalization", "batch", "Batch normalization"),
        ("normalization", "none", "No normalization"),
        ("early_stopping", "3", "Early stopping after 3 (the best epoch counts)"),
        ("early_stopping", "0", "No early stopping (the last epoch counts)"),
        ("residual", "True", "Residual connections"),
        ("label_smoothing", "0.1", "Label smoothing 0.1"),
        ("family", "conv", "Family conv"),
        ("unknown_one", "3", "Unknown one 3"),
    ],
)
def test_level_is_said_as_a_reader_would(factor: str, value: str, said: str):
    assert level(factor, value) == said


def test_level_that_changes_nothing_is_the_reference():
    assert Factor.of("schedule", ("cosine", "constant")).reference == "constant"
    assert Factor.of("early_stopping", ("5", "0")).reference == "0"
    assert Factor.of("residual", ("True", "False")).reference == "False"


def test_configuration_says_what_it_was_built_with():
    found = configs(experiment(normalization=["batch"], schedule=["cosine"], early_stopping=[3]))[0]
    assert configuration(found) == (
        "2 × 8 relu, batch normalization, cosine schedule, early stopping after 3 (the best epoch counts), adam, "
        "learning rate 0.01, batch size 32"
    )


def test_each_technique_is_explained_in_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "any-question.md").read_text()
    for technique in TECHNIQUES:
        assert f"| `{technique.name}` |" in text
        for choice in technique.choices:
            assert choice in text
