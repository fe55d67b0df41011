import re
import tomllib
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pandas as pd
import pytest

from depthcheck.experiments.planning import definition
from depthcheck.experiments.planning.definition import starter_toml
from depthcheck.experiments.planning.document import SCHEMA_FILE
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.pipeline.config import DataConfig, SplitChoice
from depthcheck.pipeline.data.tables import table_dataset
from depthcheck.pipeline.prepare.split import resolve
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.scores import METRICS

ROWS = pd.DataFrame(
    {
        "age": [31.0, 45.5, np.nan, 28.0, 61.25, 39.0] * 10,
        "joined": ["2024-01-05", "2023-11-30", "2024-02-29", "2023-01-01", "2022-07-01", "2024-05-17"] * 10,
        'odd "name" = #': ["red", "green", "blue", "red", "green", "red"] * 10,
        "y": ["yes", "no", "yes", "no", "no", "yes"] * 10,
    }
)
CONFIG = DataConfig(name="people.csv", target="y")


def people(config=CONFIG, n_times: int = 1) -> Dataset:
    rows = ROWS.fillna({"age": 1.0}) if config.weight else pd.concat([ROWS] * n_times)
    return table_dataset(rows, config, name="people.csv", source="a test", log=lambda _line: None)


def starter(config=CONFIG, dataset: Dataset | None = None) -> str:
    dataset = dataset or people(config)
    return starter_toml(dataset, config, path="people.csv", command="mlflow run . -P experiment=people.toml")


def test_first_line_leads_editors_to_the_shipped_schema():
    first, address = starter().splitlines()[0].split()
    assert first == "#:schema"
    assert Path(url2pathname(urlsplit(address).path)) == SCHEMA_FILE
    assert SCHEMA_FILE.is_file()


def test_starter_is_a_definition_as_it_stands():
    experiment = definition.parse(tomllib.loads(starter()), name="people")

    assert experiment.data == CONFIG
    assert set(experiment.compare) == {"depth", "optimizer"}


def uncommented(text: str) -> Experiment:
    text = re.sub(r"^# (?=\S+ = [^.])", "", text, flags=re.MULTILINE)
    text = re.sub(r'^# (?="odd)', "", text, flags=re.MULTILINE)
    return definition.parse(tomllib.loads(text), name="people")


def test_every_guess_can_be_uncommented_and_stays_what_was_guessed():
    experiment = uncommented(starter())

    assert (experiment.data.task, experiment.data.metric) == ("classification", "auc")
    assert dict(experiment.data.columns) == {"age": "numeric", "joined": "date", 'odd "name" = #': "categorical"}
    assert (experiment.class_weight, experiment.split.folds, experiment.split.method) == ("balanced", 5, "stratified")


@pytest.mark.parametrize(
    "dataset",
    [
        people(),
        people(n_times=40),
        people(DataConfig(name="people.csv", target="age")),
        replace(people(), is_valid=np.arange(60) < 20),
        replace(people(), X_test=people().X, y_test=people().y),
    ],
)
def test_guesses_of_the_split_and_of_what_is_equal_are_what_is_done_without_them(dataset):
    experiment = uncommented(starter(dataset=dataset))
    assert resolve(experiment.split, dataset) == resolve(SplitChoice(), dataset)
    assert experiment.budget.equivalence == METRICS[dataset.metric].equivalence


@pytest.mark.parametrize("key", ["group", "time", "weight", "sheet", "query"])
def test_named_columns_are_written_as_given(key):
    column = {"time": "joined", "weight": "age"}.get(key, 'odd "name" = #')
    config = DataConfig(name="people.csv", target="y", **{key: column})

    assert definition.parse(tomllib.loads(starter(config)), name="people").data == config
    assert (column in dict(uncommented(starter(config)).data.columns)) == (key in ("sheet", "query"))


def test_auc_is_offered_for_two_classes_alone():
    assert "accuracy or auc" in starter()
    assert "auc" not in starter(DataConfig(name="people.csv", target='odd "name" = #'))
