"""Addresses of stores and servers, as they may be shown."""

from __future__ import annotations

import re


def without_password(text: str) -> str:
    """Return a text as it may be shown: addresses in it keep their user and lose the password."""
    return re.sub(r"(://[^/@:\s]*:)[^/@\s]+(?=@)", r"\1***", text)
