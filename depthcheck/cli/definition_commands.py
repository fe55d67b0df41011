"""The command about definitions: ``init``, which writes one to start from."""

from __future__ import annotations

import os
from pathlib import Path

import click

from depthcheck.cli.options import folder_of, new_file, option


@click.command(epilog="Example: depthcheck init --data table.csv --target price")
@option("--data", metavar="NAME|PATH", help="A name, or the path of a file or folder.")
@option("--target", metavar="COLUMN", help="Column of a table that is to be predicted.")
@option("--output", metavar="FILE", help="The .toml file to write. [default: <data>.toml]")
@option("--data-folder", metavar="FOLDER", help="Folder to look for the data set's files in.")
def init(data: str | None, target: str | None, output: str | None, data_folder: str | None) -> int:
    """Write a commented definition to start from, for your own data."""
    if data is None:
        raise ValueError("data must be a name or the path of a file, got nothing")
    from depthcheck.experiments import places
    from depthcheck.experiments.planning.definition import found_from, slug, starter_toml
    from depthcheck.experiments.tracking import launch_directory
    from depthcheck.pipeline.config import DataConfig
    from depthcheck.pipeline.data.load import load
    from depthcheck.pipeline.data.profile import profile_lines

    base = launch_directory()
    config = found_from(DataConfig(name=data, target=target), base)
    # A definition that somebody has worked on is not replaced.
    written = new_file(output or f"{slug(Path(config.name).stem)}.toml", base, (".toml",))
    dataset = load(config, folder=folder_of(data_folder, base), cache=places.data_cache(), log=print)
    command = f"mlflow run . -P experiment={os.path.relpath(written, base)}"
    is_path = Path(config.name).is_absolute()
    path = os.path.relpath(config.name, written.parent) if is_path else config.name
    text = starter_toml(dataset, config, path=path, command=command)
    with written.open("x", encoding="utf-8") as file:
        file.write(text)
    print("\n".join(profile_lines(dataset)))
    print(f"\n  definition    {written}\n  next          look through it, then: {command}")
    return 0
