"""``reproduce``: a logged trial trained again from its parameters alone, and compared number by number."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from rich.console import Console

from experiments.addresses import shown, without_login
from experiments.command_line import FAILED, INTERRUPTED, Given, complain, failure_code
from experiments.commands.training import counts
from experiments.tracking import launch_directory
from pipeline.paths import user_path

if TYPE_CHECKING:
    from experiments.reproduce.session import Ending

HELP = "train a logged trial again and compare it number by number"
REPRODUCED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--run-id", default="", help="the run of a trial; the champion of the latest study otherwise")
    parser.add_argument("--study", default="", help="name of a study, whose champion or best trial it shall be")
    parser.add_argument("--times", default="", help="how often to train it again; once otherwise")
    parser.add_argument("--data-folder", default="", help="folder that has the data set's files")


def main(given: Given, console: Console) -> int:
    """Reproduce a trial; 0 where it was reproduced and 1 where it was not."""
    times = counts(given, times=1)["times"] or 1
    # Not before here: the imports take a second, and a typing error should not wait for them.
    from experiments.reproduce.session import Request, reproduce

    folder = given["data_folder"]
    request = Request(
        run_id=given["run_id"],
        study=given["study"],
        times=times,
        data_folder=launch_directory() / user_path(folder, "data_folder") if folder else None,
    )
    try:
        ending = reproduce(request, console)
    except KeyboardInterrupt:
        print("interrupted; nothing was found out, and the same command begins anew", file=sys.stderr)
        return INTERRUPTED
    except RuntimeError as error:
        complain(error)
        return failure_code(error)
    console.print(_farewell(ending), markup=False)
    return REPRODUCED if ending.finding.is_reproduced else FAILED


def _farewell(ending: Ending) -> str:
    """Return the verdict, what it rests on, where the result is, and what to do next."""
    from experiments.reproduce.words import finding_lines

    uri, run_id = ending.tracking_uri, ending.run_id
    is_server = uri.startswith("http")
    host = without_login(uri).rstrip("/") if is_server else "http://127.0.0.1:5000"
    page = f"{host}/#/experiments/{ending.experiment_id}/runs/{run_id}"
    original = ending.finding.original.run
    both = _both(original.run_id, run_id, {original.experiment_id, ending.experiment_id})
    lines = ["", ending.finding.headline(), *(f"  {line}" for line in finding_lines(ending.finding))]
    lines += [] if is_server else [f"  browse        mlflow ui --backend-store-uri {shown(uri)}"]
    lines += [f"  result        {page}", f"  overlaid      {host}/#/metric?{both}"]
    if ending.finding.verdict == "bit-equal":
        lines.append("  more          another trial: --run-id (mlflow run: -P run_id=); --times 5 repeats it")
    else:
        lines.append("  more          --times 5 shows whether repetitions agree among themselves")
    return "\n".join(lines)


def _both(original: str, run_id: str, experiments: set[str]) -> str:
    """Return the question that MLflow's page of metrics answers with both runs' losses in one chart."""
    metrics = ["train/loss", "valid/loss"]
    lists = {"runs": [original, run_id], "experiments": sorted(experiments), "plot_metric_keys": metrics}
    question = {name: json.dumps(value, separators=(",", ":")) for name, value in lists.items()}
    return urlencode({**question, "metric": json.dumps(metrics[1]), "x_axis": "step"})
