"""A folder of its own for all temporary files of a session, also of sessions that were killed and could not clear up.

``$TMPDIR`` is shared with everybody on the machine. Whatever is made there under a name that can be foreseen, others
can make first: as a link to a file of ours, or as a pipe that nobody reads. Dask (``dask-scratch-space``), MLflow
(``db_init_lock-…``) and Keras (``.keras``, without a home) know such names, so they get a ``$TMPDIR`` that only its
owner can enter.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator, Mapping
from multiprocessing import current_process
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from depthcheck.pipeline import system
from depthcheck.pipeline.data.fetch import keras_home

_PREFIX = "depthcheck-session-"
#: Where Linux keeps the semaphores of multiprocessing, with which Dask starts workers, and the name that joblib gives
#: them once scikit-learn has imported it. They stay when a process is killed together with multiprocessing's helper.
_SEMAPHORES, _SEMAPHORE = Path("/dev/shm"), "loky-{}"
_of_this_process = contextlib.ExitStack()
#: The folder is the process's, once for each that is inside: threads may come and go in any order.
_inside: list[Path] = []
_session, _entering = contextlib.ExitStack(), threading.Lock()


def take() -> None:
    """Have this process, and those that it starts, keep temporary files in a session's folder to their end."""
    _of_this_process.enter_context(scratch())
    atexit.register(give_back)  # called last, when libraries have removed what they made in the folder


def give_back() -> None:
    """Remove the folder that :func:`take` has made; of use where a process ends without Python's own exit."""
    _of_this_process.close()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield the session's folder, where all temporary files go inside; remove those that killed sessions left behind.

    A folder that is made for this is removed at the end, when the last of several threads has left. A process that a
    session has started shares the session's.

    Raises
    ------
    ValueError
        When no folder can be made, or others could put one of theirs in its place.
    """
    with _entering:
        folder = _inside[-1] if _inside else _session.enter_context(_session_folder())
        _inside.append(folder)
    try:
        yield folder
    finally:
        with _entering:
            _inside.pop()
            if not _inside:
                _session.close()


@contextlib.contextmanager
def _session_folder() -> Iterator[Path]:
    with contextlib.ExitStack() as stack:
        try:
            parent = Path(tempfile.gettempdir())
            is_shared = parent.name.startswith(_PREFIX)
            if not is_shared:
                _require_safe(parent)
                _clear_up(parent)
                stack.callback(_clear_up, parent)  # of a killed session whose workers had not ended before
            folder = stack.enter_context(_held(parent) if is_shared else _made(parent))
        except OSError as error:
            raise ValueError(f"TMPDIR must be a folder that can be written to, got: {error}") from error
        if not is_shared:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.enter_context(_in_effect(folder))
        yield folder


@contextlib.contextmanager
def _in_effect(folder: Path) -> Iterator[None]:
    """Make this process, and those that it starts, take the folder for temporary files."""
    names = current_process()._config  # type: ignore[attr-defined]
    before = tempfile.tempdir, names["semprefix"], names.get("tempdir")
    tempfile.tempdir = names["tempdir"] = str(folder)
    names["semprefix"] = f"/{_SEMAPHORE.format(os.getpid())}"  # also where joblib is not imported
    try:
        with environment({"TMPDIR": str(folder), "KERAS_HOME": str(keras_home())}):
            yield
    finally:
        tempfile.tempdir, names["semprefix"], names["tempdir"] = before


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process's environment, and set them back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _require_safe(parent: Path) -> None:
    """Complain where others could rename the session's folder, and put one of theirs in its place."""
    mode = parent.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ValueError(
            "TMPDIR must be a folder in which nobody can replace what is yours (writable by you alone, or with the "
            f"sticky bit as /tmp has it), got {parent} with mode {stat.S_IMODE(mode):o}"
        )


@contextlib.contextmanager
def _made(parent: Path) -> Iterator[Path]:
    """Yield a new folder, held."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_held(folder))
            except FileNotFoundError:
                continue  # another session's clearing up came between the two steps
            yield folder
            return


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """Hold a folder: as long as a process does, sessions that clear up leave it alone.

    Raises
    ------
    FileNotFoundError
        When it is gone.
    """
    if not system.LOCKS_FOLDERS:
        yield folder
        return
    with _opened(folder) as descriptor:
        with contextlib.suppress(OSError):  # a file system without locks: then no session can clear up there either
            system.share_folder(descriptor)  # the operating system takes it back when this process dies
        if not os.path.samestat(os.fstat(descriptor), os.lstat(folder)):
            raise FileNotFoundError(f"{folder} was replaced")
        yield folder


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a folder of this user's; neither a link nor a pipe nor what belongs to somebody else."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | system.AS_IT_IS)
    try:
        if os.fstat(descriptor).st_uid != system.user_id():
            raise PermissionError(f"{folder} belongs to another user")
        yield descriptor
    finally:
        os.close(descriptor)


def _clear_up(parent: Path) -> None:
    """Remove the folders of this user's sessions that no process holds; none where that cannot be told."""
    for folder in parent.glob(f"{_PREFIX}*") if system.LOCKS_FOLDERS else ():
        with contextlib.suppress(OSError), _opened(folder) as descriptor:
            system.lock(descriptor)
            shutil.rmtree(folder, ignore_errors=True)
            _remove_semaphores(folder.name.removeprefix(_PREFIX).partition("-")[0])


def _remove_semaphores(pid: str) -> None:
    if pid.isdigit() and not psutil.pid_exists(int(pid)):  # else another process has got that number
        for semaphore in _SEMAPHORES.glob(f"sem.{_SEMAPHORE.format(pid)}-*"):
            with contextlib.suppress(OSError):  # gone by now, or somebody else's
                semaphore.unlink()
