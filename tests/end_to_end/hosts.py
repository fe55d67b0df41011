"""Dask clusters whose workers have a host each: a home, a folder and a cache of their own, all empty.

``hosts`` starts workers one by one, with settings of their own. ``cluster`` is one with TLS whose hosts have a network
of their own, too, to be cut off and killed; where networks may not be made, a host that is cut off is stopped instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conftest import wait_for
from distributed import Client
from folder import ROOT
from servers import free_port

#: What a scheduler does of a worker that fell silent should not take a test's time.
_SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "15s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
}


def _start(
    what: str, words: Sequence[str], folder: Path, environment: Mapping[str, str], *, inside: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start a scheduler or workers in a folder, which they log to; all of their processes are one session."""
    folder.mkdir(exist_ok=True, parents=True)
    with (folder / f"{what}.log").open("ab") as log:
        return subprocess.Popen(
            [*inside, sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *words],
            cwd=folder, env=dict(environment), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill all processes of a session at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass(frozen=True, kw_only=True)
class Network:
    """What this machine is called by the hosts; ``number`` is a part of all addresses, None where there are none."""

    number: int | None

    @property
    def here(self) -> str:
        return "127.0.0.1" if self.number is None else f"10.{self.number}.0.1"


class Host:
    """One worker on a host of its own."""

    def __init__(self, network: Network, index: int, folder: Path) -> None:
        self._network, self._folder = network, folder
        self._name, self._link = f"depthcheck-{network.number}-{index}", f"dc{network.number}-{index}"
        self._subnet = f"10.{network.number}.{index}"
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("home", "tmp"):
            (folder / name).mkdir(parents=True)

    def start(self, scheduler: str, tls: list[str], environment: Mapping[str, str], unseen: Path) -> None:
        enter: list[str] = []
        hide: list[str] = []
        if self._network.number is not None:
            enter = ["ip", "netns", "exec", self._name]
            hide = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0"; exec "$@"', str(unseen)]
            for line in (
                f"ip netns add {self._name}",
                f"ip link add {self._link} type veth peer name there netns {self._name}",
                f"ip addr add {self._subnet}.1/24 dev {self._link}",
                f"ip link set {self._link} up",
                f"{' '.join(enter)} ip addr add {self._subnet}.2/24 dev there",
                f"{' '.join(enter)} ip link set there up",
                f"{' '.join(enter)} ip link set lo up",
                f"{' '.join(enter)} ip route add default via {self._subnet}.1",
            ):
                subprocess.run(line.split(), check=True)
        own = {"HOME": str(self._folder / "home"), "TMPDIR": str(self._folder / "tmp")}
        options = [scheduler, "--nthreads=1", "--memory-limit=0", *tls]
        self._process = _start("worker", options, self._folder, {**environment, **own}, inside=[*enter, *hide])

    def cut_off(self) -> None:
        if self._network.number is None:
            self._signal(signal.SIGSTOP)
        else:
            subprocess.run(["ip", "link", "set", self._link, "down"], check=True)

    def join_again(self) -> None:
        if self._network.number is None:
            self._signal(signal.SIGCONT)
        else:
            subprocess.run(["ip", "link", "set", self._link, "up"], check=True)

    def kill(self) -> None:
        if self._process is not None:
            _kill(self._process)

    def remove(self) -> None:
        self.kill()
        if self._network.number is not None:
            subprocess.run(["ip", "link", "del", self._link], check=False, stderr=subprocess.DEVNULL)
            subprocess.run(["ip", "netns", "del", self._name], check=False, stderr=subprocess.DEVNULL)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        # Workers of a nanny are in its session, too.
        os.killpg(self._process.pid, number)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Make an address for this machine that no other has, if that may be done."""
    made = Network(number=20 + os.getpid() % 200)
    try:
        subprocess.run(["ip", "addr", "add", f"{made.here}/32", "dev", "lo"], check=True, capture_output=True)
        probe = f"depthcheck-{made.number}"
        subprocess.run(["ip", "netns", "add", probe], check=True, capture_output=True)
        subprocess.run(["ip", "netns", "del", probe], check=True)
    except (OSError, subprocess.CalledProcessError):
        yield Network(number=None)
        return
    try:
        yield made
    finally:
        subprocess.run(["ip", "addr", "del", f"{made.here}/32", "dev", "lo"], check=True)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A scheduler and its hosts; ``settings`` are what a client needs in its environment."""

    address: str
    settings: Mapping[str, str]
    hosts: tuple[Host, ...]


@contextlib.contextmanager
def cluster(
    folder: Path, where: Network, n_hosts: int, environment: Mapping[str, str], unseen: Path
) -> Iterator[Cluster]:
    """Start one with certificates of its own; ``environment`` is that of the workers, which lack a folder."""
    certificates = folder / "certificates"
    subprocess.run([ROOT / "deploy" / "certificates.sh", certificates], check=True, capture_output=True)
    ca, cert, key = (str(certificates / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    tls = [f"--tls-ca-file={ca}", f"--tls-cert={cert}", f"--tls-key={key}"]
    host = where.here
    address = f"tls://{host}:{free_port()}"
    words = ["--protocol=tls", f"--host={host}", f"--port={address.rpartition(':')[2]}", *tls]
    hosts = tuple(Host(where, index + 1, folder / f"host-{index + 1}") for index in range(n_hosts))
    scheduler = _start("scheduler", words, folder, {**environment, **_SETTINGS})
    try:
        for one in hosts:
            one.start(address, tls, {**environment, **_SETTINGS}, unseen)
        variables = {"CA_FILE": ca, "CLIENT__CERT": cert, "CLIENT__KEY": key}
        settings = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": file for name, file in variables.items()}
        yield Cluster(address=address, settings=settings, hosts=hosts)
    finally:
        for one in hosts:
            one.remove()
        _kill(scheduler)


class Hosts:
    """A Dask scheduler of a test's own, and the workers that it has started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = f"tcp://127.0.0.1:{free_port()}"
        words = ["--host", "127.0.0.1", "--port", self.address.rpartition(":")[2]]
        self._processes = {"scheduler": self._start("scheduler", words, "scheduler")}

    def home(self, name: str) -> Path:
        """Return the home of a host."""
        return self._folder / name

    def start(self, name: str, *words: str, n_workers: int = 1, **variables: str) -> str:
        """Start workers on a host of their own; return the address of one once all are there."""
        words = (self.address, "--name", name, "--nworkers", str(n_workers), *words)
        self._processes[name] = self._start("worker", words, name, **variables)

        def workers() -> list[str]:
            found = client.scheduler_info(n_workers=-1)["workers"]
            return [address for address, info in found.items() if re.fullmatch(rf"{name}(-\d+)?", info["name"])]

        with Client(self.address, set_as_default=False) as client:
            wait_for(lambda: len(workers()) == n_workers)
            return workers()[0]

    def kill(self, name: str) -> None:
        """End all processes of a host at once."""
        _kill(self._processes.pop(name))

    def _start(self, what: str, words: Sequence[str], host: str, **variables: str) -> subprocess.Popen[bytes]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "XDG", "PYTHON"))}
        own = {"HOME": str(self.home(host)), "MLFLOW_DISABLE_TELEMETRY": "true"}
        return _start(what, words, self.home(host), {**kept, **own, **variables})


@contextlib.contextmanager
def hosts(folder: Path) -> Iterator[Hosts]:
    """Yield a scheduler without workers, and end it and those that were started."""
    made = Hosts(folder)
    try:
        yield made
    finally:
        for name in list(made._processes):
            made.kill(name)


def without(home: Path, module: str) -> str:
    """Return a PYTHONPATH on which a module cannot be imported."""
    folder = home / "site"
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules[{module!r}] = None\n")
    return str(folder)


def with_version(home: Path, package: str, version: str) -> str:
    """Return a PYTHONPATH on which a package says that it is of another version."""
    folder = home / "site" / f"{package}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return str(folder.parent)
