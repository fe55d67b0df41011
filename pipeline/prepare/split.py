"""Cut a data set into the samples that train, validate and test, before anything is fitted or scaled.

Only positions are drawn, no sample is copied: preparing can then write each part once, in its final form.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from depthcheck.pipeline.config import SplitChoice, SplitConfig, require
from depthcheck.pipeline.data.amount import fitting_groups
from depthcheck.pipeline.records import Cut, Dataset

#: Rows in the order of time are put into so many blocks of one size: long ones, so that they hardly hang together.
_BLOCKS = 20
#: Below this number of samples one validation part is too small to tell networks apart, and folds take its place.
SMALL = 2_000
_FOLDS = 5
_TEST_SIZE = 0.2
#: Methods by which one part alone can validate.
_WITHOUT_FOLDS = ("time", "own")
#: Most bins that the numbers of a regression are put in to stratify them.
_BINS = 10

Positions = NDArray[np.int64]
Draw = Callable[[Dataset, Positions, int, SplitConfig], tuple[Positions, Positions]]


def resolve(choice: SplitChoice, dataset: Dataset) -> SplitConfig:
    """Return how a data set is cut, where the definition leaves it open.

    The method follows the columns that the data name, groups or times, or the validation part that they bring; else
    samples are cut by class, numbers and the known pictures at random. A test part is set aside where the data bring
    none, unless there are so few samples (under :data:`SMALL`) that cross-validation takes the place of both parts:
    with 5 folds, or as many as there are groups or, for AUC, samples of the rarer class.

    Raises
    ------
    ValueError
        When what was chosen does not fit the data.
    """
    own_test = dataset.y_test is not None
    method = choice.method or _usual_method(dataset)
    n_folds = choice.folds
    if n_folds is None:
        needs_none = own_test or method in _WITHOUT_FOLDS or choice.test_size or len(dataset.y) >= SMALL
        n_folds = 0 if needs_none else _usual_folds(dataset, method)
    test_size = choice.test_size
    if test_size is None:
        test_size = 0 if own_test or n_folds else _TEST_SIZE
    config = SplitConfig(
        valid_size=choice.valid_size,
        test_size=0 if own_test else test_size,
        seed=choice.seed,
        method=method,
        folds=n_folds,
    )
    _check(dataset, config)
    return config


def part_sizes(dataset: Dataset, config: SplitConfig) -> dict[str, int]:
    """Return how many samples train, validate and test; with folds, how many a fold trains and holds out."""
    cut = cuts(dataset, config)[0]
    test = None if config.folds else cut.test if dataset.y_test is None else dataset.y_test
    return {"train": len(cut.train), "valid": len(cut.valid), "test": 0 if test is None else len(test)}


def cuts(dataset: Dataset, config: SplitConfig) -> list[Cut]:
    """Return how the rows are cut: the one cut, or that of each fold."""
    return folds(dataset, config) if config.folds else [split(dataset, config)]


def split(dataset: Dataset, config: SplitConfig) -> Cut:
    """Return one cut: first the test part is held out, where there is to be one, then the validation part.

    - ``random``: by scikit-learn's ``train_test_split``.
    - ``stratified``: the same, each class (or each of up to ten quantiles of a number) in its share. A class with a
      single sample trains; where there are more classes than samples to hold out, these are drawn at random.
    - ``group``: whole groups in random order, as many as the part has room for, at least one.
    - ``time``: the latest samples; of equal times the later rows.
    - ``own``: the validation part that the data bring; a test part is drawn of the others, by class.

    Parameters
    ----------
    dataset
        Its own test part, where it has one, stays as it is.
    config
        Sizes are shares of all samples (rounded up to whole ones) or numbers; without folds.

    Raises
    ------
    ValueError
        When a part would be left without a sample, or without one of the two classes that AUC needs.
    """
    require(not config.folds, "folds of a single split", "0", config.folds)
    _check(dataset, config)
    n_samples = len(dataset.y)
    own_test = dataset.y_test is not None
    n_test = 0 if own_test else _count(config.test_size, n_samples)
    is_own = config.method == "own" and dataset.is_valid is not None
    own_valid = np.flatnonzero(np.asarray(dataset.is_valid)) if is_own else None
    n_valid = _count(config.valid_size, n_samples) if own_valid is None else len(own_valid)
    sizes = (config.valid_size, config.test_size) if n_test else config.valid_size
    require(
        n_valid + n_test < n_samples,
        f"{'split.valid and split.test' if n_test else 'split.valid'} of {n_samples} samples",
        "small enough to leave one for training",
        sizes,
    )
    draw, rest, test = _DRAWS[config.method], np.arange(n_samples), None
    if own_valid is not None:
        rest = np.setdiff1d(rest, own_valid)
    if n_test:
        rest, test = draw(dataset, rest, n_test, config)
    train, valid = draw(dataset, rest, n_valid, config) if own_valid is None else (rest, own_valid)
    cut = Cut(train=train, valid=valid, test=test, config=config)
    _require_both_classes(dataset, [cut])
    _require_weight(dataset, [cut])
    return cut


def folds(dataset: Dataset, config: SplitConfig) -> list[Cut]:
    """Return one cut a fold: every sample is held out in exactly one, and trains in the others.

    Another ``repeat`` of the same seed is another partition. By scikit-learn's ``KFold``, ``StratifiedKFold``, and for
    groups ``StratifiedGroupKFold`` (of a regression ``GroupKFold``). Samples of a class that has fewer than there are
    folds are missing in some of them.

    Raises
    ------
    ValueError
        When there are fewer samples or groups than folds, or a fold would lack one of the two classes that AUC needs.
    """
    require(config.folds >= 2, "folds", "at least 2", config.folds)
    _check(dataset, config)
    rows = np.arange(len(dataset.y))
    with warnings.catch_warnings():
        # "The least populated class has only 1 members": said in the docstring and by the table's own warning.
        warnings.simplefilter("ignore", UserWarning)
        held_out = _held_out(dataset, config)
    cuts = [Cut(train=np.setdiff1d(rows, valid), valid=valid, config=config) for valid in held_out]
    _require_both_classes(dataset, cuts)
    _require_weight(dataset, cuts)
    return cuts


def units_of(dataset: Dataset, rows: NDArray[np.int64] | None, config: SplitConfig) -> NDArray[np.int64] | None:
    """Return the number of each row's unit, ``(n,)``: its group, however the data are cut, or its block of time.

    None where neither is known, or times are and the data are not cut by them.

    Parameters
    ----------
    rows
        Positions in the data set; None for its own test part.
    """
    groups, times = (dataset.groups_test, dataset.times_test) if rows is None else (dataset.groups, dataset.times)
    if groups is not None:
        return np.asarray(groups if rows is None else groups[rows], np.int64)
    if times is not None and config.method == "time":
        return time_blocks(times if rows is None else times[rows])
    return None


def time_blocks(times: NDArray[Any]) -> NDArray[np.int64]:
    """Return the block of time that each row lies in, ``(n,)``, all of one size."""
    block = np.empty(len(times), np.int64)
    block[np.argsort(times, kind="stable")] = np.arange(len(times)) * _BLOCKS // len(times)
    return block


def _usual_method(dataset: Dataset) -> str:
    if dataset.groups is not None or dataset.times is not None:
        return "time" if dataset.groups is None else "group"
    if dataset.is_valid is not None:
        return "own"
    return "stratified" if dataset.task == "classification" and not dataset.is_known else "random"


def _usual_folds(dataset: Dataset, method: str) -> int:
    """Return 5, or fewer where there are not as many groups, or samples of the rarer class of two."""
    most = len(dataset.y)
    if method == "group" and dataset.groups is not None:
        most = min(most, len(np.unique(dataset.groups)))
    if method == "stratified" and dataset.metric == "auc":
        most = min(most, int(np.bincount(dataset.y, minlength=2).min()))
    return max(2, min(_FOLDS, most))


def _check(dataset: Dataset, config: SplitConfig) -> None:
    """Refuse what does not go together, before anything is drawn."""
    method, n_samples = config.method, len(dataset.y)
    k = config.folds
    column = {"group": dataset.groups, "time": dataset.times}.get(method)
    if method in ("group", "time"):
        require(column is not None, f"{method} column of split method {method}", "named", None)
    if method == "own":
        require(dataset.is_valid is not None, "the validation part of split method own", "brought by the data", None)
        require(not k, "folds of split method own", "0: the data bring a validation part", k)
    if method == "time" and column is not None:
        require(not k, "folds of split method time", "0: a later sample would train for an earlier", k)
        n_unknown = int(np.count_nonzero(~np.isfinite(column)))
        require(n_unknown == 0, "rows without a time", "0 for split method time", n_unknown)
    if not k:
        return
    require(
        not config.test_size, "split.test beside folds", "0: every sample is held out in one fold", config.test_size
    )
    require(k <= n_samples, f"folds of {n_samples} samples", f"at most {n_samples}", k)
    if method == "group" and column is not None:
        n_groups = len(np.unique(column))
        require(k <= n_groups, f"folds of {n_groups} groups", f"at most {n_groups}", k)


def _require_both_classes(dataset: Dataset, cuts: Sequence[Cut]) -> None:
    """Refuse a part in which AUC would have nothing to rank."""
    if dataset.metric != "auc":
        return
    counts = np.bincount(dataset.y, minlength=2)
    for name, y in _by_part(dataset.y, dataset.y_test, cuts):
        found = np.unique(y)
        if len(found) < 2:
            rarer = dataset.class_names[int(counts.argmin())]
            raise ValueError(
                f"classes in the {name} must be 2 for auc, got {dataset.class_names[int(found[0])]!r} alone "
                f"({rarer!r} has {counts.min()} of {len(dataset.y)} samples): choose metric accuracy, split method "
                "stratified, other sizes or fewer folds"
            )


def _require_weight(dataset: Dataset, cuts: Sequence[Cut]) -> None:
    """Refuse a part in which no sample weighs anything, or none of a class that AUC has to rank."""
    if dataset.weights is None:
        return
    test = None if dataset.y_test is None else _weighing(dataset.y_test, dataset.weights_test)
    for name, classes in _by_part(_weighing(dataset.y, dataset.weights), test, cuts):
        n_least = 2 if dataset.metric == "auc" else 1
        n_found = len(np.unique(classes[classes >= 0]))
        what = "classes with a weight above 0" if n_least == 2 else "rows with a weight above 0"
        require(n_found >= n_least, f"{what} in the {name}", f"at least {n_least}", n_found)


def _weighing(y: NDArray[Any], weights: NDArray[np.float64] | None) -> NDArray[np.int64]:
    """Return the class of each sample that weighs something, 0 in a regression, and -1 of the others."""
    classes = y if y.dtype.kind == "i" else np.zeros(len(y), np.int64)
    return classes if weights is None else np.where(weights > 0, classes, -1)


def _by_part(
    values: NDArray[Any], of_own_test: NDArray[Any] | None, cuts: Sequence[Cut]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield each part's name, and the values of its samples."""
    if of_own_test is not None:
        yield "test part", of_own_test
    for number, cut in enumerate(cuts):
        of_fold = f" of fold {number}" if len(cuts) > 1 else ""
        yield f"train part{of_fold}", values[cut.train]
        yield f"valid part{of_fold}", values[cut.valid]
        if cut.test is not None:
            yield "test part", values[cut.test]


