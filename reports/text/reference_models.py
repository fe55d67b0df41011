"""What scikit-learn's models reach on the same split, untuned, beside the recommended network. Pure text."""

from __future__ import annotations

from depthcheck.reports.compare.metric import Metric
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import ReferenceScores
from depthcheck.reports.text.blocks import prose
from depthcheck.reports.text.context import ReportContext
from depthcheck.reports.text.words import configuration, score, seconds, spread, table, with_unit


def reference_table(comparison: Comparison, context: ReportContext) -> list[str]:
    """Return the references' scores and the recommended network's; nothing where no reference was fitted."""
    references = context.facts.references
    if not references:
        return []
    design, metric = comparison.design, comparison.design.metric
    of = comparison.recommendation.recommended if comparison.recommendation else None
    rows = [_row(one, metric, folds=bool(design.folds)) for one in references]
    if of is not None:
        means = [spread(metric, of.valid), *([] if design.folds else [spread(metric, of.test)])]
        name = f"**recommended**: {configuration(of.finalist.config)}"
        rows.append([name, *means, seconds(of.fit_seconds).removesuffix(" s")])
    unit = f" ({metric.score_unit})" if metric.score_unit else ""
    parts = [f"cross-validated {metric.name}"] if design.folds else [f"validation {metric.name}", "test"]
    header = ["model", *(f"{part}{unit}" for part in parts), "seconds"]
    by = f"; the {design.folds} folds are those of the search" if design.folds else ""
    text = (
        "scikit-learn's models have their default settings and one fit each: nothing was tuned, and no interval is "
        f"known{by}. The network's numbers are mean ± standard deviation over fresh {design.again}s, after a search."
    )
    return ["Against scikit-learn on the same split:", table(header, rows, right=range(1, len(header))), prose(text)]


def _row(one: ReferenceScores, metric: Metric, *, folds: bool) -> list[str]:
    scores = [one.valid] if folds else [one.valid, one.test]
    return [one.name, *(score(metric, value) for value in scores), seconds(one.seconds).removesuffix(" s")]


def against_references(comparison: Comparison, context: ReportContext) -> str:
    """Return whether a reference does better than the recommended network, or as well; empty without references."""
    of, design, metric = comparison.recommendation, comparison.design, comparison.design.metric
    on_test = comparison.part == "test"
    mine = None if of is None else of.recommended.test if on_test else of.recommended.valid
    found = [(one.test if on_test else one.valid, one) for one in context.facts.references]
    known = [(value, one) for value, one in found if value is not None]
    if mine is None or not known:
        return ""
    best, reference = max(known, key=lambda pair: pair[0])
    name = f"{reference.name[:1].upper()}{reference.name[1:]} of scikit-learn, untuned,"
    ours = with_unit(score(metric, mine.mean), metric)
    scores = f"{score(metric, best)} against {ours} of {comparison.judged} {metric.name}"
    if best > mine.mean + design.equivalence:
        return f"**{name} does better on the same split**: {scores} (section 6)."
    if best >= mine.mean - design.equivalence:
        close = f"within {metric.region(design.equivalence)}"
        return f"{name} comes {close} on the same split: {scores} (section 6)."
    return f"The best of scikit-learn's untuned models on the same split is {reference.name}: {scores} (section 6)."
