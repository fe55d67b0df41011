"""Read Parquet and Feather files, one column at a time: what is numbers goes to float32 before the next one is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from depthcheck.pipeline.data.cells import narrow
from depthcheck.pipeline.data.sniff import unique_names


class ColumnarFile:
    """A Parquet or Feather file; made, it knows the ``names`` of its columns, unique, and has read no more."""

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        self._path, self._log = path, log
        self._is_parquet = path.suffix.lower() in (".parquet", ".pq")
        try:
            schema = pq.read_schema(path) if self._is_parquet else pa.ipc.open_file(pa.memory_map(str(path))).schema
        except (pa.ArrowInvalid, OSError) as trouble:
            kind = "Parquet" if self._is_parquet else "Feather (version 2)"
            raise ValueError(f"{path.name} is no whole {kind} file: {str(trouble).splitlines()[0]}") from None
        self._schema = schema
        # pandas writes the rows' labels beside the columns of the table.
        self._positions = [at for at, field in enumerate(schema) if not field.name.startswith("__index_level_")]
        names = [schema.field(position).name for position in self._positions]
        self.names = unique_names(names, path.name, log)

    def read(self) -> pd.DataFrame:
        """Return all rows, each column as the file's own type says.

        Raises
        ------
        ValueError
            When there are none, or the file is damaged.
        """
        columns: dict[str, Any] = {}
        try:
            for name, position in zip(self.names, self._positions, strict=True):
                values = _plain(self._read_column(position))
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


def _plain(values: pa.ChunkedArray) -> Any:
    """Return a column of Arrow as pandas or numpy has it; None for lists, structures and bytes."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    kind = values.type
    if pa.types.is_boolean(kind):
        return values.to_pandas(types_mapper=(lambda _kind: pd.BooleanDtype()) if values.null_count else None)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        # A chunk at a time, so that what is wide is never there as a whole.
        wide = (pc.cast(chunk, pa.float64(), safe=False) for chunk in values.chunks if len(chunk))
        parts = [narrow(chunk.to_numpy(zero_copy_only=False)) for chunk in wide]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan, np.float32)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return values.cast(pa.timestamp("us")).to_pandas()
    is_text = any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
    return values.cast(pa.string()).to_pandas() if is_text or pa.types.is_time(kind) else None
