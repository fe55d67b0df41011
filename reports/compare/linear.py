"""Depth 0 is a linear model: what scikit-learn's reaches on the same split says whether it was trained well. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from depthcheck.reports.compare.checks import check
from depthcheck.reports.compare.results import Check, LevelRow, Question
from depthcheck.reports.compare.study_data import ReferenceScores
from depthcheck.reports.compare.study_design import StudyDesign

#: In the metric's own scale: a point of a percentage.
_LEAST_GAP = 0.01
_LINEAR = ("logistic regression", "ridge regression")


def linear_model(references: Sequence[ReferenceScores]) -> ReferenceScores | None:
    """Return the linear one of scikit-learn's models, or None where it was not fitted."""
    return next((one for one in references if one.name.startswith(_LINEAR)), None)


def linear_score(linear: ReferenceScores | None, part: str | None) -> float | None:
    """Return its score on the part that judges; with cross-validation, the mean over folds."""
    if linear is None:
        return None
    return linear.valid if part == "valid" else linear.test


def depth_0(questions: Sequence[Question]) -> LevelRow | None:
    """Return the row of depth 0, where it is a level and was judged as tuned."""
    rows = (row for question in questions for row in question.rows if question.factor.name == "depth")
    return next((row for row in rows if row.level == "0" and row.tuned is not None), None)


def check_linear(
    questions: Sequence[Question], linear: ReferenceScores | None, part: str | None, design: StudyDesign
) -> Check | None:
    """Warn where tuned depth 0 stays clearly behind scikit-learn's linear model; None where either is unknown."""
    row, score = depth_0(questions), linear_score(linear, part)
    if row is None or row.tuned is None or linear is None or score is None:
        return None
    metric, gap, problems = design.metric, score - row.tuned.estimate, []
    if gap > max(_LEAST_GAP, 2 * design.equivalence):
        problems.append(
            f"tuned depth 0 stays {metric.text(gap, signed=False)} below scikit-learn's {linear.name}: it was not "
            "trained well, and where it hurts, that may be a failure of training (see its ranges and epochs)"
        )
    return check("depth 0 is a linear model", problems, f"tuned depth 0 keeps up with scikit-learn's {linear.name}")
