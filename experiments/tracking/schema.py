"""Which stores this version can read: what a newer one wrote is refused, what an older one wrote is read."""

from __future__ import annotations

from collections.abc import Mapping

from depthcheck.experiments.tracking import keys


def require_readable(tags: Mapping[str, str], what: str) -> None:
    """Complain about a run that a newer version wrote; one without a version is from before there were any.

    Parameters
    ----------
    tags
        Of the run.
    what
        Names it in the message: ``study 'mine'``, ``run 1234``.

    Raises
    ------
    ValueError
        With the version that was expected and the one that came.
    """
    found = tags.get(keys.SCHEMA, "0")
    if not found.isdecimal() or int(found) > int(keys.SCHEMA_VERSION):
        raise ValueError(
            f"{what} must have schema version {keys.SCHEMA_VERSION} or older, "
            f"got {found}: a newer version of the project wrote it"
        )
