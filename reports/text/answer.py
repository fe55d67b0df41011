"""The answer: one sentence a question, and what becomes of the other levels; the same for programs. Pure text.

Verdict words come from :mod:`depthcheck.reports.compare.verdict` alone; nothing here weighs evidence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from depthcheck.pipeline.dimensions import CONFIGURATION, told_apart
from depthcheck.pipeline.scores import Metric
from depthcheck.pipeline.verbatim import in_markdown, option
from depthcheck.reports.compare.checks import against_linear
from depthcheck.reports.compare.results import Comparison, Contrast, Difference, LevelRow, Question
from depthcheck.reports.compare.study_data import StudyDesign, may_score_below_guessing
from depthcheck.reports.text.words import (
    capital,
    configuration,
    count,
    duration,
    effect,
    enumeration,
    inside,
    interval,
    plural,
    score,
    spread,
    with_unit,
)
from depthcheck.reports.text.words import level as level_name
from depthcheck.reports.text.words import verdict as verdict_word

#: Verdicts that more settings may change.
OPEN = ("inconclusive", "not enough evidence")
#: More levels than this are counted, not named.
_MOST_NAMED = 8
#: What a definition may ask for.
_MOST_TRIALS = 100_000
#: What programs are told of each contrast.
CONTRAST = ("factor", "level", "reference", "verdict", "because", "estimate", "low", "high", "p_holm")


def answer(comparison: Comparison) -> list[str]:
    """Return one paragraph a question, in markdown, and one on the recommended model."""
    if not comparison.questions:
        return ["Nothing was compared in this study: its definition names no factor."]
    questions = [" ".join(_sentences(question, comparison)) for question in comparison.questions]
    return [*questions, *_model(comparison), *_guessing(comparison)]


def _model(comparison: Comparison) -> list[str]:
    """Say, clearly second, what fresh seeds say of the recommended model and of the best alternative."""
    of, metric = comparison.recommendation, comparison.design.metric
    if of is None or comparison.search is None:
        return []
    found, where = (of.recommended.valid, "cross-validated" if comparison.design.folds else "validation")
    if of.recommended.test is not None:
        found, where = of.recommended.test, "test"
    if found is None:
        return []
    seeds, how = plural(found.n, f"fresh {comparison.design.again}"), " (mean ± standard deviation)" if found.sd else ""
    text = (
        f"**Recommended model.** {of.recommended.finalist.id}, {configuration(of.recommended.finalist.config)}: "
        f"{with_unit(spread(metric, found), metric)} of {where} {metric.name} over {seeds}{how}."
    )
    if of.alternative is None or of.difference is None:
        return [text]
    return [
        f"{text} The best alternative, {of.alternative.finalist.id} ({configuration(of.alternative.finalist.config)}), "
        f"differs from it by {_effect_and_interval(of.difference, metric)}: two configurations, which says nothing of "
        "levels."
    ]


def _guessing(comparison: Comparison) -> list[str]:
    """Say so where the best network found is no better than one that knows nothing: the verdicts are idle then."""
    best, design = comparison.recommendation, comparison.design
    reached = None if best is None else best.recommended.test or best.recommended.valid
    dummy_score = design.dummy_on(comparison.part)
    if best is None or reached is None or reached.mean > dummy_score + design.equivalence:
        return []
    statuses = {row.status for question in comparison.questions for row in question.rows} - {"no trials"}
    # Where no level has a trial, none says that nothing was learned.
    may_have_learned = not statuses or not statuses <= {"never trained", "diverged", "failed"}
    if may_have_learned and may_score_below_guessing(best.recommended.finalist.config, design.metric):
        return []
    scores = (reached.mean, dummy_score)
    ours, dummy = (with_unit(score(design.metric, value), design.metric) for value in scores)
    return [
        f"**No better than guessing.** The best network found has {ours} of {comparison.judged} {design.metric.name}, "
        f"and the {design.metric.dummy_is} is {dummy}: nothing was learned here that levels could differ in."
    ]


def plain(markdown: str) -> str:
    """Return the text without its marks, for a terminal."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown.replace("**", ""))


