"""The documents: what they link to is there, and they tell all there is to tell.

What they show is run by end_to_end/test_shown_commands.py.
"""

import re
import tomllib
from pathlib import Path

import pytest

from benchmarks import reference
from depthcheck.experiments.tracking import keys

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", markdown, flags=re.MULTILINE)
    words = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in words}


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_link_leads_somewhere(path: Path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http:", "https:")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"there is no heading {link}"


def test_reference_is_what_the_code_gives():
    """After a change: ``python -m benchmarks.reference``."""
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page()


def test_every_key_that_is_written_to_mlflow_is_told():
    told = set(re.findall(r"`([^`]+)`", (ROOT / "docs" / "logged.md").read_text(encoding="utf-8")))
    words = {word.rstrip("/") for one in told for word in (one, one.partition("<")[0])}
    own = {name: value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)}
    missing = {value for value in own.values() if not value.startswith("mlflow.") and value.rstrip("/") not in words}
    assert missing == {keys.SCHEMA_VERSION, keys.DEFAULT_EXPERIMENT}


def test_every_page_has_its_place_in_the_site():
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    places = re.findall(r"'([^']+\.md)'", str(site["nav"]))
    pages = {relative(path) for path in DOCUMENTS if path.name != "appendix.md" or "example-reports" not in str(path)}
    assert sorted(places) == sorted(pages)


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250
