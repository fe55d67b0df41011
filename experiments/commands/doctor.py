"""``doctor``: do Optuna's study, MLflow's runs and the artifacts agree, and if not, make them."""

from __future__ import annotations

import argparse

from rich.console import Console

from experiments.command_line import BAD_INPUT, FAILED, Given, flag, may_be_shown, study_name
from experiments.tracking import tracking_uri

HELP = "find disagreements between Optuna, MLflow and the artifacts of a study, and repair them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--study", default="", help="name of a study, or all; the latest one otherwise")
    parser.add_argument("--fix", default="", help="true repairs what can be repaired; nothing is deleted")
    parser.add_argument("--storage", default="", help="URL of the Optuna storage")


def main(given: Given, console: Console) -> int:
    """Examine, say what was found, and return 0 where nothing is left to disagree, else 1."""
    fix = flag("fix", given["fix"])
    asked = study_name(given["study"])
    # Not before here: the imports take seconds, and a typing error should not wait for them.
    from experiments import places, tracking
    from experiments.doctor.examine import Place, examine, studies
    from experiments.doctor.words import lines
    from experiments.tracking.store import require_usable

    uri = tracking_uri()
    place = Place(uri=uri, storage=given["storage"] or places.default_storage(uri), folder=places.storage_folder(uri))
    require_usable(uri, place.storage)
    names = studies(place, asked)
    exit_code = 0
    for name in names:
        try:
            examination = examine(place, name, fix=fix)
        except ValueError as error:
            if len(names) == 1:
                raise
            console.print(f"study {name} is left out: {may_be_shown(error)}", markup=False)
            exit_code = BAD_INPUT
            continue
        console.print("\n".join(lines(examination, fix=fix)), markup=False)
        exit_code = max(exit_code, FAILED) if examination.left else exit_code
        launched = tracking.launched_run()
        if launched is not None and len(names) == 1 and examination.parent_run_id is not None:
            tracking.join_study(uri, examination.parent_run_id, launched, "doctor")
    return exit_code
