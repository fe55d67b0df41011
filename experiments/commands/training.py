"""What the commands that train have in common: their options, and the session that runs behind them."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from experiments.command_line import FAILED, INTERRUPTED, Given, cleaning_up, complain
from experiments.tracking import launch_directory
from pipeline.paths import user_path

if TYPE_CHECKING:
    from experiments.experiment import Experiment
    from experiments.finalists import Finalist

_GOES_ON = "; the same command goes on where it stopped"


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that trains."""
    parser.add_argument("--seeds", default="", help="fresh seeds for each finalist; 0 for none")
    parser.add_argument("--seed", default="", help="what all seeds are derived from")
    parser.add_argument("--workers", default="", help="worker processes on this machine; one a core")
    parser.add_argument("--scheduler", default="", help="address of your own Dask cluster, tcp://host:8786")
    parser.add_argument("--storage", default="", help="URL of the Optuna storage")
    parser.add_argument("--data-folder", default="", help="folder to look for the data set's files in")


def seconds_of(text: str) -> float:
    """Return the seconds of a time like ``90s``, ``30m``, ``2h`` or ``1h30m``.

    Raises
    ------
    ValueError
        When it is none.
    """
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    parts = found.groups() if found else ()
    seconds = sum(int(part or 0) * each for part, each in zip(parts, (3600, 60, 1), strict=False))
    if seconds <= 0:
        raise ValueError(f"decide_within must be a time like 30m, 90s or 1h30m, got {text!r}")
    return float(seconds)


def counts(given: Given, **lowest: int) -> dict[str, int | None]:
    """Return the named options as whole numbers, None where one was left out.

    Raises
    ------
    ValueError
        When one is no whole number or below its lowest value.
    """
    from experiments.definition import whole_number

    return {
        name: None if (text := given.get(name)) is None else whole_number(text, name, lowest=least)
        for name, least in lowest.items()
    }


def check_scheduler(given: Given) -> None:
    """Complain about an address of a scheduler that is none.

    Raises
    ------
    ValueError
        With what was given.
    """
    scheduler = given["scheduler"]
    if scheduler is not None and "://" not in scheduler:
        raise ValueError(f"scheduler must be an address like tcp://host:8786, got {scheduler!r}")


def train(
    experiment: Experiment,
    given: Given,
    console: Console,
    *,
    workers: int | None,
    chosen: tuple[Finalist, ...] = (),
    data_sha256: str | None = None,
    decide_within: float | None = None,
) -> int:
    """Run the session, say where its results are, and have the report written.

    Returns
    -------
    int
        The exit code: what stopped the session, or the report that could not be written, makes it 1.
    """
    # Not before here: the imports take a second, and a typing error should not wait for them.
    from experiments import farewell, session
    from experiments.decide import Deadline

    folder, started = given["data_folder"], time.monotonic()
    deadline = None if decide_within is None else Deadline(seconds=decide_within, start=started, judge=_answers)
    request = session.Request(
        experiment=experiment,
        chosen=chosen,
        data_sha256=data_sha256,
        study=given.get("study"),
        workers=workers,
        scheduler=given["scheduler"],
        storage=given["storage"],
        data_folder=launch_directory() / user_path(folder, "data_folder") if folder else None,
        deadline=deadline,
    )
    try:
        ending = session.run(request, console)
    except KeyboardInterrupt:
        cleaning_up()
        print(f"interrupted{_GOES_ON}", file=sys.stderr)
        return INTERRUPTED
    except RuntimeError as error:  # storage in trouble, or all trials failing alike
        complain(error, then="" if getattr(error, "lasts", False) else _GOES_ON)
        return FAILED
    console.print(farewell.text(ending, seconds=time.monotonic() - started), markup=False)
    return _report(ending.tracking_uri, ending.parent_run_id)


def _report(uri: str, run_id: str) -> int:
    """Have the report written, in a process of its own: reports know experiments, and not the other way round.

    What was trained is safe by now, whatever becomes of the report.
    """
    done = _ask_reports(uri, run_id)
    if done.returncode:
        print(f"the report was not written; try again: python -m reports --run {run_id}", file=sys.stderr)
    return FAILED if done.returncode else 0


def _answers(uri: str, run_id: str) -> dict[str, Any]:
    """Return what may be said of a study by now.

    Raises
    ------
    TrackingError
        When it cannot be read.
    """
    from experiments.tracking import TrackingError

    done = _ask_reports(uri, run_id, "--json", stdout=subprocess.PIPE)
    if done.returncode:
        raise TrackingError(f"cannot judge the study of run {run_id}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _ask_reports(uri: str, run_id: str, *options: str, stdout: int | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    code = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), environment.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "reports", "--run", run_id, *options],
        check=False,
        cwd=launch_directory(),
        env={**environment, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": code},
        stdout=stdout,
    )
