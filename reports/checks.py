"""The rows of *Can you trust this?*: each a small pure function that gives a name, pass or warn, and the detail.

A warning never changes a verdict; it tells a reader where to doubt it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pipeline.config import OPTIMIZERS
from pipeline.records import History
from reports.check_training import (
    check,
    check_divergence,
    check_failures,
    check_overfitting,
    check_still_improving,
    check_trained,
)
from reports.design import SearchRange, StudyDesign
from reports.records import Check, Contrast, FinalistRow, LevelRow, Question, Search

#: A value this close to an end of its range, as a share of the range, lies at the edge.
EDGE = 0.05
LEAST_SHARE_OF_BUDGET = 0.9
#: The region of practical equivalence as a share of what is left to a perfect score.
WIDE_REGION = 0.25


def check_edges(rows: Sequence[FinalistRow], ranges: Sequence[SearchRange], widenings: Sequence[str] = ()) -> Check:
    """Warn where a finalist's value lies at an end of its range, and say how that is widened: the best may lie beyond.

    ``widenings`` are those that the study had already; the same command needs them again.
    """
    problems = []
    for row in rows:
        params = row.finalist.config.to_params()
        for searched in ranges:
            if searched.when and str(params.get(searched.when[0])) != searched.when[1]:
                continue
            sides = {_side_reached(value, searched) for value in _numbers(params.get(searched.parameter))}
            problems += [_at_edge(row, searched, side, widenings) for side in searched.open_sides if side in sides]
    return check("optimum inside its ranges", list(dict.fromkeys(problems)), "no finalist lies at the edge of a range")


def _at_edge(row: FinalistRow, searched: SearchRange, side: str, widenings: Sequence[str]) -> str:
    config, name = row.finalist.config, searched.parameter
    belongs = name in (*OPTIMIZERS[config.optimizer.name], "learning_rate")
    asked = f"{config.optimizer.name}.{name}" if belongs else name
    whose = f"{searched.when[1]}'s" if searched.when else "its"
    value = config.to_params()[name]
    return (
        f"{row.finalist.id}: {name} {f'{value:.2g}' if isinstance(value, float) else value} is at the "
        f"{'upper' if side == 'up' else 'lower'} end of {whose} {'list' if searched.is_list else 'range'}: "
        f"`-P widen={','.join([*widenings, f'{asked}:{side}'])}`"
    )


def check_budgets(factors: Mapping[str, Sequence[LevelRow]]) -> Check:
    """Warn where a level of a factor got less than 90 % of the trials of another; crashed trials do not count."""
    problems = []
    for factor, rows in factors.items():
        counts = {row.level: row.n_trials - row.n_failed for row in rows}
        if counts and min(counts.values()) < LEAST_SHARE_OF_BUDGET * max(counts.values()):
            problems.append(
                f"{factor}: " + ", ".join(f"{level} {count}" for level, count in counts.items()) + " trials"
            )
    return check("equal budgets", problems, "the levels of each factor got the same number of trials, within a tenth")


def check_settings(search: Search, enough: int) -> Check:
    """Warn where fewer settings were trained at all levels than a verdict asks for, or some are not complete."""
    problems = []
    if search.n_settings < enough:
        problems.append(f"{search.n_settings} of at least {enough} settings at every combination of levels")
    if search.n_incomplete:
        problems.append(f"{search.n_incomplete} settings are not complete and left out")
    return check("enough settings", problems, f"{search.n_settings} settings at every combination of levels")


def check_scored(search: Search) -> Check:
    """Warn where a searched network has not been scored on the part that judges."""
    problems = [f"{search.n_unscored} networks were not, and no level is judged"] if search.n_unscored else []
    return check("every network is scored", problems, "each searched network was scored once, and nothing chosen by it")


def check_seeds(rows: Sequence[FinalistRow], min_seeds: int, again: str = "seed") -> Check:
    """Warn where a finalist has fewer fresh seeds (or repeats) than a verdict asks for."""
    counts = {row.finalist.id: row.valid.n if row.valid else 0 for row in rows}
    problems = [f"{name} has {count} of {min_seeds}" for name, count in counts.items() if count < min_seeds]
    problems = problems if rows else [f"no finalist was trained again on fresh {again}s"]
    return check(f"enough {again}s", problems, f"every finalist has at least {min_seeds} fresh {again}s")


def check_confirmed(rows: Sequence[FinalistRow], n_seeds: int) -> Check:
    """Warn where planned confirm runs are missing, crashed ones among them."""
    counts = {row.finalist.id: row.valid.n if row.valid else 0 for row in rows}
    problems = [f"{name}: {count} of {n_seeds} runs" for name, count in counts.items() if count < n_seeds]
    problems = problems if rows else ["none was run"]
    return check("confirm is complete", problems, f"{n_seeds} runs of every finalist")


def check_test_openings(earlier: int | None) -> Check:
    """Warn where the test part had been opened before: whoever saw it may have chosen by it."""
    if earlier is None:
        return Check(name="test part was closed", state="warn", detail="nobody counted how often it had been opened")
    times = "once" if earlier == 1 else f"{earlier} times"
    return check(
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
    return check("judged on the test part", problems, "differences are of the test part, which chose nothing")


def check_independence(design: StudyDesign) -> Check:
    """Warn where the examples of the test part belong together, which the intervals do not know.

    Folds of whole groups differ as the groups do, so that an interval over folds counts that in.
    """
    alike = {"group": "rows of one group", "time": "rows that follow each other"}.get(design.split_method, "rows")
    problems = [] if design.folds else [f"{alike} are alike, and intervals take each for a draw of its own"]
    return check("rows are independent", problems, "each fold holds whole groups out: intervals count them in")


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
    return check("predictions at hand", problems, f"intervals {counted}")


def check_region(rows: Sequence[FinalistRow], design: StudyDesign) -> Check:
    """Warn where the region of practical equivalence is wide beside what the best finalist leaves to be gained."""
    best = max((row.valid.mean for row in rows if row.valid), default=design.chance)
    left, problems = design.metric.perfect - best, []
    if design.equivalence > WIDE_REGION * left:
        share = f"{design.equivalence / left:.0%} of what is left" if left > 0 else "all there is"
        problems = [f"{design.metric.region(design.equivalence)} is {share} to a perfect score: a narrower one may fit"]
    return check("region fits the score", problems, "it is small beside what is left to a perfect score")


def all_checks(
    design: StudyDesign,
    *,
    part: str | None,
    search: Search | None = None,
    questions: Sequence[Question],
    finalists: Sequence[FinalistRow],
    histories: Mapping[str, Sequence[History]],
) -> tuple[Check, ...]:
    """Return every check in the order of the report; ``histories`` are those of each finalist's confirm runs."""
    rows = [row for question in questions for row in question.rows]
    contrasts = [contrast for question in questions for contrast in question.contrasts]
    searched = {q.factor.name: q.rows for q in questions if any(row.n_trials for row in q.rows)}
    return (
        *([] if search is None else [check_settings(search, design.min_settings), check_scored(search)]),
        check_confirmed(finalists, design.n_seeds),
        check_seeds(finalists, design.min_seeds, design.again),
        check_judged_on_test(part, design.folds),
        *([] if design.folds else [check_test_openings(design.earlier_test_openings)]),
        check_predictions(contrasts),
        *([check_independence(design)] if design.split_method in ("group", "time") else []),
        check_trained(rows),
        check_divergence(rows, finalists),
        check_failures(rows),
        check_budgets(searched),
        check_edges(finalists, design.ranges, design.widenings),
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


def _side_reached(value: float, searched: SearchRange) -> str | None:
    low, high, at, edge = searched.low, searched.high, value, EDGE
    if searched.is_list:
        edge = 0.0
    elif searched.log:
        if value <= 0:
            return None
        low, high, at = math.log(low), math.log(high), math.log(value)
    share = (at - low) / (high - low)
    if -edge <= share <= edge:
        return "down"
    return "up" if 1 - edge <= share <= 1 + edge else None
