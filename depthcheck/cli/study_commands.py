"""The commands about studies that exist: their answers, reports, reproduction, soundness, end, and their champions."""

from __future__ import annotations

import functools
import json
import shlex
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from depthcheck.cli.options import (
    BAD_INPUT,
    FAILED,
    STUDY_NAME,
    asked_model,
    count,
    folder_of,
    new_file,
    option,
    query,
    sheet,
    storage,
    switch,
)
from depthcheck.experiments.addresses import is_server, may_be_shown, mlflow_pages, run_page, shown
from depthcheck.pipeline import verbatim
from depthcheck.pipeline.system import INTERRUPTED, kind_of, user_path
from depthcheck.pipeline.verbatim import one_line

if TYPE_CHECKING:
    from depthcheck.api import Study
    from depthcheck.experiments.doctor.examine import Examination
    from depthcheck.experiments.reproduce.reproduction import ReproductionEnding
    from depthcheck.pipeline.data.load import TableFile

_LAST_PORT = 65_535
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else.")


@click.command("list", epilog="Example: depthcheck list --json")
@as_json
def list_(as_json: bool) -> int:
    """List the studies of the tracking store, the latest first."""
    from depthcheck import api
    from depthcheck.experiments import tracking

    uri = tracking.tracking_uri()
    rows = [_row(of) for of in api.list_studies(tracking_uri=uri)]
    if as_json:
        print(json.dumps(rows, indent=1))
    elif not rows:
        print(tracking.no_study(uri))
    else:
        _print_table(rows)
    return 0


def _row(of: Study) -> dict[str, Any]:
    """Return what the list tells of a study; of one that cannot be read, say so: the others are told all the same."""
    from depthcheck.experiments import tracking

    row: dict[str, Any] = {"study": of.name, "question": "", "state": of.state}
    try:
        return row | {"question": of.question} | tracking.progress(of.tracking_uri, of.run_id)
    except (ValueError, tracking.TrackingError) as error:
        if not getattr(error, "lasts", True):
            raise
        _warn(f"warning: study {of.name} cannot be read: {may_be_shown(error)}")
        started = tracking.read_run(of.tracking_uri, of.run_id).started.astimezone()
        return row | {"n_ended": None, "n_planned": None, "started": started.isoformat(timespec="seconds")}


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title, justify in (("study", "left"), ("question", "left"), ("state", "left"), ("trials", "right")):
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    table.add_column("begun", no_wrap=True)
    for row in rows:
        trials = "–" if row["n_ended"] is None else f"{row['n_ended']} of {row['n_planned']}"
        table.add_row(
            row["study"], one_line(row["question"]), row["state"], trials, row["started"][:16].replace("T", " ")
        )
    Console(highlight=False, markup=False, emoji=False).print(table)


@click.command(epilog="Example: depthcheck show digits-1a2b3c4d")
@click.argument("name", type=STUDY_NAME, required=False)
@as_json
def show(name: str | None, as_json: bool) -> int:
    """Show what study NAME found; the latest without one."""
    from depthcheck import api

    study = api.open_study(name)
    if as_json:
        print(json.dumps(_answers(study), indent=1))
        return 0
    _say_answer(study)
    if study.champion is not None:
        print(f"\n  champion      {study.champion}")
    print("\n".join(_where(study)))
    return 0


def _answers(study: Study) -> dict[str, Any]:
    from depthcheck.reports.text.answer import answers

    return {**answers(study.comparison), "question": study.question, "state": study.state, "champion": study.champion}


def _say_answer(study: Study) -> None:
    from depthcheck.reports.text.words import paragraph

    print(f"\n{study.name}: {one_line(study.question) or 'no question was asked'}\n")
    print("\n\n".join(paragraph(text) for text in study.answer.split("\n\n")))


def _where(study: Study, artifact: str = "") -> list[str]:
    from depthcheck.experiments import tracking

    run = tracking.read_run(study.tracking_uri, study.run_id)
    host, browse = mlflow_pages(study.tracking_uri)
    return [
        f"  in MLflow     {browse}" if browse else "  in MLflow",
        f"                {host}/{run_page(run.experiment_id, run.run_id, artifact)}",
        f"                {run.artifact_uri}",
    ]


@click.command(epilog="Example: depthcheck report --study digits-1a2b3c4d --output my-report")
@option("--study", type=STUDY_NAME, help="Name of the study. [default: the latest]")
@option("--run", metavar="ID", help="The study's run, or any run of it.")
@option("--output", metavar="FOLDER", help="Folder to write into. [default: reports/output/<study>]")
@option("--template", metavar="FILE", help="What goes where, in Jinja's language. [default: the project's own]")
@option(
    "--format", metavar="latex|csv|json|pdf,…", help="Tables in these forms too, or figures as PDF, beside the report."
)
@as_json
def report(*, study: str | None, run: str | None, as_json: bool, **how: str | None) -> int:
    """Write a study's report: answer, figures, tables, checks."""
    if as_json:
        if of_files := [name for name, given in how.items() if given is not None]:
            raise ValueError(f"json must be given without {', '.join(of_files)}: it writes no report")
        print(json.dumps(_answers(_chosen(study, run)), indent=1))
        return 0
    write_and_say(study=study, run=run, **how)
    return 0


