"""Writes a made-up study into a real MLflow store, by the same functions that a study's workers use."""

from __future__ import annotations

import dataclasses
from collections import Counter

from depthcheck.experiments import tracking
from depthcheck.pipeline.records import TrialResult
from depthcheck.reports.compare.study_data import StudyData


def write_study(uri: str, study: StudyData, *, state="FINISHED", environ=None) -> tracking.StudyRun:
    """Return the parent run of the study, written whole."""
    facts = study.facts
    plan = [{"number": r.number, "phase": r.phase} for r in study.records if r.phase != "confirm"]
    parent = tracking.open_parent(
        study.design.name,
        uri=uri,
        environ=environ or {},
        artifacts={
            "design.json": {
                "question": facts.question,
                "definition": dict(facts.definition),
                "data": {
                    "name": facts.data.name,
                    "sha256": facts.data.sha256,
                    "source": facts.data.source,
                    "task": facts.data.task,
                    "metric": study.design.metric.key,
                    "target": facts.data.target,
                    "target_mean": facts.data.target_mean,
                    "target_sd": facts.data.target_sd,
                    "n_samples": facts.data.n_samples,
                    "class_names": list(facts.data.class_names),
                    "class_counts": list(facts.data.class_counts),
                    "n_test": facts.data.n_test,
                },
                "plan": plan,
            },
            "environment.json": dict(facts.environment),
            "references.json": {"references": [dataclasses.asdict(one) for one in facts.references]},
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
                        "number": one.selected_number,
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
    assert Counter(r.phase for r in study.records)["confirm"] == 0 or study.finalists
    return parent


def _write_trial(parent, record, study):
    run = tracking.start_trial(
        parent,
        number=record.number,
        phase=record.phase,
        config=record.config,
        metric=record.history.metric,
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
    run.finish(
        TrialResult(
            config=record.config,
            state=record.state,
            history=record.history,
            valid=record.evaluation("valid"),
            test=record.evaluation("test"),
            n_params=record.n_params,
            fit_seconds=record.fit_seconds,
        )
    )
