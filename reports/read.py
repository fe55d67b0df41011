"""From the tracking store to the records of a report. Read :func:`read_study` first."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from depthcheck.experiments import tracking
from depthcheck.experiments.addresses import shown
from depthcheck.experiments.planning.importances import importances
from depthcheck.pipeline.config import SplitConfig, TrialConfig
from depthcheck.pipeline.records import TrialRecord
from depthcheck.reports.compare.levels import valid_score
from depthcheck.reports.compare.metric import ACCURACY, Metric
from depthcheck.reports.compare.study_data import Importance, ReferenceScores, StudyData, StudyFacts
from depthcheck.reports.compare.study_design import Factor, FrozenFinalist, StudyDesign
from depthcheck.reports.data_facts import chance_of, data_facts, metric_of
from depthcheck.reports.rerun import command
from depthcheck.reports.searched_ranges import place_in_range, search_ranges

_DEFAULT_SEEDS = 5
#: Parameters of a trial that say which data and how they were cut, and what no study compares.
_NO_DIMENSIONS = (
    "data", "data_sha256", "target", "task", "metric", "group_column", "time_column", "test_file", "test_column",
    "columns", "valid_size", "test_size", "split_seed", "split_method", "folds", "repeat", "class_weight", "seed",
    "epochs",
)  # fmt: skip


class NothingToReportError(ValueError):
    """There is no such study, or none at all."""


def choose_study(
    uri: str, *, study: str | None, run_id: str | None, environ: Mapping[str, str] = os.environ
) -> tracking.StoredRun:
    """Return the study that a report is asked of.

    Parameters
    ----------
    study, run_id
        Its name, or its parent run (or any run below it). Without both: the study that the run made by ``mlflow
        run`` belongs to, else the latest.

    Raises
    ------
    NothingToReportError
        When the store has no such study, or none.
    """
    found = tracking.studies(uri) if tracking.is_there(uri) else []
    if not found:
        raise NothingToReportError(f"no study in {uri}; run one first, or name another store in MLFLOW_TRACKING_URI")
    if run_id is not None:
        return _study_with(uri, found, run_id)
    if study is not None:
        named = [one for one in found if one.study == study]
        if named:
            return named[0]
        known = ", ".join(dict.fromkeys(one.study for one in found[:10]))
        raise NothingToReportError(f"study must be one of {known}, got {study!r} (in {uri})")
    launched = tracking.launched_run(environ)
    parent = tracking.study_of(uri, launched) if launched else None
    return next((one for one in found if one.run_id == parent), found[0])


def _study_with(uri: str, found: Sequence[tracking.StoredRun], run_id: str) -> tracking.StoredRun:
    try:
        parent = tracking.study_of(uri, run_id)
    except tracking.TrackingError as error:
        raise NothingToReportError(f"run must be one of a study, got {run_id!r}: {error}") from error
    for one in found:
        if one.run_id == parent:
            return one
    raise NothingToReportError(f"run must be one of a study, got {run_id!r} (in {uri})")


def read_study(uri: str, summary: tracking.StoredRun) -> StudyData:
    """Read a study whole.

    Raises
    ------
    TrackingError
        When the store cannot be read.
    """
    run_id = summary.run_id
    stored = tracking.study_design(uri, run_id)
    frozen = tracking.finalists(uri, run_id)
    records = tuple(tracking.trials(uri, run_id))
    confirmed = [r.run_id for r in records if r.phase == "confirm" and r.state in ("finished", "diverged")]
    searched = [r.run_id for r in records if r.phase == "compare" and r.state == "finished"]
    predictions = tracking.test_predictions(uri, [*searched, *confirmed])
    definition = stored.get("definition", {})
    facts = stored.get("data", {})
    data, metric = data_facts(facts, definition, records, predictions), metric_of(facts, records)
    environment, tags = tracking.study_environment(uri, run_id), tracking.read_run(uri, run_id).tags
    design = study_design(
        summary.study,
        stored,
        frozen,
        records,
        metric=metric,
        chance=chance_of(metric, data, records),
        cores=int(environment.get("cpus") or 1),
        looks=tracking.looks(uri, run_id),
        openings=tracking.test_openings(uri, data.sha256, before=run_id),
    )
    return StudyData(
        design=design,
        records=records,
        finalists=tuple(_finalist(one) for one in frozen.get("finalists", [])),
        predictions=predictions,
        diagnostics=tracking.diagnostics(uri, confirmed),
        facts=StudyFacts(
            question=stored.get("question", ""),
            state=summary.state,
            run_id=run_id,
            tracking_uri=shown(uri),
            data=data,
            definition=definition,
            planned=design.budgets,
            seeds=tuple(frozen.get("seeds", ())),
            finalists_sha256=frozen.get("sha256", ""),
            environment=environment,
            code_version=tags.get("code_version", "unknown"),
            dirty=tags.get("dirty", "unknown"),
            command=command(summary.study, stored, tracking.read_run(uri, run_id).params, n_seeds=design.n_seeds),
            importances=descriptive_importances(records, design),
            references=tuple(_reference(one) for one in tracking.references(uri, run_id)),
        ),
    )


def study_design(
    name: str,
    stored: Mapping[str, Any],
    frozen: Mapping[str, Any],
    records: Sequence[TrialRecord],
    *,
    metric: Metric = ACCURACY,
    chance: float,
    openings: int | None,
    cores: int = 1,
    looks: tuple[int, ...] = (),
) -> StudyDesign:
    """Return what the study laid down beforehand, from its own words (``design.json``) and the frozen list."""
    definition = stored.get("definition", {})
    factors = [
        Factor.of(factor, tuple(str(level) for level in levels))
        for factor, levels in definition.get("compare", {}).items()
    ]
    planned = Counter(trial["phase"] for trial in stored.get("plan", []) if trial["phase"] != "confirm")
    split = records[0].config.split if records else SplitConfig()
    n_seeds = len(frozen.get("seeds", ())) or int(definition.get("seeds", _DEFAULT_SEEDS))
    confirm = {"confirm": n_seeds * len(frozen["finalists"])} if frozen.get("finalists") else {}
    return StudyDesign(
        name=name,
        factors=tuple(factors),
        metric=metric,
        chance=chance,
        equivalence=float(definition.get("equivalence", metric.equivalence)),
        n_seeds=n_seeds,
        folds=split.folds,
        split_method=split.method,
        budgets={**planned, **confirm} or Counter(record.phase for record in records),
        is_tuned=_is_tuned(definition),
        looks=looks,
        compare_share=float(definition.get("compare_share", 1.0)),
        cores=cores,
        ranges=search_ranges(definition),
        widenings=tuple(map(str, stored.get("widened", ()))),
        earlier_test_openings=openings,
    )


def _is_tuned(definition: Mapping[str, Any]) -> bool:
    return not definition or bool(definition.get("tune")) or any(definition.get("tune_for", {}).values())


def _reference(stored: Mapping[str, Any]) -> ReferenceScores:
    return ReferenceScores(
        name=str(stored["name"]), **{name: stored.get(name) for name in ("valid", "test", "seconds")}
    )


def _finalist(stored: Mapping[str, Any]) -> FrozenFinalist:
    return FrozenFinalist(
        id=stored["id"],
        config=TrialConfig.from_params(stored["params"]),
        selected_score=stored.get("selected_score"),
        selected_number=stored.get("number"),
        stands_for=tuple((str(factor), str(level)) for factor, level in stored.get("stands_for", ())),
        origin=stored.get("origin", "compare"),
    )


def descriptive_importances(records: Sequence[TrialRecord], design: StudyDesign) -> tuple[Importance, ...]:
    """Return importances over the trials of *compare* that have hidden layers, so that every dimension is active.

    A learning rate counts by its place in its optimizer's own range: 0.01 is large for one and small for another.
    """
    trials = [r for r in records if r.phase == "compare" and r.state != "failed"]
    trials = [r for r in trials if r.config.model.depth] or trials
    points = [_point(record.config, design) for record in trials]
    scores = [valid_score(record, design) for record in trials]
    found = importances(points, scores, log=("units", "batch_size"))
    return tuple(
        Importance(
            method=method,
            n_trials=len(trials),
            shares=tuple(sorted(((name, float(of)) for name, of in shares.items()), key=lambda pair: -pair[1])),
        )
        for method, shares in found.items()
    )


def _point(config: TrialConfig, design: StudyDesign) -> dict[str, Any]:
    params = config.to_params()
    point = {name: value for name, value in params.items() if name not in _NO_DIMENSIONS}
    for searched in design.ranges:
        name = searched.parameter
        applies = searched.when is None or str(params.get(searched.when[0])) == searched.when[1]
        if (
            name not in ("units", "depth", "batch_size", "dropout")
            and name in point
            and applies
            and not searched.is_list
        ):
            point[name] = place_in_range(float(params[name]), searched)
    return {name: value for name, value in point.items() if not (name == "units" and isinstance(value, str))}
