"""A registered model used from here: found by its address, loaded, asked."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.files import LOGGED, checked_copy
from depthcheck.experiments.tracking.reading import studies
from depthcheck.experiments.tracking.store import TrackingError, client, storage

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import LoggedModel
    from mlflow.pyfunc import PyFuncModel

#: How far apart the same network's answers may be on two processors.
_RTOL, _ATOL = 1e-4, 1e-6
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


@contextmanager
def loaded(uri: str, address: str, *, trust: bool = False) -> Iterator[PyFuncModel]:
    """Yield a registered model, loaded from a copy whose files were checked before any of it was run.

    Parameters
    ----------
    address
        ``models:/<name>@champion`` or ``models:/<name>/<version>``.
    trust
        Whether to load a model that has no hashes: one from elsewhere, or from before they were kept.

    Raises
    ------
    ValueError
        When the address is none, or the files are not those that were logged.
    TrackingError
        When there is no such model, or it cannot be read.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"model must be an address like models:/<name>@champion, got {address!r}")
    with storage(f"cannot load {address} from {uri}"):
        location, model = _located(uri, match)
    with ExitStack() as stack:
        with storage(f"cannot load {address} from {uri}"):
            folder = stack.enter_context(checked_copy(address, uri, location, model, trust=trust))
        # What a foreign model's own code can raise is anything.
        with storage(f"cannot load {address} from {uri}", Exception), _quiet():
            import mlflow.pyfunc

            program = mlflow.pyfunc.load_model(str(folder))
        yield program


def predict(uri: str, address: str, samples: Any, *, trust: bool = False) -> pd.DataFrame:
    """Return what a champion says of raw samples, a row each.

    Parameters
    ----------
    address, trust
        As of :func:`loaded`.
    samples
        A table with the original columns, its cells as they are, or an array.

    Raises
    ------
    ValueError
        When the address is none, the model's files are not those that were logged, or the samples are not what it was
        trained on.
    TrackingError
        When there is no such model, or it cannot be read.
    """
    with loaded(uri, address, trust=trust) as model:
        import pandas as pd
        from mlflow.exceptions import MlflowException

        try:
            answers: Any = model.predict(samples)
        except MlflowException as error:
            raise ValueError(error.message) from error
        return pd.DataFrame(answers)  # a model from elsewhere may answer with an array


def answers_trouble(uri: str, address: str, example: Mapping[str, Any], facts: Mapping[str, Any]) -> str | None:
    """Tell in words where a champion no longer says of a stored example what its run noted, or return None.

    Parameters
    ----------
    example
        Samples and the outputs of the network that was trained, as :meth:`TrialRun.log_example` wrote them.
    facts
        What the study noted of its data: task and class names.
    """
    samples: Any = example["samples"] if facts["is_table"] else np.asarray(example["samples"])
    try:
        answers = predict(uri, address, samples)
    except (ValueError, TrackingError) as error:
        return str(error)
    outputs = np.asarray(example["outputs"])
    names = facts["class_names"]
    if facts["task"] == "regression":
        columns = ["prediction"]
    else:
        columns = [f"probability_{name}" for name in names]
        if list(answers.columns) != ["prediction", *columns]:
            return f"it answers with the columns {', '.join(map(str, answers.columns))}, and its classes are {names}"
        if list(answers["prediction"]) != [names[at] for at in answers[columns].to_numpy().argmax(axis=1)]:
            return "it predicts another class than the one it finds likeliest"
    found = answers[columns].to_numpy()
    if np.allclose(found, outputs, rtol=_RTOL, atol=_ATOL):
        return None
    at = np.unravel_index(np.abs(found - outputs).argmax(), outputs.shape)
    return f"sample {at[0] + 1} of the stored example is answered with {found[at]:.6g}, and was with {outputs[at]:.6g}"


def serve(uri: str, address: str, listener: socket.socket, *, trust: bool, on_ready: Callable[[], None]) -> None:
    """Answer requests as ``mlflow models serve`` does, with a model whose files were checked, until interrupted.

    Parameters
    ----------
    address, trust
        As of :func:`loaded`.
    listener
        Where requests arrive.
    on_ready
        Called when the model has been loaded.
    """
    with loaded(uri, address, trust=trust) as model:
        import uvicorn
        from mlflow.pyfunc import scoring_server

        server = uvicorn.Server(uvicorn.Config(scoring_server.init(model), log_level="warning"))
        on_ready()
        with suppress(KeyboardInterrupt):  # it has answered what was under way by then
            server.run(sockets=[listener])


def _located(uri: str, match: re.Match[str]) -> tuple[str, LoggedModel | None]:
    """Return where a version's files are, and the record of its logged model; None of one that was made elsewhere."""
    api, name = client(uri), match["name"]
    found = (
        api.get_model_version_by_alias(name, match["alias"])
        if match["alias"]
        else api.get_model_version(name, match["version"])
    )
    source = str(found.source)  # the version's own field for the model stays empty in SQL stores (MLflow 3.17)
    if not source.startswith(LOGGED):
        return source, None
    model = api.get_logged_model(source.removeprefix("models:/"))
    return model.artifact_location, model


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
