"""A user's file comes back as it was, cell by cell, with the answers as further columns."""

import contextlib
import csv
import sqlite3

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_table_files import workbook

from depthcheck.pipeline.data.answered import write_answered
from depthcheck.pipeline.data.load import open_table, read_samples

ANSWERS = pd.DataFrame({"prediction": ["a", "b"], "probability_a": np.array([0.75, 0.25], np.float32)})


def answered(tmp_path, content, *, name="in.csv", output="out.csv", encoding="utf-8", answers=ANSWERS):
    source, target = tmp_path / name, tmp_path / output
    source.write_bytes(content.encode(encoding))
    write_answered(open_table(source), answers, target)
    return target.read_bytes().decode(encoding)


FILES = {
    "identifiers": ("id,x\n1234567890123456789,1\n00012,58.7652292950034\n", ","),
    "blanks and quotes": ('a , "b, c"\n 1 ,"x ""y"""\n\'2\', z\n', ","),
    "line breaks in a cell": ('a,b\n"1\n2",x\n3,"y\n\n"\n', ","),
    "semicolons and decimal commas": ("a;b\n1,5;x\n-2,25;y\n", ";"),
    "tabs": ("a\tb\n1\tx\n2\ty\n", "\t"),
    "Windows' ends of lines": ("a,b\r\n1,x\r\n2,y\r\n", ","),
    "announced separator and blank lines": ("sep=;\n\na;b\n1;x\n\n2;y\n", ";"),
    "separator at the end": ("a,b,\n1,x,\n2,y,\n", ","),
    "nothing before the tab at the end": ("a\tb\t\n1\t\t\n2\ty\t\n", "\t"),
    "single quotes": ("'a','b, c'\n'it, 1',x\n2,'y'\n", ","),
    "no line break at the end": ("a,b\n1,x\n2,y", ","),
}


@pytest.mark.parametrize(("text", "separator"), FILES.values(), ids=FILES)
def test_text_comes_back_as_it_was(tmp_path, text, separator):
    written = answered(tmp_path, text)
    added = [
        f"{separator}prediction{separator}probability_a",
        f"{separator}a{separator}0.75",
        f"{separator}b{separator}0.25",
    ]
    if separator == ";":
        added = [part.replace("0.75", "0,75").replace("0.25", "0,25") if "1,5" in text else part for part in added]
    if text.startswith("'"):
        added = [",'prediction','probability_a'", ",'a',0.75", ",'b',0.25"]
    for part in added:
        assert part in written, written
        written = written.replace(part, "", 1)
    assert written.rstrip("\r\n") == text.rstrip("\r\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encoding_stays(tmp_path, encoding):
    assert answered(tmp_path, "größe,b\n1,ä\n2,é\n", encoding=encoding).startswith(
        "größe,b,prediction,probability_a\n1,ä,a"
    )


@pytest.mark.parametrize("last", ["", '""', "  "])
def test_cell_without_a_name_at_the_end_of_each_row_shifts_nothing(tmp_path, last):
    written = answered(tmp_path, f"a\tb\n1\t\t{last}\n2\ty\t{last}\n")
    assert written == "a\tb\tprediction\tprobability_a\n1\t\ta\t0.75\n2\ty\tb\t0.25\n"


def test_answer_that_the_files_encoding_cannot_write_is_one_line_and_no_file(tmp_path):
    answers = ANSWERS.assign(prediction=["→", "b"])
    with pytest.raises(ValueError, match=r"the encoding of in\.csv has \(cp1252\), got '→': save that file as UTF-8"):
        answered(tmp_path, "größe,b\n1,ä\n2,é\n", encoding="cp1252", answers=answers)
    assert not (tmp_path / "out.csv").exists()


def test_names_that_the_table_has_are_not_taken(tmp_path):
    assert answered(tmp_path, "prediction,b\n1,x\n2,y\n").startswith("prediction,b,prediction.1,probability_a")


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=6)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.tuples(st.tuples(CELL, CELL), st.tuples(CELL, CELL)))
def test_any_cells_come_back(tmp_path, cells):
    text = pd.DataFrame(cells, columns=["a", "b"]).to_csv(index=False, quoting=csv.QUOTE_ALL)
    more = [",prediction,probability_a", ",a,0.75", ",b,0.25"]
    written = answered(tmp_path, text)
    assert written == "".join(f"{line}{own}\n" for line, own in zip(text.split("\n")[:-1], more, strict=True))


