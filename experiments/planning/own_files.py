"""From ``my_models.py:build``, or a Python function, to the text of a user's file; and which files are refused."""

from __future__ import annotations

import ast
import codecs
from pathlib import Path
from typing import Any, TypeVar

from depthcheck.pipeline.config import shown
from depthcheck.pipeline.dimensions import know_own
from depthcheck.pipeline.own import DIRECTIONS, OwnCode, OwnMetric, OwnModel
from depthcheck.pipeline.system import user_path

_Own = TypeVar("_Own", bound=OwnCode)


def read_model(named: object, base: Path) -> OwnModel:
    """Return the user's own model that is named, its hyperparameters known as dimensions.

    Parameters
    ----------
    named
        ``my_models.py:build``, or in Python the function.
    base
        What a relative path is relative to.

    Raises
    ------
    ValueError
        When there is none, or its file or its signature cannot be used; one line.
    """
    own = _read(OwnModel, named, base)
    know_own(own)
    return own


def metric_fields(named: object, direction: str | None, base: Path) -> dict[str, Any]:
    """Return which fields of the data's configuration a metric sets: one that is shipped, or a user's own.

    Raises
    ------
    ValueError
        As :func:`read_model`, or where the direction is missing, or known anyhow.
    """
    if named is None or (isinstance(named, str) and ":" not in named):
        if direction is not None:
            raise ValueError(f"direction must be left out without a metric of your own, got {shown(direction)}")
        return {} if named is None else {"metric": named}
    if direction not in DIRECTIONS:
        got = "nothing" if direction is None else shown(direction)
        raise ValueError(f"direction must be maximize or minimize beside a metric of your own, got {got}")
    return {"own_metric": _read(OwnMetric, named, base, direction=direction)}


def utf8(content: bytes) -> str:
    """Return the text of a file in UTF-8, without the mark that Windows' editors write."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise ValueError(
            f"must be a text in UTF-8, got {'UTF-16' if is_utf16 else 'another'}; save it as such"
        ) from None


def _read(kind: type[_Own], named: object, base: Path, **more: Any) -> _Own:
    what = kind.kind
    text = _place(named, what) if callable(named) else named
    if not isinstance(text, str):
        raise ValueError(f"{what} must be a text, got {shown(text)}")
    file, _, function = text.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise ValueError(f"{what} must be a file and a function, my_{what}s.py:{_EXAMPLES[what]}, got {shown(text)}")
    path = base / user_path(file, what)
    try:
        own = kind(file=path.name, function=function, source=utf8(path.read_bytes()), **more)
    except OSError as error:
        raise ValueError(f"{what} must be in a file that can be read, got {path}: {error.strerror}") from None
    _require_alone(own, path.parent)
    return own


_EXAMPLES = {"model": "build", "metric": "score"}


def _place(function: Any, what: str) -> str:
    """Return file and name of a function: its text is what travels, and a lambda's, or a notebook's, has no file."""
    name, file = (
        str(getattr(function, "__qualname__", "")),
        getattr(getattr(function, "__code__", None), "co_filename", ""),
    )
    is_found = name.isidentifier() and file.endswith(".py") and Path(file).is_file()
    if not is_found or function.__module__ == "__main__":
        where = " of the program that runs" if is_found else ""
        raise ValueError(
            f"{what} must be a function of a .py file that does nothing else, got {name or shown(function)}{where}; "
            f"write it into one and name it my_{what}s.py:{_EXAMPLES[what]}"
        )
    return f"{Path(file).absolute()}:{name}"


def _require_alone(own: OwnCode, folder: Path) -> None:
    """Refuse a file that imports another one beside it, which no worker and no served model would have."""
    for node in ast.walk(own.parsed()):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            is_beside = (folder / f"{top}.py").is_file() or any((folder / top).glob("*.py"))
            if not top or (is_beside and top != "depthcheck"):
                raise ValueError(
                    f"{own.file}:{node.lineno}: {name} must be an installed package, got a file beside {own.file}, and "
                    f"only {own.file} travels to workers: write what is needed into it, or install {name} as a package"
                )
