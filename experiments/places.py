"""Where the project keeps things on a machine: caches, the study's storage, and the lock that lies beside it.

The lock lets one coordinator run a study; the operating system takes it back when its process dies.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from depthcheck.experiments.addresses import sqlite_address
from depthcheck.experiments.tracking.reach import connection_settings
from depthcheck.experiments.tracking.store import TakenOverError, launch_directory, store_directory, tracking_uri
from depthcheck.pipeline import system

if TYPE_CHECKING:
    from sqlalchemy import Connection

_NAME = "depthcheck"
#: Where the text begins that says who holds it: behind the byte that Windows locks.
_TEXT = 1
_FLAGS = os.O_RDWR | os.O_CREAT | system.AS_IT_IS
#: PostgreSQL cuts names of connections there.
_LONGEST_NAME = 63
_KEEPALIVE = "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
#: How often a lock in a database is looked after.
_KEEP_SECONDS = 5
_SELF = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_HOLDER = """
    SELECT pid, backend_start, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND (classid::bigint << 32 | objid::bigint) = CAST(:key AS bigint)
"""


def data_cache() -> Path:
    """Return the folder for data sets that were fetched."""
    return Path(platformdirs.user_cache_dir(_NAME)) / "data"


def program_cache() -> Path:
    """Return the folder for XLA's compiled programs."""
    return Path(platformdirs.user_cache_dir(_NAME)) / "programs"


def logs() -> Path:
    """Return the folder for what worker processes print."""
    return Path(platformdirs.user_log_dir(_NAME))


def storage_folder(tracking_uri: str) -> Path:
    """Return the folder of ``optuna.db``: beside the tracking database, so that both are found again together.

    Where tracking is a server there is no such place, and a folder of the user's own data stands in, one a server.
    """
    folder = store_directory(tracking_uri)
    if folder is not None:
        return folder
    server = hashlib.sha256(tracking_uri.encode()).hexdigest()[:8]
    return Path(platformdirs.user_data_dir(_NAME)) / server


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a study is: tracking store, Optuna's storage, and the folder of its lock."""

    uri: str
    storage: str
    folder: Path

    @classmethod
    def of(cls, uri: str, storage: str | None) -> Place:
        """Return the place that belongs to a tracking store; its storage is ``optuna.db`` unless another is named."""
        folder = storage_folder(uri)
        return cls(uri=uri, storage=storage or sqlite_address(folder / "optuna.db"), folder=folder)


def least_room(addresses: Iterable[str]) -> str:
    """Return in words where a session that was given some addresses has the least room on a disk."""
    named = filter(None, map(store_directory, addresses))
    folders = [storage_folder(tracking_uri()), *named, launch_directory(), Path(tempfile.gettempdir())]
    free = {folder: shutil.disk_usage(folder).free for folder in folders if folder.is_dir()}
    fullest = min(free, key=lambda folder: free[folder])
    return f"least room is in {fullest}: {free[fullest] // 1024:,} kB"


def require_writable(folder: Path, what: str) -> None:
    """Complain where nothing can be written in a folder, or it cannot be made; nothing is made here."""
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"{what} must be a folder that can be written to, got {folder}")


@contextlib.contextmanager
def held(place: Place, study: str) -> Iterator[Callable[[], None]]:
    """Hold the study's lock: a file in the place's folder, and in a PostgreSQL storage, which hosts share, one there.

    Yields a function that makes sure of it, to be called before anything is written: a server that was restarted has
    let go of its lock, which is then taken again. It raises TakenOverError where somebody else was faster, and
    SQLAlchemy's errors where the server is away.

    Raises
    ------
    ValueError
        When another process holds one; says which, where and since when. Or when the file cannot be written.
    """
    with _held_in_folder(place.folder, study), _held_in_database(place.storage, study) as keep:
        yield keep


@contextlib.contextmanager
def _held_in_folder(folder: Path, study: str) -> Iterator[None]:
    path = lock_file(folder, study)
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(_opened(path))
            _take(file, study)
        except OSError as error:
            reason = "a link" if path.is_symlink() else error.strerror or error
            raise ValueError(
                f"the study's lock must be a file of yours that can be written, got {path} ({reason})"
            ) from error
        yield  # the file stays: removing it would let a third process lock a new one beside a second's


