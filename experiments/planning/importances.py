"""How much of the scores' variation goes with each dimension, as Optuna reckons it. Descriptive: no comparison."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from depthcheck.pipeline.config import ParamValue

optuna.logging.set_verbosity(optuna.logging.WARNING)

#: With fewer trials the two methods mostly disagree, and with themselves on another seed.
FEWEST_TRIALS = 20
PED_ANOVA, FANOVA = "PED-ANOVA", "fANOVA"


def importances(
    points: Sequence[Mapping[str, ParamValue]], scores: Sequence[float], *, log: Collection[str] = ()
) -> dict[str, dict[str, float]]:
    """Return the importance of each dimension by PED-ANOVA (Watanabe et al. 2023) and fANOVA (Hutter et al. 2014).

    PED-ANOVA asks what sets the best tenth apart from all others, fANOVA what the whole variation goes with: they may
    disagree.

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
    spaces = {name: _distribution([point[name] for point in points], name in log) for name in sorted(shared)}
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


def _distribution(values: Sequence[ParamValue], log: bool) -> BaseDistribution | None:
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
