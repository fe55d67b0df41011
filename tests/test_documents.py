"""The documents: what they link to is there, and every command that they show exists with the options it is given."""

import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from benchmarks import reference
from depthcheck.cli import commands
from depthcheck.experiments.tracking import keys

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", markdown, flags=re.MULTILINE)
    words = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in words}


def shown_commands(program: str) -> Iterator[tuple[str, str]]:
    """Yield each line of a code block that starts a program, comments left out, with the document it stands in."""
    for path in DOCUMENTS:
        if path.name == "CHANGELOG.md":
            continue
        for block in re.findall(r"^```\w*\n(.*?)^```", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE):
            lines = re.sub(r"\\\n\s*", "", block).splitlines()
            for line, answer in itertools.pairwise([*lines, ""]):
                if answer.startswith("error: "):
                    continue
                text = re.sub(r"\s#\s.*", "", line).removeprefix("$ ").strip()
                if text.startswith(f"{program} "):
                    yield relative(path), text


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


def test_every_command_that_is_shown_can_be_given():
    shown = set(shown_commands("depthcheck"))
    assert len(shown) > 20
    for where, line in sorted(shown):
        words = shlex.split(line.split(" | ")[0].split(" > ")[0])[1:]
        command, context = commands, click.Context(commands, info_name="depthcheck")
        if not words[0].startswith("-") and "COMMAND" not in line:
            command = commands.commands[words[0]]
            context, words = click.Context(command, parent=context), words[1:]
        try:
            command.make_parser(context).parse_args(words)
        except click.UsageError as error:
            pytest.fail(f"{where}: {line}: {error.format_message()}")


def test_every_mlflow_run_that_is_shown_names_an_entry_point_and_its_parameters():
    shown = set(shown_commands("mlflow run"))
    assert len(shown) > 10
    for where, line in sorted(shown):
        words = shlex.split(line)
        entry = words[words.index("-e") + 1] if "-e" in words else "main"
        if entry == "COMMAND":
            continue
        given = [name.partition("=")[0] for flag, name in itertools.pairwise(words) if flag == "-P"]
        unknown = set(given) - {*PROJECT[entry]["parameters"], "name"}
        assert not unknown, f"{where}: {line}: {unknown}"


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
