import datetime
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.cells import as_samples
from depthcheck.pipeline.data.profile import profile_lines
from depthcheck.pipeline.data.tables import table_dataset

N = 40
Y = ["a", "b"] * (N // 2)


def dataset_of(cells, log=None, test=None, target=Y, **said):
    frame = pd.DataFrame({**cells, "y": target})
    config = DataConfig(name="t.csv", target="y", **said)
    lines = [] if log is None else log
    return table_dataset(frame, config, name="t.csv", source="here", test=test, log=lines.append)


def column_of(cells, **said):
    """Return what is understood of one column beside another, and its typed cells (None where it is ignored)."""
    dataset = dataset_of({"x": cells, "other": [0.5, 1.5] * (N // 2)}, **said)
    column = dataset.columns[0]
    return column, None if column.kind == "ignored" else dataset.X["x"]


def cycle(*cells):
    return [cells[row % len(cells)] for row in range(N)]


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (cycle(1.5, 2, None), "numeric", [1.5, 2, np.nan]),
        (cycle("1.5", "-2", "", "1e3"), "numeric", [1.5, -2, np.nan, 1000]),
        (cycle("1,234.5", "7", "n/a", "-"), "numeric", [1234.5, 7, np.nan, np.nan]),
        (cycle("1.234,5", "7", "0,25"), "numeric", [1234.5, 7, 0.25]),
        (cycle("1 234", "12 345 678", "7"), "numeric", [1234, 12345678, 7]),
        (cycle("12 %", "7 %", "3,5 %"), "numeric", [12, 7, 3.5]),
        (cycle("0 %", "1 %"), "numeric", [0, 1]),
        (cycle("0,0", "1,0", "unknown"), "numeric", [0, 1, np.nan]),
        (cycle("€ 1,200", "€ 7.50", "€ 8"), "numeric", [1200, 7.5, 8]),
        (cycle("\u22125", "3", "1,5"), "numeric", [-5, 3, 1.5]),
        (cycle(np.inf, 2.5, 3), "numeric", [np.nan, 2.5, 3]),
        (cycle(1e300, 2.5, 3), "numeric", [np.nan, 2.5, 3]),
        (cycle("yes", "No", "YES", "no", ""), "boolean", [1, 0, 1, 0, np.nan]),
        (cycle("ja", "nein", "?"), "boolean", [1, 0, np.nan]),
        (cycle("true", "false"), "boolean", [1, 0]),
        (cycle("0", "1", ""), "boolean", [0, 1, np.nan]),
        (cycle(0, 1), "boolean", [0, 1]),
        (cycle(True, False), "boolean", [1, 0]),
        (cycle(True, False, None), "boolean", [1, 0, np.nan]),
        (cycle("1970-01-02", "2024-02-29", ""), "date", [1, 19782, np.nan]),
        (cycle("1970-01-02T12:00:00Z", "1970-01-02 18:00"), "date", [1.5, 1.75]),
        (cycle("31.12.1970", "01.01.1971"), "date", [364, 365]),
        (cycle("12/31/1970", "01/01/1971"), "date", [364, 365]),
        (cycle("2 Jan 1970", "31 Dec 1970"), "date", [1, 364]),
        (cycle("1970-02", "1971-01"), "date", [31, 365]),
        (cycle("Feb 1970", "Jan 1971"), "date", [31, 365]),
        (cycle(datetime.datetime(1970, 1, 3), None, datetime.datetime(1970, 1, 4)), "date", [2, np.nan, 3]),
        (cycle("9999-12-31", "1969-12-31"), "date", [2932896, -1]),
    ],
)
def test_cells_are_understood_and_typed(cells, kind, values):
    column, typed = column_of(cells)

    assert column.kind == kind, column
    assert typed.dtype == np.float32
    expected = np.array([values[row % len(values)] for row in range(N)], np.float32)
    np.testing.assert_array_equal(typed, expected)
    assert column.n_missing == np.isnan(expected).sum()


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (cycle("red", " blue", "", "NA"), ["red", "blue", None, None]),
        (cycle("none", "red", "-"), ["none", "red", "-"]),
        (cycle("01234", "99999", "00007"), ["01234", "99999", "00007"]),
        (pd.Categorical(cycle("3", "1", None)), ["3", "1", None]),
        (pd.Categorical(cycle(3, 1, None)), ["3", "1", None]),
        (cycle("1", "2", "three", "four", "5"), ["1", "2", "three", "four", "5"]),
        (cycle("1/2", "3/4"), ["1/2", "3/4"]),
        (cycle(1, "x", None), ["1", "x", None]),
    ],
)
def test_names_become_sorted_categories_of_text(cells, values):
    column, typed = column_of(cells)

    assert column.kind == "categorical", column
    assert [None if pd.isna(cell) else cell for cell in typed[: len(values)]] == values
    assert column.categories == tuple(typed.cat.categories) == tuple(sorted({v for v in values if v is not None}))


