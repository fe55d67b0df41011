"""The line that runs a study again. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from depthcheck.experiments.planning.definition import shipped_names

#: Name of the one factor of a study that compares configurations that its user chose.
_CHOSEN = "configuration"
_NOT_GIVEN = ("", "auto")


def command(study: str, stored: Mapping[str, Any], params: Mapping[str, str], *, n_seeds: int) -> str:
    """Return the line that runs the study again: as ``mlflow run`` noted it, else pieced together."""
    asked = ("experiment", "data", "target", "trials", "epochs", "seeds", "seed", "data_folder")
    noted = {name: params[name] for name in asked if params.get(name, "auto") not in _NOT_GIVEN}
    if _CHOSEN in stored.get("definition", {}).get(
        "compare", {}
    ):  # configurations that the user chose, without a search
        runs = params.get("runs", "<run ids with commas between>")
        return " ".join(["mlflow run . -e compare", f"-P runs={runs}", f"-P seeds={n_seeds}"])
    if "experiment" not in noted and "data" not in noted:
        definition = stored.get("definition", {})
        n_trials = sum(trial["phase"] != "confirm" for trial in stored.get("plan", []))
        of_hash = re.fullmatch(r"(.+)-[0-9a-f]{8}", study)
        name = of_hash.group(1) if of_hash else "your-definition"
        noted = {
            **_data_or_experiment(name, definition),
            "trials": str(n_trials),
            "epochs": str(definition.get("epochs", "auto")),
            "seeds": str(n_seeds),
            "seed": str(definition.get("seed", "auto")),
        }
    if stored.get("widened"):
        noted["widen"] = ",".join(stored["widened"])
    return "mlflow run . " + " ".join(f"-P {name}={shlex.quote(value)}" for name, value in noted.items())


def _data_or_experiment(name: str, definition: Mapping[str, Any]) -> dict[str, str]:
    """Return what was named: a study that is called as its data are had no definition of its own."""
    data = str(definition.get("data", ""))
    if name in shipped_names() or name != re.sub(r"[^\w.-]+", "_", PurePath(data).stem).strip("._"):
        return {"experiment": name if name in shipped_names() else f"{name}.toml"}
    target = definition.get("target")
    return {"data": data, **({"target": str(target)} if target else {})}
