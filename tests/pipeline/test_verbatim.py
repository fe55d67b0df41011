"""A user's own texts look in markdown as they are written."""

import html
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from depthcheck.pipeline.verbatim import command, in_code, in_markdown, one_line, option

NASTY = "[/b] $x^{|`![](u)<b>:car:\u200f\u202eé🚀%41#1\n$*_~&amp; y$"
MARKS = st.text(st.sampled_from("ab1 |`!*_[]()<>#$~&;+-=.\\\n\u202e"), max_size=40)


def shown(markdown: str) -> str:
    """Return the text of a page that markdown becomes; a heading, a list, a link or a code would leave its tag."""
    page = MarkdownIt("commonmark", {"html": False}).enable("table").render(f"x {markdown} x\n{markdown} x")
    found = re.fullmatch(r"<p>x (.*) x\n(.*) x</p>\n", page, re.DOTALL)
    assert found, page
    return html.unescape(found[1])


@given(MARKS)
@example(NASTY)
@example("- x")
@example("12. x")
@example("=== ")
def test_text_in_markdown_is_the_text_and_no_markup(text):
    text = " ".join(text.replace("\n", "\u2028").split())  # a page shows one blank for several
    assume(text)
    assert shown(in_markdown(text, None)) == one_line(text)


@given(MARKS)
def test_text_in_code_is_the_text(text):
    text = " ".join(text.replace("\n", "\u2028").split())
    assume(text)
    page = MarkdownIt().render(f"x {in_code(text)} x")
    assert page == f"<p>x <code>{html.escape(one_line(text))}</code> x</p>\n"


def test_one_line_keeps_what_joins_letters_and_is_cut():
    assert one_line("👩\u200d🚀 a\tb\x1b[31m\r\n") == "👩\u200d🚀 a\\tb\\x1b[31m\\r\\n"
    assert one_line("x" * 300, 10) == "xxxxxxxxx…"


@pytest.mark.parametrize(
    ("launcher", "line"),
    [
        ("mlflow run", "mlflow run . -e doctor -P run_id='a b' -P fix=true -P times=5"),
        ("depthcheck", "depthcheck doctor --run-id 'a b' --fix --times 5"),
        ("python", "depthcheck doctor --run-id 'a b' --fix --times 5"),
    ],
)
def test_command_has_what_was_asked_for_and_nothing_that_is_so_anyway(launcher, line):
    assert command(launcher, "doctor", run_id="a b", fix=True, study=None, trust=False, times=5) == line
    assert option("python", "widen", "units:up") == "widen='units:up'"
