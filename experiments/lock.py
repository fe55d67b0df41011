"""The lock that lets one coordinator run a study, wherever others are started.

It is two: of a file beside the study's storage, which the operating system takes back when its process dies, and one in
the storage, for coordinators that see no common folder. PostgreSQL has locks that end with their connection. In other
databases it is a lease: a row that its holder renews, and that another may take who has seen it for a while without a
change. No clock is read for it, since those of two hosts differ. In both the row stays when the lock is given back:
whoever was cut off meanwhile sees there that somebody else has gone on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import stat
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from depthcheck.experiments.places import Place
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.reach import connection_settings, sqlite_file
from depthcheck.experiments.tracking.runs import StoredRun
from depthcheck.experiments.tracking.store import TakenOverError, store_directory
from depthcheck.experiments.tracking.store import storage as stored
from depthcheck.pipeline import system

#: Where the text begins that says who holds the file: behind the byte that Windows locks.
_TEXT = 1
_FLAGS = os.O_RDWR | os.O_CREAT | system.AS_IT_IS
#: PostgreSQL cuts names of connections there.
_LONGEST_NAME = 63
_KEEPALIVE = "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
#: How often a lock in a storage is looked after, and a lease renewed.
_KEEP_SECONDS = 5.0
#: How long a lease must have stood still before another takes it: longer than its holder waits for a busy database.
_LEASE_SECONDS = 60.0
_SELF = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_HOLDER = """
    SELECT pid, backend_start, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32 | objid::bigint) = CAST(:key AS bigint)
"""
#: How often a lease was renewed that was given back.
_FREE = -1
#: A table of our own in Optuna's database, since its own attributes cannot be exchanged in one step.
_LEASES = sql.Table(
    "depthcheck_leases",
    sql.MetaData(),
    sql.Column("study", sql.String(512), primary_key=True),
    sql.Column("holder", sql.String(512), nullable=False),
    sql.Column("renewed", sql.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a study.

    Attributes
    ----------
    since
        In ISO 8601.
    origin
        What the lock's file is called among all folders: the same for all sessions that hold this file, one by one.
    """

    process: int
    host: str
    since: str
    origin: str

    @classmethod
    def read(cls, stored: str | bytes) -> Holder | None:
        """Return the holder of whom a lock says so, or None where it says something else."""
        try:
            return cls(**json.loads(stored))
        except (ValueError, TypeError):
            return None

    @classmethod
    def now(cls, before: Holder | None) -> Holder:
        """Return this process, as the one that follows upon another in the same file."""
        host = socket.gethostname()
        origin = before.origin if before is not None else f"{host}-{secrets.token_hex(4)}"
        return cls(os.getpid(), host, datetime.now().astimezone().isoformat(timespec="seconds"), origin)

    def as_json(self) -> str:
        """Return what :meth:`read` reads."""
        return json.dumps({"process": self.process, "host": self.host, "since": self.since, "origin": self.origin})

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


@dataclass(frozen=True, slots=True)
class Lock:
    """A study's lock, held.

    Attributes
    ----------
    origin
        See :class:`Holder`.
    keep
        Makes sure of it, to be called before anything is written: a server that was restarted has let go of its lock,
        which is then taken again. It raises TakenOverError where somebody else was faster, and SQLAlchemy's errors
        where the server is away.
    """

    origin: str
    keep: Callable[[], None]


def lock_file(folder: Path, study: str) -> Path:
    """Return the file; where it is not there, nobody has run the study with this folder."""
    return folder / f".{study}.lock"


def origin_of(folder: Path, study: str) -> str | None:
    """Return the origin of sessions that hold the lock's file there, or None where none ever has."""
    with contextlib.suppress(OSError), _opened(lock_file(folder, study), os.O_RDONLY | system.AS_IT_IS) as file:
        file.seek(_TEXT)
        holder = Holder.read(file.read())
        return None if holder is None else holder.origin
    return None


