"""The Python interface: what a notebook or a program does with Depthcheck, a function each.

Nothing heavy is imported before it is used, so that ``import depthcheck`` takes no time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from rich.console import Console

    from depthcheck.experiments.planning.experiment import Experiment
    from depthcheck.experiments.reproduce.reproduction import ReproductionEnding
    from depthcheck.experiments.study.describe import StudyEnding
    from depthcheck.experiments.tracking import StoredRun
    from depthcheck.pipeline.config import DataConfig, ParamValue, TrialConfig
    from depthcheck.pipeline.records import Dataset
    from depthcheck.pipeline.trial import TrainedTrial
    from depthcheck.reports.compare.results import Comparison
    from depthcheck.reports.compare.study_data import StudyData

#: Definitions that belong to known data; all other data get the one for any.
_OWN_DEFINITIONS = {"fashion-mnist": "fashion_mnist", "digits": "digits"}
_one_at_a_time = threading.RLock()


class Study:
    """A study of a tracking store: its state when it was opened, and what else is in it when that is first asked for.

    In a notebook its last line shows question, answer and a table of all answers.

    Attributes
    ----------
    name, question, state
        Its name; what it asks; ``running``, ``finished``, ``failed`` or ``interrupted``.
    tracking_uri, run_id
        Where it is: the address of MLflow's store, and the id of the study's run there.

    Examples
    --------
    >>> study = depthcheck.open_study("digits-1a2b3c4d")  # doctest: +SKIP
    >>> study.answers[["factor", "level", "verdict"]]  # doctest: +SKIP
    """

    def __init__(self, summary: StoredRun, tracking_uri: str) -> None:
        self._summary = summary
        self.name = summary.study
        self.state = summary.state
        self.run_id = summary.run_id
        self.tracking_uri = tracking_uri

    @cached_property
    def question(self) -> str:
        """What the study asks; empty where its definition says nothing."""
        from depthcheck.experiments import tracking

        return str(tracking.study_design(self.tracking_uri, self.run_id).get("question", ""))

    @cached_property
    def data(self) -> StudyData:
        """Everything that was read of the study: design, trials, predictions."""
        from depthcheck.reports.read import read_study

        return read_study(self.tracking_uri, self._summary)

    @cached_property
    def comparison(self) -> Comparison:
        """What the study's levels give against each other: the statistics behind :attr:`answers`."""
        return compare(self)

    @property
    def trials(self) -> pd.DataFrame:
        """Every trial that has ended, one a row: parameters, scores, costs."""
        from depthcheck.reports.write import trials_table

        return trials_table(self.data.records)

    @property
    def answers(self) -> pd.DataFrame:
        """Every level against the reference of its factor, one a row.

        ``factor, level, reference, verdict, because, estimate, low, high, p_holm``: the difference of the expected
        test scores and its 95 % interval, in the metric's own scale (an accuracy's points divided by 100).
        """
        import pandas as pd

        from depthcheck.reports.text.answer import CONTRAST, answers

        return pd.DataFrame(answers(self.comparison)["contrasts"], columns=list(CONTRAST))

    @property
    def answer(self) -> str:
        """The answer in plain sentences, a paragraph a factor."""
        from depthcheck.reports.text.answer import answer, plain

        return "\n\n".join(plain(text) for text in answer(self.comparison))

    @property
    def champion(self) -> str | None:
        """Address of the recommended model in MLflow's registry; None as long as there is none."""
        from depthcheck.experiments import tracking

        try:
            return tracking.champion_address(self.tracking_uri, self.name)
        except ValueError:
            return None

    def predict(self, samples: pd.DataFrame | NDArray[np.generic]) -> pd.DataFrame:
        """Return what the recommended model says of raw samples, a row each.

        Parameters
        ----------
        samples
            A table with the original columns, or an array of the shape that the model was trained on.

        Raises
        ------
        ValueError
            When there is no such model, its files were changed, or the samples are not what it was trained on.
        """
        from depthcheck.experiments import tracking

        address = tracking.champion_address(self.tracking_uri, self.name)
        return tracking.predict(self.tracking_uri, address, samples)

    def report(
        self, folder: str | Path | None = None, *, template: str | Path | None = None, format: str | None = None
    ) -> Path:
        """Write the report, log it to MLflow, and return the path of its markdown, as :func:`write_report`."""
        return write_report(self, folder, template=template, format=format)

    def reproduce(self, *, times: int = 1, progress: bool = True) -> ReproductionEnding:
        """Train the recommended model again from its logged parameters, and compare number by number.

        Parameters
        ----------
        times
            How often it is trained again.
        progress
            Whether to say what happens.
        """
        from depthcheck.experiments.reproduce.reproduction import reproduce
        from depthcheck.reports.figures.curves import overlay_as_svg

        shown = console(progress)
        with _in_this_process(shown):
            return reproduce(self.tracking_uri, shown, study=self.name, times=times, draw=overlay_as_svg)

    def __repr__(self) -> str:
        from depthcheck.experiments.addresses import shown

        return f"Study({self.name!r}, {self.state}, {shown(self.tracking_uri)!r})"

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows: question, answer, and the answers as a table."""
        from depthcheck.pipeline.verbatim import in_markdown
        from depthcheck.reports.text.answer import answer, as_table

        title = f"**{in_markdown(self.question or self.name, None)}**"
        lines = [title, *answer(self.comparison), as_table(self.comparison)]
        return "\n\n".join(line for line in lines if line)


def run_study(
    data: str | Path | pd.DataFrame | NDArray[np.generic] | None = None,
    *,
    target: str | pd.Series[Any] | NDArray[np.generic] | None = None,
    sheet: str | None = None,
    query: str | None = None,
    weight: str | None = None,
    rows: int | None = None,
    model: str | Callable[..., Any] | None = None,
    metric: str | Callable[..., Any] | None = None,
    direction: str | None = None,
    experiment: str | Path | Mapping[str, Any] | None = None,
    trials: int | None = None,
    decide_within: float | None = None,
    epochs: int | None = None,
    seeds: int | None = None,
    seed: int | None = None,
    widen: str | None = None,
    study: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    storage: str | None = None,
    data_folder: str | Path | None = None,
    tracking_uri: str | None = None,
    progress: bool = True,
) -> Study:
    """Run a study, or go on with it, and return it. The same call again trains nothing twice.

    Every parameter has the name and the meaning that it has on the command line and in ``MLproject``.

    Parameters
    ----------
    data
        A table as a DataFrame (its index is no feature); samples as an array ``(n, *shape)``; the path of a file or
        folder; or a name that is known, such as ``fashion-mnist``. None: the data of the experiment. What is in memory
        is written into ``depthcheck-data`` first, since workers, and whoever reproduces a trial, read it from there.
    target
        The column that is to be predicted, or ``(n,)`` targets.
    sheet, query
        The sheet of a spreadsheet; a table's name or a ``SELECT`` of a database.
    weight
        The column of a table that tells how much each row weighs, in the training loss and in every score.
    rows
        Draw a sample of so many rows or samples; None for all.
    model
        A model of your own in place of the networks: ``my_models.py:build``, or a function of a ``.py`` file, whose
        text is what counts (docs/own-models.md).
    metric, direction
        The score that decides: ``accuracy``, ``auc`` or ``r2``; or one of your own like a model, which is then to
        ``maximize`` or to ``minimize``.
    experiment
        The name of a shipped definition, the path of a TOML file, or a definition as nested dictionaries. None: the
        one that belongs to the data, or ``any``.
    trials
        Trials of the search: *baseline*, *compare* and *exploit* together.
    decide_within
        Seconds: the study adds settings until every question is decided, or this time is over.
    epochs
        Epochs of each trial, where the definition does not compare, tune or fix them.
    seeds
        Fresh seeds for each finalist; 0 for none.
    seed
        What all seeds are derived from.
    widen
        Ranges to search further, ``"sgd.learning_rate:up,units:down"``.
    study
        A name of your own for the study.
    workers
        Worker processes on this machine; one a core by default.
    scheduler
        Address of your own Dask cluster, ``tls://host:8786``.
    storage
        URL of the Optuna storage; ``DEPTHCHECK_STORAGE`` or ``optuna.db`` by default (docs/logged.md says where).
    data_folder
        Folder to look for the data set's files in.
    tracking_uri
        Address of MLflow's store, where a relative path is one from the working directory; ``MLFLOW_TRACKING_URI`` or
        ``mlflow.db`` there by default.
    progress
        Whether to say what happens, with a bar on a terminal.

    Returns
    -------
    Study
        With its report written to ``reports/output`` and to MLflow.

    Raises
    ------
    ValueError
        When something that is asked for cannot be: what, what was expected, and what was given. Nothing is written,
        but for data in memory where it shows only in reading their file.
    RuntimeError
        When a store is in trouble, or all trials fail alike. The same call goes on where it stopped.
    KeyboardInterrupt
        When it is interrupted: no run is left open, and the same call goes on.

    Examples
    --------
    >>> study = depthcheck.run_study("digits", trials=49)  # doctest: +SKIP
    >>> study = depthcheck.run_study(frame, target="price", decide_within=1800)  # doctest: +SKIP
    """
    import numpy as np

    from depthcheck.experiments import places
    from depthcheck.experiments.addresses import STORAGE_VARIABLE
    from depthcheck.experiments.tracking import launch_directory

    uri = _store(tracking_uri)
    places.require_writable(launch_directory() / "reports" / "output", "reports/output")
    if target is not None and np.ndim(target) == 0:
        target = str(target).strip()  # a DataFrame's columns may be called by numbers, or have blanks around them
    weight = None if weight is None else str(weight).strip()
    said = {
        "target": target if isinstance(target, str) else None, "sheet": sheet, "query": query, "weight": weight,
    }  # fmt: skip
    named, write = _to_disk(data, target, uri)
    named = None if named is None else replace(named, sheet=sheet, query=query, weight=weight)
    asked = read_experiment(experiment, data=named, model=model, metric=metric, direction=direction, **said)
    shown = console(progress)
    with _in_this_process(shown):
        ending = train(
            asked.with_overrides(trials=trials, epochs=epochs, seeds=seeds, seed=seed, rows=rows).widened_as(widen),
            shown,
            study=study,
            workers=workers,
            scheduler=scheduler,
            storage=storage or os.environ.get(STORAGE_VARIABLE),
            data_folder=_folder(data_folder),
            decide_within=decide_within,
            tracking_uri=uri,
            launcher="python",
            before=write,
        )
        found = open_study(ending.study, tracking_uri=uri)
        write_report(found)
        return found


def open_study(name: str | None = None, *, tracking_uri: str | None = None) -> Study:
    """Return a study that is in the tracking store; without a name the latest.

    Raises
    ------
    ValueError
        When there is none.

    Examples
    --------
    >>> depthcheck.open_study().champion  # doctest: +SKIP
    'models:/digits-1a2b3c4d@champion'
    """
    from depthcheck.reports.read import choose_study

    uri = _store(tracking_uri)
    return Study(choose_study(uri, study=name, run_id=None), uri)


def list_studies(*, tracking_uri: str | None = None) -> list[Study]:
    """Return all studies of the tracking store, the latest first.

    Examples
    --------
    >>> [study.name for study in depthcheck.list_studies()]  # doctest: +SKIP
    """
    from depthcheck.experiments import tracking

    uri = _store(tracking_uri)
    return [Study(summary, uri) for summary in tracking.studies(uri)] if tracking.is_there(uri) else []


def load_data(
    data: str | Path,
    *,
    target: str | None = None,
    sheet: str | None = None,
    query: str | None = None,
    weight: str | None = None,
    rows: int | None = None,
    data_folder: str | Path | None = None,
    progress: bool = False,
) -> Dataset:
    """Return a data set by its name or path, as a study reads it: nothing cut, nothing scaled.

    Parameters
    ----------
    data, target, sheet, query, weight, rows, data_folder
        As of :func:`run_study`.
    progress
        Whether to say what takes long, and what was guessed.

    Raises
    ------
    ValueError
        When there is none, or it is not as it must be.

    Examples
    --------
    >>> depthcheck.load_data("digits").X.shape
    (1437, 8, 8)
    """
    from depthcheck.experiments import places
    from depthcheck.experiments.planning.definition import found_from
    from depthcheck.pipeline.config import DataConfig
    from depthcheck.pipeline.data.load import load

    named = DataConfig(name=str(data), target=target, sheet=sheet, query=query, weight=weight, rows=rows)
    config = found_from(named, Path.cwd())
    return load(config, folder=_folder(data_folder), cache=places.data_cache(), log=console(progress).print)


def _store(tracking_uri: str | None) -> str:
    """Return the address of MLflow's store, a relative one made absolute: files are written beside it."""
    from depthcheck.experiments import tracking

    if not tracking_uri:
        return tracking.tracking_uri()
    return tracking.tracking_uri({"MLFLOW_TRACKING_URI": str(tracking_uri)}, Path.cwd())


