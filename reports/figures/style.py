"""How figures look, and how they become a file. Nothing here knows what is drawn.

Colours are Okabe and Ito's (2008), told apart by the colour-blind; every series has a marker and a line style of its
own besides, for print in grey. Figures are made without pyplot: nothing global is touched.
"""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from depthcheck.pipeline.scores import ACCURACY, Metric

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
GREY, LIGHT, FAINT = "#595959", "#B3B3B3", "#E6E6E6"
WIDTH = 7.2
#: More series than this cannot be told apart.
MOST_SERIES = len(COLORS)
_STYLE_SHEET = Path(__file__).with_name("report.mplstyle")


def picture(draw: Callable[[], Figure], form: Literal["svg", "pdf"] = "svg") -> bytes:
    """Draw and return the content of an SVG or PDF file, the same bytes for the same data."""
    undated = {"Date": None} if form == "svg" else {"CreationDate": None}
    buffer = io.BytesIO()
    with mpl.style.context(_STYLE_SHEET, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # of an emoji; the tables of the report have it
        figure = draw()
        figure.savefig(buffer, format=form, metadata={"Creator": None, **undated})
        values = "".join(_values(figure)) if form == "svg" else ""
    return buffer.getvalue().replace(b"</svg>", f"{values}</svg>".encode()) if values else buffer.getvalue()


def _values(figure: Figure) -> Iterator[str]:
    """Yield what shows, in a page that has the SVG inside, the values of a point under the pointer."""
    height, scale = 72 * figure.get_figheight(), 72 / figure.dpi
    of = figure.legends[0].get_title().get_text() if figure.legends else ""
    for axes in figure.axes:
        names = axes.get_xlabel() or figure.axes[-1].get_xlabel(), axes.get_ylabel()
        drawn = [(line.get_label(), line.get_xydata()) for line in axes.lines if line.get_transform() == axes.transData]
        drawn += [
            (dots.get_label(), dots.get_offsets()) for dots in axes.collections if isinstance(dots, PathCollection)
        ]
        for label, points in drawn:
            series = [] if str(label).startswith("_") else [f"{of} {label}".strip()]
            for point in np.asarray(points, dtype=float):
                x, y = axes.transData.transform(point)
                if np.isfinite((x, y)).all() and axes.bbox.contains(x, y):
                    words = [*series, *map(_value, names, (axes.xaxis, axes.yaxis), point)]
                    at = f'cx="{x * scale:.1f}" cy="{height - y * scale:.1f}"'
                    title = f"<title>{html.escape(chr(10).join(words))}</title>"
                    yield f'<circle {at} r="4" fill-opacity="0">{title}</circle>'


def _value(name: str, axis: Axis, value: float) -> str:
    """Return a value along an axis as its marks are written; where these are names, the nearest."""
    form, text = axis.get_major_formatter(), f"{value:.4g}"
    if isinstance(form, FuncFormatter) and axis.get_scale() != "log":
        text = form(value) or form(min(axis.get_majorticklocs(), key=lambda mark: abs(mark - value)))
    name = re.sub(r"[,\s]*\(?log scale.*", "", name, flags=re.DOTALL).replace("\n", " ")
    return f"{name}: {text}" if name else text


def new_figure(height: float, *, width: float = WIDTH) -> Figure:
    """Return an empty figure of that size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def legend_of(panels: Iterable[Axes], order: Sequence[str]) -> tuple[list[Artist], list[str]]:
    """Return what several panels drew, once each, and its labels in that order; what none drew is left out."""
    named = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    labels = [label for label in order if label in named]
    return [named[label] for label in labels], labels


def wrapped(n: int, most_columns: int) -> tuple[int, int]:
    """Return rows and columns of a grid for n panels, as even as can be."""
    n_rows = math.ceil(n / most_columns)
    return n_rows, math.ceil(n / n_rows)


def whole_numbers(axes: Axes) -> None:
    """Mark whole numbers only along x: there is no half epoch."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareAxis:
    """How an axis of shares was laid out: spaced by the log of the error or evenly, and where what is stuck goes."""

    is_log: bool
    gutter: float | None = None


def share_scale(
    axes: Axes, values: Sequence[float], *, metric: Metric = ACCURACY, along: str = "y", gutter: bool = False
) -> ShareAxis:
    """Lay out an axis of scores, labelled in the reader's scale: percent, or R² itself.

    Scores up to 1 that range from poor to nearly perfect crowd at the top of an even axis. Where the largest error (of
    R²: the largest unexplained share) is more than four times the smallest, it is spaced by the logarithm of the error.

    Parameters
    ----------
    values
        What the axis has to hold.
    gutter
        Keep a place below all values, marked *stuck*, for trials that diverged or never beat the dummy baseline: were
        they drawn at their score, they would squeeze all others together.
    """
    axis = axes.yaxis if along == "y" else axes.xaxis
    finite = np.asarray([value for value in values if np.isfinite(value)], dtype=float)
    scale = metric.scale
    is_share = (
        metric.perfect == 1 and len(finite) and finite.max() <= 1 and not (metric.is_bounded and finite.min() < 0)
    )
    if not is_share and not (len(finite) and gutter):
        axis.set_major_formatter(FuncFormatter(lambda value, _at: f"{scale * value:.6g}"))
        return ShareAxis(is_log=False)
    low, high = float(finite.min()), float(finite.max())
    smallest = max(1 - high, 1e-4)
    ratio = (1 - low) / smallest
    is_log = bool(is_share and ratio > 4)

    def beyond(share: float) -> float:
        """Return the place that lies below all values by a share of what they span, or above for one below -1."""
        least = 1e-3 if is_share else metric.equivalence
        return 1 - (1 - low) * ratio**share if is_log else low - share * max(high - low, least)

    if is_log:
        perfect = 1 - beyond(-1.03)  # has no logarithm: it gets a place in the margin
        functions = (lambda x: -np.log(np.where(x < 1, 1 - x, perfect)), lambda y: 1 - np.exp(-y))
        (axes.set_yscale if along == "y" else axes.set_xscale)("function", functions=functions)
        of_decade = (1, 1.5, 2, 3, 5, 7) if ratio < 30 else (1, 2, 5) if ratio < 1000 else (1, 3)
        errors = LogLocator(subs=of_decade).tick_values(1 - beyond(-1.06), 1 - beyond(0.06))
        marks = sorted(1 - error for error in errors)
    else:
        marks = list(MaxNLocator(nbins=7).tick_values(low, high))
    (axes.set_ylim if along == "y" else axes.set_xlim)(beyond(0.2 if gutter else 0.06), beyond(-1.06))
    place = beyond(0.14) if gutter else None
    marks = [mark for mark in marks if beyond(0.06) <= mark <= beyond(-1.06)]
    axis.set_major_locator(FixedLocator(marks if place is None else [place, *marks]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _at: "stuck" if value == place else f"{scale * value:.6g}"))
    return ShareAxis(is_log=is_log, gutter=place)


def score_label(before: str, metric: Metric, is_log: bool, *, along: str = "y") -> str:
    """Return the label of an axis of scores; upright axes are short, so that theirs has two lines."""
    between = "\n" if along == "y" else ", "
    what = f"{before} {metric.name}".strip() + (f" ({metric.score_unit})" if metric.score_unit else "")
    return (
        f"{what}{between}log scale of {'the error' if metric.score_unit else f'1 − {metric.name}'}" if is_log else what
    )


def plain_log(axes: Axes, *, along: str = "y") -> None:
    """Give an axis a logarithmic scale: plain numbers where it spans less than two decades, powers of ten beyond."""
    (axes.set_yscale if along == "y" else axes.set_xscale)("log")
    axis = axes.yaxis if along == "y" else axes.xaxis
    axis.set_major_locator(_LogMarks())
    axis.set_minor_locator(NullLocator())

    def text(value: float, _at: int | None) -> str:
        low, high = axis.get_view_interval()
        return f"{value:g}" if _is_short(low, high) else f"10{str(round(math.log10(value))).translate(_RAISED)}"

    axis.set_major_formatter(FuncFormatter(text))


#: Digits as an exponent: nothing in a figure is read as a formula, since a class may be called ``$x^2$``.
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _is_short(low: float, high: float) -> bool:
    return low > 0 and high / low < 60


class _LogMarks(LogLocator):
    """Marks at 1, 2 and 5 of each decade over less than two decades, at whole decades beyond."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        self.set_params(subs=(1, 2, 5) if _is_short(vmin, vmax) else (1,))
        return super().tick_values(vmin, vmax)