def _sentences(question: Question, comparison: Comparison) -> list[str]:
    factor = question.factor
    title = f"**{capital(factor.name.replace('_', ' '))}.**"
    if len(factor.levels) == 1:
        return [title, f"Only one level, {in_markdown(factor.levels[0], None)}: there is nothing to hold it against."]
    headline = _headline(question)
    sentences = [] if comparison.is_of_chosen else [title]
    if _is_reference_best(question) and not comparison.is_of_chosen:
        best = "does best by validation when tuned"
        if comparison.search is None:
            best = f"has the best mean validation score over fresh {comparison.design.again}s"
        sentences.append(f"{level_name(factor.name, factor.reference)}, the reference, {best}.")
    sentences.append(sentence(headline, question, comparison))
    others = [contrast for contrast in question.contrasts if contrast is not headline]
    if others:
        sentences.append(_others(others, question, comparison.design))
    return [*sentences, *(_against_linear(comparison) if factor.name == "depth" else [])]


def _is_reference_best(question: Question) -> bool:
    """Whether the reference's validation score is above that of each other level, and there is one that has any."""
    known = {row.level: row.valid_mean for row in question.rows if row.valid_mean is not None}
    ours = known.pop(question.factor.reference, -math.inf)
    return question.best_level == question.factor.reference and ours > max(known.values(), default=math.inf)


def _against_linear(comparison: Comparison) -> list[str]:
    """Say what scikit-learn's linear model reaches, so that a depth 0 that was tuned badly is seen."""
    both, metric = against_linear(comparison), comparison.design.metric
    if both is None:
        return []
    linear, reached, tuned = both
    # As many digits for both: what is known of the tuned score's.
    theirs, ours = (
        with_unit(score(metric, value, half_width=tuned.half_width), metric) for value in (reached, tuned.estimate)
    )
    return [f"scikit-learn's linear model ({linear}) reaches {theirs} on the same split, depth 0 tuned {ours}."]


def _headline(question: Question) -> Contrast:
    """Return the contrast of the best level by validation score; where that is the reference, the next best.

    Levels that were not judged come last.
    """
    known = {
        row.level: row.valid_mean
        for row in question.rows
        if row.valid_mean is not None and row.status != "never trained"
    }
    return max(question.contrasts, key=lambda of: (of.level == question.best_level, known.get(of.level, -math.inf)))


def sentence(contrast: Contrast, question: Question, comparison: Comparison) -> str:
    """Return a contrast in one sentence (two where it stays open): verdict, effect, interval, seeds, budget, cost."""
    rows = {row.level: row for row in question.rows}
    level, reference = rows[contrast.level], rows[contrast.reference]
    verdict, because = contrast.verdict, in_markdown(contrast.verdict.because, None)
    name, against = _named(level, question), inside(reference.factor, reference.level)
    against = _named(reference, question) if comparison.is_of_chosen else against
    metric = comparison.design.metric
    if trains_alone(level, reference):
        best = with_unit(score(metric, level.selected_score), metric)
        return (
            f"{name} **trains**, {against} never did: {level.n_finished - level.n_untrained} of "
            f"{plural(level.n_finished, 'network')} learned something, the best with {best} of validation "
            f"{metric.name}, and none of {count(reference.n_finished)} with {against}. That is a failure "
            "of optimization there, which says nothing of what it could do."
        )
    if verdict.word == "never trained" or contrast.difference is None:
        return f"{name} against {against}: **{verdict.word}**. {capital(because)}{to_know(contrast, comparison)}."
    of = f"{effect(metric, contrast.difference, unit=bool(metric.unit))} of {comparison.judged} {metric.name}"
    text = {
        "helps": f"{name} **helps**: {of} over {against}",
        "hurts": f"{name} **hurts**: {of} against {against}",
        "better": f"{name} is **better** than {against}: {of}",
        "worse": f"{name} is **worse** than {against}: {of}",
        "practically equal": f"{name} is **practically equal** to {against}: {of}",
        "inconclusive": f"{name} against {against} is **inconclusive**: {of}",
        "not enough evidence": f"{name} against {against}: **not enough evidence**; so far {of}",
    }[verdict_word(contrast.factor, verdict.word)]
    text += f" ({_basis(contrast.difference, comparison)})."
    lost = [row for row in (level, reference) if row.status == "diverged"]
    for row in lost:
        ended = "diverged or failed" if row.n_failed else "diverged"
        text += f" Every trial {_at(row)} {ended}, which counts as guessing does."
    if verdict.word in OPEN:
        text += f" The reason: {because}{to_know(contrast, comparison)}."
    return f"{text} {_found(level, reference, comparison)}".rstrip()


