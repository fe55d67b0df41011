"""Section 4: the tables of a factor, narrow enough for a page each. Pure text."""

from __future__ import annotations

from collections.abc import Sequence

from depthcheck.reports.compare.results import Comparison, Contrast, LevelRow, Question
from depthcheck.reports.text.words import (
    configuration,
    count,
    effect,
    interval,
    p_value,
    plural,
    prose,
    score,
    seconds,
    share,
    spread,
    table,
)


def factor(question: Question, comparison: Comparison, n_valid: int | None) -> list[str]:
    """Return a factor's tables: what tuning each level gives, and how that differs from the reference."""
    name = question.factor.name
    searched = any(row.n_trials for row in question.rows)
    blocks = [f"### {name.replace('_', ' ').capitalize()}"]
    if searched:
        blocks += [f"The search, by {name} (phase compare):", _search(question, comparison, n_valid)]
    else:
        again = comparison.design.again
        blocks += ["The configurations:", _configurations(question)]
        blocks += [f"Fresh {again}s, by {name} (phase confirm):", _confirmed(question, comparison)]
    if question.contrasts:
        again = "setting" if comparison.search is not None else comparison.design.again
        blocks += [
            f"Differences to {name} {question.factor.reference}, paired by {again}:",
            _contrasts(question.contrasts, comparison),
        ]
    return blocks


def notes(comparison: Comparison, n_valid: int | None) -> str:
    """Return how to read the tables, once for all factors."""
    metric, search, folds = comparison.design.metric, comparison.search, comparison.design.folds
    scores = f"Scores are {metric.name}{' in percent' if metric.score_unit else ''}."
    of = f"{comparison.judged} {metric.name}" if folds else f"the {comparison.judged} part"
    differences = (
        f"Differences are of {of}{f' in {metric.unit}' if metric.unit else '' if folds else f' in {metric.name}'}."
    )
    holm = "*Holm p* is adjusted for the question's contrasts."
    if search is None:
        return prose(
            f"{scores} *Confirmed* and *test*: mean ± standard deviation over fresh {comparison.design.again}s "
            f"({comparison.design.n_seeds} planned). {differences} *P(better)*: how often a fresh run of the level "
            f"beats one of the reference, over all pairs of runs. {holm}"
        )
    selected = "" if n_valid is None or folds else f" on {count(n_valid)} examples"
    over = "settings, training seeds"
    over += f", {comparison.drawn} and training parts" if folds else f" and {comparison.drawn}"
    return prose(
        f"{scores} *Tuned*: {_what_tuned_is(comparison)} with its 95 % interval over {over}. *Selected*: the best "
        f"single {'cross-validated' if folds else 'validation'} "
        f"score of the level{selected}, the luckiest of its trials. *Stuck*: never beat the dummy baseline on "
        f"the training part. *Seconds*: one training of the best configuration, on one thread. {differences} {holm}"
    )


def _what_tuned_is(comparison: Comparison) -> str:
    search, folds = comparison.search, comparison.design.folds
    if search is None:
        return ""
    where = f"on each fold, chosen on the other {folds - 1}" if folds else "on the test part"
    return (
        f"what tuning the level with {plural(search.subset, 'setting')} and keeping the best by validation gives "
        f"{where}, the mean over all subsets of the {search.n_settings} settings,"
    )


def _search(question: Question, comparison: Comparison, n_valid: int | None) -> str:
    metric = comparison.design.metric
    rows = [
        [
            _marked(row),
            _tuned(row, comparison),
            count(row.n_trials),
            count(row.n_diverged),
            count(row.n_failed),
            count(row.n_untrained),
            score(metric, row.selected_score, n_examples=n_valid),
            configuration(row.best, without=question.factor.name) if row.best else "–",
            count(row.n_params),
            seconds(row.fit_seconds).removesuffix(" s"),
        ]
        for row in question.rows
    ]
    header = [question.factor.name, "tuned", "trials", "diverged", "failed", "stuck", "selected", "best configuration"]
    return table([*header, "parameters", "seconds"], rows, right=[1, 2, 3, 4, 5, 6, 8, 9])


def _tuned(row: LevelRow, comparison: Comparison) -> str:
    if row.tuned is None:
        return "–"
    metric = comparison.design.metric
    text = score(metric, row.tuned.estimate, half_width=row.tuned.half_width)
    if row.tuned.low is None or row.tuned.high is None:
        return text
    ends = [score(metric, end, half_width=row.tuned.half_width) for end in (row.tuned.low, row.tuned.high)]
    return f"{text} ({ends[0]} to {ends[1]})"


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
            *([] if comparison.design.folds else [spread(metric, row.test)]),
            count(row.n_params),
            seconds(row.fit_seconds).removesuffix(" s"),
        ]
        for row in question.rows
    ]
    header = [question.factor.name, "finalist", f"{comparison.design.again}s", "confirmed"]
    header += [*([] if comparison.design.folds else ["test"]), "parameters", "seconds"]
    return table(header, rows, right=range(2, len(header)))


def _contrasts(contrasts: Sequence[Contrast], comparison: Comparison) -> str:
    metric, chosen = comparison.design.metric, comparison.search is None
    rows = []
    for contrast in contrasts:
        difference = contrast.difference
        rows.append(
            [
                contrast.level,
                "–" if difference is None else effect(metric, difference, unit=False),
                "–" if difference is None else interval(metric, difference),
                p_value(contrast.p_holm),
                *([share(contrast.p_better)] if chosen else []),
                f"**{contrast.verdict.word}**",
            ]
        )
    header = [contrasts[0].factor, "difference", "95 % interval", "Holm p"]
    header += ["P(better)", "verdict"] if chosen else ["verdict"]
    return table(header, rows, right=range(1, len(header) - 1))


def _marked(row: LevelRow) -> str:
    return f"{row.level} (reference)" if row.is_reference else row.level