def may_run_elsewhere(place: Place, study: str, run: StoredRun, *, is_stored: bool) -> bool:
    """Tell whether a study's run says that it is RUNNING, and no lock that can be held here tells whether it does.

    A study on a server whose storage is a file of each user's own has its locks where its sessions are started.

    Parameters
    ----------
    is_stored
        Whether the place's storage has the study, and its lock with it.
    """
    if run.status != "RUNNING" or store_directory(place.uri) is not None:
        return False
    origin, file = origin_of(place.folder, study), sqlite_file(place.storage)
    is_own = file is not None and file.parent == place.folder
    if origin is None:
        return not is_stored
    return is_own and run.tags.get(keys.ORIGIN, origin) != origin


@contextlib.contextmanager
def held(place: Place, study: str, say: Callable[[str], None] = lambda _line: None) -> Iterator[Lock]:
    """Hold the study's lock: a file in the place's folder, and one in its storage, which hosts may share.

    Parameters
    ----------
    say
        Is told when a holder who may be dead is waited for.

    Raises
    ------
    ValueError
        When another process holds one; says which, where and since when. Or when the file cannot be written.
    TrackingError
        When the storage cannot be used.
    """
    with (
        _held_in_folder(place.folder, study) as (before, holder),
        _held_in_storage(place.storage, study, before, holder, say) as keep,
    ):
        yield Lock(holder.origin, keep)


@contextlib.contextmanager
def _held_in_folder(folder: Path, study: str) -> Iterator[tuple[Holder | None, Holder]]:
    """Yield who held it before, and who does now."""
    path = lock_file(folder, study)
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(_opened(path, _FLAGS))
            holders = _take(file, study)
        except OSError as error:
            reason = "a link" if path.is_symlink() else error.strerror or error
            raise ValueError(
                f"the study's lock must be a file of yours that can be written, got {path} ({reason})"
            ) from error
        yield holders  # the file stays: removing it would let a third process lock a new one beside a second's


def _opened(path: Path, flags: int) -> FileIO:
    """Open the file as it is if it is a file of this user's."""
    mode = "r" if flags & (os.O_RDWR | os.O_WRONLY) == 0 else "r+"
    file = FileIO(path, mode, opener=lambda name, _flags: os.open(name, flags, 0o600))  # nothing is buffered
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_uid != system.user_id():
        file.close()
        raise OSError("another user's" if stat.S_ISREG(status.st_mode) else "no file")
    return file


def _take(file: FileIO, study: str) -> tuple[Holder | None, Holder]:
    try:
        system.lock(file.fileno())
    except BlockingIOError:
        raise _running(study, _written(file) or "by another process") from None
    before = _written(file)
    holder = Holder.now(before)
    written = b" " * _TEXT + holder.as_json().encode()
    file.seek(0)
    # Over what is there, and never shorter: a full disk or a kill leaves the origin.
    file.write(written.ljust(os.fstat(file.fileno()).st_size))
    return before, holder


def _written(file: FileIO) -> Holder | None:
    file.seek(_TEXT)
    return Holder.read(file.read())


def _running(study: str, who: object) -> ValueError:
    return ValueError(f"study {study!r} must be run once at a time, and is running: {who}")


