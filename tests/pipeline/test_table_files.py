import gzip
import json
import os
import struct
import zipfile
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data import delimited
from depthcheck.pipeline.data.cells import as_samples, cells_of
from depthcheck.pipeline.data.guess import guess
from depthcheck.pipeline.data.load import DataNotFoundError, load, open_table, read_samples
from depthcheck.pipeline.data.sniff import sniff
from depthcheck.pipeline.records import Column


def written(tmp_path, content, name="any.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path, content, name="any.csv"):
    """Return the frame, and the lines that were logged."""
    lines = []
    return open_table(written(tmp_path, content, name), lines.append).read(), lines


def test_plain_numbers_become_float32_and_words_text(tmp_path):
    frame, lines = read(tmp_path, "n,word,word too\n1, x ,a\n-2.5e3,,b\n?,y,\n")

    assert [str(dtype) for dtype in frame.dtypes] == ["float32", "string[pyarrow]", "string[pyarrow]"]
    np.testing.assert_array_equal(frame["n"], [1, -2500, np.nan])
    assert frame["word"].isna().tolist() == [False, True, False]
    assert lines == ["column 'n': missing among its numbers: '?'"]


@pytest.mark.parametrize("word", ["", "NA", "N/A", "null", "?", "-", "NaN", "None", "  "])
def test_words_for_missing_values_do_not_make_numbers_text(tmp_path, word):
    frame, _ = read(tmp_path, f"a,b\n1,0\n{word},0\n")

    np.testing.assert_array_equal(frame["a"], [1, np.nan])


@pytest.mark.parametrize(
    ("separator", "suffix"), [(",", "csv"), (";", "csv"), ("\t", "tsv"), ("|", "txt"), (";", "data")]
)
def test_separator_is_found_whatever_else_the_cells_hold(tmp_path, separator, suffix):
    rows = [["id", "amount", "note"], ["1", '"1,5"', "a b"], ["2", '"2,25"', '"x;y|z"'], ["3", '"7,1"', '"q ""w"" e"']]
    text = "\n".join(separator.join(row) for row in rows)

    frame, _ = read(tmp_path, text, f"any.{suffix}")

    assert list(frame.columns) == ["id", "amount", "note"]
    assert frame["note"].tolist() == ["a b", "x;y|z", 'q "w" e']
    assert frame["amount"].tolist() == ["1,5", "2,25", "7,1"]


def test_blank_separates_where_nothing_else_does(tmp_path):
    assert read(tmp_path, "a b\n1 2\n3 4\n")[0].to_dict("list") == {"a": [1, 3], "b": [2, 4]}
    assert read(tmp_path, "full name\nAda\nEmmy Noether\n")[0]["full name"].tolist() == ["Ada", "Emmy Noether"]


def test_names_with_commas_do_not_make_a_comma_the_separator(tmp_path):
    assert sniff(written(tmp_path, "Price, EUR;Size, m2\n1,5;2,5\n3,5;4,5\n"), print).names == (
        "Price, EUR",
        "Size, m2",
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "cp1252"])
def test_encodings_are_told_apart(tmp_path, encoding):
    text = "größe;wört\n1;ä\n2;é\n"
    content = b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16-le-bom" else text.encode(encoding)

    frame, lines = read(tmp_path, content)

    assert list(frame.columns) == ["größe", "wört"]
    assert frame["wört"].tolist() == ["ä", "é"]
    assert lines == (["any.csv: is not UTF-8; read as cp1252"] if encoding == "cp1252" else [])


@pytest.mark.parametrize(("first", "known"), [(b"x", []), (b"\xe4", ["cp1252"])], ids=["ascii", "cp1252"])
@pytest.mark.parametrize(("byte", "encoding"), [(b"\xe4", "cp1252"), (b"\x81", "latin-1")])
def test_letter_far_behind_tells_the_encoding_too(tmp_path, first, known, byte, encoding):
    frame, lines = read(tmp_path, b"a,b\n1," + first + b"\n" + b"1,x\n" * 100_000 + b"2," + byte + b"\n")

    assert frame["b"].iloc[-1] == byte.decode(encoding)
    assert lines == [f"any.csv: is not UTF-8; read as {said}" for said in dict.fromkeys([*known, encoding])]


def test_letter_of_another_encoding_far_behind_those_of_utf_8_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"any\.csv cannot be read: .*invalid UTF8"):
        read(tmp_path, "a,b\n1,ä\n".encode() + b"1,x\n" * 100_000 + b"2,\xe4\n")


def test_names_are_made_unique_and_said(tmp_path):
    frame, lines = read(tmp_path, "x,x, x.1,,x\n1,2,3,4,5\n")

    assert list(frame.columns) == ["x", "x.2", "x.1", "column_4", "x.3"]
    assert lines == [
        "any.csv: column 2 has the name of an earlier one: it is called 'x.2'",
        "any.csv: column 4 has no name: it is called 'column_4'",
        "any.csv: column 5 has the name of an earlier one: it is called 'x.3'",
    ]


@pytest.mark.parametrize("header", ["a,b,", "a,b"], ids=["in the names too", "below alone"])
def test_separator_at_the_end_of_each_row_makes_no_column(tmp_path, header):
    frame, lines = read(tmp_path, f"{header}\n1,2,\n3,4,\n")

    assert list(frame.columns) == ["a", "b"]
    assert lines[-1] == "any.csv: 'column_3' is empty and has no name: left out"


def test_row_names_as_r_writes_them_get_a_column_in_front(tmp_path):
    frame, _ = read(tmp_path, "a,b\nr1,1,2\nr2,3,4\n")

    assert list(frame.columns) == ["column_1", "a", "b"]
    assert frame["column_1"].tolist() == ["r1", "r2"]


def test_blank_lines_and_an_announced_separator_are_passed_over(tmp_path):
    frame, _ = read(tmp_path, "sep=|\n\na|b\n1|2\n\n3|4\n")

    assert frame.to_dict("list") == {"a": [1, 3], "b": [2, 4]}


