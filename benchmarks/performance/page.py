"""``docs/performance.md`` and its figures, of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import jinja2
import matplotlib as mpl

from benchmarks.fit import FLOATS, JAX, OURS, PEERS, PRODUCTS, ratios, spread, table
from benchmarks.performance.studies import PARTS

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter

mpl.rcParams.update(
    {"svg.hashsalt": "performance", "axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
)
_KINDS = {"peers": "one epoch", "corner": "against JAX", "study": "whole studies", "growth": "growth"}
#: Rounds differ by more than this: what is within is level.
LEVEL = 1.05


def write(results: Mapping[str, Any], docs: Path) -> Path:
    """Write the page and its figures into a folder; what was not measured yet is said not to be there."""
    found = {
        kind: {name.split(": ", 1)[1]: one for name, one in results.items() if name.startswith(f"{kind}: ")}
        for kind in ("peers", "corner", "study", "growth", "versions")
    }
    images = docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    networks = {name: one["measured"] for name, one in found["peers"].items()}
    corners = {name: one["measured"] for name, one in found["corner"].items() if JAX in one["measured"]}
    if networks:
        _draw_epochs(networks, images / "performance-epochs.svg")
    if corners:
        _draw_corners(corners, images / "performance-jax.svg")
    shares = {name: one["ours"][0]["parts"] for name, one in found["study"].items()}
    if shares:
        _draw_parts(shares, images / "performance-parts.svg")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    file = docs / "performance.md"
    text = environment.get_template("page.md.j2").render(
        machine=results.get("machine", {}),
        loads={_KINDS[kind]: load for kind, load in results.get("loads", {}).items() if kind in _KINDS},
        versions=found["versions"],
        left_out={name: why for one in found["peers"].values() for name, why in one["left_out"].items()},
        networks={name: table(measured) for name, measured in networks.items()},
        corners=[_corner(name, measured) for name, measured in corners.items()],
        slower=[name for name, measured in corners.items() if median(ratios(measured, OURS, JAX)) > LEVEL],
        level=f"{100 * (LEVEL - 1):.0f} %",
        jax={
            ours: spread([median(ratios(measured, ours, JAX)) for measured in corners.values()])
            for ours in (OURS, FLOATS)
            if corners
        },
        studies={name: _study_rows(one) for name, one in found["study"].items()},
        n_trials={name: len(one["trials"]) for name, one in found["study"].items()},
        parts=PARTS,
        shares=shares,
        growth={name: _growth_row(one) for name, one in found["growth"].items()},
        runs={name: len(one["ours"]) for name, one in found["study"].items()},
    )
    file.write_text(text, encoding="utf-8")
    return file


def _corner(name: str, measured: Any) -> str:
    times = ((OURS, JAX), (FLOATS, JAX), (OURS, PRODUCTS))
    cells = [spread(ratios(measured, ours, to)) if to in measured else "–" for ours, to in times]
    return f"| {name} | {' | '.join(cells)} |"


def _study_rows(one: Mapping[str, Any]) -> list[str]:
    """Return a row for ours and for each peer: seconds, how many times ours, the same in CPU-seconds, agreement."""
    runs = one["ours"]
    accuracies = runs[0]["accuracies"]
    seconds, cpu_seconds = spread([run["seconds"] for run in runs], 0), median(run["cpu"] for run in runs)
    rows = [f"| Depthcheck | {seconds} | 1 | {cpu_seconds:.0f} | 1 | {mean(accuracies):.3f} | – |"]
    for name, took in one["peers"].items():
        if "left_out" in took:
            rows.append(f"| {name} | not tried: {took['left_out']} | | | | | |")
            continue
        times, cpu = ([took[key] / run[key] for run in runs] for key in ("seconds", "cpu"))
        apart = [abs(a - b) for a, b in zip(took["accuracies"], accuracies, strict=True)]
        rows.append(
            f"| {name} | {took['seconds']:.0f} | {spread(times, 1)} | {took['cpu']:.0f} | {spread(cpu, 1)} | "
            f"{mean(took['accuracies']):.3f} | {median(apart):.3f} |"
        )
    return rows


def _growth_row(run: Mapping[str, Any]) -> str:
    training = run["parts"][PARTS[1]] + run["parts"][PARTS[2]]
    cells = [run["seconds"], run["cpu"], run["largest_mib"]]
    return " | ".join(f"{value:,.0f}" for value in cells) + f" | {100 * training:.0f} % |"


def _draw_epochs(networks: Mapping[str, Any], file: Path) -> None:
    names = [name for name in PEERS if any(name in measured for measured in networks.values())]
    names = [name for name in names if name not in (OURS, FLOATS)]
    figure, axes = plt.subplots(figsize=(7, 0.4 * len(names) + 1.2), layout="constrained")
    for network, measured in networks.items():
        known = [name for name in names if name in measured]
        axes.plot(
            [median(ratios(measured, name)) for name in known],
            [names.index(name) for name in known],
            "o",
            label=network,
        )
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set(
        xscale="log", yticks=range(len(names)), yticklabels=names, xlabel="seconds of an epoch, times as long as ours"
    )
    axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter=NullFormatter())
    axes.invert_yaxis()
    axes.legend(fontsize=7)
    _save(figure, file)


def _draw_corners(corners: Mapping[str, Any], file: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 0.22 * len(corners) + 1.2), layout="constrained")
    for row, measured in enumerate(corners.values()):
        values = ratios(measured, OURS, JAX)
        axes.plot([min(values), max(values)], [row, row], color="C0", linewidth=1)
        axes.plot(median(values), row, "o", color="C0")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set(
        yticks=range(len(corners)),
        yticklabels=list(corners),
        xlabel="ours, times as long as JAX (below 1: ours is faster)",
    )
    axes.invert_yaxis()
    _save(figure, file)


def _draw_parts(shares: Mapping[str, Mapping[str, float]], file: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 0.5 * len(shares) + 2), layout="constrained")
    before: Sequence[float] = [0.0] * len(shares)
    for part in PARTS:
        values = [100 * share[part] for share in shares.values()]
        axes.barh(range(len(shares)), values, left=before, label=part, height=0.6)
        before = [a + b for a, b in zip(before, values, strict=True)]
    axes.set(yticks=range(len(shares)), yticklabels=list(shares), xlabel="% of the workers' seconds", xlim=(0, 100))
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
