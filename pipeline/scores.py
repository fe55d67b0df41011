"""The scores that can decide: how each is worked out, and how a reader sees it.

An entry of :data:`METRICS` is all that a score needs. Scores and differences stay in the metric's own scale (an
accuracy of 0.885, a difference of 0.004) all the way through; only what is read is in the reader's unit. The process
that checks a definition reads this without numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .own import OwnMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Weight = NDArray[np.float64] | None

Task = Literal["classification", "regression"]
#: Paired fresh seeds, or repeats, under which no verdict is given.
ENOUGH_SEEDS = 5
#: Settings at every combination of levels under which no verdict is given (docs/search-simulations.md).
ENOUGH_SETTINGS = 6
_MOST_DECIMALS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A score, larger is better.

    Attributes
    ----------
    key, name
        As the records have it, and as a reader knows it.
    score
        Takes targets ``(n,)`` and what was said of them: logits or probabilities ``(n, n_classes)``, or of a regression
        numbers ``(n,)`` in the target's own unit; and what each sample weighs, or None where all weigh the same.
    task
        What it is the score of; None for either.
    own
        The user's function that it is.
    of_probabilities
        Whether it takes probabilities, never logits.
    secondary
        Takes the same and returns further scores by name, which decide nothing.
    keeps
        What the compiled epoch keeps of its batches for the training score. ``outputs`` suits every score. Cheaper are
        ``hits``, for the share of samples whose class has the largest output, and ``loss``, for 1 minus the loss.
    unit, score_unit
        Of a difference and of the score itself; empty where it has none.
    scale
        What the score is multiplied by for a reader: 100 for percent.
    is_share
        Whether it is the mean of zeros and ones, which bounds its variance.
    is_bounded
        Whether it lies between 0 and 1.
    perfect
        The best score there is.
    equivalence
        Half the width of the region of practical equivalence, unless a study says otherwise.
    learned_share
        A network that closed less than this share of the way from the dummy baseline to perfect on its training
        part never trained. Of R², a fiftieth: there are data of which no network explains a tenth.
    pseudo_observations
        What pseudo-observations add to the sum of squares over examples
        (:func:`depthcheck.reports.compare.difference.paired_difference`).
        None for AUC: with two, intervals on 300 examples covered up to 100 % (without, 93 to 95 %).
    imagined_failures
        Settings that failed at every level and that an interval of tuned scores allows for beyond those that were drawn
        (:func:`depthcheck.reports.compare.difference.tuned_scores`).
        Two for R² and users' own, which no failure bounds; accuracy and AUC were covered without.
    diverged_below
        A validation score below it says that training diverged, though its numbers are finite still, where guessing
        scores 0 (:meth:`least`). Of R², an error a hundred times that of guessing the mean: R²s of -1e35 were met,
        beside which all others are nothing.
    finest
        Half width that a number is taken to have where nothing says how far it is known, in the reader's scale.
    tolerance
        Largest distance between a logged score and the mean of its examples' scores; both went through float32.
    dummy_is
        What scores as the dummy baseline does.
    dummy
        What that is, where a study notes nothing else.
    has_formula
        Whether the scores of single examples, which intervals are drawn from, have a formula of their own
        (:func:`depthcheck.reports.compare.example_scores.example_scores`). Else they are the jackknife's, worked out
        where the network is judged (:func:`depthcheck.pipeline.metrics.left_out`).
    """

    key: str
    name: str
    score: Callable[[NDArray[Any], Floats, Weight], float]
    task: Task | None = "classification"
    own: OwnMetric | None = None
    of_probabilities: bool = False
    secondary: Callable[[NDArray[Any], Floats, Weight], Mapping[str, float]] = lambda _y, _said, _weight: {}
    keeps: Literal["outputs", "hits", "loss"] = "outputs"
    unit: str = "points"
    score_unit: str = "%"
    scale: float = 100.0
    is_share: bool = False
    is_bounded: bool = True
    perfect: float = 1.0
    equivalence: float = 0.003
    learned_share: float = 0.1
    pseudo_observations: float = 0.0
    imagined_failures: int = 0
    diverged_below: float = -math.inf
    finest: float = 0.1
    tolerance: float = 1e-3
    dummy_is: str = "accuracy of the commonest class"
    dummy: float = 0.0
    has_formula: bool = False

    def least(self, guess: float) -> float:
        """Return the validation score below which training diverged, where guessing reaches ``guess``.

        Where numbers drift the training part's mean may be far from perfect itself.
        """
        perfect, below = self.perfect, self.diverged_below
        return below if math.isinf(below) else perfect - (perfect - below) * (perfect - min(guess, 0.0))

    @property
    def title(self) -> str:
        """The key, or what a user's own is called: its key has a hash behind it."""
        return self.key if self.own is None else self.own.title

    @property
    def most_decimals(self) -> int:
        """Decimals of a score at most: a standard deviation of five runs is not known to more."""
        return 2 if self.scale == 100 else 4

    def decimals(self, most: int) -> int:
        """Return how many a number has at most that is known to so many: a user's own metric may be of any size."""
        return most if self.own is None else _MOST_DECIMALS

    def alone(self, value: float, decimals: int) -> str:
        """Return a score of which nothing says how well it is known; one of a user's own metric with three digits."""
        size = abs(value)
        if self.own is not None and 0 < size < math.inf:
            decimals = min(_MOST_DECIMALS, max(0, 2 - math.floor(math.log10(size))))
        return f"{self.scale * value:.{decimals}f}"

    def region(self, equivalence: float) -> str:
        """Return half the width of the region of practical equivalence, ``0.3 points``, ``0.01 of R²``."""
        return f"{self.scale * equivalence:g} {self._unit}"

    @property
    def _unit(self) -> str:
        return self.unit or f"of {self.name}"

    def text(self, value: float, *, half_width: float | None = None, signed: bool = True, unit: bool = True) -> str:
        """Return a difference in the reader's unit, with no more digits than its interval supports."""
        shown = self.scale * value
        half = abs(self.scale * half_width) if half_width else self.finest
        is_known = math.isfinite(half) and half > 0
        decimals = min(self.decimals(4), max(0, 1 - math.floor(math.log10(half)))) if is_known else 2
        number = f"{shown:{'+' if signed else ''}.{decimals}f}"
        return f"{number} {self._unit}" if unit else number


