"""Section 6: what others reach on these data. Pure text."""

from __future__ import annotations

from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.known_results import KNOWN, KnownData
from depthcheck.reports.text.blocks import prose
from depthcheck.reports.text.context import ReportContext
from depthcheck.reports.text.reference_models import reference_table
from depthcheck.reports.text.words import configuration, count, plural, spread, table


def known(comparison: Comparison, context: ReportContext) -> list[str]:
    """Return what scikit-learn's models reach on the same split, and what others published on these data."""
    blocks = reference_table(comparison, context)
    published = KNOWN.get(context.facts.data.name)
    if published is not None:
        return blocks + _published(published, comparison, context)
    return blocks or [prose(f"Nothing published is on file for {context.facts.data.name}.")]


def _published(known: KnownData, comparison: Comparison, context: ReportContext) -> list[str]:
    blocks = [
        "Validation part, single runs:",
        table(["model", "epochs", "accuracy (%)", "loss", "images"], _origin_rows(known, context), right=range(1, 5)),
        "Official test part of 10,000 images:",
        table(["model", "accuracy (%)", "source"], _test_rows(known, comparison), right=[1]),
    ]
    best = comparison.recommendation.recommended.test if comparison.recommendation else None
    if best is not None and best.mean > known.suspicious:
        blocks.append(
            prose(
                f"**A test accuracy above {100 * known.suspicious:.0f} % by a plain network without augmentation is "
                "more than "
                "anybody has reported: look for a leak.**"
            )
        )
    blocks.append("A single accuracy near 87 % is known to ±0.6 points on 12,000 images, and to ±0.7 points on 10,000.")
    return blocks


def _origin_rows(known: KnownData, context: ReportContext) -> list[list[str]]:
    rows = [[known.origin, str(known.origin_epochs), known.origin_accuracy, known.origin_loss, "12,000"]]
    anchor = context.anchor
    if anchor is not None and anchor.valid is not None:
        config = anchor.config
        rows.append(
            [
                f"this study's anchor, trial {anchor.number}: {configuration(config)}",
                str(config.fit.epochs),
                f"{100 * anchor.valid.score:.2f}",
                f"{anchor.valid.loss:.4f}",
                count(anchor.valid.n_samples),
            ]
        )
    if context.facts.data.majority_share is not None:
        rows.append(["always the commonest class", "–", f"{100 * context.facts.data.majority_share:.1f}", "–", "–"])
    return rows


def _test_rows(known: KnownData, comparison: Comparison) -> list[list[str]]:
    rows = [[one.model, one.accuracy, one.source] for one in known.results]
    of = comparison.recommendation
    if of is not None and of.recommended.test is not None:
        label = f"**recommended model**: {configuration(of.recommended.finalist.config)}"
        rows.append(
            [
                label,
                spread(comparison.design.metric, of.recommended.test),
                f"this study, {plural(of.recommended.test.n, 'seed')}",
            ]
        )
    return rows
