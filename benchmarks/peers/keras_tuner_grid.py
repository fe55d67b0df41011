# /// script
# dependencies = ["keras-tuner", "tensorboard", "tensorflow", "keras", "scikit-learn", "pandas"]
# ///
"""KerasTuner: a HyperModel with a ``fit`` of its own, over a grid whose only axis is the number of the trial.

It keeps checkpoints and results in its folder; nothing goes to MLflow.
"""

from __future__ import annotations

import json
from statistics import mean
from typing import Any

import keras_tuner
from keras_fit import network
from study_data import splits, study


class Listed(keras_tuner.HyperModel):  # type: ignore[misc]
    """The network of a trial of the list."""

    def __init__(self, of: dict[str, Any]) -> None:
        super().__init__()
        self.of, self.folds = of, splits(of)

    def build(self, hp: keras_tuner.HyperParameters) -> Any:
        """Build the network of the trial whose number is proposed."""
        job = self.of["trials"][hp.Int("number", 0, len(self.of["trials"]) - 1)]
        X, y, *_ = self.folds[0]
        return network(job, X.shape[1], int(y.max()) + 1)

    def fit(self, hp: keras_tuner.HyperParameters, model: Any, **settings: Any) -> dict[str, float]:
        """Train on each fold."""
        job, accuracies = self.of["trials"][hp.get("number")], []
        for X, y, X_valid, y_valid in self.folds:
            history = (self.build(hp) if accuracies else model).fit(
                X, y, batch_size=job["batch_size"], validation_data=(X_valid, y_valid), **settings
            )
            accuracies.append(history.history["val_accuracy"][-1])
        print("\n" + json.dumps({"accuracy": mean(accuracies)}), flush=True)
        return {"accuracy_of_folds": mean(accuracies)}


def main() -> None:
    """Train each trial of the list in its turn."""
    of = study()
    tuner = keras_tuner.GridSearch(
        Listed(of),
        objective=keras_tuner.Objective("accuracy_of_folds", "max"),
        max_trials=len(of["trials"]),
        directory="keras_tuner",
        overwrite=True,
    )
    tuner.search(epochs=of["epochs"], verbose=0)


if __name__ == "__main__":
    main()
