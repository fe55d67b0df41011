"""The stored example: cells as a user would send them, readable by the columns that they are of."""

import json

import numpy as np
import pandas as pd

from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.data.tables import table_dataset
from depthcheck.pipeline.prepare.prepare import example_samples, prepare
from depthcheck.pipeline.records import Cut, Dataset

N = 60
CUT = Cut(train=np.arange(40), valid=np.arange(40, 50), test=np.arange(50, N), config=SplitConfig())


def test_rows_of_every_kind_of_column_are_read_as_the_table_was():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": [f"{number:.1f}".replace(".", ",") for number in rng.normal(40, 9, N)],
            "height": rng.normal(1.7, 0.1, N),
            "member": rng.choice(["yes", "no"], N),
            "flag": rng.random(N) > 0.5,
            "since": [f"{day:02d}.{month:02d}.2021" for day, month in rng.integers(1, (29, 13), (N, 2))],
            "seen": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), "D"),
            "colour": rng.choice(["red", "green", "a colour whose name is longer than what a profile shows"], N),
            "y": rng.choice(["bad", "good"], N),
        }
    )
    dataset = table_dataset(frame, DataConfig(name="t", target="y"), name="t", source="here")
    _, preparation = prepare(dataset, CUT)

    samples, features = example_samples(preparation, dataset)

    assert json.loads(json.dumps(samples)) == samples
    assert [set(row) for row in samples] == [set(frame) - {"y"}] * 3
    assert samples[0]["age"] == frame["age"][0]
    assert not any(value is None for name, value in samples[0].items())
    assert features.shape == (3, preparation.n_features)
    assert np.isfinite(features).all()
    for number in ("age", "height"):
        at = preparation.feature_names.index(number)
        np.testing.assert_allclose(features[0, at], preparation.transform(dataset.X[:1])[0, at], rtol=1e-4)


def test_example_of_arrays_is_their_first_samples():
    X = np.arange(40, dtype=np.uint8).reshape(10, 2, 2)
    dataset = Dataset(name="a", sha256="ab" * 32, source="here", X=X, y=np.arange(10) % 2, class_names=("0", "1"))

    samples, features = example_samples(None, dataset)

    assert samples == X[:3].tolist()
    np.testing.assert_array_equal(features, X[:3])
