"""A logged trial trained again, and held against its log, number by number.

``deviations`` is pure; ``original`` reads and trains, ``reproduction`` does the rest.
"""
