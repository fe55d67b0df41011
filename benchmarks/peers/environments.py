"""An environment of its own for each peer, made by uv from PyPI with what the head of its script asks for (PEP 723)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SCRIPTS = Path(__file__).parent
ROOT = SCRIPTS.parent.parent
#: Where environments are made; None takes this process's own, and peers whose packages it lacks are left out.
Environments = Path | None


class NoEnvironmentError(RuntimeError):
    """A peer cannot be run here; the text says why."""


def dependencies(script: str) -> list[str]:
    """Return the packages that a peer's script asks for; none for ours, which this process's environment runs."""
    head = re.search(r"(?ms)^# /// script\n(.*?)^# ///$", (SCRIPTS / script).read_text(encoding="utf-8"))
    return list(tomllib.loads(re.sub(r"(?m)^# ?", "", head[1]))["dependencies"]) if head else []


def command(script: str, environments: Environments) -> list[str]:
    """Return how a peer is started; its environment is made when it is not there.

    Raises
    ------
    NoEnvironmentError
        When it cannot be made, or a package is not there.
    """
    packages = dependencies(script)
    if not packages:
        return [sys.executable, "-m", f"benchmarks.peers.{Path(script).stem}"]
    if environments is None:
        try:
            [version(package) for package in packages]
        except PackageNotFoundError as error:
            raise NoEnvironmentError(f"{error.name} is not installed") from error
        return [sys.executable, str(SCRIPTS / script)]
    home = environments.resolve() / Path(script).stem
    python, mark = home / "bin" / "python", home / "packages.json"
    if not mark.exists() or json.loads(mark.read_text()) != packages:
        print(f"installing {', '.join(packages)} into {home}", file=sys.stderr, flush=True)
        # Where it has a package that we have too, it gets the same version.
        install = ["pip", "install", "--constraint", str(ROOT / "requirements.txt"), "--python", str(python), *packages]
        for step in (["venv", "--clear", "--python", sys.executable, str(home)], install):
            done = subprocess.run(["uv", "--quiet", *step], stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise NoEnvironmentError(f"uv {step[0]}: {' '.join(done.stderr.split())[-300:]}")
        mark.write_text(json.dumps(packages))
    return [str(python), str(SCRIPTS / script)]


def versions(script: str, environments: Environments) -> str:
    """Return the packages of a peer with their versions, ``keras 3.15.0, tensorflow 2.21.0``."""
    python = command(script, environments)[0]
    code = "import sys, importlib.metadata as m; print(', '.join(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
    names = dependencies(script) or ["tensorflow", "keras"]
    return subprocess.run([python, "-c", code, *names], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
