"""From a Comparison and its context to the report in GitHub-flavoured markdown. Pure text; read :func:`render` first.

The text is to be read on GitHub, in MLflow's artifact view (which knows no HTML inside markdown) and unrendered.
"""

from depthcheck.reports.text.answer import answer, plain
from depthcheck.reports.text.report import render

__all__ = ["answer", "plain", "render"]