def area_under_curve(y: NDArray[Any], score: Floats, weight: Weight = None) -> float:
    """Return the area under the ROC curve: how often a sample of class 1 ranks above one of class 0; ties count half.

    A pair weighs what its two samples weigh, multiplied (Mann and Whitney 1947 with weights). NaN where a score is
    NaN, or one class has no sample that weighs something.
    """
    import numpy as np

    is_positive = y == 1
    weight = np.ones(len(y)) if weight is None else weight
    positives, negatives = float(weight[is_positive].sum()), float(weight[~is_positive].sum())
    if not positives or not negatives or bool(np.isnan(score).any()):
        return float("nan")
    _, place = np.unique(score, return_inverse=True)
    at = np.bincount(place, np.where(is_positive, 0, weight))
    below = np.cumsum(at) - at / 2
    return float((weight * below[place])[is_positive].sum() / (positives * negatives))


def are_equal(y: NDArray[Any], weight: Weight = None) -> bool:
    """Whether all targets that weigh something are equal: the mean of such may be rounded, and lie beside them."""
    some = y if weight is None else y[weight > 0]
    return bool((some == some[:1]).all())


def r2(y: NDArray[Any], predicted: Floats, weight: Weight = None) -> float:
    """Return the coefficient of determination; NaN where a prediction is not finite.

    Where all targets are equal it is 1 if each is hit, else 0, as scikit-learn has it.
    """
    import numpy as np

    if not bool(np.isfinite(predicted).all()):
        return float("nan")
    y, varies = y.astype(np.float64), not are_equal(y, weight)
    weight = np.ones(len(y)) if weight is None else weight
    left = float(np.sum(weight * (y - predicted) ** 2))
    total = float(np.sum(weight * (y - np.average(y, weights=weight)) ** 2))
    return 1 - left / total if varies and total > 0 else float(left == 0)


