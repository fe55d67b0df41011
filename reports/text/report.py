"""The report: what each section says, and the template that puts them in order (docs/comparison.md). Pure text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Literal

from jinja2 import StrictUndefined, TemplateSyntaxError, meta
from jinja2.sandbox import SandboxedEnvironment

from depthcheck.pipeline.dimensions import CONFIGURATION
from depthcheck.pipeline.verbatim import command, in_markdown, one_line
from depthcheck.reports.compare.results import Comparison, LevelRow, Question, Search
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.text.answer import answer, told
from depthcheck.reports.text.context import Drawing, first_layer_gradient, phases_of
from depthcheck.reports.text.methods import appendix, design, provenance
from depthcheck.reports.text.recommended import known, recommended
from depthcheck.reports.text.words import (
    at_level,
    bullets,
    capital,
    configuration,
    count,
    effect,
    enumeration,
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

#: What a template may call for, beside the figures.
TEXTS = (
    "title", "byline", "answer", "recommended", "results", "design", "checks", "reproduce", "known", "passed",
    "appendix", "provenance",
)  # fmt: skip
_JINJA = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False)
_JINJA.filters["prose"] = prose
#: Columns that a table has where a level lost trials so.
_LOST = {"diverged": "n_diverged", "failed": "n_failed", "stuck": "n_untrained"}
#: More missing levels than this are counted, not named.
_MOST_MISSING = 10
#: What is bit-equal, and what is not (docs/decisions/processors.md).
_BITS = (
    "On one kind of processor with these versions the same commands give the same numbers, bit by bit. "
    "Another processor starts from the same weights and takes the samples in the same order, but rounds differently: "
    "curves part by a last digit in the first epochs, and scores need not be equal."
)


def sections(comparison: Comparison, study: StudyData, figures: Sequence[Drawing] = ()) -> dict[str, str]:
    """Return the sections' texts by the names that a template calls them by, :data:`TEXTS`."""
    n_valid = study.facts.data.n_valid
    tables = [block for question in comparison.questions for block in _factor(question, comparison, n_valid)]
    blocks = {
        "title": [in_markdown(study.facts.question, None) or f"Study {comparison.design.name}"],
        "byline": [prose(_byline(comparison, study))],
        "answer": _answer(comparison, study, figures),
        "recommended": recommended(comparison, study),
        "results": [*tables, _notes(comparison, n_valid) if tables else "Nothing was compared."],
        "design": design(comparison, study),
        "checks": _checks(comparison),
        "reproduce": _reproduce(comparison, study),
        "known": known(comparison, study),
        "passed": [bullets(f"{of.name}: {of.detail}" for of in comparison.checks if of.state == "pass")],
        "appendix": appendix(comparison, study),
        "provenance": provenance(comparison, study),
    }
    return {name: "\n\n".join(filter(None, texts)) for name, texts in blocks.items()}


def check_template(source: str) -> None:
    """Complain about a template before there is anything to render.

    Raises
    ------
    ValueError
        When it is none of Jinja's, or calls for a text that no report has.
    """
    try:
        _JINJA.from_string(source)
    except TemplateSyntaxError as error:
        raise ValueError(f"template must be one of Jinja's, got in line {error.lineno}: {error.message}") from error
    unknown = meta.find_undeclared_variables(_JINJA.parse(source)) - {*TEXTS, "figures"}
    if unknown:
        raise ValueError(f"template must use {', '.join(TEXTS)} or figures, got {', '.join(sorted(unknown))}")


def render(
    texts: Mapping[str, str],
    figures: Sequence[Drawing],
    template: str | None = None,
    *,
    of: Literal["report", "appendix"] = "report",
) -> str:
    """Return the report, or its appendix: the texts and figures where a template has them.

    Parameters
    ----------
    texts
        Of :func:`sections`.
    template
        What takes the place of the project's own, in Jinja's language: it calls the texts by their names, and goes
        over ``figures``, each with ``number``, ``alt``, ``path``, ``caption``, and whether it shows the ``answer``. It
        is run in a sandbox. Nothing is escaped: this is markdown, and the page that is made of it takes no HTML.
    of
        Which of the project's own it is, where there is no template.

    Raises
    ------
    ValueError
        When one of the template's expressions fails.
    """
    source = (resources.files(__package__) / f"{of}.md.j2").read_text("utf-8") if template is None else template
    shown = [
        {"number": number, **{name: getattr(figure, name) for name in ("alt", "path", "caption", "answer")}}
        for number, figure in enumerate(figures, start=1)
    ]
    try:
        return _JINJA.from_string(source).render(**texts, figures=shown)
    except Exception as error:  # whatever a template's own expressions come to
        raise ValueError(f"template must render, got {type(error).__name__}: {error}".splitlines()[0]) from error


