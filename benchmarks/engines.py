"""The engines side by side: random networks trained by the compiled epoch, without XLA, and by Keras's ``fit``.

``python -m benchmarks.engines`` draws 200 definitions over all dimensions (``random_definitions.py``), plans a
configuration of each, logs it and reads it back, trains it for an epoch to three on 120 rows of digits, of a made-up
table of two classes or of one with a number to predict, and prints how far losses and weights are apart: about twenty
minutes. Where they are farther apart than sums in another order explain at first sight, a third training starts from
weights that differ by one rounding: no engine is to blame where that moves the end as far.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.random_definitions import documents, values_of
from depthcheck.experiments.planning import definition, space
from depthcheck.pipeline.config import DataConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.dimensions import Dimension
from depthcheck.pipeline.prepare.prepare import options_of_features, prepared
from depthcheck.pipeline.records import Dataset, Split

#: The last batch is smaller for most sizes of a batch.
N_ROWS, N_VALID = 150, 30
#: Numbers that somebody might train with, from and to; others go up to 1.
_ORDINARY = {
    "depth": (0, 3), "units": (1, 16), "learning_rate": (1e-4, 1e-2), "batch_size": (16, 50), "epochs": (1, 3),
    "early_stopping": (0, 2), "l2": (0, 0.1), "gradient_clip": (0, 2), "dropout": (0, 0.6), "label_smoothing": (0, 0.3),
    "weight_decay": (0, 0.01), "adam_weight_decay": (0, 0.01), "epsilon": (1e-8, 1e-3), "ns_steps": (1, 6),
    "clipnorm": (0.1, 2), "clipvalue": (0.1, 2), "global_clipnorm": (0.1, 2), "learning_rate_power": (-1, 0),
}  # fmt: skip
#: How far apart numbers may be that differ by the order of sums alone, beside the largest of them.
ROUNDING = (1e-6, 1e-5, 1e-4)


def main() -> None:
    """Train them all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--definitions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    comparisons = []
    for number, (config, dataset) in enumerate(configurations(options.definitions, options.seed), start=1):
        comparisons.append(compared(config, dataset))
        print(number, dataset.name, *comparisons[-1].values(), space.in_words(config.values()), sep="\t", flush=True)
    print(_table(comparisons))


def data() -> list[Dataset]:
    """Return images, a table of classes and one of numbers, of 150 rows each."""
    import pandas as pd

    from depthcheck.pipeline.data.load import load
    from depthcheck.pipeline.data.tables import table_dataset

    rng = np.random.default_rng(0)
    size, town = rng.normal(size=N_ROWS), rng.choice(["a", "b", "c", None], N_ROWS)
    price = np.exp(size + (town == "a")) + rng.normal(size=N_ROWS)
    frame = pd.DataFrame({"size": size, "other": rng.normal(size=N_ROWS), "town": town})
    tables = [("classes", np.where(price > 1, "dear", "cheap")), ("numbers", price)]
    return [
        load(DataConfig(name="digits", rows=N_ROWS), cache=Path()),
        *(
            table_dataset(frame.assign(price=y), DataConfig(name=name, target="price"), name=name, source="made up")
            for name, y in tables
        ),
    ]


