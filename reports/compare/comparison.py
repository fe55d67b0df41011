"""From the records of a study to a Comparison: tables, contrasts, verdicts, recommendation and checks.

Pure: what was measured goes in, what may be said comes out. Takes what there is (networks that were not scored yet, a
level that failed) and names what is missing; never raises on records that are valid. Read :func:`compare` first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from depthcheck.pipeline.records import TrialRecord
from depthcheck.reports.compare.checks import all_checks, check_linear, linear_model
from depthcheck.reports.compare.confirmed import Confirmed, finalist_row, gather, level_row
from depthcheck.reports.compare.difference import units_of
from depthcheck.reports.compare.example_scores import ExampleScores, FoldScores, fold_scores, judged_examples
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
from depthcheck.reports.compare.settings import Settings, settings_of
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
    error_of_look,
    missing_verdict,
    not_enough,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Study:
    """What every step needs: the design, all records, the confirm runs among them, and the table of settings."""

    design: StudyDesign
    records: Sequence[TrialRecord]
    confirmed: Confirmed
    settings: Settings | None

    @property
    def judged(self) -> Settings | None:
        """The table of settings, where it can carry intervals."""
        return self.settings if self.settings is not None and self.settings.is_judged else None


def compare_study(study: StudyData) -> Comparison:
    """Compare the levels of a study that was read, whatever its metric."""
    key, predictions = study.design.metric.key, study.predictions
    answers = {run_id: judged_examples(key, of) for run_id, of in predictions.items()}
    by_fold = {run_id: fold_scores(key, of) for run_id, of in predictions.items() if of.fold is not None}
    return compare(
        study.design,
        study.records,
        study.finalists,
        {run_id: scores for run_id, scores in answers.items() if scores is not None},
        {run_id: scores for run_id, scores in by_fold.items() if scores is not None},
        linear=linear_model(study.facts.references),
    )


def compare(
    design: StudyDesign,
    records: Sequence[TrialRecord],
    finalists: Sequence[FrozenFinalist] = (),
    answers: Mapping[str, ExampleScores] | None = None,
    folds: Mapping[str, FoldScores] | None = None,
    *,
    linear: ReferenceScores | None = None,
) -> Comparison:
    """Compare the levels of each factor of a study.

    Parameters
    ----------
    design
        What the study laid down beforehand.
    records
        Its trials, of any phase, in any order. Those of phase *confirm* name their finalist in the tag ``finalist``.
    finalists
        The frozen list. Confirm runs of a finalist that is not on it are left out.
    answers
        Run id -> the score of each test example, or of each row by fold: of searched networks and of confirm runs.
    folds
        Run id -> the scores of its folds, where the study is cross-validated.
    linear
        What scikit-learn's linear model reaches on the same split, by which depth 0 is checked.
    """
    answers = answers or {}
    on_test = {run_id: of.scores for run_id, of in answers.items() if of.fold is None}
    units = units_of(answers.values(), design.split_method)
    confirmed = replace(gather(records, finalists, design, on_test, folds or {}), units=units)
    study = _Study(
        design=design,
        records=records,
        confirmed=confirmed,
        settings=settings_of(design, records, _searched(records, answers)),
    )
    questions = tuple(_question(factor, study) for factor in design.factors)
    finalist_rows = tuple(finalist_row(finalist, confirmed) for finalist in finalists)
    search = _search(study.settings)
    part = confirmed.part or (None if search is None else "valid" if design.folds else "test")
    recommendation = recommend(finalist_rows, confirmed)
    return Comparison(
        design=design,
        part=part,
        questions=questions,
        finalists=finalist_rows,
        recommendation=recommendation,
        search=search,
        linear=linear,
        checks=(
            *all_checks(
                design,
                part=part,
                search=search,
                questions=questions,
                finalists=finalist_rows,
                recommendation=recommendation,
                histories={f.id: [run.history for run in confirmed.runs[f.id].values()] for f in finalists},
            ),
            *filter(None, [check_linear(questions, linear, part, design)]),
        ),
    )


def recommend(rows: Sequence[FinalistRow], confirmed: Confirmed) -> Recommendation | None:
    """Recommend the best confirmed validation mean, and name the best of the others.

    A finalist with few seeds may have been lucky: only those with as many as the fullest, or with the minimum that a
    verdict asks for, take part. Both are chosen on the validation part; the test part only says what they differ by.
    """
    design = confirmed.design
    enough = min(design.min_seeds, max((row.valid.n for row in rows if row.valid), default=0))
    means = [(row.valid.mean, row) for row in rows if row.valid and row.valid.n >= enough]
    if not means:
        return None
    ordered = [row for _, row in sorted(means, key=lambda pair: (-pair[0], pair[1].n_params or 0))]
    best, alternative = ordered[0], ordered[1] if len(ordered) > 1 else None
    difference = None
    if alternative is not None:
        difference = confirmed.difference(alternative.finalist.id, best.finalist.id)
    verdict = None if difference is None else _decide(difference, difference.p, design)
    return Recommendation(recommended=best, alternative=alternative, difference=difference, verdict=verdict)


def _searched(records: Sequence[TrialRecord], answers: Mapping[str, ExampleScores]) -> dict[str, ExampleScores]:
    ours = {record.run_id for record in records if record.phase == "compare"}
    return {run_id: of for run_id, of in answers.items() if run_id in ours}


def _search(settings: Settings | None) -> Search | None:
    if settings is None:
        return None
    return Search(
        n_settings=settings.n_settings,
        subset=settings.subset,
        n_combinations=len(settings.combinations),
        n_examples=settings.n_examples,
        n_incomplete=settings.n_incomplete,
        n_unscored=settings.n_unscored,
        seconds=settings.seconds,
    )


def _question(factor: Factor, study: _Study) -> Question:
    rows = tuple(
        level_row(factor, level, study.records, study.confirmed, settings=study.judged, by_seeds=study.settings is None)
        for level in factor.levels
    )
    reference = next(row for row in rows if row.is_reference)
    others = [row for row in rows if not row.is_reference]
    differences = [_difference(row, reference, study) for row in others]
    error = SIGNIFICANCE if study.settings is None else error_of_look(study.design.looks)
    adjusted = adjust([difference.p if difference else None for difference in differences], error)
    scores = [(_order(row), row.level) for row in rows if row.status != "never trained" and _order(row) is not None]
    return Question(
        factor=factor,
        rows=rows,
        contrasts=tuple(
            _contrast(row, reference, difference, p_holm, study)
            for row, difference, p_holm in zip(others, differences, adjusted, strict=True)
        ),
        best_level=max(scores, key=lambda pair: pair[0] or 0.0)[1] if scores else None,
        missing=tuple(text for row in rows if (text := _missing(row, study.design))),
        curves=() if study.judged is None else study.judged.curves(factor.name, factor.levels, factor.reference),
    )


def _order(row: LevelRow) -> float | None:
    """Return the validation score that orders levels: of tuning, or of the chosen configuration's fresh seeds."""
    if row.tuned_valid is not None:
        return row.tuned_valid
    return row.valid.mean if row.valid else None