def _byline(comparison: Comparison, study: StudyData) -> str:
    ended = sum(of["ended"] for of in phases_of(study).values())
    n_warnings = len(comparison.warnings)
    trust = f"{plural(n_warnings, 'doubt')} in section 5" if n_warnings else "no doubt in section 5"
    return (
        f"Study {comparison.design.name} on {in_markdown(study.facts.data.name)}: {plural(ended, 'trial')}, {trust}. "
        "All else is in the [appendix](appendix.md)."
    )


def _answer(comparison: Comparison, study: StudyData, figures: Sequence[Drawing]) -> list[str]:
    first, *others = answer(comparison)
    return [
        prose(first),
        prose(_meanings(comparison)),
        *map(prose, others),
        prose(_why_stuck(comparison, study, figures)),
        prose(_scope(comparison, study)),
        _missing(comparison, study),
    ]


def _meanings(comparison: Comparison) -> str:
    """Return what the verdicts that the study gives mean, as docs/comparison.md has it at length."""
    region = f"±{comparison.design.metric.region(comparison.design.equivalence)}"
    given = {contrast.verdict.word for question in comparison.questions for contrast in question.contrasts}
    either = "*Better* or *worse*" if comparison.is_of_chosen else "*Helps* or *hurts*"
    meanings = {
        ("helps", "hurts"): f"{either}: the interval, with luck over all of the question's contrasts allowed "
        f"for, leaves out zero, and the estimate lies outside {region}.",
        ("practically equal",): f"*Practically equal*: the whole interval lies within {region}.",
        ("inconclusive",): "*Inconclusive*: it could be either, which is no sign of equality.",
    }
    return " ".join(text for words, text in meanings.items() if given.intersection(words))


