"""Figures of a report. Each module has a generator ``drawings``, which yields what it can draw of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.figures import (
    confusion,
    cost,
    curves,
    differences,
    effort,
    gradients,
    learning_rate,
    regression,
    trials,
)
from depthcheck.reports.text.context import Drawing

#: The figures of a report in their order; a study yields none, one, or one a question of each. Whoever has another
#: figure adds what yields it: nothing else lists them.
FIGURES: list[Callable[[StudyData, Comparison], Iterator[Drawing]]] = [
    effort.effort,
    trials.trials_by_level,
    differences.paired_differences,
    curves.training_curves,
    gradients.gradients,
    learning_rate.learning_rates,
    cost.costs,
    confusion.confusion_matrix,
    regression.fit,
]


def all_drawings(study: StudyData, comparison: Comparison) -> list[Drawing]:
    """Return the figures that this study has something for, in the order of the report."""
    return [drawing for figure in FIGURES for drawing in figure(study, comparison)]
