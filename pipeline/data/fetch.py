"""Find data on this machine, or fetch them: a file by its address, and a Debian package without being root.

Nothing of the system is changed. Each file arrives complete or not at all, so that several processes may fetch the same
at the same time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

T = TypeVar("T")
#: Bounds each step of apt-get and dpkg-deb, and how long a server may say nothing.
_STEP_SECONDS, _SILENCE_SECONDS = 300, 20.0
#: What each place is called, what has to be done first, if anything, and the folder to read then; in order.
Places = Iterator[tuple[str, Callable[[], None] | None, Path]]


class DataNotFoundError(ValueError):
    """The data are not where they were looked for, or are not what they should be."""


def keras_home() -> Path:
    """Return the folder that Keras keeps its things in, by Keras's own rule, without importing Keras.

    With one difference: where the home cannot be written to, Keras takes ``/tmp/.keras``, which anybody can prepare.
    """
    if "KERAS_HOME" in os.environ:
        return Path(os.environ["KERAS_HOME"])
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path's own raises for a user without one
    return (home if os.access(home, os.W_OK) else Path(tempfile.gettempdir())) / ".keras"


def require_published(path: Path, sha256: str) -> None:
    """Hold a file against the checksum that its publisher gives; raise where it is not there, or another one."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path.name}")
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != sha256:
        raise DataNotFoundError(f"{path.name} is not the published file: its SHA-256 must be {sha256}, got {got}")


def find(
    name: str,
    folder: Path | None,
    places: Places,
    read: Callable[[Path], T],
    *,
    remedies: str,
    log: Callable[[str], None],
) -> tuple[T, str]:
    """Return published data and the words for where they were: the first place that has them whole.

    Parameters
    ----------
    folder
        Where the user says that they are; then nowhere else is looked.
    read
        Reads and verifies a folder. Raises FileNotFoundError where nothing is, OSError or ValueError for damage.
    remedies
        What helps where no place has them.
    log
        Told of damaged files.

    Raises
    ------
    DataNotFoundError
        Naming each place, what was wrong there, and the remedies.
    """
    if folder is not None:
        try:
            return read(folder), f"folder {folder}"
        except (OSError, ValueError) as trouble:
            raise DataNotFoundError(f"{name} is not in the folder named, {folder}: {trouble}") from None
    troubles = []
    for place, fetch, where in places:
        try:
            if fetch is not None:
                fetch()
            return read(where), f"{place}, {where}"
        except (OSError, ValueError) as trouble:
            troubles.append(f"  {place} ({where}): {trouble}")
            if fetch is None and not isinstance(trouble, FileNotFoundError):
                log(f"{name}: {place}, {where}: {trouble}; trying the next place")
    raise DataNotFoundError("\n".join([f"{name} was not found. Tried, in this order:", *troubles, remedies]))


def fetch_file(url: str, target: Path, check: Callable[[Path], object]) -> None:
    """Download one file and keep it as ``target`` if it is the published one.

    Parameters
    ----------
    check
        Raises where the file that it is given is not the published one; it has its name, but not its place yet.

    Raises
    ------
    DataNotFoundError
        With the network's reason, or when what came is not the published file.
    """
    with _workplace(target) as work:
        try:
            with (
                urllib.request.urlopen(url, timeout=_SILENCE_SECONDS) as answer,
                (work / target.name).open("wb") as file,
            ):
                shutil.copyfileobj(answer, file)
                if answer.length:  # a connection that ends too early is no error to who reads a part at a time
                    raise DataNotFoundError(f"{url}: cut off, {answer.length:,} bytes are missing")
        except (OSError, HTTPException) as trouble:
            raise DataNotFoundError(f"{url}: {trouble}") from None
        check(work / target.name)
        (work / target.name).replace(target)


def is_address(text: str) -> bool:
    """Whether a text is the address of a file that can be fetched, and no path."""
    return text.startswith(("http://", "https://"))


def fetched(url: str, cache: Path, log: Callable[[str], None]) -> Path:
    """Return the file that an address leads to, in the cache: fetched once, and then read without a network.

    Raises
    ------
    DataNotFoundError
        With the network's reason, or when a page for people came.
    """
    name = Path(unquote(urlsplit(url).path)).name or "data"
    path = cache / "addresses" / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    if path.is_file():
        log(f"{url}: read as it was fetched, from {path}; remove that file to fetch it anew")
        return path
    log(f"{url}: not on this machine; downloading it")
    fetch_file(url, path, _require_no_page)
    return path


def _require_no_page(path: Path) -> None:
    with path.open("rb") as file:
        begin = file.read(1_000).lstrip().lower()
    if begin.startswith((b"<!doctype html", b"<html")):
        raise DataNotFoundError(f"the address of {path.name} must lead to a file of data, got a web page (HTML)")


def fetch_debian_folder(package: str, folder: str, target: Path) -> None:
    """Copy a folder out of a Debian or Ubuntu package, which stays uninstalled; any user can.

    apt-get works on lists and a cache of its own, in a folder that is removed in the end, and verifies signatures
    with the system's keys.

    Parameters
    ----------
    folder
        Path inside the package, without the leading slash.
    target
        Made when it is not there; files of the same names are replaced, each in one step: a reader, or another process
        that does the same, never sees half of one.

    Raises
    ------
    DataNotFoundError
        With the reason of apt-get or dpkg-deb.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DataNotFoundError(f"{tool} is not on this machine")
    with _workplace(target) as work:
        apt_get = ["apt-get", "-q", "-c", str(_write_apt_config(work))]
        update = _run([*apt_get, "update"], cwd=work)
        download = _run([*apt_get, "download", package], cwd=work)
        archives = list(work.glob("*.deb"))
        # An update that misses some other archive's list ends with an error too: the download is what tells.
        if download.returncode or not archives:
            raise DataNotFoundError("; ".join([*_lines(update.stderr)[:1], *_lines(download.stderr)[-1:]]))
        unpack = _run(["dpkg-deb", "-x", str(archives[0]), "unpacked"], cwd=work)
        if unpack.returncode:
            raise DataNotFoundError(_lines(unpack.stderr)[-1])
        target.mkdir(exist_ok=True)
        for file in (work / "unpacked" / folder).iterdir():
            file.replace(target / file.name)


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """Give a folder beside the target, on the same disk: from there files are moved in one step each."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as work:
        yield Path(work).resolve()


def _write_apt_config(work: Path) -> Path:
    """Write what keeps apt-get inside ``work``, and the system's own hooks out of it."""
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "cache" / "archives" / "partial").mkdir(parents=True)
    config = work / "apt.conf"
    config.write_text(
        f"""
        Dir::State::Lists "{work}/lists";
        Dir::Cache "{work}/cache";
        APT::Sandbox::User "root";
        Acquire::Languages "none";
        Acquire::http::Timeout "20";
        Acquire::Retries "1";
        #clear APT::Update::Pre-Invoke;
        #clear APT::Update::Post-Invoke;
        #clear APT::Update::Post-Invoke-Success;
        """,
        encoding="utf-8",
    )
    return config


def _run(command: list[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command, cwd=cwd, env=env, timeout=_STEP_SECONDS, check=False, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        raise DataNotFoundError(f"{Path(command[0]).name} had not finished after {_STEP_SECONDS} s") from None


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()] or ["no reason given"]
