"""The command as a user types it, in a folder of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from made_up import MadeUpStudy
from stored_study import write_study
from study_records import config, trial

import depthcheck
from depthcheck.experiments import tracking
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.store import client
from depthcheck.pipeline.config import TrialConfig
from depthcheck.reports.write import to_html, trials_table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def report(here) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command in this process."""
    return lambda folder, *words, **variables: here(folder, "report", *words, **variables)


def report_in_a_process_of_its_own(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "depthcheck", "report", *words]
    return subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A folder with a store of two studies: a whole one, and a later one whose search goes on."""
    folder = tmp_path_factory.mktemp("studies")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    made = MadeUpStudy(depths=(1, 2), common_settings=6, n_seeds=2, epochs=2).run(n_exploit=1)
    finalists = made.finalists()
    whole = made.confirm(finalists).data(finalists)
    write_study(f"sqlite:///{folder / 'mlflow.db'}", whole)
    going = MadeUpStudy(depths=(1, 2), common_settings=2, epochs=2).run(n_exploit=0).data()
    going = dataclasses.replace(going, design=dataclasses.replace(going.design, name="going on/'2'"))
    write_study(f"sqlite:///{folder / 'mlflow.db'}", going, state="KILLED")
    return folder


@pytest.fixture(scope="module")
def written(folder: Path) -> subprocess.CompletedProcess[str]:
    """The command that has written, by a process of its own, the report of the whole study into its usual folder."""
    return report_in_a_process_of_its_own(folder, "--study", "made-up-12345678", "--run", "auto")


def usual_folder(folder: Path) -> Path:
    return folder / "reports" / "output" / "made-up-12345678"


def artifacts(folder: Path, study: str) -> set[str]:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    run_id = tracking.studies(uri, study)[0].run_id
    api = client(uri)
    top = {item.path for item in api.list_artifacts(run_id, "report")}
    return top | {item.path for item in api.list_artifacts(run_id, "report/figures")}


def test_report_is_written_logged_and_told(written, folder):
    done, out = written, usual_folder(folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {path.name for path in out.iterdir()} == {
        "report.md", "report.html", "appendix.md", "appendix.html", "figures", "comparison.csv", "comparison.parquet",
    }  # fmt: skip
    assert "Depth. Depth 2" in done.stdout
    assert "*" not in done.stdout
    assert str(out / "report.md") in done.stdout
    markdown = (out / "report.md").read_text(encoding="utf-8")
    drawn = {f"figures/{path.name}" for path in (out / "figures").iterdir()}
    both = [*markdown.splitlines(), *(out / "appendix.md").read_text(encoding="utf-8").splitlines()]
    assert drawn == {line.split("](")[1].rstrip(")") for line in both if line.startswith("![")}
    assert {"report/report.md", "report/report.html", "report/comparison.parquet"} <= artifacts(
        folder, "made-up-12345678"
    )
    assert {f"report/{path}" for path in drawn} <= artifacts(folder, "made-up-12345678")


def test_latest_study_is_reported_by_default_whatever_its_name_and_state(report, folder):
    done = report(folder)
    assert done.returncode == 0, done.stderr
    (out,) = {path.parent for path in (folder / "reports" / "output").glob("going*/report.md")}
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "its last session was interrupted" in text
    assert "not enough evidence" in text


def test_written_again_it_is_the_same_and_the_run_of_mlflow_run_becomes_a_session_of_the_study(report, written, folder):
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    study = tracking.studies(uri, "made-up-12345678")[0]
    api = client(uri)
    before = api.get_run(study.run_id)
    launched = api.create_run(study.experiment_id).info.run_id
    done = report(
        folder, "--study", "made-up-12345678", "--output", "c", MLFLOW_RUN_ID=launched, MLFLOW_TRACKING_URI=uri
    )
    assert done.returncode == 0, done.stderr
    tags = api.get_run(launched).data.tags
    assert (tags[keys.PARENT_RUN], tags[keys.PHASE]) == (study.run_id, keys.PHASE_SESSION)
    after = api.get_run(study.run_id)
    assert (after.info.status, after.data.tags) == (before.info.status, before.data.tags)
    assert len(tracking.studies(uri, "made-up-12345678")) == 1
    for path in usual_folder(folder).rglob("*.*"):
        if path.suffix in (".md", ".svg", ".html", ".csv"):
            assert path.read_bytes() == (folder / "c" / path.relative_to(usual_folder(folder))).read_bytes()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--study", "nope"], "study must be one of"),
        (["--run", "nope"], "run must be one of a study"),
        (["--nonsense"], "No such option '--nonsense'"),
        (["--output", "mlflow.db/x"], "output must be a folder that can be written to"),
        (["--template", "none.j2"], "template must be a file that can be read, got "),
        (["--template", "wrong.j2", "--output", "never"], "template must use title, byline, answer, "),
        (["--format", "latex,word"], "format must be one or more of latex, csv, json, pdf, got 'word'"),
        (["--json", "--format", "csv"], "json must be given without format: it writes no report"),
        (["--output", "~nosuchuser/x"], "output must be a path on this machine, got '~nosuchuser/x'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(report, folder, words, complaint):
    (folder / "wrong.j2").write_text("{{ anwser }}")
    done = report(folder, *words)
    assert not (folder / "never").exists()
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {complaint}")
    assert len(done.stderr.splitlines()) == 1


def test_no_store_is_one_line_and_leaves_nothing(report, tmp_path):
    done = report(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no study in sqlite:///")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("written")
def test_logged_markdown_links_figures_as_mlflows_pages_show_them(folder, tmp_path):
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    run_id = tracking.studies(uri, "made-up-12345678")[0].run_id
    text = Path(client(uri).download_artifacts(run_id, "report/report.md", str(tmp_path))).read_text(encoding="utf-8")
    for name in ("figures%2Feffort-by-depth.svg", "appendix.md"):
        assert f"](http:get-artifact?path=report%2F{name}&run_uuid={run_id})" in text
    assert "](figures/" not in text
    assert tracking.artifact_link("https://host/", "r", "a b.svg").startswith(
        "https://host/get-artifact?path=report%2Fa%20b"
    )


@pytest.mark.usefixtures("written")
def test_champion_is_named_and_described_only_where_it_is_the_recommended_model(report, folder, tmp_path, monkeypatch):
    shutil.copy(folder / "mlflow.db", tmp_path)
    study = depthcheck.open_study("made-up-12345678", tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    of, api, described = study.comparison.recommendation, client(study.tracking_uri), []
    monkeypatch.setattr(tracking, "describe_champion", lambda *said: described.append(said) or True)
    for row, times in ((of.alternative, 0), (of.recommended, 1)):
        api.set_tag(study.run_id, keys.CHAMPION_RUN, study.data.confirm_runs(row.finalist.id)[0].run_id)
        report(tmp_path, "--study", study.name)
        assert api.get_run(study.run_id).data.tags[keys.NOTE].count(f"`models:/{study.name}@champion`") == times
        assert len(described) == times


@pytest.mark.usefixtures("written")
def test_table_has_a_row_a_trial_and_survives_both_formats(folder):
    out = usual_folder(folder)
    csv, parquet = pd.read_csv(out / "comparison.csv"), pd.read_parquet(out / "comparison.parquet")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    records = tracking.trials(uri, tracking.studies(uri, "made-up-12345678")[0].run_id)
    assert list(csv["number"]) == list(parquet["number"]) == [r.number for r in records]
    assert list(csv) == list(parquet)
    confirm = parquet[parquet["phase"] == "confirm"]
    assert confirm["finalist"].notna().all()
    assert confirm["test_score"].notna().all()
    by_number = {r.number: r for r in records}
    for row in parquet.to_dict("records"):
        record = by_number[row["number"]]
        assert row["learning_rate"] == record.config.optimizer.learning_rate
        if record.evaluation("valid"):
            assert row["valid_score"] == record.evaluation("valid").score


def test_tables_and_figures_are_written_in_the_forms_that_are_asked_for(report, folder):
    words = ["--study", "made-up-12345678", "--output", "forms"]
    out = folder / "forms"
    mine = {out / name for name in ("figures/mine.svg", "figures/mine.pdf", "tables/mine.csv", "mine.html")}
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    done = report(folder, *words, "--format", "latex,csv,json,pdf")
    assert f"  latex,csv,json,pdf {out / 'tables'} and {out / 'figures'}\n" in done.stdout
    tables = {name: pd.read_csv(out / "tables" / f"{name}.csv") for name in ("levels", "contrasts", "finalists")}
    depths = tables["levels"].query("factor == 'depth'")
    assert list(depths["level"].astype(str)) == ["1", "2"]
    assert (depths["tuned_low"] < depths["tuned"]).all()
    assert list(tables["finalists"]["is_recommended"]) == [True, False]
    told = json.loads((out / "tables" / "tables.json").read_text(encoding="utf-8"))
    found = depthcheck.open_study("made-up-12345678", tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").answers
    assert (
        [row["estimate"] for row in told["contrasts"]]
        == list(found["estimate"])
        == list(tables["contrasts"]["estimate"])
    )
    text, markdown = (out / "tables" / "tables.tex").read_text("utf-8"), (out / "report.md").read_text("utf-8")
    assert text.count(r"\begin{tabular}") == len(re.findall(r"^\| -", markdown, flags=re.MULTILINE)) > 3
    row = re.search(r"^\| 2 .*\*\* \|$", markdown, flags=re.MULTILINE).group()
    cells = [cell.strip(" *").replace("−", "$-$") for cell in row.strip("|").split("|")]
    assert " & ".join(cells) in text
    assert {path.stem for path in out.glob("figures/*.pdf")} == {path.stem for path in out.glob("figures/*.svg")}
    assert all(path.read_bytes().startswith(b"%PDF") for path in {*out.glob("figures/*.pdf")} - mine)
    (out / "report.md").write_text(f"{markdown}![of another study](figures/effort-by-units.svg)", "utf-8")
    (out / "figures" / "effort-by-units.svg").touch()
    report(folder, *words)
    assert {*out.glob("figures/*.pdf"), *out.glob("tables/*"), *out.glob("figures/*units*"), out / "mine.html"} == {
        path for path in mine if path.suffix != ".svg" and path.exists()
    }
    assert not any("mine" in path for path in artifacts(folder, "made-up-12345678"))


def test_studies_are_listed_and_shown_for_programs(here, folder):
    rows = json.loads(here(folder, "list", "--json").stdout)
    assert [(row["study"], row["state"]) for row in rows] == [
        ("going on/'2'", "interrupted"), ("made-up-12345678", "finished"),
    ]  # fmt: skip
    shown = json.loads(here(folder, "show", "made-up-12345678", "--json").stdout)
    assert (shown["state"], shown["champion"]) == ("finished", None)
    assert {one["factor"] for one in shown["contrasts"]} == {"depth", "optimizer"}


def test_table_of_no_trials_is_empty():
    assert len(trials_table(())) == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((3, "global", None), ["3", "global", None]),
        ((False, "soft", None), ["False", "soft", None]),
        ((1, 2.5), [1, 2.5]),
    ],
)
def test_levels_of_mixed_types_are_texts_in_the_table_of_trials(monkeypatch, tmp_path, values, expected):
    monkeypatch.setattr(TrialConfig, "to_params", lambda of: {"kernel": values[of.fit.seed]} if of.fit.seed < 2 else {})
    table = trials_table([trial(seed, config(seed=seed)) for seed in range(len(values))])
    table.to_parquet(tmp_path / "trials.parquet", index=False)
    read = pd.read_parquet(tmp_path / "trials.parquet")["kernel"]
    assert [None if pd.isna(value) else value for value in read] == expected


def test_a_parameter_that_is_called_as_another_column_keeps_its_values(monkeypatch):
    monkeypatch.setattr(TrialConfig, "to_params", lambda _of: {"state": "lstm"})
    table = trials_table([trial(0, config())])
    assert table[["state", "param.state"]].to_numpy().tolist() == [["finished", "lstm"]]


def test_page_holds_its_figures_and_no_markup_of_the_data():
    page = to_html(
        "# T\n\n![a](figures/größe.svg)\n\n<script>x</script>\n\n| a |\n|---|\n| **95 %** of 3 × 256 |\n",
        {"figures/größe.svg": b"<?xml version='1.0'?>\n<svg><!-- -- > <script> --><g/></svg>"},
        title="<T>",
    )
    assert '<svg role="img" aria-label="a"><g/></svg>' in page
    assert "<script>" not in page
    assert "<td><strong>95\N{NO-BREAK SPACE}%</strong> of 3\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}256</td>" in page
    wrapped = to_html("It is 88.38 ±\n0.07\n% with 3\n× 256.\n", {}, title="t")
    assert "88.38\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.07\N{NO-BREAK SPACE}% with 3\N{NO-BREAK SPACE}×" in wrapped
    assert "<title>&lt;T&gt;</title>" in page


def test_report_follows_a_template(report, folder):
    (folder / "short.j2").write_text("# {{ title }}\n\n{{ recommended }}\n")
    assert report(folder, "--study", "made-up-12345678", "--output", "short", "--template", "short.j2").returncode == 0
    text = (folder / "short" / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Does another hidden layer help on Fashion-MNIST")
    assert "**Recommended: trial-" in text
    assert "## 1." not in text
