"""Train many settings at every level once and keep what their networks answered: a population to draw studies from.

``python -m benchmarks.landscape fashion`` (or ``digits``, ``fair``, ``diabetes``) trains every setting of a table of
scrambled Sobol points at every combination of levels, by the functions that a study uses, and writes
``benchmarks/landscapes/NAME.npz``: the settings, validation scores, test scores, and what each network answered of each
test example (with folds, of each row by the network that had not seen it). :mod:`benchmarks.searches` draws whole
studies from these files and judges them. What was trained is kept: a second start goes on.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.experiments import places
from depthcheck.experiments.planning import design, space
from depthcheck.experiments.planning.definition import parse
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.training.program_cache import worker_environment

FOLDER = Path(__file__).parent / "landscapes"
#: Ranges as wide as anybody would search, so that narrower ones can be tried on the same networks.
DEFINITIONS: dict[str, dict[str, Any]] = {
    "fashion": {
        "data": {"name": "fashion-mnist"},
        "budget": {"trials": 1, "epochs": 5},
        "compare": {"depth": [0, 1, 2, 3], "optimizer": ["sgd", "adam"]},
        "tune": {
            "units": [64, 128, 256],
            "activation": ["sigmoid", "tanh", "relu"],
            "batch_size": [32, 64, 128],
            "dropout": [0.0, 0.2],
            "sgd": {
                "learning_rate": {"low": 5e-3, "high": 0.5, "log": True},
                "momentum": {"low": 0.0, "high": 0.95},
            },
            "adam": {"learning_rate": {"low": 2e-4, "high": 1e-2, "log": True}},
        },
    },
    "digits": {
        "data": {"name": "digits"},
        "budget": {"trials": 1, "epochs": 10},
        "compare": {"depth": [0, 1, 2], "optimizer": ["sgd", "adam"]},
        "tune": {
            "units": [16, 32, 64],
            "activation": ["sigmoid", "tanh", "relu"],
            "batch_size": [16, 32, 64],
            "sgd": {
                "learning_rate": {"low": 1e-2, "high": 1.0, "log": True},
                "momentum": {"low": 0.0, "high": 0.95},
            },
            "adam": {"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}},
        },
    },
    "fair": {
        "data": {"name": "fair.csv", "target": "affair", "metric": "auc"},
        "budget": {"trials": 1, "epochs": 10},
        "compare": {"depth": [0, 1, 2, 3], "optimizer": ["sgd", "adam"]},
        "tune": {
            "units": [32, 64, 128],
            "activation": ["sigmoid", "tanh", "relu"],
            "batch_size": [32, 64, 128],
            "dropout": [0.0, 0.2],
            "sgd": {
                "learning_rate": {"low": 1e-3, "high": 0.5, "log": True},
                "momentum": {"low": 0.0, "high": 0.95},
            },
            "adam": {"learning_rate": {"low": 1e-4, "high": 3e-2, "log": True}},
        },
    },
    "diabetes": {
        "data": {"name": "diabetes"},
        "budget": {"trials": 1, "epochs": 10},
        "compare": {"depth": [0, 1, 2, 3], "optimizer": ["sgd", "adam"]},
        "tune": {
            "units": [32, 64, 128],
            "activation": ["sigmoid", "tanh", "relu"],
            "batch_size": [16, 32, 64],
            "dropout": [0.0, 0.2],
            "sgd": {
                "learning_rate": {"low": 1e-3, "high": 0.5, "log": True},
                "momentum": {"low": 0.0, "high": 0.95},
            },
            "adam": {"learning_rate": {"low": 1e-4, "high": 3e-2, "log": True}},
        },
    },
}
#: Images of Fashion-MNIST's training part that are used, validation included: a quarter, for the time it takes.
N_IMAGES = 15_000
#: Rows of Fair's survey (1978; statsmodels ships it) that are used.
N_ROWS = 5_000


@dataclass(frozen=True)
class Job:
    """One network to train: its setting, its levels, and everything that it is made of."""

    setting: int
    combination: int
    config: Any


def fair_table(folder: Path) -> Path:
    """Write Fair's survey as a table to learn from: who had an affair."""
    from statsmodels.datasets import fair

    table = fair.load_pandas().data.sample(N_ROWS, random_state=0)
    table["affair"] = np.where(table.pop("affairs") > 0, "yes", "no")
    table.to_csv(folder / "fair.csv", index=False)
    return folder / "fair.csv"


def dataset_of(name: str, folder: Path) -> Dataset:
    """Return the data of a landscape."""
    from depthcheck.pipeline.data.load import load

    data = parse(DEFINITIONS[name], name=name).data
    if name == "fair":
        data = DataConfig(name=str(fair_table(folder)), target="affair", metric="auc")
    dataset = load(data, cache=places.data_cache())
    if name != "fashion":
        return dataset
    few = slice(0, N_IMAGES)
    return replace(dataset, X=dataset.X[few], y=dataset.y[few], sha256=f"the first {N_IMAGES} of {dataset.sha256}")


def experiment_of(name: str, seed: int) -> Experiment:
    """Return the definition of a landscape."""
    return parse({**DEFINITIONS[name], "seed": seed}, name=name)


def dimensions(name: str) -> tuple[str, ...]:
    """Return the tuned dimensions of a landscape, in the order of its table of settings."""
    tuned = DEFINITIONS[name]["tune"]
    return tuple(sorted({of for key, value in tuned.items() for of in (value if isinstance(value, dict) else [key])}))


