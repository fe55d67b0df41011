"""What a configuration can vary in: one object a dimension, in one registry, :data:`DIMENSIONS`.

A dimension is compared (a factor with levels), tuned (with a range or choices) or fixed (one value). Definitions,
plans, Optuna's space, logged parameters, reports and the building of networks ask the object; none of them lists
dimensions again. So a further entry is a further dimension: how one is added stands at :class:`Dimension`. Most are
techniques, which change a network before it is built, or make features (:data:`TECHNIQUES`).
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from depthcheck.pipeline.blueprint import Blueprint, Dimension, Draft, Values, with_hidden_layers
from depthcheck.pipeline.config import (
    ACTIVATIONS,
    BOOLEAN_OPTIONS,
    INTEGER_OPTIONS,
    NO_DIMENSIONS,
    OPTIMIZERS,
    InWords,
    ParamValue,
    require,
)
from depthcheck.pipeline.own import OwnModel

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DIMENSIONS", "Blueprint", "Dimension", "Draft", "Values", "with_hidden_layers"]


#: The factor of a comparison of configurations that a user chose: its levels are their names.
CONFIGURATION = "configuration"
#: More values than this are a list, and no name.
_MOST_TOLD = 4
#: Of the learning rate, what is left at the end of an exponential schedule, and at each of the two steps of a step one.
_LEFT, _STEP = 0.01, 0.1
#: Half of an image's height and width that a shift reaches at most, in shares.
_SHIFT = 0.1
#: Of the focal loss, Lin et al. (2017): what was learned well already weighs less by this power.
FOCAL_GAMMA = 2.0
_CLASS_LOSSES = ("crossentropy", "focal")
_NUMBER_LOSSES = ("squared", "absolute", "huber")
#: Quantiles that a number's distribution is known by, and pieces that the line of numbers is cut into.
_QUANTILES, _PIECES = 1_000, 8


def _family(network: Blueprint, value: str) -> None:
    """Make hidden layers blocks: convolution of 3 × 3, normalization if any, activation, maximum of 2 × 2."""
    if value == "mlp":
        return
    _as_images(network)
    network.layer = partial(network.own.Convolution, kernel_size=3, padding="same")
    network.behind = {"pooled": _without_seed(partial(network.own.Pooling, padding="same")), **network.behind}
    network.end["flat"] = _without_seed(network.keras.layers.Flatten)


def _as_images(network: Blueprint) -> None:
    """Give the samples their height, width and channels back before anything else."""
    height, width, *channels = network.sample_shape
    shape = (height, width, *(channels or (1,)))
    network.start.setdefault("image", _without_seed(partial(network.keras.layers.Reshape, shape)))


def _without_seed(layer: Callable[..., Any]) -> Callable[[str, int], Any]:
    return lambda name, _seed: layer(name=name)


def _augmentation(network: Blueprint, value: str) -> None:
    """Shift images at random by up to a tenth of their size, mirror every second one, or both; only while training."""
    if value == "none":
        return
    is_flat = "image" not in network.start
    _as_images(network)
    if value in ("shift", "both"):
        network.start["shift"] = lambda name, seed: network.own.RandomShift(_SHIFT, seed=seed, name=name)
    if value in ("flip", "both"):
        network.start["flip"] = lambda name, seed: network.own.RandomFlip(seed=seed, name=name)
    if is_flat:
        network.start["flat_again"] = _without_seed(network.keras.layers.Flatten)


def _width_shape(network: Blueprint, value: str) -> None:
    """Halve the width from layer to layer (pyramid), or take equal steps down (funnel)."""
    depth = len(network.units)
    if value == "pyramid":
        network.units = tuple(max(1, units >> number) for number, units in enumerate(network.units))
    elif value == "funnel":
        network.units = tuple(
            max(1, round(units * (depth - number) / depth)) for number, units in enumerate(network.units)
        )


def _normalization(network: Blueprint, value: str) -> None:
    """Normalize between a layer and its activation: Ioffe and Szegedy (2015), Ba et al. (2016)."""
    layers = network.keras.layers
    if value != "none":
        kind = layers.BatchNormalization if value == "batch" else layers.LayerNormalization
        network.between["normalized"] = _without_seed(kind)
    if value == "batch":  # it takes the mean away, and with it whatever a bias adds
        network.hidden["use_bias"] = False


def _residual(network: Blueprint, value: bool) -> None:
    network.adds = value


def _initializer(network: Blueprint, value: str) -> None:
    kinds = network.keras.initializers
    network.initializer = getattr(kinds, "".join(word.capitalize() for word in value.split("_")), kinds.Orthogonal)


def _l2(network: Blueprint, value: float) -> None:
    if value > 0:
        for layer in (network.hidden, network.output):
            layer["kernel_regularizer"] = network.keras.regularizers.L2(value)


def _max_norm(network: Blueprint, value: float) -> None:
    """Shorten what leads into a hidden unit (or filter) to that length after each step: Srivastava et al. (2014)."""
    if value > 0:
        inputs = [0, 1, 2] if "flat" in network.end else 0
        network.hidden["kernel_constraint"] = network.keras.constraints.MaxNorm(value, axis=inputs)


def _loss(network: Blueprint, value: str) -> None:
    losses = network.keras.losses
    numbers = {"squared": losses.MeanSquaredError, "absolute": losses.MeanAbsoluteError, "huber": losses.Huber}
    if value in numbers:
        network.loss = numbers[value]()
    elif value == "focal":
        network.loss = network.own.ClassLoss(network.n_classes, gamma=FOCAL_GAMMA)


def _label_smoothing(network: Blueprint, value: float) -> None:
    """Ask for a little of every class beside the true one: Szegedy et al. (2016)."""
    if value > 0:
        gamma = getattr(network.loss, "gamma", 0.0)
        network.loss = network.own.ClassLoss(network.n_classes, gamma=gamma, smoothing=value)


def _gradient_clip(network: Blueprint, value: float) -> None:
    if value > 0:
        network.optimizer.global_clipnorm = value


def _schedule(network: Blueprint, value: str) -> None:
    import numpy as np

    if value == "cosine":  # Loshchilov and Hutter (2017), without restarts
        network.rate = lambda done: 0.5 * (1 + np.cos(math.pi * done))
    elif value == "exponential":
        network.rate = lambda done: _LEFT**done
    elif value == "step":
        network.rate = lambda done: _STEP ** np.floor(3 * done)


def _warmup(network: Blueprint, value: float) -> None:
    import numpy as np

    if value > 0:
        rest = network.rate or np.ones_like
        network.rate = lambda done: np.minimum(1.0, done / value) * rest(done)


def _early_stopping(network: Blueprint, value: int) -> None:
    network.patience = value or None


def fitted_standard(pipeline: Any, inputs: pd.DataFrame) -> Any:
    """Fit a pipeline that ends in a ``StandardScaler``; what is constant over the training rows becomes 0 for ever.

    No weight of such a feature was ever trained, and another value would count as it is.
    """
    import numpy as np

    found, sd = pipeline.fit_transform(inputs), np.sqrt(pipeline[-1].var_)
    # scikit-learn takes what hardly varies for constant, and leaves both as they are.
    pipeline[-1].scale_ = np.where((np.ptp(found, axis=0) > 0) & (sd > 0), sd, np.inf)
    return pipeline


def _numbers(value: str, kind: str, inputs: pd.DataFrame) -> Any:
    """Bring numbers to a normal distribution, or cut their line into pieces of equally many training rows.

    A piece is 0 below it, 1 above it and even in between: together a basis of the linear splines with these knots, the
    piecewise linear encoding of Gorishniy et al. (2022). What tells that a number is missing stays as it is.
    """
    if kind != "numeric" or value == "standard":
        return None
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.frozen import FrozenEstimator
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler

    n_rows, n_columns = inputs.shape
    filled, standard = SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
    if value == "quantile":
        normal = QuantileTransformer(n_quantiles=min(_QUANTILES, n_rows), output_distribution="normal", random_state=0)
        return fitted_standard(make_pipeline(filled, normal, standard), inputs)
    usual = fitted_standard(make_pipeline(filled, standard), inputs)
    found = usual.transform(inputs)
    knots = np.quantile(found[:, :n_columns], np.linspace(0, 1, _PIECES + 1), axis=0)
    # Not by SplineTransformer: what it holds once it is fitted are no types that can be loaded without trusting code.
    pieces = []
    for at in range(_PIECES):
        piece, is_beyond = MinMaxScaler(clip=True).fit(knots[at : at + 2]), knots[at] == knots[-1]
        piece.scale_[is_beyond], piece.min_[is_beyond] = 0, 0  # where no training row lies
        pieces.append((f"spline {at + 1}", FrozenEstimator(piece), list(range(n_columns))))
    return make_pipeline(usual, ColumnTransformer(pieces, remainder="passthrough").fit(found))


def _categories(value: str, kind: str, inputs: pd.DataFrame) -> Any:
    """Make each category the logarithm of its share of the training rows, with mean 0 and standard deviation 1."""
    if kind != "categorical" or value == "one_hot":
        return None
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler, TargetEncoder

    def encoded(column: pd.DataFrame, cells: pd.Series[int]) -> Any:
        # The mean of what is the same in all rows of a category; an unknown one gets the mean of all rows, hence 0.
        shares = cells.map(cells.value_counts(normalize=True))
        encoder = TargetEncoder(target_type="continuous", smooth=0.0).fit(column, np.log(shares))
        return FrozenEstimator(make_pipeline(encoder, StandardScaler().fit(encoder.transform(column))))

    by_column = [(name, encoded(inputs[[name]], inputs[name]), [name]) for name in inputs]
    return ColumnTransformer(by_column, verbose_feature_names_out="frequency__{feature_name}").fit(inputs)


def _of_network(name: str, build: Callable[[Blueprint, Any], None] | None, **fields: Any) -> Dimension:
    return Dimension(name=name, build=build, per_optimizer=False, baseline=fields.get("off"), **fields)


def _of_training(name: str, build: Callable[[Blueprint, Any], None], **fields: Any) -> Dimension:
    return _of_network(name, build, of_training=True, **fields)


#: What else a network can be built of and trained with: an entry each, and a function that changes the blueprint of a
#: network, or makes features.
TECHNIQUES = (
    _of_network(
        "numbers", None, prepare=_numbers, kind="choice", choices=("standard", "quantile", "spline"), off="standard",
        words="{name} by {value}", off_words="standardized numbers", is_compiled=False,
        needs=lambda value: None if value == "standard" else "numeric columns",
    ),
    _of_network(
        "categories", None, prepare=_categories, kind="choice", choices=("one_hot", "frequency"), off="one_hot",
        words="{name} by {value}", off_words="one-hot categories", is_compiled=False,
        needs=lambda value: None if value == "one_hot" else "categorical columns",
    ),
    _of_network(
        "family", _family, kind="choice", choices=("mlp", "conv"), off="mlp", words="{value}",
        needs=lambda value: "images" if value == "conv" else None,
    ),
    _of_network(
        "augmentation", _augmentation, kind="choice", choices=("none", "shift", "flip", "both"), off="none",
        words="augmentation by {value}", off_words="no augmentation",
        needs=lambda value: None if value == "none" else "images",
    ),
    _of_network(
        "width_shape", _width_shape, kind="choice", choices=("constant", "pyramid", "funnel"), off="constant",
        words="{value} width", is_active=with_hidden_layers,
    ),
    _of_network(
        "normalization", _normalization, kind="choice", choices=("none", "batch", "layer"), off="none",
        words="{value} normalization", off_words="no normalization", is_active=with_hidden_layers,
    ),
    _of_network(
        "residual", _residual, kind="bool", off=False, words="residual connections",
        off_words="no residual connections", is_active=with_hidden_layers,
    ),
    _of_network(
        "initializer", _initializer, kind="choice", words="{value}", off="glorot_uniform",
        choices=(
            "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "orthogonal",
        ),
    ),
    _of_network("l2", _l2, kind="float", low=0, off=0.0, off_words="no l2", log=True),
    _of_network(
        "max_norm", _max_norm, kind="float", low=0, off=0.0, off_words="no limit of norms",
        words="norms of at most {value}", log=True, is_active=with_hidden_layers,
    ),
    _of_training(
        "loss", _loss, kind="choice", choices=(*_CLASS_LOSSES, *_NUMBER_LOSSES), words="{value} loss",
        needs=lambda value: "classes" if value in _CLASS_LOSSES else "numbers",
    ),
    _of_training(
        "label_smoothing", _label_smoothing, kind="float", low=0, high=1, open_high=True, off=0.0,
        off_words="no label smoothing", needs=lambda value: "classes" if value else None,
    ),
    _of_training(
        "gradient_clip", _gradient_clip, kind="float", low=0, off=0.0, off_words="no gradient clipping",
        words="gradients clipped to {value}", log=True,
    ),
    _of_training(
        "schedule", _schedule, kind="choice", choices=("constant", "cosine", "exponential", "step"), off="constant",
        words="{value} schedule", off_words="constant learning rate", is_compiled=False,
    ),
    _of_training(
        "warmup", _warmup, kind="float", low=0, high=1, off=0.0, words="warm-up of {value}", off_words="no warm-up",
        is_compiled=False,
    ),
    _of_training(
        "early_stopping", _early_stopping, kind="int", low=0, most=100_000, off=0, is_compiled=False,
        words="early stopping after {value} (the best epoch counts)",
        off_words="no early stopping (the last epoch counts)",
    ),
    _of_network("epochs", None, part="fit", kind="int", low=1, most=100_000, log=True),
    _of_network(
        "class_weight", None, part="fit", kind="choice", choices=("none", "balanced"), off="none",
        words="{value} classes", off_words="classes as they are",
        needs=lambda value: "classes" if value == "balanced" else None,
    ),
)  # fmt: skip


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
        When the function takes what belongs to training, or a part of what makes hidden layers, or a name under
        which something else of a trial is logged.
    """
    taken = own.defaults()
    layers = [name for name in ("depth", "units", "activation") if name in taken]
    require(len(layers) in (0, 3), own.name, "a function of depth, units and activation or of none", ", ".join(layers))
    # They are at rest in a network that has no number of hidden layers.
    of_layers = [name for name in taken if name in DIMENSIONS and DIMENSIONS[name].is_active is with_hidden_layers]
    if of_layers and not layers:
        raise ValueError(
            f"{of_layers[0]} of {own.name} must come with depth, units and activation, which it is of, got it alone; "
            "under another name it is the function's own"
        )
    refused = NO_DIMENSIONS.union(OPTIMIZERS, [CONFIGURATION])  # [tune.adam] is a table of its own
    for name in taken:
        known = DIMENSIONS.get(name)
        is_free = known is None or known.is_own or known.of_network
        is_free &= refused.isdisjoint((name, re.sub(r"_\d+$", "_", name)))
        expected = "none of those of training and optimizers, nor of those by which data and seed are logged"
        require(is_free, f"hyperparameter of {own.name}", expected, name)
        if known is None:
            DIMENSIONS[name] = Dimension(
                name=name, kind="any", build=lambda _network, _value: None, per_optimizer=False, is_own=True
            )
        elif known.default is not None and (given := own.arguments()[name]) is not None:  # it takes the place of ours
            default = InWords(ast.unparse(given)) if taken[name] is None else taken[name]
            known.check(default, f"default of {name} in {own.name}")


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
