"""Figures of a report. Each module reckons a small frozen record first, then a thin function draws it."""

from __future__ import annotations

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
from depthcheck.reports.figures.style import Drawing, picture

__all__ = ["Drawing", "all_drawings", "picture"]


def all_drawings(study: StudyData, comparison: Comparison) -> list[Drawing]:
    """Return the figures that this study has something for, in the order of the report."""
    found = [effort.drawing(question, comparison) for question in comparison.questions]
    found += [trials.drawing(question.factor, study) for question in comparison.questions]
    found += [differences.drawing(question, comparison) for question in comparison.questions]
    found += [
        curves.drawing(study, comparison),
        gradients.drawing(study, comparison),
        learning_rate.drawing(study),
        cost.drawing(study, comparison),
        confusion.drawing(study, comparison),
        regression.drawing(study, comparison),
    ]
    return [drawing for drawing in found if drawing is not None]
