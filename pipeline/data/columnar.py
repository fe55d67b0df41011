"""Read Parquet and Feather files, one column at a time: what is numbers goes to float32 before the next one is read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from depthcheck.pipeline.data.cells import WHOLE_IN_FLOAT64, narrow
from depthcheck.pipeline.data.sniff import unique_names

PARQUET = (".parquet", ".pq")
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_DATES = (pa.types.is_timestamp, pa.types.is_date, pa.types.is_time)


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
        self._path, self._log = path, log
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
            if field.name in are_categories and any(test(_plain_type(field.type)) for test in _NUMBERS)
        }
        places = [
            (name, place)
            for position, field in enumerate(schema)
            # Where pandas wrote the rows' labels; they are no column of the table.
            if not field.name.startswith("__index_level_")
            for name, place in _places(field.name, _Place(position, (), field.type))
        ]
        self.names = unique_names([name for name, _ in places], path.name, log)
        self._places = dict(zip(self.names, (place for _, place in places), strict=True))

    def read(self) -> pd.DataFrame:
        """Return all rows, each column as the file's own type says.

        Raises
        ------
        ValueError
            When there are none, or the file is damaged.
        """
        columns: dict[str, Any] = {}
        try:
            for field, below in itertools.groupby(self._places.items(), lambda item: item[1].field):
                plain = []
                for name, place in below:
                    if _is_plain(place.type):
                        plain.append((name, place))
                    else:
                        self._log(f"{self._path.name}: {name!r} holds {place.type}: left out")
                if plain:
                    whole = self._read_field(field)
                    for name, place in plain:
                        values = _member(whole, place.members)
                        columns[name] = _categories(values) if field in self._categories else _plain(values)
        except (pa.ArrowInvalid, OSError) as trouble:
            raise ValueError(f"{self._path.name} cannot be read: {str(trouble).splitlines()[0]}") from None
        frame = pd.DataFrame(columns, copy=False)
        if frame.empty:
            raise ValueError(f"{self._path.name} must have rows of numbers, text, booleans or dates, got none")
        return frame

    def _read_field(self, position: int) -> pa.ChunkedArray:
        if not self._is_parquet:
            options = pa.ipc.IpcReadOptions(included_fields=[position])
            return pa.ipc.open_file(pa.memory_map(str(self._path)), options=options).read_all().column(0)
        with pq.ParquetFile(self._path, memory_map=True) as file:
            return file.reader.read_column(position)  # the place among the top-level fields, nested or not


def _places(name: str, place: _Place) -> Iterator[tuple[str, _Place]]:
    """Yield the column that a field is, or those of its members where it is a structure."""
    if not pa.types.is_struct(place.type) or not place.type.num_fields:
        yield name, place
        return
    for position in range(place.type.num_fields):
        member = place.type.field(position)
        below = _Place(place.field, (*place.members, position), member.type)
        yield from _places(f"{name}.{member.name}", below)


def _member(values: pa.ChunkedArray, members: tuple[int, ...]) -> pa.ChunkedArray:
    """Return what lies below the members of a structure; missing where the structure is."""
    return pc.struct_field(values, list(members)) if members else values


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


def _categories(values: pa.ChunkedArray) -> Any:
    """Return numbers that pandas has written as categories: they are names."""
    return values.to_pandas().astype("category")


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
    if pa.types.is_integer(kind) and _is_beyond_double(values):
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
    return values.cast(pa.string()).to_pandas()


def _is_beyond_double(values: pa.ChunkedArray) -> bool:
    """Whether whole numbers are so large that a float would make several of them one: identifiers, then."""
    ends = pc.min_max(values).as_py()
    return ends["min"] is not None and max(abs(ends["min"]), abs(ends["max"])) > WHOLE_IN_FLOAT64
