"""Measure epochs, whole studies and their growth beside the peers, and write ``docs/performance.md``: ``make bench``.

Each result is kept when it is there (``--results``), and what is there is not measured again: after an interruption the
same command goes on. ``--quick`` tries it on tiny sizes, with the peers that this environment has the packages of.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.fit import FLOATS, JAX, OURS, PEERS, PRODUCTS, Candidates, in_words, write_data
from benchmarks.peers.environments import ROOT, NoEnvironmentError, versions
from benchmarks.performance import page
from benchmarks.performance.studies import OPTUNA, SEARCHING, TUNER, Case, ours, peer

RATES = {"sgd": 0.05, "adam": 0.001}
#: Trained by every peer: networks of the default space.
NETWORKS: list[tuple[list[int], str, str, int]] = [
    ([], "relu", "sgd", 128),
    ([128], "tanh", "sgd", 32),
    ([64, 64], "relu", "adam", 64),
    ([256, 256, 256], "relu", "adam", 128),
]
#: Trained by JAX and us: the corners of that space.
CORNERS = [
    ([units] * depth, "relu", optimizer, batch)
    for depth, units, optimizer, batch in product(range(4), (32, 256), RATES, (32, 256))
    if depth or units == 32
]
#: With the peers that train the same trials; KerasTuner, which trains as the other does, only once.
STUDIES = {
    "Fashion-MNIST": (
        Case(data="fashion-mnist", trials=9, epochs=20, units=(64, 128, 256), batch_size=(32, 64, 128)),
        [OPTUNA],
    ),
    "wine, 178 rows in 5 folds": (Case(data="wine", trials=33, epochs=20, folds=5), [OPTUNA]),
    "table of 5,000 rows": (Case(data=(5_000, 20), trials=33, epochs=20), [OPTUNA, TUNER]),
}
_TINY: dict[str, Any] = {"depth": (0, 1), "units": (32,), "batch_size": (32,)}
_ROWS: dict[str, Any] = {"trials": 5, "epochs": 2, "depth": (1,), "units": (64,), "batch_size": (256,)}
GROWTH = {
    **{f"{n:,} trials": Case(data=(200, 10), trials=n, epochs=1, **_TINY) for n in (10, 100, 1_000)},
    **{f"{n:,} rows": Case(data=(n, 10), **_ROWS) for n in (200, 5_000, 100_000, 1_000_000)},
    **{f"{n} worker{'s' * (n > 1)}": Case(data="wine", trials=17, epochs=20, folds=5, workers=n) for n in (1, 2)},
}
QUICK_STUDIES = {"tiny table": (Case(data=(60, 4), trials=3, epochs=2, workers=1, **_TINY), [OPTUNA, TUNER])}


class Results(dict[str, Any]):
    """What was measured, by name; written to a file as soon as it is there."""

    def __init__(self, file: Path) -> None:
        super().__init__(json.loads(file.read_text(encoding="utf-8")) if file.exists() else {})
        self._file, self._here = file, _machine()

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return what was measured under that name, or measure it."""
        if name not in self:
            machine = self.setdefault("machine", dict(self._here))
            if any(machine[key] != value for key, value in self._here.items() if key != "commit"):
                sys.exit(f"{self._file} must be of this machine, got {machine}: move it away")
            if self._here["commit"] not in machine["commit"]:
                machine["commit"] += f", {self._here['commit']}"
            loads, load = self.setdefault("loads", {}).setdefault(name.partition(":")[0], []), os.getloadavg()[0]
            loads[:] = min([*loads, load]), max([*loads, load])
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            self[name] = measure()
            self._file.parent.mkdir(parents=True, exist_ok=True)
            half = self._file.with_suffix(".half")
            half.write_text(json.dumps(self, indent=1), encoding="utf-8")
            half.replace(self._file)
        return self[name]


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, no environment made")
    parser.add_argument("--only", nargs="*", choices=("epochs", "studies", "growth"), help="of what is not there yet")
    parser.add_argument("--results", type=Path, help="a .json file")
    parser.add_argument("--docs", type=Path, help="where performance.md and images/ are written")
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-peers", help="where peers are installed")
    options = parser.parse_args()
    own = ROOT / "benchmarks" / "output" / ("quick" if options.quick else "performance")
    results = Results(options.results or own / "results.json")
    environments = None if options.quick else options.environments
    only = options.only or ("epochs", "studies", "growth")
    with TemporaryDirectory(prefix="depthcheck-") as scratch:
        if "epochs" in only:
            _epochs(results, Path(scratch), environments, is_quick=options.quick)
        if "studies" in only:
            for name, (case, peers) in (QUICK_STUDIES if options.quick else STUDIES).items():
                folder = Path(scratch) / name
                results.once(f"study: {name}", lambda f=folder, c=case, p=peers: _study(c, p, f, environments))
                for peer_name in peers:
                    if "left_out" not in results[f"study: {name}"]["peers"][peer_name]:
                        script = SEARCHING[peer_name]
                        results.once(f"versions: {script}", lambda s=script: versions(s, environments))
        if "growth" in only:
            for name, case in ({} if options.quick else GROWTH).items():
                results.once(f"growth: {name}", lambda n=name, c=case: _alone(c, Path(scratch) / n))
    print(page.write(results, options.docs or (own if options.quick else ROOT / "docs")))


def _epochs(results: Results, scratch: Path, environments: Path | None, *, is_quick: bool) -> None:
    data = write_data(scratch / "data.npz", "digits", 1_200) if is_quick else write_data(scratch / "data.npz")
    with Candidates(data, environments) as candidates:
        rounds = 1 if is_quick else 3
        # Ours and JAX's differ by less than one epoch does from the next: of these the median of three is taken.
        for kind, networks, names, n_epochs in (
            ("peers", NETWORKS[2:3] if is_quick else NETWORKS, list(PEERS), 2),
            ("corner", CORNERS[:1] if is_quick else CORNERS, [OURS, FLOATS, JAX, PRODUCTS], 2 if is_quick else 4),
        ):
            for units, activation, optimizer, batch in networks:
                job = {"units": units, "activation": activation, "optimizer": optimizer, "batch_size": batch}
                job |= {"learning_rate": RATES[optimizer], "epochs": n_epochs}
                results.once(f"{kind}: {in_words(job)}", lambda j=job, n=names: _turns(candidates, n, j, rounds))
    measured = {name for key, one in results.items() if key.startswith("peers: ") for name in one["measured"]}
    for script in sorted({PEERS[name][0] for name in measured}):
        results.once(f"versions: {script}", lambda s=script: versions(s, environments))


def _turns(candidates: Candidates, names: Sequence[str], job: dict[str, Any], rounds: int) -> dict[str, Any]:
    return {"measured": candidates.measure(names, job, rounds), "left_out": dict(candidates.left_out)}


def _study(case: Case, names: Sequence[str], folder: Path, environments: Path | None) -> dict[str, Any]:
    """Run ours before, between and after the peers, which train the trials of its first run."""
    runs, peers = [ours(case, folder / "ours")], {}
    for name in names:
        try:
            peers[name] = peer(name, runs[0]["told"], folder / name, environments)
        except NoEnvironmentError as error:
            peers[name] = {"left_out": str(error)}
            continue
        runs.append(ours(case, folder / f"ours after {name}"))
    return {"trials": runs[0].pop("told")["trials"], "ours": [_kept(run) for run in runs], "peers": peers}


def _alone(case: Case, folder: Path) -> dict[str, Any]:
    return _kept(ours(case, folder))


def _kept(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name not in ("told", "output")}


def _machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory),
        "system": platform.system(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


if __name__ == "__main__":
    main()
