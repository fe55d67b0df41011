"""One trial: ``TrialConfig + Dataset -> TrialResult``. Start reading here.

The stages are chained in the order load, split, prepare, build, fit, evaluate; loading is the caller's, who has the
data set in hand. Everything that decides, remembers or talks to the outside stands around this function.

With cross-validation the folds are trained side by side, epoch by epoch, so that the means over them are curves like
any other: a trial of folds is logged, pruned and stopped as one with a single split is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import TrialConfig, require
from depthcheck.pipeline.metrics import dummy_evaluation, mean_evaluation, objective_of
from depthcheck.pipeline.own import OwnCodeError
from depthcheck.pipeline.prepare.prepare import (
    Preparation,
    Prepared,
    example_samples,
    options_of_features,
    out_of_fold,
    prepared,
    whole,
)
from depthcheck.pipeline.prepare.split import units_of
from depthcheck.pipeline.records import Dataset, Evaluation, Predictions, Scaler, Split, TrialResult
from depthcheck.pipeline.scores import METRICS
from depthcheck.pipeline.served import load_keras
from depthcheck.pipeline.training.build import build, serving_model
from depthcheck.pipeline.training.evaluate import (
    evaluate,
    judge_outputs,
    layer_diagnostics,
    outputs_of,
    predictions,
    served_outputs,
)
from depthcheck.pipeline.training.fit import EpochCallback, counted, fit_folds, fit_whole

#: A regression's mean square beside that of guessing, beyond which training diverged, as for R².
_MOST_LOSS = 1 - METRICS["r2"].diverged_below


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedTrial:
    """A result and what travels beside it.

    Attributes
    ----------
    model
        Gives probabilities of the classes, or numbers in the target's own unit, ``(n, 1)``. It takes raw samples as
        an array data set has them; of a table, rows that ``preparation`` has transformed. With folds it is, in phase
        *confirm*, trained on all rows with the same seed and epochs, and while searching the first fold's. That it is,
        too, where the trial diverged, or the training on all rows alone.
    preparation
        How raw samples become features, fitted on the samples that ``model`` was trained on.
    predictions
        With folds, of each row by the network that was not trained on it, in the order of rows. Else on the test part,
        in phase *confirm* alone: what a searched network says of it :func:`judge` finds when the search is over.
    engine
        ``compiled``, or ``step by step`` with the reason for a user's own model that XLA cannot compile.
    example
        In phase *confirm* a few raw ``samples`` and the model's ``outputs`` for them: the champion is one of these.
    is_of_a_fold
        Whether ``model`` is the first fold's in phase *confirm*.
    """

    result: TrialResult
    model: keras.Model
    preparation: Preparation
    predictions: Predictions | None
    engine: str = "compiled"
    example: dict[str, Any] | None = None
    is_of_a_fold: bool = False


def run_trial(
    config: TrialConfig,
    dataset: Dataset,
    *,
    on_epoch_end: EpochCallback | None = None,
    prune_below: Sequence[float] = (),
    confirm: bool = False,
) -> TrainedTrial:
    """Train and evaluate one configuration.

    Parameters
    ----------
    config
        All that defines the trial. The same configuration on the same data gives the same result, bit by bit, on
        one machine and with one set of package versions. With folds, each is trained with the same seed; curves and
        validation scores are means over folds, ``n_samples`` and seconds are sums, and there is no test part.
    dataset
        The data that ``config`` names.
    on_epoch_end
        Called with the number of the epoch (from 1) and its values, while the trial trains.
    prune_below
        One validation score an epoch: the trial is pruned at the first epoch whose best score so far lies below.
    confirm
        Whether this is a run of phase *confirm*: the test part is opened, which searching never does, and each
        epoch's diagnostics by layer are passed on with its values (of the first fold, where there are folds).

    Raises
    ------
    ValueError
        When the data are not those of the configuration, or cannot be cut as it says.
    """
    require(dataset.sha256 == config.data_sha256, f"SHA-256 of {config.data.name}", config.data_sha256, dataset.sha256)
    folds = prepared(dataset, config.split, options_of_features(config.model))
    by_width: dict[int, keras.Model] = {}  # folds may differ in the categories of their columns
    for fold in folds:
        if fold.split.n_features not in by_width:
            by_width[fold.split.n_features] = _network(config, fold, dataset)
    networks = [by_width[fold.split.n_features] for fold in folds]
    first, network = folds[0].split, networks[0]
    diagnostics = (lambda: layer_diagnostics(network, first.train, objective_of(first))) if confirm else dict
    watcher = _Watcher(prune_below, on_epoch_end, diagnostics)
    fitted = fit_folds(
        networks,
        [fold.split for fold in folds],
        config.fit,
        capacity=_capacity(dataset) if config.split.folds else len(first.train),
        on_epoch_end=watcher,
        is_watched=confirm,
    )
    history, valid = fitted.history, fitted.valid
    metric, diverged = METRICS[valid.metric], history.diverged
    # A metric of the user's own may tell of errors in any unit; the loss tells them in that of guessing.
    is_far = metric.own is not None and first.task == "regression" and valid.loss > _MOST_LOSS
    if diverged or is_far or not valid.score >= metric.diverged_below:  # what is no number is not above it either
        guess = mean_evaluation([dummy_evaluation(fold.split, objective_of(fold.split)) for fold in folds])
        diverged = diverged or not valid.score >= metric.least(guess.score)
        diverged = diverged or (is_far and valid.loss > _MOST_LOSS * guess.loss)
        valid = guess if diverged else valid
    test = first.test if confirm else None
    product, its_data = network, folds[0]
    if confirm and config.split.folds and not diverged:
        n_epochs = counted(history, network.plan.patience)
        of_all = _trained_on_all(config, dataset, n_epochs, [fold.split for fold in folds])
        # Nothing else judges this network: numbers may run away on all rows that did on no fold.
        of_rows = of_all[1].split
        loss = evaluate(of_all[0], of_rows.train, "train", objective_of(of_rows)).loss
        if math.isfinite(loss) and not (of_rows.task == "regression" and loss > _MOST_LOSS):
            product, its_data = of_all
    result = TrialResult(
        config=config,
        state="diverged" if diverged else "pruned" if watcher.pruned else "finished",
        history=history,
        valid=valid,
        test=None if test is None else evaluate(network, test, "test", objective_of(first)),
        n_params=product.count_params(),
        fit_seconds=sum(history.seconds),
    )
    model = _served(product, its_data, dataset)
    return TrainedTrial(
        result=result,
        model=model,
        preparation=its_data.preparation,
        engine=network.engine,
        predictions=_predictions(network, fitted.outputs, folds, dataset) if confirm or config.split.folds else None,
        example=_example(model, its_data, dataset) if confirm else None,
        is_of_a_fold=confirm and config.split.folds > 0 and product is network,
    )


def try_own(config: TrialConfig, dataset: Dataset) -> None:
    """Build a user's own model once, call it, save it, read it back and watch its layers, before anything is trained.

    Raises
    ------
    OwnCodeError
        When one of these does not work; one line.
    """
    data = prepared(dataset, config.split, options_of_features(config.model))[0]
    network = _network(config, data, dataset)
    samples = data.split.train.features(slice(2))
    said = served_outputs(network, samples)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            network.save(path)
            again = load_keras(path, config.model.own)
            if not np.allclose(served_outputs(again, samples), said, atol=1e-5):
                raise ValueError("it gives other outputs when it is read back")
            other = _network(replace(config, fit=replace(config.fit, seed=config.fit.seed + 1)), data, dataset)
            other.set_weights(network.get_weights())
            # One compiled program serves all seeds, and a mask that is drawn would stay that of the first.
            if not np.allclose(served_outputs(other, samples), said, atol=1e-5):
                raise ValueError("with the same weights another seed gives other outputs: make what is drawn weights")
            layer_diagnostics(network, data.split.train, objective_of(data.split))
        except Exception as error:
            reason = " ".join(str(error).split())
            raise OwnCodeError(
                f"{config.model.name} must be a model that can be saved, read back and watched: {reason}"[:500]
            ) from error


def judge(model: keras.Model, config: TrialConfig, dataset: Dataset) -> tuple[Evaluation, Predictions]:
    """Return what a trained model says of the test part, and what that is worth.

    Parameters
    ----------
    model
        :attr:`TrainedTrial.model`, or the same read back from where it was saved.
    config, dataset
        Those that it was trained with; the data have a test part, their own or one that was set aside.

    Raises
    ------
    ValueError
        When there is no test part.
    """
    data = prepared(dataset, config.split, options_of_features(config.model))[0]
    part = data.split.test
    if part is None:
        raise ValueError(f"data must have a test part to judge by, got none in {dataset.name}")
    samples = part.X if dataset.is_table else dataset.X_test if data.cut.test is None else dataset.X[data.cut.test]
    unit = units_of(dataset, data.cut.test, config.split)
    return judge_outputs(part.y, served_outputs(model, samples), objective_of(data.split), part.weight, unit)


class _Watcher:
    """Passes epochs on, and asks to stop where the best score so far lies below the mark of its epoch."""

    def __init__(
        self,
        prune_below: Sequence[float],
        on_epoch_end: EpochCallback | None,
        diagnostics: Callable[[], dict[str, float]],
    ) -> None:
        self._marks = prune_below
        self._pass_on = on_epoch_end
        self._diagnostics = diagnostics
        self._best = -math.inf
        self.pruned = False

    def __call__(self, epoch: int, metrics: dict[str, float]) -> bool:
        stop = bool(self._pass_on(epoch, {**metrics, **self._diagnostics()})) if self._pass_on else False
        score = next(value for key, value in metrics.items() if key.startswith("valid/") and key != "valid/loss")
        self._best = max(self._best, score)
        # The last epoch ends anyhow: there is nothing left to save.
        self.pruned = epoch < len(self._marks) and self._best < self._marks[epoch - 1]
        return stop or self.pruned


def _network(config: TrialConfig, data: Prepared, dataset: Dataset) -> keras.Model:
    return build(
        config.model,
        config.optimizer,
        n_features=data.split.n_features,
        n_classes=data.split.n_classes,
        seed=config.fit.seed,
        sample_shape=None if dataset.is_table else dataset.sample_shape,
    )


def _capacity(dataset: Dataset) -> int:
    """Return a capacity of one row more than there are: folds and all rows then share one compiled program."""
    return len(dataset.y) + 1


def _trained_on_all(
    config: TrialConfig, dataset: Dataset, n_epochs: int, folds: Sequence[Split]
) -> tuple[keras.Model, Prepared]:
    data = whole(dataset, replace(config.split, repeat=0), options_of_features(config.model))
    network = _network(config, data, dataset)
    fit_whole(network, data.split, config.fit, n_epochs=n_epochs, folds=folds, capacity=_capacity(dataset))
    return network, data


def _served(network: keras.Model, data: Prepared, dataset: Dataset) -> keras.Model:
    scaler = data.preparation if isinstance(data.preparation, Scaler) else None
    shape = (data.split.n_features,) if scaler is None else dataset.sample_shape
    return serving_model(network, sample_shape=shape, scaler=scaler, objective=objective_of(data.split))


def _example(model: keras.Model, data: Prepared, dataset: Dataset) -> dict[str, Any]:
    samples, features = example_samples(data.preparation, dataset)
    return {"samples": samples, "outputs": served_outputs(model, features).tolist()}


def _predictions(
    network: keras.Model, outputs: Sequence[NDArray[np.float32]], folds: Sequence[Prepared], dataset: Dataset
) -> Predictions | None:
    """Return what each fold's network said of the fold held out, or else what ``network`` says of the test part."""
    if len(folds) > 1:
        each = []
        for of_fold, fold in zip(outputs, folds, strict=True):
            unit = units_of(dataset, fold.cut.valid, fold.cut.config)
            each.append(predictions(of_fold, fold.split.valid, objective_of(fold.split), unit))
        return out_of_fold(each, [fold.cut for fold in folds], dataset)
    split, cut = folds[0].split, folds[0].cut
    if split.test is None:
        return None
    unit = units_of(dataset, cut.test, cut.config)
    return predictions(outputs_of(network, split.test), split.test, objective_of(split), unit)
