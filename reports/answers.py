"""The answers of a comparison in JSON's types: for programs, and for a study that goes on until it is decided. Pure."""

from __future__ import annotations

from typing import Any

from depthcheck.reports.compare.results import Comparison, Contrast
from depthcheck.reports.text.words import interval, points

#: Verdicts that more settings may change.
OPEN = ("inconclusive", "not enough evidence")


def answers(comparison: Comparison) -> dict[str, Any]:
    """Return every contrast with its verdict, estimate and interval, in the metric's own scale.

    ``is_decided`` tells whether no contrast is open any more; ``can_be_decided`` whether more settings may decide one.
    """
    contrasts = [contrast for question in comparison.questions for contrast in question.contrasts]
    left = [contrast for contrast in contrasts if contrast.verdict.word in OPEN]
    search = comparison.search
    return {
        "study": comparison.design.name,
        "metric": comparison.design.metric.key,
        "n_settings": None if search is None else search.n_settings,
        "tuned_with": None if search is None else search.subset,
        "is_decided": not left,
        "can_be_decided": any(contrast.verdict.more is not None for contrast in left),
        "contrasts": [_contrast(contrast) for contrast in contrasts],
    }


def as_table(comparison: Comparison) -> str:
    """Return every contrast as a row of a markdown table, in the reader's unit."""
    metric = comparison.design.metric
    rows = [
        f"| {of.factor} {of.level} against {of.reference} | {of.verdict.word} | "
        + ("– | – |" if of.difference is None else f"{points(metric, of.difference.estimate, of.difference.half_width)}"
           f" | {interval(metric, of.difference)} |")
        for question in comparison.questions for of in question.contrasts
    ]  # fmt: skip
    head = ["| | verdict | difference | 95 % interval |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) if rows else ""


def _contrast(contrast: Contrast) -> dict[str, Any]:
    found = contrast.difference
    return {
        "factor": contrast.factor,
        "level": contrast.level,
        "reference": contrast.reference,
        "verdict": contrast.verdict.word,
        "because": contrast.verdict.because,
        **{name: None if found is None else getattr(found, name) for name in ("estimate", "low", "high")},
        "p_holm": contrast.p_holm,
    }
