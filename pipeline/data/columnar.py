"""Read Parquet and Feather files, one column at a time: what is numbers goes to float32 before the next one is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from depthcheck.pipeline.data.numerals import narrow
from depthcheck.pipeline.data.sniff import unique_names

if TYPE_CHECKING:
    import pandas as pd

_PARQUET = (".parquet", ".pq")


class ColumnarFile:
    """A Parquet or Feather file; made, it knows its columns, and has read no more."""

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        self._path, self._log = path, log
        try:
            is_parquet = path.suffix.lower() in _PARQUET
            schema = pq.read_schema(path) if is_parquet else pa.ipc.open_file(pa.memory_map(str(path))).schema
        except (pa.ArrowInvalid, OSError) as trouble:
            kind = "Parquet" if path.suffix.lower() in _PARQUET else "Feather (version 2)"
            raise ValueError(f"{path.name} is no whole {kind} file: {str(trouble).splitlines()[0]}") from None
        self._is_parquet, self._schema = is_parquet, schema
        # Where pandas wrote the rows' labels; they are no column of the table.
        self._positions = [
            position for position, field in enumerate(schema) if not field.name.startswith("__index_level_")
        ]
        self._names = unique_names(
            [schema.field(position).name for position in self._positions], lambda line: log(f"{path.name}: {line}")
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, unique."""
        return self._names

    def read(self) -> pd.DataFrame:
        """Return all rows, each column as the file's own type says.

        Raises
        ------
        ValueError
            When there are none, or the file is damaged.
        """
        import pandas as pd

        columns: dict[str, Any] = {}
        try:
            for name, position in zip(self._names, self._positions, strict=True):
                values = plain_column(self._read_column(position))
                if values is None:
                    self._log(f"{self._path.name}: {name!r} holds {self._schema.field(position).type}: left out")
                else:
                    columns[name] = values
        except (pa.ArrowInvalid, OSError) as trouble:
            raise ValueError(f"{self._path.name} cannot be read: {str(trouble).splitlines()[0]}") from None
        frame = pd.DataFrame(columns, copy=False)
        if frame.empty:
            raise ValueError(f"{self._path.name} must have rows of numbers, text, booleans or dates, got none")
        return frame

    def _read_column(self, position: int) -> pa.ChunkedArray:
        if not self._is_parquet:
            options = pa.ipc.IpcReadOptions(included_fields=[position])
            return pa.ipc.open_file(pa.memory_map(str(self._path)), options=options).read_all().column(0)
        with pq.ParquetFile(self._path, memory_map=True) as file:
            leaves = [file.schema.column(leaf).path.split(".")[0] for leaf in range(len(file.schema))]
            name = self._schema.field(position).name
            if leaves.count(name) != 1 or pa.types.is_nested(self._schema.field(position).type):
                return file.read([name]).column(0)
            return file.reader.read_column(leaves.index(name))


def plain_column(values: pa.ChunkedArray) -> Any:
    """Return a column of Arrow as pandas or numpy has it; None for lists, structures and bytes."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    kind = values.type
    if pa.types.is_boolean(kind):
        return values.to_pandas(types_mapper=_booleans if values.null_count else None)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _numbers(values)
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan, np.float32)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return values.cast(pa.timestamp("us")).to_pandas()
    is_text = any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
    return values.cast(pa.string()).to_pandas() if is_text or pa.types.is_time(kind) else None


def _booleans(_kind: pa.DataType) -> Any:
    import pandas as pd

    return pd.BooleanDtype()


def _numbers(values: pa.ChunkedArray) -> Any:
    """Return numbers a chunk at a time, so that what is wide is never there as a whole."""
    parts = [
        narrow(pc.cast(chunk, pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        for chunk in values.chunks
        if len(chunk)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)
