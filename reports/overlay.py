"""``python -m reports.overlay reproduction.json curves.svg``: a trial's curves and those of its repetitions.

Called by ``python -m experiments reproduce`` in a process of its own, since only reports draw.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from reports.figures import picture
from reports.figures.overlay import drawing


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figure of a reproduction's JSON and return the exit code."""
    source, target = (Path(word) for word in (sys.argv[1:] if arguments is None else arguments))
    target.write_bytes(picture(drawing(json.loads(source.read_text(encoding="utf-8")))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