def errors(y: NDArray[Any], predicted: Floats, weight: Weight = None) -> dict[str, float]:
    """Return root mean squared and mean absolute error, in the unit of ``y``."""
    import numpy as np

    error = predicted.astype(np.float64) - y.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        rmse = np.sqrt(np.average(error**2, weights=weight))
        return {"rmse": float(rmse), "mae": float(np.average(np.abs(error), weights=weight))}


def accuracy(y: NDArray[Any], outputs: Floats, weight: Weight = None) -> float:
    """Return the share of samples, or of their weight, whose class has the largest output."""
    import numpy as np

    return float(np.average(np.argmax(outputs, axis=1) == y, weights=weight))


ACCURACY = Metric(
    key="accuracy", name="accuracy", score=accuracy, keeps="hits", is_share=True, pseudo_observations=2.0,
    tolerance=1e-5, has_formula=True,
)  # fmt: skip
#: The probability that an example of the second class is ranked above one of the first: a percentage as well.
AUC = Metric(
    key="auc", name="AUC", score=lambda y, said, weight: area_under_curve(y, said[:, 1], weight), of_probabilities=True,
    secondary=lambda y, said, weight: {"accuracy": accuracy(y, said, weight)},
    dummy_is="AUC of giving every example the same probability", dummy=0.5, has_formula=True,
)  # fmt: skip
#: The mean square of standardized targets is 1, or 0 where they are all equal.
R2 = Metric(
    key="r2", name="R²", score=r2, task="regression", secondary=errors, keeps="loss", unit="", score_unit="", scale=1.0,
    is_bounded=False, equivalence=0.01, learned_share=0.02, imagined_failures=2, diverged_below=-99.0, finest=0.01,
    dummy_is="R² of always giving the training part's mean", has_formula=True,
)  # fmt: skip

#: By the names that definitions and records have; another one is added here.
METRICS = {metric.key: metric for metric in (ACCURACY, AUC, R2)}
#: Those that a definition knows by name.
SHIPPED_METRICS = tuple(METRICS)


def by_mean(scores: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the names of finalists by the mean score of their fresh runs, the best first; equals stay in their order.

    Whoever has few runs may have been lucky: only those with enough, or with as many as the fullest, take part.
    """
    enough = min(ENOUGH_SEEDS, max(map(len, scores.values()), default=0))
    means = {name: math.fsum(of) / len(of) for name, of in scores.items() if of and len(of) >= enough}
    return sorted(means, key=lambda name: -means[name])


def know_metric(own: OwnMetric) -> None:
    """Make a user's own metric one of those that can decide; what is perfect, and what matters, its study finds out."""

    def score(y: NDArray[Any], said: Floats, weight: Weight = None) -> float:
        """Return NaN where a network has diverged: few functions of others take what is not finite."""
        import numpy as np

        return own.score(y, said, weight) if bool(np.isfinite(said).all()) else float("nan")

    def secondary(y: NDArray[Any], said: Floats, weight: Weight = None) -> Mapping[str, float]:
        return errors(y, said, weight) if said.ndim == 1 else {"accuracy": accuracy(y, said, weight)}

    METRICS[own.key] = Metric(
        key=own.key, name=own.title, score=score, task=None, own=own, of_probabilities=True, secondary=secondary,
        unit="", score_unit="", scale=1.0, is_bounded=False, perfect=math.inf, learned_share=0.02,
        imagined_failures=2, dummy_is=f"{own.title} of guessing",
    )  # fmt: skip


def metrics_of(task: Task) -> list[str]:
    """Return the names of the metrics that a task can have, a user's own among them."""
    return [name for name, metric in METRICS.items() if metric.task in (None, task)]
