"""A registered model used from here: found by its address, loaded, asked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from experiments.tracking import keys
from experiments.tracking.read import studies
from experiments.tracking.store import client, storage

if TYPE_CHECKING:
    import pandas as pd

_ADDRESS = re.compile(r"models:/(?P<name>[^@]+?)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


def champion_address(uri: str, study: str | None) -> str:
    """Return the address of a study's champion, or of the latest study's that has one.

    Raises
    ------
    ValueError
        When there is none.
    TrackingError
        When the store cannot be read.
    """
    known = studies(uri, study)
    with storage(f"cannot read the champions in {uri}"):
        registered = {model.name for model in client(uri).search_registered_models() if keys.CHAMPION in model.aliases}
    named = next((one.study for one in known if one.study in registered), None)
    if named is None:
        wanted = "that has a champion" if study is None else f"with a champion, got {study!r}"
        raise ValueError(f"study must be one {wanted}; a study has one when its finalists are confirmed ({uri})")
    return f"models:/{named}@{keys.CHAMPION}"


def predict(uri: str, address: str, samples: Any) -> pd.DataFrame:
    """Return what a champion says of raw samples, a row each.

    Parameters
    ----------
    address
        ``models:/<name>@champion`` or ``models:/<name>/<version>``.
    samples
        A table with the original columns, its cells as they are, or an array.

    Raises
    ------
    ValueError
        When the address is none, or the samples are not what the model was trained on.
    TrackingError
        When there is no such model, or it cannot be read.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"model must be an address like models:/<name>@champion, got {address!r}")
    api = client(uri)
    with storage(f"cannot load {address} from {uri}"):
        import mlflow.pyfunc
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        name = match["name"]
        found = (
            api.get_model_version_by_alias(name, match["alias"])
            if match["alias"]
            else api.get_model_version(name, match["version"])
        )
        # The version's own field for it stays empty in SQL stores (MLflow 3.17).
        location = api.get_logged_model(str(found.source).removeprefix("models:/")).artifact_location
        with _quiet():
            loaded = mlflow.pyfunc.load_model(download_artifacts(artifact_uri=location, tracking_uri=uri))
    try:
        answers: pd.DataFrame = loaded.predict(samples)
    except MlflowException as error:
        raise ValueError(error.message) from error
    return answers


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what TensorFlow prints while it is imported, before any of its settings can silence it, off the screen."""
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)
