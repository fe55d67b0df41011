"""Depthcheck: does another hidden layer help? Another optimizer? On your data? A check by experiment.

In the repository this folder holds links to ``pipeline``, ``experiments`` and ``reports`` beside it, in a wheel the
three themselves: either way they are this package's, and no other name is taken from whoever installs it.
"""

from pathlib import Path

from depthcheck.api import (
    Study,
    compare,
    list_studies,
    load_data,
    open_study,
    run_study,
    run_trial,
    write_report,
)

__version__ = "0.1.0"

if not (Path(__file__).parent / "pipeline").is_dir():  # a checkout on a system that has no links
    __path__.append(str(Path(__file__).parents[1]))

__all__ = ["Study", "compare", "list_studies", "load_data", "open_study", "run_study", "run_trial", "write_report"]
