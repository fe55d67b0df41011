"""The compare phase as a table: a row a setting, a column a combination of levels. Pure.

A setting is one row of tuned values, mapped into the ranges of each combination of levels; its networks share their
training seed, by which they are found. A setting counts once every combination has been trained with it, so that levels
are compared at the same settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.records import TrialRecord
from depthcheck.reports.compare.difference import reaching
from depthcheck.reports.compare.example_scores import ExampleScores, Units, difference_by_units, units_of
from depthcheck.reports.compare.results import Difference, LevelCurve, Search
from depthcheck.reports.compare.study_data import StudyDesign, record_level, valid_score
from depthcheck.reports.compare.tuning import degrees_of_freedom, subset_size, subset_weights, tuned_scores
from depthcheck.reports.compare.verdict import error_of_look

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
            failed_score=self.design.dummy_score,
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
                level=level,
                subsets=tuple(sizes),
                scores=tuple(scores[level]),
                differences=tuple(differences[level]),
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
    n_unscored = sum(scores is None for row in table for scores in row)
    n_units = 0 if n_unscored or not rows else max(1, n_units)
    scores = np.empty((len(rows), len(combinations), n_units), np.float64 if any_of is None else np.float32)
    for number, row in enumerate(table if n_units else ()):
        for column, one in enumerate(row):
            scores[number, column] = one
    valid = np.array([[valid_score(record, design) for record in row] for row in rows]).reshape(
        len(rows), len(combinations)
    )
    if fold is not None and n_units:
        folds = range(int(fold.max()) + 1)
        valid = np.stack([scores[:, :, fold == number].mean(axis=2, dtype=np.float64) for number in folds], axis=2)
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
            seconds=float(np.mean([sum(record.fit_seconds or 0.0 for record in row) for row in rows])) if rows else 0.0,
        ),
    )


def _judged_scores(
    record: TrialRecord, design: StudyDesign, answers: Mapping[str, ExampleScores], n_units: int, has_folds: bool
) -> NDArray[np.generic] | float | None:
    """Return ``(n_units,)``, one number for all of them where the trial diverged or failed, or None where unknown."""
    if record.state != "finished":
        return design.dummy_score
    found, evaluation = answers.get(record.run_id), record.evaluation("valid" if has_folds else "test")
    if found is None or evaluation is None or len(found.scores) != n_units:
        return None
    fits = abs(float(found.scores.mean()) - evaluation.score) < design.metric.tolerance
    return found.scores if fits or has_folds else None
