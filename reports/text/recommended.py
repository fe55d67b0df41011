"""Section 2: the model to take, and the best alternative. Pure text."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

from depthcheck.reports.compare.metric import ACCURACY
from depthcheck.reports.compare.results import Comparison, FinalistRow, Recommendation, Spread
from depthcheck.reports.text.context import ReportContext
from depthcheck.reports.text.known import against_references
from depthcheck.reports.text.words import (
    configuration,
    count,
    interval,
    points,
    prose,
    score,
    secondary,
    seconds,
    spread,
    table,
    with_unit,
)

#: Further scores as a reader knows them.
_SPELLED = {"rmse": "RMSE", "mae": "MAE", "auc": "AUC", "r2": "R²"}


def recommended(comparison: Comparison, context: ReportContext) -> list[str]:
    """Return what is recommended, the best alternative, and what untuned references reach."""
    of = comparison.recommendation
    if of is None:
        return ["No finalist was trained on fresh seeds, so no model is recommended."]
    by = "cross-validated" if comparison.design.folds else "validation"
    chosen = f"the finalist with the best mean {by} score over fresh {comparison.design.again}s"
    blocks = [
        prose(f"**Recommended: {of.recommended.finalist.id}**, {chosen}."),
        _facts(of, comparison, context.facts.data.n_valid),
    ]
    return [*blocks, prose(_alternative(of, comparison)), prose(against_references(comparison, context))]


def _facts(of: Recommendation, comparison: Comparison, n_valid: int | None) -> str:
    """Return the recommended and the alternative model side by side."""
    rows = [of.recommended] if of.alternative is None else [of.recommended, of.alternative]
    lines = [[name, *(read(row) for row in rows)] for name, read in _lines(comparison, rows, n_valid)]
    return table(["", "recommended", *(["best alternative"] if len(rows) > 1 else [])], lines)


def _lines(
    comparison: Comparison, rows: Sequence[FinalistRow], n_valid: int | None
) -> Iterator[tuple[str, Callable[[FinalistRow], str]]]:
    """Return the name of each line, and what reads it from a finalist."""
    metric, folds = comparison.design.metric, comparison.design.folds
    name = "" if metric is ACCURACY else f" {metric.name}"

    def scored(of: Spread | None) -> str:
        return with_unit(spread(metric, of), metric) if of else "–"

    def selected(row: FinalistRow) -> str:
        known = row.finalist.selected_score is not None
        text = score(metric, row.finalist.selected_score, n_examples=n_valid)
        return with_unit(text, metric) if known else "–"

    yield "finalist", lambda row: row.finalist.id
    yield "configuration", lambda row: configuration(row.finalist.config)
    if not folds:
        yield f"test{name}, mean ± sd", lambda row: scored(row.test)
    yield f"{'cross-validated' if folds else 'validation'}{name}, mean ± sd", lambda row: scored(row.valid)
    if comparison.search is not None:
        yield f"{'cross-validated' if folds else 'validation'}{name}, the single run it was chosen by", selected
    for further in dict.fromkeys(name for row in rows for name in row.secondary):
        yield f"{comparison.judged} {_SPELLED.get(further, further)}", functools.partial(_secondary, further)
    yield f"fresh {comparison.design.again}s", lambda row: str(row.valid.n) if row.valid else "0"
    yield "parameters", lambda row: "–" if row.n_params is None else count(row.n_params)
    yield "seconds of training", lambda row: seconds(row.fit_seconds).removesuffix(" s")


def _secondary(name: str, row: FinalistRow) -> str:
    return secondary(name, row.secondary[name]) if name in row.secondary else "–"


def _alternative(of: Recommendation, comparison: Comparison) -> str:
    metric = comparison.design.metric
    if of.alternative is None:
        return "Nothing stands beside it: one configuration was trained on fresh seeds."
    if of.difference is None or of.verdict is None:
        return ""
    effect = points(metric, of.difference.estimate, of.difference.half_width)
    known = f" (95 % interval {interval(metric, of.difference)})" if of.difference.low is not None else ""
    where = "By cross-validation" if comparison.design.folds else f"On the {comparison.judged} part"
    differs = f"{where} it differs from the recommended model by {effect}{known}"
    if comparison.search is None:
        return f"The alternative is the next best, by validation score. {differs}."
    return (
        "Both are the best single networks of the search by validation score, of different combinations of levels, "
        f"trained again. The alternative is the one that then had the lower mean. {differs}. That is about these two "
        "configurations; section 1 speaks of levels."
    )
