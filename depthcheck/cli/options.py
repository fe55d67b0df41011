"""What the commands share: options, one-line complaints, and exit codes.

Nothing heavy is imported here: a typing error should be answered at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from depthcheck.experiments.addresses import (
    STORAGE_VARIABLE,
    given_addresses,
    may_be_shown,
    server_address,
    study_name,
    whole,
)
from depthcheck.pipeline.system import reading, user_path
from depthcheck.pipeline.verbatim import one_line

#: What says nothing: a script's empty variable, and the word for: as the definition, or the machine, has it.
_NOT_GIVEN = ("", "auto")
BAD_INPUT, FAILED = 2, 1
_Command = TypeVar("_Command", bound=Callable[..., Any])


class Option(click.Option):
    """An option that counts as not given where its value says nothing."""

    says_nothing: tuple[str, ...] = _NOT_GIVEN

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        """Leave out what says nothing, so that the default counts."""
        given = {name: value for name, value in opts.items() if name != self.name or value not in self.says_nothing}
        return super().consume_value(ctx, given)


class NameOption(Option):
    """An option for a name of the user's own, who may call a column or a sheet ``auto``."""

    says_nothing = ("",)


class OptionType(click.ParamType[Any]):
    """A value that a function understands: it takes what is given and what a complaint calls it."""

    def __init__(self, name: str, understood: Callable[[Any, str], Any]) -> None:
        self.name, self._understood = name, understood

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as it is meant."""
        return self._understood(value, "value" if param is None or param.name is None else param.name)


def count(lowest: int = 1) -> OptionType:
    """Return the type of a whole number of at least ``lowest``; it complains as the definition's own checks do."""

    def understood(value: Any, what: str) -> int:
        number: int | str = str(value)
        with contextlib.suppress(ValueError):
            number = int(number) if int(number) >= lowest else number
        return whole(number, what, lowest)

    return OptionType("number", understood)


def _seconds(value: Any, what: str) -> float:
    """Return the seconds of a time like ``90s``, ``30m``, ``2h`` or ``1h30m``."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", str(value))
    parts = found.groups() if found else ()
    seconds = sum(int(part or 0) * each for part, each in zip(parts, (3600, 60, 1), strict=False))
    if seconds <= 0:
        raise ValueError(f"{what} must be a time like 30m, 90s or 1h30m, got {value!r}")
    return float(seconds)


def _is_on(value: Any, what: str) -> bool:
    if value not in ("true", "false", True, False):
        raise ValueError(f"{what} must be true or false, got {value!r}")
    return value in ("true", True)


DURATION, STUDY_NAME = OptionType("time", _seconds), OptionType("name", study_name)


class Definition(click.ParamType[str]):
    """The name of a shipped definition, or the path of a file; a shell completes the names."""

    name = "name or file"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Return the shipped names that begin like this, and let the shell complete files.

        Files come first: Click's script for bash forgets what it was told before it is told of files.
        """
        from depthcheck.experiments.planning.definition import shipped_names

        names = [name for name in shipped_names() if name.startswith(incomplete)]
        items = [click.shell_completion.CompletionItem(name) for name in names]
        return [click.shell_completion.CompletionItem(incomplete, type="file"), *items]


def option(*names: str, **how: Any) -> Callable[[_Command], _Command]:
    """Return the decorator of an option that may be handed down empty."""
    return click.option(*names, **{"cls": Option, **how})


def several(*names: str, **how: Any) -> Callable[[_Command], _Command]:
    """Return the decorator of an option whose words have commas between them, and which may be given again.

    What was given before counts once: of a report's snippets each repeats how the study was widened.
    """

    def joined(ctx: click.Context, param: click.Parameter, given: Sequence[str]) -> str | None:
        words: list[str] = []
        for text in given:
            before = list(words)
            for word in text.split(","):
                if word in before:
                    before.remove(word)
                elif word not in _NOT_GIVEN:
                    words.append(word)
        return ",".join(words) or None

    return option(*names, multiple=True, callback=joined, **how)


