"""``init``: a commented definition to start from, for a user's own data."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console

from experiments.command_line import Given, new_file
from experiments.tracking import launch_directory
from pipeline.config import DataConfig
from pipeline.paths import user_path

HELP = "write a definition to start from, for your own data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--data", default="", help="a name, or the path of a file or folder")
    parser.add_argument("--target", default="", help="column of a table that is to be predicted")
    parser.add_argument("--output", default="", help="the .toml file to write; <data>.toml otherwise")
    parser.add_argument("--data-folder", default="", help="folder to look for the data set's files in")


def main(given: Given, console: Console) -> int:
    """Look at the data, say what was understood, and write the definition."""
    if given["data"] is None:
        raise ValueError("data must be a name or the path of a file, got nothing")
    base = launch_directory()
    from experiments import places
    from experiments.definition import found_from, slug
    from experiments.starter import starter_toml
    from pipeline.load import load
    from pipeline.profile import profile_lines

    config = found_from(DataConfig(name=given["data"], target=given["target"]), base)
    # A definition that somebody has worked on is not replaced.
    output = new_file(given["output"] or f"{slug(Path(config.name).stem)}.toml", base, (".toml",))
    folder = base / user_path(given["data_folder"], "data_folder") if given["data_folder"] else None
    dataset = load(config, folder=folder, cache=places.data_cache(), log=console.print)
    command = f"mlflow run . -P experiment={os.path.relpath(output, base)}"
    is_path = Path(config.name).is_absolute()
    path = os.path.relpath(config.name, output.parent) if is_path else config.name
    text = starter_toml(dataset, config, path=path, command=command)
    with output.open("x", encoding="utf-8") as file:
        file.write(text)
    console.print("\n".join(profile_lines(dataset)), markup=False)
    console.print(f"\n  definition    {output}\n  next          look through it, then: {command}", markup=False)
    return 0
