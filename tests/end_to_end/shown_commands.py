"""Every command and every block of Python of README.md and docs/*.md is run, in the order of its page, on tiny data.

A text stays as it stands there; ``INSTEAD`` and ``SMALL`` say what stands for the names and the sizes that a reader
would fill in. Nothing is left out but what ``NOT_HERE`` names.
"""

import doctest
import io
import itertools
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow.cli
import numpy as np
import pandas as pd
import pytest
import uvicorn
from conftest import ROOT
from mlflow.projects.utils import load_project

import depthcheck
from depthcheck.experiments.cluster.warm_up import warmed_up
from depthcheck.reports import figures

pytestmark = pytest.mark.slow

#: Options of commands and benchmarks, where a page does not give them.
SMALL: dict[str, dict[str, Any]] = {
    "run": {"trials": 2, "epochs": 1, "seeds": 1, "workers": 1},
    "compare": {"seeds": 1, "workers": 1},
    "benchmarks.verdicts": {"studies": 2},
    "benchmarks.scores": {"studies": 2},
}
#: What stands for names and sizes that a page gives. Those in braces are known when the tests' own studies have run.
INSTEAD = {
    r"RUN_A,RUN_B|1f0c…,9ab3…|\bA,B\b": "{run},{other}",
    r"\bRUN\b": "{run}",
    r"\bFOLDER\b": "{folder}",
    r"\b(NAME|people)\.toml": "mine.toml",
    r"\b(?!dataframe|diamonds)[a-z_]+-[0-9a-f]{8}\b": "{digits}",
    r"\bNAME\b|\b(diamonds|Chile)-[0-9a-f]{8}\b": "{table}",
    r"(trials[ =])(13|20|22|40|50)\b": r"\g<1>2",
    r"(trials[ =])(60|100|264|762)\b": r"\g<1>4",
    r"(decide.within[ =])\d+[mh]": r"\g<1>1s",
    r"(decide_within=)1800": r"\g<1>1",
    r"(times[ =])5\b": r"\g<1>2",
    r"(seeds[ =])20\b": r"\g<1>1",
    r"(rows[ =])3000\b": r"\g<1>40",
    r"(studies[ =])\d+": r"\g<1>2",
    r"((?:port[ =]|127\.0\.0\.1:))\d+": r"\g<1>{port}",
    r"\bN\b": "2",
}
#: What is not run here, and why.
_SERVER = "a server, until Ctrl-C; those of test_own_data.py and deploy/ are asked something"
_CLUSTER = "asks for hosts and certificates; test_cluster.py and test_travel.py have some"
_SLOW = "minutes at the smallest size"
_INSTALLS = "installs from an index"
NOT_HERE = {
    "make test": "is what runs this test",
    "make docs": "make check builds the site",
    "make ui": _SERVER,
    "make run PYTHON=/path/to/python3.11": "names a Python of the reader's",
    "mlflow run . -P trials=50": "takes conda, and makes an environment of 3 GB",
    "mlflow run . --env-manager uv -P trials=50": "makes an environment of 3 GB",
    "mlflow models serve -m models:/diamonds-b35d96a0@champion --env-manager local -p 5055": _SERVER,
    "pip install .": "test_installed.py installs the wheel",
    "pip install --no-deps .": "test_installed.py installs the wheel",
    "python -c \"import depthcheck, numpy; numpy.savez('new.npz', X=depthcheck.load_data('fashion-mnist').X[:5])\"": (
        "fetches Fashion-MNIST"
    ),
    "pip install dask-jobqueue": _INSTALLS,
    "pip install opda": _INSTALLS,
    "PGPASSWORD=... mlflow server --host 0.0.0.0 --backend-store-uri postgresql+psycopg://user@host/mlflow "
    "--artifacts-destination /a/folder --allowed-hosts mlflow.example:5000": _CLUSTER,
    'dask scheduler --protocol tls "${tls[@]}" --no-dashboard': _CLUSTER,
    'dask worker tls://scheduler.example:8786 "${tls[@]}" --nthreads 1 --nworkers 8 --memory-limit 0 --no-dashboard': (
        _CLUSTER
    ),
    "make bench": _SLOW,
    'make bench ARGS="--only epochs"': _SLOW,
    'make bench ARGS="--quick"': "test_performance_page.py runs it",
    "python -m benchmarks.fit --units 512 512 512 --optimizer adam": "makes environments of 12 GB for its peers",
    "python -m benchmarks.reference": "writes docs/reference.md; test_documents.py holds that against the code",
    "python -m benchmarks.landscape NAME": _SLOW,
    "python -m benchmarks.scaling": _SLOW,
    "python -m benchmarks.engines": _SLOW,
    "python -m benchmarks.chaos --minutes 60 --seed N": "test_chaos.py plays a round",
    "python -m benchmarks.studies digits --studies 20": _SLOW,
    "python -m benchmarks.studies digits --studies 6 --split-seeds --label digits-split": _SLOW,
    "python -m benchmarks.studies fashion_mnist --studies 12 --epochs 2 --trials 49": _SLOW,
    "python -m benchmarks.folds --studies 300 --shared 0 0.5 0.75 1.25": _SLOW,
    "python -m benchmarks.folds --grouped --studies 400 --shared 0": _SLOW,
    "python -m benchmarks.searches --landscapes fashion --tables bands --studies 300 --budgets 12 20": "asks for opda",
}

