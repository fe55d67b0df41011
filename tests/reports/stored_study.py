"""Writes a made-up study into a real MLflow store, by the same functions that a study's workers use."""

from __future__ import annotations

import dataclasses
from pathlib import PurePath

from depthcheck.experiments import tracking
from depthcheck.pipeline.records import TrialRecord, TrialResult
from depthcheck.reports.compare.study_data import StudyData


def definition_of(study: StudyData, **changes):
    """Return the definition that leads to the study's design, as an experiment's ``as_json`` has it."""
    design, facts = study.design, study.facts
    tune, tune_for = {}, {}
    for of in design.ranges:
        ends = [of.low, of.high] if of.is_list else {"low": of.low, "high": of.high, "log": of.log}
        (tune_for.setdefault(of.when[1], {}) if of.when else tune)[of.parameter] = ends
    defined = {
        "data": PurePath(study.records[0].config.data.name).name, "split": {"valid": 0.2, "seed": 1234},
        "seed": facts.seed, "epochs": facts.epochs,
        "compare_share": design.compare_share, "window": 4, "pruning": "median",
        "compare": {factor.name: list(factor.levels) for factor in design.factors},
        "tune": tune, "tune_for": tune_for, "fixed": {}, "baseline": {},
    }  # fmt: skip
    return {**defined, **changes}


def write_study(uri: str, study: StudyData, *, state="FINISHED", environ=None, **changes) -> tracking.StudyRun:
    """Return the parent run of the study, written whole; ``changes`` are of its definition."""
    facts, config = study.facts, study.records[0].config
    counts = {"class_names": facts.data.class_names, "class_counts": facts.data.class_counts}
    guess = {"valid": study.design.dummy_score, "test": study.design.dummy_test}
    plan = [{"number": record.number, "phase": record.phase} for record in study.records]
    parent = tracking.open_parent(
        study.design.name,
        uri=uri,
        environ=environ or {},
        artifacts={
            "design.json": {
                "question": facts.question,
                "definition": definition_of(study, **changes),
                "widened": list(study.design.widenings),
                "resolved": {"data": config.data.to_params(), "split": config.split.to_params()},
                "data": {
                    **{name: getattr(facts.data, name) for name in ("name", "sha256", "source", "task", "target")},
                    **{name: getattr(facts.data, name) for name in ("n_samples", "n_train", "n_valid", "n_test")},
                    **(
                        {"target_mean": facts.data.target_mean, "target_sd": facts.data.target_sd}
                        if facts.data.task == "regression"
                        else counts
                    ),
                    "metric": study.design.metric.key,
                    "guess": {part: score for part, score in guess.items() if score is not None},
                    # Older studies have none.
                    **({"n_train_classes": study.design.n_classes} if study.design.n_classes > 1 else {}),
                },
                "plan": plan,
                "seeds": study.design.n_seeds,
            },
            "environment.json": dict(facts.environment),
            "references.json": {"references": [dataclasses.asdict(one) | {"folds": []} for one in facts.references]},
        },
    )
    if study.finalists:
        parent.log_finalists(
            {
                "sha256": facts.finalists_sha256,
                "seeds": list(facts.seeds),
                "finalists": [
                    {
                        "id": one.id,
                        "origin": one.origin,
                        "selected_score": one.selected_score,
                        "stands_for": [list(pair) for pair in one.stands_for],
                        "params": one.config.to_params(),
                    }
                    for one in study.finalists
                ],
            }
        )
    for record in study.records:
        _write_trial(parent, record, study)
    parent.finish(state)
    return parent


def _write_trial(parent, record, study):
    run = tracking.start_trial(
        parent,
        number=record.number,
        phase=record.phase,
        config=record.config,
        metric=record.history.metric,
        title=f"{record.phase} {record.tags.get('finalist', '')}".strip(),
        tags=dict(record.tags),
        flush_seconds=60,
    )
    if record.state == "failed":
        run.fail(f"Traceback\n{record.failure}")
        return
    for key, values in study.diagnostics.get(record.run_id, {}).items():
        for epoch, value in values.items():
            run.log_epoch(epoch, {key: value})
    predictions = study.predictions.get(record.run_id)
    if predictions is not None:
        run.log_predictions(predictions)
    run.finish(result_of(record))


def result_of(record: TrialRecord) -> TrialResult:
    """Return what a trial gave, as its worker has it."""
    return TrialResult(
        config=record.config,
        state=record.state,
        history=record.history,
        valid=record.evaluation("valid"),
        test=record.evaluation("test"),
        n_params=record.n_params,
        fit_seconds=record.fit_seconds,
    )