@pytest.mark.parametrize(
    ("name", "cells", "why"),
    [
        ("x", [f"K{row}" for row in range(N)], "another in every row"),
        ("x", list(range(1000, 1000 + N)), "another in every row: an identifier"),
        ("x", [str(3 * N - row) for row in range(N)], "another in every row: an identifier"),
        ("customer_id", [row**2 for row in range(N)], "another in every row: an identifier"),
        ("x", cycle("always"), "always always"),
        ("x", cycle(7), "always 7"),
        ("x", cycle(None), "no cell has a value"),
        ("x", cycle("", "NaN"), "no cell has a value"),
        ("x", [f"a note on {row % 30}" for row in range(N)], "30 different ones: too many to learn from"),
    ],
)
def test_columns_with_nothing_to_learn_from_are_ignored_and_why_is_said(name, cells, why):
    dataset = dataset_of({name: cells, "other": cycle(0.5, 1.5)})

    assert dataset.columns[0].kind == "ignored"
    assert why in dataset.columns[0].why
    assert list(dataset.X) == ["other"]


@pytest.mark.parametrize(
    "cells",
    [
        list(range(1700, 1700 + N)),
        [row**2 for row in range(N)],
        [row + 0.5 for row in range(N)],
        cycle("flag", None),
        cycle(5.0, None),
    ],
    ids=["years", "a measure", "halves", "a text or nothing", "a number or nothing"],
)
def test_columns_that_only_look_like_identifiers_or_constants_are_kept(cells):
    column, _ = column_of(cells)

    assert column.kind != "ignored", column


def test_row_numbers_are_seen_through_the_gaps_that_rows_without_a_target_leave():
    target = [None if row in (3, 17) else answer for row, answer in enumerate(Y)]

    dataset = dataset_of({"row": list(range(N)), "x": cycle(0.5, 1.5)}, target=target)

    assert dataset.columns[0].kind == "ignored"


def test_whole_numbers_with_few_values_stay_numbers_and_the_profile_says_so():
    column, _ = column_of(cycle(1, 2, 3))

    assert column.kind == "numeric"
    assert "only 3 different ones: say categorical if they are names" in column.why


def test_a_few_dirty_cells_do_not_turn_numbers_into_names():
    log = []
    cells = [*(f"{row * 1.5}" for row in range(N - 1)), "see note"]

    dataset = dataset_of({"x": cells}, log=log)

    assert (dataset.columns[0].kind, dataset.columns[0].n_missing) == ("numeric", 1)
    assert dataset.columns[0].missing_texts == ("see note",)
    assert log == ["column 'x': numbers; what is none counts as missing: 'see note'"]


def test_marks_in_what_is_no_number_say_nothing_of_how_numbers_are_written():
    column, _ = column_of([*(str(row * 2) for row in range(N - 1)), "k. A., 5"])

    assert column.why == "whole numbers; what is none counts as missing: 'k. A., 5'"


def test_a_date_that_can_be_read_in_two_ways_is_read_day_first_and_said():
    log = []

    dataset = dataset_of({"x": cycle("03/04/1970", "05/06/1970")}, log=log)

    assert dataset.X["x"][0] == 31 + 28 + 31 + 3 - 1
    said = "(month/day/year would do too: no cell tells; say 'month first' if so)"
    assert log == [f"column 'x': dates read as day/month/year {said}"]


@pytest.mark.parametrize("prices", [("0,5", "1.200,75"), ("0,5 EUR", "8 EUR"), ("1.234,5 kg", "-")])
def test_points_are_marks_of_thousands_where_another_column_has_decimal_commas(prices):
    alone, _ = column_of(cycle("1.234", "7"))
    dataset = dataset_of({"x": cycle("1.234", "7"), "price": cycle(*prices)})

    assert alone.form == ""
    assert dataset.X["x"][0] == 1234


def test_a_comma_before_three_digits_is_a_mark_of_thousands_and_that_it_may_not_be_is_said():
    log = []

    dataset = dataset_of({"x": cycle("1,234", "7")}, log=log)

    assert dataset.X["x"][0] == 1234
    assert "the comma could be a decimal one: no cell tells" in log[0]


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (cycle(3, 1, 2), "categorical", ["3", "1", "2"]),
        (cycle(1.5, 2.0), "categorical", ["1.5", "2"]),
        (cycle("01", "02", "03"), "numeric", [1, 2, 3]),
        ([str(row) for row in range(N)], "numeric", [0, 1, 2, 3]),
        (cycle("big", "small"), "boolean", [0, 1]),
        (cycle("1970-01-02"), "date", [1]),
        (cycle(2024, 2023), "ignored", None),
    ],
)
def test_what_the_user_says_of_a_column_comes_first(cells, kind, values):
    column, typed = column_of(cells, columns=(("x", kind),))

    assert column.kind == kind
    assert column.why.startswith("as you say")
    if values is not None:
        assert list(typed[: len(values)]) == values


