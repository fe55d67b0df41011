"""A trial and its repetition, side by side: their numbers, what they were made with, and that in words. Pure.

Equal means ``==`` of the doubles that were logged, with NaN equal to NaN. There is no rounding anywhere: where two
numbers differ in their last bit, they differ.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from depthcheck.experiments.tracking import CodeVersion, Curves

if TYPE_CHECKING:
    from depthcheck.experiments.reproduce.original import Original

Verdict = Literal["bit-equal", "within tolerance", "different"]
_ORDER: tuple[Verdict, ...] = ("bit-equal", "within tolerance", "different")

#: What rounding may do to a trial on another processor or with other versions (measured, see docs/reproduce.md). A loss
#: of the first epoch may be this share of itself away: rounding left 2e-6 at most in all but the most unsteady trials,
#: another seed never under 4e-5.
START_TOLERANCE = 1e-5
#: From then on the difference grows to the size of the trial's own ups and downs, so that all that can be asked is the
#: same course: a loss may be this share of itself away, a score this much.
LOSS_TOLERANCE, SCORE_TOLERANCE = 0.1, 0.02
_EXACT = ("learning_rate", "n_params")
#: Shares; other scores have a unit, or no lower end.
_SHARES = ("accuracy", "auc")
#: Of which epoch was best, and of the diagnostics by layer, nothing can be promised once rounding differs.
_FREE = ("best_epoch", "gradient_norm/", "saturation/")
#: Packages whose arithmetic or random numbers reach a trial's results; of what was installed without git, the version
#: is all that tells one code from another.
_ARITHMETIC = ("depthcheck", "tensorflow", "keras", "numpy", "scikit-learn", "ml_dtypes", "scipy")
UNKNOWN = "unknown"
PROCESSOR = "processor"
_WIDTH = 100
TOLERANCE = (
    f"losses of epoch 1 within {START_TOLERANCE:g} of themselves, later ones within {100 * LOSS_TOLERANCE:g} %, "
    f"accuracy and AUC within {100 * SCORE_TOLERANCE:g} points, other scores as losses"
)
#: What another processor is known to do (measured, see docs/decisions/processors.md).
ROUNDING = (
    "processors round differently, from the first epochs on: accuracies are expected to agree within "
    f"{100 * SCORE_TOLERANCE:g} points, not bit by bit"
)
_SAME = "code, packages and machine are as they were"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One number that is not the same; None where one side has none for this epoch."""

    curve: str
    epoch: int
    before: float | None
    now: float | None

    @property
    def size(self) -> float:
        """How far apart the two are; infinite where they cannot be subtracted."""
        if self.before is None or self.now is None:
            return math.inf
        size = abs(self.now - self.before)
        return math.inf if math.isnan(size) else size

    @property
    def place(self) -> tuple[int, str]:
        """Order of time: epochs first, then what belongs to the whole trial."""
        return (self.epoch or 2**62, self.curve)

    @property
    def is_tolerable(self) -> bool:
        """Tell whether rounding alone may have done it."""
        if self.curve.startswith(_FREE):
            return self.before is not None and self.now is not None
        if self.curve in _EXACT or self.before is None or math.isinf(self.size):
            return False
        if self.is_loss:
            return self.share <= (START_TOLERANCE if self.epoch == 1 else LOSS_TOLERANCE)
        if self.curve.endswith("r2"):  # 1 less a loss
            return self.size <= max(SCORE_TOLERANCE, LOSS_TOLERANCE * abs(1 - self.before))
        return self.size <= SCORE_TOLERANCE if self.curve.endswith(_SHARES) else self.share <= LOSS_TOLERANCE

    @property
    def is_loss(self) -> bool:
        """Whether it is a loss."""
        return self.curve.endswith("loss")

    @property
    def is_score(self) -> bool:
        """Whether it is a score, which is what is left."""
        return not (self.is_loss or self.curve in _EXACT or self.curve.startswith(_FREE))

    @property
    def share(self) -> float:
        """How far apart the two are, as a share of the first; infinite where that cannot be said."""
        return self.size / abs(self.before) if self.before else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """A trial against its repetition: how many numbers each metric has, and those that differ, the earliest first."""

    sizes: Mapping[str, int]
    deviations: tuple[Deviation, ...]

    @property
    def first(self) -> Deviation | None:
        """The earliest deviation."""
        return next(iter(self.deviations), None)

    @property
    def n_points(self) -> int:
        """How many numbers were compared."""
        return sum(self.sizes.values())

    @property
    def verdict(self) -> Verdict:
        """What the numbers say, whatever the reason."""
        if not self.deviations:
            return "bit-equal"
        return "within tolerance" if all(one.is_tolerable for one in self.deviations) else "different"


