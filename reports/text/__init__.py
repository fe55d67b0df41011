"""From a Comparison and its context to the report in GitHub-flavoured markdown. Pure text; read ``report`` first.

The text is to be read on GitHub, in MLflow's artifact view (which knows no HTML inside markdown) and unrendered.
"""