def inside(shares: NDArray[np.float64], names: Sequence[str], limits: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which settings lie in narrower ranges: ``learning_rate=0.2:0.8``, in shares of the landscape's own."""
    keep = np.ones(len(shares), dtype=np.bool_)
    for name, _, ends in (limit.partition("=") for limit in limits):
        low, high = map(float, ends.split(":"))
        share = shares[:, names.index(name)]
        keep &= (low <= share) & (share <= high)
    return keep


def chosen(name: str, seed: int, n_settings: int, limits: Sequence[str]) -> list[int]:
    """Return the settings that lie in some ranges, of the first so many of the table."""
    shares = design.common_settings(experiment_of(name, seed), n_settings)
    return np.flatnonzero(inside(shares, dimensions(name), limits)).tolist()


def jobs(experiment: Experiment, dataset: Dataset, settings: Sequence[int]) -> list[Job]:
    """Return every network of some settings, those of one compiled program behind each other."""
    from depthcheck.pipeline.prepare.split import resolve

    split = resolve(experiment.split, dataset)
    table = design.common_settings(experiment, max(settings) + 1)
    found = [
        Job(
            setting,
            number,
            space.to_config(
                experiment,
                design.combination_point(experiment, combination, table[setting].tolist()),
                seed=design.derive_seed(experiment.seed, "compare", setting),
                data_sha256=dataset.sha256,
                split=split,
            ),
        )
        for setting, (number, combination) in itertools.product(settings, enumerate(design.combinations(experiment)))
    ]
    return sorted(found, key=program)


def program(job: Job) -> str:
    """Return what networks of one compiled program have in common."""
    return str((job.config.model, job.config.optimizer.name, job.config.fit.batch_size))


def train(name: str, seed: int, share: tuple[int, int], settings: Sequence[int], folder: Path) -> None:
    """Train one process's share of a landscape; each network's answers go into a file of their own."""
    from depthcheck.pipeline.trial import judge, run_trial

    experiment, dataset = experiment_of(name, seed), dataset_of(name, folder)
    by_program = itertools.groupby(jobs(experiment, dataset, settings), key=program)
    mine = [job for number, (_, of) in enumerate(by_program) if number % share[1] == share[0] for job in of]
    mine = [job for job in mine if not (folder / f"{job.setting}-{job.combination}.npz").exists()]
    started = time.perf_counter()
    for n_done, job in enumerate(mine, start=1):
        path = folder / f"{job.setting}-{job.combination}.npz"
        trained = run_trial(job.config, dataset)
        answers = trained.predictions or judge(trained.model, job.config, dataset)[1]
        np.savez(
            path.with_suffix(".part.npz"),
            valid=trained.result.valid.score,
            best_train=max(trained.result.history.train_score),
            diverged=trained.result.state == "diverged",
            answers=answers.predicted if answers.positive is None else answers.positive,
            y=answers.y,
            fold=np.zeros(0) if answers.fold is None else answers.fold,
        )
        path.with_suffix(".part.npz").rename(path)
        if share[0] == 0 and n_done % 20 == 0:
            left = (time.perf_counter() - started) / n_done * (len(mine) - n_done)
            print(f"{name}: {n_done} of {len(mine)} here, {left / 60:.0f} min left", file=sys.stderr, flush=True)


def gather(name: str, seed: int, settings: Sequence[int], folder: Path) -> Path:
    """Put the networks' files together into the landscape's."""
    experiment = experiment_of(name, seed)
    combinations = design.combinations(experiment)
    shape = (len(settings), len(combinations))
    files = [np.load(folder / f"{settings[at]}-{number}.npz") for at, number in np.ndindex(shape)]
    y, answers = files[0]["y"], np.stack([of["answers"] for of in files]).reshape(*shape, -1)
    metric = experiment.data.metric or ("accuracy" if y.dtype.kind == "i" else "r2")
    stored: dict[str, Any] = {"answers": answers.astype(np.float16 if metric == "auc" else np.float32)}
    if metric == "accuracy":
        stored = {"right": np.packbits(answers == y, axis=-1), "n_right": len(y)}
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(
        path,
        metric=metric,
        y=y.astype(np.float32),
        fold=files[0]["fold"].astype(np.int8),
        valid=np.array([of["valid"] for of in files], dtype=np.float64).reshape(shape),
        best_train=np.array([of["best_train"] for of in files], dtype=np.float32).reshape(shape),
        diverged=np.array([of["diverged"] for of in files]).reshape(shape),
        shares=design.common_settings(experiment, max(settings) + 1)[settings],
        levels=np.array([[str(level) for level in combination.values()] for combination in combinations]),
        factors=np.array(list(experiment.compare)),
        seed=seed,
        **stored,
    )
    return path


def pieces(n: int) -> Iterator[tuple[int, int]]:
    """Yield the share of each process."""
    return ((number, n) for number in range(n))


def main() -> None:
    """Train what is missing, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(DEFINITIONS))
    parser.add_argument("--settings", type=int, default=200)
    parser.add_argument(
        "--within", nargs="*", default=(), help="only settings in narrower ranges: units=0.67:1, in shares"
    )
    parser.add_argument("--seed", type=int, default=4321)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/output/landscapes"))
    given = parser.parse_args()
    settings, folder = chosen(given.name, given.seed, given.settings, given.within), given.work / given.name
    folder.mkdir(parents=True, exist_ok=True)
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as programs:
        os.environ.update(worker_environment(Path(programs)))
        context = multiprocessing.get_context("spawn")
        running = [
            context.Process(target=train, args=(given.name, given.seed, share, settings, folder))
            for share in pieces(given.processes)
        ]
        for process in running:
            process.start()
        for process in running:
            process.join()
    print(gather(given.name, given.seed, settings, folder))


if __name__ == "__main__":
    main()
