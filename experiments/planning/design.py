"""Which trials a study consists of: phases, combinations, settings and seeds. Pure: no clock, no storage, no state.

The plan of a study is a function of its definition and of the budgets that were asked for, one after the other. Only
the points of phase *exploit* are left open; TPE proposes them when their turn comes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from depthcheck.experiments.planning import space
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import Finalist
from depthcheck.pipeline.config import ParamValue, SplitConfig
from depthcheck.pipeline.records import Phase

Combination = Mapping[str, ParamValue]
_STREAMS = {"baseline": 0, "compare": 1, "exploit": 2, "sobol": 3, "sampler": 4, "confirm": 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """A trial to come.

    Attributes
    ----------
    number
        Optuna's number of the trial, its place in the plan.
    combination
        The combination of levels, by factor; empty outside phase *compare*.
    finalist
        The finalist that a trial of phase *confirm* trains again, or None.
    common_setting
        Which row of the table of nuisances it has; trials of one common setting share their training seed too.
    point
        Optuna's parameters, or None where TPE proposes them.
    seed
        Of its training: weights, order and dropout.
    repeat
        With cross-validation, the partition into folds: 0 in the search, another for each seed of *confirm*.
    """

    number: int
    phase: Phase
    seed: int
    combination: Combination = field(default_factory=dict)
    common_setting: int | None = None
    point: space.Point | None = None
    finalist: str | None = None
    repeat: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRound:
    """A budget that was asked for: so many trials of baseline, compare and exploit, earlier rounds included."""

    trials: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRound:
    """Finalists, frozen, and which of them are trained on which of the fresh seeds (by its index)."""

    finalists: tuple[Finalist, ...]
    runs: tuple[tuple[str, int], ...]


Round = SearchRound | ConfirmRound


def derive_seed(seed: int, stream: str, index: int) -> int:
    """Return a seed below 2**32 for one purpose; seeds of different purposes are independent.

    Source: numpy's SeedSequence, made for spawning independent streams from one seed.
    """
    return int(np.random.SeedSequence([seed, _STREAMS[stream], index]).generate_state(1)[0])


def combinations(experiment: Experiment) -> list[dict[str, ParamValue]]:
    """Return every combination of the compared levels, the last factor varying fastest; an empty one without any."""
    names = list(experiment.compare)
    return [dict(zip(names, levels, strict=True)) for levels in itertools.product(*experiment.compare.values())]


def common_settings(experiment: Experiment, n_settings: int) -> NDArray[np.float64]:
    """Return the table of nuisance values, one row a common setting, one column a tuned dimension, shares in [0, 1).

    Scrambled Sobol points: they fill the ranges more evenly than random ones, and a longer table begins with the
    rows of a shorter one, so that a study can be extended.
    """
    columns = _columns(experiment)
    if not columns or not n_settings:
        return np.zeros((n_settings, len(columns)))
    sobol = qmc.Sobol(len(columns), scramble=True, rng=derive_seed(experiment.seed, "sobol", 0))
    return np.asarray(sobol.random_base2(int(np.ceil(np.log2(n_settings))))[:n_settings], dtype=np.float64)


def _columns(experiment: Experiment) -> list[str]:
    """Return the tuned dimensions; optimizer by optimizer they have their own ranges but one column."""
    return sorted(set(experiment.tune).union(*(ranges for ranges in experiment.tune_for.values())))


def combination_point(
    experiment: Experiment, combination: Combination, shares: Sequence[float]
) -> dict[str, ParamValue]:
    """Return the point of a row of the table of nuisances: each share mapped into the combination's own ranges."""
    share = dict(zip(_columns(experiment), shares, strict=True))
    values: dict[str, ParamValue] = {**experiment.fixed, **combination}
    for name in ("optimizer", "depth"):
        if name not in values:
            values[name] = experiment.tune[name].at(share[name])
    for name, tuned in experiment.tuned_for(str(values["optimizer"]), int(values["depth"])).items():
        if name not in values:
            values[name] = tuned.at(share[name])
    return space.point(values)


def first_point(experiment: Experiment) -> dict[str, ParamValue]:
    """Return the point of the first combination of levels at the first common setting."""
    return combination_point(experiment, combinations(experiment)[0], common_settings(experiment, 1)[0].tolist())


