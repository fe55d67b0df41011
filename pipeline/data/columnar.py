"""Read Parquet and Feather files, one column at a time: what is numbers goes to float32 before the next one is read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from depthcheck.pipeline.data.amount import ReadingProgress, ReadingSize
from depthcheck.pipeline.data.cells import WHOLE_IN_FLOAT64, narrow
from depthcheck.pipeline.data.sniff import unique_names

PARQUET = (".parquet", ".pq")
#: Bytes that a cell takes at the peak of reading.
_CELL_BYTES, _TEXT_BYTES = 8, 16
#: Up to so many different texts of a column are looked up in every block; in the first, half of its cells at most.
_MOST_DIFFERENT, _REPEATED = 2**14, 0.5
_SMALL_BYTES = 2**18
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_DATES = (pa.types.is_timestamp, pa.types.is_date, pa.types.is_time)


class PackedTexts:
    """Texts of a column, block by block: positions among the different ones where these are few, else as they are.

    A date, a yes or a name takes four bytes a cell then, in place of fourteen and more in pandas's own type. Small
    blocks are put together: between them lie those of other columns, and what is let go would leave holes of no use.
    """

    def __init__(self) -> None:
        self._known: pa.Array | None = pa.array([], pa.string())
        self._blocks: list[pa.Array] = []
        self._small: list[pa.Array] = []

    def add(self, block: pa.Array) -> None:
        """Put a block of strings behind the others."""
        if self._known is not None:
            block = self._positions(self._known, block)
        self._small.append(block)
        if sum(small.nbytes for small in self._small) >= _SMALL_BYTES:
            self._put_together()

    def finish(self) -> Any:
        """Return the column as pandas holds Arrow's own types, and forget it here."""
        self._put_together()
        blocks, self._blocks = self._blocks, []
        if self._known is not None:
            blocks = [pa.DictionaryArray.from_arrays(codes, self._known) for codes in blocks]
        kind = pa.string() if self._known is None else pa.dictionary(pa.int32(), pa.string())
        return pd.arrays.ArrowExtensionArray(pa.chunked_array(blocks, kind))

    def _positions(self, known: pa.Array, block: pa.Array) -> pa.Array:
        """Return where a block's texts stand among the different ones; the block itself where these become too many."""
        positions = pc.index_in(block, known)
        if positions.null_count == block.null_count:
            return positions
        is_first = not self._blocks and not self._small
        self._known = pa.concat_arrays([known, block.filter(pc.is_null(positions)).drop_null().unique()])
        if len(self._known) <= _MOST_DIFFERENT and not (is_first and len(self._known) > _REPEATED * len(block)):
            return pc.index_in(block, self._known)
        self._known = None
        for several in (self._blocks, self._small):
            several[:] = [known.take(codes) for codes in several]
        return block

    def _put_together(self) -> None:
        if self._small:
            self._blocks.append(pa.concat_arrays(self._small))
            self._small.clear()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the values of a column lie: in which top-level field, and below which members of its structure."""

    field: int
    members: tuple[int, ...]
    type: pa.DataType


class ColumnarFile:
    """A Parquet or Feather file; made, it knows the ``names`` of its columns, unique, and has read no more.

    A structure becomes a column for each of its members, called ``place.lat``. Fields are found by their place, never
    by name: two may have the same one, and ``a.b`` may be a field as well as a member.
    """

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        self.path, self._log = path, log
        self._is_parquet = path.suffix.lower() in PARQUET
        try:
            schema = pq.read_schema(path) if self._is_parquet else pa.ipc.open_file(pa.memory_map(str(path))).schema
        except (pa.ArrowInvalid, OSError) as trouble:
            kind = "Parquet" if self._is_parquet else "Feather (version 2)"
            raise ValueError(f"{path.name} is no whole {kind} file: {str(trouble).splitlines()[0]}") from None
        said = (schema.pandas_metadata or {}).get("columns", [])
        are_categories = {of.get("field_name") for of in said if of.get("pandas_type") == "categorical"}
        self._categories = {
            position
            for position, field in enumerate(schema)
            if any(test(_plain_type(field.type)) for test in (*_NUMBERS, *_TEXTS))
            and (field.name in are_categories or pa.types.is_dictionary(field.type))
        }
        places = [
            (name, place)
            for position, field in enumerate(schema)
            # Where pandas wrote the rows' labels; they are no column of the table.
            if not field.name.startswith("__index_level_")
            for name, place in _places(field.name, _Place(position, (), field.type))
        ]
        self.names = unique_names([name for name, _ in places], path.name, log)
        self._schema = schema
        self._places = dict(zip(self.names, (place for _, place in places), strict=True))

    def read(self, *, rows: NDArray[np.int64] | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows, each column as the file's own type says.

        Parameters
        ----------
        rows
            Positions, rising, of the rows that are wanted; None for all. Of a column no more is held than these, and
            one group of rows of the file.
        columns
            Those that are wanted; None for all.

        Raises
        ------
        ValueError
            When there are none, or the file is damaged.
        """
        found: dict[str, Any] = {}
        wanted = {name: self._places[name] for name in (self.names if columns is None else columns)}
        progress = ReadingProgress(self.path.name, self.path.stat().st_size, self._log)
        try:
            for number, (field, below) in enumerate(itertools.groupby(wanted.items(), lambda item: item[1].field)):
                progress.reached(number / len(wanted) * self.path.stat().st_size)
                plain = []
                for name, place in below:
                    if _is_plain(place.type):
                        plain.append((name, place))
                    else:
                        self._log(f"{self.path.name}: {name!r} holds {place.type}: left out")
                if plain:
                    whole = self._read_field(field, rows)
                    for name, place in plain:
                        values = pc.struct_field(whole, list(place.members)) if place.members else whole
                        if field in self._categories:  # names, as pandas or the file itself says
                            found[name] = values.to_pandas(integer_object_nulls=True).astype("category")
                        else:
                            found[name] = _plain(values)
        except (pa.ArrowInvalid, OSError) as trouble:
            raise ValueError(f"{self.path.name} cannot be read: {str(trouble).splitlines()[0]}") from None
        frame = pd.DataFrame(found, copy=False)
        if frame.empty:
            raise ValueError(f"{self.path.name} must have rows of numbers, text, booleans or dates, got none")
        return frame

    def _read_field(self, position: int, rows: NDArray[np.int64] | None) -> pa.ChunkedArray:
        """Return a top-level field, or some rows of it, one group of the file after another."""
        if rows is None and self._is_parquet:
            with pq.ParquetFile(self.path, memory_map=True) as file:
                return file.reader.read_column(position)  # the place among the top-level fields, nested or not
        kept, n_rows = [], 0
        for group in self._groups(position):
            kept += (group if rows is None else group.take(within(rows, n_rows, len(group)))).chunks
            n_rows += len(group)
        return pa.chunked_array(kept, self._schema.field(position).type)

    def _groups(self, position: int) -> Iterator[pa.ChunkedArray]:
        if self._is_parquet:
            leaves = [_n_leaves(field.type) for field in self._schema]
            first = sum(leaves[:position])
            with pq.ParquetFile(self.path, memory_map=True) as file:
                for group in range(file.num_row_groups):
                    # By the places of its leaves: names may be there twice.
                    own = list(range(first, first + leaves[position]))
                    yield file.reader.read_row_group(group, column_indices=own).column(0)
            return
        options = pa.ipc.IpcReadOptions(included_fields=[position])
        file = pa.ipc.open_file(pa.memory_map(str(self.path)), options=options)
        for batch in range(file.num_record_batches):
            yield pa.chunked_array([file.get_batch(batch).column(0)])


