"""Whether a store can be used: looked at before anything is written, and watched while a server may go away."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]

from depthcheck.experiments.addresses import is_server, require_address, shown

#: How long a locked SQLite file or a slow server is waited for; MLflow's own SQLite stores wait as long.
BUSY_SECONDS = 20
_WATCH_SECONDS = 5
#: Databases beside SQLite that MLflow knows.
_DATABASE = re.compile(r"(postgresql|mysql|mariadb|mssql)(\+\w+)?://")
#: PostgreSQL's own drivers take what its library does: nobody waits for a host that fell silent as long as TCP would.
_LIBPQ = re.compile(r"postgresql(\+psycopg2?)?:")
_NOT_SILENT = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
_MYSQL = re.compile(r"(mysql|mariadb)\+(pymysql|mysqldb):")
#: What file systems are called that no other host sees.
_OWN_DRIVES = frozenset({"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "NTFS", "overlay", "tmpfs", "xfs", "zfs"})
#: What a tracking server must ask its database for.
_QUESTION = "/api/2.0/mlflow/experiments/search"


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite URL, or None where the URL is of something else, or none."""
    if not url.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        name = make_url(url).database
    except (ArgumentError, ValueError):
        return None
    return None if name in (None, "", ":memory:") else Path(str(name))


def require_sound(url: str, what: str) -> None:
    """Read an SQLite file once through; other stores are left alone, and so is a file that is not there yet.

    Raises
    ------
    ValueError
        When the file is damaged or cannot be written: it was left as it is.
    sqlite3.OperationalError
        When another process has locked it for too long.
    """
    path = sqlite_file(url)
    if path is None or not path.exists():
        return
    if not os.access(path, os.W_OK):
        raise ValueError(f"{what} must be a file that can be written to, got {path}")
    try:
        answer = _ask(path, "PRAGMA quick_check(1)")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer != "ok":
        raise ValueError(
            f"{what} must be a whole SQLite database, got {path} ({answer.splitlines()[-1]}); it was left as it is: "
            "put a copy from before in its place, or move it away to begin anew"
        )


@contextlib.contextmanager
def made_whole(database: Path) -> Iterator[Path]:
    """Yield where to make a new database, which gets its name when it is complete; or an old one's own place.

    MLflow takes two seconds and some hundred steps. Stopped on the way, by a kill or a full disk, it would leave a file
    that it can neither use nor complete.

    Raises
    ------
    ValueError
        When that has happened to the old one.
    """
    if database.exists():
        try:
            yield database
        except Exception as error:
            if _is_unfinished(database):
                raise ValueError(
                    f"{database} must be a whole tracking database, but a kill or a full disk stopped MLflow while it "
                    "made it; it holds no run: move it away"
                ) from error
            raise
        return
    with tempfile.TemporaryDirectory(prefix=f".{database.name}-", dir=database.parent) as folder:
        place = Path(folder) / database.name
        yield place
        try:
            os.link(place, database)
        except FileExistsError:  # another process was faster
            pass
        except OSError:  # a drive without such links, as exFAT
            if not database.exists():
                place.rename(database)


def _is_unfinished(database: Path) -> bool:
    try:
        return _ask(database, "SELECT count(*) FROM runs") == "0"
    except sqlite3.OperationalError as error:
        return "no such table" in str(error)


def require_reachable(uri: str, seconds: float = BUSY_SECONDS) -> None:
    """Fail at once where MLflow would try again for minutes: a folder that is not there, a server that is away.

    Parameters
    ----------
    seconds
        How long a locked file or a slow server is waited for.

    Raises
    ------
    OSError, sqlite3.Error, mlflow.exceptions.MlflowException
        With the reason.
    """
    path = sqlite_file(uri)
    if path is not None:
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent}")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(f"no permission to write {path}")
        if path.exists():
            _ask(path, "PRAGMA schema_version", seconds)
    elif is_server(uri):
        _ask_server(uri, seconds)
    elif _DATABASE.match(uri):
        require_connection(uri, "the tracking store", seconds)


def require_connection(url: str, what: str, seconds: float = BUSY_SECONDS) -> None:
    """Connect once to a database server: MLflow would try ten times, without a word, for 102 seconds.

    Raises
    ------
    ValueError
        When the address is none, or its driver is not installed.
    sqlalchemy.exc.SQLAlchemyError
        When nobody answers there, or whoever does refuses.
    """
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import NoSuchModuleError

    require_address(url, what)
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args=connection_settings(url, seconds))
    except (ImportError, NoSuchModuleError) as error:
        hint = '; pip install "psycopg[binary]" and write postgresql+psycopg://…' if "postgres" in url else ""
        raise ValueError(f"{what} must have its driver installed, got {shown(url)!r} ({error}{hint})") from error
    engine.connect().close()


