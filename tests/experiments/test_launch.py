"""The embedded cluster: workers that die or grow are replaced, and nobody takes more memory than there is."""

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client, KilledWorker

from depthcheck.experiments.cluster import launch
from depthcheck.experiments.cluster.worker import bound_memory
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.training.program_cache import programs_folder
from tests.end_to_end.servers import free_port
from tests.others import as_nobody, shared_by_all

pytestmark = pytest.mark.slow

DIGITS = DataConfig(name="digits")
WAYS = ("tcp", "tls", "http")
#: Another user, where the test may become one, asks each port who it is: as Dask does, with a foreign certificate, as a
#: browser. He holds no certificate of the session, and nor does anybody else of this user's.
INTRUDER = """
import asyncio, encodings.idna, json, os, sys
from distributed.core import connect
from distributed.security import Security

foreign = Security.temporary().get_connection_args("client")
if os.geteuid() == 0:
    from tests.others import become_nobody
    become_nobody()

async def ask(way, port):
    if way == "http":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.0\\r\\n\\r\\n")
        return (await reader.read(100)).decode("latin-1")
    comm = await connect(f"{way}://127.0.0.1:{port}", timeout=2, **(foreign if way == "tls" else {}))
    await comm.write({"op": "identity", "reply": True})
    return str(await comm.read())

async def answer(way, port):
    try:
        said = await asyncio.wait_for(ask(way, port), 20)
    except (OSError, ValueError):
        said = ""
    return f"{way} {port}", "let in" if "id" in said or "HTTP" in said else "refused"

async def main():
    ways = [answer(way, port) for way in ("tcp", "tls", "http") for port in sys.argv[1:]]
    print(json.dumps(dict(await asyncio.gather(*ways))))

asyncio.run(main())
"""


def _pid():
    return os.getpid()


def _periodic(dask_worker):
    return list(dask_worker.periodic_callbacks)


def _nap():
    time.sleep(3)
    return os.getpid()


def _limits():
    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def _tighten():
    resource.setrlimit(resource.RLIMIT_DATA, (2**40, 2**40))
    bound_memory(2**50)
    return resource.getrlimit(resource.RLIMIT_DATA)


def _after_training_was_imported():
    import_module("depthcheck.pipeline.trial")
    while sys.modules.get("matplotlib", "") is None:  # hidden, as long as the worker's own thread still imports
        time.sleep(0.01)
    return {"keras", "matplotlib"} & sys.modules.keys()


