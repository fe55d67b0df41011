"""``python -m depthcheck`` is ``depthcheck``."""

import os
import sys

from depthcheck.pipeline.system import INTERRUPTED, stop_at_once

stop_at_once()  # the next imports take a second

from depthcheck.cli import main  # noqa: E402
from depthcheck.experiments import scratch  # noqa: E402


def run() -> None:
    """Run the command line as a process of its own."""
    code = main()
    if code == INTERRUPTED:
        # All has been cleaned up by now. What libraries do at exit may wait for, or complain about, what was stopped.
        sys.stdout.flush()
        scratch.give_back()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
