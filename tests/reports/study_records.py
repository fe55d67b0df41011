"""Records of made-up studies, small enough to reckon by hand."""

from __future__ import annotations

import numpy as np

from pipeline.config import DataConfig, FitConfig, ModelConfig, OptimizerConfig, SplitConfig, TrialConfig
from pipeline.records import Evaluation, History, TrialRecord
from reports.design import Factor, Finalist, StudyDesign

CHANCE, N_TEST, N_VALID = 0.1, 400, 500
DEPTH, OPTIMIZER = Factor.of("depth", ("0", "1", "2")), Factor.of("optimizer", ("sgd", "adam"))


def design(**changes):
    defaults = {"name": "study", "factors": (DEPTH,), "chance": CHANCE, "earlier_test_openings": 0}
    return StudyDesign(**{**defaults, **changes})


def config(depth=1, *, optimizer="sgd", activation="relu", learning_rate=0.01, units=8, seed=0):
    return TrialConfig(
        data=DataConfig(name="made-up"),
        data_sha256="0" * 64,
        split=SplitConfig(),
        model=ModelConfig(units=(units,) * depth, activation=activation if depth else None),
        optimizer=OptimizerConfig(name=optimizer, learning_rate=learning_rate),
        fit=FitConfig(epochs=2, batch_size=32, seed=seed),
    )


def history(train=(0.5, 0.8), valid=(0.7, 0.7), train_loss=(1.0, 0.5), valid_loss=(1.0, 0.6)):
    n = len(train)
    return History(
        train_loss=train_loss,
        train_score=train,
        valid_loss=valid_loss,
        valid_score=valid,
        learning_rate=(0.01,) * n,
        seconds=(1.0,) * n,
    )


def evaluation(part, score):
    n = N_TEST if part == "test" else N_VALID
    return Evaluation(part=part, loss=1 - score, score=float(score), metric="accuracy", n_samples=n)


def trial(number, of, valid=0.8, *, phase="compare", state="finished", curve=None, tags=None, test=None):
    evaluations = [] if state == "failed" else [evaluation("valid", CHANCE if state == "diverged" else valid)]
    if test is not None:
        evaluations.append(evaluation("test", test))
    return TrialRecord(
        run_id=f"run-{number}",
        study="study",
        number=number,
        phase=phase,
        state=state,
        config=of,
        history=curve or history(),
        evaluations=tuple(evaluations),
        n_params=sum(of.model.units) * 10 + 10,
        fit_seconds=2.0,
        tags=tags or {},
    )


def finalist(name, of, *, selected=0.85, number=1, stands_for=None):
    return Finalist(
        id=name,
        config=of,
        selected_score=selected,
        selected_number=number,
        stands_for=(("depth", str(of.model.depth)),) if stands_for is None else stands_for,
    )


def confirm_runs(chosen, accuracies, *, first_number, rng, valid=None):
    """Return one run a seed, and its predictions: exactly the accuracy asked for, wrong at random places."""
    records, predictions = [], {}
    for seed, accuracy in enumerate(accuracies):
        right = np.ones(N_TEST, dtype=bool)
        right[rng.permutation(N_TEST)[: round((1 - accuracy) * N_TEST)]] = False
        of = TrialConfig.from_params({**chosen.config.to_params(), "seed": 1000 + seed})
        score = accuracy if valid is None else valid
        run = trial(
            first_number + seed, of, score, phase="confirm", tags={"finalist": chosen.id}, test=float(right.mean())
        )
        records.append(run)
        predictions[run.run_id] = right
    return records, predictions


def whole_study(rng, *, means=(0.70, 0.80, 0.90), n_seeds=5, per_level=6):
    """Return trials, finalists and predictions of a study of depths 0, 1 and 2 that ran to its end."""
    records, finalists, predictions = [], [], {}
    for depth, mean in enumerate(means):
        levels = [config(depth, learning_rate=0.01 * (k + 1)) for k in range(per_level)]
        trials = [trial(10 * depth + k, of, mean + 0.01 * k) for k, of in enumerate(levels)]
        chosen = finalist(
            f"depth-{depth}", levels[-1], selected=mean + 0.01 * (per_level - 1), number=trials[-1].number
        )
        noise = 0.005 * rng.standard_normal(n_seeds)
        runs, right = confirm_runs(chosen, mean + noise, first_number=100 + 20 * depth, rng=rng)
        records += trials + runs
        finalists.append(chosen)
        predictions |= right
    return records, finalists, predictions
