"""What is not as it was when the trial was logged: code, Python, packages, machine. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from depthcheck.experiments.tracking import CodeVersion

#: Packages whose arithmetic or random numbers reach a trial's results.
_ARITHMETIC = ("tensorflow", "keras", "numpy", "scikit-learn", "ml_dtypes", "scipy")
UNKNOWN = "unknown"
PROCESSOR = "processor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is not as it was.

    Attributes
    ----------
    matters
        Whether it may change a result. Another kernel or another version of pytest does not; it is named all the same.
    """

    what: str
    before: str
    now: str
    matters: bool

    def __str__(self) -> str:
        return f"{self.what} {self.before} -> {self.now}"


def differences(
    code_before: CodeVersion, environment_before: Mapping[str, Any], code: CodeVersion, environment: Mapping[str, Any]
) -> list[Change]:
    """Return every difference, those that may change a result first.

    Parameters
    ----------
    environment_before, environment
        As :func:`depthcheck.experiments.tracking.environment` describes one; empty where nothing is known.
    """
    found = [*_code(code_before, code), *_machine(environment_before, environment)]
    found += _packages(environment_before.get("packages", {}), environment.get("packages", {}))
    return sorted(found, key=lambda one: not one.matters)


def _code(before: CodeVersion, now: CodeVersion) -> Iterator[Change]:
    if before.commit != now.commit:
        yield Change(what="code", before=before.commit[:12], now=now.commit[:12], matters=True)
    if before.dirty != now.dirty:
        yield Change(what="working tree", before=_tree(before), now=_tree(now), matters=True)


def _tree(code: CodeVersion) -> str:
    return {None: UNKNOWN, True: "with changes", False: "as committed"}[code.dirty]


def _machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    if not before:
        yield Change(what="machine and packages", before="not noted", now="as they are", matters=True)
        return
    yield from _processor(before, now)
    for key, what, matters in (
        ("machine", "architecture", True),
        ("python", "Python", True),
        ("platform", "system", _runtime(before) != _runtime(now)),
        ("cpus", "cores", False),
    ):
        if before.get(key) != now.get(key):
            was, is_now = str(before.get(key, UNKNOWN)), str(now.get(key, UNKNOWN))
            yield Change(what=what, before=was, now=is_now, matters=matters)


def _processor(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Compare names, and sets of instructions where both were noted: older studies noted the name alone."""
    both_noted = "instructions" in before and "instructions" in now
    keys = ("cpu", "instructions") if both_noted else ("cpu",)
    was, is_now = (" with ".join(str(one.get(key, UNKNOWN)) for key in keys) for one in (before, now))
    if was != is_now:
        yield Change(what=PROCESSOR, before=was, now=is_now, matters=True)


def _runtime(environment: Mapping[str, Any]) -> tuple[str, str]:
    """Return the operating system and its C library, from ``Linux-6.1.0-x86_64-with-glibc2.36``."""
    platform = str(environment.get("platform", ""))
    return platform.partition("-")[0], platform.partition("-with-")[2]


def _packages(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    if not before:
        return
    for name in sorted({*before, *now}, key=str.lower):
        was, is_now = before.get(name, "none"), now.get(name, "none")
        if was != is_now:
            yield Change(what=name, before=was, now=is_now, matters=_is_arithmetic(name))


def _is_arithmetic(package: str) -> bool:
    name = package.lower().replace("-", "_")
    return name in {known.replace("-", "_") for known in _ARITHMETIC} or name.startswith("tensorflow_")
