"""The command line: ``python -m experiments run --experiment fashion_mnist --trials 50``.

MLproject's entry points call it. Bad input ends in one line on standard error and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from experiments import definition
from experiments.tracking import launch_directory, tracking_uri

#: What MLproject hands down for a parameter that the user did not give.
NOT_GIVEN = ("", "auto")
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
#: Fresh seeds of a comparison of chosen runs, unless the user says otherwise.
_DUEL_SEEDS = 10
#: A second signal within this time is an echo of the first.
_PATIENCE_SECONDS = 3.0


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (--help shows what there is)", file=sys.stderr)
        sys.exit(BAD_INPUT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    _stop_politely()
    try:
        return _run(options, console)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
    except RuntimeError as error:  # storage in trouble, or all trials failing alike
        print(f"error: {error}; the same command goes on where it stopped", file=sys.stderr)
        return FAILED


def _parser() -> _Parser:
    parser = _Parser(prog="python -m experiments", description="Does another hidden layer help? Another optimizer?")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a study, or go on with it")
    compare = commands.add_parser("compare", help="train chosen configurations on fresh paired seeds")
    compare.add_argument("--runs", default="", help="run ids of trials or studies, with commas between them")
    for command in (run, compare):
        command.add_argument("--seeds", default="", help="fresh seeds for each finalist; 0 for none")
        command.add_argument("--seed", default="", help="what all seeds are derived from")
        command.add_argument("--workers", default="", help="worker processes on this machine; one a core")
        command.add_argument("--scheduler", default="", help="address of your own Dask cluster, tcp://host:8786")
        command.add_argument("--storage", default="", help="URL of the Optuna storage")
        command.add_argument("--data-folder", default="", help="folder that has the data set's files")
    run.add_argument("--experiment", default="fashion_mnist", help="name of a shipped definition, or a .toml file")
    run.add_argument("--trials", default="", help="trials of all phases together")
    run.add_argument("--epochs", default="", help="epochs of each trial")
    run.add_argument("--study", default="", help="a name of your own for the study")
    return parser


def _run(options: argparse.Namespace, console: Console) -> int:
    given = {name: None if value in NOT_GIVEN else value for name, value in vars(options).items()}
    counts = {
        name: None if given.get(name) is None else definition.whole_number(given[name], name, lowest=lowest)
        for name, lowest in (("trials", 1), ("epochs", 1), ("seeds", 0), ("workers", 1), ("seed", 0))
    }
    scheduler = given["scheduler"]
    if scheduler is not None and "://" not in scheduler:
        raise ValueError(f"scheduler must be an address like tcp://host:8786, got {scheduler!r}")
    if given.get("study") and not re.fullmatch(r"[\w.-]+", str(given["study"])):
        raise ValueError(f"study must be of letters, digits, dots, dashes and underscores, got {given['study']!r}")
    typed_in = launch_directory()
    experiment = None
    if options.command == "run":
        experiment = definition.read(definition.find(given["experiment"] or "fashion_mnist", typed_in))
    # Not before here: the imports take a second, and a typing error should not wait for them.
    from experiments import farewell, session
    from experiments.duel import duel

    if experiment is None:
        run_ids = [run_id.strip() for run_id in (given["runs"] or "").split(",") if run_id.strip()]
        n_seeds, seed = counts["seeds"] or _DUEL_SEEDS, counts["seed"] or 0
        experiment, chosen = duel(tracking_uri(), run_ids, seeds=n_seeds, seed=seed)
    else:
        experiment = experiment.with_overrides(**{name: counts[name] for name in ("trials", "epochs", "seeds", "seed")})
        chosen = ()
    request = session.Request(
        experiment=experiment,
        chosen=chosen,
        study=given.get("study"),
        workers=counts["workers"],
        scheduler=scheduler,
        storage=given["storage"],
        data_folder=typed_in / Path(given["data_folder"]).expanduser() if given["data_folder"] else None,
    )
    started = time.monotonic()
    ending = session.run(request, console)
    console.print(farewell.text(ending, seconds=time.monotonic() - started), markup=False)
    _report(ending.tracking_uri, ending.parent_run_id)
    return 0


def _report(uri: str, run_id: str) -> None:
    """Have the report written, in a process of its own: reports know experiments, and not the other way round.

    What was trained is safe by now, so trouble with the report is told and does not make the study fail.
    """
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    code = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), environment.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "reports", "--run", run_id],
        check=False,
        cwd=launch_directory(),
        env={**environment, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": code},
    )
    if done.returncode:
        print(f"the report was not written; try again: python -m reports --run {run_id}", file=sys.stderr)


def _stop_politely() -> None:
    """Make SIGTERM, and the death of the process that started us, end the study as Ctrl-C does.

    ``mlflow run`` answers Ctrl-C with a SIGTERM of its own a quarter of a second later. It must not interrupt the
    cleaning up that the first signal has begun; one that comes seconds later means that the user will not wait.
    """
    first: list[float] = []

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            raise KeyboardInterrupt
        if time.monotonic() - first[0] > _PATIENCE_SECONDS:
            os._exit(INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    started_by = os.getppid()

    def watch() -> None:
        while os.getppid() == started_by:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


if __name__ == "__main__":
    sys.exit(main())