def within(rows: NDArray[np.int64], start: int, n_rows: int) -> pa.Array:
    """Return those of some rising positions that lie in a block of rows, counted from its start."""
    first, end = np.searchsorted(rows, (start, start + n_rows))
    return pa.array(rows[first:end] - start)


def columnar_size(path: Path) -> ReadingSize:
    """Return what reading a file takes, as its metadata tell; nothing of one that is damaged."""
    try:
        if path.suffix.lower() in PARQUET:
            n_rows, schema = pq.read_metadata(path).num_rows, pq.read_schema(path)
        else:
            from pyarrow import dataset

            file = dataset.dataset(path, format="feather")
            n_rows, schema = file.count_rows(), file.schema
    except (pa.ArrowInvalid, OSError):
        return ReadingSize(n_bytes=0)
    kinds = [place.type for field in schema for _, place in _places(field.name, _Place(0, (), field.type))]
    row = sum(_TEXT_BYTES if any(test(_plain_type(kind)) for test in _TEXTS) else _CELL_BYTES for kind in kinds)
    return ReadingSize(n_bytes=max(row * n_rows, path.stat().st_size), n_rows=n_rows)


def _n_leaves(kind: pa.DataType) -> int:
    """Return how many columns of Parquet a field of that type is."""
    if isinstance(kind, pa.BaseExtensionType):
        return _n_leaves(kind.storage_type)
    return sum(_n_leaves(kind.field(number).type) for number in range(kind.num_fields)) or 1


