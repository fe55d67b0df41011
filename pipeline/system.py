"""What operating systems do differently, or not at all, so that nothing else has to ask which one it runs on.

Linux is what is tried. macOS lacks some of this, Windows most: there the code does without, as each function says.
And how a process is told to stop, and hears it: Ctrl-C, SIGTERM, and the death of whoever started it. Nothing heavy is
imported here: Ctrl-C should be heard from the first moment.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType

fcntl: ModuleType | None
resource: ModuleType | None
try:
    import fcntl
    import resource
except ModuleNotFoundError:  # Windows
    fcntl = resource = None

#: Flags of ``os.open``: neither through a link nor into a pipe that somebody has put there, which would be waited for.
AS_IT_IS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
#: Whether a folder can be locked. Elsewhere the system has to remove what killed sessions left in the temporary folder.
LOCKS_FOLDERS = fcntl is not None and hasattr(os, "O_DIRECTORY")
#: Where Linux says in which containers this process is, and where it has their limits.
_OWN_CGROUPS, _CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
#: Whether processes can be forked from one that has imported much. On macOS libraries do not bear that.
CAN_FORK = sys.platform == "linux"
#: Ends a process at once; on Windows every signal does.
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)
#: The exit code of a command that was interrupted.
INTERRUPTED = 130
#: A second signal within this time is an echo of the first.
_PATIENCE_SECONDS = 3.0
#: After this time a wish to stop that nobody has heard is repeated.
_REMIND_SECONDS = 4.0
_cleaning_up = threading.Event()


def user_path(text: str, what: str) -> Path:
    """Return a path with ``~`` and ``~name`` in their place.

    Raises
    ------
    ValueError
        When there is no such user on this machine, or nobody knows the home; names ``what`` the path is of.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        user = Path(text).parts[0]
        raise ValueError(f"{what} must be a path on this machine, got {text!r}: {user} is no user's home") from error


def kind_of(path: Path, what: str) -> str:
    """Return what a user's path leads to, ``file`` or ``folder``; nothing where nothing is there.

    Raises
    ------
    ValueError
        When it cannot be read, and why: no permission, links in a circle or to nowhere, or a pipe, which would be
        waited for; names ``what`` the path is of.
    """
    try:
        str(path).encode()  # other names go neither into a log nor into a database
        mode = path.stat().st_mode
        if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (FileNotFoundError, NotADirectoryError):
        if not path.is_symlink():
            return ""
        reason = f"a link to {path.readlink()}, which is not there"
    except (OSError, ValueError) as error:  # a ValueError is about a character that no path can have
        reason = getattr(error, "strerror", None) or str(error)
    else:
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return "folder" if stat.S_ISDIR(mode) else "file"
        reason = "a pipe, a socket or a device"
    raise ValueError(f"{what} must be a file or folder that can be read, got {str(path)!r} ({reason})")


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn what the system says of a user's file or folder that is being read into a complaint in one line.

    Raises
    ------
    ValueError
        For every OSError inside; names ``what`` the path is of.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{what} must be readable, got {str(error.filename or path)!r} ({reason})") from error


@contextlib.contextmanager
def silent_imports() -> Iterator[None]:
    """Keep what TensorFlow prints while it is imported, before any of its settings can silence it, off the screen."""
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