def _chosen(study: str | None, run: str | None) -> Study:
    from depthcheck import api
    from depthcheck.experiments import tracking
    from depthcheck.reports.read import choose_study

    uri = tracking.tracking_uri()
    return api.Study(choose_study(uri, study=study, run_id=run), uri)


def write_and_say(study: str | None = None, run: str | None = None, **how: str | None) -> None:
    """Write a study's report as :meth:`depthcheck.Study.report` takes it, and print its answer and where it is."""
    from depthcheck.experiments import tracking
    from depthcheck.reports.text.answer import plain

    found = _chosen(study, run)
    written = found.report(how.pop("output", None), **how)
    launched = tracking.launched_run()
    if launched is not None:
        tracking.join_study(found.tracking_uri, found.run_id, launched, "report")
    _say_answer(found)
    warnings, checks = found.comparison.warnings, found.comparison.checks
    print(f"\n{len(checks) - len(warnings)} of {len(checks)} checks pass" + ("; in doubt:" if warnings else ""))
    for check in warnings:
        print(f"  {check.name}? {plain(check.detail)}")
    print(f"\n  report        {written}\n                {written.with_suffix('.html')}")
    if forms := how.get("format"):
        folders = dict.fromkeys("figures" if form.strip() == "pdf" else "tables" for form in forms.split(","))
        print(f"  {forms:<13} {' and '.join(str(written.parent / folder) for folder in folders)}")
    print("\n".join(_where(found, "report/report.html")) + "/report")


@click.command(epilog="Example: depthcheck delete digits-1a2b3c4d")
@click.argument("name", type=STUDY_NAME)
@click.option("--yes", is_flag=True, help="Do not ask.")
@storage
def delete(name: str, yes: bool, storage: str | None) -> int:
    """Delete study NAME, after asking."""
    from depthcheck import api
    from depthcheck.experiments import tracking
    from depthcheck.experiments.lock import held, may_run_elsewhere
    from depthcheck.experiments.places import Place
    from depthcheck.experiments.study.ledger import delete_study, study_names

    uri = tracking.tracking_uri()
    place = Place.of(uri, storage)
    found = tracking.studies(uri, name) if tracking.is_there(uri) else []
    runs = [of.run_id for of in found]
    is_stored = name in study_names(place.storage)
    if not runs and not is_stored:
        raise ValueError(
            f"name must be that of a study, got {name!r}, which is neither in {uri} nor in {place.storage}"
        )
    for run in found:
        if may_run_elsewhere(place, name, run, is_stored=is_stored):
            raise ValueError(
                f"name must be that of a study that is not running, got {name!r}, whose run {run.run_id} is RUNNING "
                "and was begun where it cannot be seen from here: delete it there, or that run in MLflow"
            )
    counts = [_row(api.Study(run, uri))["n_ended"] for run in found]
    its = "its" if None in counts else f"its {sum(counts)}"
    try:
        agreed = yes or click.confirm(f"Delete study {name}, {its} trials and its registered model?")
    except click.Abort:  # Ctrl-C, or nobody is there to answer
        print("\nnothing was deleted: the question was not answered (--yes answers it)", file=sys.stderr)
        return INTERRUPTED
    if not agreed:
        print("nothing was deleted")
        return 0
    with held(place, name, _warn):
        for run_id in runs:
            tracking.delete_study(uri, name, run_id)
        if is_stored:
            delete_study(place.storage, name)
    at = shlex.quote(shown(uri))
    free = "mlflow gc, on the server" if is_server(uri) else f"mlflow gc --backend-store-uri {at} --tracking-uri {at}"
    print(f"study {name} was deleted; what removes its files, and those of all else that was deleted there: {free}")
    return 0


@click.command(epilog="Example: depthcheck reproduce --times 5")
@option("--run-id", metavar="ID", help="The run of a trial. [default: the champion of the latest study]")
@option("--study", type=STUDY_NAME, help="Name of a study, whose champion or best trial it shall be.")
@option("--times", type=count(), default="1", show_default=True, help="How often to train it again.")
@option("--data-folder", metavar="FOLDER", help="Folder that has the data set's files.")
@as_json
def reproduce(run_id: str | None, study: str | None, times: int, data_folder: str | None, as_json: bool) -> int:
    """Train a logged trial again, and compare each number.

    Exit code 0 where it was reproduced, and 1 where it was not.
    """
    from depthcheck import api
    from depthcheck.experiments import tracking
    from depthcheck.experiments.reproduce import deviations as words
    from depthcheck.experiments.reproduce.reproduction import reproduce as train_again
    from depthcheck.reports.figures.curves import overlay_as_svg

    uri, folder = tracking.tracking_uri(), folder_of(data_folder, tracking.launch_directory())
    shown = api.console(progress=not as_json)
    try:
        ending = train_again(
            uri, shown, run_id=run_id, study=study, times=times, data_folder=folder, draw=overlay_as_svg
        )
    except KeyboardInterrupt:
        print("interrupted; nothing was found out, and the same command begins anew", file=sys.stderr)
        return INTERRUPTED
    if as_json:
        print(json.dumps(words.as_json(ending.finding, tracking.environment()), indent=1))
    else:
        print(_reproduction(ending))
    return 0 if ending.finding.is_reproduced else FAILED