def _places(name: str, place: _Place) -> Iterator[tuple[str, _Place]]:
    """Yield the column that a field is, or those of its members where it is a structure."""
    if not pa.types.is_struct(place.type) or not place.type.num_fields:
        yield name, place
        return
    for position in range(place.type.num_fields):
        member = place.type.field(position)
        below = _Place(place.field, (*place.members, position), member.type)
        yield from _places(f"{name}.{member.name}", below)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values themselves: of a dictionary, of runs, of a type that builds on another."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def _is_plain(kind: pa.DataType) -> bool:
    """Whether values are numbers, text, booleans, dates or times."""
    return any(test(_plain_type(kind)) for test in (*_NUMBERS, *_TEXTS, *_DATES, pa.types.is_boolean, pa.types.is_null))


def _plain(values: pa.ChunkedArray) -> Any:
    """Return a column of Arrow that is numbers, text, booleans, dates or times as pandas or numpy has it."""
    if isinstance(values.type, pa.BaseExtensionType):
        values = pa.chunked_array([chunk.storage for chunk in values.chunks], values.type.storage_type)
    if pa.types.is_run_end_encoded(values.type):
        values = pa.chunked_array([pc.run_end_decode(chunk) for chunk in values.chunks], values.type.value_type)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if pa.types.is_boolean(kind):
        return values.to_pandas(types_mapper=(lambda _kind: pd.BooleanDtype()) if values.null_count else None)
    # Arrow has no smallest one of decimals that are shorter.
    is_whole = pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0 and kind.bit_width >= 128)
    if is_whole and _is_beyond_double(values):
        return values.cast(pa.string()).to_pandas()
    if any(test(kind) for test in _NUMBERS):
        # A chunk at a time, so that what is wide is never there as a whole.
        wide = (pc.cast(chunk, pa.float64(), safe=False) for chunk in values.chunks if len(chunk))
        parts = [narrow(chunk.to_numpy(zero_copy_only=False)) for chunk in wide]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan, np.float32)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return values.cast(pa.timestamp("us"), safe=False).to_pandas()
    texts = PackedTexts()
    for chunk in values.cast(pa.string()).chunks:
        texts.add(chunk)
    return texts.finish()


def _is_beyond_double(values: pa.ChunkedArray) -> bool:
    """Whether whole numbers are so large that a float would make several of them one: identifiers, then."""
    ends = pc.min_max(values).as_py()
    return ends["min"] is not None and max(abs(ends["min"]), abs(ends["max"])) > WHOLE_IN_FLOAT64
