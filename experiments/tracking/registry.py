"""MLflow's model registry: a study's best confirmed model under an alias; found by its address there, loaded, asked."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from depthcheck.experiments.addresses import shown, without_login
from depthcheck.experiments.scratch import environment
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.model import LOGGED, ChangedModelError, checked_copy, files_trouble, log_product
from depthcheck.experiments.tracking.reading import studies
from depthcheck.experiments.tracking.runs import NO_SUCH_ID, all_pages, below, find_run, get, search
from depthcheck.experiments.tracking.store import TrackingError, client, load_mlflow, require_there, storage
from depthcheck.experiments.tracking.study_run import StudyRun, shortened
from depthcheck.pipeline.system import silent_imports

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from mlflow.pyfunc import PyFuncModel

#: PostgreSQL and MySQL keep no longer description of a version.
_LONGEST_DESCRIPTION = 5_000
#: How far apart the same network's answers may be on two processors.
_RTOL, _ATOL = 1e-4, 1e-6
_ADDRESS = re.compile(r"models:/(?P<name>[^@]+?)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """A version of a registered model; ``trouble`` is what is wrong with its files, where they were logged here."""

    version: str
    run_id: str
    description: str
    trouble: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChampion:
    """The registered model of a study.

    Attributes
    ----------
    version, run_id
        Of what stands under the alias; None where the alias is not set, or leads to nothing.
    versions
        All that there are, but for those in whose place another was made.
    """

    version: str | None = None
    run_id: str | None = None
    versions: tuple[StoredVersion, ...] = ()


def register_champion(study: StudyRun, run_id: str, description: str, facts: Mapping[str, Any]) -> str:
    """Register a run's model, packed as a product, as the study's champion, once; return its address for a user.

    The registered model has the study's name. Its alias ``champion`` moves when another run's model is registered.

    Parameters
    ----------
    description
        Markdown for the version's page; replaces what is there.
    facts
        What the product must know of the data (:func:`depthcheck.experiments.tracking.model.log_product`).

    Raises
    ------
    ChangedModelError
        When the files of the run's model are not those that were logged.
    """
    api = client(study.tracking_uri)
    with storage(f"cannot register the champion of study {study.study}"):
        if _registered(api, study.study) is None:
            api.create_registered_model(
                study.study, description=f"Champions of study {study.study}, confirmed on fresh seeds."
            )
        versions = [one for one in _versions(api, study.study) if keys.REPLACED_BY not in one.tags]
        version = next((one.version for one in versions if one.run_id == run_id), None)
        if version is None:
            version = _new_version(study, run_id, facts)
        api.update_model_version(study.study, version, description)
        api.set_registered_model_alias(study.study, keys.CHAMPION, version)
        recommended = api.get_run(run_id).data.tags.get(keys.FINALIST, "")
    study.set_tags({keys.CHAMPION_RUN: run_id, keys.RECOMMENDED: recommended})
    return f"models:/{study.study}@{keys.CHAMPION}"


def replace_version(study: StudyRun, version: str, facts: Mapping[str, Any]) -> None:
    """Make a version whose files are damaged again, from its run's model, as a new one; the old one stays, marked.

    Raises
    ------
    ChangedModelError
        When the files of the run's model are damaged, too.
    """
    api = client(study.tracking_uri)
    with storage(f"cannot replace version {version} of {study.study}"):
        old = api.get_model_version(study.study, version)
        new = _new_version(study, str(old.run_id), facts)
        api.update_model_version(study.study, new, old.description)
        if _champion_version(_registered(api, study.study)) == str(version):
            api.set_registered_model_alias(study.study, keys.CHAMPION, new)
        api.set_model_version_tag(study.study, version, keys.REPLACED_BY, new)


def _new_version(study: StudyRun, run_id: str, facts: Mapping[str, Any]) -> str:
    model_id = log_product(study.tracking_uri, study.experiment_id, run_id, facts)
    with as_default_store(study.tracking_uri):
        version = client(study.tracking_uri).create_model_version(
            study.study, source=f"models:/{model_id}", run_id=run_id, model_id=model_id
        )
    return str(version.version)


def describe_champion(uri: str, study: str, markdown: str) -> bool:
    """Replace the description of a study's champion, cut between paragraphs where it is long; False without one."""
    api = client(uri)
    with storage(f"cannot describe the champion of study {study}"):
        version = _champion_version(_registered(api, study))
        if version is not None:
            api.update_model_version(study, version, shortened(markdown, _LONGEST_DESCRIPTION))
        return version is not None


