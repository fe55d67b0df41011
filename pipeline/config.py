"""What defines a trial: the frozen configurations, and their way into logged parameters and back.

Only the standard library is imported, here and in ``scores``, so that every other module, the launching process
included, can import it without cost. Values are checked when a configuration is made: one that exists is valid.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from .own import OwnCode, OwnMetric, OwnModel
from .scores import SHIPPED_METRICS, Task, know_metric, metrics_of

ParamValue = bool | int | float | str
ACTIVATIONS = ("sigmoid", "tanh", "relu", "elu", "selu", "gelu", "silu", "leaky_relu", "softplus", "linear")

TASKS: tuple[Task, ...] = ("classification", "regression")
#: What a column of a table can be told to be, in place of what is guessed.
COLUMN_KINDS = (
    "numeric", "boolean", "date", "categorical", "text", "ignored",
    "decimal comma", "decimal point", "day first", "month first", "categorical with NA",
)  # fmt: skip
#: What is said of a column where ``NA``, ``null`` or ``?`` are names: only an empty cell is missing then.
WITH_NA = COLUMN_KINDS[-1]
#: What the four before say: the kind, and how its cells are written.
STATED_FORMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "decimal comma": ("numeric", (",.", ", ", ",'")), "decimal point": ("numeric", (".,", ". ", ".'")),
    "day first": ("date", ("%d",)), "month first": ("date", ("%m", "%b")),
}  # fmt: skip
_MAX_TEXT = 6_000
#: What a definition says once for all trials, unless it is one of its dimensions.
VARIED = ("class_weight", "epochs")
#: MLflow and JSON carry whole numbers up to this.
LARGEST_SEED = 2**63 - 1
#: Characters of a wrong value that a message repeats.
LONGEST_SHOWN = 120
SPLIT_METHODS = ("random", "stratified", "group", "time", "own")

#: Options of which an optimizer takes one.
CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
_COMMON_OPTIONS = ("weight_decay", *CLIPS)
_ADAM_OPTIONS = ("beta_1", "beta_2", "epsilon")
#: The optimizers of Keras 3 and the hyperparameters of each beside its learning rate (a test holds this against Keras).
OPTIMIZERS: Mapping[str, tuple[str, ...]] = {
    "sgd": ("momentum", "nesterov", *_COMMON_OPTIONS),
    "rmsprop": ("rho", "momentum", "epsilon", "centered", *_COMMON_OPTIONS),
    "adagrad": ("initial_accumulator_value", "epsilon", *_COMMON_OPTIONS),
    "adadelta": ("rho", "epsilon", *_COMMON_OPTIONS),
    "adam": (*_ADAM_OPTIONS, "amsgrad", *_COMMON_OPTIONS),
    "adamw": (*_ADAM_OPTIONS, "amsgrad", *_COMMON_OPTIONS),
    "adamax": (*_ADAM_OPTIONS, *_COMMON_OPTIONS),
    "nadam": (*_ADAM_OPTIONS, *_COMMON_OPTIONS),
    "ftrl": (
        "learning_rate_power",
        "initial_accumulator_value",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "l2_shrinkage_regularization_strength",
        "beta",
        *_COMMON_OPTIONS,
    ),
    "lion": ("beta_1", "beta_2", *_COMMON_OPTIONS),
    "lamb": (*_ADAM_OPTIONS, *_COMMON_OPTIONS),
    "muon": (
        "adam_beta_1",
        "adam_beta_2",
        "adam_weight_decay",
        "momentum",
        "ns_steps",
        "nesterov",
        "epsilon",
        *_COMMON_OPTIONS,
    ),
}
BOOLEAN_OPTIONS = frozenset({"nesterov", "centered", "amsgrad"})
INTEGER_OPTIONS = frozenset({"ns_steps"})


class InWords(str):
    """What came, told in words of ours: a message shows it without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def shown(value: object) -> str:
    """Return a value as a message shows it: on one line, and no longer than one that a user reads."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of too many digits"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def require(holds: bool, what: str, expected: str, got: object) -> None:
    """Raise the project's one form of complaint: what, what was expected, what came."""
    if not holds:
        raise ValueError(f"{what} must be {expected}, got {shown(got)}")


def several_targets(names: Iterable[object]) -> ValueError:
    """Return the complaint about several columns that are to be predicted at once, which says what to do."""
    got = ", ".join(map(shown, names))
    return ValueError(
        f"target must be one column, got several: {got}; run a study for each of them, and say 'ignored' of the others "
        "in [data.columns], which might give it away"
    )


