# /// script
# dependencies = ["tensorflow", "keras"]
# ///
"""Keras's ``fit``: as it comes, or (``best``) compiled by XLA with 100 steps a call (keras.io, training API)."""

from __future__ import annotations

import sys
import time
from typing import Any

import keras
from serve import serve

BEST = {"jit_compile": True, "steps_per_execution": 100}


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: D102
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: D102
        self.seconds.append(time.perf_counter() - self._start)


def network(job: dict[str, Any], n_features: int, n_classes: int, **settings: Any) -> keras.Model:
    """Build and compile the network of a job."""
    keras.utils.set_random_seed(job["seed"])
    layers = keras.layers
    model = keras.Sequential([keras.Input((n_features,))])
    if job.get("family") == "conv":
        model.add(layers.Reshape((int(n_features**0.5), -1, 1)))
    for units in job["units"]:
        if job.get("family") == "conv":
            model.add(layers.Conv2D(units, 3, padding="same", activation=job["activation"]))
            model.add(layers.MaxPooling2D(padding="same"))
        else:
            model.add(layers.Dense(units, activation=job["activation"]))
        if job.get("dropout"):
            model.add(layers.Dropout(job["dropout"]))
    if job.get("family") == "conv":
        model.add(layers.Flatten())
    model.add(layers.Dense(n_classes, activation="softmax"))
    momentum = {"momentum": job["momentum"]} if job.get("momentum") else {}
    optimizer = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[job["optimizer"]]
    model.compile(
        optimizer=optimizer(job["learning_rate"], **momentum),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **settings,
    )
    return model


def fit(job: dict[str, Any], *data: Any) -> tuple[list[float], float]:
    """Train once."""
    X, y, X_valid, y_valid = data
    model = network(job, X.shape[1], int(y.max()) + 1, **(BEST if sys.argv[2:] == ["best"] else {}))
    clock = Clock()
    history = model.fit(
        X,
        y,
        batch_size=job["batch_size"],
        epochs=job["epochs"],
        validation_data=(X_valid, y_valid),
        callbacks=[clock],
        verbose=0,
    )
    return clock.seconds, history.history["val_accuracy"][-1]


if __name__ == "__main__":
    serve(fit)