def switch(*names: str, help: str) -> Callable[[_Command], _Command]:  # click's own word
    """Return the decorator of a flag, which may also be given as ``--flag true``."""
    return option(
        *names, type=OptionType("true|false", _is_on), is_flag=False, flag_value="true", default="false", help=help
    )


def options(*decorators: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Return one decorator for several options, which are listed in this order."""

    def decorate(command: _Command) -> _Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


#: A variable keeps the password of an address out of what others see of a process, and MLflow notes of a run.
storage = option(
    "--storage",
    metavar="URL",
    envvar=STORAGE_VARIABLE,
    show_envvar=True,
    help="The Optuna storage. [default: optuna.db beside mlflow.db; with a server, in ~/.local/share/depthcheck]",
)
training = options(
    option("--workers", type=count(), help="Worker processes on this machine. [default: one a core]"),
    option("--scheduler", type=OptionType("address", server_address), help="Your own Dask cluster, tls://host:8786."),
    storage,
    option("--data-folder", metavar="FOLDER", help="Folder to look for the data set's files in."),
)
sheet = option("--sheet", cls=NameOption, metavar="NAME", help="Sheet of a spreadsheet. [default: the first]")
query = option("--query", metavar="TABLE|SELECT", help="What a database is asked for.")
table = options(
    option("--target", cls=NameOption, metavar="COLUMN", help="Column of a table that is to be predicted."),
    sheet,
    query,
    option("--weight", cls=NameOption, metavar="COLUMN", help="Column of a table that tells how much each row weighs."),
    option("--rows", type=count(2), help="Draw a sample of so many rows, and read no others."),
)
asked_model = options(
    option("--study", type=STUDY_NAME, help="Name of the study. [default: the latest with a champion]"),
    option("--model", metavar="ADDRESS", help="Another model, models:/<name>/<version>."),
    switch("--trust", help="Run a model that has no hashes to be checked against: it is a program from elsewhere."),
)


def folder_of(asked: str | None, base: Path) -> Path | None:
    """Return the folder that ``--data-folder`` names, relative to where the user typed."""
    return None if asked is None else base / user_path(asked, "data_folder")


def new_file(asked: str | None, base: Path, suffixes: Sequence[str]) -> Path:
    """Return the path of a file to write, relative to ``base``, or complain that it is there or cannot be written."""
    kinds = f"a {' or '.join(suffixes)} file"
    if asked is None:
        raise ValueError(f"output must be {kinds}, got nothing")
    path = base / user_path(asked, "output")
    if path.suffix not in suffixes:
        raise ValueError(f"output must be {kinds}, got {asked!r}")
    if not os.access(path.parent, os.W_OK | os.X_OK) or not path.parent.is_dir():
        raise ValueError(f"output must be in a folder that can be written to, got {path.parent}")
    with reading(path, "output"):  # a name may be too long
        is_there = path.exists() or path.is_symlink()
    if is_there:
        raise ValueError(f"output must be a new file, got {path}, which is there already")
    return path


def complain(about: object, then: str = "") -> None:
    """Print the line of what is wrong and what comes then; of a full disk also where it is, which databases do not.

    SQLite has two names for a full disk: where it has no room for its log's index it is an error of input and output.
    """
    text = "\n".join(map(one_line, may_be_shown(about).split("\n")))
    if re.search(r"disk is full|disk I/O error|No space left on device(?!: ')|[Qq]uota exceeded(?!: ')", text):
        from depthcheck.experiments.places import least_room

        text += f" ({least_room(given_addresses())})"
    print(f"error: {text}{then}", file=sys.stderr)


def failure_code(error: RuntimeError) -> int:
    """Return the exit code of a command that has not trained: 2 for a store that no later attempt will find usable."""
    return BAD_INPUT if getattr(error, "lasts", False) else FAILED
