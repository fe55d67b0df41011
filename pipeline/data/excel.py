"""Read the first sheet of a spreadsheet: Excel (new, old, binary) and OpenDocument."""

from __future__ import annotations

import contextlib
import datetime
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from depthcheck.pipeline.data.cells import narrow
from depthcheck.pipeline.data.sizes import ReadingSize
from depthcheck.pipeline.data.sniff import require_header, unique_names

_DAY = datetime.date
_TIMES_UNPACKED = 2


def spreadsheet_size(path: Path) -> ReadingSize:
    """Return what reading a spreadsheet takes: every cell becomes an object of Python's."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return ReadingSize(n_bytes=_TIMES_UNPACKED * sum(member.file_size for member in archive.infolist()))
    return ReadingSize(n_bytes=_TIMES_UNPACKED * path.stat().st_size)


class SpreadsheetFile:
    """A spreadsheet, whose ``names`` are unique; they cannot be read alone, so that all is read at once."""

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        self._path, self._log = path, log
        rows = [row for row in self._sheet() if any(cell != "" for cell in row)]
        if len(rows) < 2:
            raise ValueError(f"{path.name} must have a row of names and rows below it, got {len(rows)} rows")
        header = ["" if cell is None else _as_text(cell) or "" for cell in rows[0]]
        require_header(header, path.name)
        columns = zip(header, zip(*rows[1:], strict=True), strict=True)
        kept = [(name, cells) for name, cells in columns if name.strip() or any(cell != "" for cell in cells)]
        self._columns = [cells for _name, cells in kept]
        self.names = unique_names([name for name, _cells in kept], path.name, log)

    def read(self, *, rows: NDArray[np.int64] | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return rows (all unless named): numbers, booleans and dates as the cells have them, mixed columns as text."""
        found = {
            name: _column(cells)
            for name, cells in zip(self.names, self._columns, strict=True)
            if columns is None or name in columns
        }
        frame = pd.DataFrame(found, copy=False)
        return frame if rows is None else frame.iloc[rows].reset_index(drop=True)

    def as_written(self) -> pd.DataFrame:
        """Return all rows as text: whole numbers without a decimal mark, dates in ISO form, None for empty cells."""
        columns = {
            name: [_as_text(cell) for cell in cells] for name, cells in zip(self.names, self._columns, strict=True)
        }
        return pd.DataFrame(columns, dtype="str")

    def _sheet(self) -> Sequence[Sequence[Any]]:
        from python_calamine import CalamineError, CalamineWorkbook

        try:
            workbook = CalamineWorkbook.from_path(self._path)
            names = workbook.sheet_names
            if len(names) > 1:
                self._log(f"{self._path.name}: has {len(names)} sheets; the first, {names[0]!r}, is read")
            rows: Sequence[Sequence[Any]] = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
        except (CalamineError, OSError) as trouble:
            raise ValueError(f"{self._path.name} is no whole spreadsheet: {trouble}") from None
        return rows


def _column(cells: Sequence[Any]) -> Any:
    present = [cell for cell in cells if cell != ""]
    if not any(isinstance(cell, str) for cell in present):
        if all(isinstance(cell, bool) for cell in present) and present:
            return pd.array([None if cell == "" else cell for cell in cells], dtype="boolean")
        if all(isinstance(cell, int | float) for cell in present):
            return narrow(np.array([np.nan if cell == "" else cell for cell in cells], np.float64))
        if all(isinstance(cell, _DAY) for cell in present):
            return pd.to_datetime(pd.Series([None if cell == "" else cell for cell in cells]))
    return pd.Series([_as_text(cell) for cell in cells], dtype="str")


def _as_text(cell: Any) -> str | None:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, _DAY | datetime.time):
        return cell.isoformat()
    return None if cell == "" else str(cell)