def _named(row: LevelRow, question: Question) -> str:
    """Return a level as it begins a sentence; a chosen configuration with what tells it from the others."""
    name, configs = level_name(row.factor, row.level), [of.best for of in question.rows]
    if row.factor != CONFIGURATION or row.best is None:
        return name
    words = told_apart([config.values() for config in configs if config is not None])
    return f"{name} ({in_markdown(words[[one for one in configs if one is not None].index(row.best)], None)})"


def trains_alone(level: LevelRow, reference: LevelRow) -> bool:
    """Tell whether networks of a level learned something where none of the reference's did."""
    return reference.status == "never trained" and level.n_finished > level.n_untrained


def told(contrast: Contrast, question: Question) -> str:
    """Return the word that a reader is told of a contrast: *trains* where nothing but the level learned anything."""
    return verdict_word(contrast.factor, _word(contrast, question))


def _word(contrast: Contrast, question: Question) -> str:
    rows = {row.level: row for row in question.rows}
    is_alone = trains_alone(rows[contrast.level], rows[contrast.reference])
    return "trains" if is_alone else contrast.verdict.word


def _effect_and_interval(difference: Difference, metric: Metric) -> str:
    known = "" if difference.low is None else f" ({interval(metric, difference)})"
    return f"{effect(metric, difference)}{known}"


def _basis(difference: Difference, comparison: Comparison) -> str:
    known = "" if difference.low is None else f"95 % interval {interval(comparison.design.metric, difference)}; "
    folds, search = comparison.design.folds, comparison.search
    judged_by = f"{count(difference.n_examples)} {comparison.judged} examples"
    if folds and difference.again != "repeat":
        judged_by = f"{count(difference.n_examples)} rows in {folds} folds"
    if difference.drawn != "examples":
        judged_by = f"{count(difference.n_examples)} {difference.drawn}" + (f" in {folds} folds" if folds else "")
    if difference.again == "setting" and search is not None:
        return f"{known}each tuned with {search.subset} of {plural(search.n_settings, 'setting')}, {judged_by}"
    if difference.again == "repeat":
        repeats = f"{plural(difference.n_seeds, 'repeat')} of {folds}-fold cross-validation"
        return f"{known}{repeats}, {count(difference.n_examples)} rows"
    if difference.method == "seeds only":
        return f"{known}{plural(difference.n_seeds, 'seed')} alone"
    return f"{known}{plural(difference.n_seeds, 'seed')}, {judged_by}"


def to_know(contrast: Contrast, comparison: Comparison) -> str:
    """Return what it would take to settle a difference that matters, where more settings or seeds can."""
    more, search, design = contrast.verdict.more, comparison.search, comparison.design
    if more is None:
        return ""
    again = contrast.difference.again if contrast.difference else "setting" if search else design.again
    size = design.metric.region(contrast.verdict.effect or design.equivalence)
    shown_by = f"would tell a difference of {size} from none four times in five"
    counted = f"about {plural(more, f'more {again}')}"
    if contrast.verdict.word == "not enough evidence":
        shown_by, counted = "would give a verdict", plural(more, f"more {again}")
    rows = [row for question in comparison.questions for row in question.rows if row.factor == contrast.factor]
    is_short = any(row.status == "no trials" for row in rows)
    if search is None and contrast.difference is None and is_short and not comparison.is_of_chosen:
        return "; there were too few trials to give every level some settings"
    is_planned = f"; {counted} {shown_by}, and are planned already: the same command goes on"
    if search is None:
        had = contrast.difference.n_seeds if contrast.difference else 0
        n_seeds = max(design.n_seeds, had)
        if comparison.n_to_confirm:
            more -= n_seeds - had
        given = option(design.launcher, "seeds", n_seeds + more)
        return is_planned if more <= 0 else f"; {counted} {shown_by}: `{given}` goes on from here"
    budget = design.trials_for(search.n_settings + more, search.n_combinations)
    if budget > _MOST_TRIALS:
        return f"; {counted} {shown_by}, more than a study can have"
    n_trials = budget - sum(n for phase, n in design.budgets.items() if phase != "confirm")
    if n_trials <= 0:
        return is_planned
    lasts = duration(n_trials * search.seconds / search.n_combinations / design.cores)
    time = f", {lasts} of training on {plural(design.cores, 'core')}" if search.seconds else ""
    given = option(design.launcher, "trials", budget)
    return f"; {counted} ({plural(n_trials, 'trial')}{time}) {shown_by}: `{given}` goes on from here"