def test_parquet_keeps_its_types(tmp_path):
    table = pa.table({
        "id": pa.array([2**60 + 1, None], pa.int64()), "d": pa.array([1, 2], pa.date32()), "l": [[1], [2, 3]],
        "s": [{"p": 1}, {"p": 2}], "e": pa.array([1, 2], pa.decimal128(9, 2)),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "in.parquet")
    write_answered(open_table(tmp_path / "in.parquet"), ANSWERS, tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).equals(table)
    assert found["prediction"].to_pylist() == ["a", "b"]
    write_answered(open_table(tmp_path / "in.parquet"), ANSWERS, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("1152921504606846977,1970-01-02,")
    for name, first in (("id", "3,p,a,0.75"), (None, "3,a,0.75")):
        pd.DataFrame({"x": [3, 4]}, index=pd.Index(["p", "q"], name=name)).to_parquet(tmp_path / "of_pandas.parquet")
        write_answered(open_table(tmp_path / "of_pandas.parquet"), ANSWERS, tmp_path / "out.csv")
        assert (tmp_path / "out.csv").read_text().splitlines()[1] == first


def test_text_can_become_parquet_and_spreadsheets_and_json_lines_text(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text(f"id,x,note\n007,1.50,\n1234567890123456789,2,{'long' * 600_000}\n")
    write_answered(open_table(source), ANSWERS, tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert (found["id"], found["x"]) == (["007", "1234567890123456789"], ["1.50", "2"])
    book = workbook(tmp_path / "in.xlsx", [["n"], [0]], more={"2024": [["n", "word"], [1, "x"], [2.5, "y"]]})
    write_answered(open_table(book, sheet="2024"), ANSWERS, tmp_path / "book.csv")
    assert (tmp_path / "book.csv").read_text() == "n,word,prediction,probability_a\n1,x,a,0.75\n2.5,y,b,0.25\n"
    lines = tmp_path / "in.jsonl"
    lines.write_text('{"id": 12345678901234567890, "of": {"ok": true}}\n{"id": 2, "tags": [1]}\n')
    write_answered(open_table(lines), ANSWERS, tmp_path / "lines.csv")
    assert (tmp_path / "lines.csv").read_text().splitlines()[1:] == [
        "12345678901234567890,true,,a,0.75",
        "2,,[1],b,0.25",
    ]


def test_rows_of_a_database_are_asked_for_once_and_come_back_with_their_answers(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "new.db")) as database:
        database.executescript(
            "CREATE TABLE old (x); CREATE TABLE new (id, x, t); INSERT INTO new VALUES (7, 1.5, 'a')"
        )
        database.executescript("INSERT INTO new VALUES (8, NULL, 'b')")
    samples, table = read_samples(tmp_path / "new.db", query="SELECT id, x FROM new ORDER BY id DESC")
    (tmp_path / "new.db").unlink()
    write_answered(table, ANSWERS, tmp_path / "out.csv")
    assert samples["x"].isna().tolist() == [True, False]
    assert (tmp_path / "out.csv").read_text() == "id,x,prediction,probability_a\n8,,a,0.75\n7,1.5,b,0.25\n"


def test_file_that_has_changed_since_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"in\.csv must have 2 rows, one an answer, got 3"):
        answered(tmp_path, "a,b\n1,x\n2,y\n3,z\n")