def test_line_breaks_inside_quotes_belong_to_the_cell(tmp_path):
    frame, _ = read(tmp_path, '"a\nname",b\n"x\ny",1\nz,2\n')

    assert list(frame.columns) == ["a\nname", "b"]
    assert frame["a\nname"].tolist() == ["x\ny", "z"]
    assert read(tmp_path, 'a,b\n1,"x\ny"\n\n')[0]["b"].tolist() == ["x\ny"]


@pytest.mark.parametrize("quoted", ["01234", "007"])
def test_codes_with_leading_zeros_stay_text(tmp_path, quoted):
    frame, _ = read(tmp_path, f"code,share\n{quoted},0.5\n23456,0\n")

    assert frame["code"].tolist() == [quoted, "23456"]
    assert frame["share"].dtype == np.float32


def test_whole_numbers_beyond_float32_keep_every_digit(tmp_path):
    frame, _ = read(tmp_path, f"small,large\n{2**24},{2**24 + 1}\n1,2\n")

    assert list(frame.dtypes) == [np.float32, np.float64]
    assert frame["large"].tolist() == [2**24 + 1, 2]


def test_point_is_left_to_the_whole_column_where_numbers_have_decimal_commas(tmp_path):
    frame, _ = read(tmp_path, "price;turnover;count\n1,5;1.234;1\n2,25;2.000;2\n")

    assert frame["turnover"].tolist() == ["1.234", "2.000"]
    assert frame["count"].dtype == np.float32


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1,234.5", "2", "7,000"], [1234.5, 2, 7000]),
        (["1.234,5", "2", "7.000"], [1234.5, 2, 7000]),
        (["1 234", "2", "7\u00a0000,5"], [1234, 2, 7000.5]),
        (["1,5", "-", "7,25"], [1.5, np.nan, 7.25]),
    ],
)
def test_thousands_and_decimal_commas_arrive_as_numbers(tmp_path, cells, expected):
    rows = "\n".join(f'"{cell}";{"ab"[position % 2]}' for position, cell in enumerate(cells * 4))
    path = written(tmp_path, f"x;y\n{rows}\n")

    dataset = load(DataConfig(name=str(path), target="y"), cache=tmp_path)

    np.testing.assert_array_equal(dataset.X["x"].iloc[:3], np.array(expected, np.float32))


def test_word_after_many_numbers_makes_the_column_the_text_that_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "_N_BLOCK", 4_096)
    numbers = [f"{number}.0" for number in range(3_000)]
    rows = "\n".join(f"{number},{position}" for position, number in enumerate([*numbers, "word"]))

    frame, _ = read(tmp_path, f"a,b\n{rows}\n")

    assert frame["a"].tolist() == [*numbers, "word"]
    np.testing.assert_array_equal(frame["b"], np.arange(3_001))


@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=50),
    block=st.integers(64, 512),
)
def test_numbers_come_back_as_they_were_written_whatever_the_blocks(tmp_path_factory, values, block):
    path = tmp_path_factory.mktemp("numbers") / "any.csv"
    pd.DataFrame({"a": np.array(values, np.float32), "b": 1.0}).to_csv(path, index=False)
    table, whole = open_table(path), delimited._N_BLOCK
    delimited._N_BLOCK = block
    try:
        frame = table.read()
    finally:
        delimited._N_BLOCK = whole

    np.testing.assert_array_equal(frame["a"].astype(np.float32), np.array(values, np.float32))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", r"any\.csv must have a line of names and rows below it, got an empty file"),
        ("a,b\n", r"any\.csv must have rows below its line of names, got none"),
        ("a,b\n1,2\n\n3\n", r"must have 2 cells in each row, as its first line has, got 1 in line 4: '3'"),
        ("a,b\n1,2\n3,4\n5,6,7\n", r"got 3 in line 4: '5,6,7'"),
        ("5.1,3.5,Iris-setosa\n4.9,3.0,Iris-setosa\n", r"first line .* must be the names .* got '5\.1', '3\.5'"),
        ("39, State-gov, 77516, 13\n50, Self, 83311, 13\n", r"first line .* must be the names .* add a line of names"),
        (b"\x00\x01\x02", r"any\.csv must be a text file"),
        ("a  b\n1  2\n", r"cells of any\.csv must have a comma, .* or one blank between them, got several blanks"),
        ('a,b\n1,2\n3,"x\n5,6\n', r"any\.csv must close every quote, got one open to the file's end: 'x\\n5,6\\n'"),
        ('a,b\n1,2\n"3,4\n' + "5,6\n" * 50_000, r"must have 2 cells in each row, .* got 1 in line 50,003: '\"3,4"),
        ('a,b\n1,2\n"3,4\n' + "5,6\n" * 1_500_000, r"rows of less than 2,097,152 bytes, .*: is a quote not closed\?$"),
    ],
    ids=[
        "empty", "names alone", "short row", "long row", "measurements first", "mixed row first", "binary", "aligned",
        "open quote", "open quote in front", "open quote far above",
    ],
)  # fmt: skip
def test_text_that_is_no_table_is_refused_in_one_line(tmp_path, content, complaint):
    with pytest.raises(ValueError, match=complaint) as raised:
        read(tmp_path, content)

    assert "\n" not in str(raised.value)


def test_names_may_be_longer_than_what_is_looked_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "_N_BLOCK", 4_096)
    names = [f"{number:01000}x" for number in range(300)]

    table = open_table(written(tmp_path, ";".join(names) + "\n" + ";".join(["1,5"] * 300) + "\n"))

    assert (table.names, table.layout.comma) == (tuple(names), True)
    assert table.read().shape == (1, 300)


@pytest.mark.parametrize("header", ["0,1,2", "2019,2018,2017", "year,1,2"])
def test_numbers_that_count_columns_are_names(tmp_path, header):
    frame, _ = read(tmp_path, f"{header}\n1,2,3\n1,2,3\n")

    assert ",".join(frame.columns) == header


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zip"])
def test_packed_text_is_unpacked(tmp_path, suffix):
    path = tmp_path / f"any.csv.{suffix}"
    pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}).to_csv(path, index=False)

    assert open_table(path).read().to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


def test_damaged_or_ambiguous_archives_are_named(tmp_path):
    path = written(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 1_000)[:-20], "any.csv.gz")
    with pytest.raises(ValueError, match=r"any\.csv\.gz is damaged"):
        open_table(path).read()
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")
    with pytest.raises(ValueError, match=r"number of files in two\.zip must be 1, got 2"):
        open_table(tmp_path / "two.zip")


