import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def bench(tmp_path: Path, *options: str) -> tuple[str, dict[str, object]]:
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.performance", "--quick", "--results", str(results)]
    subprocess.run([*command, "--docs", str(tmp_path), *options], cwd=ROOT, check=True, timeout=900)
    return (tmp_path / "performance.md").read_text(encoding="utf-8"), json.loads(results.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_page_has_each_part_with_whole_tables_and_its_figures_and_nothing_is_measured_twice(tmp_path):
    page, results = bench(tmp_path)
    sections = dict(re.findall(r"(?ms)^##+ ([^\n]*)\n(.*?)(?=^##|\Z)", page))
    missing = {name for name, text in sections.items() if "Not measured yet" in text}
    assert missing <= {"Against JAX, over the default space", "How it grows"}  # JAX may not be installed
    assert "GPUs" in sections
    for table in re.findall(r"(?m)(?:^\|.*\n)+", page):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    for name in re.findall(r"\(images/(.*?)\)", page):
        assert (tmp_path / "images" / name).stat().st_size > 1000
    (study,) = (value for key, value in results.items() if key.startswith("study: "))
    assert 0.9 < sum(study["ours"][0]["parts"].values()) < 1.1
    (peers,) = (value for key, value in results.items() if key.startswith("peers: "))
    measured = peers["measured"]
    assert {"Depthcheck, one core", "Keras fit", "scikit-learn MLPClassifier"} <= set(measured)
    assert min(one["accuracy"][0] for one in measured.values() if one["accuracy"][0] is not None) > 0.3, measured
    done = [one for one in study["peers"].values() if "left_out" not in one]
    assert all(len(one["accuracies"]) == len(study["trials"]) == 3 for one in done)
    assert done
    assert bench(tmp_path) == (page, results)
