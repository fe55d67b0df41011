"""``serve``: the champion behind MLflow's own server, its files checked before any of them is run."""

from __future__ import annotations

import argparse
import socket

from rich.console import Console

from experiments.command_line import Given, add_model, flag, study_name
from experiments.tracking import tracking_uri

HELP = "serve a champion over HTTP, after its files were checked"
_LAST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_model(parser)
    parser.add_argument("--host", default="", help="address to listen at; this machine alone otherwise")
    parser.add_argument("--port", default="", help="port to listen at; 5000 otherwise")


def main(given: Given, console: Console) -> int:
    """Answer requests until Ctrl-C or SIGTERM."""
    study_name(given["study"])
    trust, port, host = flag("trust", given["trust"]), _port(given["port"]), given["host"] or "127.0.0.1"
    from experiments import tracking

    uri, listener = tracking_uri(), _listener(host, port)
    address = given["model"] or tracking.champion_address(uri, given["study"])

    def say() -> None:
        console.print(f"{address} is served at http://{host}:{port}/invocations", markup=False)

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


def _port(text: str | None) -> int:
    if text is None:
        return 5000
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= _LAST_PORT:
        raise ValueError(f"port must be a number from 1 to {_LAST_PORT}, got {text!r}")
    return int(text)
