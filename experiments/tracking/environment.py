"""What a run was made with: version of the code, of Python and packages, and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from experiments.tracking import keys

_UNKNOWN = "unknown"


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
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda pair: pair[0].lower())),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or _UNKNOWN
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or _UNKNOWN)
