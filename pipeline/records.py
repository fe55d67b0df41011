"""The frozen records that flow through the stages: data in, results out.

Only numpy and the standard library live here (a table is a pandas DataFrame, which nothing here imports).
Shapes and lengths are checked when a record is made: a record that exists is valid.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .config import SplitConfig, TrialConfig, require
from .scores import Task, metrics_of

Phase = Literal["baseline", "compare", "exploit", "confirm"]
PartName = Literal["train", "valid", "test"]
TrialState = Literal["finished", "diverged", "pruned", "failed"]
#: What a network's output layer is called, of classes and of a number; a user's own model names its layers itself.
OUTPUTS = ("logits", "number")


def _require_shape(what: str, array: NDArray[Any] | None, expected: tuple[int, ...]) -> None:
    require(array is None or array.shape == expected, f"shape of {what}", str(expected), getattr(array, "shape", None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What was understood of one column of a table.

    Attributes
    ----------
    kind
        One of :data:`depthcheck.pipeline.config.COLUMN_KINDS`; an ignored column is no feature.
    why
        How that was found, in words for the profile: ``whole numbers``, ``texts, another in every row: free text``.
    asks
        What of it a user should see at once: ``form`` (can be read in two ways), ``digits`` (some are lost),
        ``missing`` (texts taken for it), ``words`` (among numbers), ``text`` (to learn from), ``owner`` (a group,
        perhaps); or ``copy`` (of the target) and ``leak``, whose words stand last.
    n_missing, n_distinct
        Cells without a value, and different values among the others.
    examples
        A few of its values as text.
    categories
        Of a categorical column: every value that the whole data set has, sorted; which of them are known to a model
        is up to its training part. Of a boolean one: how it writes no and yes.
    form
        How its cells are written: of numbers, the decimal mark and the one between thousands (``,.``; empty for plain
        ones), ``hh:mm`` of times of day; of dates, the format of ``strptime``; empty where the file itself has types.
    missing_texts
        Further texts that stand for a missing value, beside the usual ones: the few that are no numbers or no dates.
    is_double
        Whether float32 would make several of its numbers or dates one, so that they stay float64 up to their scaling.
    """

    name: str
    kind: str
    why: str = ""
    asks: tuple[str, ...] = ()
    n_missing: int = 0
    n_distinct: int = 0
    examples: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    form: str = ""
    missing_texts: tuple[str, ...] = ()
    is_double: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Samples and targets as their source has them, before any split or scaling.

    Attributes
    ----------
    name
        The name a user gives, ``fashion-mnist``, or that of the file.
    sha256
        Hex digest over dtype, shape and bytes of all arrays (of a table: of every column, its name and kind, too): the
        identity of the data as they were understood.
    source
        Where it was found, in words for a log.
    X, y
        ``(n_samples, *sample_shape)`` or a table of ``n_samples`` rows whose columns are ``columns`` (numbers, booleans
        and dates as float32 with NaN where missing, dates in days since 1970; categories as pandas categories of text);
        and ``(n_samples,)``: int64 labels in ``0 .. n_classes - 1``, or float32 where the task is a regression. Numbers
        are float64 where float32 would make several of them one.
    X_test, y_test
        The test part that the source itself sets aside, or both None.
    is_valid
        ``(n_samples,)``: which samples the source itself sets aside for validation; None where it does not.
    is_known
        Whether it is one of the data sets that everybody cuts at random.
    class_names
        One a class; empty for a regression.
    pixel_max
        Largest value that a pixel can have, or None where the features are no pixels.
    task, metric
        What is learned, and the score that decides.
    target
        What the predicted column is called; empty where it has no name.
    columns
        Of a table: every column but the target, those that are ignored too; empty for arrays.
    groups, times
        ``(n_samples,)`` int64 or float64: the group of each row, or when it was recorded; None where there is none.
    weights
        ``(n_samples,)`` float64: how much each row weighs, finite and not negative; None where all weigh the same.
    groups_test, times_test, weights_test
        The same of the rows of ``X_test``, with the same numbers.
    """

    name: str
    sha256: str
    source: str
    X: Any
    y: NDArray[Any]
    X_test: Any = None
    y_test: NDArray[Any] | None = None
    is_valid: NDArray[np.bool_] | None = None
    is_known: bool = False
    class_names: tuple[str, ...] = ()
    pixel_max: float | None = None
    task: Task = "classification"
    metric: str = "accuracy"
    target: str = ""
    columns: tuple[Column, ...] = ()
    groups: NDArray[np.int64] | None = None
    times: NDArray[np.float64] | None = None
    weights: NDArray[np.float64] | None = None
    groups_test: NDArray[np.int64] | None = None
    times_test: NDArray[np.float64] | None = None
    weights_test: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        require(len(self.X) > 0, f"number of samples of {self.name}", "at least 1", len(self.X))
        for name in ("y", "is_valid", "groups", "times", "weights"):
            _require_shape(name, getattr(self, name), (len(self.X),))
        require(self.metric in metrics_of(self.task), f"metric of {self.task}", "one that it can have", self.metric)
        require((self.X_test is None) == (self.y_test is None), "X_test and y_test", "both given or both None", "one")
        if self.X_test is not None:
            shape = self.X_test.shape[1:]
            require(shape == self.X.shape[1:], "sample shape of X_test", str(self.X.shape[1:]), shape)
            for name in ("y_test", "groups_test", "times_test", "weights_test"):
                _require_shape(name, getattr(self, name), (len(self.X_test),))
        if self.task == "regression":
            require(bool(np.isfinite(self.y).all()), "targets", "finite numbers", "one that is not")
            return
        found = int(self.y.min()), int(self.y.max())
        require(found[0] >= 0 and found[1] < self.n_classes, "labels", f"in 0 .. {self.n_classes - 1}", found)
        require(self.metric != "auc" or self.n_classes == 2, "classes for auc", "2", self.n_classes)

    @property
    def is_table(self) -> bool:
        """Whether the samples are rows of a table rather than arrays."""
        return bool(self.columns)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for a regression."""
        return len(self.class_names)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, ``(28, 28)`` for a picture of Fashion-MNIST; of a table, its columns."""
        return tuple(self.X.shape[1:])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """Which samples of a data set train and which validate, before anything is copied, fitted or scaled.

    ``train``, ``valid`` and ``test`` are positions in ``Dataset.X``, int64, without a common sample. ``test`` is None
    where none is set aside: then the test part is the data set's own, or there is none. ``valid`` is empty where a
    model is trained on all rows after cross-validation.
    """

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64] | None = None
    config: SplitConfig

    def __post_init__(self) -> None:
        parts = {"train": self.train, "valid": self.valid} | ({} if self.test is None else {"test": self.test})
        for name, positions in parts.items():
            least = 0 if name == "valid" and self.config.folds else 1
            require(
                positions.ndim == 1 and len(positions) >= least, f"{name} part", "1 sample or more", positions.shape
            )
        used = np.zeros(max(int(positions.max(initial=0)) for positions in parts.values()) + 1, np.uint8)
        for positions in parts.values():
            np.add.at(used, positions, 1)
        n_common = int(np.count_nonzero(used > 1))
        require(n_common == 0, "number of samples that two parts share", "0", n_common)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaler:
    """The scaling of features, ``x * scale + offset``; the served model does the same with its own layer.

    Either two plain numbers for all features, or two arrays ``(n_features,)``: of float32, which is computed in then,
    or of float64 where float32 would make several values of a feature one before they are scaled.
    """

    scale: float | NDArray[np.float32]
    offset: float | NDArray[np.float32]

    def transform(self, samples: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return ``(n, n_features)`` float32: the samples flat and scaled."""
        flat = np.asarray(samples).reshape(len(samples), -1).astype(self.dtype)
        return (flat * self.scale + self.offset).astype(np.float32, copy=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What is computed in, and what a sample must not be narrower than."""
        return self.scale.dtype if isinstance(self.scale, np.ndarray) else np.dtype(np.float32)

    def __post_init__(self) -> None:
        require(
            np.shape(self.scale) == np.shape(self.offset), "shape of offset", "that of scale", np.shape(self.offset)
        )
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            fits = value.dtype.kind == "f" if isinstance(value, np.ndarray) else float(np.float32(value)) == value
            require(fits, name, "of float32's precision", value)
            require(bool(np.isfinite(value).all()), name, "finite", value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One part of a split, ready for training.

    Attributes
    ----------
    X
        ``(n, n_features)``: float32, or pixels of uint8, which stay so in memory, a quarter of the bytes, and are
        scaled where they are used.
    y
        ``(n,)`` int64 or float32.
    weight
        ``(n,)`` float64, what each row weighs; None where all weigh the same.
    scale
        What each pixel is multiplied by; of float32 nothing is.
    """

    X: NDArray[np.float32] | NDArray[np.uint8]
    y: NDArray[Any]
    weight: NDArray[np.float64] | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        require(self.X.ndim == 2, "dimensions of X", "2", self.X.ndim)
        require(self.X.dtype in (np.float32, np.uint8), "dtype of X", "float32 or uint8", str(self.X.dtype))
        _require_shape("y", self.y, (len(self.X),))
        _require_shape("weight", self.weight, (len(self.X),))

    def __len__(self) -> int:
        return len(self.y)

    def features(self, rows: slice = slice(None)) -> NDArray[np.float32]:
        """Return what a network takes of some rows, ``(n, n_features)``; of float32 no copy."""
        X: NDArray[Any] = self.X[rows]
        return X if X.dtype == np.float32 else X.astype(np.float32) * np.float32(self.scale)

    def at(self, rows: NDArray[np.int64]) -> Part:
        """Return some of the rows."""
        return replace(self, X=self.X[rows], y=self.y[rows], weight=None if self.weight is None else self.weight[rows])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Train, valid and (where the data have one) test part, and how they were cut."""

    train: Part
    valid: Part
    test: Part | None
    n_classes: int
    config: SplitConfig
    task: Task = "classification"
    metric: str = "accuracy"

    def __post_init__(self) -> None:
        for name, part in (("valid", self.valid), ("test", self.test)):
            n = self.n_features if part is None else part.X.shape[1]
            require(n == self.n_features, f"number of features of the {name} part", str(self.n_features), n)

    @property
    def n_features(self) -> int:
        """Number of features of a sample."""
        return int(self.train.X.shape[1])


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
        lengths = {len(getattr(self, column.name)) for column in fields(self) if column.name != "metric"}
        require(len(lengths) == 1, "columns of a history", "of one length", sorted(lengths))

    @property
    def n_epochs(self) -> int:
        """Number of epochs trained."""
        return len(self.train_loss)

    @property
    def diverged(self) -> bool:
        """Whether a loss of the last epoch is not finite."""
        return not (math.isfinite(self.train_loss[-1]) and math.isfinite(self.valid_loss[-1]))

    @property
    def compile_seconds(self) -> float:
        """How much longer the first epoch took than the fastest: a new program is compiled, and trains it by itself."""
        return self.seconds[0] - min(self.seconds) if self.seconds else 0.0

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
    """Loss and score of a model on one part; ``secondary`` holds further scores by name, which decide nothing."""

    part: PartName
    loss: float
    score: float
    metric: str
    n_samples: int
    secondary: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.n_samples >= 1, "n_samples", "at least 1", self.n_samples)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a model said of each sample of a part, beside the truth; all columns ``(n,)``.

    Attributes
    ----------
    y, predicted
        Classes, or numbers where the task is a regression.
    probability
        Of the predicted class; NaN for a regression.
    positive
        With two classes: the probability of the second one, by which AUC ranks; else None.
    fold
        With cross-validation: the fold that each sample was held out in, int64; else None.
    unit
        Where samples belong together (:mod:`depthcheck.pipeline.prepare.split`): the number of each one's group or
        block of time, int64.
    weight
        What each sample weighs in the score, float64; None where all weigh the same.
    scores, block
        Of a metric without a formula: values whose mean is the score, float64, and which of them were left out
        together, int64, where not each for itself (:func:`depthcheck.pipeline.metrics.left_out`).
    """

    y: NDArray[Any]
    predicted: NDArray[Any]
    probability: NDArray[np.float32]
    positive: NDArray[np.float32] | None = None
    fold: NDArray[np.int64] | None = None
    unit: NDArray[np.int64] | None = None
    weight: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] | None = None
    block: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        columns = (getattr(self, column.name) for column in fields(self))
        shapes = {column.shape for column in columns if column is not None}
        require(len(shapes) == 1, "columns of predictions", "of one length", sorted(shapes))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What a trial gave. The trained model travels beside it, never inside.

    ``valid`` is the evaluation that counts: of the last epoch's weights, or the dummy baseline's where it diverged.
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
    """A trial as it is read back from tracking; its files lie at ``artifact_uri``."""

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
    engine: str = "compiled"
    tags: Mapping[str, str] = field(default_factory=dict)
    artifact_uri: str = field(default="", compare=False)

    @property
    def seconds(self) -> float | None:
        """Seconds of training without compiling, which the first of a kind does for all that follow."""
        return None if self.fit_seconds is None else self.fit_seconds - self.history.compile_seconds

    def evaluation(self, part: str) -> Evaluation | None:
        """Return the evaluation on the named part, or None where there is none."""
        return next((evaluation for evaluation in self.evaluations if evaluation.part == part), None)


def engines_in_words(engines: Sequence[str]) -> str:
    """Return how many trials were not trained by compiled epochs, and why; nothing where all were."""
    others = Counter(engine for engine in engines if engine != "compiled")
    if not others:
        return ""
    how = "; ".join(others)
    return f"{others.total()} of {len(engines)} trials {'was' if others.total() == 1 else 'were'} trained {how}"
