"""What the peers that search share: ``PEER.py study.json`` trains a list of trials, and prints a line of JSON for each.

``study.json`` has the ``trials`` (what each is built and trained with), ``epochs``, and the data: ``arrays``, a file
with the two parts, or ``table`` (a CSV file with its ``target``) in ``folds``, or 0 for one split.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import LabelEncoder, StandardScaler


def study() -> dict[str, Any]:
    """Return the study that the command names."""
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123
        found: dict[str, Any] = json.load(file)
    return found


def splits(of: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return ``X, y, X_valid, y_valid`` of each fold, or of the only split."""
    if "arrays" in of:
        with np.load(of["arrays"]) as file:
            return [tuple(file[name] for name in ("X", "y", "X_valid", "y_valid"))]
    table = pd.read_csv(of["table"])
    X, y = table.drop(columns=of["target"]).to_numpy(np.float32), LabelEncoder().fit_transform(table[of["target"]])
    return list(_folds(X, y, of["folds"]))


def _folds(X: Any, y: Any, folds: int) -> Iterator[tuple[Any, ...]]:
    if folds:
        cuts = StratifiedKFold(folds, shuffle=True, random_state=0).split(X, y)
    else:
        cuts = [train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=0)]
    for train, valid in cuts:
        scaler = StandardScaler().fit(X[train])
        yield scaler.transform(X[train]), y[train], scaler.transform(X[valid]), y[valid]