FRAME = pd.DataFrame(
    {
        "small": np.arange(3, dtype=np.int64),
        "large": np.arange(3, dtype=np.int64) + 2**40,
        "real": [0.5, np.nan, 2.5],
        "yes": [True, False, True],
        "maybe": pd.array([True, None, False], dtype="boolean"),
        "day": pd.to_datetime(["2024-01-01", None, "2024-03-01"]),
        "word": ["x", None, "z"],
        "kind": pd.Categorical(["a", "b", None]),
    }
)


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_columnar_files_keep_their_own_types(tmp_path, suffix):
    path = tmp_path / f"any.{suffix}"
    getattr(FRAME, f"to_{suffix}")(path)

    frame = open_table(path).read()

    assert [str(dtype) for dtype in frame.dtypes] == [
        "float32", "float64", "float32", "bool", "boolean", "datetime64[us]", "string[pyarrow]", "category",
    ]  # fmt: skip
    assert frame["large"].tolist() == [2**40, 2**40 + 1, 2**40 + 2]
    assert frame["kind"].isna().tolist() == [False, False, True]
    assert frame["day"].iloc[2] == pd.Timestamp("2024-03-01")


def test_parquet_with_structures_and_without_rows_labels_lists_or_damage(tmp_path):
    lines, path = [], tmp_path / "any.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0], "l": [[1], [2]], "s": [{"p": 1}, {"p": 2}]}), path, row_group_size=1)

    frame = open_table(path, lines.append).read()

    assert frame.to_dict("list") == {"a": [1, 2], "s.p": [1, 2]}
    assert [line.split(" holds ")[0] for line in lines] == ["any.parquet: 'l'"]
    FRAME.set_index("word").to_parquet(path)
    assert "word" in open_table(path).names
    FRAME.iloc[[2, 0]].to_parquet(path)
    assert "__index_level_0__" not in open_table(path).names
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"any\.parquet is no whole Parquet file"):
        open_table(path)


def workbook(path, rows, *, more=None, merged=(), below=""):
    """Write a spreadsheet as Excel does, as small as it can be: texts in the cells, day 45292 is 2024-01-01.

    A tuple is a number and its style: 1 a date, 2 a date with its time, 3 a time, 4 a duration. ``below`` is XML of
    further rows, ``more`` are the rows of further sheets by their names.
    """

    def cell(value, column, row):
        place = f'r="{(chr(64 + column // 26) if column >= 26 else "") + chr(65 + column % 26)}{row}"'
        if value is None:
            return f"<c {place}/>"
        if isinstance(value, bool):
            return f'<c {place} t="b"><v>{int(value)}</v></c>'
        if isinstance(value, str):
            return f'<c {place} t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
        return (
            f'<c {place} s="{(*value, 1)[1]}"><v>{value[0]}</v></c>'
            if isinstance(value, tuple)
            else (f"<c {place}><v>{value}</v></c>")
        )

    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    links = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

    def sheet(rows):
        return "".join(
            f'<row r="{at}">{"".join(cell(value, column, at) for column, value in enumerate(row))}</row>'
            for at, row in enumerate(rows, start=1)
        )

    ranges = "".join(f'<mergeCell ref="{one}"/>' for one in merged)
    ranges = f"<mergeCells>{ranges}</mergeCells>" if merged else ""
    sheets = {"S1": sheet(rows) + below} | {name: sheet(others) for name, others in (more or {}).items()}
    named = dict(enumerate(sheets.items(), start=1))
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r" Type="{links}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{links}"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, (name, _) in named.items())
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">'
        + "".join(f'<Relationship Id="r{n}" Type="{links}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in named)
        + f'<Relationship Id="s" Type="{links}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet {main}><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/>'
        '<xf numFmtId="22"/><xf numFmtId="20"/><xf numFmtId="46"/></cellXfs></styleSheet>',
        **{
            f"xl/worksheets/sheet{n}.xml": f"<worksheet {main}><sheetData>{xml}</sheetData>{ranges}</worksheet>"
            for n, (_, xml) in named.items()
        },
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def test_spreadsheet_gives_numbers_truths_dates_and_text(tmp_path):
    rows = [
        ["n", "yes", "day", "word", "mixed", "n"],
        [1.5, True, (45292,), "x", 7, 2**30 + 1],
        [None, False, (45293,), None, "seven", 1],
    ]
    lines = []

    table = open_table(workbook(tmp_path / "any.xlsx", rows, more={"2024": rows}), lines.append)
    frame = table.read()

    assert table.names == ("n", "yes", "day", "word", "mixed", "n.1")
    assert [str(dtype) for dtype in frame.dtypes.iloc[[0, 1, 3, 4, 5]]] == [
        "float32",
        "boolean",
        "str",
        "str",
        "float64",
    ]
    assert frame["day"].tolist() == [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")]
    assert frame["mixed"].tolist() == ["7", "seven"]
    assert lines == [
        "any.xlsx: has 2 sheets, 'S1', '2024': the first is read (sheet, or --sheet, names another)",
        "any.xlsx: column 6 has the name of an earlier one: it is called 'n.1'",
    ]


def test_sheet_is_chosen_by_its_name_and_another_format_has_none(tmp_path):
    lines = []
    path = workbook(tmp_path / "any.xlsx", [["n"], [1]], more={"2024": [["n", "y"], [2.5, 10], [3, 20]]})

    assert open_table(path, lines.append, sheet="2024").read()["n"].tolist() == [2.5, 3]
    assert lines == []
    with pytest.raises(ValueError, match=r"sheet must be one of those of any\.xlsx: 'S1', '2024'; got '204'; did you"):
        open_table(path, sheet="204")
    with pytest.raises(ValueError, match=r"sheet must be left out: any\.csv takes none, got '2024'"):
        open_table(written(tmp_path, "a,b\n1,2\n"), sheet="2024")
    config = DataConfig(name=str(path), target="y", sheet="2024", task="regression", test_file=str(path))
    dataset = load(config, cache=tmp_path)
    assert dataset.X["n"].tolist() == dataset.X_test["n"].tolist() == [2.5, 3]


def test_cells_far_from_the_table_cost_nothing_and_are_said(tmp_path):
    far = '<row r="5"><c r="CZ5"><v>7</v></c></row><row r="1048576"><c s="0" r="XFD1048576"><v>1</v></c></row>'
    path, lines = workbook(tmp_path / "any.xlsx", [["n", "y"], [1.5, "a"], [3, "b"]], below=far), []

    frame = open_table(path, lines.append).read()

    assert frame.to_dict("list") == {"n": [1.5, 3], "y": ["a", "b"]}
    assert lines == [
        "any.xlsx: cells far from the table, behind 1,000 empty rows or 100 empty columns, are left out: 2"
    ]


def binary_workbook(path, cells):
    """Write a spreadsheet as Excel's binary format has it, of rows of (column, value) by their number."""

    def record(kind, data=b""):  # no length here needs more than two bytes of seven bits
        head = [bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7]) for n in (kind, len(data))]
        return b"".join(head) + data

    def text(value):
        return struct.pack("<I", len(value)) + value.encode("utf-16-le")

    def cell(column, value):
        place = struct.pack("<II", column, 0)
        return record(6, place + text(value)) if isinstance(value, str) else record(5, place + struct.pack("<d", value))

    rows = (
        record(0, struct.pack("<I", n) + bytes(21)) + b"".join(cell(*one) for one in row) for n, row in cells.items()
    )
    size = record(148, struct.pack("<IIII", 0, max(cells), 0, 16_383))
    one = record(156, struct.pack("<II", 0, 1) + text("rId1") + text("S1"))
    of = "http://schemas.openxmlformats.org"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.bin", record(131) + record(143) + one + record(144) + record(132))
        archive.writestr(
            "xl/_rels/workbook.bin.rels",
            f'<Relationships xmlns="{of}/package/2006/relationships"><Relationship Id="rId1" '
            f'Type="{of}/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.bin"/></Relationships>',
        )
        sheet = [record(129), size, record(145), *rows, record(146), record(130)]
        archive.writestr("xl/worksheets/sheet1.bin", b"".join(sheet))
    return path


