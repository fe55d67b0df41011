"""The command line: ``python -m reports``, ``python -m reports --study NAME``.

Reads a study from the tracking store, compares, draws, renders, writes. Bad input ends in one line on standard error
and exit code 2.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.addresses import shown, without_login
from experiments.command_line import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    Given,
    Parser,
    complain,
    failure_code,
    given,
    stop_politely,
)
from pipeline.paths import user_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    stop_politely()
    try:
        return _main(given(options))
    except KeyboardInterrupt:
        return INTERRUPTED


def _main(options: Given) -> int:
    # Not before here: the imports take seconds, and a typing error should not wait for them.
    from experiments import scratch
    from experiments.tracking import TrackingError

    try:
        scratch.take()
        return _print_answers(options) if options["json"] == "True" else _report(options)
    except ValueError as error:
        complain(error)
        return BAD_INPUT
    except TrackingError as error:
        complain(error)
        return failure_code(error)
    except OSError as error:
        complain(error)
        return FAILED


def _parser() -> Parser:
    parser = Parser(prog="python -m reports", description="The report of a study: answer, tables, figures, checks.")
    parser.add_argument("--study", default="", help="name of the study; the latest one otherwise")
    parser.add_argument("--run", default="", help="the study's run, or any run of it, by id")
    parser.add_argument("--json", action="store_true", help="print the answers as JSON, and write nothing")
    parser.add_argument("--output", default="", help="folder to write into; reports/output/<study> otherwise")
    return parser


def _print_answers(given: Given) -> int:
    from experiments import tracking
    from reports.answers import answers
    from reports.compare import compare_study
    from reports.read import choose_study, read_study

    uri = tracking.tracking_uri()
    study = read_study(uri, choose_study(uri, study=given["study"], run_id=given["run"]))
    print(json.dumps(answers(compare_study(study)), indent=1))
    return 0


def _report(given: Given) -> int:
    from experiments import tracking
    from reports.read import choose_study, read_study
    from reports.render import answer, plain
    from reports.words import paragraph
    from reports.write import log_report, make_report, write_report

    uri = tracking.tracking_uri()
    summary = choose_study(uri, study=given["study"], run_id=given["run"])
    launched = tracking.launched_run()
    if launched is not None:
        tracking.join_study(uri, summary.run_id, launched, "report")
    folder = _folder(given["output"], summary.study, tracking.launch_directory())
    study = read_study(uri, summary)
    report = make_report(study)
    write_report(report, study, folder)
    log_report(uri, report, study, folder)
    page, artifacts = tracking.run_address(uri, summary.run_id)
    print(f"\n{summary.study}: {study.facts.question or 'no question was asked'}\n")
    print("\n\n".join(paragraph(plain(text)) for text in answer(report.comparison)))
    warnings = report.comparison.warnings
    print(f"\n{len(warnings)} of {len(report.comparison.checks)} checks warn" + (":" if warnings else ""))
    for check in warnings:
        print(f"  {check.name}: {check.detail}")
    print(f"\n  report        {folder / 'report.md'}\n                {folder / 'report.html'}")
    host = without_login(uri).rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    browse = f"  in MLflow     mlflow ui --backend-store-uri {shown(uri)}"
    print("  in MLflow" if uri.startswith("http") else browse)
    print(f"                {host}/{page}/artifacts\n                {artifacts}/report")
    return 0


def _folder(asked: str | None, study: str, base: Path) -> Path:
    """Return the output folder, made; a study's name may hold what no folder's may.

    Parameters
    ----------
    base
        What a relative path is relative to: where the user typed, not the copy that a project from a git address
        runs in.

    Raises
    ------
    ValueError
        When it cannot be written.
    """
    name = re.sub(r"[^\w.-]+", "_", study).strip(".") or "study"
    folder = base / (user_path(asked, "output") if asked else Path("reports/output") / name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"output must be a folder that can be written to, got {folder} ({error.strerror})") from error
    return folder.resolve()


if __name__ == "__main__":
    sys.exit(main())
