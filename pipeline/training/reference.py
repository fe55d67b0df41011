"""What scikit-learn's models reach on the very parts that the networks get, with the usual features. No TensorFlow.

Their settings are scikit-learn's defaults: nothing is tuned. Three exceptions: logistic regression may take 1,000
iterations, since 100 often end before it has converged; beyond 20,000 training rows each tree of the forest draws
20,000 of them, where a forest on a million rows would take an hour on one core; and boosting does not stop early where
a class has one training row.

Of arrays (digits, pictures) only the linear model is fitted: it is what a network without a hidden layer should reach.
It gets 10,000 training samples at most, fewer where each has many values, and 200 iterations: seconds, not minutes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from depthcheck.pipeline.config import SplitConfig
from depthcheck.pipeline.metrics import Objective, dummy_evaluation, objective_of
from depthcheck.pipeline.own import OwnCodeError
from depthcheck.pipeline.prepare.prepare import parts_of, prepare, prepared
from depthcheck.pipeline.prepare.split import cuts, folds
from depthcheck.pipeline.records import Dataset, Part, Split
from depthcheck.pipeline.scores import METRICS

_MOST_ROWS_OF_A_TREE = 20_000
#: Of arrays, the linear model trains on no more samples and values than these (40 MB), and no longer than that.
_MOST_SAMPLES, _MOST_VALUES, _MOST_ITERATIONS = 10_000, 10_000_000, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What one model reached, by the data set's metric.

    Attributes
    ----------
    valid
        On the validation part, or the mean over folds.
    test
        On the test part; None where there is none, as with folds.
    seconds
        To fit it on one thread, all folds together.
    folds
        The score of each fold; empty for a single split.
    """

    name: str
    valid: float
    test: float | None
    seconds: float
    folds: tuple[float, ...] = ()


def reference_scores(dataset: Dataset, config: SplitConfig) -> tuple[Reference, ...]:
    """Fit models on each training part, and score them: of arrays, a linear one; of tables, two of trees as well.

    The same call gives the same scores. One fold is prepared at a time. Class weights play no part; those of rows do.
    A model that cannot be fitted to a training part (a linear one to a class alone) is left out.

    Raises
    ------
    ValueError
        When none can be.
    """
    found: dict[str, list[Reference]] = {}
    failed: dict[str, ValueError] = {}
    for parts in _parts(dataset, config):
        for name, model, train in _models(dataset, parts):
            try:
                found.setdefault(name, []).append(_scored(name, model, parts, train))
            except ValueError as error:
                failed[name] = error
    if len(failed) == len(found):
        raise next(iter(failed.values()))
    return tuple(_together(name, each) for name, each in found.items() if name not in failed)


def guesses(dataset: Dataset, config: SplitConfig) -> dict[str, float]:
    """Return what the training part's commonest class, or its mean, scores on each part, or the mean over folds.

    Later rows, other groups and a test file may have other classes or numbers than those that train.
    """
    found = [
        {
            name: dummy_evaluation(replace(parts, valid=judged), objective_of(parts)).score
            for name, judged in (("train", parts.train), ("valid", parts.valid), ("test", parts.test))
            if judged is not None and (name != "test" or not config.folds)
        }
        for parts in _targets(dataset, config)
    ]
    return {name: float(np.mean([scores[name] for scores in found])) for name in found[0]}


def scale_of_metric(dataset: Dataset, config: SplitConfig) -> dict[str, float]:
    """Return what a user's own metric gives for guessing and for a perfect answer: ``guess`` and ``perfect``.

    Both are of the validation part, or the mean over folds; ``train`` and ``test`` are of guessing on these parts.

    Raises
    ------
    OwnCodeError
        When it cannot be used: it raises, gives no finite number, or a perfect answer scores no better than guessing.
    """
    own, guessed = METRICS[dataset.metric].own, guesses(dataset, config)
    assert own is not None
    perfect = float(np.mean([_perfect(parts) for parts in _targets(dataset, config)]))
    scale = {"perfect": perfect, "guess": (guess := guessed.pop("valid")), **guessed}
    for name, score in scale.items():
        if not np.isfinite(score):
            what = {"perfect": "a perfect answer", "guess": "guessing"}.get(name, f"guessing on the {name} part")
            raise OwnCodeError(f"{own.name} must give a finite number for {what}, got {score}")
    if perfect <= guess:
        sign = -1 if own.direction == "minimize" else 1
        raise OwnCodeError(
            f"{own.name} with direction {own.direction} must score a perfect answer better than guessing, got "
            f"{sign * perfect:g} against {sign * guess:g}"
        )
    return scale