def test_target_of_texts_is_classes_in_sorted_order_judged_by_auc_where_there_are_two():
    dataset = dataset_of({"x": cycle(0.5, 1.5, 2.5)}, target=cycle("no", "yes"))

    assert (dataset.task, dataset.class_names, dataset.metric) == ("classification", ("no", "yes"), "auc")
    assert dataset.y.dtype == np.int64
    assert list(dataset.y[:2]) == [0, 1]


def test_target_of_few_whole_numbers_is_classes_in_the_order_of_numbers():
    dataset = dataset_of({"x": cycle(0.5, 1.5, 2.5)}, target=cycle(10, 9, 2))

    assert (dataset.class_names, dataset.metric) == (("2", "9", "10"), "accuracy")


@pytest.mark.parametrize(
    "target",
    [
        [row / 8 for row in range(N)],
        [f"{row},5" for row in range(N)],
        [row * 7 for row in range(N)],
        [row // 3 for row in range(N)],
    ],
)
def test_target_of_many_numbers_is_a_regression(target):
    dataset = dataset_of({"x": cycle(0.5, 1.5, 2.5)}, target=target)

    assert (dataset.task, dataset.metric, dataset.class_names) == ("regression", "r2", ())
    assert dataset.y.dtype == np.float32
    assert dataset.y[1] == float(str(target[1]).replace(",", "."))


def test_task_and_metric_can_be_told():
    numbers = dataset_of({"x": cycle(0.5, 1.5)}, target=cycle(1, 2, 3), task="regression")
    classes = dataset_of({"x": cycle(0.5, 1.5)}, target=cycle(1.5, 2.5), task="classification", metric="accuracy")

    assert (numbers.task, numbers.metric) == ("regression", "r2")
    assert (classes.class_names, classes.metric) == (("1.5", "2.5"), "accuracy")


def test_rows_without_a_target_are_left_out_of_everything_and_said():
    log = []
    target = [None, *Y[1:]]

    dataset = dataset_of({"x": list(np.arange(N) + 0.5), "g": cycle("p", "q")}, log=log, target=target, group="g")

    assert len(dataset.X) == len(dataset.y) == len(dataset.groups) == N - 1
    assert dataset.X["x"][0] == 1.5
    assert log == [f"target 'y' has no value in 1 of {N} rows: they are left out"]


def test_a_class_of_two_rows_is_kept_and_warned_of():
    log = []

    dataset = dataset_of({"x": cycle(0.5, 1.5)}, log=log, target=["rare", "rare", *Y[2:]])

    assert dataset.class_names == ("a", "b", "rare")
    assert log[0].startswith("target 'y': class 'rare' has 2 rows: too few to be both learnt and checked")


def test_classes_that_differ_in_capitals_alone_are_told():
    log = []

    dataset_of({"x": cycle(0.5, 1.5)}, log=log, target=cycle("Yes", "yes", "no"))

    assert log == ["target 'y': 'Yes' and 'yes' are two classes, though they differ in capitals alone"]


def test_group_time_and_test_columns_are_no_features():
    columns = {
        "x": [row / 2 for row in range(N)],
        "g": cycle("p", "q", None),
        "t": cycle("2024-01-02", "2024-01-01"),
    }

    grouped = dataset_of(columns, group="g")
    timed = dataset_of(columns, time="t")
    of_years = dataset_of(columns | {"t": pd.Categorical(cycle("2024", "2023"))}, time="t")

    assert list(grouped.X) == ["x", "t"]
    np.testing.assert_array_equal(grouped.groups[0::3], grouped.groups[0])
    assert len(set(grouped.groups)) == 2 + columns["g"].count(None)  # a row without a group is alone
    assert list(timed.X) == ["x", "g"]
    assert timed.times[0] - timed.times[1] == of_years.times[0] - of_years.times[1] == 1


def test_weights_are_no_feature_and_go_with_the_rows_of_each_part():
    columns = {
        "x": [row / 2 for row in range(N)],
        "w": [f"{row},5" for row in range(N)],
        "part": cycle("train", "train", "train", "test"),
    }
    target = [None, None, *Y[2:]]

    weighted = dataset_of(columns, target=target, weight="w", test_column="part")
    test = pd.DataFrame({"x": [1, 2], "w": ["3", "4,25"], "y": [None, "a"]})
    by_file = dataset_of({"x": columns["x"], "w": columns["w"]}, weight="w", test=test)
    numbers = dataset_of({"x": columns["x"], "w": columns["w"]}, weight="w", test=test.assign(w=[1, 1.234]))

    assert list(weighted.X) == ["x"]
    assert weighted.weights.tolist() == [row + 0.5 for row in range(2, N) if row % 4 != 3]
    assert weighted.weights_test.tolist() == [row + 0.5 for row in range(3, N, 4)]
    assert by_file.weights_test.tolist() == [4.25]
    assert numbers.weights_test.tolist() == pytest.approx([1.234])
    assert len({of.sha256 for of in (by_file, dataset_of({"x": columns["x"]}, test=test))}) == 2


@pytest.mark.parametrize(
    "words",
    [("train", "test"), ("valid", "Test"), ("fit", "TEST"), ("no", "yes"), ("nein", "ja"), (0, 1), (False, True)],
)
def test_test_column_sets_its_rows_apart(words):
    marks = [words[row >= 30] for row in range(N)]

    dataset = dataset_of({"x": [row / 2 for row in range(N)], "c": cycle("r", "s"), "part": marks}, test_column="part")

    assert (len(dataset.X), len(dataset.X_test)) == (30, 10)
    assert list(dataset.X_test["x"]) == [row / 2 for row in range(30, N)]
    assert list(dataset.X_test) == ["x", "c"]
    assert list(dataset.y_test) == [0, 1] * 5


def test_test_file_is_read_as_the_training_file_with_columns_in_any_order():
    test = pd.DataFrame({"y": ["b", None, "a"], "c": ["new", "r", ""], "more": [1, 2, 3], "x": ["1,5", "2", "3"]})
    log = []

    dataset = dataset_of({"x": cycle("0,5", "1.234,5"), "c": cycle("r", "s")}, log=log, test=test)

    assert list(dataset.X_test) == ["x", "c"]
    np.testing.assert_array_equal(dataset.X_test["x"], np.float32([1.5, 3]))
    assert dataset.X_test["c"][0] == "new"
    assert pd.isna(dataset.X_test["c"][1])
    assert list(dataset.y_test) == [1, 0]
    assert log == ["test file: 1 of 3 rows have no target: they are left out"]


def test_free_text_is_said_and_learnt_from_on_request():
    reviews = [f"a film with {row} good songs and no plot" for row in range(N)]
    log: list[str] = []
    left_out = dataset_of({"x": cycle(0.5, 1.5), "review": reviews}, log=log).columns[1]
    said = "texts, another in every row: free text; say text to learn from its words"
    assert (left_out.kind, left_out.why, log) == ("ignored", said, [f"column 'review': {said}"])
    column = dataset_of({"x": cycle(0.5, 1.5), "review": reviews}, columns=(("review", "text"),)).columns[1]
    assert (column.kind, column.n_distinct, column.categories) == ("text", N, ())


FEATURES = {"x": cycle(0.5, 1.5, 2.5), "colour": cycle("red", "blue", "green")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"config": {"target": "Y "}},
            "target must be one of the columns of t.csv: x, colour, y; got 'Y '; did you mean 'y'?",
        ),
        (
            {"config": {"target": "x, y"}},
            "target must be one column, got several: 'x', 'y'; run a study for each of them",
        ),
        ({"config": {"target": ["x", "y"]}}, "target must be one column, got several: 'x', 'y'; run a study for each"),
        ({"config": {"target": None}}, "target must be one of the columns of t.csv: x, colour, y; got none"),
        ({"target": cycle("one")}, "target 'y' must be of two different values or more, got one in every row"),
        ({"target": cycle(None)}, "target 'y' must be of two different values or more, got no value at all"),
        ({"target": [f"t{row}" for row in range(N)]}, "target 'y' must be a number or a class that several rows share"),
        ({"config": {"columns": (("colr", "numeric"),)}}, "got 'colr'; did you mean 'colour'?"),
        (
            {"config": {"columns": (("y", "numeric"),)}},
            "a column of [data.columns] must be another column than target, got 'y' for both",
        ),
        (
            {"config": {"columns": (("colour", "numeric"),)}},
            f"row 1 of numeric column 'colour' must be a number, got 'red' (and {N - 1} more such cells)",
        ),
        ({"config": {"columns": (("x", "date"),)}}, "row 1 of date column 'x' must be a date, got '0.5'"),
        ({"config": {"columns": (("x", "text"),)}}, "column 'x' must have words to be text, got 0.5, 1.5, 2.5"),
        ({"config": {"columns": (("x", "boolean"),)}}, "row 1 of boolean column 'x' must be no or yes, got '0.5'"),
        (
            {"config": {"columns": (("colour", "boolean"),)}},
            "column 'colour' must have two different values to be boolean, got 3",
        ),
        (
            {"config": {"columns": (("colour", "ignored"), ("x", "ignored"))}},
            "t.csv must be a table with a column to learn from, got none (x: as you say; colour: as you say)",
        ),
        ({"config": {"metric": "r2"}}, "metric of 2 classes must be accuracy or auc, got 'r2'"),
        (
            {"config": {"metric": "auc"}, "target": cycle("a", "b", "c")},
            "metric of 3 classes must be accuracy, got 'auc'",
        ),
        ({"config": {"task": "regression"}}, "row 1 of numeric column 'y' must be a number, got 'a'"),
        ({"config": {"group": "y"}}, "group must be another column than target, got 'y' for both"),
        ({"config": {"time": "colour"}}, "row 1 of date column 'colour' must be a date, got 'red'"),
        ({"config": {"weight": "colour"}}, "row 1 of numeric column 'colour' must be a number, got 'red'"),
        ({"config": {"weight": "y"}}, "weight must be another column than target, got 'y' for both"),
        (
            {"config": {"weight": "w"}, "features": {"w": cycle(1, 2, -0.5)}},
            "weight 'w' must be a number of at least 0 in every row, got -0.5 in row 3",
        ),
        (
            {"config": {"weight": "w"}, "features": {"w": cycle("1", None)}},
            "weight 'w' must be a number of at least 0 in every row, got none in row 2",
        ),
        (
            {
                "config": {"weight": "w"},
                "features": {"w": cycle(1, 2)},
                "test": pd.DataFrame({"x": [1.5], "colour": ["red"], "y": ["a"]}),
            },
            "test file must have the weight 'w': its rows are weighed in the score too",
        ),
        ({"config": {"test_column": "colour"}}, "column 'colour' must have two different values to be boolean, got 3"),
        *(
            (
                {"config": {"test_column": "part"}, "features": {"part": cycle(*words)}},
                f"words of test_column 'part' must be 'test' and another one, or no and yes, got {got}",
            )
            for words, got in [
                (("train", "holdout"), "'holdout' and 'train'"),
                (("train", "valid"), "'train' and 'valid'"),
                (("1", "2"), "'1' and '2'"),
            ]
        ),
        (
            {"config": {"test_column": "part"}, "features": {"part": cycle("no", "yes", "unknown", "no")}},
            "rows without a value in test_column 'part' must be 0, got 10",
        ),
        (
            {"test": pd.DataFrame({"x": [1.5], "y": ["a"]})},
            "test file must have the columns of the training data, 'colour' missing",
        ),
        ({"test": pd.DataFrame({"x": [1.5], "colour": ["red"]})}, "test file must have the target 'y'"),
        (
            {"test": pd.DataFrame({"x": [1.5], "colour": ["red"], "y": ["c"]})},
            "classes of the test file's target 'y' must be those of the training data, got ['c']",
        ),
        (
            {"test": pd.DataFrame({"x": ["1.5", "abc"], "colour": ["red"] * 2, "y": ["a"] * 2})},
            "test file: row 2 of numeric column 'x' must be a number, got 'abc'",
        ),
    ],
)
def test_what_does_not_fit_the_table_ends_in_one_line_that_helps(change, message):
    said = {"target": "y", **change.get("config", {})}
    frame = pd.DataFrame({**FEATURES, **change.get("features", {}), "y": change.get("target", Y)})

    with pytest.raises(ValueError) as trouble:  # noqa: PT011
        table_dataset(frame, DataConfig(name="t.csv", **said), name="t.csv", source="here", test=change.get("test"))

    assert message in str(trouble.value)
    assert "\n" not in str(trouble.value)


