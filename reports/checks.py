"""The rows of *Can you trust this?*: each a small pure function that gives a name, pass or warn, and the detail.

A warning never changes a verdict; it tells a reader where to doubt it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.records import History
from reports.design import SearchRange, StudyDesign
from reports.metric import ACCURACY, Metric
from reports.records import Check, Contrast, FinalistRow, LevelRow, Question

#: A value this close to an end of its range, as a share of the range, lies at the edge.
EDGE = 0.05
#: The last fifth of the epochs is held against the fifth before.
LATE = 0.2
#: Validation loss at the end, relative to its lowest value.
RISE = 1.05
MOST_DIVERGED = 0.2
LEAST_SHARE_OF_BUDGET = 0.9
LEAST_SEARCH_AGREEMENT = 0.75
#: The region of practical equivalence as a share of what is left to a perfect score.
WIDE_REGION = 0.25


def _check(name: str, problems: Sequence[str], otherwise: str) -> Check:
    return Check(name=name, state="warn" if problems else "pass", detail="; ".join(problems) or otherwise)


def check_edges(rows: Sequence[FinalistRow], ranges: Sequence[SearchRange]) -> Check:
    """Warn where a finalist's value lies within 5 % of an end of its range: the optimum may lie beyond."""
    problems = []
    for row in rows:
        params = row.finalist.config.to_params()
        for searched in ranges:
            if searched.when and str(params.get(searched.when[0])) != searched.when[1]:
                continue
            for value in _numbers(params.get(searched.parameter)):
                end = _end_reached(value, searched)
                if end == "lower" and searched.low == 0:
                    continue  # there is nothing below no dropout and no momentum
                if end:
                    problems.append(f"{row.finalist.id}: {searched.parameter} = {value:g} is at the {end} end")
    return _check("optimum inside its ranges", list(dict.fromkeys(problems)), "no finalist lies at the edge of a range")


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
    return _check("trained to the end", problems, "no finalist was still improving at the last epoch")


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
    return _check("no overfitting", problems, "no finalist's validation loss rose while its training loss fell")


def check_divergence(rows: Sequence[LevelRow], finalists: Sequence[FinalistRow]) -> Check:
    """Warn where more than a fifth of a level's trials diverged, or any run of a finalist on fresh seeds."""
    problems = [
        f"{row.factor} {row.level}: {row.n_diverged} of {row.n_trials} diverged"
        for row in rows
        if row.n_diverged > MOST_DIVERGED * row.n_trials
    ]
    problems += [f"{row.finalist.id}: {row.n_diverged} fresh runs diverged" for row in finalists if row.n_diverged]
    return _check("trials are stable", problems, "no finalist diverged, and at most a fifth of a level's trials")


def check_failures(rows: Sequence[LevelRow]) -> Check:
    """Warn where trials crashed: they are missing from their level's budget."""
    problems = [f"{row.factor} {row.level}: {row.n_failed} of {row.n_trials} failed" for row in rows if row.n_failed]
    return _check("no trial crashed", problems, "every trial ran to its end")


def check_budgets(factors: Mapping[str, Sequence[LevelRow]]) -> Check:
    """Warn where a level of a factor got less than 90 % of the trials of another; crashed trials do not count."""
    problems = []
    for factor, rows in factors.items():
        counts = {row.level: row.n_trials - row.n_failed for row in rows}
        if counts and min(counts.values()) < LEAST_SHARE_OF_BUDGET * max(counts.values()):
            problems.append(
                f"{factor}: " + ", ".join(f"{level} {count}" for level, count in counts.items()) + " trials"
            )
    return _check("equal budgets", problems, "the levels of each factor got the same number of trials, within a tenth")


def check_seeds(rows: Sequence[FinalistRow], min_seeds: int, again: str = "seed") -> Check:
    """Warn where a finalist has fewer fresh seeds (or repeats) than a verdict asks for."""
    counts = {row.finalist.id: row.valid.n if row.valid else 0 for row in rows}
    problems = [f"{name} has {count} of {min_seeds}" for name, count in counts.items() if count < min_seeds]
    problems = problems if rows else [f"no finalist was trained again on fresh {again}s"]
    return _check(f"enough {again}s", problems, f"every finalist has at least {min_seeds} fresh {again}s")


def check_confirmed(rows: Sequence[FinalistRow], n_seeds: int) -> Check:
    """Warn where planned confirm runs are missing, crashed ones among them."""
    counts = {row.finalist.id: row.valid.n if row.valid else 0 for row in rows}
    problems = [f"{name}: {count} of {n_seeds} runs" for name, count in counts.items() if count < n_seeds]
    problems = problems if rows else ["none was run"]
    return _check("confirm is complete", problems, f"{n_seeds} runs of every finalist")


def check_test_openings(earlier: int | None) -> Check:
    """Warn where the test part had been opened before: whoever saw it may have chosen by it."""
    if earlier is None:
        return Check(name="test part was closed", state="warn", detail="nobody counted how often it had been opened")
    times = "once" if earlier == 1 else f"{earlier} times"
    return _check(
        "test part was closed",
        [f"opened {times} before this study"] if earlier else [],
        "this study was the first to open it",
    )


