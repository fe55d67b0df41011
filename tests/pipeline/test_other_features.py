"""Other features of numbers and categories: what scikit-learn itself makes of the training rows, and what travels."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.preprocessing import QuantileTransformer, SplineTransformer

from depthcheck.experiments.planning.definition import check_values
from depthcheck.pipeline.config import DataConfig, ModelConfig, SplitConfig
from depthcheck.pipeline.data.tables import table_dataset
from depthcheck.pipeline.prepare.preparation import load_preparation
from depthcheck.pipeline.prepare.prepare import options_of_features, prepare, prepared
from depthcheck.pipeline.records import Cut, Dataset

N, N_TRAIN = 60, 45
CUT = Cut(train=np.arange(N_TRAIN), valid=np.arange(N_TRAIN, N), config=SplitConfig())


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Return skewed numbers, numbers of which most are 0, numbers with gaps, and two columns of names."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "income": np.exp(rng.normal(8, 2, N)),
            "often 0": np.where(np.arange(N) % 5 > 0, 0.0, rng.normal(3, 1, N)),
            "with gaps": np.where(np.arange(N) % 7 == 3, np.nan, rng.normal(0, 1, N)),
            "town": rng.choice(["a", "b", "c", None], N, p=[0.6, 0.2, 0.1, 0.1]),
            "road": rng.choice(["x", "y"], N),
            "y": rng.choice(["no", "yes"], N),
        }
    )
    frame.loc[N - 1, "town"] = "new"
    return table_dataset(frame, DataConfig(name="t", target="y"), name="t", source="here")


def features(dataset: Dataset, **options: str) -> pd.DataFrame:
    _, preparation = prepare(dataset, CUT, tuple(options.items()))
    return pd.DataFrame(preparation.transform(dataset.X), columns=preparation.feature_names)


def standard(values: np.ndarray) -> np.ndarray:
    return (values - values[:N_TRAIN].mean()) / values[:N_TRAIN].std()


def raw(dataset: Dataset, name: str) -> np.ndarray:
    values = dataset.X[name].to_numpy(np.float64)
    return np.where(np.isnan(values), np.nanmedian(values[:N_TRAIN]), values)


def test_quantiles_are_scikit_learns_with_mean_0_and_standard_deviation_1(dataset: Dataset):
    found, usual = features(dataset, numbers="quantile"), features(dataset)
    assert list(found) == list(usual)
    for name in ("income", "often 0", "with gaps"):
        values = raw(dataset, name)[:, None]
        normal = QuantileTransformer(n_quantiles=N_TRAIN, output_distribution="normal").fit(values[:N_TRAIN])
        np.testing.assert_allclose(found[name], standard(normal.transform(values))[:, 0], atol=1e-4)
    others = [name for name in usual if name not in ("income", "often 0", "with gaps")]
    np.testing.assert_allclose(found[others], usual[others], atol=1e-6)
    assert "with gaps is missing" in others


def test_pieces_span_scikit_learns_linear_splines(dataset: Dataset):
    """Each piece is a sum of its basis of hats; the other features stay as they are."""
    found, usual = features(dataset, numbers="spline"), features(dataset)
    for name in ("income", "with gaps"):
        values = raw(dataset, name)[:, None]
        hats = SplineTransformer(9, degree=1, knots="quantile").fit(values[:N_TRAIN]).transform(values)
        pieces = found[[f"{name}, spline {number}" for number in range(1, 9)]]
        np.testing.assert_allclose(pieces, np.cumsum(hats[:, ::-1], axis=1)[:, -2::-1], atol=1e-4)
    zero = found[[f"often 0, spline {number}" for number in range(1, 9)]]
    assert np.isfinite(zero).all(axis=None)
    assert len(zero[:N_TRAIN].round(3).drop_duplicates()) > 5
    others = [name for name in usual if name in found]
    assert "with gaps is missing" in others
    np.testing.assert_array_equal(found[others], usual[others])


def test_frequency_is_the_logarithm_of_a_categorys_share_of_the_training_rows(dataset: Dataset):
    found, usual = features(dataset, categories="frequency"), features(dataset)
    for name in ("town", "road"):
        texts = dataset.X[name].astype(object).fillna("(missing)")
        shares = texts.map(texts[:N_TRAIN].value_counts(normalize=True))
        logs = np.log(shares.to_numpy())
        expected = np.nan_to_num((logs - np.nanmean(logs[:N_TRAIN])) / np.nanstd(logs[:N_TRAIN]), nan=0.0)
        np.testing.assert_allclose(found[f"{name}, frequency"], expected, atol=1e-5)
    assert found["town, frequency"].iloc[-1] == pytest.approx(0, abs=1e-6)  # unknown while training
    assert [name for name in found if not name.endswith("frequency")] == [name for name in usual if "=" not in name]


@pytest.mark.parametrize("numbers", ["quantile", "spline"])
def test_what_is_saved_is_scikit_learns_own_types_and_does_the_same(dataset: Dataset, numbers: str, tmp_path):
    parts, preparation = prepare(dataset, CUT, (("numbers", numbers), ("categories", "frequency")))
    preparation.save(tmp_path)
    assert skops.io.get_untrusted_types(file=tmp_path / "transformer.skops") == ["numpy.dtype"]
    loaded = load_preparation(tmp_path)
    np.testing.assert_array_equal(loaded.transform(dataset.X.iloc[CUT.valid]), parts.valid.X)
    assert len(loaded.feature_names) == parts.valid.X.shape[1]


def test_data_are_prepared_once_for_each_choice_and_what_changes_nothing_is_none(dataset: Dataset):
    def options(**given: str):
        return options_of_features(ModelConfig(units=(), activation=None, options=tuple(given.items())))

    assert options(numbers="standard", categories="one_hot", initializer="orthogonal") == options() == ()
    spline = options(numbers="spline", categories="one_hot")
    assert spline == (("numbers", "spline"),)
    config = SplitConfig(folds=3)
    first = prepared(dataset, config, spline)
    assert prepared(dataset, config, options(numbers="spline")) is first
    for fold, usual in zip(first, prepared(dataset, config), strict=True):
        np.testing.assert_array_equal(fold.cut.valid, usual.cut.valid)
        assert fold.split.n_features == usual.split.n_features + 3 * 7


def test_values_ask_for_columns_of_their_kind(dataset: Dataset):
    one_kind = {
        kind: dataclasses.replace(dataset, columns=tuple(one for one in dataset.columns if one.kind != kind))
        for kind in ("numeric", "categorical")
    }
    rng = np.random.default_rng(0)
    arrays = {"X": rng.normal(size=(8, 2, 2)), "y": np.arange(8) % 2, "columns": ()}
    image = dataclasses.replace(dataset, **arrays)
    check_values({"numbers": "spline", "categories": "frequency"}, dataset)
    check_values({"numbers": "standard", "categories": "one_hot"}, image)
    for name, value, kind in (("numbers", "quantile", "numeric"), ("categories", "frequency", "categorical")):
        check_values({name: value}, dataset)
        with pytest.raises(ValueError, match=f"^{name} = '{value}' must be for {kind} columns, got none in t$"):
            check_values({name: value}, one_kind[kind])
        with pytest.raises(ValueError, match=rf"{kind} columns, got samples of shape \(2, 2\) in t$"):
            check_values({name: value}, image)
