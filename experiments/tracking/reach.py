"""Whether a store can be used: looked at before anything is written, and watched while a server may go away."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from depthcheck.experiments.addresses import require_address, shown

#: How long a locked SQLite file or a slow server is waited for; MLflow's own SQLite stores wait as long.
BUSY_SECONDS = 20
_WATCH_SECONDS = 5
#: Databases beside SQLite that MLflow knows.
_DATABASE = re.compile(r"(postgresql|mysql|mssql)(\+\w+)?://")


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite URL, or None where the URL is of something else."""
    if not url.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    name = make_url(url).database
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
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(place, database)


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
    OSError, sqlite3.Error
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
        import requests

        requests.head(uri, timeout=seconds)
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
    limit = {"connect_timeout": int(seconds)} if re.search(r"\+(psycopg2?|pymysql|mysqldb):", url) else {}
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args=limit)
    except (ImportError, NoSuchModuleError) as error:
        hint = '; pip install "psycopg[binary]" and write postgresql+psycopg://…' if "postgres" in url else ""
        raise ValueError(f"{what} must have its driver installed, got {shown(url)!r} ({error}{hint})") from error
    engine.connect().close()


def is_server(uri: str) -> bool:
    """Tell whether a tracking store is a server."""
    return uri.startswith(("http://", "https://"))


@contextlib.contextmanager
def watched(uri: str, say: Callable[[str], None]) -> Iterator[None]:
    """Say it when the tracking server stops to answer, and when it answers again.

    The waiting itself is done by MLflow's client, without a word, and by :func:`comes_back`.
    """
    over = threading.Event()

    def watch() -> None:
        answered = True
        while not over.wait(_WATCH_SECONDS):
            answers = _answers(uri)
            if answers != answered and not over.is_set():
                say(
                    f"the tracking server {shown(uri)} answers again"
                    if answers
                    else f"the tracking server {shown(uri)} does not answer: waiting for up to "
                    f"{_patience():.0f} s (MLFLOW_HTTP_REQUEST_MAX_RETRIES)"
                )
            answered = answers

    thread = threading.Thread(target=watch, daemon=True, name="server-watch")
    if is_server(uri):
        thread.start()
    try:
        yield
    finally:
        over.set()


def comes_back(uri: str) -> bool:
    """Wait for a tracking server as long as MLflow's client would, and tell whether it answers; False for other stores.

    MLflow's client gives up at once where a server goes away in the middle of an answer.
    """
    if not is_server(uri):
        return False
    end = time.monotonic() + _patience()
    while not (answers := _answers(uri)) and time.monotonic() < end:
        time.sleep(1)
    return answers


def _patience() -> float:
    """Return the seconds for which MLflow's client repeats a request: it waits 0, 2, 4, … times its factor."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR, MLFLOW_HTTP_REQUEST_MAX_RETRIES

    factor: float = MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get()  # type: ignore[no-untyped-call]
    retries: int = MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()  # type: ignore[no-untyped-call]
    return float(factor * max(2**retries - 2, 0))


def _answers(uri: str) -> bool:
    import requests

    try:
        requests.head(uri, timeout=BUSY_SECONDS)
    except requests.RequestException:
        return False
    return True


def _ask(path: Path, question: str, seconds: float = BUSY_SECONDS) -> str:
    # Not read-only: a process that was killed while it wrote left a journal, which the next reader must roll back.
    address = f"file:{quote(str(path))}?mode=rw"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=seconds)) as connection:
        return str(connection.execute(question).fetchone()[0])
