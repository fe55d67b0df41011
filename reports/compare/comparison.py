"""From the records of a study to a Comparison: tables, contrasts, verdicts, recommendation and checks.

Pure: what was measured goes in, what may be said comes out. Takes what there is (networks that were not scored yet, a
level that failed) and names what is missing; never raises on records that are valid. Read :func:`compare` first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.records import TrialRecord
from depthcheck.pipeline.scores import ENOUGH_SEEDS, ENOUGH_SETTINGS, by_mean
from depthcheck.reports.compare.checks import NO_EXAMPLES, all_checks, check_engine, check_leaks, linear_model
from depthcheck.reports.compare.evidence import Evidence, finalist_row, gather, level_row
from depthcheck.reports.compare.example_scores import ExampleScores, fold_scores, judged_examples
from depthcheck.reports.compare.results import (
    Comparison,
    Contrast,
    Difference,
    FinalistRow,
    LevelRow,
    Question,
    Recommendation,
    Search,
    Verdict,
)
from depthcheck.reports.compare.study_data import (
    Factor,
    FrozenFinalist,
    ReferenceScores,
    StudyData,
    StudyDesign,
    is_untrained,
    without_seed,
)
from depthcheck.reports.compare.verdict import (
    SIGNIFICANCE,
    adjust,
    advise,
    decide,
    enough_of,
    error_of_look,
    not_enough,
)


def compare_study(study: StudyData) -> Comparison:
    """Compare the levels of a study that was read, whatever its metric."""
    key, predictions = study.design.metric.key, study.predictions
    answers = {run_id: judged_examples(key, of) for run_id, of in predictions.items()}
    by_fold = {run_id: fold_scores(key, of) for run_id, of in predictions.items()}
    found = compare(
        study.design,
        study.records,
        study.finalists,
        {run_id: scores for run_id, scores in answers.items() if scores is not None},
        {run_id: scores for run_id, scores in by_fold.items() if scores is not None},
        # A user's own model is none at any depth.
        linear=None if any(of.config.model.own for of in study.records) else linear_model(study.facts.references),
    )
    leaks = study.facts.data.leaks
    more = [] if leaks is None else [check_leaks(leaks)]
    engine = check_engine([record.engine for record in study.records])
    return replace(found, checks=(*more, *found.checks, *filter(None, [engine])))


def compare(
    design: StudyDesign,
    records: Sequence[TrialRecord],
    finalists: Sequence[FrozenFinalist] = (),
    answers: Mapping[str, ExampleScores] | None = None,
    folds: Mapping[str, NDArray[np.float64]] | None = None,
    *,
    linear: ReferenceScores | None = None,
) -> Comparison:
    """Compare the levels of each factor of a study.

    Parameters
    ----------
    records
        The study's trials, of any phase, in any order; those of *confirm* name their finalist in the tag ``finalist``.
    finalists
        The frozen list. Confirm runs of a finalist that is not on it are left out.
    answers
        Run id -> the score of each test example, or of each row by fold: of searched networks and of confirm runs.
    folds
        Run id -> the score of each of its folds, ``(n_folds,)``, where the study is cross-validated.
    linear
        What scikit-learn's linear model reaches on the same split, by which depth 0 is checked.
    """
    evidence = gather(design, records, finalists, answers or {}, folds or {})
    search = None if evidence.settings is None else evidence.settings.search
    rows = tuple(finalist_row(finalist, evidence) for finalist in finalists)
    begun = {(r.tags.get("finalist"), r.config.fit.seed) for r in records if r.phase == "confirm"}
    n_confirmed = Counter(name for name, _ in begun)
    # The latest session may have asked for fewer seeds than an earlier one.
    planned = {of.id: max(design.n_seeds, n_confirmed[of.id]) for of in finalists}
    n_left = [n - n_confirmed[name] for name, n in planned.items()] or [design.n_seeds]
    found = Comparison(
        design=design,
        part=evidence.part or (None if search is None else "valid" if design.folds or not design.has_test else "test"),
        questions=tuple(_question(factor, evidence) for factor in design.factors),
        finalists=rows,
        recommendation=recommend(rows, evidence),
        search=search,
        linear=linear,
        n_to_confirm=sum(n_left),
    )
    runs = {finalist.id: list(evidence.runs[finalist.id].values()) for finalist in finalists}
    return replace(found, checks=all_checks(found, runs, planned))


def recommend(rows: Sequence[FinalistRow], evidence: Evidence) -> Recommendation | None:
    """Recommend the best confirmed validation mean, and name the best of the others.

    By the rule that the registry's champion is chosen by (:func:`depthcheck.pipeline.scores.by_mean`). Both are chosen
    on the validation part; the test part only says what they differ by.
    """
    of = {row.finalist.id: row for row in rows if row.valid}
    scores = {name: list(evidence.scores(name, "valid").values()) for name in of}
    ordered = [of[name] for name in by_mean(scores)]
    if not ordered:
        return None
    best, alternative = ordered[0], ordered[1] if len(ordered) > 1 else None
    difference = evidence.difference(alternative.finalist.id, best.finalist.id) if alternative else None
    return Recommendation(recommended=best, alternative=alternative, difference=difference)


def _question(factor: Factor, evidence: Evidence) -> Question:
    judged = evidence.judged
    curves = () if judged is None else judged.curves(factor.name, factor.levels, factor.reference)
    at = 0 if judged is None else curves[0].subsets.index(judged.search.subset)
    tuned = {curve.level: curve.scores[at] for curve in curves}
    rows = tuple(level_row(factor, level, evidence, tuned.get(level)) for level in factor.levels)
    reference = next(row for row in rows if row.is_reference)
    others = [row for row in rows if not row.is_reference]
    against = {curve.level: curve.differences[at] for curve in curves if curve.differences}
    differences = [
        None
        if "failed" in (row.status, reference.status) or _same(row, reference)
        else against.get(row.level) or evidence.difference(row.finalist, reference.finalist)
        for row in others
    ]
    error = SIGNIFICANCE if evidence.settings is None else error_of_look(evidence.design.looks)
    adjusted = adjust([difference.p if difference else None for difference in differences], error)
    ordered = [row for row in rows if row.status != "never trained" and row.valid_mean is not None]
    failed = {row.level for row in rows if row.status == "failed"}
    return Question(
        factor=factor,
        rows=rows,
        contrasts=tuple(
            Contrast(
                factor=row.factor,
                level=row.level,
                reference=reference.level,
                difference=difference,
                p_holm=p_holm,
                p_better=evidence.p_better(row.finalist, reference.finalist) if not _same(row, reference) else None,
                verdict=_verdict(row, reference, difference, p_holm, evidence),
            )
            for row, difference, p_holm in zip(others, differences, adjusted, strict=True)
        ),
        best_level=max(ordered, key=lambda row: row.valid_mean or 0.0).level if ordered else None,
        missing=tuple(text for row in rows if (text := _missing(row, evidence.design))),
        curves=() if reference.status == "failed" else tuple(of for of in curves if of.level not in failed),
    )


def _verdict(
    row: LevelRow, reference: LevelRow, difference: Difference | None, p_holm: float | None, evidence: Evidence
) -> Verdict:
    design = evidence.design
    for level in (row, reference):
        if level.status == "never trained":
            because = f"{level.factor} {level.level} never beat the dummy baseline on the training part: "
            return Verdict(word="never trained", because=because + _why_stuck(evidence))
    if _same(row, reference):
        because = "the best of both levels is the same configuration: no difference by construction"
        return Verdict(word="practically equal", because=because)
    failed = [level.level for level in (row, reference) if level.status == "failed"]
    if failed and (evidence.judged is not None or evidence.settings is None):
        because = f"every trial of {row.factor} {' and '.join(failed)} failed"
        return Verdict(word="not enough evidence", because=because)
    if difference is not None:
        levels = next(factor.levels for factor in design.factors if factor.name == row.factor)
        equivalence, enough = design.equivalence, enough_of(difference.again)
        verdict = decide(difference, p_holm, equivalence=equivalence, enough=enough, metric=design.metric)
        error = error_of_look(design.looks) if difference.again == "setting" else SIGNIFICANCE
        return advise(verdict, difference, equivalence=equivalence, error=error, n_contrasts=len(levels) - 1)
    if evidence.settings is not None:
        return _unjudged(evidence.settings.search, evidence)
    missing = [level.level for level in (row, reference) if not level.valid]
    no_pair = f"no {design.again} is shared"
    because = f"no confirmed run of {row.factor} {' and '.join(missing)}" if missing else no_pair
    return Verdict(word="not enough evidence", because=because, more=ENOUGH_SEEDS)


def _unjudged(search: Search, evidence: Evidence) -> Verdict:
    """Give the verdict where the search cannot carry an interval."""
    n = search.n_to_score or search.n_without_examples
    networks = "1 network of the search has" if n == 1 else f"{n} networks of the search have"
    because = "the part that judges has a single example"
    states = {record.state for record in evidence.records if record.phase == "compare"}
    if states and "finished" not in states:
        because = "every trial of the search diverged or failed"
    elif not (evidence.design.folds or evidence.design.has_test):
        because = "there is no test part, by which levels are judged"
    elif search.n_settings < ENOUGH_SETTINGS:
        return not_enough(search.n_settings, "setting", ENOUGH_SETTINGS)
    elif search.n_to_score:
        because = f"{networks} not been scored on the test part yet"
    elif n:
        because = f"{networks} {NO_EXAMPLES}"
    return Verdict(word="not enough evidence", because=because)


def _why_stuck(evidence: Evidence) -> str:
    """Tell a level that stands still from data in which no trial of the study found anything."""
    finished = [r for r in evidence.records if r.state == "finished" and r.history.n_epochs]
    if any(not is_untrained(record, evidence.design) for record in finished):
        return "a failure of optimization, which says nothing of what the level could do"
    return "nor did any other trial of the study, so that it is open whether these data have anything to learn"


def _same(row: LevelRow, reference: LevelRow) -> bool:
    """Whether two levels, whose finalists the user or a search without settings chose, are one configuration."""
    if row.best is None or reference.best is None or row.finalist is None or reference.finalist is None:
        return False
    return without_seed(row.best) == without_seed(reference.best)


def _missing(row: LevelRow, design: StudyDesign) -> str | None:
    where, n_seeds = f"{row.factor} {row.level}", row.valid.n if row.valid else 0
    return {
        "no trials": f"{where}: no trial was run",
        "failed": f"{where}: {'its only trial' if row.n_trials == 1 else f'all {row.n_trials} trials'} failed",
        "diverged": f"{where}: every trial diverged",
        "partly confirmed": f"{where}: {n_seeds} of {design.n_seeds} fresh {design.again}s",
    }.get(row.status)
