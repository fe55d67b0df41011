"""The commands that train: ``run`` and ``compare``."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from depthcheck.cli.options import (
    FAILED,
    Count,
    Definition,
    Duration,
    StudyName,
    check_scheduler,
    complain,
    folder_of,
    option,
    training,
)
from depthcheck.experiments.interrupts import INTERRUPTED, cleaning_up

if TYPE_CHECKING:
    from depthcheck.experiments.study.describe import StudyEnding

_GOES_ON = "; the same command goes on where it stopped"
#: Fresh seeds of each configuration that is compared, unless the user says otherwise.
_SEEDS = 10


@click.command(epilog="Example: depthcheck run --data table.csv --target price --decide-within 30m")
@option("--experiment", type=Definition(), help="A shipped definition, or a .toml file. [default: the data's own]")
@option("--data", metavar="NAME|PATH", help="Your data. [default: of the definition; fashion-mnist without any]")
@option("--target", metavar="COLUMN", help="Column of a table that is to be predicted.")
@option("--trials", type=Count(), help="Trials of all phases together. [default: of the definition]")
@option("--decide-within", type=Duration(), help="Go on until every question is decided, for 30m at most.")
@option("--epochs", type=Count(), help="Epochs of each trial. [default: of the definition]")
@option("--widen", metavar="RANGE:up|down,…", help="Ranges to search further: sgd.learning_rate:up,units:down.")
@option("--study", type=StudyName(), help="A name of your own for the study.")
@training
def run(
    *,
    experiment: str | None,
    data: str | None,
    target: str | None,
    trials: int | None,
    decide_within: float | None,
    epochs: int | None,
    widen: str | None,
    study: str | None,
    seeds: int | None,
    seed: int | None,
    workers: int | None,
    scheduler: str | None,
    storage: str | None,
    data_folder: str | None,
) -> int:
    """Run a study, or go on with it, and write its report."""
    check_scheduler(scheduler)
    from depthcheck import api
    from depthcheck.experiments.tracking import launch_directory
    from depthcheck.pipeline.config import DataConfig

    named = None if data is None else DataConfig(name=data, target=target)
    asked = api.read_experiment(experiment, data=named, target=target)
    asked = asked.with_overrides(trials=trials, epochs=epochs, seeds=seeds, seed=seed).widened_as(widen)
    return _trained(
        lambda: api.train(
            asked,
            api.console(progress=True),
            study=study,
            workers=workers,
            scheduler=scheduler,
            storage=storage,
            data_folder=folder_of(data_folder, launch_directory()),
            decide_within=decide_within,
        )
    )


@click.command(epilog="Example: depthcheck compare --runs 1f0c…,9ab3… --seeds 20")
@option("--runs", metavar="ID,ID,…", help="Run ids of trials or studies; the others are held against the first.")
@training
def compare(
    *,
    runs: str | None,
    seeds: int | None,
    seed: int | None,
    workers: int | None,
    scheduler: str | None,
    storage: str | None,
    data_folder: str | None,
) -> int:
    """Train chosen configurations on fresh paired seeds."""
    check_scheduler(scheduler)
    from depthcheck import api
    from depthcheck.experiments.planning.finalists import pairwise
    from depthcheck.experiments.tracking import launch_directory, tracking_uri

    run_ids = [run_id.strip() for run_id in (runs or "").split(",") if run_id.strip()]
    experiment, chosen, sha256 = pairwise(tracking_uri(), run_ids, seeds=seeds or _SEEDS, seed=seed or 0)
    return _trained(
        lambda: api.train(
            experiment,
            api.console(progress=True),
            chosen=chosen,
            data_sha256=sha256,
            workers=workers,
            scheduler=scheduler,
            storage=storage,
            data_folder=folder_of(data_folder, launch_directory()),
        )
    )


def _trained(session: Callable[[], StudyEnding]) -> int:
    """Run a session and have its report written; return the exit code."""
    try:
        ending = session()
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
    except Exception as error:  # noqa: BLE001  # what was trained is safe by now, whatever becomes of the report
        if isinstance(error, (ValueError, RuntimeError, OSError)):
            complain(error)
        else:
            traceback.print_exc()
        print(
            f"the report was not written; try again: python -m depthcheck report --run {ending.parent_run_id}",
            file=sys.stderr,
        )
        return FAILED
    return 0