def delete_study(uri: str, study: str, run_id: str) -> None:
    """Delete a study's run, all runs below it, their models and its registered model; ``mlflow gc`` frees their files.

    Versions of a model of that name that other runs made stay, and so do the models of a run that has a version left.
    """
    api = client(uri)
    with storage(f"cannot delete study {study} from {uri}"):
        runs = [*search(api, below(run_id), deleted_too=True), get(api, run_id)]
        versions, ours = _versions(api, study), {run.run_id for run in runs}
        own = [one.version for one in versions if one.run_id in ours]
        where = sorted({run.experiment_id for run in runs})
        made = all_pages(lambda token: api.search_logged_models(where, page_token=token))
        models = [model for model in made if model.source_run_id in ours]
        there = list(all_pages(lambda token: api.search_model_versions(page_token=token))) if models else []
        left = [one for one in there if one.name != study or one.version not in own]
        used = {part for one in left for part in (one.run_id, *str(one.source).split("/"))}
        if own and len(own) == len(versions):
            api.delete_registered_model(study)
        else:
            for version in own:
                api.delete_model_version(study, version)
        for model in models:
            if used.isdisjoint((model.source_run_id, model.model_id)):
                api.delete_logged_model(model.model_id)
        for run in runs:
            if not run.is_deleted:
                api.delete_run(run.run_id)


def require_free(uri: str, study: str) -> None:
    """Complain about a registered model of a study's name that is somebody else's: its alias would be moved."""
    api = client(uri)
    with storage(f"cannot read the registered model {study} from {uri}"):
        versions = _versions(api, study)
        runs = [run for one in versions if (run := find_run(uri, one.run_id or "")) is not None]
    if versions and not any(run.study == study for run in runs):
        raise ValueError(
            f"study must be a name that no registered model of others has, got {study!r}, which has "
            f"{len(versions)} version{'s' if len(versions) > 1 else ''} in {without_login(uri)}"
        )


def stored_champion(uri: str, study: str) -> StoredChampion:
    """Read what is registered under the study's name; nothing of it where no model is."""
    api = client(uri)
    with storage(f"cannot read the registered model {study} from {uri}"):
        model = _registered(api, study)
        if model is None:
            return StoredChampion()
        versions = _versions(api, study)
    alias = _champion_version(model)
    found = []
    for one in versions:
        if keys.REPLACED_BY not in one.tags:
            source = str(one.source)
            found.append(
                StoredVersion(
                    version=str(one.version),
                    run_id=one.run_id or "",
                    description=one.description or "",
                    trouble=files_trouble(uri, source.removeprefix("models:/")) if source.startswith(LOGGED) else None,
                )
            )
    run_id = next((one.run_id for one in versions if str(one.version) == alias), None)
    return StoredChampion(version=alias, run_id=run_id, versions=tuple(found))


