# /// script
# dependencies = ["skorch", "torch", "numpy"]
# ///
"""skorch: PyTorch behind scikit-learn's interface, validation part and accuracy as its user guide has them."""

from __future__ import annotations

from typing import Any

from serve import serve
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn
from torch_loop import network, optimizer_of


def fit(job: dict[str, Any], X: Any, y: Any, X_valid: Any, y_valid: Any) -> tuple[list[float], float]:
    """Train once."""
    net = NeuralNetClassifier(
        network(job, X.shape[1], int(y.max()) + 1),
        criterion=nn.CrossEntropyLoss,
        optimizer=optimizer_of(job),
        lr=job["learning_rate"],
        batch_size=job["batch_size"],
        max_epochs=job["epochs"],
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(X_valid, y_valid)),
        verbose=0,
    )
    net.fit(X, y)
    return net.history[:, "dur"], float(net.history[-1, "valid_acc"])


if __name__ == "__main__":
    serve(fit)
