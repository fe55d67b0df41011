"""A user's own file with answers as further columns: each cell as it stood, so that the answers can be joined back."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather

from depthcheck.pipeline.data.cell_table import CellTable
from depthcheck.pipeline.data.columnar import PARQUET, ColumnarFile
from depthcheck.pipeline.data.delimited import DelimitedFile
from depthcheck.pipeline.data.load import TableFile
from depthcheck.pipeline.data.sniff import Layout, full_encoding, open_bytes, unique_names


def write_answered(table: TableFile, answers: pd.DataFrame, output: Path) -> None:
    """Write a table's file again, with the answers to its rows as further columns.

    Text stays the text that it was, cell by cell: blanks, quotes, separator, encoding and ends of lines; the answers
    have the file's own decimal mark. Parquet and Feather keep their types.

    Parameters
    ----------
    table
        What :func:`depthcheck.pipeline.data.load.read_samples` has read: a database is not asked a second time.
    answers
        ``(n_rows, n_columns)``, a row for each of its rows, in their order. A column that the table has already gets a
        number behind its name.
    output
        The new file, ``.csv`` or ``.parquet``.

    Raises
    ------
    ValueError
        When the file's rows are not as many as the answers.
    """
    names = unique_names([*table.names, *map(str, answers.columns)], "", lambda _line: None)
    answers = answers.set_axis(names[len(table.names) :], axis=1)
    if isinstance(table, DelimitedFile) and output.suffix == ".csv":
        _copy_text(table.path, table.layout, answers, output)
        return
    rows = _rows_as_they_are(table)
    if rows.num_rows != len(answers):
        raise ValueError(f"the input must have {len(answers):,} rows, one an answer, got {rows.num_rows:,}")
    added = pa.Table.from_pandas(answers, preserve_index=False)
    for name, column in zip(added.column_names, added.columns, strict=True):
        rows = rows.append_column(name, column)
    if output.suffix == ".csv":
        # A named index of pandas is a column of the table; labels without a name are none.
        rows = rows.drop_columns([name for name in rows.column_names if name.startswith("__index_level_")])
        rows.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True).to_csv(output, index=False)
    else:
        pq.write_table(rows, output)


def _rows_as_they_are(table: TableFile) -> pa.Table:
    if isinstance(table, DelimitedFile | CellTable):
        return table.as_written()
    if not isinstance(table, ColumnarFile):
        return pa.Table.from_pandas(table.read(), preserve_index=False)
    if table.path.suffix.lower() in PARQUET:
        return pq.read_table(table.path, partitioning=None)
    return feather.read_table(table.path)


def _copy_text(source: Path, layout: Layout, answers: pd.DataFrame, output: Path) -> None:
    encoding = full_encoding(source, layout, lambda _line: None)
    with open_bytes(source) as file, io.TextIOWrapper(file, encoding, newline="") as text:
        records = list(_records(text, layout))
    # The names stand in the last row above the data; a line that announces the separator, or blank ones, above them.
    ends = itertools.accumulate(record.count("\n") or 1 for record, _ in records)
    at = sum(end <= layout.n_skip for end in ends) - 1
    n_names = len(records[at][1])
    n_rows = sum(bool(cells) for _, cells in records[at + 1 :])
    if n_rows != len(answers):
        raise ValueError(f"{source.name} must have {len(answers):,} rows, one an answer, got {n_rows:,}")
    end = "\r\n" if records[at][0].endswith("\r\n") else "\n"
    added = answers.to_csv(
        index=False, sep=layout.separator, decimal="," if layout.comma else ".", lineterminator=end,
        quotechar=layout.quote, quoting=csv.QUOTE_MINIMAL if layout.quote == '"' else csv.QUOTE_NONNUMERIC,
    )  # fmt: skip
    new = (record for record, _ in _records(io.StringIO(added, newline=""), layout))
    parts = [record for record, _ in records[:at]]
    for record, cells in records[at:]:
        bare = record.rstrip("\r\n")
        if len(cells) == n_names + 1 and not cells[-1].strip():  # a separator at the end of each row makes no column
            bare = bare[: bare.rindex(layout.separator)]
        parts.append(f"{bare}{layout.separator}{next(new)}" if cells else record)
    try:
        output.write_bytes("".join(parts).encode(encoding))
    except UnicodeEncodeError as trouble:
        letter = trouble.object[trouble.start]
        raise ValueError(
            f"the answers must be letters that the encoding of {source.name} has ({encoding}), got {letter!r}: "
            "save that file as UTF-8"
        ) from None


def _records(text: TextIO, layout: Layout) -> Iterator[tuple[str, list[str]]]:
    """Yield each row as it is written, line breaks inside quotes included, and its cells."""
    lines: list[str] = []

    def remembered() -> Iterator[str]:
        for line in text:
            lines.append(line)
            yield line

    csv.field_size_limit(2**31 - 1)
    for cells in csv.reader(remembered(), delimiter=layout.separator, quotechar=layout.quote):
        yield "".join(lines), cells
        lines.clear()
