"""The report, section by section, in the order of the protocol (docs/comparison.md). Pure text."""

from __future__ import annotations

from reports.context import ReportContext
from reports.known import KNOWN, KnownData
from reports.records import Comparison, FinalistRow, Recommendation
from reports.render.answer import answer
from reports.render.appendix import appendix
from reports.render.blocks import bullets, prose, section
from reports.render.design import design
from reports.render.factor import factor, notes
from reports.words import (
    configuration,
    count,
    enumeration,
    interval,
    plural,
    points,
    region,
    seconds,
    spread,
    table,
    unit_of,
)

#: More missing levels than this are counted, not named.
_MOST_MISSING = 10


def render(comparison: Comparison, context: ReportContext) -> str:
    """Return the report."""
    n_valid = context.facts.data.n_valid
    tables = [block for question in comparison.questions for block in factor(question, comparison, n_valid)]
    parts = [
        f"# {context.facts.question or f'Study {comparison.design.name}'}",
        prose(_byline(comparison, context)),
        section(1, "Answer", _answer(comparison, context)),
        section(2, "Recommended model", _recommended(comparison)),
        section(3, "Design", design(comparison, context)),
        section(
            4, "Results by level", [*tables, *([notes(comparison, n_valid)] if tables else ["Nothing was compared."])]
        ),
        section(5, "Figures", _figures(context)),
        section(6, "Against what is known", _known(comparison, context)),
        section(7, "Can you trust this?", _trust(comparison)),
        section(8, "Appendix: descriptive, no basis for a comparison", appendix(comparison, context)),
        section(9, "Reproduce", _reproduce(comparison, context)),
    ]
    return "\n\n".join(parts) + "\n"


def _byline(comparison: Comparison, context: ReportContext) -> str:
    ended = sum(count.ended for count in context.phases)
    n_warnings = len(comparison.warnings)
    trust = f"{plural(n_warnings, 'warning')} in section 7" if n_warnings else "no warning in section 7"
    return f"Study {comparison.design.name} on {context.facts.data.name}: {plural(ended, 'trial')}, {trust}."


def _answer(comparison: Comparison, context: ReportContext) -> list[str]:
    return [
        *map(prose, answer(comparison)),
        prose(_why_stuck(comparison, context)),
        prose(_scope(comparison, context)),
        _missing(comparison, context),
    ]


