"""What judges a study: the table of settings, and the confirm runs of each finalist; and the tables' rows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.records import TrialRecord
from depthcheck.reports.compare.difference import (
    difference_of_means,
    fold_difference,
    found,
    probability_better,
)
from depthcheck.reports.compare.example_scores import ExampleScores, Units, difference_by_units, units_of
from depthcheck.reports.compare.results import Difference, FinalistRow, LevelRow, LevelStatus, Spread
from depthcheck.reports.compare.settings import Settings, settings_of
from depthcheck.reports.compare.study_data import (
    Factor,
    FrozenFinalist,
    StudyDesign,
    best_trial,
    compare_trials,
    is_untrained,
    valid_score,
)

JudgingPart = Literal["test", "valid"]
#: A logged score of a cross-validation is a mean over folds, or over rows: folds may differ by a row in size.
_FOLD_TOLERANCE = 0.01


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
                found[seed] = self.design.dummy_score
            elif evaluation is not None and np.isfinite(evaluation.score):
                found[seed] = evaluation.score
        return found

    def spread(self, finalist: str, part: str) -> Spread | None:
        """Return mean and standard deviation over seeds, or None where nothing was judged on that part."""
        if not any(run.evaluation(part) for runs in self.runs.values() for run in runs.values()):
            return None
        scores = list(self.scores(finalist, part).values())
        return spread_of(scores) if scores else None

    def difference(self, a: str, b: str) -> Difference | None:
        """Return A minus B over the seeds that both have, or None where there is none.

        Seeds and examples where every run has its predictions, or repeats and folds; else from the scores alone.
        """
        scores_a, scores_b = self.scores(a, self.part), self.scores(b, self.part)
        seeds = sorted(seed for seed in scores_a.keys() & scores_b.keys() if self._are_pairs(a, b, seed))
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

    def _are_pairs(self, a: str, b: str, seed: int) -> bool:
        """Whether both runs of a seed were cut alike: with folds, each seed has a partition of its own."""
        return self.runs[a][seed].config.split == self.runs[b][seed].config.split

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

    def p_better(self, a: str | None, b: str | None) -> tuple[float | None, int]:
        """Return the probability that a fresh run of A beats one of B, and from how many pairs it was counted."""
        if a is None or b is None:
            return None, 0
        scores = [np.array(list(self.scores(finalist, self.part).values())) for finalist in (a, b)]
        n_pairs = len(scores[0]) * len(scores[1])
        return (probability_better(scores[0], scores[1]), n_pairs) if n_pairs else (None, 0)

    def _example_scores(self, run: TrialRecord) -> NDArray[np.generic] | None:
        """Return ``(n_examples,)``, or None where predictions are missing or do not fit the logged score."""
        if self.part != "test":
            return None
        if run.state == "diverged":
            return np.full(self._n_examples(), self.design.dummy_score)
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
        fit_seconds=mean_or_none([run.fit_seconds for run in runs.values()]),
        secondary=_secondary(list(runs.values()), evidence.part),
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
    return LevelRow(
        factor=factor.name,
        level=level,
        is_reference=level == factor.reference,
        status=_status(trials, runs, design, is_judged=tuned is not None),
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
        fit_seconds=mean_or_none([record.fit_seconds for record in costed]),
        tuned=tuned,
        tuned_valid=None if settings is None else settings.tuned_valid(factor.name, level),
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
