"""The commands of ``python -m experiments``, a module each.

ValueError is bad input, RuntimeError trouble. Whatever takes a second to import is imported inside ``main``, after the
cheap checks.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console

from experiments.command_line import Given
from experiments.commands import compare, doctor, init, predict, reproduce, run, serve


class Command(Protocol):
    """What a command's module has: a line of help, its options, and what it does."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Add the options of this command."""

    def main(self, given: Given, console: Console, /) -> int:
        """Do it and return the exit code."""


COMMANDS: Mapping[str, Command] = {
    "run": run,
    "compare": compare,
    "reproduce": reproduce,
    "doctor": doctor,
    "init": init,
    "predict": predict,
    "serve": serve,
}