def _why_stuck(comparison: Comparison, context: ReportContext) -> str:
    """Return how little gradient reaches the first layer of the levels that never trained, where that was logged."""
    rows = [row for question in comparison.questions for row in question.rows if row.status == "never trained"]
    known = {row.finalist: row for row in rows if row.finalist in context.first_layer_gradient}
    words = [
        f"{_percent(context.first_layer_gradient[finalist])} for {row.factor} {row.level} ({finalist})"
        for finalist, row in known.items()
        if finalist is not None
    ]
    if not words:
        return ""
    drawn = [at for at, figure in enumerate(context.figures, start=1) if "gradients" in figure.path]
    figure = f" (figure {drawn[0]})" if drawn else ""
    return (
        "Why they stand still: the gradient of the first hidden layer's weights, as a share of the output layer's, is "
        f"{enumeration(words)}, mean over epochs and runs{figure}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share >= 1e-4 else f"{share:.0e}"


def _scope(comparison: Comparison, context: ReportContext) -> str:
    if not comparison.questions:
        return ""
    searched = context.ended("compare") > 0
    epochs = context.facts.definition.get("epochs")
    trained = f" and {epochs} epochs of training" if epochs else ""
    ranges = "the ranges searched" if searched else "these configurations"
    how = " Levels are compared by the best configuration found for each, trained again on fresh seeds."
    return f"This holds for {context.facts.data.name}, {ranges}{trained}.{how if searched else ''}"


def _missing(comparison: Comparison, context: ReportContext) -> str:
    """Return what a reader might look for in vain."""
    items = [text for question in comparison.questions for text in question.missing]
    if len(items) > _MOST_MISSING:
        items = [*items[:_MOST_MISSING], f"and {len(items) - _MOST_MISSING} more levels; the tables below have each"]
    left = {of.phase: of.planned - of.ended for of in context.phases if of.ended < of.planned}
    if left:
        items.append("not yet run: " + enumeration([f"{count(n)} of {phase}" for phase, n in left.items()]) + " trials")
    if context.facts.state == "running":
        items.append("the study is running, or its process was killed: these are its results so far")
    elif context.facts.state in ("failed", "interrupted"):
        items.append(f"its last session was {context.facts.state}; the same command goes on with it")
    if comparison.questions and not comparison.finalists:
        items.append("phase confirm has no runs: without fresh seeds there is no verdict")
    elif comparison.part == "valid":
        items.append("no test part was opened: differences are of the validation part, which chose the finalists")
    return f"**Missing**\n\n{bullets(items)}" if items else ""


def _recommended(comparison: Comparison) -> list[str]:
    of = comparison.recommendation
    if of is None:
        return ["No finalist was trained on fresh seeds, so no model is recommended."]
    chosen = "the finalist with the best mean validation score over fresh seeds"
    blocks = [prose(f"**Recommended: {of.recommended.finalist.id}**, {chosen}."), _facts(of, comparison)]
    return [*blocks, prose(_cheapest(of, comparison))]


def _facts(of: Recommendation, comparison: Comparison) -> str:
    """Return the recommended and the cheapest model side by side."""
    rows = [of.recommended] if of.cheapest is of.recommended else [of.recommended, of.cheapest]
    lines = [[name, *(read(row, comparison) for row in rows)] for name, read in _FACTS]
    return table(["", "recommended", *(["cheapest"] if len(rows) > 1 else [])], lines)


def _test(row: FinalistRow, comparison: Comparison) -> str:
    return f"{spread(comparison.design.metric, row.test)} {unit_of(comparison.design.metric)}" if row.test else "–"


def _valid(row: FinalistRow, comparison: Comparison) -> str:
    return f"{spread(comparison.design.metric, row.valid)} {unit_of(comparison.design.metric)}" if row.valid else "–"


_FACTS = (
    ("finalist", lambda row, _: row.finalist.id),
    ("configuration", lambda row, _: configuration(row.finalist.config)),
    ("test, mean ± sd", _test),
    ("validation, mean ± sd", _valid),
    ("fresh seeds", lambda row, _: str(row.valid.n) if row.valid else "0"),
    ("parameters", lambda row, _: "–" if row.n_params is None else count(row.n_params)),
    ("seconds of training", lambda row, _: seconds(row.fit_seconds).removesuffix(" s")),
)


def _cheapest(of: Recommendation, comparison: Comparison) -> str:
    metric = comparison.design.metric
    close = region(metric, comparison.design.equivalence)
    if of.cheapest is of.recommended:
        return (
            f"No finalist with fewer parameters comes within {close} of its validation score: it is the cheapest, too."
        )
    saved = ""
    if of.cheapest.n_params and of.recommended.n_params:
        saved = f" with {100 * of.cheapest.n_params / of.recommended.n_params:.0f} % of the parameters"
    text = f"**Cheapest within {close} of it: {of.cheapest.finalist.id}**{saved}."
    if of.difference is None or of.verdict is None:
        return text
    effect = points(metric, of.difference.estimate, of.difference.half_width)
    known = f" (95 % interval {interval(metric, of.difference)})" if of.difference.low is not None else ""
    part = "validation" if comparison.part == "valid" else "test"
    return f"{text} On the {part} part it differs by {effect}{known}: **{of.verdict.word}**."


def _figures(context: ReportContext) -> list[str]:
    if not context.figures:
        return ["There is nothing to draw yet."]
    blocks = []
    for number, figure in enumerate(context.figures, start=1):
        blocks += [f"![{figure.alt}]({figure.path})", prose(f"*Figure {number}.* {figure.caption}")]
    return blocks


def _known(comparison: Comparison, context: ReportContext) -> list[str]:
    known = KNOWN.get(context.facts.data.name)
    if known is None:
        return [prose(f"Nothing published is on file for {context.facts.data.name}.")]
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


def _trust(comparison: Comparison) -> list[str]:
    passed, warned = [of for of in comparison.checks if of.state == "pass"], comparison.warnings
    return [
        f"{len(passed)} of {len(comparison.checks)} checks pass. A warning never changes a verdict; it says where to "
        "doubt.",
        bullets(f"**warn** – {of.name}: {of.detail}" for of in warned),
        "Those that pass:" if warned else "",
        bullets(f"{of.name}: {of.detail}" for of in passed),
    ]


def _reproduce(comparison: Comparison, context: ReportContext) -> list[str]:
    facts = context.facts
    dirty = {"true": ", with uncommitted changes", "false": ""}.get(facts.dirty, "")
    name = comparison.design.name
    lines = [
        f"- study: `{name}`, its run `{facts.run_id}`",
        f"- code: commit `{facts.code_version}`{dirty}",
        f"- store: `{facts.tracking_uri}`",
        f"- data: SHA-256 `{facts.data.sha256}`",
    ]
    if facts.seeds:
        lines.append(f"- fresh seeds: {', '.join(map(str, facts.seeds))}")
    if context.champion_runs:
        lines.append("- runs of the recommended model: " + ", ".join(f"`{run}`" for run in context.champion_runs))
    commands = [facts.command, f"mlflow run . -e report -P study={name}"] if facts.command else []
    return ["\n".join(["```sh", *commands, "```"]) if commands else "", "\n".join(lines)]
