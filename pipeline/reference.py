"""What scikit-learn's models reach on the very parts and features that the networks get, for tables. No TensorFlow.

Their settings are scikit-learn's defaults: nothing is tuned. Two exceptions: logistic regression may take 1,000
iterations, since 100 often end before it has converged, and beyond 20,000 training rows each tree of the forest draws
20,000 of them, where a forest on a million rows would take an hour on one core.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import SplitConfig
from pipeline.metrics import Goal
from pipeline.prepare import prepare
from pipeline.records import Dataset, Part, Split
from pipeline.split import folds, split

_MOST_ROWS_OF_A_TREE = 20_000


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
    """Fit a linear model, a random forest and gradient boosting on each training part, and score them.

    The same call gives the same scores. One fold is prepared at a time, and class weights play no part.
    """
    cuts = folds(dataset, config) if config.folds else [split(dataset, config)]
    found: dict[str, list[Reference]] = {}
    for cut in cuts:
        parts, _preparation = prepare(dataset, cut)
        for name, model in _models(dataset.task, len(parts.train)):
            found.setdefault(name, []).append(_scored(name, model, parts))
    return tuple(_together(name, each) for name, each in found.items())


def _models(task: str, n_train: int) -> Iterator[tuple[str, Any]]:
    from sklearn import ensemble, linear_model

    most = _MOST_ROWS_OF_A_TREE if n_train > _MOST_ROWS_OF_A_TREE else None
    forest = {"max_samples": most, "random_state": 0, "n_jobs": 1}
    if task == "regression":
        yield "ridge regression", linear_model.Ridge()
        yield "random forest", ensemble.RandomForestRegressor(**forest)
        yield "gradient boosting", ensemble.HistGradientBoostingRegressor(random_state=0)
    else:
        yield "logistic regression", linear_model.LogisticRegression(max_iter=1_000)
        yield "random forest", ensemble.RandomForestClassifier(**forest)
        yield "gradient boosting", ensemble.HistGradientBoostingClassifier(random_state=0)


def _scored(name: str, model: Any, parts: Split) -> Reference:
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        model.fit(parts.train.X, parts.train.y)
        seconds = time.perf_counter() - start
        valid = _score(model, parts.valid, parts)
        test = None if parts.test is None or parts.config.folds else _score(model, parts.test, parts)
    return Reference(name=name, valid=valid, test=test, seconds=seconds)


def _score(model: Any, part: Part, parts: Split) -> float:
    # Predictions of a regression are in the target's unit already: nothing is standardized here.
    return Goal(metric=parts.metric).scores(part.y, _outputs(model, part, parts.n_classes))[0]


def _outputs(model: Any, part: Part, n_classes: int) -> NDArray[np.float64]:
    if not n_classes:
        return np.asarray(model.predict(part.X), np.float64).reshape(-1, 1)
    # A class without a training row has no column in the model's answer.
    outputs = np.zeros((len(part), n_classes))
    outputs[:, model.classes_] = model.predict_proba(part.X)
    return outputs


def _together(name: str, each: Sequence[Reference]) -> Reference:
    if len(each) == 1:
        return each[0]
    scores = tuple(fold.valid for fold in each)
    seconds = sum(fold.seconds for fold in each)
    return Reference(name=name, valid=float(np.mean(scores)), test=None, seconds=seconds, folds=scores)