def test_cells_far_from_a_binary_table_cost_nothing_either(tmp_path):
    table = {0: [(0, "n"), (1, "y")], 1: [(0, 1.5), (1, "a")], 2: [(0, 3.0), (1, "b"), (500, 7.0)]}
    path, lines = binary_workbook(tmp_path / "any.xlsb", table | {1_048_575: [(0, 1.0), (16_383, 2.0)]}), []

    frame = open_table(path, lines.append).read()

    assert frame.to_dict("list") == {"n": [1.5, 3], "y": ["a", "b"]}
    assert lines == [
        "any.xlsb: cells far from the table, behind 1,000 empty rows or 100 empty columns, are left out: 3"
    ]


def test_merged_cells_are_names_of_two_levels_and_values_of_every_row(tmp_path):
    rows = [
        ["Sales", None, None, None],
        ["Region", 2019, None, "note"],
        [None, "Q1", "Q2", None],
        ["North", 1, 2, "a"],
        [None, 3, 4, "b"],
        ["South", 5, 6, "c"],
    ]
    lines = []
    path = workbook(tmp_path / "any.xlsx", rows, merged=("A1:D1", "A2:A3", "B2:C2", "D2:D3", "A4:A5"))

    frame = open_table(path, lines.append).read()

    assert frame["Region"].tolist() == ["North", "North", "South"]
    assert frame[["2019.Q1", "2019.Q2"]].to_numpy().tolist() == [[1, 2], [3, 4], [5, 6]]
    assert lines == [
        "any.xlsx: row 1 is one merged cell, 'Sales': passed over as a title",
        "any.xlsx: cells that are merged with the one above them have its value: 1",
        "any.xlsx: the names stand in 2 rows, as merged cells tell: Region, 2019.Q1, 2019.Q2, note",
    ]
    with pytest.raises(
        ValueError, match=r"any\.xlsx must have its names in one row, or in merged cells, got 'Q2' below"
    ):
        open_table(workbook(path, rows[1:]))


def test_times_of_day_and_durations_are_hours_whatever_the_format(tmp_path):
    rows = [["at", "took", "y"], [(0.5625, 3), (1.25, 4), 1], [(0.25, 3), (0.5, 4), 2], [(0, 3), None, 3]]
    text = "at,late,y\n13:30,1:30 pm,1\n6:00,12:05:30 am,2\n0:00,,3\n"
    for path in (workbook(tmp_path / "any.xlsx", rows), written(tmp_path, text)):
        dataset = load(DataConfig(name=str(path), target="y", task="regression"), cache=tmp_path)
        assert dataset.X["at"].tolist() == [13.5, 6, 0]
        assert dataset.columns[0].why.startswith("times of day, as hours")
        if path.suffix == ".csv":
            assert dataset.X["late"].tolist()[:2] == pytest.approx([13.5, 5.5 / 60])
        else:
            assert dataset.X["took"].tolist()[:2] == [30, 12]
    with pytest.raises(ValueError, match=r"row 1 of numeric column 'at' must be a number, got '13\.30'"):
        as_samples(pd.DataFrame({"at": ["13.30"], "late": ["13:30"]}), dataset.columns)


def test_file_that_is_no_spreadsheet_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"any\.xlsx is no whole spreadsheet"):
        open_table(written(tmp_path, "a,b\n1,2\n", "any.xlsx"))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather"])
def test_missing_column_is_told_from_the_header_alone(tmp_path, suffix):
    path = tmp_path / f"any.{suffix}"
    FRAME.to_csv(path, index=False) if suffix == "csv" else getattr(FRAME, f"to_{suffix}")(path)
    with path.open("r+b") as file:  # rows that nobody could read
        file.seek(60)
        file.write(b'"\xff,' * 5)

    for words, complaint in (
        (
            {"target": "wort"},
            r"target must be one of the columns of any.*: small, .*; got 'wort'; did you mean 'word'",
        ),
        ({}, r"target must be one of the columns of any.*: small, .*; got none"),
        ({"target": "word", "group": "x"}, r"group must be one of the columns"),
        ({"target": "word", "time": "Day"}, r"time must be .* got 'Day'; did you mean 'day'"),
        (
            {"target": "word", "columns": (("kin", "ignored"),)},
            r"a column of \[data.columns\] must be one of the columns of any.* got 'kin'",
        ),
    ):
        with pytest.raises(ValueError, match=complaint):
            load(DataConfig(name=str(path), **words), cache=tmp_path)


