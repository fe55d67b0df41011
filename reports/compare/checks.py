"""The rows of *Can you trust this?*: each a small pure function that gives a name, pass or warn, and the detail.

A warning never changes a verdict; it tells a reader where to doubt it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import TrialConfig
from depthcheck.pipeline.dimensions import parameter
from depthcheck.pipeline.records import TrialRecord, engines_in_words
from depthcheck.pipeline.scores import ACCURACY, ENOUGH_SEEDS, ENOUGH_SETTINGS, R2, Metric
from depthcheck.pipeline.verbatim import in_markdown, option
from depthcheck.reports.compare.results import Check, Comparison, Difference, FinalistRow, LevelRow, Search
from depthcheck.reports.compare.study_data import ReferenceScores, SearchRange, StudyDesign
from depthcheck.reports.text.words import plural

#: Of networks that have a score, and no interval.
NO_EXAMPLES = (
    "a score and none by single examples: predictions are missing or do not fit it, "
    "or it is undefined without some examples"
)
#: The last fifth of the epochs is held against the fifth before.
LATE = 0.2
#: Validation loss at the end, relative to its lowest value.
RISE = 1.05
MOST_DIVERGED = 0.2


def check(name: str, problems: Sequence[str], otherwise: str) -> Check:
    """Return a row that warns of the problems, or passes and says otherwise."""
    return Check(name=name, state="warn" if problems else "pass", detail="; ".join(problems) or otherwise)


def check_still_improving(
    runs: Mapping[str, Sequence[TrialRecord]], equivalence: float, metric: Metric = ACCURACY
) -> Check:
    """Warn where the last fifth of the epochs still gained more than the region of practical equivalence.

    A run that early stopping ended had no use for more of them.
    """
    problems = []
    for name, of in runs.items():
        curve = _mean_curve([run.history.valid_score for run in of if run.history.n_epochs == run.config.fit.epochs])
        late = max(1, round(LATE * len(curve)))
        if len(curve) < 2 * late:
            continue
        gain = float(curve[-late:].mean() - curve[-2 * late : -late].mean())
        if gain > equivalence:
            epochs = "epoch" if late == 1 else f"{late} epochs"
            problems.append(f"{name} gained {metric.text(gain, signed=False)} in its last {epochs}")
    return check("trained to the end", problems, "no finalist was still improving at the last epoch")


def check_leaks(leaks: Sequence[tuple[str, str, bool]]) -> Check:
    """Warn where a column that a network gets gives the target away; what was left out for that is only told."""
    said = [(f"column {in_markdown(name)}: {words}", is_left_out) for name, words, is_left_out in leaks]
    problems = [text for text, is_left_out in said if not is_left_out]
    left_out = "; ".join(text for text, is_left_out in said if is_left_out)
    otherwise = left_out or "no column by itself tells nearly all of the target"
    return check("no column gives the target away", problems, otherwise)


def check_engine(engines: Sequence[str]) -> Check | None:
    """Warn where some trials were not trained as the others were; None where all were by compiled epochs."""
    said = engines_in_words(engines)
    problems = [f"{said}, the others by compiled epochs: their seconds tell nothing"] if len(set(engines)) > 1 else []
    return check("one engine", problems, said) if said else None


def check_overfitting(runs: Mapping[str, Sequence[TrialRecord]]) -> Check:
    """Warn where the validation loss ends more than 5 % above its lowest while the training loss still fell.

    With early stopping the weights of the lowest loss count, and what was trained behind it is thrown away.
    """
    problems = []
    for name, of in runs.items():
        histories = [run.history for run in of if not run.config.values().get("early_stopping")]
        valid = _mean_curve([history.valid_loss for history in histories])
        train = _mean_curve([history.train_loss for history in histories])
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
        f"{row.where}: {row.n_diverged} of {row.n_trials} diverged"
        for row in rows
        if row.n_diverged > MOST_DIVERGED * row.n_trials
    ]
    problems += [
        f"{row.finalist.id}: {plural(row.n_diverged, 'fresh run')} diverged" for row in finalists if row.n_diverged
    ]
    return check("trials are stable", problems, "no finalist diverged, and at most a fifth of a level's trials")


def check_failures(rows: Sequence[LevelRow]) -> Check:
    """Warn where trials crashed: they are missing from their level's budget."""
    problems = [f"{row.where}: {row.n_failed} of {row.n_trials} failed" for row in rows if row.n_failed]
    return check("no trial crashed", problems, "every trial ran to its end")


