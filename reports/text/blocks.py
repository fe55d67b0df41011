"""The pieces that sections are made of. Pure text."""

from __future__ import annotations

from collections.abc import Iterable

from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.text.words import paragraph


def prose(text: str) -> str:
    """Return wrapped text, each of its paragraphs for itself."""
    return "\n\n".join(paragraph(part) for part in text.split("\n\n") if part.strip())


def bullets(items: Iterable[str]) -> str:
    """Return a list, wrapped with hanging lines."""
    return "\n".join("- " + paragraph(item).replace("\n", "\n  ") for item in items)


def held_out(comparison: Comparison) -> str:
    """Return what the predictions of a finalist are of."""
    return "the rows that each fold held out" if comparison.design.folds else "the test part"