def test_list_of_many_columns_stays_short(tmp_path):
    path = written(tmp_path, ",".join(f"x{position}" for position in range(1_000)) + "\n" + ",".join("1" * 1_000))

    with pytest.raises(ValueError, match=r"x0, x1, .*, x19, … \(1,000 in all\); got 'y'"):
        load(DataConfig(name=str(path), target="y"), cache=tmp_path)


def test_second_file_is_the_test_part(tmp_path):
    rows = "\n".join(f"{number % 7 / 2},{'ab'[number % 2]}" for number in range(20))
    path = written(tmp_path, f"x,y\n{rows}\n")
    second = written(tmp_path, "y;x\na;0.5\nb;1.5\n", "second.csv")

    dataset = load(DataConfig(name=str(path), target="y", test_file=str(second)), cache=tmp_path)

    assert (len(dataset.X), len(dataset.X_test)) == (20, 2)
    np.testing.assert_array_equal(dataset.X_test["x"], np.array([0.5, 1.5], np.float32))
    np.testing.assert_array_equal(dataset.y_test, [0, 1])


def test_files_that_were_moved_are_found_in_the_folder_that_is_named(tmp_path):
    rows = "\n".join(f"{number % 7 / 2},{'ab'[number % 2]}" for number in range(20))
    first, second = written(tmp_path, f"x,y\n{rows}\n"), written(tmp_path, "x,y\n0.5,a\n1.5,b\n", "second.csv")
    config = DataConfig(name=str(first), target="y", test_file=str(second))
    before = load(config, cache=tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (first, second):
        path.rename(moved / path.name)

    assert load(config, folder=moved, cache=tmp_path).sha256 == before.sha256
    with pytest.raises(DataNotFoundError, match=r"data must be a path that exists, got '.*elsewhere/any\.csv'"):
        load(config, folder=tmp_path / "elsewhere", cache=tmp_path)


def test_second_file_needs_the_target_and_has_to_be_there(tmp_path):
    path = written(tmp_path, "x,y\n1,a\n2,b\n")
    second = written(tmp_path, "x,z\n1,a\n", "second.csv")

    with pytest.raises(ValueError, match=r"target must be a column of test_file second\.csv too: x, z; got 'y'"):
        load(DataConfig(name=str(path), target="y", test_file=str(second)), cache=tmp_path)
    with pytest.raises(DataNotFoundError, match=r"there is no file .*secnd\.csv; did you mean 'second\.csv'"):
        load(DataConfig(name=str(path), target="y", test_file=str(tmp_path / "secnd.csv")), cache=tmp_path)


def test_samples_to_predict_need_no_target(tmp_path):
    assert list(read_samples(written(tmp_path, "x,z\n1,a\n"))[0].columns) == ["x", "z"]
    np.savez(tmp_path / "any.npz", X=np.eye(2))
    np.testing.assert_array_equal(read_samples(tmp_path / "any.npz")[0], np.eye(2))
    with pytest.raises(ValueError, match=r"query must be left out: any\.npz takes none, got 'q'"):
        read_samples(tmp_path / "any.npz", query="q")
    with pytest.raises(DataNotFoundError, match="there is no file"):
        read_samples(tmp_path / "other.npz")


@pytest.mark.parametrize("text", ["x,z\n1,2,3\n", "x,z\nr1,1,2\nr2,3,4\n", "x,z\n1,2,3\n4,5\n", "x,z\n1,2\n3,4,5\n"])
def test_samples_with_a_cell_too_many_are_refused_and_never_shifted(tmp_path, text):
    with pytest.raises(ValueError, match=r"must have .*, got 3 in (row 1|line [23])"):
        read_samples(written(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("irirs", r"data must be one of fashion-mnist, .*, got 'irirs'; did you mean 'iris'\?"),
        ("{folder}/mi.csv", r"data must be a path that exists, got '.*/mi\.csv'; did you mean 'my\.csv'\?"),
        ("{folder}/no/my.csv", r"data must be a path that exists, got '.*': there is no folder .*/no"),
        ("{folder}/any.docx", r"data must be JSON, JSON Lines, CSV, TSV, Parquet, .* got '.*any\.docx'"),
        (
            "{folder}",
            r"must have four IDX files, or a subfolder of images for each class, got .* with any\.docx, my\.csv",
        ),
    ],
)
def test_data_that_are_nowhere_are_refused_with_the_nearest_name(tmp_path, name, complaint):
    written(tmp_path, "x,y\n1,a\n", "my.csv")
    written(tmp_path, "", "any.docx")

    with pytest.raises(ValueError, match=complaint):
        load(DataConfig(name=name.format(folder=tmp_path)), cache=tmp_path)


def made(tmp_path, kind):
    """Return the path of something that cannot be read as a file."""
    path = tmp_path / "any.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind in ("circle", "nowhere", "disk"):
        path.symlink_to({"circle": path, "nowhere": tmp_path / "gone", "disk": "/proc/self/mem"}[kind])
    elif kind == "long":
        path = tmp_path / ("a" * 300 + ".csv")
    elif kind == "folder":
        path.mkdir()
    else:
        path = written(tmp_path, "x,y\n1,a\n")
        (path if kind == "closed" else tmp_path).chmod(0)
    return path


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("pipe", "a pipe, a socket or a device"),
        ("circle", "Too many levels of symbolic links"),
        ("nowhere", "a link to .*gone, which is not there"),
        ("disk", "Input/output error"),  # reading the first byte of a process's memory fails as a broken disk does
        ("long", "File name too long"),
        ("folder", "must have four IDX files|must be a file, got the folder"),
        ("closed", "Permission denied"),
        ("closed folder", "Permission denied"),
    ],
)
def test_what_cannot_be_read_is_one_true_line(shared_folder, kind, complaint):
    folder = shared_folder / "own"
    folder.mkdir()
    path = made(folder, kind)
    is_root = os.geteuid() == 0
    if is_root and kind.startswith("closed"):
        os.seteuid(65_534)  # root may read everything
    try:
        for read_it in (lambda: load(DataConfig(name=str(path), target="y"), cache=folder), lambda: read_samples(path)):
            with pytest.raises(ValueError, match=complaint) as refused:
                read_it()
            assert "\n" not in str(refused.value)
            assert "did you mean" not in str(refused.value)
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)