def _count(size: float, n_samples: int) -> int:
    """Return how many samples a share or a number is; a share is rounded up, as scikit-learn does."""
    return math.ceil(size * n_samples) if isinstance(size, float) else size


def _random(dataset: Dataset, rows: Positions, n_held: int, config: SplitConfig) -> tuple[Positions, Positions]:
    from sklearn.model_selection import train_test_split

    kept, held = train_test_split(rows, test_size=n_held, random_state=config.seed)
    return kept, held


def _stratified(dataset: Dataset, rows: Positions, n_held: int, config: SplitConfig) -> tuple[Positions, Positions]:
    from sklearn.model_selection import train_test_split

    n_kept = len(rows) - n_held
    strata = _strata(dataset, rows, min(_BINS, n_held, n_kept))
    _, stratum, counts = np.unique(strata, return_inverse=True, return_counts=True)
    single = counts[stratum] == 1
    n_strata, n_drawn = int(np.count_nonzero(counts > 1)), int(np.count_nonzero(~single))
    if n_held < n_strata or n_drawn - n_held < n_strata:
        return _random(dataset, rows, n_held, config)
    kept, held = train_test_split(rows[~single], test_size=n_held, random_state=config.seed, stratify=stratum[~single])
    return np.concatenate([kept, rows[single]]), held


