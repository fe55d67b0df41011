"""The commands that begin a study: ``init``, which writes a definition to start from, ``run`` and ``compare``."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthcheck.cli.options import (
    DURATION,
    FAILED,
    STUDY_NAME,
    Definition,
    complain,
    count,
    folder_of,
    new_file,
    option,
    several,
    switch,
    table,
    training,
)
from depthcheck.pipeline.system import INTERRUPTED, cleaning_up

if TYPE_CHECKING:
    from depthcheck.experiments.planning.experiment import Experiment

_GOES_ON = "; the same command goes on where it stopped"


@click.command(epilog="Example: depthcheck run --data table.csv --target price --decide-within 30m")
@option("--experiment", type=Definition(), help="A shipped definition, or a .toml file. [default: the data's own]")
@option("--data", metavar="NAME|PATH|URL", help="Your data. [default: of the definition; fashion-mnist without any]")
@table
@option("--model", metavar="FILE:FUNCTION", help="A model of your own, my_models.py:build.")
@option("--metric", metavar="NAME|FILE:FUNCTION", help="The score that decides, or one of your own with --direction.")
@option("--direction", metavar="maximize|minimize", help="What is better of a metric of your own.")
@option(
    "--trials",
    type=count(),
    help="Trials of the search: baseline, compare and exploit together. [default: of the definition]",
)
@option(
    "--decide-within",
    type=DURATION,
    help="A time like 30m or 2h: go on until every question is decided, or the time is over.",
)
@option("--epochs", type=count(), help="Epochs of each trial. [default: of the definition]")
@several("--widen", metavar="RANGE:up|down,…", help="Ranges to search further: sgd.learning_rate:up,units:down.")
@option("--study", type=STUDY_NAME, help="A name of your own for the study.")
@switch("--dry-run", help="Say what a new study would train, and how long; write nothing.")
@option("--seeds", type=count(0), help="Fresh seeds for each finalist; 0 for none. [default: of the definition]")
@option("--seed", type=count(0), help="What all seeds are derived from. [default: of the definition]")
@training
def run(
    *,
    experiment: str | None,
    data: str | None,
    target: str | None,
    sheet: str | None,
    query: str | None,
    weight: str | None,
    rows: int | None,
    model: str | None,
    metric: str | None,
    direction: str | None,
    trials: int | None,
    epochs: int | None,
    widen: str | None,
    dry_run: bool,
    seeds: int | None,
    seed: int | None,
    **session: Any,
) -> int:
    """Run a study, or go on with it, and write its report."""
    from depthcheck import api
    from depthcheck.experiments.cluster.warm_up import warmed_up_for
    from depthcheck.pipeline.config import DataConfig

    said: dict[str, Any] = {"target": target, "sheet": sheet, "query": query, "weight": weight}
    named = None if data is None else DataConfig(name=data, **said)
    with warmed_up_for(session["scheduler"], session["workers"]):
        asked = api.read_experiment(experiment, data=named, model=model, metric=metric, direction=direction, **said)
        asked = asked.with_overrides(trials=trials, epochs=epochs, seeds=seeds, seed=seed, rows=rows).widened_as(widen)
        if dry_run:
            from depthcheck.experiments.tracking import launch_directory

            folder = folder_of(session["data_folder"], launch_directory())
            api.dry_run(asked, api.console(progress=True), data_folder=folder, workers=session["workers"])
            return 0
        return _trained(asked, session)


@click.command(epilog="Example: depthcheck compare --runs 1f0c…,9ab3… --seeds 20")
@several("--runs", metavar="ID,ID,…", help="Run ids of trials or studies; the others are held against the first.")
@option("--seeds", type=count(), default="10", show_default=True, help="Fresh seeds of each configuration.")
@option("--seed", type=count(0), default="0", show_default=True, help="What all seeds are derived from.")
@training
def compare(*, runs: str | None, seeds: int, seed: int, **session: Any) -> int:
    """Train chosen configurations on fresh paired seeds."""
    from depthcheck.experiments.cluster.warm_up import warmed_up_for

    run_ids = [run_id.strip() for run_id in (runs or "").split(",") if run_id.strip()]
    with warmed_up_for(session["scheduler"], session["workers"]):
        from depthcheck.experiments.planning.finalists import pairwise
        from depthcheck.experiments.tracking import tracking_uri

        experiment, chosen, sha256 = pairwise(tracking_uri(), run_ids, seeds=seeds, seed=seed)
        return _trained(experiment, {**session, "chosen": chosen, "runs": ",".join(run_ids), "data_sha256": sha256})


def _trained(experiment: Experiment, asked: dict[str, Any]) -> int:
    """Run a session as it is asked for, and have its report written; return the exit code."""
    from depthcheck import api
    from depthcheck.experiments.tracking import launch_directory, launcher
    from depthcheck.pipeline.verbatim import command

    asked["data_folder"] = folder_of(asked["data_folder"], launch_directory())
    try:
        ending = api.train(experiment, api.console(progress=True), meanwhile=_import_report, **asked)
    except KeyboardInterrupt:
        cleaning_up()
        print(f"interrupted{_GOES_ON}", file=sys.stderr)
        return INTERRUPTED
    except RuntimeError as error:  # storage in trouble, or all trials failing alike
        complain(error, then="" if getattr(error, "lasts", False) else _GOES_ON)
        return FAILED
    try:
        from depthcheck.cli.study_commands import write_and_say

        write_and_say(run=ending.parent_run_id)
    except BrokenPipeError:  # it was, and nobody reads where
        raise
    except Exception as error:  # noqa: BLE001  # what was trained is safe by now, whatever becomes of the report
        if isinstance(error, (ValueError, RuntimeError, OSError)):
            complain(error)
        else:
            traceback.print_exc()
        again = command(launcher(), "report", run=ending.parent_run_id)
        print(f"the report was not written; try again: {again}", file=sys.stderr)
        return FAILED
    return 0


def _import_report() -> None:
    """Import what the report takes; where that fails, whoever writes it meets the error again, and says so."""
    with contextlib.suppress(Exception):
        import_module("depthcheck.reports.write")


@click.command(epilog="Example: depthcheck init --data table.csv --target price")
@option("--data", metavar="NAME|PATH|URL", help="A name, the path of a file or folder, or an address.")
@table
@option("--output", metavar="FILE", help="The .toml file to write. [default: <data>.toml]")
@option("--data-folder", metavar="FOLDER", help="Folder to look for the data set's files in.")
def init(data: str | None, output: str | None, data_folder: str | None, **said: Any) -> int:
    """Write a commented definition to start from, for your own data."""
    if data is None:
        raise ValueError("data must be a name or the path of a file, got nothing")
    from depthcheck.experiments import places
    from depthcheck.experiments.planning.definition import found_from, slug, starter_toml
    from depthcheck.experiments.tracking import launch_directory, launcher
    from depthcheck.pipeline.config import DataConfig
    from depthcheck.pipeline.data.load import load
    from depthcheck.pipeline.data.profile import profile_lines
    from depthcheck.pipeline.verbatim import command

    base = launch_directory()
    config = found_from(DataConfig(name=data, **said), base)
    # A definition that somebody has worked on is not replaced.
    written = new_file(output or f"{slug(Path(config.name).stem)}.toml", base, (".toml",))
    dataset = load(config, folder=folder_of(data_folder, base), cache=places.data_cache(), log=print)
    runs_it = command(launcher(), "run", experiment=os.path.relpath(written, base))
    is_path = Path(config.name).is_absolute()
    path = os.path.relpath(config.name, written.parent) if is_path else config.name
    text = starter_toml(dataset, config, path=path, command=runs_it)
    with written.open("x", encoding="utf-8") as file:
        file.write(text)
    print("\n".join(profile_lines(dataset)))
    print(f"\n  definition    {written}\n  next          look through it, then: {runs_it}")
    return 0
