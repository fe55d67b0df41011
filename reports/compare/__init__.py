"""Statistics alone: records and arrays in, records out. ``comparison`` is the whole of it."""
