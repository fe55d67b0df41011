"""What is shown word for word: a user's own texts (names of files, columns and classes, cells), and what to type.

Nothing in a user's text is a command to the log, figure or markdown that shows it: no markup, no line break, no mark
that turns the direction of writing. What a user is told to type has the form that their way in takes: ``mlflow run``,
the command line, or Python.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from typing import Literal

#: What a study, or a process, was started by.
Launcher = Literal["mlflow run", "depthcheck", "python"]
#: Control characters, marks of direction and the like, ends of lines and paragraphs, halves of a character.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: What joins letters in Persian and in emoji, or keeps them apart.
_JOINERS = frozenset("\u200c\u200d")
#: What markdown, and pages that show formulas between dollars, take for a mark: anywhere, at the edge of a word, or as
#: a word (a list, a heading) where a wrapped line begins with it.
_MARKS = re.compile(r"[\\`*\[\]<>$~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|(?<!\S)[#+\-=](?=[#+\-=]*(?:\s|$))")
_NUMBERED = re.compile(r"(?<!\S)(\d{1,9})([.)])(?=\s|$)")
#: A name of a column or class is cut there.
LONGEST_NAME = 60


def one_line(text: str, most: int | None = None) -> str:
    """Return a text on one line, its unseen characters as Python writes them, cut behind ``most`` characters."""
    if not text.isprintable():
        text = "".join(
            repr(letter)[1:-1] if unicodedata.category(letter) in _UNSEEN and letter not in _JOINERS else letter
            for letter in text
        )
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def in_markdown(text: str, most: int | None = LONGEST_NAME) -> str:
    """Return a text for a place in markdown: it looks there as it is written. A table itself escapes ``|``."""
    return _NUMBERED.sub(r"\1\\\2", _MARKS.sub(r"\\\g<0>", one_line(text, most)))


def in_code(text: str) -> str:
    """Return a text as code inside markdown, whatever backticks it has."""
    flat = one_line(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    padding = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{padding}{flat}{padding}{fence}"


def option(launcher: Launcher, name: str, value: int | str) -> str:
    """Return a parameter as it is given: ``-P trials=160``, ``--trials 160`` or, in Python, ``trials=160``."""
    if launcher == "python":
        return f"{name}={value!r}"
    text = str(value).lower() if isinstance(value, bool) else shlex.quote(str(value))
    if launcher == "mlflow run":
        return f"-P {name}={text}"
    flag = f"--{name.replace('_', '-')}"
    return flag if value is True else f"{flag} {text}"


def command(launcher: Launcher, name: str, **options: int | str | None) -> str:
    """Return a line for a shell, ``depthcheck doctor --fix``; it does as well for what was begun in Python.

    Options that are None or False are as by default, and left out.
    """
    if launcher != "mlflow run":
        launcher, start = "depthcheck", f"depthcheck {name}"
    else:
        start = "mlflow run ." if name == "run" else f"mlflow run . -e {name}"
    given = ((name, value) for name, value in options.items() if value is not None and value is not False)
    return " ".join([start, *(option(launcher, name, value) for name, value in given)])
