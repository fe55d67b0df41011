"""A round: one study, what is done to it, what its user does then, and whether all was said and kept as promised."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from depthcheck.cli import commands
from tests.end_to_end.chaos import Study, Tally, attempts, command, n_told, report_text
from tests.end_to_end.damages import Hurt, contents, copied
from tests.end_to_end.folder import Folder

DATA, NAME = "flowers.csv", "flowers.toml"
CLEAN = "clean: everything agrees"
#: How often the doctor is asked in a process of its own, as a user does, and how often a study is started where either
#: doctor or start can repair: both take ten seconds and more to load TensorFlow.
_OUTSIDE, STARTED = 0.1, 0.3
_DEFINITION = """
question = "Does another hidden layer help?"
seed = 3
[data]
name = "{data}"
target = "kind"
[budget]
trials = 9
epochs = 3
compare = 0.8
window = 2
seeds = 1
[compare]
depth = [0, 1]
optimizer = ["sgd", "adam"]
[tune]
units = [8]
activation = ["relu", "tanh"]
batch_size = [64]
[tune.sgd]
learning_rate = {{ low = 0.01, high = 1.0, log = true }}
[tune.adam]
learning_rate = {{ low = 0.001, high = 0.1, log = true }}
"""
_ROWS, _KILLED_AFTER = 2_400, 4


@dataclass(frozen=True)
class Patterns:
    """What each round begins with a copy of: a study that has ended, and one that was killed on its way."""

    base: Path
    ended: Folder
    half: Folder

    @property
    def data(self) -> Path:
        """The data file, which all rounds read."""
        return self.base / DATA

    @property
    def words(self) -> tuple[str, ...]:
        """The command's options."""
        return "--experiment", str(self.base / NAME), "--workers", "1"

    @cached_property
    def name(self) -> str:
        """The study's name."""
        (name,) = self.ended.studies()
        return name

    @cached_property
    def n_trials(self) -> int:
        """How many trials the study has."""
        return len(self.ended.study().trials)

    @cached_property
    def contents(self) -> tuple[list, list]:
        """All that the two databases hold of the trials."""
        return contents(self.ended)


def prepared(base: Path) -> Patterns:
    """Run the study once from beginning to end, and once up to a kill, unless a folder has both from before."""
    ended, half = (Folder(path=base / name, home=base / "home") for name in ("ended", "half"))
    patterns = Patterns(base, ended, half)
    if half.path.exists():
        return patterns
    rng = random.Random(0)
    rows = (
        (rng.gauss(kind, 0.7), rng.gauss(-kind, 1), rng.choice("rgb"), "abc"[kind])
        for kind in rng.choices(range(3), k=_ROWS)
    )
    lines = (f"{length:.3f},{width:.3f},{colour},{kind}\n" for length, width, colour, kind in rows)
    (base / DATA).write_text("length,width,colour,kind\n" + "".join(lines))
    (base / NAME).write_text(_DEFINITION.format(data=base / DATA))
    ended.path.mkdir()
    code, text = ended.run(*patterns.words)
    if code:
        sys.exit(text)
    half.path.mkdir()
    with Study(command(*patterns.words), half.path, half.environment(), Tally(seed=0)) as study:
        study.ensure_running()
        while n_told(half.path) < _KILLED_AFTER:
            study.ensure_running()
        study.process.kill()
        study.process.wait()
    study.left_behind()
    return patterns


