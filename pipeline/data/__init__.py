"""A name, a path or a table becomes a :class:`depthcheck.pipeline.records.Dataset`; ``load`` is the door.

A module a source or file format finds, verifies and reads. What the columns of a table mean is decided by ``tables``.
"""