def compare(before: Curves, now: Curves) -> RunComparison:
    """Hold every metric of a trial against its repetition's; what one side lacks is a deviation."""
    pairs = {name: (before.get(name, {}), now.get(name, {})) for name in sorted({*before, *now})}
    deviations = (
        Deviation(curve=name, epoch=epoch, before=was.get(epoch), now=is_now.get(epoch))
        for name, (was, is_now) in pairs.items()
        for epoch in {*was, *is_now}
        if not same(was.get(epoch), is_now.get(epoch))
    )
    return RunComparison(
        sizes={name: len({*was, *is_now}) for name, (was, is_now) in pairs.items()},
        deviations=tuple(sorted(deviations, key=lambda one: one.place)),
    )


def same(before: float | None, now: float | None) -> bool:
    """Tell whether two values are the same to the last bit, NaN and NaN among them."""
    if before is None or now is None:
        return before is now
    return before == now or (math.isnan(before) and math.isnan(now))


def spread(repetitions: Sequence[Curves]) -> dict[str, float]:
    """Return by metric the largest range, over its epochs, that the repetitions span among themselves."""
    names = sorted({name for points in repetitions for name in points})
    return {name: max(_ranges([points.get(name, {}) for points in repetitions]), default=0.0) for name in names}


def _ranges(curves: Sequence[Mapping[int, float]]) -> Iterator[float]:
    for epoch in {epoch for curve in curves for epoch in curve}:
        values = [curve.get(epoch) for curve in curves]
        if all(same(values[0], value) for value in values):
            yield 0.0
        else:
            known = [math.inf if value is None or math.isnan(value) else value for value in values]
            yield max(known) - min(known) if min(known) < math.inf else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is not as it was.

    Attributes
    ----------
    matters
        Whether it may change a result. Another kernel or another version of pytest does not; it is named all the same.
    """

    what: str
    before: str
    now: str
    matters: bool

    def __str__(self) -> str:
        return f"{self.what} {self.before} -> {self.now}"


def differences(
    code_before: CodeVersion,
    environments_before: Sequence[Mapping[str, Any]],
    code: CodeVersion,
    environment: Mapping[str, Any],
) -> list[Change]:
    """Return every difference, those that may change a result first; what is not known is one.

    Any of several environments may have been the trial's.

    Parameters
    ----------
    environments_before, environment
        As :func:`depthcheck.experiments.tracking.environment` describes one; none where nothing is known.
    """
    found = [*_code(code_before, code)]
    for before in environments_before or [{}]:
        found += [
            *_machine(before, environment),
            *_packages(before.get("packages", {}), environment.get("packages", {})),
        ]
    return sorted(dict.fromkeys(found), key=lambda one: not one.matters)


def _code(before: CodeVersion, now: CodeVersion) -> Iterator[Change]:
    if before.commit != now.commit or now.commit == UNKNOWN:
        yield Change(what="code", before=before.commit[:12], now=now.commit[:12], matters=True)
    if before.dirty != now.dirty or now.dirty:  # changes that no commit has are not known to be the same
        tree = {None: UNKNOWN, True: "with changes", False: "as committed"}
        yield Change(what="working tree", before=tree[before.dirty], now=tree[now.dirty], matters=True)


def _machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    if not before:
        yield Change(what="machine and packages", before="not noted", now="as they are", matters=True)
        return
    if "workers" in before:  # what was noted is the machine of the coordinator
        yield Change(what="workers", before=str(before["workers"]), now="this machine", matters=True)
        return
    was, is_now = (
        " with ".join(str(one.get(key, UNKNOWN)) for key in ("cpu", "instructions")) for one in (before, now)
    )
    if was != is_now:
        yield Change(what=PROCESSOR, before=was, now=is_now, matters=True)
    for key, what, matters in (
        ("machine", "architecture", True),
        ("python", "Python", True),
        ("platform", "system", _runtime(before) != _runtime(now)),
        ("cpus", "cores", False),
    ):
        if before.get(key) != now.get(key):
            was, is_now = str(before.get(key, UNKNOWN)), str(now.get(key, UNKNOWN))
            yield Change(what=what, before=was, now=is_now, matters=matters)


def _runtime(environment: Mapping[str, Any]) -> tuple[str, str]:
    """Return the operating system and its C library, from ``Linux-6.1.0-x86_64-with-glibc2.36``."""
    platform = str(environment.get("platform", ""))
    return platform.partition("-")[0], platform.partition("-with-")[2]


def _packages(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted({*before, *now} if before else (), key=str.lower):
        was, is_now = before.get(name, "none"), now.get(name, "none")
        if was != is_now:
            yield Change(what=name, before=was, now=is_now, matters=_is_arithmetic(name))


def _is_arithmetic(package: str) -> bool:
    name = package.lower().replace("-", "_")
    return name in {known.replace("-", "_") for known in _ARITHMETIC} or name.startswith("tensorflow_")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionFinding:
    """All that a reproduction found: one comparison a repetition, beside what is not as it was."""

    original: Original
    differences: Sequence[Change]
    notes: Sequence[str]
    repetitions: Sequence[Curves]
    comparisons: Sequence[RunComparison]

    @property
    def verdict(self) -> Verdict:
        """What the numbers say, over all repetitions."""
        return self.worst.verdict

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
        return max(self.comparisons, key=lambda one: (_ORDER.index(one.verdict), len(one.deviations)))

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
    before, now = ("no value" if value is None else repr(value) for value in (one.before, one.now))
    return f"{where}: {before} then, {now} now{size}"


def finding_lines(finding: ReproductionFinding) -> list[str]:
    """Return what was compared, and what differs and by how much."""
    worst = finding.worst
    epochs = max((max(curve, default=0) for curve in finding.original.points.values()), default=0)
    lines = [f"compared      {worst.n_points} numbers of {len(worst.sizes)} metrics over {epochs} epochs"
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


def _largest(deviations: Sequence[Deviation]) -> list[Deviation]:
    """Return the largest deviation of a loss and of a score; of what there is, where neither differs."""
    losses = [one for one in deviations if one.is_loss]
    scores = [one for one in deviations if one.is_score]
    groups = [group for group in (losses, scores) if group] or [list(deviations)]
    return [max(group, key=lambda one: one.size) for group in groups]


def _spread_lines(finding: ReproductionFinding) -> list[str]:
    if len(finding.repetitions) < 2:
        return []
    ranges = spread(finding.repetitions)
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
        "spread": {name: _json(value) for name, value in spread(finding.repetitions).items()},
        "curves": {"original": _points(finding.original.points),
                   "repetitions": [_points(one) for one in finding.repetitions]},
        "environment": dict(environment),
    }  # fmt: skip


def _comparison(comparison: RunComparison) -> dict[str, Any]:
    def told(one: Deviation) -> dict[str, Any]:
        return {"epoch": one.epoch, "before": _json(one.before), "now": _json(one.now)}

    found: dict[str, Any] = {}
    for curve, n_points in comparison.sizes.items():
        differing = [one for one in comparison.deviations if one.curve == curve]
        found[curve] = {"n_points": n_points, "n_different": len(differing)}
        if differing:
            largest = max(differing, key=lambda one: one.size)
            found[curve] |= {"first": told(differing[0]), "largest": told(largest)}
    return found


def _points(points: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, Any]]:
    return {name: {str(epoch): _json(value) for epoch, value in curve.items()} for name, curve in points.items()}


def _json(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
