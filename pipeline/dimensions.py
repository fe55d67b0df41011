"""What a configuration can vary in: one object a dimension, in one registry, :data:`DIMENSIONS`.

A dimension is compared (a factor with levels), tuned (with a range or choices) or fixed (one value). Definitions,
plans, Optuna's space, logged parameters, reports and the building of networks ask the object; none of them lists
dimensions again. So a further entry is a further dimension: how one is added stands at :class:`Dimension`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from depthcheck.pipeline.config import (
    ACTIVATIONS,
    BOOLEAN_OPTIONS,
    INTEGER_OPTIONS,
    OPTIMIZERS,
    ParamValue,
    require,
    shown,
    suggestion,
)

if TYPE_CHECKING:
    from depthcheck.pipeline.config import TrialConfig

#: Whole numbers of TOML have no end; what lies beyond this is no value of anything (and infinity and NaN are none).
_LARGEST = 1e300
#: The fields of a configuration's parts while it is being made, and the optimizer's options.
Draft = Mapping[Literal["model", "options", "optimizer", "hyperparameters", "fit"], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The type and the limits of a value.

    Attributes
    ----------
    low, high
        The limits, allowed themselves unless ``open_low`` or ``open_high``.
    choices
        The words of kind ``choice``.
    most
        Where a whole number is no value that anybody means: a mistake that would fill the memory.
    """

    kind: Literal["int", "float", "bool", "choice"]
    low: float = -_LARGEST
    high: float = _LARGEST
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    most: int | None = None

    @property
    def expected(self) -> str:
        """The values that are allowed, in words."""
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        if self.kind == "bool":
            return "true or false"
        noun = "a whole number" if self.kind == "int" else "a number"
        limits = []
        if self.low > -_LARGEST:
            limits.append(f"above {self.low:g}" if self.open_low else f"of at least {self.low:g}")
        if self.high < _LARGEST:
            limits.append(f"below {self.high:g}" if self.open_high else f"of at most {self.high:g}")
        return " ".join([noun, " and ".join(limits)]).strip()

    @property
    def json_schema(self) -> dict[str, Any]:
        """The values that are allowed, as JSON schema says it."""
        if self.kind == "choice":
            return {"enum": list(self.choices)}
        if self.kind == "bool":
            return {"type": "boolean"}
        schema: dict[str, Any] = {"type": "integer" if self.kind == "int" else "number"}
        if self.low > -_LARGEST:
            schema["exclusiveMinimum" if self.open_low else "minimum"] = self.low
        if self.high < _LARGEST or self.most is not None:
            schema["exclusiveMaximum" if self.open_high else "maximum"] = self.high if self.most is None else self.most
        return schema

    def check(self, value: object, what: str = "") -> ParamValue:
        """Return the value in its type.

        Raises
        ------
        ValueError
            When it is of another type or outside the limits; ``what`` names it in the message.
        """
        if self.kind == "choice":
            if isinstance(value, str) and value in self.choices:
                return value
            raise ValueError(f"{what} must be {self.expected}, got {shown(value)}{suggestion(value, self.choices)}")
        is_bool = isinstance(value, bool)
        if self.kind == "bool" and isinstance(value, bool):
            return value
        if self.kind == "int" and isinstance(value, int) and not is_bool and self._within(value):
            if self.most is not None and value > self.most:
                raise ValueError(f"{what} must be a whole number of at most {self.most}, got {shown(value)}")
            return value
        if self.kind == "float" and isinstance(value, int | float) and not is_bool and self._within(value):
            return float(value)
        raise ValueError(f"{what} must be {self.expected}, got {shown(value)}")

    def _within(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def from_text(self, text: str, what: str) -> ParamValue:
        """Return the value that was logged as a text."""
        if self.kind == "bool":
            require(text in ("True", "False"), what, "True or False", text)
            return text == "True"
        # Layers of unequal width are logged as several numbers.
        return text if self.kind == "choice" or "," in text else int(text) if self.kind == "int" else float(text)


def with_hidden_layers(_optimizer: str, depth: int) -> bool:
    """Tell whether there are hidden layers, for dimensions that are about them."""
    return depth > 0


@dataclass(slots=True, kw_only=True)
class Blueprint:
    """What a network is about to be built of and trained with, for dimensions to change.

    Attributes
    ----------
    keras
        The module, which nothing but training imports.
    n_classes
        0 for a regression.
    hidden
        Arguments of the ``keras.layers.Dense`` of each hidden layer, such as ``activation`` or ``kernel_regularizer``.
    initializer
        What makes of ``seed=`` the initializer of a layer's weights.
    behind
        What stands behind each hidden layer, in order: a name, and what makes of a layer's name and a seed of its own
        a layer of Keras that looks at each sample by itself.
    loss
        What training minimizes, beside regularizers. Evaluating keeps to the loss of the task: levels stay comparable.
    optimizer
        Keras's optimizer.
    """

    keras: Any
    n_classes: int
    hidden: dict[str, Any]
    initializer: Callable[..., Any]
    behind: dict[str, Callable[[str, int], Any]]
    loss: Any
    optimizer: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension(Values):
    """One dimension: its limits, when it is active, how it is applied, read, logged (under its name) and said.

    As it stands it is an option of every optimizer, handed to Keras's optimizer by its name:
    ``DIMENSIONS["use_ema"] = Dimension(name="use_ema", kind="bool")``. One that changes the network or what training
    minimizes says how::

        def add_noise(network: Blueprint, value: float) -> None:
            noise = network.keras.layers.GaussianNoise
            network.behind["noise"] = lambda name, seed: noise(value, name=name, seed=seed)

        DIMENSIONS["noise"] = Dimension(
            name="noise", kind="float", low=0, build=add_noise, is_active=with_hidden_layers, per_optimizer=False
        )

    Attributes
    ----------
    part, field
        Where it stands in a configuration: ``model``, ``fit``, ``optimizer`` or, as an option of the optimizer's,
        ``hyperparameters``; and under which name, if not its own. With ``build`` it is one of the model's ``options``.
    build
        How it changes a network that is to be built, and its training; those of the registry act in its order.
    is_active
        Whether a configuration with that optimizer and that many hidden layers has it.
    per_optimizer
        Whether its range belongs to one optimizer: the learning rates of two optimizers are two parameters.
    is_required
        Whether a configuration that has it must be told its value.
    default
        Its value where a definition does not name it; None where that is left to Keras, and not logged.
    baseline
        The level that the others are held against, where it is one of those compared; else it is the first.
    log
        Whether its numbers are seen on a logarithmic scale where no range says so.
    words
        How a reader sees it, of ``{name}`` and ``{value}``.
    put
        How it is written into a configuration, where that is more than setting a field.
    """

    name: str
    part: Literal["model", "options", "optimizer", "hyperparameters", "fit"] = "hyperparameters"
    field: str = ""
    build: Callable[[Blueprint, Any], None] | None = None
    is_active: Callable[[str, int], bool] = lambda _optimizer, _depth: True
    per_optimizer: bool = True
    is_required: bool = False
    default: ParamValue | None = None
    baseline: ParamValue | None = None
    log: bool = False
    words: str = "{name} {value}"
    put: Callable[[Draft, ParamValue], None] | None = None

    def __post_init__(self) -> None:
        if self.build is not None:
            object.__setattr__(self, "part", "options")

    def apply(self, draft: Draft, value: ParamValue) -> None:
        """Write the value into a configuration that is being made."""
        if self.put is not None:
            self.put(draft, value)
        else:
            draft[self.part][self.field or self.name] = float(value) if self.kind == "float" else value

    def read(self, config: TrialConfig) -> ParamValue | None:
        """Return a configuration's value, or None where it has none; layers of unequal width are one text."""
        if self.part in ("options", "hyperparameters"):
            held = config.model.options if self.part == "options" else config.optimizer.hyperparameters
            return dict(held).get(self.name)
        found = getattr(getattr(config, self.part), self.field or self.name)
        if isinstance(found, tuple):
            return ",".join(map(str, found)) if len(set(found)) > 1 else found[0]
        return found  # type: ignore[no-any-return]  # the fields of configurations hold such values

    def said(self, value: ParamValue, digits: int = 4) -> str:
        """Return the value as a reader sees it, ``batch size 64``."""
        text = f"{value:.{digits}g}" if isinstance(value, float) else str(value)
        return self.words.format(name=self.name.replace("_", " "), value=text)


def _put_depth(draft: Draft, value: ParamValue) -> None:
    draft["model"]["units"] = (0,) * int(value)


def _put_units(draft: Draft, value: ParamValue) -> None:
    """Give all hidden layers one width, or each its own where several are named."""
    depth, widths = len(draft["model"]["units"]), tuple(int(width) for width in str(value).split(","))
    require(len(widths) in (1, depth), "number of units", f"one or {depth}", value)
    draft["model"]["units"] = widths * depth if len(widths) == 1 else widths


def _option(name: str) -> Dimension:
    """Return an option of the optimizers that take it."""
    limits: dict[str, Any] = {"kind": "float", "low": 0}
    if name in BOOLEAN_OPTIONS:
        limits = {"kind": "bool"}
    elif name in INTEGER_OPTIONS:
        limits = {"kind": "int", "low": 1, "most": 1_000}
    elif name == "learning_rate_power":
        limits = {"kind": "float", "high": 0}
    elif name in ("momentum", "rho") or "beta_" in name:
        limits |= {"high": 1, "open_high": True}
    return Dimension(name=name, is_active=lambda optimizer, _: name in OPTIMIZERS.get(optimizer, ()), **limits)


def _shared(name: str, **fields: Any) -> Dimension:
    """Return a dimension that means the same whatever the optimizer is."""
    return Dimension(name=name, per_optimizer=False, **fields)


#: Every dimension, in the order in which a configuration is made and said.
DIMENSIONS: dict[str, Dimension] = {
    dimension.name: dimension
    for dimension in (
        _shared(
            "depth", kind="int", low=0, most=1_000, part="model", is_required=True, baseline=1, put=_put_depth,
        ),
        _shared(
            "units", kind="int", low=1, most=1_000_000, part="model", is_active=with_hidden_layers, is_required=True,
            log=True, words="{value} {name}", put=_put_units,
        ),
        _shared(
            "activation", kind="choice", choices=ACTIVATIONS, part="model", is_active=with_hidden_layers,
            is_required=True, words="{value}",
        ),
        _shared(
            "dropout", kind="float", low=0, high=1, open_high=True, part="model", is_active=with_hidden_layers,
            default=0.0,
        ),
        _shared(
            "optimizer", kind="choice", choices=tuple(OPTIMIZERS), part="optimizer", field="name", is_required=True,
            baseline="sgd", words="{value}",
        ),
        Dimension(name="learning_rate", kind="float", low=0, open_low=True, part="optimizer", is_required=True),
        *(_option(name) for name in dict.fromkeys(name for options in OPTIMIZERS.values() for name in options)),
        _shared("batch_size", kind="int", low=1, most=1_000_000_000, part="fit", is_required=True, log=True),
    )
}  # fmt: skip


def active(optimizer: str, depth: int) -> Iterator[Dimension]:
    """Yield the dimensions that a configuration with that optimizer and that many hidden layers has."""
    return (dimension for dimension in DIMENSIONS.values() if dimension.is_active(optimizer, depth))


def options_of(optimizer: str) -> tuple[str, ...]:
    """Return the names of the options that an optimizer takes beside its learning rate, its own first."""
    named = (dimension.name for dimension in active(optimizer, 1) if dimension.part == "hyperparameters")
    return tuple(dict.fromkeys((*OPTIMIZERS.get(optimizer, ()), *named)))


def own_dimensions(optimizer: str) -> list[str]:
    """Return the names of the dimensions whose range belongs to that optimizer."""
    return [dimension.name for dimension in active(optimizer, 1) if dimension.per_optimizer]


def parameter(name: str, optimizer: str) -> str:
    """Return Optuna's name for a dimension of a configuration with that optimizer, ``sgd.learning_rate``."""
    return f"{optimizer}.{name}" if name in DIMENSIONS and DIMENSIONS[name].per_optimizer else name


def by_dimension(point: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """Return the values of one of Optuna's points by dimension: the inverse of :func:`parameter`."""
    return {name.rpartition(".")[2]: value for name, value in point.items()}
