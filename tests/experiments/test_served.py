"""What the served model refuses of arrays, and how it reads CSV, seen without a network."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from depthcheck.experiments.tracking import registry
from depthcheck.pipeline import served
from depthcheck.pipeline.data.cells import as_samples
from depthcheck.pipeline.records import Column
from depthcheck.pipeline.served import _as_array


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("cell", [np.inf, -np.inf, np.nan, None, 1e308, -1e38, 10**400, "Infinity", "1e308", "1e400"])
def test_sample_that_is_infinite_or_as_good_as_is_refused_however_it_is_sent(cell):
    for form in (list, lambda rows: np.array(rows, dtype=object)):
        with pytest.raises(ValueError, match=r"sample 2 must be of numbers up to 1e\+37|int too large"):
            _as_array(form([[1, 2], [cell, 3]]), (2,), "float32")


def test_finite_samples_are_taken_flat_or_in_their_shape():
    for rows in (np.ones((3, 4)), np.ones((3, 2, 2)), np.ones((0, 4)), [["1", "1e36", 0, -1e37]]):
        assert _as_array(rows, (2, 2), "float32").shape[1:] == (2, 2)


COLUMNS = (
    Column(name="fence", kind="categorical", categories=("None", "Wood")),
    Column(name="paved", kind="categorical", categories=("False", "Partial", "True")),
    Column(name="country", kind="categorical", categories=("DE", "NA"), form="categorical with NA"),
    Column(name="km", kind="numeric", form=",."),
    Column(name="x", kind="numeric"),
    Column(name="on", kind="boolean", categories=("false", "true")),
    Column(name="day", kind="date", form="%d.%m.%Y"),
    Column(name="zip", kind="categorical", categories=("007", "7")),
)


@pytest.fixture
def asked(monkeypatch):
    """Return a function that asks MLflow's server about CSV; it answers with what it has read."""
    for name in ("invocations", "parse_csv_input"):
        monkeypatch.setattr(scoring_server, name, getattr(scoring_server, name))
    monkeypatch.setattr(served, "ServedModel", lambda _: SimpleNamespace(_preparation=SimpleNamespace(columns=COLUMNS)))
    served._load_pyfunc(str(Path()))
    model = SimpleNamespace(predict=lambda frame: as_samples(frame, COLUMNS).astype(object).replace({np.nan: None}))
    return lambda text: json.loads(scoring_server.invocations(text.encode(), "text/csv", model, None).response)


def test_csv_is_read_by_the_server_as_its_columns_are_written(asked):
    rows = asked(
        "fence, paved ,country, km,x,on,day, zip\nNone,True,NA,125.000,1e400,True,01.02.2024,007\n"
        ",False,,7,-1.5,0,2024-02-01,\nWood,True,DE,,unknown,,,\n"
    )["predictions"]

    assert [list(row.values()) for row in rows] == [
        ["None", "True", "NA", 125_000, None, 1, 19_754, "007"],
        [None, "False", None, 7, -1.5, 0, 19_754, None],
        ["Wood", "True", "DE", None, None, None, None, None],
    ]


@pytest.mark.parametrize("start", ["", "\ufeff", "sep=;\r\n"])
@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_csv_that_is_not_cut_by_commas_is_read_as_a_file_is(asked, mark, start):
    rows = asked(
        start
        + "fence;country; km;x;on;day;zip;paved;a, b\r\n"
        'None;NA;1.250,5;2.5;1;01.02.2024;007;True;"say ""x"";y"\r\n\r\n;;7;;;;;;'.replace(";", mark)
    )["predictions"]

    assert [list(row.values()) for row in rows] == [
        ["None", "True", "NA", 1250.5, 2.5, 1, 19_754, "007"],
        [None, None, None, 7, None, None, None, None],
    ]


def test_csv_with_a_long_cell_and_a_mark_of_its_encoding_is_answered(asked):
    text = '\ufeff"note, long",fence,paved,country,km,x,on,day,zip\n' + "a" * 200_000 + ",,,,1,,,,\n"
    assert asked(text)["predictions"][0]["km"] == 1


def test_answers_are_labelled_as_the_rows_that_they_answer(monkeypatch):
    rows = pd.DataFrame({"x": [1, 2]}, index=["b", "a"])
    model = object.__new__(served.ServedModel)
    model.facts = {"task": "regression"}
    model._features, model._model = np.asarray, lambda features, training: features
    assert model.predict(rows)["prediction"].to_dict() == {"b": 1, "a": 2}

    earlier = SimpleNamespace(predict=lambda samples: model.predict(samples).reset_index(drop=True))
    monkeypatch.setattr(registry, "loaded", lambda *_, **__: nullcontext(earlier))
    assert registry.predict("", "", rows)["prediction"].to_dict() == {"b": 1, "a": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No columns to parse"),
        ("a,b\n1,2,3\n", "row 1 must have 2 cells, as the line of names has, got 3"),
        ("fence;on\n1;2\n1,2\n", "row 2 must have 2 cells, as the line of names has, got 1"),
        ("a,b\n1,2\n\n1\n", "row 2 must have 2 cells, as the line of names has, got 1"),
    ],
)
def test_csv_that_is_no_table_is_refused(asked, text, said):
    with pytest.raises(MlflowException, match=said) as caught:
        asked(text)
    assert caught.value.get_http_status_code() == 400