def plan(experiment: Experiment, rounds: Sequence[Round]) -> list[PlannedTrial]:
    """Return all trials of a study, round by round: the budgets asked for, and the finalists that followed each.

    Each budget is shared out for itself, so that a study that was extended keeps the trials that it had.

    Parameters
    ----------
    experiment
        Its own number of trials is not looked at.
    rounds
        In the order in which they came; the first is a search.
    """
    planned: list[PlannedTrial] = []
    n_search = n_settings = 0
    for one in rounds:
        if isinstance(one, ConfirmRound):
            planned += _confirm(experiment, one, len(planned))
            continue
        if not planned:
            seed = derive_seed(experiment.seed, "baseline", 0)
            at = space.point(experiment.baseline)
            planned.append(PlannedTrial(number=0, phase="baseline", point=at, seed=seed))
            n_search = 1
        n_new = _new_settings(experiment, one.trials, n_settings, n_search)
        planned += _compare(experiment, range(n_settings, n_settings + n_new), len(planned))
        n_settings += n_new
        n_search += n_new * len(combinations(experiment))
        planned += _exploit(experiment, range(len(planned), len(planned) + one.trials - n_search))
        n_search = max(n_search, one.trials)
    return planned


def check_plan(experiment: Experiment, split: SplitConfig) -> None:
    """Make what is laid down beforehand, and the ends of what TPE may propose: what cannot be is told before all else.

    Raises
    ------
    ValueError
        When values that are each within their limits do not go together.
    """
    for trial in plan(experiment, [SearchRound(trials=experiment.budget.trials)]):
        if trial.point is not None:
            space.to_config(experiment, trial.point, seed=trial.seed, data_sha256="", split=split)
    for optimizer, depth in itertools.product(experiment.levels("optimizer"), experiment.levels("depth")):
        told: dict[str, Sequence[ParamValue]] = {name: (value,) for name, value in experiment.fixed.items()}
        told |= experiment.compare
        told |= {name: tuned.ends for name, tuned in experiment.tuned_for(str(optimizer), int(depth)).items()}
        told |= {"optimizer": (optimizer,), "depth": (depth,)}
        for row in range(max(map(len, told.values()))):
            at = space.point({name: values[min(row, len(values) - 1)] for name, values in told.items()})
            space.to_config(experiment, at, seed=0, data_sha256="", split=split)


def n_to_confirm(experiment: Experiment, search: Sequence[PlannedTrial] = ()) -> int:
    """Return how many trainings on fresh seeds follow a search: of its best network, and of the best of other levels.

    Where nothing is tuned every level has a finalist; several levels may share one, so that this is the most. The
    baseline is never one, and too few trials to compare levels have their best alone. Without a search it is what one
    of any size comes to; configurations that the user chose have none.
    """
    n_levels = sum(len(levels) for levels in experiment.compare.values()) or 1
    n_finalists = min(len(combinations(experiment)), 2 if experiment.is_tuned else n_levels)
    phases = Counter(trial.phase for trial in search)
    if search:
        n_finalists = min(n_finalists, phases["compare"] or min(phases["exploit"], 1))
    return n_finalists * experiment.budget.seeds


def _compare(experiment: Experiment, new_settings: range, first: int) -> list[PlannedTrial]:
    table = common_settings(experiment, new_settings.stop)
    return [
        PlannedTrial(
            number=number,
            phase="compare",
            combination=combination,
            common_setting=common_setting,
            point=combination_point(experiment, combination, table[common_setting].tolist()),
            seed=derive_seed(experiment.seed, "compare", common_setting),
        )
        for number, (common_setting, combination) in enumerate(
            itertools.product(new_settings, combinations(experiment)), start=first
        )
    ]


def _exploit(experiment: Experiment, numbers: range) -> list[PlannedTrial]:
    seeds = {number: derive_seed(experiment.seed, "exploit", number) for number in numbers}
    return [PlannedTrial(number=number, phase="exploit", seed=seed) for number, seed in seeds.items()]


def _confirm(experiment: Experiment, one: ConfirmRound, first: int) -> list[PlannedTrial]:
    points = {finalist.id: finalist.point for finalist in one.finalists}
    return [
        PlannedTrial(
            number=number,
            phase="confirm",
            point=points[finalist],
            seed=derive_seed(experiment.seed, "confirm", index),
            finalist=finalist,
            repeat=index + 1,
        )
        for number, (finalist, index) in enumerate(one.runs, start=first)
    ]


def _new_settings(experiment: Experiment, budget: int, n_settings: int, n_search: int) -> int:
    """Return how many more trials each combination gets: equal shares, at least one where one for each can be had."""
    n_combinations = len(combinations(experiment))
    left = (budget - n_search) // n_combinations
    if not _columns(experiment) and n_combinations == 1:
        return max(left, 0)  # nothing to search: all trials repeat the one configuration on fresh seeds
    share = experiment.budget.compare
    wanted = max(int(share * budget + 1e-9) // n_combinations, 1 if share > 0 else 0)
    return max(min(wanted - n_settings, left), 0)
