"""Each kind of source that data come from, one module a kind; :mod:`depthcheck.pipeline.load` is the door to them.

A module here finds, verifies and reads. What the columns of a table mean is not decided here.
"""
