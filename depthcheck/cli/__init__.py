"""The command line: ``depthcheck run``, ``depthcheck report`` and so on, or ``python -m depthcheck``.

Bad input ends in one line on standard error and exit code 2; trouble in one line and 1; Ctrl-C in 130. Whatever takes a
second to import is imported inside a command, after the cheap checks.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from depthcheck import __version__
from depthcheck.cli.options import BAD_INPUT, FAILED, complain, failure_code
from depthcheck.cli.study_commands import delete, doctor, list_, predict, report, reproduce, serve, show
from depthcheck.cli.training_commands import compare, init, run
from depthcheck.experiments import scratch
from depthcheck.pipeline.system import INTERRUPTED, cleaning_up, stop_politely


class _Commands(click.Group):
    """The group of all commands, which turns what one raises into a line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which somebody needs them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            scratch.take()
            return super().invoke(ctx)
        except ValueError as error:
            complain(error)
            return BAD_INPUT
        except KeyboardInterrupt:
            cleaning_up()
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        except (click.exceptions.Exit, BrokenPipeError):  # a RuntimeError, how --help ends; and what main knows
            raise
        except RuntimeError as error:
            complain(error)
            return failure_code(error)
        except OSError as error:
            complain(error)
            return FAILED


@click.group(
    cls=_Commands,
    commands=[run, report, reproduce, list_, show, delete, compare, init, predict, serve, doctor],
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        # mlflow run hands on -P decide_within=2h as --decide_within 2h.
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
    epilog="Every command has a --help with an example. Completion of a shell: docs/command-line.md.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """Check by experiment whether another hidden layer or another optimizer helps on your data."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    stop_politely()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter shows its number
            stream.reconfigure(errors="backslashreplace")
    try:
        code = commands.main(arguments, prog_name="depthcheck", standalone_mode=False)
        if sys.stdout is not None:  # which it is where a shell has closed it
            sys.stdout.flush()  # not left to Python's end, where nobody can catch what comes next
    except BrokenPipeError:  # whoever reads, head say, has had enough; where it comes earlier, Click ends as quietly
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except click.UsageError as error:
        where = f"depthcheck {error.ctx.info_name} --help" if error.ctx and error.ctx.parent else "depthcheck --help"
        complain(f"{error.format_message().rstrip('.')} ({where} shows what there is)")
        return BAD_INPUT
    return code if isinstance(code, int) else 0
