"""What made-up studies are put together of: records, small enough to reckon by hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from depthcheck.pipeline.config import DataConfig, FitConfig, ModelConfig, OptimizerConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.records import Evaluation, History, TrialRecord
from depthcheck.reports.compare.example_scores import ExampleScores
from depthcheck.reports.compare.study_data import Factor, FrozenFinalist, StudyDesign, StudyFacts

CLASSES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
DUMMY_SCORE, N_TEST, N_VALID = 0.1, 400, 500
DEPTH, OPTIMIZER = Factor.of("depth", ("0", "1", "2")), Factor.of("optimizer", ("sgd", "adam"))


def design(**changes):
    defaults = {"name": "study", "factors": (DEPTH,), "dummy_score": DUMMY_SCORE, "earlier_test_openings": 0}
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


def history(train=(0.5, 0.8), valid=(0.7, 0.7), train_loss=(1.0, 0.5), valid_loss=(1.0, 0.6), metric="accuracy"):
    n = len(train)
    return History(
        metric=metric,
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
    evaluations = [] if state == "failed" else [evaluation("valid", DUMMY_SCORE if state == "diverged" else valid)]
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


def finalist(name, of, *, selected=0.85, stands_for=None, origin="compare"):
    return FrozenFinalist(
        id=name,
        config=of,
        selected_score=selected,
        stands_for=(("depth", str(of.model.depth)),) if stands_for is None else stands_for,
        origin=origin,
    )


def finalist_of(record, stands_for=None):
    """Return the finalist that the search found with a trial."""
    score = record.evaluation("valid").score
    return finalist(f"trial-{record.number}", record.config, selected=score, stands_for=stands_for, origin=record.phase)


def best_of(records, depth):
    """Return the trial of a depth with the best validation score."""
    of_depth = [r for r in records if r.config.model.depth == depth]
    return max(of_depth, key=lambda record: record.evaluation("valid").score)


def seeded(config, seed):
    """Return a configuration with another seed."""
    return dataclasses.replace(config, fit=dataclasses.replace(config.fit, seed=seed))


def facts(data, **changes):
    """Return what is known of a study beside its scores."""
    defaults = {
        "question": "Does another hidden layer help?", "state": "finished", "run_id": "0123456789abcdef",
        "tracking_uri": "sqlite:////home/me/mlflow.db", "epochs": 2, "seed": 1, "seeds": (11, 12, 13, 14, 15),
        "finalists_sha256": "cd" * 32, "code_version": "0123456789", "dirty": "false",
    }  # fmt: skip
    return StudyFacts(data=data, **{**defaults, **changes})


def confirm_runs(chosen, accuracies, *, first_number, rng, valid=None):
    """Return one run a seed, and its predictions: exactly the accuracy asked for, wrong at random places."""
    records, predictions = [], {}
    for seed, accuracy in enumerate(accuracies):
        right = answered(rng, accuracy)
        score = accuracy if valid is None else valid
        run = trial(
            first_number + seed, seeded(chosen.config, 1000 + seed), score, phase="confirm",
            tags={"finalist": chosen.id}, test=float(right.mean()),
        )  # fmt: skip
        records.append(run)
        predictions[run.run_id] = ExampleScores(scores=right)
    return records, predictions


def answered(rng, accuracy):
    """Return right and wrong of 400 examples: exactly the accuracy asked for, wrong at random places."""
    right = np.ones(N_TEST, dtype=bool)
    right[rng.permutation(N_TEST)[: round((1 - accuracy) * N_TEST)]] = False
    return right


def searched(rng, *, means=(0.70, 0.80, 0.90), n_settings=8, spread=0.01, is_tuned=True, tests=None):
    """Return the search of a study of depths 0, 1 and 2, and what its networks answered: a trial a setting each."""
    records, answers = [], {}
    for setting in range(n_settings):
        luck = spread * rng.standard_normal()
        for depth, (mean, test) in enumerate(zip(means, tests or means, strict=True)):
            rate = 0.01 * (1 + setting) if is_tuned else 0.01
            right = answered(rng, test + luck)
            of = config(depth, learning_rate=rate, seed=setting)
            run = trial(len(records), of, mean + luck, test=float(right.mean()))
            records.append(run)
            answers[run.run_id] = ExampleScores(scores=right)
    return records, answers


def whole_study(rng, *, n_seeds=5, **kwargs):
    """Return trials, finalists and answers of a study of depths 0, 1 and 2 that ran to its end."""
    records, answers = searched(rng, **kwargs)
    finalists = []
    for depth in (2, 1):
        chosen = finalist_of(best_of(records, depth))
        accuracies = chosen.selected_score - 0.01 + 0.005 * rng.standard_normal(n_seeds)
        runs, right = confirm_runs(chosen, accuracies, first_number=1000 + 20 * depth, rng=rng)
        records, finalists, answers = records + runs, [*finalists, chosen], answers | right
    return records, finalists, answers


def chosen_study(rng, *, means=(0.70, 0.80, 0.90), n_seeds=5):
    """Return finalists that the user chose, at depths 0, 1 and 2, with their runs on fresh seeds."""
    records, finalists, answers = [], [], {}
    for depth, mean in enumerate(means):
        chosen = finalist(f"depth-{depth}", config(depth), origin="chosen")
        runs, right = confirm_runs(
            chosen, mean + 0.005 * rng.standard_normal(n_seeds), first_number=20 * depth, rng=rng
        )
        records, finalists, answers = records + runs, [*finalists, chosen], answers | right
    return records, finalists, answers
