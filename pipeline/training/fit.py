"""Fit: compiled models trained on their training parts, with validation after each epoch.

Which epoch counts is one rule, the same everywhere: **the last**. Weights are not restored from an earlier epoch, so
that the number of epochs means the same for every trial, and picking the best epoch does not flatter the score. A
configuration with early stopping has another rule, which is part of its level: the epoch of the lowest validation loss.
"""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from depthcheck.pipeline.config import FitConfig, require
from depthcheck.pipeline.metrics import Objective, mean_evaluation, objective_of, training_weights
from depthcheck.pipeline.records import Evaluation, History, Part, Split
from depthcheck.pipeline.scores import METRICS, are_equal
from depthcheck.pipeline.training.evaluate import evaluation_of
from depthcheck.pipeline.training.program import ProgramCache, Values, can_fill
from depthcheck.pipeline.training.sharing import shared

EpochCallback = Callable[[int, dict[str, float]], bool | None]

#: How long one call of a program may take: progress is told, and a worker that ends is noticed, in between.
_SECONDS_A_CALL = 1.0
#: Numbers, of four bytes each, that go into a call and come out of it, at most.
_MOST_NUMBERS = 2**23
#: Programs and training data of this process, kept between trials: they speed the next trial up and change nothing.
_programs = ProgramCache(size=32)
_resident: dict[tuple[int, int, int], tuple[tf.Tensor, tf.Tensor]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch gave; ``outputs`` is what the model said of the validation part, None where there is none."""

    train_loss: float
    train_score: float
    valid: Evaluation | None
    outputs: NDArray[np.float32] | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """What training gave.

    Attributes
    ----------
    history
        Means over the splits, epoch by epoch, with the sum of their seconds.
    valid
        The mean evaluation of the validation parts by the weights of the epoch that counts.
    outputs
        What each model said of its validation part then, ``(n_valid, n_outputs)``.
    """

    history: History
    valid: Evaluation
    outputs: tuple[NDArray[np.float32], ...]


def fit_folds(
    models: Sequence[keras.Model],
    splits: Sequence[Split],
    config: FitConfig,
    *,
    capacity: int = 0,
    on_epoch_end: EpochCallback | None = None,
    is_watched: bool = False,
    programs: ProgramCache | None = None,
) -> Fit:
    """Train models on their own splits, one epoch after another, so that their means are curves.

    Ends behind an epoch whose mean training or validation loss is not finite; that epoch is part of the history. At the
    end each model holds the weights of the epoch that counts (:func:`counted`): with early stopping the one of the
    lowest mean validation loss, otherwise the last. One call at a time in a process.

    As many epochs as take about a second are one call of a compiled program. Where training is found to end in the
    middle of them, they are trained once more as far as that; how long an epoch takes changes no bit.

    Parameters
    ----------
    models
        Compiled models of :func:`depthcheck.pipeline.training.build.build`. One model may stand for several splits,
        each of which it starts from its values now; it ends with those of the first one.
    splits
        Training parts are trained on, validation parts evaluated after each epoch. The arrays must not be changed in
        place afterwards: they stay resident for the next trial, as long as they live.
    config
        Epochs, batch size, the seed of the order of samples, and whether classes weigh the same. With class weights
        the training loss is the weighted one, which is what training minimizes; the validation loss never is.
    capacity
        At least the number of training samples, or 0: small networks share a compiled program
        (:mod:`depthcheck.pipeline.training.sharing`). Where it is more, a program serves training parts of any size
        below: folds differ in size by a sample or by a group, and compiling takes longer than training on few samples.
        Not heeded where batches cannot be filled up (:func:`depthcheck.pipeline.training.program.can_fill`).
    on_epoch_end
        Called with the number of the epoch, from 1, and its values under the keys of :meth:`History.curves`.
        Training ends when it returns True.
    is_watched
        Whether ``on_epoch_end`` looks at the first model: it then has the weights of the epoch.
    programs
        Where compiled programs are kept; by default with the process.
    """
    programs, room = _programs if programs is None else programs, max(len(split.valid) for split in splits)
    runs: list[_Run] = []
    begin = partial(_Run, config=config, n_splits=len(splits), capacity=capacity, room=room, programs=programs)
    for model, split in zip(models, splits, strict=True):
        runs.append(begin(model, split, alike=next((run for run in runs if run.model is model), None)))
    history, patience, best = History(), models[0].plan.patience, None
    is_over = False
    while not is_over:
        done, states = history.n_epochs, [run.state for run in runs]
        n_epochs = min(config.epochs - done, _epochs_a_call(runs))
        # Only the model that is looked at has to stop at each epoch: a call has its price.
        first = [(runs[0].train(1)[0], runs[0].state) for _ in range(n_epochs)] if is_watched else []
        folds = [[epoch for epoch, _ in first] or runs[0].train(n_epochs), *(run.train(n_epochs) for run in runs[1:])]
        for number, each in enumerate(zip(*folds, strict=True), start=done + 1):
            valid = mean_evaluation([fold.valid for fold in each if fold.valid is not None])
            outputs = tuple(fold.outputs for fold in each if fold.outputs is not None)
            history = _with_epoch(history, each, valid)
            if is_watched:
                runs[0].give_values(first[number - done - 1][1])
            is_over = on_epoch_end is not None and bool(
                on_epoch_end(number, {k: v[-1] for k, v in history.curves().items()})
            )
            is_over |= history.diverged or number == config.epochs
            if patience is not None and not history.diverged:
                best_number = counted(history, patience)
                best = (valid, outputs, states, number - done) if best_number == number else best
                is_over |= number - best_number >= patience
            if is_over:
                break
        if number < done + n_epochs:
            _train_again(runs, states, number - done)
    if best is not None and not history.diverged and counted(history, patience) < history.n_epochs:
        valid, outputs, states, n_epochs = best
        _train_again(runs, states, n_epochs)
    for run in {id(run.model): run for run in reversed(runs)}.values():
        run.give_values()
    return Fit(history=history, valid=valid, outputs=outputs)


def fit_whole(
    model: keras.Model, split: Split, config: FitConfig, *, n_epochs: int, folds: Sequence[Split], capacity: int
) -> None:
    """Train ``model`` in place on a split without a validation part, by the program of the folds of the same data.

    Parameters
    ----------
    n_epochs
        Of those that ``config`` plans; the learning rate follows its schedule as if all were to come.
    folds
        Those of the same data.
    capacity
        See :func:`fit_folds`.
    """
    room = max(len(fold.valid) for fold in folds)
    run = _Run(model, split, config, n_splits=len(folds), capacity=capacity, room=room, programs=_programs)
    while (left := n_epochs - run.state.n_epochs) > 0:
        run.train(min(left, _epochs_a_call([run])))
    run.give_values()


def counted(history: History, patience: int | None) -> int:
    """Return the number of the epoch whose weights count, from 1: the last, or the first of the lowest loss."""
    losses = history.valid_loss
    return history.n_epochs if patience is None else losses.index(min(losses)) + 1


@dataclass(frozen=True, slots=True)
class _State:
    """Where a training stands: epochs done, all values, and the generator of the orders to come."""

    n_epochs: int
    values: Values
    rng: np.random.Generator


class _Run:
    """The training of one model on one split; a state of it can be gone back to."""

    def __init__(
        self,
        model: keras.Model,
        split: Split,
        config: FitConfig,
        *,
        n_splits: int,
        capacity: int,
        room: int,
        programs: ProgramCache,
        alike: _Run | None = None,
    ) -> None:
        require(len(split.train) > 0, "number of training samples", "at least 1", len(split.train))
        weighted = config.class_weight == "balanced"
        require(not (weighted and split.task == "regression"), "class_weight of a regression", "left out", "balanced")
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self.model, self._split, self._config = model, split, config
        self._objective = objective_of(split)
        self._X, self._y = _resident_tensors(split.train, self._objective, capacity if can_fill(model) else 0)
        self._valid, _ = _resident_tensors(split.valid, self._objective, room)
        self._weights = training_weights(split, is_balanced=weighted)
        self._rates, self._rate = _rates(model, len(split.train), config), float(model.optimizer.learning_rate)
        keeps = METRICS[self._objective.metric].keeps
        says_score = isinstance(model.loss, keras.losses.MeanSquaredError)
        if keeps == "loss" and not (says_score and not are_equal(split.train.y, split.train.weight)):
            keeps = "outputs"  # another loss does not say what the score is, nor does any of equal targets
        if keeps == "hits" and split.train.weight is not None:
            keeps = "outputs"  # hits are counted, not weighed
        padded, size = shared(model, config, capacity, n_splits)
        self.program = programs.program(model, size, keeps, padded)
        self._settings = np.append(self.program.settings_of(model, padded), np.float32(split.train.scale))
        n_outputs = model.output_shape[-1]
        n_kept = len(self._X) * n_outputs * (size if padded else 1) if keeps == "outputs" else 1
        numbers = len(self._X) + n_kept + len(self._valid) * n_outputs
        #: Epochs that one call may train, so that orders and outputs do not fill the memory.
        self.most_epochs = max(1, min(config.epochs, _MOST_NUMBERS // numbers))
        # Another fold's training of the same model, which begins from the same values.
        values = self.program.values_of(model) if alike is None else alike.state.values
        self.state: _State = _State(0, values, np.random.default_rng((config.seed, len(split.train))))

    def train(self, n_epochs: int) -> list[Epoch]:
        """Go on for so many epochs."""
        start, n_traces, before, train = time.perf_counter(), self.program.n_traces, self.state, self._split.train
        rng = copy.deepcopy(before.rng)
        orders = orders_of(rng, len(train), n_epochs)
        rates = None if self._rates is None else self._rates[before.n_epochs : before.n_epochs + n_epochs]
        done = self.program.run(
            before.values,
            self._settings,
            self._X,
            self._y,
            orders,
            valid=self._valid,
            batch_size=self._config.batch_size,
            most_epochs=self.most_epochs,
            weights=self._weights,
            rates=rates,
        )
        self.model.engine = self.program.engine
        self.state = _State(before.n_epochs + n_epochs, done.values, rng)
        found = []
        for number, (order, loss, kept) in enumerate(zip(orders, done.losses, done.kept, strict=True)):
            outputs, valid = None, None
            if len(self._split.valid):
                outputs = done.outputs[number, : len(self._split.valid)]
                valid = evaluation_of(outputs, self._split.valid, "valid", self._objective)
            rate = self._rate if rates is None else float(rates[number, -1])
            found.append(
                Epoch(
                    train_loss=float(loss),
                    train_score=_train_score(self._objective, train, order, float(loss), kept),
                    valid=valid,
                    outputs=outputs,
                    learning_rate=rate,
                    seconds=0.0,
                )
            )
        seconds = (time.perf_counter() - start) / n_epochs
        if self.program.n_traces == n_traces:
            self.program.epoch_seconds = seconds
        return [replace(epoch, seconds=seconds) for epoch in found]

    def give_values(self, state: _State | None = None) -> None:
        """Let the model hold the values that its training has reached, or those of an earlier state."""
        self.program.give(self.model, (state or self.state).values)


def _train_again(runs: Sequence[_Run], states: Sequence[_State], n_epochs: int) -> None:
    for run, state in zip(runs, states, strict=True):
        run.state = state
        run.train(n_epochs)


def _epochs_a_call(runs: Sequence[_Run]) -> int:
    """Return how many epochs of all runs take about a second, as far as it is known."""
    seconds = sum(run.program.epoch_seconds for run in runs)
    most = min(run.most_epochs for run in runs)
    return max(1, int(min(most, _SECONDS_A_CALL / seconds)))


def _rates(model: keras.Model, n_samples: int, config: FitConfig) -> NDArray[np.float32] | None:
    """Return the learning rate of each step, ``(n_epochs, n_steps)`` float32; None where it is constant."""
    if model.plan.rate is None:
        return None
    n_steps = -(-n_samples // config.batch_size)
    total = n_steps * config.epochs
    rates = float(model.optimizer.learning_rate) * model.plan.rate((np.arange(total) + 0.5) / total)
    return np.asarray(rates, np.float32).reshape(config.epochs, n_steps)


def orders_of(rng: np.random.Generator, n_samples: int, n_epochs: int) -> NDArray[np.int32]:
    """Return the orders of samples of the next epochs, ``(n_epochs, n_samples)``."""
    return np.stack([rng.permutation(n_samples).astype(np.int32) for _ in range(n_epochs)])


def _train_score(objective: Objective, part: Part, order: NDArray[np.int32], loss: float, kept: NDArray[Any]) -> float:
    if kept.ndim == 0:
        return 1 - loss if METRICS[objective.metric].keeps == "loss" else int(kept) / len(order)
    return objective.score(part.y[order], kept, None if part.weight is None else part.weight[order])


def _with_epoch(history: History, folds: Sequence[Epoch], valid: Evaluation) -> History:
    """Return the history with one more epoch: means over the folds, and the sum of their seconds."""
    return History(
        metric=valid.metric,
        train_loss=(*history.train_loss, sum(fold.train_loss for fold in folds) / len(folds)),
        train_score=(*history.train_score, sum(fold.train_score for fold in folds) / len(folds)),
        valid_loss=(*history.valid_loss, valid.loss),
        valid_score=(*history.valid_score, valid.score),
        learning_rate=(*history.learning_rate, folds[0].learning_rate),
        seconds=(*history.seconds, sum(fold.seconds for fold in folds)),
    )


def _resident_tensors(part: Part, objective: Objective, capacity: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the part as tensors of at least ``capacity`` rows; the same for each trial of a process on its arrays."""
    key = (id(part.X), id(part.y), capacity)
    if key not in _resident:
        y = objective.targets(part.y) if objective.is_regression else part.y.astype(np.int32)
        X = _padded(part.X, capacity)[:]
        shared = tf.experimental.dlpack.from_dlpack(X.__dlpack__()) if _can_share(X, part.X) else tf.constant(X)
        _resident[key] = shared, tf.constant(_padded(y, capacity))
        weakref.finalize(part.X, _resident.pop, key, None)
        weakref.finalize(part.y, _resident.pop, key, None)
    return _resident[key]


def _can_share(X: NDArray[Any], owner: NDArray[Any]) -> bool:
    """Whether TensorFlow can take the memory of ``X`` as it is: ``tf.constant`` copies it twice.

    The tensor keeps the memory alive; it must not keep ``owner`` alive, whose end is the end of the entry.
    """
    return X.size > 0 and X.flags.c_contiguous and X.ctypes.data % 64 == 0 and X.base is not owner


def _padded(rows: NDArray[Any], capacity: int) -> NDArray[Any]:
    missing = max(0, capacity - len(rows))
    return np.pad(rows, [(0, missing), *[(0, 0)] * (rows.ndim - 1)]) if missing else rows
