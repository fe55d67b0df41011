"""``predict``: the champion's answers for the rows of a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.command_line import Given, add_model, flag, new_file, study_name
from experiments.tracking import launch_directory, tracking_uri
from pipeline.paths import user_path

HELP = "let a champion predict the rows of a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--input", default="", help="file with the original columns, or an .npz with X")
    parser.add_argument("--output", default="", help="the .csv or .parquet file to write")
    add_model(parser)


def main(given: Given, console: Console) -> int:
    """Read the rows, predict, and write the answers beside them."""
    base = launch_directory()
    source = _input(given["input"], base)
    output = new_file(given["output"], base, (".csv", ".parquet"))  # another model's answers are not replaced unseen
    study_name(given["study"])
    trust = flag("trust", given["trust"])
    from experiments import tracking
    from pipeline.load import read_samples

    uri = tracking_uri()
    address = given["model"] or tracking.champion_address(uri, given["study"])
    samples = read_samples(source)
    answers = tracking.predict(uri, address, samples, trust=trust)
    _write(output, samples, answers)
    console.print(f"{len(answers):,} rows predicted by {address}\n  answers       {output}", markup=False)
    return 0


def _input(asked: str | None, base: Path) -> Path:
    if asked is None:
        raise ValueError("input must be a file, got nothing")
    path = base / user_path(asked, "input")
    if not path.is_file():
        raise ValueError(f"input must be a file, got {asked!r}: there is no {path}")
    return path


def _write(output: Path, samples: Any, answers: Any) -> None:
    """Write the answers beside the columns that they answer; pixels are not repeated."""
    import pandas as pd

    table = answers
    if isinstance(samples, pd.DataFrame):
        table = pd.concat([samples.reset_index(drop=True), answers], axis=1)
    table.columns = _unique([str(name) for name in table.columns])
    if output.suffix == ".csv":
        table.to_csv(output, index=False)
    else:
        table.to_parquet(output, index=False)


def _unique(names: list[str]) -> list[str]:
    """Return names that a file can hold: an input may have a column called ``prediction`` already."""
    unique: list[str] = []
    for name in names:
        number, free = 1, name
        while free in unique:
            free, number = f"{name}.{number}", number + 1
        unique.append(free)
    return unique
