"""The model to take, and what scikit-learn's models and others' reach. Pure text."""

from __future__ import annotations

from depthcheck.pipeline.scores import ACCURACY, ENOUGH_SEEDS
from depthcheck.pipeline.verbatim import in_markdown
from depthcheck.reports.compare.results import Comparison, FinalistRow, Recommendation, Spread
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.text.context import baseline_of
from depthcheck.reports.text.words import (
    configuration,
    count,
    effect,
    enumeration,
    interval,
    plural,
    prose,
    score,
    secondary,
    seconds,
    spread,
    table,
    with_unit,
)

#: Further scores as a reader knows them.
_SPELLED = {"rmse": "RMSE", "mae": "MAE", "auc": "AUC", "r2": "R²"}


def recommended(comparison: Comparison, study: StudyData) -> list[str]:
    """Return what is recommended, the best alternative, and what untuned references reach."""
    of = comparison.recommendation
    if of is None:
        return ["No finalist was trained on fresh seeds, so no model is recommended."]
    by = "cross-validated" if comparison.design.folds else "validation"
    what = "configuration" if comparison.is_of_chosen else "finalist"
    chosen = f"the {what} with the best mean {by} score over fresh {comparison.design.again}s"
    if _left_out(comparison):
        chosen += f", of those with at least {_enough(comparison)}"
    blocks = [
        prose(f"**Recommended: {of.recommended.finalist.id}**, {chosen}."),
        _facts(of, comparison, study.facts.data.n_valid),
    ]
    blocks += [prose(_alternative(of, comparison)), prose(against_references(comparison, study))]
    return [*blocks, _beyond_belief(of, is_published=_is_published(comparison, study))]


def _beyond_belief(of: Recommendation, *, is_published: bool) -> str:
    model, test = of.recommended.finalist.config.model, of.recommended.test
    options = {"family": "mlp", "augmentation": "none", **dict(model.options)}
    is_plain = model.own is None and (options["family"], options["augmentation"]) == ("mlp", "none")
    if not is_published or test is None or test.mean <= _SUSPICIOUS or not is_plain:
        return ""
    return prose(
        f"**A test accuracy above {100 * _SUSPICIOUS:.0f} % by a plain network without augmentation is more "
        "than anybody has reported: look for a leak.**"
    )


def _facts(of: Recommendation, comparison: Comparison, n_valid: int | None) -> str:
    """Return the recommended and the alternative model side by side."""
    rows = [row for row in (of.recommended, of.alternative) if row]
    metric, folds = comparison.design.metric, comparison.design.folds
    name, part = "" if metric is ACCURACY else f" {metric.name}", "cross-validated" if folds else "validation"

    def scored(of: Spread | None) -> str:
        return with_unit(spread(metric, of), metric) if of else "–"

    def selected(row: FinalistRow) -> str:
        text = score(metric, row.finalist.selected_score, n_examples=n_valid)
        return text if row.finalist.selected_score is None else with_unit(text, metric)

    lines = [
        ["finalist", *(row.finalist.id for row in rows)],
        ["configuration", *(configuration(row.finalist.config) for row in rows)],
        *([] if folds else [[f"test{name}, mean ± sd", *(scored(row.test) for row in rows)]]),
        [f"{part}{name}, mean ± sd", *(scored(row.valid) for row in rows)],
    ]
    if comparison.search is not None:
        lines.append([f"{part}{name}, the single run it was chosen by", *map(selected, rows)])
    for further in dict.fromkeys(name for row in rows for name in row.secondary):
        known = [secondary(further, row.secondary[further]) if further in row.secondary else "–" for row in rows]
        lines.append([f"{comparison.judged} {_SPELLED.get(further, further)}", *known])
    lines += [
        [f"fresh {comparison.design.again}s", *(str(row.valid.n) if row.valid else "0" for row in rows)],
        ["parameters", *(count(row.n_params) for row in rows)],
        ["seconds of training", *(seconds(row.seconds) for row in rows)],
    ]
    return table(["", "recommended", *(["best alternative"] if len(rows) > 1 else [])], lines)


