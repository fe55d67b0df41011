"""The report's files: markdown, figures, HTML and tables, in a folder and among the study's artifacts.

Once more for other programs: its tables for LaTeX, a spreadsheet or a script, its figures as PDF (:data:`FORMATS`).
"""

from __future__ import annotations

import html
import itertools
import json
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
from jinja2 import Environment
from markdown_it import MarkdownIt

from depthcheck.experiments import tracking
from depthcheck.experiments.tracking import keys
from depthcheck.pipeline.records import TrialRecord
from depthcheck.pipeline.system import user_path
from depthcheck.reports.compare.comparison import compare_study
from depthcheck.reports.compare.results import Comparison, Difference, Spread
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.figures import all_drawings
from depthcheck.reports.figures.style import picture
from depthcheck.reports.text.answer import answer, answers, plain, verdicts
from depthcheck.reports.text.context import Drawing, recommended_runs
from depthcheck.reports.text.report import check_template, render, sections
from depthcheck.reports.text.words import configuration

_PAGE = resources.files("depthcheck.reports.text") / "report.html.j2"
#: Tables that an earlier report may have left; which figures it did, it says itself.
_OLD_TABLES = ("tables.tex", "tables.json", "levels.csv", "contrasts.csv", "finalists.csv")
#: Signs of the report that LaTeX knows by another name.
_LATEX = {"−": "$-$", "×": r"$\times$", "±": r"$\pm$", "²": "$^2$", "–": "--", "…": r"\dots{}"}
_FIRST = ("number", "phase", "state", "finalist", "run_id")
_COSTS = ("n_params", "fit_seconds", "failure")
_LAST = (
    "valid_score", "valid_loss", "test_score", "test_loss", "train_score", "train_loss",
    "metric", "epochs_trained", *_COSTS,
)  # fmt: skip
#: Columns that are no parameters, whatever a user's own model calls its own; a definition may name the metric.
_OURS = {*_FIRST, *_LAST} - {"metric"}


def trials_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return one row a trial, of all phases, by number.

    Returns
    -------
    DataFrame
        ``number, phase, state, finalist, run_id``, the parameters under their logged names, then scores and costs.
        ``train_…`` are of the last epoch. What a trial does not have is missing. ``units`` is text: layers of unequal
        width are joined by commas. So is an own model's parameter whose values are not all of one type; one that is
        called as another column is ``param.state``.
    """
    rows = [_row(record) for record in sorted(records, key=lambda record: record.number)]
    params = sorted({name for record in records for name in _params(record)} - {"metric"})
    table = pd.DataFrame(rows, columns=[*_FIRST, *params, *_LAST])
    whole = ("number", "n_params", "depth", "batch_size", "epochs", "epochs_trained", "seed", "split_seed")
    for name in set(whole) & set(table):
        table[name] = table[name].astype("Int64")
    for name in params:  # a column of several types is none that Parquet has
        if table[name].dtype == object and table[name].dropna().map(type).nunique() > 1:
            table[name] = table[name].map(str, na_action="ignore")
    return table


def _params(record: TrialRecord) -> dict[str, object]:
    """Return the parameters by column."""
    return {f"param.{name}" if name in _OURS else name: of for name, of in record.config.to_params().items()}


def _row(record: TrialRecord) -> dict[str, object]:
    params = _params(record)
    row: dict[str, object] = {
        **params,
        **({"units": str(params["units"])} if "units" in params else {}),
        **{name: getattr(record, name) for name in ("number", "phase", "state", "run_id", *_COSTS)},
        "finalist": record.tags.get("finalist"),
        "epochs_trained": record.history.n_epochs,
        "metric": record.history.metric,
    }
    for part in ("valid", "test"):
        evaluation = record.evaluation(part)
        if evaluation is not None:
            row |= {f"{part}_score": evaluation.score, f"{part}_loss": evaluation.loss}
    if record.history.n_epochs:
        score, loss = record.history.train_score[-1], record.history.train_loss[-1]
        row |= {"train_score": score, "train_loss": loss if math.isfinite(loss) else math.inf}
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report before it is drawn and written: its texts, its figures by their paths in the text, what it rests on.

    ``appendix`` is a file of its own; ``champion`` is what goes to the champion's page in the model registry: the
    answer and the recommended model.
    """

    markdown: str
    appendix: str
    champion: str
    figures: dict[str, Drawing]
    comparison: Comparison

    @property
    def texts(self) -> dict[str, str]:
        """Markdown by the name of its file."""
        return {"report": self.markdown, "appendix": self.appendix}


