"""What may be asked for: checked alike in Python and on the command line, where no import shall be waited for."""

from __future__ import annotations

import re

from depthcheck.pipeline.blueprint import Values
from depthcheck.pipeline.config import LARGEST_SEED


def whole(value: object, what: str, lowest: int = 1) -> int:
    """Return a whole number of at least ``lowest``, or complain as a definition's own checks do."""
    return int(Values(kind="int", low=lowest, most=LARGEST_SEED).check(value, what))


def study_name(value: object, what: str = "study") -> str:
    """Return a name that a lock's file and a registered model can have; MLflow takes none of dots alone."""
    if not re.fullmatch(r"(?!\.+$)[\w.-]+", str(value)):
        raise ValueError(f"{what} must be of letters, digits, dots, dashes and underscores, got {value!r}")
    return str(value)


def server_address(value: object, what: str) -> str:
    """Return a text that may be the address of a server."""
    if "://" not in str(value):
        raise ValueError(f"{what} must be an address like tls://host:8786, got {value!r}")
    return str(value)
