"""The report as one HTML file: the same markdown, its figures inside, no script and nothing from the network."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping

from markdown_it import MarkdownIt

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 64rem; margin: 2rem auto;
       padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; }
h2 { font-size: 1.3rem; margin-top: 2.4rem; border-bottom: 1px solid #ccc; padding-bottom: .2rem; }
h3 { font-size: 1.05rem; margin-top: 1.6rem; }
table { border-collapse: collapse; font-size: .86rem; display: block; overflow-x: auto; margin: .8rem 0;
        font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; }
img { max-width: 100%; height: auto; display: block; margin-top: 1.4rem; }
code { font-size: .88em; background: #f3f3f3; padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere; }
pre { background: #f3f3f3; padding: .8rem; overflow-x: auto; }
pre code { padding: 0; }
@media print { body { margin: 0; max-width: none; font-size: 11pt; } h2 { break-after: avoid; }
               img, table { break-inside: avoid; } }
"""


def to_html(markdown: str, figures: Mapping[str, bytes], *, title: str) -> str:
    """Return a page of its own.

    Parameters
    ----------
    markdown
        The report.
    figures
        SVG files by the path that the report gives them.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for inline in tokens:
        for token in inline.children or ():
            path = str(token.attrGet("src")) if token.type == "image" else ""
            if path in figures:
                token.attrSet("src", "data:image/svg+xml;base64," + base64.b64encode(figures[path]).decode())
    # markdown-it refuses data: addresses when it parses, not when it renders.
    body = parser.renderer.render(tokens, parser.options, {})
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
