"""What a configuration can vary in: one object a dimension, in one registry, :data:`DIMENSIONS`.

A dimension is compared (a factor with levels), tuned (with a range or choices) or fixed (one value). Definitions,
plans, Optuna's space, logged parameters, reports and the building of networks ask the object; none of them lists
dimensions again. So a further entry is a further dimension: how one is added stands at :class:`Dimension`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from depthcheck.pipeline.blueprint import Blueprint, Dimension, Draft, Values, with_hidden_layers
from depthcheck.pipeline.config import ACTIVATIONS, BOOLEAN_OPTIONS, INTEGER_OPTIONS, OPTIMIZERS, ParamValue, require
from depthcheck.pipeline.own import OwnModel
from depthcheck.pipeline.techniques import TECHNIQUES

__all__ = ["DIMENSIONS", "Blueprint", "Dimension", "Draft", "Values", "with_hidden_layers"]


#: The factor of a comparison of configurations that a user chose: its levels are their names.
CONFIGURATION = "configuration"
#: More values than this are a list, and no name.
_MOST_TOLD = 4


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
            default=0.0, off=0.0,
        ),
        *TECHNIQUES,
        _shared(
            "optimizer", kind="choice", choices=tuple(OPTIMIZERS), part="optimizer", field="name", is_required=True,
            baseline="sgd", words="{value}",
        ),
        Dimension(name="learning_rate", kind="float", low=0, open_low=True, part="optimizer", is_required=True),
        *(_option(name) for name in dict.fromkeys(name for options in OPTIMIZERS.values() for name in options)),
        _shared("batch_size", kind="int", low=1, most=1_000_000_000, part="fit", is_required=True, log=True),
    )
}  # fmt: skip


def know_own(own: OwnModel) -> None:
    """Make the hyperparameters of a user's own model dimensions, as far as they are none yet.

    Raises
    ------
    ValueError
        When the function takes what belongs to training, or a part of what makes hidden layers.
    """
    taken = own.defaults()
    layers = [name for name in ("depth", "units", "activation") if name in taken]
    require(len(layers) in (0, 3), own.name, "a function of depth, units and activation or of none", ", ".join(layers))
    for name in taken:
        known = DIMENSIONS.get(name)
        is_free = known is None or known.is_own or known.of_network
        require(is_free, f"hyperparameter of {own.name}", "none of those of training and optimizers", name)
        if known is None:
            DIMENSIONS[name] = Dimension(
                name=name, kind="any", build=lambda _network, _value: None, per_optimizer=False, is_own=True
            )


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


def told_apart(configurations: Sequence[Mapping[str, ParamValue]]) -> list[str]:
    """Return each configuration by the first few values in which not all agree: ``depth 2, 64 units, relu, adam``."""
    differing = [name for name in DIMENSIONS if len({one.get(name) for one in configurations}) > 1][:_MOST_TOLD]
    return [
        ", ".join(DIMENSIONS[name].said(one[name], 2) for name in differing if name in one) for one in configurations
    ]


def parameter(name: str, optimizer: str) -> str:
    """Return Optuna's name for a dimension of a configuration with that optimizer, ``sgd.learning_rate``."""
    return f"{optimizer}.{name}" if name in DIMENSIONS and DIMENSIONS[name].per_optimizer else name


def by_dimension(point: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """Return the values of one of Optuna's points by dimension: the inverse of :func:`parameter`."""
    return {name.rpartition(".")[2]: value for name, value in point.items()}
