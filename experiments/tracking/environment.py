"""What a run was made with: version of the code, of Python and packages, and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from depthcheck.experiments.tracking import keys

_UNKNOWN = "unknown"
#: Sets of instructions by which libraries choose how to calculate, and what Linux calls them, the newest first.
_INSTRUCTIONS = {"AVX-512": "avx512f", "AVX2": "avx2", "AVX": "avx", "SSE4.2": "sse4_2"}
#: What every processor of an architecture has.
_OF_ARCHITECTURE = {"aarch64": "NEON", "arm64": "NEON"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeVersion:
    """The git commit of the code, and whether the tree had changes beyond it (None: not a checkout)."""

    commit: str = _UNKNOWN
    dirty: bool | None = None

    def tags(self) -> dict[str, str]:
        """Return the tags that carry it."""
        dirty = _UNKNOWN if self.dirty is None else str(self.dirty).lower()
        return {keys.CODE_VERSION: self.commit, keys.DIRTY: dirty}


def code_version(folder: Path | None = None) -> CodeVersion:
    """Ask git for the version of the code in ``folder`` (by default, of this package).

    MLflow notes the commit, but only of runs that ``mlflow run`` started, and never that the tree was changed.
    """
    where = folder or Path(__file__).parent
    try:
        commit = _git("rev-parse", "HEAD", cwd=where).strip()
        return CodeVersion(commit=commit, dirty=bool(_git("status", "--porcelain", cwd=where).strip()))
    except (OSError, subprocess.SubprocessError):
        return CodeVersion()


def _git(*words: str, cwd: Path) -> str:
    return subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=True, timeout=10).stdout


def environment() -> dict[str, object]:
    """Describe Python, the machine and every installed package, ready for JSON."""
    packages = {item.metadata["Name"]: item.version for item in metadata.distributions() if item.metadata["Name"]}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        **processor(_cpuinfo()),
        "cpus": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda pair: pair[0].lower())),
    }


def processor(cpuinfo: str) -> dict[str, str]:
    """Return name and newest known set of instructions of the first processor.

    Two processors of one name need not have the same: what a virtual machine lets through is its host's choice.

    Parameters
    ----------
    cpuinfo
        What Linux has in ``/proc/cpuinfo``; empty elsewhere, where only the architecture is asked.
    """
    pairs = (line.partition(":") for line in cpuinfo.partition("\n\n")[0].splitlines())
    said = {name.strip(): value.strip() for name, _, value in pairs}
    flags = said.get("flags", "").split()
    sets = (name for name, flag in _INSTRUCTIONS.items() if flag in flags)
    return {
        "cpu": said.get("model name") or platform.processor() or _UNKNOWN,
        "instructions": next(sets, _OF_ARCHITECTURE.get(platform.machine(), _UNKNOWN)),
    }


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
