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
    again = comparison.design.again
    blocks += [f"Fresh {again}s, by {name} (phase confirm):", _confirmed(question, comparison)]
    if question.contrasts:
        blocks += [
            f"Differences to {name} {question.factor.reference}, paired by {again}:",
            _contrasts(question.contrasts, comparison),
        ]
    return blocks


def notes(comparison: Comparison, n_valid: int | None) -> str:
    """Return how to read the tables, once for all factors."""
    metric, planned = comparison.design.metric, f"({comparison.design.n_seeds} planned)"
    selected = "" if n_valid is None else f" on {count(n_valid)} examples"
    confirmed = f"*Confirmed* and *test*: mean ± standard deviation over fresh seeds {planned}."
    differences = f"Differences are of the {comparison.judged} part in {metric.unit or metric.name}, with 95 % "
    intervals = "intervals over seeds and examples together;"
    training = "one training"
    if comparison.design.folds:
        selected = f", mean over {comparison.design.folds} folds"
        confirmed = f"*Confirmed*: the same over fresh partitions, mean ± standard deviation over repeats {planned}."
        differences = f"Differences are cross-validated, in {metric.unit or metric.name}, with 95 % "
        intervals = "intervals over repeats and folds (Nadeau and Bengio 2003);"
        training = "all folds of one training"
    return prose(
        f"Scores are {metric.name}{' in percent' if metric.score_unit else ''}. *Selected*: the best single validation "
        f"score of the level{selected}, by which its configuration was chosen. {confirmed} *Optimism*: "
        "selected minus confirmed, what the winner owed to luck. *Stuck*: never left chance on the training part. "
        f"*Seconds*: of {training}, on one thread. {differences}{intervals} *Holm p* is adjusted for the question's "
        "contrasts. *P(better)*: how often a fresh run of the level beats a fresh run of the reference, over all pairs "
        "of runs. *Search*: how often the best of a random half of its trials beats that of the reference's, by "
        "validation score."
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
            *([] if comparison.design.folds else [spread(metric, row.test)]),
            "–" if row.n_params is None else count(row.n_params),
            seconds(row.fit_seconds).removesuffix(" s"),
        ]
        for row in question.rows
    ]
    header = [question.factor.name, "finalist", f"{comparison.design.again}s", "confirmed", "optimism"]
    header += [*([] if comparison.design.folds else ["test"]), "parameters", "seconds"]
    return table(header, rows, right=range(2, len(header)))


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
