"""Whole real studies that differ in their seed alone, and whether they give the same answer.

``python -m benchmarks.studies digits --studies 20`` runs twenty studies of a shipped definition by the command line,
each with another seed, and keeps every contrast's estimate and interval in ``benchmarks/studies/NAME.json``. It prints
how many intervals cover the mean of all estimates, how many pairs have no common point, and how many verdicts
contradict each other. ``--split-seeds`` gives each study another cut of the data, too. What is there is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from depthcheck.experiments import tracking
from depthcheck.experiments.planning.definition import SHIPPED
from depthcheck.reports.compare.comparison import compare_study
from depthcheck.reports.read import read_study

FOLDER = Path(__file__).parent / "studies"
ROOT = Path(__file__).resolve().parent.parent
#: Words that cannot both be true of one contrast.
_OPPOSITE = ({"helps", "hurts"}, {"helps", "practically equal"}, {"hurts", "practically equal"})


def run(definition: Path, folder: Path, options: Sequence[str]) -> None:
    """Run one study in a folder of its own."""
    uri = f"sqlite:///{folder}/mlflow.db"
    command = [sys.executable, "-m", "depthcheck", "run", "--experiment", str(definition), *options]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    (folder / "ended").touch()


def answers_of(folder: Path) -> dict[str, Any]:
    """Return the contrasts of a study that was run there, in the reader's unit."""
    uri = f"sqlite:///{folder}/mlflow.db"
    comparison = compare_study(read_study(uri, tracking.studies(uri)[0]))
    scale = comparison.design.metric.scale
    return {
        "n_settings": comparison.search.n_settings if comparison.search else 0,
        "contrasts": {
            f"{contrast.factor} {contrast.level} - {contrast.reference}": {
                "word": contrast.verdict.word,
                **{
                    name: None if value is None else round(scale * value, 4)
                    for name, value in (
                        ("estimate", contrast.difference.estimate),
                        ("low", contrast.difference.low),
                        ("high", contrast.difference.high),
                    )
                },
            }
            for question in comparison.questions
            for contrast in question.contrasts
            if contrast.difference is not None
        },
    }


def definition_with(name: str, folder: Path, seed: int, split_seed: int | None) -> Path:
    """Write a shipped definition with other seeds."""
    text = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^seed = \d+", f"seed = {seed}", text, count=1)
    if split_seed is not None:
        head, cut, tail = text.partition("[split]") if "[split]" in text else (text, "\n[split]\n", "")
        tail = re.sub(r"(?m)^seed = \d+.*\n?", "", tail, count=1)
        text = f"{head}{cut}\nseed = {split_seed}\n{tail}"
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def table(studies: Iterable[Mapping[str, Any]]) -> str:
    """Return what the studies said of each contrast, and whether they agree."""
    studies = list(studies)
    lines = [
        "| contrast | mean | sd between studies | mean half width | cover the mean | pairs without a common point | "
        "contradictions | verdicts |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for contrast in studies[0]["contrasts"]:
        found = [study["contrasts"][contrast] for study in studies if contrast in study["contrasts"]]
        known = [one for one in found if one["low"] is not None]
        estimates = np.array([one["estimate"] for one in known])
        low, high = (np.array([one[end] for one in known]) for end in ("low", "high"))
        mean = estimates.mean()
        pairs = list(itertools.combinations(range(len(known)), 2))
        apart = sum(bool(low[a] > high[b] or low[b] > high[a]) for a, b in pairs)
        words = [one["word"] for one in found]
        against = sum({a, b} in _OPPOSITE for a, b in itertools.combinations(words, 2))
        said = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        lines.append(
            f"| {contrast} | {mean:+.2f} | {estimates.std(ddof=1):.2f} | {(high - low).mean() / 2:.2f} | "
            f"{int(((low <= mean) & (mean <= high)).sum())} of {len(known)} | {apart} of {len(pairs)} | "
            f"{against} of {len(pairs)} | {said} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a shipped definition")
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--split-seeds", action="store_true", help="another cut of the data for each study, too")
    parser.add_argument("--label", default="", help="name of the file; by default that of the definition")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/output/studies"), help="where studies are kept")
    given, options = parser.parse_known_args()  # what is left are options of the run: --epochs 5 --trials 49
    path = FOLDER / f"{given.label or given.name}.json"
    FOLDER.mkdir(exist_ok=True)
    done: dict[str, Any] = {}
    for seed in range(given.first_seed, given.first_seed + given.studies):
        folder = given.work.resolve() / (given.label or given.name) / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        if not (folder / "ended").exists():
            definition = definition_with(given.name, folder, seed, seed if given.split_seeds else None)
            run(definition, folder, ["--seeds", "0", *options])
        done[str(seed)] = answers_of(folder)
        path.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    print(table(done.values()))


if __name__ == "__main__":
    main()
