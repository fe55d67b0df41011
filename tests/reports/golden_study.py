"""The study of the golden report, written by hand: no random numbers, so that no library's next release changes it."""

from __future__ import annotations

import numpy as np
from study_records import CLASSES, N_TEST, best_of, config, design, facts, finalist_of, history, seeded, trial

from depthcheck.pipeline.records import Predictions
from depthcheck.reports.compare.study_data import DataFacts, Factor, Importance, SearchRange, StudyData

SEEDS = (11, 12, 13, 14, 15)
#: Validation scores of the compare phase by depth, one a setting: a trial at each depth.
SEARCHED = {
    0: (0.80, 0.78, 0.81, 0.79, 0.77, 0.80, 0.79, 0.78),
    1: (0.86, 0.85, 0.80, 0.84, 0.82, 0.85, 0.83, 0.84),
    2: (0.90, 0.88, 0.86, 0.89, 0.70, 0.88, 0.87, 0.89),
    5: (0.11, 0.10, 0.10, 0.10, 0.10, 0.11, 0.10, 0.10),
}
#: Wrong answers of each seed's run among the 400 test examples, by finalist; the runs' validation scores follow them.
WRONG = {2: (44, 46, 43, 45, 47), 1: (60, 58, 61, 59, 62)}


def _history(depth, score):
    train = (0.10, 0.11) if depth == 5 else (score - 0.1, score + 0.01)
    return history(train, (score - 0.001, score), valid_loss=(1.1, 0.6))


def _predictions(n_wrong, seed):
    """Be wrong about the same hard examples at each seed, but for the last ten, which move on with it."""
    y = np.arange(N_TEST) % 10
    order = np.argsort((np.arange(N_TEST) * 37) % N_TEST)
    wrong = np.concatenate([order[: n_wrong - 10], np.roll(order[n_wrong - 10 :], -seed)[:10]])
    predicted = y.copy()
    predicted[wrong] = (y[wrong] + 1) % 10
    return Predictions(y=y, predicted=predicted, probability=np.full(N_TEST, 0.9, dtype=np.float32))


def golden_study() -> StudyData:
    """Return depths 0, 1, 2 and 5, eight settings each: the last never trains."""
    records = [trial(0, config(1, activation="sigmoid"), 0.75, phase="baseline", curve=_history(1, 0.75))]
    predictions, diagnostics = {}, {}
    for at, scores in enumerate(zip(*SEARCHED.values(), strict=True)):
        for depth, score in zip(SEARCHED, scores, strict=True):
            of = config(depth, learning_rate=0.005 * (at + 1), units=16, seed=at)
            n_wrong = round((1 - score) * N_TEST) + 2 + (at * 3 + depth) % 4
            run = trial(len(records), of, score, curve=_history(depth, score), test=1 - n_wrong / N_TEST)
            records.append(run)
            predictions[run.run_id] = _predictions(n_wrong, at)
    finalists = [finalist_of(best_of(records[1:], depth)) for depth in WRONG]
    records.append(trial(len(records), config(2, units=32), 0.89, phase="exploit", curve=_history(2, 0.89)))
    records.append(trial(len(records), config(2, units=64), phase="exploit", state="failed"))
    for depth, finalist in zip(WRONG, finalists, strict=True):
        for seed, n_wrong in zip(SEEDS, WRONG[depth], strict=True):
            accuracy = 1 - n_wrong / N_TEST
            run = trial(
                len(records), seeded(finalist.config, seed), accuracy, phase="confirm",
                tags={"finalist": finalist.id}, test=accuracy, curve=_history(depth, accuracy),
            )  # fmt: skip
            records.append(run)
            predictions[run.run_id] = _predictions(n_wrong, seed)
            diagnostics[run.run_id] = {
                "gradient_norm/hidden_1": {1: 0.1, 2: 0.1},
                "saturation/hidden_1": {1: 0.0, 2: 0.1},
                "gradient_norm/logits": {1: 0.1, 2: 0.1},
            }
    data = DataFacts(
        name="fashion-mnist", sha256="ab" * 32, source="Keras's cache", class_names=CLASSES, n_train=2000, n_valid=500,
        n_test=N_TEST, how="share 0.2 drawn by seed 1234",
    )  # fmt: skip
    return StudyData(
        design=design(
            name="golden-12345678",
            factors=(Factor.of("depth", ("0", "1", "2", "5")),),
            budgets={"baseline": 1, "compare": 32, "exploit": 2, "confirm": 10},
            compare_share=0.92,
            cores=2,
            ranges=(SearchRange(parameter="learning_rate", low=0.001, high=0.1, log=True),),
            launcher="mlflow run",
            earlier_test_openings=3,
        ),
        records=tuple(records),
        finalists=tuple(finalists),
        predictions=predictions,
        diagnostics=diagnostics,
        facts=facts(
            data,
            tuned=("learning_rate 0.001 to 0.1 (log)", "units one of 16, 32"),
            fixed=("optimizer sgd", "activation relu"),
            environment={"python": "3.11.7", "platform": "Linux", "cpus": 2, "packages": {"Keras": "3.15.0"}},
            dirty="true",
            command="mlflow run . -P experiment=golden.toml -P trials=35",
            importances=(
                Importance(method="PED-ANOVA", n_trials=24, shares=(("learning_rate", 0.7), ("depth", 0.3))),
                Importance(method="fANOVA", n_trials=24, shares=(("depth", 0.9), ("learning_rate", 0.1))),
            ),
        ),
    )
