"""What defines a trial: the frozen configurations, and their way into logged parameters and back.

Only the standard library lives here, so that every other module, the launching process included, can import it
without cost. Values are checked when a configuration is made: one that exists is valid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

ParamValue = bool | int | float | str
ACTIVATIONS = ("sigmoid", "tanh", "relu", "elu", "selu", "gelu", "silu", "leaky_relu", "softplus", "linear")

_COMMON_KNOBS = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm")
_ADAM_KNOBS = ("beta_1", "beta_2", "epsilon")
#: The optimizers of Keras 3 and the knobs of each beside its learning rate (a test holds this against Keras).
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


def require(holds: bool, what: str, expected: str, got: object) -> None:
    """Raise the project's one form of complaint: what, what was expected, what came."""
    if not holds:
        raise ValueError(f"{what} must be {expected}, got {got!r}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """How the data are cut: the share of the samples held out for validation, and the seed of the cut."""

    valid_size: float = 0.2
    seed: int = 1234

    def __post_init__(self) -> None:
        is_share = isinstance(self.valid_size, float) and 0 < self.valid_size < 1
        require(is_share, "valid_size", "between 0 and 1", self.valid_size)
        require(_is_int(self.seed) and self.seed >= 0, "split seed", "a whole number of at least 0", self.seed)


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
            require(_is_int(n_units) and n_units >= 1, "units", "whole numbers of at least 1", n_units)
        if self.units:
            require(
                self.activation in ACTIVATIONS,
                "activation",
                f"one of {', '.join(ACTIVATIONS)}",
                self.activation,
            )
            require(0 <= self.dropout < 1, "dropout", "at least 0 and below 1", self.dropout)
        else:
            require(self.activation is None, "activation without a hidden layer", "None", self.activation)
            require(self.dropout == 0, "dropout without a hidden layer", "0", self.dropout)

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
        require(self.name in OPTIMIZERS, "optimizer", f"one of {', '.join(OPTIMIZERS)}", self.name)
        require(
            math.isfinite(self.learning_rate) and self.learning_rate > 0,
            "learning_rate",
            "above 0",
            self.learning_rate,
        )
        object.__setattr__(self, "knobs", tuple(sorted(self.knobs)))
        for knob, _value in self.knobs:
            require(
                knob in OPTIMIZERS[self.name],
                f"knob of {self.name}",
                f"one of {', '.join(OPTIMIZERS[self.name])}",
                knob,
            )
        require(len(dict(self.knobs)) == len(self.knobs), f"knobs of {self.name}", "named once each", self.knobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Number of epochs, samples a batch, and the seed of weights, order and dropout."""

    epochs: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        require(_is_int(self.epochs) and self.epochs >= 1, "epochs", "a whole number of at least 1", self.epochs)
        require(
            _is_int(self.batch_size) and self.batch_size >= 1,
            "batch_size",
            "a whole number of at least 1",
            self.batch_size,
        )
        require(_is_int(self.seed) and self.seed >= 0, "seed", "a whole number of at least 0", self.seed)


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
        required = _REQUIRED_PARAMS if text.get("depth") == "0" else _REQUIRED_PARAMS + _HIDDEN_PARAMS
        missing = [key for key in required if key not in text]
        require(
            not missing,
            "parameters of a trial",
            f"complete ({', '.join(required)})",
            f"none for {missing}",
        )
        depth, optimizer = int(text["depth"]), text["optimizer"]
        units = tuple(int(n_units) for n_units in text["units"].split(",")) if depth else ()
        if len(units) == 1:
            units *= depth
        require(len(units) == depth, "number of units", f"one or {depth}", text.get("units"))
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
                    (knob, _knob_from_text(knob, text[knob])) for knob in OPTIMIZERS.get(optimizer, ()) if knob in text
                ),
            ),
            fit=FitConfig(epochs=int(text["epochs"]), batch_size=int(text["batch_size"]), seed=int(text["seed"])),
        )


_REQUIRED_PARAMS = (
    "data",
    "data_sha256",
    "valid_size",
    "split_seed",
    "depth",
    "optimizer",
    "learning_rate",
    "batch_size",
    "epochs",
    "seed",
)
_HIDDEN_PARAMS = ("units", "activation", "dropout")


def _knob_from_text(knob: str, text: str) -> bool | int | float:
    if knob in BOOLEAN_KNOBS:
        require(text in ("True", "False"), knob, "True or False", text)
        return text == "True"
    return int(text) if knob in INTEGER_KNOBS else float(text)
