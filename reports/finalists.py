"""Which configurations a study's confirm runs stand for, where the frozen list itself is not at hand. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from depthcheck.pipeline.config import TrialConfig
from depthcheck.pipeline.records import TrialRecord
from depthcheck.reports.design import Finalist, StudyDesign
from depthcheck.reports.levels import best_trial, compare_trials


def without_seed(config: TrialConfig) -> TrialConfig:
    """Return the configuration with seed 0 and the search's partition: what fresh seeds have in common."""
    return replace(config, fit=replace(config.fit, seed=0), split=replace(config.split, repeat=0))


def finalists_from_records(records: Sequence[TrialRecord], design: StudyDesign) -> tuple[Finalist, ...]:
    """Read the finalists back from the confirm runs, one for each value of their tag ``finalist``.

    A finalist stands for each level whose best trial of the compare phase has its configuration, and for the level
    that its tags ``factor`` and ``level`` name. Where nothing was searched, the user chose it.
    """
    runs: dict[str, TrialRecord] = {}
    for record in sorted(records, key=lambda record: record.number):
        if record.phase == "confirm" and "finalist" in record.tags:
            runs.setdefault(record.tags["finalist"], record)
    return tuple(_read_back(name, run, records, design) for name, run in runs.items())


def _read_back(name: str, run: TrialRecord, records: Sequence[TrialRecord], design: StudyDesign) -> Finalist:
    config = without_seed(run.config)
    bests = {
        (factor.name, level): best_trial(compare_trials(records, factor, level), design)
        for factor in design.factors
        for level in factor.levels
    }
    stands_for = {at for at, best in bests.items() if best is not None and without_seed(best.config) == config}
    tagged = (run.tags.get("factor", ""), run.tags.get("level", ""))
    if tagged in bests:
        stands_for.add(tagged)
    searched = [record for record in records if record.phase in ("compare", "exploit")]
    twins = [record for record in searched if without_seed(record.config) == config]
    selected = best_trial(twins, design)
    evaluation = selected.evaluation("valid") if selected else None
    return Finalist(
        id=name,
        config=run.config,
        selected_score=evaluation.score if evaluation else None,
        selected_number=selected.number if selected else None,
        stands_for=tuple(at for at in bests if at in stands_for),
        origin=selected.phase if selected else "compare" if searched else "chosen",
    )