def _enough(comparison: Comparison) -> int:
    """Return how many fresh runs a finalist needs to take part."""
    return min(ENOUGH_SEEDS, max((row.valid.n for row in comparison.finalists if row.valid), default=0))


def _left_out(comparison: Comparison) -> list[FinalistRow]:
    """Return the finalists that have too few fresh runs to take part."""
    enough = _enough(comparison)
    return [row for row in comparison.finalists if row.valid is None or row.valid.n < enough]


def _alternative(of: Recommendation, comparison: Comparison) -> str:
    metric = comparison.design.metric
    if of.alternative is None:
        again, left_out = comparison.design.again, _left_out(comparison)
        if not left_out:
            return f"Nothing stands beside it: one configuration was trained on fresh {again}s."
        counts = [
            f"{row.finalist.id} has {plural(row.valid.n if row.valid else 0, f'fresh {again}')}" for row in left_out
        ]
        return f"Nothing stands beside it yet: {enumeration(counts)}, and {_enough(comparison)} are asked for."
    if of.difference is None:
        return ""
    known = f" (95 % interval {interval(metric, of.difference)})" if of.difference.low is not None else ""
    where = "By cross-validation" if comparison.design.folds else f"On the {comparison.judged} part"
    differs = f"{where} it differs from the recommended model by {effect(metric, of.difference)}{known}"
    if comparison.search is None:
        return f"The alternative is the next best, by validation score. {differs}."
    return (
        "Both are the best single networks of the search by validation score, of different combinations of levels, "
        f"trained again. The alternative is the one that then had the lower mean. {differs}. That is about these two "
        "configurations; section 1 speaks of levels."
    )


#: The notebook that this project began with: its network, epochs, accuracy and loss on so many validation images.
_NOTEBOOK = [
    "the notebook: 1 × 100 sigmoid, sgd, learning rate 0.01, batch size 32", "100", "86.783", "0.36376", "12,000",
]  # fmt: skip
_XIAO = "Xiao, Rasul, Vollgraf 2017, table 3"
#: What others published on Fashion-MNIST: model, test accuracy and source.
_PUBLISHED = (
    ["logistic regression (no hidden layer)", "84.2", _XIAO],
    ["scikit-learn MLP, tanh 100-10", "86.3", _XIAO],
    ["scikit-learn MLP, tanh 100", "86.8", _XIAO],
    ["scikit-learn MLP, relu 100-10", "87.0", _XIAO],
    ["scikit-learn MLP, relu 100", "87.1", _XIAO],
    ["random forest", "87.3", _XIAO],
    ["gradient boosting", "88.0", _XIAO],
    ["relu 300-100, SGD 0.01, 30 epochs", "88.6", "Géron, Hands-On Machine Learning, 3rd ed."],
    ["SVC", "89.7", _XIAO],
)
#: A test accuracy above it, by a plain network without augmentation, calls for a look for a leak.
_SUSPICIOUS = 0.92


def known(comparison: Comparison, study: StudyData) -> list[str]:
    """Return what scikit-learn's models reach on the same split, and what others published on these data."""
    blocks = _references(comparison, study)
    if _is_published(comparison, study):
        return blocks + _beside(comparison, study)
    what = f"{in_markdown(study.facts.data.name)} by {comparison.design.metric.name}"
    return blocks or [prose(f"Nothing published is on file for {what}.")]


def _is_published(comparison: Comparison, study: StudyData) -> bool:
    """Tell whether others published results on these data; all of them are accuracies."""
    return study.facts.data.name == "fashion-mnist" and comparison.design.metric is ACCURACY


