"""Parquet and Feather files of any types, nested anywhere: what is read is what pyarrow itself reads, cell by cell."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyarrow import feather

from depthcheck.pipeline.data.load import open_table

N_ROWS = 4
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
DAY = st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 1, 1))
MOMENT = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1))
#: Types that are read, and values of each.
PLAIN = {
    pa.bool_(): st.booleans(),
    pa.int8(): st.integers(-100, 100),
    pa.uint16(): st.integers(0, 2**16 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float16(): st.floats(-100, 100, width=16),
    pa.float32(): st.floats(width=32, allow_infinity=False, allow_nan=False),
    pa.float64(): st.floats(-1e30, 1e30),
    pa.decimal128(12, 2): st.decimals(-(10**9), 10**9, places=2),
    pa.string(): WORDS,
    pa.large_string(): WORDS,
    pa.dictionary(pa.int8(), pa.string()): WORDS,
    pa.dictionary(pa.int8(), pa.int64()): st.integers(0, 9),
    pa.date32(): DAY,
    pa.timestamp("us"): MOMENT,
    pa.timestamp("ms", tz="Europe/Berlin"): MOMENT.map(lambda at: at.replace(microsecond=0, tzinfo=datetime.UTC)),
    pa.time64("us"): st.times(),
    pa.null(): st.none(),
}
#: Types that are left out with a line.
OTHERS = {
    pa.binary(): st.binary(max_size=3),
    pa.list_(pa.int64()): st.lists(st.integers(0, 9), max_size=3),
    pa.list_(pa.struct([("a", pa.int8())])): st.lists(st.fixed_dictionaries({"a": st.integers(0, 9)}), max_size=2),
    pa.map_(pa.string(), pa.int8()): st.lists(st.tuples(WORDS, st.integers(0, 9)), max_size=2),
}
NAMES = ("a", "b", "a.b", "y", "place", " x ", "ä|`$", "index")


@st.composite
def fields(draw, depth=2):
    """Return a type, and the values of its rows."""
    kinds = [*PLAIN, *OTHERS]
    if depth and draw(st.booleans()):
        members = draw(st.lists(st.tuples(st.sampled_from(NAMES), fields(depth - 1)), min_size=1, max_size=3))
        members = list({name: (name, of) for name, of in members}.values())
        missing = draw(st.lists(st.booleans(), min_size=N_ROWS, max_size=N_ROWS))
        kind = pa.struct([(name, of[0]) for name, of in members])
        return kind, [None if gone else {name: of[1][row] for name, of in members} for row, gone in enumerate(missing)]
    kind = draw(st.sampled_from(kinds))
    cells = st.one_of(st.none(), {**PLAIN, **OTHERS}[kind])
    return kind, draw(st.lists(cells, min_size=N_ROWS, max_size=N_ROWS))


@st.composite
def tables(draw):
    named = draw(st.lists(st.tuples(st.sampled_from(NAMES), fields()), min_size=1, max_size=4))
    arrays = [pa.array(values, kind) for _, (kind, values) in named]
    return pa.Table.from_arrays(arrays, [name for name, _ in named])


def leaves(name, values):
    """Yield the columns that a field is, each cell as Python has it."""
    if pa.types.is_struct(values.type):
        for below in values.type:
            cells = [None if row is None else row[below.name] for row in values.to_pylist()]
            own = pa.array(cells, below.type) if not pa.types.is_map(below.type) else pa.nulls(N_ROWS, below.type)
            yield from leaves(f"{name}.{below.name}", pa.chunked_array([own]))
        return
    yield name.strip(), values.type, values.to_pylist()


def as_read(kind, cell):
    """Return a cell as the frame is to hold it."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, datetime.datetime):
        return pd.Timestamp(cell if cell.tzinfo is None else cell.astimezone(datetime.UTC).replace(tzinfo=None))
    if isinstance(cell, datetime.date):
        return pd.Timestamp(cell)
    if isinstance(cell, datetime.time):
        return cell
    return float(cell) if isinstance(cell, float | decimal.Decimal) else cell


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@settings(
    max_examples=40,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(table=tables())
def test_whatever_a_columnar_file_holds_is_read_as_pyarrow_reads_it(tmp_path, suffix, table):
    path, lines = tmp_path / f"any.{suffix}", []
    try:
        pq.write_table(table, path) if suffix == "parquet" else feather.write_feather(table, path)
        whole = pq.ParquetFile(path).read() if suffix == "parquet" else feather.read_table(path)
    except pa.ArrowException:
        return  # what Arrow itself cannot write, or not read back
    expected = [
        leaf for position, name in enumerate(whole.column_names) for leaf in leaves(name, whole.column(position))
    ]
    kept = [kind in PLAIN for _, kind, _ in expected]

    opened = open_table(path, lines.append)
    assert len(opened.names) == len(expected)
    if not any(kept):
        with pytest.raises(ValueError, match="must have rows of numbers, text, booleans or dates, got none"):
            opened.read()
        return
    frame = opened.read()

    left_out = [line for line in lines if line.endswith(": left out")]
    assert len(left_out) == kept.count(False)
    assert list(frame.columns) == [name for name, is_kept in zip(opened.names, kept, strict=True) if is_kept]
    for column, (_, kind, cells) in zip(
        frame, [e for e, is_kept in zip(expected, kept, strict=True) if is_kept], strict=True
    ):
        for got, cell in zip(frame[column], cells, strict=True):
            wanted = as_read(kind, cell)
            if wanted is None or pd.isna(wanted):
                assert pd.isna(got), (column, kind)
            elif isinstance(wanted, int | float) and not isinstance(got, str):
                spread = np.ptp([float(one) for one in cells if not pd.isna(one)])
                assert abs(float(got) - float(wanted)) <= 2.0**-19 * spread + 1e-15 * abs(wanted), (
                    column,
                    kind,
                    got,
                    wanted,
                )
            elif isinstance(wanted, int):  # more digits than a float has
                assert got == str(wanted), (column, kind)
            elif isinstance(wanted, datetime.time):
                assert datetime.time.fromisoformat(got) == wanted
            else:
                assert got == wanted, (column, kind)
