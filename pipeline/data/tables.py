"""A table as a data set: every column understood and typed, the target told apart, groups, times and test part found.

Nothing is fitted here: what a model may know of other rows than its training part is at most the list of columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from numpy.typing import NDArray

from depthcheck.pipeline.config import (
    STATED_FORMS,
    WITH_NA,
    DataConfig,
    InWords,
    require,
    several_targets,
    suggestion,
)
from depthcheck.pipeline.data.amount import ReadingProgress
from depthcheck.pipeline.data.arrays import are_classes
from depthcheck.pipeline.data.cells import (
    TRUTHS,
    CellError,
    Cells,
    Days,
    Numbers,
    Texts,
    Values,
    as_samples,
    cells_of,
    different,
    listed,
    narrow,
    needs_double,
    proves_comma,
    typed,
)
from depthcheck.pipeline.data.guess import asking, guess, numbers_in, owner_hint, taken_for_missing, without_leak
from depthcheck.pipeline.metrics import metric_of
from depthcheck.pipeline.records import Column, Dataset
from depthcheck.pipeline.scores import Task

#: Fewer rows of a class than folds of a cross-validation, and some part has none of it.
_RARE = 5
_TRAIN_OR_TEST = {"train", "training", "test"}
_DECIMALS = tuple(said for said, (kind, _) in STATED_FORMS.items() if kind == "numeric")
#: What may be said of a column with a role: how its cells are written, but not what it is.
_SAID_OF_ROLE = {"target": (*_DECIMALS, WITH_NA), "time": (*STATED_FORMS,), "weight": _DECIMALS}


def table_dataset(
    frame: pd.DataFrame,
    config: DataConfig,
    *,
    name: str,
    source: str,
    test: pd.DataFrame | None = None,
    rows: NDArray[np.int64] | None = None,
    comma: bool | None = None,
    log: Callable[[str], None] = lambda _line: None,
) -> Dataset:
    """Return a table as a data set.

    Parameters
    ----------
    frame
        The table as it was read, columns of any type, names unique. It is read, never changed; where nobody else holds
        it (pass the call that reads it), each column is let go once it is typed.
    config
        The target, and what the user says of other columns.
    test
        A second table whose rows are the test part; it needs the target and the same features.
    rows
        Where the rows stood in the table that they are a sample of.
    comma
        Whether that table is known to write a decimal comma, or to write none; else these rows tell.
    log
        Told, a line at a time, of what a user should know: rows left out, cells counted as missing, rare classes.

    Raises
    ------
    ValueError
        In one line, when something that was said does not fit the table, or nothing can be learnt of it. A row that it
        names is counted from 1 in the table as it was before rows were drawn or left out.
    """
    _check_names(frame, config, name)
    assert config.target is not None
    comma = has_decimal_comma(frame) if comma is None else comma
    cells = cells_of(frame[config.target])
    places: Sequence[int] | NDArray[np.int64] = range(len(frame)) if rows is None else rows
    with _rows_as_in(places):
        target = _target_of(config.target, cells, config, comma=comma)
        answers = target.read(cells)
    if target.column.missing_texts or target.column.asks:
        log(_doubt("target", target.column))
    has_answer = ~np.isnan(answers)
    if not has_answer.all():
        n_out = int(np.count_nonzero(~has_answer))
        words = taken_for_missing(cells)
        log(f"target {config.target!r} has no value in {n_out:,} of {len(answers):,} rows: they are left out{words}")
    kept = None if has_answer.all() else np.flatnonzero(has_answer)
    places = places if kept is None else np.asarray(places)[kept]
    marks = None
    if config.test_column is not None:
        with _rows_as_in(places):
            marks = _marks_of(config.test_column, _kept(frame[config.test_column], kept))
    columns = {str(column): frame[column] for column in frame.columns if column != config.target}
    del frame
    drawn = None if rows is None else rows[has_answer]
    parts = _Parts(
        config, target, answers=answers[has_answer], marks=marks, test_file=test, places=drawn, comma=comma, log=log
    )
    n_columns = len(columns)
    progress = ReadingProgress(name, n_columns * len(answers), log, done="of the columns understood")
    while columns:
        column = next(iter(columns))
        progress.reached((n_columns - len(columns)) * len(answers))
        with _rows_as_in(places):
            parts.add(column, _kept(columns.pop(column), kept))
        # Arrow keeps the memory of texts that are gone for the next ones: a third of a large table.
        pyarrow.default_memory_pool().release_unused()
    y = answers[has_answer]
    X_test, y_test = None, None
    if test is not None:
        with _rows_as_in(()):
            X_test, y_test, answered = _test_part(test, target, parts.columns, log)
        parts.keep_of_test(answered)
    elif marks is not None:
        X_test, y_test = pd.DataFrame(parts.test, index=range(int(marks.sum())), copy=False), y[marks]
        y = y[~marks]
    return _dataset(parts, y, X_test, y_test, name=name, source=source)


def has_decimal_comma(frame: pd.DataFrame) -> bool:
    """Whether some column of a table proves that its numbers have a decimal comma."""
    return any(proves_comma(frame[column]) for column in frame.columns)


def require_columns(config: DataConfig, names: Sequence[str], where: str) -> None:
    """Complain about a column that a table has not, before any row of it is read.

    Raises
    ------
    ValueError
        With the columns that there are, and the nearest one.
    """
    if config.target is None:
        raise ValueError(f"target must be one of the columns of {where}: {listed(names)}; got none")
    targets = [part.strip() for part in config.target.split(",")]
    if config.target not in names and len(targets) > 1 and set(targets) <= set(names):
        raise several_targets(targets)
    stated = (("a column of [data.columns]", name) for name, _kind in config.columns)
    for what, name in (*_roles(config).items(), *stated):
        if name not in names:
            raise ValueError(
                f"{what} must be one of the columns of {where}: {listed(names)}; got {name!r}{suggestion(name, names)}"
            )


@contextmanager
def _rows_as_in(places: Sequence[int] | NDArray[np.int64]) -> Iterator[None]:
    """Have a complaint about a cell name its row as the file counts them, from where the rows given stood there.

    Rows beyond those are the test file's, in its order.
    """
    try:
        yield
    except CellError as wrong:
        beyond = wrong.position - len(places)
        if beyond < 0:
            raise CellError(wrong.before, int(places[wrong.position]), wrong.behind) from None
        raise CellError(f"test file: {wrong.before}", beyond, wrong.behind) from None


def _doubt(role: str, column: Column) -> str:
    """Return what to say of a column with a role where its cells can be two things, or some count as missing."""
    return f"{role} {column.name!r}: {column.why.removeprefix('as you say; ')}"


class _Parts:
    """Columns as they are typed, one after another, the marked rows apart."""

    def __init__(
        self,
        config: DataConfig,
        target: _Target,
        *,
        answers: NDArray[np.float64],
        marks: NDArray[np.bool_] | None,
        test_file: pd.DataFrame | None,
        places: NDArray[np.int64] | None,
        comma: bool,
        log: Callable[[str], None],
    ) -> None:
        self.config, self.target, self.answers, self.comma, self.log = config, target, answers, comma, log
        self.marks, self.test_file, self.places = marks, test_file, places
        self.stated = dict(config.columns)
        self.roles = {
            config.group: "tells which rows belong together",
            config.time: "tells when a row was recorded",
            config.weight: "tells how much a row weighs",
            config.test_column: "marks the test part",
        }
        self.columns: list[Column] = []
        self.train: dict[str, Values] = {}
        self.test: dict[str, Values] = {}
        #: What columns with a role say of the rows, as :class:`Dataset` has it: ``groups``, ``groups_test`` and so on.
        self.told: dict[str, Any] = {}

    def add(self, name: str, series: pd.Series[Any]) -> None:
        """Understand a column and keep what it gives."""
        cells = cells_of(series)
        if name in self.roles:
            column = guess(name, cells, kind="ignored")
            self.columns.append(replace(column, why=f"{self.roles[name]}: no feature"))
            if name != self.config.test_column:
                self._tell(name, cells)
            return
        del series
        column = guess(name, cells, kind=self.stated.get(name), comma=self.comma)
        if column.kind == "numeric" and name not in self.stated and self._counts_all_rows(cells):
            column = replace(column, kind="ignored", why="whole numbers that rise row by row: an identifier", asks=())
        if self.config.group is None and name not in self.stated:
            column = asking(column, "owner", owner_hint(column, len(self.answers)))
        values = typed(column, cells) if column.kind != "ignored" else None
        if values is not None and name not in self.stated:
            column = without_leak(column, values, self.answers, self.target.task)
        self.columns.append(column)
        if column.missing_texts or column.asks:
            self.log(f"column {name!r}: {column.why}")
        if values is not None and column.kind != "ignored":
            self.train[name] = self._outside_test(values)
            if self.marks is not None:
                self.test[name] = values[self.marks]

    def _written_as(self, role: str, name: str, cells: Cells, kind: str) -> Column:
        """Understand a column with a role, as is said or as the kind that it must be, and say what is in doubt."""
        column = guess(name, cells, kind=self.stated.get(name, kind), comma=self.comma)
        if "form" in column.asks or "%y" in column.form:  # of two digits of a year a century was made
            self.log(_doubt(role, column))
        return column

    def keep_of_test(self, rows: NDArray[np.bool_]) -> None:
        """Leave out of groups, times and weights the rows of the test file that are not kept."""
        self.told |= {what: values[rows] for what, values in self.told.items() if what.endswith("_test")}

    def _tell(self, name: str, cells: Cells) -> None:
        """Keep what a column says of the rows outside the test part, and of those in it, where it says so."""
        what, read = {
            self.config.group: ("groups", self._groups_of),
            self.config.time: ("times", self._times_of),
            self.config.weight: ("weights", self._weights_of),
        }[name]
        files = [cells]
        if self.test_file is not None and name in self.test_file.columns:
            files.append(cells_of(self.test_file[name]))
        elif self.test_file is not None and what == "weights":
            raise ValueError(f"test file must have the weight {name!r}: its rows are weighed in the score too")
        elif self.test_file is not None:
            self.log(f"test file: there is no {name!r}, so that each of its rows counts as a draw of its own")
        values, *of_test = read(name, files)
        if self.marks is not None:
            of_test = [values[self.marks]]
        self.told |= {what: self._outside_test(values)} | {f"{what}_test": those for those in of_test}
        # Groups on both sides of a test part: the network has seen what their rows have in common.
        there = np.unique(self.told.get("groups_test", ()))
        n_known = int(np.isin(there, self.told["groups"]).sum()) if what == "groups" else 0
        if n_known:
            self.log(f"group {name!r}: {n_known:,} of {len(there):,} groups of the test part have rows that train, too")

    def _groups_of(self, name: str, files: Sequence[Cells]) -> Sequence[NDArray[np.int64]]:
        """Return the group of each row, numbered as they come; a row without one is a group of its own."""
        if not isinstance(files[0], Texts):  # whose words for missing are missing numbers by now
            files = [cells.without(cells.are_words) if isinstance(cells, Texts) else cells for cells in files]
        ends = np.cumsum([len(cells.missing) for cells in files])
        groups = pd.factorize(np.concatenate(_alike(name, files, self.comma)))[0].astype(np.int64)
        alone = np.flatnonzero(np.concatenate([cells.missing for cells in files]))
        if len(alone):
            self.log(f"group {name!r} has no value in {len(alone):,} rows: each is a group of its own")
            groups[alone] = groups.max() + 1 + np.arange(len(alone))
        return np.split(groups, ends[:-1])

    def _times_of(self, name: str, files: Sequence[Cells]) -> list[NDArray[np.float64]]:
        """Return when each row was recorded: days since 1970, or the numbers that the column has."""
        first = files[0]
        if isinstance(first, Texts):
            is_date = numbers_in(replace(first, stated="")) is None  # OpenML has years as categories, too
        else:  # 20160131 is a number, unless a test file has it as another date
            is_date = isinstance(first, Days) or (
                not isinstance(files[-1], Numbers) and guess(name, first).kind == "date"
            )
        if is_date or isinstance(first, Texts):
            column = self._written_as("time", name, first, "date" if is_date else "numeric")
        else:
            column = guess(name, first, kind="numeric", comma=self.comma)
        must = f"time column {name!r} must have a value in every row"
        times = _numbers_of(replace(column, is_double=True), files, must, at_least=-np.inf)
        if is_date and isinstance(first, Texts) and not needs_double(np.concatenate(times)):
            times = [part.astype(np.float32).astype(np.float64) for part in times]
        return times

    def _weights_of(self, name: str, files: Sequence[Cells]) -> list[NDArray[np.float64]]:
        """Return what each row weighs: finite numbers of at least 0."""
        must = f"weight {name!r} must be a number of at least 0 in every row"
        return _numbers_of(self._written_as("weight", name, files[0], "numeric"), files, must, at_least=0)

    def _counts_all_rows(self, cells: Cells) -> bool:
        """Whether whole numbers count the rows of the table that these are a sample of; some of it may have gone."""
        if self.places is None or not isinstance(cells, Numbers) or len(self.places) < 2:
            return False
        steps = np.diff(cells.values.astype(np.float64))
        n_spanned = int(self.places[-1] - self.places[0])
        return bool((steps >= 1).all() and (steps % 1 == 0).all() and steps.sum() < 1.5 * n_spanned)

    def _outside_test(self, values: Any) -> Any:
        return values if self.marks is None else values[~self.marks]


def _marks_of(name: str, column: pd.Series[Any]) -> NDArray[np.bool_]:
    """Return which rows are the test part: true, yes or 1; or the word test beside another one."""
    cells = cells_of(column)
    words = cells.different.str.lower() if isinstance(cells, Texts) else pd.Series([], dtype="str")
    if isinstance(cells, Texts) and "test" in set(words) and (words.nunique() == 2 or set(words) <= _TRAIN_OR_TEST):
        values = cells.spread(words.eq("test").to_numpy(dtype=np.float64), np.nan)
    else:
        understood = guess(name, cells, kind="boolean")
        # Of other words nobody knows which one marks: "holdout" comes before "train", and "valid" behind "test".
        require(
            not isinstance(cells, Texts) or understood.categories in TRUTHS,
            f"words of test_column {name!r}",
            "'test' and another one, or no and yes",
            InWords(" and ".join(map(repr, understood.categories))),
        )
        values = np.asarray(typed(understood, cells))
    n_missing = int(np.count_nonzero(np.isnan(values)))
    require(n_missing == 0, f"rows without a value in test_column {name!r}", "0", n_missing)
    marks = values == 1
    n_marked = int(np.count_nonzero(marks))
    require(0 < n_marked < len(marks), f"rows that test_column {name!r} marks", "some, not all", n_marked)
    return np.asarray(marks)


def _alike(name: str, files: Sequence[Cells], comma: bool) -> list[NDArray[Any]]:
    """Return what the rows of one group have alike: the first file's cells, as without another one.

    A test file's cell is of the group that is written so, or that alone has its value as the first file's are read.
    """
    first, *others = files
    own = np.maximum(first.codes, -1) if isinstance(first, Texts) else first.values
    if not others:
        return [own]
    (codes, known), (test_codes, asked) = map(different, files)
    at = np.full(len(asked.missing), -1)
    if isinstance(known, Texts) and isinstance(asked, Texts):
        at = pd.Index(known.different).get_indexer(pd.Index(asked.different))
    is_single = any(isinstance(cells, Numbers) and cells.values.dtype == np.float32 for cells in files)
    for kind in (None, "categorical") if (at < 0).any() else ():
        column = replace(guess(name, first, kind=kind, comma=comma), is_double=not is_single)
        if column.kind == "ignored":
            continue
        with suppress(CellError):  # where a cell cannot be read so, all are names
            values, of_test = (pd.Series(np.asarray(typed(column, cells))) for cells in (known, asked))
            once = values[values.notna() & ~values.duplicated(keep=False)]
            found = pd.Index(once).get_indexer(pd.Index(of_test))
            at = np.where((at < 0) & (found >= 0), np.append(once.index, -1)[found], at)
            break
    at = np.where(at < 0, len(known.missing) + np.arange(len(at)), at)
    both = [codes, np.append(at, -1)[test_codes]]
    # A missing text is counted, and a missing number is not: groups of data that were read before keep theirs.
    return both if isinstance(first, Texts) else [np.where(part < 0, np.nan, part) for part in both]


def _numbers_of(column: Column, files: Sequence[Cells], must: str, *, at_least: float) -> list[NDArray[np.float64]]:
    """Return the numbers that a column has in the training data and in a test file, whose rows count behind those."""
    found = []
    for n_before, cells in zip((0, len(files[0].missing)), files, strict=False):
        try:
            found.append(np.asarray(typed(column, cells), dtype=np.float64))
            wrong = np.flatnonzero(~(found[-1] >= at_least))
            if len(wrong):
                row, texts = int(wrong[0]), cells.as_texts().with_na()
                number, code = found[-1][row], int(texts.codes[row])
                text = "none" if code < 0 else repr(str(texts.different.iloc[code]))
                raise CellError(f"{must}, got {text if np.isnan(number) else f'{number:g}'} in ", row)
        except CellError as trouble:
            raise CellError(trouble.before, trouble.position + n_before, trouble.behind) from None
    return found


def _dataset(
    parts: _Parts, y: NDArray[Any], X_test: pd.DataFrame | None, y_test: NDArray[Any] | None, *, name: str, source: str
) -> Dataset:
    target = parts.target
    is_regression = target.task == "regression"
    require(bool(parts.train), name, "a table with a column to learn from", _why_none(parts.columns))
    require(
        len(np.unique(y)) >= 2,
        f"target {target.column.name!r} outside the test part",
        "of two values or more",
        InWords("one"),
    )
    dtype = narrow(y).dtype if is_regression else np.dtype(np.int64)
    y, y_test = y.astype(dtype), None if y_test is None else y_test.astype(dtype)
    if not is_regression:
        unknown = [] if y_test is None else [target.classes[label] for label in np.setdiff1d(y_test, y)]
        require(not unknown, "classes of the test part", "those of the other rows", unknown[:3])
        _warn_of_classes(target, y, parts.log)
    dataset = Dataset(
        name=name,
        sha256="",
        source=source,
        X=pd.DataFrame(parts.train, index=range(len(y)), copy=False),
        y=y,
        X_test=X_test,
        y_test=y_test,
        class_names=target.classes,
        task=target.task,
        metric=metric_of(parts.config, target.task, len(target.classes)),
        target=target.column.name,
        columns=tuple(parts.columns),
        **parts.told,
    )
    return replace(dataset, sha256=_digest(dataset))


def _roles(config: DataConfig) -> dict[str, str]:
    """Return the columns that the configuration names, by what for."""
    named = {
        "target": config.target, "group": config.group, "time": config.time, "weight": config.weight,
        "test_column": config.test_column,
    }  # fmt: skip
    return {role: column for role, column in named.items() if column is not None}


def _check_names(frame: pd.DataFrame, config: DataConfig, name: str) -> None:
    """Raise where a name that the user gives is no column, or one column is to be two things."""
    require_columns(config, [str(column) for column in frame.columns], name)
    owner: dict[str, str] = {}
    allowed = {(column, said) for role, column in _roles(config).items() for said in _SAID_OF_ROLE.get(role, ())}
    stated = (
        ("a column of [data.columns]", column) for column, said in config.columns if (column, said) not in allowed
    )
    for role, column in [*_roles(config).items(), *stated]:
        if owner.setdefault(column, role) != role:
            raise ValueError(f"{role} must be another column than {owner[column]}, got {column!r} for both")


def _kept(column: pd.Series[Any], rows: NDArray[np.intp] | None) -> pd.Series[Any]:
    return column if rows is None else column.iloc[rows]


def _test_part(
    test: pd.DataFrame, target: _Target, columns: Iterable[Column], log: Callable[[str], None]
) -> tuple[pd.DataFrame, NDArray[Any], NDArray[np.bool_]]:
    name = target.column.name
    if name not in test.columns:
        there = [str(column) for column in test]
        raise ValueError(f"test file must have the target {name!r}{suggestion(name, there)} (columns: {listed(there)})")
    y = target.read(cells_of(test[name]), "the test file's target")
    has_answer = ~np.isnan(y)
    if not has_answer.all():
        log(f"test file: {np.count_nonzero(~has_answer):,} of {len(y):,} rows have no target: they are left out")
    require(bool(has_answer.any()), "rows of the test file", "at least 1", 0)
    samples = as_samples(test, tuple(columns), where="test file")
    return samples.loc[has_answer].reset_index(drop=True), y[has_answer], has_answer


def _why_none(columns: Iterable[Column]) -> InWords:
    reasons = [f"{column.name}: {column.why}" for column in columns]
    return InWords("none (" + "; ".join(reasons[:3]) + ("; …" if len(reasons) > 3 else "") + ")")


def _digest(dataset: Dataset) -> str:
    """Return the SHA-256 over what was understood, the same on every machine."""
    sha256 = hashlib.sha256()

    def take(what: str, values: NDArray[Any]) -> None:
        sha256.update(f"{what}\0{values.dtype.str}{values.shape}\0".encode())
        sha256.update(np.ascontiguousarray(values).data)

    for table in (dataset.X,) if dataset.X_test is None else (dataset.X, dataset.X_test):
        for column in dataset.columns:
            sha256.update(f"{column.name}\0{column.kind}\0".encode())
            if column.kind in ("categorical", "text"):
                values = table[column.name].array
                sha256.update("\0".join(values.categories).encode())
                take("codes", values.codes.astype("<i4"))
            elif column.kind != "ignored":
                numbers = table[column.name].to_numpy()
                # One NaN and one zero: their bits differ from one way of computing them to another.
                plain = np.where(np.isnan(numbers), numbers.dtype.type(np.nan), numbers + 0)
                take("cells", plain.astype(numbers.dtype.newbyteorder("<")))
    sha256.update(f"{dataset.target}\0{dataset.class_names}\0".encode())
    for what in ("y", "y_test", "groups", "times", "weights", "groups_test", "times_test", "weights_test"):
        array = getattr(dataset, what)
        if array is not None:
            take(what, array.astype(array.dtype.newbyteorder("<")))
    return sha256.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The target: its column, and for a classification its classes in order, which are the labels from 0 up."""

    task: Task
    column: Column
    classes: tuple[str, ...]

    def read(self, cells: Cells, where: str = "target") -> NDArray[Any]:
        """Return float64 numbers or labels, NaN where missing; refuse a class that the training data do not have."""
        values = typed(self.column, cells)
        if self.task == "regression":
            return np.asarray(values, dtype=np.float64)
        found = tuple(str(category) for category in values.categories)  # type: ignore[union-attr]
        unknown = [name for name in found if name not in set(self.classes)]
        require(not unknown, f"classes of {where} {self.column.name!r}", "those of the training data", unknown[:3])
        labels = np.array([self.classes.index(name) for name in found] + [np.nan])
        return np.asarray(labels[values.codes])  # type: ignore[union-attr]