def _beside(comparison: Comparison, study: StudyData) -> list[str]:
    """Return published results beside this study's own."""
    rows, baseline, of = [_NOTEBOOK], baseline_of(study), comparison.recommendation
    valid = None if baseline is None else baseline.evaluation("valid")
    if baseline is not None and valid is not None:
        label = f"this study's baseline, trial {baseline.number}: {configuration(baseline.config)}"
        numbers = [f"{100 * valid.score:.2f}", f"{valid.loss:.4f}", count(valid.n_samples)]
        rows.append([label, str(baseline.config.fit.epochs), *numbers])
    rows.append(["always the commonest class", "–", f"{100 * comparison.design.dummy_score:.1f}", "–", "–"])
    tested = list(_PUBLISHED)
    if of is not None and of.recommended.test is not None:
        label = f"**recommended model**: {configuration(of.recommended.finalist.config)}"
        reached = spread(comparison.design.metric, of.recommended.test)
        tested.append([label, reached, f"this study, {plural(of.recommended.test.n, 'seed')}"])
    return [
        "Validation part, single runs:",
        table(["model", "epochs", "accuracy (%)", "loss", "images"], rows, right=range(1, 5)),
        "Official test part of 10,000 images:",
        table(["model", "accuracy (%)", "source"], tested, right=[1]),
        "A single accuracy near 87 % is known to ±0.6 points on 12,000 images, and to ±0.7 points on 10,000.",
    ]


def _references(comparison: Comparison, study: StudyData) -> list[str]:
    """Return the references' scores and the recommended network's; nothing where no reference was fitted."""
    references = study.facts.references
    if not references:
        return []
    design, metric = comparison.design, comparison.design.metric
    of = comparison.recommendation.recommended if comparison.recommendation else None
    rows = []
    for one in references:
        scores = [one.valid] if design.folds else [one.valid, one.test]
        cost = seconds(one.seconds)
        rows.append([one.name, *(score(metric, value) for value in scores), cost])
    if of is not None:
        means = [spread(metric, of.valid), *([] if design.folds else [spread(metric, of.test)])]
        name = f"**recommended**: {configuration(of.finalist.config)}"
        rows.append([name, *means, seconds(of.seconds)])
    unit = f" ({metric.score_unit})" if metric.score_unit else ""
    parts = [f"cross-validated {metric.name}"] if design.folds else [f"validation {metric.name}", "test"]
    header = ["model", *(f"{part}{unit}" for part in parts), "seconds"]
    by = f"; the {design.folds} folds are those of the search" if design.folds else ""
    text = (
        "scikit-learn's models have their default settings and one fit each: nothing was tuned, and no interval is "
        f"known{by}. The network's numbers are mean ± standard deviation over fresh {design.again}s, after a search."
    )
    return ["Against scikit-learn on the same split:", table(header, rows, right=range(1, len(header))), prose(text)]


def against_references(comparison: Comparison, study: StudyData) -> str:
    """Return whether a reference does better than the recommended network, or as well; empty without references."""
    of, design, metric = comparison.recommendation, comparison.design, comparison.design.metric
    on_test = comparison.part == "test"
    mine = None if of is None else of.recommended.test if on_test else of.recommended.valid
    found = [(one.test if on_test else one.valid, one) for one in study.facts.references]
    known = [(value, one) for value, one in found if value is not None]
    if mine is None or not known:
        return ""
    best, reference = max(known, key=lambda pair: pair[0])
    name = f"{reference.name[:1].upper()}{reference.name[1:]} of scikit-learn, untuned,"
    ours = with_unit(score(metric, mine.mean), metric)
    scores = f"{score(metric, best)} against {ours} of {comparison.judged} {metric.name}"
    if best > mine.mean + design.equivalence:
        return f"**{name} does better on the same split**: {scores} (appendix B)."
    if best >= mine.mean - design.equivalence:
        close = f"within {metric.region(design.equivalence)}"
        return f"{name} comes {close} on the same split: {scores} (appendix B)."
    return f"The best of scikit-learn's untuned models on the same split is {reference.name}: {scores} (appendix B)."
