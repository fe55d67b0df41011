"""Tries a user's own model and metric once, in a process of its own that is handed a configuration and its data."""

from __future__ import annotations

import json
import pickle
import sys


def main() -> None:
    """Try what standard input brings; the last line of standard output is what an own metric gives, or ``null``."""
    config, dataset = pickle.load(sys.stdin.buffer)  # of the process that started this one
    scale = None
    if config.data.own_metric is not None:
        from depthcheck.pipeline.training.reference import scale_of_metric

        scale = scale_of_metric(dataset, config.split)
    if config.model.own is not None:
        from depthcheck.pipeline.trial import try_own  # which takes ten seconds to import

        try_own(config, dataset)
    sys.stdout.write(f"\n{json.dumps(scale)}\n")


if __name__ == "__main__":
    main()