def suggestion(word: object, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known word that is most like one, whatever its capitals, or nothing.

    A known word that is a whole part of it comes before one that shares more letters: ``sample_weight`` is ``weight``.
    """
    folded = {name.casefold().strip(): name for name in reversed(list(known))}
    wanted = word[:LONGEST_SHOWN].casefold().strip() if isinstance(word, str) else ""
    slips = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.9)
    parts = [part for part in wanted.removesuffix("s").split("_") if part in folded]
    near = slips or parts[-1:] or difflib.get_close_matches(wanted, folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require_whole(what: str, value: int, least: int) -> None:
    require(_is_int(value) and value >= least, what, f"a whole number of at least {least}", value)


def _fields_of(config: DataConfig | ModelConfig) -> dict[str, Any]:
    return {one.name: getattr(config, one.name) for one in fields(config)}


#: What makes the path of a file the address of a database.
_SQLITE = "sqlite:///"
#: How the names of an address's parameters end whose values are secrets; ``sslkey`` is the path of a file.
SECRET_NAMES = r"(?:pass(?:word|wd|phrase)?|pwd|secret[^=&]*|token[^=&]*|signature|(?<!ssl)key|sig|odbc_connect)"
#: A password in an address, before a host or behind a question mark.
_SECRET = re.compile(rf"^\w[\w+.-]*://([^/?#]*:(?!\d+/).*@|.*[?&][^=&]*{SECRET_NAMES}=)", re.IGNORECASE)
#: Names of the texts of a DataConfig, here and among a trial's parameters.
_LOGGED_TEXTS = {
    "name": "data", "target": "target", "task": "task", "metric": "metric", "group": "group_column",
    "time": "time_column", "weight": "weight_column", "test_file": "test_file", "test_column": "test_column",
    "sheet": "sheet", "query": "query",
}  # fmt: skip
#: A trial's parameters that are no dimensions, those with ``_`` at their end followed by a number.
NO_DIMENSIONS = frozenset(_LOGGED_TEXTS.values()) | {
    "columns", "columns_", "rows", "rows_seed", "metric_function", "metric_source_", "metric_direction", "data_sha256",
    "valid_size", "split_seed", "test_size", "split_method", "folds", "repeat", "model", "model_source_", "seed",
    "varied",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Which data, and how they are to be understood; None everywhere: as it is guessed.

    Attributes
    ----------
    name
        A known name (``fashion-mnist``, ``openml:61``), the path of a file or folder, or an address: of a file, or of a
        database. That of a SQLite database is the path of its file.
    target
        The column that is to be predicted; only tables have one.
    task, metric
        What is learned, and the score that decides.
    own_metric
        A user's own score, whose key ``metric`` is then.
    group, time
        The columns that tell which rows belong together, or when each was recorded; neither is a feature.
    weight
        The column that tells how much each row weighs, in the training loss and in every score; no feature either.
    test_file, test_column
        A second file whose rows are the test part, or a column of true and false that marks them.
    sheet, query
        The sheet of a spreadsheet; a table's name or a ``SELECT`` of a database.
    columns
        Sorted pairs of a column's name and its kind, one of :data:`COLUMN_KINDS`.
    rows, rows_seed
        How many rows or samples a sample of them is to have, which is drawn while they are read, and the seed it is
        drawn by; None for all. A test part of its own stays whole.
    """

    name: str
    target: str | None = None
    task: Task | None = None
    metric: str | None = None
    own_metric: OwnMetric | None = None
    group: str | None = None
    time: str | None = None
    weight: str | None = None
    test_file: str | None = None
    test_column: str | None = None
    sheet: str | None = None
    query: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    rows: int | None = None
    rows_seed: int = 1234

    def __post_init__(self) -> None:
        for field in ("name", "test_file"):
            address = getattr(self, field)
            # urllib would know these codes, but it opens connections too, and reports, which import this, must not.
            plain = re.sub("%([0-9A-Fa-f]{2})", lambda code: chr(int(code[1], 16)), address or "")
            if _SECRET.search(address or "") or _SECRET.search(plain):
                scheme = address.partition("://")[0]
                raise ValueError(
                    f"data must be an address without a password, which would be logged, got {scheme}://… with one "
                    "(PostgreSQL finds it in PGPASSWORD or ~/.pgpass; a file can be downloaded and named by its path)"
                )
            object.__setattr__(self, field, address and address.removeprefix(_SQLITE))
        if self.rows is not None:
            _require_whole("rows", self.rows, 2)
        _require_whole("rows_seed", self.rows_seed, 0)
        require(bool(self.name), "data", "a name or a path", self.name)
        if isinstance(self.target, list | tuple):
            raise several_targets(self.target)
        require(self.task in (None, *TASKS), "task", f"one of {', '.join(TASKS)}", self.task)
        if self.own_metric is not None:
            know_metric(self.own_metric)
            object.__setattr__(self, "metric", self.own_metric.key)
            if self.weight is not None and not self.own_metric.takes_weight:
                taken = ", ".join(self.own_metric.arguments())
                raise ValueError(f"{self.own_metric.name} must take sample_weight where rows weigh, got {taken}")
        else:
            known = (None, *SHIPPED_METRICS)
            require(self.metric in known, "metric", f"one of {', '.join(SHIPPED_METRICS)}", self.metric)
        if self.metric is not None and self.task is not None:
            takes = [name for name in metrics_of(self.task) if name in (self.metric, *SHIPPED_METRICS)]
            require(self.metric in takes, f"metric of {self.task}", f"one of {', '.join(takes)}", self.metric)
        require(self.group is None or self.time is None, "group and time", "one of them alone", InWords("both"))
        require(
            self.test_file is None or self.test_column is None,
            "test_file and test_column",
            "one alone",
            InWords("both"),
        )
        require(len(self.query or "") <= _MAX_TEXT, "query", f"at most {_MAX_TEXT} characters", len(self.query or ""))
        object.__setattr__(self, "columns", tuple(sorted((str(name), str(kind)) for name, kind in self.columns)))
        for name, kind in self.columns:
            require(kind in COLUMN_KINDS, f"kind of column {name!r}", f"one of {', '.join(COLUMN_KINDS)}", kind)

    def __reduce__(self) -> tuple[Callable[..., DataConfig], tuple[Any, ...]]:
        """Make it anew where it arrives, so that a user's own metric is known there too."""
        return functools.partial(DataConfig, **_fields_of(self)), ()

    def to_params(self) -> dict[str, ParamValue]:
        """Return the parameters to log, only those that say more than a guess would."""
        texts = {logged: getattr(self, name) for name, logged in _LOGGED_TEXTS.items()}
        columns = json.dumps(dict(self.columns)) if self.columns else ""
        # MLflow holds so much in one parameter: those of a wide table go on in columns_2, columns_3, …
        parts = {
            f"columns_{1 + start // _MAX_TEXT}" if start else "columns": columns[start : start + _MAX_TEXT]
            for start in range(0, len(columns), _MAX_TEXT)
        }
        seed = None if self.rows is None else self.rows_seed
        every = {**texts, "rows": self.rows, "rows_seed": seed}
        own = self.own_metric
        direction = {} if own is None else {"metric_direction": own.direction}
        found = {name: value for name, value in every.items() if value is not None} | parts
        return found | _own_params(own, "metric_function", "metric_source") | direction

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> DataConfig:
        """Rebuild it from logged parameters; the inverse of :meth:`to_params`."""
        texts: dict[str, Any] = {name: params[logged] for name, logged in _LOGGED_TEXTS.items() if logged in params}
        drawn: dict[str, Any] = {name: int(params[name]) for name in ("rows", "rows_seed") if name in params}
        more = (params.get(f"columns_{number}", "") for number in range(2, 2 + len(params)))
        columns = json.loads(params.get("columns", "{}") + "".join(more))
        own = _own_from_params(params, "metric_function", "metric_source")
        metric = None if own is None else OwnMetric(**own, direction=params["metric_direction"])
        return cls(**texts, **drawn, columns=tuple(columns.items()), own_metric=metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitChoice:
    """What a definition says of the split.

    None leaves it to the data (:func:`depthcheck.pipeline.prepare.split.resolve`).
    """

    valid_size: float | int = 0.2
    test_size: float | int | None = None
    seed: int = 1234
    method: str | None = None
    folds: int | None = None

    def __post_init__(self) -> None:
        SplitConfig(
            valid_size=self.valid_size,
            test_size=self.test_size or 0,
            seed=self.seed,
            method=self.method or "random",
            folds=self.folds or 0,
        )

    def as_json(self) -> dict[str, ParamValue]:
        """Return what was chosen, in JSON's types."""
        chosen = {"test": self.test_size, "method": self.method, "folds": self.folds}
        return {"valid": self.valid_size, "seed": self.seed} | {
            name: value for name, value in chosen.items() if value is not None
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """How the data are cut.

    Attributes
    ----------
    valid_size, test_size
        A share of the samples, or their number. ``test_size`` counts only where the data have no test part of their
        own; 0 sets none aside.
    seed
        Of the draw.
    method
        ``random``; ``stratified`` by class (or by quantile of a number); ``group`` keeps rows of one group in one
        part; ``time`` takes the latest rows for the test part, and the latest of the rest for validation; ``own``
        takes the validation part that the data bring, whatever ``valid_size``.
    folds
        0 for one split; k for cross-validation with k folds in place of the validation part.
    repeat
        Which partition into folds: 0 while searching, then another for each seed of phase *confirm*.
    """

    valid_size: float | int = 0.2
    test_size: float | int = 0
    seed: int = 1234
    method: str = "random"
    folds: int = 0
    repeat: int = 0

    def __post_init__(self) -> None:
        require(_is_size(self.valid_size), "split.valid", "a share between 0 and 1 or a count", self.valid_size)
        none_aside = _is_int(self.test_size) and self.test_size == 0
        require(
            none_aside or _is_size(self.test_size),
            "split.test",
            "0, a share between 0 and 1 or a count",
            self.test_size,
        )
        _require_whole("split seed", self.seed, 0)
        require(self.method in SPLIT_METHODS, "split method", f"one of {', '.join(SPLIT_METHODS)}", self.method)
        require(_is_int(self.folds) and (self.folds == 0 or self.folds >= 2), "folds", "0 or at least 2", self.folds)
        _require_whole("repeat", self.repeat, 0)

    def to_params(self) -> dict[str, ParamValue]:
        """Return the parameters to log: the validation part's and, of the rest, what is not as by default."""
        params: dict[str, ParamValue] = {"valid_size": self.valid_size, "split_seed": self.seed}
        rest = {"test_size": self.test_size, "split_method": self.method, "folds": self.folds, "repeat": self.repeat}
        usual = {"test_size": 0, "split_method": "random", "folds": 0, "repeat": 0}
        return params | {name: value for name, value in rest.items() if value != usual[name]}

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> SplitConfig:
        """Rebuild it from logged parameters; the inverse of :meth:`to_params`."""
        return cls(
            valid_size=_size_from_text(params["valid_size"]),
            test_size=_size_from_text(params.get("test_size", "0")),
            seed=int(params["split_seed"]),
            method=params.get("split_method", "random"),
            folds=int(params.get("folds", "0")),
            repeat=int(params.get("repeat", "0")),
        )


def _is_size(value: object) -> bool:
    return (isinstance(value, float) and 0 < value < 1) or (
        _is_int(value) and isinstance(value, int) and 1 <= value < 2**63
    )


def _size_from_text(text: str) -> float | int:
    return int(text) if text.isdigit() else float(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Units of each hidden layer (depth is their number), activation and dropout behind each hidden layer.

    Without a hidden layer there is nothing to activate or drop: activation is None and dropout 0. ``options`` are
    sorted pairs of name and value of the dimensions that say themselves how a network is built with them. ``own`` is a
    user's own model, which takes of all these what its signature names.
    """

    units: tuple[int, ...]
    activation: str | None
    dropout: float = 0.0
    options: tuple[tuple[str, ParamValue], ...] = ()
    own: OwnModel | None = None

    def __reduce__(self) -> tuple[Callable[..., ModelConfig], tuple[Any, ...]]:
        """Make it anew where it arrives, so that the hyperparameters of a user's own model are dimensions there too."""
        return functools.partial(ModelConfig, **_fields_of(self)), ()

    def __post_init__(self) -> None:
        from depthcheck.pipeline.dimensions import DIMENSIONS, know_own

        if self.own is not None:
            know_own(self.own)
        known = [name for name, dimension in DIMENSIONS.items() if dimension.part == "options"]
        object.__setattr__(self, "options", _sorted_options(self.options, known, "the model"))
        taken = {} if self.own is None else self.own.defaults()
        for name, value in self.options:
            DIMENSIONS[name].check(value, name)
            is_for = DIMENSIONS[name].is_own or (self.own is not None and DIMENSIONS[name].of_network)
            require(not is_for or name in taken, f"hyperparameter of {self.name}", ", ".join(taken) or "none", name)
        for n_units in self.units:
            require(_is_int(n_units) and n_units >= 1, "units", "whole numbers of at least 1", n_units)
        if self.units:
            require(self.activation in ACTIVATIONS, "activation", f"one of {', '.join(ACTIVATIONS)}", self.activation)
            require(0 <= self.dropout < 1, "dropout", "at least 0 and below 1", self.dropout)
        else:
            require(self.activation is None, "activation without a hidden layer", "None", self.activation)
            require(self.dropout == 0, "dropout without a hidden layer", "0", self.dropout)

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.units)

    @property
    def name(self) -> str:
        """The user's own model's, or ``the network``."""
        return "the network" if self.own is None else self.own.name

    @property
    def label(self) -> str:
        """What tells it apart at a glance: ``depth 2``, or a user's own model with its own hyperparameters."""
        from depthcheck.pipeline.dimensions import DIMENSIONS

        if self.own is None:
            return f"depth {self.depth}"
        of_own = (DIMENSIONS[name].said(value, 2) for name, value in self.options if DIMENSIONS[name].is_own)
        return ", ".join([self.name, *([f"depth {self.depth}"] if self.own.is_said("depth") else []), *of_own])


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """A Keras optimizer by name, its learning rate, and its other hyperparameters as sorted pairs of name and value."""

    name: str
    learning_rate: float
    hyperparameters: tuple[tuple[str, bool | int | float], ...] = ()

    def __post_init__(self) -> None:
        from depthcheck.pipeline.dimensions import options_of

        require(self.name in OPTIMIZERS, "optimizer", f"one of {', '.join(OPTIMIZERS)}", self.name)
        rate = self.learning_rate
        require(math.isfinite(rate) and rate > 0, "learning_rate", "above 0", rate)
        options = _sorted_options(self.hyperparameters, options_of(self.name), self.name)
        object.__setattr__(self, "hyperparameters", options)
        # What Keras refuses of values that are each within their limits.
        beta_1 = dict(options).get("beta_1")
        require(self.name != "lion" or beta_1 is None or float(beta_1) > 0, "beta_1 of lion", "above 0", beta_1)


def _sorted_options(
    given: Iterable[tuple[str, ParamValue]], known: Sequence[str], owner: str
) -> tuple[tuple[str, ParamValue], ...]:
    """Return pairs of name and value in order, or complain of a name that its owner does not know, or has twice."""
    options = tuple(sorted(given))
    for option, _value in options:
        require(option in known, f"hyperparameter of {owner}", f"one of {', '.join(known)}", option)
    require(len(dict(options)) == len(options), f"hyperparameters of {owner}", "named once each", options)
    return options


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Number of epochs, samples a batch, and the seed of weights, order and dropout.

    ``class_weight`` is None, ``none``, or ``balanced``: then each class weighs the same in the loss, however rare it
    is. ``varied`` names, in order, which of the two that a definition says once for all are values of dimensions here.
    """

    epochs: int
    batch_size: int
    seed: int
    class_weight: str | None = None
    varied: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_whole("epochs", self.epochs, 1)
        _require_whole("batch_size", self.batch_size, 1)
        _require_whole("seed", self.seed, 0)
        known = (None, "none", "balanced")
        require(self.class_weight in known, "class_weight", "balanced, none or left out", self.class_weight)
        for name in self.varied:
            require(name in VARIED, "varied", f"some of {', '.join(VARIED)}", self.varied)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialConfig:
    """All that defines a trial: the same TrialConfig on the same data gives the same result."""

    data: DataConfig
    data_sha256: str
    split: SplitConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    fit: FitConfig

    def __post_init__(self) -> None:
        # Keras clips in one way: beside its own options gradient_clip would do nothing, or take their place.
        known, options = ("gradient_clip", *CLIPS), (*self.model.options, *self.optimizer.hyperparameters)
        clips = [name for name, value in options if name in known and (value or name != "gradient_clip")]
        require(len(clips) <= 1, "gradients", f"clipped by one of {', '.join(known)}", " and ".join(clips))

    @classmethod
    def of(
        cls,
        values: Mapping[str, ParamValue],
        *,
        data: DataConfig,
        data_sha256: str,
        split: SplitConfig,
        epochs: int,
        seed: int,
        class_weight: str | None = None,
        own: OwnModel | None = None,
    ) -> TrialConfig:
        """Make the configuration of values by dimension; those that are inactive there are not looked at."""
        from depthcheck.pipeline.dimensions import Draft, active

        draft: Draft = {
            "model": {"units": (), "activation": None}, "options": {}, "optimizer": {}, "hyperparameters": {}, "fit": {}
        }  # fmt: skip
        for dimension in active(str(values["optimizer"]), int(values["depth"])):
            default = dimension.default
            if own is not None and default is not None:  # what a definition leaves open is as the function has it
                default = own.defaults().get(dimension.name) or default
            value = values.get(dimension.name, default)
            if value is not None:
                dimension.apply(draft, value)
        return cls(
            data=data,
            data_sha256=data_sha256,
            split=split,
            model=ModelConfig(**draft["model"], options=tuple(draft["options"].items()), own=own),
            optimizer=OptimizerConfig(**draft["optimizer"], hyperparameters=tuple(draft["hyperparameters"].items())),
            fit=FitConfig(
                **{"epochs": epochs, "class_weight": class_weight, **draft["fit"]},
                seed=seed,
                varied=tuple(name for name in VARIED if name in draft["fit"]),
            ),
        )

    def values(self) -> dict[str, ParamValue]:
        """Return the values by dimension, of those that are active: the inverse of :meth:`of`."""
        from depthcheck.pipeline.dimensions import active

        found = {one.name: one.read(self) for one in active(self.optimizer.name, self.model.depth)}
        return {name: value for name, value in found.items() if value is not None}

    def to_params(self) -> dict[str, ParamValue]:
        """Return the flat parameters to log: each active dimension under its name, and what else defines a trial."""
        return {
            **self.data.to_params(),
            "data_sha256": self.data_sha256,
            **self.split.to_params(),
            **_own_params(self.model.own, "model", "model_source"),
            **self.values(),
            "epochs": self.fit.epochs,
            "seed": self.fit.seed,
            **({} if self.fit.class_weight is None else {"class_weight": self.fit.class_weight}),
            **({"varied": ",".join(self.fit.varied)} if self.fit.varied else {}),
        }

    @classmethod
    def from_params(cls, params: Mapping[str, object]) -> TrialConfig:
        """Rebuild the configuration from logged parameters, which may be texts; the inverse of :meth:`to_params`.

        Keys that no configuration has are ignored.

        Raises
        ------
        ValueError
            When a parameter is missing or has no valid value.
        """
        from depthcheck.pipeline.dimensions import active, know_own

        text = {key: str(value) for key, value in params.items()}
        fields_of_own = _own_from_params(text, "model", "model_source")
        own = None if fields_of_own is None else OwnModel(**fields_of_own)
        if own is not None:
            know_own(own)
        dimensions = list(active(text.get("optimizer", ""), 0 if text.get("depth") == "0" else 1))
        always = (one.name for one in dimensions if one.is_required or one.default is not None)
        required = ("data", "data_sha256", "valid_size", "split_seed", *always, "epochs", "seed")
        missing = [key for key in required if key not in text]
        require(not missing, "parameters of a trial", f"complete ({', '.join(required)})", f"none for {missing}")
        here = text.keys() - (set(VARIED) - set(text.get("varied", "").split(",")))
        return cls.of(
            {one.name: one.from_text(text[one.name], one.name) for one in dimensions if one.name in here},
            data=DataConfig.from_params(text),
            data_sha256=text["data_sha256"],
            split=SplitConfig.from_params(text),
            epochs=int(text["epochs"]),
            seed=int(text["seed"]),
            class_weight=text.get("class_weight"),
            own=own,
        )


def _own_params(own: OwnCode | None, name: str, source: str) -> dict[str, ParamValue]:
    """Return the parameters of a user's own code, its text among them: a trial is trained again by them alone."""
    if own is None:
        return {}
    starts = range(0, len(own.source), _MAX_TEXT)
    texts = {f"{source}_{1 + at // _MAX_TEXT}": own.source[at : at + _MAX_TEXT] for at in starts}
    return {name: own.name, **texts}


def _own_from_params(params: Mapping[str, str], name: str, source: str) -> dict[str, str] | None:
    if name not in params:
        return None
    file, _, function = params[name].rpartition(":")
    text = "".join(params.get(f"{source}_{number}", "") for number in range(1, 1 + len(params)))
    return {"file": file, "function": function, "source": text}
