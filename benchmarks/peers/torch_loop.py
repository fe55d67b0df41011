# /// script
# dependencies = ["torch", "numpy"]
# ///
"""PyTorch's training loop as its tutorial has it: a DataLoader; ``tensors`` sliced; or those and ``torch.compile``."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable
from typing import Any

import torch
from serve import serve
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def network(job: dict[str, Any], n_features: int, n_classes: int) -> nn.Module:
    """Build the network of a job, its weights drawn as Keras does."""
    torch.manual_seed(job["seed"])
    layers: list[nn.Module] = []
    for n_inputs, n_units in itertools.pairwise([n_features, *job["units"], n_classes]):
        layers += [nn.Linear(n_inputs, n_units), ACTIVATIONS[job["activation"]]()]
        nn.init.xavier_uniform_(layers[-2].weight)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


def optimizer_of(job: dict[str, Any]) -> type[torch.optim.Optimizer]:
    """Return the class of the job's optimizer."""
    return {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[job["optimizer"]]


def fit(job: dict[str, Any], *data: Any) -> tuple[list[float], float]:
    """Train once."""
    variant = sys.argv[2]
    X, y, X_valid, y_valid = map(torch.from_numpy, data)
    model = network(job, X.shape[1], int(y.max()) + 1)
    loss_of = nn.CrossEntropyLoss()
    optimizer = optimizer_of(job)(model.parameters(), lr=job["learning_rate"])
    forward = torch.compile(model) if variant == "compiled" else model
    size = job["batch_size"]

    def batches(X: torch.Tensor, y: torch.Tensor, is_shuffled: bool) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
        if variant == "dataloader":
            return DataLoader(TensorDataset(X, y), batch_size=size, shuffle=is_shuffled)
        order = torch.randperm(len(X)) if is_shuffled else torch.arange(len(X))
        return ((X[rows], y[rows]) for rows in order.split(size))

    seconds, accuracy = [], 0.0
    for _ in range(job["epochs"]):
        start = time.perf_counter()
        model.train()
        for x, labels in batches(X, y, is_shuffled=True):
            optimizer.zero_grad()
            loss_of(forward(x), labels).backward()
            optimizer.step()
        model.eval()
        loss, hits = 0.0, 0
        with torch.no_grad():
            for x, labels in batches(X_valid, y_valid, is_shuffled=False):
                outputs = forward(x)
                loss += loss_of(outputs, labels).item() * len(x)
                hits += int((outputs.argmax(1) == labels).sum())
        accuracy = hits / len(X_valid)
        seconds.append(time.perf_counter() - start)
    return seconds, accuracy


if __name__ == "__main__":
    serve(fit)
