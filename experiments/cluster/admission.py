"""Which workers of the user's own cluster train: those with the same versions, with room, and by then with the data.

Each worker is looked at when a session starts, or when it comes later. Whoever passes offers a resource of Dask's, the
ticket, and every trial asks for it: so trials go nowhere else, and one at a time to each worker. One whose disk has
filled up gives its ticket and its trial back, and is looked at again from time to time.

What is asked before the project's own code is there must be known to any Python: a function of its library.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import pkgutil
import platform
import shutil
import socket
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from distributed import Client, Future, Reschedule, Worker, get_worker
from distributed.core import Status
from distributed.system import MEMORY_LIMIT

from depthcheck.experiments.addresses import shown
from depthcheck.experiments.cluster import travel, worker
from depthcheck.experiments.cluster.travel import Parcel
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.records import Dataset

#: What must be the same, and up to which part of its version: whatever computes a value, to the last.
_VERSIONS: Mapping[str, int | None] = {
    "tensorflow": None, "keras": None, "numpy": None, "scikit-learn": None, "pandas": 2, "mlflow": 2, "dask": 2,
    "distributed": 2,
}  # fmt: skip
#: What a worker takes beside the data, so that Dask, which stops it at 80 % of its limit, does not at once (1.2 GiB
#: after five trials); and how often it holds the data: as they came, cut and scaled, and in a program.
_WORKER_BYTES, _COPIES = 2 * 2**30, 3
#: What is to be left on a disk: networks are written to it before they go to MLflow.
_DISK_BYTES = 64 * 2**20
#: How often it is looked for new workers, and again at those that were in no health to train.
_LOOK_SECONDS, _UNFIT_SECONDS = 5.0, 60.0
#: To how many machines a chunk is sent at once.
_AT_ONCE = 16
#: Topic of Dask's events that tell the coordinator of workers that leave.
_LEFT_TOPIC = "depthcheck-left"
_CODE_FILE, _NAME, _GPU = "sent.txt", "depthcheck_code_", "GPU"
#: The package as a whole, found by its name: importing it here would lead back up to its interface.
CODE = Path(str(files("depthcheck")))


class UnfitWorkerError(RuntimeError):
    """Why a worker cannot train; one line."""


class OwnCluster(Client):  # type: ignore[misc]
    """A client whose tasks go to admitted workers alone."""

    #: The ticket, and resources that each task asks for, that one among them.
    ticket = ""
    asks: Mapping[str, float] = {}

    def submit(self, *args: Any, **kwargs: Any) -> Future:
        """Have a function called by an admitted worker."""
        return super().submit(_in_health, self.ticket, *args, resources=self.asks, **kwargs)


@contextlib.contextmanager
def admitted(client: OwnCluster, config: DataConfig, dataset: Dataset, say: Callable[[str], None]) -> Iterator[None]:
    """Send code and data to the workers that can train, and, as long as this lasts, to those that come.

    Raises
    ------
    ValueError
        When there is no worker that can.
    """
    admission = _Admission(client, config, dataset, say)
    admission.look()
    if not n_admitted(client):
        raise ValueError(
            f"scheduler must have at least one worker that can train, got none at {shown(client.scheduler.address)!r}"
        )
    ended = threading.Event()
    client.subscribe_topic(_LEFT_TOPIC, admission.has_left)
    threading.Thread(target=_look_again, args=(admission, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def n_admitted(client: Client) -> int:
    """Return how many workers there are now that offer what a trial asks for, and that Dask has not paused."""
    asks = getattr(client, "asks", {})
    found = client.scheduler_info(n_workers=-1)["workers"].values()
    offered = [info["resources"] for info in found if info["status"] == Status.running.name]
    return sum(all(one.get(name, 0) >= amount for name, amount in asks.items()) for one in offered)


def _look_again(admission: _Admission, ended: threading.Event) -> None:
    while not ended.wait(_LOOK_SECONDS):
        with contextlib.suppress(Exception):  # a scheduler that went away: whoever waits for trials hears of it
            admission.look()
            admission.tell_of_nobody()


class _Admission:
    """Looks at each worker once, and sends what it lacks."""

    def __init__(self, client: OwnCluster, config: DataConfig, dataset: Dataset, say: Callable[[str], None]) -> None:
        self._client, self._say = client, say
        self._config, self._data_sha256 = config, dataset.sha256
        self._parcel, self._parts = travel.packed(dataset)
        self._expected = {"Python": ".".join(platform.python_version_tuple()[:2])} | {
            name: _begin(metadata.version(name), parts) for name, parts in _VERSIONS.items()
        }
        self._code, self._archive = _packed_code()
        ours = repr((self._expected, self._code, self._parcel.sha256)).encode()
        client.ticket = self._ticket = f"depthcheck-{hashlib.sha256(ours).hexdigest()[:16]}"
        #: When to look at each again that has no ticket then, by its address.
        self._next_look: dict[str, float] = {}
        self._told: set[str] = set()
        self._left_out: set[str] = set()
        self._gpu: float | None = None
        self._has_nobody = False

    def look(self) -> None:
        """Admit the workers that have not been looked at, or say why not; have those begin anew that are full."""
        found = self._client.scheduler_info(n_workers=-1)["workers"]
        self._renew(
            [
                address
                for address, info in found.items()
                if info["status"] == Status.paused.name and info["resources"].get(self._ticket)
            ]
        )
        now = time.monotonic()
        new = {
            address: info
            for address, info in found.items()
            if address not in self._next_look
            or (self._next_look[address] <= now and not info["resources"].get(self._ticket))
        }
        if not new:
            return
        self._left_out = set()
        places = self._fit(list(new))
        self._choose_gpus({address: new[address]["resources"].get(_GPU, 0) for address in places})
        self._send({address: place for address, (place, has_data) in places.items() if not has_data})
        self._client.asks = {self._ticket: 1} | ({_GPU: self._gpu} if self._gpu else {})
        given = self._ticket, self._parcel, self._config, self._data_sha256
        self._told -= self._ask(admit, *given, workers=self._still(places)).keys()
        self._next_look |= dict.fromkeys(new, time.monotonic() + _UNFIT_SECONDS)

    def has_left(self, event: tuple[float, Any]) -> None:
        """Note that a worker was in no health to train any more."""
        _time, (address, reason) = event
        self._told.discard(address)
        self._leave_out(address, reason)
        self._next_look[address] = time.monotonic() + _UNFIT_SECONDS

    def _renew(self, paused: list[str]) -> None:
        if not paused:
            return
        for address, answer in self._client.run(begin_anew, workers=paused, on_error="return").items():
            if isinstance(answer, UnfitWorkerError):  # any other exception: it has ended meanwhile
                self._leave_out(address, str(answer))

    def tell_of_nobody(self) -> None:
        """Say it when no worker is left that takes trials, and when there is one again."""
        if self._has_nobody != (not n_admitted(self._client)):
            self._has_nobody = not self._has_nobody
            self._say("no worker takes trials now: waiting for one" if self._has_nobody else "trials are taken again")

    def _fit(self, workers: list[str]) -> dict[str, tuple[str, bool]]:
        """Return of each worker that can train where it keeps data, and whether it has these."""
        for what, expected in self._expected.items():
            ask: tuple[Any, ...] = (platform.python_version,) if what == "Python" else (metadata.version, what)
            for address, got in self._ask(*ask, workers=workers, but=metadata.PackageNotFoundError).items():
                if got is None or _begin(got, expected.count(".") + 1) != expected:
                    self._leave_out(address, f"{what} must be {expected} as here, got {got or 'none'}")
            workers = self._still(workers)
        if not workers:
            return {}
        trouble = self._send_code()
        return self._ask(examine, self._ticket, self._code, self._parcel, workers=workers, trouble=trouble)

    def _send_code(self) -> str:
        """Have scheduler and workers import the project's code; return what went wrong at one of them, if anything."""
        held = None
        with contextlib.suppress(Exception):  # it has none yet
            held = self._client.run_on_scheduler(pkgutil.get_data, "depthcheck", _CODE_FILE)
        if held not in (None, self._code.encode()):
            raise ValueError(
                "scheduler must have been started anew since another depthcheck sent it its code, got "
                f"{shown(self._client.scheduler.address)!r}: restart it and its workers"
            )
        with tempfile.TemporaryDirectory(prefix="depthcheck-") as folder:
            archive = Path(folder) / f"{_NAME}{self._code}.zip"
            archive.write_bytes(self._archive)
            try:
                self._client.upload_file(str(archive))
            except Exception as error:  # noqa: BLE001 - of the first worker that has any trouble; others have the code
                return _one_line(error)
        return ""

    def _choose_gpus(self, offered: Mapping[str, float]) -> None:
        """Leave out who offers no GPU where others do: values of both are not the same to the last digit."""
        if self._gpu is None:
            self._gpu = min([1.0, *filter(None, offered.values())]) if any(offered.values()) else 0.0
        for address, amount in offered.items():
            if amount < self._gpu:
                self._leave_out(address, f"its resources must have GPU={self._gpu:g} as others' have, got {amount:g}")

    def _send(self, lacking: dict[str, str]) -> None:
        """Send the data to one worker of each place; where that one fails, to the next."""
        lacking = {address: place for address, place in lacking.items() if address not in self._left_out}
        if lacking:
            size, n_places = self._parcel.n_bytes / 2**20, len(set(lacking.values()))
            self._say(f"sending the data, {size:,.1f} MiB, to {n_places} machine{'s' * (n_places > 1)}")
        while lacking:
            receivers = list({place: address for address, place in lacking.items()}.values())
            offset = 0
            for chunk in travel.chunks(self._parts):
                receivers = self._still(receivers)
                for first in range(0, len(receivers), _AT_ONCE):
                    some = receivers[first : first + _AT_ONCE]
                    self._ask(travel.keep, self._parcel, offset, chunk, workers=some)
                offset += len(chunk)
            have = {lacking[address] for address in self._still(receivers)}
            lacking = {address: lacking[address] for address in self._still(lacking) if lacking[address] not in have}

    def _ask(
        self,
        function: Callable[..., Any],
        *args: Any,
        workers: list[str],
        but: type[Exception] | None = None,
        trouble: str = "",
    ) -> dict[str, Any]:
        """Return what workers answer; None for the one exception that is an answer. Whoever raises another is out.

        ``trouble`` is what may have led to exceptions that no worker of ours raises.
        """
        if not workers:
            return {}
        answers = self._client.run(function, *args, workers=workers, on_error="return")
        found: dict[str, Any] = {}
        for address, answer in answers.items():
            if but is not None and isinstance(answer, but):
                found[address] = None
            elif isinstance(answer, Exception):
                behind = f" ({trouble})" if trouble and not isinstance(answer, UnfitWorkerError) else ""
                self._leave_out(address, _one_line(answer) + behind)
            else:
                found[address] = answer
        return found

    def _still(self, workers: Iterable[str]) -> list[str]:
        return [address for address in workers if address not in self._left_out]

    def _leave_out(self, address: str, reason: str) -> None:
        if address not in self._told:
            self._say(f"worker {address} is left out: {reason}")
        self._told.add(address)
        self._left_out.add(address)


