"""What a study would be, before anything of it is written or trained: its design, its trainings, and how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from depthcheck.experiments import places
from depthcheck.experiments.cluster import launch
from depthcheck.experiments.cluster.worker import time_training
from depthcheck.experiments.planning import design, space
from depthcheck.experiments.planning.definition import check_fits
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.study.describe import design_rows, parts_in_words
from depthcheck.experiments.study.progress import duration
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.data.profile import profile_lines
from depthcheck.pipeline.prepare.split import part_sizes, resolve

#: Trainings that are timed, at most.
_TIMED = 4
#: Rows of a study's page that are known by then.
_SHOWN = ("data", "predicted", "compared", "tuned", "fixed", "seed")


def rehearse(
    experiment: Experiment, *, data_folder: Path | None, workers: int | None, log: Callable[[str], None]
) -> Iterator[str]:
    """Yield the lines that say what the study would be; the last comes after a few trainings were timed.

    Raises
    ------
    ValueError
        When the study cannot be run as it is defined.
    """
    dataset = load(experiment.data, folder=data_folder, cache=places.data_cache(), log=log)
    if dataset.is_table:
        yield "\n".join(profile_lines(dataset)) + "\n"
    check_fits(experiment, dataset)
    split = resolve(experiment.split, dataset)
    design.check_plan(experiment, split)
    parts = parts_in_words(dataset, split, part_sizes(dataset, split))
    plan = design.plan(experiment, [design.SearchRound(trials=experiment.budget.trials)])
    to_confirm = design.n_to_confirm(experiment)
    phases = ", ".join(f"{phase} {n}" for phase, n in Counter(trial.phase for trial in plan).items())
    rows = design_rows(experiment, dataset, (), len(plan), parts)
    yield "\n".join(f"{name:<14}{text}" for name, text in rows if name in _SHOWN)
    yield f"{'trainings':<14}{len(plan) + to_confirm}: {phases}" + (f", {to_confirm} on fresh seeds" * (to_confirm > 0))
    first = [trial for trial in plan if trial.phase == "compare"][: len(design.combinations(experiment))] or plan[:1]
    at = np.unique(np.linspace(0, len(first) - 1, _TIMED).round().astype(int)).tolist()
    n_workers, folder = workers or launch.n_cores(), str(data_folder) if data_folder else None
    with launch.embedded(1, places.program_cache()) as client:
        timed = []
        for trial in (first[one] for one in at):
            assert trial.point is not None  # the baseline's and those of phase compare are laid down
            config = space.to_config(experiment, trial.point, seed=trial.seed, data_sha256=dataset.sha256, split=split)
            timed.append(client.submit(time_training, config, folder, pure=False).result())
        launch.kill_workers(client)
    left = (len(plan) + to_confirm) * float(np.mean(timed)) / n_workers
    on = f"{n_workers} worker{'s' * (n_workers > 1)}"
    yield (
        f"{'time':<14}about {duration(left)} of training on {on}, by timing {len(timed)} of them briefly just now; "
        "nothing was written"
    )
