"""A model's files against the hashes in the tracking database: what is loaded was logged, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from depthcheck.experiments import tracking
from depthcheck.experiments.tracking import keys
from depthcheck.experiments.tracking.model import ChangedModelError, checked_copy, difference, hashes, log_files
from depthcheck.experiments.tracking.registry import answers_trouble, loaded, predict
from depthcheck.experiments.tracking.store import client


@pytest.fixture
def model(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A logged model of a few files, which nobody could load."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # where MLflow looks for what is registered
    source = tmp_path / "source"
    (source / "code").mkdir(parents=True)
    (source / "MLmodel").write_text("flavors: {}")
    (source / "code" / "served.py").write_text("print('mine')")
    api = client(uri)
    logged = api.create_logged_model(api.create_experiment("e", str(tmp_path / "store")), name="model")
    log_files(api, logged, source)
    return api.get_logged_model(logged.model_id)


def folder_of(model: Any) -> Path:
    return Path(model.artifact_location.removeprefix("file://"))


def register(uri: str, source: str) -> str:
    api = client(uri)
    api.create_registered_model("mine")
    return f"models:/mine/{api.create_model_version('mine', source).version}"


def empty_mlmodel(folder: Path) -> None:
    (folder / "MLmodel").write_bytes(b"")


def change_code(folder: Path) -> None:
    (folder / "code" / "served.py").write_text("print('yours')")


def lose_code(folder: Path) -> None:
    (folder / "code" / "served.py").unlink()


def add_pickle(folder: Path) -> None:
    (folder / "custom_objects.cloudpickle").write_bytes(b"\x80")


def lose_all(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (empty_mlmodel, "MLmodel has another content"),
        (change_code, "code/served.py has another content"),
        (lose_code, "code/served.py is missing"),
        (add_pickle, "custom_objects.cloudpickle was added"),
        (lose_all, "there are no files"),
    ],
)
def test_changed_model_is_refused_by_the_name_of_its_file_before_it_is_loaded(
    uri: str, model: Any, harm: Callable[[Path], None], named: str, trust: bool
) -> None:
    address = register(uri, f"models:/{model.model_id}")
    harm(folder_of(model))

    with pytest.raises(ChangedModelError, match=f"{address} must have the files that were logged, got .*{named}") as no:
        predict(uri, address, [[1]], trust=trust)

    assert "\n" not in str(no.value)


def test_what_is_loaded_is_a_private_copy_without_what_loading_leaves(uri: str, model: Any) -> None:
    planted = folder_of(model) / "code" / "__pycache__" / "served.cpython-311.pyc"
    planted.parent.mkdir()
    planted.write_bytes(b"planted")
    (folder_of(model) / "registered_model_meta").write_text("model_name: mine")

    with checked_copy("it", uri, model.artifact_location, model, trust=False) as copy:
        change_code(folder_of(model))
        assert (copy / "code" / "served.py").read_text() == "print('mine')"
        assert {path.name for path in copy.rglob("*")} == {"MLmodel", "code", "served.py"}
        assert any(folder.stat().st_mode & 0o077 == 0 for folder in list(copy.parents)[:2])  # nobody else gets in

    assert not copy.exists()


def test_model_without_hashes_needs_trust_and_is_one_line_where_it_is_damaged(uri: str, model: Any) -> None:
    client(uri).delete_logged_model_tag(model.model_id, keys.FILES)
    address = register(uri, f"models:/{model.model_id}")

    with pytest.raises(ChangedModelError, match=r"must have hashes to be checked against, got none: .*trust=true"):
        predict(uri, address, [[1]])
    with pytest.raises(tracking.TrackingError, match=f"cannot load {address}") as no, loaded(uri, address, trust=True):
        pass
    assert "\n" not in str(no.value)
    empty_mlmodel(folder_of(model))
    with pytest.raises(ChangedModelError, match="must have an MLmodel file that says how to load it, got none"):
        predict(uri, address, [[1]], trust=True)


def test_version_that_was_registered_from_elsewhere_needs_trust(uri: str, model: Any) -> None:
    address = register(uri, model.artifact_location)  # the same files, without their record

    with pytest.raises(ChangedModelError, match="must have hashes to be checked against"):
        predict(uri, address, [[1]])
    example, facts = {"samples": [[1]], "outputs": [[1]]}, {"is_table": False, "task": "regression", "class_names": []}
    assert answers_trouble(uri, address, example, facts) is None  # nobody can know


def test_tag_that_cannot_be_read_is_no_way_round_the_check(uri: str, model: Any) -> None:
    client(uri).set_logged_model_tags(model.model_id, {keys.FILES: "{"})
    model = client(uri).get_logged_model(model.model_id)

    with pytest.raises(ChangedModelError), checked_copy("it", uri, model.artifact_location, model, trust=True):
        pass


def test_links_and_pipes_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "linked").symlink_to(tmp_path)

    assert hashes(tmp_path) == {"link": "no regular file", "folder/linked": "no regular file"}


def test_difference_names_the_first_and_counts_the_others() -> None:
    noted = {"a": "00", "b": "11", "c": "22"}

    assert difference(noted, noted) is None
    assert difference(noted, {"b": "11", "c": "33", "d": "44"}) == "a is missing, and 2 more differ"


def test_hashes_stand_in_the_database_and_cover_every_file(model: Any) -> None:
    assert json.loads(model.tags[keys.FILES]) == hashes(folder_of(model))
    assert set(hashes(folder_of(model))) == {"MLmodel", "code/served.py"}