def _why_stuck(comparison: Comparison, study: StudyData, figures: Sequence[Drawing]) -> str:
    """Return how little gradient reaches the first layer of the levels that never trained, where that was logged."""
    rows = [row for question in comparison.questions for row in question.rows if row.status == "never trained"]
    of_finalists = {row.finalist: row.where for row in rows}
    words = [
        f"{_percent(share)} for {where} ({finalist})"
        for finalist, where in of_finalists.items()
        if (share := first_layer_gradient(study, finalist)) is not None
    ]
    if not words:
        return ""
    drawn = [at for at, figure in enumerate(figures, start=1) if "gradients" in figure.path]
    figure = f" (figure {drawn[0]}, in the appendix)" if drawn else ""
    return (
        "Why they stand still: the gradient of the first hidden layer's weights, as a share of the output layer's, is "
        f"{enumeration(words)}, mean over epochs and runs{figure}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share >= 1e-4 else f"{share:.0e}"


def _scope(comparison: Comparison, study: StudyData) -> str:
    if not comparison.questions:
        return ""
    epochs = study.epochs or tuple(filter(None, [study.facts.epochs]))
    # Where they differ they are a part of the levels, or of what is searched.
    trained = f" and {plural(epochs[0], 'epoch')} of training" if len(epochs) == 1 else ""
    search = comparison.search
    ranges = "the ranges searched" if search is not None else "these configurations"
    holds = f"This holds for {in_markdown(study.facts.data.name)}, {ranges}{trained}."
    if search is None or not any(question.curves for question in comparison.questions):
        return holds
    judged = "its score on the test part counts"
    if comparison.design.folds:
        judged = "what it scores on rows that did not choose it counts: all folds but one choose, that one scores"
    return (
        f"{holds} A level is what tuning it gives: {plural(search.subset, 'setting')} are tried, the network with the "
        f"best validation score is kept, and {judged}. The answer is the mean over all such subsets of the "
        f"{search.n_settings} settings, the same for every level; its interval covers the draw of the settings, the "
        f"training seeds and the {comparison.drawn}, and not another cut of the data. {_ANOTHER_CUT}"
        f"{_looks(comparison)}"
    )


#: Measured by ``python -m benchmarks.studies digits --split-seeds``; docs/search-simulations.md has the tables.
_ANOTHER_CUT = (
    "(Where that was tried, on scikit-learn's digits, it added nothing visible to the spread between studies.)"
)


def _looks(comparison: Comparison) -> str:
    looks = comparison.design.looks
    if not looks:
        return ""
    return (
        f" The study goes on until it is decided: it was judged at {enumeration([count(size) for size in looks])} "
        "settings, and its intervals are as wide as it takes to hold at all of these looks at once."
    )


def _missing(comparison: Comparison, study: StudyData) -> str:
    """Return what a reader might look for in vain."""
    items = [in_markdown(text, None) for question in comparison.questions for text in question.missing]
    if len(items) > _MOST_MISSING:
        items = [*items[:_MOST_MISSING], f"and {len(items) - _MOST_MISSING} more levels; the tables below have each"]
    left = {phase: of["planned"] - of["ended"] for phase, of in phases_of(study).items() if of["ended"] < of["planned"]}
    if left:
        items.append("not yet run: " + enumeration([f"{count(n)} of {phase}" for phase, n in left.items()]) + " trials")
    if study.facts.state == "running":
        items.append("the study is running, or its process was killed: these are its results so far")
    elif study.facts.state in ("failed", "interrupted"):
        items.append(f"its last session was {study.facts.state}; the same command goes on with it")
    has_test = (comparison.part != "valid" and comparison.design.has_test) or bool(comparison.design.folds)
    search = comparison.search
    if search is not None and search.n_to_score and has_test:
        n = plural(search.n_to_score, "searched network")
        items.append(f"{n} not yet scored on the test part; the same command goes on")
    if search is not None and search.n_without_examples:
        n, held_out = plural(search.n_without_examples, "searched network"), bool(comparison.design.folds)
        items.append(f"{n} without scores of single {'rows held out' if held_out else 'examples of the test part'}")
    if comparison.questions and not comparison.finalists and search is None:
        items.append("phase confirm has no runs: without fresh seeds there is no verdict")
    elif not has_test:
        of = "differences are" if search is None else "the recommended model's score is"
        items.append(f"no test part was opened: {of} of the validation part, which also chose")
    return f"**Missing**\n\n{bullets(items)}" if items else ""


def _factor(question: Question, comparison: Comparison, n_valid: int | None) -> list[str]:
    """Return a factor's tables: what tuning each level gives, and how that differs from the reference."""
    name = question.factor.name
    blocks = [f"### {capital(name.replace('_', ' '))}"]
    if comparison.search is not None:
        blocks += [f"The search, by {name} (phase compare):", _search(question, comparison, n_valid)]
    else:
        again = comparison.design.again
        blocks += ["The configurations:", _configurations(question)]
        blocks += [f"Fresh {again}s, by {name} (phase confirm):", _confirmed(question, comparison)]
    if question.contrasts:
        again = "setting" if comparison.search is not None else comparison.design.again
        blocks += [
            f"Differences to {in_markdown(at_level(name, question.factor.reference), None)}, paired by {again}:",
            _contrasts(question, comparison),
        ]
    return blocks


def _notes(comparison: Comparison, n_valid: int | None) -> str:
    """Return how to read the tables, once for all factors."""
    metric, search, folds = comparison.design.metric, comparison.search, comparison.design.folds
    scores = f"Scores are {metric.name}{' in percent' if metric.score_unit else ''}."
    of = f"{comparison.judged} {metric.name}" if folds else f"the {comparison.judged} part"
    differences = (
        f"Differences are of {of}{f' in {metric.unit}' if metric.unit else '' if folds else f' in {metric.name}'}."
    )
    holm = "*Holm p* is adjusted for the question's contrasts."
    cost = "*Seconds*: one training of the best configuration, on one thread; of two epochs or more, without compiling."
    if search is None:
        return prose(
            f"{scores} *Confirmed* and *test*: mean ± standard deviation over the row's fresh "
            f"{comparison.design.again}s. {differences} *P(better)*: how often a fresh run of the level "
            f"beats one of the reference, over all pairs of runs. {cost} {holm}"
        )
    selected = "" if n_valid is None or folds else f" on {count(n_valid)} examples"
    over = "settings, training seeds"
    over += f", {comparison.drawn} and training parts" if folds else f" and {comparison.drawn}"
    is_stuck = any(row.n_untrained for question in comparison.questions for row in question.rows)
    stuck = "*Stuck*: never beat the dummy baseline on the training part. " if is_stuck else ""
    return prose(
        f"{scores} *Tuned*: {_what_tuned_is(search, folds)} with its 95 % interval over {over}. *Selected*: the best "
        f"single {'cross-validated' if folds else 'validation'} "
        f"score of the level{selected}, the luckiest of its trials. {stuck}"
        f"{cost} {differences} {holm}"
    )


def _what_tuned_is(search: Search, folds: int) -> str:
    where = f"on each fold, chosen on the other {folds - 1}" if folds else "on the test part"
    return (
        f"what tuning the level with {plural(search.subset, 'setting')} and keeping the best by validation gives "
        f"{where}, the mean over all subsets of the {search.n_settings} settings,"
    )


def _search(question: Question, comparison: Comparison, n_valid: int | None) -> str:
    metric = comparison.design.metric
    lost = [name for name in _LOST if any(getattr(row, _LOST[name]) for row in question.rows)]
    rows = [
        [
            _marked(row),
            _tuned(row, comparison),
            count(row.n_trials),
            *(count(getattr(row, _LOST[name])) for name in lost),
            score(metric, row.selected_score, n_examples=n_valid),
            configuration(row.best, without=question.factor.name) if row.best else "–",
            count(row.n_params),
            seconds(row.seconds),
        ]
        for row in question.rows
    ]
    header = [question.factor.name, "tuned", "trials", *lost, "selected", "best configuration", "parameters", "seconds"]
    return table(header, rows, right=[at for at, name in enumerate(header) if at and name != "best configuration"])


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
    return table(["name" if question.factor.name == CONFIGURATION else question.factor.name, "configuration"], rows)


def _confirmed(question: Question, comparison: Comparison) -> str:
    metric, is_name = comparison.design.metric, comparison.is_of_chosen
    rows = [
        [
            _marked(row),
            *([] if is_name else [row.finalist or "–"]),
            str(row.valid.n) if row.valid else "0",
            spread(metric, row.valid),
            *([] if comparison.design.folds else [spread(metric, row.test)]),
            count(row.n_params),
            seconds(row.seconds),
        ]
        for row in question.rows
    ]
    header = [question.factor.name, *([] if is_name else ["finalist"]), f"{comparison.design.again}s", "confirmed"]
    header += [*([] if comparison.design.folds else ["test"]), "parameters", "seconds"]
    return table(header, rows, right=range(1 if is_name else 2, len(header)))


def _contrasts(question: Question, comparison: Comparison) -> str:
    metric, chosen = comparison.design.metric, comparison.search is None
    rows = []
    for contrast in question.contrasts:
        difference = contrast.difference
        rows.append(
            [
                in_markdown(contrast.level, None),
                "–" if difference is None else effect(metric, difference, unit=False),
                "–" if difference is None else interval(metric, difference),
                p_value(contrast.p_holm),
                *([share(contrast.p_better)] if chosen else []),
                f"**{told(contrast, question)}**",
            ]
        )
    header = [question.factor.name, "difference", "95 % interval", "Holm p"]
    header += ["P(better)", "verdict"] if chosen else ["verdict"]
    return table(header, rows, right=range(1, len(header) - 1))


def _marked(row: LevelRow) -> str:
    return in_markdown(row.level, None) + (" (reference)" if row.is_reference else "")


def _checks(comparison: Comparison) -> list[str]:
    passed = [of.name for of in comparison.checks if of.state == "pass"]
    named = f": {enumeration(passed)}" if passed else ""
    return [
        prose("In doubt is what follows. A doubt changes no verdict; it says where to look.")
        if comparison.warnings
        else "",
        bullets(f"**{of.name}?** {of.detail}" for of in comparison.warnings),
        prose(f"{len(passed)} of {len(comparison.checks)} checks pass{named}."),
    ]


def _reproduce(comparison: Comparison, study: StudyData) -> list[str]:
    facts, design = study.facts, comparison.design
    commands = []
    if facts.command:
        commands = [one_line(facts.command), command(design.launcher, "report", study=design.name)]
        if comparison.recommendation is not None and not comparison.is_of_chosen:
            commands.append(command(design.launcher, "reproduce", study=design.name))
    return ["\n".join(["```sh", *commands, "```"]) if commands else "", prose(_BITS)]
