"""A study while it runs: one session, one coordinator that owns the Optuna study, and what is said and written down.

``session`` is the whole of it.
"""