_IN_TEXT = r"(?:depthcheck [a-z]+ |mlflow run \. |make |python -m benchmarks|pip install )"
_SHOWN = re.compile(rf"^ *```(\w*)\n(.*?)^ *```|`({_IN_TEXT}[^`]+)`", re.DOTALL | re.MULTILINE)
_FORM = re.compile(r"COMMAND|name=value|[…⇥\[]")


def _shown(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield what a page shows: a ``block`` of Python, a ``command``, or one that ends in an ``error``."""
    for language, block, in_text in _SHOWN.findall(markdown):
        if language == "python":
            yield "block", block
        elif in_text and not _FORM.search(in_text):
            yield "command", " ".join(in_text.split())
        elif not language:
            lines = re.sub(r"\\\n\s*", "", block).splitlines()
            for line, answer in itertools.pairwise([*lines, ""]):
                text = re.sub(r"\s+# .*", "", line).strip().removeprefix("$ ")
                if re.match(r"([A-Z]+=\S+ )*(depthcheck|mlflow|make|python|pip|curl|dask) (?!.*COMMAND)", text):
                    yield "error" if answer.startswith("error: ") else "command", text


def _pages() -> dict[str, list[tuple[str, str]]]:
    """Return what each page shows that no page before it does."""
    seen: set[tuple[str, str]] = set()
    pages = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        new = [one for one in dict.fromkeys(_shown(path.read_text("utf-8"))) if one not in seen]
        seen.update(new)
        pages[path.name] = new
    return {name: shown for name, shown in pages.items() if shown}


PAGES = _pages()


def _table(target: str) -> pd.DataFrame:
    """Return rows with the columns of the diamonds that docs/serving.md asks about, and a target."""
    rng = np.random.default_rng(0)
    numbers = {name: rng.uniform(0, 60, 60).round(2) for name in ("carat", "depth", "table", "x", "y", "z")}
    names = {name: rng.choice(list("ABC"), 60) for name in ("cut", "color", "clarity")}
    return pd.DataFrame({**numbers, **names, target: np.where(numbers["carat"] > 30, "yes", "no")})


class Desk:
    """A reader's folder, with a study of digits and one of a table, where what a page shows is typed in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shutil.copy(ROOT / "experiments" / "definitions" / "digits.toml", folder / "mine.toml")
        shutil.copy(ROOT / "reports" / "text" / "report.md.j2", folder / "mine.md.j2")
        data, rows = depthcheck.load_data("digits"), _table("price")
        X, table = data.X[:200], rows.drop(columns="price")
        _table("bought").to_csv(folder / "people.csv", index=False)
        np.savez(folder / "new.npz", X=X)
        for name in ("new.csv", "chile_new.csv"):
            table.to_csv(folder / name, index=False)
        #: What a page's Python speaks of and does not make.
        self.names = {"X": X, "y": data.y[:200], "images": X, "data": data, "depthcheck": depthcheck}
        self.names |= {"frame": rows, "new_rows": table, "table": table}
        of_digits = depthcheck.run_study("digits", trials=22, epochs=1, seeds=1, workers=1)
        of_table = depthcheck.run_study(rows, target="price", trials=3, epochs=1, seeds=1, workers=1)
        run, other = (record.run_id for record in of_table.data.records[:2])
        known = {"digits": of_digits.name, "table": of_table.name, "run": run, "other": other, "port": port}
        known["folder"] = str(Path(of_table.data.records[0].config.data.name).parent)
        #: What has been typed in, in full; in which order options stood does not matter.
        self.done: list[list[str]] = []
        self._instead = {pattern: text.format(**known) for pattern, text in INSTEAD.items()}

    def meant(self, text: str) -> str:
        """Return a text with what stands for its names and sizes."""
        for pattern, instead in self._instead.items():
            text = re.sub(pattern, instead, text)
        return text

    def completed(self, words: list[str]) -> list[str]:
        """Return a command with the options of tiny data, having written the table that it names."""
        given = dict(itertools.pairwise([*words, ""]))
        for old in (*self.folder.glob("answers.csv"), *set(self.folder.glob("*.toml")) - {self.folder / "mine.toml"}):
            old.unlink()  # what a reader has not written yet
        if "--target" in given:
            path, rows = self.folder / given["--data"], _table(given["--target"])
            path.write_text(rows.to_json(orient="records") if path.suffix == ".json" else rows.to_csv(index=False))
        more = {f"--{name}": str(value) for name, value in SMALL.get(words[0], {}).items()}
        if words[0] == "run" and "--target" not in given and given.get("--experiment") != "mine.toml":
            more["--data"] = "digits"
        if words[0] == "predict" and "--study" not in given:
            more["--study"] = self.meant("digits-00000000" if given["--input"].endswith(".npz") else "NAME")
        if words[0] == "serve":
            more["--port"] = self.meant("port=1").removeprefix("port=")
        return [*words, *(word for name in more.keys() - given for word in (name, more[name]))]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, home: Path, empty_store: Path) -> Iterator[Desk]:
    """Return the folder, and keep the process that workers are forked from until the last page has been read."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.syspath_prepend(folder)
        patch.chdir(folder)
        with warmed_up():
            yield Desk(folder)


class _Servers:
    """Servers that answer beside the commands that follow, in place of until Ctrl-C."""

    def __init__(self) -> None:
        self._run, self._started = uvicorn.Server.run, []

    def start(self, server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        """Take the place of :meth:`uvicorn.Server.run`."""
        thread = threading.Thread(target=self._run, args=(server, [one.dup() for one in sockets]))
        thread.start()
        self._started.append((server, thread))

    def stop(self) -> None:
        """End all of them."""
        while self._started:
            server, thread = self._started.pop()
            server.should_exit = True
            thread.join()


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Servers]:
    servers = _Servers()

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        servers.start(server, sockets)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    yield servers
    servers.stop()


@pytest.fixture
def type_in(
    desk: Desk, home: Path, here: Callable[..., Any], servers: _Servers, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, int], None]:
    """Return a function that runs a command as the shell would, and asserts how it ends."""

    def type_in(text: str, code: int = 0) -> None:
        if text.startswith("make "):
            # Without what the make that runs these tests was given.
            own = {**os.environ, "ARGS": "", "MAKEFLAGS": ""}
            told = subprocess.check_output(["make", "-n", *shlex.split(text)[1:]], cwd=ROOT, text=True, env=own)
            for line in re.findall(r"^.venv/bin/python -m (mlflow run .*|depthcheck .*)", told, re.MULTILINE):
                type_in(line)
            return
        words = shlex.split(desk.meant(text))
        if words[:2] == ["mlflow", "run"]:
            asked = mlflow.cli.run.make_context("mlflow run", words[2:]).params
            entry = load_project(str(ROOT)).get_entry_point(asked["entry_point"])
            given = dict(one.split("=", 1) for one in asked["param_list"])
            words = shlex.split(entry.compute_command(given, None))[2:]
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))  # the answer to: delete it?
        if words[0] == "curl":
            done = subprocess.run([*words, "--silent"], cwd=desk.folder, capture_output=True, text=True, check=False)
            assert "predictions" in done.stdout, done
            return
        if not code:
            words = [*words[:1], *desk.completed(words[2 if words[0] == "python" else 1 :])]
        if sorted(words) in desk.done and words[1] != "serve":
            return
        desk.done.append(sorted(words))
        if words[0] == "python":
            monkeypatch.setattr("sys.argv", words[1:])
            runpy.run_module(words[1], run_name="__main__")
            return
        assert words[0] == "depthcheck", f"{text} is not run"
        servers.stop()
        done = here(desk.folder, *words[1:], HOME=str(home))
        assert done.returncode == code, f"{text}: {done.stdout}{done.stderr}"

    return type_in


@pytest.mark.parametrize("page", PAGES)
def test_all_that_a_page_shows_is_run(page, desk, type_in, monkeypatch):
    run_study, names = depthcheck.run_study, dict(desk.names)
    monkeypatch.setattr(depthcheck, "run_study", lambda *data, **how: run_study(*data, **{**SMALL["run"], **how}))
    monkeypatch.setattr(figures, "FIGURES", figures.FIGURES.copy())
    for kind, text in PAGES[page]:
        if kind == "block":
            code = desk.meant(text)
            if name := re.match(r"# (\w+\.py)$", code, re.MULTILINE):
                (desk.folder / name[1]).write_text(code)
            if code.startswith(">>>"):
                code = "".join(example.source for example in doctest.DocTestParser().get_examples(code))
            exec(compile(code, page, "exec"), names)
        elif text not in NOT_HERE:
            type_in(text, 2 if kind == "error" else 0)


def test_what_is_not_run_is_shown():
    assert set(NOT_HERE) <= {text for shown in PAGES.values() for _, text in shown}
