"""A logged trial trained again, and held against its log, number by number.

``deviations`` and ``changes`` are pure, ``wording`` is text; ``original`` reads, ``retrain`` trains, ``reproduction``
does the rest.
"""