def _parts(dataset: Dataset, config: SplitConfig) -> Iterator[Split]:
    if config.folds:
        yield from (prepare(dataset, cut)[0] for cut in folds(dataset, config))
    else:  # a worker that trained on a single cut has it at hand
        yield prepared(dataset, config)[0].split


def _targets(dataset: Dataset, config: SplitConfig) -> list[Split]:
    """Return the parts without features, which to prepare takes long."""
    return [parts_of(dataset, cut) for cut in cuts(dataset, config)]


def _perfect(parts: Split) -> float:
    """Return what the validation part's targets score as answers."""
    objective, part = objective_of(parts), parts.valid
    truth = part.y.reshape(-1, 1) if objective.is_regression else np.eye(parts.n_classes)[part.y]
    return objective.served.score(part.y, truth.astype(np.float64), part.weight)


def _models(dataset: Dataset, parts: Split) -> Iterator[tuple[str, Any, Part]]:
    """Yield the name of each model, the model, and what it trains on."""
    from sklearn import ensemble, linear_model

    train, is_regression = _weighing(parts.train), dataset.task == "regression"
    name = "ridge regression" if is_regression else "logistic regression"
    if not dataset.is_table:
        some = _drawn(train)
        of = "samples" if dataset.pixel_max is None else "images"
        name += f" on {len(some):,} {of}" if len(some) < len(train) else ""
        logistic = linear_model.LogisticRegression(max_iter=_MOST_ITERATIONS)
        yield name, linear_model.Ridge() if is_regression else logistic, some
        return
    most = _MOST_ROWS_OF_A_TREE if len(train) > _MOST_ROWS_OF_A_TREE else None
    forest = {"max_samples": most, "random_state": 0, "n_jobs": 1}
    if is_regression:
        yield name, linear_model.Ridge(), train
        yield "random forest", ensemble.RandomForestRegressor(**forest), train
        yield "gradient boosting", ensemble.HistGradientBoostingRegressor(random_state=0), train
    else:
        yield name, linear_model.LogisticRegression(max_iter=1_000), train
        yield "random forest", ensemble.RandomForestClassifier(**forest), train
        # With more than 10,000 rows it sets some aside by class, which a class of one row has not.
        stops = "auto" if np.unique(train.y, return_counts=True)[1].min() > 1 else False
        boosting = ensemble.HistGradientBoostingClassifier(random_state=0, early_stopping=stops)
        yield "gradient boosting", boosting, train


def _drawn(train: Part) -> Part:
    """Return no more samples than the linear model's time allows, each class (or quantile) in its share."""
    most = min(_MOST_SAMPLES, max(1, _MOST_VALUES // train.X.shape[1]))
    if len(train) <= most:
        return train
    shuffled = np.random.default_rng(0).permutation(len(train))
    by_class = shuffled[np.argsort(train.y[shuffled], kind="stable")]
    rows = np.sort(by_class[np.linspace(0, len(train) - 1, most).astype(np.int64)])
    return train.at(rows)


def _weighing(train: Part) -> Part:
    """Return the rows that weigh something; not every model takes others."""
    is_heavy = None if train.weight is None else train.weight > 0
    return train if is_heavy is None or is_heavy.all() else train.at(np.flatnonzero(is_heavy))


def _scored(name: str, model: Any, parts: Split, train: Part) -> Reference:
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        model.fit(train.features(), train.y, sample_weight=train.weight)
        seconds = time.perf_counter() - start
        valid = _score(model, parts.valid, parts)
        test = None if parts.test is None or parts.config.folds else _score(model, parts.test, parts)
    return Reference(name=name, valid=valid, test=test, seconds=seconds)


def _score(model: Any, part: Part, parts: Split) -> float:
    if parts.n_classes:
        # A class without a training row has no column in the model's answer.
        outputs = np.zeros((len(part), parts.n_classes))
        outputs[:, model.classes_] = model.predict_proba(part.features())
    else:  # in the target's unit already: nothing is standardized here
        outputs = np.asarray(model.predict(part.features()), np.float64).reshape(-1, 1)
    return Objective(metric=parts.metric, task=parts.task).served.score(part.y, outputs, part.weight)


def _together(name: str, each: Sequence[Reference]) -> Reference:
    if len(each) == 1:
        return each[0]
    scores = tuple(fold.valid for fold in each)
    seconds = sum(fold.seconds for fold in each)
    return Reference(name=name, valid=float(np.mean(scores)), test=None, seconds=seconds, folds=scores)