def _strata(dataset: Dataset, rows: Positions, n_bins: int) -> NDArray[np.int64]:
    """Return the class of each row, or the quantile bin of its number; equal numbers share a bin."""
    y = dataset.y[rows]
    if dataset.task == "classification":
        return y
    edges = np.quantile(y, np.linspace(0, 1, n_bins + 1)[1:-1])
    return np.searchsorted(np.unique(edges), y, side="right")


def _group(dataset: Dataset, rows: Positions, n_held: int, config: SplitConfig) -> tuple[Positions, Positions]:
    """Hold out whole groups, in random order, while they fit; scikit-learn would count groups, not their samples."""
    assert dataset.groups is not None
    groups, of_row, sizes = np.unique(dataset.groups[rows], return_inverse=True, return_counts=True)
    require(len(groups) >= 2, "groups to hold some out", "at least one for each part", len(np.unique(dataset.groups)))
    chosen = fitting_groups(sizes, n_held, np.random.default_rng(config.seed))
    if not chosen.any():
        chosen[sizes.argmin()] = True
    return rows[~chosen[of_row]], rows[chosen[of_row]]


def _time(dataset: Dataset, rows: Positions, n_held: int, config: SplitConfig) -> tuple[Positions, Positions]:
    assert dataset.times is not None
    in_order = rows[np.argsort(dataset.times[rows], kind="stable")]
    return in_order[:-n_held], in_order[-n_held:]


