"""What a person sees in a browser: the report at two widths, and a study's page in MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up import MadeUpStudy
from stored_study import write_study

import depthcheck
from tests.browser import Page, browser_page, needs_browser
from tests.end_to_end.servers import mlflow_server

pytestmark = [needs_browser, pytest.mark.slow]
WIDTHS = (420, 900)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> tuple[depthcheck.Study, Path]:
    """A whole study in a store, and the folder of its report."""
    folder = tmp_path_factory.mktemp("seen")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    made = MadeUpStudy(depths=(1, 2), common_settings=6, n_seeds=2, epochs=2).run(n_exploit=1)
    finalists = made.finalists()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    write_study(uri, made.confirm(finalists).data(finalists))
    study = depthcheck.open_study(tracking_uri=uri)
    return study, study.report(folder / "report").parent


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page() as page:
        yield page


def answer_of(study: depthcheck.Study) -> str:
    """Return the first paragraph of the answer without its marks."""
    return study.answer.split("\n\n")[0].replace("`", "")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "appendix"])
def test_report_loses_nothing_at_either_width(page, reported, name, width):
    page.open((reported[1] / f"{name}.html").as_uri(), width=width)
    assert page.ask("innerWidth") == width
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")
    beyond = (
        "[...document.querySelectorAll('svg')].filter(one => one.getBoundingClientRect().right > innerWidth).length"
    )
    assert page.ask(beyond) == 0
    said = answer_of(reported[0]) if name == "report" else "What describes the study and decides nothing."
    assert said in page.ask("document.body.innerText").replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("width", WIDTHS)
def test_point_under_the_pointer_tells_its_values(page, reported, width):
    page.open((reported[1] / "report.html").as_uri(), width=width)
    under = """(() => {
        const circle = [...document.querySelectorAll("circle")].at(-1);
        circle.scrollIntoView({block: "center"});
        const box = circle.getBoundingClientRect();
        return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2).textContent;
    })()"""
    name, settings, difference = page.ask(under).split("\n")
    assert (name, settings) == ("optimizer adam", "settings tried: 3")
    assert difference.startswith("difference to optimizer sgd (points): ")


@pytest.mark.parametrize("width", [1280, 1900])
def test_study_has_its_answer_in_mlflow_and_the_search_finds_its_model(page, reported, tmp_path, width):
    study, _ = reported
    name = study.comparison.recommendation.recommended.finalist.id
    runs = 3  # the one that the search chose, and its two repeats
    with mlflow_server(tmp_path / "server", study.tracking_uri) as server:
        page.open(f"{server.uri}/#/experiments/1/runs/{study.run_id}?workflowType=machine_learning", width=width)
        page.wait_for("document.body.innerText.includes('Recommended model.')")
        assert answer_of(study) in page.ask("document.body.innerText")
        assert f"search of runs finds by run_name LIKE '%{name}%'" in page.ask("document.body.innerText")
        link = page.ask("[...document.querySelectorAll('a')].find(one => one.innerText == 'its runs').href")
        page.open("about:blank", width=width)
        page.open(link, width=width)
        page.wait_for(f"document.body.innerText.includes('{runs} matching runs')")
        # The table's rows come after their number.
        page.wait_for(f"document.body.innerText.split('confirm {name}').length > 2")
        page.open("about:blank", width=width)
        page.open(f"{server.uri}/#/experiments/1/runs?workflowType=machine_learning", width=width)
        page.wait_for("!!document.querySelector('[data-testid=search-box]')")
        page.ask("document.querySelector('[data-testid=search-box]').focus()")
        page.type(f"run_name LIKE '%{name}%'")
        # Sorted by date, as it is at first, MLflow counts the study that they belong to, too.
        page.wait_for(f"/\\b({runs}|{runs + 1}) matching runs/.test(document.body.innerText)")