def check_trained(rows: Sequence[LevelRow]) -> Check:
    """Warn where a level never beat the dummy baseline on the training part, or most of its trials did not."""
    problems = []
    for row in rows:
        if row.status in ("diverged", "failed"):
            problems.append(f"{row.where}: every trial {row.status}")
        elif row.status == "no trials":
            problems.append(f"{row.where}: no trial was run")
        elif row.status == "never trained":
            problems.append(f"{row.where} never trained: this is not the same as does not help")
        elif row.n_finished and row.n_untrained > row.n_finished / 2:
            problems.append(f"{row.where}: {row.n_untrained} of {row.n_finished} trials never beat the dummy baseline")
    return check("every level trained", problems, "at least half of the networks of each level learned something")


def _mean_curve(curves: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
    """Return the mean over runs, epoch by epoch as far as all go, without the runs that were not finite."""
    sound = [np.asarray(curve) for curve in curves if curve and np.isfinite(curve).all()]
    if not sound:
        return np.array([])
    shortest = min(map(len, sound))
    return np.asarray(np.mean([curve[:shortest] for curve in sound], axis=0))


#: A value this close to an end of its range, as a share of the range, lies at the edge.
EDGE = 0.05
LEAST_SHARE_OF_BUDGET = 0.9
#: The region of practical equivalence as a share of what is left to a perfect score.
WIDE_REGION = 0.25
#: An R² of guessing below it: a mean that lies more than 0.7 standard deviations from the training part's.
_DRIFT = -0.5


def check_edges(configs: Mapping[str, TrialConfig], design: StudyDesign, in_lists: Collection[str]) -> Check:
    """Warn where a value lies at an end of its range, and say how that is widened: the optimum may lie beyond.

    Parameters
    ----------
    configs
        The finalists, and the best configuration of each level, by name.
    in_lists
        Names of those that are looked for at the ends of lists too. Of a list's three values two are its ends: by luck
        alone, the best of most levels lies at one.
    """
    at: dict[str, list[str]] = {}
    for name, config in configs.items():
        for searched in design.ranges:
            if not searched.applies_to(config) or (searched.is_list and name not in in_lists):
                continue
            values = _numbers(config.to_params().get(searched.parameter))
            sides = {_side_reached(value, searched) for value in values}
            reached = [side for side in searched.open_sides if side in sides]
            for side in reached:
                names = at.setdefault(_at_edge(config, searched, side, design), [])
                if name not in names:
                    names.append(name)
    return check(
        "optimum inside its ranges",
        [f"{', '.join(names)}: {edge}" for edge, names in at.items()],
        "neither a finalist nor the best of a level lies at the edge of a range",
    )


def _at_edge(config: TrialConfig, searched: SearchRange, side: str, design: StudyDesign) -> str:
    name = searched.parameter
    asked = ",".join([*design.widenings, f"{parameter(name, config.optimizer.name)}:{side}"])
    whose = f"{searched.when[1]}'s" if searched.when else "its"
    value = config.to_params()[name]
    return (
        f"{name} {f'{value:.2g}' if isinstance(value, float) else value} is at the "
        f"{'upper' if side == 'up' else 'lower'} end of {whose} {'list' if searched.is_list else 'range'}: "
        f"`{option(design.launcher, 'widen', asked)}`"
    )


def check_budgets(factors: Mapping[str, Sequence[LevelRow]]) -> Check:
    """Warn where a level of a factor got less than 90 % of the trials of another; crashed trials do not count."""
    problems = []
    for factor, rows in factors.items():
        counts = {in_markdown(row.level, None): row.n_trials - row.n_failed for row in rows}
        if counts and min(counts.values()) < LEAST_SHARE_OF_BUDGET * max(counts.values()):
            problems.append(
                f"{factor}: " + ", ".join(f"{level} {count}" for level, count in counts.items()) + " trials"
            )
    return check("equal budgets", problems, "the levels of each factor got the same number of trials, within a tenth")


def check_settings(search: Search) -> Check:
    """Warn where fewer settings were trained at all levels than a verdict asks for, or some are not complete."""
    every = f"{search.n_settings} at every combination of levels, and a verdict asks for {ENOUGH_SETTINGS}"
    problems = [every] if search.n_settings < ENOUGH_SETTINGS else []
    if search.n_incomplete:
        left_out = "is not complete and is" if search.n_incomplete == 1 else "are not complete and are"
        problems.append(f"{plural(search.n_incomplete, 'setting')} {left_out} left out")
    return check("enough settings", problems, every)


def check_scored(search: Search, folds: int = 0) -> Check:
    """Warn where a searched network has not been scored on the part that judges."""
    were = "network was" if search.n_to_score == 1 else "networks were"
    problems = [f"{search.n_to_score} {were} not, and no level is judged"] if search.n_to_score else []
    if search.n_without_examples:
        have = "network has" if search.n_without_examples == 1 else "networks have"
        problems.append(f"{search.n_without_examples} {have} {NO_EXAMPLES}; no level is judged")
    scored = "each network of the search was scored on the test part once, and nothing was chosen by that"
    if folds:
        scored = "the rows that each network of the search held out are scored"
    return check("every network is scored", problems, scored)


def check_seeds(rows: Sequence[FinalistRow], again: str = "seed") -> Check:
    """Warn where a finalist has fewer fresh seeds (or repeats) than a verdict asks for."""
    counts = {row.finalist.id: row.valid.n if row.valid else 0 for row in rows}
    problems = [f"{name} has {n} of {ENOUGH_SEEDS}" for name, n in counts.items() if n < ENOUGH_SEEDS]
    problems = problems if rows else [f"no finalist was trained again on fresh {again}s"]
    return check(f"enough fresh {again}s", problems, f"every finalist has at least {ENOUGH_SEEDS} fresh {again}s")


def check_confirmed(rows: Sequence[FinalistRow], planned: Mapping[str, int]) -> Check:
    """Warn where planned confirm runs, of which each finalist has a number, are missing, crashed ones among them."""
    counts = {row.finalist.id: row.valid.n if row.valid else 0 for row in rows}
    problems = [f"{name}: {counts[name]} of {n} runs" for name, n in planned.items() if counts[name] < n]
    problems, every = problems if rows else ["none was run"], " or ".join(map(str, sorted({*planned.values()})))
    return check("confirm is complete", problems, f"{every} runs of every finalist")


def check_test_openings(earlier: int) -> Check:
    """Warn where the test part had been opened before: whoever saw it may have chosen by it."""
    times = "once" if earlier == 1 else f"{earlier} times"
    return check(
        "test part was closed",
        [f"opened {times} before this study"] if earlier else [],
        "this study was the first to open it",
    )


def check_judged_on_test(part: str | None, folds: int = 0, *, is_search: bool = False) -> Check:
    """Warn where the part that judges is not a test part."""
    by = "judged on the validation part, which also chose the finalists"
    if folds:
        by = f"judged by {folds}-fold cross-validation over the rows that also chose the finalists"
    if folds and is_search:
        by = "the recommended model is judged by rows that also chose it; "
        by += "levels by rows that chose nothing, fold by fold"
    problems = {"valid": [f"no test part: {by}"], None: ["no confirmed run was judged on any part"]}.get(part, [])
    return check("judged on the test part", problems, "differences are of the test part, which chose nothing")


def check_independence(design: StudyDesign, differences: Collection[Difference] = ()) -> Check:
    """Warn where the examples of the test part belong together, which the intervals do not know.

    Folds of whole groups differ as the groups do, so that an interval over folds counts that in.
    """
    drawn = next((of.drawn for of in differences if of.drawn != "examples"), None)
    if drawn is not None:
        return check("rows are independent", [], f"rows are alike, so the interval draws whole {drawn}")
    alike = {"group": "rows of one group", "time": "rows that follow each other"}.get(design.split_method, "rows")
    problems = [] if design.folds else [f"{alike} are alike, and intervals take each for a draw of its own"]
    return check("rows are independent", problems, "each fold holds whole groups out: intervals count them in")


def check_predictions(differences: Mapping[str, Difference]) -> Check:
    """Warn where an interval, by what it is of, could not count in single test examples or folds."""
    words = {
        "seeds only": "interval speaks of seeds alone",
        "seeds, examples bounded": "interval is wider than need be",
        "repeats only": "no interval without the scores of single folds",
    }
    problems = [
        f"{name}: {words[difference.method]}"
        for name, difference in differences.items()
        if (difference.low is not None or difference.method == "repeats only") and difference.method in words
    ]
    methods = dict.fromkeys(difference.method for difference in differences.values())
    counted = {
        "folds": "repeats and folds, corrected for the rows that folds share",
        "settings and rows": "settings and rows, corrected for the rows that folds share",
        "settings and examples": "settings and test examples",
    }
    over = dict.fromkeys(counted.get(method, "seeds and test examples") for method in methods)
    told = (
        f"intervals are over {'; of the recommended model, over '.join(over)}" if over else "there is no interval yet"
    )
    return check("predictions at hand", problems, told)


def check_region(rows: Sequence[FinalistRow], design: StudyDesign) -> Check:
    """Warn where the region of practical equivalence is wide beside what the best finalist leaves to be gained."""
    best = max((row.valid.mean for row in rows if row.valid), default=design.dummy_score)
    left, problems = design.metric.perfect - best, []
    if design.equivalence > WIDE_REGION * left:
        share = f"{design.equivalence / left:.0%} of what is left" if left > 0 else "all there is"
        problems = [f"{design.metric.region(design.equivalence)} is {share} to a perfect score: a narrower one may fit"]
    return check("region fits the score", problems, "it is small beside what is left to a perfect score")


def check_drift(design: StudyDesign) -> Check | None:
    """Warn where numbers drift, so that the training part's mean is far off on a part that judges; else None."""
    parts = {"rows held out" if design.folds else "validation part": "valid"}
    parts |= {"test part": "test"} if design.has_test and not design.folds else {}
    if design.metric.key != R2.key or min(map(design.dummy_on, parts.values())) > _DRIFT:
        return None
    far = " and ".join(f"{design.dummy_on(part):.3g} on the {name}" for name, part in parts.items())
    problem = f"always giving the training part's mean has an R² of {far}: their numbers lie elsewhere, and a network"
    return check("parts are alike", [f"{problem} follows them only as far as its columns tell"], "")


def all_checks(
    found: Comparison, runs: Mapping[str, Sequence[TrialRecord]], planned: Mapping[str, int]
) -> tuple[Check, ...]:
    """Return every check of a comparison that has none yet, in the order of the report.

    ``runs`` are each finalist's on fresh seeds, ``planned`` is how many there were to be.
    """
    design, search, finalists, questions = found.design, found.search, found.finalists, found.questions
    rows = [row for question in questions for row in question.rows]
    differences = {
        in_markdown(f"{c.factor} {c.level}", None): c.difference for q in questions for c in q.contrasts if c.difference
    }
    if found.recommendation is not None and found.recommendation.difference is not None and search is not None:
        differences["the best alternative"] = found.recommendation.difference
    are_alike = design.split_method in ("group", "time") or any(of.drawn != "examples" for of in differences.values())
    searched = {q.factor.name: q.rows for q in questions if any(row.n_trials for row in q.rows)}
    has_networks = any(row.n_finished for row in rows)
    return (
        *([] if search is None else [check_settings(search)]),
        *([check_scored(search, design.folds)] if search is not None and has_networks else []),
        check_confirmed(finalists, planned),
        check_seeds(finalists, design.again),
        check_judged_on_test(found.part, design.folds, is_search=search is not None),
        *([] if design.folds or not design.has_test else [check_test_openings(design.earlier_test_openings)]),
        check_predictions(differences),
        *([check_independence(design, differences.values())] if are_alike else []),
        check_trained(rows),
        check_divergence(rows, finalists),
        check_failures(rows),
        check_budgets(searched),
        check_edges(_at_their_best(rows, finalists), design, [row.finalist.id for row in finalists]),
        check_still_improving(runs, design.equivalence, design.metric),
        check_overfitting(runs),
        check_region(finalists, design),
        *filter(None, [check_drift(design), check_linear(found)]),
    )


def _at_their_best(rows: Sequence[LevelRow], finalists: Sequence[FinalistRow]) -> dict[str, TrialConfig]:
    """Return the configurations whose place in a range counts; a level's best that is a finalist has that name."""
    found = {row.finalist.id: row.finalist.config for row in finalists}
    levels = {f"best of {row.where}": row.best for row in rows}
    return found | {name: best for name, best in levels.items() if best is not None and best not in found.values()}


def _numbers(value: object) -> list[float]:
    """Return the numbers in a logged parameter; units of unequal layers are joined by commas."""
    try:
        return [float(number) for number in str(value).split(",")]
    except ValueError:
        return []


def _side_reached(value: float, searched: SearchRange) -> str | None:
    if searched.log and value <= 0:
        return None
    edge, share = 0.0 if searched.is_list else EDGE, searched.place(value)
    if -edge <= share <= edge:
        return "down"
    return "up" if 1 - edge <= share <= 1 + edge else None


#: In the metric's own scale: a point of a percentage.
_LEAST_GAP = 0.01
_LINEAR = ("logistic regression", "ridge regression")


def linear_model(references: Sequence[ReferenceScores]) -> ReferenceScores | None:
    """Return the linear one of scikit-learn's models, or None where it was not fitted."""
    return next((one for one in references if one.name.startswith(_LINEAR)), None)


def against_linear(found: Comparison) -> tuple[str, float, Difference] | None:
    """Return the name of the linear model, its score on the part that judges, and that of tuned depth 0.

    None where one of them is unknown. With cross-validation scores are means over folds.
    """
    rows = (row for question in found.questions for row in question.rows if question.factor.name == "depth")
    tuned = next((row.tuned for row in rows if row.level == "0"), None)
    if found.linear is None or tuned is None:
        return None
    score = found.linear.valid if found.part == "valid" else found.linear.test
    return None if score is None else (found.linear.name, score, tuned)


def check_linear(found: Comparison) -> Check | None:
    """Warn where tuned depth 0 stays clearly behind scikit-learn's linear model; None where either is unknown."""
    both = against_linear(found)
    if both is None:
        return None
    (linear, score, tuned), metric, problems = both, found.design.metric, []
    gap = score - tuned.estimate
    if gap > max(_LEAST_GAP if metric.own is None else 0.0, 2 * found.design.equivalence):
        problems.append(
            f"tuned depth 0 stays {metric.text(gap, signed=False)} below scikit-learn's {linear}: it was not "
            "trained well, and where it hurts, that may be a failure of training (see its ranges and epochs)"
        )
    return check("depth 0 is a linear model", problems, f"tuned depth 0 keeps up with scikit-learn's {linear}")
