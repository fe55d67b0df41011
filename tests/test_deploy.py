"""The files of deploy/ and the pins: what is started can be started, scripts do what they say, and all get the same."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import dask
import pytest
import yaml
from packaging.requirements import Requirement

from depthcheck.experiments.cluster.warm_up import cluster_of
from tests.end_to_end.servers import free_port

DEPLOY = Path(__file__).parent.parent / "deploy"
PROGRAMS = {
    "dask scheduler": ("distributed.cli.dask_scheduler", "main"),
    "dask worker": ("distributed.cli.dask_worker", "main"),
    "mlflow server": ("mlflow.cli", "server"),
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "certificates"
    subprocess.run([DEPLOY / "certificates.sh", folder, "2"], check=True, capture_output=True)
    return folder


def parsed(words: list[str], certificates: Path) -> str:
    """Have the program itself read its options; return its name."""
    name = " ".join(words[:2])
    module, attribute = PROGRAMS[name]
    command: click.Command = getattr(importlib.import_module(module), attribute)
    command.make_context(name, [word.replace("/certificates", str(certificates)) for word in words[2:]])
    return name


def require_known(variables: list[str]) -> None:
    """Complain about a setting of Dask's that there is none of."""
    for name in variables:
        if name == "DASK_SCHEDULER_ADDRESS":  # has no default
            with dask.config.set(dask.config.collect_env({name: "tls://here:1"})):
                assert cluster_of(None, None) == "tls://here:1"
        elif name.startswith("DASK_"):
            key = name.removeprefix("DASK_").lower().replace("__", ".")
            assert dask.config.get(key, "missing") != "missing", name


def test_certificates_are_of_their_authority_and_nobody_elses_to_read(certificates):
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", certificates / "ca.pem", certificates / "cert.pem"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.endswith("OK\n")
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in certificates.iterdir()} == dict.fromkeys(
        ("ca.pem", "ca-key.pem", "cert.pem", "key.pem"), "0o600"
    )
    again = subprocess.run([DEPLOY / "certificates.sh", certificates], check=False, capture_output=True, text=True)
    assert (again.returncode, again.stderr) == (2, f"there is a ca.pem in {certificates} already\n")


def test_compose_starts_what_there_is(certificates):
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    started = {parsed(one["command"], certificates) for one in services.values() if "command" in one}
    assert started == set(PROGRAMS)
    for one in services.values():
        require_known(one.get("environment", {}))
        assert set(one.get("depends_on", [])) <= set(services)
        if "build" in one:
            assert (DEPLOY / one["build"]["context"] / one["build"]["dockerfile"]).is_file()
        named = {volume.partition(":")[0] for volume in one.get("volumes", []) if not volume.startswith(".")}
        assert named <= set(compose["volumes"])
        assert {config["source"] for config in one.get("configs", [])} <= set(compose["configs"])


def test_kubernetes_starts_what_there_is(certificates):
    spec = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())["spec"]
    for role in ("scheduler", "worker"):
        pod = spec[role]["spec"]
        (container,) = pod["containers"]
        assert parsed(container["args"], certificates) == f"dask {role}"
        require_known([variable["name"] for variable in container.get("env", [])])
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    served = {port["targetPort"] for port in spec["scheduler"]["service"]["ports"]}
    assert served == {port["name"] for port in spec["scheduler"]["spec"]["containers"][0]["ports"]}


def test_container_is_made_of_what_the_package_is_made_of():
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert all((DEPLOY.parent / name).exists() for name in copied)
    assert {"depthcheck", "pipeline", "experiments", "reports", "pyproject.toml"} <= set(copied)


@pytest.mark.slow
def test_ssh_script_starts_scheduler_and_workers_and_ends_them(certificates, tmp_path):
    """With an ssh that stays here."""
    (tmp_path / "ssh").write_text('#!/bin/sh\nshift 2\nexec sh -c "exec $*"\n')
    (tmp_path / "ssh").chmod(0o755)
    port = str(free_port())
    paths = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        [DEPLOY / "ssh.sh", certificates, "2", "first", "second"],
        env={**os.environ, "PATH": paths, "SCHEDULER_HOST": "127.0.0.1", "SCHEDULER_PORT": port},
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    ask = (
        "from distributed import Client; from distributed.security import Security; import sys\n"
        "folder = sys.argv[1]\n"
        "tls = Security(tls_ca_file=folder + '/ca.pem', tls_client_cert=folder + '/cert.pem', "
        "tls_client_key=folder + '/key.pem', require_encryption=True)\n"
        "client = Client(sys.argv[2], security=tls, timeout=300)\n"
        "client.wait_for_workers(4, timeout=300)\n"
        "print(sum(client.run(lambda: 1).values()))\n"
    )
    try:
        asked = [sys.executable, "-c", ask, certificates, f"tls://127.0.0.1:{port}"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=900)
        assert done.stdout == "4\n", done.stderr
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    for _ in range(300):  # a worker's helper process ends when it notices that it is alone
        left = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, check=False).stdout
        if not left:
            break
        time.sleep(0.1)
    assert left == b""


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_python_gets_the_same_versions(name):
    lines = (DEPLOY.parent / name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]

    assert len(pins) > 50
    assert [str(pin) for pin in pins if "python_full_version" in str(pin.marker)] == []