N_GOOD = 7
WORDS = [*[None] * N_GOOD, *["red"] * (N - N_GOOD)]


def but_row_8(value, other=1.5):
    return [*[other] * N_GOOD, value, *[other + 1] * (N - N_GOOD - 1)]


@pytest.mark.parametrize(
    ("said", "column", "message"),
    [
        ({"columns": (("v", "numeric"),)}, WORDS, "row 8 of numeric column 'v' must be a number, got 'red'"),
        ({"columns": (("v", "date"),)}, WORDS, "row 8 of date column 'v' must be a date, got 'red'"),
        ({"time": "v"}, but_row_8(None), "time column 'v' must have a value in every row, got none in row 8"),
        ({"weight": "v"}, but_row_8(-1), "weight 'v' must be .*, got -1 in row 8"),
        ({"test_column": "v"}, but_row_8(2, other=0), "row 8 of boolean column 'v' must be no or yes, got '2'"),
        ({"task": "regression", "target": "v"}, WORDS, "row 8 of numeric column 'v' must be a number, got 'red'"),
    ],
)
@pytest.mark.parametrize("left_out", ["by a missing target", "by a sample"])
def test_a_complaint_names_the_row_of_the_file_though_rows_above_it_are_left_out(said, column, message, left_out):
    targets = [None if at in (2, 4) and left_out == "by a missing target" else text for at, text in enumerate(Y)]
    frame = pd.DataFrame({"x": range(N), "y": targets, "v": column})
    rows = None
    if left_out == "by a sample":
        rows = np.setdiff1d(np.arange(N), [2, 4])
        frame = frame.iloc[rows].reset_index(drop=True)
    config = DataConfig(name="t.csv", **{"target": "y", **said})
    with pytest.raises(ValueError, match=message):
        table_dataset(frame, config, name="t.csv", source="here", rows=rows)