def user_id() -> int:
    """Return the number that files of this user carry; on Windows all carry 0."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def lock(descriptor: int) -> None:
    """Lock an open file or folder for this process alone, until it is closed or this process ends, however it does.

    On Windows the first byte is locked, which keeps others from reading it.

    Raises
    ------
    BlockingIOError
        When another process holds it.
    OSError
        When it cannot be locked: not by this file system, or, as folders on Windows, not at all.
    """
    from filelock import lock_descriptor

    if not lock_descriptor(descriptor, blocking=False):
        raise BlockingIOError("another process holds it")


def share_folder(descriptor: int) -> None:
    """Lock an open folder together with others who do the same; only where :data:`LOCKS_FOLDERS`.

    Raises
    ------
    OSError
        When its file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def available_memory() -> int:
    """Return how many bytes this process can still take: of the machine's memory, and of its container's.

    What a container has used of its own limit counts without the files that it only remembers.
    """
    import psutil  # type: ignore[import-untyped]

    room: float = psutil.virtual_memory().available
    with contextlib.suppress(OSError):
        for line in _OWN_CGROUPS.read_text(encoding="utf-8").splitlines():
            _, controllers, own = line.split(":", 2)
            if controllers in ("", "memory"):  # version 2 has one tree, version 1 one of memory
                top, names, total = _CGROUPS / controllers, ("max", "current"), ""
                if controllers:
                    names, total = ("limit_in_bytes", "usage_in_bytes"), "total_"
                folder = top / own.lstrip("/")
                # A container may see its own folder as the top.
                for above in (folder, *folder.parents):
                    if above.is_relative_to(top):
                        room = min(room, _room_of_cgroup(above, names, total))
    return max(int(room), 0)


def _room_of_cgroup(folder: Path, names: tuple[str, str], total: str) -> float:
    with contextlib.suppress(OSError, ValueError, KeyError):  # no such file, or the limit is "max"
        limit, used = (int((folder / f"memory.{name}").read_text("ascii")) for name in names)
        stated = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
        return limit - used + int(stated[f"{total}active_file"]) + int(stated[f"{total}inactive_file"])
    return math.inf


def bound_data(n_bytes: int) -> None:
    """Make allocations of this process beyond so many bytes fail, where the system can do that.

    A tighter limit that the user has set (``ulimit -d``) stays.
    """
    if resource is not None:
        limits = resource.getrlimit(resource.RLIMIT_DATA)
        lowest = min([n_bytes, *(limit for limit in limits if limit != resource.RLIM_INFINITY)])
        resource.setrlimit(resource.RLIMIT_DATA, (lowest, limits[1]))


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start threads, and processes from these threads, that do not hear Ctrl-C, where the system has that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)


def stop_at_once() -> None:
    """Let Ctrl-C end the process without a word, as long as there is nothing to clean up."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stop_politely() -> None:
    """Make SIGTERM, and the death of the process that started us, end the command as Ctrl-C does.

    ``mlflow run`` answers Ctrl-C with a SIGTERM of its own a quarter of a second later. It must not interrupt the
    cleaning up that the first signal has begun; one that comes seconds later means that the user will not wait.
    """
    _cleaning_up.clear()
    wish = _Wish()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, wish.on_signal)
    sys.unraisablehook = wish.on_swallowed
    threading.Thread(target=wish.watch, args=(os.getppid(),), daemon=True, name="parent-watch").start()


class _Wish:
    """The wish to stop, as long as it takes to be heard.

    Python swallows an exception that a signal raises inside a destructor or a callback of the garbage collector: of
    seventeen interrupts of a study that started, three. So it is raised again until :func:`cleaning_up` was called.
    """

    def __init__(self) -> None:
        self._first = self._last = math.inf
        self._is_reminder = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Interrupt the main thread; leave at once where the user has waited and asks again."""
        now = time.monotonic()
        if self._first == math.inf or self._is_reminder:
            self._first, self._last, self._is_reminder = min(self._first, now), now, False
            raise KeyboardInterrupt
        if now - self._first > _PATIENCE_SECONDS:
            os._exit(INTERRUPTED)

    def on_swallowed(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Take notice of an exception that Python could raise nowhere."""
        if self._first == math.inf:
            sys.__unraisablehook__(unraisable)
        else:
            self._last = -math.inf  # so that it is raised again at once

    def watch(self, parent: int) -> None:
        """Raise a wish that was not heard again; ask to stop when the process that started us has ended."""
        while not _cleaning_up.wait(1):
            orphaned = self._first == math.inf and os.getppid() != parent
            self._is_reminder = time.monotonic() - self._last > _REMIND_SECONDS
            if orphaned or self._is_reminder:
                os.kill(os.getpid(), signal.SIGTERM)


def cleaning_up() -> None:
    """Note that the wish to stop was heard, and what runs now is not to be interrupted."""
    _cleaning_up.set()