def make_report(study: StudyData, comparison: Comparison | None = None, template: str | None = None) -> Report:
    """Compare (where that is not done yet) and render a study that was read.

    The template is as :func:`depthcheck.reports.text.report.render` has it, which raises where it fails.
    """
    comparison = comparison or compare_study(study)
    drawings = all_drawings(study, comparison)
    texts = sections(comparison, study, drawings)
    return Report(
        markdown=render(texts, drawings, template),
        appendix=render(texts, drawings, of="appendix"),
        champion=f"## Answer\n\n{texts['answer']}\n\n## Recommended model\n\n{texts['recommended']}\n",
        figures={drawing.path: drawing for drawing in drawings},
        comparison=comparison,
    )


def read_template(asked: str, base: Path) -> str:
    """Return the text of a template's file below ``base``, or complain that it is none of a report."""
    path = base / user_path(asked, "template")
    try:
        source = path.read_text("utf-8")
    except OSError as error:
        raise ValueError(f"template must be a file that can be read, got {path} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"template must be a text in UTF-8, got {path}") from error
    check_template(source)
    return source


def report_folder(asked: str | None, study: str, base: Path) -> Path:
    """Make and return the folder for a study's report, or complain that it cannot be written.

    That is the one that the user asked for, or ``reports/output/<study>`` (a name may hold what no folder's may), below
    ``base``: where the user typed, not the copy that a project from a git address runs in.
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


def write_report(report: Report, study: StudyData, folder: Path) -> None:
    """Write report and appendix, each as markdown and HTML, ``figures/`` and the trials; an earlier report's go."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for old in _earlier(folder, report.figures):
        old.unlink(missing_ok=True)
    images = {path: picture(drawing.draw) for path, drawing in report.figures.items()}
    for path, content in images.items():
        (folder / path).write_bytes(content)
    for name, markdown in report.texts.items():
        (folder / f"{name}.md").write_text(markdown, encoding="utf-8")
        page = to_html(markdown, images, title=f"{name.capitalize()} of study {study.design.name}")
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    table = trials_table(study.records)
    table.to_csv(folder / "comparison.csv", index=False)
    table.to_parquet(folder / "comparison.parquet", index=False)


def _earlier(folder: Path, figures: Iterable[str]) -> Iterator[Path]:
    """Yield the files of an earlier report that this one may not replace; whatever else is there is not ours."""
    yield from ((folder / path).with_suffix(".pdf") for path in figures)
    for text in (folder / f"{name}.md" for name in ("report", "appendix")):
        if text.is_file():
            yield from (folder / "tables" / name for name in _OLD_TABLES)
            for name in re.findall(r"\]\(figures/([^()/]+)\.svg\)", text.read_text("utf-8", errors="replace")):
                yield from (folder / "figures" / f"{name}{form}" for form in (".svg", ".pdf"))


def to_html(markdown: str, figures: Mapping[str, bytes], *, title: str) -> str:
    """Return the report as one page: its figures (SVG by their paths) inside, no script, nothing from the network."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    # No line ends inside of 95 %, or of 3 × 256: neither one of the markdown nor one of the page.
    tokens = parser.parse(re.sub(r"(?<=\d)[ \n](?=[%×±])|(?<=[×±])[ \n](?=\d)", "\N{NO-BREAK SPACE}", markdown))
    contents: list[str] = []
    for opened, inline in itertools.pairwise(tokens):
        if opened.type == "heading_open" and opened.tag == "h2":
            opened.attrSet("id", f"section-{len(contents) + 1}")
            contents.append(inline.content)
        for token in inline.children or ():
            path, address = (unquote(str(token.attrGet(name))) for name in ("src", "href"))
            if path in figures:
                token.type, token.content = "html_inline", _inside(figures[path], token.content)
            if address in ("report.md", "appendix.md"):
                token.attrSet("href", address.replace(".md", ".html"))
    body = parser.renderer.render(tokens, parser.options, {})
    page = Environment(keep_trailing_newline=True).from_string(_PAGE.read_text("utf-8"))
    return page.render(title=title, body=body, contents=contents)


def _inside(picture: bytes, alt: str) -> str:
    """Return an SVG file as a part of a page, where a browser shows the values of its points."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", picture.decode("utf-8"), flags=re.DOTALL)
    return svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)


