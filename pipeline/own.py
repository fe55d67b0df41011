"""A user's own model: a function of a file of theirs, whose text travels wherever it is needed.

``model = "my_models.py:build"`` in a definition names it. Its hyperparameters are read from its signature without
running it: the process that plans a study never imports what the file imports. The text is part of a trial's
configuration, so that workers, ``reproduce`` and the served model need no file. It also runs where a model is served
(:mod:`depthcheck.pipeline.served`), and imports nothing of the project.
"""

from __future__ import annotations

import ast
import hashlib
import linecache
import traceback
from dataclasses import asdict, dataclass
from typing import Any

#: What a function may take beside hyperparameters.
SHAPES = ("input_shape", "n_outputs")


class OwnCodeError(ValueError):
    """The user's file cannot do what it is for; one line, with the line of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """A function that returns an uncompiled Keras model.

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

    def __post_init__(self) -> None:
        self.defaults()

    @property
    def name(self) -> str:
        """How it is named in a definition, but for the folder."""
        return f"{self.file}:{self.function}"

    @property
    def sha256(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def as_json(self) -> dict[str, str]:
        """Return the fields, of which ``OwnModel(**fields)`` is made again."""
        return asdict(self)

    def defaults(self) -> dict[str, Any]:
        """Return the hyperparameters by name, each with its default, or None where it has none."""
        try:
            tree = ast.parse(self.source, self.file)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise OwnCodeError(f"{self.file}:{line}: {getattr(error, 'msg', error)}") from None
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == self.function]
        if not found:
            known = ", ".join(node.name for node in tree.body if isinstance(node, ast.FunctionDef)) or "none"
            raise OwnCodeError(f"model must be a function of {self.file} ({known}), got {self.function!r}")
        taken = found[-1].args
        if taken.vararg or taken.kwarg or taken.posonlyargs:
            raise OwnCodeError(
                f"{self.file}:{found[-1].lineno}: {self.function} must name what it takes, got * or / in its signature"
            )
        named = [*taken.args, *taken.kwonlyargs]
        given = [*[None] * (len(taken.args) - len(taken.defaults)), *taken.defaults, *taken.kw_defaults]
        return {of.arg: _literal(default) for of, default in zip(named, given, strict=True) if of.arg not in SHAPES}

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
        with _Told(self.file, shown):
            exec(compile(self.source, shown, "exec"), found)
        return found

    def build(self, *, input_shape: tuple[int, ...], n_outputs: int, values: dict[str, Any]) -> Any:
        """Return what the function returns; hyperparameters that have no value keep their default."""
        function = self.namespace()[self.function]
        shapes = {"input_shape": input_shape, "n_outputs": n_outputs}
        taken = {name: shapes[name] for name in SHAPES if name in function.__code__.co_varnames}
        with _Told(self.file, function.__code__.co_filename):
            return function(**taken, **values)


class _Told:
    """Turn what the user's file raises into one line that names the line."""

    def __init__(self, file: str, shown: str) -> None:
        self._file, self._shown = file, shown

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, OwnCodeError):
            return
        lines = [frame.lineno for frame in traceback.extract_tb(trace) if frame.filename == self._shown]
        said = " ".join(str(error).split())
        at = f"{self._file}:{lines[-1]}" if lines else self._file
        raise OwnCodeError(f"{at}: {type(error).__name__}: {said}"[:500]) from error


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None
