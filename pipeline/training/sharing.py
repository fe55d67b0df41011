"""What lets networks share a compiled program: numbers that go in with each call, and padding to one shape.

Tracing and compiling a program takes seconds, training a small network on a small table a fraction of one.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace
from typing import Any

import keras

from depthcheck.pipeline.blueprint import Blueprint
from depthcheck.pipeline.config import FitConfig, ModelConfig, OptimizerConfig
from depthcheck.pipeline.dimensions import TECHNIQUES
from depthcheck.pipeline.training import layers

#: Hidden layers up to that number, of up to so many units, and batches of up to so many samples are padded to these
#: numbers; where it costs too much, to the next ones.
_SHAPES = (3, 128, 64), (3, 64, 32), (0, 128, 64), (0, 64, 32)
#: Multiplications in a trial's training that cost less than compiling another program: less than half a second.
_CHEAP = 2e10
#: What a hidden layer may be given that is the same for one of more units, and for one that is passed by.
_OF_WEIGHTS = {"kernel_regularizer", "kernel_constraint"}
#: What an optimizer divides by where no gradient ever was, as in units that a network has not, and the least of it that
#: is no 0 to float32, roots and squares taken.
_DIVISORS, _LEAST_DIVISOR = ("epsilon", "initial_accumulator_value"), 1e-30
#: Numbers of four bytes that an epoch may keep for its training score: of each step it is a whole batch of outputs.
_MOST_KEPT = 2**23


@dataclass(frozen=True, slots=True)
class Padded:
    """What is to be known of the padded model of a network.

    Attributes
    ----------
    key
        The same for networks whose padded models are, but for values.
    n_weights
        Of its matrices.
    settings
        The numbers that make it this network: rates of dropout, activations as numbers, and widths, one each a layer.
    least
        Hidden layers, and units of each, where the network has no more.
    """

    key: str
    n_weights: int
    settings: tuple[float, ...]
    least: tuple[int, int]


def can_pad(plan: Blueprint, model: ModelConfig, optimizer: OptimizerConfig) -> bool:
    """Tell whether further units, whose outputs are set to 0, and layers that are passed by change nothing.

    Not where a layer looks at all units, where layers are made in a way that is not known here, and where the optimizer
    would divide by 0.
    """
    others = plan.start or plan.between or plan.end or plan.adds
    is_plain = plan.layer is keras.layers.Dense and not others and set(plan.hidden) <= _OF_WEIGHTS
    is_known = is_plain and model.own is None and set(plan.behind) <= {"dropout"} and optimizer.name != "muon"
    return is_known and all(of >= _LEAST_DIVISOR for name, of in optimizer.hyperparameters if name in _DIVISORS)


def as_padded(
    model: ModelConfig, plan: Blueprint, other: tuple[Any, ...], n_features: int, least: tuple[int, int]
) -> Padded:
    """Return what is to be known of the padded model; ``other`` is what else is compiled into its program."""
    units, activation, choice = padded_units(plan.units, least), plan.activation, 0
    if activation in layers.CHOICES:
        activation, choice = layers.CHOICES[0], layers.CHOICES.index(activation)
    # What a dimension of somebody else's makes may depend on how many layers and units there are.
    own = plan.units if {name for name, _ in model.options} - {technique.name for technique in TECHNIQUES} else ()
    of_each = [model.dropout] * len(plan.units), [float(choice)] * len(plan.units), map(float, plan.units)
    missing = [0.0] * (len(units) - len(plan.units))
    return Padded(
        key=repr(("padded", replace(model, units=units, activation=activation, dropout=0.0), own, *other)),
        n_weights=sum(math.prod(sizes) for sizes in itertools.pairwise([n_features, *units, plan.n_classes or 1])),
        settings=tuple(value for values in of_each for value in (*values, *missing)),
        least=least,
    )


def padded_units(units: tuple[int, ...], least: tuple[int, int]) -> tuple[int, ...]:
    """Return the numbers of units of a padded model; without hidden layers it has none either."""
    least_layers, least_units = least
    padded = [max(least_units, 1 << (n_units - 1).bit_length()) for n_units in units]
    # A layer that the network has not is as wide as the one before, and passes on what comes in.
    return (*padded, *padded[-1:] * (least_layers - len(padded)))


def shared(
    model: keras.Model, config: FitConfig, capacity: int, n_splits: int = 1
) -> tuple[Padded, int] | tuple[None, int]:
    """Return the padded model, and its batch size, of a program to share; None, and the own size, where none pays.

    It depends on configuration and data alone, so that a trial gives the same bits wherever it is trained.

    Parameters
    ----------
    capacity
        Of rows; 0 where the program is to be for these data alone.
    n_splits
        How many such trainings a trial has.
    """
    # Which of its variables belongs to which layer the names of another's optimizer need not tell.
    names, is_known = names_in(model.optimizer), type(model.optimizer).__module__.startswith("keras.")
    tells_layers = is_known and len(set(names)) == len(names)
    for least_layers, least_units, least_batch in _SHAPES if capacity and model.padded is not None else ():
        if least_layers and not tells_layers:
            continue
        padded: Padded = model.padded((least_layers, least_units))
        size: int = 1 << (max(least_batch, config.batch_size) - 1).bit_length()
        n_steps = config.epochs * capacity / config.batch_size
        is_cheap = 6.0 * padded.n_weights * size * n_steps * n_splits <= _CHEAP
        if is_cheap and capacity * size * model.output_shape[-1] <= _MOST_KEPT:
            return padded, size
    return None, config.batch_size


def names_in(optimizer: keras.optimizers.Optimizer) -> list[str]:
    """Return the name of each of its variables, without the number by which Keras tells those of a process apart."""
    return [re.sub(r"_\d+$", "", variable.name) for variable in optimizer.variables]


def settings(model: keras.Model) -> list[tuple[Any, str]]:
    """Return what holds a number that is no variable and that programs take with each call, and under which name.

    Those of a padded model begin with the optimizer's too, and go on with :attr:`Padded.settings`.
    """
    optimizer = model.optimizer
    names = _settings_of(type(optimizer).__name__.lower())
    found = [(optimizer, name) for name in names if getattr(optimizer, name, None)]
    kinds = (layers.ThreefryDropout, "rate"), (layers.SharedDense, "choice"), (layers.SharedDense, "width")
    for kind, name in kinds:
        found += [(layer, name) for layer in model.layers if isinstance(layer, kind)]
    return found


def without_settings(optimizer: OptimizerConfig) -> OptimizerConfig:
    """Return the configuration that is the same for all that differ in what a program takes with each call."""
    taken = _settings_of(optimizer.name)
    options = tuple((name, 0.5 if name in taken and value else value) for name, value in optimizer.hyperparameters)
    return replace(optimizer, learning_rate=1.0, hyperparameters=options)


def with_momentum(optimizer: OptimizerConfig) -> OptimizerConfig:
    """Return the configuration whose program serves SGD without momentum, too: there it is a setting of 0."""
    if optimizer.name != "sgd":
        return optimizer
    return replace(optimizer, hyperparameters=tuple((dict(optimizer.hyperparameters) | {"momentum": 0.5}).items()))


def _settings_of(optimizer: str) -> tuple[str, ...]:
    # Keras's Muon, and momentum of RMSprop, take nothing but plain numbers.
    return {"sgd": ("momentum", "weight_decay"), "muon": ()}.get(optimizer, ("weight_decay",))
