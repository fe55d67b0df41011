"""Figures of a report: each is a generator, which yields what it can draw of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.figures.curves import gradients, training_curves
from depthcheck.reports.figures.differences import effort, paired_differences
from depthcheck.reports.figures.predictions import confusion_matrix, fit
from depthcheck.reports.figures.trials import costs, learning_rates, trials_by_level
from depthcheck.reports.text.context import Drawing

#: The figures of a report in their order; a study yields none, one, or one a question of each. Whoever has another
#: figure adds what yields it: nothing else lists them.
FIGURES: list[Callable[[StudyData, Comparison], Iterator[Drawing]]] = [
    effort,
    trials_by_level,
    paired_differences,
    training_curves,
    gradients,
    learning_rates,
    costs,
    confusion_matrix,
    fit,
]


def all_drawings(study: StudyData, comparison: Comparison) -> list[Drawing]:
    """Return the figures that this study has something for, in the order of the report."""
    return [drawing for figure in FIGURES for drawing in figure(study, comparison)]
