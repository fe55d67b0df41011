"""Section 8: what describes the study and decides nothing. Pure text."""

from __future__ import annotations

from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.text.context import ReportContext
from depthcheck.reports.text.words import configuration, count, plural, prose, score, seconds, spread, table


def appendix(comparison: Comparison, context: ReportContext) -> list[str]:
    """Return importances, the exploit phase, the top ten, and errors by class; what there is of them."""
    blocks = [
        *_importances(context),
        *_exploit(comparison, context),
        *_top(comparison, context),
        *_classes(comparison, context),
        *_quarters(comparison, context),
    ]
    return blocks or ["Nothing has been run yet."]


def _importances(context: ReportContext) -> list[str]:
    found = context.facts.importances
    if not found:
        return []
    names = [name for name, _ in found[0].shares]
    by_method = [dict(of.shares) for of in found]
    rows = [[name.replace("_", " "), *(f"{100 * of.get(name, 0.0):.0f}" for of in by_method)] for name in names]
    text = (
        "Share (%) of the variation of the validation score that goes with each dimension, over the "
        f"{found[0].n_trials} trials of phase compare with hidden layers. PED-ANOVA (Watanabe et al. 2023) asks what "
        "sets the best tenth apart from the rest, fANOVA (Hutter et al. 2014) what goes with the whole variation, bad "
        "trials included: they may disagree. Numbers with a range count by their place in it. Of no use for saying "
        "what helps."
    )
    header = ["dimension", *(of.method for of in found)]
    return ["### Importances (Optuna)", table(header, rows, right=range(1, 1 + len(found))), prose(text)]


def _exploit(comparison: Comparison, context: ReportContext) -> list[str]:
    phase = next((of for of in context.phases if of.phase == "exploit" and of.ended), None)
    if phase is None:
        return []
    text = (
        f"{plural(phase.ended, 'trial')} of an adaptive search (TPE, warm-started with all trials before): "
        f"{phase.finished} finished, {phase.pruned} pruned, {phase.diverged} diverged, {phase.failed} failed. "
    )
    row = next((row for row in comparison.finalists if row.finalist.origin == "exploit"), None)
    if row is not None:
        metric = comparison.design.metric
        text += f"Its best, {row.finalist.id}, went on to fresh seeds: {configuration(row.finalist.config)}"
        where = "by cross-validation" if comparison.design.folds else "on the validation part"
        text += f"; there they give {spread(metric, row.valid)} {where}." if row.valid else "."
    return ["### Phase exploit", prose(text)]


def _top(comparison: Comparison, context: ReportContext) -> list[str]:
    if not context.top:
        return []
    metric = comparison.design.metric
    rows = [
        [
            str(one.number),
            one.phase,
            score(metric, valid.score, n_examples=valid.n_samples),
            "–" if one.n_params is None else count(one.n_params),
            seconds(one.fit_seconds).removesuffix(" s"),
            configuration(one.config),
        ]
        for one in context.top
        if (valid := one.evaluation("valid"))
    ]
    header = ["trial", "phase", "validation", "parameters", "seconds", "configuration"]
    text = "Single runs, picked for their score: the luckiest of many. Their order means nothing."
    return [f"### The {len(rows)} best single scores", table(header, rows, right=[0, 2, 3, 4]), text]


def _classes(comparison: Comparison, context: ReportContext) -> list[str]:
    if not context.class_errors or comparison.recommendation is None:
        return []
    rows = [
        [
            one.name,
            count(one.n_examples),
            f"{100 * one.error:.1f}",
            f"{one.mistaken_for} ({100 * one.share:.1f} %)" if one.mistaken_for else "–",
        ]
        for one in context.class_errors
    ]
    finalist = comparison.recommendation.recommended.finalist.id
    runs = plural(len(context.champion_runs), "run")
    text = f"Of {finalist}, the recommended model, on {_held_out(comparison)}; mean over {runs}."
    header = ["class", "examples", "errors (%)", "most often taken for"]
    return ["### Errors by class", table(header, rows, right=[1, 2]), prose(text)]


def _quarters(comparison: Comparison, context: ReportContext) -> list[str]:
    if not context.target_errors or comparison.recommendation is None:
        return []
    rows = [
        [
            f"{one.low:.4g} to {one.high:.4g}".replace("-", "−"),
            count(one.n_examples),
            f"{one.rmse:.3g}",
            f"{one.mae:.3g}",
            f"{one.bias:+.3g}".replace("-", "−"),
        ]
        for one in context.target_errors
    ]
    finalist = comparison.recommendation.recommended.finalist.id
    runs = plural(len(context.champion_runs), "run")
    text = (
        f"Of {finalist}, the recommended model, on {_held_out(comparison)}; mean over {runs}. *Mean error* is "
        "predicted minus true: above zero for small values and below for large ones means that predictions keep to "
        "the middle."
    )
    header = [context.facts.data.target or "target", "examples", "RMSE", "MAE", "mean error"]
    return ["### Errors by quarter of the target", table(header, rows, right=range(1, 5)), prose(text)]


def _held_out(comparison: Comparison) -> str:
    """Return what the predictions of a finalist are of."""
    return "the rows that each fold held out" if comparison.design.folds else "the test part"
