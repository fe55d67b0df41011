"""The files of a logged model, held against their hashes: a model is a program, and none runs that was not logged.

The hashes stand in the tracking database, as a tag of the logged model: whoever can write into the folder of models
cannot change them there. No file is understood here, only read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from depthcheck.experiments.scratch import scratch
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.runs import NO_SUCH_ID, StoredRun
from depthcheck.experiments.tracking.store import client, storage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

#: How the source of a version in the registry begins that was made from a logged model.
LOGGED = "models:/m-"
#: What Python and MLflow leave in a model's folder when they load it there: no damage. A checked copy has none of it.
_LEFT_BY_LOADING = {"__pycache__", "registered_model_meta"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """What is wrong with a logged model, in words, or None; and whether there were hashes to tell by."""

    trouble: str | None = None
    is_checked: bool = True


class ChangedModelError(ValueError):
    """A model's files are not those that were logged, or nobody can know whether they are; the text says which."""


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder, by its path from there; what loading leaves is left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if _LEFT_BY_LOADING & set(relative.parts) or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_file():
            with path.open("rb") as file:
                found[relative.as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            found[relative.as_posix()] = "no regular file"
    return found


def log_files(api: MlflowClient, model_id: str, folder: Path) -> None:
    """Write a model's files to the artifact store, and their hashes to the tracking database."""
    api.set_logged_model_tags(model_id, {keys.FILES: json.dumps(hashes(folder))})
    api.log_model_artifacts(model_id, str(folder))


def noted_hashes(model: LoggedModel) -> dict[str, str] | None:
    """Return the hashes that were noted when a model was logged; None where none were."""
    try:
        noted = json.loads(model.tags.get(keys.FILES, "null"))
    except ValueError:
        return {}
    return {str(path): str(sha256) for path, sha256 in noted.items()} if isinstance(noted, dict) else None


def difference(noted: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """Say which file is not as it was logged, or return None."""
    if noted and not found:
        return "there are no files"
    missing = [path for path in noted if path not in found]
    changed = [path for path in noted if path in found and noted[path] != found[path]]
    added = [path for path in found if path not in noted]
    named = [
        *(f"{path} is missing" for path in missing),
        *(f"{path} has another content (SHA-256 {found[path][:12]}…, logged {noted[path][:12]}…)" for path in changed),
        *(f"{path} was added" for path in added),
    ]
    if not named:
        return None
    return named[0] + (f", and {len(named) - 1} more differ" if len(named) > 1 else "")


@contextmanager
def at_hand(uri: str, location: str) -> Iterator[Path]:
    """Yield a model's folder to look into: itself where it lies on this machine's disk, else a copy for the moment."""
    on_disk = _on_disk(location)
    if on_disk is not None:
        yield on_disk
        return
    with TemporaryDirectory(prefix="depthcheck-model-") as folder:
        yield _copied(uri, location, folder)


@contextmanager
def checked_copy(what: str, uri: str, location: str, model: LoggedModel | None, *, trust: bool) -> Iterator[Path]:
    """Yield a private copy of a model's folder whose files are those that were logged, and no others.

    It is the copy that is checked and then loaded, so that nothing can be changed in between.

    Parameters
    ----------
    what
        What a complaint calls it.
    location
        Where its files are.
    model
        Whose hashes count; None where the model has no record in the tracking store.
    trust
        Whether a model without hashes is taken as it is. One with other files than were logged never is.

    Raises
    ------
    ChangedModelError
        When a file differs, or there are no hashes and ``trust`` is not given.
    """
    noted = None if model is None else noted_hashes(model)
    if noted is None and not trust:
        raise ChangedModelError(
            f"{what} must have hashes to be checked against, got none: it was logged elsewhere, or before they were "
            "kept; a model is a program, and trust=true runs this one as it is"
        )
    # In the session's folder: a server may be killed, and the next session then removes its copy.
    with scratch() as session, TemporaryDirectory(dir=session, ignore_cleanup_errors=True) as folder:
        copy = _copied(uri, location, folder)
        if noted is None and not says_how(copy):
            raise ChangedModelError(
                f"{what} must have an MLmodel file that says how to load it, got none or an empty one"
            )
        trouble = None if noted is None else difference(noted, hashes(copy))
        if trouble is not None:
            raise ChangedModelError(
                f"{what} must have the files that were logged, got others: {trouble}; "
                "mlflow run . -e doctor -P fix=true makes it again from its trial"
            )
        for name in _LEFT_BY_LOADING:
            for path in list(copy.rglob(name)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield copy


def model_is_gone(uri: str, run: StoredRun) -> bool:
    """Tell whether a run logged a model whose files can no longer be found."""
    from mlflow.exceptions import MlflowException

    try:
        return run.model_id is not None and not client(uri).list_logged_model_artifacts(run.model_id)
    except (MlflowException, OSError):
        return True


def says_how(folder: Path) -> bool:
    """Tell whether a model's folder has the file that MLflow begins with."""
    file = folder / "MLmodel"
    return file.is_file() and file.stat().st_size > 0


def model_state(uri: str, model_id: str) -> ModelState:
    """Hold the files of a logged model against the hashes that were noted with it.

    Where none were, it is only looked whether its files are there, and on this machine's disk its archive is opened.
    TensorFlow is not needed: a Keras model is a zip archive.
    """
    from mlflow.exceptions import MlflowException

    with storage(f"cannot read model {model_id} from {uri}"):
        try:
            model = client(uri).get_logged_model(model_id)
        except MlflowException as error:
            if error.error_code in NO_SUCH_ID:
                return ModelState(trouble=f"its model {model_id} was deleted in MLflow")
            raise
        noted = noted_hashes(model)
        with at_hand(uri, model.artifact_location) as folder:
            if noted is None:
                return ModelState(trouble=_trouble_without_hashes(folder), is_checked=False)
            found = difference(noted, hashes(folder))
            if found is None:
                return ModelState()
            return ModelState(trouble=f"its model is not as it was logged: {found} (in {model.artifact_location})")


def _trouble_without_hashes(folder: Path) -> str | None:
    archives = sorted(folder.rglob("*.keras"))
    if not says_how(folder) or not archives:
        return f"its model has no files in {folder}"
    for archive in archives:
        try:
            with zipfile.ZipFile(archive) as opened:
                damaged = opened.testzip()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            return f"its model cannot be opened: {archive} ({error})"
        if damaged is not None:
            return f"its model is damaged: {damaged} in {archive}"
    return None


def _on_disk(location: str) -> Path | None:
    address = urlparse(location)
    return Path(url2pathname(address.path)) if address.scheme in ("", "file") else None


def _copied(uri: str, location: str, folder: str) -> Path:
    from mlflow.artifacts import download_artifacts

    on_disk = _on_disk(location)
    if on_disk is not None and not on_disk.exists():
        return Path(folder)  # an empty copy of what is gone
    path: Any = download_artifacts(artifact_uri=location, tracking_uri=uri, dst_path=folder)
    return Path(path)
