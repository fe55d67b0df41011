"""``run``: a study from its definition, or going on with it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from experiments.command_line import Given, study_name
from experiments.commands.training import add_training_arguments, check_scheduler, counts, seconds_of, train
from experiments.tracking import launch_directory
from pipeline.config import DataConfig

if TYPE_CHECKING:
    from experiments.experiment import Experiment

HELP = "run a study, or go on with it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_training_arguments(parser)
    parser.add_argument("--experiment", default="", help="name of a shipped definition, or a .toml file")
    parser.add_argument("--data", default="", help="your data: a name, or the path of a file or folder")
    parser.add_argument("--target", default="", help="column of a table that is to be predicted")
    parser.add_argument("--trials", default="", help="trials of all phases together")
    parser.add_argument("--epochs", default="", help="epochs of each trial")
    parser.add_argument("--decide-within", default="", help="go on until every question is decided, for 30m at most")
    parser.add_argument("--widen", default="", help="ranges to search further: sgd.learning_rate:up,units:down")
    parser.add_argument("--study", default="", help="a name of your own for the study")


def main(given: Given, console: Console) -> int:
    """Run the study."""
    numbers = counts(given, trials=1, epochs=1, seeds=0, workers=1, seed=0)
    workers = numbers.pop("workers")
    check_scheduler(given)
    study_name(given["study"])
    within = None if given["decide_within"] is None else seconds_of(given["decide_within"])
    experiment = _widened(asked_experiment(given).with_overrides(**numbers), given["widen"], console)
    return train(experiment, given, console, workers=workers, decide_within=within)


def _widened(experiment: Experiment, asked: str | None, console: Console) -> Experiment:
    """Return the experiment with the ranges widened that the user names, and say so."""
    from experiments.widen import parse_widenings

    for name, side in parse_widenings(asked) if asked else ():
        experiment = experiment.widened(name, side)
    if asked:
        said = ", ".join(experiment.widenings)
        console.print(f"ranges widened ({said}): another definition, hence another study with another name")
    return experiment


def asked_experiment(given: Given) -> Experiment:
    """Return the experiment that the options name, on the data that they name.

    Without an experiment, known data get their own shipped definition, and a user's data the one for any data.
    """
    from experiments import definition

    data, target, base = given["data"], given["target"], launch_directory()
    own = {"fashion-mnist": "fashion_mnist", "digits": "digits"}
    named = given["experiment"] or own.get(data or "fashion-mnist", "any")
    path = definition.find(named, base)
    if data is not None and named != own.get(data):
        asked = definition.found_from(DataConfig(name=data, target=target), base)
        return definition.read(path, data=asked)
    experiment = definition.read(path)
    return experiment if target is None else replace(experiment, data=replace(experiment.data, target=target))
