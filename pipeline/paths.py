"""Paths as a user writes them."""

from __future__ import annotations

from pathlib import Path


def user_path(text: str, what: str) -> Path:
    """Return a path with ``~`` and ``~name`` in their place.

    Raises
    ------
    ValueError
        When there is no such user on this machine, or nobody knows the home; names ``what`` the path is of.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        user = Path(text).parts[0]
        raise ValueError(f"{what} must be a path on this machine, got {text!r}: {user} is no user's home") from error
