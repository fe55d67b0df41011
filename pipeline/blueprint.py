"""What a dimension is: its values, how it is applied, logged and said, and what of a network it may change."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from depthcheck.pipeline.config import VARIED, ParamValue, require, shown, suggestion

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from depthcheck.pipeline.config import TrialConfig

#: Whole numbers of TOML have no end; what lies beyond this is no value of anything (and infinity and NaN are none).
_LARGEST = 1e300
#: What a dimension can ask of data: samples of height and width, a target of that kind, or a table with such columns.
Needed = Literal["images", "classes", "numbers", "numeric columns", "categorical columns"]
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

    kind: Literal["int", "float", "bool", "choice", "any"]
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
        if self.kind == "any":
            return "a number, true or false, or a text that is neither"
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
        if self.kind == "any":
            return {"type": ["number", "boolean", "string"]}
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
        if not isinstance(value, bool) and isinstance(value, numbers.Integral):
            value = int(value)  # NumPy's are no int
        if self.kind == "choice":
            if isinstance(value, str) and value in self.choices:
                return value
            raise ValueError(f"{what} must be {self.expected}, got {shown(value)}{suggestion(value, self.choices)}")
        is_plain = isinstance(value, bool | int | float | str)
        if (
            self.kind == "any" and is_plain and self.from_text(str(value), what) == value
        ):  # parameters are logged as texts
            return value
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
        if self.kind == "any":
            if text in ("True", "False"):
                return text == "True"
            for number in (int, float):
                with contextlib.suppress(ValueError):
                    return number(text)
            return text
        # Layers of unequal width are logged as several numbers.
        return text if self.kind == "choice" or "," in text else int(text) if self.kind == "int" else float(text)


def with_hidden_layers(_optimizer: str, depth: int) -> bool:
    """Tell whether there are hidden layers, for dimensions that are about them."""
    return depth > 0


@dataclass(slots=True, kw_only=True)
class Blueprint:
    """What a network is about to be built of and trained with, for dimensions to change.

    What makes a layer takes its name and a seed of its own. Layers named in a table stand in the table's order.

    Attributes
    ----------
    keras, own
        The modules that hold layers, losses and optimizers: Keras, and
        :mod:`depthcheck.pipeline.training.layers`. Nothing but training imports them.
    n_classes
        0 for a regression.
    sample_shape
        Of one sample as the data have it, ``(28, 28)``; of a table's row ``(n_features,)``. Samples come flat.
    units
        Of each hidden layer.
    layer, hidden
        What makes a hidden layer of its number of units, and further arguments, such as ``kernel_regularizer``.
    activation
        Of the hidden layers.
    initializer
        What makes of ``seed=`` the initializer of a layer's weights.
    start, between, behind, end
        Layers before the first hidden layer, between each hidden layer and its activation, behind each activation,
        and before the output layer.
    output
        Further arguments of the output layer.
    adds
        Whether the input of a hidden layer is added to what comes out behind it, where the two have one shape.
    loss
        What training minimizes, beside regularizers. Evaluating keeps to the loss of the task: levels stay comparable.
    optimizer
        Keras's optimizer.
    rate
        Factors on the learning rate, one a step, of the share of training that is over in the middle of the step.
    patience
        Training ends behind so many epochs without a lower validation loss, and the epoch with the lowest counts;
        None: it never ends early, and the last epoch counts.
    """

    keras: Any
    own: Any
    n_classes: int
    sample_shape: tuple[int, ...]
    units: tuple[int, ...]
    activation: str | None
    layer: Callable[..., Any]
    initializer: Callable[..., Any]
    loss: Any
    optimizer: Any
    hidden: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Callable[[str, int], Any]] = field(default_factory=dict)
    between: dict[str, Callable[[str, int], Any]] = field(default_factory=dict)
    behind: dict[str, Callable[[str, int], Any]] = field(default_factory=dict)
    end: dict[str, Callable[[str, int], Any]] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    adds: bool = False
    rate: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    patience: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension(Values):
    """One dimension: its limits, when it is active, how it is applied, read, logged (under its name) and said.

    As it stands it is an option of every optimizer, handed to Keras's optimizer by its name::

        DIMENSIONS["gradient_accumulation_steps"] = Dimension(name="gradient_accumulation_steps", kind="int", low=2)

    One that changes the network or what training minimizes says how::

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
        ``hyperparameters``; and under which name, if not its own. With ``build`` or ``prepare`` it is one of the
        model's ``options``.
    build
        How it changes a network that is to be built, and its training; those of the registry act in its order.
    prepare
        How it makes features of some columns of a table: of the value, the columns' kind and their training rows, a
        transformer that was fitted on these; None where they become what they usually become. ``off`` must be named.
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
    off, off_words
        The value that leaves everything as it is, and how a reader sees that, if not as any other.
    is_compiled
        Whether a program that was compiled for one value is another's: not where it only says when training ends.
    needs
        What a value asks of the data, if anything: ``classes`` and ``numbers`` are those that are predicted.
    of_training
        Whether it leaves the network as it is: then a user's own model has it, too.
    is_own
        Whether it is a hyperparameter of a user's own model, and of nothing else.
    put
        How it is written into a configuration, where that is more than setting a field.
    """

    name: str
    part: Literal["model", "options", "optimizer", "hyperparameters", "fit"] = "hyperparameters"
    field: str = ""
    build: Callable[[Blueprint, Any], None] | None = None
    prepare: Callable[[Any, str, pd.DataFrame], Any] | None = None
    is_active: Callable[[str, int], bool] = lambda _optimizer, _depth: True
    per_optimizer: bool = True
    is_required: bool = False
    default: ParamValue | None = None
    baseline: ParamValue | None = None
    log: bool = False
    words: str = "{name} {value}"
    off: ParamValue | None = None
    off_words: str = ""
    is_compiled: bool = True
    needs: Callable[[ParamValue], Needed | None] = lambda _value: None
    of_training: bool = False
    is_own: bool = False
    put: Callable[[Draft, ParamValue], None] | None = None

    def __post_init__(self) -> None:
        if self.build is not None or self.prepare is not None:
            object.__setattr__(self, "part", "options")

    @property
    def of_network(self) -> bool:
        """Whether it says how a network is built: a user's own model has it only where its function takes it."""
        return self.part in ("model", "options") and not self.of_training and self.prepare is None

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
        if self.name in VARIED and self.name not in config.fit.varied:
            return None
        found = getattr(getattr(config, self.part), self.field or self.name)
        if isinstance(found, tuple):
            return ",".join(map(str, found)) if len(set(found)) > 1 else found[0]
        return found  # type: ignore[no-any-return]  # the fields of configurations hold such values

    def said(self, value: ParamValue, digits: int = 4) -> str:
        """Return the value as a reader sees it, ``batch size 64``."""
        if self.off_words and value == self.off:
            return self.off_words
        text = f"{value:.{digits}g}" if isinstance(value, float) else str(value)
        return self.words.format(name=self.name.replace("_", " "), value=text)