@dataclass
class Round:
    """One round.

    Attributes
    ----------
    kept
        The two databases as they were, for those who keep copies.
    doctor_said, start_said
        Exit codes, in order.
    wrong
        What was not as promised.
    """

    patterns: Patterns
    hurt: Hurt
    kept: Path
    rng: random.Random
    doctor_said: list[int] = field(default_factory=list)
    start_said: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def temporary(self) -> Path:
        """The folder for temporary files of this round's commands."""
        return self.hurt.path.parent / "tmp"

    def environment(self) -> dict[str, str]:
        """Return what the commands are given."""
        return {**self.hurt.environment(), "TMPDIR": str(self.temporary)}

    def expect(self, holds: bool, words: str) -> None:
        """Note what is wrong unless it holds."""
        if not holds:
            self.wrong.append(words)

    def doctor(self, code: int | None, *said: str, fix: bool = False, outside: bool | None = None) -> str:
        """Ask the doctor; it must end with this code, and say something that each pattern matches.

        Parameters
        ----------
        code
            None where it depends on the moment.
        outside
            In a process of its own; as chance has it where None.
        """
        if outside is None:
            outside = self.rng.random() < _OUTSIDE
        words = ("--study", self.patterns.name, *(("--fix", "true") if fix else ()))
        got, text = self.ask("doctor", *words) if outside else self._doctor_here(fix=fix)
        self.doctor_said.append(got)
        what = f"doctor{' --fix' if fix else ''}"
        self.expect(code in (None, got), f"{what} ended with {got}, not {code}:\n{text}")
        self._expect_said(what, text, said)
        self.expect((got == 0) == (CLEAN in text), f"{what} ended with {got}, and said:\n{text}")
        return text

    def _doctor_here(self, *, fix: bool) -> tuple[int, str]:
        words = ["doctor", "--study", self.patterns.name, "--storage", self.hurt.storage, *(["--fix"] if fix else [])]
        os.environ["MLFLOW_TRACKING_URI"] = self.hurt.uri
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = commands.main(words, standalone_mode=False)
        finally:
            del os.environ["MLFLOW_TRACKING_URI"]
        return int(code), said.getvalue()

    def start(self, code: int = 0, *said: str, more: tuple[str, ...] = ()) -> str:
        """Give the study's command again."""
        got, text = self.ask("run", *self.patterns.words, *more)
        self.started(got, text, code, *said)
        return text

    def started(self, got: int, text: str, code: int, *said: str) -> None:
        """Judge what a start has said; one that is refused does so in one line."""
        self.start_said.append(got)
        self.expect(got == code, f"start ended with {got}, not {code}:\n{text}")
        self._expect_said("start", text, said)
        self.expect("Traceback" not in text, f"start said:\n{text}")
        own = [line for line in text.splitlines() if line.startswith("error: ")]
        self.expect(len(own) == (1 if code in (1, 2) else 0), f"start did not say it in one line:\n{text}")

    def goes_on(self, *said: str) -> None:
        """Give the study's command again, which has nothing to train."""
        n = self.patterns.n_trials
        self.start(0, f"continues: {n} of {n} runs have ended", *said)

    def _expect_said(self, what: str, text: str, said: tuple[str, ...]) -> None:
        for pattern in said:
            self.expect(re.search(pattern, text) is not None, f"{what} did not say {pattern!r}:\n{text}")

    def ask(self, *words: str) -> tuple[int, str]:
        """Run a command as a user does; it leaves nothing in the folder for temporary files."""
        process, before = self.begin(*words), set(self.temporary.iterdir())
        text, _ = process.communicate(timeout=600)
        left = set(self.temporary.iterdir()) - before
        self.expect(not left, f"{words[0]} left {left}")
        return process.returncode, text

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Begin to run a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "depthcheck", *words],
            cwd=self.hurt.path,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def put_back(self, name: str) -> None:
        """Put a copy of a database back."""
        shutil.copy(self.kept / name, self.hurt.path / name)

    def same(self) -> None:
        """Hold what the stores have of the trials against the undisturbed study, to the last digit."""
        self.expect(contents(self.hurt) == self.patterns.contents, "the stores do not hold what they held")
        self._ended_once()
        named = self.hurt.client.get_run(self.hurt.parent).data.tags["champion_run_id"]
        version = self.hurt.client.get_model_version_by_alias(self.patterns.name, "champion")
        model = self.hurt.client.get_logged_model(version.source.removeprefix("models:/"))
        self.expect(named in (version.run_id, model.source_run_id), "the champion is another run's")

    def same_end(self) -> None:
        """Hold a study that was disturbed on its way against the undisturbed one, the report included."""
        self.expect(self.hurt.fingerprint() == self.patterns.ended.fingerprint(), "points, scores or states differ")
        reports = [report_text(folder.path).split(" ") for folder in (self.patterns.ended, self.hurt)]
        differ = [line for line in difflib.unified_diff(*reports, n=4, lineterm="") if line[0] in "+- "]
        self.expect(not differ, f"the reports differ: {' '.join(differ)}")
        self._ended_once()
        self.doctor(0, CLEAN)

    def _ended_once(self) -> None:
        try:
            ended, _ = attempts(self.hurt.uri, self.hurt.parent)
        except AssertionError as error:
            self.wrong.append(str(error))
        else:
            twice = {number: n for number, n in ended.items() if n != 1}
            self.expect(not twice, f"trials that ended more than once: {twice}")


#: What is done in a round, and held against what is promised.
Play = Callable[[Round], None]


@contextlib.contextmanager
def begun(patterns: Patterns, pattern: Folder, folder: Path, rng: random.Random) -> Iterator[Round]:
    """Yield a round with a copy of a study in a new folder, which goes with the round; the data are as they were."""
    kept, data = folder / "kept", patterns.data.read_bytes()
    kept.mkdir(parents=True)
    (folder / "tmp").mkdir()
    try:
        hurt = copied(pattern, folder / "study")
        for name in ("mlflow.db", "optuna.db"):
            shutil.copy(hurt.path / name, kept)
        yield Round(patterns, hurt, kept, rng)
    finally:
        patterns.data.write_bytes(data)
        shutil.rmtree(folder, ignore_errors=True)