def _found(level: LevelRow, reference: LevelRow, comparison: Comparison) -> str:
    """Return a sentence on the best configuration of both levels: an answer about one dimension is under the others."""
    if level.best is None or reference.best is None or comparison.is_of_chosen:
        return ""
    words = [
        configuration(row.best, without=row.factor) + (f" ({count(row.n_params)} parameters)" if row.n_params else "")
        for row in (level, reference)
        if row.best is not None
    ]
    if comparison.search is None:
        against = in_markdown(reference.level, None)
        return f"{level_name(level.factor, level.level)} is {words[0]}; {against} is {words[1]}."
    at, against = _at(level), _at(reference)
    return f"Best single network {at}: {words[0]}; {against}: {words[1]}."


def _at(row: LevelRow) -> str:
    said = inside(row.factor, row.level)
    plain = in_markdown(f"{row.factor.replace('_', ' ')} {row.level}", None)
    return f"at {said}" if said == plain else f"with {said}"


def _others(contrasts: Sequence[Contrast], question: Question, design: StudyDesign) -> str:
    """Return the other levels, by verdict, with effect and interval as long as they are few."""
    if len(contrasts) > _MOST_NAMED:
        words = [told(contrast, question) for contrast in contrasts]
        counted = [f"{words.count(word)} {word}" for word in dict.fromkeys(words)]
        return f"The other {len(contrasts)} levels: {enumeration(counted)}; the tables below have each."
    groups: dict[str, list[Contrast]] = {}
    for contrast in contrasts:
        groups.setdefault(told(contrast, question), []).append(contrast)
    named = [f"{verdict}: {enumeration([_brief(each, design) for each in of])}" for verdict, of in groups.items()]
    return f"The other {'level' if len(contrasts) == 1 else 'levels'} – {'; '.join(named)}."


def _brief(contrast: Contrast, design: StudyDesign) -> str:
    name, difference = inside(contrast.factor, contrast.level), contrast.difference
    if difference is None or contrast.verdict.word == "never trained":
        return name
    known = "" if difference.low is None else f", {interval(design.metric, difference)}"
    return f"{name} ({effect(design.metric, difference)}{known})"


def verdicts(comparison: Comparison) -> dict[tuple[str, str], str]:
    """Return each verdict in a few words, by factor and level: ``helps: +1.05 points (+0.46 to +1.64)``."""
    metric = comparison.design.metric
    return {
        (of.factor, of.level): told(of, question)
        + ("" if of.difference is None else f": {_effect_and_interval(of.difference, metric)}")
        for question in comparison.questions
        for of in question.contrasts
    }


def answers(comparison: Comparison) -> dict[str, Any]:
    """Return every contrast with its verdict, estimate and interval, in the metric's own scale.

    ``is_decided`` tells whether no contrast is open any more; ``can_be_decided`` whether more settings may decide one.
    """
    contrasts = [(contrast, question) for question in comparison.questions for contrast in question.contrasts]
    left = [contrast for contrast, _ in contrasts if contrast.verdict.word in OPEN]
    search = comparison.search
    return {
        "study": comparison.design.name,
        "metric": comparison.design.metric.key,
        "n_settings": None if search is None else search.n_settings,
        "tuned_with": None if search is None else search.subset,
        "is_decided": not left,
        "can_be_decided": any(contrast.verdict.more is not None for contrast in left),
        "contrasts": [_as_json(contrast, question) for contrast, question in contrasts],
    }


def as_table(comparison: Comparison) -> str:
    """Return every contrast as a row of a markdown table, in the reader's unit."""

    def escaped(text: str) -> str:
        return in_markdown(text, None).replace("|", "\\|")

    metric = comparison.design.metric
    rows = [
        f"| {escaped(f'{of.factor} {of.level} against {of.reference}')} | {told(of, question)} | "
        + ("– | – |" if of.difference is None
           else f"{effect(metric, of.difference)} | {interval(metric, of.difference)} |")
        for question in comparison.questions for of in question.contrasts
    ]  # fmt: skip
    head = ["| | verdict | difference | 95 % interval |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) if rows else ""


def _as_json(contrast: Contrast, question: Question) -> dict[str, Any]:
    found = contrast.difference
    of, numbers = contrast.verdict, (None,) * 3 if found is None else (found.estimate, found.low, found.high)
    word = _word(contrast, question)
    values = contrast.factor, contrast.level, contrast.reference, word, of.because, *numbers, contrast.p_holm
    return dict(zip(CONTRAST, values, strict=True))
