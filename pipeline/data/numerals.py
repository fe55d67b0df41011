"""Tell which blocks of text are plain numbers, for certain; all else stays text.

That is for :mod:`depthcheck.pipeline.data.cells` to read.

Commas in numbers, separators of thousands, percent signs and a few dirty cells can only be told over a whole column,
and the form that is found has to stay with the column for new rows to be read alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from depthcheck.pipeline.data.cells import MISSING, MISSING_AMONG_VALUES, proves_comma

_WORDS = sorted(MISSING | MISSING_AMONG_VALUES)
#: Cells that say among numbers that there is no value, as they are usually written.
MISSING_WORDS = tuple(dict.fromkeys(form for word in _WORDS for form in (word, word.upper(), word.title())))
#: Up to here float32 holds every whole number.
_WHOLE_IN_FLOAT32 = 2**24


def plain_numbers(text: pa.Array, *, comma: bool) -> NDArray[Any] | None:
    """Return a block of cells as numbers, NaN where missing, if every one is written with a decimal point or none.

    A code such as 01234 is no number: what is written before the first other digit would be lost. In a file with
    decimal commas (``comma``) a point is none either: it may separate thousands.
    """
    if comma and pc.any(pc.match_substring(text, ".")).as_py():
        return None
    numbers = _cast(text)
    if numbers is None:
        trimmed = pc.utf8_trim_whitespace(text)
        is_missing = pc.is_in(trimmed, value_set=pa.array(MISSING_WORDS))
        text = pc.if_else(is_missing, pa.scalar(None, pa.string()), trimmed)
        numbers = _cast(text)
    if numbers is None:
        return None
    # Only whole numbers can be codes; looking for those costs as much as reading the numbers.
    is_whole = bool((np.isnan(numbers) | (numbers == np.floor(numbers))).all())
    if is_whole and pc.any(pc.match_substring_regex(text, r"^0\d+$")).as_py():
        return None
    return narrow(numbers)


def has_decimal_comma(columns: Iterable[Sequence[str]]) -> bool:
    """Whether one of some columns is numbers with a decimal comma beyond doubt."""
    cells = ([cell for cell in column if cell not in MISSING_WORDS] for column in columns)
    return any(proves_comma(pd.Series(column, dtype="str").drop_duplicates()) for column in cells if column)


def narrow(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as float32, if that keeps whole ones as they are, else as float64."""
    with np.errstate(invalid="ignore"):
        largest = np.fmax.reduce(np.abs(numbers), initial=0.0)
    return numbers.astype(np.float32 if largest <= _WHOLE_IN_FLOAT32 else np.float64, copy=False)


def _cast(text: pa.Array) -> NDArray[Any] | None:
    try:
        return np.asarray(pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return None
