"""A logged trial trained again, and held against its log, number by number.

``compare`` and ``differences`` are pure, ``words`` is text; ``original`` reads, ``worker`` trains, ``session`` does the
rest.
"""
