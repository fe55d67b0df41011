"""Which finalists a figure of small panels shows, and what they are called there."""

from __future__ import annotations

from depthcheck.reports.records import Comparison, FinalistRow
from depthcheck.reports.words import short_configuration

#: More panels than this are a wallpaper.
MOST_FINALISTS = 12


def shown_finalists(comparison: Comparison) -> tuple[list[FinalistRow], int]:
    """Return the finalists to show, by depth, and how many are left out: those with the lowest validation means."""
    rows = sorted(comparison.finalists, key=lambda row: -(row.valid.mean if row.valid else 0.0))
    kept = rows[:MOST_FINALISTS]
    return sorted(kept, key=lambda row: (row.finalist.config.model.depth, row.finalist.id)), len(rows) - len(kept)


def label_of(row: FinalistRow) -> str:
    """Return a finalist's name and what tells it apart, on two lines."""
    return f"{row.finalist.id}\n{short_configuration(row.finalist.config)}"
