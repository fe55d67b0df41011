import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import skops.io

import depthcheck.pipeline.prepare.prepare as stage
from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.data.cells import as_samples
from depthcheck.pipeline.data.tables import table_dataset
from depthcheck.pipeline.prepare.preparation import load_preparation
from depthcheck.pipeline.prepare.prepare import prepare, require_features
from depthcheck.pipeline.records import Cut, Dataset, Scaler

N = 60
ROWS = np.arange(N)
CUT = Cut(train=ROWS[:40], valid=ROWS[40:50], test=ROWS[50:], config=SplitConfig())


def raw() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": [f"{number:.1f}".replace(".", ",") for number in rng.normal(40, 9, N)],
            "member": rng.choice(["yes", "no"], N),
            "since": [f"{day:02d}.{month:02d}.2021" for day, month in rng.integers(1, (29, 13), (N, 2))],
            "colour": rng.choice(["red", "green", "blue"], N),
            "id": [f"A{row}" for row in ROWS],
            "y": rng.choice(["bad", "good"], N),
        }
    )
    frame.loc[:4, ["colour", "member", "age"]] = ""
    return frame


def dataset_of(frame: pd.DataFrame | None = None, **said) -> Dataset:
    frame = raw() if frame is None else frame
    return table_dataset(frame, DataConfig(name="t", target="y", **said), name="t", source="here")


def numbers(*values: object, **others: list[object]) -> Dataset:
    """Return a table of one number a row (its cells repeat) and others."""
    cells = [values[row % len(values)] for row in range(N)]
    target = np.random.default_rng(5).choice(["a", "b"], N)  # no copy of a column
    return dataset_of(pd.DataFrame({"x": cells, **others, "y": target}))


def with_x(dataset: Dataset, rows: np.ndarray, value: float) -> Dataset:
    X = dataset.X.copy()
    X.loc[rows, "x"] = np.float32(value)
    return dataclasses.replace(dataset, X=X)


def feature(dataset: Dataset, name: str, cut: Cut = CUT) -> np.ndarray:
    _, preparation = prepare(dataset, cut)
    return preparation.transform(dataset.X)[:, preparation.feature_names.index(name)]


