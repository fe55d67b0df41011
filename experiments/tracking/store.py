"""The tracking store: where it is, a client to it, and its troubles under one name.

MLflow is imported when a store is first used, never before: the import takes seconds, and a command line with a typing
error should not wait for it.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil  # type: ignore[import-untyped]

from depthcheck.experiments.addresses import may_be_shown, shown, sqlite_address
from depthcheck.experiments.tracking import reach
from depthcheck.pipeline.system import user_path
from depthcheck.pipeline.verbatim import Launcher

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
_DEFAULT_URI = "sqlite:///mlflow.db"
# Limits of one log_batch and of the length of a value.
_MAX_METRICS, _MAX_PARAMS, _MAX_TAGS = 800, 100, 100
_MAX_PARAM, _MAX_TAG = 6000, 8000
#: How often something is done at most where its server goes away again and again.
_ATTEMPTS = 3
_T = TypeVar("_T")
# What MLflow says on its own account: migrations of a new database, database errors that reach our user as a
# TrackingError, and that a model has no input signature (see docs/decisions/tracking.md).
_QUIET = {
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "mlflow.store.model_registry": logging.WARNING,  # that a server's registry may be slow
    "mlflow.tensorflow": logging.ERROR,
    "mlflow.utils.requirements_utils": logging.ERROR,
    "urllib3.connectionpool": logging.ERROR,  # each attempt to reach a server that is away
}


#: What MLflow calls that which stays as it is however often one asks.
_LASTING = frozenset(
    {
        "ENDPOINT_NOT_FOUND", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "NOT_FOUND", "PERMISSION_DENIED",
        "RESOURCE_DOES_NOT_EXIST", "UNAUTHENTICATED",
    }
)  # fmt: skip


class TrackingError(RuntimeError):
    """The tracking store, or the study's own, cannot be reached, read or written; never the fault of a trial.

    Attributes
    ----------
    lasts
        Whether a later attempt will not succeed either, as where a run was deleted, a file is damaged or a schema is
        another; a full disk, a lock or a server that is away will pass.
    waited
        Whether its server has been waited for in vain.
    """

    def __init__(self, message: str, *, lasts: bool = False) -> None:
        super().__init__(may_be_shown(message))  # a traceback of Python shows it to whoever looks on
        self.lasts = lasts
        self.waited = False


class TakenOverError(TrackingError):
    """Somebody else has gone on with what this process did, and owns it now: nothing more may be written of it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, lasts=True)


def patiently(address: str, attempt: Callable[[], _T]) -> _T:
    """Do something with a store, and do it again where its server went away meanwhile and has come back.

    Parameters
    ----------
    attempt
        Finds out by itself what an earlier attempt has done: that may be all, where an answer was lost.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return attempt()
        except TrackingError as error:
            if error.lasts or error.waited:
                raise
            error.waited = not reach.comes_back(address)
            if error.waited:
                raise
    return attempt()


def tracking_uri(environ: Mapping[str, str] = os.environ, cwd: Path | None = None) -> str:
    """Return the address of the tracking store, a relative SQLite path made absolute.

    Parameters
    ----------
    environ
        ``MLFLOW_TRACKING_URI`` is read from here, an address or the path of an SQLite file; without it the store is
        ``mlflow.db``.
    cwd
        What a relative path is relative to. By default the directory in which the user typed ``mlflow run``, since
        a project from a git address runs in a temporary clone, else the working directory.
    """
    uri = environ.get("MLFLOW_TRACKING_URI") or _DEFAULT_URI
    base = cwd or launch_directory(environ)
    if ":" not in uri and Path(uri).suffix and not (base / uri).is_dir():
        return sqlite_address(base.resolve() / user_path(uri, "tracking_uri"))  # MLflow would take it for a folder
    path = uri.removeprefix(SQLITE)
    if not uri.startswith(SQLITE) or path.startswith("/") or ":" in path or not path:
        return uri
    return f"{sqlite_address(base.resolve())}/{path.removeprefix('./')}"


def store_directory(uri: str) -> Path | None:
    """Return the folder that an SQLite store lives in, or None where the store is a server."""
    file = reach.sqlite_file(uri)
    return None if file is None else file.parent


def launch_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory in which the user typed: of the ``mlflow run`` that started this process, or our own."""
    if "MLFLOW_RUN_ID" not in environ:
        return Path.cwd()
    for process in psutil.Process().parents():
        try:
            if any(Path(word).stem == "mlflow" for word in process.cmdline()[:3]):
                return Path(process.cwd())
        except psutil.Error:
            break
    return Path.cwd()


