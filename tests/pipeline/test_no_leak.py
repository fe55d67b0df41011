"""No validation or test row reaches a fitted transformer, whatever the kind of its column."""

import dataclasses

import joblib
import numpy as np
import pandas as pd
import pytest

from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.data.tables import table_dataset
from depthcheck.pipeline.prepare.prepare import prepare
from depthcheck.pipeline.records import Cut, Dataset

N, N_TEST = 120, 20
TRAIN, VALID = np.arange(0, N, 2), np.arange(1, N, 4)
HELD_BACK = np.arange(3, N, 4)
KINDS = ("numeric", "boolean", "date", "categorical", "text")
WORDS = ["a", "good", "film", "bad", "plot", "with", "songs"]


def table() -> Dataset:
    """Return a table of all kinds of columns, also with gaps and constant in training, and its own test part."""
    rng = np.random.default_rng(0)
    n = N + N_TEST
    frame = pd.DataFrame(
        {
            "numeric": rng.normal(5, 2, n),
            "boolean": rng.random(n) < 0.3,
            "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
            "categorical": rng.choice(["a", "b", "c", "rare"], n, p=[0.5, 0.3, 0.18, 0.02]),
            "y": rng.choice(["no", "yes"], n),
        }
    )
    frame["text"] = [" ".join(words) for words in rng.choice(WORDS, (n, 4))]
    for kind in KINDS:
        frame[f"{kind} with gaps"] = frame[kind].astype(object).where(rng.random(n) > 0.2, None)
    frame["date with gaps"] = pd.to_datetime(frame["date with gaps"])
    late = ~np.isin(np.arange(n), TRAIN)
    for kind in KINDS:
        frame[f"{kind} constant in training"] = frame[kind].where(late, frame[kind][0])
    test = frame.iloc[N:].reset_index(drop=True)
    config = DataConfig(name="t", target="y", columns=tuple((name, "text") for name in frame if name[:4] == "text"))
    dataset = table_dataset(frame.iloc[:N], config, name="t", source="here", test=test)
    assert {column.kind for column in dataset.columns} == set(KINDS)
    assert len(dataset.X.columns) == 15
    return dataset


WILD = {
    "huge": lambda n: np.full(n, 1e37, np.float32),
    "missing": lambda n: np.full(n, np.nan, np.float32),
    "constant": lambda n: np.zeros(n, np.float32),
    "noise": lambda n: np.random.default_rng(1).normal(1e6, 1e5, n).astype(np.float32),
}
WILD_CATEGORIES = {
    "huge": lambda n: ["x" * 1000] * n,
    "missing": lambda n: [None] * n,
    "constant": lambda n: ["a"] * n,
    "noise": lambda n: [f"new {number}" for number in range(n)],
}


def changed(X: pd.DataFrame, rows: np.ndarray, how: str, columns=None) -> pd.DataFrame:
    """Return a table whose cells at ``rows`` are others, categories that nobody has seen among them."""
    X = X.copy()
    for name in X.columns if columns is None else columns:
        if X[name].dtype == "category":
            texts = X[name].astype(object)
            texts[rows] = WILD_CATEGORIES[how](len(rows))
            X[name] = pd.Categorical(texts)
        else:
            values = X[name].to_numpy().copy()
            values[rows] = WILD[how](len(rows))
            X[name] = values
    return X


def cut(with_test: bool) -> Cut:
    return Cut(train=TRAIN, valid=VALID, test=HELD_BACK if with_test else None, config=SplitConfig())


@pytest.mark.parametrize(
    ("with_test", "options"),
    [
        (True, ()),
        (False, ()),
        (True, (("numbers", "quantile"), ("categories", "frequency"))),
        (False, (("numbers", "spline"), ("categories", "frequency"))),
    ],
    ids=["test part cut off", "test part of its own", "quantile and frequency", "spline and frequency"],
)
@pytest.mark.parametrize("how", WILD)
def test_nothing_in_validation_or_test_changes_what_was_fitted(how, with_test, options):
    dataset = table()
    rows = np.concatenate([VALID, HELD_BACK])
    elsewhere = dataclasses.replace(
        dataset, X=changed(dataset.X, rows, how), X_test=changed(dataset.X_test, np.arange(N_TEST), how)
    )

    parts, preparation = prepare(dataset, cut(with_test), options)
    parts_elsewhere, preparation_elsewhere = prepare(elsewhere, cut(with_test), options)

    np.testing.assert_array_equal(parts.train.X, parts_elsewhere.train.X)
    assert parts.train.X.tobytes() == parts_elsewhere.train.X.tobytes()
    for fitted in ("used", "categories", "feature_names"):
        assert getattr(preparation, fitted) == getattr(preparation_elsewhere, fitted)
    assert joblib.hash(preparation.transformer) == joblib.hash(preparation_elsewhere.transformer)
    assert not [name for name in preparation.used if name.endswith("constant in training")]
    assert not np.array_equal(parts.valid.X, parts_elsewhere.valid.X)
    assert not np.array_equal(parts.test.X, parts_elsewhere.test.X)


@pytest.mark.parametrize("column", [*KINDS, *(f"{kind} with gaps" for kind in KINDS)])
def test_one_training_cell_changes_the_training_part(column):
    dataset = table()
    row = TRAIN[dataset.X[column].notna().to_numpy()[TRAIN]][0]
    moved = changed(dataset.X, np.array([row]), "missing", [column])

    parts, _ = prepare(dataset, cut(True))
    other, _ = prepare(dataclasses.replace(dataset, X=moved), cut(True))

    assert not np.array_equal(parts.train.X, other.train.X)


@pytest.mark.parametrize("column", [*KINDS, *(f"{kind} with gaps" for kind in KINDS)])
def test_training_cells_change_what_was_fitted(column):
    dataset = table()
    moved = changed(dataset.X, TRAIN[:40], "noise", [column])

    _, preparation = prepare(dataset, cut(True))
    _, other = prepare(dataclasses.replace(dataset, X=moved), cut(True))

    assert joblib.hash(preparation.transformer) != joblib.hash(other.transformer)


def test_order_and_company_of_rows_change_no_feature():
    dataset = table()
    parts, preparation = prepare(dataset, cut(True))

    backwards = preparation.transform(dataset.X.iloc[VALID[::-1]])
    alone = np.vstack([preparation.transform(dataset.X.iloc[[row]]) for row in VALID])

    np.testing.assert_array_equal(backwards[::-1], parts.valid.X)
    np.testing.assert_array_equal(alone, parts.valid.X)