def configurations(n_definitions: int, of_seed: int) -> Iterator[tuple[TrialConfig, Dataset]]:
    """Yield a configuration of each of so many random definitions, as it is read back from a log, and its data."""
    datasets: list[Dataset] = data()
    drawn: list[tuple[dict[str, Any], Dataset]] = []
    each = st.sampled_from(datasets).flatmap(lambda dataset: st.tuples(documents(_ordinary(dataset)), st.just(dataset)))

    @seed(of_seed)
    @settings(
        max_examples=n_definitions, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(each)
    def draw(one: tuple[dict[str, Any], Dataset]) -> None:
        drawn.append(one)

    draw()
    for number, (document, dataset) in enumerate(drawn[:n_definitions]):
        experiment = definition.parse(document | {"data": {"name": dataset.name}}, name="random")
        definition.check_fits(experiment, dataset)
        point = space.propose(experiment, [], seed=number)
        split = SplitConfig(valid_size=N_VALID)
        config = space.to_config(experiment, point, seed=number, data_sha256=dataset.sha256, split=split)
        logged = {key: str(value) for key, value in config.to_params().items()}
        again = TrialConfig.from_params(logged)
        assert again == config
        yield again, dataset


def _ordinary(dataset: Dataset) -> Callable[[Dimension], st.SearchStrategy[Any]]:
    """Return what draws the values of a dimension that data can take and somebody might train with."""

    def fits(name: str, value: Any) -> bool:
        try:
            definition.check_values({name: value}, dataset)
        except ValueError:
            return False
        return True

    def values(dimension: Dimension) -> st.SearchStrategy[Any]:
        name, kind = dimension.name, dimension.kind
        low, high = _ORDINARY.get(name, (dimension.low, min(dimension.high, 1.0)))
        if kind in ("choice", "bool"):
            return values_of(dimension).filter(lambda value: fits(name, value))
        if kind == "int":
            return st.integers(int(low), int(high))
        shares = st.integers(1 if low == dimension.low and dimension.open_low else 0, 99).map(lambda part: part / 100)
        drawn = shares.map(lambda share: low * (high / low) ** share if low > 0 else low + share * (high - low))
        return drawn.map(lambda value: value if fits(name, value) else dimension.off)

    return values


def compared(config: TrialConfig, dataset: Dataset) -> dict[str, float]:
    """Return how far apart the engines are, and compiled epoch and Keras; and as far as a rounding moves them."""
    from depthcheck.pipeline.training.program import ProgramCache

    split = prepared(dataset, config.split, options_of_features(config.model))[0].split
    compiled = _trained(config, dataset, split, ProgramCache(size=1))
    stepped = _trained(config, dataset, split, _without_xla())
    keras = _trained_by_keras(config, dataset, split)
    draws = config.model.dropout > 0 or dict(config.model.options).get("augmentation", "none") != "none"
    found: dict[str, float] = {"engines": _apart(compiled, stepped), "keras": _apart(compiled, keras)}
    found["draws"] = float(draws)
    found["rounding"] = 0.0
    if max(found["engines"], found["keras"]) > ROUNDING[-1]:
        found["rounding"] = _apart(stepped, _trained(config, dataset, split, _without_xla(), moved=True))
    return found


def _model(config: TrialConfig, dataset: Dataset, split: Split) -> Any:
    from depthcheck.pipeline.training.build import build

    shape = None if dataset.is_table else dataset.sample_shape
    return build(
        config.model, config.optimizer, n_features=split.n_features, n_classes=split.n_classes,
        seed=config.fit.seed, sample_shape=shape,
    )  # fmt: skip


def _without_xla() -> Any:
    from depthcheck.pipeline.training.program import ProgramCache, TrainingProgram

    class StepByStep(ProgramCache):
        def program(self, *args: Any, **more: Any) -> TrainingProgram:
            program = super().program(*args, **more)
            if program.engine == "compiled":
                program.run_step_by_step()
            return program

    return StepByStep(size=1)


def _trained(
    config: TrialConfig, dataset: Dataset, split: Split, programs: Any, *, moved: bool = False
) -> tuple[list[float], list[Any]]:
    """Return losses, and the weights at the end; with ``moved`` from first weights that are a rounding away."""
    from depthcheck.pipeline.training.fit import fit_folds

    model = _model(config, dataset, split)
    if moved:
        model.set_weights([np.nextafter(weight, np.float32(9), dtype=weight.dtype) for weight in model.get_weights()])
    history = fit_folds([model], [split], config.fit, programs=programs).history
    return [*history.train_loss, *history.valid_loss], model.get_weights()


def _trained_by_keras(config: TrialConfig, dataset: Dataset, split: Split) -> tuple[list[float], list[Any]]:
    """Return the same of Keras's own loop: its ``fit`` on the same batches, and the epoch that counts."""
    import keras

    from depthcheck.pipeline.metrics import objective_of, training_weights
    from depthcheck.pipeline.training.evaluate import evaluate
    from depthcheck.pipeline.training.fit import orders_of

    model, objective, fit = _model(config, dataset, split), objective_of(split), config.fit
    model.run_eagerly = True  # to trace takes longer than these few steps
    X, y = split.train.X, split.train.y
    y = objective.targets(y) if objective.is_regression else y
    weights = training_weights(split, is_balanced=fit.class_weight == "balanced")
    n_steps = -(-len(X) // fit.batch_size)
    rates: Iterator[float] = iter(())
    if model.plan.rate is not None:
        done = (np.arange(n_steps * fit.epochs) + 0.5) / (n_steps * fit.epochs)
        rates = iter((float(model.optimizer.learning_rate) * model.plan.rate(done)).tolist())

    def set_rate(batch: int, logs: Any) -> None:
        model.optimizer.learning_rate = next(rates, model.optimizer.learning_rate)

    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_begin=set_rate)] if model.plan.rate else []
    train, valid, ends = [], [], []
    for order in orders_of(np.random.default_rng((fit.seed, len(X))), len(X), fit.epochs):
        curve = model.fit(
            X[order], y[order], batch_size=fit.batch_size, shuffle=False, verbose=0, callbacks=callbacks,
            sample_weight=None if weights is None else weights[order],
        ).history["loss"]  # fmt: skip
        # Keras adds regularizers to what it reports.
        train.append(curve[0] if not model.losses else float("nan"))
        valid.append(evaluate(model, split.valid, "valid", objective).loss)
        ends.append(model.get_weights())
        if not np.isfinite([curve[0], valid[-1]]).all():
            return [*train, *valid], ends[-1]
        if model.plan.patience is not None and len(valid) - 1 - int(np.argmin(valid)) >= model.plan.patience:
            break
    return [*train, *valid], ends[-1 if model.plan.patience is None else int(np.argmin(valid))]


