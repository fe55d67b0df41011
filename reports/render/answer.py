"""The answer: one sentence a question, and what becomes of the other levels. Pure text.

Verdict words come from :mod:`reports.verdict` alone; nothing here weighs evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.design import StudyDesign
from reports.records import Comparison, Contrast, Difference, LevelRow, Question
from reports.words import count, enumeration, interval, plural, points, ratio, score, seconds, with_unit

#: More levels than this are counted, not named.
_MOST_NAMED = 8


def answer(comparison: Comparison) -> list[str]:
    """Return one paragraph a question, in markdown."""
    if not comparison.questions:
        return ["Nothing was compared in this study: its definition names no factor."]
    return [*(" ".join(_sentences(question, comparison)) for question in comparison.questions), *_guessing(comparison)]


def _guessing(comparison: Comparison) -> list[str]:
    """Say so where the best network found is no better than one that knows nothing: the verdicts are idle then."""
    best, design = comparison.recommendation, comparison.design
    reached = None if best is None else best.recommended.test or best.recommended.valid
    if reached is None or reached.mean > design.chance + design.equivalence:
        return []
    ours, chance = (with_unit(score(design.metric, value), design.metric) for value in (reached.mean, design.chance))
    return [
        f"**No better than guessing.** The best network found has {ours} of {comparison.judged} {design.metric.name}, "
        f"and the {design.metric.chance_is} is {chance}: nothing was learned here that levels could differ in."
    ]


def plain(markdown: str) -> str:
    """Return the text without its marks, for a terminal."""
    return markdown.replace("**", "")


def _sentences(question: Question, comparison: Comparison) -> list[str]:
    factor = question.factor
    title = f"**{factor.name.replace('_', ' ').capitalize()}.**"
    if len(factor.levels) == 1:
        return [title, f"Only one level, {factor.levels[0]}: there is nothing to hold it against."]
    headline = _headline(question)
    sentences = [title]
    if question.best_level == factor.reference:
        sentences.append(
            f"{_name(factor.name, factor.reference)}, the reference, has the best confirmed validation score."
        )
    sentences.append(sentence(headline, question, comparison))
    others = [contrast for contrast in question.contrasts if contrast is not headline]
    if others:
        sentences.append(_others(others, comparison.design))
    return sentences


def _headline(question: Question) -> Contrast:
    """Return the contrast of the best level by confirmed validation score; where that is the reference, the next best.

    Levels that were not confirmed come last.
    """
    means = {row.level: row.valid.mean for row in question.rows if row.valid and row.status != "never trained"}
    return max(
        question.contrasts,
        key=lambda contrast: (contrast.level == question.best_level, means.get(contrast.level, float("-inf"))),
    )


def sentence(contrast: Contrast, question: Question, comparison: Comparison) -> str:
    """Return a contrast in one sentence (two where it stays open): verdict, effect, interval, seeds, budget, cost."""
    rows = {row.level: row for row in question.rows}
    level, reference = rows[contrast.level], rows[contrast.reference]
    verdict = contrast.verdict
    name, against = _name(contrast.factor, contrast.level), _name(contrast.factor, contrast.reference).lower()
    if verdict.word == "never trained" or contrast.difference is None:
        return f"{name} against {against}: **{verdict.word}**. {verdict.because[:1].upper()}{verdict.because[1:]}."
    effect, basis = _effect(contrast.difference, comparison), _basis(contrast.difference, comparison)
    said = {
        "helps": f"{name} **helps**: {effect} over {against} ({basis})",
        "hurts": f"{name} **hurts**: {effect} against {against} ({basis})",
        "practically equal": f"{name} is **practically equal** to {against}: {effect} ({basis})",
        "inconclusive": f"{name} against {against} is **inconclusive**: {effect} ({basis})",
        "not enough evidence": f"{name} against {against}: **not enough evidence**; so far {effect} ({basis})",
    }[verdict.word]
    text = f"{said}{_budget(level, reference)}."
    if verdict.word in ("inconclusive", "not enough evidence"):
        text += f" The reason: {verdict.because}{_more_seeds(contrast)}."
    return text + _cost(level, reference)


def _effect(difference: Difference, comparison: Comparison) -> str:
    metric = comparison.design.metric
    number = points(metric, difference.estimate, difference.half_width, unit=bool(metric.unit))
    return f"{number} of {comparison.judged} {metric.name}"


def _basis(difference: Difference, comparison: Comparison) -> str:
    known = "" if difference.low is None else f"95 % interval {interval(comparison.design.metric, difference)}; "
    folds = comparison.design.folds
    if folds:
        repeats = f"{plural(difference.n_seeds, 'repeat')} of {folds}-fold cross-validation"
        return f"{known}{repeats}, {count(difference.n_examples)} rows"
    return f"{known}{plural(difference.n_seeds, 'seed')}, {count(difference.n_examples)} {comparison.judged} examples"


def _budget(level: LevelRow, reference: LevelRow) -> str:
    if not level.n_trials or not reference.n_trials:
        return ""
    if level.n_trials == reference.n_trials == 1:
        return ", one configuration each"
    if level.n_trials == reference.n_trials:
        return f", each the best of {plural(level.n_trials, 'trial')}"
    return f", the best of {plural(level.n_trials, 'trial')} against the best of {count(reference.n_trials)}"


def _more_seeds(contrast: Contrast) -> str:
    """Return how many more seeds are asked for, where the reason does not say so itself."""
    more = contrast.verdict.more_seeds
    if more is None or "needed" in contrast.verdict.because:
        return ""
    again = contrast.difference.again if contrast.difference else "seed"
    return f"; about {plural(more, f'more {again}')} would show a difference of that size four times in five"


def _cost(level: LevelRow, reference: LevelRow) -> str:
    """Return a sentence on what the level costs beside the reference, in parameters and seconds."""
    costs = []
    if level.n_params and reference.n_params:
        both = f"({count(level.n_params)} against {count(reference.n_params)})"
        same = level.n_params == reference.n_params
        costs.append(
            f"as many parameters ({count(level.n_params)})"
            if same
            else f"{ratio(level.n_params, reference.n_params)} the parameters {both}"
        )
    if level.fit_seconds and reference.fit_seconds:
        costs.append(f"{seconds(level.fit_seconds)} of training against {seconds(reference.fit_seconds)}")
    return f" It takes {enumeration(costs)}." if costs else ""


def _others(contrasts: Sequence[Contrast], design: StudyDesign) -> str:
    """Return the other levels, by verdict, with effect and interval as long as they are few."""
    if len(contrasts) > _MOST_NAMED:
        words = [contrast.verdict.word for contrast in contrasts]
        counted = [f"{words.count(word)} {word}" for word in dict.fromkeys(words)]
        return f"The other {len(contrasts)} levels: {enumeration(counted)}; the tables below have each."
    groups: dict[str, list[Contrast]] = {}
    for contrast in contrasts:
        groups.setdefault(contrast.verdict.word, []).append(contrast)
    named = [f"{word}: {enumeration([_brief(contrast, design) for contrast in of])}" for word, of in groups.items()]
    return f"The other {'level' if len(contrasts) == 1 else 'levels'} – {'; '.join(named)}."


def _brief(contrast: Contrast, design: StudyDesign) -> str:
    name, difference = _name(contrast.factor, contrast.level).lower(), contrast.difference
    if difference is None or contrast.verdict.word == "never trained":
        return name
    effect = points(design.metric, difference.estimate, difference.half_width)
    return (
        f"{name} ({effect}, {interval(design.metric, difference)})"
        if difference.low is not None
        else f"{name} ({effect})"
    )


def _name(factor: str, level: str) -> str:
    return f"{factor.replace('_', ' ').capitalize()} {level}"