def _page(uri: str, report: Report, study: StudyData, *, is_registered: bool) -> str:
    """Return what stands on top of the study's page in MLflow: the answer, its figure, and where the rest is."""
    shown = next((drawing for drawing in report.figures.values() if drawing.answer), None)
    figure = [] if shown is None else [f"![{shown.alt}]({tracking.artifact_link(uri, study.facts.run_id, shown.path)})"]
    where = "The whole report is among this run's artifacts: `report/report.html`, or `report/report.md`."
    if report.comparison.recommendation is not None and not report.comparison.is_of_chosen:
        if is_registered:
            where += f" The recommended model is in the registry: `models:/{study.design.name}@champion`."
        condition = f"run_name LIKE '%{report.comparison.recommendation.recommended.finalist.id}%'"
        found = f"[its runs]({tracking.runs_link(uri, study.facts.run_id, condition)})"
        where += f" It, and its repeats on fresh seeds: {found}, which the search of runs finds by `{condition}`."
    return "\n\n".join([*answer(report.comparison), *figure, where])


def _was_registered(uri: str, report: Report, study: StudyData) -> bool:
    """Tell whether the recommended model was registered: a study may have more runs since, or been stopped before."""
    runs = recommended_runs(study, report.comparison)
    noted = tracking.read_run(uri, study.facts.run_id).tags.get(keys.CHAMPION_RUN)
    return noted in {run.run_id for run in runs}


def log_report(uri: str, report: Report, study: StudyData, folder: Path) -> None:
    """Log a written report to the study's run; its links to figures become such as MLflow's pages show."""
    run_id = study.facts.run_id
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        pages = (f"{name}.html" for name in report.texts)
        for path in (*pages, "comparison.csv", "comparison.parquet", *report.figures):
            (copy / path).parent.mkdir(exist_ok=True)
            (copy / path).write_bytes((folder / path).read_bytes())
        for name, markdown in report.texts.items():
            linked = re.sub(
                r"\]\((figures/[^)]+|report\.md|appendix\.md)\)",
                lambda found: f"]({tracking.artifact_link(uri, run_id, found.group(1))})",
                markdown,
            )
            (copy / f"{name}.md").write_text(linked, encoding="utf-8")
        tracking.log_report(uri, run_id, copy)
    is_noted = _was_registered(uri, report, study)
    is_registered = is_noted and tracking.describe_champion(uri, study.design.name, report.champion)
    page = _page(uri, report, study, is_registered=is_registered)
    tracking.note_answer(uri, run_id, page, verdicts(report.comparison))


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
        | {"configuration": None if row.best is None else plain(configuration(row.best, without=row.factor))}
        | _spread("valid", row.valid) | _spread("test", row.test)
        | {"n_params": row.n_params, "seconds": row.seconds}
        for question in comparison.questions for row in question.rows
    ]  # fmt: skip
    best = comparison.recommendation
    finalists = [
        {"finalist": row.finalist.id, "is_recommended": best is not None and row is best.recommended,
         "configuration": plain(configuration(row.finalist.config)), "selected_score": row.finalist.selected_score}
        | _spread("valid", row.valid) | _spread("test", row.test)
        | {"n_params": row.n_params, "seconds": row.seconds}
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
        if len(table):  # without a row it has no columns, and nothing that reads CSV takes that
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