_DRAWS: Mapping[str, Draw] = {
    "random": _random, "stratified": _stratified, "group": _group, "time": _time, "own": _stratified,
}  # fmt: skip


def _held_out(dataset: Dataset, config: SplitConfig) -> list[Positions]:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    k, rows = config.folds, np.arange(len(dataset.y))
    seed = int(np.random.SeedSequence((config.seed, config.repeat)).generate_state(1)[0])
    drawn = {"n_splits": k, "shuffle": True, "random_state": seed}
    strata = _strata(dataset, rows, max(2, min(_BINS, len(rows) // k)))
    # A stratum with as many samples as folds is what scikit-learn asks for; without one there is nothing to stratify.
    stratifies = int(np.bincount(strata).max()) >= k
    if config.method == "group":
        if dataset.task == "classification" and stratifies:
            parts = list(StratifiedGroupKFold(**drawn).split(rows, strata, dataset.groups))
            # It balances classes and may leave a fold without any group.
            if all(len(held) for _, held in parts):
                return [held for _, held in parts]
        return [held for _, held in GroupKFold(**drawn).split(rows, groups=dataset.groups)]
    if config.method == "stratified" and stratifies:
        return [held for _, held in StratifiedKFold(**drawn).split(rows, strata)]
    return [held for _, held in KFold(**drawn).split(rows)]
