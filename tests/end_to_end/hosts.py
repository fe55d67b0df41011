"""A cluster with TLS whose workers have a host each: a network and a home of their own, to be cut off and killed.

Where networks may not be made, a host that is cut off is stopped instead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from folder import ROOT
from servers import free_port

_DASK_WORKER = [sys.executable, "-m", "distributed.cli.dask_worker"]
_DASK_SCHEDULER = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
#: What a scheduler does of a worker that fell silent should not take a test's time.
_SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "15s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
}


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
        options = ["--nthreads=1", "--memory-limit=0", "--no-dashboard", *tls]
        own = {"HOME": str(self._folder / "home"), "TMPDIR": str(self._folder / "tmp")}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*enter, *hide, *_DASK_WORKER, scheduler, *options],
                cwd=self._folder, env={**environment, **own}, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

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
        """Kill all of its processes at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._signal(signal.SIGKILL)
            self._process.wait()

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
    words = ["--protocol=tls", f"--host={host}", f"--port={address.rpartition(':')[2]}", "--no-dashboard", *tls]
    hosts = tuple(Host(where, index + 1, folder / f"host-{index + 1}") for index in range(n_hosts))
    with (folder / "scheduler.log").open("ab") as log:
        scheduler = subprocess.Popen(
            [*_DASK_SCHEDULER, *words], cwd=folder, env={**environment, **_SETTINGS}, stdout=log, stderr=log
        )
    try:
        for one in hosts:
            one.start(address, tls, {**environment, **_SETTINGS}, unseen)
        variables = {"CA_FILE": ca, "CLIENT__CERT": cert, "CLIENT__KEY": key}
        settings = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": file for name, file in variables.items()}
        yield Cluster(address=address, settings=settings, hosts=hosts)
    finally:
        for one in hosts:
            one.remove()
        scheduler.kill()
        scheduler.wait()
