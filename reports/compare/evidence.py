"""What judges a study: the table of settings, and the confirm runs of each finalist; and the tables' rows. Pure.

The compare phase is a table, a row a setting, a column a combination of levels. A setting is one row of tuned values,
mapped into the ranges of each combination of levels; its networks share their training seed, by which they are found.
A setting counts once every combination has been trained with it, so that levels are compared at the same settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.records import TrialRecord
from depthcheck.reports.compare.difference import (
    degrees_of_freedom,
    difference_of_means,
    fold_difference,
    fold_shares,
    found,
    probability_better,
    reaching,
    subset_size,
    subset_weights,
    tuned_scores,
)
from depthcheck.reports.compare.example_scores import ExampleScores, Units, difference_by_units, units_of
from depthcheck.reports.compare.results import (
    Difference,
    FinalistRow,
    LevelCurve,
    LevelRow,
    LevelStatus,
    Search,
    Spread,
)
from depthcheck.reports.compare.study_data import (
    Factor,
    FrozenFinalist,
    StudyDesign,
    best_trial,
    compare_trials,
    is_untrained,
    record_level,
    valid_score,
)
from depthcheck.reports.compare.verdict import error_of_look

JudgingPart = Literal["test", "valid"]
#: A logged score of a cross-validation is a mean over folds, or over rows: folds may differ by a row in size.
_FOLD_TOLERANCE = 0.01
#: Sizes of subsets for which a curve is drawn.
_MOST_POINTS = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Settings:
    """What the networks of the complete settings reached.

    Attributes
    ----------
    combinations
        The levels of each column, in the order of the design's factors.
    valid
        ``(n_settings, n_combinations)`` validation scores; with folds ``(n_settings, n_combinations, n_folds)``.
    scores, fold
        ``(n_settings, n_combinations, n_examples)`` scores of what judges; ``(n_examples,)`` with cross-validation.
    units
        Which examples belong together, where any do: intervals then draw these.
    """

    design: StudyDesign
    combinations: tuple[tuple[str, ...], ...]
    valid: NDArray[np.float64]
    scores: NDArray[np.generic]
    fold: NDArray[np.int64] | None
    units: Units | None
    search: Search

    @property
    def is_judged(self) -> bool:
        """Whether intervals can be given: at least three settings, and every network scored."""
        return self.search.n_settings >= FEWEST_SETTINGS and not self.search.n_unscored and self.scores.shape[2] > 1

    def columns(self, factor: str, level: str) -> list[int]:
        """Return the positions of the combinations that have this level."""
        at = [one.name for one in self.design.factors].index(factor)
        return [number for number, combination in enumerate(self.combinations) if combination[at] == level]

    def tuned(self, factor: str, level: str, subset: int, *, n_failed: int = 0) -> NDArray[np.float64]:
        """Return the pseudo-values of the level's tuned score, ``(n_settings + n_failed, n_examples)``."""
        columns = self.columns(factor, level)
        return tuned_scores(
            self.valid[:, columns],
            self.scores[:, columns],
            subset,
            self.fold,
            n_failed=n_failed,
            failed_score=self.design.dummy_on("test" if self.fold is None else "valid"),
        )

    def tuned_valid(self, factor: str, level: str) -> float:
        """Return the expected best validation score of the level's tuning: what orders levels, and decides nothing."""
        columns = self.columns(factor, level)
        valid = self.valid[:, columns]
        best = np.sort((valid if self.fold is None else valid.mean(axis=2)).max(axis=1))[::-1]
        return float(subset_weights(len(best), min(self.search.subset, len(best))) @ best)

    def curves(self, factor: str, levels: Sequence[str], reference: str) -> tuple[LevelCurve, ...]:
        """Return each level's tuned score, and its difference to the reference, by the number of settings tried.

        The answer is read at the search's ``subset``, which is one of these numbers. An interval reaches as far as with
        settings imagined that fail everywhere, where the metric asks for some.
        """
        n_settings, subset = self.search.n_settings, self.search.subset
        most = max(n_settings // 2, min(subset, n_settings - 1))
        sizes = sorted({round(size) for size in np.geomspace(1, most, min(most, _MOST_POINTS))} | {subset})
        scores: dict[str, list[Difference]] = {level: [] for level in levels}
        differences: dict[str, list[Difference]] = {level: [] for level in levels}
        for size, n_failed in itertools.product(sizes, sorted({0, self.design.metric.imagined_failures})):
            against = self.tuned(factor, reference, size, n_failed=n_failed)
            for level in levels:  # one table of all examples at a time: there may be a hundred levels
                values = against if level == reference else self.tuned(factor, level, size, n_failed=n_failed)
                self._add(scores[level], values, size, n_failed)
                if level != reference:
                    self._add(differences[level], values - against, size, n_failed)
        return tuple(
            LevelCurve(
                level=level, subsets=tuple(sizes), scores=tuple(scores[level]), differences=tuple(differences[level])
            )
            for level in levels
        )

    def _add(self, found: list[Difference], values: NDArray[np.float64], subset: int, n_failed: int) -> None:
        """Put an estimate behind the others, or let the last one's interval reach as far as with imagined settings."""
        estimate = self._estimate(values, subset)
        found.append(reaching(found.pop(), estimate) if n_failed else estimate)

    def _estimate(self, values: NDArray[np.float64], subset: int) -> Difference:
        return difference_by_units(
            values,
            np.zeros_like(values),
            self.units,
            pseudo_observations=None,
            method="settings and examples" if self.fold is None else "settings and rows",
            confidence=1 - error_of_look(self.design.looks),
            n_folds=0 if self.fold is None else int(self.fold.max()) + 1,
            df_rows=degrees_of_freedom(len(values), subset),
        )


#: Fewer settings leave nothing to leave out.
FEWEST_SETTINGS = 3


def settings_of(
    design: StudyDesign, records: Sequence[TrialRecord], answers: Mapping[str, ExampleScores]
) -> Settings | None:
    """Return the table of the compare phase, or None where nothing was searched, nor is to be, or nothing is tuned.

    Where nothing is tuned a level is a configuration, and fresh seeds say what it gives.

    Parameters
    ----------
    answers
        Run id -> scores of the test examples, or of all rows by fold.
    """
    found: dict[int, dict[tuple[str, ...], TrialRecord]] = {}
    for record in sorted(records, key=lambda record: record.number):
        combination = tuple(record_level(record, factor) or "" for factor in design.factors)
        if record.phase == "compare" and "" not in combination:
            found.setdefault(record.config.fit.seed, {}).setdefault(combination, record)
    if not design.is_tuned or not design.factors or not (found or design.budgets.get("compare")):
        return None
    combinations = tuple(itertools.product(*(factor.levels for factor in design.factors)))
    rows = [[of[combination] for combination in combinations] for of in found.values() if len(of) == len(combinations)]
    answers = {r.run_id: answers[r.run_id] for r in records if r.phase == "compare" and r.run_id in answers}
    any_of = next(iter(answers.values()), None)
    fold, n_units = (None, 0) if any_of is None else (any_of.fold, len(any_of.scores))
    table = [[_judged_scores(record, design, answers, n_units, fold is not None) for record in row] for row in rows]
    unscored = [
        record
        for row, of in zip(rows, table, strict=True)
        for record, scores in zip(row, of, strict=True)
        if scores is None
    ]
    n_unscored, part = len(unscored), "valid" if design.folds else "test"
    n_units = 0 if n_unscored or not rows else max(1, n_units)
    scores = np.empty((len(rows), len(combinations), n_units), np.float64 if any_of is None else np.float32)
    shares = np.ones(n_units) if fold is None else fold_shares(fold)
    for number, row in enumerate(table if n_units else ()):
        for column, one in enumerate(row):
            scores[number, column] = one * shares if isinstance(one, float) else one
    valid = np.array([[valid_score(record, design) for record in row] for row in rows]).reshape(
        len(rows), len(combinations)
    )
    if fold is not None and n_units:
        folds = [fold == number for number in range(int(fold.max()) + 1)]
        of_folds = [scores[:, :, here].mean(axis=2, dtype=np.float64) / shares[here][0] for here in folds]
        valid = np.stack(of_folds, axis=2)
    return Settings(
        design=design,
        combinations=combinations,
        valid=valid,
        scores=scores,
        fold=fold if n_units else None,
        units=units_of(answers.values(), design.split_method),
        search=Search(
            n_settings=len(rows),
            subset=subset_size(len(rows)),
            n_combinations=len(combinations),
            n_incomplete=len(found) - len(rows),
            n_unscored=n_unscored,
            n_without_examples=sum(record.evaluation(part) is not None for record in unscored),
            seconds=float(np.mean([sum(record.seconds or 0.0 for record in row) for row in rows])) if rows else 0.0,
        ),
    )


def _judged_scores(
    record: TrialRecord, design: StudyDesign, answers: Mapping[str, ExampleScores], n_units: int, has_folds: bool
) -> NDArray[np.generic] | float | None:
    """Return ``(n_units,)``, one number for all of them where the trial diverged or failed, or None where unknown."""
    part = "valid" if has_folds else "test"
    if record.state != "finished":
        return design.dummy_on(part)
    found, evaluation = answers.get(record.run_id), record.evaluation(part)
    if found is None or evaluation is None or len(found.scores) != n_units:
        return None
    fits = abs(float(found.scores.mean()) - evaluation.score) < design.metric.tolerance
    return found.scores if fits or has_folds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All trials of a study, the table of settings, and the confirm runs that ended (finished or diverged).

    ``runs`` has these by finalist and seed. ``part`` judges them: *test* wherever any run was judged on one, else
    *valid*, else None. ``units`` says which test examples belong together, where any do.
    """

    design: StudyDesign
    records: Sequence[TrialRecord]
    finalists: Sequence[FrozenFinalist]
    settings: Settings | None
    runs: Mapping[str, Mapping[int, TrialRecord]]
    part: JudgingPart | None
    predictions: Mapping[str, NDArray[np.generic]]
    folds: Mapping[str, NDArray[np.float64]]
    units: Units | None

    @property
    def judged(self) -> Settings | None:
        """The table of settings, where it can carry intervals."""
        return self.settings if self.settings is not None and self.settings.is_judged else None

    def scores(self, finalist: str, part: str | None) -> dict[int, float]:
        """Return seed -> score on a part, for the runs that have one; a diverged run has the dummy baseline's."""
        found: dict[int, float] = {}
        for seed, run in self.runs.get(finalist, {}).items() if part else ():
            evaluation = run.evaluation(part or "")
            if run.state == "diverged":
                found[seed] = self.design.dummy_on(part)
            elif evaluation is not None and np.isfinite(evaluation.score):
                found[seed] = evaluation.score
        return found

    def spread(self, finalist: str, part: str) -> Spread | None:
        """Return mean and standard deviation over seeds, or None where nothing was judged on that part."""
        if not any(run.evaluation(part) for runs in self.runs.values() for run in runs.values()):
            return None
        scores = list(self.scores(finalist, part).values())
        return spread_of(scores) if scores else None

    def difference(self, a: str | None, b: str | None) -> Difference | None:
        """Return A minus B over the seeds that both have, or None where there is none.

        Seeds and examples where every run has its predictions, or repeats and folds; else from the scores alone.
        """
        if a is None or b is None:
            return None
        scores_a, scores_b = self.scores(a, self.part), self.scores(b, self.part)
        pairs = {seed: (self.runs[a][seed], self.runs[b][seed]) for seed in scores_a.keys() & scores_b.keys()}
        # Both must have been cut alike: with folds, each seed has a partition of its own.
        seeds = sorted(seed for seed, (one, other) in pairs.items() if one.config.split == other.config.split)
        if not seeds:
            return None
        means = [np.array([scores[seed] for seed in seeds]) for scores in (scores_a, scores_b)]
        metric, n_examples = self.design.metric, self._n_examples()
        row = self._fold_row if self.design.folds else self._example_scores
        tables = [self._table([self.runs[finalist][seed] for seed in seeds], row) for finalist in (a, b)]
        pair = [table for table in tables if table is not None]
        is_whole = len(pair) == 2 and pair[0].shape == pair[1].shape
        if self.design.folds:
            if is_whole and np.isfinite(pair[0] - pair[1]).any(axis=1).all():
                return fold_difference(*pair, n_examples=n_examples, pseudo_observations=metric.pseudo_observations)
            # No interval: every repeat holds out the same rows, so that their spread says nothing of other rows, and no
            # correction can bring back what the means have lost.
            return found(means[0] - means[1], (), n_examples=n_examples, method="repeats only")
        if is_whole:
            return difference_by_units(pair[0], pair[1], self.units, pseudo_observations=metric.pseudo_observations)
        return difference_of_means(*means, n_examples=n_examples, is_share=metric.is_share)

    @staticmethod
    def _table(runs: Sequence[TrialRecord], row: Callable[[TrialRecord], NDArray[Any] | None]) -> NDArray[Any] | None:
        """Return a row a run, or None where one is missing or they differ in length."""
        rows = [found for run in runs if (found := row(run)) is not None]
        return np.stack(rows) if len(rows) == len(runs) and len(set(map(len, rows))) == 1 else None

    def _fold_row(self, run: TrialRecord) -> NDArray[np.float64] | None:
        if run.state == "diverged":
            return np.full(self.design.folds, self.design.dummy_score)
        scores, evaluation = self.folds.get(run.run_id), run.evaluation("valid")
        if scores is None or evaluation is None or scores.shape != (self.design.folds,):
            return None
        fits = abs(float(np.nanmean(scores)) - evaluation.score) < max(_FOLD_TOLERANCE, self.design.metric.tolerance)
        return scores if fits else None

    def p_better(self, a: str | None, b: str | None) -> float | None:
        """Return the probability that a fresh run of A beats one of B, or None where either has no run."""
        scores = [np.array(list(self.scores(finalist or "", self.part).values())) for finalist in (a, b)]
        return probability_better(*scores) if all(map(len, scores)) else None

    def _example_scores(self, run: TrialRecord) -> NDArray[np.generic] | None:
        """Return ``(n_examples,)``, or None where predictions are missing or do not fit the logged score."""
        if self.part != "test":
            return None
        if run.state == "diverged":
            return np.full(self._n_examples(), self.design.dummy_on("test"))
        scores, evaluation = self.predictions.get(run.run_id), run.evaluation("test")
        if scores is None or evaluation is None or scores.shape != (evaluation.n_samples,):
            return None
        fits = abs(float(scores.mean()) - evaluation.score) < self.design.metric.tolerance
        return scores if fits else None

    def _n_examples(self) -> int:
        sizes = [
            evaluation.n_samples
            for runs in self.runs.values()
            for run in runs.values()
            if self.part and (evaluation := run.evaluation(self.part))
        ]
        return max(sizes, default=1)


def gather(
    design: StudyDesign,
    records: Sequence[TrialRecord],
    finalists: Sequence[FrozenFinalist],
    answers: Mapping[str, ExampleScores],
    folds: Mapping[str, NDArray[np.float64]],
) -> Evidence:
    """Sort the confirm runs by finalist and seed; of two runs of one seed, the one with the lower number counts."""
    runs: dict[str, dict[int, TrialRecord]] = {finalist.id: {} for finalist in finalists}
    for record in sorted((r for r in records if r.phase == "confirm"), key=lambda record: record.number):
        finalist = record.tags.get("finalist")
        if finalist in runs and record.state in ("finished", "diverged"):
            runs[finalist].setdefault(record.config.fit.seed, record)
    judged = {evaluation.part for of in runs.values() for run in of.values() for evaluation in run.evaluations}
    return Evidence(
        design=design,
        records=records,
        finalists=finalists,
        settings=settings_of(design, records, answers),
        runs=runs,
        part="test" if "test" in judged else "valid" if "valid" in judged else None,
        predictions={run_id: of.scores for run_id, of in answers.items() if of.fold is None},
        folds=folds,
        units=units_of(answers.values(), design.split_method),
    )


def finalist_row(finalist: FrozenFinalist, evidence: Evidence) -> FinalistRow:
    """Sum up a finalist's fresh seeds."""
    runs = evidence.runs[finalist.id]
    return FinalistRow(
        finalist=finalist,
        valid=evidence.spread(finalist.id, "valid"),
        test=evidence.spread(finalist.id, "test"),
        n_diverged=sum(run.state == "diverged" for run in runs.values()),
        n_params=next((run.n_params for run in runs.values() if run.n_params is not None), None),
        seconds=mean_or_none([run.seconds for run in runs.values()]),
        secondary=_secondary([run for run in runs.values() if run.state == "finished"], evidence.part),
    )


def level_row(factor: Factor, level: str, evidence: Evidence, tuned: Difference | None) -> LevelRow:
    """Sum up a level: what became of its trials, its best configuration, what tuning it gives, or fresh seeds gave.

    Where there is no table of settings, levels are configurations, and their finalists' fresh seeds are what counts.
    """
    design, settings, trials = evidence.design, evidence.judged, compare_trials(evidence.records, factor, level)
    best = best_trial(trials, design)
    of_level = (f for f in evidence.finalists if (factor.name, level) in f.stands_for)
    finalist = next(of_level, None) if evidence.settings is None else None
    runs = list(evidence.runs[finalist.id].values()) if finalist else []
    states = [record.state for record in trials]
    costed = runs or ([best] if best else [])
    selected = finalist.selected_score if finalist else valid_score(best, design) if best else None
    status = _status(trials, runs, design, is_judged=tuned is not None)
    if status == "failed":  # the table has guessing in its place, which is no score of its own
        tuned = settings = None
    return LevelRow(
        factor=factor.name,
        level=level,
        is_reference=level == factor.reference,
        status=status,
        n_finished=states.count("finished"),
        n_failed=states.count("failed"),
        n_diverged=states.count("diverged"),
        n_pruned=states.count("pruned"),
        n_untrained=sum(is_untrained(record, design) for record in trials),
        best=finalist.config if finalist else best.config if best else None,
        finalist=finalist.id if finalist else None,
        selected_score=selected,
        valid=evidence.spread(finalist.id, "valid") if finalist else None,
        test=evidence.spread(finalist.id, "test") if finalist else None,
        n_params=next((record.n_params for record in costed if record.n_params is not None), None),
        seconds=mean_or_none([record.seconds for record in costed]),
        tuned=tuned,
        tuned_valid=settings.tuned_valid(factor.name, level) if settings else None,
    )


def _status(
    trials: Sequence[TrialRecord], runs: Sequence[TrialRecord], design: StudyDesign, *, is_judged: bool
) -> LevelStatus:
    every = [*trials, *runs]
    alive = [record for record in every if record.state != "failed"]
    stable = [record for record in alive if record.state != "diverged"]
    if not alive:
        return "failed" if every else "no trials"
    if not stable:
        return "diverged"
    if all(is_untrained(record, design) for record in stable):
        return "never trained"
    if is_judged:
        return "judged"
    if not runs:
        return "unjudged"
    return "confirmed" if len(runs) >= design.n_seeds else "partly confirmed"


def _secondary(runs: Sequence[TrialRecord], part: JudgingPart | None) -> dict[str, Spread]:
    """Return the further scores on the part that judges, of the runs that have them."""
    found = [evaluation.secondary for run in runs if part and (evaluation := run.evaluation(part)) is not None]
    names = list(dict.fromkeys(name for of in found for name in of))
    values = {name: [of[name] for of in found if np.isfinite(of.get(name, np.nan))] for name in names}
    return {name: spread_of(scores) for name, scores in values.items() if scores}


def spread_of(scores: Sequence[float]) -> Spread:
    """Return mean and standard deviation of at least one score."""
    sd = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return Spread(mean=float(np.mean(scores)), sd=sd, n=len(scores))


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are known, or None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