@contextlib.contextmanager
def _held_in_database(storage: str, study: str) -> Iterator[Callable[[], None]]:
    """Hold an advisory lock of PostgreSQL: the server gives it back when the connection ends, however that comes.

    A host that falls silent is given up within a minute.
    """
    if not storage.startswith("postgresql"):
        yield lambda: None
        return
    from sqlalchemy.exc import SQLAlchemyError

    lock, over = _DatabaseLock(storage, study), threading.Event()

    def keep_up() -> None:
        while not over.wait(_KEEP_SECONDS):
            # Said where something is to be written.
            with contextlib.suppress(SQLAlchemyError, TakenOverError, ValueError):
                lock.keep()

    with contextlib.suppress(SQLAlchemyError):  # whoever opens the study says what is the matter with the storage
        lock.keep()
    threading.Thread(target=keep_up, daemon=True, name="study-lock").start()
    try:
        yield lock.keep
    finally:
        over.set()
        lock.release()


class _DatabaseLock:
    """A lock of a study in PostgreSQL, on a connection of its own."""

    def __init__(self, storage: str, study: str) -> None:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        self._study = study
        self._key = int.from_bytes(hashlib.sha256(study.encode()).digest()[:8], signed=True)
        name = f"depthcheck on {socket.gethostname()}, process {os.getpid()}"[:_LONGEST_NAME]
        self._engine = create_engine(
            storage,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",  # an open transaction would hold back the server's own cleaning
            connect_args={**connection_settings(storage), "application_name": name, "options": _KEEPALIVE},
        )
        self._connection: Connection | None = None
        self._self: tuple[Any, ...] | None = None
        self._taken_over, self._is_over = "", False
        self._one_at_a_time = threading.Lock()

    def keep(self) -> None:
        """Take the lock unless it is held; see :func:`held`.

        Raises
        ------
        ValueError
            When somebody else holds it, and we never have.
        """
        from sqlalchemy.exc import SQLAlchemyError

        with self._one_at_a_time:
            if self._is_over:
                return
            if self._taken_over:
                raise TakenOverError(self._taken_over)
            if self._connection is not None:
                try:
                    self._ask(self._connection, "SELECT 1")
                    return
                except SQLAlchemyError:
                    self._drop()
            with contextlib.ExitStack() as stack:
                connection = stack.enter_context(self._engine.connect())
                self._take(connection)
                self._self = self._ask(connection, _SELF)
                self._connection = connection
                stack.pop_all()

    def release(self) -> None:
        """Let go of it; from now on it is not kept."""
        with self._one_at_a_time:
            self._is_over = True
            self._drop()

    def _take(self, connection: Connection) -> None:
        if self._try_lock(connection):
            return
        holder = self._ask(connection, _HOLDER)
        if self._self is not None and holder is not None and holder[:2] == self._self:
            # Our own connection of before: the server has not noticed yet that it broke.
            self._ask(connection, f"SELECT pg_terminate_backend({int(holder[0])}, 5000)")
            if self._try_lock(connection):
                return
        who = "another coordinator" if holder is None else f"{holder[2]}, since {holder[1]:%Y-%m-%d %H:%M %Z}"
        if self._self is None:
            raise ValueError(f"study {self._study!r} must be run once at a time, and is running: {who}")
        self._taken_over = f"study {self._study!r} was taken over while its database was away, by {who}"
        raise TakenOverError(self._taken_over)

    def _try_lock(self, connection: Connection) -> bool:
        return bool((self._ask(connection, "SELECT pg_try_advisory_lock(:key)") or [False])[0])

    def _ask(self, connection: Connection, question: str) -> tuple[Any, ...] | None:
        from sqlalchemy import text

        row = connection.execute(text(question), {"key": self._key} if ":key" in question else {}).first()
        return None if row is None else tuple(row)

    def _drop(self) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        with contextlib.suppress(SQLAlchemyError):  # a server that went away has let go of it
            if self._connection is not None:
                self._connection.close()
        self._connection = None


def _opened(path: Path) -> FileIO:
    """Open the file as it is, made if there is none, if it is a file of this user's."""
    file = FileIO(path, "r+", opener=lambda name, _flags: os.open(name, _FLAGS, 0o600))  # nothing is buffered
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_uid != system.user_id():
        file.close()
        raise OSError("another user's" if stat.S_ISREG(status.st_mode) else "no file")
    return file


def _take(file: FileIO, study: str) -> None:
    try:
        system.lock(file.fileno())
    except BlockingIOError:
        file.seek(_TEXT)
        raise ValueError(
            f"study {study!r} must be run once at a time, and is running: {_holder(file.read())}"
        ) from None
    file.truncate(0)
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
    file.write(b" " * _TEXT + json.dumps(holder).encode())


def lock_file(folder: Path, study: str) -> Path:
    """Return the file; where it is not there, nobody has run the study with this folder."""
    return folder / f".{study}.lock"


def _holder(text: bytes) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError):
        return "by another process"
