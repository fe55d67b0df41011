"""Tables of any types and names, written in every format that is read: cells come back, or a line says which do not.

What Parquet and Feather nest is the matter of ``test_columnar_property``.
"""

import csv
import datetime
import gzip
import json
import sqlite3
import zipfile
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_table_files import workbook

from depthcheck.pipeline.data.load import FORMATS, open_table
from depthcheck.pipeline.data.sniff import MISSING_WORDS

N_ROWS = 5
#: Neither digits nor letters of words such as ``inf``: of texts no number can be made.
NASTY = "[]$^|`<>&\"'\\,;\t{}#%=:!?*()/ .-+~@éßЖ漢🙂\u200f\u00a0ABx"
NAMES = st.text(NASTY, min_size=1, max_size=12).map(str.strip).filter(bool)
MOMENTS = st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2100, 1, 1)).map(
    lambda at: at.replace(microsecond=0)
)
#: Types of pandas, and cells of each.
KINDS = {
    "Int64": st.one_of(st.integers(-100, 100), st.integers(-(2**31), 2**31), st.integers(2**53, 2**63 - 1)),
    "float64": st.one_of(st.floats(-1e30, 1e30), st.floats(-10, 10, width=16)),
    "boolean": st.booleans(),
    "str": st.text(NASTY + "\n", min_size=1, max_size=12),
    "datetime64[us]": MOMENTS,
}


@st.composite
def tables(draw):
    """Return a table with a column of each kind; its first one counts the rows, so that no row is empty."""
    columns = {"row": pd.Series(range(N_ROWS), dtype="Int64")}
    names = draw(st.lists(NAMES, unique=True, min_size=len(KINDS), max_size=len(KINDS)))
    for name, kind in zip(names, draw(st.permutations(sorted(KINDS))), strict=True):
        cells = draw(st.lists(st.one_of(st.none(), KINDS[kind]), min_size=N_ROWS, max_size=N_ROWS))
        columns[name] = pd.Series(cells, dtype=kind)
    return pd.DataFrame(columns)


def plain(cell):
    """Return a cell as Python has it, None where there is none."""
    if pd.isna(cell):
        return None
    return cell.to_pydatetime() if isinstance(cell, pd.Timestamp) else getattr(cell, "item", lambda: cell)()


def rows_of(frame):
    return [[plain(cell) for cell in row] for row in zip(*(frame[name] for name in frame), strict=True)]


def write_text(frame, path, separator):
    frame.to_csv(path, index=False, sep=separator, quoting=csv.QUOTE_NONNUMERIC)


def write_json_lines(frame, path):
    rows = [dict(zip(frame, row, strict=True)) | {"left out": [1]} for row in rows_of(frame)]
    text = "".join(json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write_json(frame, path):
    path.write_text(json.dumps([dict(zip(frame, row, strict=True)) for row in rows_of(frame)], default=str))


def write_open_document(frame, path):
    """Write what LibreOffice writes, as far as cells go; numbers of more digits than it has as text."""

    def cell(value):
        if value is None:
            return "<table:table-cell/>"
        if isinstance(value, bool):
            return f'<table:table-cell office:value-type="boolean" office:boolean-value="{str(value).lower()}"/>'
        if isinstance(value, datetime.datetime):
            return f'<table:table-cell office:value-type="date" office:date-value="{value.isoformat()}"/>'
        if isinstance(value, float) or (isinstance(value, int) and abs(value) <= 2**53):
            return f'<table:table-cell office:value-type="float" office:value="{value!r}"/>'
        lines = "".join(f"<text:p>{escape(line)}</text:p>" for line in str(value).split("\n"))
        return f'<table:table-cell office:value-type="string">{lines}</table:table-cell>'

    rows = "".join(
        f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in [[*frame], *rows_of(frame)]
    )
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        file.writestr("META-INF/manifest.xml", "<manifest/>")
        file.writestr(
            "content.xml",
            f"<office:document-content {spaces}><office:body><office:spreadsheet>"
            f'<table:table table:name="any">{rows}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )


def write_sqlite(frame, path):
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        frame.assign(**{"left out": [b"1"] * N_ROWS}).to_sql("any table", database, index=False)
    database.close()


def write_workbook(frame, path):
    """Write numbers of more digits than Excel has as text, as Excel's users do."""
    first = datetime.datetime(1899, 12, 30)

    def cell(value):
        if isinstance(value, datetime.datetime):
            return (value - first) / datetime.timedelta(days=1), 2
        return str(value) if isinstance(value, int) and abs(value) > 2**53 else value

    workbook(path, [list(frame), *([cell(value) for value in row] for row in rows_of(frame))])


WRITERS = {
    "csv": lambda frame, path: write_text(frame, path, ","),
    "tsv": lambda frame, path: write_text(frame, path, "\t"),
    "csv.gz": lambda frame, path: write_text(frame, path, ";"),
    "parquet": lambda frame, path: frame.to_parquet(path, index=False),
    "feather": lambda frame, path: frame.to_feather(path),
    "jsonl": write_json_lines,
    "ndjson.gz": write_json_lines,
    "json": write_json,
    "db": write_sqlite,
    "xlsx": write_workbook,
    "ods": write_open_document,
}


def is_same(got, wanted, column):
    """Whether a cell came back: a whole number with every digit, another with all that a network can see."""
    if pd.isna(got):
        return wanted is None or (isinstance(wanted, str) and wanted.strip() in MISSING_WORDS)
    if isinstance(wanted, bool):
        return str(got).lower() in (str(wanted).lower(), str(float(wanted)))
    if isinstance(wanted, int):  # as text where a float has not its digits
        return int(got) == wanted
    if isinstance(wanted, float):
        spread = np.ptp([float(one) for one in column if one is not None])
        return abs(float(got) - wanted) <= 2.0**-19 * spread + 1e-15 * abs(wanted)
    if isinstance(wanted, datetime.datetime):
        return abs(pd.Timestamp(got) - wanted) <= pd.Timedelta(milliseconds=1)
    return got == wanted


def test_every_format_of_tables_is_written_here():
    known = {suffix for known in FORMATS if known.table for suffix in known.suffixes}
    assert all(any(f".{ending}".endswith(suffix) for suffix in known) for ending in WRITERS)
    assert all(any(f".{ending}".endswith(one.suffixes) for ending in WRITERS) for one in FORMATS if one.table)


@pytest.mark.parametrize("ending", WRITERS)
@settings(
    max_examples=15,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(frame=tables())
def test_whatever_a_table_holds_comes_back_in_every_format_or_is_said(tmp_path, ending, frame):
    path, lines = tmp_path / f"any.{ending}", []
    WRITERS[ending](frame, path)

    got = open_table(path, lines.append).read()

    leaves_out = [line for line in lines if line.endswith(": left out")]
    assert len(leaves_out) == (ending in ("jsonl", "ndjson.gz", "db")), lines
    assert list(got.columns) == list(frame.columns), ending
    assert len(got) == N_ROWS
    for name in frame:
        wanted = [plain(cell) for cell in frame[name]]
        for cell, one in zip(got[name], wanted, strict=True):
            assert is_same(cell, one, wanted), (ending, name, cell, one, got[name].dtype)
