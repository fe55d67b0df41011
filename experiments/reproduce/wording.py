"""What a reproduction says: on the terminal, at the top of its page, and as JSON. Pure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from depthcheck.experiments.reproduce.deviations import (
    LOSS_TOLERANCE,
    PROCESSOR,
    SCORE_TOLERANCE,
    START_TOLERANCE,
    Change,
    Deviation,
    Repetition,
    RunComparison,
    Verdict,
    overall,
    spread,
)
from depthcheck.experiments.reproduce.original import Original

_WIDTH = 100
TOLERANCE = (
    f"losses of epoch 1 within {START_TOLERANCE:g} of themselves, later ones within {100 * LOSS_TOLERANCE:g} %, "
    f"scores within {100 * SCORE_TOLERANCE:g} points"
)
#: What another processor is known to do (measured, see docs/decisions/processors.md).
ROUNDING = (
    "processors round differently, from the first epochs on: scores are expected to agree within "
    f"{100 * SCORE_TOLERANCE:g} points, not bit by bit"
)
_SAME = "code, packages and machine are as they were"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionFinding:
    """All that a reproduction found: one comparison a repetition, beside what is not as it was."""

    original: Original
    differences: Sequence[Change]
    notes: Sequence[str]
    repetitions: Sequence[Repetition]
    comparisons: Sequence[RunComparison]

    @property
    def verdict(self) -> Verdict:
        """What the numbers say, over all repetitions."""
        return overall(self.comparisons)

    @property
    def is_reproduced(self) -> bool:
        """Bit-equal, or within tolerance where something noted can explain it."""
        return self.verdict == "bit-equal" or (self.verdict == "within tolerance" and self._may_differ)

    @property
    def _may_differ(self) -> bool:
        return any(difference.matters for difference in self.differences)

    @property
    def worst(self) -> RunComparison:
        """The comparison of the repetition that stayed least the same."""
        order = ("bit-equal", "within tolerance", "different")
        return max(self.comparisons, key=lambda one: (order.index(one.verdict), len(one.deviations)))

    def headline(self) -> str:
        """Return the verdict in one line."""
        if self.verdict == "bit-equal":
            return "reproduced: bit-equal, every number of every epoch"
        if self.is_reproduced:
            return "reproduced within tolerance, not bit-equal"
        if self.verdict == "within tolerance":
            return f"not reproduced: within tolerance only, and {_SAME}"
        return "not reproduced: beyond tolerance" + ("" if self._may_differ else f", and {_SAME}")


def difference_lines(differences: Sequence[Change], notes: Sequence[str]) -> list[str]:
    """Return what is not as it was, one line each where it may change a result, the rest together."""
    lines = [f"{one}" for one in differences if one.matters]
    if any(one.what == PROCESSOR for one in differences):
        lines.append(ROUNDING)
    rest = [str(one) for one in differences if not one.matters]
    if rest:
        text = "should not matter: " + ", ".join(rest)
        lines += textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return [*lines, *notes] or [f"nothing: {_SAME}"]


def deviation_words(one: Deviation) -> str:
    """Return one number that differs, with all of its digits."""
    where = f"epoch {one.epoch} of {one.curve}" if one.epoch else one.curve
    size = "" if math.isinf(one.size) else f", {one.size:.3g} apart"
    return f"{where}: {_number(one.before)} then, {_number(one.now)} now{size}"


def _number(value: float | None) -> str:
    return "no value" if value is None else repr(value)


def finding_lines(finding: ReproductionFinding) -> list[str]:
    """Return what was compared, and what differs and by how much."""
    worst = finding.worst
    epochs = max((max(curve, default=0) for curve in finding.original.points.values()), default=0)
    lines = [f"compared      {worst.n_points} numbers of {len(worst.curves)} metrics over {epochs} epochs"
             + (f", {len(finding.comparisons)} times" if len(finding.comparisons) > 1 else "")]  # fmt: skip
    if worst.first is not None:
        lines += [
            f"first         {deviation_words(worst.first)}",
            *(f"largest       {deviation_words(one)}" for one in _largest(worst.deviations)),
            f"differing     {len(worst.deviations)} of {worst.n_points} numbers",
            f"tolerance     {TOLERANCE}",
        ]
        beyond = [one for one in worst.deviations if not one.is_tolerable]
        if beyond:
            lines.append(f"beyond it     {len(beyond)}, the first: {deviation_words(beyond[0])}")
        lines += [f"processor     {one.before} -> {one.now}: {ROUNDING}" for one in finding.differences
                  if one.what == PROCESSOR]  # fmt: skip
    return lines + _spread_lines(finding)


def _largest(deviations: list[Deviation]) -> list[Deviation]:
    """Return the largest deviation of a loss and of a score; of what there is, where neither differs."""
    losses = [one for one in deviations if one.is_loss]
    scores = [one for one in deviations if one.is_score]
    groups = [group for group in (losses, scores) if group] or [deviations]
    return [max(group, key=lambda one: one.size) for group in groups]


def _spread_lines(finding: ReproductionFinding) -> list[str]:
    if len(finding.repetitions) < 2:
        return []
    ranges = spread([one.points for one in finding.repetitions])
    name, widest = max(ranges.items(), key=lambda pair: pair[1])
    among = "bit-equal among themselves" if widest == 0 else f"up to {widest:.3g} apart ({name})"
    n_equal = sum(one.verdict == "bit-equal" for one in finding.comparisons)
    return [f"spread        {len(finding.repetitions)} repetitions are {among}; {n_equal} bit-equal to the log"]


def markdown(finding: ReproductionFinding, picture: str | None) -> str:
    """Return the description of the reproduction's run.

    Parameters
    ----------
    picture
        Address of the figure, or None where it was not drawn.
    """
    run = finding.original.run
    lines = [f"**{finding.headline().capitalize()}.**", "", f"Of trial **{run.name}** of study **{run.study}**, "
             f"run `{run.run_id}`, rebuilt from its logged parameters and trained again.", ""]  # fmt: skip
    if picture is not None:
        lines += [f"![The trial's curves and those of its repetition]({picture})", ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {line[:14].strip()} | {line[14:]} |" for line in finding_lines(finding)]
    lines += ["", "Not as it was:", ""]
    lines += [f"- {line}" for line in difference_lines(finding.differences, finding.notes)]
    lines += [
        "",
        "The charts of this page have the trial's own curves beside each curve, with `_original` at the end of their "
        "names. To see both in one chart, select this run and the trial in the table of runs and press *Compare*.",
    ]
    return "\n".join(lines) + "\n"


def as_json(finding: ReproductionFinding, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything, for a program to read; numbers that JSON has no form for stand as text."""
    run = finding.original.run
    return {
        "verdict": finding.verdict,
        "reproduced": finding.is_reproduced,
        "original": {"run_id": run.run_id, "name": run.name, "study": run.study, "phase": run.phase,
                     "state": finding.original.state, "metric": run.tags["metric"]},
        "tolerance": {"first_loss_relative": START_TOLERANCE, "loss_relative": LOSS_TOLERANCE,
                      "score_absolute": SCORE_TOLERANCE},
        "differences": [asdict(one) for one in finding.differences],
        "notes": list(finding.notes),
        "comparisons": [_comparison(one) for one in finding.comparisons],
        "spread": {name: _json(value) for name, value in spread([one.points for one in finding.repetitions]).items()},
        "curves": {"original": _points(finding.original.points),
                   "repetitions": [_points(one.points) for one in finding.repetitions]},
        "environment": dict(environment),
    }  # fmt: skip


def _comparison(comparison: RunComparison) -> dict[str, Any]:
    return {
        curve.curve: {"n_points": curve.n_points, "n_different": len(curve.deviations)}
        | ({"first": _deviation(curve.deviations[0]), "largest": _deviation(curve.largest)} if curve.largest else {})
        for curve in comparison.curves
    }


def _deviation(one: Deviation) -> dict[str, Any]:
    return {"epoch": one.epoch, "before": _json(one.before), "now": _json(one.now)}


def _points(points: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, Any]]:
    return {name: {str(epoch): _json(value) for epoch, value in curve.items()} for name, curve in points.items()}


def _json(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
