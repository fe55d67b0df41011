"""The design, and most of the appendix: what describes the study and decides nothing, what it ran on. Pure text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from depthcheck.pipeline.records import engines_in_words
from depthcheck.pipeline.scores import ACCURACY
from depthcheck.pipeline.verbatim import in_code, in_markdown
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import DataFacts, StudyData, StudyDesign
from depthcheck.reports.compare.verdict import enough_of
from depthcheck.reports.text.context import (
    baseline_of,
    best_singles,
    class_errors,
    over_runs,
    phases_of,
    recommended_runs,
    target_errors,
)
from depthcheck.reports.text.words import (
    bullets,
    configuration,
    count,
    enumeration,
    plural,
    prose,
    score,
    seconds,
    spread,
    table,
    with_unit,
)

#: More classes than this are counted, not listed.
_MOST_CLASSES = 8
_PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn", "optuna", "mlflow")


def design(comparison: Comparison, study: StudyData) -> list[str]:
    """Return the design as a list, the phases as a table, and what failed."""
    header = ["phase", "planned", "finished", "diverged", "pruned", "failed"]
    phases = [[phase, *(count(of[name]) for name in header[1:])] for phase, of in phases_of(study).items()]
    return [
        bullets(f"**{name}**: {text}" for name, text in _rows(comparison, study) if text),
        "Trials by phase, and what became of those that have ended:",
        table(header, phases, right=range(1, 6)),
        _failures(study),
        prose(" ".join(_told(comparison, study))),
    ]


def _told(comparison: Comparison, study: StudyData) -> Iterator[str]:
    """Return what each phase of the study is for."""
    again = comparison.design.again
    told = {
        "baseline": "*Baseline* is one known network.",
        "compare": "*Compare* trains every combination of levels with the same settings, laid down beforehand; the "
        "answer and the tables rest on it alone.",
        "exploit": "*Exploit* is an adaptive search for a better model and enters no table.",
        "confirm": "*Confirm* trains the best network of the search and the best of another combination of levels "
        f"again, on fresh {again}s: section 2 rests on it.",
    }
    phases = phases_of(study)
    if comparison.search is None and not comparison.questions:
        told["compare"] = "*Compare* trains settings that were laid down beforehand; there are no levels to compare."
        told["confirm"] = f"*Confirm* trains the best network of the search again, on fresh {again}s."
    elif comparison.search is None and "compare" in phases:
        told["compare"] = (
            "*Compare* trains every combination of levels, with nothing tuned; of each level the best by validation "
            "score goes on."
        )
        told["confirm"] = (
            f"*Confirm* trains that one again, on fresh {again}s: the tables' scores and differences, and section 2, "
            "are from it alone."
        )
    elif comparison.search is None:
        told["confirm"] = (
            f"*Confirm* trains each configuration on fresh {again}s; every number of the answer is from it."
        )
    yield from (text for phase, text in told.items() if phase in phases)


def _epochs(comparison: Comparison, study: StudyData) -> str:
    """Return how many epochs there are and which one counts; both may be a part of what is compared, tuned or fixed."""
    facts, compared = study.facts, [factor.name for factor in comparison.design.factors]
    own = next((of for of in (compared, _names(facts.tuned), _names(facts.fixed)) if "epochs" in of), None)
    epochs, baseline = study.epochs, baseline_of(study)
    number = f"{epochs[0] if epochs else facts.epochs or '?'} in every trial"
    if len(epochs) > 1 or (own is not None and not epochs):
        number = f"as many as the {'level' if own is compared else 'setting'} says"
        number += f", {epochs[0]} to {epochs[-1]}" if epochs else ""
    first = None if baseline is None else baseline.config.fit.epochs
    if first is not None and epochs and epochs != (first,):
        number += f", but {first} in the baseline"
    stops_early = any(record.config.values().get("early_stopping") for record in study.records)
    if not stops_early and "early_stopping" not in (*compared, *_names(facts.tuned)):
        return f"{number}; the last one counts"
    return f"{number} at most; with early stopping the one of the lowest validation loss counts, without it the last"


def _names(said: Sequence[str]) -> list[str]:
    """Return what is tuned or fixed, of a few words on each."""
    return [text.split(" ")[0] for text in said]


def _rows(comparison: Comparison, study: StudyData) -> Iterator[tuple[str, str]]:
    facts, data, of = study.facts, study.facts.data, comparison.design
    yield "data", in_markdown(f"{data.name}{f' ({data.source})' if data.source else ''}", None)
    yield "target", _target(data)
    unit = " in percent; a point is a percentage point" if of.metric.score_unit else ""
    yield "score", f"{of.metric.name}{unit}" if data.target or of.metric is not ACCURACY else ""
    yield "split", _folds(data, of) if of.folds else _parts(data)
    levels = {f.name: [in_markdown(level, None) for level in (*f.levels, f.reference)] for f in of.factors}
    yield (
        "compared",
        "; ".join(f"{name}: {', '.join(said[:-1])} (reference {said[-1]})" for name, said in levels.items()),
    )
    yield "tuned", in_markdown("; ".join(facts.tuned), None)
    yield "fixed", in_markdown("; ".join(facts.fixed), None)
    yield "epochs", _epochs(comparison, study)
    yield "engine", engines_in_words([record.engine for record in study.records])
    again = "setting" if comparison.search else of.again
    asked = plural(enough_of(again), again if again == "setting" else f"paired {again}")
    yield "practically equal", f"within {of.metric.region(of.equivalence)} either way; a verdict asks for {asked}"
    yield "score of the dummy baseline", f"{_dummy(of)} ({of.metric.dummy_is})"


def _dummy(of: StudyDesign) -> str:
    """Return what guessing reaches, on both parts where it differs between them."""
    digits = 1 / of.metric.scale if of.metric.score_unit else None  # without a percentage's scale, the metric's own
    valid, test = (
        with_unit(score(of.metric, of.dummy_on(part), half_width=digits), of.metric) for part in ("valid", "test")
    )
    return valid if valid == test else f"{valid} on the validation part, {test} on the test part"


def provenance(comparison: Comparison, study: StudyData) -> list[str]:
    """Return what a study can be told apart and made again by: names, hashes, seeds, versions, the machine."""
    facts, of = study.facts, comparison.design
    dirty = {"true": ", with uncommitted changes", "false": ""}.get(facts.dirty, "")
    rows = {
        "study": f"`{of.name}`, its run `{facts.run_id}`",
        "store": in_code(facts.tracking_uri),
        "code": f"commit `{facts.code_version}`{dirty}",
        "SHA-256 of the data": f"`{facts.data.sha256}`",
        "seed of the study": "" if facts.seed is None else str(facts.seed),
        f"fresh seeds{', one a repeat' if of.folds else ''}": ", ".join(map(str, facts.seeds)),
        "SHA-256 of the finalists": facts.finalists_sha256 and f"`{facts.finalists_sha256}`",
        "runs of the recommended model": ", ".join(f"`{run.run_id}`" for run in recommended_runs(study, comparison)),
        "versions": _versions(facts.environment),
        "machine": _machine(facts.environment),
    }
    return [bullets(f"**{name}**: {text}" for name, text in rows.items() if text)]


def _target(data: DataFacts) -> str:
    if not data.target:
        return ""
    name = in_markdown(data.target)
    if data.task == "regression":
        known = data.target_mean is not None and data.target_sd is not None
        return name + (f", a number: mean {data.target_mean:.4g}, sd {data.target_sd:.3g}" if known else "")
    named = [f"{in_markdown(one)} {count(n)}" for one, n in zip(data.class_names, data.class_counts, strict=False)]
    listed = f": {enumeration(named)}" if 0 < len(named) <= _MOST_CLASSES else ""
    return f"{name}, {plural(len(data.class_names), 'class').replace('classs', 'classes')}{listed}"


def _parts(data: DataFacts) -> str:
    sizes = ((data.n_train, "to train"), (data.n_valid, "to validate"), (data.n_test, "to test"))
    how = f" ({data.how})" if data.how else ""
    return ", ".join(f"{count(n)} {what}" for n, what in sizes if n is not None) + how


def _folds(data: DataFacts, of: StudyDesign) -> str:
    rows = f" of {count(data.n_samples)} rows" if data.n_samples else ""
    how = f", {data.how}" if data.how else ""
    return (
        f"{of.folds}-fold cross-validation{rows}{how}, no test part; one partition in the search, another for each "
        "repeat of phase confirm"
    )


def _versions(environment: Mapping[str, Any]) -> str:
    packages = environment.get("packages", {})
    known = {name.lower(): version for name, version in packages.items()}
    words = [f"Python {environment['python']}"] if "python" in environment else []
    return ", ".join([*words, *(f"{name} {known[name]}" for name in _PACKAGES if name in known)])


def _machine(environment: Mapping[str, Any]) -> str:
    if "workers" in environment:  # the machine that was noted is that of the coordinator
        return f"workers: {environment['workers']}"
    words = [str(environment[key]) for key in ("cpu", "platform") if environment.get(key)]
    cores = [f"{environment['cpus']} cores"] if environment.get("cpus") else []
    return ", ".join([*words[:1], *cores, *words[1:]])


def _failures(study: StudyData) -> str:
    """Return the reasons of failed trials, the commonest first."""
    reasons = Counter(record.failure or "unknown" for record in study.records if record.state == "failed").most_common()
    if not reasons:
        return ""
    shown = "; ".join(f"{plural(n, 'trial')}: {in_markdown(reason, None)}" for reason, n in reasons[:3])
    more = f"; and {plural(len(reasons) - 3, 'other reason')}" if len(reasons) > 3 else ""
    return prose(f"Reasons of the failed trials: {shown}{more}.")


def appendix(comparison: Comparison, study: StudyData) -> list[str]:
    """Return importances, the exploit phase, the top ten, and errors by class; what there is of them."""
    blocks = [
        *_importances(study),
        *_exploit(comparison, study),
        *_top(comparison, study),
        *_errors(comparison, study),
    ]
    return blocks or ["Nothing has been run yet."]


def _importances(study: StudyData) -> list[str]:
    found = study.facts.importances
    if not found:
        return []
    names = [name for name, _ in found[0].shares]
    by_method = [dict(of.shares) for of in found]
    rows = [[name.replace("_", " "), *(f"{100 * of.get(name, 0.0):.0f}" for of in by_method)] for name in names]
    text = (
        "Share (%) of the variation of the validation score that goes with each dimension, over the "
        f"{plural(found[0].n_trials, 'trial')} of phase compare{' with hidden layers' * found[0].has_hidden}. "
        "PED-ANOVA (Watanabe et al. 2023) asks what sets the best tenth apart from the rest, fANOVA (Hutter et al. "
        "2014) what goes with the whole variation, bad trials included: they may disagree. Numbers with a range count "
        "by their place in it. Of no use for saying what helps."
    )
    header = ["dimension", *(of.method for of in found)]
    return ["### Importances (Optuna)", table(header, rows, right=range(1, 1 + len(found))), prose(text)]


def _exploit(comparison: Comparison, study: StudyData) -> list[str]:
    of = phases_of(study).get("exploit", Counter())
    if not of["ended"]:
        return []
    text = (
        f"{plural(of['ended'], 'trial')} of an adaptive search (TPE, warm-started with all trials before): "
        f"{of['finished']} finished, {of['pruned']} pruned, {of['diverged']} diverged, {of['failed']} failed. "
    )
    row = next((row for row in comparison.finalists if row.finalist.origin == "exploit"), None)
    if row is not None:
        metric = comparison.design.metric
        text += f"Its best, {row.finalist.id}, went on to fresh seeds: {configuration(row.finalist.config)}"
        where = "by cross-validation" if comparison.design.folds else "on the validation part"
        text += f"; there they give {spread(metric, row.valid)} {where}." if row.valid else "."
    return ["### Phase exploit", prose(text)]


def _top(comparison: Comparison, study: StudyData) -> list[str]:
    best, metric = best_singles(study), comparison.design.metric
    if not best:
        return []
    rows = [
        [
            str(one.number),
            one.phase,
            score(metric, valid.score, n_examples=valid.n_samples),
            count(one.n_params),
            seconds(one.seconds),
            configuration(one.config),
        ]
        for one in best
        if (valid := one.evaluation("valid"))
    ]
    header = ["trial", "phase", "validation", "parameters", "seconds", "configuration"]
    text = "Single runs, picked for their score: the luckiest of many. Their order means nothing."
    title = "### The best single score" if len(rows) == 1 else f"### The {len(rows)} best single scores"
    return [title, table(header, rows, right=[0, 2, 3, 4]), text]


def _errors(comparison: Comparison, study: StudyData) -> Iterator[str]:
    """Yield the recommended model's errors, by class or by quarter of the target, where its predictions are known."""
    of, runs = comparison.recommendation, recommended_runs(study, comparison)
    is_regression = study.facts.data.task == "regression"
    errors = target_errors(study, runs) if is_regression else class_errors(study, runs)
    if of is None or not errors:
        return
    where = "the rows that each fold held out" if comparison.design.folds else "the test part"
    text = f"Of {of.recommended.finalist.id}, the recommended model, on {where}; {over_runs(study, runs)}."
    if not is_regression:
        header = ["class", "examples", "errors (%)", "most often taken for"]
        yield from ("### Errors by class", table(header, errors, right=[1, 2]), prose(text))
    else:
        header = [in_markdown(study.facts.data.target) or "target", "examples", "RMSE", "MAE", "mean error"]
        text += (
            " *Mean error* is predicted minus true: above zero for small values and below for large ones means that "
            "predictions keep to the middle."
        )
        rows = table(header, errors, right=range(1, 5))
        yield from ("### Errors by quarter of the target", rows, prose(text))