def connection_settings(url: str, seconds: float = BUSY_SECONDS) -> dict[str, Any]:
    """Return what a database's driver is to be told, so that a busy or silent one is waited for, and not for ever."""
    if url.startswith("sqlite"):
        return {"timeout": seconds}
    if _LIBPQ.match(url):
        return {"connect_timeout": int(seconds), **_NOT_SILENT}
    if _MYSQL.match(url):
        return {"connect_timeout": int(seconds), "read_timeout": int(seconds), "write_timeout": int(seconds)}
    return {}


def write_ahead(*urls: str) -> None:
    """Let SQLite files append what is written to a log beside them (``-wal``), from now on.

    A transaction then waits for the disk once in place of three or four times, and who reads waits for nobody. SQLite
    puts the log back into the file when the last connection closes. Its index is memory that processes share: on a
    drive that hosts may share (https://sqlite.org/wal.html) a file stays as it is, as one does that is locked.
    """
    for url in urls:
        file = sqlite_file(url)
        if file is None or not file.exists() or _is_shared(file):
            continue
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file, timeout=1)) as database:
            database.execute("PRAGMA journal_mode = WAL")


def _is_shared(file: Path) -> bool:
    """Tell whether a file lies on a drive of another kind than disks of this machine are known to be."""
    place = file.resolve()
    drives = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    return next((drives[folder] for folder in place.parents if folder in drives), "") not in _OWN_DRIVES


def _may_go_away(address: str) -> bool:
    return is_server(address) or bool(_DATABASE.match(address))


@contextlib.contextmanager
def watched(addresses: Iterable[str], say: Callable[[str], None]) -> Iterator[None]:
    """Say it when a server, of runs or a database, stops to answer, and when it answers again.

    The waiting itself is done by MLflow's client, without a word, and by :func:`comes_back`.
    """
    over = threading.Event()

    def watch(address: str) -> None:
        name = f"the {'tracking server' if is_server(address) else 'database'} {shown(address)}"
        before = ""
        while not over.wait(_WATCH_SECONDS):
            trouble = _trouble(address)
            if bool(trouble) != bool(before) and not over.is_set():
                waits = f"{trouble}: waiting for up to {_patience():.0f} s (MLFLOW_HTTP_REQUEST_MAX_RETRIES)"
                say(f"{name} {waits if trouble else 'answers again'}")
            before = trouble

    for address in filter(_may_go_away, dict.fromkeys(addresses)):
        threading.Thread(target=watch, args=[address], daemon=True, name="server-watch").start()
    try:
        yield
    finally:
        over.set()


def comes_back(address: str) -> bool:
    """Wait for a server as long as MLflow's client would, and tell whether it answers; False for files.

    MLflow's client gives up at once where a server goes away in the middle of an answer, and databases have no client
    that waits.
    """
    if not _may_go_away(address):
        return False
    end = time.monotonic() + _patience()
    while (trouble := _trouble(address)) and time.monotonic() < end:
        time.sleep(1)
    return not trouble


def _patience() -> float:
    """Return the seconds for which MLflow's client repeats a request: it waits 0, 2, 4, … times its factor."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR, MLFLOW_HTTP_REQUEST_MAX_RETRIES

    factor: float = MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get()  # type: ignore[no-untyped-call]
    retries: int = MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()  # type: ignore[no-untyped-call]
    return float(factor * max(2**retries - 2, 0))


def _trouble(address: str) -> str:
    """Return in words what is the matter with a server that is of no use now, or nothing."""
    if not is_server(address):
        from sqlalchemy.exc import SQLAlchemyError

        try:
            require_connection(address, "the database")
        except SQLAlchemyError:
            return "does not answer"
        return ""
    from mlflow.exceptions import MlflowException

    try:
        status = _ask_server(address, BUSY_SECONDS)
    except MlflowException:
        return "does not answer"
    return f"answers with error {status}, as where its database is away" if status >= 500 else ""


def _ask_server(uri: str, seconds: float) -> int:
    """Ask a tracking server once for what its database has, with the user's own login; return the answer's status."""
    return int(_asker(uri)("POST", timeout=seconds, json={"max_results": 1}).status_code)


@functools.cache
def _asker(uri: str) -> Callable[..., Any]:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    login = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    return functools.partial(http_request, login, _QUESTION, max_retries=0, raise_on_status=False)


def _ask(path: Path, question: str, seconds: float = BUSY_SECONDS) -> str:
    # Not read-only: a process that was killed while it wrote left a journal, which the next reader must roll back.
    address = f"file:{quote(str(path))}?mode=rw"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=seconds)) as connection:
        return str(connection.execute(question).fetchone()[0])