@pytest.mark.parametrize(
    ("role", "column", "cells", "message"),
    [
        ("weight", [1] * N, [1, 1, -2], "weight 'v' must .*, got -2 in row 3"),
        ("weight", ["1", *["2,5"] * (N - 1)], ["1.5", "none", "1"], "weight 'v' must .*, got 'none' in row 2"),
        ("time", ["07.05.2022"] * N, ["2024-03-01"] * 2 + ["03/01/24"], "row 3 of .* a date, got '03/01/24'"),
    ],
)
def test_a_complaint_about_a_test_file_counts_its_own_rows(role, column, cells, message):
    test = pd.DataFrame({"x": [0.5] * 3, "v": cells, "y": ["a", None, "b"]})
    with pytest.raises(ValueError, match=f"^test file: {message}$"):
        dataset_of({"x": [0.5, 1.5] * (N // 2), "v": column}, test=test, **{role: "v"})


DAYS = [f"{1 + row % 28:02}.05.2022" for row in range(N)]
HALVES = [f"{row},5" for row in range(N)]


@pytest.mark.parametrize(
    ("role", "column", "cells", "told"),
    [
        ("time", DAYS, ["2022-05-07", "2024-03-01"], [19_119, 19_783]),
        ("time", DAYS, pd.to_datetime(["2022-05-07", "2024-03-01"]), [19_119, 19_783]),
        ("time", [20220500 + row % 28 + 1 for row in range(N)], ["2022-05-07", "2024-03-01"], [19_119, 19_783]),
        ("weight", HALVES, ["0.5", "1.25"], [0.5, 1.25]),
        ("group", HALVES, ["2.5", "1.25"], [2, N]),
        ("group", DAYS, ["2022-05-07", "2024-03-01"], [6, 28]),
        ("group", [f"{row:04}" for row in range(N)], [7, 7777], [7, N]),
        ("group", [row / 10 for row in range(N)], ["0.1", "0.20"], [1, 2]),
        ("group", list(range(N)), ["1", "-"], [1, N]),
        ("group", cycle(1, 2, 3, 4), ["2", "x"], [1, 4]),
        ("group", cycle(0, 1), [1, 2], [1, 2]),
        ("group", cycle(30_000_000, 30_000_100), [30_000_000, 30_000_001], [0, 2]),
        ("time", DAYS, ["2022-05-07", "2022-05-07 13:01"], [19_119, 19_119 + 781 / 1440]),
    ],
)
def test_columns_with_a_role_are_read_in_a_test_file_as_features_are(role, column, cells, told):
    test = pd.DataFrame({"x": [0.5] * 2, "v": cells, "y": ["a", "b"]})
    dataset = dataset_of({"x": [0.5, 1.5] * (N // 2), "v": column}, test=test, **{role: "v"})

    assert getattr(dataset, f"{role}s_test").tolist() == told


@pytest.mark.parametrize("names", [("3.1", "3.10", "4.1", "4.2"), ("1k", "1000", "5", "5%"), ("Y", "n", "N", "-")])
def test_groups_that_train_are_the_same_with_a_test_file(names):
    test = pd.DataFrame({"x": [0.5, 1.5], "v": [names[1], "elsewhere"], "y": ["a", "b"]})
    frame = {"x": [0.5, 1.5] * (N // 2), "v": cycle(*names)}
    dataset = dataset_of(frame, test=test, group="v")

    assert dataset.groups.tolist() == dataset_of(frame, group="v").groups.tolist() == cycle(0, 1, 2, 3)
    assert dataset.groups_test.tolist() == [1, 4]


def test_the_frame_that_was_given_stays_as_it_was():
    frame = pd.DataFrame({**FEATURES, "y": Y})
    before = frame.copy()

    table_dataset(frame, DataConfig(name="t", target="y"), name="t", source="here")

    pd.testing.assert_frame_equal(frame, before)


def test_a_thousand_columns_and_a_single_one_are_tables():
    many = dataset_of({f"x{number}": cycle(0.5, number, 2.5) for number in range(1000)})
    one = dataset_of({"x": cycle(0.5, 1.5, 2.5)})

    assert many.X.shape == (N, 1000)
    assert one.X.shape == (N, 1)


def test_digest_tells_data_apart_and_not_the_way_they_are_written():
    same = dataset_of({"x": cycle("1.50", "2", ""), "c": cycle("r", "s")})
    typed = dataset_of({"x": cycle(1.5, 2, None), "c": pd.Categorical(cycle("r", "s"))})
    others = [
        dataset_of({"x": cycle(1.5, 2, 3), "c": cycle("r", "s")}),
        dataset_of({"x": cycle(1.5, 2, None), "c": cycle("r", "t")}),
        dataset_of({"z": cycle(1.5, 2, None), "c": cycle("r", "s")}),
        dataset_of({"x": cycle(1.5, 2, None), "c": cycle("r", "s")}, target=["b", *Y[1:]]),
        dataset_of({"x": cycle(1.5, 2, None), "c": cycle("r", "s")}, columns=(("x", "categorical"),)),
        dataset_of({"x": cycle(1.5, 2, None), "c": cycle("r", "s")}, group="c"),
    ]

    assert same.sha256 == typed.sha256
    assert len({same.sha256, *(other.sha256 for other in others)}) == 1 + len(others)


def test_digest_is_the_same_on_every_machine():
    dataset = dataset_of({"x": cycle(1.5, 2, None), "c": cycle("ö", "s"), "d": cycle("2024-01-01", "2024-05-01")})

    assert dataset.sha256 == "ca783a2daa7e1c463c95c715041b07b181a3043a557ae5771d0261a0b64a28e8"


def test_profile_has_a_line_a_column_and_the_balance_of_classes():
    dataset = dataset_of({"age": cycle(1.5, None, 2.5, 3.5), "colour": cycle("red", "blue"), "id": list(range(N))})

    lines = profile_lines(dataset)

    assert lines[0] == "t.csv: 40 rows; 3 columns: 1 numeric, 1 categorical, 1 ignored"
    assert lines[1] == "target y: classification of 2 (a 20 (50.0%), b 20 (50.0%)), judged by auc"
    assert lines[3].split() == ["column", "kind", "missing", "distinct", "examples", "why"]
    assert lines[4].split() == ["age", "numeric", "25.0%", "3", "1.5,", "2.5,", "3.5", "numbers"]
    assert lines[6].endswith("whole numbers, another in every row: an identifier")
    assert len(lines) == 7
    assert profile_lines(dataset, limit=1)[-1] == "… and 2 more columns"


def test_profile_of_numbers_to_predict_gives_their_range():
    dataset = dataset_of({"x": cycle(0.5, 1.5)}, target=[row / 4 for row in range(N)])

    assert profile_lines(dataset)[1] == "target y: regression (numbers 0 to 9.75, median 4.875), judged by r2"


numbers = st.floats(-1e6, 1e6, width=32) | st.none()
names = st.sampled_from(["red", "dark blue", "grün", "x,y", 'quo"te', "07"]) | st.none()
dates = st.dates(datetime.date(1800, 1, 1), datetime.date(2200, 1, 1)) | st.none()
truths = st.booleans() | st.none()


def column_strategy(cells):
    return st.lists(cells, min_size=24, max_size=24).filter(lambda got: len(set(got) - {None}) >= 2)


@settings(max_examples=25)
@given(x=column_strategy(numbers), c=column_strategy(names), d=column_strategy(dates), b=column_strategy(truths))
def test_a_table_survives_being_written_as_text(x, c, d, b):
    target = ["a", "b"] * 12
    frame = pd.DataFrame({"x": np.array(x, np.float32), "c": c, "d": pd.to_datetime(pd.Series(d)), "b": b, "y": target})
    text = frame.to_csv(index=False)
    read = pd.read_csv(io.StringIO(text), dtype="str", keep_default_na=False)
    said = DataConfig(name="t", target="y", columns=(("c", "categorical"), ("x", "numeric"), ("d", "date")))

    typed = table_dataset(frame, said, name="t", source="here")
    written = table_dataset(read, said, name="t", source="here")

    assert typed.sha256 == written.sha256
    pd.testing.assert_frame_equal(as_samples(read[["b", "d", "c", "x"]], written.columns), typed.X)


FRACTIONS = ["0.1", "1.3", "2.7", "1.123456789"]


@pytest.mark.parametrize("kind", ["text", "float32", "float64", "Float32", "object"])
def test_fractions_that_are_names_keep_the_digits_they_have_in_their_own_type_and_are_known_in_any(kind):
    shortest = ["0.1", "1.1234568" if kind.lower() == "float32" else "1.123456789", "1.3", "2.7"]
    cells = pd.Series(cycle(*FRACTIONS)) if kind == "text" else pd.Series(cycle(*map(float, FRACTIONS)), dtype=kind)
    dataset = dataset_of({"x": cells, "other": [0.5, 1.5] * (N // 2)}, columns=(("x", "categorical"),))
    classes = dataset_of({"other": cycle(0.5, 1.5)}, target=cells, task="classification").class_names

    assert dataset.columns[0].categories == tuple(shortest)
    assert classes == tuple(sorted(shortest, key=float))
    for sent in ([1.3, 1.123456789], np.float32([1.3, 1.123456789]), ["1.30", "1.123456789"]):
        new = as_samples(pd.DataFrame({"x": sent, "other": 0.5}), dataset.columns)
        assert list(new["x"]) == ["1.3", shortest[1]]


def test_what_is_written_otherwise_is_another_name_unless_all_names_are_numbers():
    dataset = dataset_of({"x": cycle("1", "1.5", "K"), "z": cycle("7", "10", "9"), "other": cycle(0.5, 1.5)},
                         columns=(("z", "categorical"),))  # fmt: skip
    new = as_samples(pd.DataFrame({"x": ["1.50", "1e0"], "z": ["07", "1e1"], "other": 0.5}), dataset.columns)

    assert list(new["x"]) == ["1.50", "1e0"]
    assert list(new["z"]) == ["07", "1e1"]


def test_rows_whose_columns_are_called_as_no_file_can_have_it_are_those_that_a_file_has():
    dataset = dataset_of({"0": cycle(0.5, 1.5), "x": cycle(2.5, 3.5, 4.5)})

    new = as_samples(pd.DataFrame([[1.5, 2.5]], columns=[0, " x "]), dataset.columns)
    assert new.to_dict("list") == {"0": [1.5], "x": [2.5]}


def test_two_ways_of_writing_a_number_are_one_category():
    dataset = dataset_of({"x": cycle(1.5, 2.5), "other": cycle(0.5, 1.5, 2.5)}, columns=(("x", "categorical"),))
    new = as_samples(pd.DataFrame({"x": ["1.5", "1.50", "1.500", None], "other": 0.5}), dataset.columns)

    assert list(new["x"][:3]) == ["1.5"] * 3
    assert pd.isna(new["x"][3])


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("1", "2"), [0, 1]),
        (("1", "x"), [0, 1]),
        (("true", "unclear"), [0, 1]),
        (("0", "2"), [0, 1]),
        (("big", "small"), [0, 1]),
    ],
)
def test_a_truth_value_of_two_words_of_ones_own_is_told_by_these(words, values):
    dataset = dataset_of({"x": cycle(*words), "other": cycle(0.5, 1.5, 2.5)}, columns=(("x", "boolean"),))

    assert list(dataset.X["x"][:2]) == values
    assert list(as_samples(pd.DataFrame({"x": list(words), "other": 0.5}), dataset.columns)["x"]) == values
    if all(word.isdigit() for word in words):  # as a server reads them
        sent = pd.DataFrame({"x": [int(word) for word in words], "other": 0.5})
        assert list(as_samples(sent, dataset.columns)["x"]) == values


def test_a_truth_value_is_also_sent_as_true_or_one():
    dataset = dataset_of({"x": cycle("big", "small"), "other": cycle(0.5, 1.5, 2.5)}, columns=(("x", "boolean"),))

    for sent in ([False, True], [0, 1], ["0", "true"], ["0.000", "1.000"]):
        assert list(as_samples(pd.DataFrame({"x": sent, "other": 0.5}), dataset.columns)["x"]) == [0, 1]


@pytest.mark.parametrize(("no", "yes"), [("False", "True"), ("false", "true"), ("FALSE", "TRUE")])
def test_truth_values_among_names_are_known_again_however_a_program_writes_them(no, yes):
    dataset = dataset_of({"paved": cycle(no, yes, "Partial"), "other": cycle(0.5, 1.5)})

    for sent in ([False, True], ["False", "true"], [False, "TRUE"]):
        new = as_samples(pd.DataFrame({"paved": sent, "other": 0.5}), dataset.columns)
        assert list(new["paved"]) == [no, yes]


def test_numbers_sent_for_a_category_with_leading_zeros_are_known_again():
    dataset = dataset_of({"zip": cycle("01234", "12345", "00501"), "other": [0.5, 1.5] * (N // 2)})
    new = as_samples(pd.DataFrame({"zip": [1234, 501, 99], "other": [0.5, 0.5, 0.5]}), dataset.columns)

    assert list(new["zip"]) == ["01234", "00501", "99"]