def _target_of(name: str, cells: Cells, config: DataConfig, *, comma: bool) -> _Target:
    """Return what a target is, and what of it can be learned."""
    said = dict(config.columns).get(name)
    task = task_of(cells, config, comma=comma)
    if task == "regression":
        column = guess(name, cells, kind=said if said in _DECIMALS else "numeric", comma=comma)
        require(column.n_distinct >= 2, f"target {name!r}", "of two different numbers or more", InWords(_only(column)))
        return _Target(task=task, column=column, classes=())
    column = guess(name, cells, kind=WITH_NA if said == WITH_NA else "categorical")
    classes = column.categories
    n_present = len(cells.missing) - column.n_missing
    require(
        len(classes) >= 2,
        f"target {name!r}",
        "of two different values or more",
        InWords(_only(column) + taken_for_missing(cells)),
    )
    require(
        len(classes) <= max(2, n_present / 2),
        f"target {name!r}",
        "a number or a class that several rows share",
        InWords(f"{len(classes):,} different values in {n_present:,} rows, like {column.examples[0]!r}"),
    )
    return _Target(task=task, column=column, classes=_in_order(classes))


def _warn_of_classes(target: _Target, y: NDArray[np.int64], log: Callable[[str], None]) -> None:
    """Say which classes have too few rows to be learnt and checked, and which may be one class written twice."""
    name = target.column.name
    for label, n_rows in enumerate(np.bincount(y, minlength=len(target.classes))):
        if n_rows < _RARE:
            rows = "1 row" if n_rows == 1 else f"{n_rows} rows"
            log(
                f"target {name!r}: class {target.classes[label]!r} has {rows}: too few to be both learnt and checked; "
                "it stays a class, but some part may have none of it. Merge it with another, or leave its rows out"
            )
    folded: dict[str, str] = {}
    for written in target.classes:
        first = folded.setdefault(written.casefold(), written)
        if first != written:
            log(f"target {name!r}: {first!r} and {written!r} are two classes, though they differ in capitals alone")


def task_of(cells: Cells, config: DataConfig, *, comma: bool = False) -> Task:
    """Return what is learned: as the user says, or classes for texts and few whole numbers, else numbers."""
    said = dict(config.columns).get(str(config.target))
    if config.task is not None or said == WITH_NA:
        return config.task or "classification"
    numbers = numbers_in(cells, comma=comma)
    if numbers is not None and said in _DECIMALS:
        numbers = np.asarray(typed(guess(str(config.target), cells, kind=said), cells))
    if numbers is None:
        return "classification"
    return "classification" if are_classes(numbers[np.isfinite(numbers)]) else "regression"


def _only(column: Column) -> str:
    return f"{column.examples[0]} in every row" if column.examples else "no value at all"


def _in_order(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return class names sorted: 2 before 10 where all are numbers, else as texts."""
    try:
        return tuple(sorted(classes, key=float))
    except ValueError:
        return tuple(sorted(classes))