def test_words_for_missing_among_names_are_said_and_can_be_kept(tmp_path):
    rows = "".join(f"{('NA', 'DE', '')[n % 3]},{n % 7},{('EU', 'NA')[n % 2]}\n" for n in range(60))
    path, lines = written(tmp_path, "country,x,y\n" + rows.replace("DE,3", "?,3")), []
    with pytest.raises(
        ValueError, match=r"got EU in every row; 30 cells count as missing .*: 'NA' \(if that is a name"
    ):
        load(DataConfig(name=str(path), target="y"), cache=tmp_path)
    keep = (("country", "categorical with NA"), ("y", "categorical with NA"))
    said = load(DataConfig(name=str(path), target="y", columns=keep[1:]), cache=tmp_path, log=lines.append)
    kept = load(DataConfig(name=str(path), target="y", columns=keep), cache=tmp_path)
    assert lines == [f"column 'country': {said.columns[0].why}"]
    assert said.columns[0].why.endswith("for what they say: 'NA', '?' (if that is a name, say 'categorical with NA')")
    assert said.columns[0].categories == ("DE",)
    assert kept.class_names == ("EU", "NA")
    assert (kept.columns[0].categories, kept.columns[0].n_missing) == (("?", "DE", "NA"), 20)
    samples = as_samples(read_samples(path)[0], kept.columns)
    assert samples["country"].astype(object).iloc[:2].tolist() == ["NA", "DE"]
    assert samples["country"].isna().sum() == 20


def test_words_for_missing_in_other_files_are_what_they_are_in_the_training_data(tmp_path):
    cells = [("1", "none", "20160131.0"), ("2", "1", "20160201.0"), ("-", "b", "NA")]
    rows = "".join(f"{n % 7},{','.join(cells[n % 3])},{'ab'[n % 2]}\n" for n in range(60))
    path = written(tmp_path, "x,grade,kind,day,y\n" + rows)
    new = written(tmp_path, "x,grade,kind,day,y\n1,1,none,20160201.0,a\n2,-,1,NA,b\n", "new.csv")
    config = DataConfig(name=str(path), target="y", columns=(("grade", "categorical"),), test_file=str(new))
    dataset = load(config, cache=tmp_path)

    for samples in (as_samples(read_samples(new)[0], dataset.columns), dataset.X_test):
        assert samples["grade"].isna().tolist() == [False, True]
        assert samples["kind"].tolist() == ["none", "1"]
        assert samples["day"].fillna(0).tolist() == [16_832, 0]


def test_words_for_missing_among_numbers_can_be_kept_as_names_too(tmp_path):
    rows = "".join(f"{('NA', '1', '2.50', '')[n % 4]},{n % 7},{'ab'[n % 2]}\n" for n in range(60))
    path, lines = written(tmp_path, "grade,x,y\n" + rows), []
    config = DataConfig(name=str(path), target="y", columns=(("grade", "categorical with NA"),), test_file=str(path))
    kept = load(config, cache=tmp_path, log=lines.append)
    assert lines == []
    assert (kept.columns[0].categories, kept.columns[0].n_missing) == (("1", "2.50", "NA"), 15)
    assert [*kept.X_test["grade"].astype(object)[:3]] == ["NA", "1", "2.50"]
    samples, _ = read_samples(path)
    assert [*as_samples(samples, kept.columns)["grade"].astype(object)[:3]] == ["NA", "1", "2.50"]
    # A server has read them as numbers.
    assert [*as_samples(samples.assign(grade=2.5), kept.columns)["grade"][:2]] == ["2.50", "2.50"]


GERMAN = "km;baujahr;preis\n" + "".join(
    f"{100 + n}.{n % 900 + 100};{1990 + n % 30};{n % 9 + 1}.{n % 900 + 100},50\n" for n in range(60)
)


def test_a_point_that_may_stand_between_thousands_is_read_as_in_the_training_data(tmp_path):
    path, new = (
        written(tmp_path, GERMAN, "train.csv"),
        written(tmp_path, "km;baujahr\n125.000;2015\n7;1.999\n", "new.csv"),
    )
    test = written(tmp_path, "km;baujahr;preis\n125.000;2015;8.000\n7;1.999;9.000\n", "test.csv")
    dataset = load(DataConfig(name=str(path), target="preis", test_file=str(test)), cache=tmp_path)

    for samples in (as_samples(read_samples(new)[0], dataset.columns), dataset.X_test):
        assert samples.to_dict("list") == {"km": [125_000, 7], "baujahr": [2015, 1999]}
    assert dataset.y_test.tolist() == [8_000, 9_000]


def test_a_point_that_may_stand_between_thousands_is_a_decimal_one_where_the_training_data_have_those(tmp_path):
    rows = "".join(f"{n % 7}.{n % 900 + 100},{n % 5}.250,{n // 2 % 2}.000,{'ab'[n % 2]}\n" for n in range(60))
    path = written(tmp_path, "x,grade,on,y\n" + rows)
    config = DataConfig(name=str(path), target="y", columns=(("grade", "categorical"),), test_file=str(path))
    dataset = load(config, cache=tmp_path)
    new = as_samples(read_samples(written(tmp_path, "x,grade,on\n1.500,2.250,1.000\n", "new.csv"))[0], dataset.columns)

    assert new.to_dict("list") == {"x": [1.5], "grade": ["2.250"], "on": [1]}
    pd.testing.assert_frame_equal(dataset.X_test, dataset.X)


