"""Numbers and configurations as a reader sees them, with no more digits than are known. Pure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence

from depthcheck.pipeline.config import TrialConfig
from depthcheck.pipeline.dimensions import CONFIGURATION, DIMENSIONS
from depthcheck.pipeline.scores import METRICS, Metric
from depthcheck.pipeline.verbatim import in_markdown
from depthcheck.reports.compare.results import Difference, Spread

WIDTH = 100
#: Two standard errors, where a single score on so many examples is all that is known.
_TWO_SIDED = 1.96
_MINUS = "−"
#: What is said where a mean is that of one run.
_SINGLE = " (1 run)"


def count(number: int | None) -> str:
    """Return a whole number with commas between thousands, or a dash where it is unknown."""
    return "–" if number is None else f"{number:,}"


def plural(number: int, noun: str) -> str:
    """Return number and noun, ``1 seed``, ``5 seeds``."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def seconds(duration: float | None) -> str:
    """Return seconds with two digits that count, ``9.2``, ``140``."""
    if duration is None or not math.isfinite(duration):
        return "?"
    if duration <= 0:
        return "0"
    digits = 1 - math.floor(math.log10(duration))
    return f"{round(duration, digits):,.{max(0, digits)}f}"


def duration(of_seconds: float) -> str:
    """Return how long something will take, in minutes or hours: ``3 minutes``, ``2.5 hours``."""
    minutes = max(1, round(of_seconds / 60))
    return plural(minutes, "minute") if minutes < 100 else f"{minutes / 60:.1f} hours"


def points(metric: Metric, value: float, half_width: float | None = None, *, unit: bool = True) -> str:
    """Return a signed difference in the reader's unit."""
    text = metric.text(value, half_width=half_width, unit=unit)
    number = text.split(" ")[0]
    if float(number) == 0:
        text = text.replace(number, number.lstrip("+-"), 1)
    return text.replace("-", _MINUS, 1)


def effect(metric: Metric, difference: Difference, *, unit: bool = True) -> str:
    """Return the estimate of a difference, with the digits that its interval supports."""
    return points(metric, difference.estimate, difference.half_width, unit=unit)


def interval(metric: Metric, difference: Difference) -> str:
    """Return the ends of the 95 % interval, ``−0.11 to +0.93``, or a dash where there is none."""
    if difference.low is None or difference.high is None:
        return "–"
    half = difference.half_width
    return f"{points(metric, difference.low, half, unit=False)} to {points(metric, difference.high, half, unit=False)}"


def score(
    metric: Metric, value: float | None, *, n_examples: int | None = None, half_width: float | None = None
) -> str:
    """Return a score in the reader's scale, with the digits that its number of examples supports."""
    if value is None or not math.isfinite(value):
        return "–"
    return _number(metric.scale * value, _decimals(metric, value, n_examples, half_width))


def spread(metric: Metric, of: Spread | None) -> str:
    """Return ``88.53 ± 0.21``, mean and standard deviation; a single run has no deviation."""
    if of is None:
        return "–"
    if of.sd is None:
        return f"{metric.alone(of.mean, metric.most_decimals - 1).replace('-', _MINUS)}{_SINGLE}"
    decimals = _decimals(metric, of.mean, None, of.sd)
    return f"{_number(metric.scale * of.mean, decimals)} ± {metric.scale * of.sd:.{decimals}f}"


def secondary(name: str, of: Spread) -> str:
    """Return a further score: an accuracy in percent, an error in the target's own unit with three digits."""
    if name in METRICS:
        return with_unit(spread(METRICS[name], of), METRICS[name])
    if of.sd is None:
        return f"{of.mean:.3g}{_SINGLE}"
    size = max(abs(of.mean), of.sd)
    decimals = max(0, 2 - math.floor(math.log10(size))) if size > 0 and math.isfinite(size) else 2
    return f"{of.mean:,.{decimals}f} ± {of.sd:,.{decimals}f}"


def with_unit(text: str, metric: Metric) -> str:
    """Return a score with its unit, ``88.5 %`` or ``88.5 % (1 run)``; R² has none."""
    number, single, _ = text.partition(_SINGLE)
    return f"{number} {metric.score_unit}".rstrip() + single


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace("-", _MINUS)


