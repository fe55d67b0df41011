"""The command line: ``python -m experiments run --experiment fashion_mnist --trials 50``.

MLproject's entry points call it. Bad input ends in one line on standard error and exit code 2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console

from experiments.command_line import (
    BAD_INPUT,
    INTERRUPTED,
    Parser,
    cleaning_up,
    complain,
    failure_code,
    given,
    stop_at_once,
    stop_politely,
)

stop_at_once()  # the next imports take a second

from experiments import scratch  # noqa: E402
from experiments.commands import COMMANDS  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    stop_politely()
    try:
        scratch.take()
        return COMMANDS[options.command].main(given(options), console)
    except ValueError as error:
        complain(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        cleaning_up()
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except RuntimeError as error:
        complain(error)
        return failure_code(error)


def _parser() -> Parser:
    parser = Parser(prog="python -m experiments", description="Does another hidden layer help? Another optimizer?")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.HELP))
    return parser


if __name__ == "__main__":
    code = main()
    if code == INTERRUPTED:
        # All has been cleaned up by now. What libraries do at exit may wait for, or complain about, what was stopped.
        sys.stdout.flush()
        scratch.give_back()
        os._exit(code)
    sys.exit(code)