def _difference(row: LevelRow, reference: LevelRow, study: _Study) -> Difference | None:
    """Level minus reference; None where nothing can be held against each other, or both are one configuration."""
    if study.settings is not None:
        return None if study.judged is None else study.judged.difference(row.factor, row.level, reference.level)
    if row.finalist is None or reference.finalist is None or _same(row, reference):
        return None
    return study.confirmed.difference(row.finalist, reference.finalist)


def _contrast(
    row: LevelRow, reference: LevelRow, difference: Difference | None, p_holm: float | None, study: _Study
) -> Contrast:
    chosen = study.settings is None and not _same(row, reference)
    p_better, n_pairs = study.confirmed.p_better(row.finalist, reference.finalist) if chosen else (None, 0)
    return Contrast(
        factor=row.factor,
        level=row.level,
        reference=reference.level,
        difference=difference,
        p_holm=p_holm,
        p_better=p_better,
        n_pairs=n_pairs,
        verdict=_verdict(row, reference, difference, p_holm, study),
    )


def _verdict(
    row: LevelRow, reference: LevelRow, difference: Difference | None, p_holm: float | None, study: _Study
) -> Verdict:
    design = study.design
    for level in (row, reference):
        if level.status == "never trained":
            return Verdict(
                word="never trained",
                because=f"{level.factor} {level.level} never beat the dummy baseline on the training part: "
                f"{_why_stuck(study)}",
            )
    if study.settings is None and _same(row, reference):
        return Verdict(
            word="practically equal",
            because="the best of both levels is the same configuration: no difference by construction",
        )
    if difference is not None:
        return _decide(difference, p_holm, design)
    if study.settings is not None:
        return _unjudged(study.settings, study)
    missing = [level.level for level in (row, reference) if not level.valid]
    no_pair = f"no {design.again} is shared"
    because = f"no confirmed run of {row.factor} {' and '.join(missing)}" if missing else no_pair
    return missing_verdict(design.min_seeds, because)


def _unjudged(settings: Settings, study: _Study) -> Verdict:
    """Give the verdict where the search cannot carry an interval."""
    enough = study.design.min_settings
    if settings.n_settings < enough:
        return not_enough(settings.n_settings, "setting", enough)
    n = settings.n_unscored
    because = "the part that judges has a single example"
    if n:
        networks = "1 network of the search has" if n == 1 else f"{n} networks of the search have"
        because = f"{networks} not been scored on the {'test part' if not study.design.folds else 'rows held out'} yet"
        if study.confirmed.part == "valid" and not study.design.folds:
            because = "there is no test part, by which levels are judged"
    return Verdict(word="not enough evidence", because=because)


def _why_stuck(study: _Study) -> str:
    """Tell a level that stands still from data in which no trial of the study found anything."""
    if any(r.state == "finished" and r.history.n_epochs and not is_untrained(r, study.design) for r in study.records):
        return "a failure of optimization, which says nothing of what the level could do"
    return "nor did any other trial of the study, so that it is open whether these data have anything to learn"


def _decide(difference: Difference, p_holm: float | None, design: StudyDesign) -> Verdict:
    enough = design.enough(difference.again)
    verdict = decide(difference, p_holm, equivalence=design.equivalence, enough=enough, metric=design.metric)
    return advise(verdict, difference, equivalence=design.equivalence)


def _same(row: LevelRow, reference: LevelRow) -> bool:
    """Whether two chosen configurations are one."""
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