def launched_run(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the run that ``mlflow run`` has made for this process, or None."""
    return environ.get("MLFLOW_RUN_ID") or None


def launcher(environ: Mapping[str, str] = os.environ) -> Launcher:
    """Return what this process was started by, for what its user is told to type next; Python has the same commands."""
    return "mlflow run" if launched_run(environ) else "depthcheck"


def is_there(uri: str) -> bool:
    """Tell whether a store exists that could hold a study: to open an SQLite store that is not there would make it.

    Raises
    ------
    ValueError
        When not even its folder exists: its name is wrong, more likely than not.
    """
    file = reach.sqlite_file(uri)
    if file is not None and not file.parent.is_dir():
        raise ValueError(f"cannot use the tracking store {shown(uri)}: there is no folder {file.parent}")
    return file is None or file.exists()


def require_there(uri: str) -> None:
    """Complain about a store that is not there, before it is opened to be read."""
    if not is_there(uri):
        raise ValueError(no_study(uri))


def no_study(uri: str) -> str:
    """Return what is said of a store that has no study, and what to do."""
    return f"no study in {shown(uri)}; run one first, or name another store in MLFLOW_TRACKING_URI"


@contextmanager
def storage(action: str, *more: type[Exception], sign: str | None = None, hint: str = "") -> Iterator[None]:
    """Turn whatever the store raises inside into one :class:`TrackingError` that says what was being done.

    Trouble with a store are the errors of MLflow, databases, connections and files, and those that ``more`` names. A
    ``hint`` is added to trouble of which the text has that ``sign``.
    """
    load_mlflow()  # before anything else of it is imported: our settings must come first
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    errors: tuple[type[Exception], ...] = (MlflowException, SQLAlchemyError, sqlite3.Error, RequestException, OSError)
    try:
        yield
    except (*errors, *more) as error:
        why = reason(error)
        if sign is not None and sign in why:
            why = f"{why.rstrip('.')}: {hint}"
        raise TrackingError(f"{action}: {why}", lasts=_lasts(error)) from _hushed(error)


def _hushed(error: BaseException) -> BaseException:
    """Return an error without passwords in its words and in those of what caused it: MLflow's repeat the address."""
    cause: BaseException | None = error
    while cause is not None:
        cause.args = tuple(may_be_shown(arg) if isinstance(arg, str) else arg for arg in cause.args)
        cause = cause.__cause__ or cause.__context__
    return error


def _lasts(error: BaseException) -> bool:
    error = _innermost(error)
    if isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError)):
        return True
    if isinstance(error, sqlite3.Error):
        missing = str(error).startswith(("no such table", "no such column"))
        return missing or not isinstance(error, sqlite3.OperationalError)
    return getattr(error, "error_code", None) in _LASTING


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "orig", None) or error


def reason(error: BaseException) -> str:
    """Return one line: of the database's own error where there is one, which MLflow and SQLAlchemy wrap in pages."""
    error = _innermost(error)
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    for before in ("(Caused by ", "failed with exception "):  # of requests and of MLflow, with a long address
        if before in text:
            return f"the server gives no answer ({text.partition(before)[2].removesuffix(')')})"
    return text


