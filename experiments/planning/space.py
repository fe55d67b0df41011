"""From ranges and levels to configurations, TPE's proposals among them, and which dimensions the scores go with.

A *point* is a dict of Optuna's parameter names and values: dimensions by their names, those that belong to an
optimizer with its name in front (``sgd.learning_rate``).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.ranges import Choices, Tuned
from depthcheck.pipeline.config import ParamValue, SplitConfig, TrialConfig
from depthcheck.pipeline.dimensions import DIMENSIONS, active, by_dimension, parameter
from depthcheck.pipeline.own import OwnModel

# What goes wrong reaches the user once, in our words; Optuna also warns of what it then gets over, with its SQL.
optuna.logging.set_verbosity(optuna.logging.ERROR)

Point = Mapping[str, ParamValue]

#: Trials that have a group of parameters before TPE models it; phase *compare* has usually brought them.
_RANDOM_BEFORE = 5
#: With fewer trials the two methods mostly disagree, and with themselves on another seed.
FEWEST_TRIALS = 20
PED_ANOVA, FANOVA = "PED-ANOVA", "fANOVA"


def point(values: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """Return the point of values by dimension; what is inactive there is left out."""
    optimizer = str(values["optimizer"])
    found = {dimension.name for dimension in active(optimizer, int(values["depth"]))}
    return {parameter(name, optimizer): value for name, value in values.items() if name in found}


def to_config(
    experiment: Experiment, at: Point, *, seed: int, data_sha256: str, split: SplitConfig, repeat: int = 0
) -> TrialConfig:
    """Return the configuration of a point: all hidden layers of one width, trained from ``seed``.

    ``repeat`` is the partition into folds, where there are any.
    """
    return TrialConfig.of(
        by_dimension(at),
        data=experiment.data,
        data_sha256=data_sha256,
        split=replace(split, repeat=repeat) if split.folds else split,
        epochs=experiment.budget.epochs,
        seed=seed,
        class_weight=experiment.class_weight,
        own=experiment.model,
    )


def from_config(config: TrialConfig) -> dict[str, ParamValue]:
    """Return the point of a configuration; the inverse of :func:`to_config`, but for data, epochs and seed.

    Raises
    ------
    ValueError
        When its hidden layers differ in width: no point has that.
    """
    if len(set(config.model.units)) > 1:
        raise ValueError(f"units must be the same in all hidden layers, got {config.model.units}")
    return point(config.values())


def in_words(point: Mapping[str, ParamValue], own: OwnModel | None = None) -> str:
    """Return a configuration on one line: ``depth 2, units 128, relu, sgd, learning rate 0.12``.

    That of a user's own model begins with its name, and has a depth only where the model takes one.
    """
    values = by_dimension(point)
    named = (
        dimension for name, dimension in DIMENSIONS.items() if values.get(name, dimension.default) != dimension.default
    )
    said = [dimension.said(values[dimension.name]) for dimension in named if own is None or own.is_said(dimension.name)]
    return ", ".join(said if own is None else [own.name, *said])


def n_products(at: Point, n_inputs: int, n_outputs: int) -> int:
    """Return how many products training a plain network takes an example: what its time grows with.

    Each weight takes part in one on the way forth and in two on the way back, its own gradient's and that of what comes
    in, which nobody asks of the data.
    """
    depth, units = int(at["depth"]), int(at.get("units", 0))
    if not depth:
        return 2 * n_inputs * n_outputs
    return units * (2 * n_inputs + 3 * ((depth - 1) * units + n_outputs))


def distributions(experiment: Experiment, at: Point) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of each of the point's parameters that is compared or tuned.

    A value outside its range (the baseline's may be) has none: Optuna refuses it, and TPE could not learn from it.
    """
    ranges = _ranges(experiment, str(at["optimizer"]), int(at["depth"]))
    return {name: _distribution(tuned) for name, tuned in ranges.items() if name in at and tuned.contains(at[name])}


def _ranges(experiment: Experiment, optimizer: str, depth: int) -> dict[str, Tuned]:
    """Return what is compared or tuned and active for an optimizer and a depth, by Optuna's names, in a fixed order."""
    found = {dimension.name for dimension in active(optimizer, depth)}
    compared = {
        parameter(name, optimizer): Choices(values=levels)
        for name, levels in experiment.compare.items()
        if name in found
    }
    tuned = {parameter(name, optimizer): tuned for name, tuned in experiment.tuned_for(optimizer, depth).items()}
    return {**compared, **tuned}