def _temporary():
    return tempfile.gettempdir()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Yield a folder for temporary files in which others have laid links to a file of ours, and that file."""
    precious = tmp_path_factory.mktemp("precious")
    for name in ("global.lock", "purge.lock"):
        (precious / name).write_text("mine")
    before = tempfile.tempdir
    with shared_by_all() as shared:

        def prepare():
            (shared / "dask-scratch-space").symlink_to(precious, target_is_directory=True)

        as_nobody(prepare) if os.geteuid() == 0 else prepare()
        tempfile.tempdir = str(shared)
        try:
            yield shared, precious
        finally:
            tempfile.tempdir = before


@pytest.fixture(scope="module")
def client(prepared, tmp_path_factory):
    with launch.embedded(1, tmp_path_factory.mktemp("programs")) as client:
        yield client


def test_all_temporary_files_lie_in_the_sessions_own_folder(client, prepared):
    shared, precious = prepared
    assert {path.name for path in precious.iterdir()} == {"global.lock", "purge.lock"}
    assert {path.read_text() for path in precious.iterdir()} == {"mine"}
    (own,) = set(shared.iterdir()) - {shared / "dask-scratch-space"}
    assert own.stat().st_mode & 0o777 == 0o700
    assert client.submit(_temporary, pure=False).result() == str(own)
    assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.local_directory).startswith(f"{own}/")


def test_nobody_else_can_speak_to_any_port_of_the_cluster(client):
    us = psutil.Process()
    listening = {
        connection.laddr
        for process in (us, *us.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    ports = [str(address.port) for address in listening]
    done = subprocess.run([sys.executable, "-c", INTRUDER, *ports], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {f"{way} {port}": "refused" for way in WAYS for port in ports}
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert len(listening) == 3  # scheduler, nanny and worker; no HTTP
    assert client.submit(_pid, pure=False).result() != os.getpid()


def test_no_process_keeps_profiles_that_nobody_can_look_at(client):
    assert all("profile" not in names for names in client.run(_periodic).values())
    assert not client.cluster.scheduler.io_loop.profile


def test_worker_that_has_grown_is_replaced_between_two_trials(client):
    recycling = launch.WorkerRecycling(client, growth_bytes=-1)
    first = client.submit(_pid, pure=False)
    old = first.result()
    assert recycling.after(first)
    new = client.submit(_pid, pure=False).result()
    assert new != old


def test_worker_with_another_trial_is_not_replaced(client):
    recycling = launch.WorkerRecycling(client, growth_bytes=-1)
    first, second = client.submit(_pid, pure=False, priority=1), client.submit(_nap, pure=False)
    old = first.result()
    while not any(client.processing().values()):  # the scheduler may still be handing the second one to the worker
        assert not second.done()
    assert not recycling.after(first)
    assert second.result() == old


def test_worker_that_has_not_grown_stays(client):
    recycling = launch.WorkerRecycling(client)
    first = client.submit(_pid, pure=False)
    first.result()
    assert not recycling.after(first)


def test_worker_may_not_take_more_memory_than_there_is(client):
    assert 0 < client.submit(_limits, pure=False).result() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_worker_imports_what_trains_and_nothing_that_draws(client):
    assert client.submit(_after_training_was_imported, pure=False).result() == {"keras"}


def test_tighter_limit_of_the_user_stays(client):
    assert client.submit(_tighten, pure=False).result() == (2**40, 2**40)


def test_worker_that_dies_while_it_starts_is_replaced(client):
    for delay in (0.0, 0.5):
        nanny = next(iter(client.cluster.workers.values()))
        old = nanny.pid
        os.kill(old, 9)
        while nanny.pid in (None, old):
            time.sleep(0.01)
        time.sleep(delay)
        killed = nanny.pid
        os.kill(killed, 9)
        assert _answer(client) not in (old, killed)


def test_workers_that_are_ended_are_not_replaced(prepared, tmp_path):
    with launch.embedded(1, tmp_path) as client:
        nanny = next(iter(client.cluster.workers.values()))
        launch.kill_workers(client)
        for _ in range(3000):
            if nanny.status.name == "closed":
                break
            time.sleep(0.01)
        assert nanny.status.name == "closed"


def _answer(client):
    """Ask again, as a study does, where the scheduler has not yet heard of a death and asks the dead."""
    while True:
        with contextlib.suppress(KilledWorker):
            return client.submit(_pid, pure=False).result()


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://localhost:8786", False),
        ("tcp://[::1]:8786", False),
        ("tls://192.0.2.1:8786", False),
        ("tcp://192.0.2.1:8786", True),
        ("tcp://192.0.2.1", True),
        ("ws://[2001:db8::1]:8786", True),
    ],
)
def test_scheduler_is_open_that_speaks_to_other_machines_without_tls(address, is_open):
    assert launch._is_open(address) == is_open


def test_scheduler_that_goes_away_is_one_line():
    port = str(free_port())
    address = f"tcp://127.0.0.1:{port}"
    words = ["--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    scheduler = subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_scheduler", *words])
    try:
        with Client(address, timeout=60) as client:
            asked = client.submit(int, "1")  # there is no worker
            scheduler.kill()
            complaint = f"^the scheduler {address} went away$"
            with pytest.raises(RuntimeError, match=complaint), launch._stays(address):
                asked.result(timeout=60)
    finally:
        scheduler.kill()
        scheduler.wait()


def test_scheduler_that_takes_a_call_and_is_silent_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "_ANSWER_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with (
            pytest.raises(ValueError, match=rf"got '{address}' \(it gives no answer\)$"),
            launch.connected(address, DIGITS, load(DIGITS, cache=tmp_path), print),
        ):
            pass


@pytest.mark.parametrize(
    ("address", "settings", "complaint"),
    [
        ("tls://127.0.0.1:1", {}, "speaks TLS: DASK_DISTRIBUTED__COMM__TLS__CA_FILE must name a file .*, got nothing"),
        ("tls://127.0.0.1:1", {"tls.ca-file": __file__}, "speaks TLS: DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT must"),
        (
            "tls://127.0.0.1:1",
            {"tls.ca-file": __file__, "tls.client.cert": __file__, "tls.client.key": "/nowhere"},
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY must name a file that can be read, got /nowhere",
        ),
        (
            "tls://127.0.0.1:1",
            {"tls.ca-file": __file__, "tls.client.cert": __file__},
            "scheduler must be the address of a Dask scheduler, got 'tls://127.0.0.1:1' .*",
        ),
        ("tcp://127.0.0.1:1", {"require-encryption": True}, "scheduler must be the address of a Dask scheduler, got"),
    ],
)
def test_tls_without_certificates_and_encryption_that_is_asked_for_in_vain_are_one_line(
    address, settings, complaint, tmp_path
):
    with (
        dask.config.set({f"distributed.comm.{name}": value for name, value in settings.items()}),
        pytest.raises(ValueError, match=complaint) as trouble,
        launch.connected(address, DIGITS, load(DIGITS, cache=tmp_path), print),
    ):
        pass
    assert "\n" not in str(trouble.value)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_workers_are_forked_from_one_process_that_ends_with_them(tmp_path):
    us = psutil.Process()
    before = set(us.children())
    for number in range(2):  # the second one finds nothing of the first
        folder = tmp_path / str(number)
        with launch.embedded(2, folder) as client:
            found = client.run(_of_this_worker)
            parents = {psutil.Process(pid).ppid() for pid, *_ in found.values()}
            assert len(parents) == 1
            assert parents != {us.pid}
            assert all(was_imported for _, was_imported, _ in found.values())
            programs = [Path(of) for *_, of in found.values()]
            assert all(of.resolve() == folder for of in programs)
        left = set(us.children()) - before
        assert all("resource_tracker" in " ".join(of.cmdline()) for of in left)


def test_workers_start_where_the_temporary_folder_has_too_long_a_path_for_a_socket(tmp_path, monkeypatch):
    folder = tmp_path / ("a" * 50) / ("b" * 50)
    folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with launch.embedded(1, tmp_path / "programs") as client:
        assert client.submit(_pid, pure=False).result() != os.getpid()


def _of_this_worker() -> tuple[int, bool, str]:
    return os.getpid(), "keras" in sys.modules, str(programs_folder())
