"""The scores that can decide, and how a reader sees each: name, unit, digits, and what a negligible gain is.

Scores and differences stay in the metric's own scale (an accuracy of 0.885, a difference of 0.004) all the way
through; only what is read is in the reader's unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A score, larger is better.

    Attributes
    ----------
    key, name
        As the records have it, and as a reader knows it.
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
    finest
        Half width that a number is taken to have where nothing says how far it is known, in the reader's scale.
    dummy_is
        What scores as the dummy baseline does.
    """

    key: str = "accuracy"
    name: str = "accuracy"
    unit: str = "points"
    score_unit: str = "%"
    scale: float = 100.0
    is_share: bool = True
    is_bounded: bool = True
    perfect: float = 1.0
    equivalence: float = 0.003
    learned_share: float = 0.1
    pseudo_observations: float = 2.0
    finest: float = 0.1
    dummy_is: str = "accuracy of the commonest class"

    @property
    def most_decimals(self) -> int:
        """Decimals of a score at most: a standard deviation of five runs is not known to more."""
        return 2 if self.scale == 100 else 4

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
        decimals = min(4, max(0, 1 - math.floor(math.log10(half)))) if math.isfinite(half) and half > 0 else 2
        number = f"{shown:{'+' if signed else ''}.{decimals}f}"
        return f"{number} {self._unit}" if unit else number


ACCURACY = Metric()
#: The probability that an example of the second class is ranked above one of the first: a percentage as well.
AUC = Metric(
    key="auc", name="AUC", is_share=False, pseudo_observations=0.0,
    dummy_is="AUC of giving every example the same probability",
)  # fmt: skip
R2 = Metric(
    key="r2", name="R²", unit="", score_unit="", scale=1.0, is_share=False, is_bounded=False, equivalence=0.01,
    learned_share=0.02, pseudo_observations=0.0, finest=0.01, dummy_is="R² of always giving the mean",
)  # fmt: skip

#: By the names that the records have.
METRICS: Mapping[str, Metric] = MappingProxyType({metric.key: metric for metric in (ACCURACY, AUC, R2)})