@pytest.mark.parametrize("sender", ["pandas", "categories", "json", "xlsx"])
def test_a_number_beside_a_word_has_no_points_between_thousands_and_is_one_name(tmp_path, sender):
    rows = [[1.234, 1.234], ["-", "1.234"], [5.125, "new"]]
    if sender in ("pandas", "categories"):
        samples = pd.DataFrame(rows, columns=["km", "v"])
        if sender == "categories":
            samples["km"] = pd.Categorical(samples["km"])
    elif sender == "json":
        text = json.dumps([{"km": km, "v": v} for km, v in rows])
        samples, _ = read_samples(written(tmp_path, text, "new.json"))
    else:
        samples, _ = read_samples(workbook(tmp_path / "new.xlsx", [["km", "v"], *rows]))

    known = Column(name="km", kind="numeric", form=",.")
    for km in (known, *([guess("km", cells_of(samples["km"]), comma=True)] if sender != "categories" else [])):
        assert as_samples(samples, [km])["km"].dropna().tolist() == [np.float32(1.234), 5.125]
    assert cells_of(samples["v"]).different.tolist() == ["1.234", "new"]


def test_points_stand_between_thousands_where_you_say_decimal_comma(tmp_path):
    rows = "".join(f"{('1.234', '12.500', '7')[n % 3]},{n % 5}.50,{'ab'[n % 2]}\n" for n in range(60))
    said = (("km", "decimal comma"), ("x", "decimal comma"))
    config = DataConfig(name=str(written(tmp_path, "km,x,y\n" + rows)), target="y", columns=said)
    X = load(config, cache=tmp_path).X

    assert (X["km"][:3].tolist(), X["x"][:2].tolist()) == ([1_234, 12_500, 7], [0.5, 1.5])


