"""A user's own model or metric: a function of a file of theirs, whose text travels wherever it is needed.

``model = "my_models.py:build"`` in a definition names it. What it takes is read from its signature without running it:
the process that plans a study never imports what the file imports. The text is part of a trial's configuration, so that
workers, ``reproduce`` and the served model need no file. It also runs where a model is served
(:mod:`depthcheck.pipeline.served`), and imports nothing of the project.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import linecache
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

#: What a function that builds a model may take beside hyperparameters.
SHAPES = ("input_shape", "n_outputs")
DIRECTIONS = ("maximize", "minimize")
#: What a file can set of Keras for all models of a process.
_SETTINGS = ("dtype_policy", "floatx", "epsilon", "image_data_format")


class OwnCodeError(ValueError):
    """The user's file cannot do what it is for; one line, with the line of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCode:
    """A function of a user's file.

    Attributes
    ----------
    file, function
        The file's name without its folders, and the function's.
    source
        The text of the file.

    Raises
    ------
    OwnCodeError
        When the file is no Python, has no such function, or the function takes any number of arguments.
    """

    file: str
    function: str
    source: str
    #: Which key of a definition names it.
    kind: ClassVar[str] = "code"

    def __post_init__(self) -> None:
        self.arguments()

    @property
    def name(self) -> str:
        """How it is named in a definition, but for the folder."""
        return f"{self.file}:{self.function}"

    @property
    def sha256(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def as_json(self) -> dict[str, str]:
        """Return the fields, of which the same is made again."""
        return asdict(self)

    def parsed(self) -> ast.Module:
        """Return the file's syntax."""
        try:
            return ast.parse(self.source, self.file)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise OwnCodeError(f"{self.file}:{line}: {getattr(error, 'msg', error)}") from None

    def arguments(self) -> dict[str, ast.expr | None]:
        """Return what the function takes, by name and in order, each with its default, or None where it has none."""
        tree = self.parsed()
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == self.function]
        if not found:
            known = ", ".join(node.name for node in tree.body if isinstance(node, ast.FunctionDef)) or "none"
            raise OwnCodeError(f"{self.kind} must be a function of {self.file} ({known}), got {self.function!r}")
        taken = found[-1].args
        if taken.vararg or taken.kwarg or taken.posonlyargs:
            raise OwnCodeError(
                f"{self.file}:{found[-1].lineno}: {self.function} must name what it takes, got * or / in its signature"
            )
        named = [*taken.args, *taken.kwonlyargs]
        given = [*[None] * (len(taken.args) - len(taken.defaults)), *taken.defaults, *taken.kw_defaults]
        return {of.arg: default for of, default in zip(named, given, strict=True)}

    def namespace(self) -> dict[str, Any]:
        """Run the file and return what it defines.

        Raises
        ------
        OwnCodeError
            When the file raises.
        """
        shown = f"{self.file} ({self.sha256[:8]})"  # another text of the same name has lines of its own
        linecache.cache[shown] = (len(self.source), None, self.source.splitlines(keepends=True), shown)
        found: dict[str, Any] = {"__name__": self.file.removesuffix(".py"), "__file__": shown}
        with _told(self.file, shown):
            exec(compile(self.source, shown, "exec"), found)
        return found


class OwnModel(OwnCode):
    """A function that returns an uncompiled Keras model."""

    __slots__ = ()
    kind: ClassVar[str] = "model"

    def defaults(self) -> dict[str, Any]:
        """Return the hyperparameters by name, each with its default, or None where it has none."""
        return {name: _literal(default) for name, default in self.arguments().items() if name not in SHAPES}

    def is_said(self, dimension: str) -> bool:
        """Whether a dimension says anything of it: a depth that it does not take is that of no network."""
        return dimension != "depth" or dimension in self.arguments()

    def build(self, *, input_shape: tuple[int, ...], n_outputs: int, values: dict[str, Any]) -> Any:
        """Return what the function returns; hyperparameters that have no value keep their default."""
        function = self.namespace()[self.function]
        shapes = {"input_shape": input_shape, "n_outputs": n_outputs}
        taken = {name: shapes[name] for name in SHAPES if name in self.arguments()}
        with _told(self.file, function.__code__.co_filename):
            return function(**taken, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMetric(OwnCode):
    """A function of targets and what was said of them that returns one number.

    Attributes
    ----------
    direction
        ``maximize`` or ``minimize``.
    """

    direction: str
    kind: ClassVar[str] = "metric"

    def __post_init__(self) -> None:
        taken = list(self.arguments().items())
        needs = [name for name, default in taken[2:] if default is None and name != "sample_weight"]
        if len(taken) < 2 or needs:
            got = ", ".join(name for name, _ in taken) or "nothing"
            raise OwnCodeError(f"{self.name} must take y_true, y_pred and perhaps sample_weight, got {got}")
        if self.direction not in DIRECTIONS:
            raise OwnCodeError(f"direction must be maximize or minimize beside {self.name}, got {self.direction!r}")

    @property
    def key(self) -> str:
        """What the score is logged as; another text has another key, so that two never share a column."""
        return f"{'neg_' if self.direction == 'minimize' else ''}{self.function}-{self.sha256[:8]}"

    @property
    def title(self) -> str:
        """What a reader knows it as: of one that is minimized it is minus what the function returns that is shown."""
        return f"{'negative ' if self.direction == 'minimize' else ''}{self.function}"

    @property
    def takes_weight(self) -> bool:
        """Whether it can score samples that weigh differently."""
        return "sample_weight" in self.arguments()

    def score(self, y: Any, said: Any, weight: Any = None) -> float:
        """Return what the function returns, or minus that where less is better: more is better.

        Parameters
        ----------
        y, said, weight
            ``(n,)``; probabilities ``(n, n_classes)`` or numbers ``(n,)``; ``(n,)`` or None. The function cannot change
            them.

        Raises
        ------
        OwnCodeError
            When it raises, or returns no number.
        """
        function = _defined(self)[self.function]
        weights = {} if weight is None else {"sample_weight": weight.copy()}
        with _told(self.file, function.__code__.co_filename):
            given = function(y.copy(), said.copy(), **weights)
            try:
                found = float(given)
            except (TypeError, ValueError):
                raise OwnCodeError(f"{self.name} must return one number, got {type(given).__name__}") from None
        return 0 - found if self.direction == "minimize" else found  # minus zero would be said


@functools.lru_cache(maxsize=8)
def _defined(own: OwnCode) -> dict[str, Any]:
    """Return what the file defines, which is run once a process."""
    with settings_kept():
        return own.namespace()


@contextmanager
def settings_kept() -> Iterator[None]:
    """Let Keras's settings be afterwards what they were, whatever a user's file sets."""
    config: Any = getattr(sys.modules.get("keras"), "config", None)  # a metric may be known where Keras never is
    before = {name: getattr(config, name)() for name in _SETTINGS} if config else {}
    try:
        yield
    finally:
        for name, value in before.items():
            getattr(config, f"set_{name}")(value)


@contextmanager
def _told(file: str, shown: str) -> Iterator[None]:
    """Turn what the user's file raises into one line that names the line."""
    try:
        yield
    except OwnCodeError:
        raise
    except Exception as error:
        trace = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in trace if frame.filename == shown]
        said = " ".join(str(error).split())
        at = f"{file}:{lines[-1]}" if lines else file
        raise OwnCodeError(f"{at}: {type(error).__name__}: {said}"[:500]) from error


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None