def require_usable(uri: str, study_storage: str) -> None:
    """Complain about stores that cannot be used, before anything is written to either.

    Raises
    ------
    ValueError
        When an SQLite file is damaged or cannot be written, or the driver of a database is not installed.
    TrackingError
        When one is locked, or a server does not answer.
    """
    with storage(f"cannot use the tracking store {uri}"):
        reach.require_sound(uri, "the tracking database")
        reach.require_reachable(uri)
    file = reach.sqlite_file(study_storage)
    is_lasting = file is not None and not str(file).startswith("file:")
    if "://" not in study_storage or (study_storage.startswith("sqlite") and not is_lasting):
        raise ValueError(
            f"storage must be a URL that Optuna can open, of a file or a server, got {shown(study_storage)!r}"
        )
    with storage(f"cannot use the study's storage {study_storage}"):
        reach.require_sound(study_storage, "the study's storage")
        if file is None:
            reach.require_connection(study_storage, "storage")


def require_at_hand(uri: str) -> None:
    """Raise a TrackingError where a tracking store is locked or away, and would have to be waited for."""
    with storage(f"cannot reach the tracking store {uri}"):
        reach.require_reachable(uri, seconds=1)


def client(uri: str) -> MlflowClient:
    """Return this process's client of the store at ``uri``; it may be shared by threads."""
    # Keyed by process, too: database connections do not survive a fork.
    return _client(uri, os.getpid())


@cache
def _client(uri: str, _process: int) -> MlflowClient:
    load_mlflow()
    from alembic.util import CommandError
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with storage(f"cannot open the tracking store {uri}"):
        reach.require_reachable(uri)
        database = reach.sqlite_file(uri)
        try:
            if database is None:
                return MlflowClient(tracking_uri=uri)
            with reach.made_whole(database) as place:
                MlflowClient(tracking_uri=sqlite_address(place))
            return MlflowClient(tracking_uri=uri)
        except (MlflowException, CommandError) as error:
            if isinstance(_innermost(error), (MlflowException, CommandError)):  # another schema, or a store of no kind
                raise TrackingError(
                    f"cannot use the tracking store {uri}: {_newer_schema(error) or reason(error)}", lasts=True
                ) from _hushed(error)
            raise


def _newer_schema(error: BaseException) -> str:
    """Return what to say of a schema that this MLflow does not know, which it calls out of date; else nothing."""
    import mlflow

    found = re.search(r"database schema \(found version (\w+), but expected", reason(error))
    if not found or list((Path(mlflow.__file__).parent / "store/db_migrations/versions").glob(f"{found[1]}_*.py")):
        return ""
    return f"its schema {found[1]} is none that MLflow {mlflow.__version__} knows: use the newer one that made it"


@cache
def load_mlflow() -> None:
    """Import MLflow once, without telemetry unless the user chose it, and without its small talk."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    assert mlflow.__version__


def let_go() -> None:
    """Close MLflow's connections, which it keeps; SQLite then puts its log back into the file, and removes it."""
    for kind in ("tracking", "model_registry"):
        if (module := sys.modules.get(f"mlflow.store.{kind}.sqlalchemy_store")) is not None:
            for engine in list(module.SqlAlchemyStore._engine_map.values()):
                engine.dispose()


def log_batch(
    api: MlflowClient,
    run_id: str,
    *,
    metrics: Sequence[tuple[str, float, int]] = (),
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, str] | None = None,
    of_model: Sequence[tuple[str, float, int]] = (),
    model_id: str | None = None,
) -> None:
    """Write metrics (key, value, step), parameters and, last, tags in as few calls as MLflow's limits allow.

    ``model_id`` is the logged model that the metrics in ``of_model`` are of, beside the run.
    """
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    points = [Metric(key, value, now, step) for key, value, step in metrics]
    points += [Metric(key, value, now, step, model_id=model_id) for key, value, step in of_model]
    fixed = [Param(key, str(value)[:_MAX_PARAM]) for key, value in (params or {}).items()]
    labels = [RunTag(key, value[:_MAX_TAG]) for key, value in (tags or {}).items()]
    while points or fixed or labels:
        is_last = len(points) <= _MAX_METRICS and len(fixed) <= _MAX_PARAMS
        n_labels = _MAX_TAGS if is_last else 0
        api.log_batch(run_id, points[:_MAX_METRICS], fixed[:_MAX_PARAMS], labels[:n_labels])
        points, fixed, labels = points[_MAX_METRICS:], fixed[_MAX_PARAMS:], labels[n_labels:]
