import contextlib
import errno
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from urllib.parse import quote

import click
import pytest
from click.shell_completion import BashComplete

from depthcheck.cli import commands, main, study_commands
from depthcheck.cli.options import complain, failure_code, several, table
from depthcheck.experiments import scratch, tracking
from depthcheck.experiments.addresses import require_address, shown, without_login, without_password
from depthcheck.experiments.cluster import launch
from depthcheck.experiments.study.ledger import study_names
from depthcheck.experiments.tracking import TrackingError
from depthcheck.experiments.tracking.study_run import artifact_link
from depthcheck.pipeline.config import DataConfig
from depthcheck.pipeline.data.load import load


@pytest.fixture(autouse=True)
def _no_folder_is_kept():
    """A command keeps its session's folder to the end of its process, which here is that of all tests."""
    yield
    scratch.give_back()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgresql+psycopg://me:s3cret@db.example:5432/optuna", "postgresql+psycopg://me:***@db.example:5432/optuna"),
        ("http://me:p%40ss@host, and mysql://you:other@host/x", "http://me:***@host, and mysql://you:***@host/x"),
        ("postgresql://me@server/runs", "postgresql://me@server/runs"),
        ("sqlite:////home/me@work/a:b@c.db", "sqlite:////home/me@work/a:b@c.db"),
        ("tcp://127.0.0.1:8786 for me@example", "tcp://127.0.0.1:8786 for me@example"),
        ("http://127.0.0.1:5000/get?path=a%20b&x=y.", "http://127.0.0.1:5000/get?path=a%20b&x=y."),
        ("postgresql://host/x?user=me&password=s3cret", "postgresql://host/x?password=***&user=me"),
        ("postgresql://h/x?pass%77ord=s3cret&sslmode=require", "postgresql://h/x?password=***&sslmode=require"),
        ("mysql://me:s3cret@h/x?password=s3@cret", "mysql://me:***@h/x?password=***"),
        ("mysql://me:s3@cret?a=cret@host/x", "mysql://***"),  # nobody knows where that one ends
        ("('mysql://me:it's@host/x'): no", "('mysql://me:***@host/x'): no"),
    ],
)
def test_addresses_lose_their_password_and_nothing_else(text, said):
    assert without_password(text) == said
    assert without_password(said) == said


@pytest.mark.parametrize(
    "password", ["s3cret", "s3/cret", "s3@cret", "/@s3cret", "s3@/cret", "8786/s3cret", "s3:cret?#"]
)
def test_no_spelling_of_a_password_is_shown(password):
    for scheme, written in product(
        ("postgresql+psycopg", "http", "https", "tcp", "tls", "mysql+pymysql"), (password, quote(password, safe=""))
    ):
        address = f"{scheme}://me:{written}@host:1234/x"
        assert shown(address) == f"{scheme}://me:***@host:1234/x"
        assert without_login(address) == f"{scheme}://host:1234/x"


@pytest.mark.parametrize(
    "address", ["postgresql://me:s3@cret@host/x", "postgresql://me:s3cret@host:port/x", "mysql://me:s3/@cret@host/x"]
)
def test_address_that_a_driver_would_misread_is_refused_without_its_password(address):
    with pytest.raises(ValueError, match=r"storage must be an address like .* @ is written %40") as caught:
        require_address(address, "storage")
    assert "cret" not in str(caught.value)
    require_address("postgresql://me:s3/%40cret@host/x", "storage")


