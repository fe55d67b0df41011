"""A logged trial trained again, and held against its log, number by number.

``deviations`` is pure, ``wording`` is text; ``original`` reads and trains, ``reproduction`` does
the rest.
"""
