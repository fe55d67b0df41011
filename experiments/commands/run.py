"""``run``: a study from its definition, or going on with it."""

from __future__ import annotations

import argparse

from rich.console import Console

from experiments.command_line import Given, study_name
from experiments.commands.training import add_training_arguments, check_scheduler, counts, train
from experiments.tracking import launch_directory

HELP = "run a study, or go on with it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_training_arguments(parser)
    parser.add_argument("--experiment", default="fashion_mnist", help="name of a shipped definition, or a .toml file")
    parser.add_argument("--trials", default="", help="trials of all phases together")
    parser.add_argument("--epochs", default="", help="epochs of each trial")
    parser.add_argument("--study", default="", help="a name of your own for the study")


def main(given: Given, console: Console) -> int:
    """Run the study."""
    from experiments import definition

    numbers = counts(given, trials=1, epochs=1, seeds=0, workers=1, seed=0)
    workers = numbers.pop("workers")
    check_scheduler(given)
    study_name(given["study"])
    path = definition.find(given["experiment"] or "fashion_mnist", launch_directory())
    experiment = definition.read(path).with_overrides(**numbers)
    return train(experiment, given, console, workers=workers)
