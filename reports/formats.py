"""A report once more, for other programs: its tables for LaTeX, a spreadsheet or a script, its figures as PDF."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt

from depthcheck.reports.compare.results import Comparison, Difference, Spread
from depthcheck.reports.figures.style import picture
from depthcheck.reports.text.answer import answers, plain
from depthcheck.reports.text.words import configuration
from depthcheck.reports.write import Report

#: Signs of the report that LaTeX knows by another name.
_LATEX = {"−": "$-$", "×": r"$\times$", "±": r"$\pm$", "²": "$^2$", "–": "--", "…": r"\dots{}"}


def numbers(comparison: Comparison) -> dict[str, pd.DataFrame]:
    """Return what the report's tables rest on, by name, with all digits and in the metric's own scale.

    Returns
    -------
    dict of DataFrame
        ``levels`` has a row a level, ``contrasts`` one a level against its reference, ``finalists`` one a configuration
        that was trained on fresh seeds, the recommended one first.
    """
    levels = [
        {"factor": row.factor, "level": row.level, "is_reference": row.is_reference, "status": row.status}
        | _interval("tuned", row.tuned)
        | {name: getattr(row, name) for name in ("tuned_valid", "selected_score", "n_trials", "n_finished", "n_failed")}
        | {name: getattr(row, name) for name in ("n_diverged", "n_pruned", "n_untrained")}
        | {"configuration": None if row.best is None else configuration(row.best, without=row.factor)}
        | _spread("valid", row.valid) | _spread("test", row.test)
        | {"n_params": row.n_params, "fit_seconds": row.fit_seconds}
        for question in comparison.questions for row in question.rows
    ]  # fmt: skip
    best = comparison.recommendation
    finalists = [
        {"finalist": row.finalist.id, "is_recommended": best is not None and row is best.recommended,
         "configuration": configuration(row.finalist.config), "selected_score": row.finalist.selected_score}
        | _spread("valid", row.valid) | _spread("test", row.test)
        | {"n_params": row.n_params, "fit_seconds": row.fit_seconds}
        for row in sorted(comparison.finalists, key=lambda row: best is None or row is not best.recommended)
    ]  # fmt: skip
    tables = {"levels": levels, "contrasts": answers(comparison)["contrasts"], "finalists": finalists}
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}


def _interval(name: str, of: Difference | None) -> dict[str, Any]:
    values = (None, None, None) if of is None else (of.estimate, of.low, of.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _spread(name: str, of: Spread | None) -> dict[str, Any]:
    values = (None, None, None) if of is None else (of.mean, of.sd, of.n)
    return dict(zip((f"{name}_mean", f"{name}_sd", f"{name}_runs"), values, strict=True))


def latex(markdown: str) -> str:
    """Return the tables of a report as LaTeX's, for the package booktabs, each with its heading as a comment."""
    blocks, heading, columns = [], "", ""
    rows: list[list[str]] = []
    for opened, token in itertools.pairwise(MarkdownIt("commonmark", {"html": False}).enable("table").parse(markdown)):
        if opened.type == "heading_open":
            heading = token.content
        elif opened.type == "tr_open":
            rows.append([])
        if opened.type in ("th_open", "td_open"):
            rows[-1].append(plain(token.content))
        if opened.type == "th_open":
            columns += "r" if "right" in str(opened.attrGet("style")) else "l"
        if opened.type == "table_close":
            table = pd.DataFrame(rows[1:], columns=rows[0]).to_latex(index=False, escape=True, column_format=columns)
            blocks.append(f"% {heading}\n{table}")
            rows, columns = [], ""
    return re.sub("|".join(_LATEX), lambda found: _LATEX[found.group()], "\n".join(blocks))


def write_as(form: str, report: Report, folder: Path) -> Path:
    """Write a report's tables, or its figures, in one of :data:`FORMATS` beside the report; return where they are."""
    target = folder / ("figures" if form == "pdf" else "tables")
    target.mkdir(exist_ok=True)
    FORMATS[form](report, target)
    return target


def _as_latex(report: Report, target: Path) -> None:
    (target / "tables.tex").write_text(latex(report.markdown), encoding="utf-8")


def _as_csv(report: Report, target: Path) -> None:
    for name, table in numbers(report.comparison).items():
        table.to_csv(target / f"{name}.csv", index=False)


def _as_json(report: Report, target: Path) -> None:
    tables = {
        name: table.astype(object).where(table.notna(), None).to_dict("records")
        for name, table in numbers(report.comparison).items()
    }
    (target / "tables.json").write_text(json.dumps(tables, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _as_pdf(report: Report, target: Path) -> None:
    for path, figure in report.figures.items():
        (target / Path(path).name).with_suffix(".pdf").write_bytes(picture(figure.draw, "pdf"))


#: What ``format`` may name, and what writes it into a folder.
FORMATS: dict[str, Callable[[Report, Path], None]] = {
    "latex": _as_latex, "csv": _as_csv, "json": _as_json, "pdf": _as_pdf,
}  # fmt: skip


def chosen_formats(asked: str | None) -> list[str]:
    """Return the names in a text like ``latex,pdf``, or complain about one that there is not."""
    names = [] if asked is None else asked.replace(" ", "").split(",")
    if unknown := set(names) - set(FORMATS):
        raise ValueError(f"format must be one or more of {', '.join(FORMATS)}, got {', '.join(sorted(unknown))!r}")
    return list(dict.fromkeys(names))
