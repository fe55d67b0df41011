"""What README.md and docs/*.md show is run, by the tests in ``shown_commands.py``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_all_that_pages_show_is_run():
    """In a process of its own: in one of pytest's workers, behind tests of other files, its output was closed."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    file = str(Path(__file__).with_name("shown_commands.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", file]
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout[-10_000:]