def _folder(data_folder: str | Path | None) -> Path | None:
    from depthcheck.pipeline.system import user_path

    return None if data_folder is None else user_path(str(data_folder), "data_folder").absolute()


def run_trial(
    config: TrialConfig | Mapping[str, ParamValue],
    dataset: Dataset,
    *,
    model: str | Callable[..., Any] | None = None,
    metric: str | Callable[..., Any] | None = None,
    direction: str | None = None,
) -> TrainedTrial:
    """Train and evaluate one configuration in this process: what every trial of a study does, without its records.

    Parameters
    ----------
    config
        The hyperparameters by the names that a definition has for them, ``epochs`` and, if need be, ``seed`` (0):
        the data are then cut as a study cuts them. Or the configuration of a trial that was logged,
        ``study.data.records[i].config``.
    dataset
        The data, of :func:`load_data`.
    model, metric, direction
        As of :func:`run_study`, beside hyperparameters; a configuration that was logged has its own.

    Returns
    -------
    TrainedTrial
        ``result.valid.score``, ``result.history``, ``model`` and more.

    Raises
    ------
    ValueError
        When a hyperparameter is missing, unknown or has no valid value, or the data are not those of the
        configuration, or cannot be cut as it says.

    Notes
    -----
    Like a worker's, TensorFlow gets one thread, which makes the numbers those of a study; where it has been used in
    this process before, its settings stay, and last digits may differ.

    Examples
    --------
    >>> network = {"depth": 1, "units": 64, "activation": "relu", "optimizer": "adam", "learning_rate": 0.01}
    >>> data = depthcheck.load_data("digits")  # doctest: +SKIP
    >>> depthcheck.run_trial({**network, "batch_size": 32, "epochs": 5}, data).result.valid.score  # doctest: +SKIP
    """
    from depthcheck.experiments.scratch import environment
    from depthcheck.pipeline.config import TrialConfig
    from depthcheck.pipeline.system import silent_imports
    from depthcheck.pipeline.training.program_cache import ONE_THREAD

    if not isinstance(config, TrialConfig):
        config, dataset = _configured(config, dataset, model=model, metric=metric, direction=direction)
    elif (model, metric, direction) != (None, None, None):
        raise ValueError("model, metric and direction must be left out beside a configuration that was logged, got one")
    # Level 3: that a machine has no graphics processor is no error here.
    settings = {**ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with environment({name: os.environ.get(name, value) for name, value in settings.items()}):
        with silent_imports():
            from depthcheck.pipeline.trial import run_trial as trained

        return trained(config, dataset)


def _configured(
    given: Mapping[str, ParamValue], dataset: Dataset, *, model: Any, metric: Any, direction: str | None
) -> tuple[TrialConfig, Dataset]:
    """Return the configuration that plain hyperparameters mean on these data, and the data as they are judged."""
    from depthcheck.experiments.planning.definition import check_network, check_values, metric_fields, read_model
    from depthcheck.experiments.planning.document import MOST
    from depthcheck.experiments.planning.ranges import known_key
    from depthcheck.pipeline.config import LARGEST_SEED, DataConfig, SplitChoice, TrialConfig
    from depthcheck.pipeline.dimensions import DIMENSIONS, Values
    from depthcheck.pipeline.prepare.split import resolve

    own = None if model is None else read_model(model, Path.cwd())
    if own is not None and "depth" not in own.arguments():
        given = {"depth": 0, **given}
    judge = {"metric": dataset.metric, **metric_fields(metric, direction, Path.cwd())}
    data = DataConfig(name=dataset.name, target=dataset.target or None, task=dataset.task, **judge)
    dataset = replace(dataset, metric=data.metric or dataset.metric)
    checked: dict[str, ParamValue] = {}
    limits: dict[str, Values] = {
        **DIMENSIONS,
        "epochs": Values(kind="int", low=1, most=MOST),
        "seed": Values(kind="int", low=0, most=LARGEST_SEED),
    }
    for name, value in given.items():
        known_key(name, tuple(limits), "a trial")
        checked[name] = limits[name].check(value, name)
    check_network({name: value for name, value in checked.items() if name in DIMENSIONS}, "a trial")
    if "epochs" not in checked:
        raise ValueError("a trial must have epochs, got none")
    check_values(checked, dataset)
    split, sha256 = resolve(SplitChoice(), dataset), dataset.sha256
    fit: dict[str, Any] = {"seed": 0, "class_weight": None}
    fit |= {name: checked.pop(name) for name in ("epochs", "seed", "class_weight") if name in checked}
    return TrialConfig.of(checked, data=data, data_sha256=sha256, split=split, own=own, **fit), dataset


def compare(study: Study) -> Comparison:
    """Return the statistics of a study: levels, differences, intervals, verdicts, checks, as frozen records.

    Examples
    --------
    >>> depthcheck.compare(study).questions[0].contrasts[0].difference.half_width  # doctest: +SKIP
    """
    from depthcheck.reports.compare.comparison import compare_study

    return compare_study(study.data)


def write_report(
    study: Study,
    folder: str | Path | None = None,
    *,
    template: str | Path | None = None,
    format: str | None = None,
) -> Path:
    """Write a study's report: markdown, HTML, figures and tables, into a folder and to MLflow.

    Parameters
    ----------
    folder
        ``reports/output/<study>`` by default. Files of an earlier report there are replaced; others stay.
    template
        A file that says what goes where, in Jinja's language; the project's own by default (docs/report.md).
    format
        What else is written, with commas between: the tables as ``latex``, ``csv`` or ``json``, the figures as ``pdf``.

    Returns
    -------
    Path
        Of ``report.md``.

    Raises
    ------
    ValueError
        When the folder cannot be written to, the template not be used, or there is no such format.

    Examples
    --------
    >>> depthcheck.write_report(depthcheck.open_study(), "my-report")  # doctest: +SKIP
    """
    from depthcheck.experiments.tracking import launch_directory
    from depthcheck.reports import write

    formats = write.chosen_formats(format)
    base = launch_directory()
    asked = None if template is None else write.read_template(str(template), base)
    target = write.report_folder(None if folder is None else str(folder), study.name, base)
    report = write.make_report(study.data, study.comparison, asked)
    write.write_report(report, study.data, target)
    for name in formats:
        write.write_as(name, report, target)
    write.log_report(study.tracking_uri, report, study.data, target)
    return target / "report.md"


def read_experiment(
    experiment: str | Path | Mapping[str, Any] | None,
    *,
    data: DataConfig | None,
    model: str | Callable[..., Any] | None = None,
    metric: str | Callable[..., Any] | None = None,
    direction: str | None = None,
    **said: Any,
) -> Experiment:
    """Return the experiment that is asked for, as :func:`run_study` has it.

    ``data`` take the place of the definition's own; where its own stay, ``said`` (``target``, ``sheet``, ``query``,
    ``weight``) takes the place of what it says of them.
    """
    from depthcheck.experiments.planning import definition
    from depthcheck.experiments.planning.definition import metric_fields, read_model
    from depthcheck.experiments.tracking import launch_directory

    base, own = launch_directory(), None if data is None else _OWN_DEFINITIONS.get(data.name)
    network = None if model is None else read_model(model, base)
    said |= (judge := metric_fields(metric, direction, base))
    data = None if data is None else replace(data, **judge)
    keeps_its_data = data is None
    if isinstance(experiment, Mapping):
        of = str(data.name if data is not None else dict(experiment.get("data", {})).get("name", "study"))
        found = definition.parse(experiment, name=definition.slug(Path(of).stem), data=data, model=network)
        found = replace(found, data=definition.found_from(found.data, base))
    else:
        named = str(experiment or own or ("fashion_mnist" if data is None else "any"))
        path = definition.find(named, base)
        keeps_its_data |= named == own
        asked = None if data is None or keeps_its_data else definition.found_from(data, base)
        found = definition.read(path, data=asked, model=network)
    return found.with_data(**said) if keeps_its_data else found


def train(
    experiment: Experiment,
    console: Console,
    *,
    decide_within: float | None = None,
    tracking_uri: str | None = None,
    **asked: Any,
) -> StudyEnding:
    """Run the session of a study, and say where its results are; raises what :func:`run_study` does.

    The rest of the parameters is as :class:`depthcheck.experiments.study.session.StudyRequest` has it.
    """
    from depthcheck.experiments.cluster.warm_up import warmed_up_for
    from depthcheck.pipeline.blueprint import Values

    if decide_within is not None:
        Values(kind="float", low=0, open_low=True).check(decide_within, "decide_within, in seconds,")
    started = time.monotonic()
    with _in_this_process(console), warmed_up_for(asked.get("scheduler"), asked.get("workers")):
        from depthcheck.experiments.study import session
        from depthcheck.experiments.study.describe import ending_lines
        from depthcheck.experiments.study.session import Deadline
        from depthcheck.experiments.tracking import tracking_uri as default_uri

        deadline = None if decide_within is None else Deadline(seconds=decide_within, start=started, judge=_answers)
        request = session.StudyRequest(
            experiment=experiment, deadline=deadline, tracking_uri=tracking_uri or default_uri(), **asked
        )
        ending = session.run(request, console)
    console.print(ending_lines(ending, seconds=time.monotonic() - started))
    return ending


def dry_run(
    experiment: Experiment, console: Console, *, data_folder: Path | None = None, workers: int | None = None
) -> None:
    """Say what the study of an experiment would be, and how long it would take; nothing is written."""
    from depthcheck.experiments.study.describe import rehearse

    with _in_this_process(console):
        for line in rehearse(experiment, data_folder=data_folder, workers=workers, log=console.print):
            console.print(line)


def console(progress: bool) -> Console:
    """Return where to say what happens: standard output, or nowhere.

    A notebook gets plain lines: it says that it wants colours as a terminal does, but cannot move the cursor up.
    """
    from rich.console import Console

    is_terminal = None if sys.stdout is not None and sys.stdout.isatty() else False  # None: a shell has closed it
    return Console(
        # What a user's data are called is no markup, and ``:car:`` no picture.
        highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=not progress, force_terminal=is_terminal,
        force_jupyter=False,
    )  # fmt: skip


def _answers(uri: str, run_id: str) -> Mapping[str, Any]:
    """Return what may be said of a study by now."""
    from depthcheck.reports.read import choose_study
    from depthcheck.reports.text.answer import answers

    return answers(Study(choose_study(uri, study=None, run_id=run_id), uri).comparison)


@contextlib.contextmanager
def _in_this_process(console: Console) -> Iterator[None]:
    """Keep temporary files in a session's folder, and workers from running the caller's script again.

    A worker that is started (``spawn``) imports the main module, by its file or (``python -m``) by its name, which
    would ask for a study of its own where it has no ``if __name__ == "__main__"``. Nothing that workers are sent is
    defined there. All this holds for the process, so that one of its threads has it at a time, and the next waits.
    """
    from depthcheck.experiments.scratch import scratch

    with contextlib.ExitStack() as stack:
        stack.enter_context(_hearing_interrupts())
        if not _one_at_a_time.acquire(blocking=False):
            console.print("waiting for another thread of this process, which trains")
            _one_at_a_time.acquire()
        stack.callback(_one_at_a_time.release)
        main = vars(sys.modules["__main__"])
        hidden: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
        main["__spec__"] = None  # multiprocessing takes it for granted
        stack.callback(main.update, hidden)
        stack.enter_context(scratch())
        yield


@contextlib.contextmanager
def _hearing_interrupts() -> Iterator[None]:
    """Let Ctrl-C interrupt in ``asyncio.run``, too, whose own handler waits until the task gives way."""
    import asyncio

    heard = None
    with contextlib.suppress(RuntimeError, ValueError):  # there is no loop, or this is not the main thread
        asyncio.get_running_loop()
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if heard is not None:
            signal.signal(signal.SIGINT, heard)


def _to_disk(data: Any, target: Any, uri: str) -> tuple[DataConfig | None, Callable[[], None]]:
    """Return the data's configuration, and what writes those in memory beside the tracking store, under their hash."""
    import numpy as np
    import pandas as pd

    from depthcheck.pipeline.config import DataConfig, InWords, require, several_targets

    is_named = data is None or isinstance(data, (str, Path))
    if isinstance(target, (list, tuple)) and (
        is_named or (isinstance(data, pd.DataFrame) and {*target} <= {*data.columns} and len(target) != len(data))
    ):
        raise several_targets(target)
    if np.ndim(target) == 2 and np.shape(target)[1] > 1:
        raise several_targets(getattr(target, "columns", range(np.shape(target)[1])))
    if is_named:
        if target is not None and not isinstance(target, str):
            raise ValueError("target must be the name of a column where data are named, got an array")
        return None if data is None else DataConfig(name=str(data), target=target), lambda: None
    if isinstance(data, pd.DataFrame):
        frame, name = _with_target(data, target)
        path, write = _writer(_as_parquet(frame), "dataframe.parquet", uri)
        return DataConfig(name=path, target=name), write
    samples, targets = _plain_array(data), None if target is None else _plain_array(target)
    if targets is None or targets.ndim != 1 or samples.ndim < 2 or len(samples) != len(targets):
        shape = "none" if targets is None else targets.shape
        raise ValueError(
            f"data and target must be arrays (n, *shape) and (n,), or a DataFrame, got {samples.shape} and {shape}"
        )
    is_plain, taken = samples.dtype.kind in "biuf", "an array of numbers, none missing"
    require(is_plain, "data", taken, InWords(f"dtype {samples.dtype}"))
    is_plain, taken = targets.dtype.kind in "biufUS", "an array of numbers or text, none missing"
    require(is_plain, "target", taken, InWords(f"dtype {targets.dtype}"))
    content = io.BytesIO()
    np.savez(content, X=samples, y=targets)
    path, write = _writer(content.getvalue(), "arrays.npz", uri)
    return DataConfig(name=path), write


def _plain_array(values: Any) -> NDArray[Any]:
    """Return an array; one of Python objects, as of a DataFrame's texts, is what they all are."""
    import numpy as np
    import pandas as pd

    array = np.asarray(values)
    return np.asarray(array.tolist()) if array.dtype == object and not pd.isna(array).any() else array


def _with_target(frame: pd.DataFrame, target: Any) -> tuple[pd.DataFrame, str]:
    import numpy as np
    import pandas as pd

    if target is None:
        raise ValueError("target must be a column of the table, or one more, got none")
    frame = frame.set_axis([str(label).strip() for label in frame.columns], axis=1)  # as a file has them
    if isinstance(target, str):
        if target not in frame:
            raise ValueError(f"target must be one of the table's columns, {', '.join(map(str, frame))}, got {target!r}")
        return frame, target
    named = getattr(target, "name", None)
    # A number is the place of a column in the table that it was taken from, which may be this one or another.
    if not isinstance(named, str) and str(named) in frame and _are_equal(frame[str(named)], target):
        return frame, str(named)
    name = named.strip() if isinstance(named, str) and named.strip() else "target"
    if name in frame or len(target) != len(frame):
        raise ValueError(
            f"target must be a column of {len(frame)} rows that the table does not have, got {name} of {len(target)}"
        )
    cells = target.array if isinstance(target, (pd.Series, pd.Index)) else target
    if not isinstance(cells, pd.api.extensions.ExtensionArray):  # of categories NumPy would make numbers
        cells = np.asarray(cells)
    frame[name] = cells
    return frame, name


def _are_equal(column: Any, target: Any) -> bool:
    """Whether a table's column and a target have the same cells, also where they have none."""
    import numpy as np
    import pandas as pd

    a, b = np.asarray(column, object), np.asarray(target, object)  # 1 and 1.0 are the same
    return a.ndim == b.ndim == 1 and pd.Series(a).equals(pd.Series(b))


def _as_parquet(frame: pd.DataFrame) -> bytes:
    """Return a table as a Parquet file, each column as one can hold it."""
    import pyarrow as pa

    content, frame = io.BytesIO(), frame.copy(deep=False)
    for at in range(frame.shape[1]):
        column = frame.iloc[:, at]
        if (held := _for_parquet(column)) is not column:
            frame.isetitem(at, held.array)
    try:
        frame.to_parquet(content, index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = "; ".join(map(str, error.args)).partition("\n")[0]
        raise ValueError(f"data must be a table that Parquet can hold, got another ({reason})") from error
    return content.getvalue()


def _for_parquet(column: Any) -> Any:
    """Return a column as Parquet can hold it: periods by their start, intervals as texts; so also ``"12a"`` and 7."""
    import pandas as pd
    import pyarrow as pa

    dtype = column.dtype
    if isinstance(dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if isinstance(dtype, pd.SparseDtype):
        return column.sparse.to_dense()
    if isinstance(dtype, pd.CategoricalDtype) and isinstance(dtype.categories.dtype, pd.IntervalDtype):
        return column.cat.rename_categories(str)
    is_held = not isinstance(dtype, pd.IntervalDtype)
    if pd.api.types.is_object_dtype(dtype):
        try:
            pa.array(column, from_pandas=True)
        except (pa.ArrowException, OverflowError):
            is_held = False
    return column if is_held else column.map(str, na_action="ignore")


def _writer(content: bytes, name: str, uri: str) -> tuple[str, Callable[[], None]]:
    """Return the path that a content gets, and what writes it there, once, and lets go of it."""
    from depthcheck.experiments import places

    path = places.storage_folder(uri).resolve() / "depthcheck-data" / hashlib.sha256(content).hexdigest()[:16] / name
    left = [content]

    def write() -> None:
        content = left.pop()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            part = path.with_suffix(f".{time.time_ns()}")
            part.write_bytes(content)
            part.replace(path)

    return str(path), write
