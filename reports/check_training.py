"""Rows of *Can you trust this?* on how the trials trained. Pure; the others are in :mod:`depthcheck.reports.checks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.records import History
from depthcheck.reports.metric import ACCURACY, Metric
from depthcheck.reports.records import Check, FinalistRow, LevelRow
from depthcheck.reports.words import plural

#: The last fifth of the epochs is held against the fifth before.
LATE = 0.2
#: Validation loss at the end, relative to its lowest value.
RISE = 1.05
MOST_DIVERGED = 0.2


def check(name: str, problems: Sequence[str], otherwise: str) -> Check:
    """Return a row that warns of the problems, or passes and says otherwise."""
    return Check(name=name, state="warn" if problems else "pass", detail="; ".join(problems) or otherwise)


def check_still_improving(
    histories: Mapping[str, Sequence[History]], equivalence: float, metric: Metric = ACCURACY
) -> Check:
    """Warn where the last fifth of the epochs still gained more than the region of practical equivalence."""
    problems = []
    for name, runs in histories.items():
        curve = _mean_curve([run.valid_score for run in runs])
        late = max(1, round(LATE * len(curve)))
        if len(curve) < 2 * late:
            continue
        gain = float(curve[-late:].mean() - curve[-2 * late : -late].mean())
        if gain > equivalence:
            epochs = "epoch" if late == 1 else f"{late} epochs"
            problems.append(f"{name} gained {metric.text(gain, signed=False)} in its last {epochs}")
    return check("trained to the end", problems, "no finalist was still improving at the last epoch")


def check_overfitting(histories: Mapping[str, Sequence[History]]) -> Check:
    """Warn where the validation loss ends more than 5 % above its lowest while the training loss still fell."""
    problems = []
    for name, runs in histories.items():
        valid, train = (_mean_curve(curves) for curves in ([r.valid_loss for r in runs], [r.train_loss for r in runs]))
        if len(valid) < 2:
            continue
        lowest = int(valid.argmin())
        if valid[-1] > RISE * valid[lowest] and train[-1] < train[lowest]:
            problems.append(
                f"{name}: validation loss {valid[lowest]:.3f} at epoch {lowest + 1}, {valid[-1]:.3f} at the end"
            )
    return check("no overfitting", problems, "no finalist's validation loss rose while its training loss fell")


def check_divergence(rows: Sequence[LevelRow], finalists: Sequence[FinalistRow]) -> Check:
    """Warn where more than a fifth of a level's trials diverged, or any run of a finalist on fresh seeds."""
    problems = [
        f"{row.factor} {row.level}: {row.n_diverged} of {row.n_trials} diverged"
        for row in rows
        if row.n_diverged > MOST_DIVERGED * row.n_trials
    ]
    problems += [
        f"{row.finalist.id}: {plural(row.n_diverged, 'fresh run')} diverged" for row in finalists if row.n_diverged
    ]
    return check("trials are stable", problems, "no finalist diverged, and at most a fifth of a level's trials")


def check_failures(rows: Sequence[LevelRow]) -> Check:
    """Warn where trials crashed: they are missing from their level's budget."""
    problems = [f"{row.factor} {row.level}: {row.n_failed} of {row.n_trials} failed" for row in rows if row.n_failed]
    return check("no trial crashed", problems, "every trial ran to its end")


def check_trained(rows: Sequence[LevelRow]) -> Check:
    """Warn where a level never left chance on the training part, or most of its trials did not."""
    problems = []
    for row in rows:
        if row.status == "never trained":
            problems.append(f"{row.factor} {row.level} never trained: this is not the same as does not help")
        elif row.n_finished and row.n_untrained > row.n_finished / 2:
            problems.append(f"{row.factor} {row.level}: {row.n_untrained} of {row.n_finished} trials never left chance")
    return check("every level trained", problems, "every level left chance on the training part")


def _mean_curve(curves: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
    """Return the mean over runs, epoch by epoch as far as all go, without the runs that were not finite."""
    sound = [np.asarray(curve) for curve in curves if curve and np.isfinite(curve).all()]
    if not sound:
        return np.array([])
    shortest = min(map(len, sound))
    return np.asarray(np.mean([curve[:shortest] for curve in sound], axis=0))
