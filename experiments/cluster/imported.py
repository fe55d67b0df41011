"""What workers need, imported once in the process that they are forked from; it starts no thread."""

from __future__ import annotations

import contextlib
import os

from depthcheck.experiments.cluster.worker import import_training

# TensorFlow greets on standard error, which is the user's terminal here; each worker has a log of its own.
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
# What cannot be imported fails once more in each trial, which then says why.
with contextlib.suppress(Exception):
    import_training(to_be_forked=True)