def _decimals(metric: Metric, value: float, n_examples: int | None, half_width: float | None) -> int:
    half = half_width
    if half is None and n_examples and metric.is_bounded:
        share = min(max(value, 0.5 / n_examples), 1 - 0.5 / n_examples)
        half = _TWO_SIDED * math.sqrt(share * (1 - share) / n_examples)
    shown = abs(metric.scale * half) if half else metric.finest
    if not (shown > 0 and math.isfinite(shown)):
        return 1
    return min(metric.decimals(metric.most_decimals), max(0, 1 - math.floor(math.log10(shown))))


def level(factor: str, value: str) -> str:
    """Return a level as it stands at the beginning of a sentence: ``Depth 2``, ``Batch normalization``."""
    text = inside(factor, value)
    return text if factor == CONFIGURATION else capital(text)


def inside(factor: str, value: str) -> str:
    """Return a level as it stands inside a sentence, as the user spells it: ``depth 2``, ``batch normalization``."""
    dimension = DIMENSIONS.get(factor)
    if dimension is not None and dimension.off_words:
        return dimension.said(dimension.from_text(value, factor))
    return in_markdown(at_level(factor.replace("_", " "), value), None)


def at_level(factor: str, value: str) -> str:
    """Return a level by factor and value, ``depth 2``; a configuration that the user chose by its name."""
    return value if factor == CONFIGURATION else f"{factor} {value}"


def capital(text: str) -> str:
    """Return a text as it begins a sentence; what else a user wrote stays as it is."""
    return text[:1].upper() + text[1:]


def verdict(factor: str, word: str) -> str:
    """Return a verdict's word as it is said of a level, or of a configuration that the user chose."""
    return {"helps": "better", "hurts": "worse"}.get(word, word) if factor == CONFIGURATION else word


def p_value(p: float | None) -> str:
    """Return p with two digits that count."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.01 else f"{p:.2f}"


def share(value: float | None) -> str:
    """Return a probability with two decimals."""
    return "–" if value is None else f"{abs(value):.2f}"


def configuration(config: TrialConfig, *, without: str = "") -> str:
    """Return a configuration on one line of markdown: ``2 × 128 relu, adam, learning rate 0.0012, batch size 64``.

    Parameters
    ----------
    without
        A dimension that the reader knows already.
    """
    units = config.model.units
    layers = "no hidden layer" if config.model.own is None else config.model.name
    if units and config.model.own is None:
        layers = f"{len(units)} × {units[0]}" if len(set(units)) == 1 else "-".join(map(str, units))
        layers += "" if without == "activation" else f" {config.model.activation}"
    rest = {
        name: value for name, value in config.values().items() if name not in ("depth", "units", "activation", without)
    }
    if config.model.own is not None and units:
        layers += f" {len(units)} × {units[0]} {config.model.activation}"
    return in_markdown(
        ", ".join([layers, *(DIMENSIONS[name].said(value, 2) for name, value in rest.items() if value)]), None
    )


def short_configuration(config: TrialConfig) -> str:
    """Return what tells finalists apart at a glance: ``depth 2, relu, adam``."""
    words = [config.model.label, *([config.model.activation] if config.model.activation else [])]
    return ", ".join([*words, config.optimizer.name])


def enumeration(words: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def paragraph(text: str) -> str:
    """Return text wrapped, so that it can be read where nothing renders it."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def prose(text: str) -> str:
    """Return wrapped text, each of its paragraphs for itself."""
    return "\n\n".join(paragraph(part) for part in text.split("\n\n") if part.strip())


def bullets(items: Iterable[str]) -> str:
    """Return a list, wrapped with hanging lines."""
    return "\n".join("- " + paragraph(item).replace("\n", "\n  ") for item in items)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Return a markdown table whose columns are aligned in plain text too.

    Parameters
    ----------
    right
        Positions of the columns of numbers, aligned to the right.
    """
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[at]) for row in cells)) for at in range(len(header))]
    rule = ["-" * (width - 1) + ":" if at in right else "-" * width for at, width in enumerate(widths)]
    lines = []
    for row in (cells[0], rule, *cells[1:]):
        padded = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines)
