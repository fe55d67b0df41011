"""What the peers share: ``PEER.py data.npz [variant]`` answers each line on standard input with one of JSON.

The one asks for a network, the other has the seconds of each epoch, validation included, and the accuracy on the
validation part in the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def serve(fit: Callable[..., tuple[Sequence[float], float | None]]) -> None:
    """Answer jobs by ``fit(job, X, y, X_valid, y_valid)`` until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    with np.load(sys.argv[1]) as file:
        data = [file[name] for name in ("X", "y", "X_valid", "y_valid")]
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        seconds, accuracy = fit(job, *data)
        print(json.dumps({"seconds": list(seconds), "accuracy": accuracy}), file=answers, flush=True)
