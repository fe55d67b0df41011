"""The commands that let a recommended model answer: for a file, or over HTTP."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthcheck.cli.options import asked_model, new_file, option, query, sheet
from depthcheck.pipeline.system import kind_of, user_path

if TYPE_CHECKING:
    from depthcheck.pipeline.data.load import TableFile

_LAST_PORT = 65_535


@click.command(epilog="Example: depthcheck predict --input new.csv --output answers.csv")
@option("--input", "source", metavar="FILE|URL", help="File or database with the original columns, or an .npz with X.")
@option("--output", metavar="FILE", help="The .csv or .parquet file to write.")
@sheet
@query
@asked_model
def predict(
    *,
    source: str | None,
    output: str | None,
    sheet: str | None,
    query: str | None,
    study: str | None,
    model: str | None,
    trust: bool,
) -> int:
    """Let a champion predict the rows of a file or a database."""
    from depthcheck.experiments import tracking

    base = tracking.launch_directory()
    read_from = _input(source, base)
    target = new_file(output, base, (".csv", ".parquet"))  # another model's answers are not replaced unseen
    from depthcheck.pipeline.data.load import read_samples

    uri = tracking.tracking_uri()
    address = model or tracking.champion_address(uri, study)
    samples, table = read_samples(read_from, sheet=sheet, query=query, log=print)
    answers = tracking.predict(uri, address, samples, trust=trust)
    _write(table, answers, target)
    print(f"{len(answers):,} rows predicted by {address}\n  answers       {target}")
    return 0


def _input(asked: str | None, base: Path) -> Path | str:
    from depthcheck.pipeline.config import DataConfig

    if asked is None:
        raise ValueError("input must be a file, got nothing")
    asked = DataConfig(name=asked).name  # no password, and of a SQLite database the file
    if asked.startswith("postgresql:"):
        return asked
    path = base / user_path(asked, "input")
    kind = kind_of(path, "input")
    if kind != "file":
        what = "it is a folder" if kind else f"there is no {path}"
        raise ValueError(f"input must be a file, got {asked!r}: {what}")
    return path


def _write(table: TableFile | None, answers: Any, output: Path) -> None:
    """Write the answers beside the columns that they answer, each cell as it stood; pixels are not repeated."""
    from depthcheck.pipeline.data.answered import write_answered

    if table is not None:
        write_answered(table, answers, output)
    elif output.suffix == ".csv":
        answers.to_csv(output, index=False)
    else:
        answers.to_parquet(output, index=False)


@click.command(epilog="Example: depthcheck serve --port 8080")
@asked_model
@option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@option("--port", metavar="NUMBER", default="5000", show_default=True, help="Port to listen at.")
def serve(study: str | None, model: str | None, trust: bool, host: str, port: str) -> int:
    """Serve a champion over HTTP until Ctrl-C."""
    number = _port(port)
    from depthcheck.experiments import tracking

    uri, listener = tracking.tracking_uri(), _listener(host, number)
    address = model or tracking.champion_address(uri, study)

    def say() -> None:
        print(f"{address} is served at http://{host}:{number}/invocations", flush=True)

    with listener:
        tracking.serve(uri, address, listener, trust=trust, on_ready=say)
    return 0


def _listener(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded, which takes a while; complain in a line where that cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (while ")[0]  # Python repeats the address there
        raise ValueError(f"host and port must be free to listen at, got {host} and {port}: {reason}") from error


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= _LAST_PORT:
        raise ValueError(f"port must be a number from 1 to {_LAST_PORT}, got {text!r}")
    return int(text)
