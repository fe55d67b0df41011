"""From the records of a study to a Comparison: tables, contrasts, verdicts, recommendation and checks.

Pure: what was measured goes in, what may be said comes out. Takes what there is (no confirm runs, half of them, a
level that failed) and names what is missing; never raises on records that are valid. Read :func:`compare` first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.records import TrialRecord
from reports.checks import all_checks
from reports.confirmed import Confirmed, Predictions, finalist_row, gather
from reports.design import Factor, Finalist, StudyDesign
from reports.effort import half_search_better
from reports.example_scores import FoldScores, example_scores, fold_scores
from reports.finalists import finalists_from_records, without_seed
from reports.levels import compare_trials, is_untrained, level_row, valid_score
from reports.records import Comparison, Contrast, Difference, FinalistRow, LevelRow, Question, Recommendation, Verdict
from reports.study import StudyData
from reports.verdict import adjust, advise, decide, missing_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class _Study:
    """What every step needs: the design, all records, and the confirm runs among them."""

    design: StudyDesign
    records: Sequence[TrialRecord]
    confirmed: Confirmed


def compare_study(study: StudyData) -> Comparison:
    """Compare the levels of a study that was read, whatever its metric."""
    key, predictions = study.design.metric.key, study.predictions
    by_example = {run_id: example_scores(key, of) for run_id, of in predictions.items() if of.fold is None}
    by_fold = {run_id: fold_scores(key, of) for run_id, of in predictions.items() if of.fold is not None}
    return compare(
        study.design,
        study.records,
        study.finalists,
        {run_id: scores for run_id, scores in by_example.items() if scores is not None},
        {run_id: scores for run_id, scores in by_fold.items() if scores is not None},
    )


def compare(
    design: StudyDesign,
    records: Sequence[TrialRecord],
    finalists: Sequence[Finalist] = (),
    predictions: Predictions | None = None,
    folds: Mapping[str, FoldScores] | None = None,
) -> Comparison:
    """Compare the levels of each factor of a study.

    Parameters
    ----------
    design
        What the study laid down beforehand.
    records
        Its trials, of any phase, in any order. Those of phase *confirm* name their finalist in the tag ``finalist``.
    finalists
        The frozen list. Confirm runs of a finalist that is not on it are left out. Without a list, the finalists are
        read back from the confirm runs.
    predictions
        Run id -> ``(n_test,)`` right or wrong (bool), or score, of each test example.
    folds
        Run id -> the scores of its folds, where the study is cross-validated.
    """
    finalists = finalists or finalists_from_records(records, design)
    confirmed = gather(records, finalists, design, predictions or {}, folds or {})
    study = _Study(design=design, records=records, confirmed=confirmed)
    questions = tuple(_question(factor, study) for factor in design.factors)
    finalist_rows = tuple(finalist_row(finalist, confirmed) for finalist in finalists)
    return Comparison(
        design=design,
        part=confirmed.part,
        questions=questions,
        finalists=finalist_rows,
        recommendation=recommend(finalist_rows, confirmed),
        checks=all_checks(
            design,
            part=confirmed.part,
            questions=questions,
            finalists=finalist_rows,
            histories={f.id: [run.history for run in confirmed.runs[f.id].values()] for f in finalists},
        ),
    )


def recommend(rows: Sequence[FinalistRow], confirmed: Confirmed) -> Recommendation | None:
    """Recommend the best confirmed validation mean, and name the cheapest within practical equivalence of it.

    A finalist with few seeds may have been lucky: only those with as many as the fullest, or with the minimum that a
    verdict asks for, take part. Both are chosen on the validation part; the test part only says what they differ by.
    """
    design = confirmed.design
    enough = min(design.min_seeds, max((row.valid.n for row in rows if row.valid), default=0))
    means = [(row.valid.mean, row) for row in rows if row.valid and row.valid.n >= enough]
    if not means:
        return None
    best_mean, best = max(means, key=lambda pair: (pair[0], -(pair[1].n_params or 0)))
    close = [row for mean, row in means if mean >= best_mean - design.equivalence and row.n_params is not None]
    cheapest = min(close, key=lambda row: row.n_params or 0, default=best)
    if best.n_params is None or cheapest.n_params == best.n_params:
        cheapest = best
    difference = None if cheapest is best else confirmed.difference(cheapest.finalist.id, best.finalist.id)
    verdict = None if difference is None else _decide(difference, difference.p, design)
    return Recommendation(recommended=best, cheapest=cheapest, difference=difference, verdict=verdict)


def _question(factor: Factor, study: _Study) -> Question:
    rows = tuple(level_row(factor, level, study.records, study.confirmed) for level in factor.levels)
    reference = next(row for row in rows if row.is_reference)
    others = [row for row in rows if not row.is_reference]
    differences = [_difference(row, reference, study.confirmed) for row in others]
    adjusted = adjust([difference.p if difference else None for difference in differences])
    means = [(row.valid.mean, row.level) for row in rows if row.valid and row.status != "never trained"]
    return Question(
        factor=factor,
        rows=rows,
        contrasts=tuple(
            _contrast(row, reference, _Estimate(difference=difference, p_holm=p_holm), factor, study)
            for row, difference, p_holm in zip(others, differences, adjusted, strict=True)
        ),
        best_level=max(means, key=lambda pair: pair[0])[1] if means else None,
        missing=tuple(text for row in rows if (text := _missing(row, study.design))),
    )


def _difference(row: LevelRow, reference: LevelRow, confirmed: Confirmed) -> Difference | None:
    """Level minus reference; None where a finalist is missing, or both are one and the same configuration."""
    if row.finalist is None or reference.finalist is None or _same(row, reference):
        return None
    return confirmed.difference(row.finalist, reference.finalist)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    difference: Difference | None
    p_holm: float | None


def _contrast(row: LevelRow, reference: LevelRow, estimate: _Estimate, factor: Factor, study: _Study) -> Contrast:
    same, design = _same(row, reference), study.design
    p_better, n_pairs = (None, 0) if same else study.confirmed.p_better(row.finalist, reference.finalist)
    searched = [
        np.array([valid_score(r, design) for r in compare_trials(study.records, factor, level) if r.state != "failed"])
        for level in (row.level, reference.level)
    ]
    return Contrast(
        factor=row.factor,
        level=row.level,
        reference=reference.level,
        level_finalist=row.finalist,
        reference_finalist=reference.finalist,
        same_configuration=same,
        difference=estimate.difference,
        p_holm=estimate.p_holm,
        p_better=p_better,
        n_pairs=n_pairs,
        p_better_search=half_search_better(*searched),
        verdict=_verdict(row, reference, estimate, study),
    )


def _verdict(row: LevelRow, reference: LevelRow, estimate: _Estimate, study: _Study) -> Verdict:
    design = study.design
    for level in (row, reference):
        if level.status == "never trained":
            return Verdict(
                word="never trained",
                because=f"{level.factor} {level.level} never left chance on the training part: {_why_stuck(study)}",
            )
    if _same(row, reference):
        return Verdict(
            word="practically equal",
            because="the best of both levels is the same configuration: no difference by construction",
        )
    if estimate.difference is None:
        missing = [level.level for level in (row, reference) if not level.valid]
        no_pair = f"no {design.again} is shared"
        because = f"no confirmed run of {row.factor} {' and '.join(missing)}" if missing else no_pair
        return missing_verdict(design.min_seeds, because)
    return _decide(estimate.difference, estimate.p_holm, design)


def _why_stuck(study: _Study) -> str:
    """Tell a level that stands still from data in which no trial of the study found anything."""
    if any(r.state == "finished" and r.history.n_epochs and not is_untrained(r, study.design) for r in study.records):
        return "a failure of optimization, which says nothing of what the level could do"
    return "nor did any other trial of the study, so that it is open whether these data have anything to learn"


def _decide(difference: Difference, p_holm: float | None, design: StudyDesign) -> Verdict:
    verdict = decide(
        difference, p_holm, equivalence=design.equivalence, min_seeds=design.min_seeds, metric=design.metric
    )
    return advise(verdict, difference, equivalence=design.equivalence)


def _same(row: LevelRow, reference: LevelRow) -> bool:
    """Whether the best of both levels is one configuration (depth 0 under two activations is one network)."""
    if row.best is None or reference.best is None or row.finalist is None or reference.finalist is None:
        return False
    return without_seed(row.best) == without_seed(reference.best)


def _missing(row: LevelRow, design: StudyDesign) -> str | None:
    where, n_seeds = f"{row.factor} {row.level}", row.valid.n if row.valid else 0
    return {
        "no trials": f"{where}: no trial was run",
        "failed": f"{where}: all {row.n_trials} trials failed",
        "diverged": f"{where}: every trial diverged",
        "unconfirmed": f"{where}: not trained again on fresh seeds",
        "partly confirmed": f"{where}: {n_seeds} of {design.n_seeds} fresh {design.again}s",
    }.get(row.status)
