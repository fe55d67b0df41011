"""Ours: the compiled fit as a worker runs it, without what surrounds a trial; ``pixels`` are uint8, as images are."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from benchmarks.peers.serve import serve
from depthcheck.pipeline.config import FitConfig, ModelConfig, OptimizerConfig, SplitConfig
from depthcheck.pipeline.records import Part, Split
from depthcheck.pipeline.training.build import build
from depthcheck.pipeline.training.fit import fit_folds

_splits: list[Split] = []  # the data stay resident from one fit to the next, as they do in a worker


def _part(X: Any, y: Any) -> Part:
    if sys.argv[2:] != ["pixels"]:
        return Part(X=X, y=y)
    return Part(X=np.rint(X * 255).astype(np.uint8), y=y, scale=float(np.float32(1 / 255)))


def fit(job: dict[str, Any], *data: Any) -> tuple[tuple[float, ...], float]:
    """Train once."""
    X, y, X_valid, y_valid = data
    n_classes = int(y.max()) + 1
    if not _splits:
        parts = [_part(X, y), _part(X_valid, y_valid)]
        _splits.append(Split(train=parts[0], valid=parts[1], test=None, n_classes=n_classes, config=SplitConfig()))
    units, family = tuple(job["units"]), job.get("family", "mlp")
    side = int(np.sqrt(X.shape[1]))
    model = build(
        ModelConfig(
            units=units,
            activation=job["activation"] if units else None,
            options=(("family", family),) if family != "mlp" else (),
        ),
        OptimizerConfig(name=job["optimizer"], learning_rate=job["learning_rate"]),
        n_features=X.shape[1],
        n_classes=n_classes,
        seed=job["seed"],
        sample_shape=(side, side) if family == "conv" else None,
    )
    config = FitConfig(epochs=job["epochs"], batch_size=job["batch_size"], seed=job["seed"])
    history = fit_folds([model], _splits, config).history
    return history.seconds, history.valid_score[-1]


if __name__ == "__main__":
    serve(fit)
