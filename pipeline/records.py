"""The frozen records that flow through the project.

Only numpy and the standard library live here, so that every other module, the launching process included, can
import it without cost. Shapes, lengths and ranges are checked when a record is made: a record that exists is valid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ParamValue = bool | int | float | str
Phase = Literal["anchor", "compare", "exploit", "confirm"]
TrialState = Literal["finished", "diverged", "pruned", "failed"]

ACTIVATIONS = ("sigmoid", "tanh", "relu", "elu", "selu", "gelu", "silu", "leaky_relu", "softplus", "linear")

_COMMON_KNOBS = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm")
_ADAM_KNOBS = ("beta_1", "beta_2", "epsilon")
#: The optimizers of Keras 3 and the knobs that each takes beside its learning rate (a test holds this against Keras).
OPTIMIZERS: Mapping[str, tuple[str, ...]] = {
    "sgd": ("momentum", "nesterov", *_COMMON_KNOBS),
    "rmsprop": ("rho", "momentum", "epsilon", "centered", *_COMMON_KNOBS),
    "adagrad": ("initial_accumulator_value", "epsilon", *_COMMON_KNOBS),
    "adadelta": ("rho", "epsilon", *_COMMON_KNOBS),
    "adam": (*_ADAM_KNOBS, "amsgrad", *_COMMON_KNOBS),
    "adamw": (*_ADAM_KNOBS, "amsgrad", *_COMMON_KNOBS),
    "adamax": (*_ADAM_KNOBS, *_COMMON_KNOBS),
    "nadam": (*_ADAM_KNOBS, *_COMMON_KNOBS),
    "ftrl": (
        "learning_rate_power",
        "initial_accumulator_value",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "l2_shrinkage_regularization_strength",
        "beta",
        *_COMMON_KNOBS,
    ),
    "lion": ("beta_1", "beta_2", *_COMMON_KNOBS),
    "lamb": (*_ADAM_KNOBS, *_COMMON_KNOBS),
    "muon": (
        "adam_beta_1",
        "adam_beta_2",
        "adam_weight_decay",
        "momentum",
        "ns_steps",
        "nesterov",
        "epsilon",
        *_COMMON_KNOBS,
    ),
}
BOOLEAN_KNOBS = frozenset({"nesterov", "centered", "amsgrad"})
INTEGER_KNOBS = frozenset({"ns_steps"})


def _require(holds: bool, what: str, expected: str, got: object) -> None:
    """Raise the project's one form of complaint: what, what was expected, what came."""
    if not holds:
        raise ValueError(f"{what} must be {expected}, got {got!r}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Samples and labels as their source has them, before any split or scaling.

    Attributes
    ----------
    name
        The name a user gives, ``fashion-mnist``.
    sha256
        Hex digest over dtype, shape and bytes of all arrays: the identity of the data.
    source
        Where it was found, in words for a log.
    X, y
        ``(n_samples, *sample_shape)`` and ``(n_samples,)``, labels as int64 in ``0 .. n_classes - 1``.
    X_test, y_test
        The test part that the source itself sets aside, or both None.
    class_names
        One a class.
    feature_names
        One a feature of the flattened sample; empty for pictures.
    pixel_max
        Largest value that a pixel can have, or None where the features are no pixels.
    """

    name: str
    sha256: str
    source: str
    X: NDArray[np.generic]
    y: NDArray[np.int64]
    X_test: NDArray[np.generic] | None = None
    y_test: NDArray[np.int64] | None = None
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] = ()
    pixel_max: float | None = None

    def __post_init__(self) -> None:
        _require(len(self.X) > 0, f"number of samples of {self.name}", "at least 1", len(self.X))
        _require(self.y.shape == (len(self.X),), "shape of y", f"({len(self.X)},)", self.y.shape)
        _require(
            (self.X_test is None) == (self.y_test is None),
            "X_test and y_test",
            "both given or both None",
            "one",
        )
        if self.X_test is not None and self.y_test is not None:
            _require(
                self.X_test.shape[1:] == self.X.shape[1:],
                "sample shape of X_test",
                str(self.X.shape[1:]),
                self.X_test.shape[1:],
            )
            _require(
                self.y_test.shape == (len(self.X_test),),
                "shape of y_test",
                f"({len(self.X_test)},)",
                self.y_test.shape,
            )
        lowest, highest = int(self.y.min()), int(self.y.max())
        _require(
            lowest >= 0 and highest < self.n_classes,
            "labels",
            f"in 0 .. {self.n_classes - 1}",
            (lowest, highest),
        )

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, ``(28, 28)`` for a picture of Fashion-MNIST."""
        return tuple(self.X.shape[1:])

    @property
    def n_features(self) -> int:
        """Number of values in one sample."""
        return math.prod(self.sample_shape)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One part of a split, ready for training: X ``(n, n_features)`` float32, y ``(n,)`` int64."""

    X: NDArray[np.float32]
    y: NDArray[np.int64]

    def __post_init__(self) -> None:
        _require(self.X.ndim == 2, "dimensions of X", "2", self.X.ndim)
        _require(self.X.dtype == np.float32, "dtype of X", "float32", str(self.X.dtype))
        _require(self.y.shape == (len(self.X),), "shape of y", f"({len(self.X)},)", self.y.shape)

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """How the data are cut: the share of the samples held out for validation, and the seed of the cut."""

    valid_size: float = 0.2
    seed: int = 1234

    def __post_init__(self) -> None:
        _require(0 < self.valid_size < 1, "valid_size", "between 0 and 1", self.valid_size)
        _require(
            _is_int(self.seed) and self.seed >= 0, "split seed", "a whole number of at least 0", self.seed
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Train, valid and (where the data have one) test part, and how they were cut."""

    train: Part
    valid: Part
    test: Part | None
    n_classes: int
    config: SplitConfig

    def __post_init__(self) -> None:
        for name, part in (("valid", self.valid), ("test", self.test)):
            if part is not None:
                _require(
                    part.X.shape[1] == self.train.X.shape[1],
                    f"number of features of the {name} part",
                    str(self.train.X.shape[1]),
                    part.X.shape[1],
                )

    @property
    def n_features(self) -> int:
        """Number of features of a sample."""
        return int(self.train.X.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Units of each hidden layer (depth is their number), activation and dropout behind each hidden layer.

    Without a hidden layer there is nothing to activate or drop: activation is None and dropout 0.
    """

    units: tuple[int, ...]
    activation: str | None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for n_units in self.units:
            _require(_is_int(n_units) and n_units >= 1, "units", "whole numbers of at least 1", n_units)
        if self.units:
            _require(
                self.activation in ACTIVATIONS,
                "activation",
                f"one of {', '.join(ACTIVATIONS)}",
                self.activation,
            )
            _require(0 <= self.dropout < 1, "dropout", "at least 0 and below 1", self.dropout)
        else:
            _require(self.activation is None, "activation without a hidden layer", "None", self.activation)
            _require(self.dropout == 0, "dropout without a hidden layer", "0", self.dropout)

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """A Keras optimizer by name, its learning rate, and its other knobs as sorted pairs of name and value."""

    name: str
    learning_rate: float
    knobs: tuple[tuple[str, bool | int | float], ...] = ()

    def __post_init__(self) -> None:
        _require(self.name in OPTIMIZERS, "optimizer", f"one of {', '.join(OPTIMIZERS)}", self.name)
        _require(
            math.isfinite(self.learning_rate) and self.learning_rate > 0,
            "learning_rate",
            "above 0",
            self.learning_rate,
        )
        object.__setattr__(self, "knobs", tuple(sorted(self.knobs)))
        for knob, _value in self.knobs:
            _require(
                knob in OPTIMIZERS[self.name],
                f"knob of {self.name}",
                f"one of {', '.join(OPTIMIZERS[self.name])}",
                knob,
            )
        _require(
            len(dict(self.knobs)) == len(self.knobs), f"knobs of {self.name}", "named once each", self.knobs
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Number of epochs, samples a batch, and the seed of weights, order and dropout."""

    epochs: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        _require(
            _is_int(self.epochs) and self.epochs >= 1, "epochs", "a whole number of at least 1", self.epochs
        )
        _require(
            _is_int(self.batch_size) and self.batch_size >= 1,
            "batch_size",
            "a whole number of at least 1",
            self.batch_size,
        )
        _require(_is_int(self.seed) and self.seed >= 0, "seed", "a whole number of at least 0", self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialConfig:
    """All that defines a trial: the same TrialConfig on the same data gives the same result."""

    data: str
    data_sha256: str
    split: SplitConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    fit: FitConfig

    def to_params(self) -> dict[str, ParamValue]:
        """Return the flat parameters to log; only those that are active.

        Returns
        -------
        dict
            ``units`` is one number where all layers have the same, else the numbers joined by commas. Knobs of the
            optimizer stand under their own names.
        """
        params: dict[str, ParamValue] = {
            "data": self.data,
            "data_sha256": self.data_sha256,
            "valid_size": self.split.valid_size,
            "split_seed": self.split.seed,
            "depth": self.model.depth,
            "optimizer": self.optimizer.name,
            "learning_rate": self.optimizer.learning_rate,
            "batch_size": self.fit.batch_size,
            "epochs": self.fit.epochs,
            "seed": self.fit.seed,
        }
        units = self.model.units
        if units and self.model.activation is not None:
            params["units"] = units[0] if len(set(units)) == 1 else ",".join(map(str, units))
            params["activation"] = self.model.activation
            params["dropout"] = self.model.dropout
        params.update(self.optimizer.knobs)
        return params

    @classmethod
    def from_params(cls, params: Mapping[str, object]) -> TrialConfig:
        """Rebuild the configuration from logged parameters; the inverse of :meth:`to_params`.

        Parameters
        ----------
        params
            Values may be strings, as MLflow returns them. Keys that no configuration has are ignored.

        Raises
        ------
        ValueError
            When a parameter is missing or has no valid value.
        """
        text = {key: str(value) for key, value in params.items()}
        missing = [key for key in _REQUIRED_PARAMS if key not in text]
        _require(
            not missing,
            "parameters of a trial",
            f"complete ({', '.join(_REQUIRED_PARAMS)})",
            f"none for {missing}",
        )
        depth, optimizer = int(text["depth"]), text["optimizer"]
        units = tuple(int(n_units) for n_units in text["units"].split(",")) if depth else ()
        if len(units) == 1:
            units *= depth
        _require(len(units) == depth, "number of units", f"one or {depth}", text.get("units"))
        return cls(
            data=text["data"],
            data_sha256=text["data_sha256"],
            split=SplitConfig(valid_size=float(text["valid_size"]), seed=int(text["split_seed"])),
            model=ModelConfig(
                units=units,
                activation=text["activation"] if depth else None,
                dropout=float(text["dropout"]) if depth else 0.0,
            ),
            optimizer=OptimizerConfig(
                name=optimizer,
                learning_rate=float(text["learning_rate"]),
                knobs=tuple(
                    (knob, _knob_from_text(knob, text[knob]))
                    for knob in OPTIMIZERS.get(optimizer, ())
                    if knob in text
                ),
            ),
            fit=FitConfig(
                epochs=int(text["epochs"]), batch_size=int(text["batch_size"]), seed=int(text["seed"])
            ),
        )


_REQUIRED_PARAMS = (
    "data", "data_sha256", "valid_size", "split_seed", "depth", "optimizer", "learning_rate", "batch_size", "epochs", "seed",
)  # fmt: skip


def _knob_from_text(knob: str, text: str) -> bool | int | float:
    if knob in BOOLEAN_KNOBS:
        _require(text in ("True", "False"), knob, "True or False", text)
        return text == "True"
    return int(text) if knob in INTEGER_KNOBS else float(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What an epoch gave, one entry an epoch: losses, scores, learning rate and seconds.

    ``metric`` names the score (``accuracy``). Values of the training part are means over the epoch's batches while
    the weights moved, as Keras reports them; values of the validation part are of the weights at the epoch's end.
    """

    metric: str = "accuracy"
    train_loss: tuple[float, ...] = ()
    train_score: tuple[float, ...] = ()
    valid_loss: tuple[float, ...] = ()
    valid_score: tuple[float, ...] = ()
    learning_rate: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        lengths = {
            len(column)
            for column in (
                self.train_loss, self.train_score, self.valid_loss, self.valid_score, self.learning_rate, self.seconds,
            )
        }  # fmt: skip
        _require(len(lengths) == 1, "columns of a history", "of one length", sorted(lengths))

    @property
    def n_epochs(self) -> int:
        """Number of epochs trained."""
        return len(self.train_loss)

    def curves(self) -> dict[str, tuple[float, ...]]:
        """Return the four curves and the learning rate under the keys that every log uses, ``train/loss``."""
        return {
            "train/loss": self.train_loss,
            f"train/{self.metric}": self.train_score,
            "valid/loss": self.valid_loss,
            f"valid/{self.metric}": self.valid_score,
            "learning_rate": self.learning_rate,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Loss and score of a model on one part."""

    part: Literal["train", "valid", "test"]
    loss: float
    score: float
    metric: str
    n_samples: int

    def __post_init__(self) -> None:
        _require(self.n_samples >= 1, "n_samples", "at least 1", self.n_samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What a trial gave. The trained model travels beside it, never inside.

    ``valid`` is the evaluation that counts: of the last epoch's weights, or chance where the trial diverged.
    """

    config: TrialConfig
    state: TrialState
    history: History
    valid: Evaluation
    test: Evaluation | None
    n_params: int
    fit_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A trial as it is read back from tracking."""

    run_id: str
    study: str
    number: int
    phase: Phase
    state: TrialState
    config: TrialConfig
    history: History
    evaluations: tuple[Evaluation, ...] = ()
    n_params: int | None = None
    fit_seconds: float | None = None
    failure: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def evaluation(self, part: str) -> Evaluation | None:
        """Return the evaluation on the named part, or None where there is none."""
        return next((evaluation for evaluation in self.evaluations if evaluation.part == part), None)