def _in_health(ticket: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a worker, or have it called by another one where this one's disk is full."""
    dask_worker = get_worker()
    try:
        _require_room(_scratch(dask_worker))
        try:
            return function(*args)
        except Exception:
            _require_room(_scratch(dask_worker))
            raise
    except UnfitWorkerError as unfit:
        asyncio.run_coroutine_threadsafe(
            dask_worker.set_resources(**{ticket: 0}), dask_worker.loop.asyncio_loop
        ).result()
        dask_worker.log_event(_LEFT_TOPIC, (dask_worker.address, str(unfit)))
        raise Reschedule from unfit


def _scratch(dask_worker: Worker) -> dict[Path, int]:
    return {Path(tempfile.gettempdir()): 0, Path(dask_worker.local_directory): 0}


def _require_room(needs: Mapping[Path, int]) -> None:
    """Raise where a disk has not the bytes that are to be written in a folder, and some more."""
    for folder, n_bytes in needs.items():
        wanted, free = _DISK_BYTES + n_bytes, shutil.disk_usage(folder).free
        if free < wanted:
            got = f"{wanted / 2**20:,.0f} MiB, got {free / 2**20:,.0f} MiB"
            raise UnfitWorkerError(f"{folder} must have room for {got}")


async def examine(ticket: str, code: str, parcel: Parcel, dask_worker: Worker) -> tuple[str, bool]:
    """Return where this worker keeps data, and whether it has these; called in the worker, and free of its loop.

    Raises
    ------
    UnfitWorkerError
        When it cannot train.
    """
    if ticket in dask_worker.state.total_resources:  # an earlier session's, which may have found it in better health
        await dask_worker.set_resources(**{ticket: 0})
    return await asyncio.to_thread(_examined, code, parcel, dask_worker)


def _examined(code: str, parcel: Parcel, dask_worker: Worker) -> tuple[str, bool]:
    if code not in __file__:
        raise UnfitWorkerError("it must not have imported another depthcheck before, restart it")
    room = min(filter(None, (dask_worker.memory_manager.memory_limit, MEMORY_LIMIT)))
    needed = _WORKER_BYTES + _COPIES * parcel.n_bytes
    if room < needed:
        raise UnfitWorkerError(f"its memory must be {needed / 2**20:,.0f} MiB or more, got {room / 2**20:,.0f} MiB")
    folder = parcel.path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    has_data = travel.arrived(parcel) is not None
    _require_room({**_scratch(dask_worker), folder: 0 if has_data else parcel.n_bytes})
    try:
        worker.import_trial()
    except Exception as error:  # noqa: BLE001 - whatever a package that is half there raises
        raise UnfitWorkerError(f"it must be able to import TensorFlow, got {_one_line(error)}") from None
    if dask_worker.status == Status.paused:
        used = dask_worker.monitor.get_process_memory() / 2**20
        raise UnfitWorkerError(f"its memory must not be full, got {used:,.0f} of {room / 2**20:,.0f} MiB in use")
    status = folder.stat()
    return f"{socket.gethostname()} {folder} {status.st_dev} {status.st_ino}", has_data


async def admit(ticket: str, parcel: Parcel, config: DataConfig, sha256: str, dask_worker: Worker) -> None:
    """Have this worker take trials of these data; called in the worker.

    Raises
    ------
    UnfitWorkerError
        When the data are not there as they were sent.
    """
    mapped = await asyncio.to_thread(travel.arrived, parcel)
    if mapped is None:
        raise UnfitWorkerError(f"{parcel.path} must have the SHA-256 that is its name, got another")
    worker.SENT[config, sha256] = parcel, mapped
    await dask_worker.set_resources(**{ticket: 1})
    if dask_worker.status == Status.running:
        # The scheduler looks through tasks that no worker could take when one comes, or goes on, and not for this.
        dask_worker.status = Status.paused
        dask_worker.status = Status.running


async def begin_anew(dask_worker: Worker) -> None:
    """Have this worker end, and its nanny start another one, where it is paused still and nobody's result is in it.

    TensorFlow keeps what XLA compiled. Where that, over many trials, comes to Dask's limit for starting tasks, a worker
    would never start one again.

    Raises
    ------
    UnfitWorkerError
        When it has no nanny.
    """
    if dask_worker.status != Status.paused or dask_worker.state.executing_count or dask_worker.data:
        return
    if dask_worker.nanny is None:
        raise UnfitWorkerError("its memory is full, and it has no nanny that could restart it")
    dask_worker.loop.add_callback(dask_worker.close_gracefully, restart=True)


def _begin(version: str, parts: int | None) -> str:
    """Return the first parts of a version, all where there is no number of them."""
    return version if parts is None else ".".join(version.split(".")[:parts])


def _one_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, UnfitWorkerError) else f"{type(error).__name__}: {text}"


def _packed_code() -> tuple[str, bytes]:
    """Return a digest of the project's code and data files, and a ZIP file of them that also holds the digest."""
    paths = [Path(folder) / name for folder, _, names in os.walk(CODE, followlinks=True) for name in names]
    found = {
        path.relative_to(CODE.parent).as_posix(): path.read_bytes()
        for path in sorted(paths)
        if path.suffix in (".py", ".toml")
    }
    digest = hashlib.sha256(repr(found).encode()).hexdigest()[:16]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**found, f"{CODE.name}/{_CODE_FILE}": digest.encode()}.items():
            archive.writestr(name, content)
    return digest, buffer.getvalue()
