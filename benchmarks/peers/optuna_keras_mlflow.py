# /// script
# dependencies = ["optuna", "mlflow", "tensorflow", "keras", "scikit-learn", "pandas"]
# ///
"""A study by hand: Optuna's loop and storage, Keras's ``fit``, MLflow's autologging of parameters, curves and models.

A run for each trial; of its folds, the first leaves its model, as one does here too.
"""

from __future__ import annotations

import json
from statistics import mean

import mlflow
import optuna
from keras_fit import network
from study_data import splits, study


def main() -> None:
    """Train each trial of the list in its turn."""
    of = study()
    folds, trials = splits(of), of["trials"]
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("peer")

    def objective(trial: optuna.Trial) -> float:
        job = trials[trial.suggest_int("number", 0, len(trials) - 1)]
        with mlflow.start_run(run_name=f"trial {trial.number}"):
            mlflow.log_params({f"trial.{name}": value for name, value in job.items()})
            accuracies = []
            for X, y, X_valid, y_valid in folds:
                mlflow.keras.autolog(log_models=not accuracies)
                model = network(job, X.shape[1], int(y.max()) + 1)
                history = model.fit(
                    X,
                    y,
                    batch_size=job["batch_size"],
                    epochs=of["epochs"],
                    validation_data=(X_valid, y_valid),
                    verbose=0,
                )
                accuracies.append(history.history["val_accuracy"][-1])
            mlflow.log_metric("accuracy", mean(accuracies))
        print(json.dumps({"accuracy": mean(accuracies)}), flush=True)
        return mean(accuracies)

    search = optuna.create_study(direction="maximize", storage="sqlite:///optuna.db")
    for number in range(len(trials)):
        search.enqueue_trial({"number": number})
    search.optimize(objective, n_trials=len(trials))


if __name__ == "__main__":
    main()
