"""The lesson of ``examples/``, cell by cell in a real kernel; and what its interrupt leaves behind."""

import json
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from chaos import rows
from conftest import wait_for
from folder import ROOT, Folder
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from depthcheck.experiments import tracking

_SECONDS = 900
#: To start a worker takes ten seconds, and the same numbers come of one.
_ONE_WORKER = "from depthcheck.experiments.cluster import launch; launch.n_cores = lambda: 1"
pytestmark = pytest.mark.slow


@pytest.fixture
def kernel(folder: Folder, fashion_mnist_folder: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """Start a kernel in an empty folder, where Keras's cache has the data."""
    data = folder.path / "keras" / "datasets"
    data.mkdir(parents=True)
    (data / "fashion-mnist").symlink_to(fashion_mnist_folder)
    environment = {**folder.environment(), "KERAS_HOME": str(data.parent)}
    manager, client = start_new_kernel(
        kernel_name="python3", startup_timeout=300, cwd=str(folder.path), env=environment
    )
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def _code_cells() -> list[dict[str, Any]]:
    notebook = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _cells() -> list[str]:
    return ["".join(cell["source"]) for cell in _code_cells()]


def _run(client: BlockingKernelClient, code: str) -> dict[str, Any]:
    """Execute a cell; return what its last line shows, by media type."""
    shown: dict[str, Any] = {}

    def look(message: dict[str, Any]) -> None:
        if message["header"]["msg_type"] == "execute_result":
            shown.update(message["content"]["data"])

    reply = client.execute_interactive(code, allow_stdin=False, output_hook=look, timeout=_SECONDS)["content"]
    assert reply["status"] == "ok", "\n".join(reply["traceback"])
    return shown


def _reply(client: BlockingKernelClient, message_id: str) -> dict[str, Any]:
    while True:
        try:
            message = client.get_shell_msg(timeout=_SECONDS)
        except Empty:
            pytest.fail("the kernel has not answered")
        if message["parent_header"].get("msg_id") == message_id:
            return message["content"]


def _n_running(folder: Folder) -> int:
    return len(rows(folder.path / "mlflow.db", "SELECT 1 FROM runs WHERE status = 'RUNNING'"))


def test_stored_answers_are_in_the_words_of_today():
    shown = [output.get("data", {}) for cell in _code_cells() for output in cell["outputs"]]
    answers = ["".join(data["text/markdown"]) for data in shown if "text/markdown" in data]
    assert len(answers) == 2
    assert all("**Depth.**" in text and "**Optimizer.**" in text for text in answers)
    assert not any("has the best validation score" in text for text in answers)


def test_lesson_runs_from_start_to_end_and_an_interrupt_leaves_nothing_running(folder, kernel):
    manager, client = kernel
    _run(client, _ONE_WORKER)
    shown = [_run(client, cell) for cell in _cells()]

    readable = [each["text/markdown"] for each in shown if "text/markdown" in each]
    assert len(readable) == 2  # the study after it ran, and opened again
    assert all("| depth 2 against 1 |" in text and "| optimizer adam against sgd |" in text for text in readable)
    (study,) = tracking.studies(folder.uri)
    assert study.state == "finished"
    phases = [record.phase for record in tracking.trials(folder.uri, study.run_id)]
    assert phases.count("baseline") + phases.count("compare") == 29
    assert [path.name for path in (folder.path / "reports" / "output").iterdir()] == [study.study]

    asked = client.execute("depthcheck.run_study(experiment=definition, trials=41)")
    # The study's own run is running, and a trial's; a reply by then is a complaint.
    wait_for(lambda: _n_running(folder) > 1 or client.shell_channel.msg_ready(), seconds=_SECONDS)
    manager.interrupt_kernel()
    assert _reply(client, asked)["ename"] == "KeyboardInterrupt"
    assert _n_running(folder) == 0
    assert tracking.studies(folder.uri)[0].state == "interrupted"