@contextmanager
def as_default_store(uri: str) -> Iterator[None]:
    """Make a store the process's default one for a moment.

    MLflow (3.17) looks up the model of a new version in the default store, whatever store the client is of. With a
    relative address that is another file as soon as the user typed ``mlflow run`` elsewhere than in the project.
    """
    import mlflow

    # What is set explicitly stands in the environment too; given back there alone, the environment goes on to count.
    with environment({"MLFLOW_TRACKING_URI": uri}):
        mlflow.set_tracking_uri(uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def _registered(api: MlflowClient, study: str) -> RegisteredModel | None:
    """Return a study's registered model, or None; not by a search, whose conditions know no quote inside a name."""
    from mlflow.exceptions import MlflowException

    try:
        return api.get_registered_model(study)
    except MlflowException as error:
        if error.error_code in NO_SUCH_ID:
            return None
        raise


def _versions(api: MlflowClient, study: str) -> list[ModelVersion]:
    """Return all versions of a study's registered model; none where there is no such model."""
    quote = '"' if "'" in study else "'"
    return list(api.search_model_versions(f"name = {quote}{study}{quote}"))


def _champion_version(model: RegisteredModel | None) -> str | None:
    """Return the version under the alias, or None."""
    version = None if model is None else model.aliases.get(keys.CHAMPION)
    return None if version is None else str(version)


def champion_address(uri: str, study: str | None) -> str:
    """Return the address of a study's champion, or of the latest study's that has one."""
    require_there(uri)
    known = studies(uri, study)
    with storage(f"cannot read the champions in {uri}"):
        champions = ((one.study, _champion_version(_registered(client(uri), one.study))) for one in known)
        named = next((name for name, version in champions if version is not None), None)
    if named is None:
        wanted = "that has a champion" if study is None else f"with a champion, got {study!r}"
        raise ValueError(f"study must be one {wanted}; a study has one when its finalists are confirmed ({shown(uri)})")
    return f"models:/{named}@{keys.CHAMPION}"


@contextmanager
def loaded(uri: str, address: str, *, trust: bool = False) -> Iterator[PyFuncModel]:
    """Yield a registered model, loaded from a copy whose files were checked before any of it was run.

    Parameters
    ----------
    address
        ``models:/<name>@champion`` or ``models:/<name>/<version>``.
    trust
        Whether to load a model that has no hashes: one from elsewhere, or that has lost them.

    Raises
    ------
    ValueError
        When the address is none, or the files are not those that were logged.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"model must be an address like models:/<name>@champion, got {address!r}")
    require_there(uri)
    with ExitStack() as stack:
        with storage(f"cannot load {address} from {uri}"):
            location, model = _located(uri, match)
            folder = stack.enter_context(checked_copy(address, uri, location, model, trust=trust))
        # What a foreign model's own code can raise is anything.
        with storage(f"cannot load {address} from {uri}", Exception), silent_imports():
            import mlflow.pyfunc

            program = mlflow.pyfunc.load_model(str(folder))
        yield program


def predict(uri: str, address: str, samples: Any, *, trust: bool = False) -> pd.DataFrame:
    """Return what a champion says of raw samples, a row each, labelled as the samples are.

    Parameters
    ----------
    address, trust
        As of :func:`loaded`.
    samples
        A table with the original columns, its cells as they are, or an array.

    Raises
    ------
    ValueError
        As of :func:`loaded`, and when the samples are not what the model was trained on.
    """
    with loaded(uri, address, trust=trust) as model:
        import pandas as pd
        from mlflow.exceptions import MlflowException

        try:
            answers: Any = model.predict(samples)
        except MlflowException as error:
            raise ValueError(error.message) from error
        found = pd.DataFrame(answers)  # a model from elsewhere may answer with an array
        is_each = isinstance(samples, pd.DataFrame) and len(found) == len(samples)
        return found.set_axis(samples.index) if is_each else found  # one of an earlier version numbers its answers


def answers_trouble(uri: str, address: str, example: Mapping[str, Any], facts: Mapping[str, Any]) -> str | None:
    """Tell in words where a champion no longer says of a stored example what its run noted, or return None.

    Parameters
    ----------
    example
        Samples, and what the network that was trained said of them
        (:attr:`depthcheck.pipeline.trial.TrainedTrial.example`).
    facts
        What the study noted of its data: task and class names.
    """
    samples: Any = example["samples"] if facts["is_table"] else np.asarray(example["samples"])
    try:
        answers = predict(uri, address, samples)
    except ChangedModelError:  # whose files are others is told of the version; of one from elsewhere nobody can know
        return None
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
    load_mlflow()
    from mlflow.pyfunc import scoring_server  # before the model is loaded, which makes it read CSV as it should

    with loaded(uri, address, trust=trust) as model:
        import uvicorn

        server = uvicorn.Server(uvicorn.Config(scoring_server.init(model), log_level="warning"))
        on_ready()
        with suppress(KeyboardInterrupt):  # it has answered what was under way by then
            server.run(sockets=[listener])


def _located(uri: str, match: re.Match[str]) -> tuple[str, LoggedModel | None]:
    """Return where a version's files are, and the record of its logged model; None of one that was made elsewhere."""
    api, name = client(uri), match["name"]
    if match["alias"]:
        found = api.get_model_version_by_alias(name, match["alias"])
    else:
        found = api.get_model_version(name, match["version"])
    source = str(found.source)  # the version's own field for the model stays empty in SQL stores (MLflow 3.17)
    if not source.startswith(LOGGED):
        return source, None
    model = api.get_logged_model(source.removeprefix("models:/"))
    return model.artifact_location, model
