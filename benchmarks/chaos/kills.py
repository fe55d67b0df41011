"""A study under fifty kills beside an undisturbed one: ``python -m benchmarks.chaos --kills 50``.

SIGKILL, at random moments, of workers, of the coordinator and of both: while they start, while a model is written,
between the commit of MLflow and that of Optuna, during confirm. Exit code 0 when both studies are the same to the last
digit, the report included, and nothing was left behind or trained again. About ten minutes on two cores.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.end_to_end.chaos import Tally, attempts, command, plan_kills, report_text, run_under_kills
from tests.end_to_end.folder import Folder

DEFINITION = """
question = "Does another hidden layer help?"
seed = 3
[data]
name = "digits"
[budget]
trials = 40
epochs = 4
window = 2
seeds = 2
[compare]
depth = [0, 1, 2]
optimizer = ["sgd", "adam"]
[tune]
units = { low = 8, high = 32, log = true }
activation = ["relu", "tanh"]
batch_size = [64]
[tune.sgd]
learning_rate = { low = 0.01, high = 1.0, log = true }
[tune.adam]
learning_rate = { low = 0.001, high = 0.1, log = true }
"""


def compare(base: Path, *, n_kills: int, seed: int, workers: str) -> int:
    """Run both studies in a folder, compare, and print what was seen."""
    (base / "chaos.toml").write_text(DEFINITION)
    words = command("--experiment", str(base / "chaos.toml"), "--workers", workers)
    undisturbed, killed = (Folder(path=base / name, home=base / "home") for name in ("undisturbed", "killed"))
    for folder in (undisturbed, killed):
        folder.path.mkdir()
    calm = run_under_kills(words, undisturbed.path, undisturbed.environment(), [], seed)
    n_trials = len(undisturbed.study().trials)
    print(f"undisturbed: {n_trials} trials, {calm.seconds:.0f} s", flush=True)
    kills = plan_kills(seed, n_kills, n_trials)
    tally = run_under_kills(words, killed.path, killed.environment(), kills, seed)
    _print(tally)
    failures = list(_differences(undisturbed, killed, tally))
    print("\n".join(f"WRONG: {failure}" for failure in failures) or "the same study, the same report")
    return 1 if failures else 0


def _print(tally: Tally) -> None:
    print(f"killed: {tally.kills.total()} kills, {tally.starts} starts, {tally.seconds:.0f} s")
    for (moment, target), n in sorted(tally.kills.items()):
        print(f"  {n:>3}  {moment:<16} {target}")
    for line in tally.gave_up:
        print(f"  ended by itself: {line}")


def _differences(undisturbed: Folder, killed: Folder, tally: Tally) -> list[str]:
    parent = killed.study().user_attrs["parent_run_id"]
    ended, interrupted = attempts(killed.uri, parent)
    print(f"  trials ended once: {sum(n == 1 for n in ended.values())}, attempts interrupted: {interrupted.total()}")
    print(f"  most attempts of one trial: {max((ended + interrupted).values(), default=0)}")
    found = []
    if killed.fingerprint() != undisturbed.fingerprint():
        found.append("points, curves, scores or states differ")
    if report_text(killed.path) != report_text(undisturbed.path):
        found.append("the reports differ")
    twice = Counter({number: n for number, n in ended.items() if n != 1})
    if twice:
        found.append(f"trials that ended more than once: {dict(twice)}")
    code, text = killed.doctor()
    print(f"  doctor: {text.strip().splitlines()[-1]}")
    if code:
        found.append(f"the doctor found something:\n{text}")
    found += [f"process left behind: {line}" for line in tally.left_behind]
    return found
