"""A user's own texts (names of files, columns and classes, cells) as a log, a figure or markdown shows them.

Nothing in them is a command to what shows them: no markup, no line break, no mark that turns the direction of writing.
"""

from __future__ import annotations

import re
import unicodedata

#: Control characters, marks of direction and the like, ends of lines and paragraphs, halves of a character.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: What joins letters in Persian and in emoji, or keeps them apart.
_JOINERS = frozenset("\u200c\u200d")
#: What markdown, and pages that show formulas between dollars, take for a mark: anywhere, at the edge of a word, or as
#: a word (a list, a heading) where a wrapped line begins with it.
_MARKS = re.compile(r"[\\`*\[\]<>$~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|(?<!\S)[#+\-=](?=[#+\-=]*(?:\s|$))")
_NUMBERED = re.compile(r"(?<!\S)(\d{1,9})([.)])(?=\s|$)")
#: A name of a column or class is cut there.
_LONGEST_NAME = 60


def one_line(text: str, most: int | None = None) -> str:
    """Return a text on one line, its unseen characters as Python writes them, cut behind ``most`` characters."""
    if not text.isprintable():
        text = "".join(
            repr(letter)[1:-1] if unicodedata.category(letter) in _UNSEEN and letter not in _JOINERS else letter
            for letter in text
        )
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def in_markdown(text: str, most: int | None = _LONGEST_NAME) -> str:
    """Return a text for a place in markdown: it looks there as it is written. A table itself escapes ``|``."""
    return _NUMBERED.sub(r"\1\\\2", _MARKS.sub(r"\\\g<0>", one_line(text, most)))


def in_code(text: str) -> str:
    """Return a text as code inside markdown, whatever backticks it has."""
    flat = one_line(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    padding = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{padding}{flat}{padding}{fence}"
