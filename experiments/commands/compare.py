"""``compare``: chosen configurations on fresh paired seeds, without a search."""

from __future__ import annotations

import argparse

from rich.console import Console

from experiments.command_line import Given
from experiments.commands.training import add_training_arguments, check_scheduler, counts, train
from experiments.tracking import tracking_uri

HELP = "train chosen configurations on fresh paired seeds"
#: Fresh seeds of each configuration, unless the user says otherwise.
_SEEDS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_training_arguments(parser)
    parser.add_argument("--runs", default="", help="run ids of trials or studies, with commas between them")


def main(given: Given, console: Console) -> int:
    """Train the chosen configurations."""
    numbers = counts(given, seeds=0, workers=1, seed=0)
    check_scheduler(given)
    from experiments.duel import duel

    run_ids = [run_id.strip() for run_id in (given["runs"] or "").split(",") if run_id.strip()]
    experiment, chosen, sha256 = duel(
        tracking_uri(), run_ids, seeds=numbers["seeds"] or _SEEDS, seed=numbers["seed"] or 0
    )
    return train(experiment, given, console, workers=numbers["workers"], chosen=chosen, data_sha256=sha256)