def _reproduction(ending: ReproductionEnding) -> str:
    """Return the verdict, what it rests on, where the result is, and what to do next."""
    from depthcheck.experiments.reproduce.deviations import finding_lines
    from depthcheck.experiments.tracking import launcher

    given = functools.partial(verbatim.option, launcher())
    host, browse = mlflow_pages(ending.tracking_uri)
    original = ending.finding.original.run
    both = _both(original.run_id, ending.run_id, {original.experiment_id, ending.experiment_id})
    lines = ["", ending.finding.headline(), *(f"  {line}" for line in finding_lines(ending.finding))]
    lines += [f"  browse        {browse}"] if browse else []
    lines += [
        f"  result        {host}/{run_page(ending.experiment_id, ending.run_id)}",
        f"  overlaid      {host}/#/metric?{both}",
    ]
    if ending.finding.verdict == "bit-equal":
        lines.append(f"  more          another trial: {given('run_id', 'RUN')}; {given('times', 5)} repeats it")
    else:
        lines.append(f"  more          {given('times', 5)} shows whether repetitions agree among themselves")
    return "\n".join(lines)


def _both(original: str, run_id: str, experiments: set[str]) -> str:
    """Return the question that MLflow's page of metrics answers with both runs' losses in one chart."""
    metrics = ["train/loss", "valid/loss"]
    lists = {"runs": [original, run_id], "experiments": sorted(experiments), "plot_metric_keys": metrics}
    question = {name: json.dumps(value, separators=(",", ":")) for name, value in lists.items()}
    return urlencode({**question, "metric": json.dumps(metrics[1]), "x_axis": "step"})


@click.command(epilog="Example: depthcheck doctor --study all --fix")
@option("--study", type=STUDY_NAME, help="Name of a study, or all. [default: the latest]")
@switch("--fix", help="Repair what can be repaired; nothing is deleted.")
@storage
@as_json
def doctor(study: str | None, fix: bool, storage: str | None, as_json: bool) -> int:
    """Find what is damaged in a study, and repair it.

    Optuna's study, MLflow's runs and the artifacts are held against each other.

    Exit code 0 where nothing is left to disagree, else 1.
    """
    # Not before here: the imports take seconds, and a typing error should not wait for them.
    from depthcheck.experiments import tracking
    from depthcheck.experiments.doctor.examine import examine, lines, studies
    from depthcheck.experiments.places import Place
    from depthcheck.experiments.tracking.store import require_usable

    uri = tracking.tracking_uri()
    place = Place.of(uri, storage)
    require_usable(uri, place.storage)
    names = studies(place, study)
    exit_code, examined = 0, []
    for name in names:
        try:
            examination = examine(place, name, fix=fix, say=_warn)
        except ValueError as error:
            if len(names) == 1:
                raise
            print(f"study {name} is left out: {may_be_shown(error)}", file=sys.stderr if as_json else sys.stdout)
            exit_code = BAD_INPUT
            continue
        examined.append(_examination(examination))
        if not as_json:
            print("\n".join(lines(examination, fix=fix)))
        exit_code = max(exit_code, FAILED) if examination.left else exit_code
        launched = tracking.launched_run()
        if launched is not None and len(names) == 1 and examination.parent_run_id is not None:
            tracking.join_study(uri, examination.parent_run_id, launched, "doctor")
    if as_json:
        print(json.dumps(examined, indent=1))
    return exit_code


def _examination(found: Examination) -> dict[str, Any]:
    return {
        "study": found.study,
        "is_clean": not found.left,
        **{
            kind: [{"what": one.what, "advice": one.advice} for one in findings]
            for kind, findings in (("repaired", found.repaired), ("left", found.left))
        },
    }


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
    address = _model_address(uri, study, model)
    samples, table = read_samples(read_from, sheet=sheet, query=query, log=print)
    answers = tracking.predict(uri, address, samples, trust=trust)
    _write(table, answers, target)
    print(f"{len(answers):,} rows predicted by {address}\n  answers       {target}")
    return 0


def _model_address(uri: str, study: str | None, model: str | None) -> str:
    from depthcheck.experiments import tracking

    if study is not None and model is not None:
        raise ValueError(f"study or model must be given, not both, got {study!r} and {model!r}")
    return model or tracking.champion_address(uri, study)


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
    address = _model_address(uri, study, model)
    place = f"[{host}]" if ":" in host else host  # of version 6

    def say() -> None:
        print(f"{address} is served at http://{place}:{number}/invocations", flush=True)

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