def _apart(one: tuple[list[float], list[Any]], other: tuple[list[float], list[Any]]) -> float:
    """Return the largest difference of losses or weights, as a share of the largest of its list or array, from 1."""
    losses, weights = zip(one, other, strict=True)
    if len(losses[0]) != len(losses[1]):
        return float("inf")  # one of them stopped at another epoch
    far = 0.0
    for number, pair in enumerate([losses, *zip(*weights, strict=True)]):
        a, b = (np.asarray(each, np.float64) for each in pair)
        both = np.isfinite(a) & np.isfinite(b)
        if number > 0 and (np.isfinite(a) != np.isfinite(b)).any():
            return float("inf")
        scale = max(1.0, float(np.abs(a[both]).max(initial=0)))
        far = max(far, float(np.abs(a - b)[both].max(initial=0)) / scale)
    return far


def _table(comparisons: list[dict[str, float]]) -> str:
    lines = [f"{len(comparisons)} random definitions, trained on {N_ROWS - N_VALID} rows.", ""]
    marks = " | ".join(f"within {mark:g}" for mark in ROUNDING)
    lines += [f"| compiled epoch against | {marks} | farther apart, as a rounding moves them | farther apart |"]
    lines += ["|---" * (len(ROUNDING) + 3) + "|"]
    for name, words, kinds in (
        ("engines", "the same epoch without XLA", (0, 1)),
        ("keras", "Keras's `fit`, without dropout and augmentation", (0,)),
        # Of a smaller last batch Threefry may make other numbers; both engines fill it up, Keras does not.
        ("keras", "Keras's `fit`, with them", (1,)),
    ):
        counts = Counter(_class_of(one[name], one["rounding"]) for one in comparisons if one["draws"] in kinds)
        columns = (*map(str, ROUNDING), "rounding", "farther")
        lines.append(" | ".join([f"| {words}", *(str(counts[column]) for column in columns)]) + " |")
    return "\n".join(lines)


def _class_of(apart: float, rounding: float) -> str:
    within = next((str(mark) for mark in ROUNDING if apart <= mark), None)
    return within or ("rounding" if apart <= 10 * rounding else "farther")


if __name__ == "__main__":
    main()