def _distribution(tuned: Tuned) -> BaseDistribution:
    if isinstance(tuned, Choices):
        return CategoricalDistribution(tuned.values)
    if tuned.integer:
        return IntDistribution(int(tuned.low), int(tuned.high), log=tuned.log, step=int(tuned.step or 1))
    return FloatDistribution(tuned.low, tuned.high, log=tuned.log, step=tuned.step)


def propose(experiment: Experiment, history: Sequence[FrozenTrial], *, seed: int) -> dict[str, ParamValue]:
    """Return TPE's next point after a history: a pure function of its arguments.

    Parameters
    ----------
    history
        The trials that the sampler may know, told ones and (as RUNNING) those that are under way. They are copied
        into a study in memory, so that neither the order in which trials ended nor a restart can reach the sampler.
    seed
        Of the sampler, new for each proposal.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group and constant_liar, since 2.8
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=_RANDOM_BEFORE
        )
    scratch = optuna.create_study(direction="maximize", sampler=sampler)
    scratch.add_trials([trial for trial in history if trial.state != TrialState.FAIL])
    trial = scratch.ask()
    values: dict[str, ParamValue] = dict(experiment.fixed)
    for name in ("optimizer", "depth"):
        if name not in values:
            levels = experiment.compare.get(name)
            values[name] = _suggest(trial, name, Choices(values=levels) if levels else experiment.tune[name])
    found = point(values)
    for name, tuned in _ranges(experiment, str(values["optimizer"]), int(values["depth"])).items():
        if name not in found:
            found[name] = _suggest(trial, name, tuned)
    return found


def _suggest(trial: optuna.Trial, name: str, tuned: Tuned) -> ParamValue:
    if isinstance(tuned, Choices):
        return tuned.values[tuned.values.index(trial.suggest_categorical(name, tuned.values))]
    if tuned.integer:
        return trial.suggest_int(name, int(tuned.low), int(tuned.high), step=int(tuned.step or 1), log=tuned.log)
    return trial.suggest_float(name, tuned.low, tuned.high, step=tuned.step, log=tuned.log)


def importances(
    points: Sequence[Mapping[str, ParamValue]], scores: Sequence[float], *, log: Collection[str] = ()
) -> dict[str, dict[str, float]]:
    """Return the importance of each dimension by PED-ANOVA (Watanabe et al. 2023) and fANOVA (Hutter et al. 2014).

    Descriptive: no comparison. PED-ANOVA asks what sets the best tenth apart from all others, fANOVA what the whole
    variation goes with: they may disagree.

    Parameters
    ----------
    points
        A trial's values by dimension. Dimensions that some trial lacks, or that never vary, are left out.
    scores
        One a trial, larger is better.
    log
        Dimensions on a logarithmic scale.

    Returns
    -------
    dict
        By method, then by dimension, shares that sum to 1; empty for fewer than 20 trials or without variation.
    """
    shared = set.intersection(*(set(point) for point in points)) if points else set()
    spaces = {name: _spanning([point[name] for point in points], name in log) for name in sorted(shared)}
    varied = {name: space for name, space in spaces.items() if space is not None}
    if len(points) < FEWEST_TRIALS or not varied or min(scores) == max(scores):
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.create_trial(params={name: point[name] for name in varied}, distributions=varied, value=score)
            for point, score in zip(points, scores, strict=True)
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental, and that tenths of few trials are small
        # Trees of full depth (64 of them by default) take 13 s for 1,000 trials, these one, with the same first digit.
        return {
            PED_ANOVA: optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
            ),
            FANOVA: optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=32, max_depth=8, seed=0)
            ),
        }


def _spanning(values: Sequence[ParamValue], log: bool) -> BaseDistribution | None:
    """Return a distribution that spans what was seen, or None where nothing varied."""
    distinct = sorted(set(values), key=str)
    if len(distinct) < 2:
        return None
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return CategoricalDistribution(distinct)
    if all(isinstance(value, int) for value in numbers):
        return IntDistribution(int(min(numbers)), int(max(numbers)), log=log and min(numbers) > 0)
    return FloatDistribution(min(numbers), max(numbers), log=log and min(numbers) > 0)
