"""Studies of tables for golden reports, written by hand: a number to predict, two classes by AUC, and folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from study_records import best_of, config, design, facts, finalist_of, history, seeded, trial

from depthcheck.pipeline.config import DataConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.records import Evaluation, Predictions, TrialRecord
from depthcheck.pipeline.scores import METRICS
from depthcheck.reports.compare.example_scores import example_scores, fold_scores
from depthcheck.reports.compare.study_data import DataFacts, ReferenceScores, SearchRange, StudyData, StudyFacts

SEEDS, N, N_FOLDS = (11, 12, 13, 14, 15), 300, 5
#: How far off the predictions of each depth are, in all and by seed.
OFF = {0: 1.0, 1: 0.70, 2: 0.69}
#: Added to what each setting's networks are off: the third tunes badly.
BADLY = (0.0, 0.05, 0.3, 0.02, 0.08, 0.03, 0.1, 0.04)
DUMMY_SCORE = {"r2": 0.0, "auc": 0.5, "accuracy": 0.6}
REFERENCES = {
    "r2": (("linear regression", 0.49, 0.47), ("random forest", 0.74, 0.76), ("HistGradientBoosting", 0.78, 0.79)),
    "auc": (("logistic regression", 0.80, 0.79), ("random forest", 0.84, 0.83), ("HistGradientBoosting", 0.83, 0.82)),
    "accuracy": (("logistic regression", 0.8, None), ("random forest", 0.82, None)),
}


def predictions(metric: str, depth: int, at: int, *, folds: bool, badly: float = 0.0, repeat: int = 0) -> Predictions:
    """Return what the run of a seed says: waves of different lengths, so that models err in different places."""
    k = np.arange(N)
    true = np.sin(k * 1.7) + 0.6 * np.sin(k * 0.9 + 1)
    hard = np.sin(k * 2.3) + 0.7 * np.sin(k * 0.37)
    own = np.sin(k * (3.1 + depth)) + 0.2 * np.cos(at * (2.0 + depth)) * hard
    said = true + (OFF[depth] + badly) * (0.75 * hard + 0.25 * own) + 0.2 * np.sin(k * 5.3 + at)
    fold = (k * 7 + k // 5 + repeat) % N_FOLDS if folds else None
    if metric == "r2":
        return Predictions(
            y=(20 + 8 * true).astype(np.float32),
            predicted=(20 + 8 * (0.85 * said)).astype(np.float32),
            probability=np.full(N, np.nan, np.float32),
            fold=fold,
        )
    positive = (1 / (1 + np.exp(-2 * (said - 0.3)))).astype(np.float32)
    predicted = (positive > 0.5).astype(np.int64)
    return Predictions(
        y=(true > 0.3).astype(np.int64),
        predicted=predicted,
        probability=np.maximum(positive, 1 - positive),
        positive=positive,
        fold=fold,
    )


def score_of(metric: str, of: Predictions) -> float:
    """Return the score: of the test part, or the mean over folds."""
    by_fold = fold_scores(metric, of)
    return float(example_scores(metric, of).mean()) if by_fold is None else float(by_fold.mean())


def beside_of(metric: str, of: Predictions) -> dict[str, float]:
    """Return what stands beside the score."""
    if metric == "r2":
        error = of.predicted.astype(float) - of.y
        return {"rmse": float(np.sqrt((error**2).mean())), "mae": float(np.abs(error).mean())}
    return {"accuracy": float((of.predicted == of.y).mean())} if metric == "auc" else {}


def judged(metric: str, of: Predictions, *, folds: bool) -> tuple[Evaluation, ...]:
    """Return what a network's answers are worth: on validation and test part alike, or by cross-validation."""
    secondary = beside_of(metric, of)
    valid = Evaluation(
        part="valid", loss=0.5, score=score_of(metric, of), metric=metric, n_samples=N, secondary=secondary
    )
    return (valid,) if folds else (valid, replace(valid, part="test"))


def golden_table(metric: str, *, folds: bool = False, references: bool = True) -> StudyData:
    """Return a study of depths 0, 1 and 2 on a table of the metric's kind."""
    split = SplitConfig(method="stratified", folds=N_FOLDS) if folds else SplitConfig(method="group", test_size=0.2)
    data = DataConfig(name="houses.csv", target="price", group=None if folds else "street")
    records: list[TrialRecord] = []
    said: dict[str, Predictions] = {}

    def add(of: TrialConfig, found: Predictions, **fields: object) -> None:
        score = score_of(metric, found)
        train = (score - 0.1, score + 0.01) if score > DUMMY_SCORE[metric] else (DUMMY_SCORE[metric],) * 2
        curve = history(train, (score - 0.001, score), valid_loss=(1.1, 0.6), metric=metric)
        run = trial(len(records), of, curve=curve, **fields)
        records.append(replace(run, study="tables", evaluations=judged(metric, found, folds=folds)))
        said[run.run_id] = found

    def configured(depth: int, rate: float, seed: int) -> TrialConfig:
        return replace(config(depth, learning_rate=rate, units=16, seed=seed), data=data, split=split)

    for at, badly in enumerate(BADLY):
        for depth in OFF:
            of = configured(depth, 0.005 * (at + 1), seed=at)
            add(of, predictions(metric, depth, at, folds=folds, badly=badly))
    finalists = [finalist_of(best_of(records, depth)) for depth in (2, 1)]
    for finalist in finalists:
        for at, seed in enumerate(SEEDS):
            of = replace(seeded(finalist.config, seed), split=replace(split, repeat=at + 1) if folds else split)
            found = predictions(metric, finalist.config.model.depth, at, folds=folds, repeat=at + 1)
            add(of, found, phase="confirm", tags={"finalist": finalist.id})
    return StudyData(
        design=design(
            name="tables-12345678",
            metric=METRICS[metric],
            dummy_score=DUMMY_SCORE[metric],
            equivalence=METRICS[metric].equivalence,
            folds=N_FOLDS if folds else 0,
            split_method=split.method,
            budgets={"compare": 24, "confirm": 10},
            ranges=(SearchRange(parameter="learning_rate", low=0.001, high=0.1, log=True),),
        ),
        records=tuple(records),
        finalists=tuple(finalists),
        predictions=said,
        diagnostics={},
        facts=_facts(metric, folds=folds, references=references),
    )


def _facts(metric: str, *, folds: bool, references: bool) -> StudyFacts:
    data = DataFacts(
        name="houses.csv",
        sha256="ab" * 32,
        source="file houses.csv",
        task="regression" if metric == "r2" else "classification",
        target="price",
        n_samples=N if folds else 1_500,
        n_train=240 if folds else 900,
        n_valid=N,
        n_test=None if folds else N,
        how="stratified: each class in its share"
        if folds
        else "share 0.2 drawn by seed 1234, whole groups to one part (column street)",
    )
    if metric == "r2":
        data = replace(data, target_mean=20.123, target_sd=6.54)
    else:
        data = replace(data, class_names=("cheap", "dear"), class_counts=(180, 120))
    known = REFERENCES[metric] if references else ()
    return facts(
        data,
        question="Does another hidden layer help on my table?",
        tuned=("learning_rate 0.001 to 0.1 (log)",),
        command="depthcheck run --data houses.csv --target price",
        references=tuple(
            ReferenceScores(name=name, valid=valid, test=None if folds else test, seconds=0.5 + len(name) / 10)
            for name, valid, test in known
        ),
    )
