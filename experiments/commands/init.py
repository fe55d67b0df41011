"""``init``: a commented definition to start from, for a user's own data."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from rich.console import Console

from experiments.command_line import Given
from experiments.tracking import launch_directory
from pipeline.config import DataConfig

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
    from experiments.definition import found_from
    from experiments.starter import starter_toml
    from pipeline.load import load
    from pipeline.profile import profile_lines

    config = found_from(DataConfig(name=given["data"], target=given["target"]), base)
    output = _output(given["output"], config, base)
    folder = base / Path(given["data_folder"]).expanduser() if given["data_folder"] else None
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


def _output(asked: str | None, config: DataConfig, base: Path) -> Path:
    """Return the file to write, which must be a new one: a definition that somebody has worked on is not replaced."""
    stem = re.sub(r"[^\w.-]+", "_", Path(config.name).stem).strip("._") or "study"
    output = base / Path(asked).expanduser() if asked else base / f"{stem}.toml"
    if output.suffix != ".toml":
        raise ValueError(f"output must be a .toml file, got {output.name!r}")
    if output.exists():
        raise ValueError(f"output must be a new file, got {output}, which is there already")
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise ValueError(f"output must be in a folder that can be written to, got {output.parent}")
    return output
