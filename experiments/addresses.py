"""Addresses, names and numbers that users give: whether they can be understood at all, and how they may be shown.

Checked alike in Python and on the command line, where no import shall be waited for.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from depthcheck.pipeline.blueprint import Values
from depthcheck.pipeline.config import LARGEST_SEED, SECRET_NAMES

if TYPE_CHECKING:
    from sqlalchemy import URL

#: An address in a text, and the punctuation behind it.
_ADDRESS = re.compile(r"(\w[\w+.-]*://\S+?)(?=['\"),.;:]*(?:\s|$))")
#: Parameters behind a question mark whose values drivers take for secrets.
_SECRET = re.compile(f"{SECRET_NAMES}$", re.IGNORECASE)
_HIDDEN = "***"
#: Names Optuna's storage where the command line does not.
STORAGE_VARIABLE = "DEPTHCHECK_STORAGE"
#: What stands behind ``://``; the password has every ``@`` up to the last one before a question mark.
_LOGIN = re.compile(r"(?P<user>[^:/]*):(?P<password>[^@]*(?:@[^@?]*)*)@(?P<place>.*)", re.DOTALL)


def whole(value: object, what: str, lowest: int = 1) -> int:
    """Return a whole number of at least ``lowest``, or complain as a definition's own checks do."""
    return int(Values(kind="int", low=lowest, most=LARGEST_SEED).check(value, what))


def study_name(value: object, what: str = "study") -> str:
    """Return a name that a lock's file and a registered model can have; MLflow takes none of dots alone."""
    if not re.fullmatch(r"(?!\.+$)[\w.-]+", str(value)):
        raise ValueError(f"{what} must be of letters, digits, dots, dashes and underscores, got {value!r}")
    return str(value)


def server_address(value: object, what: str) -> str:
    """Return a text that may be the address of a server."""
    if "://" not in str(value):
        raise ValueError(f"{what} must be an address like tls://host:8786, got {value!r}")
    return str(value)


def sqlite_address(file: Path | str) -> str:
    """Return the address of an SQLite file; SQLAlchemy takes ``%41`` for a letter and ``?`` for the path's end."""
    return "sqlite:///" + str(file).replace("%", "%25").replace("?", "%3F")


def shown(address: str) -> str:
    """Return an address as it may be shown: it keeps its user and loses the password.

    An address of which nobody can say where its password ends keeps its beginning alone.
    """
    if "://" not in address or not {"@", "?"} & set(address):
        return address
    url = _parsed(address)
    if url is None:
        return f"{address.partition('://')[0]}://{_HIDDEN}"
    secret = {name: _HIDDEN for name in url.query if _SECRET.search(name)}
    if url.password is None and not secret:
        return address
    return url.update_query_dict(secret).render_as_string(hide_password=True).replace("%2A%2A%2A", _HIDDEN)


def without_login(address: str) -> str:
    """Return a server's address without user and password, for links: who follows one has logged in by themselves."""
    url = _parsed(address) if "@" in address else None
    return address if url is None else url._replace(username=None, password=None).render_as_string()


def is_server(uri: str) -> bool:
    """Tell whether a tracking store is a server."""
    return uri.startswith(("http://", "https://"))


def mlflow_pages(uri: str) -> tuple[str, str | None]:
    """Return the address of MLflow's pages, and the command that starts them where no server does."""
    if is_server(uri):
        return without_login(uri).rstrip("/"), None
    return "http://127.0.0.1:5000", f"mlflow ui --backend-store-uri {shlex.quote(shown(uri))}"


def run_page(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """Return the page of a run, or of an artifact of it, below that address.

    It is one of training: what MLflow chooses by itself are language models.
    """
    shown = f"/artifacts/{artifact}" if artifact else ""
    return f"#/experiments/{experiment_id}/runs/{run_id}{shown}?workflowType=machine_learning"


def without_password(text: str, known: Iterable[str] = ()) -> str:
    """Return a text as it may be shown: addresses in it keep their user and lose the password.

    Parameters
    ----------
    known
        Addresses that may stand in it, also without their scheme: of these it is known where they end, even where a
        password has a blank.
    """
    for address in known:
        text = text.replace(address, shown(address))
        scheme, mark, rest = address.partition("://")
        if "@" in rest:
            text = text.replace(rest, shown(address).removeprefix(scheme + mark))
    return _ADDRESS.sub(lambda found: shown(found.group()), text)


def may_be_shown(about: object) -> str:
    """Return what is to be said without the passwords of the addresses that this process was given."""
    return without_password(str(about), given_addresses())


def given_addresses() -> list[str]:
    """Return the addresses that this process was given, on its command line or by the environment."""
    words = (word.partition("=")[2] if word.startswith("-") else word for word in sys.argv[1:])
    variables = (os.environ.get(name, "") for name in ("MLFLOW_TRACKING_URI", STORAGE_VARIABLE))
    return [address for address in (*variables, *words) if "://" in address]


def require_address(address: str, what: str) -> None:
    """Complain about a database's address whose password a driver would take for something else."""
    from sqlalchemy.engine import make_url

    url = _parsed(address)
    if url is None or url != make_url(address):
        raise ValueError(
            f"{what} must be an address like postgresql+psycopg://user:password@host:5432/database, got "
            f"{shown(address)!r} (in a password @ is written %40, / %2F, : %3A and % %25)"
        )


def _parsed(address: str) -> URL | None:
    """Return an address as SQLAlchemy reads it once the ``@`` and ``/`` in its password are written as they must be.

    SQLAlchemy ends a password at the first ``@``, so that the rest of one with an ``@`` is shown as host or database.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    scheme, mark, rest = address.partition("://")
    login = _LOGIN.fullmatch(rest)
    if login is not None:
        rest = f"{login['user']}:{quote(login['password'], safe='%')}@{login['place']}"
    try:
        url = make_url(scheme + mark + rest)
    except (ArgumentError, ValueError):
        return None
    unclear = any("@" in str(value) for name, value in url.query.items() if not _SECRET.search(name))
    return None if login is not None and unclear else url
