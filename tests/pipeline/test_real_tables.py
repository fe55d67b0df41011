"""Tables as people have them: nothing of a column is lost, changed or taken for another one in silence."""

import io

import numpy as np
import pandas as pd
import pytest

from depthcheck.pipeline.config import DataConfig, SplitConfig
from depthcheck.pipeline.data.cells import as_samples
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.data.profile import profile_lines
from depthcheck.pipeline.data.tables import table_dataset
from depthcheck.pipeline.prepare.prepare import prepare
from depthcheck.pipeline.records import Cut

N = 300
Y = ["no", "yes", "perhaps"] * (N // 3)


def understood(cells, *, kind=None, name="x", target=None, **said):
    """Return what is understood of a column beside a target, the lines that were said, and the data set."""
    lines = []
    columns = ((name, kind),) if kind else ()
    frame = pd.DataFrame({name: cells, "noise": np.sin(np.arange(len(cells)) ** 2.0), "y": target or Y[: len(cells)]})
    dataset = table_dataset(
        frame, DataConfig(name="t", target="y", columns=columns, **said), name="t", source="", log=lines.append
    )
    return dataset.columns[0], lines, dataset


def prepared(dataset):
    """Return the preparation of a table that is learnt from nearly all its rows."""
    rows = np.arange(len(dataset.y))
    return prepare(dataset, Cut(train=rows[3:], valid=rows[:3], test=None, config=SplitConfig()))[1]


def read_csv(text, tmp_path, **words):
    """Return the data set of a CSV file, and the lines that were said."""
    lines, path = [], tmp_path / "any.csv"
    path.write_text(text, encoding="utf-8")
    return load(DataConfig(name=str(path), target="y", **words), cache=tmp_path, log=lines.append), lines


JULIAN = 2457000 + np.round(np.random.default_rng(1).uniform(0, 300, N), 5)
LARGE = {
    "Julian days": JULIAN,
    "seconds since 1970": 1_400_000_000 + np.arange(N) * 7,
    "coordinates in metres": 5_412_345 + np.arange(N) * 0.01,
    "latitudes of one street": 58.7652292950034 + np.arange(N) * 1e-12,
    "moments of one day": pd.Timestamp("2024-05-01").to_datetime64() + (np.arange(N) ** 2 % 50_000).astype("m8[s]"),
}


@pytest.mark.parametrize("cells", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("is_csv", [False, True])
def test_numbers_that_float32_would_make_one_stay_apart_up_to_the_network(tmp_path, cells, is_csv):
    if is_csv:
        frame = pd.DataFrame({"when": cells, "y": Y[: len(cells)]}).sample(frac=1, random_state=1)
        dataset, _ = read_csv(frame.to_csv(index=False), tmp_path)
        cells = frame["when"].to_numpy()
    else:
        _, _, dataset = understood(pd.Series(cells).sample(frac=1, random_state=1).to_numpy(), name="when")
    n_distinct = len(np.unique(cells))

    features = prepared(dataset).transform(dataset.X)

    assert len(np.unique(dataset.X["when"])) == n_distinct
    assert len(np.unique(features[:, 0])) >= n_distinct  # two equal ones may differ in the last bit
    assert features.dtype == np.float32
    assert abs(features[:, 0].mean()) < 0.05


def test_what_is_sent_later_is_scaled_like_what_was_trained_on():
    _, _, dataset = understood(JULIAN)
    preparation = prepared(dataset)
    sent = pd.read_csv(io.StringIO(dataset.X[["x", "noise"]].to_csv(index=False)))

    again = preparation.transform(as_samples(sent, dataset.columns))

    np.testing.assert_array_equal(again[:, 0], preparation.transform(dataset.X)[:, 0])


def test_numbers_that_float32_holds_stay_in_it():
    for cells in (np.arange(N) % 90, np.round(np.random.default_rng(0).normal(20, 5, N), 2), np.arange(N) * 0.1):
        _, _, dataset = understood(cells)
        assert dataset.X["x"].dtype == np.float32


def test_target_far_from_zero_keeps_its_digits():
    _, _, dataset = understood(np.arange(N) % 7, target=list(JULIAN))
    assert dataset.task == "regression"
    assert len(np.unique(dataset.y)) == len(np.unique(JULIAN))


LONG = ("1234567890123456700", "1234567890123456701", "1234567890123456702", "9007199254740993")


@pytest.mark.parametrize("codes", [LONG, ("44", "9007199254740992", "9007199254740993", "45")])
@pytest.mark.parametrize("form", ["csv", "int64", "Int64", "object", "str"])
def test_long_identifiers_are_never_compared_as_floats(tmp_path, form, codes):
    cells = [codes[row % 4] for row in range(N)]
    if form == "csv":
        text = "code,a,y\n" + "\n".join(f"{code},{row},{Y[row]}" for row, code in enumerate(cells))
        dataset, _ = read_csv(text, tmp_path)
    else:
        whole = [int(code) for code in cells]
        series = pd.Series(cells if form == "str" else whole, dtype=form)
        _, _, dataset = understood(series, name="code")
    column = dataset.columns[0]
    assert (column.kind, column.categories) == ("categorical", tuple(sorted(codes)))

    sent = as_samples(pd.DataFrame({"code": [int(codes[1])], "a": [1.0], "noise": [0.0]}), dataset.columns)
    assert sent["code"].tolist() == [codes[1]]


def test_identifiers_of_many_digits_are_identifiers(tmp_path):
    text = "code,a,y\n" + "\n".join(f"{1234567890123456700 + row},{row % 9},{Y[row]}" for row in range(N))
    dataset, _ = read_csv(text, tmp_path)
    assert dataset.columns[0].kind == "ignored"
    assert dataset.columns[0].n_distinct == N


@pytest.mark.parametrize(
    ("name", "cells", "first"),
    [
        ("d", pd.date_range("2016-01-01", periods=N).strftime("%Y%m%d").astype(int), "2016-01-01"),
        ("year", 2016.5 + np.arange(N) / 12, "2016-07-01"),
        ("d", [*pd.date_range("2016-01-01", periods=N - 1).strftime("%Y%m%d"), "k. A."], "2016-01-01"),
        ("year", [*(f"{2016 + row}.5" for row in range(100)), "k. A."], "2016-07-01"),
        ("q", [f"{2016 + row // 4 % 40}Q{row % 4 + 1}" for row in range(N)], "2016-01-01"),
        ("q", [f"Q{row % 4 + 1} {2016 + row // 4 % 40}" for row in range(N)], "2016-01-01"),
    ],
)
def test_dates_written_as_numbers_or_quarters_are_dates(name, cells, first):
    column, _, dataset = understood(cells, name=name)
    assert column.kind == "date"
    days = dataset.X[name]
    assert abs(days.iloc[0] - (pd.Timestamp(first) - pd.Timestamp(0)).days) <= 1
    assert len(np.unique(days)) == len(np.unique(np.asarray(cells)))


def test_day_that_there_is_not_counts_as_missing_and_is_said():
    days = [20_160_101 + 100 * (row // 30) + row % 30 for row in range(N)]  # 30 days each month, February too
    column, lines, dataset = understood(days)
    assert column.kind == "date"
    said = "dates written year, month and day in eight digits; what is none counts as missing: '20160230'"
    assert lines == [f"column 'x': {said}"]
    assert dataset.X["x"].isna().sum() == 1


@pytest.mark.parametrize(("cell", "kind"), [("{},5", None), ("{},5", "numeric"), ("{}.5", "numeric")])
def test_numbers_of_years_and_parts_of_one_that_are_no_dates_are_numbers(cell, kind):
    cells = [*(cell.format(1834 + row % 50) for row in range(N - 1)), "k. A."]
    column, _, dataset = understood(cells, kind=kind, name="Zeit")
    assert (column.kind, column.missing_texts, dataset.X["Zeit"].iloc[0]) == ("numeric", ("k. A.",), 1834.5)


def test_dates_that_are_said_to_be_numbers_stay_apart():
    days = pd.date_range("2016-01-01", periods=N).strftime("%Y%m%d").astype(int)
    column, _, dataset = understood(days, kind="numeric")
    assert (column.kind, column.n_distinct) == ("numeric", N)
    assert len(np.unique(dataset.X["x"])) == N


@pytest.mark.parametrize(
    "form",
    [
        "%b %d %Y", "%b. %d, %Y", "%B %d,%Y", "%a %b %d %Y", "%A, %d %B %Y", "%Y %b %d", "%Y-%b-%d", "%d%b%Y",
        "%d/%b/%Y %H:%M", "%d. %B %Y", "%dth %B %Y", "%d-%b-%y", "%B %d %Y %I:%M %p", "%a %b %d %H:%M:%S %Y",
        "%a %b %d %H:%M:%S +0000 %Y", "%a, %d %b %Y %H:%M:%S +0100", "%Y/%m", "%b %Y",
    ],
)  # fmt: skip
def test_months_by_name_are_dates_however_they_are_set(form):
    days = pd.date_range("2001-01-05", periods=N, freq="40D")
    column, lines, dataset = understood(days.strftime(form))
    assert column.kind == "date", column.why
    assert lines == []
    asked = (days if "%d" in form else days.to_period("M").to_timestamp()) - pd.Timestamp(0)
    assert np.abs(dataset.X["x"] - asked.days.to_numpy()).max() < 0.05


@pytest.mark.parametrize("form", ["%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"])
def test_the_only_moment_that_tells_day_from_month_may_be_the_last_one(form):
    moments = pd.date_range("2024-01-01", periods=1_300, freq="15min")
    column, lines, dataset = understood(moments.strftime(form), target=(Y * 5)[:1_300])
    assert (column.form, lines) == (form, [])
    assert dataset.X["x"].iloc[1_250] == ((moments - pd.Timestamp(0)) / pd.Timedelta("1D"))[1_250]
    assert understood(moments.strftime(form), target=(Y * 5)[:1_300], time="x")[2].times[1_250] == dataset.X["x"][1_250]


def test_years_of_two_digits_are_named_and_asked_about_where_they_are_of_two_centuries():
    births = [f"{row % 28 + 1:02}.03.{(75 + row % 78) % 100:02}" for row in range(N)]
    column, lines, _ = understood(births)
    said = "dates written day.month.year, years of two digits: 1975 to 2052 (write four digits if that is wrong)"
    assert (column.why, column.asks) == (said, ("form",))
    assert lines == [f"column 'x': {said}"]
    column, lines, _ = understood([f"{row % 28 + 1:02}.03.{70 + row % 30}" for row in range(N)])
    assert column.why == "dates written day.month.year, years of two digits: 1970 to 1999"
    assert lines == []


def test_words_with_numbers_are_no_dates():
    for cells in (
        [f"May {row % 28 + 1:02}" for row in range(N)],  # of no year
        [f"model {1990 + row % 30}" for row in range(N)],
        [f"{row % 60} Sun St" for row in range(N)],
    ):
        assert understood(cells)[0].kind == "categorical"


def test_numbers_that_only_look_like_dates_stay_numbers():
    assert understood(20_160_131 + np.arange(N) * 7)[0].kind == "numeric"  # 20160138
    assert understood(1800.25 + np.arange(N), name="length")[0].kind == "numeric"


MONEY = {
    "-$17.50": ("-$17.50", -17.5), "$-17.50": ("$-17.50", -17.5), "(17.50)": ("(17.50)", -17.5),
    "($1,017.50)": ("($1,017.50)", -1017.5), "Indian": ("1,10,100.50", 110_100.5), "euro": ("€ 1.234,50", 1234.5),
    "euro behind": ("1.234,50 €", 1234.5), "currency's name": ("USD 17.50", 17.5), "percent": ("12.5 %", 12.5),
    "thousands": ("1.5k", 1500.0), "millions": ("$2.5M", 2.5e6), "unit": ("12.5 kg", 12.5),
    "degrees": ("-3.5 °C", -3.5), "minus of print": ("\u22123.5", -3.5),
}  # fmt: skip


@pytest.mark.parametrize(("written", "value"), MONEY.values(), ids=MONEY)
def test_money_groups_and_units_are_read_as_numbers(written, value):
    number = "".join(mark for mark in written if mark.isdigit() or mark in ",.")
    others = [written.replace(number, f"{row}{',' if ',50' in written else '.'}25") for row in range(1, 60)]
    column, _, dataset = understood([written, *others, *others])
    assert column.kind == "numeric", column.why
    assert dataset.X["x"].iloc[0] == np.float32(value)


def test_the_only_cell_that_tells_a_decimal_comma_may_be_the_last_one():
    cells = [f"{row % 9 + 1},{row % 900 + 100}" for row in range(2_000)]
    assert understood(cells, target=(Y * 7)[: len(cells)])[2].X["x"].iloc[0] == 1100
    cells.append("0,370")
    assert understood(cells, target=(Y * 7)[: len(cells)])[2].X["x"].iloc[0] == np.float32(1.1)


def test_when_two_readings_remain_the_line_says_how_to_say_otherwise():
    cells = [f"{row % 90 + 1},{row % 900 + 100}" for row in range(N)]
    _, lines, dataset = understood(cells)
    assert "say 'decimal comma' if it is" in lines[0]
    assert dataset.X["x"].iloc[0] == 1100
    assert understood(cells, kind="decimal comma")[2].X["x"].iloc[0] == np.float32(1.1)
    days = [f"{row % 12 + 1}/{row % 11 + 1}/2024" for row in range(N)]
    _, lines, dataset = understood(days)
    assert "say 'month first' if so" in lines[0]
    assert dataset.X["x"].iloc[1] == (pd.Timestamp("2024-02-02") - pd.Timestamp(0)).days
    assert (
        understood(days, kind="month first")[2].X["x"].iloc[12] == (pd.Timestamp("2024-01-02") - pd.Timestamp(0)).days
    )


def test_a_target_that_can_be_read_in_two_ways_is_said_and_can_be_told():
    cells = [f"{row % 9 + 1},{row % 900 + 100}" for row in range(N)]
    noise = np.sin(np.arange(N))
    lines = []
    frame = pd.DataFrame({"x": noise, "y": cells})
    dataset = table_dataset(frame, DataConfig(name="t", target="y"), name="t", source="", log=lines.append)
    assert dataset.y[0] == 1100
    said = (
        "whole numbers written 1,234.5 (the comma could be a decimal one: no cell tells; say 'decimal comma' if it is)"
    )
    assert lines == [f"target 'y': {said}"]
    config = DataConfig(name="t", target="y", columns=(("y", "decimal comma"),))
    told = table_dataset(frame, config, name="t", source="", log=lines.append)
    assert (told.task, told.y[0]) == ("regression", np.float32(1.1))
    assert len(lines) == 1


def test_dirty_cells_of_a_target_are_said():
    lines = []
    frame = pd.DataFrame({"x": np.sin(np.arange(N)), "y": [*(str(row / 8) for row in range(N - 1)), "see note"]})
    table_dataset(frame, DataConfig(name="t", target="y"), name="t", source="", log=lines.append)
    assert lines[0] == "target 'y': numbers; what is none counts as missing: 'see note'"
    assert lines[1].startswith("target 'y' has no value in 1 of 300 rows")


def test_times_and_weights_that_can_be_read_in_two_ways_are_said_and_can_be_told():
    days = [f"{row % 12 + 1}/{row % 11 + 1}/2024" for row in range(N)]
    _, lines, dataset = understood(days, time="x")
    said = "(month/day/year would do too: no cell tells; say 'month first' if so)"
    assert lines == [f"time 'x': dates read as day/month/year {said}"]
    assert dataset.times[12] == (pd.Timestamp("2024-02-01") - pd.Timestamp(0)).days
    _, lines, dataset = understood(days, time="x", kind="month first")
    assert (lines, dataset.times[12]) == ([], (pd.Timestamp("2024-01-02") - pd.Timestamp(0)).days)
    weights = [f"{row % 9 + 1},{row % 900 + 100}" for row in range(N)]
    _, lines, dataset = understood(weights, weight="x")
    assert lines[0].startswith("weight 'x': whole numbers written 1,234.5 (the comma could be")
    assert dataset.weights[0] == 1100
    _, lines, dataset = understood(weights, weight="x", kind="decimal comma")
    assert (lines, dataset.weights[0]) == ([], np.float32(1.1))


@pytest.mark.parametrize(
    ("role", "kind"), [("weight", "day first"), ("time", "numeric"), ("group", "decimal comma"), ("weight", "ignored")]
)
def test_what_a_column_with_a_role_is_cannot_be_told(role, kind):
    with pytest.raises(
        ValueError, match=rf"a column of \[data\.columns\] must be another column than {role}, got 'x' for both"
    ):
        understood([str(row) for row in range(N)], kind=kind, **{role: "x"})


def test_numbers_with_a_few_words_are_asked_about():
    cells = [str(row * 1.5) if row % 10 else f"about {row}" for row in range(N)]
    column, lines, _ = understood(cells)
    assert column.kind == "ignored"
    assert "words: 'about 0', 'about 10', 'about 20', …" in lines[0]
    assert "Say numeric if these count as missing, or categorical" in lines[0]
    column, lines, dataset = understood(cells, kind="numeric")
    assert lines == ["column 'x': as you say; what is none counts as missing: 'about 0', 'about 10', 'about 20', …"]
    assert np.isnan(dataset.X["x"]).sum() == np.ceil(N / 10)


COPIES = {
    "the same words": lambda y: y,
    "other words": lambda y: [{"no": "N", "yes": "J", "perhaps": "V"}[word] for word in y],
    "numbers": lambda y: [{"no": 3.5, "yes": 1.0, "perhaps": 7.0}[word] for word in y],
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copy_of_the_target_is_left_out_and_said(copy):
    column, lines, dataset = understood(copy(Y), name="outcome_copy")
    assert column.kind == "ignored"
    assert "outcome_copy" not in dataset.X
    assert "a copy of the target under another name: left out" in lines[0]
    assert understood(copy(Y), name="outcome_copy", kind="categorical")[0].kind == "categorical"


def test_linear_copy_of_a_number_is_left_out():
    target = np.random.default_rng(0).normal(size=N)
    assert understood(3 * target + 1, target=list(target))[0].kind == "ignored"
    assert understood(np.round(3 * target, 1), target=list(target))[0].kind == "numeric"


def test_column_that_alone_tells_the_target_is_said_and_kept():
    target = sorted(Y)
    shuffled = np.random.default_rng(0).permutation(N)
    column, lines, _ = understood(2.0 * shuffled + 0.5, name="line", target=[target[row] for row in shuffled])
    assert column.kind == "numeric"
    assert "by itself it tells" in lines[0]
    assert "of the classes on rows held out: is it known before the target is?" in column.why
    assert understood(np.sin(np.arange(N)), name="honest")[1] == []


def test_cases_that_went_wrong_are_read_as_they_are(tmp_path):
    rows = "\n".join(f"{row * 0.37:.2f},{'xyz'[row % 3]},{row % 7},{'xyz'[row % 3]}" for row in range(90))
    dataset, lines = read_csv(f"a,y,b,y\n{rows}\n", tmp_path)
    assert list(dataset.X.columns) == ["a", "b"]
    assert any("'y.1': " in line and "copy of the target" in line for line in lines)


def test_numbers_of_rows_that_were_left_out_are_no_feature():
    rises = np.cumsum(1 + np.arange(N) % 7)
    assert understood(rises, name="column_1")[0].kind == "ignored"  # as R and pandas write what is left of a table
    assert understood(rises, name="Unnamed: 0")[0].kind == "ignored"
    for name in ("ID", "Id", "PassengerId", "Customer ID"):
        assert understood(rises[::-1], name=name)[0].kind == "ignored"
    assert understood(rises, name="metres")[0].kind == "numeric"


@pytest.mark.parametrize("of", [str, int])
def test_identifier_that_rows_share_is_asked_about_unless_it_is_the_group(tmp_path, of):
    owners = [of(row // 3) for row in range(N)]
    column, lines, _ = understood(owners, name="Individual ID")
    assert lines == [f"column 'Individual ID': {column.why}"]
    assert column.why.endswith("rows share it; if those belong together, name it as group")
    text = pd.DataFrame({"Individual ID": owners, "shop ID": owners, "noise": np.sin(np.arange(N)), "y": Y})
    _, lines = read_csv(text.to_csv(index=False), tmp_path, group="Individual ID")
    assert lines == []
    assert understood([row % 10 for row in range(N)], name="type_id")[1] == []


def test_word_taken_for_missing_among_truth_values_is_said():
    column, _, _ = understood([("no", "yes", "NA", "unknown")[min(row % 7, 3)] for row in range(N)])
    assert (column.kind, column.why) == ("boolean", "no and yes; missing: 'NA', 'unknown'")


def test_date_that_tells_the_target_asks_for_the_time():
    days = pd.date_range("2001-01-05", periods=N)
    column, lines, _ = understood(days, target=list(np.arange(N) ** 1.5))
    assert column.kind == "date"
    assert lines[0].endswith("rows held out: name it as time if later rows are to be predicted")


def test_few_of_many_are_not_none_of_them():
    cells = [np.nan, *(np.arange(2_999) / 7)]
    lines = profile_lines(understood(cells, target=["rare", *["usual"] * 2_999])[2])
    assert "(rare 1 (<0.1%), usual 2,999 (>99.9%))" in lines[1]
    assert lines[4].split()[:3] == ["x", "numeric", "<0.1%"]


def test_examples_are_of_the_whole_file():
    assert understood(np.repeat([0.5, 7.25, 9.0], N), target=Y * 3)[0].examples == ("0.5", "7.25", "9")


def test_names_in_single_quotes_are_those_inside(tmp_path):
    rows = "\n".join(f"{row}\t'it, {row % 5}'\t{Y[row]}" for row in range(90))
    dataset, lines = read_csv(f"'a'\t'b'\t'y'\n{rows}\n", tmp_path)
    assert lines[0] == "any.csv: its names stand in single quotes: these are read as quotes, there and around cells"
    assert dataset.columns[1].categories == tuple(f"it, {row}" for row in range(5))