def check_judged_on_test(part: str | None, folds: int = 0) -> Check:
    """Warn where the part that judges is not a test part."""
    by = f"by {folds}-fold cross-validation over the rows that" if folds else "on the validation part, which"
    problems = {
        "valid": [f"no test part: judged {by} also chose the finalists"],
        None: ["no confirmed run was judged on any part"],
    }.get(part, [])
    return _check("judged on the test part", problems, "differences are of the test part, which chose nothing")


def check_predictions(contrasts: Sequence[Contrast]) -> Check:
    """Warn where intervals could not resample test examples from predictions."""
    words = {
        "seeds only": "interval speaks of seeds alone",
        "seeds, examples bounded": "interval is wider than need be",
        "repeats only": "no interval without the scores of single folds",
    }
    problems = [
        f"{contrast.factor} {contrast.level}: {words[contrast.difference.method]}"
        for contrast in contrasts
        if contrast.difference is not None
        and (contrast.difference.low is not None or contrast.difference.method == "repeats only")
        and contrast.difference.method in words
    ]
    by_fold = any(contrast.difference is not None and contrast.difference.n_folds for contrast in contrasts)
    counted = "count in both the seeds and the test examples"
    if by_fold:
        counted = "are over repeats and folds, corrected for the rows that folds share"
    return _check("predictions at hand", problems, f"intervals {counted}")


def check_trained(rows: Sequence[LevelRow]) -> Check:
    """Warn where a level never left chance on the training part, or most of its trials did not."""
    problems = []
    for row in rows:
        if row.status == "never trained":
            problems.append(f"{row.factor} {row.level} never trained: this is not the same as does not help")
        elif row.n_finished and row.n_untrained > row.n_finished / 2:
            problems.append(f"{row.factor} {row.level}: {row.n_untrained} of {row.n_finished} trials never left chance")
    return _check("every level trained", problems, "every level left chance on the training part")


def check_search_luck(contrasts: Sequence[Contrast]) -> Check:
    """Warn where a verdict rests on winners that half the search would often not have found."""
    problems = []
    for contrast in contrasts:
        agreement = contrast.p_better_search
        if agreement is None or contrast.verdict.word not in ("helps", "hurts"):
            continue
        agreement = agreement if contrast.verdict.word == "helps" else 1 - agreement
        if agreement < LEAST_SEARCH_AGREEMENT:
            problems.append(
                f"{contrast.factor} {contrast.level} {contrast.verdict.word}, as {agreement:.0%} of searches "
                "of half the size would have it"
            )
    return _check("not the luck of the search", problems, "no verdict hangs on which trials the search drew")


def check_region(rows: Sequence[FinalistRow], design: StudyDesign) -> Check:
    """Warn where the region of practical equivalence is wide beside what the best finalist leaves to be gained."""
    best = max((row.valid.mean for row in rows if row.valid), default=design.chance)
    left, problems = design.metric.perfect - best, []
    if design.equivalence > WIDE_REGION * left:
        share = f"{design.equivalence / left:.0%} of what is left" if left > 0 else "all there is"
        problems = [f"{design.metric.region(design.equivalence)} is {share} to a perfect score: a narrower one may fit"]
    return _check("region fits the score", problems, "it is small beside what is left to a perfect score")


def all_checks(
    design: StudyDesign,
    *,
    part: str | None,
    questions: Sequence[Question],
    finalists: Sequence[FinalistRow],
    histories: Mapping[str, Sequence[History]],
) -> tuple[Check, ...]:
    """Return every check in the order of the report; ``histories`` are those of each finalist's confirm runs."""
    rows = [row for question in questions for row in question.rows]
    contrasts = [contrast for question in questions for contrast in question.contrasts]
    searched = {q.factor.name: q.rows for q in questions if any(row.n_trials for row in q.rows)}
    return (
        check_confirmed(finalists, design.n_seeds),
        check_seeds(finalists, design.min_seeds, design.again),
        check_judged_on_test(part, design.folds),
        *([] if design.folds else [check_test_openings(design.earlier_test_openings)]),
        check_predictions(contrasts),
        check_trained(rows),
        check_divergence(rows, finalists),
        check_failures(rows),
        check_budgets(searched),
        check_search_luck(contrasts),
        check_edges(finalists, design.ranges),
        check_still_improving(histories, design.equivalence, design.metric),
        check_overfitting(histories),
        check_region(finalists, design),
    )


def _numbers(value: object) -> list[float]:
    """Return the numbers in a logged parameter; units of unequal layers are joined by commas."""
    try:
        return [float(number) for number in str(value).split(",")]
    except ValueError:
        return []


def _end_reached(value: float, searched: SearchRange) -> str | None:
    low, high, at = searched.low, searched.high, value
    if searched.log:
        if value <= 0:
            return None
        low, high, at = math.log(low), math.log(high), math.log(value)
    share = (at - low) / (high - low)
    if -EDGE <= share <= EDGE:
        return "lower"
    return "upper" if 1 - EDGE <= share <= 1 + EDGE else None


def _mean_curve(curves: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
    """Return the mean over runs, epoch by epoch as far as all go, without the runs that were not finite."""
    sound = [np.asarray(curve) for curve in curves if curve and np.isfinite(curve).all()]
    if not sound:
        return np.array([])
    shortest = min(map(len, sound))
    return np.asarray(np.mean([curve[:shortest] for curve in sound], axis=0))
