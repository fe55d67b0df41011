"""What others reached on data that are well known, with the source of each number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownResult:
    """An accuracy that somebody else published, on the official test part unless ``part`` says otherwise."""

    model: str
    accuracy: str
    source: str
    part: str = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownData:
    """Results on one data set.

    Attributes
    ----------
    origin_loss, origin_accuracy, origin_epochs
        Of the notebook that this project began with, on its validation part.
    suspicious
        A test accuracy above it, by a plain network without augmentation, calls for a look for a leak.
    """

    origin: str
    origin_loss: str
    origin_accuracy: str
    origin_epochs: int
    results: tuple[KnownResult, ...]
    suspicious: float


_XIAO = "Xiao, Rasul, Vollgraf 2017, table 3"

KNOWN: Mapping[str, KnownData] = {
    "fashion-mnist": KnownData(
        origin="the notebook: 1 × 100 sigmoid, sgd, learning rate 0.01, batch size 32",
        origin_loss="0.36376",
        origin_accuracy="86.783",
        origin_epochs=100,
        results=(
            KnownResult(model="logistic regression (no hidden layer)", accuracy="84.2", source=_XIAO),
            KnownResult(model="scikit-learn MLP, tanh 100-10", accuracy="86.3", source=_XIAO),
            KnownResult(model="scikit-learn MLP, tanh 100", accuracy="86.8", source=_XIAO),
            KnownResult(model="scikit-learn MLP, relu 100-10", accuracy="87.0", source=_XIAO),
            KnownResult(model="scikit-learn MLP, relu 100", accuracy="87.1", source=_XIAO),
            KnownResult(model="random forest", accuracy="87.3", source=_XIAO),
            KnownResult(model="gradient boosting", accuracy="88.0", source=_XIAO),
            KnownResult(
                model="relu 300-100, SGD 0.01, 30 epochs",
                accuracy="88.6",
                source="Géron, Hands-On Machine Learning, 3rd ed.",
            ),
            KnownResult(model="SVC", accuracy="89.7", source=_XIAO),
        ),
        suspicious=0.92,
    )
}
