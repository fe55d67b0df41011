"""Section 4: the tables of a factor, narrow enough for a page each. Pure text."""

from __future__ import annotations

from collections.abc import Sequence

from reports.records import Comparison, Contrast, LevelRow, Question
from reports.render.blocks import prose
from reports.words import (
    configuration,
    count,
    interval,
    optimism,
    p_value,
    points,
    score,
    seconds,
    share,
    spread,
    table,
    unit_of,
)


def factor(question: Question, comparison: Comparison, n_valid: int | None) -> list[str]:
    """Return a factor's tables: what was found, what was confirmed, and how it differs from the reference."""
    name = question.factor.name
    searched = any(row.n_trials for row in question.rows)
    blocks = [f"### {name.replace('_', ' ').capitalize()}"]
    if searched:
        blocks += [f"The search, by {name} (phase compare):", _search(question, comparison, n_valid)]
    else:
        blocks += ["The configurations:", _configurations(question)]
    blocks += [f"Fresh seeds, by {name} (phase confirm):", _confirmed(question, comparison)]
    if question.contrasts:
        blocks += [
            f"Differences to {name} {question.factor.reference}, paired by seed:",
            _contrasts(question.contrasts, comparison),
        ]
    return blocks


def notes(comparison: Comparison, n_valid: int | None) -> str:
    """Return how to read the tables, once for all factors."""
    metric, n_seeds = comparison.design.metric, comparison.design.n_seeds
    of_valid = "" if n_valid is None else f" on {count(n_valid)} examples"
    part = "validation" if comparison.part == "valid" else "test"
    unit = f"Scores are {metric.name} in {'percent' if unit_of(metric) else 'its own unit'}. "
    return prose(
        f"{unit}*Selected*: the best single validation score of the level{of_valid}, by which its configuration was "
        f"chosen. *Confirmed* and *test*: mean ± standard deviation over fresh seeds ({n_seeds} planned). *Optimism*: "
        "selected minus confirmed, what the winner owed to luck. *Stuck*: never left chance on the training part. "
        f"*Seconds*: of one training, on one thread. Differences are of the {part} part in "
        f"{metric.unit or 'the score'}, "
        "with 95 % intervals over seeds and examples together; *Holm p* is adjusted for the question's contrasts. "
        "*P(better)*: how often a fresh run of the level beats a fresh run of the reference, over all pairs of runs. "
        "*Search*: how often the best of a random half of its trials beats that of the reference's, by validation "
        "score."
    )


def _search(question: Question, comparison: Comparison, n_valid: int | None) -> str:
    rows = [
        [
            _marked(row),
            count(row.n_trials),
            count(row.n_diverged),
            count(row.n_failed),
            count(row.n_untrained),
            score(comparison.design.metric, row.selected_score, n_examples=n_valid),
            configuration(row.best, without=question.factor.name) if row.best else "–",
        ]
        for row in question.rows
    ]
    header = [question.factor.name, "trials", "diverged", "failed", "stuck", "selected", "best configuration"]
    return table(header, rows, right=range(1, 6))


def _configurations(question: Question) -> str:
    rows = [[_marked(row), configuration(row.best) if row.best else "–"] for row in question.rows]
    return table([question.factor.name, "configuration"], rows)


def _confirmed(question: Question, comparison: Comparison) -> str:
    metric = comparison.design.metric
    rows = [
        [
            _marked(row),
            row.finalist or "–",
            str(row.valid.n) if row.valid else "0",
            spread(metric, row.valid),
            optimism(metric, row.optimism, row.valid),
            spread(metric, row.test),
            "–" if row.n_params is None else count(row.n_params),
            seconds(row.fit_seconds).removesuffix(" s"),
        ]
        for row in question.rows
    ]
    header = [question.factor.name, "finalist", "seeds", "confirmed", "optimism", "test", "parameters", "seconds"]
    return table(header, rows, right=range(2, 8))


def _contrasts(contrasts: Sequence[Contrast], comparison: Comparison) -> str:
    metric = comparison.design.metric
    rows = []
    for contrast in contrasts:
        difference = contrast.difference
        rows.append(
            [
                contrast.level,
                "–" if difference is None else points(metric, difference.estimate, difference.half_width, unit=False),
                "–" if difference is None else interval(metric, difference),
                p_value(contrast.p_holm),
                share(contrast.p_better),
                share(contrast.p_better_search),
                f"**{contrast.verdict.word}**",
            ]
        )
    header = [contrasts[0].factor, "difference", "95 % interval", "Holm p", "P(better)", "search", "verdict"]
    return table(header, rows, right=range(1, 6))


def _marked(row: LevelRow) -> str:
    return f"{row.level} (reference)" if row.is_reference else row.level
