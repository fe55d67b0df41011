"""A study on a cluster: with TLS, PostgreSQL, an MLflow server before it, and hosts that come and go."""

import base64
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Folder, wait_for
from hosts import cluster, network
from servers import mlflow_server, postgres
from sklearn.datasets import load_wine
from test_storage_trouble import Served, n_told

from depthcheck.experiments.tracking.runs import search
from depthcheck.experiments.tracking.store import client

DEFINITION = """
question = "Does another hidden layer help?"
seed = 3
[data]
name = "{table}"
target = "target"
[split]
method = "stratified"
[budget]
trials = 28
epochs = 3
compare = 0.8
window = 2
seeds = 1
[compare]
depth = [0, 1]
[fixed]
optimizer = "sgd"
[tune]
units = [8, 16]
activation = ["relu", "tanh"]
batch_size = [16]
[tune.sgd]
learning_rate = { low = 0.01, high = 1.0, log = true }
"""
SECRETS = ("pl4nted-in-the-storage", "pl4nted-in-the-uri", "pl4nted-in-the-environment")


def made(path: Path) -> Folder:
    (path / "home").mkdir(parents=True)
    return Folder(path=path, home=path / "home")


def with_password(address: str, password: str) -> str:
    """Return an address with a user and that password."""
    scheme, _, place = address.partition("://")
    return f"{scheme}://me:{password}@{place.rpartition('@')[2]}"


def where_planted(folder: Path, said: str) -> list[str]:
    """Return the files below a folder that have a secret, or parts of a text that do; headers have it in base 64."""
    forms = [form for secret in SECRETS for form in (secret, base64.b64encode(f"me:{secret}".encode()).decode())]
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = [str(path) for path in files if any(form.encode() in path.read_bytes() for form in forms)]
    return found + [line for line in said.splitlines() if any(form in line for form in forms)]


@pytest.mark.slow
def test_study_on_a_cluster_whose_hosts_and_servers_go_away_is_that_of_one_machine(tmp_path, here):
    definition, table = tmp_path / "wine.toml", tmp_path / "table" / "wine.csv"
    table.parent.mkdir()
    load_wine(as_frame=True).frame.to_csv(table, index=False)
    definition.write_text(DEFINITION.replace("{table}", str(table)))
    command = ["--experiment", str(definition)]
    alone, at = made(tmp_path / "alone"), made(tmp_path / "cluster")
    code, said = alone.run(*command, "--workers", "1")
    assert code == 0, said
    with (
        network() as where,
        postgres() as database,
        mlflow_server(
            at.path / "server", with_password(database.url("mlflow"), SECRETS[0]), where.here, ("me", SECRETS[1])
        ) as tracking,
    ):
        login = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": SECRETS[2]}
        patience = {"MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1", **login}
        workers_own = {key: value for key, value in at.environment().items() if key != "PYTHONPATH"} | patience
        with cluster(at.path, where, 3, workers_own, table.parent) as hosts:
            settings = {
                **hosts.settings,
                **patience,
                "PGPASSWORD": SECRETS[2],
                "DASK_SCHEDULER_ADDRESS": hosts.address,
                "DEPTHCHECK_STORAGE": with_password(database.url("optuna"), SECRETS[0]),
            }
            served = Served(
                at.path, at.home, with_password(tracking.uri, SECRETS[1]), database.url("optuna"),
                tuple(settings.items()),
            )  # fmt: skip
            code, refused = replace(served, server=with_password(tracking.uri, "another")).run(*command)
            assert code == 2, refused
            assert "another" not in refused
            assert "not authenticated" in refused.splitlines()[-1]
            assert served.studies() == {}
            process = served.start(*command)
            wait_for(lambda: n_told(served) >= 4 or process.poll() is not None)
            first, second, _third = hosts.hosts
            first.cut_off()
            with tempfile.TemporaryDirectory() as home:
                code, other = replace(served, home=Path(home)).run(*command)
            assert code == 2, other
            assert f"process {process.pid}, since" in other
            second.kill()
            n_before = n_told(served)
            wait_for(lambda: n_told(served) >= n_before + 3 or process.poll() is not None)
            database.restart()
            n_before = n_told(served)
            wait_for(lambda: n_told(served) >= n_before + 3 or process.poll() is not None)
            assert process.poll() is None, "the study ended before all that was to disturb it"
            tracking.kill()
            first.join_again()
            tracking.start()
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output
            # A worker that comes back as the study ends may have begun a run, which it closes.
            wait_for(lambda: "RUNNING" not in {run.status for run in search(client(served.uri), "")}, seconds=120)
            examined = here(at.path, "doctor", HOME=str(at.home), MLFLOW_TRACKING_URI=served.uri, **settings)
            assert examined.returncode == 0, examined.stdout
            assert len(served.study().trials) == 30
            assert served.fingerprint() == alone.fingerprint()
            runs = list(search(client(served.uri), ""))
            assert Counter(run.number for run in runs if run.counts) == Counter(range(30))
            dump = database.dump()
            assert "wine" in dump
    assert where_planted(at.path, output + refused + other + str(examined) + dump) == []
