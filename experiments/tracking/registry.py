"""MLflow's model registry: the best confirmed model of a study, under the alias that a user loads it by."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.files import LOGGED, ModelState, model_state
from depthcheck.experiments.tracking.model import log_product
from depthcheck.experiments.tracking.runs import NO_SUCH_ID, below, get, search
from depthcheck.experiments.tracking.store import client, storage
from depthcheck.experiments.tracking.study_run import StudyRun

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """A version of a registered model."""

    version: str
    run_id: str
    description: str
    model: ModelState


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
    run_id
        The run whose logged model it is made from.
    facts
        What the product must know of the data (:func:`depthcheck.experiments.tracking.model.log_product`).
    description
        Markdown for the version's page; replaces what is there.

    Raises
    ------
    ChangedModelError
        When the files of the run's model are not those that were logged.
    TrackingError
        When the run has no model, or the registry cannot be written.
    """
    api = client(study.tracking_uri)
    with storage(f"cannot register the champion of study {study.study}"):
        if not api.search_registered_models(f"name = '{study.study}'"):
            api.create_registered_model(
                study.study, description=f"Champions of study {study.study}, confirmed on fresh seeds."
            )
        versions = api.search_model_versions(f"name = '{study.study}'")
        version = next((one.version for one in versions if one.run_id == run_id and not is_replaced(one)), None)
        if version is None:
            version = _new_version(study, run_id, facts)
        api.update_model_version(study.study, version, description)
        api.set_registered_model_alias(study.study, keys.CHAMPION, version)
    study.set_tags({keys.CHAMPION_RUN: run_id})
    return f"models:/{study.study}@{keys.CHAMPION}"


def replace_version(study: StudyRun, version: str, facts: Mapping[str, Any]) -> None:
    """Make a version whose files are damaged again, from its run's model, as a new one; the old one stays, marked.

    Raises
    ------
    ChangedModelError
        When the files of the run's model are damaged, too.
    TrackingError
        When the registry cannot be written.
    """
    api = client(study.tracking_uri)
    with storage(f"cannot replace version {version} of {study.study}"):
        old = api.get_model_version(study.study, version)
        new = _new_version(study, str(old.run_id), facts)
        api.update_model_version(study.study, new, old.description)
        if _champion_version(api, study.study) == str(version):
            api.set_registered_model_alias(study.study, keys.CHAMPION, new)
        api.set_model_version_tag(study.study, version, keys.REPLACED_BY, new)


def is_replaced(version: ModelVersion) -> bool:
    """Tell whether another version was made in place of this one."""
    return keys.REPLACED_BY in version.tags


def _new_version(study: StudyRun, run_id: str, facts: Mapping[str, Any]) -> str:
    model_id = log_product(study.tracking_uri, study.experiment_id, run_id, facts)
    with as_default_store(study.tracking_uri):
        version = client(study.tracking_uri).create_model_version(
            study.study, source=f"models:/{model_id}", run_id=run_id, model_id=model_id
        )
    return str(version.version)


def describe_champion(uri: str, study: str, markdown: str) -> None:
    """Replace the description of a study's champion, where it has one.

    Raises
    ------
    TrackingError
        When the registry cannot be read or written.
    """
    api = client(uri)
    with storage(f"cannot describe the champion of study {study}"):
        version = _champion_version(api, study)
        if version is not None:
            api.update_model_version(study, version, markdown)


def delete_study(uri: str, study: str, run_id: str) -> None:
    """Delete a study's run, all runs below it, and its registered model; MLflow keeps deleted runs until ``mlflow gc``.

    Raises
    ------
    TrackingError
        When the store or the registry cannot be written.
    """
    api = client(uri)
    with storage(f"cannot delete study {study} from {uri}"):
        children = list(search(api, below(run_id), [get(api, run_id).experiment_id]))
        if _champion_version(api, study) is not None:
            api.delete_registered_model(study)
        for run in children:
            api.delete_run(run.run_id)
        api.delete_run(run_id)


def stored_champion(uri: str, study: str) -> StoredChampion:
    """Read what is registered under the study's name; nothing of it where no model is."""
    from mlflow.exceptions import MlflowException

    api = client(uri)
    with storage(f"cannot read the registered model {study} from {uri}"):
        try:
            alias = api.get_registered_model(study).aliases.get(keys.CHAMPION)
        except MlflowException as error:
            if error.error_code in NO_SUCH_ID:
                return StoredChampion()
            raise
        versions = api.search_model_versions(f"name = '{study}'")
    at = next((version for version in versions if str(version.version) == str(alias)), None)
    return StoredChampion(
        version=None if alias is None else str(alias),
        run_id=None if at is None else at.run_id,
        versions=tuple(
            StoredVersion(
                version=str(one.version), run_id=one.run_id or "", description=one.description or "",
                model=model_state(uri, str(one.source).removeprefix("models:/"))
                if str(one.source).startswith(LOGGED) else ModelState(is_checked=False),
            )
            for one in versions if not is_replaced(one)
        ),
    )  # fmt: skip


@contextmanager
def as_default_store(uri: str) -> Iterator[None]:
    """Make a store the process's default one for a moment.

    MLflow (3.17) looks up the model of a new version in the default store, whatever store the client is of. With a
    relative address that is another file as soon as the user typed ``mlflow run`` elsewhere than in the project.
    """
    import mlflow

    # What is set explicitly stands in the environment too; given back there alone, the environment goes on to count.
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def _champion_version(api: MlflowClient, study: str) -> str | None:
    """Return the version under the alias, or None; not by a search, whose conditions know no quote inside a name."""
    from mlflow.exceptions import MlflowException

    try:
        version = api.get_registered_model(study).aliases.get(keys.CHAMPION)
    except MlflowException as error:
        if error.error_code in NO_SUCH_ID:
            return None
        raise
    return None if version is None else str(version)
