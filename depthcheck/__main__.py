"""``python -m depthcheck`` is ``depthcheck``."""

import atexit
import gc
import os
import sys
from typing import NoReturn

from depthcheck.pipeline.system import INTERRUPTED, stop_at_once

stop_at_once()  # the next imports take a second
# Most of what is made stays, modules above all, and looking through it took a tenth of a command's time.
gc.set_threshold(50_000)


def run() -> None:
    """Run the command line as a process of its own."""
    try:
        from depthcheck.cli import main
        from depthcheck.experiments import scratch

        code = main()
    except ModuleNotFoundError as error:
        if str(error.name).startswith("depthcheck"):
            raise
        _wrong_python(str(error.name))
    if (store := sys.modules.get("depthcheck.experiments.tracking.store")) is not None:
        store.let_go()
    if code == INTERRUPTED:
        # All has been cleaned up by now. What libraries do at exit may wait for, or complain about, what was stopped.
        scratch.give_back()
    else:
        atexit._run_exitfuncs()
    # All has been printed, by main. To take a million objects apart one by one, whose memory the system has back at
    # once, would take a second or two.
    os._exit(code)


def _wrong_python(package: str) -> NoReturn:
    """Say in a line that this Python is not the one that Depthcheck was installed into."""
    print(
        f"error: {sys.executable} has no package {package!r}: it is not the Python that Depthcheck was installed into; "
        "activate that one (after make: . .venv/bin/activate) or install what this one lacks",
        file=sys.stderr,
    )
    sys.exit(2)


if __name__ == "__main__":
    run()