def test_every_kind_of_column_becomes_features_with_names():
    parts, preparation = prepare(dataset_of(), CUT)

    assert preparation.feature_names == (
        "age", "age is missing",
        "since", "since (year sine)", "since (year cosine)", "since (week sine)", "since (week cosine)",
        "member", "member is missing",
        "colour = (missing)", "colour = blue", "colour = green", "colour = red",
    )  # fmt: skip
    assert parts.train.X.dtype == np.float32
    assert parts.train.X.shape == (40, 13)
    assert (len(parts.valid), len(parts.test)) == (10, 10)
    assert np.isfinite(np.vstack([parts.train.X, parts.valid.X, parts.test.X])).all()
    np.testing.assert_allclose(parts.train.X[:, :7].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(parts.train.X[:, :7].std(axis=0), 1, atol=1e-4)
    assert set(np.unique(parts.train.X[:, 7:])) == {0, 1}


def test_missing_numbers_get_the_median_of_the_training_part_and_a_feature_that_says_so():
    dataset = with_x(numbers(0.5, 1.5, 100.5, None), CUT.valid, 7)

    x, is_missing = feature(dataset, "x"), feature(dataset, "x is missing")

    assert x[3] == x[1]
    assert is_missing[3] > 0 > is_missing[1]


def test_missing_only_at_prediction_time_is_the_median_too():
    dataset = numbers(0.5, 1.5, 100.5)
    _, preparation = prepare(dataset, CUT)

    features = preparation.transform(pd.DataFrame({"x": np.float32([np.nan, 1.5])}))

    assert preparation.feature_names == ("x",)
    assert features[0] == features[1]


def test_a_number_far_beyond_the_training_part_is_moved_to_ten_standard_deviations():
    dataset = with_x(numbers(0.5, 1.5), CUT.valid, 1e30)

    assert feature(dataset, "x")[CUT.valid].tolist() == [10.0] * 10


@pytest.mark.parametrize("kind", ["standard", "quantile", "spline", "boolean"])
def test_a_value_that_training_rows_have_or_lack_and_no_other_is_always_0(kind):
    once, new = (False, True) if kind == "boolean" else (7.0, 500.0)
    late = [new if row >= 40 else once if row % 3 else None for row in ROWS]
    kind = "standard" if kind == "boolean" else kind
    parts, preparation = prepare(numbers(0.5, 1.5, once=late), CUT, (("numbers", kind),))
    of_once = [at for at, name in enumerate(preparation.feature_names) if name.startswith("once")]

    assert np.ptp(parts.valid.X[:, of_once[-1]]) == 0
    assert not np.vstack([parts.train.X, parts.valid.X])[:, of_once[:-1]].any()


def test_a_piece_of_a_spline_beyond_all_training_rows_is_always_0():
    dataset = with_x(numbers(0.5, 1.5, 2.5, 2.5), CUT.valid, 50)
    parts, preparation = prepare(dataset, CUT, (("numbers", "spline"),))
    last = preparation.feature_names.index("x, spline 8")

    assert parts.train.X[:, last - 4].any()
    assert not np.vstack([parts.train.X, parts.valid.X])[:, last].any()


def test_columns_that_do_not_vary_in_the_training_part_are_left_out():
    late = ROWS >= 40
    dataset = numbers(
        0.5,
        1.5,
        constant=np.where(late, 3.5, 2.5).tolist(),
        missing=[1.5 + row if row >= 40 else None for row in ROWS],
        colour=np.where(late, "red", "blue").tolist(),
    )

    _, preparation = prepare(dataset, CUT)

    assert preparation.used == ("x",)
    assert preparation.feature_names == ("x",)


def test_a_training_part_in_which_nothing_varies_ends_in_one_line():
    dataset = with_x(numbers(0.5, 1.5), CUT.train, 3)

    with pytest.raises(ValueError, match="columns with two different values in the training part must be at least 1"):
        prepare(dataset, CUT)
    with pytest.raises(ValueError, match="columns with two different values in the training part must be at least 1"):
        require_features(with_x(numbers(0.5, 1.5), ROWS[1:], 3), SplitConfig(folds=5))


def test_rare_categories_share_a_feature_which_unseen_ones_get_too():
    cells = ["red"] * 18 + ["blue"] * 17 + ["pink", "gold"] + ["red"] * 22 + ["new"]
    dataset = numbers(0.5, 1.5, colour=cells)

    rare, red = feature(dataset, "colour = (rare)"), feature(dataset, "colour = red")

    assert np.flatnonzero(rare).tolist() == [35, 36, N - 1]
    assert red[0] == 1
    assert red[N - 1] == 0


def test_unseen_categories_without_rare_ones_are_none_of_those_known():
    cells = ["red", "blue"] * 29 + ["new", None]
    dataset = numbers(0.5, 1.5, colour=cells)
    _, preparation = prepare(dataset, CUT)

    assert preparation.feature_names == ("x", "colour = blue", "colour = red")
    np.testing.assert_array_equal(preparation.transform(dataset.X)[-2:, 1:], 0)


def test_a_column_of_many_categories_gets_no_more_than_32_features():
    rng = np.random.default_rng(0)
    n = 3_000
    frame = pd.DataFrame({"c": [f"c{number}" for number in rng.integers(0, 200, n)], "y": rng.choice(["a", "b"], n)})
    cut = Cut(train=np.arange(2_000), valid=np.arange(2_000, n), config=SplitConfig())

    parts, preparation = prepare(dataset_of(frame), cut)

    assert preparation.n_features == 32
    np.testing.assert_array_equal(parts.valid.X.sum(axis=1), 1)


def test_columns_with_the_same_names_in_the_end_stay_apart():
    dataset = numbers(
        0.5, 1.5, **{"a": ["b_c", "d"] * 30, "a_b": ["c", "d"] * 30, "x is missing": [0.5, 1.5, 2.5] * 20}
    )

    parts, preparation = prepare(dataset, CUT)

    assert parts.train.X.shape[1] == len(preparation.feature_names) == 6


def test_dates_count_days_and_tell_where_in_the_year_and_week_they_are():
    days = pd.to_datetime(["2024-01-01", "2024-01-08", "2024-07-01"]).tolist() * (N // 3)
    dataset = numbers(0.5, 1.5, when=days)

    week, year = feature(dataset, "when (week sine)"), feature(dataset, "when (year cosine)")
    when = feature(dataset, "when")

    np.testing.assert_allclose(week[0], week[1], atol=0.01)
    assert year[2] < year[1] < year[0]
    np.testing.assert_allclose((when[2] - when[0]) / (when[1] - when[0]), 182 / 7, rtol=1e-3)


def test_blocks_and_groups_of_columns_change_nothing(monkeypatch):
    dataset = dataset_of()
    parts, preparation = prepare(dataset, CUT)

    monkeypatch.setattr(stage, "_N_CELLS", 1)
    monkeypatch.setattr("depthcheck.pipeline.prepare.preparation._N_CELLS", 1)
    monkeypatch.setattr("depthcheck.pipeline.prepare.preparation._FEWEST", 3)
    in_pieces, other = prepare(dataset, CUT)

    order = [preparation.feature_names.index(name) for name in other.feature_names]
    np.testing.assert_array_equal(in_pieces.train.X, parts.train.X[:, order])
    np.testing.assert_array_equal(in_pieces.valid.X, parts.valid.X[:, order])


def test_arrays_are_scaled_as_ever_and_a_test_part_is_cut_from_them():
    rng = np.random.default_rng(0)
    dataset = Dataset(
        name="a", sha256="0", source="h", X=rng.normal(5, 3, (N, 4)), y=ROWS % 2, class_names=("e", "o"), metric="auc"
    )

    parts, scaler = prepare(dataset, CUT)

    assert isinstance(scaler, Scaler)
    np.testing.assert_array_equal(parts.test.X, scaler.transform(dataset.X[CUT.test]))
    assert parts.metric == "auc"


def test_parts_start_where_a_tensor_can_take_them_over_without_a_copy():
    parts, _ = prepare(dataset_of(), CUT)

    assert [part.X.ctypes.data % 64 for part in (parts.train, parts.valid, parts.test)] == [0, 0, 0]


def test_parts_of_a_regression_keep_their_numbers():
    frame = raw().assign(y=np.arange(N) / 4)

    parts, _ = prepare(dataset_of(frame), CUT)

    assert (parts.task, parts.metric, parts.train.y.dtype) == ("regression", "r2", np.float32)
    np.testing.assert_array_equal(parts.valid.y, np.arange(40, 50, dtype=np.float32) / 4)


def test_a_saved_preparation_does_to_raw_rows_what_training_did(tmp_path):
    dataset = dataset_of()
    parts, preparation = prepare(dataset, CUT)
    preparation.save(tmp_path / "saved")

    loaded = load_preparation(tmp_path / "saved")
    shuffled = raw().iloc[CUT.valid, ::-1].drop(columns=["y", "id"]).assign(more="x")

    np.testing.assert_array_equal(loaded.transform(as_samples(shuffled, loaded.columns)), parts.valid.X)
    fields = [field.name for field in dataclasses.fields(loaded) if field.name != "transformer"]
    assert [getattr(loaded, field) for field in fields] == [getattr(preparation, field) for field in fields]


def reviews(**said) -> Dataset:
    """Return texts of 40 films, of which every fifth is missing, beside a number."""
    texts = [f"a {('good', 'bad')[n % 2]} film{', dull plot' * (n % 3)} once{n}" for n in range(40)]
    frame = pd.DataFrame(
        {"review": [None if n % 5 == 4 else text for n, text in enumerate(texts)], "x": np.sqrt(range(40))}
    )
    config = DataConfig(name="t", target="y", columns=(("review", "text"),), **said)
    return table_dataset(frame.assign(y=["no", "yes"] * 20), config, name="t", source="here")


OF_REVIEWS = Cut(train=ROWS[:30], valid=ROWS[30:40], config=SplitConfig())


def test_words_of_a_text_become_few_features_that_travel_with_the_model(tmp_path):
    dataset = reviews()
    parts, preparation = prepare(dataset, OF_REVIEWS)
    # Five words are in two training rows: dull comes with plot, and film with either good or bad. Three tell it all.
    assert preparation.feature_names == ("x", *(f"review, words {number}" for number in range(1, 4)))
    assert parts.train.X.mean(axis=0) == pytest.approx(0, abs=1e-5)
    texts = dataset.X["review"].astype(object)
    there = texts.notna().to_numpy()
    is_good = texts[there].str.startswith("a good").to_numpy()
    words = np.column_stack([np.concatenate([parts.train.X, parts.valid.X])[there, 1:], np.ones(there.sum())])
    weights, *_ = np.linalg.lstsq(words, is_good.astype(float))
    assert ((words @ weights > 0.5) == is_good).all()
    preparation.save(tmp_path)
    again = load_preparation(tmp_path)
    new = pd.DataFrame({"x": np.sqrt(range(30, 40)), "review": texts[30:].to_numpy()})
    assert (again.transform(as_samples(new, again.columns)) == parts.valid.X).all()
    assert "once7" not in (tmp_path / "schema.json").read_text()


def test_texts_that_share_no_word_have_nothing_to_tell():
    dataset = reviews()
    texts = pd.Categorical([f"lonely{n} words{n}" for n in range(40)])
    alone = dataclasses.replace(dataset, X=dataset.X.assign(review=texts))
    _, preparation = prepare(alone, OF_REVIEWS)
    assert preparation.feature_names == ("x",)
    with pytest.raises(ValueError, match="columns with words that two rows of the training part share"):
        prepare(dataclasses.replace(alone, columns=alone.columns[:1]), OF_REVIEWS)
    with pytest.raises(ValueError, match="columns with words that two rows of the training part share"):
        require_features(dataclasses.replace(alone, columns=alone.columns[:1]), OF_REVIEWS.config)


def test_what_is_saved_is_json_and_scikit_learns_own_types(tmp_path):
    _, preparation = prepare(dataset_of(), CUT)
    preparation.save(tmp_path)

    schema = json.loads((tmp_path / "schema.json").read_text(encoding="utf-8"))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["schema.json", "transformer.skops"]
    assert (schema["task"], schema["target"], schema["class_names"]) == ("classification", "y", ["bad", "good"])
    assert schema["columns"][0]["form"] == ",."
    # A NumPy dtype, which SimpleImputer keeps, is the only type that skops does not know to be harmless.
    assert skops.io.get_untrusted_types(file=tmp_path / "transformer.skops") == ["numpy.dtype"]


class _Surprise:
    """What someone might put in place of a fitted transformer."""


def test_a_file_with_types_of_others_is_refused(tmp_path):
    _, preparation = prepare(dataset_of(), CUT)
    preparation.save(tmp_path)
    skops.io.dump(_Surprise(), tmp_path / "transformer.skops")

    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException):
        load_preparation(tmp_path)


def test_loading_and_using_a_preparation_needs_no_tensorflow_and_nothing_that_reads_files(tmp_path):
    _, preparation = prepare(dataset_of(), CUT)
    preparation.save(tmp_path)
    program = f"""
import sys
from pathlib import Path
from depthcheck.pipeline.data.cells import as_samples
from depthcheck.pipeline.prepare.preparation import load_preparation
load_preparation(Path({str(tmp_path)!r}))
print(*(name for name in sys.modules if name.startswith(("depthcheck.pipeline", "tensorflow", "keras"))))
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    needed = ("", ".config", ".own", ".records", ".scores", ".data", ".data.cells", ".prepare", ".prepare.preparation")
    assert set(done.stdout.split()) == {f"depthcheck.pipeline{name}" for name in needed}


@pytest.mark.parametrize("cell", [np.inf, -np.inf, 1e308, -1e38, 10**400, "inf", "-Infinity", "1e308", "1e400"])
def test_infinite_number_counts_as_missing_however_it_is_sent(cell):
    columns = dataset_of().columns  # numbers with a decimal comma, yes and no, dates

    for kind in (object, None):
        rows = pd.DataFrame({name: pd.Series([cell], dtype=kind) for name in ("age", "member", "since")})
        samples = as_samples(rows.assign(colour=None), columns)

        assert np.isnan(samples[["age", "member", "since"]].to_numpy(np.float32)).all()


@pytest.mark.parametrize(
    ("rows", "features"),
    [
        ({"age": [40.5], "member": [True], "since": [pd.Timestamp("2021-05-01")]}, True),
        ({"age": ["40,5"], "member": ["Yes"], "since": ["01.05.2021"]}, True),
        ({"age": [40.5], "member": [1], "since": ["2021-05-01"]}, True),
        ({"age": ["40,5"], "member": ["true"], "since": ["2021-05-01T00:00:00Z"]}, True),
        ({"age": [None], "member": [None], "since": [None]}, False),
        ({"age": ["-"], "member": [""], "since": ["unknown"]}, False),
        ({"age": [np.nan], "member": [np.nan], "since": [pd.NaT]}, False),
    ],
)
def test_cells_of_new_rows_may_be_of_any_type_that_says_the_same(rows, features):
    columns = dataset_of().columns

    samples = as_samples(pd.DataFrame({**rows, "colour": [None]}), columns)

    expected = [40.5, 1.0, 18748.0] if features else [np.nan] * 3
    np.testing.assert_array_equal(samples[["age", "member", "since"]].iloc[0].to_numpy(np.float32), expected)


GOOD = {"age": ["40,5", "1"], "member": ["yes", "no"], "since": ["01.05.2021"] * 2, "colour": ["red", "new"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": ["1", "abc"]}, "row 2 of numeric column 'age' must be a number, got 'abc'"),
        ({"age": ["x", "abc"]}, "row 1 of numeric column 'age' must be a number, got 'x' (and 1 more such cells)"),
        ({"member": ["yes", "perhaps"]}, "row 2 of boolean column 'member' must be no or yes, got 'perhaps'"),
        ({"member": [0, 2]}, "row 2 of boolean column 'member' must be no or yes, got '2'"),
        ({"since": [1, 2]}, "row 1 of date column 'since' must be a date, got '1' (and 1 more such cells)"),
        ({"since": ["31.02.2021", None]}, "row 1 of date column 'since' must be a date, got '31.02.2021'"),
        (
            {"age": pd.to_datetime(["2021-01-01"] * 2)},
            "row 1 of numeric column 'age' must be a number, got '2021-01-01'",
        ),
    ],
)
def test_a_cell_that_cannot_be_read_ends_in_one_line(change, message):
    with pytest.raises(ValueError) as trouble:  # noqa: PT011
        as_samples(pd.DataFrame({**GOOD, **change}), dataset_of().columns)

    assert message in str(trouble.value)


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(
        ValueError, match=r"input must have the columns of the training data, 'colour' missing"
    ) as trouble:
        as_samples(pd.DataFrame(GOOD).rename(columns={"colour": "Colour"}), dataset_of().columns)

    assert "did you mean 'Colour'? (columns: age, member, since, Colour)" in str(trouble.value)


def test_a_column_that_is_there_twice_is_refused():
    twice = pd.concat([pd.DataFrame(GOOD), pd.DataFrame(GOOD)[["age"]]], axis=1)

    with pytest.raises(ValueError, match="column 'age' of input must be there once"):
        as_samples(twice, dataset_of().columns)


def test_no_rows_at_all_are_a_table_too():
    dataset = dataset_of()
    _, preparation = prepare(dataset, CUT)

    samples = as_samples(pd.DataFrame(GOOD).iloc[:0], dataset.columns)

    assert preparation.transform(samples).shape == (0, preparation.n_features)