@pytest.mark.parametrize(
    ("n_rows", "masses"),
    [
        (60, ("0,370", "12,345")), (2_000, ("12,345", "1")), (2_000, ("-", "-")), (60_000, ("12,345", "1")),
        (60_000, ("12", "1")),
    ],
    ids=[
        "of three digits", "behind a thousand rows", "behind as many that are missing", "behind 256 KB",
        "in a column of numbers, behind 256 KB",
    ],
)  # fmt: skip
def test_one_cell_that_proves_a_decimal_comma_tells_the_whole_table(tmp_path, n_rows, masses):
    rows = [[masses[n % 2], ("125.000", "999")[n // 2 % 2], "ab"[n % 2]] for n in range(n_rows)]
    rows[-1][0] = "0,370"
    path = written(tmp_path, "mass;km;y\n" + "".join(";".join(row) + "\n" for row in rows))

    assert load(DataConfig(name=str(path), target="y"), cache=tmp_path).X["km"][:3].tolist() == [125_000, 125_000, 999]


@pytest.mark.parametrize(
    ("last", "point", "times", "where"), [("0.5", ".", 1, "self"), ("1", ".", 1_000, "self"), ("0.5", "", 1, "all")]
)
def test_one_comma_among_many_points_makes_no_thousands_in_silence(tmp_path, last, point, times, where):
    rows = "".join(f"{n % 3};{11 + n % 2}{point}250;{last};{11 + n % 40}.250;{'ab'[n % 2]}\n" for n in range(60_000))
    path = written(tmp_path, f"n;self;at;price;y\n{rows}1,2;12{point}250;2;k. A.;a\n")
    lines = []
    dataset = load(DataConfig(name=str(path), target="y"), cache=tmp_path, log=lines.append)

    assert (dataset.X["self"].max(), dataset.X["price"].max()) == (12.25 * times if point else 12_250, 50.25 * times)
    assert any("'n' has decimal commas" in line and f"points in {where}" in line for line in lines)


@pytest.mark.parametrize(("strength", "times"), [("0,5 mg", 1), ("1.000,5 mg", 1_000)])
def test_a_comma_before_a_unit_tells_of_its_own_column_alone_unless_points_are_beside_it(tmp_path, strength, times):
    rows = "".join(f"{(strength, '1,25 mg')[n % 2]};{11 + n % 2}.345;{'ab'[n // 2 % 2]}\n" for n in range(60))
    path = written(tmp_path, "strength;mass;y\n" + rows)
    X = load(DataConfig(name=str(path), target="y"), cache=tmp_path).X

    assert (X["strength"][1], X["mass"].max()) == (1.25, np.float32(12.345 * times))


def test_what_proves_a_decimal_comma_need_not_be_in_a_sample(tmp_path):
    rows = "".join(f"{n % 9};{n % 7}.500;{n % 2 + 1}.500\n" for n in range(300))
    path = written(tmp_path, "mass;km;y\n0,5;1.500;1.500\n" + rows)
    dataset = load(DataConfig(name=str(path), target="y", rows=20), cache=tmp_path)

    assert (dataset.class_names, dataset.X["km"].max()) == (("1.500", "2.500"), 6_500)


def test_numbers_with_a_role_and_texts_of_a_test_file_are_read_as_they_are_written(tmp_path):
    path = written(tmp_path, "who;w;x;y\n" + "".join(f"{n % 20};{n % 3},5;{n % 7};{'ab'[n % 2]}\n" for n in range(60)))
    test, lines = written(tmp_path, "who;w;x;y\n12;1.000;2;a\n17b;2;3;b\n", "test.csv"), []
    config = DataConfig(name=str(path), target="y", group="who", weight="w", test_file=str(test))
    dataset = load(config, cache=tmp_path, log=lines.append)

    assert dataset.weights_test.tolist() == [1_000, 2]
    assert "group 'who': 1 of 2 groups of the test part have rows that train, too" in lines


@pytest.mark.parametrize("test", ["1.50,1", "1.50,2\n1.250,2"])
def test_groups_that_are_numbers_are_known_however_a_test_file_writes_them(tmp_path, test):
    path = written(tmp_path, "who,x,y\n" + "".join(f"{n % 20 / 4},{n % 7},{'ab'[n % 2]}\n" for n in range(60)))
    new, lines = written(tmp_path, "who,x,y\n" + test.replace("\n", ",a\n") + ",b\n", "test.csv"), []
    load(DataConfig(name=str(path), target="y", group="who", test_file=str(new)), cache=tmp_path, log=lines.append)

    n = test.count("\n") + 1
    assert f"group 'who': {n} of {n} groups of the test part have rows that train, too" in lines


@pytest.mark.parametrize("proof", ["0.5", "12.50", "0.250"])
def test_one_point_that_cannot_stand_between_thousands_tells_all_others(tmp_path, proof):
    rows = "".join(f"{n % 9 + 1}.250\n" for n in range(300_000))
    column = load(DataConfig(name=str(written(tmp_path, GERMAN)), target="km"), cache=tmp_path).columns[-1]
    told = {2.25, float(proof)}
    files = [(rows, {2_250}), (rows + proof, told), (f"NA\n2.250\n{proof}", told), (f"{rows}1,5\n12.50", {2_250, 12.5})]
    for cells, values in files:
        samples, _ = read_samples(written(tmp_path, f"{column.name};\n" + cells.replace("\n", ";\n") + ";\n"))
        assert values <= set(as_samples(samples, [column])[column.name])


def test_measured_numbers_are_read_as_numbers_though_zeros_end_some(tmp_path):
    path = written(tmp_path, "x\n" + "".join(f"{n / 100:.2f}\n" for n in range(1, 3_001)))
    assert str(read_samples(path)[0]["x"].dtype) == "float32"


def test_a_zero_at_the_end_of_a_number_belongs_to_a_name(tmp_path):
    rows = [f"{('1.1', '1.10', 'beta')[n % 3]};{('1.1', '1.10')[n % 2]};{n % 7},{n}\n" for n in range(1, 61)]
    path, new = written(tmp_path, "v;w;x\n" + "".join(rows)), written(tmp_path, "v;w;x\n1.10;1.10;2.50\n", "new.csv")
    config = DataConfig(name=str(path), target="x", columns=(("w", "categorical"),), test_file=str(new))
    dataset = load(config, cache=tmp_path)

    assert dataset.y_test == 2.5
    for samples in (as_samples(read_samples(new)[0], dataset.columns), dataset.X_test):
        assert samples.to_dict("list") == {"v": ["1.10"], "w": ["1.10"]}


def test_a_zero_that_a_program_wrote_behind_whole_numbers_is_no_part_of_a_name(tmp_path):
    path = written(
        tmp_path, "code,day,y\n" + "".join(f"{n % 3 or 'a'},2016013{n % 2},{n // 2 % 2}\n" for n in range(60))
    )
    dataset = load(DataConfig(name=str(path), target="y"), cache=tmp_path)
    new = as_samples(read_samples(written(tmp_path, "code,day\n1.0,20160131.0\n", "new.csv"))[0], dataset.columns)
    assert new["code"].tolist() == ["1"]
    assert new["day"].tolist() == [dataset.X["day"].max()]


def test_many_lines_that_are_alike_become_two(tmp_path):
    names = [f"c{n}" for n in range(40)]
    rows = "".join(",".join(("NA", "a", "b")[(n + at) % 3] for at in range(40)) + f",{n % 2}\n" for n in range(60))
    lines = []
    load(DataConfig(name=str(written(tmp_path, ",".join(names) + ",y\n" + rows)), target="y"), cache=tmp_path,
         log=lines.append)  # fmt: skip
    assert lines[0].startswith("column 'c0': texts; 20 cells count as missing")
    assert lines[1].startswith("… and 39 more lines like “column 'c0': texts;")
    assert "'c1', 'c2'" in lines[1]
    assert len(lines) == 2


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_categories_that_are_texts_stay_categories(tmp_path, suffix):
    frame = pd.DataFrame({"grade": pd.Categorical(["1", "2", "3"] * 20), "on": pd.Categorical(["0", "1", None] * 20)})
    frame = frame.assign(x=np.arange(60) % 7, y=["a", "b"] * 30)
    path = tmp_path / f"any.{suffix}"
    getattr(frame, f"to_{suffix}")(path)
    dataset = load(DataConfig(name=str(path), target="y"), cache=tmp_path)
    assert [column.kind for column in dataset.columns[:2]] == ["categorical"] * 2
    assert [column.categories for column in dataset.columns[:2]] == [("1", "2", "3"), ("0", "1")]
    assert load(DataConfig(name=str(path), target="grade"), cache=tmp_path).class_names == ("1", "2", "3")


@pytest.mark.parametrize("rows", [None, np.array([0, 3, 4])])
def test_a_dictionary_of_texts_is_categories_though_each_group_of_rows_has_its_own(tmp_path, rows):
    groups = [pa.DictionaryArray.from_arrays([0, 1, None], words) for words in (["1", "2"], ["3", "1"])]
    path = tmp_path / "any.parquet"
    with pq.ParquetWriter(path, pa.schema({"grade": groups[0].type})) as file:
        for group in groups:
            file.write_table(pa.table({"grade": group}))
    frame = open_table(path).read(rows=rows)
    expected = ["1", "2", None, "3", "1", None]
    assert isinstance(frame["grade"].dtype, pd.CategoricalDtype)
    found = [None if pd.isna(cell) else cell for cell in frame["grade"]]
    assert found == (expected if rows is None else [expected[row] for row in rows])


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_categories_that_are_numbers_stay_categories(tmp_path, suffix):
    frame = pd.DataFrame({"grade": pd.Categorical([1, 2, 3] * 20), "share": pd.Categorical([0.1, 0.2, None] * 20)})
    frame = frame.assign(x=np.arange(60) % 7, y=["a", "b"] * 30)
    path = tmp_path / f"any.{suffix}"
    getattr(frame, f"to_{suffix}")(path)
    dataset = load(DataConfig(name=str(path), target="y"), cache=tmp_path)
    assert [column.categories for column in dataset.columns[:2]] == [("1", "2", "3"), ("0.1", "0.2")]


LONG = [2**60 + 1, None, 2**60 + 2]


@pytest.mark.parametrize("dtype", [pd.ArrowDtype(pa.decimal128(38, 0)), "category"])
def test_whole_numbers_that_a_float_would_make_one_stay_apart_in_parquet(tmp_path, dtype):
    path = tmp_path / "any.parquet"
    pd.DataFrame({"x": pd.Series(LONG, dtype=object).astype(dtype)}).to_parquet(path)
    assert cells_of(open_table(path).read()["x"]).as_texts().different.tolist() == [str(LONG[0]), str(LONG[2])]
