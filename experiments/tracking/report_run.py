"""The report's side of a study's run: the session that writes it, and its files among the artifacts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from depthcheck.experiments.addresses import without_login
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.environment import code_version
from depthcheck.experiments.tracking.runs import get, read_run
from depthcheck.experiments.tracking.store import SQLITE, client, log_batch, storage


def is_there(uri: str) -> bool:
    """Tell whether a store exists that could hold a study: to open an SQLite store that is not there would make it."""
    return not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).exists()


def launched_run(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the run that ``mlflow run`` has made for this process, or None."""
    return environ.get("MLFLOW_RUN_ID") or None


def study_of(uri: str, run_id: str) -> str | None:
    """Return the parent run of the study that a run belongs to (itself, where it is the parent), or None."""
    run = read_run(uri, run_id)
    if run.phase == keys.PHASE_STUDY:
        return run_id
    return run.tags.get(keys.PARENT_RUN) if run.study else None


def join_study(uri: str, parent_run_id: str, run_id: str, name: str) -> None:
    """Put the run that ``mlflow run`` has made below the study that it is about, as one of its sessions.

    The parent run itself, and a run that is below it already, are left as they are.
    """
    if study_of(uri, run_id) == parent_run_id:
        return
    api = client(uri)
    with storage(f"cannot put run {run_id} below {parent_run_id} in {uri}"):
        study = get(api, parent_run_id).study
        api.update_run(run_id, name=f"{name} {datetime.now().astimezone():%Y-%m-%d %H:%M}")
        tags = {
            keys.STUDY: study,
            keys.PARENT_RUN: parent_run_id,
            keys.PHASE: keys.PHASE_SESSION,
            keys.STATE: "finished",
            **code_version().tags(),
        }
        log_batch(api, run_id, tags=tags)


def log_report(uri: str, run_id: str, folder: Path) -> None:
    """Write a folder's files among the run's artifacts, under ``report``; files of the same names are replaced."""
    with storage(f"cannot write the report of run {run_id}"):
        client(uri).log_artifacts(run_id, str(folder), keys.REPORT)


def note_answer(uri: str, run_id: str, markdown: str, verdicts: Mapping[tuple[str, str], str]) -> None:
    """Put the answer on top of the study's page, and each verdict into a tag of the study's run.

    Parameters
    ----------
    markdown
        Takes the place of the answer that was noted before.
    verdicts
        (factor, level) -> the verdict with its numbers, in words.
    """
    api = client(uri)
    with storage(f"cannot note the answer of run {run_id}"):
        note = get(api, run_id).tags.get(keys.NOTE, "").split(_ANSWER_ENDS)[-1]
        tags = {keys.verdict(factor, level): text for (factor, level), text in verdicts.items()}
        log_batch(api, run_id, tags={**tags, keys.NOTE: f"{markdown}{_ANSWER_ENDS}{note}"})


#: What parts the answer on a study's page from what the study says of itself.
_ANSWER_ENDS = "\n\n---\n\n"


def artifact_link(uri: str, run_id: str, path: str, folder: str = f"{keys.REPORT}/") -> str:
    """Return a link to an artifact that MLflow's own pages show as a picture inside markdown.

    Those pages (3.17) show a relative address as text and leave out ``data:``; what has a scheme is shown. Where
    the store is a server, its address is known. A store that is a file is browsed at whatever address ``mlflow ui``
    got: ``http:path`` without slashes is, to a browser, a path on the page's own host.

    Parameters
    ----------
    folder
        Of the run's artifacts, with its slash, or nothing.
    """
    where = f"get-artifact?path={quote(folder + path, safe='')}&run_uuid={run_id}"
    return f"{without_login(uri).rstrip('/')}/{where}" if uri.startswith(("http://", "https://")) else f"http:{where}"


def run_address(uri: str, run_id: str) -> tuple[str, str]:
    """Return the page of a run below the address of the user interface, and where its artifacts are stored."""
    run = read_run(uri, run_id)
    return f"#/experiments/{run.experiment_id}/runs/{run_id}", run.artifact_uri