@contextlib.contextmanager
def _held_in_storage(
    storage: str, study: str, before: Holder | None, holder: Holder, say: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    lock: _StoredLock
    if storage.startswith("postgresql"):
        lock = _ServerLock(storage, study, holder)
    else:
        lock = _Lease(storage, study, holder, before, say)
    over = threading.Event()

    def keep_up() -> None:
        while not over.wait(_KEEP_SECONDS):
            with contextlib.suppress(Exception):  # said where something is to be written
                lock.keep()

    with stored("cannot hold the study's lock in its storage"):
        lock.keep()
    threading.Thread(target=keep_up, daemon=True, name="study-lock").start()
    try:
        yield lock.keep
    finally:
        over.set()
        lock.release()


class _StoredLock(ABC):
    """A lock of a study in a database, on connections of its own."""

    def __init__(self, engine: sql.Engine, study: str, holder: Holder) -> None:
        self._engine, self._study, self._holder = engine, study, holder
        self._own = holder.as_json()
        self._was_ours, self._taken_over, self._is_over = False, "", False
        self._one_at_a_time = threading.Lock()

    def keep(self) -> None:
        """Take the lock unless it is held; see :class:`Lock`.

        Raises
        ------
        ValueError
            When somebody else holds it, and we never have.
        """
        with self._one_at_a_time:
            if self._is_over:
                return
            if self._taken_over:
                raise TakenOverError(self._taken_over)
            self._keep()

    def release(self) -> None:
        """Let go of it; from now on it is not kept."""
        with self._one_at_a_time, contextlib.suppress(SQLAlchemyError):  # a server that went away has let go of it
            self._is_over = True
            self._release()

    @abstractmethod
    def _keep(self) -> None: ...

    def _lost(self, who: Holder | str | None) -> Exception:
        who = who or "another coordinator"
        if not self._was_ours:
            return _running(self._study, who)
        self._taken_over = f"study {self._study!r} was taken over by {who}, while this process or its database was away"
        return TakenOverError(self._taken_over)

    def _row(self) -> tuple[str, int] | None:
        """Return who has the lock, or had it last, and how often that was renewed."""
        with self._engine.connect() as connection:
            found = connection.execute(
                sql.select(_LEASES.c.holder, _LEASES.c.renewed).where(_LEASES.c.study == self._study)
            ).first()
        return None if found is None else (found[0], found[1])

    def _is_first(self) -> bool:
        """Write ourselves where nobody is written yet; tell whether that was so."""
        # Another was faster, each database says it otherwise; or another may do it for us.
        with contextlib.suppress(IntegrityError, OperationalError, ProgrammingError):
            _LEASES.create(self._engine, checkfirst=True)
        with contextlib.suppress(IntegrityError):
            self._execute(sql.insert(_LEASES).values(study=self._study, holder=self._own, renewed=0))
            return True
        return False

    def _replaces(self, row: tuple[str, int]) -> bool:
        """Write ourselves in place of what was read, unless that has changed meanwhile; tell whether it has not."""
        unchanged = (_LEASES.c.study == self._study) & (_LEASES.c.holder == row[0]) & (_LEASES.c.renewed == row[1])
        return self._execute(sql.update(_LEASES).where(unchanged).values(holder=self._own, renewed=row[1] + 1)) == 1

    def _release(self) -> None:
        if self._was_ours:
            ours = (_LEASES.c.study == self._study) & (_LEASES.c.holder == self._own)
            self._execute(sql.update(_LEASES).where(ours).values(renewed=_FREE))

    def _execute(self, statement: sql.Insert | sql.Update) -> int:
        """Return how many rows it met."""
        with self._engine.connect() as connection:
            return connection.execute(statement).rowcount


class _ServerLock(_StoredLock):
    """An advisory lock of PostgreSQL: the server takes it back when the connection ends, however that comes.

    A host that falls silent is given up within a minute.
    """

    def __init__(self, storage: str, study: str, holder: Holder) -> None:
        name = f"depthcheck on {holder.host}, process {holder.process}"[:_LONGEST_NAME]
        options = " ".join([*sql.make_url(storage).normalized_query.get("options", ()), _KEEPALIVE])
        engine = sql.create_engine(
            storage,
            poolclass=sql.NullPool,
            isolation_level="AUTOCOMMIT",  # an open transaction would hold back the server's own cleaning
            connect_args={**connection_settings(storage), "application_name": name, "options": options},
        )
        super().__init__(engine, study, holder)
        self._key = int.from_bytes(hashlib.sha256(study.encode()).digest()[:8], signed=True)
        self._connection: sql.Connection | None = None
        # Our connection's process in the server, and when it began.
        self._self: tuple[Any, ...] | None = None

    def _keep(self) -> None:
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
            with contextlib.suppress(ProgrammingError):  # a role that may not write our table has the lock all the same
                self._write()
            self._connection, self._was_ours = connection, True
            stack.pop_all()

    def _take(self, connection: sql.Connection) -> None:
        if self._try_lock(connection):
            return
        holder = self._ask(connection, _HOLDER)
        if self._self is not None and holder is not None and holder[:2] == self._self:
            # Our own connection of before: the server has not noticed yet that it broke.
            self._ask(connection, f"SELECT pg_terminate_backend({int(holder[0])}, 5000)")
            if self._try_lock(connection):
                return
        if holder is None or holder[1] is None:  # another role's, of which the server says nothing
            raise self._lost(None)
        raise self._lost(f"{holder[2]}, since {holder[1]:%Y-%m-%d %H:%M %Z}")

    def _write(self) -> None:
        """Note who has the lock, unless somebody else has had it since we had."""
        while not self._is_first():
            row = self._row()
            if self._was_ours and row is not None and row[0] != self._own:
                raise self._lost(Holder.read(row[0]))
            if row is not None and self._replaces(row):
                return

    def _try_lock(self, connection: sql.Connection) -> bool:
        return bool((self._ask(connection, "SELECT pg_try_advisory_lock(:key)") or [False])[0])

    def _ask(self, connection: sql.Connection, question: str) -> tuple[Any, ...] | None:
        row = connection.execute(sql.text(question), {"key": self._key} if ":key" in question else {}).first()
        return None if row is None else tuple(row)

    def _drop(self) -> None:
        with contextlib.suppress(SQLAlchemyError):
            if self._connection is not None:
                self._connection.close()
        self._connection = None

    def _release(self) -> None:
        try:
            super()._release()
        finally:
            self._drop()


class _Lease(_StoredLock):
    """The row alone, in any other database; each statement is a transaction of its own."""

    def __init__(
        self, storage: str, study: str, holder: Holder, before: Holder | None, say: Callable[[str], None]
    ) -> None:
        engine = sql.create_engine(
            storage, poolclass=sql.NullPool, isolation_level="AUTOCOMMIT", connect_args=connection_settings(storage)
        )
        super().__init__(engine, study, holder)
        self._file = sqlite_file(storage)
        # Whoever had the file that this process holds now has ended: the system has seen to that, on one host.
        self._ended = before.as_json() if before is not None and before.host == holder.host else None
        self._say = say
        self._renewed_at = 0.0

    def _keep(self) -> None:
        if not self._is_there():
            return
        row = self._row() if self._was_ours else None
        if row is None:  # at the start, or where somebody has put an earlier state of the database in place
            self._take()
        elif row[0] != self._own:
            raise self._lost(Holder.read(row[0]))
        elif time.monotonic() - self._renewed_at > _KEEP_SECONDS / 2:
            if not self._replaces(row):
                self._keep()
            self._renewed_at = time.monotonic()

    def _take(self) -> None:
        while not self._is_first():
            row = self._row()
            if row is not None and row[1] != _FREE and row[0] not in (self._own, self._ended):
                if self._was_ours:
                    raise self._lost(Holder.read(row[0]))
                row = self._if_it_stands_still(row)
            if row is not None and self._replaces(row):
                break
        self._was_ours, self._renewed_at = True, time.monotonic()

    def _if_it_stands_still(self, row: tuple[str, int]) -> tuple[str, int] | None:
        """Return the row as it was given back, or when nobody has renewed it for long enough; None where it is gone."""
        begun, said = time.monotonic(), False
        while (waited := time.monotonic() - begun) < _LEASE_SECONDS:
            if waited > 2 * _KEEP_SECONDS and not said:
                said = True
                who = Holder.read(row[0])
                self._say(f"study {self._study} is held by {who}: waiting {_LEASE_SECONDS:.0f} s for a sign of life")
            time.sleep(_KEEP_SECONDS / 20)
            now = self._row()
            if now is None or now[1] == _FREE:
                return now
            if now != row:
                raise self._lost(Holder.read(now[0]))
        return row

    def _release(self) -> None:
        if self._is_there():
            super()._release()

    def _is_there(self) -> bool:
        """Tell whether the storage is: an SQLite file is made by whoever opens the study, and not for its lock."""
        return self._file is None or self._file.exists()
