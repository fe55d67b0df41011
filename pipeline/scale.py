"""Scale features: fitted on the training part alone, applied to every part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.preparation import empty_features
from depthcheck.pipeline.records import Cut, Dataset, Part, Scaler, Split

#: Samples scaled at a time: what a step holds beside its result stays small, however many samples there are.
_N_BLOCK = 4_096


def scale(dataset: Dataset, cut: Cut) -> tuple[Split, Scaler]:
    """Write each part once, flat, in float32 and scaled, and return the scaler beside it.

    Parameters
    ----------
    dataset
        X of any shape and number type; read, never changed.
    cut
        Which samples train: the scaler sees those and no others.

    Returns
    -------
    Split, Scaler
        Parts with X ``(n, n_features)``, exactly ``X.astype(float32) * scale + offset``.
    """
    scaler = fit_scaler(dataset, cut.train)
    test = None
    if cut.test is not None:
        test = _part(dataset.X, dataset.y, cut.test, scaler)
    elif dataset.X_test is not None and dataset.y_test is not None:
        test = _part(dataset.X_test, dataset.y_test, np.arange(len(dataset.y_test)), scaler)
    parts = Split(
        train=_part(dataset.X, dataset.y, cut.train, scaler),
        valid=_part(dataset.X, dataset.y, cut.valid, scaler),
        test=test,
        n_classes=dataset.n_classes,
        config=cut.config,
        task=dataset.task,
        metric=dataset.metric,
    )
    return parts, scaler


def fit_scaler(dataset: Dataset, train: NDArray[np.int64]) -> Scaler:
    """Return the scaler of a data set, learnt from the samples at the positions ``train``.

    Pixels need nothing learnt: their largest possible value becomes 1. Other features get mean 0 and standard
    deviation 1 over the training samples; one that is constant there is only moved to 0.
    """
    if dataset.pixel_max is not None:
        return Scaler(scale=float(np.float32(1 / dataset.pixel_max)), offset=0.0)
    from sklearn.preprocessing import StandardScaler

    standard = StandardScaler()
    for rows in _blocks(train):
        standard.partial_fit(dataset.X[rows].reshape(len(rows), -1).astype(np.float64))
    return Scaler(
        scale=(1 / standard.scale_).astype(np.float32),
        offset=(-standard.mean_ / standard.scale_).astype(np.float32),
    )


def apply_scaler(scaler: Scaler, X: NDArray[np.float32]) -> None:
    """Scale flat samples ``(n, n_features)`` in place."""
    X *= scaler.scale
    X += scaler.offset


def _part(X: NDArray[np.generic], y: NDArray[Any], rows: NDArray[np.int64], scaler: Scaler) -> Part:
    scaled = empty_features(len(rows), int(np.prod(X.shape[1:])))
    start = 0
    for block in _blocks(rows):
        window = scaled[start : start + len(block)]
        window[:] = X[block].reshape(window.shape)
        apply_scaler(scaler, window)
        start += len(block)
    return Part(X=scaled, y=y[rows])


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _N_BLOCK):
        yield rows[start : start + _N_BLOCK]