def test_no_complaint_tells_a_password(capsys, monkeypatch):
    complain(ValueError("cannot reach postgresql://me:s3cret@host/x"))
    assert capsys.readouterr().err == "error: cannot reach postgresql://me:***@host/x\n"
    monkeypatch.setattr(sys, "argv", ["run", "--storage=mysql://me:s3 cret@host/x", "--", "tcp://me:1 2@there"])
    complain("no mysql://me:s3 cret@host/x, no 'me:1 2@there'")
    assert capsys.readouterr().err == "error: no mysql://me:***@host/x, no 'me:***@there'\n"
    assert main(["run", "postgresql://me:s3cret@host/x"]) == 2
    assert "postgresql://me:***@host/x" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["run", "--experiment", "~nosuchuser/x.toml"], "experiment"),
        (["run", "--data", "~nosuchuser/x.csv", "--target", "y"], "data"),
        (["run", "--experiment", "digits", "--data-folder", "~nosuchuser/x"], "data_folder"),
        (["init", "--data", "~nosuchuser/x"], "data"),
        (["init", "--data", "iris", "--output", "~nosuchuser/x.toml"], "output"),
        (["predict", "--input", "~nosuchuser/x"], "input"),
        (["predict", "--input", "x.csv", "--output", "~nosuchuser/y.csv"], "output"),
        (["reproduce", "--data-folder", "~nosuchuser/x"], "data_folder"),
    ],
)
def test_path_under_an_unknown_user_is_one_line_with_its_name(capsys, monkeypatch, tmp_path, words, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").touch()
    assert main(words) == 2
    _, error = capsys.readouterr()
    assert error.startswith(f"error: {what} must be a path on this machine, got '~nosuchuser/")
    assert error.endswith(": ~nosuchuser is no user's home\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "--runs", "a,b"], "no study in sqlite:///"),
        (["predict", "--input", "x.csv", "--output", "y.csv"], "no study in sqlite:///"),
        (["serve", "--port", "5999", "--model", "models:/a/1"], "no study in sqlite:///"),
        (
            ["serve", "--port", "5999", "--model", "models:/a/1", "--study", "b"],
            "study or model must be given, not both",
        ),
    ],
)
def test_command_that_reads_makes_no_store(capsys, monkeypatch, tmp_path, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "x.csv").write_text("a\n1\n")
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_address_of_a_server_can_be_followed_whatever_its_version(capsys, monkeypatch):
    monkeypatch.setattr(study_commands, "_listener", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(tracking, "serve", lambda *_, on_ready, **__: on_ready())
    assert main(["serve", "--model", "models:/a/1", "--host", "::1"]) == 0
    assert "http://[::1]:5000/invocations" in capsys.readouterr().out


def test_only_what_goes_on_is_said_to_go_on(capsys, monkeypatch, tmp_path):
    """Nothing of what another command has begun goes on; trouble that lasts is bad input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert main(["doctor"]) == 1
    assert re.fullmatch(r"error: cannot use the tracking store .* no answer .*\)\n", capsys.readouterr().err)
    assert main(["run", "--experiment", "digits"]) == 1
    assert capsys.readouterr().err.endswith("; the same command goes on where it stopped\n")
    assert failure_code(TrackingError("deleted", lasts=True)) == 2
    for lasting in (f"file://{tmp_path}/mlruns", f"sqlite:///{tmp_path}/gone/mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", lasting)
        for words in (["run", "--experiment", "digits"], ["list"], ["show"], ["report"], ["reproduce"]):
            assert main(words) == 2
            assert re.fullmatch(rf"error: cannot use the tracking store {lasting}: [^\n]*\n", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("full", ["database or disk is full", "disk I/O error"])
def test_full_disk_is_told_with_its_folder(capsys, full):
    complain(f"cannot write: {full}", then="; and so on")
    said = re.fullmatch(
        rf"error: cannot write: {full} \(least room is in (.*): [\d,]+ kB\); and so on\n",
        capsys.readouterr().err,
    )
    assert Path(said[1]).is_dir()
    complain(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file"))
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device: '/some/file'\n"


def test_neither_scheduler_nor_storage_nor_links_tell_a_password(tmp_path):
    digits = DataConfig(name="digits")
    with (
        pytest.raises(ValueError, match=r"got 'tcp://me:\*\*\*@127.0.0.1:9'") as refused,
        launch.connected("tcp://me:s3/cret@127.0.0.1:9", digits, load(digits, cache=tmp_path), print),
    ):
        pass
    assert "cret" not in str(refused.value)
    with pytest.raises(ValueError, match=r"got 'nonsense://me:\*\*\*@host/x'") as refused:
        study_names("nonsense://me:s3cret@host/x")
    assert "cret" not in str(refused.value)
    assert artifact_link("https://me:s3cret@host/", "r", "a").startswith("https://host/get-artifact?")


def test_a_column_may_be_called_as_what_says_nothing_elsewhere():
    command = table(click.Command("any", callback=lambda **given: given))
    words = ["--target", "auto", "--sheet", "auto", "--weight", "", "--rows", "auto"]

    given = command.main(words, standalone_mode=False)

    assert given == {"target": "auto", "sheet": "auto", "weight": None, "rows": None, "query": None}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--widen=a:up,b:up --widen=c:up", "a:up,b:up,c:up"),
        ("--widen=a:up,a:up --widen=a:up,c:up", "a:up,a:up,c:up"),
        ("--widen=a:up,c:up --widen=a:up,a:up", "a:up,c:up,a:up"),
        ("--widen= --widen=auto", None),
        ("", None),
    ],
)
def test_an_option_with_commas_may_be_given_several_times(words, expected):
    command = several("--widen")(click.Command("any", callback=lambda widen: widen))
    assert command.main(words.split(), standalone_mode=False) == expected


def test_bash_completes_the_shipped_names_beside_files():
    # Click's script for bash begins its list anew when it hears of files.
    found = BashComplete(commands, {}, "depthcheck", "_DEPTHCHECK_COMPLETE").get_completions(
        ["run", "--experiment"], "d"
    )
    assert [(item.type, item.value) for item in found] == [("file", "d"), ("plain", "digits")]


def test_a_python_without_the_packages_is_named_in_one_line():
    checkout = Path(__file__).parents[2]
    command = [sys.executable, "-S", "-m", "depthcheck", "list"]  # -S leaves out what was installed
    ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {sys.executable} has no package '")


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("words", [["list", "--json"], ["list"], ["--help"]])
def test_command_whose_reader_has_left_ends_without_a_word(tmp_path, words, buffered):
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": buffered}
    command = [sys.executable, "-m", "depthcheck", *words]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")
