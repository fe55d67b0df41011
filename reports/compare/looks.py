"""Looking more than once: what each look at a growing study may spend of the 5 % of errors. Pure.

A study that goes on until its questions are decided is judged again and again, and would find something sooner or
later. Each look gets a share of the error, of which the looks together never spend more than all: of look *j* of any
number, all looks up to it have *j / (j + 1)* of it (an error-spending function, Lan and DeMets 1983). How strict each
look must then be follows from how much the looks have in common: the estimate at *m* settings and that at *m'* > *m*
are correlated by sqrt(m / m') (Armitage, McPherson and Rowe 1969; Jennison and Turnbull 2000, chapter 19). Intervals
at these levels cover at all looks at once.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]

_GRID = np.linspace(-8, 8, 801)
_STEP = float(_GRID[1] - _GRID[0])


@functools.lru_cache(maxsize=64)
def nominal_errors(sizes: tuple[int, ...], error: float = SIGNIFICANCE) -> tuple[float, ...]:
    """Return the two-sided error that each look may make for itself, ``(n_looks,)``.

    Parameters
    ----------
    sizes
        Number of settings at each look, growing.
    error
        What all looks together may make, however many are to come.

    Raises
    ------
    ValueError
        When the sizes do not grow, or there are none.
    """
    if not sizes or sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes)):
        raise ValueError(f"looks must be at growing numbers of settings, got {sizes}")
    bounds: list[float] = []
    density, before = stats.norm.pdf(_GRID), 0.0
    for number, size in enumerate(sizes, start=1):
        if number > 1:
            rho = float(np.sqrt(sizes[number - 2] / size))
            density = _moved(density, rho)
        to_spend = error * (number / (number + 1) - before)
        before = number / (number + 1)

        bound = float(optimize.brentq(functools.partial(_overspent, density, to_spend), 0.5, 7.5))
        bounds.append(bound)
        density = np.where(np.abs(_GRID) < bound, density, 0.0)
    return tuple(float(2 * stats.norm.sf(bound)) for bound in bounds)


def error_of_look(looks: tuple[int, ...]) -> float:
    """Return the two-sided error that the last of these looks may make for itself; all of it without any."""
    return nominal_errors(looks)[-1] if looks else SIGNIFICANCE


def _overspent(density: Floats, to_spend: float, bound: float) -> float:
    return _outside(density, bound) - to_spend


def _moved(density: Floats, rho: float) -> Floats:
    """Return the density of the next look's statistic among those that went on."""
    kernel = stats.norm.pdf(_GRID[:, None], rho * _GRID[None, :], np.sqrt(1 - rho**2))
    return np.asarray(kernel @ density * _STEP)


def _outside(density: Floats, bound: float) -> float:
    """Return the mass beyond the bound, a cell of the grid cut in two included."""
    share = np.clip((np.abs(_GRID) + _STEP / 2 - bound) / _STEP, 0, 1)
    return float(density @ share * _STEP)
