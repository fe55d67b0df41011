"""What a user is told to type, in the form that their way in takes it: ``mlflow run``, the command line, or Python."""

from __future__ import annotations

import shlex
from typing import Literal

#: What a study, or a process, was started by.
Launcher = Literal["mlflow run", "depthcheck", "python"]


def option(launcher: Launcher, name: str, value: int | str) -> str:
    """Return a parameter as it is given: ``-P trials=160``, ``--trials 160`` or, in Python, ``trials=160``."""
    if launcher == "python":
        return f"{name}={value!r}"
    text = str(value).lower() if isinstance(value, bool) else shlex.quote(str(value))
    if launcher == "mlflow run":
        return f"-P {name}={text}"
    flag = f"--{name.replace('_', '-')}"
    return flag if value is True else f"{flag} {text}"


def command(launcher: Launcher, name: str, **options: int | str) -> str:
    """Return a line for a shell, ``depthcheck doctor --fix``; it does as well for what was begun in Python."""
    if launcher != "mlflow run":
        launcher, start = "depthcheck", f"depthcheck {name}"
    else:
        start = "mlflow run ." if name == "run" else f"mlflow run . -e {name}"
    return " ".join([start, *(option(launcher, *given) for given in options.items())])
