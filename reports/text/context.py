"""What the report says beside a Comparison: what became of the trials, and how the recommended model errs. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.records import OUTPUTS, Predictions, TrialRecord
from depthcheck.pipeline.verbatim import in_markdown
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import StudyData, valid_score
from depthcheck.reports.text.words import count, plural

_PHASES = ("baseline", "compare", "exploit", "confirm")
_TOP = 10
_FEWEST_IN_QUARTERS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure that is ready to be drawn: the name of its file without ending, and what returns matplotlib's figure.

    ``alt`` stands for it where it is not shown; ``caption`` says what is seen, and of how many. One that shows the
    ``answer`` stands beside it; the others are the appendix's.
    """

    name: str
    alt: str
    caption: str
    draw: Callable[[], Any]
    answer: bool = False

    @property
    def path(self) -> str:
        """Where its file is, relative to the report."""
        return f"figures/{self.name}.svg"


def best_singles(study: StudyData) -> list[TrialRecord]:
    """Return the search's trials with the best single validation scores, the best first."""
    scored = [r for r in study.records if r.phase != "confirm" and r.state == "finished" and r.evaluation("valid")]
    return sorted(scored, key=lambda record: (-valid_score(record, study.design), record.number))[:_TOP]


def baseline_of(study: StudyData) -> TrialRecord | None:
    """Return the known network, where it has a score."""
    return next((r for r in study.records if r.phase == "baseline" and r.evaluation("valid")), None)


def recommended_runs(study: StudyData, comparison: Comparison) -> list[TrialRecord]:
    """Return the recommended model's runs on fresh seeds; none where no model is recommended."""
    of = comparison.recommendation
    return [] if of is None else study.confirm_runs(of.recommended.finalist.id)


def first_layer_gradient(study: StudyData, finalist: str | None) -> float | None:
    """Return the gradient norm of a finalist's first hidden layer as a share of its output layer's.

    That is the geometric mean over epochs and runs; None where it was not logged, or there is no hidden layer.
    """
    logs = []
    for run in study.confirm_runs(finalist or ""):
        curves = study.diagnostics.get(run.run_id, {})
        first, *outputs = (curves.get(f"gradient_norm/{layer}", {}) for layer in ("hidden_1", *OUTPUTS))
        last = next(filter(None, outputs), {})
        both = [(first[epoch], last[epoch]) for epoch in first.keys() & last.keys()]
        logs += [math.log(a / b) for a, b in both if 0 < a < math.inf and 0 < b < math.inf]
    return math.exp(sum(logs) / len(logs)) if logs else None


def _predicted(study: StudyData, runs: Sequence[TrialRecord]) -> list[Predictions]:
    """Return what runs predict, of those that have it; one that diverged says nothing of how the model errs."""
    return [study.predictions[r.run_id] for r in runs if r.state == "finished" and r.run_id in study.predictions]


def over_runs(study: StudyData, runs: Sequence[TrialRecord]) -> str:
    """Return what tables of errors are the mean over: runs that have predictions, and rows without their weights."""
    known = _predicted(study, runs)
    is_weighted = any(of.weight is not None for of in known)
    return f"mean over {plural(len(known), 'run')}" + "; each row counts once, whatever it weighs" * is_weighted


def confusion(study: StudyData, runs: Sequence[TrialRecord]) -> tuple[NDArray[np.float64], tuple[str, ...], int] | None:
    """Return how often runs took each true class (a row) for each other, the classes' names, and how many runs.

    None where no run has predictions.
    """
    predictions = _predicted(study, runs)
    if not predictions:
        return None
    known = study.facts.data.class_names
    n_classes = max(len(known), 1 + max(int(max(of.y.max(), of.predicted.max())) for of in predictions))
    table = np.zeros((n_classes, n_classes))
    for of in predictions:
        np.add.at(table, (of.y, of.predicted), 1)
    return table, (*known, *map(str, range(len(known), n_classes))), len(predictions)


def class_errors(study: StudyData, runs: Sequence[TrialRecord]) -> list[list[str]]:
    """Return each true class, its examples, how often runs were wrong, and what they most often took it for.

    The worst comes first.
    """
    found = confusion(study, runs)
    if found is None:
        return []
    table, names, n_runs = found
    rows = []
    for at in np.flatnonzero(table.sum(axis=1)):
        total, others = table[at].sum(), np.where(np.arange(len(names)) == at, 0, table[at])
        error, worst = others.sum() / total, int(others.argmax())
        taken_for = f"{in_markdown(names[worst])} ({100 * (others[worst] / total):.1f} %)" if others[worst] else "–"
        rows.append((error, [in_markdown(names[at]), count(round(total / n_runs)), f"{100 * error:.1f}", taken_for]))
    return [row for _, row in sorted(rows, key=lambda pair: -pair[0])]


def target_errors(study: StudyData, runs: Sequence[TrialRecord]) -> list[list[str]]:
    """Return each quarter of the true values, its examples, and RMSE, MAE and mean error of the runs."""
    predictions = _predicted(study, runs)
    if not predictions or len(predictions[0].y) < _FEWEST_IN_QUARTERS:
        return []
    y = np.concatenate([np.asarray(of.y, dtype=np.float64) for of in predictions])
    errors = np.concatenate([np.asarray(of.predicted, dtype=np.float64) for of in predictions]) - y
    return [
        [
            f"{y[here].min():.4g} to {y[here].max():.4g}".replace("-", "−"),
            count(round(len(here) / len(predictions))),
            f"{np.sqrt((errors[here] ** 2).mean()):.3g}",
            f"{np.abs(errors[here]).mean():.3g}",
            f"{errors[here].mean():+.3g}".replace("-", "−"),
        ]
        for here in np.array_split(np.argsort(y, kind="stable"), 4)
    ]


def phases_of(study: StudyData) -> dict[str, Counter[str]]:
    """Return the trials of each phase that has any: *planned*, *ended*, and by what became of them."""
    counts, now = {}, {finalist.id for finalist in study.finalists}
    for phase in _PHASES:
        of_phase = [record for record in study.records if record.phase == phase]
        # Runs of finalists that a longer search has replaced, or on more seeds than now, are none that are planned.
        runs = Counter(record.tags.get("finalist") for record in of_phase if phase == "confirm")
        n_former = sum(max(n - study.design.n_seeds * (finalist in now), 0) for finalist, n in runs.items())
        planned = max(study.design.budgets.get(phase, 0) + n_former, len(of_phase))
        if planned:
            states = Counter[str](record.state for record in of_phase)
            counts[phase] = states + Counter(planned=planned, ended=len(of_phase))
    return counts
